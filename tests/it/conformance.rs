//! The official conformance suite, against the dual-era server itself and through the gateway.

use std::path::Path;
use std::process::Command;

use axiom_tests::child::Running;
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::{bed, servers};
use serde_json::Value;

/// What the suite counts, and what of it passed.
#[derive(Debug, PartialEq, Eq)]
struct Scored {
    passed: usize,
    of: usize,
}

const MODERN: (&str, Scored) = ("2026-07-28", Scored { passed: 37, of: 37 });
const LEGACY: (&str, Scored) = ("2025-11-25", Scored { passed: 30, of: 30 });

#[test]
fn the_server_itself_passes() {
    let (_server, url) = servers::dual_http();
    for (revision, all) in [MODERN, LEGACY] {
        assert_eq!(suite(&url, revision), all, "{revision}");
    }
}

#[test]
fn modern_through_the_gateway() {
    let (_server, url) = servers::dual_http();
    let gateway = Gateway::start(&Config::new().url("dual", &url));
    assert_eq!(suite(&gateway.server("dual"), MODERN.0), MODERN.1);
}

#[test]
fn legacy_through_the_gateway() {
    let (_server, url) = servers::dual_http();
    let gateway = Gateway::start(&Config::new().url("dual", &url));
    assert_eq!(suite(&gateway.server("dual"), LEGACY.0), LEGACY.1);
}

#[test]
fn both_through_the_gateway_to_a_child_process() {
    let gateway = Gateway::start(&Config::new().stdio("dual", &servers::dual_stdio()));
    for (revision, all) in [MODERN, LEGACY] {
        assert_eq!(suite(&gateway.server("dual"), revision), all, "{revision}");
    }
}

/// Runs the scenarios that a revision requires, and those that it only looks at.
fn suite(url: &str, revision: &str) -> Scored {
    let mut command = Command::new(bed::node());
    command.arg(bed::npm("@modelcontextprotocol/conformance/dist/index.js"));
    command.args(["server", "--url", url, "--requirements", revision]);
    let output = bed::scratch("conformance");
    command.arg("-o").arg(&output);
    if revision == MODERN.0 {
        // Names unscored scenarios only; see the file.
        command
            .arg("--expected-failures")
            .arg(bed::ours("conformance/expected-failures.yaml"));
    }
    let mut running = Running::start("the conformance suite", &mut command);
    let lines = running.stdout.all();
    let status = running.ended();
    let scored = scored(&lines, revision);
    assert!(
        status.success(),
        "{revision}: {scored:?}\n{}",
        failures(&output, revision)
    );
    scored
}

/// `✓ name: n passed, n failed` of each scenario that the revision requires of a server.
fn scored(lines: &[String], revision: &str) -> Scored {
    let required = required(revision);
    let passed = lines
        .iter()
        .filter_map(|line| line.strip_prefix("✓ ")?.split(':').next());
    let passed = passed.filter(|name| required.iter().any(|required| required == name));
    Scored {
        passed: passed.count(),
        of: required.len(),
    }
}

/// The list under `server:` in the suite's own file of requirements.
fn required(revision: &str) -> Vec<String> {
    let path = bed::npm(&format!(
        "@modelcontextprotocol/conformance/requirements/{revision}.yaml"
    ));
    let text = std::fs::read_to_string(path).expect("the suite says what it requires");
    let lines = text.lines().skip_while(|line| *line != "server:").skip(1);
    lines
        .map_while(|line| line.strip_prefix("  - "))
        .map(str::to_owned)
        .collect()
}

/// The failed checks of required scenarios, and why each failed.
fn failures(output: &Path, revision: &str) -> String {
    let mut failures = String::new();
    for entry in std::fs::read_dir(output)
        .expect("the suite writes its results")
        .flatten()
    {
        let name = entry.file_name().to_string_lossy().into_owned();
        if !required(revision)
            .iter()
            .any(|required| name.starts_with(&format!("server-{required}-20")))
        {
            continue;
        }
        let text = std::fs::read_to_string(entry.path().join("checks.json")).expect("a scenario has checks");
        let checks: Vec<Value> = serde_json::from_str(&text).expect("checks are JSON");
        for check in checks.iter().filter(|check| check["status"] == "FAILURE") {
            failures.push_str(&format!(
                "{name}: {} {}\n  {}\n",
                check["id"], check["errorMessage"], check["details"]
            ));
        }
    }
    failures
}
