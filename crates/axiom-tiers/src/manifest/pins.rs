//! Who looks at which state. A pin is a small file in `pins/` that its owner keeps locked: when the owner ends, however it
//! ends, the lock is gone, and the pin is worth nothing.
//!
//! The file has two decimal numbers: the sequence of the state that is looked at, and the offset from which on that state's
//! events are hot. An empty one pins everything: its owner has yet to see what there is.

use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::state::State;

const SUFFIX: &str = ".pin";
/// A pin may be taken for a stale one while it is made; then it is made again.
const TRIES: usize = 64;

/// What must not be deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// What was garbage by this record may go.
    pub sequence: u64,
    /// Hot segments before this offset may go.
    pub hot_from: u64,
}

impl Floor {
    pub fn of(state: &State) -> Floor {
        Floor {
            sequence: state.sequence,
            hot_from: state.hot_from,
        }
    }

    /// What is right for both.
    pub fn lower(self, other: Floor) -> Floor {
        Floor {
            sequence: self.sequence.min(other.sequence),
            hot_from: self.hot_from.min(other.hot_from),
        }
    }
}

/// Keeps what a state shows from being deleted.
#[derive(Debug)]
pub(super) struct Pin {
    path: PathBuf,
    file: fs_err::File,
}

pub(super) fn folder(shard: &Path) -> PathBuf {
    shard.join("pins")
}

impl Pin {
    /// Pins everything.
    pub(super) fn take(folder: &Path) -> io::Result<Pin> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        match fs_err::create_dir(folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        for _ in 0..TRIES {
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let path = folder.join(format!("{}-{number}{SUFFIX}", std::process::id()));
            let created = fs_err::OpenOptions::new()
                .read(true)
                .write(true)
                .create_new(true)
                .open(&path);
            let file = match created {
                // One that a process of the same number has left, maybe in another container.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                created => created?,
            };
            // Between these two steps it looks stale: whoever sees that locks it and removes it.
            match flock(file.file(), FlockOperation::NonBlockingLockExclusive) {
                Err(error) if error == Errno::WOULDBLOCK => continue,
                locked => locked?,
            }
            if is_at(&file, &path) {
                return Ok(Pin { path, file });
            }
        }
        Err(io::Error::other("pins are removed as soon as they are made"))
    }

    /// Pins no more than this.
    pub(super) fn lift(&mut self, floor: Floor) -> io::Result<()> {
        let text = format!("{} {}\n", floor.sequence, floor.hot_from);
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        if let Err(error) = fs_err::remove_file(&self.path) {
            tracing::debug!(%error, "a pin was not removed; it is seen to be stale");
        }
    }
}

/// The lowest of what is pinned; `None` if nothing is. Removes stale pins.
pub(super) fn floor(folder: &Path) -> io::Result<Option<Floor>> {
    let entries = match fs_err::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut lowest: Option<Floor> = None;
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "pin") {
            continue;
        }
        if let Some(floor) = pinned(&path)? {
            lowest = Some(lowest.map_or(floor, |lowest| lowest.lower(floor)));
        }
    }
    Ok(lowest)
}

/// What one pin keeps; `None` if it is stale.
fn pinned(path: &Path) -> io::Result<Option<Floor>> {
    let everything = Floor {
        sequence: 0,
        hot_from: 0,
    };
    let mut file = match fs_err::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // Somebody else's: it may be alive.
        Err(_) => return Ok(Some(everything)),
    };
    if flock(file.file(), FlockOperation::NonBlockingLockExclusive).is_ok() {
        match fs_err::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(None),
        }
    }
    let mut text = String::new();
    file.read_to_string(&mut text)?;
    let mut numbers = text.split_whitespace().map(|number| number.parse().ok());
    // The newline is written last.
    Ok(Some(
        match (numbers.next(), numbers.next(), text.ends_with('\n')) {
            (Some(Some(sequence)), Some(Some(hot_from)), true) => Floor { sequence, hot_from },
            _ => everything,
        },
    ))
}

/// Whether the file is the one that has this name.
fn is_at(file: &fs_err::File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    let (Ok(here), Ok(there)) = (file.metadata(), fs_err::metadata(path)) else {
        return false;
    };
    (here.dev(), here.ino()) == (there.dev(), there.ino())
}
