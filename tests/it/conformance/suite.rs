//! Runs the suite's program, and reads what it says.

use std::path::Path;
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
    let required = revision.required("server");
    let output = bed::scratch("conformance");
    let mut command = program("server");
    command.args(["--url", url, "--requirements", revision.name(), "-o"]);
    command.arg(&output);
    let expected = Expected::read(expected_failures);
    command.arg("--expected-failures").arg(&expected.path);
    let mut running = Running::start("the conformance suite", &mut command);
    let lines = running.stdout.all();
    let status = running.ended();
    // `✓ name: n passed, n failed`, for the scenarios that are not scored too.
    let marked = lines
        .iter()
        .filter_map(|line| line.strip_prefix("✓ ")?.split(':').next());
    let scored = Scored {
        passed: marked
            .filter(|name| required.iter().any(|required| required == name))
            .count(),
        of: required.len(),
    };
    assert!(
        status.success(),
        "{scored:?}, not as {} has it:\n{}\n{}",
        expected.path,
        verdict(&lines),
        flaws(&output, |name| required
            .iter()
            .any(|required| name.starts_with(&format!("server-{required}-20"))))
    );
    expected.all_happened(&lines);
    scored
}

/// A command of the suite's program.
pub(super) fn program(side: &str) -> Command {
    let mut command = Command::new(bed::node());
    command
        .arg(bed::npm("@modelcontextprotocol/conformance/dist/index.js"))
        .arg(side);
    command
}

/// What the suite says at its end about the file of expected failures.
fn verdict(lines: &[String]) -> String {
    let total = lines.iter().rposition(|line| line.starts_with("Total:"));
    lines[total.unwrap_or_default()..].join("\n")
}

/// Each check in the suite's output that is not a success, and why.
pub(super) fn flaws(output: &Path, wanted: impl Fn(&str) -> bool) -> String {
    let mut flaws = String::new();
    let entries = std::fs::read_dir(output).expect("the suite writes its results");
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !wanted(&name) {
            continue;
        }
        let text = std::fs::read_to_string(entry.path().join("checks.json")).expect("a scenario has checks");
        let checks: Vec<Value> = serde_json::from_str(&text).expect("checks are JSON");
        for check in &checks {
            if check["status"] == "FAILURE" || check["status"] == "WARNING" {
                flaws.push_str(&format!(
                    "{name}: {} {} {}\n  {}\n",
                    check["status"], check["id"], check["errorMessage"], check["details"]
                ));
            }
        }
    }
    flaws
}
