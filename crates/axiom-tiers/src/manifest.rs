//! Which tier holds which events of a shard. Every change of it is one record, and a record is there or it is not: that is
//! how events change hands without a moment in which they are in two tiers or in none.
//!
//! The file `manifest` lies in the shard's folder and begins with 8 bytes, `AXMAN`, two zeros and the version of this format,
//! 1. Records follow; numbers are little-endian:
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `AXR` and 1 |
//! | 4 | 4 | CRC-32C of everything after it |
//! | 8 | 4 | bytes of the JSON |
//! | 12 | | the record as JSON ([`Record`]) |
//!
//! The first record is a whole [`State`]. A record is synced before anything is done that relies on it. When records have
//! become many, the state is written to a new file, which takes the old one's place. What is unfinished at the end of the
//! file never counted and is cut off; anything else that is not a record is damage, and is reported with its place.
//!
//! Several processes may change it: each takes `pins/lock`, reads what is new, and appends. Whoever reads does without: it
//! pins the state that it has seen ([`pins`]), and what a pin shows is not deleted.

pub mod pins;
pub mod state;

mod frames;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use axiom_events::disk::Machine;
use axiom_events::disk::{Access, Disk, File};

use frames::Tail;
use pins::{Floor, Pin};
pub use state::{Change, Garbage, Hold, Impossible, Object, Record, State, Tier};

/// The file's name.
pub const NAME: &str = "manifest";
const TEMPORARY: &str = "manifest.tmp";
/// The file is written anew when it is longer than this, and than twice the state alone.
const BYTES_MAX: u64 = 256 << 10;
/// How long a change waits for another process's. One takes two syncs.
const LOCK_WAIT: Duration = Duration::from_secs(10);
const LOCK_PAUSE: Duration = Duration::from_millis(2);

/// A manifest that may be changed.
#[derive(Debug)]
pub struct Manifest {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    shard: u16,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    state: Arc<State>,
    /// States that somebody may still look at.
    shown: Vec<(Floor, Weak<State>)>,
    /// What was read: the length of the file, and its first record, by which a file is known that took another's place.
    read: Read,
    /// The last write failed, and nobody knows what of it is on the disk: the file must be written anew.
    is_doubtful: bool,
}

/// A manifest as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Read {
    bytes: u64,
    first: Vec<u8>,
}

/// Why a manifest cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    #[error("failed to {what} {path}: {source}")]
    Disk {
        what: &'static str,
        path: PathBuf,
        source: io::Error,
    },
    #[error(
        "{path} is damaged at byte {at}: {reason}\n\
         hint: restore the file from a backup; the events are in the files beside it and are not deleted meanwhile"
    )]
    Damaged { path: PathBuf, at: u64, reason: String },
    #[error("{path} is kept by another process for more than {seconds} s")]
    Locked { path: PathBuf, seconds: u64 },
    #[error(transparent)]
    Impossible(#[from] Impossible),
}

impl Manifest {
    /// Reads a shard's manifest; one that is not there is one that says nothing yet.
    ///
    /// # Errors
    /// When it cannot be read, or is damaged elsewhere than at its end.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path, shard: u16) -> Result<Manifest, ManifestError> {
        let (state, read) = load(disk.as_ref(), folder, shard)?;
        Ok(Manifest {
            disk,
            folder: folder.to_owned(),
            shard,
            inner: Mutex::new(Inner {
                state: Arc::new(state),
                shown: Vec::new(),
                read,
                is_doubtful: false,
            }),
        })
    }

    /// What it says now, as far as this process knows. As long as somebody has it, nothing that it shows is deleted.
    pub fn now(&self) -> Arc<State> {
        let mut inner = self.lock();
        inner.shown.retain(|(_, shown)| shown.strong_count() > 0);
        let floor = Floor::of(&inner.state);
        if !inner.shown.iter().any(|(known, _)| *known == floor) {
            let shown = Arc::downgrade(&inner.state);
            inner.shown.push((floor, shown));
        }
        Arc::clone(&inner.state)
    }

    /// Reads what other processes have changed.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn refresh(&self) -> Result<Arc<State>, ManifestError> {
        let mut inner = self.lock();
        if !inner.is_doubtful {
            self.read_again(&mut inner)?;
        }
        drop(inner);
        Ok(self.now())
    }

    /// Changes it as `decide` says of the newest state; not at all if that is `None`. When this returns the change is on the
    /// disk. After an error it did not happen.
    ///
    /// # Errors
    /// The disk fails, or the change would lose events or have them twice.
    pub fn change(
        &self,
        by: &str,
        decide: impl FnOnce(&State) -> Option<Change>,
    ) -> Result<Arc<State>, ManifestError> {
        let _lock = self.take_lock()?;
        let mut inner = self.lock();
        if inner.is_doubtful {
            self.write_anew(&mut inner)?;
        } else {
            self.read_again(&mut inner)?;
        }
        if let Some(change) = decide(&inner.state) {
            let record = Record {
                sequence: inner.state.sequence + 1,
                at: axiom_core::time::unix_nanos(),
                by: by.to_owned(),
                change,
            };
            let next = State::clone(&inner.state).after(&record)?;
            self.append(&mut inner, &record)?;
            inner.state = Arc::new(next);
            if inner.read.bytes > BYTES_MAX && inner.read.bytes > 2 * inner.read.first.len() as u64 {
                // What is there is valid, only long.
                if let Err(error) = self.write_anew(&mut inner) {
                    tracing::warn!(%error, "the manifest was not shortened");
                }
            }
        }
        drop(inner);
        Ok(self.now())
    }

    /// After a change that failed: sees to it that what is on the disk is what is known here.
    ///
    /// # Errors
    /// When the disk still refuses it. Then nothing may be deleted that the change was about.
    pub fn settle(&self) -> Result<(), ManifestError> {
        if !self.lock().is_doubtful {
            return Ok(());
        }
        self.change("axiom", |_| None).map(drop)
    }

    /// What must be kept for those who look at older states.
    ///
    /// # Errors
    /// When the folder of the pins cannot be read.
    pub fn floor(&self) -> Result<Floor, ManifestError> {
        let mut inner = self.lock();
        inner.shown.retain(|(_, shown)| shown.strong_count() > 0);
        let now = Floor::of(&inner.state);
        let shown = inner.shown.iter().map(|(floor, _)| *floor);
        let here = shown.fold(now, Floor::lower);
        drop(inner);
        let folder = pins::folder(&self.folder);
        let pinned = pins::floor(&folder).map_err(|source| ManifestError::Disk {
            what: "read the pins in",
            path: folder,
            source,
        })?;
        Ok(pinned.map_or(here, |pinned| pinned.lower(here)))
    }

    fn append(&self, inner: &mut Inner, record: &Record) -> Result<(), ManifestError> {
        if inner.read.bytes == 0 {
            // A state that says nothing is the first record.
            self.write_anew(inner)?;
        }
        let path = self.folder.join(NAME);
        let frame = frames::frame(record);
        let file = self
            .disk
            .open(&path, Access::Write)
            .map_err(|source| failed("open", &path, source))?;
        inner.is_doubtful = true;
        file.write_at(&frame, inner.read.bytes)
            .and_then(|()| file.set_bytes(inner.read.bytes + frame.len() as u64))
            .and_then(|()| file.sync())
            .map_err(|source| failed("write to", &path, source))?;
        inner.is_doubtful = false;
        inner.read.bytes += frame.len() as u64;
        Ok(())
    }

    /// Writes the state to a new file, which takes the place of the old one.
    fn write_anew(&self, inner: &mut Inner) -> Result<(), ManifestError> {
        let record = Record {
            sequence: inner.state.sequence,
            at: axiom_core::time::unix_nanos(),
            by: "axiom".to_owned(),
            change: Change::State(Box::new(State::clone(&inner.state))),
        };
        let first = frames::frame(&record);
        let mut bytes = frames::MAGIC.to_vec();
        bytes.extend_from_slice(&first);
        let (path, temporary) = (self.folder.join(NAME), self.folder.join(TEMPORARY));
        remove(self.disk.as_ref(), &temporary).map_err(|source| failed("remove", &temporary, source))?;
        let write = || {
            let file = self.disk.create(&temporary, bytes.len() as u64)?;
            file.write_at(&bytes, 0)?;
            file.sync()
        };
        write().map_err(|source| failed("write", &temporary, source))?;
        inner.is_doubtful = true;
        self.disk
            .rename(&temporary, &path)
            .and_then(|()| self.disk.sync_folder(&self.folder))
            .map_err(|source| failed("replace", &path, source))?;
        inner.is_doubtful = false;
        inner.read = Read {
            bytes: bytes.len() as u64,
            first,
        };
        Ok(())
    }

    fn read_again(&self, inner: &mut Inner) -> Result<(), ManifestError> {
        let (state, read) = load(self.disk.as_ref(), &self.folder, self.shard)?;
        if read != inner.read {
            inner.state = Arc::new(state);
            inner.read = read;
        }
        Ok(())
    }

    fn take_lock(&self) -> Result<Box<dyn std::any::Any + Send + Sync>, ManifestError> {
        let folder = pins::folder(&self.folder);
        self.disk
            .create_folder(&folder)
            .map_err(|source| failed("make", &folder, source))?;
        let since = axiom_core::time::now();
        loop {
            match self.disk.lock(&folder) {
                Ok(lock) => return Ok(lock),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(source) => return Err(failed("lock", &folder, source)),
            }
            if since.elapsed() >= LOCK_WAIT {
                return Err(ManifestError::Locked {
                    path: folder,
                    seconds: LOCK_WAIT.as_secs(),
                });
            }
            std::thread::park_timeout(LOCK_PAUSE);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One state of a shard's manifest, pinned: nothing that it shows is deleted as long as it lives.
#[derive(Debug)]
pub struct Snapshot {
    folder: PathBuf,
    state: State,
    read: Read,
    /// `None` where the folder cannot be written: then what is shown may be gone when it is read.
    _pin: Option<Pin>,
}

impl Snapshot {
    /// Pins the state of a shard's manifest. May be done beside the process that changes it, and without one.
    ///
    /// # Errors
    /// When the manifest cannot be read, or is damaged; and when it cannot be pinned in a folder that may be written.
    pub fn open(folder: &Path) -> Result<Snapshot, ManifestError> {
        // Before the manifest is read: from now on nothing is deleted, and then only what this state does not show.
        let mut pin = match Pin::take(&pins::folder(folder)) {
            Ok(pin) => Some(pin),
            Err(error) if is_unwritable(error.kind()) => {
                tracing::debug!(%error, folder = %folder.display(), "events are read without a pin");
                None
            }
            Err(source) => return Err(failed("pin what is shown by", &folder.join(NAME), source)),
        };
        let (state, read) = load(&Machine, folder, 0)?;
        if let Some(Err(error)) = pin.as_mut().map(|pin| pin.lift(Floor::of(&state))) {
            tracing::debug!(%error, folder = %folder.display(), "a pin keeps more than it has to");
        }
        Ok(Snapshot {
            folder: folder.to_owned(),
            state,
            read,
            _pin: pin,
        })
    }

    /// What is no longer hot, ascending by offset and disjoint.
    pub fn objects(&self) -> &[Object] {
        &self.state.objects
    }

    /// From this offset on events are in the log itself.
    pub fn hot_from(&self) -> u64 {
        self.state.hot_from
    }

    pub fn state(&self) -> &State {
        &self.state
    }

    /// The shard's folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether the manifest says something else by now.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn is_outdated(&self) -> Result<bool, ManifestError> {
        let (_, read) = load(&Machine, &self.folder, 0)?;
        Ok(read != self.read)
    }
}

/// A copy, somebody else's folder, a full disk, or nothing there: better to read without a pin than not at all.
fn is_unwritable(kind: io::ErrorKind) -> bool {
    matches!(
        kind,
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
            | io::ErrorKind::NotFound
    )
}

/// What the file says, and how much of it was read.
fn load(disk: &dyn Disk, folder: &Path, shard: u16) -> Result<(State, Read), ManifestError> {
    let path = folder.join(NAME);
    let bytes = match read_all(disk, &path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok((State::new(shard), Read::default()));
        }
        Err(source) => return Err(failed("read", &path, source)),
    };
    let damaged = |at: usize, reason: String| ManifestError::Damaged {
        path: path.clone(),
        at: at as u64,
        reason,
    };
    let (records, tail) = frames::records(&bytes).map_err(|bad| damaged(bad.at, bad.reason))?;
    let mut state: Option<State> = None;
    let mut read = Read::default();
    for (at, record) in records {
        state = Some(match (state, &record.change) {
            (None, Change::State(first)) => {
                read.first = frames::frame(&record);
                State::clone(first)
            }
            (None, _) => return Err(damaged(at, "the first record is not a whole state".to_owned())),
            (Some(state), _) => state
                .after(&record)
                .map_err(|impossible| damaged(at, impossible.to_string()))?,
        });
    }
    let Some(state) = state else {
        return Err(damaged(0, "there is no record".to_owned()));
    };
    let Tail { end, torn_bytes } = tail;
    if torn_bytes > 0 {
        tracing::debug!(path = %path.display(), torn_bytes, "the manifest's last record was not finished");
    }
    read.bytes = end as u64;
    Ok((state, read))
}

/// All bytes of a file.
///
/// # Errors
/// When the disk does not give them.
pub(crate) fn read_all(disk: &dyn Disk, path: &Path) -> io::Result<Vec<u8>> {
    let file: Box<dyn File> = disk.open(path, Access::Read)?;
    let mut bytes = vec![0; usize::try_from(file.bytes()?).map_err(|_| io::ErrorKind::FileTooLarge)?];
    let filled = file.read_at(&mut bytes, 0)?;
    bytes.truncate(filled);
    Ok(bytes)
}

/// Removes a file that may not be there.
pub(crate) fn remove(disk: &dyn Disk, path: &Path) -> io::Result<()> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> ManifestError {
    ManifestError::Disk {
        what,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests;
