//! Whether it was a limit that ended a task.

use serde::{Deserialize, Serialize};

use super::{Controller, Group, GroupError, Version, file};

/// The limit that a task ran into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndedBy {
    /// It wanted more memory than its own limit, and the kernel killed in it. On version 1 one process at a time: the caller
    /// ends the rest.
    MemoryLimit,
    /// The kernel killed in it because the machine, or a group above, had no memory left.
    MachineOutOfMemory,
    /// It was refused a process or a thread. That kills nobody, but it often is why a task gave up.
    PidsLimit,
}

/// The kernel kills for want of 8 pages at once at most (more is asked for without force); pages have up to 64 KiB.
const LARGEST_CHARGE_BYTES: u64 = 8 * 64 * 1024;

impl Group {
    /// Which limit was hit in the life of the group, the deadliest first. To be asked before [`Group::remove`].
    pub fn ended_by(&self) -> Result<Option<EndedBy>, GroupError> {
        let (kills, was_ours) = self.memory_events()?;
        if kills > 0 {
            return Ok(Some(match was_ours {
                true => EndedBy::MemoryLimit,
                false => EndedBy::MachineOutOfMemory,
            }));
        }
        let refused = self.text(Controller::Pids, "pids.events", "pids.events")?;
        let refused = refused
            .and_then(|(_, text)| file::field(&text, "max"))
            .unwrap_or(0);
        Ok((refused > 0).then_some(EndedBy::PidsLimit))
    }

    /// How many were killed for want of memory, and whether our own limit was the reason.
    fn memory_events(&self) -> Result<(u64, bool), GroupError> {
        let Some((version, text)) = self.text(Controller::Memory, "memory.events", "memory.oom_control")?
        else {
            return Ok((0, false));
        };
        let kills = file::field(&text, "oom_kill").unwrap_or(0);
        let was_ours = match version {
            Version::V2 => file::field(&text, "oom").unwrap_or(0) > 0,
            Version::V1 => self.reached_limit_v1("memory")? || self.reached_limit_v1("memory.memsw")?,
        };
        Ok((kills, was_ours))
    }

    /// Recent kernels no longer count refusals on version 1 (`failcnt` stays 0), so the peak is asked, too.
    fn reached_limit_v1(&self, kind: &str) -> Result<bool, GroupError> {
        let number = |what: &str| {
            let name = format!("{kind}.{what}");
            let text = self.text(Controller::Memory, &name, &name)?;
            Ok(text.and_then(|(_, text)| file::number(&text)))
        };
        if number("failcnt")?.unwrap_or(0) > 0 {
            return Ok(true);
        }
        let (peak, limit) = (number("max_usage_in_bytes")?, number("limit_in_bytes")?);
        Ok(peak
            .zip(limit)
            .is_some_and(|(peak, limit)| peak.saturating_add(LARGEST_CHARGE_BYTES) >= limit))
    }
}
