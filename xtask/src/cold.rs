//! `cargo xtask cold`: what a newcomer waits for. A fresh clone with an empty target directory, README's first command, and
//! the time until its endpoint has answered. Only what is committed counts, as it does for a newcomer.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use fs_err as fs;

use crate::readme::{self, server};
use crate::workspace;

/// What we promise on two cores.
pub(crate) const LIMIT: Duration = Duration::from_secs(8 * 60);

/// Long enough to learn by how much it was missed.
const GIVE_UP: Duration = Duration::from_secs(30 * 60);

pub(crate) fn run() -> anyhow::Result<()> {
    let took = measure()?;
    println!(
        "cold: first answer after {} s (at most {} s)",
        took.as_secs(),
        LIMIT.as_secs()
    );
    ensure!(
        took <= LIMIT,
        "the first answer took longer than {} s",
        LIMIT.as_secs()
    );
    Ok(())
}

/// The time from typing the command to the first answer.
pub(crate) fn measure() -> anyhow::Result<Duration> {
    let folder = std::env::temp_dir().join(format!("axiom-cold-{}", std::process::id()));
    workspace::run(
        "git",
        &["clone", "--quiet", "--local", ".", &folder.to_string_lossy()],
    )?;
    let words = readme::first_command()?;
    eprintln!("cold: {} in a fresh clone", words.join(" "));
    let (program, arguments) = words.split_first().context("the command is empty")?;
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&folder);
    // Cargo tells its child about this workspace; the clone is another one.
    command
        .env("CARGO_TARGET_DIR", folder.join("target"))
        .env_remove("CARGO_MANIFEST_DIR");
    #[allow(clippy::disallowed_methods, reason = "measures a build by the wall clock")]
    let started = std::time::Instant::now();
    let answered = server::first_answer(command, GIVE_UP);
    let took = started.elapsed();
    // Stopped before its folder goes.
    let answered = answered.map(drop);
    fs::remove_dir_all(&folder)?;
    answered.map(|()| took)
}
