//! The disk that a folder is on, as the kernel numbers it for limits.

use std::fmt;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{major, minor};

use super::GroupError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Disk {
    major: u32,
    minor: u32,
}

impl Disk {
    /// A whole disk: the kernel limits no partitions.
    pub(super) fn of(folder: Option<&Path>) -> Result<Disk, GroupError> {
        let folder =
            folder.ok_or_else(|| cannot("no folder was given, so there is no disk to limit".into()))?;
        let failed = |error: std::io::Error| cannot(format!("its disk was not found: {error}"));
        let device = fs_err::metadata(folder).map_err(failed)?.dev();
        let device = match major(device) {
            // A file system without a device number of its own, such as btrfs: its mount names the device.
            0 => device_of_mount(folder)?,
            _ => device,
        };
        let disk = Disk {
            major: major(device),
            minor: minor(device),
        };
        disk.whole()
    }

    fn whole(self) -> Result<Disk, GroupError> {
        let failed = |error: std::io::Error| cannot(format!("disk {self} was not found: {error}"));
        let folder = fs_err::canonicalize(format!("/sys/dev/block/{self}")).map_err(failed)?;
        if !folder.join("partition").exists() {
            return Ok(self);
        }
        let number = fs_err::read_to_string(folder.join("../dev")).map_err(failed)?;
        Disk::parse(number.trim()).ok_or_else(|| cannot(format!("`{number}` is no disk")))
    }

    fn parse(text: &str) -> Option<Disk> {
        let (major, minor) = text.split_once(':')?;
        Some(Disk {
            major: major.parse().ok()?,
            minor: minor.parse().ok()?,
        })
    }
}

impl fmt::Display for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.major, self.minor)
    }
}

fn device_of_mount(folder: &Path) -> Result<u64, GroupError> {
    let failed = |error: std::io::Error| cannot(format!("its disk was not found: {error}"));
    let folder = fs_err::canonicalize(folder).map_err(failed)?;
    let mounts = fs_err::read_to_string("/proc/self/mountinfo").map_err(failed)?;
    let (kind, source) = mount_of(&mounts, &folder).unwrap_or_default();
    let device = fs_err::metadata(source)
        .ok()
        .filter(|source| source.file_type().is_block_device());
    match device {
        Some(device) => Ok(device.rdev()),
        None => Err(cannot(format!(
            "{} is on {kind}, which has no disk of its own",
            folder.display()
        ))),
    }
}

/// Type and source of the mount that a path is on: the last one of those nearest to it.
fn mount_of(mountinfo: &str, path: &Path) -> Option<(String, String)> {
    let mounts = mountinfo.lines().filter_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        let point = PathBuf::from(left.split(' ').nth(4)?);
        let mut right = right.split(' ');
        let named = (right.next()?.to_owned(), right.next()?.to_owned());
        path.starts_with(&point)
            .then(|| (point.components().count(), named))
    });
    mounts.max_by_key(|(depth, _)| *depth).map(|(_, named)| named)
}

fn cannot(reason: String) -> GroupError {
    GroupError::CannotEnforce {
        limit: "disk_io_bytes_s",
        controller: None,
        reason,
        hint: "give the task a folder on a disk (not tmpfs, overlay or a network), or leave this limit out",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_mount_is_the_one() {
        let mounts = "27 1 254:0 / / rw - ext4 /dev/vda rw\n\
                      28 27 0:40 / /data rw - btrfs /dev/vdb rw\n\
                      29 27 0:41 / /data/x rw shared:1 - tmpfs none rw";
        let check = |path: &str, source: &str| {
            assert_eq!(mount_of(mounts, Path::new(path)).unwrap().1, source, "{path}");
        };
        check("/data/y", "/dev/vdb");
        check("/data/x/z", "none");
        check("/database", "/dev/vda");
    }

    #[test]
    fn memory_is_no_disk() {
        let error = Disk::of(Some(Path::new("/proc"))).unwrap_err();
        assert!(error.to_string().contains("/proc is on proc"), "{error}");
    }
}
