//! Which file of the kernel gets which text, for what a task may take. Pure, so that both versions are tested anywhere.
//!
//! | limit | version 2 | version 1 |
//! |---|---|---|
//! | `memory_bytes` | `memory.max`, no swap, all of the group is killed together | `memory.limit_in_bytes`, memory and swap together |
//! | `cpu_millis` | `cpu.max` | `cpu.cfs_period_us`, `cpu.cfs_quota_us` |
//! | `pids` | `pids.max` | `pids.max` |
//! | `disk_io_bytes_s` | `io.max` | `blkio.throttle.*`: reads, and writes that go past the page cache; others are not slowed |
//! | class | `cpu.weight` | `cpu.shares` |
//!
//! The other limits are not of a control group: the time, the output, the bytes on disk and the open files have other keepers.

use serde::{Deserialize, Serialize};

use super::disk::Disk;
use super::error::GET_CONTROLLER;
use super::{Allowance, Controller, GroupError, Version};

/// Who goes first when CPUs are short. Nobody is ever stopped by it, and alone on a machine all are equally fast.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A person waits for it.
    Critical,
    /// A person sees it.
    High,
    #[default]
    Normal,
    /// Might not be needed at all.
    Low,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Setting {
    pub(super) controller: Controller,
    /// What the user calls it.
    pub(super) limit: &'static str,
    pub(super) file: &'static str,
    pub(super) text: String,
    pub(super) need: Need,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Need {
    /// Without it the limit does not hold.
    Must,
    /// A kernel without this file has no need of it either, or it is a wish.
    May,
}

/// All that an allowance asks for. Fails, before anything is made, where a controller is missing: `find` says why.
pub(super) fn of(
    allowance: &Allowance,
    find: &dyn Fn(Controller) -> Result<Version, String>,
) -> Result<Vec<Setting>, GroupError> {
    let limits = &allowance.limits;
    let mut settings = Vec::new();
    if let Some(bytes) = limits.memory_bytes {
        let version = required("memory_bytes", Controller::Memory, find)?;
        settings.extend(memory(version, not_zero("memory_bytes", bytes)?));
    }
    if let Some(millis) = limits.cpu_millis {
        let version = required("cpu_millis", Controller::Cpu, find)?;
        settings.extend(cpu(version, not_zero("cpu_millis", u64::from(millis))?));
    }
    if let Some(pids) = limits.pids {
        required("pids", Controller::Pids, find)?;
        let text = not_zero("pids", u64::from(pids))?.to_string();
        settings.push(must(Controller::Pids, "pids", "pids.max", text));
    }
    if let Some(bytes_s) = limits.disk_io_bytes_s {
        let version = required("disk_io_bytes_s", Controller::Io, find)?;
        let disk = Disk::of(allowance.folder.as_deref())?;
        settings.extend(io(version, not_zero("disk_io_bytes_s", bytes_s)?, disk));
    }
    if let (class, Ok(version)) = (allowance.class, find(Controller::Cpu)) {
        settings.push(weight(version, class));
    }
    Ok(settings)
}

fn required(
    limit: &'static str,
    controller: Controller,
    find: &dyn Fn(Controller) -> Result<Version, String>,
) -> Result<Version, GroupError> {
    find(controller).map_err(|reason| GroupError::CannotEnforce {
        limit,
        controller: Some(controller),
        reason,
        hint: GET_CONTROLLER,
    })
}

fn not_zero(limit: &'static str, value: u64) -> Result<u64, GroupError> {
    match value {
        0 => Err(GroupError::LimitOutOfRange { limit, value }),
        value => Ok(value),
    }
}

fn memory(version: Version, bytes: u64) -> Vec<Setting> {
    let must = |file, text: String| must(Controller::Memory, "memory_bytes", file, text);
    let may = |file, text: String| Setting {
        need: Need::May,
        ..must(file, text)
    };
    match version {
        // Without swap of its own a task that grows is ended, rather than made slow. A kernel without the file has no swap.
        Version::V2 => vec![
            must("memory.max", bytes.to_string()),
            may("memory.swap.max", "0".into()),
            may("memory.oom.group", "1".into()),
        ],
        // Memory and swap together may never be less than memory alone: lifted first, so that any order of limits works.
        // Where swap is not counted, the group is at least told to avoid it.
        Version::V1 => vec![
            may("memory.memsw.limit_in_bytes", "-1".into()),
            must("memory.limit_in_bytes", bytes.to_string()),
            may("memory.memsw.limit_in_bytes", bytes.to_string()),
            may("memory.swappiness", "0".into()),
        ],
    }
}

/// The kernel takes no quota below 1 ms; with its usual period of 100 ms that is a hundredth of a CPU.
const QUOTA_US_MIN: u64 = 1_000;

fn cpu(version: Version, millis: u64) -> Vec<Setting> {
    let must = |file, text: String| must(Controller::Cpu, "cpu_millis", file, text);
    // Less than that works with the longest period, at the price of long pauses.
    let period_us = if millis * 100 < QUOTA_US_MIN {
        1_000_000
    } else {
        100_000
    };
    let quota_us = millis * period_us / 1_000;
    match version {
        Version::V2 => vec![must("cpu.max", format!("{quota_us} {period_us}"))],
        // Lifted first: the kernel checks the new period with the old quota.
        Version::V1 => vec![
            must("cpu.cfs_quota_us", "-1".into()),
            must("cpu.cfs_period_us", period_us.to_string()),
            must("cpu.cfs_quota_us", quota_us.to_string()),
        ],
    }
}

fn io(version: Version, bytes_s: u64, disk: Disk) -> Vec<Setting> {
    let must = |file, text: String| must(Controller::Io, "disk_io_bytes_s", file, text);
    match version {
        Version::V2 => vec![must("io.max", format!("{disk} rbps={bytes_s} wbps={bytes_s}"))],
        Version::V1 => vec![
            must("blkio.throttle.read_bps_device", format!("{disk} {bytes_s}")),
            must("blkio.throttle.write_bps_device", format!("{disk} {bytes_s}")),
        ],
    }
}

/// A class is a wish: a machine that cannot weigh runs its tasks all the same.
pub(super) fn weight(version: Version, class: Class) -> Setting {
    // Each step is a factor that a person notices, and the least still gets a twentieth beside one of each.
    let weight: u64 = match class {
        Class::Critical => 800,
        Class::High => 300,
        Class::Normal => 100,
        Class::Low => 25,
    };
    let (file, text) = match version {
        Version::V2 => ("cpu.weight", weight.to_string()),
        // Its "normal" is 1024 where version 2 has 100.
        Version::V1 => ("cpu.shares", (weight * 1024 / 100).to_string()),
    };
    Setting {
        controller: Controller::Cpu,
        limit: "class",
        file,
        text,
        need: Need::May,
    }
}

fn must(controller: Controller, limit: &'static str, file: &'static str, text: String) -> Setting {
    Setting {
        controller,
        limit,
        file,
        text,
        need: Need::Must,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::limits::Limits;

    fn check(version: Version, limits: Limits, expected: &[&str]) {
        let allowance = Allowance {
            limits,
            ..Allowance::default()
        };
        let settings = of(&allowance, &|_| Ok(version)).unwrap();
        let lines: Vec<String> = settings
            .iter()
            .map(|set| format!("{} = {}", set.file, set.text))
            .collect();
        assert_eq!(lines, expected);
    }

    fn some() -> Limits {
        Limits {
            memory_bytes: Some(1 << 20),
            cpu_millis: Some(1_500),
            pids: Some(20),
            ..Limits::default()
        }
    }

    #[test]
    fn version_2() {
        check(
            Version::V2,
            some(),
            &[
                "memory.max = 1048576",
                "memory.swap.max = 0",
                "memory.oom.group = 1",
                "cpu.max = 150000 100000",
                "pids.max = 20",
                "cpu.weight = 100",
            ],
        );
    }

    #[test]
    fn version_1() {
        check(
            Version::V1,
            some(),
            &[
                "memory.memsw.limit_in_bytes = -1",
                "memory.limit_in_bytes = 1048576",
                "memory.memsw.limit_in_bytes = 1048576",
                "memory.swappiness = 0",
                "cpu.cfs_quota_us = -1",
                "cpu.cfs_period_us = 100000",
                "cpu.cfs_quota_us = 150000",
                "pids.max = 20",
                "cpu.shares = 1024",
            ],
        );
    }

    #[test]
    fn a_missing_controller_is_an_error_that_says_why_and_how() {
        let allowance = Allowance {
            limits: some(),
            ..Allowance::default()
        };
        let error = of(&allowance, &|controller| match controller {
            Controller::Pids => Err("it is not delegated".into()),
            _ => Ok(Version::V2),
        })
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the limit `pids` cannot be enforced: it is not delegated"
        );
        assert!(error.hint().contains("Delegate=yes"), "{}", error.hint());
    }

    #[test]
    fn disk_throughput_needs_to_know_which_disk() {
        let limits = Limits {
            disk_io_bytes_s: Some(1),
            ..Limits::default()
        };
        let allowance = Allowance {
            limits,
            ..Allowance::default()
        };
        let error = of(&allowance, &|_| Ok(Version::V2)).unwrap_err();
        assert!(
            matches!(
                error,
                GroupError::CannotEnforce {
                    limit: "disk_io_bytes_s",
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn nothing_lives_on_nothing() {
        let allowance = Allowance {
            limits: Limits {
                pids: Some(0),
                ..Limits::default()
            },
            ..Allowance::default()
        };
        let error = of(&allowance, &|_| Ok(Version::V2)).unwrap_err();
        assert!(
            matches!(
                error,
                GroupError::LimitOutOfRange {
                    limit: "pids",
                    value: 0
                }
            ),
            "{error}"
        );
    }

    proptest! {
        /// What the kernel takes: a quota of 1 ms at least and a period of 1 s at most, in the ratio that was asked for.
        #[test]
        fn every_share_of_a_cpu_is_one_that_the_kernel_takes(millis in 1u32..) {
            let setting = &cpu(Version::V2, u64::from(millis))[0];
            let (quota, period) = setting.text.split_once(' ').unwrap();
            let (quota, period): (u64, u64) = (quota.parse().unwrap(), period.parse().unwrap());
            prop_assert!(quota >= QUOTA_US_MIN);
            prop_assert!((1_000..=1_000_000).contains(&period));
            prop_assert_eq!(quota * 1_000, u64::from(millis) * period);
        }
    }
}
