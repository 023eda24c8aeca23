//! Process trees through /proc and pidfds. Everything that only Linux has is in this file.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, Once, PoisonError};
use std::time::Duration;

use axiom_core::time;
use rustix::process::{Pid, PidfdFlags, WaitOptions};

use super::{MARK_VARIABLE, Mark, Signal};

/// How long a dropped tree is waited for. Killed processes need about a millisecond.
const DROP_WAIT: Duration = Duration::from_millis(500);

/// Roots of live trees. Their ends are waited for elsewhere: a sweep must not take them away.
static ROOTS: Mutex<Vec<u32>> = Mutex::new(Vec::new());

/// One process, told apart from a later one with the same pid by when it started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Member {
    pid: u32,
    /// Clock ticks since boot.
    started: u64,
}

/// What /proc says about one process.
#[derive(Debug, Clone, Copy)]
struct Entry {
    member: Member,
    parent: u32,
    group: u32,
    session: u32,
    is_zombie: bool,
}

/// The members of one tree, as far as they are known.
#[derive(Debug)]
pub(super) struct Members {
    root: Member,
    root_ended: bool,
    mark: Mark,
    /// Everyone ever seen in the tree.
    seen: HashSet<Member>,
    /// Who got which signal already.
    told: HashSet<(Member, Signal)>,
    closed: bool,
}

impl Members {
    pub(super) fn new(pid: u32, mark: Mark) -> Self {
        adopt_orphans();
        ROOTS.lock().unwrap_or_else(PoisonError::into_inner).push(pid);
        let started = Entry::read(pid).map_or(0, |entry| entry.member.started);
        let root = Member { pid, started };
        Members {
            root,
            root_ended: false,
            mark,
            seen: HashSet::from([root]),
            told: HashSet::new(),
            closed: false,
        }
    }

    pub(super) fn root_ended(&mut self) {
        self.root_ended = true;
        ROOTS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .retain(|pid| *pid != self.root.pid);
    }

    /// Nothing is left of the tree.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Remembers everyone who is in the tree now.
    pub(super) fn remember(&mut self) {
        self.look();
    }

    /// The processes of the tree that are left. Those that ended and are ours to collect are collected.
    fn look(&mut self) -> Vec<Member> {
        let entries = entries();
        let ours = std::process::id();
        let members = self.find(&entries, ours);
        let mut left = Vec::new();
        for entry in entries.values().filter(|entry| members.contains(&entry.member)) {
            match (entry.is_zombie, entry.parent) {
                // The root's end is waited for elsewhere.
                (true, parent) if parent == ours && entry.member == self.root => {}
                (true, parent) if parent == ours => collect(entry.member.pid),
                (true, 1) => {}
                // A zombie with another parent becomes ours when that one ends.
                _ => left.push(entry.member),
            }
        }
        self.seen.extend(members);
        left
    }

    /// Sends `signal` once to each process that is left; returns how many there are.
    pub(super) fn signal(&mut self, signal: Signal) -> usize {
        let left = self.look();
        for member in &left {
            if self.told.insert((*member, signal)) {
                send(*member, signal);
            }
        }
        left.len()
    }

    /// Who belongs to the tree: starting from everyone known, everyone who descends from them.
    fn find(&self, entries: &HashMap<u32, Entry>, ours: u32) -> HashSet<Member> {
        // Group and session carry the root's pid, which is only a proof while no one else can have that pid.
        let pid_is_taken = entries
            .get(&self.root.pid)
            .is_some_and(|entry| entry.member != self.root);
        let is_member = |entry: &Entry| {
            self.seen.contains(&entry.member)
                || (!pid_is_taken && (entry.group == self.root.pid || entry.session == self.root.pid))
                || (is_orphan(entry, ours) && self.is_marked(entry.member.pid))
        };
        let mut members: HashSet<Member> = entries
            .values()
            .filter(|entry| is_member(entry))
            .map(|entry| entry.member)
            .collect();
        let mut children: HashMap<u32, Vec<&Entry>> = HashMap::new();
        entries
            .values()
            .for_each(|entry| children.entry(entry.parent).or_default().push(entry));
        let mut open: Vec<u32> = members.iter().map(|member| member.pid).collect();
        while let Some(parent) = open.pop() {
            for child in children.get(&parent).into_iter().flatten() {
                if members.insert(child.member) {
                    open.push(child.member.pid);
                }
            }
        }
        members.retain(|member| member.pid != ours);
        members
    }

    fn is_marked(&self, pid: u32) -> bool {
        let Ok(environment) = std::fs::read(format!("/proc/{pid}/environ")) else {
            return false;
        };
        environment.split(|byte| *byte == 0).any(|variable| {
            let value = variable
                .strip_prefix(MARK_VARIABLE.as_bytes())
                .and_then(|rest| rest.strip_prefix(b"="));
            value.is_some_and(|value| self.mark.is_in(value))
        })
    }
}

impl Drop for Members {
    /// There is no time left to be polite, and no task left to wait.
    fn drop(&mut self) {
        let deadline = time::now() + DROP_WAIT;
        while !self.closed && self.signal(Signal::Kill) > 0 && time::now() < deadline {
            std::thread::yield_now();
        }
        if !self.root_ended {
            self.root_ended();
        }
    }
}

/// Collects orphans that ended while their tree lives on. Only one that nobody collected between two sweeps is taken:
/// other code in this process may have children of its own, and waits for them much sooner.
pub(super) fn sweep() {
    static ENDED: Mutex<Vec<Member>> = Mutex::new(Vec::new());
    let ours = std::process::id();
    let roots = ROOTS.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let zombies = entries()
        .into_values()
        .filter(|entry| entry.is_zombie && entry.parent == ours);
    let zombies = zombies
        .map(|entry| entry.member)
        .filter(|member| !roots.contains(&member.pid));
    let mut ended = ENDED.lock().unwrap_or_else(PoisonError::into_inner);
    let (old, new): (Vec<Member>, Vec<Member>) = zombies.partition(|zombie| ended.contains(zombie));
    old.iter().for_each(|zombie| collect(zombie.pid));
    *ended = new;
}

/// Makes this process the parent of every orphan in its trees, so that none escapes to init.
fn adopt_orphans() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        if let Err(error) = rustix::process::set_child_subreaper(Some(rustix::process::getpid())) {
            tracing::warn!(%error, "orphans of child processes will not be collected");
        }
    });
}

/// Adopted by us or, where that is not possible, by init.
fn is_orphan(entry: &Entry, ours: u32) -> bool {
    entry.parent == ours || entry.parent == 1
}

/// Takes the status of an ended process, which is then gone. Does nothing if it is not our child, or not ended.
fn collect(pid: u32) {
    if let Some(pid) = system_pid(pid) {
        let _gone_already = rustix::process::waitpid(Some(pid), WaitOptions::NOHANG).is_err();
    }
}

/// Signals exactly this process: the pidfd holds the pid while we make sure that it is still the same process.
fn send(member: Member, signal: Signal) {
    let Some(pid) = system_pid(member.pid) else { return };
    let Ok(process) = rustix::process::pidfd_open(pid, PidfdFlags::empty()) else {
        return;
    };
    if Entry::read(member.pid).is_some_and(|entry| entry.member == member) {
        tracing::debug!(pid = member.pid, ?signal, "signal");
        // It may have ended this very moment.
        let _ended = rustix::process::pidfd_send_signal(&process, signal.system()).is_err();
    }
}

fn system_pid(pid: u32) -> Option<Pid> {
    Pid::from_raw(i32::try_from(pid).ok()?)
}

/// All processes that /proc shows.
fn entries() -> HashMap<u32, Entry> {
    let Ok(directory) = std::fs::read_dir("/proc") else {
        return HashMap::new();
    };
    directory
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(|pid| Some((pid, Entry::read(pid)?)))
        .collect()
}

impl Entry {
    fn read(pid: u32) -> Option<Entry> {
        Entry::parse(pid, &std::fs::read(format!("/proc/{pid}/stat")).ok()?)
    }

    /// `pid (name) state parent group session ... started ...`; the name may hold spaces and parentheses.
    fn parse(pid: u32, stat: &[u8]) -> Option<Entry> {
        let name_end = stat.iter().rposition(|byte| *byte == b')')?;
        let fields = std::str::from_utf8(stat.get(name_end + 1..)?).ok()?;
        let mut fields = fields.split_ascii_whitespace();
        let is_zombie = matches!(fields.next()?, "Z" | "X");
        let mut number = || fields.next()?.parse::<u32>().ok();
        let (parent, group, session) = (number()?, number()?, number()?);
        // The start time is the 22nd field of the line, the 16th after the session.
        let started = fields.nth(15)?.parse().ok()?;
        Some(Entry {
            member: Member { pid, started },
            parent,
            group,
            session,
            is_zombie,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stat_line() {
        let line = b"42 (a) b) (c) S 7 40 39 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 2 3";
        let entry = Entry::parse(42, line).unwrap();
        assert_eq!((entry.parent, entry.group, entry.session), (7, 40, 39));
        assert_eq!(
            entry.member,
            Member {
                pid: 42,
                started: 123_456
            }
        );
        assert!(!entry.is_zombie);
    }

    #[test]
    fn finds_ourselves() {
        let entry = Entry::read(std::process::id()).unwrap();
        assert!(entry.member.started > 0 && !entry.is_zombie);
    }

    #[test]
    fn a_sweep_takes_only_what_nobody_waited_for_and_no_root() {
        let zombie = || {
            let process = std::process::Command::new("true").spawn().unwrap();
            while !Entry::read(process.id()).unwrap().is_zombie {
                std::thread::yield_now();
            }
            process
        };
        let (orphan, root) = (zombie(), zombie());
        ROOTS.lock().unwrap().push(root.id());
        sweep();
        assert!(
            Entry::read(orphan.id()).is_some(),
            "somebody may still wait for it"
        );
        sweep();
        assert!(Entry::read(orphan.id()).is_none());
        let mut root = root;
        assert!(
            root.wait().unwrap().success(),
            "its status was left for whom it belongs to"
        );
    }
}
