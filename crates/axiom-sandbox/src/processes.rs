//! What processes use, as the kernel tells everybody: one look at all of them, for the tasks of a whole folder.
//!
//! A look reads `/proc/*/stat`, which costs some 10 us a process, and no more for a thousand tasks than for one.

use std::collections::HashMap;
use std::time::Duration;

use rustix::param::{clock_ticks_per_second, page_size};

/// All processes that could be looked at.
#[derive(Debug, Default)]
pub struct Processes {
    by_pid: HashMap<i32, Process>,
    children: HashMap<i32, Vec<i32>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Process {
    parent: i32,
    /// Its own and that of children it has waited for, in ticks of the kernel's clock.
    cpu_ticks: u64,
    resident_pages: u64,
}

/// What some processes use together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Since they began, with what those that have ended had used.
    pub cpu: Duration,
    /// Resident. What several of them share is counted for each.
    pub memory_bytes: u64,
    pub processes: u32,
}

impl Processes {
    /// Looks at all of them. Those that end meanwhile are left out.
    pub fn look() -> Processes {
        let mut processes = Processes::default();
        let Ok(entries) = fs_err::read_dir("/proc") else {
            return processes;
        };
        for entry in entries.flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(pid) = pid else { continue };
            let stat = fs_err::read(entry.path().join("stat")).ok();
            if let Some(process) = stat.and_then(|stat| Process::parse(&String::from_utf8_lossy(&stat))) {
                processes.add(pid, process);
            }
        }
        processes
    }

    fn add(&mut self, pid: i32, process: Process) {
        self.children.entry(process.parent).or_default().push(pid);
        self.by_pid.insert(pid, process);
    }

    /// What a task uses whose command is this process: all that its shim holds, without the shim itself. `None` if it is gone.
    pub fn of_task(&self, command: i32) -> Option<Usage> {
        let shim = self.by_pid.get(&command)?.parent;
        let below = self.below(shim).skip(1);
        let mut usage = Usage::default();
        let mut ticks = 0;
        for process in below {
            ticks += process.cpu_ticks;
            usage.memory_bytes += process.resident_pages * page_size() as u64;
            usage.processes += 1;
        }
        usage.cpu = Duration::from_millis(ticks * 1000 / clock_ticks_per_second().max(1));
        Some(usage)
    }

    /// A process and all below it.
    fn below(&self, root: i32) -> impl Iterator<Item = &Process> {
        let mut waiting = vec![root];
        std::iter::from_fn(move || {
            let pid = waiting.pop()?;
            waiting.extend(self.children.get(&pid).into_iter().flatten());
            Some(pid)
        })
        .filter_map(|pid| self.by_pid.get(&pid))
    }
}

impl Process {
    /// From `PID (NAME) STATE PPID ...`. The name may hold anything, also brackets.
    fn parse(stat: &str) -> Option<Process> {
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        // As proc(5) numbers them; the state is the third.
        let field = |number: usize| fields.get(number - 3)?.trim().parse::<u64>().ok();
        let ticks = [14, 15, 16, 17].map(|number| field(number).unwrap_or(0));
        Some(Process {
            parent: i32::try_from(field(4)?).ok()?,
            cpu_ticks: ticks.iter().fold(0, |sum, ticks| sum.saturating_add(*ticks)),
            resident_pages: field(24)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(pid: i32, parent: i32, ticks: u64, pages: u64) -> String {
        format!(
            "{pid} (a) S (b)) S {parent} 1 1 0 -1 4194560 1 2 3 4 {ticks} 1 2 3 20 0 1 0 99 4096 {pages} 18446744073709551615 1"
        )
    }

    #[test]
    fn a_task_is_all_below_its_shim() {
        let mut processes = Processes::default();
        // A shim with its command and a daemon, and somebody else.
        for (pid, parent, ticks, pages) in [
            (10, 1, 500, 9),
            (11, 10, 94, 2),
            (12, 11, 0, 3),
            (13, 10, 0, 4),
            (20, 1, 7, 7),
        ] {
            processes.add(pid, Process::parse(&stat(pid, parent, ticks, pages)).unwrap());
        }
        let usage = processes.of_task(11).unwrap();
        assert_eq!(usage.processes, 3);
        assert_eq!(usage.memory_bytes, 9 * page_size() as u64);
        let ticks = 94 + 3 * 6;
        assert_eq!(
            usage.cpu,
            Duration::from_millis(ticks * 1000 / clock_ticks_per_second())
        );
        assert_eq!(processes.of_task(99), None);
    }

    #[test]
    fn what_the_kernel_says_about_us_is_read() {
        let processes = Processes::look();
        let own = rustix::process::getpid().as_raw_pid();
        let process = processes.by_pid.get(&own).unwrap();
        let parent = rustix::process::getppid().map_or(0, rustix::process::Pid::as_raw_pid);
        assert_eq!(process.parent, parent);
        assert!(process.resident_pages > 0);
        assert_eq!(Process::parse("7 (sh"), None);
        assert_eq!(Process::parse(""), None);
    }
}
