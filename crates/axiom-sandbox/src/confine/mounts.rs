//! Makes the task's root, in the child: one small file system in memory, and the view's list walked over it.
//!
//! Nothing here follows a symbolic link. A task may have left one in its work folder, and while the root is made the
//! machine's own is still in reach.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_change,
    move_mount, open_tree, unmount,
};

use super::actions::{Action, Entry};
use super::error::{At as _, Fault, Step};
use super::raw;

/// Where the machine's root hangs while the task's is made.
pub(super) const OLD: &str = "/.old";
/// An empty folder to lay over others; gone at the end, as a name.
pub(super) const EMPTY: &str = "/.empty";
const FOLDER: Mode = Mode::from_raw_mode(0o755);

/// The process sees the new root, and nothing else, when this returns. `base` is a folder of the machine that the root
/// covers for a moment, in this namespace only.
pub(super) fn make_root<'a>(base: &CStr, actions: impl Iterator<Item = &'a Action>) -> Result<(), Fault> {
    begin(base).at(Step::MakeRoot)?;
    for (action, item) in actions.zip(0..) {
        take(action).map_err(|fault| Fault { item, ..fault })?;
    }
    leave_old_root().at(Step::EnterRoot)
}

/// An empty root, with the machine's below it.
fn begin(base: &CStr) -> Result<(), Errno> {
    // Otherwise each mount here would appear on the machine as well.
    mount_change(c"/", MountPropagationFlags::REC | MountPropagationFlags::PRIVATE)?;
    // Room for folders and links; files in it are only what others are bound on.
    mount(
        c"root",
        base,
        c"tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        Some(c"mode=0755,size=1m,nr_inodes=4096"),
    )?;
    rustix::process::chdir(base)?;
    rustix::fs::mkdir(c".old", FOLDER)?;
    rustix::process::pivot_root(c".", c".old")?;
    rustix::process::chdir(c"/")?;
    rustix::fs::mkdir(c".empty", FOLDER)
}

fn leave_old_root() -> Result<(), Errno> {
    unmount(OLD, UnmountFlags::DETACH)?;
    rustix::fs::rmdir(OLD)?;
    rustix::fs::rmdir(EMPTY)?;
    let root = resolve(c"/")?;
    raw::mount_attributes(
        root.as_fd(),
        raw::MOUNT_READ_ONLY | raw::MOUNT_NOSUID | raw::MOUNT_NODEV,
        false,
    )
}

fn take(action: &Action) -> Result<(), Fault> {
    match action {
        Action::Folder(entry) => make(entry, FileType::Directory).at(Step::MakeEntry),
        Action::File(entry) => make(entry, FileType::RegularFile).at(Step::MakeEntry),
        Action::Link { target, path } => rustix::fs::symlink(target, path).at(Step::MakeEntry),
        Action::Bind {
            source,
            target,
            attributes,
            recursive,
            step,
        } => match bind(source, target, *attributes, *recursive) {
            // The list of what to mask was made from another /proc than this one.
            Err(Errno::NOENT) if *step == Step::MaskProc => Ok(()),
            done => done.at(*step),
        },
        Action::Mount {
            kind,
            target,
            options,
            step,
        } => mount(kind, target, kind, flags(*step), Some(options.as_c_str())).at(*step),
    }
}

fn flags(step: Step) -> MountFlags {
    match step {
        // Programs are built and run in a task's `/tmp`.
        Step::MountTmpfs => MountFlags::NOSUID | MountFlags::NODEV,
        // Terminals are devices, and those of this file system are only the task's own.
        Step::MountDevpts => MountFlags::NOSUID | MountFlags::NOEXEC,
        _ => MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC,
    }
}

/// One that is there already is as good: a later mount may lie in an earlier one.
fn make(entry: &Entry, kind: FileType) -> Result<(), Errno> {
    let parent = resolve(&entry.parent)?;
    let made = if kind == FileType::Directory {
        rustix::fs::mkdirat(&parent, &entry.name, FOLDER)
    } else {
        rustix::fs::mknodat(&parent, &entry.name, kind, Mode::from_raw_mode(0o444), 0)
    };
    match made {
        Err(Errno::EXIST) => Ok(()),
        made => made,
    }
}

/// The attributes are set before the copy is anywhere in the tree, so that there is no moment without them.
fn bind(source: &CStr, target: &CStr, attributes: u64, recursive: bool) -> Result<(), Errno> {
    let source = resolve(source)?;
    let mut flags =
        OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC | OpenTreeFlags::AT_EMPTY_PATH;
    if recursive {
        flags |= OpenTreeFlags::AT_RECURSIVE;
    }
    let tree = open_tree(&source, c"", flags)?;
    raw::mount_attributes(tree.as_fd(), attributes, recursive)?;
    let target = resolve(target)?;
    move_mount(
        &tree,
        c"",
        &target,
        c"",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// A path without any link on it.
fn resolve(path: &CStr) -> Result<OwnedFd, Errno> {
    rustix::fs::openat2(
        CWD,
        path,
        OFlags::PATH | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
}
