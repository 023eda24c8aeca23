//! What all tasks' roots have in common, mounted once and then copied.
//!
//! A root consists of some thirty mounts, and most of them are the same for all tasks: the machine's programs, a few files of
//! `/etc`, the devices. A template is a namespace of mounts that holds those and nothing else, not even the machine's root. No
//! process is in it. A task's first process enters it and at once makes a copy of its own, in which it adds what is the task's:
//!
//! ```text
//! /           the template's root: not to be written, and covered by the task's own at the end
//! /usr        a mount, and each other folder that has something in it: moved into the task's root as a whole
//! /.root      where the task's root is made, a small file system in memory
//! ```
//!
//! So the names in a task's root are its own, and what it may not see of other tasks was never in the template. What was
//! replaced on the machine since (a file of `/etc`, by a rename) would stay what it was: see [`Template::is_current`].

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MoveMountFlags, mount, move_mount};
use rustix::pipe::{PipeFlags, pipe_with};

use super::actions::Action;
use super::child::HIGH_FD;
use super::error::{At as _, Fault, RECORD_BYTES, Step};
use super::mounts::{self, EMPTY, FOLDER, OLD};
use super::prepared::{Root, RootCopy};
use super::raw::{self, ExitOnUnwind, Forked};
use super::{Child, ConfineError, FileId};

#[derive(Debug)]
pub(super) struct Template {
    namespace: OwnedFd,
    names: Vec<Name>,
    /// The sources of what is bound in it, and which files they were.
    bound: Vec<(CString, FileId)>,
    /// The kernel's list of the machine's mounts, which tells when there is another one.
    machine: fs_err::File,
}

/// Something in the root itself.
#[derive(Debug)]
struct Name {
    path: CString,
    kind: Kind,
}

#[derive(Debug, PartialEq, Eq)]
enum Kind {
    /// Empty, for the task's own list to mount on.
    Folder,
    /// A mount, with more in it. With `on_itself` it is there only to be moved with all that is in it.
    Mount {
        file: FileType,
        on_itself: bool,
    },
    Link {
        target: CString,
    },
}

const ROOT: &CStr = c"/.root";

impl Template {
    /// Does what the list says, in a process of its own that ends when its mounts are in our hands.
    pub(super) fn make(shared: &[Action]) -> Result<Template, ConfineError> {
        let base = mounts::base()?;
        let names = names(shared);
        // Before they are bound: one that is replaced meanwhile is found out by the next look.
        let bound = bound(shared)?;
        let machine = fs_err::File::open("/proc/self/mountinfo").map_err(|error| io_failed(&error))?;
        let failed = |errno| ConfineError::new(Step::CopyRoot, errno);
        let (reports, reports_of_child) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        let (leave, let_go) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        let signals = raw::block_signals().map_err(failed)?;
        let started = raw::clone_process(raw::NEW_MOUNT, None);
        if let Ok(Forked::Child) = started {
            let _exit_on_unwind = ExitOnUnwind;
            // The parent's end goes, or the child would wait for itself.
            drop(let_go);
            build_and_wait(&base, shared, &names, &reports_of_child, &leave);
        }
        raw::restore_signals(&signals).map_err(failed)?;
        let Forked::Parent { pid, pidfd } = started.map_err(failed)? else {
            unreachable!("the child does not come here")
        };
        drop(reports_of_child);
        let built = answer(&reports, shared).and_then(|()| {
            let path = format!("/proc/{}/ns/mnt", pid.as_raw_pid());
            let namespace = fs_err::File::open(path).map_err(|error| io_failed(&error))?;
            rustix::io::fcntl_dupfd_cloexec(namespace.file(), HIGH_FD).map_err(failed)
        });
        drop(let_go);
        // A caller that lets its children go unburied has nothing to take here.
        Child { pid, pidfd }.wait().ok();
        Ok(Template {
            namespace: built?,
            names,
            bound,
            machine,
        })
    }

    /// Each file that is bound is still the one at its path, and nothing was mounted on the machine since. Takes some 10 us.
    pub(super) fn is_current(&self) -> bool {
        let mut bound = self.bound.iter();
        !self.is_mounted_otherwise() && bound.all(|(path, id)| file_id(path).is_ok_and(|now| now == *id))
    }

    fn is_mounted_otherwise(&self) -> bool {
        let mut news = [PollFd::new(self.machine.file(), PollFlags::PRI)];
        let at_once = Timespec::default();
        // What cannot be asked is taken for changed.
        !matches!(poll(&mut news, Some(&at_once)), Ok(0))
    }

    /// This is to be made in a folder that all tasks have in common.
    pub(super) fn is_in_the_way_of(&self, action: &Action) -> bool {
        let (Action::Folder(entry) | Action::File(entry)) = action else {
            return false;
        };
        let path = entry.path.as_bytes();
        let shared = self
            .names
            .iter()
            .filter(|name| matches!(name.kind, Kind::Mount { .. } | Kind::Link { .. }));
        let is_in = |name: &Name| is_below(path, name.path.as_bytes());
        shared.into_iter().any(is_in)
    }
}

fn is_below(path: &[u8], folder: &[u8]) -> bool {
    path.strip_prefix(folder)
        .is_some_and(|rest| rest.starts_with(b"/"))
}

/// As the machine has it.
pub(super) fn before_old(source: &CStr) -> &CStr {
    let bytes = source.to_bytes_with_nul();
    let bytes = bytes.strip_prefix(OLD.as_bytes()).unwrap_or(bytes);
    CStr::from_bytes_with_nul(bytes).unwrap_or(source)
}

fn names(shared: &[Action]) -> Vec<Name> {
    let in_root = |path: &CString| path.as_bytes().iter().filter(|byte| **byte == b'/').count() == 1;
    let binds = |path: &CString| {
        let mut actions = shared.iter();
        actions.any(|action| matches!(action, Action::Bind { target, .. } if target == path))
    };
    let holds = |path: &CString| {
        let mut actions = shared.iter();
        actions.any(|action| is_below(action.path().as_bytes(), path.as_bytes()))
    };
    let kind = |action: &Action| match action {
        Action::Folder(entry) if binds(&entry.path) || holds(&entry.path) => Some(Kind::Mount {
            file: FileType::Directory,
            on_itself: !binds(&entry.path),
        }),
        Action::Folder(_) => Some(Kind::Folder),
        Action::File(_) => Some(Kind::Mount {
            file: FileType::RegularFile,
            on_itself: false,
        }),
        Action::Link { target, .. } => Some(Kind::Link {
            target: target.clone(),
        }),
        Action::Bind { .. } | Action::Mask { .. } | Action::Mount { .. } => None,
    };
    let found = shared
        .iter()
        .filter(|action| in_root(action.path()))
        .filter_map(|action| {
            Some(Name {
                path: action.path().clone(),
                kind: kind(action)?,
            })
        });
    found.collect()
}

fn bound(shared: &[Action]) -> Result<Vec<(CString, FileId)>, ConfineError> {
    let sources = shared.iter().filter_map(|action| match action {
        Action::Bind { source, .. } => Some(before_old(source)),
        _ => None,
    });
    let known = sources.map(|source| {
        let failed = |errno| ConfineError::new(Step::Bind, errno).on(source.to_string_lossy());
        Ok((source.to_owned(), file_id(source).map_err(failed)?))
    });
    known.collect()
}

fn file_id(path: &CStr) -> Result<FileId, Errno> {
    let found = rustix::fs::lstat(path)?;
    Ok((found.st_dev, found.st_ino))
}

/// What the process that made it says: a byte, or its fault.
fn answer(reports: &OwnedFd, shared: &[Action]) -> Result<(), ConfineError> {
    let mut record = [0; RECORD_BYTES];
    let fault = loop {
        match rustix::io::read(reports, &mut record[..]) {
            Ok(1) => return Ok(()),
            Err(Errno::INTR) => {}
            Ok(RECORD_BYTES) => break Fault::from_record(record),
            Ok(_) | Err(_) => break None,
        }
    };
    let fault = fault.ok_or(ConfineError::new(Step::CopyRoot, Errno::CHILD))?;
    let action = usize::try_from(fault.item).ok().and_then(|item| shared.get(item));
    let error = ConfineError::new(fault.step, fault.errno);
    Err(match action {
        Some(action) if matches!(fault.step, Step::Bind | Step::MakeEntry) => {
            error.on(action.path().to_string_lossy())
        }
        _ => error,
    })
}

fn io_failed(error: &std::io::Error) -> ConfineError {
    ConfineError::new(Step::CopyRoot, Errno::from_io_error(error).unwrap_or(Errno::IO))
}

/// In the process that makes it: as in a task's child, nothing is allocated here. See `raw.rs`.
fn build_and_wait(base: &CStr, shared: &[Action], names: &[Name], reports: &OwnedFd, leave: &OwnedFd) -> ! {
    rustix::process::umask(Mode::empty());
    match build(base, shared, names) {
        Ok(()) => drop(rustix::io::write(reports, b"1")),
        Err(fault) => drop(rustix::io::write(reports, &fault.to_record())),
    }
    // Until the parent has our mounts, or is gone.
    while rustix::io::read(leave, &mut [0_u8; 1][..]) == Err(Errno::INTR) {}
    raw::exit(0)
}

fn build(base: &CStr, shared: &[Action], names: &[Name]) -> Result<(), Fault> {
    let on_themselves = || {
        let is_wanted = |name: &&Name| matches!(name.kind, Kind::Mount { on_itself: true, .. });
        names.iter().filter(is_wanted)
    };
    mounts::begin(base).at(Step::MakeRoot)?;
    for (action, item) in shared.iter().zip(0..) {
        mounts::take(action).map_err(|fault| Fault { item, ..fault })?;
        if let Action::Folder(entry) = action
            && on_themselves().any(|name| name.path == entry.path)
        {
            // Now, that what follows is mounted in it.
            mounts::detach(&entry.path, 0)
                .and_then(|tree| mounts::attach(tree.as_fd(), &entry.path))
                .at_item(Step::MakeEntry, item)?;
        }
    }
    rustix::fs::mkdir(ROOT, FOLDER).at(Step::MakeRoot)?;
    for name in on_themselves() {
        mounts::close_root(&name.path).at(Step::MakeRoot)?;
    }
    mounts::leave_old_root().at(Step::EnterRoot)
}

/// In a task's child: it sees the new root, and nothing else, when this returns.
pub(super) fn copy_root(root: &Root<'_>, copy: &RootCopy) -> Result<(), Fault> {
    begin(&copy.template).at(Step::CopyRoot)?;
    let mut trees = copy.trees.iter();
    let first = u32::try_from(root.shared_len()).unwrap_or(u32::MAX);
    for (action, item) in root.after_shared().zip(first..) {
        let taken = match action {
            // From here its source is not to be seen.
            Action::Bind { target, .. } => trees
                .next()
                .ok_or(Errno::BADF)
                .and_then(|tree| mounts::attach(tree.as_fd(), target))
                .at(Step::Bind),
            action => mounts::take(action),
        };
        taken.map_err(|fault| Fault { item, ..fault })?;
    }
    rustix::fs::rmdir(EMPTY)
        .and_then(|()| mounts::close_root(c"/"))
        .at(Step::EnterRoot)
}

/// A root of the task's own, with what is the template's in it.
fn begin(template: &Template) -> Result<(), Errno> {
    raw::copy_mounts(template.namespace.as_fd())?;
    mount(
        c"root",
        ROOT,
        c"tmpfs",
        MountFlags::NOSUID | MountFlags::NODEV,
        Some(c"mode=0755,size=1m,nr_inodes=4096"),
    )?;
    rustix::process::chdir(ROOT)?;
    for name in &template.names {
        let here = relative(&name.path);
        match &name.kind {
            Kind::Link { target } => rustix::fs::symlink(target.as_c_str(), here)?,
            Kind::Folder => rustix::fs::mkdir(here, FOLDER)?,
            Kind::Mount { file, .. } => {
                if *file == FileType::Directory {
                    rustix::fs::mkdir(here, FOLDER)?;
                } else {
                    rustix::fs::mknodat(CWD, here, *file, Mode::from_raw_mode(0o444), 0)?;
                }
                move_mount(CWD, name.path.as_c_str(), CWD, here, MoveMountFlags::empty())?;
            }
        }
    }
    // Over the template's root, and then into it, as a machine does it when it has started. To pivot would cost a look at every
    // process there is.
    move_mount(CWD, c".", CWD, c"/", MoveMountFlags::empty())?;
    rustix::process::chroot(c".")?;
    rustix::fs::mkdir(c"/.empty", FOLDER)
}

fn relative(path: &CStr) -> &CStr {
    let bytes = path.to_bytes_with_nul();
    CStr::from_bytes_with_nul(bytes.strip_prefix(b"/").unwrap_or(bytes)).unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::super::System;

    #[test]
    fn what_was_replaced_is_looked_at_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, "one").unwrap();
        let system = System::of([path.clone()]).unwrap();
        if let Err(error) = system.lay_out() {
            eprintln!("skipped: {error}");
            return;
        }
        let first = system.template().unwrap();
        system.lay_out().unwrap();
        assert!(std::sync::Arc::ptr_eq(&first, &system.template().unwrap()));

        let other = folder.path().join("other");
        std::fs::write(&other, "two").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert!(!first.is_current());
        system.lay_out().unwrap();
        assert!(system.template().unwrap().is_current());

        // What is no more cannot be laid out, and tasks are not given what was.
        std::fs::remove_file(&path).unwrap();
        system.lay_out().unwrap_err();
        assert!(system.template().is_none());
    }
}
