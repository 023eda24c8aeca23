//! Process trees where there is no /proc: the child's process group, and nothing that left it. Not tested by us.

use rustix::process::Pid;

use super::{Mark, Signal};

/// The child's process group.
#[derive(Debug)]
pub(super) struct Members {
    group: Option<Pid>,
    closed: bool,
}

impl Members {
    pub(super) fn new(pid: u32, _mark: Mark) -> Self {
        Members {
            group: i32::try_from(pid).ok().and_then(Pid::from_raw),
        }
    }

    pub(super) fn root_ended(&mut self) {}

    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// There is nothing to see.
    pub(super) fn remember(&mut self) {}

    /// One while the group exists.
    pub(super) fn signal(&mut self, signal: Signal) -> usize {
        let sent = self
            .group
            .map(|group| rustix::process::kill_process_group(group, signal.system()));
        if matches!(sent, Some(Ok(()))) { 1 } else { 0 }
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        if !self.closed {
            self.signal(Signal::Kill);
        }
    }
}

/// Orphans go to init, which collects them.
pub(super) fn sweep() {}
