//! Runs the suite's program, and reads what it says.

use std::path::{Path, PathBuf};
use std::process::Command;

use axiom_tests::bed;
use axiom_tests::child::Running;
use serde_json::Value;

/// The set of scenarios that an implementation of a revision must pass.
#[derive(Clone, Copy)]
pub(super) enum Revision {
    Modern,
    Legacy,
}

impl Revision {
    pub(super) fn name(self) -> &'static str {
        match self {
            Revision::Modern => "2026-07-28",
            Revision::Legacy => "2025-11-25",
        }
    }

    /// The list under `section:` in the suite's own file of requirements.
    pub(super) fn required(self, section: &str) -> Vec<String> {
        let file = format!(
            "@modelcontextprotocol/conformance/requirements/{}.yaml",
            self.name()
        );
        let text = std::fs::read_to_string(bed::npm(&file)).expect("the suite says what it requires");
        let lines = text
            .lines()
            .skip_while(|line| line.strip_suffix(':') != Some(section));
        let entries = lines.skip(1).map_while(|line| line.strip_prefix("  - "));
        entries.map(str::to_owned).collect()
    }
}

/// A file of expected failures, and what stands in it.
pub(super) struct Expected {
    path: String,
    entries: Vec<String>,
}

impl Expected {
    pub(super) fn read(name: &str) -> Self {
        let path = bed::ours(&format!("conformance/{name}.yaml"));
        let text = std::fs::read_to_string(&path).expect("the file was found");
        let entries = text.lines().filter_map(|line| line.strip_prefix("  - "));
        Expected {
            entries: entries.map(str::to_owned).collect(),
            path,
        }
    }

    /// The suite forgives a line whose check did not take place; we do not.
    fn all_happened(&self, lines: &[String]) {
        let happened: Vec<&str> = lines
            .iter()
            .filter_map(|line| line.strip_prefix("  ~ "))
            .collect();
        let idle = self
            .entries
            .iter()
            .filter(|entry| !happened.contains(&entry.as_str()));
        let idle: Vec<&String> = idle.collect();
        assert!(idle.is_empty(), "{}: did not fail, remove: {idle:?}", self.path);
    }
}

/// How many scenarios the revision scores, and how many of them passed.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scored {
    pub(super) passed: usize,
    pub(super) of: usize,
}

/// Runs the server scenarios that a revision scores against what is at the URL.
pub(super) fn server(url: &str, revision: Revision, expected_failures: &str) -> Scored {
    let expected = Expected::read(expected_failures);
    let output = bed::scratch("conformance");
    let mut command = program("server", &expected, &output);
    command.args(["--url", url, "--requirements", revision.name()]);
    let mut running = Running::start("the conformance suite", &mut command);
    let required = revision.required("server");
    let passed = passed(&mut running, &expected, &required, &output);
    Scored {
        passed: passed.len(),
        of: required.len(),
    }
}

/// A command of the suite's program. It writes a folder for each scenario into `output`.
pub(super) fn program(side: &str, expected: &Expected, output: &Path) -> Command {
    let mut command = Command::new(bed::node());
    command
        .arg(bed::npm("@modelcontextprotocol/conformance/dist/index.js"))
        .arg(side)
        .args(["--expected-failures", &expected.path])
        .arg("-o")
        .arg(output);
    command
}

/// Waits for the suite's end, and tells which of the required scenarios passed. Panics when anything but the expected has
/// failed, or when the expected has not.
pub(super) fn passed<'a>(
    running: &mut Running,
    expected: &Expected,
    required: &'a [String],
    output: &Path,
) -> Vec<&'a String> {
    let lines = running.stdout.all();
    let status = running.ended();
    // `✓ name: n passed, n failed`, for the scenarios that are not scored too.
    let marked: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.strip_prefix("✓ ")?.split(':').next())
        .collect();
    let passed: Vec<&String> = required
        .iter()
        .filter(|required| marked.contains(&required.as_str()))
        .collect();
    let total = lines.iter().rposition(|line| line.starts_with("Total:"));
    assert!(
        status.success(),
        "{} of {} passed, but not as {} has it:\n{}\n{}",
        passed.len(),
        required.len(),
        expected.path,
        lines[total.unwrap_or_default()..].join("\n"),
        flaws(output, required)
    );
    expected.all_happened(&lines);
    passed
}

/// Each check of a required scenario that is not a success, and why.
fn flaws(output: &Path, required: &[String]) -> String {
    let mut flaws = String::new();
    for scenario in required {
        let Some(folder) = folder_of(output, scenario) else {
            continue;
        };
        let text = std::fs::read_to_string(folder.join("checks.json")).expect("a scenario has checks");
        let checks: Vec<Value> = serde_json::from_str(&text).expect("checks are JSON");
        for check in &checks {
            if check["status"] == "FAILURE" || check["status"] == "WARNING" {
                flaws.push_str(&format!(
                    "{scenario}: {} {} {}\n  {}\n",
                    check["status"], check["id"], check["errorMessage"], check["details"]
                ));
            }
        }
    }
    flaws
}

/// Where the suite keeps what it saw of a scenario: `server-<scenario>-<time>`, and without the first part for a client.
pub(super) fn folder_of(output: &Path, scenario: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(output).expect("the suite writes its results");
    let mut folders = entries.flatten().map(|entry| entry.path());
    folders.find(|folder| {
        let name = folder
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let name = name.strip_prefix("server-").unwrap_or(&name);
        // A time begins with its century; another scenario's name goes on with a word.
        name.strip_prefix(scenario)
            .is_some_and(|rest| rest.starts_with("-20"))
    })
}
