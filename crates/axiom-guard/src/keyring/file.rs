//! The file itself: read whole, replaced whole.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use fs_err::os::unix::fs::OpenOptionsExt as _;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use super::Record;

/// What this program writes, and the only one that it reads.
const VERSION: u32 = 1;

/// Why the file of keys is of no use.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("the file of keys: {0}")]
    Io(#[from] io::Error),
    #[error(
        "the file of keys {path} cannot be understood: {why}; nobody is let in by it until it is repaired or taken away"
    )]
    Damaged { path: String, why: String },
    #[error(
        "the file of keys {path} was written by a newer axiom (version {version}, this one reads {VERSION})"
    )]
    Newer { path: String, version: u32 },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    version: u32,
    keys: Vec<Record>,
}

/// What can be read of a file whatever else is in it.
#[derive(Deserialize)]
struct Head {
    version: u32,
}

/// A change to the file. Until it is dropped, others that want one wait.
#[derive(Debug)]
pub struct Change {
    path: PathBuf,
    _lock: fs_err::File,
    pub(super) records: Vec<Record>,
}

pub(super) fn read(path: &Path) -> Result<Vec<Record>, FileError> {
    let text = match fs_err::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let shown = || path.display().to_string();
    let damaged = |why: String| FileError::Damaged { path: shown(), why };
    let head: Head = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    if head.version > VERSION {
        let version = head.version;
        return Err(FileError::Newer {
            path: shown(),
            version,
        });
    }
    let contents: Contents = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    let mut ids: Vec<_> = contents.keys.iter().map(|record| &record.id).collect();
    ids.sort_unstable();
    if let Some([twice, _]) = ids.array_windows().find(|[one, next]| one == next) {
        return Err(damaged(format!("key {twice} is in it twice")));
    }
    Ok(contents.keys)
}

impl Change {
    /// Waits for others that change the file, and reads it. Makes its folder, for its owner alone, where there is none.
    pub(super) fn begin(path: &Path) -> Result<Change, FileError> {
        let dir = folder(path);
        if !dir.is_dir() {
            let mut builder = std::fs::DirBuilder::new();
            std::os::unix::fs::DirBuilderExt::mode(builder.recursive(true), 0o700);
            builder.create(dir)?;
        }
        // The file is replaced, so what is locked is another one.
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create(true).truncate(false).mode(0o600);
        let lock = options.open(path.with_extension("lock"))?;
        flock(&lock, FlockOperation::LockExclusive).map_err(io::Error::from)?;
        Ok(Change {
            path: path.to_owned(),
            _lock: lock,
            records: read(path)?,
        })
    }

    /// Replaces the file, so that it is on the disk when this returns.
    pub(super) fn commit(self) -> Result<(), FileError> {
        let contents = Contents {
            version: VERSION,
            keys: self.records,
        };
        let mut text = serde_json::to_vec_pretty(&contents).map_err(io::Error::other)?;
        text.push(b'\n');
        let fresh = self.path.with_extension("new");
        let mut options = fs_err::OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&fresh)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs_err::rename(&fresh, &self.path)?;
        fs_err::File::open(folder(&self.path))?.sync_all()?;
        Ok(())
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}
