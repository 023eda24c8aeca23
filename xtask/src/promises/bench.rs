//! What `axiom-bench` measures: the gateway's release binary beside nginx and a plain proxy.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

use super::measured::Measured;
use crate::setup::Places;
use crate::workspace;

/// Builds the release binaries, runs the bench, and hands each result to `note` as it comes.
pub(crate) fn measure(
    only: Option<&str>,
    quick: bool,
    note: &mut impl FnMut(Measured),
) -> anyhow::Result<()> {
    let axiom = workspace::build_binary("axiom", "release")?;
    let bench = workspace::build_binary("axiom-bench", "release")?;
    // A quick look at everything takes it as it is, or does without.
    if only.map_or(!quick, |only| only.starts_with('Q')) {
        build_query(&axiom)?;
    }
    if only.is_none_or(|only| only.starts_with('R')) {
        workspace::build_examples("axiom-sandbox", "release")?;
    }
    let mut command = Command::new(&bench);
    command.args(["promises", "--json"]).arg("--axiom").arg(&axiom);
    command.arg("--bed").arg(Places::find()?.bed);
    command.args(only.into_iter().flat_map(|only| ["--only", only]));
    command.args(quick.then_some("--quick"));
    command
        .current_dir(workspace::root())
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to start {}", bench.display()))?;
    let stdout = child.stdout.take().context("the bench has no stdout")?;
    for line in BufReader::new(stdout).lines() {
        let line = line.context("failed to read from the bench")?;
        note(serde_json::from_str(&line).with_context(|| format!("not a result of the bench: {line}"))?);
    }
    let status = child.wait().context("failed to wait for the bench")?;
    match status.code() {
        // 1 says that a gate was missed: a result, which the caller reports.
        Some(0 | 1) => Ok(()),
        _ => bail!("the bench ended with {status}"),
    }
}

/// The promises of SQL alone need it: the engine takes longer to build than everything else together.
fn build_query(axiom: &Path) -> anyhow::Result<()> {
    const PACKAGE: &str = "axiom-query";
    if !axiom.with_file_name(PACKAGE).exists() {
        eprintln!(
            "cargo build --release -p {PACKAGE}: for the promises of SQL; once, some 17 minutes on two cores"
        );
    }
    workspace::build_binary(PACKAGE, "release").map(drop)
}
