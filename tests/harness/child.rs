//! A process that a test started: its output is kept for the failure message, and it never outlives the test.

use std::io::{BufRead as _, BufReader, Read};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use crate::wait;

/// How long a process gets between SIGTERM and SIGKILL.
const GRACE: Duration = Duration::from_secs(15);

/// A running process with captured output.
pub struct Running {
    name: String,
    child: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: Lines,
    pub stderr: Lines,
}

impl Running {
    /// Starts it with all three streams captured.
    pub fn start(name: &str, command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("failed to start {name} ({command:?}): {error}"));
        let stdout = Lines::read(child.stdout.take().unwrap());
        let stderr = Lines::read(child.stderr.take().unwrap());
        let stdin = child.stdin.take();
        Running {
            name: name.to_owned(),
            child,
            stdin,
            stdout,
            stderr,
        }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The URL in the line `{"event":"listening","mcp":"http://..."}` that every server of ours prints when it is ready.
    pub fn listening(&self) -> serde_json::Value {
        let line = self.stdout.wait(&format!("{} listens", self.name), |line| {
            line.contains("\"listening\"")
        });
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{}: {error} in {line}", self.name))
    }

    /// Asks it to end, as an operator would, and waits until it did.
    pub fn stop(&mut self) -> ExitStatus {
        self.signal(rustix::process::Signal::TERM);
        self.ended()
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = i32::try_from(self.pid())
            .ok()
            .and_then(rustix::process::Pid::from_raw)
            .unwrap();
        match rustix::process::kill_process(pid, signal) {
            // It may have ended by itself meanwhile.
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => panic!("failed to signal {}: {error}", self.name),
        }
    }

    /// Waits until it has ended by itself.
    pub fn ended(&mut self) -> ExitStatus {
        let child = &mut self.child;
        wait::until(&format!("{} ends", self.name), || child.try_wait().unwrap())
    }

    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            for (stream, lines) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
                eprintln!("--- {stream} of {}:\n{}", self.name, lines.tail());
            }
        }
        self.stdin = None;
        self.signal(rustix::process::Signal::TERM);
        let child = &mut self.child;
        if wait::within(GRACE, || child.try_wait().ok().flatten()).is_none() {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// The lines of a stream as they come.
#[derive(Clone)]
pub struct Lines {
    state: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    lines: Vec<String>,
    ended: bool,
}

impl Lines {
    fn read(stream: impl Read + Send + 'static) -> Self {
        let lines = Lines {
            state: Arc::default(),
        };
        let ours = lines.clone();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(stream);
            let mut line = Vec::new();
            while reader.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                ours.change(|state| state.lines.push(text));
                line.clear();
            }
            ours.change(|state| state.ended = true);
        });
        lines
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let (state, changed) = &*self.state;
        change(&mut state.lock().unwrap());
        changed.notify_all();
    }

    /// Waits for a line, old or new, that is `wanted`.
    pub fn wait(&self, what: &str, wanted: impl Fn(&str) -> bool) -> String {
        self.wait_from(0, what, wanted).1
    }

    /// Waits for a `wanted` line at `from` or later; gives its index too, so that the next wait can go on after it.
    pub fn wait_from(&self, from: usize, what: &str, wanted: impl Fn(&str) -> bool) -> (usize, String) {
        let start = Instant::now();
        let (state, changed) = &*self.state;
        let mut state = state.lock().unwrap();
        let mut seen = from;
        loop {
            while let Some(line) = state.lines.get(seen) {
                if wanted(line) {
                    return (seen, line.clone());
                }
                seen += 1;
            }
            assert!(
                !state.ended,
                "the output ended before {what}; it was:\n{}",
                state.lines.join("\n")
            );
            let left = wait::DEADLINE.checked_sub(start.elapsed());
            let left = left.unwrap_or_else(|| {
                panic!(
                    "not so in time: {what}; the output was:\n{}",
                    state.lines.join("\n")
                )
            });
            state = changed.wait_timeout(state, left).unwrap().0;
        }
    }

    pub fn len(&self) -> usize {
        self.state.0.lock().unwrap().lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The last lines, and the start of each.
    fn tail(&self) -> String {
        let lines = &self.state.0.lock().unwrap().lines;
        let last = lines.iter().skip(lines.len().saturating_sub(40));
        last.map(|line| line.chars().take(500).collect::<String>())
            .collect::<Vec<_>>()
            .join("\n")
    }

    pub fn text(&self) -> String {
        self.state.0.lock().unwrap().lines.join("\n")
    }

    /// Waits until the stream has ended and gives all of it.
    pub fn all(&self) -> Vec<String> {
        wait::until("the output ends", || {
            let state = self.state.0.lock().unwrap();
            state.ended.then(|| state.lines.clone())
        })
    }
}
