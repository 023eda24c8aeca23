//! Which limits hold, as the kernel has them: it rounds to pages, and someone may have changed them since.

use super::above::share;
use super::{Controller, Group, GroupError, Version, file};
use crate::limits::Limits;

/// Version 1 has no word for "no limit": it says the largest number of whole pages, which no machine has.
const UNLIMITED_BYTES_V1: u64 = 1 << 60;

impl Group {
    /// The limits of this group itself. Those above it may be lower, and those that no group keeps are `None`.
    pub fn effective(&self) -> Result<Limits, GroupError> {
        let memory = self.text(Controller::Memory, "memory.max", "memory.limit_in_bytes")?;
        let pids = self.text(Controller::Pids, "pids.max", "pids.max")?;
        Ok(Limits {
            memory_bytes: memory
                .and_then(|(_, text)| file::number(&text))
                .filter(|bytes| *bytes < UNLIMITED_BYTES_V1),
            cpu_millis: self.cpu_millis()?.and_then(|millis| u32::try_from(millis).ok()),
            pids: pids.and_then(|(_, text)| text.trim().parse().ok()),
            disk_io_bytes_s: self.disk_io_bytes_s()?,
            ..Limits::default()
        })
    }

    fn cpu_millis(&self) -> Result<Option<u64>, GroupError> {
        match self.text(Controller::Cpu, "cpu.max", "cpu.cfs_quota_us")? {
            Some((Version::V1, quota)) => {
                let period = self.text(Controller::Cpu, "", "cpu.cfs_period_us")?;
                Ok(period.and_then(|(_, period)| share(&format!("{} {}", quota.trim(), period.trim()))))
            }
            text => Ok(text.and_then(|(_, text)| share(&text))),
        }
    }

    fn disk_io_bytes_s(&self) -> Result<Option<u64>, GroupError> {
        match self.text(Controller::Io, "io.max", "blkio.throttle.read_bps_device")? {
            Some((Version::V1, reads)) => {
                let writes = self.text(Controller::Io, "", "blkio.throttle.write_bps_device")?;
                let writes = writes.map(|(_, text)| text).unwrap_or_default();
                Ok(least_v1(&reads).into_iter().chain(least_v1(&writes)).min())
            }
            text => Ok(text.and_then(|(_, text)| least_v2(&text))),
        }
    }
}

/// Lines `8:0 rbps=1 wbps=max riops=max wiops=max`.
fn least_v2(text: &str) -> Option<u64> {
    let rate = |word: &str| {
        word.strip_prefix("rbps=")
            .or(word.strip_prefix("wbps="))?
            .parse()
            .ok()
    };
    text.split_whitespace().filter_map(rate).min()
}

/// Lines `8:0 1`.
fn least_v1(text: &str) -> Option<u64> {
    text.lines()
        .filter_map(|line| file::number(line.split_once(' ')?.1))
        .min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_rate_counts() {
        assert_eq!(
            least_v2("8:0 rbps=max wbps=5 riops=1 wiops=max\n8:16 rbps=7 wbps=9"),
            Some(5)
        );
        assert_eq!(least_v2("8:0 rbps=max wbps=max riops=1 wiops=1"), None);
        assert_eq!(least_v1("8:0 5\n8:16 4\n"), Some(4));
        assert_eq!(least_v1(""), None);
    }
}
