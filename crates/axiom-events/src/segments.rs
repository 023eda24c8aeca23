//! The segments of a shard as readers see them, and where each block is.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use crate::block::Block;
use crate::digest::Digest;
use crate::disk::Disk;
use crate::files::Files;
use crate::index::{self, Index};
use crate::segment::{self, Begin, ReadError, Segment};
use crate::walk::{Damage, Found, Step, Walk};

/// Between two places that are kept in memory: from one to the next block's place a reader walks.
const PLACES_APART_BYTES: u64 = 4096;
/// Memory for the indexes of segments that are not being written.
const INDEX_BYTES: usize = 128 << 20;

/// All segments of a shard, oldest first, up to what is durable.
#[derive(Debug)]
pub(crate) struct Segments {
    list: RwLock<Vec<Arc<Placed>>>,
    /// The offset after the last event that may be read.
    end: watch::Sender<End>,
    files: Arc<Files>,
    folder: PathBuf,
    /// First offsets of segments whose index was loaded, and its bytes; the latest last.
    loaded: Mutex<VecDeque<(u64, usize)>>,
    /// Segments that another tier has taken over from and whose files are still here; oldest first.
    retired: Mutex<Vec<Arc<Placed>>>,
}

/// How far a shard may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// The offset after the last event.
    pub offset: u64,
    /// Nothing will come any more: the log was closed.
    pub is_closed: bool,
}

/// A segment to which nothing is added any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    pub path: PathBuf,
    pub offsets: Range<u64>,
    /// When it was begun, and the one behind it, nanoseconds since 1970.
    pub created: i64,
    pub ended: i64,
    /// Of its file.
    pub bytes: u64,
}

/// A segment, and where its blocks are.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) segment: Segment,
    /// The first offset of the segment after it.
    until: RwLock<Option<u64>>,
    /// Found out when it is read for the first time; a segment that is being written has it from the start.
    map: RwLock<Option<Map>>,
    /// Made or read when somebody looks for something; a segment that is being written has it from the start.
    index: RwLock<Option<Index>>,
}

/// Where the blocks of a segment are.
#[derive(Debug, Default)]
struct Map {
    /// Offset of a block's first event, and the block's place in the file; ascending, not all of them.
    places: Vec<(u64, u64)>,
    damage: Vec<Damage>,
    end: u64,
    /// The byte behind its last block, where somebody else may go on writing.
    end_at: u64,
}

/// What is at an offset.
#[derive(Debug)]
pub(crate) enum At {
    Block(Found),
    /// Events of this range are lost to damage.
    Damage(Range<u64>),
    /// The segment ends before it.
    Beyond,
    /// It is older than the first segment, which begins with this offset.
    Older(u64),
}

/// Where to look for an offset.
#[derive(Debug)]
enum Near {
    /// The last place that is known before it: the block there begins with `first`. All blocks end with `end`.
    Place {
        first: u64,
        at: u64,
        end: u64,
    },
    Damage(Range<u64>),
    Beyond,
}

impl Segments {
    pub(crate) fn new(files: Arc<Files>, folder: PathBuf, list: Vec<Arc<Placed>>, end: u64) -> Segments {
        Segments {
            list: RwLock::new(list),
            end: watch::Sender::new(End {
                offset: end,
                is_closed: false,
            }),
            files,
            folder,
            loaded: Mutex::default(),
            retired: Mutex::default(),
        }
    }

    pub(crate) fn files(&self) -> &Arc<Files> {
        &self.files
    }

    pub(crate) fn end(&self) -> u64 {
        self.end.borrow().offset
    }

    pub(crate) fn watch_end(&self) -> watch::Receiver<End> {
        self.end.subscribe()
    }

    /// Lets readers read up to here.
    pub(crate) fn publish(&self, end: u64) {
        self.end.send_modify(|now| now.offset = end);
    }

    /// Tells those who wait that nothing will come.
    pub(crate) fn close(&self) {
        self.end.send_modify(|now| now.is_closed = true);
    }

    /// Takes in what another process has done since: blocks in the newest segment, segments behind it, and segments that
    /// are gone.
    pub(crate) fn refresh(&self) -> Result<(), ReadError> {
        let folder = self.folder.as_path();
        let failed = |source| ReadError::Disk {
            path: folder.to_owned(),
            source,
        };
        let known = self.all();
        let names = self.files.disk().files(folder).map_err(failed)?;
        for placed in &known {
            let name = placed.segment.path.file_name().and_then(|name| name.to_str());
            if !names.iter().any(|there| Some(there.as_str()) == name) {
                self.forget(placed);
            }
        }
        if let Some(newest) = self.all().last() {
            // Only a file that is opened anew shows that its writer began it anew.
            newest.segment.close();
        }
        let newest = self.all().last().map(|placed| placed.segment.begin.first_offset);
        let mut fresh: Vec<u64> = names
            .iter()
            .filter_map(|name| segment::first_offset(name))
            .collect();
        fresh.retain(|first| newest.is_none_or(|newest| *first > newest));
        fresh.sort_unstable();
        for first in fresh {
            // One whose head is damaged is a gap for whoever reads on.
            match Segment::open(&self.files, segment::path(folder, first)) {
                Ok(segment) => self.push(Arc::new(Placed::unread(segment, None))),
                Err(ReadError::Damaged { .. }) => {}
                // It went to an older tier since the folder was listed.
                Err(ReadError::Disk { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        // A segment that was the newest has its last blocks only now.
        let list = self.all();
        let from = newest.map_or(0, |newest| {
            list.partition_point(|placed| placed.segment.begin.first_offset < newest)
        });
        let mut end = self.end();
        for placed in list.iter().skip(from) {
            match placed.survey_again() {
                Ok(here) => end = end.max(here),
                // The next look finds what has taken its place.
                Err(ReadError::Gone { .. }) => self.forget(placed),
                Err(error) => return Err(error),
            }
        }
        self.publish(end);
        Ok(())
    }

    /// The oldest offset that is kept.
    pub(crate) fn first(&self) -> u64 {
        let first = |placed: &Arc<Placed>| placed.segment.begin.first_offset;
        self.read().first().map_or_else(|| self.end(), first)
    }

    /// Adds a segment that begins where the last one ends. If that one has no events its file has the same name, and this
    /// one has taken its place.
    pub(crate) fn push(&self, placed: Arc<Placed>) {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let first_offset = placed.segment.begin.first_offset;
        list.pop_if(|last| last.segment.begin.first_offset == first_offset);
        if let Some(last) = list.last() {
            last.ends_at(first_offset);
        }
        list.push(placed);
    }

    /// What the newest segment's head says, if there are events behind it.
    pub(crate) fn newest_with_events(&self) -> Option<Begin> {
        let begin = self.read().last()?.segment.begin;
        (begin.first_offset < self.end()).then_some(begin)
    }

    /// Takes the newest segment away again: nothing in it ever counted.
    pub(crate) fn pop(&self) {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        list.pop();
    }

    /// A segment whose file is gone: its events are not there any more.
    pub(crate) fn forget(&self, gone: &Arc<Placed>) {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        list.retain(|placed| !Arc::ptr_eq(placed, gone));
    }

    /// Shows segments that end before this offset no more. The newest one stays.
    pub(crate) fn hide(&self, before: u64) -> Vec<Arc<Placed>> {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        let gone = list.partition_point(|placed| placed.until().is_some_and(|until| until <= before));
        list.drain(..gone).collect()
    }

    /// As [`Segments::hide`]; their files are to be removed.
    pub(crate) fn retire(&self, before: u64) {
        let gone = self.hide(before);
        let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
        retired.extend(gone);
    }

    /// Removes the files of retired segments that end before this offset and that nobody reads; says how many bytes that
    /// were. What cannot be read in them is kept under another name.
    pub(crate) fn reclaim(&self, before: u64) -> Result<u64, ReadError> {
        let mut bytes = 0;
        let mut is_changed = false;
        loop {
            let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
            let free = retired.iter().position(|placed| {
                placed.until().is_some_and(|until| until <= before) && Arc::strong_count(placed) == 1
            });
            let Some(placed) = free.map(|free| retired.remove(free)) else {
                break;
            };
            drop(retired);
            match self.remove(&placed) {
                Ok(removed) => bytes += removed,
                Err(error) => {
                    let mut retired = self.retired.lock().unwrap_or_else(PoisonError::into_inner);
                    retired.insert(0, placed);
                    return Err(error);
                }
            }
            is_changed = true;
        }
        if is_changed {
            let (disk, folder) = (self.files.disk(), self.folder.as_path());
            disk.sync_folder(folder).map_err(|source| ReadError::Disk {
                path: folder.to_owned(),
                source,
            })?;
        }
        Ok(bytes)
    }

    fn remove(&self, placed: &Placed) -> Result<u64, ReadError> {
        let (disk, path) = (self.files.disk(), &placed.segment.path);
        let failed = |source| ReadError::Disk {
            path: path.clone(),
            source,
        };
        let bytes = placed.segment.bytes()?;
        if placed.is_damaged()? {
            let name = path
                .file_name()
                .and_then(|name| name.to_str())
                .unwrap_or_default();
            let aside = self.folder.join(format!("damaged-{name}.bin"));
            disk.rename(path, &aside).map_err(failed)?;
            return Ok(0);
        }
        let first_offset = placed.segment.begin.first_offset;
        index::file::remove(disk, &self.folder, first_offset).map_err(failed)?;
        disk.remove(path).map_err(failed)?;
        Ok(bytes)
    }

    /// The segments that are followed by another one, oldest first.
    pub(crate) fn sealed(&self) -> Result<Vec<Sealed>, ReadError> {
        let mut sealed = Vec::new();
        let list = self.all();
        for (placed, next) in list.iter().zip(list.iter().skip(1)) {
            let Some(until) = placed.until() else { break };
            let Segment { path, begin, .. } = &placed.segment;
            sealed.push(Sealed {
                path: path.clone(),
                offsets: begin.first_offset..until,
                created: begin.created,
                ended: next.segment.begin.created,
                bytes: placed.segment.bytes()?,
            });
        }
        Ok(sealed)
    }

    pub(crate) fn all(&self) -> Vec<Arc<Placed>> {
        self.read().clone()
    }

    /// The segment that an offset belongs to; the first one for what was before it.
    pub(crate) fn segment_of(&self, offset: u64) -> Option<Arc<Placed>> {
        let list = self.read();
        let after = list.partition_point(|placed| placed.segment.begin.first_offset <= offset);
        list.get(after.saturating_sub(1)).cloned()
    }

    /// The first offset behind this one with which a segment begins.
    pub(crate) fn next_segment(&self, offset: u64) -> Option<u64> {
        let list = self.read();
        let after = list.partition_point(|placed| placed.segment.begin.first_offset <= offset);
        list.get(after).map(|placed| placed.segment.begin.first_offset)
    }

    /// What `look` sees in a segment's index, which is loaded if it must be; that of a segment that is gone is empty.
    pub(crate) fn with_index<T>(
        &self,
        placed: &Arc<Placed>,
        look: impl Fn(&Index) -> T,
    ) -> Result<T, ReadError> {
        loop {
            if let Some(seen) = placed.with_index(&look) {
                return Ok(seen);
            }
            match placed.load_index(self.files.disk(), &self.folder) {
                Ok(()) => {}
                Err(ReadError::Gone { .. }) => {
                    self.forget(placed);
                    return Ok(look(&Index::default()));
                }
                Err(error) => return Err(error),
            }
            let bytes = placed.with_index(Index::bytes_in_memory).unwrap_or_default();
            self.forget_others(placed.segment.begin.first_offset, bytes);
        }
    }

    /// Keeps the memory of loaded indexes within its bound: the one that was loaded first goes first.
    fn forget_others(&self, first_offset: u64, bytes: usize) {
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        loaded.push_back((first_offset, bytes));
        let mut sum: usize = loaded.iter().map(|(_, bytes)| bytes).sum();
        while sum > INDEX_BYTES
            && loaded.len() > 1
            && let Some((oldest, bytes)) = loaded.pop_front()
        {
            sum -= bytes;
            if oldest != first_offset
                && let Some(placed) = self.segment_of(oldest)
                && placed.segment.begin.first_offset == oldest
            {
                *placed.index_mut() = None;
            }
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Vec<Arc<Placed>>> {
        self.list.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Placed {
    /// A segment whose blocks are not known yet.
    pub(crate) fn unread(segment: Segment, until: Option<u64>) -> Placed {
        Placed {
            segment,
            until: RwLock::new(until),
            map: RwLock::new(None),
            index: RwLock::new(None),
        }
    }

    /// A segment that has no blocks yet.
    pub(crate) fn fresh(segment: Segment) -> Placed {
        let map = Map {
            end: segment.begin.first_offset,
            ..Map::default()
        };
        Placed {
            segment,
            until: RwLock::new(None),
            map: RwLock::new(Some(map)),
            index: RwLock::new(Some(Index::default())),
        }
    }

    pub(crate) fn until(&self) -> Option<u64> {
        *self.until.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends_at(&self, until: u64) {
        *self.until.write().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// Notes a block that is on the disk.
    pub(crate) fn wrote(&self, offsets: Range<u64>, at: u64, digest: &Digest) {
        if let Some(index) = self.index_mut().as_mut() {
            index.add(digest);
        }
        if let Some(map) = self.map_mut().as_mut() {
            map.add(offsets, at);
        }
    }

    /// What is at `offset`.
    pub(crate) fn at(&self, offset: u64) -> Result<At, ReadError> {
        self.survey()?;
        match self.near(offset) {
            Near::Beyond => Ok(At::Beyond),
            Near::Damage(offsets) => Ok(At::Damage(offsets)),
            Near::Place { first, at, end } => {
                let walk = Walk::from(&self.segment, self.until(), first, at);
                self.walk_to(offset, walk, end)
            }
        }
    }

    /// What the map says. The disk is asked without its lock: a disk that takes its time must not keep the writer waiting.
    fn near(&self, offset: u64) -> Near {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let map = map.as_ref().expect("it was surveyed");
        let end = self.until().map_or(map.end, |until| map.end.min(until));
        if offset >= end {
            return Near::Beyond;
        }
        if let Some(damage) = map.damage.iter().find(|damage| damage.offsets.contains(&offset)) {
            return Near::Damage(damage.offsets.clone());
        }
        let before = map.places.partition_point(|(first, _)| *first <= offset);
        match before.checked_sub(1).and_then(|place| map.places.get(place)) {
            Some(&(first, at)) => Near::Place { first, at, end },
            None => Near::Damage(offset..offset + 1),
        }
    }

    /// Reads the block with this offset, which is where the walk begins or a few blocks behind it.
    fn walk_to(&self, offset: u64, mut walk: Walk<'_>, end: u64) -> Result<At, ReadError> {
        while let Some(step) = walk.step()? {
            match step {
                Step::Block(found) if offset < found.head.end_offset() => {
                    return Ok(At::Block(found));
                }
                Step::Damage(damage) if damage.offsets.contains(&offset) => {
                    return Ok(At::Damage(damage.offsets.start..damage.offsets.end.min(end)));
                }
                Step::Block(_) | Step::Damage(_) | Step::End(_) => {}
            }
        }
        // It was there when the map was made.
        Ok(At::Damage(offset..end))
    }

    /// Offsets in it whose events cannot be read, ascending.
    pub(crate) fn lost(&self) -> Result<Vec<Range<u64>>, ReadError> {
        self.survey()?;
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let map = map.as_ref().expect("it was surveyed");
        let damage = map.damage.iter().map(|damage| damage.offsets.clone());
        let behind = self.until().map(|until| map.end..until);
        let lost = damage.chain(behind).filter(|range| !range.is_empty());
        Ok(lost.collect())
    }

    fn is_damaged(&self) -> Result<bool, ReadError> {
        self.survey()?;
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        Ok(map.as_ref().is_some_and(|map| !map.damage.is_empty()))
    }

    /// Walks through the file once, if nobody has.
    fn survey(&self) -> Result<(), ReadError> {
        let is_known = self.map.read().unwrap_or_else(PoisonError::into_inner).is_some();
        if is_known {
            return Ok(());
        }
        let mut map = Map {
            end: self.segment.begin.first_offset,
            ..Map::default()
        };
        let mut walk = Walk::new(&self.segment, self.until());
        while let Some(step) = walk.step()? {
            map.take(step);
        }
        *self.map_mut() = Some(map);
        Ok(())
    }

    /// Walks on from where the last walk ended; says where the events end now.
    fn survey_again(&self) -> Result<u64, ReadError> {
        self.survey()?;
        let mut guard = self.map_mut();
        let map = guard.as_mut().expect("it was surveyed");
        // Most looks come too early. What is reserved and not written yet is no damage to search the rest of the file for.
        if self.until().is_none() && self.segment.is_unwritten(map.end_at)? {
            return Ok(map.end);
        }
        let mut walk = Walk::from(&self.segment, self.until(), map.end, map.end_at);
        let before = map.end;
        while let Some(step) = walk.step()? {
            if let Step::Block(found) = &step {
                self.index_again(found);
            }
            map.take(step);
        }
        let end = map.end;
        drop(guard);
        if end > before {
            // It knows nothing of what was added, and is made again when somebody asks it.
            *self.index_mut() = None;
        }
        Ok(end)
    }

    /// Adds a block that was found later to an index that was made before. One that was made since has it already.
    fn index_again(&self, found: &Found) {
        let mut index = self.index_mut();
        if let Some(index) = index.as_mut()
            && index
                .blocks
                .last()
                .is_none_or(|last| *last < found.head.first_offset)
            && let Ok(block) = Block::decode(&found.bytes)
        {
            index.add(&Digest::of(&block));
        }
    }

    /// What `look` sees in the index; `None` if it is not in memory.
    pub(crate) fn with_index<T>(&self, look: impl FnOnce(&Index) -> T) -> Option<T> {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        index.as_ref().map(look)
    }

    /// Makes the index of a segment that is not being written, from its file or else from its blocks.
    fn load_index(&self, disk: &dyn Disk, folder: &Path) -> Result<(), ReadError> {
        self.survey()?;
        let first_offset = self.segment.begin.first_offset;
        loop {
            let end = self.end();
            let index = match index::file::load(disk, folder, first_offset..end) {
                Some(index) => index,
                None => self.index_from_blocks(end)?,
            };
            *self.index_mut() = Some(index);
            // Somebody may have seen more meanwhile; see `survey_again`.
            if self.end() == end {
                return Ok(());
            }
        }
    }

    /// Of the blocks before `end`.
    fn index_from_blocks(&self, end: u64) -> Result<Index, ReadError> {
        let mut index = Index::default();
        let mut walk = Walk::new(&self.segment, self.until());
        while let Some(step) = walk.step()? {
            let Step::Block(found) = step else { continue };
            if found.head.first_offset >= end {
                break;
            }
            if let Ok(block) = Block::decode(&found.bytes) {
                index.add(&Digest::of(&block));
            }
            // What is reserved behind the last one need not be searched.
            if found.head.end_offset() >= end {
                break;
            }
        }
        Ok(index)
    }

    fn end(&self) -> u64 {
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        map.as_ref()
            .map_or(self.segment.begin.first_offset, |map| map.end)
    }

    fn index_mut(&self) -> RwLockWriteGuard<'_, Option<Index>> {
        self.index.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn map_mut(&self) -> RwLockWriteGuard<'_, Option<Map>> {
        self.map.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Map {
    fn take(&mut self, step: Step) {
        match step {
            Step::Block(found) => self.add(found.head.first_offset..found.head.end_offset(), found.at),
            Step::Damage(damage) => self.skip(damage),
            Step::End(end) => self.end_at = end.at,
        }
    }

    fn add(&mut self, offsets: Range<u64>, at: u64) {
        let is_needed = match self.places.last() {
            // Behind damage the way from the last place leads nowhere.
            Some((_, last)) => at - last >= PLACES_APART_BYTES || self.end_of_damage() == Some(offsets.start),
            None => true,
        };
        if is_needed {
            self.places.push((offsets.start, at));
        }
        self.end = offsets.end;
    }

    fn skip(&mut self, damage: Damage) {
        self.end = self.end.max(damage.offsets.end);
        self.damage.push(damage);
    }

    fn end_of_damage(&self) -> Option<u64> {
        self.damage.last().map(|damage| damage.offsets.end)
    }
}
