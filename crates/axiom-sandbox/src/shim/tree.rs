//! All processes that a task has started, where nothing else holds them together.
//!
//! The shim is their [sub-reaper](rustix::process::set_child_subreaper): whatever a task leaves behind becomes the shim's child,
//! daemons too. So they are all found below the shim. A task that forks faster than it is killed would get away for as long as it
//! does; only a control group or a PID namespace can prevent that.

use std::collections::HashMap;
use std::time::Duration;

use axiom_core::time;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, waitid};

/// How long killed processes may take to be gone. One that waits for a broken disk may take for ever.
const KILL_TIME: Duration = Duration::from_secs(5);
const KILL_PAUSE: Duration = Duration::from_millis(2);

/// Kills all that a task has left. Where its command is still to be waited for, that is left to the caller.
pub(super) fn kill(command: Option<Pid>) {
    let until = time::now() + KILL_TIME;
    loop {
        let left: Vec<Pid> = below(getpid())
            .into_iter()
            .filter(|pid| Some(*pid) != command)
            .collect();
        if left.is_empty() || time::now() > until {
            return;
        }
        for pid in left {
            kill_process(pid, Signal::KILL).ok();
            // If it is ours already; else whoever it is left to is killed as well.
            waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOHANG).ok();
        }
        std::thread::park_timeout(KILL_PAUSE);
    }
}

pub(super) fn signal(signal: Signal) {
    for pid in below(getpid()) {
        kill_process(pid, signal).ok();
    }
}

/// All processes below this one.
fn below(root: Pid) -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let Ok(entries) = fs_err::read_dir("/proc") else {
        return Vec::new();
    };
    for entry in entries.flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok());
        let Some(pid) = pid else { continue };
        let parent = fs_err::read_to_string(entry.path().join("stat")).ok();
        if let Some(parent) = parent.as_deref().and_then(parent_of) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root.as_raw_pid()];
    let mut at = 0;
    while let Some(parent) = found.get(at) {
        found.extend(children.remove(parent).unwrap_or_default());
        at += 1;
    }
    found.into_iter().skip(1).filter_map(Pid::from_raw).collect()
}

/// Of a process whose `stat` this is. The name in it may hold anything, also brackets.
fn parent_of(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    rest.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(parent_of("7 (sh) S 3 7 7"), Some(3));
        assert_eq!(parent_of("7 (a) S 9 (b) R 4 7"), Some(4));
        assert_eq!(parent_of("7 (sh"), None);
        assert_eq!(parent_of(""), None);
    }
}
