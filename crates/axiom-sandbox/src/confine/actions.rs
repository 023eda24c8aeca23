//! The list of what to do to make a root, written before the process starts.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use fs_err as fs;
use rustix::io::Errno;

use super::error::Step;
use super::mounts::OLD;
use super::{ConfineError, kernel_path};

/// One thing to do in the child.
#[derive(Debug)]
pub(super) enum Action {
    Folder(Entry),
    File(Entry),
    Link {
        target: CString,
        path: CString,
    },
    /// Something of the machine, with all that is mounted below it.
    Bind {
        /// Below [`OLD`].
        source: CString,
        target: CString,
        attributes: u64,
    },
    /// Something of the root laid over something else of it. Both paths are the kernel's and ours: nobody has put a link there.
    Mask {
        cover: CString,
        target: CString,
    },
    Mount {
        kind: CString,
        target: CString,
        options: CString,
        /// To name if it fails.
        step: Step,
    },
}

/// A path in two parts, because the first is opened without following links before the second is made in it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) parent: CString,
    pub(super) name: CString,
    pub(super) path: CString,
}

impl Action {
    /// What to name when it fails.
    pub(super) fn path(&self) -> &CString {
        match self {
            Action::Folder(entry) | Action::File(entry) => &entry.path,
            Action::Link { path, .. } => path,
            Action::Bind { target, .. } | Action::Mask { target, .. } | Action::Mount { target, .. } => {
                target
            }
        }
    }
}

/// A list that grows.
#[derive(Debug, Default)]
pub(super) struct List {
    pub(super) actions: Vec<Action>,
    /// Folders that are on it.
    made: BTreeSet<PathBuf>,
}

impl List {
    /// Something of the machine, at a place of the task's root.
    pub(super) fn bind(&mut self, source: &Path, target: &Path, attributes: u64) -> Result<(), ConfineError> {
        // Resolved now; the child follows no link, so one that is swapped in later is refused and not followed.
        let source = fs::canonicalize(source).map_err(|error| fault(Step::Bind, &error, source))?;
        if source == Path::new("/") {
            return Err(ConfineError::plan(
                "the machine's whole root is no part of a task's",
            ));
        }
        if source.is_dir() {
            self.folder(target)?;
        } else {
            self.parents(target)?;
            self.actions.push(Action::File(entry(target)?));
        }
        let below_old = [OLD.as_bytes(), source.as_os_str().as_bytes()].concat();
        self.actions.push(Action::Bind {
            source: CString::new(below_old).map_err(|_| ConfineError::plan("a path has no zero byte"))?,
            target: kernel_path(target)?,
            attributes,
        });
        Ok(())
    }

    /// Lays something of the new root over something else of it.
    pub(super) fn mask(&mut self, cover: &Path, target: &Path) -> Result<(), ConfineError> {
        self.actions.push(Action::Mask {
            cover: kernel_path(cover)?,
            target: kernel_path(target)?,
        });
        Ok(())
    }

    pub(super) fn link(&mut self, target: &Path, path: &Path) -> Result<(), ConfineError> {
        self.parents(path)?;
        self.actions.push(Action::Link {
            target: kernel_path(target)?,
            path: kernel_path(path)?,
        });
        Ok(())
    }

    /// A file system of the kernel's own, on a folder that is on the list.
    pub(super) fn mount(
        &mut self,
        kind: &str,
        target: &str,
        options: &str,
        step: Step,
    ) -> Result<(), ConfineError> {
        self.actions.push(Action::Mount {
            kind: kernel_path(kind)?,
            target: kernel_path(target)?,
            options: kernel_path(options)?,
            step,
        });
        Ok(())
    }

    /// A folder and those on the way to it.
    pub(super) fn folder(&mut self, path: &Path) -> Result<(), ConfineError> {
        if path == Path::new("/") || !self.made.insert(path.to_owned()) {
            return Ok(());
        }
        self.parents(path)?;
        self.actions.push(Action::Folder(entry(path)?));
        Ok(())
    }

    fn parents(&mut self, path: &Path) -> Result<(), ConfineError> {
        match path.parent() {
            Some(parent) => self.folder(parent),
            None => Ok(()),
        }
    }
}

fn entry(path: &Path) -> Result<Entry, ConfineError> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok(Entry {
            parent: kernel_path(parent)?,
            name: kernel_path(name)?,
            path: kernel_path(path)?,
        }),
        _ => Err(ConfineError::plan(
            "a place in the task's root is an absolute path",
        )),
    }
}

pub(super) fn fault(step: Step, error: &std::io::Error, path: &Path) -> ConfineError {
    let errno = Errno::from_io_error(error).unwrap_or(Errno::IO);
    ConfineError::new(step, errno).on(path.display().to_string())
}
