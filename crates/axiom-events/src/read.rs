//! Reading: by offset, forwards and backwards, over everything that is durable.
//!
//! What a reader has seen is on the disk: it cannot be gone after a crash.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::watch;

use crate::archive::{Archive, Found, Missing, Shelf};
use crate::block::columns::Column;
use crate::block::{Block, Hash, hash};
use crate::disk::Disk;
use crate::recover;
use crate::segment::ReadError;
use crate::segments::{At, End, Segments};

/// Memory for unpacked blocks, so that neighbours of an event, and all who follow the newest ones, unpack once.
const CACHE_BYTES: usize = 32 << 20;

/// Reads a shard. Clones share what they have unpacked. Every call may block on the disk, for some milliseconds.
#[derive(Debug, Clone)]
pub struct Reader {
    pub(crate) segments: Arc<Segments>,
    /// Where events are that the segments do not have any more.
    archive: Option<Arc<dyn Archive>>,
    cache: Arc<Mutex<Cache>>,
}

/// What is at an offset.
#[derive(Debug, Clone)]
pub enum Next {
    /// The block in which it is.
    Block(Arc<Block>),
    /// These events are not there any more: retired, or lost to damage. [`Reader::why_missing`] says which.
    Gap(Range<u64>),
    /// Nothing yet.
    End,
}

/// What is at an offset, as it lies on the disk.
#[derive(Debug, Clone)]
pub enum Raw {
    /// The block in which it is.
    Block(RawBlock),
    /// These events are not there any more: retired, or lost to damage.
    Gap(Range<u64>),
    /// Nothing yet.
    End,
}

/// A whole block, its checksum checked.
#[derive(Debug, Clone)]
pub struct RawBlock {
    pub offsets: Range<u64>,
    /// Latest time of its events, nanoseconds since 1970.
    pub time_max: i64,
    pub bytes: Bytes,
}

impl RawBlock {
    /// BLAKE3, by which the next block names it.
    pub fn hash(&self) -> Hash {
        hash(&self.bytes)
    }
}

/// Blocks by their first offset, and the first offsets by when each was last used.
#[derive(Debug, Default)]
struct Cache {
    blocks: BTreeMap<u64, (Arc<Block>, u64)>,
    used: BTreeMap<u64, u64>,
    bytes: usize,
    clock: u64,
}

impl Reader {
    pub(crate) fn new(segments: Arc<Segments>, archive: Option<Arc<dyn Archive>>) -> Reader {
        Reader {
            segments,
            archive,
            cache: Arc::default(),
        }
    }

    /// Reads a shard's folder beside the process that writes it, or without one. It sees what is in the files now.
    ///
    /// # Errors
    /// When the folder or the newest segment cannot be read. Damage is no error here; [`Reader::at`] tells of it.
    pub fn open(disk: Arc<dyn Disk>, folder: &Path) -> Result<Reader, ReadError> {
        let segments = recover::look(disk, folder)?;
        Ok(Reader::new(Arc::new(segments), None))
    }

    /// As [`Reader::open`], and what is no longer in the shard's segments is read from the archive. It must have been opened
    /// before: what it shows is not deleted.
    ///
    /// # Errors
    /// When the folder or the newest segment cannot be read.
    pub fn open_with(
        disk: Arc<dyn Disk>,
        folder: &Path,
        archive: Arc<dyn Archive>,
    ) -> Result<Reader, ReadError> {
        let segments = recover::look(disk, folder)?;
        let hot_from = archive.shelf().hot_from();
        segments.hide(hot_from);
        segments.publish(segments.end().max(hot_from));
        Ok(Reader::new(Arc::new(segments), Some(archive)))
    }

    /// The same shard, by a reader that unpacks for itself: whoever reads all of it does not push out what others use.
    pub fn apart(&self) -> Reader {
        Reader {
            cache: Arc::default(),
            ..self.clone()
        }
    }

    /// Looks into the folder that it was [opened](Reader::open) from for what another process has written since. What is
    /// known already is not read again.
    ///
    /// # Errors
    /// When the folder or the newest segment cannot be read.
    pub fn refresh(&self) -> Result<(), ReadError> {
        // Before the segments: what is not among them any more is there then.
        if let Some(archive) = &self.archive {
            archive.refresh()?;
            self.segments.hide(archive.shelf().hot_from());
        }
        self.segments.refresh()?;
        // What was the newest segment may be followed by others now.
        if let Some(archive) = &self.archive {
            self.segments.hide(archive.shelf().hot_from());
        }
        Ok(())
    }

    /// The oldest offset that is kept.
    pub fn first(&self) -> u64 {
        let hot = self.segments.first();
        let archived = self
            .shelf()
            .and_then(|shelf| Some(shelf.pieces().first()?.offsets.start));
        archived.map_or(hot, |archived| archived.min(hot))
    }

    /// What the older tiers hold now.
    pub(crate) fn shelf(&self) -> Option<Arc<dyn Shelf>> {
        self.archive.as_ref().map(|archive| archive.shelf())
    }

    /// The offset after the last event.
    pub fn end(&self) -> u64 {
        self.segments.end()
    }

    /// The end, as it moves.
    pub fn watch_end(&self) -> watch::Receiver<End> {
        self.segments.watch_end()
    }

    /// What is at this offset.
    ///
    /// # Errors
    /// When the disk does not give it. Damage is no error but a gap.
    pub fn at(&self, offset: u64) -> Result<Next, ReadError> {
        if offset >= self.end() {
            return Ok(Next::End);
        }
        if let Some(block) = self.lock().get(offset) {
            return Ok(Next::Block(block));
        }
        match self.locate(offset)? {
            At::Older(hot_first) => self.archived(offset, hot_first),
            At::Block(found) => {
                let Ok(block) = Block::decode(&found.bytes) else {
                    return Ok(Next::Gap(offset..found.head.end_offset()));
                };
                let block = Arc::new(block);
                self.lock().put(Arc::clone(&block));
                Ok(Next::Block(block))
            }
            At::Damage(range) => Ok(Next::Gap(offset..range.end)),
            At::Beyond => Ok(Next::Gap(offset..self.until(offset))),
        }
    }

    /// What is at this offset, for whoever wants nothing beside it: an older tier unpacks much less then.
    pub(crate) fn at_alone(&self, offset: u64) -> Result<Next, ReadError> {
        let shelf = self.shelf().filter(|shelf| offset < shelf.hot_from());
        let is_unpacked = || self.unpacked(offset).is_some();
        let Some(shelf) = shelf.filter(|_| offset < self.end() && !is_unpacked()) else {
            return self.at(offset);
        };
        match piece_of(shelf.as_ref(), offset) {
            Ok(at) => Ok(match shelf.event(&shelf.pieces()[at], offset)? {
                Found::Block(block) => Next::Block(Arc::new(block)),
                Found::Gap(gap, _) => Next::Gap(offset..gap.end),
            }),
            Err(_) => self.at(offset),
        }
    }

    /// What a task or a stream has in the block at this offset, for whoever wants a few of its events and no others. `room` is
    /// for what is unpacked on the way.
    pub(crate) fn at_of(
        &self,
        offset: u64,
        column: Column,
        name: &str,
        room: &mut Vec<u8>,
    ) -> Result<Next, ReadError> {
        if offset >= self.end() || self.unpacked(offset).is_some() {
            return self.at(offset);
        }
        let At::Block(found) = self.locate(offset)? else {
            return self.at(offset);
        };
        Ok(match Block::pick(&found.bytes, column, name, room) {
            Ok(block) => Next::Block(Arc::new(block)),
            Err(_) => Next::Gap(offset..found.head.end_offset()),
        })
    }

    /// The block at this offset as it lies on the disk, for whoever keeps a copy: see [`crate::replica`].
    ///
    /// # Errors
    /// When the disk does not give it. Damage is no error but a gap.
    pub fn raw(&self, offset: u64) -> Result<Raw, ReadError> {
        if offset >= self.end() {
            return Ok(Raw::End);
        }
        match self.locate(offset)? {
            At::Block(found) => Ok(Raw::Block(RawBlock {
                offsets: found.head.first_offset..found.head.end_offset(),
                time_max: found.head.time_max,
                bytes: found.bytes.into(),
            })),
            // Older tiers keep events, not blocks.
            At::Older(hot_first) => Ok(Raw::Gap(offset..hot_first)),
            At::Damage(range) => Ok(Raw::Gap(offset..range.end)),
            At::Beyond => Ok(Raw::Gap(offset..self.until(offset))),
        }
    }

    /// The seal of the segment that ends with this offset, as it lies on the disk. `None` if there is none yet.
    ///
    /// # Errors
    /// When the disk does not give it.
    pub fn seal_before(&self, offset: u64) -> Result<Option<Bytes>, ReadError> {
        let Some(placed) = offset
            .checked_sub(1)
            .and_then(|last| self.segments.segment_of(last))
        else {
            return Ok(None);
        };
        match placed.segment.sealed() {
            Ok(sealed) => Ok(sealed
                .filter(|(_, seal)| seal.end_offset == offset)
                .map(|(_, seal)| Bytes::copy_from_slice(&seal.write()))),
            Err(ReadError::Gone { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What is at an offset below the end.
    fn locate(&self, offset: u64) -> Result<At, ReadError> {
        loop {
            // Without a segment everything there was is older.
            let Some(placed) = self.segments.segment_of(offset) else {
                return Ok(At::Older(self.end()));
            };
            let first = placed.segment.begin.first_offset;
            if offset < first {
                return Ok(At::Older(first));
            }
            match placed.at(offset) {
                Err(ReadError::Gone { .. }) => {
                    // Another process has moved it to an older tier, which has its events then.
                    if let Some(archive) = &self.archive {
                        archive.refresh()?;
                        self.segments.hide(archive.shelf().hot_from());
                    }
                    self.segments.forget(&placed);
                }
                at => return at,
            }
        }
    }

    /// Where the next segment begins behind an offset that no segment has.
    fn until(&self, offset: u64) -> u64 {
        self.segments.next_segment(offset).unwrap_or_else(|| self.end())
    }

    pub(crate) fn cached_block(&self, offset: u64) -> Option<Arc<Block>> {
        self.lock().get(offset)
    }

    /// Why the events of a gap that [`Reader::at`] gave are not there.
    ///
    /// # Errors
    /// When the disk, or the tier that would have them, does not say.
    pub fn why_missing(&self, gap: &Range<u64>) -> Result<Missing, ReadError> {
        let Some(shelf) = self.shelf().filter(|shelf| gap.start < shelf.hot_from()) else {
            return Ok(Missing::Lost);
        };
        match piece_of(shelf.as_ref(), gap.start) {
            Err(_) => Ok(Missing::Retired),
            Ok(at) => match shelf.at(&shelf.pieces()[at], gap.start)? {
                Found::Gap(_, why) => Ok(why),
                Found::Block(_) => Ok(Missing::Retired),
            },
        }
    }

    /// What older tiers have at an offset before the first segment.
    fn archived(&self, offset: u64, hot_first: u64) -> Result<Next, ReadError> {
        let Some(shelf) = self.shelf() else {
            return Ok(Next::Gap(offset..hot_first));
        };
        let piece = match piece_of(shelf.as_ref(), offset) {
            Ok(at) => &shelf.pieces()[at],
            Err(next) => {
                let next = shelf
                    .pieces()
                    .get(next)
                    .map_or(hot_first, |piece| piece.offsets.start);
                return Ok(Next::Gap(offset..next.min(hot_first)));
            }
        };
        match shelf.at(piece, offset)? {
            Found::Block(block) => {
                let block = Arc::new(block);
                self.lock().put(Arc::clone(&block));
                Ok(Next::Block(block))
            }
            Found::Gap(gap, _) => Ok(Next::Gap(offset..gap.end)),
        }
    }

    /// The block of an offset, if it is unpacked in memory.
    pub(crate) fn unpacked(&self, offset: u64) -> Option<Arc<Block>> {
        self.lock().get(offset)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The piece that an offset belongs to, or else the place of the first one behind it.
fn piece_of(shelf: &dyn Shelf, offset: u64) -> Result<usize, usize> {
    let after = shelf
        .pieces()
        .partition_point(|piece| piece.offsets.end <= offset);
    match shelf.pieces().get(after) {
        Some(piece) if piece.offsets.contains(&offset) => Ok(after),
        _ => Err(after),
    }
}

impl Cache {
    fn get(&mut self, offset: u64) -> Option<Arc<Block>> {
        let (first, (block, used)) = self.blocks.range_mut(..=offset).next_back()?;
        if !block.offsets().contains(&offset) {
            return None;
        }
        self.used.remove(used);
        self.clock += 1;
        *used = self.clock;
        self.used.insert(self.clock, *first);
        Some(Arc::clone(block))
    }

    fn put(&mut self, block: Arc<Block>) {
        let first = block.offsets().start;
        self.remove(first);
        self.clock += 1;
        self.bytes += block.bytes_in_memory();
        self.used.insert(self.clock, first);
        self.blocks.insert(first, (block, self.clock));
        while self.bytes > CACHE_BYTES
            && let Some((_, oldest)) = self.used.first_key_value()
        {
            self.remove(*oldest);
        }
    }

    fn remove(&mut self, first: u64) {
        if let Some((block, used)) = self.blocks.remove(&first) {
            self.used.remove(&used);
            self.bytes -= block.bytes_in_memory();
        }
    }
}
