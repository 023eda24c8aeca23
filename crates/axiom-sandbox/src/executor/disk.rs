//! How much a task may write: its own `/tmp` and `/dev/shm` have a size, and what else it may write to must have one already that is
//! as small. Both the kernel keeps.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, fstatvfs, openat, statvfs};
use rustix::process::Pid;

use crate::exit::How;
use crate::spawner::NotStarted;
use crate::spec::{Access, Grants, Spec};

/// What `/tmp` and `/dev/shm` may hold where a task has no limit. It counts as the task's memory.
const ROOM_BYTES: u64 = 64 << 20;

/// Bytes of a task's `/tmp` and of its `/dev/shm`, both together the limit if there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Room {
    pub(crate) tmp_bytes: u64,
    pub(crate) shm_bytes: u64,
}

/// A task's `/tmp`, which stays while this does.
#[derive(Debug)]
pub(crate) struct Tmp {
    folder: OwnedFd,
}

impl Room {
    pub(crate) fn of(disk_bytes: Option<u64>) -> Room {
        let Some(bytes) = disk_bytes else {
            return Room {
                tmp_bytes: ROOM_BYTES,
                shm_bytes: ROOM_BYTES,
            };
        };
        // Shared memory is seldom much, and there is no size of two file systems together.
        let shm_bytes = (bytes / 4).min(ROOM_BYTES);
        Room {
            tmp_bytes: bytes - shm_bytes,
            shm_bytes,
        }
    }
}

/// Where a task may write beside those, there must be a bound: a project quota, which the kernel tells as the size of the folder's disk,
/// or a disk that is no larger.
pub(crate) fn check(folder: &PathBuf, grants: &Grants, disk_bytes: Option<u64>) -> Result<(), NotStarted> {
    let Some(bytes) = disk_bytes else {
        return Ok(());
    };
    let own = (grants.folder == Access::Write).then_some(folder);
    let boundless = |path: &&PathBuf| size(path).is_none_or(|size| size > bytes);
    match grants.write.iter().chain(own).find(boundless) {
        None => Ok(()),
        Some(path) => Err(NotStarted::new(format!(
            "its limits cannot be kept: what it may write to {} is not bounded by {bytes} B: the folder has no project quota, and its \
             disk is larger",
            path.display()
        ))
        .hint("let it only read that folder, and write to its own /tmp; or set a project quota on the folder")),
    }
}

/// Of the disk on which it is; of a folder with a project quota that quota.
fn size(path: &Path) -> Option<u64> {
    let disk = statvfs(path).ok()?;
    disk.f_blocks.checked_mul(disk.f_frsize)
}

impl Tmp {
    /// `None` if it has no limit there, or has ended already.
    pub(crate) fn of(spec: &Spec, pid: Pid) -> Option<Tmp> {
        spec.limits.disk_bytes?;
        let path = format!("/proc/{}/root/tmp", pid.as_raw_pid());
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = openat(CWD, path, flags, Mode::empty()).ok()?;
        Some(Tmp { folder })
    }

    /// A task that failed with nothing left to write to was stopped by its limit, as far as anybody can tell.
    pub(crate) fn explain(&self, how: How, spec: &Spec) -> How {
        let is_full = || fstatvfs(&self.folder).is_ok_and(|disk| disk.f_bavail == 0);
        match (how, spec.limits.disk_bytes) {
            (How::Code(code), Some(bytes)) if code != 0 && is_full() => How::Limit {
                limit: "disk_bytes".to_owned(),
                value: format!("{bytes} B"),
            },
            (how, _) => how,
        }
    }
}
