//! All processes that a task has started, where nothing else holds them together.
//!
//! Whoever holds them is their [sub-reaper](rustix::process::set_child_subreaper): whatever a task leaves behind becomes its child,
//! daemons too. So they are all found below it. A task that forks faster than it is killed would get away for as long as it
//! does; only a control group or a PID namespace can prevent that.

use std::collections::HashMap;
use std::time::Duration;

use axiom_core::time;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, getpid, kill_process, waitid};

/// How long killed processes may take to be gone. One that waits for a broken disk may take for ever.
const KILL_TIME: Duration = Duration::from_secs(5);
const KILL_PAUSE: Duration = Duration::from_millis(2);

/// Kills all that a task has left below us. Where its command is still to be waited for, that is left to the caller.
pub(crate) fn kill(command: Option<Pid>) {
    until_none_is_left(|| {
        let mut left = below(&[getpid()]);
        left.retain(|found| Some(found.pid) != command);
        for found in &left {
            kill_process(found.pid, Signal::KILL).ok();
            // If it is ours already; else whoever it is left to is killed as well.
            waitid(
                WaitId::Pid(found.pid),
                WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
            )
            .ok();
        }
        left.is_empty()
    });
}

/// Kills all that is below these. Others wait for them.
pub(crate) fn kill_below(roots: &[Pid]) {
    until_none_is_left(|| {
        let mut left = below(roots);
        // Dead, and nobody has looked yet.
        left.retain(|found| !found.is_zombie);
        for found in &left {
            kill_process(found.pid, Signal::KILL).ok();
        }
        left.is_empty()
    });
}

fn until_none_is_left(mut kill: impl FnMut() -> bool) {
    let until = time::now() + KILL_TIME;
    while !kill() && time::now() <= until {
        std::thread::park_timeout(KILL_PAUSE);
    }
}

pub(crate) fn signal(signal: Signal) {
    signal_below(&[getpid()], signal);
}

pub(crate) fn signal_below(roots: &[Pid], signal: Signal) {
    for found in below(roots) {
        kill_process(found.pid, signal).ok();
    }
}

#[derive(Debug, Clone, Copy)]
struct Found {
    pid: Pid,
    is_zombie: bool,
}

/// All processes below these, without them.
fn below(roots: &[Pid]) -> Vec<Found> {
    let mut children: HashMap<i32, Vec<Found>> = HashMap::new();
    let Ok(entries) = fs_err::read_dir("/proc") else {
        return Vec::new();
    };
    for entry in entries.flatten() {
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
            .and_then(Pid::from_raw);
        let Some(pid) = pid else { continue };
        let stat = fs_err::read_to_string(entry.path().join("stat")).ok();
        if let Some((state, parent)) = stat.as_deref().and_then(state_and_parent) {
            let is_zombie = state == "Z";
            children.entry(parent).or_default().push(Found { pid, is_zombie });
        }
    }
    let mut found: Vec<Found> = Vec::new();
    for root in roots {
        found.extend(children.remove(&root.as_raw_pid()).unwrap_or_default());
    }
    let mut at = 0;
    while let Some(parent) = found.get(at) {
        found.extend(children.remove(&parent.pid.as_raw_pid()).unwrap_or_default());
        at += 1;
    }
    found
}

/// Of a process whose `stat` this is. The name in it may hold anything, also brackets.
fn state_and_parent(stat: &str) -> Option<(&str, i32)> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ');
    Some((fields.next()?, fields.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_found_behind_any_name() {
        assert_eq!(state_and_parent("7 (sh) S 3 7 7"), Some(("S", 3)));
        assert_eq!(state_and_parent("7 (a) S 9 (b) R 4 7"), Some(("R", 4)));
        assert_eq!(state_and_parent("7 (sh"), None);
        assert_eq!(state_and_parent(""), None);
    }
}
