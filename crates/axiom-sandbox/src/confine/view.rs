//! The file system as a task sees it: the machine's programs, read-only, and what is its own.
//!
//! A view is turned into lists of [`Action`]s before the process starts, so that the child only walks them.

use std::path::{Component, PathBuf};

use super::ConfineError;
use super::actions::{Action, List};
use super::error::Step;
use super::landlock::{Landlock, TreeAccess};
use super::raw::{MOUNT_NODEV, MOUNT_NOSUID, MOUNT_READ_ONLY};
use super::system::System;

/// What a task's root consists of.
#[derive(Debug, Clone)]
pub struct RootView {
    pub system: System,
    /// Bytes that `/tmp` may hold; they count as the task's memory.
    pub tmp_bytes: u64,
    /// Bytes that `/dev/shm` may hold; they count as the task's memory.
    pub shm_bytes: u64,
    /// The task's work folder, and what else it gets.
    pub mounts: Vec<Mount>,
}

/// A folder or file of the machine, at a place of the task's root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    pub source: PathBuf,
    /// Absolute. Folders on the way are made, and no symbolic link on the way is followed.
    pub target: PathBuf,
    pub writable: bool,
}

/// Folders that are in each root, for what `RootView` mounts on them.
pub(super) const TMP: &str = "/tmp";
pub(super) const SHM: &str = "/dev/shm";

impl RootView {
    /// With little room in memory, and nothing but the system.
    pub fn new(system: System) -> Self {
        RootView {
            system,
            tmp_bytes: 64 << 20,
            shm_bytes: 64 << 20,
            mounts: Vec::new(),
        }
    }

    /// Landlock rules that say the same as this view: a second wall behind the first.
    pub fn landlock(&self) -> Landlock {
        let mut rules = Landlock::default();
        // What is in the view at all may be read and run, so that one rule says it of all of it.
        rules.allow("/", TreeAccess::ReadExecute);
        rules.allow("/dev", TreeAccess::Devices);
        rules.allow("/proc", TreeAccess::ReadWrite);
        rules.allow(TMP, TreeAccess::ReadWriteExecute);
        rules.allow(SHM, TreeAccess::ReadWriteExecute);
        for mount in self.mounts.iter().filter(|mount| mount.writable) {
            rules.allow(&mount.target, TreeAccess::ReadWriteExecute);
        }
        rules
    }

    /// What comes after the system's own list.
    pub(super) fn actions(&self) -> Result<Vec<Action>, ConfineError> {
        let mut list = List::default();
        for (path, size_bytes) in [(TMP, self.tmp_bytes), (SHM, self.shm_bytes)] {
            // A page holds at least one file, so that many are enough; without a bound their nodes would be free memory.
            let files = size_bytes / 4096 + 16;
            let options = format!("mode=1777,size={size_bytes},nr_inodes={files}");
            list.mount("tmpfs", path, &options, Step::MountTmpfs)?;
        }
        self.mounts.iter().try_for_each(|mount| add(&mut list, mount))?;
        Ok(list.actions)
    }
}

fn add(list: &mut List, mount: &Mount) -> Result<(), ConfineError> {
    let mut parts = mount.target.components();
    let is_plain = parts.next() == Some(Component::RootDir)
        && parts.clone().count() > 0
        && parts.all(|part| matches!(part, Component::Normal(_)));
    if !is_plain {
        return Err(ConfineError::plan(
            "a mount's target is an absolute path without `..`",
        ));
    }
    let read_only = if mount.writable { 0 } else { MOUNT_READ_ONLY };
    list.bind(
        &mount.source,
        &mount.target,
        read_only | MOUNT_NOSUID | MOUNT_NODEV,
    )
}
