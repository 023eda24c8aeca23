//! A running `axiom`: its lines as they come, and its end.

use std::io::{BufRead as _, BufReader, Read, Write as _};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::session::Scratch;

/// The longest a machine under load may take for anything here.
const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

impl Running {
    pub(crate) fn start(scratch: &Scratch, arguments: &[&str]) -> Self {
        let mut command = scratch.command(arguments);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Running {
            child,
            stdout,
            stderr,
        }
    }

    /// The next line of data.
    pub(crate) fn data(&self) -> String {
        self.stdout.recv_timeout(PATIENCE).expect("a line on stdout")
    }

    /// Waits for a line of talk that has `part` in it, and gives it.
    pub(crate) fn talk(&self, part: &str) -> String {
        let mut heard = Vec::new();
        loop {
            match self.stderr.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => heard.push(line),
                Err(_) => panic!("nobody said {part:?}, only {heard:#?}"),
            }
        }
    }

    pub(crate) fn write(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        stdin.write_all(line.as_bytes()).unwrap();
        stdin.write_all(b"\n").unwrap();
    }

    pub(crate) fn close_stdin(&mut self) {
        drop(self.child.stdin.take());
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Waits for its end; what was left on stdout, and how it ended.
    pub(crate) fn end(mut self) -> (Vec<String>, ExitStatus) {
        // The channel ends with the stream, and that with the process.
        let mut rest = Vec::new();
        loop {
            match self.stdout.recv_timeout(PATIENCE) {
                Ok(line) => rest.push(line),
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => break,
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => panic!("it does not end"),
            }
        }
        let status = self.child.wait().unwrap();
        (rest, status)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ended = self.child.kill().is_ok() && self.child.wait().is_ok();
    }
}

fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (tx, rx) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if tx.send(line).is_err() {
                break;
            }
        }
    });
    rx
}
