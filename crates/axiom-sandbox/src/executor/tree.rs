//! All processes that a task has started, where nothing else holds them together.
//!
//! Whoever holds them is their [sub-reaper](rustix::process::set_child_subreaper): whatever a task leaves behind becomes its child,
//! daemons too. So they are all found below it. A task that forks faster than it is killed would get away for as long as it
//! does; only a control group or a PID namespace can prevent that.

use std::collections::HashMap;
use std::path::Path;
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

/// All processes below these, without them. Those that come or go meanwhile may be missing: whoever must have all asks again.
fn below(roots: &[Pid]) -> Vec<Found> {
    // The kernel has lists of children, unless it was built without. A look at every process of the machine takes as long as
    // there are processes, and a thousand tasks that end at once would each take it.
    match Path::new("/proc/thread-self/children").exists() {
        true => gather(roots, children),
        false => {
            let mut all = all_by_parent();
            gather(roots, |parent| {
                all.remove(&parent.as_raw_pid()).unwrap_or_default()
            })
        }
    }
}

fn gather(roots: &[Pid], mut children: impl FnMut(Pid) -> Vec<Found>) -> Vec<Found> {
    let mut found: Vec<Found> = roots.iter().flat_map(|root| children(*root)).collect();
    let mut at = 0;
    while let Some(parent) = found.get(at) {
        let more = children(parent.pid);
        found.extend(more);
        at += 1;
    }
    found
}

/// The children of all threads of a process, as the kernel lists them.
fn children(parent: Pid) -> Vec<Found> {
    let threads = fs_err::read_dir(format!("/proc/{}/task", parent.as_raw_pid()));
    let mut found = Vec::new();
    // A process that is gone has none.
    for thread in threads.into_iter().flatten().flatten() {
        let list = fs_err::read_to_string(thread.path().join("children")).unwrap_or_default();
        let pids = list.split_ascii_whitespace();
        for pid in pids.filter_map(|pid| Pid::from_raw(pid.parse().ok()?)) {
            let stat = fs_err::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid()));
            let is_zombie = stat
                .ok()
                .as_deref()
                .and_then(state_and_parent)
                .is_some_and(|(state, _)| state == "Z");
            found.push(Found { pid, is_zombie });
        }
    }
    found
}

/// Every process of the machine, by its parent.
fn all_by_parent() -> HashMap<i32, Vec<Found>> {
    let mut children: HashMap<i32, Vec<Found>> = HashMap::new();
    let entries = fs_err::read_dir("/proc").into_iter().flatten().flatten();
    for entry in entries {
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
    children
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
    /// Both ways find the same: a child, and its child.
    #[test]
    fn both_ways_find_what_is_below() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 60 & echo there; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = [0; 6];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut said).unwrap();
        let pids = |found: Vec<Found>| {
            let mut pids: Vec<i32> = found.iter().map(|found| found.pid.as_raw_pid()).collect();
            pids.sort_unstable();
            pids
        };
        let root = [Pid::from_child(&child)];
        let listed = pids(gather(&root, children));
        let mut all = all_by_parent();
        let looked_up = pids(gather(&root, |parent| {
            all.remove(&parent.as_raw_pid()).unwrap_or_default()
        }));
        kill_below(&root);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(listed.len(), 1);
        assert_eq!(listed, looked_up);
    }
}
