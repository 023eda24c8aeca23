//! `cargo xtask test`: everything that must pass, from a bare machine: setup, build, then every test.

use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::{setup, workspace};

/// Runs all tests of the workspace; `args` go to the runner as they are (a filter, for instance).
///
/// The runner's summary is the last thing printed.
pub(crate) fn run(args: Vec<String>) -> anyhow::Result<()> {
    run_with(args, &[])
}

/// As [`run`], with more variables in the tests' environment.
pub(crate) fn run_with(args: Vec<String>, variables: &[(&str, &str)]) -> anyhow::Result<()> {
    setup::run(Vec::new())?;
    let places = setup::Places::find()?;
    // The end-to-end tests start real programs, and cargo does not tell one package where another's lie.
    // With the tests in one go: without them dependencies have fewer features, and would all be built twice.
    // One of the examples starts tasks for tests.
    let everything = ["build", "--workspace", "--bins", "--tests", "--examples"];
    cargo(&everything, &places, &[], &[])?;
    cargo(&["test", "--workspace", "--doc", "--quiet"], &places, &[], &[])?;
    if has_nextest() {
        cargo(&["nextest", "run", "--workspace"], &places, &args, variables)
    } else {
        let all = ["test", "--workspace", "--lib", "--bins", "--tests"];
        cargo(&all, &places, &args, variables)
    }
}

fn cargo(
    command: &[&str],
    places: &setup::Places,
    args: &[String],
    variables: &[(&str, &str)],
) -> anyhow::Result<()> {
    let status = workspace::cargo()
        .args(command)
        .args(args)
        .envs(variables.iter().copied())
        .env("AXIOM_BIN", places.target.join("debug/axiom"))
        .env("AXIOM_BED", &places.bed)
        .status()
        .with_context(|| format!("failed to start cargo {}", command.join(" ")))?;
    if !status.success() {
        bail!("cargo {} ended with {status}", command.join(" "));
    }
    Ok(())
}

fn has_nextest() -> bool {
    Command::new("cargo")
        .args(["nextest", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}
