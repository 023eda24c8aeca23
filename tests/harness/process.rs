//! What the kernel says about processes: who descends from whom, and how much memory one holds.

use std::collections::BTreeMap;

/// A process as `/proc/<pid>/stat` has it.
#[derive(Debug, Clone)]
pub struct Process {
    pub pid: u32,
    pub parent: u32,
    /// `Z` is a zombie: it ended and nobody took notice.
    pub state: char,
    pub name: String,
}

/// Every process below this one, children first.
pub fn descendants(of: u32) -> Vec<Process> {
    let all = all();
    let mut found = Vec::new();
    let mut parents = vec![of];
    while let Some(parent) = parents.pop() {
        for process in all.values().filter(|process| process.parent == parent) {
            parents.push(process.pid);
            found.push(process.clone());
        }
    }
    found
}

/// Those of these processes that still run. A pid that was given to another program meanwhile does not count.
pub fn alive(processes: &[Process]) -> Vec<Process> {
    let now = all();
    let same = |process: &&Process| {
        now.get(&process.pid)
            .is_some_and(|found| found.name == process.name)
    };
    processes.iter().filter(same).cloned().collect()
}

/// Every process, except this one, that has this text in one of its arguments.
pub fn with_argument(text: &str) -> Vec<Process> {
    let given = |process: &Process| {
        // It may have ended since it was found.
        let line = std::fs::read(format!("/proc/{}/cmdline", process.pid)).unwrap_or_default();
        process.pid != std::process::id() && String::from_utf8_lossy(&line).contains(text)
    };
    all().into_values().filter(given).collect()
}

/// Memory that a process holds right now, in KiB.
pub fn rss_kib(pid: u32) -> u64 {
    status(pid, "VmRSS:")
}

/// The most memory that a process ever held, in KiB.
pub fn peak_rss_kib(pid: u32) -> u64 {
    status(pid, "VmHWM:")
}

/// Files and sockets that a process has open.
pub fn descriptors(pid: u32) -> usize {
    let folder = format!("/proc/{pid}/fd");
    std::fs::read_dir(folder).expect("the process runs").count()
}

fn status(pid: u32, field: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process runs");
    let line = status
        .lines()
        .find(|line| line.starts_with(field))
        .expect("the kernel reports it");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("the field is a number of KiB")
}

fn all() -> BTreeMap<u32, Process> {
    let entries = std::fs::read_dir("/proc").expect("this is Linux");
    let pids = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter_map(|pid| Some((pid, read(pid)?))).collect()
}

fn read(pid: u32) -> Option<Process> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // pid (name) state parent ...; the name may hold spaces and brackets itself.
    let (name, rest) = (stat.find('(')?, stat.rfind(')')?);
    let mut fields = stat.get(rest + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    Some(Process {
        pid,
        parent,
        state,
        name: stat.get(name + 1..rest)?.to_owned(),
    })
}
