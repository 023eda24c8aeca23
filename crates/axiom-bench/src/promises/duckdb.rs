//! The peer: DuckDB in Python, a process of its own. `duckdb.py` says what it can be asked.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use serde_json::Value;

use super::Setup;
use crate::process;

const SCRIPT: &str = include_str!("duckdb.py");

/// A process that waits for requests. Dropping it ends it.
#[derive(Debug)]
pub(super) struct DuckDb {
    child: Child,
    requests: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl DuckDb {
    pub(super) fn start(setup: &Setup) -> anyhow::Result<DuckDb> {
        let python = setup.bed.join("python-data/bin/python");
        anyhow::ensure!(
            python.is_file(),
            "DuckDB is not installed: there is no {}; cargo xtask setup installs it",
            python.display()
        );
        let mut child = Command::new(&python)
            .args(["-c", SCRIPT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} does not start", python.display()))?;
        let requests = child.stdin.take().context("its stdin is piped")?;
        let answers = child.stdout.take().context("its stdout is piped")?;
        Ok(DuckDb {
            child,
            requests,
            answers: BufReader::new(answers),
        })
    }

    /// # Errors
    /// It ended, or says that it cannot do this.
    pub(super) fn ask(&mut self, request: &Value) -> anyhow::Result<Value> {
        writeln!(self.requests, "{request}").context("DuckDB's process is gone")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let mut answer: Value = serde_json::from_str(&line)
            .with_context(|| format!("DuckDB's process ended, or says {line:?}"))?;
        if let Some(error) = answer.get("error") {
            anyhow::bail!("DuckDB says {error} to {request}");
        }
        Ok(answer["answer"].take())
    }

    /// What it has used of the CPU since it started.
    pub(super) fn cpu(&self) -> anyhow::Result<Duration> {
        Ok(process::cpu(&process::tree(self.child.id()))?)
    }
}

impl Drop for DuckDb {
    fn drop(&mut self) {
        process::stop(&mut self.child, Duration::from_secs(3));
    }
}
