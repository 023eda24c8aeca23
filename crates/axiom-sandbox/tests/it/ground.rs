//! A place for the groups of one test, and processes that start inside one.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use axiom_core::time::now;
use axiom_sandbox::cgroup::{Allowance, Controller, Group, GroupError, Layout, Options, Tree};
use axiom_sandbox::limits::Limits;
use rustix::process::Pid;

/// Far longer than anything here takes on a slow machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Ends and removes what the test made, also when it fails.
pub(crate) struct Ground {
    pub(crate) tree: Tree,
}

impl Ground {
    /// The ways in which this machine can be used: as it is, and as if it had no version 2. None where it lets us make no
    /// groups, or not with these controllers.
    pub(crate) fn all(needed: &[Controller]) -> Vec<Ground> {
        let layout = Layout::of_this_process().unwrap();
        let layouts = [layout.clone(), layout.without_v2()];
        layouts
            .into_iter()
            .filter_map(|layout| Ground::on(layout, needed))
            .collect()
    }

    /// As if only the controller of processes were mounted, and no version 2.
    pub(crate) fn with_only_pids() -> Option<Ground> {
        let mounts = fs_err::read_to_string("/proc/self/mountinfo").unwrap();
        let own = fs_err::read_to_string("/proc/self/cgroup").unwrap();
        let mounts: Vec<&str> = mounts.lines().filter(|line| line.ends_with(",pids")).collect();
        Ground::on(Layout::parse(&mounts.join("\n"), &own), &[Controller::Pids])
    }

    fn on(layout: Layout, needed: &[Controller]) -> Option<Ground> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let options = Options {
            name: format!("test-{}-{number}", std::process::id()),
            parent: None,
        };
        let tree = match Tree::find_in(layout, &options) {
            Ok(tree) => tree,
            Err(error) => {
                eprintln!("skipped: {error}");
                return None;
            }
        };
        let ground = Ground { tree };
        let missing = needed
            .iter()
            .find_map(|controller| ground.tree.missing(*controller));
        if let Some(reason) = missing {
            eprintln!("skipped: {reason}");
            return None;
        }
        Some(ground)
    }

    pub(crate) fn group(&self, limits: Limits) -> Group {
        self.tree
            .make(
                "task",
                &Allowance {
                    limits,
                    ..Allowance::default()
                },
            )
            .unwrap()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        for name in self.tree.list().unwrap_or_default() {
            let cleared = self.tree.open(&name).and_then(|group| {
                group.kill_all()?;
                group.remove()
            });
            report(&name, cleared);
        }
        report("the place itself", self.tree.clone().remove());
    }
}

fn report(what: &str, outcome: Result<(), GroupError>) {
    if let Err(error) = outcome {
        eprintln!("{what} was left behind: {error}");
    }
}

/// A process that was in its group before its program began.
pub(crate) struct Inside {
    child: Child,
    pub(crate) lines: Receiver<String>,
}

impl Inside {
    pub(crate) fn start(group: &Group, program: &[&str]) -> Inside {
        let mut child = Command::new("sh")
            .args(["-c", "read go; exec \"$@\"", "sh"])
            .args(program)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdout = child.stdout.take().unwrap();
        let (tx, lines) = channel();
        std::thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| tx.send(line))
        });
        let mut inside = Inside { child, lines };
        group.add(inside.pid()).unwrap();
        inside.say("go");
        inside
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn say(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").unwrap();
        stdin.flush().unwrap();
    }

    /// Waits for its end, with an end.
    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // Of a child that was not waited for the number is still its own. One that is frozen does not end until its group
        // is thawed, which comes later: it is not waited for without an end.
        drop(self.child.kill());
        for _ in 0..50 {
            match self.child.try_wait() {
                Ok(None) => std::thread::park_timeout(Duration::from_millis(5)),
                _ => return,
            }
        }
    }
}

pub(crate) fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = now() + PATIENCE;
    while !is_so() {
        assert!(now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// False, with a word, where this machine has no Python.
pub(crate) fn has_python() -> bool {
    let answer = Command::new("python3").arg("--version").output();
    let found = answer.is_ok_and(|answer| answer.status.success());
    if !found {
        eprintln!("skipped: no python3");
    }
    found
}
