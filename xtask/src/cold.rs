//! `cargo xtask cold`: what a newcomer waits for. A fresh clone with an empty target directory, README's first command, and
//! the time until its endpoint has answered. Only what is committed counts, as it does for a newcomer.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use fs_err as fs;

use crate::readme::{self, server};
use crate::workspace;

/// What we promise on two cores, from typing the first command to the first answer.
pub(crate) const ANSWER_LIMIT: Duration = Duration::from_secs(8 * 60);

/// What we promise on two cores for `.ci/run` with nothing built.
pub(crate) const CHECKS_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Long enough to learn by how much it was missed.
const GIVE_UP: Duration = Duration::from_secs(30 * 60);

pub(crate) fn run() -> anyhow::Result<()> {
    let took = first_answer()?;
    println!(
        "cold: first answer after {} s (at most {} s)",
        took.as_secs(),
        ANSWER_LIMIT.as_secs()
    );
    ensure!(
        took <= ANSWER_LIMIT,
        "the first answer took longer than {} s",
        ANSWER_LIMIT.as_secs()
    );
    Ok(())
}

/// The time from typing README's first command to the first answer of what it starts.
pub(crate) fn first_answer() -> anyhow::Result<Duration> {
    let clone = Clone::new()?;
    let words = readme::first_command()?;
    eprintln!("cold: {} in a fresh clone", words.join(" "));
    let (program, arguments) = words.split_first().context("the command is empty")?;
    let mut command = clone.command(program);
    command.args(arguments);
    // What it starts is stopped here, before its folder goes.
    timed(|| server::first_answer(command, GIVE_UP).map(drop))
}

/// The time that every check takes.
pub(crate) fn every_check() -> anyhow::Result<Duration> {
    let clone = Clone::new()?;
    eprintln!("cold: .ci/run in a fresh clone");
    let mut command = clone.command(clone.0.join(".ci/run"));
    timed(|| {
        let status = command.status().context("failed to start .ci/run")?;
        ensure!(status.success(), ".ci/run ended with {status}");
        Ok(())
    })
}

fn timed(work: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<Duration> {
    #[allow(clippy::disallowed_methods, reason = "measures builds by the wall clock")]
    let started = std::time::Instant::now();
    work()?;
    Ok(started.elapsed())
}

/// A clone of this checkout that goes away with this value.
struct Clone(PathBuf);

impl Clone {
    fn new() -> anyhow::Result<Self> {
        let folder = std::env::temp_dir().join(format!("axiom-cold-{}", std::process::id()));
        workspace::run(
            "git",
            &["clone", "--quiet", "--local", ".", &folder.to_string_lossy()],
        )?;
        Ok(Clone(folder))
    }

    /// A command in the clone, with an empty target directory of its own.
    fn command(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .current_dir(&self.0)
            .env("CARGO_TARGET_DIR", self.0.join("target"));
        // Cargo tells its child about this workspace; the clone is another one.
        command.env_remove("CARGO_MANIFEST_DIR");
        command
    }
}

impl Drop for Clone {
    fn drop(&mut self) {
        // Best effort: what is left in the system's temporary folder harms nobody.
        drop(fs::remove_dir_all(&self.0));
    }
}
