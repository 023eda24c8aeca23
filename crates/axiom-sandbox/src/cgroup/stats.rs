//! What a group uses, and what it used at most.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Controller, Group, GroupError, Version, file};
use crate::machine::pressure::avg10;

/// Read file by file, so not of one moment. What this machine does not count is `None`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stats {
    /// Its own page cache included.
    pub memory_bytes: Option<u64>,
    pub memory_bytes_max: Option<u64>,
    /// Of all CPUs together, since the group was made.
    pub cpu_time: Option<Duration>,
    /// Processes and threads, also those that have ended and were not waited for.
    pub pids: Option<u64>,
    pub io_read_bytes: Option<u64>,
    pub io_written_bytes: Option<u64>,
    /// Percent of the last ten seconds in which nothing of it went on for want of memory. At its limit a task can spend its
    /// time reading its own program again and again, and the kernel may not end it for minutes: that shows here. Version 2 only.
    pub memory_full_avg10: Option<f64>,
}

impl Group {
    pub fn stats(&self) -> Result<Stats, GroupError> {
        let io = self.io()?;
        Ok(Stats {
            memory_bytes: self.number(Controller::Memory, "memory.current", "memory.usage_in_bytes")?,
            memory_bytes_max: self.number(Controller::Memory, "memory.peak", "memory.max_usage_in_bytes")?,
            cpu_time: self.cpu_time()?,
            pids: self.number(Controller::Pids, "pids.current", "pids.current")?,
            io_read_bytes: io.map(|(read, _)| read),
            io_written_bytes: io.map(|(_, written)| written),
            memory_full_avg10: self.memory_full_avg10()?,
        })
    }

    fn memory_full_avg10(&self) -> Result<Option<f64>, GroupError> {
        let Some(place) = self.places().iter().find(|place| place.version == Version::V2) else {
            return Ok(None);
        };
        // Measured in every group of version 2, whoever has the controller. Without PSI the file refuses to be read.
        let text = fs_err::read_to_string(place.folder.join("memory.pressure")).unwrap_or_default();
        Ok(avg10(&text, "full"))
    }

    fn cpu_time(&self) -> Result<Option<Duration>, GroupError> {
        let Some((version, text)) = self.text(Controller::CpuTime, "cpu.stat", "cpuacct.usage")? else {
            return Ok(None);
        };
        Ok(match version {
            Version::V2 => file::field(&text, "usage_usec").map(Duration::from_micros),
            Version::V1 => file::number(&text).map(Duration::from_nanos),
        })
    }

    fn io(&self) -> Result<Option<(u64, u64)>, GroupError> {
        let counted = self.text(
            Controller::Io,
            "io.stat",
            "blkio.throttle.io_service_bytes_recursive",
        )?;
        Ok(counted.map(|(version, text)| match version {
            Version::V2 => io_v2(&text),
            Version::V1 => io_v1(&text),
        }))
    }

    fn number(
        &self,
        controller: Controller,
        file_v2: &str,
        file_v1: &str,
    ) -> Result<Option<u64>, GroupError> {
        Ok(self
            .text(controller, file_v2, file_v1)?
            .and_then(|(_, text)| file::number(&text)))
    }

    /// A file that has two names.
    pub(super) fn text(
        &self,
        controller: Controller,
        file_v2: &str,
        file_v1: &str,
    ) -> Result<Option<(Version, String)>, GroupError> {
        let Some(place) = self.place(controller) else {
            return Ok(None);
        };
        let name = match place.version {
            Version::V2 => file_v2,
            Version::V1 => file_v1,
        };
        let text = file::read_if_there(&place.folder.join(name))?;
        Ok(text.map(|text| (place.version, text)))
    }
}

/// Lines `8:0 rbytes=1 wbytes=2 rios=...`, one a disk.
fn io_v2(text: &str) -> (u64, u64) {
    let sum = |key: &str| {
        let values = text
            .split_whitespace()
            .filter_map(|word| word.strip_prefix(key)?.parse().ok());
        values.fold(0, u64::saturating_add)
    };
    (sum("rbytes="), sum("wbytes="))
}

/// Lines `8:0 Read 1`, several a disk, and a total.
fn io_v1(text: &str) -> (u64, u64) {
    let sum = |kind: &str| {
        let values = text.lines().filter_map(|line| {
            let mut words = line.split_whitespace().skip(1);
            (words.next()? == kind).then(|| words.next()?.parse().ok())?
        });
        values.fold(0, u64::saturating_add)
    };
    (sum("Read"), sum("Write"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn both_versions_of_disk_counts_are_read() {
        let v2 = "8:0 rbytes=10 wbytes=20 rios=1 wios=1 dbytes=0 dios=0\n8:16 rbytes=1 wbytes=2";
        assert_eq!(io_v2(v2), (11, 22));
        let v1 = "8:0 Read 10\n8:0 Write 20\n8:0 Sync 30\n8:0 Total 30\n8:16 Read 1\n8:16 Write 2\nTotal 33";
        assert_eq!(io_v1(v1), (11, 22));
        assert_eq!(io_v1("Total 0"), (0, 0));
    }

    proptest! {
        #[test]
        fn both_versions_say_the_same(disks in proptest::collection::vec((0u64..1 << 40, 0u64..1 << 40), 0..5)) {
            let v2 = disks.iter().map(|(read, written)| format!("8:0 rbytes={read} wbytes={written} rios=1\n"));
            let v1 = disks.iter().map(|(read, written)| format!("8:0 Read {read}\n8:0 Write {written}\n"));
            prop_assert_eq!(io_v2(&v2.collect::<String>()), io_v1(&v1.collect::<String>()));
        }

        #[test]
        fn any_text_is_survived(text in "[ 0-9:=rbytesRad\n]{0,80}") {
            let _ = (io_v1(&text), io_v2(&text));
        }
    }
}
