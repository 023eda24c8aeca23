//! Opening a shard: what is there, what was not finished, what is damaged.
//!
//! Whoever opens it to write closes what the last writer left open: the newest segment is sealed where its last sound block
//! ends, and bytes behind that are kept in a file of their own. A reader changes nothing.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::{Block, Hash};
use crate::checkpoint;
use crate::disk::{Access, Disk};
use crate::merkle;
use crate::segment::{self, ReadError, SEAL_BYTES, Seal, Segment};
use crate::segments::{Placed, Segments};
use crate::streams::{IDS_MAX, Streams};
use crate::walk::{Damage, End, Step, Walk};

/// A new segment before it has its name.
pub(crate) const FRESH: &str = "fresh.tmp";

/// What was found when a shard was opened, beyond its events.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// Blocks and files that cannot be read. Their events are lost unless a backup has them.
    pub damage: Vec<Damage>,
    /// Bytes after the last sound block: an append that was not finished when the writer died. Or, if the disk lost what it
    /// had promised, the newest events; they are kept in `kept_in`.
    pub torn: Vec<Torn>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    pub path: PathBuf,
    pub bytes: Range<u64>,
    pub kept_in: Option<PathBuf>,
}

/// Why a shard cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("another process writes to {folder}: {source}")]
    Locked { folder: PathBuf, source: std::io::Error },
    #[error("failed to prepare {path}: {source}")]
    Disk { path: PathBuf, source: std::io::Error },
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the writer could not be started: {0}")]
    Thread(std::io::Error),
}

/// A shard that is ready to be written.
#[derive(Debug)]
pub(crate) struct Recovered {
    pub(crate) segments: Segments,
    pub(crate) streams: Streams,
    /// Hash of the newest block.
    pub(crate) last: Hash,
    pub(crate) report: Report,
}

/// Opens a shard's segments without changing anything.
pub(crate) fn look(disk: Arc<dyn Disk>, folder: &Path) -> Result<Segments, ReadError> {
    let mut damage = Vec::new();
    let list = list(disk.as_ref(), folder, &mut damage)?;
    let end = match list.last() {
        Some(newest) => walk_all(&newest.segment, None, |_| {})?.end.offset,
        None => 0,
    };
    Ok(Segments::new(disk, folder.to_owned(), list, end))
}

/// Opens a shard to write to it, and puts in order what the last writer left.
pub(crate) fn recover(shared: &Arc<dyn Disk>, folder: &Path, shard: u16) -> Result<Recovered, OpenError> {
    let disk = shared.as_ref();
    forget_fresh(disk, folder)?;
    let mut report = Report::default();
    let list = list(disk, folder, &mut report.damage)?;
    let mut last = Hash::default();
    let mut end = 0;
    for (n, placed) in list.iter().enumerate() {
        let segment = &placed.segment;
        if n > 0 && segment.begin.first_offset > end {
            report.damage.push(hole(folder, end..segment.begin.first_offset));
        }
        if let Some(sealed) = sealed(segment, placed.until())? {
            (end, last) = (sealed.end_offset, sealed.last);
            continue;
        }
        let walked = walk_all(segment, placed.until(), |_| {})?;
        (end, last) = (walked.end.offset, walked.last);
        report.damage.extend(walked.damage.iter().cloned());
        if walked.end.torn_bytes > 0 {
            report.torn.push(keep_torn(disk, folder, segment, walked.end)?);
        }
        seal(disk, segment, shard, &walked)?;
    }
    let segments = Segments::new(Arc::clone(shared), folder.to_owned(), list, end);
    let streams = replay(disk, folder, &segments)?;
    Ok(Recovered {
        segments,
        streams,
        last,
        report,
    })
}

/// A segment that was begun and not named yet holds nothing.
fn forget_fresh(disk: &dyn Disk, folder: &Path) -> Result<(), OpenError> {
    let path = folder.join(FRESH);
    match disk.remove(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(OpenError::Disk { path, source }),
        _ => Ok(()),
    }
}

/// The segments of a folder, oldest first. Files that are none, and holes between them, are damage.
pub(crate) fn list(
    disk: &dyn Disk,
    folder: &Path,
    damage: &mut Vec<Damage>,
) -> Result<Vec<Arc<Placed>>, ReadError> {
    let names = disk.files(folder).map_err(|source| ReadError::Disk {
        path: folder.to_owned(),
        source,
    })?;
    let mut offsets: Vec<u64> = names
        .iter()
        .filter_map(|name| segment::first_offset(name))
        .collect();
    offsets.sort_unstable();
    let mut sound = Vec::new();
    for offset in offsets {
        match Segment::open(disk, segment::path(folder, offset)) {
            Ok(segment) if segment.begin.first_offset == offset => sound.push(segment),
            Ok(segment) => damage.push(whole_file(
                &segment.path,
                offset,
                format!(
                    "its head says that it begins with event {}",
                    segment.begin.first_offset
                ),
            )),
            Err(ReadError::Damaged { path, source, .. }) => {
                damage.push(whole_file(
                    &path,
                    offset,
                    format!("its head is not valid: {source}"),
                ));
            }
            Err(error) => return Err(error),
        }
    }
    let starts: Vec<u64> = sound.iter().map(|segment| segment.begin.first_offset).collect();
    let untils = starts.iter().skip(1).map(|start| Some(*start)).chain([None]);
    Ok(sound
        .into_iter()
        .zip(untils)
        .map(|(segment, until)| Arc::new(Placed::unread(segment, until)))
        .collect())
}

fn whole_file(path: &Path, offset: u64, reason: String) -> Damage {
    Damage {
        path: path.to_owned(),
        bytes: 0..0,
        // How many it held, the segment after it says.
        offsets: offset..offset,
        reason,
    }
}

pub(crate) fn hole(folder: &Path, offsets: Range<u64>) -> Damage {
    Damage {
        path: folder.to_owned(),
        bytes: 0..0,
        offsets,
        reason: "the segment with these events is missing".to_owned(),
    }
}

/// The seal of a segment that needs no walk.
fn sealed(segment: &Segment, until: Option<u64>) -> Result<Option<Seal>, ReadError> {
    let seal = segment.sealed()?.map(|(_, seal)| seal);
    Ok(seal.filter(|seal| until.is_none_or(|until| seal.end_offset == until)))
}

/// All blocks of a segment.
#[derive(Debug)]
struct Walked {
    damage: Vec<Damage>,
    hashes: Vec<Hash>,
    last: Hash,
    end: End,
}

fn walk_all(segment: &Segment, until: Option<u64>, mut each: impl FnMut(&[u8])) -> Result<Walked, ReadError> {
    let mut walked = Walked {
        damage: Vec::new(),
        hashes: Vec::new(),
        last: segment.begin.before,
        end: End {
            at: 0,
            offset: segment.begin.first_offset,
            seal: None,
            torn_bytes: 0,
        },
    };
    let mut walk = Walk::new(segment, until);
    while let Some(step) = walk.step()? {
        match step {
            Step::Block(found) => {
                walked.last = found.hash();
                walked.hashes.push(walked.last);
                each(&found.bytes);
            }
            Step::Damage(damage) => walked.damage.push(damage),
            Step::End(end) => walked.end = end,
        }
    }
    Ok(walked)
}

/// Copies what is behind the last sound block: nobody can read it today, but nothing that was given to us is thrown away.
fn keep_torn(disk: &dyn Disk, folder: &Path, segment: &Segment, end: End) -> Result<Torn, OpenError> {
    let name = format!("torn-{:020}-{}.bin", end.offset, end.at);
    let path = folder.join(name);
    let failed = |source| OpenError::Disk {
        path: path.clone(),
        source,
    };
    let bytes =
        usize::try_from(end.torn_bytes).map_err(|_| failed(std::io::ErrorKind::FileTooLarge.into()))?;
    let mut torn = vec![0; bytes];
    let filled = segment.read(&mut torn, end.at)?;
    match disk.remove(&path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => return Err(failed(source)),
        // An opening before this one came no further.
        _ => {}
    }
    let file = disk.create(&path, end.torn_bytes).map_err(failed)?;
    file.write_at(&torn[..filled], 0).map_err(failed)?;
    file.sync().map_err(failed)?;
    disk.sync_folder(folder).map_err(failed)?;
    Ok(Torn {
        path: segment.path.clone(),
        bytes: end.at..end.at + end.torn_bytes,
        kept_in: Some(path),
    })
}

/// Ends a segment behind its last block.
fn seal(disk: &dyn Disk, segment: &Segment, shard: u16, walked: &Walked) -> Result<(), OpenError> {
    let failed = |source| OpenError::Disk {
        path: segment.path.clone(),
        source,
    };
    let seal = Seal {
        shard,
        end_offset: walked.end.offset,
        blocks: walked.hashes.len() as u64,
        last: walked.last,
        root: merkle::root(&walked.hashes),
    };
    let file = disk.open(&segment.path, Access::Write).map_err(failed)?;
    file.write_at(&seal.write(), walked.end.at).map_err(failed)?;
    file.set_bytes(walked.end.at + SEAL_BYTES as u64)
        .map_err(failed)?;
    file.sync().map_err(failed)
}

/// The streams as of the end: the newest checkpoint, and every event after it.
fn replay(disk: &dyn Disk, folder: &Path, segments: &Segments) -> Result<Streams, OpenError> {
    let mut streams = Streams::default();
    let checkpoint = checkpoint::load(disk, folder, segments.end(), &mut streams);
    // Producers' ids are in no checkpoint. Versions that are read twice end as they are.
    let from = checkpoint.min(segments.end().saturating_sub(IDS_MAX as u64));
    for placed in segments.all() {
        let begins_before = placed.until().is_some_and(|until| until <= from);
        if begins_before {
            continue;
        }
        walk_all(&placed.segment, placed.until(), |bytes| {
            // Whatever passed its checksum and is no block all the same is found by whoever reads it.
            let Ok(block) = Block::decode(bytes) else { return };
            for recorded in block.events().filter(|recorded| recorded.offset >= from) {
                streams.set_next(recorded.event.stream, recorded.version + 1);
                if let Some(id) = recorded.event.id {
                    streams.remember(id, recorded.offset);
                }
            }
        })?;
    }
    Ok(streams)
}
