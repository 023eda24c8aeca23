//! Opening a shard: what is there, what was not finished, what is damaged.
//!
//! Whoever opens it to write closes what the last writer left open: the newest segment is sealed where its last sound block
//! ends, and bytes behind that are kept in a file of their own. A reader changes nothing.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::archive::{Found, Shelf};
use crate::block::{Block, Hash};
use crate::checkpoint;
use crate::disk::{Access, Disk};
use crate::files::Files;
use crate::merkle;
use crate::replica;
use crate::segment::{self, ReadError, SEAL_BYTES, Seal, Segment};
use crate::segments::{Placed, Segments};
use crate::streams::{IDS_MAX, Streams};
use crate::walk::{Damage, End, Step, Walk};

/// A new segment before it has its name.
pub(crate) const FRESH: &str = "fresh.tmp";
/// How much is in memory at once when torn bytes are copied.
const COPY_BYTES: usize = 1 << 20;

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
    #[error("{folder} is taken: another process writes to this log, or has not finished")]
    Locked { folder: PathBuf },
    #[error("{folder} is the log of shard {found}, not {asked}")]
    Shard { folder: PathBuf, found: u16, asked: u16 },
    #[error("{folder} is a copy of another node's log, and only that node adds to it")]
    Copy { folder: PathBuf },
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
    // Before the segments: whoever writes makes one when a segment has ended.
    let counted = checkpoint::load(disk.as_ref(), folder, &mut Streams::default());
    let files = Files::new(disk);
    // A segment may go to an older tier between its listing and its opening. Each time there is one less.
    let list = loop {
        match list(&files, folder, &mut damage) {
            Err(ReadError::Disk { path, source })
                if path != folder && source.kind() == std::io::ErrorKind::NotFound =>
            {
                damage.clear();
            }
            listed => break listed?,
        }
    };
    let end = match list.last() {
        Some(newest) => walk_all(&newest.segment, None, |_| {})?.end.offset,
        None => 0,
    };
    Ok(Segments::new(files, folder.to_owned(), list, end.max(counted)))
}

/// Opens a shard to write to it, and puts in order what the last writer left.
///
/// What older tiers have is not among its segments then, and their files can be reclaimed.
pub(crate) fn recover(
    shared: &Arc<dyn Disk>,
    folder: &Path,
    shard: u16,
    shelf: Option<&dyn Shelf>,
) -> Result<Recovered, OpenError> {
    let disk = shared.as_ref();
    refuse_copy(disk, folder)?;
    forget_fresh(disk, folder)?;
    let mut report = Report::default();
    let files = Files::new(Arc::clone(shared));
    let mut list = list(&files, folder, &mut report.damage)?;
    if put_names_right(disk, folder, &list)? {
        list = self::list(&files, folder, &mut Vec::new())?;
    }
    if let Some(newest) = list.last()
        && newest.segment.begin.shard != shard
    {
        return Err(OpenError::Shard {
            folder: folder.to_owned(),
            found: newest.segment.begin.shard,
            asked: shard,
        });
    }
    let mut last = Hash::default();
    let mut end = 0;
    for (n, placed) in list.iter().enumerate() {
        let segment = &placed.segment;
        if n > 0 && segment.begin.first_offset > end {
            report.damage.push(hole(folder, end..segment.begin.first_offset));
        }
        if let Some(until) = placed.until()
            && let Some((_, sealed)) = segment.sealed()?
            && sealed.end_offset == until
        {
            (end, last) = (until, sealed.last);
            continue;
        }
        let walked = walk_all(segment, placed.until(), |_| {})?;
        (end, last) = (walked.end.offset, walked.last);
        report.damage.extend(walked.damage.iter().cloned());
        if walked.end.torn_bytes > 0 {
            report.torn.push(keep_torn(disk, folder, segment, walked.end)?);
        }
        finish(disk, segment, shard, &walked)?;
    }
    let mut streams = Streams::default();
    let counted = checkpoint::load(disk, folder, &mut streams);
    if counted > end {
        // Offsets and versions that were given once are not given to other events.
        report.damage.push(hole(folder, end..counted));
        end = counted;
    }
    if let Some(shelf) = shelf
        && shelf.hot_from() > end
    {
        report.damage.push(hole(folder, end..shelf.hot_from()));
        end = shelf.hot_from();
    }
    let segments = Segments::new(files, folder.to_owned(), list, end);
    if let Some(shelf) = shelf {
        replay_archived(shelf, counted, end, &mut streams);
        segments.retire(shelf.hot_from());
    }
    replay(&segments, counted, &mut streams)?;
    Ok(Recovered {
        segments,
        streams,
        last,
        report,
    })
}

/// What is added to a copy would be another history than that of its source.
fn refuse_copy(disk: &dyn Disk, folder: &Path) -> Result<(), OpenError> {
    let names = disk.files(folder).map_err(|source| OpenError::Disk {
        path: folder.to_owned(),
        source,
    })?;
    if names.iter().any(|name| name == replica::MARK) {
        let folder = folder.to_owned();
        return Err(OpenError::Copy { folder });
    }
    Ok(())
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
    files: &Arc<Files>,
    folder: &Path,
    damage: &mut Vec<Damage>,
) -> Result<Vec<Arc<Placed>>, ReadError> {
    let names = files.disk().files(folder).map_err(|source| ReadError::Disk {
        path: folder.to_owned(),
        source,
    })?;
    let mut offsets: Vec<u64> = names
        .iter()
        .filter_map(|name| segment::first_offset(name))
        .collect();
    offsets.sort_unstable();
    let mut found = Vec::new();
    for offset in offsets {
        let path = segment::path(folder, offset);
        let segment = match Segment::open(files, path.clone()) {
            Ok(segment) => Some(segment),
            Err(ReadError::Damaged { source, .. }) => {
                damage.push(whole_file(
                    &path,
                    offset,
                    format!("its head is not valid: {source}"),
                ));
                Segment::open_headless(files, path, offset)?
            }
            Err(error) => return Err(error),
        };
        if let Some(segment) = &segment
            && !has_its_name(segment, folder)
        {
            let reason = format!(
                "its head says that it begins with event {}",
                segment.begin.first_offset
            );
            damage.push(whole_file(&segment.path, offset, reason));
        }
        found.extend(segment);
    }
    // A head has a checksum and a name has none. Of two that begin alike, the one with the right name counts.
    found.sort_by_key(|segment| (segment.begin.first_offset, !has_its_name(segment, folder)));
    found.dedup_by_key(|segment| segment.begin.first_offset);
    let starts: Vec<u64> = found.iter().map(|segment| segment.begin.first_offset).collect();
    let untils = starts.iter().skip(1).map(|start| Some(*start)).chain([None]);
    Ok(found
        .into_iter()
        .zip(untils)
        .map(|(segment, until)| Arc::new(Placed::unread(segment, until)))
        .collect())
}

fn has_its_name(segment: &Segment, folder: &Path) -> bool {
    segment.path == segment::path(folder, segment.begin.first_offset)
}

/// Gives segments the names that their heads say, and files that only look like segments another one: a segment that is
/// begun replaces whatever has its name. True if there was anything to do.
fn put_names_right(disk: &dyn Disk, folder: &Path, list: &[Arc<Placed>]) -> Result<bool, OpenError> {
    let failed = |path: &Path, source| OpenError::Disk {
        path: path.to_owned(),
        source,
    };
    let names = disk.files(folder).map_err(|source| failed(folder, source))?;
    let is_listed = |path: &Path| list.iter().any(|placed| placed.segment.path == path);
    let mut renames = Vec::new();
    for (name, offset) in names
        .iter()
        .filter_map(|name| Some((name, segment::first_offset(name)?)))
    {
        let path = segment::path(folder, offset);
        if !is_listed(&path) {
            let aside = free_name(&names, |n| format!("damaged-{n}-{name}.bin"));
            renames.push((path, folder.join(aside)));
        }
    }
    // Two may have each other's name, so all go by way of names that nobody has.
    let mut last = Vec::new();
    let misnamed = list
        .iter()
        .filter(|placed| !has_its_name(&placed.segment, folder));
    for (spare, placed) in (0..=u64::MAX).rev().zip(misnamed) {
        let spare = segment::path(folder, spare);
        renames.push((placed.segment.path.clone(), spare.clone()));
        last.push((spare, segment::path(folder, placed.segment.begin.first_offset)));
    }
    renames.append(&mut last);
    for (from, to) in &renames {
        disk.rename(from, to).map_err(|source| failed(from, source))?;
    }
    if !renames.is_empty() {
        disk.sync_folder(folder)
            .map_err(|source| failed(folder, source))?;
    }
    Ok(!renames.is_empty())
}

/// The first of these names that no file has.
fn free_name(names: &[String], name: impl Fn(usize) -> String) -> String {
    let mut n = 0;
    loop {
        let name = name(n);
        if !names.contains(&name) {
            return name;
        }
        n += 1;
    }
}

fn whole_file(path: &Path, offset: u64, reason: String) -> Damage {
    Damage {
        path: path.to_owned(),
        bytes: 0..0,
        // Which of its events cannot be read, its blocks say, and the segment after it.
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
    let names = disk.files(folder).map_err(|source| OpenError::Disk {
        path: folder.to_owned(),
        source,
    })?;
    // The same place may be torn again, and an opening before this one may have come no further.
    let name = free_name(&names, |n| format!("torn-{:020}-{}-{n}.bin", end.offset, end.at));
    let path = folder.join(name);
    let failed = |source| OpenError::Disk {
        path: path.clone(),
        source,
    };
    let torn = end.torn();
    let file = disk.create(&path, end.torn_bytes).map_err(failed)?;
    let mut window = vec![0; COPY_BYTES];
    let mut at = torn.start;
    while at < torn.end {
        let left = usize::try_from(torn.end - at).unwrap_or(usize::MAX);
        let filled = segment.read(&mut window[..left.min(COPY_BYTES)], at)?;
        if filled == 0 {
            break;
        }
        file.write_at(&window[..filled], at - torn.start)
            .map_err(failed)?;
        at += filled as u64;
    }
    file.sync().map_err(failed)?;
    disk.sync_folder(folder).map_err(failed)?;
    Ok(Torn {
        path: segment.path.clone(),
        bytes: torn,
        kept_in: Some(path),
    })
}

/// Ends a segment behind its last block. A seal that it has stays: where blocks are damaged, it is what proves it.
fn finish(disk: &dyn Disk, segment: &Segment, shard: u16, walked: &Walked) -> Result<(), OpenError> {
    let failed = |source| OpenError::Disk {
        path: segment.path.clone(),
        source,
    };
    let bytes = walked.end.at + SEAL_BYTES as u64;
    if walked.end.seal.is_some() && segment.bytes()? == bytes {
        return Ok(());
    }
    let seal = Seal {
        shard,
        end_offset: walked.end.offset,
        blocks: walked.hashes.len() as u64,
        last: walked.last,
        root: merkle::root(&walked.hashes),
    };
    let file = disk.open(&segment.path, Access::Write).map_err(failed)?;
    if walked.end.seal.is_none() {
        file.write_at(&seal.write(), walked.end.at).map_err(failed)?;
    }
    file.set_bytes(bytes).map_err(failed)?;
    file.sync().map_err(failed)
}

/// Producers' ids are in no checkpoint. Versions that are read twice end as they are.
fn replayed_from(checkpoint: u64, end: u64) -> u64 {
    checkpoint.min(end.saturating_sub(IDS_MAX as u64))
}

/// As [`replay`], from older tiers. A tier that cannot be read now is no reason not to record: then a producer that repeats
/// what is in it is not recognised.
fn replay_archived(shelf: &dyn Shelf, checkpoint: u64, end: u64, streams: &mut Streams) {
    let ids_from = end.saturating_sub(IDS_MAX as u64);
    for piece in shelf
        .pieces()
        .iter()
        .filter(|piece| piece.offsets.end > checkpoint)
    {
        match shelf.summary(piece) {
            Ok(summary) => {
                for (stream, next) in summary.next_versions() {
                    streams.set_next(stream, next);
                }
            }
            Err(error) => tracing::error!(
                %error,
                "versions of streams may be given twice: there is no checkpoint, and what older tiers know of them cannot be read"
            ),
        }
    }
    for piece in shelf.pieces().iter().filter(|piece| piece.offsets.end > ids_from) {
        let mut at = piece.offsets.start.max(ids_from);
        while at < piece.offsets.end {
            match shelf.at(piece, at) {
                Ok(Found::Block(block)) => {
                    for recorded in block.events().filter(|recorded| recorded.offset >= at) {
                        if let Some(id) = recorded.event.id {
                            streams.remember(id, recorded.offset);
                        }
                    }
                    at = block.offsets().end;
                }
                Ok(Found::Gap(gap, _)) => at = gap.end,
                Err(error) => {
                    tracing::warn!(%error, "events that are repeated now may be recorded twice");
                    return;
                }
            }
        }
    }
}

/// Adds what came after a checkpoint to the streams that it says.
fn replay(segments: &Segments, checkpoint: u64, streams: &mut Streams) -> Result<(), OpenError> {
    let from = replayed_from(checkpoint, segments.end());
    for placed in segments.all() {
        let begins_before = placed.until().is_some_and(|until| until <= from);
        if begins_before {
            continue;
        }
        walk_all(&placed.segment, placed.until(), |bytes| {
            // Whatever passed its checksum and is no block all the same is found by whoever reads it.
            let Ok(block) = Block::decode(bytes) else { return };
            for recorded in block.events().filter(|recorded| recorded.offset >= from) {
                streams.set_next(recorded.event.stream, recorded.version.saturating_add(1));
                if let Some(id) = recorded.event.id {
                    streams.remember(id, recorded.offset);
                }
            }
        })?;
    }
    Ok(())
}
