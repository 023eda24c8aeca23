//! Runs a program for a short answer. One that hangs is ended, with all that it started.

use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use std::{fmt, io};

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::wait;

/// Every program that we know answers within 0.1 s; one that needs more than a second is of no use for a task.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// A version is one line, and what a program says beyond a page is not read.
const ANSWER_BYTES_MAX: usize = 4_096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// Not in `PATH`, or nowhere in it where this user may run it.
    NotThere,
    /// How it failed, as the rest of a sentence that starts with its name.
    Failed(String),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NoAnswer::NotThere => f.write_str("not in PATH"),
            NoAnswer::Failed(how) => f.write_str(how),
        }
    }
}

/// The first line that `program --version` says.
pub(super) fn version(program: &str) -> Result<String, NoAnswer> {
    let answer = run(program, &["--version"])?;
    Ok(answer.lines().next().unwrap_or_default().trim().to_owned())
}

/// What it writes, if it ends well and in time.
pub(super) fn run(program: &str, args: &[&str]) -> Result<String, NoAnswer> {
    run_within(ANSWER_LIMIT, program, args)
}

fn run_within(limit: Duration, program: &str, args: &[&str]) -> Result<String, NoAnswer> {
    let started = Command::new(program)
        .args(args)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A wrapper that starts the program proper is ended together with it.
        .process_group(0)
        .spawn();
    let mut child = match started {
        Ok(child) => child,
        // Also refused: a program in a folder of `PATH` that this user may not look into.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied
            ) =>
        {
            return Err(NoAnswer::NotThere);
        }
        Err(error) => return Err(failed(error)),
    };
    let ended = wait::until(limit, || child.try_wait().map(|status| status.is_some()));
    if !matches!(ended, Ok(true)) {
        end(&mut child);
        return Err(NoAnswer::Failed(format!("gave no answer within {limit:?}")));
    }
    let status = child.wait().map_err(failed)?;
    if status.success() {
        return child
            .stdout
            .take()
            .map_or(Ok(String::new()), said)
            .map_err(failed);
    }
    let complaint = child
        .stderr
        .take()
        .map_or(Ok(String::new()), said)
        .map_err(failed)?;
    match complaint.trim().lines().next() {
        Some(line) => Err(NoAnswer::Failed(format!("failed with {status}: {line}"))),
        None => Err(NoAnswer::Failed(format!("failed with {status}"))),
    }
}

fn end(child: &mut Child) {
    // It was not waited for, so the number is still its own.
    if let Err(errno) = kill_process_group(Pid::from_child(child), Signal::KILL) {
        tracing::warn!(%errno, "a program that hangs could not be ended");
    }
    // What hangs in the kernel is not waited for without an end either.
    if !matches!(
        wait::until(ANSWER_LIMIT, || child.try_wait().map(|status| status.is_some())),
        Ok(true)
    ) {
        tracing::warn!(pid = child.id(), "a program that was killed has not ended");
    }
}

fn failed(error: io::Error) -> NoAnswer {
    NoAnswer::Failed(format!("gave no answer: {error}"))
}

/// What is in the pipe by now. A grandchild that keeps it open is not waited for.
fn said(mut pipe: impl io::Read + AsFd) -> io::Result<String> {
    let flags = fcntl_getfl(&pipe)?;
    fcntl_setfl(&pipe, flags | OFlags::NONBLOCK)?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let len = match pipe.read(&mut answer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
        read => read?,
    };
    answer.truncate(len);
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

#[cfg(test)]
mod tests {
    use axiom_core::time::now;

    use super::*;

    #[test]
    fn an_answer_is_its_first_line() {
        assert_eq!(run("sh", &["-c", "echo one; echo two"]).unwrap(), "one\ntwo\n");
        assert_eq!(version("no-such-program").unwrap_err(), NoAnswer::NotThere);
        assert_eq!(
            run("sh", &["-c", "exit 3"]).unwrap_err().to_string(),
            "failed with exit status: 3"
        );
    }

    #[test]
    fn one_that_hangs_is_ended_in_time() {
        let started = now();
        let limit = Duration::from_millis(50);
        // The grandchild holds the pipe; it goes with its parent.
        let error = run_within(limit, "sh", &["-c", "sleep 1000 & sleep 1000"])
            .unwrap_err()
            .to_string();
        assert_eq!(error, "gave no answer within 50ms");
        assert!(started.elapsed() < Duration::from_secs(5));
    }
}
