//! How much of the machine this process may really use: the least of what there is and what groups above it allow.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::cgroup::Layout;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Thousandths of a CPU. 0 if the kernel does not say.
    pub cpu_millis: u64,
    /// 0 if the kernel does not say.
    pub memory_bytes: u64,
}

impl Size {
    pub fn of_this_process() -> Size {
        let text = |path: &str| fs_err::read_to_string(path).unwrap_or_default();
        let above = Layout::of_this_process()
            .map(|layout| layout.above())
            .unwrap_or_default();
        let cpu_millis = allowed_cpus(&text("/proc/self/status")).saturating_mul(1_000);
        let memory_bytes = memory_bytes(&text("/proc/meminfo"));
        Size {
            cpu_millis: above.cpu_millis.map_or(cpu_millis, |limit| limit.min(cpu_millis)),
            memory_bytes: above
                .memory_bytes
                .map_or(memory_bytes, |limit| limit.min(memory_bytes)),
        }
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, tenths) = (self.cpu_millis / 1_000, self.cpu_millis % 1_000 / 100);
        write!(f, "{whole}.{tenths} CPUs, {} MiB", self.memory_bytes >> 20)
    }
}

/// From the line `Cpus_allowed_list: 0-3,8` of a process's status.
fn allowed_cpus(status: &str) -> u64 {
    let list = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let ranges = list.unwrap_or_default().trim().split(',');
    ranges.filter_map(cpus_in).fold(0, u64::saturating_add)
}

fn cpus_in(range: &str) -> Option<u64> {
    let (first, last) = range.split_once('-').unwrap_or((range, range));
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    last.checked_sub(first)?.checked_add(1)
}

/// From the line `MemTotal:  16384 kB`.
fn memory_bytes(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0).saturating_mul(1_024)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_the_kernel_says_is_read() {
        assert_eq!(allowed_cpus("Name:\tx\nCpus_allowed_list:\t0-3,8,10-11\n"), 7);
        assert_eq!(memory_bytes("MemTotal:        2048 kB\nMemFree: 1 kB"), 2 << 20);
        assert_eq!((allowed_cpus(""), memory_bytes("")), (0, 0));
    }

    proptest! {
        #[test]
        fn every_cpu_of_a_list_is_counted(ranges in proptest::collection::vec((0u64..500, 1u64..9), 1..6)) {
            let list: Vec<String> =
                ranges.iter().map(|(first, count)| format!("{first}-{}", first + count - 1)).collect();
            let status = format!("Cpus_allowed_list:\t{}\n", list.join(","));
            prop_assert_eq!(allowed_cpus(&status), ranges.iter().map(|(_, count)| count).sum::<u64>());
        }

        #[test]
        fn any_text_is_survived(text in "(Cpus_allowed_list:|MemTotal:)[0-9, -]{0,60}") {
            let _ = (allowed_cpus(&text), memory_bytes(&text));
        }
    }
}
