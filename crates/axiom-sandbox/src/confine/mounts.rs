//! Makes the task's root, in the child: one small file system in memory, and the view's list walked over it.
//!
//! Nothing here follows a symbolic link. A task may have left one in its work folder, and while the root is made the
//! machine's own is still in reach.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, mount, mount_bind,
    mount_change, mount_remount, move_mount, open_tree, unmount,
};

use super::actions::{Action, Entry};
use super::error::{At as _, Fault, Step};
use super::{ConfineError, kernel_path, raw};

/// Where the machine's root hangs while the task's is made.
pub(super) const OLD: &str = "/.old";
/// An empty folder to lay over others; gone at the end, as a name.
pub(super) const EMPTY: &str = "/.empty";
/// Lies over files that are hidden.
pub(super) const NULL: &CStr = c"/dev/null";
pub(super) const FOLDER: Mode = Mode::from_raw_mode(0o755);

/// Folders that every system has; which one it is does not matter.
const BASES: [&str; 4] = ["/tmp", "/run", "/var/tmp", "/mnt"];

/// A folder of the machine to make a root at.
pub(super) fn base() -> Result<CString, ConfineError> {
    let mut bases = BASES.iter().map(Path::new);
    let base = bases.find(|base| base.is_dir() && !base.is_symlink());
    kernel_path(base.ok_or(ConfineError::plan("the machine has no /tmp to make a root at"))?)
}

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
pub(super) fn begin(base: &CStr) -> Result<(), Errno> {
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

pub(super) fn leave_old_root() -> Result<(), Errno> {
    unmount(OLD, UnmountFlags::DETACH)?;
    rustix::fs::rmdir(OLD)?;
    rustix::fs::rmdir(EMPTY)?;
    close_root(c"/")
}

/// Nothing more is made on this mount.
pub(super) fn close_root(path: &CStr) -> Result<(), Errno> {
    let attributes = raw::MOUNT_READ_ONLY | raw::MOUNT_NOSUID | raw::MOUNT_NODEV;
    raw::mount_attributes(resolve(path)?.as_fd(), attributes, false)
}

pub(super) fn take(action: &Action) -> Result<(), Fault> {
    match action {
        Action::Folder(entry) => make(entry, FileType::Directory).at(Step::MakeEntry),
        Action::File(entry) => make(entry, FileType::RegularFile).at(Step::MakeEntry),
        Action::Link { target, path } => rustix::fs::symlink(target, path).at(Step::MakeEntry),
        Action::Bind {
            source,
            target,
            attributes,
        } => detach(source, *attributes)
            .and_then(|tree| attach(tree.as_fd(), target))
            .at(Step::Bind),
        Action::Mask { cover, target } => match mask(cover, target) {
            // The list of what to mask was made from another /proc than this one.
            Err(Errno::NOENT) => Ok(()),
            done => done.at(Step::MaskProc),
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

/// A copy of what is mounted at a path and below it, itself mounted nowhere yet. The attributes are set before it is anywhere in
/// the tree, so that there is no moment without them.
pub(super) fn detach(source: &CStr, attributes: u64) -> Result<OwnedFd, Errno> {
    let source = resolve(source)?;
    let tree = open_tree(
        &source,
        c"",
        OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH
            | OpenTreeFlags::AT_RECURSIVE,
    )?;
    raw::mount_attributes(tree.as_fd(), attributes, true)?;
    Ok(tree)
}

pub(super) fn attach(tree: BorrowedFd<'_>, target: &CStr) -> Result<(), Errno> {
    let target = resolve(target)?;
    move_mount(
        tree,
        c"",
        &target,
        c"",
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH,
    )
}

/// There are a dozen of these in each root, so that they have to be cheap: by the old calls, which take one where the new ones
/// take four. Nothing of the task runs before the attributes are set.
fn mask(cover: &CStr, target: &CStr) -> Result<(), Errno> {
    mount_bind(cover, target)?;
    if cover == NULL {
        // Its own mount is as strict, and a copy takes that along.
        return Ok(());
    }
    let strict = MountFlags::RDONLY | MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount_remount(target, MountFlags::BIND | strict, c"")
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
