//! The open files of a shard's segments: a few at a time, however many segments there are.
//!
//! A process may have some thousand files open, and sockets are among them. A segment's file is opened when somebody reads
//! it; the one that was not read for the longest time is closed for it. Whoever reads from a file keeps it until that is
//! done.

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::disk::{Access, Disk, File};

/// Files that stay open. A follower reads one, a search all of them one after the other.
const OPEN_MAX: usize = 64;

/// Opens files to be read, and closes them.
#[derive(Debug)]
pub(crate) struct Files {
    disk: Arc<dyn Disk>,
    /// The one that was used last stands last.
    open: Mutex<VecDeque<(Id, Arc<dyn File>)>>,
    next: AtomicU64,
}

/// What a file is known by here. A path is not enough: another file may take its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Id(u64);

impl Files {
    pub(crate) fn new(disk: Arc<dyn Disk>) -> Arc<Files> {
        Arc::new(Files {
            disk,
            open: Mutex::default(),
            next: AtomicU64::new(0),
        })
    }

    /// Opens a file that nobody has opened here.
    pub(crate) fn open(&self, path: &Path) -> io::Result<(Id, Arc<dyn File>)> {
        let id = Id(self.next.fetch_add(1, Ordering::Relaxed));
        Ok((id, self.open_again(id, path)?))
    }

    /// The file if it is open.
    pub(crate) fn get(&self, id: Id) -> Option<Arc<dyn File>> {
        let mut open = self.lock();
        let at = open.iter().rposition(|(known, _)| *known == id)?;
        let found = open.remove(at)?;
        let file = Arc::clone(&found.1);
        open.push_back(found);
        Some(file)
    }

    /// Opens a file that was closed.
    pub(crate) fn open_again(&self, id: Id, path: &Path) -> io::Result<Arc<dyn File>> {
        let file: Arc<dyn File> = Arc::from(self.disk.open(path, Access::Read)?);
        let mut open = self.lock();
        // Somebody else may have opened it at the same time.
        if open.iter().any(|(known, _)| *known == id) {
            return Ok(file);
        }
        open.push_back((id, Arc::clone(&file)));
        let closed = (open.len() > OPEN_MAX).then(|| open.pop_front());
        drop(open);
        // Closing may take its time, so it is done without the lock.
        drop(closed);
        Ok(file)
    }

    /// Closes a file as soon as nobody reads from it.
    pub(crate) fn close(&self, id: Id) {
        let mut open = self.lock();
        let at = open.iter().position(|(known, _)| *known == id);
        let closed = at.and_then(|at| open.remove(at));
        drop(open);
        drop(closed);
    }

    pub(crate) fn disk(&self) -> &dyn Disk {
        self.disk.as_ref()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Id, Arc<dyn File>)>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
