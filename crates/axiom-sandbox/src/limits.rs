//! What a task may take at most.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Limits of one task. What is `None` has no limit of its own.
///
/// A limit that is set is enforced or the task does not start: no executor takes one that it cannot keep.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Resident bytes of all its processes together, page cache of its own included. Beyond it the kernel ends the task.
    pub memory_bytes: Option<u64>,
    /// Thousandths of a CPU: 1500 is one and a half. Beyond it the task waits.
    pub cpu_millis: Option<u32>,
    /// Processes and threads at once. Beyond it `fork` fails.
    pub pids: Option<u32>,
    /// From its start to its end. Beyond it the task is killed.
    pub wall: Option<Duration>,
    /// Bytes that it may have in its own `/tmp` and `/dev/shm` together; a quarter of them, and 64 MiB at most, in the latter. Beyond it
    /// writing fails. Whatever else it may write to must be bounded as well, by a project quota or a small disk, or it is not started.
    pub disk_bytes: Option<u64>,
    /// Bytes a second from and to disks, each.
    pub disk_io_bytes_s: Option<u64>,
    /// Open files of each of its processes. Beyond it `open` fails.
    pub open_files: Option<u32>,
    /// With nobody attached to it. Beyond it the task is killed: a worker that nobody needs ends so.
    pub unattended: Option<Duration>,
    /// Bytes of output. Beyond it the task is killed.
    pub output_bytes: Option<u64>,
}
