//! `cargo xtask promises`: measures every number in PROMISES.md with the real release binaries and writes the results.
//!
//! The measuring is `axiom-bench`'s; it prints one JSON object per line. Here they become the table's last column.

pub(crate) mod table;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use serde::Deserialize;
use serde_json::Value;

use crate::workspace;

#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Measure only this promise, by its id or a name the bench knows
    #[arg(long)]
    only: Option<String>,
    /// Measure for seconds instead of minutes; PROMISES.md keeps its results
    #[arg(long)]
    quick: bool,
    /// Print the bench's JSON lines instead of a summary
    #[arg(long)]
    json: bool,
}

/// One measured promise, as `axiom-bench promises --json` prints it; its main.rs documents the format.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Measured {
    id: String,
    /// A number, or the text `not measured`.
    value: Value,
    #[serde(default)]
    unit: String,
    verdict: Verdict,
    #[serde(default)]
    detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    /// The goal is met.
    Goal,
    /// Only the gate is met.
    Gate,
    Missed,
    /// Could not be measured on this machine.
    Skipped,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    // The gateway and the upstream it is measured with; the bench finds them beside its own executable.
    workspace::run(
        "cargo",
        &[
            "build",
            "--release",
            "--package",
            "axiom",
            "--package",
            "axiom-testkit",
        ],
    )?;
    let bench = workspace::build_binary("axiom-bench", "release")?;
    let measured = measure(&bench, arguments)?;
    if measured.is_empty() {
        bail!("the bench measured nothing; is the name of --only right?");
    }
    // A quick look is noise; only a whole measurement is written down.
    if !arguments.quick {
        write_results(&measured)?;
    }
    let missed = measured
        .values()
        .filter(|one| one.verdict == Verdict::Missed)
        .count();
    eprintln!(
        "{} measured, {missed} missed their gate; PROMISES.md is up to date",
        measured.len()
    );
    if missed > 0 {
        bail!("{missed} promise(s) missed the gate");
    }
    Ok(())
}

/// Runs the bench and gathers its lines as they come; a measurement takes minutes, so each is shown at once.
fn measure(bench: &Path, arguments: &Arguments) -> anyhow::Result<BTreeMap<String, Measured>> {
    let mut command = Command::new(bench);
    command
        .args(["promises", "--json"])
        .current_dir(workspace::root())
        .stdout(Stdio::piped());
    if arguments.quick {
        command.arg("--quick");
    }
    if let Some(only) = &arguments.only {
        command.args(["--only", only]);
    }
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to start {}", bench.display()))?;
    let stdout = child.stdout.take().context("the bench has no stdout")?;
    let mut measured = BTreeMap::new();
    for line in BufReader::new(stdout).lines() {
        let line = line.context("failed to read from the bench")?;
        if line.trim().is_empty() {
            continue;
        }
        let one: Measured =
            serde_json::from_str(&line).with_context(|| format!("not a result of the bench: {line}"))?;
        if arguments.json {
            println!("{line}");
        } else {
            println!("{:<5} {}", one.id, one.result());
        }
        measured.insert(one.id.clone(), one);
    }
    let status = child.wait().context("failed to wait for the bench")?;
    // A missed gate is a result, not a failure to measure: what was measured is still written down.
    if !status.success() && measured.is_empty() {
        bail!("the bench ended with {status}");
    }
    Ok(measured)
}

fn write_results(measured: &BTreeMap<String, Measured>) -> anyhow::Result<()> {
    let path = workspace::root().join(table::PAGE);
    let page = fs_err::read_to_string(&path)?;
    let results = measured
        .iter()
        .map(|(id, one)| (id.as_str(), one.result()))
        .collect();
    let (page, unknown) = table::with_results(&page, &results);
    fs_err::write(&path, page)?;
    if !unknown.is_empty() {
        bail!(
            "measured but not promised in {}: {}",
            table::PAGE,
            unknown.join(", ")
        );
    }
    Ok(())
}

impl Measured {
    /// `1.31 x nginx CPU: goal met (16.6 us, nginx 12.6 us)`: no date, so that an unchanged result changes nothing.
    fn result(&self) -> String {
        let value = match &self.value {
            Value::String(text) => text.clone(),
            Value::Number(number) => format!("{} {}", round(number), self.unit),
            other => other.to_string(),
        };
        let verdict = match self.verdict {
            Verdict::Goal => ": goal met",
            Verdict::Gate => ": gate met",
            Verdict::Missed => ": missed",
            Verdict::Skipped => "",
        };
        let detail = if self.detail.is_empty() {
            String::new()
        } else {
            format!(" ({})", self.detail)
        };
        // A bar or a line break would end the table's cell.
        format!("{}{verdict}{detail}", value.trim_end())
            .replace('|', "/")
            .replace(['\n', '\r'], " ")
    }
}

/// Three significant digits are more than the machine's noise leaves.
fn round(number: &serde_json::Number) -> String {
    match number.as_f64() {
        Some(value) if value.abs() >= 100.0 || value.fract() == 0.0 => format!("{value:.0}"),
        Some(value) if value.abs() >= 10.0 => format!("{value:.1}"),
        Some(value) => format!("{value:.2}"),
        None => number.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result_of(line: &str) -> anyhow::Result<String> {
        Ok(serde_json::from_str::<Measured>(line)?.result())
    }

    #[test]
    fn a_line_of_the_bench_becomes_a_cell() -> anyhow::Result<()> {
        let line = r#"{"id":"P1","value":1.3149,"unit":"x nginx CPU","goal":1.4,"gate":1.7,"verdict":"goal","detail":"16.6 us | 12.6 us"}"#;
        assert_eq!(result_of(line)?, "1.31 x nginx CPU: goal met (16.6 us / 12.6 us)");
        let line =
            r#"{"id":"P4","value":"not measured","unit":"x","verdict":"skipped","detail":"no nginx here"}"#;
        assert_eq!(result_of(line)?, "not measured (no nginx here)");
        assert_eq!(
            result_of(r#"{"id":"P9-rss","value":12,"unit":"MB","verdict":"missed"}"#)?,
            "12 MB: missed"
        );
        Ok(())
    }
}
