//! A copy of another node's shard, written block by block as they arrive, each checked before it is.
//!
//! Its files are those of a log, with the same blocks in the same segments, so whatever reads a log reads a copy. A file
//! [`MARK`] in its folder says that it is one: a [`Log`](crate::Log) does not open it. A copy stops where its writer was
//! stopped; opened again it goes on there:
//!
//! | behind the last block that fits | what becomes of it |
//! |---|---|
//! | the beginning of a block | it is cut: its source still has it |
//! | something damaged, and then sound blocks or a seal | it is copied to `torn-....bin`, then cut, and fetched again |
//! | a block or a seal that this program is too old to read | nothing: the copy is not opened |
//!
//! A segment's seal has its Merkle root. It arrives before the first block of the next segment, and must be the root of what
//! is here. Behind a gap a copy begins a segment of its own making, whose head says 0 as the time when it was begun: its
//! source's seal speaks of blocks that nobody has any more, so this one gets a seal of its own.

mod aside;

use std::any::Any;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::{self, Hash, Head, Unsound};
use crate::chain::{Chain, Reason, Refused};
use crate::disk::{Access, Disk, File};
use crate::files::Files;
use crate::merkle;
use crate::recover::{self, FRESH};
use crate::segment::{self, Begin, HEAD_BYTES, ReadError, SEAL_BYTES, SEAL_MAGIC, Seal, Segment};
use crate::segments::Placed;
use crate::walk::{Step, Walk};

/// The file that says that a folder is a copy.
pub(crate) const MARK: &str = "copy";
const MARK_TEXT: &[u8] =
    b"This folder is a copy of another node's events; `axiom events follow` writes it.\n\
    Without this file it is a log of its own, which a gateway may go on with.\n";
/// Room that is reserved for a segment. It doubles when it is full: how large it becomes is for its source to say.
const SEGMENT_BYTES: u64 = 1 << 20;

/// A copy that is open for writing.
#[derive(Debug)]
pub struct Replica {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    chain: Chain,
    /// The segment that is being written.
    current: Option<Current>,
    /// The seal of the segment before, where there is no current one.
    sealed: Option<Seal>,
    /// The next segment begins behind a gap.
    is_behind_gap: bool,
    /// How it was when everything was on the disk.
    synced: Synced,
    _lock: Box<dyn Any + Send + Sync>,
}

#[derive(Debug)]
struct Current {
    file: Box<dyn File>,
    path: PathBuf,
    begin: Begin,
    at: u64,
    bytes: u64,
    hashes: Vec<Hash>,
}

/// Where the current segment's blocks end that are on the disk.
#[derive(Debug, Default)]
struct Synced {
    chain: Chain,
    at: u64,
    blocks: usize,
}

/// Why a copy cannot be opened, or does not take what came.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    #[error("{folder} is taken: another process writes to this copy")]
    Locked { folder: PathBuf },
    #[error("{folder} is a node's own log and no copy of another one's")]
    Own { folder: PathBuf },
    #[error("failed to write {path}: {source}")]
    Disk { path: PathBuf, source: io::Error },
    /// Cut off, it might be gone for good.
    #[error(
        "{path} has something at byte {at} that this program cannot read, and nothing was changed: {source}"
    )]
    TooNew { path: PathBuf, at: u64, source: Unsound },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Refused(#[from] Refused),
}

/// What follows next in a stream of blocks and seals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    Block { bytes: usize },
    Seal { bytes: usize },
}

impl Piece {
    /// What a stream goes on with, and how long it is; `None` if it takes more bytes to say. A piece has some 32 MiB at most.
    ///
    /// # Errors
    /// When it is neither a block nor a seal.
    pub fn of(stream: &[u8]) -> Result<Option<Piece>, Unsound> {
        let front = stream.get(..4).unwrap_or(stream);
        if front == SEAL_MAGIC {
            return Ok(Some(Piece::Seal { bytes: SEAL_BYTES }));
        }
        match Head::read(stream) {
            Ok(head) => Ok(Some(Piece::Block { bytes: head.bytes() })),
            Err(Unsound::Short { .. })
                if block::MAGIC.starts_with(front) || SEAL_MAGIC.starts_with(front) =>
            {
                Ok(None)
            }
            Err(Unsound::Short { .. }) => Err(Unsound::Absent),
            Err(unsound) => Err(unsound),
        }
    }

    pub fn bytes(self) -> usize {
        match self {
            Piece::Block { bytes } | Piece::Seal { bytes } => bytes,
        }
    }
}

impl Replica {
    /// Opens a copy, or begins one in an empty folder. Blocks on the disk, as everything here does.
    ///
    /// # Errors
    /// When the folder is a log's, another process writes there, or the disk does not give what is needed.
    pub fn open(folder: impl Into<PathBuf>, disk: Arc<dyn Disk>) -> Result<Replica, ReplicaError> {
        let folder = folder.into();
        let failed = |source| failed(&folder, source);
        disk.create_folder(&folder).map_err(failed)?;
        let lock = disk.lock(&folder).map_err(|source| match source.kind() {
            io::ErrorKind::WouldBlock => ReplicaError::Locked {
                folder: folder.clone(),
            },
            _ => failed(source),
        })?;
        mark(disk.as_ref(), &folder)?;
        match disk.remove(&folder.join(FRESH)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let files = Files::new(Arc::clone(&disk));
        let list = recover::list(&files, &folder, &mut Vec::new())?;
        refuse_newer(&files, &folder, &list)?;
        let mut replica = Replica {
            disk,
            folder,
            chain: Chain::default(),
            current: None,
            sealed: None,
            is_behind_gap: false,
            synced: Synced::default(),
            _lock: lock,
        };
        if let Some(newest) = list.last() {
            replica.go_on_in(&newest.segment)?;
        }
        replica.note_synced();
        Ok(replica)
    }

    /// The offset that comes next; `None` while any may.
    pub fn next(&self) -> Option<u64> {
        self.chain.next()
    }

    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Takes the next block. Readers may see it at once; it is on the disk after [`Replica::sync`]. Says which events it has.
    ///
    /// # Errors
    /// When it is not the next block; the copy is as it was. When the disk fails; then it goes back to what was synced.
    pub fn block(&mut self, bytes: &[u8]) -> Result<Range<u64>, ReplicaError> {
        let fits = self.chain.check(bytes)?;
        let offsets = fits.block.offsets();
        let shard = fits.block.shard();
        let before = fits.block.before();
        if self.current.is_none() {
            self.begin(shard, offsets.start, before)?;
        }
        let current = self.current.as_mut().expect("it was begun");
        if let Err(source) = current.write(bytes) {
            let path = current.path.clone();
            self.go_back();
            return Err(ReplicaError::Disk { path, source });
        }
        current.hashes.push(fits.hash);
        self.chain.advance(&fits);
        Ok(offsets)
    }

    /// Takes the seal of the segment whose last block came last.
    ///
    /// # Errors
    /// When it is the seal of other blocks than are here, or the disk fails.
    pub fn seal(&mut self, bytes: &[u8]) -> Result<(), ReplicaError> {
        let Some(next) = self.chain.next() else {
            // Of a segment before the first that is copied.
            return Ok(());
        };
        let refused = |reason| Refused { offset: next, reason };
        let seal = Seal::read(bytes).map_err(|unsound| refused(unsound.into()))?;
        let Some(current) = &self.current else {
            return match self.sealed {
                Some(sealed)
                    if sealed.end_offset == seal.end_offset && sealed != seal && !self.is_behind_gap =>
                {
                    let what = "is another one than it had before";
                    Err(refused(Reason::Seal { what }).into())
                }
                _ => Ok(()),
            };
        };
        let ours = current.seal(next);
        let what = match &seal {
            seal if seal.shard != ours.shard => "is of another shard",
            seal if seal.end_offset != next => "says that it ends with another event",
            seal if seal.last != ours.last => "names another last block",
            // It was stopped when it had begun this segment: the seal is the one before's, which has it.
            _ if current.hashes.is_empty() => return Ok(()),
            _ if current.is_ours() => return self.finish(ours),
            seal if seal.blocks == ours.blocks && seal.root == ours.root => return self.finish(*seal),
            // The seal of a segment before it did not come: it is damaged where it should come from.
            seal if current.last_root(seal.blocks) == Some(seal.root) => return self.finish(ours),
            _ => "has another Merkle root than its blocks",
        };
        Err(refused(Reason::Seal { what }).into())
    }

    /// Goes on at `next`, behind events that are not to be had. Readers find a gap there.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn skip(&mut self, next: u64) -> Result<(), ReplicaError> {
        if let (Some(current), Some(end)) = (&self.current, self.chain.next()) {
            let seal = current.seal(end);
            self.finish(seal)?;
        }
        self.is_behind_gap = self.chain.next().is_some();
        self.chain.skip(next);
        self.note_synced();
        Ok(())
    }

    /// Returns when everything taken is on the disk.
    ///
    /// # Errors
    /// When it may not be. The copy goes back to what is, and wants the rest again.
    pub fn sync(&mut self) -> Result<(), ReplicaError> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        if let Err(source) = current.file.sync() {
            let path = current.path.clone();
            self.go_back();
            return Err(ReplicaError::Disk { path, source });
        }
        self.note_synced();
        Ok(())
    }

    /// Looks where the newest segment ends, and lets go of what does not belong there.
    fn go_on_in(&mut self, segment: &Segment) -> Result<(), ReplicaError> {
        let begin = segment.begin;
        let mut current = Current {
            file: self
                .disk
                .open(&segment.path, Access::Write)
                .map_err(|source| failed(&segment.path, source))?,
            path: segment.path.clone(),
            begin,
            at: HEAD_BYTES as u64,
            bytes: 0,
            hashes: Vec::new(),
        };
        self.chain = Chain::behind(begin.shard, begin.first_offset, begin.before);
        let too_new = |at, source| {
            let path = segment.path.clone();
            ReplicaError::TooNew { path, at, source }
        };
        let mut walk = Walk::new(segment, None);
        let mut seal = None;
        // What was damaged, if more than the last block was not finished.
        let mut damage = None;
        while let Some(step) = walk.step()? {
            match step {
                Step::Block(found) => match self.chain.check(&found.bytes) {
                    Ok(fits) => {
                        current.hashes.push(fits.hash);
                        current.at = found.at + found.bytes.len() as u64;
                        self.chain.advance(&fits);
                        continue;
                    }
                    // Its checksum fits: it was written so.
                    Err(Refused {
                        reason: Reason::Unsound(source),
                        ..
                    }) => return Err(too_new(found.at, source)),
                    Err(refused) => damage = Some(refused.reason.to_string()),
                },
                Step::Damage(found) => damage = Some(found.reason),
                Step::End(end) => seal = end.seal,
            }
            break;
        }
        // A seal may have come to the disk before the blocks that it is for, and before the file was cut behind it.
        if let Some(seal) = seal
            && seal == current.seal(seal.end_offset)
            && Some(seal.end_offset) == self.chain.next()
            && segment.bytes()? == current.at + SEAL_BYTES as u64
        {
            self.sealed = Some(seal);
            return Ok(());
        }
        match damage {
            Some(reason) => self.keep_rest(segment, current.at, &reason)?,
            None => {
                if let Some(source) = newer_at(segment, current.at)? {
                    return Err(too_new(current.at, source));
                }
            }
        }
        current.bytes = current.at;
        let cut = current.file.set_bytes(current.at);
        cut.and_then(|()| current.file.sync())
            .map_err(|source| failed(&segment.path, source))?;
        self.current = Some(current);
        Ok(())
    }

    /// Keeps what is behind the last block that fits. There are sound blocks in it, which its source may not have any more.
    fn keep_rest(&self, segment: &Segment, at: u64, reason: &str) -> Result<(), ReplicaError> {
        let end = segment.used_until(at)?;
        if end == at {
            return Ok(());
        }
        let offset = self.chain.next().unwrap_or(segment.begin.first_offset);
        let kept_in = aside::keep_bytes(self.disk.as_ref(), &self.folder, segment, offset, at..end)?;
        tracing::warn!(
            path = %segment.path.display(),
            reason,
            from_offset = offset,
            kept_in = %kept_in.display(),
            "a copy's newest segment is damaged; it goes on before the damage, and what is behind it was put aside"
        );
        Ok(())
    }

    fn begin(&mut self, shard: u16, first_offset: u64, before: Hash) -> Result<(), ReplicaError> {
        let created = match self.is_behind_gap {
            true => 0,
            false => axiom_core::time::unix_nanos(),
        };
        let begin = Begin {
            shard,
            first_offset,
            created,
            before,
        };
        let path = segment::path(&self.folder, first_offset);
        let fresh = self.folder.join(FRESH);
        self.make_way(&path, first_offset)?;
        let create = || {
            let file = self.disk.create(&fresh, SEGMENT_BYTES)?;
            file.write_at(&begin.write(), 0)?;
            file.sync()?;
            self.disk.rename(&fresh, &path)?;
            self.disk.sync_folder(&self.folder)?;
            Ok(file)
        };
        let file = create().map_err(|source| {
            // The next try begins anew; what is left over has no name that counts.
            let _removed = self.disk.remove(&fresh).is_ok();
            failed(&path, source)
        })?;
        self.current = Some(Current {
            file,
            path,
            begin,
            at: HEAD_BYTES as u64,
            bytes: SEGMENT_BYTES,
            hashes: Vec::new(),
        });
        self.is_behind_gap = false;
        self.note_synced();
        Ok(())
    }

    /// A file that has a segment's name without being that segment may have what is nowhere else.
    fn make_way(&self, path: &Path, first_offset: u64) -> Result<(), ReplicaError> {
        let files = Files::new(Arc::clone(&self.disk));
        match Segment::open(&files, path.to_owned()) {
            // Nothing came into it, or it would be the current one.
            Ok(segment) if segment.begin.first_offset == first_offset => return Ok(()),
            Err(ReadError::Disk { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(()),
            Ok(_) | Err(ReadError::Damaged { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let kept_in = aside::keep_file(self.disk.as_ref(), &self.folder, path)?;
        tracing::warn!(
            path = %path.display(),
            kept_in = %kept_in.display(),
            "a file that is not the segment that its name says was put aside"
        );
        Ok(())
    }

    /// Ends the current segment.
    fn finish(&mut self, seal: Seal) -> Result<(), ReplicaError> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let write = || {
            current.file.write_at(&seal.write(), current.at)?;
            current.file.set_bytes(current.at + SEAL_BYTES as u64)?;
            current.file.sync()
        };
        if let Err(source) = write() {
            let path = current.path.clone();
            self.go_back();
            return Err(ReplicaError::Disk { path, source });
        }
        self.current = None;
        self.sealed = Some(seal);
        self.note_synced();
        Ok(())
    }

    fn note_synced(&mut self) {
        self.synced = Synced {
            chain: self.chain.clone(),
            at: self.current.as_ref().map_or(0, |current| current.at),
            blocks: self.current.as_ref().map_or(0, |current| current.hashes.len()),
        };
    }

    /// Forgets what is not known to be on the disk; it is written again over the same place.
    fn go_back(&mut self) {
        self.chain = self.synced.chain.clone();
        if let Some(current) = &mut self.current {
            current.at = self.synced.at;
            current.hashes.truncate(self.synced.blocks);
            // If that fails too, the next opening cuts it.
            let _cut = current.file.set_bytes(current.at).is_ok();
            current.bytes = current.at;
        }
    }
}

impl Current {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        let end = self.at + bytes.len() as u64;
        if end > self.bytes {
            let grown = end.max(self.bytes.saturating_mul(2));
            self.file.set_bytes(grown)?;
            self.bytes = grown;
        }
        self.file.write_at(bytes, self.at)?;
        self.at = end;
        Ok(())
    }

    /// The seal that fits what is here.
    fn seal(&self, end_offset: u64) -> Seal {
        Seal {
            shard: self.begin.shard,
            end_offset,
            blocks: self.hashes.len() as u64,
            last: self.hashes.last().copied().unwrap_or(self.begin.before),
            root: merkle::root(&self.hashes),
        }
    }

    /// The Merkle root over the last `count` blocks.
    fn last_root(&self, count: u64) -> Option<Hash> {
        let count = usize::try_from(count).ok()?;
        let from = self.hashes.len().checked_sub(count)?;
        Some(merkle::root(&self.hashes[from..]))
    }

    /// It begins behind a gap.
    fn is_ours(&self) -> bool {
        self.begin.created == 0
    }
}

/// Says that the folder is a copy, unless it is a log.
fn mark(disk: &dyn Disk, folder: &Path) -> Result<(), ReplicaError> {
    let names = disk.files(folder).map_err(|source| failed(folder, source))?;
    if names.iter().any(|name| name == MARK) {
        return Ok(());
    }
    if names.iter().any(|name| segment::first_offset(name).is_some()) {
        let folder = folder.to_owned();
        return Err(ReplicaError::Own { folder });
    }
    let path = folder.join(MARK);
    let write = || {
        let file = disk.create(&path, MARK_TEXT.len() as u64)?;
        file.write_at(MARK_TEXT, 0)?;
        file.sync()?;
        disk.sync_folder(folder)
    };
    write().map_err(|source| failed(&path, source))
}

/// A segment that this program is too old for would be taken for none.
fn refuse_newer(files: &Arc<Files>, folder: &Path, list: &[Arc<Placed>]) -> Result<(), ReplicaError> {
    let names = files.disk().files(folder);
    let names = names.map_err(|source| failed(folder, source))?;
    let paths = names
        .iter()
        .filter_map(|name| Some(segment::path(folder, segment::first_offset(name)?)));
    // With a block in it that can be read it is listed, whatever its head says.
    for path in paths.filter(|path| list.iter().all(|placed| placed.segment.path != *path)) {
        if let Err(ReadError::Damaged {
            path,
            at,
            source: source @ Unsound::Version { .. },
        }) = Segment::open(files, path)
        {
            return Err(ReplicaError::TooNew { path, at, source });
        }
    }
    Ok(())
}

/// Whether a block or a seal is here that this program is too old for.
fn newer_at(segment: &Segment, at: u64) -> Result<Option<Unsound>, ReadError> {
    let versions = [segment.head(at).err(), segment.seal(at).err()];
    for error in versions.into_iter().flatten() {
        match error {
            ReadError::Damaged {
                source: source @ Unsound::Version { .. },
                ..
            } => return Ok(Some(source)),
            ReadError::Damaged { .. } => {}
            error => return Err(error),
        }
    }
    Ok(None)
}

fn failed(path: &Path, source: io::Error) -> ReplicaError {
    let path = path.to_owned();
    ReplicaError::Disk { path, source }
}
