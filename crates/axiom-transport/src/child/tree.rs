//! A child's process tree: what it started, what that started, and so on, wherever they went.
//!
//! On Linux all of them are found: by descent, by process group and session, and those that left all three (a daemon) by
//! a mark in their environment. Elsewhere only the child's process group is known.

#[cfg(target_os = "linux")]
mod linux;
#[cfg(not(target_os = "linux"))]
mod portable;

use tokio::process::Command;

#[cfg(target_os = "linux")]
use linux::{Members, sweep};
#[cfg(not(target_os = "linux"))]
use portable::{Members, sweep};

/// The variable that marks a child and, by inheritance, all it starts. The value lists the marks of all the trees that a
/// process is in: a gateway may be another gateway's child.
const MARK_VARIABLE: &str = "AXIOM_TREE";

/// How a process is asked, or made, to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Signal {
    Term,
    Kill,
}

impl Signal {
    pub(super) fn number(self) -> i32 {
        self.system().as_raw()
    }

    fn system(self) -> rustix::process::Signal {
        match self {
            Signal::Term => rustix::process::Signal::TERM,
            Signal::Kill => rustix::process::Signal::KILL,
        }
    }
}

/// Names one tree among all those on this machine.
#[derive(Debug, Clone)]
pub(super) struct Mark {
    name: String,
}

impl Mark {
    pub(super) fn new() -> Self {
        use std::sync::atomic::{AtomicU64, Ordering};
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // Our own pid may have had an earlier owner, so the time goes along.
        Mark {
            name: format!(
                "{}-{}-{number}",
                std::process::id(),
                axiom_core::time::unix_seconds()
            ),
        }
    }

    pub(super) fn put_into(&self, command: &mut Command) {
        let outer = std::env::var(MARK_VARIABLE)
            .map(|outer| outer + ":")
            .unwrap_or_default();
        command.env(MARK_VARIABLE, outer + &self.name);
    }

    fn is_in(&self, value: &[u8]) -> bool {
        value
            .split(|byte| *byte == b':')
            .any(|name| name == self.name.as_bytes())
    }
}

/// The processes of one child. Dropped before [`Tree::close`], because the runtime ends first, it kills them at once.
#[derive(Debug)]
pub(super) struct Tree {
    pid: u32,
    // Taken while a look at /proc is under way on another thread.
    members: Option<Members>,
}

impl Tree {
    /// The tree whose root was just started as `pid`.
    pub(super) fn new(pid: u32, mark: Mark) -> Self {
        Tree {
            pid,
            members: Some(Members::new(pid, mark)),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    /// Remembers who is in the tree now.
    pub(super) async fn remember(&mut self) {
        self.with(Members::remember).await;
    }

    /// Sends `signal` to every process of the tree that did not get it yet, and collects those that have ended.
    /// Returns how many are left.
    pub(super) async fn signal(&mut self, signal: Signal) -> usize {
        self.with(move |members| members.signal(signal))
            .await
            .unwrap_or(0)
    }

    /// Collects orphans of any tree that ended a while ago.
    pub(super) async fn sweep(&mut self) {
        self.with(|_| sweep()).await;
    }

    /// The root has been waited for: its pid may now belong to somebody else.
    pub(super) fn root_ended(&mut self) {
        if let Some(members) = &mut self.members {
            members.root_ended();
        }
    }

    /// Nothing is left of it.
    pub(super) fn close(&mut self) {
        if let Some(members) = &mut self.members {
            members.close();
        }
    }

    /// Reading /proc takes milliseconds on a busy machine: not on a worker thread.
    async fn with<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Members) -> T + Send + 'static,
    ) -> Option<T> {
        let mut members = self.members.take()?;
        let done = axiom_core::spawn::blocking(move || {
            let outcome = work(&mut members);
            (members, outcome)
        });
        let (members, outcome) = done.join().await?;
        self.members = Some(members);
        Some(outcome)
    }
}
