//! The segments of a shard as readers see them, and where each block is.

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use crate::block::Block;
use crate::disk::Disk;
use crate::segment::{self, ReadError, Segment};
use crate::walk::{Damage, Step, Walk};

/// Between two places that are kept in memory: from one to the next block's place a reader walks.
const PLACES_APART_BYTES: u64 = 4096;

/// All segments of a shard, oldest first, up to what is durable.
#[derive(Debug)]
pub(crate) struct Segments {
    list: RwLock<Vec<Arc<Placed>>>,
    /// The offset after the last event that may be read.
    end: watch::Sender<u64>,
}

/// A segment, and where its blocks are.
#[derive(Debug)]
pub(crate) struct Placed {
    pub(crate) segment: Segment,
    /// The first offset of the segment after it.
    until: RwLock<Option<u64>>,
    /// Found out when it is read for the first time; a segment that is being written has it from the start.
    map: RwLock<Option<Map>>,
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
    Block(Block),
    /// Events of this range are lost to damage.
    Damage(Range<u64>),
    /// The segment ends before it.
    Beyond,
}

impl Segments {
    pub(crate) fn new(list: Vec<Arc<Placed>>, end: u64) -> Segments {
        Segments {
            list: RwLock::new(list),
            end: watch::Sender::new(end),
        }
    }

    pub(crate) fn end(&self) -> u64 {
        *self.end.borrow()
    }

    pub(crate) fn watch_end(&self) -> watch::Receiver<u64> {
        self.end.subscribe()
    }

    /// Lets readers read up to here.
    pub(crate) fn publish(&self, end: u64) {
        self.end.send_replace(end);
    }

    /// Takes in what another process has written since: blocks in the newest segment, and segments behind it.
    pub(crate) fn refresh(&self, disk: &dyn Disk, folder: &Path) -> Result<(), ReadError> {
        let failed = |source| ReadError::Disk {
            path: folder.to_owned(),
            source,
        };
        let names = disk.files(folder).map_err(failed)?;
        let newest = self.all().last().map(|placed| placed.segment.begin.first_offset);
        let mut fresh: Vec<u64> = names
            .iter()
            .filter_map(|name| segment::first_offset(name))
            .collect();
        fresh.retain(|first| newest.is_none_or(|newest| *first > newest));
        fresh.sort_unstable();
        for first in fresh {
            // One whose head is damaged is a gap for whoever reads on.
            match Segment::open(disk, segment::path(folder, first)) {
                Ok(segment) => self.push(Arc::new(Placed::unread(segment, None))),
                Err(ReadError::Damaged { .. }) => {}
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
            end = end.max(placed.survey_again()?);
        }
        self.publish(end);
        Ok(())
    }

    /// The oldest offset that is kept.
    pub(crate) fn first(&self) -> u64 {
        self.read()
            .first()
            .map_or(0, |placed| placed.segment.begin.first_offset)
    }

    /// Adds a segment that begins where the last one ends.
    pub(crate) fn push(&self, placed: Arc<Placed>) {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = list.last() {
            last.ends_at(placed.segment.begin.first_offset);
        }
        list.push(placed);
    }

    /// Takes the newest segment away again: nothing in it ever counted.
    pub(crate) fn pop(&self) {
        let mut list = self.list.write().unwrap_or_else(PoisonError::into_inner);
        list.pop();
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
        }
    }

    pub(crate) fn until(&self) -> Option<u64> {
        *self.until.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn ends_at(&self, until: u64) {
        *self.until.write().unwrap_or_else(PoisonError::into_inner) = Some(until);
    }

    /// Notes a block that was written.
    pub(crate) fn wrote(&self, offsets: Range<u64>, at: u64) {
        if let Some(map) = self.map_mut().as_mut() {
            map.add(offsets, at);
        }
    }

    /// What is at `offset`.
    pub(crate) fn at(&self, offset: u64) -> Result<At, ReadError> {
        self.survey()?;
        let map = self.map.read().unwrap_or_else(PoisonError::into_inner);
        let map = map.as_ref().expect("it was surveyed");
        let end = self.until().map_or(map.end, |until| map.end.min(until));
        if offset >= end {
            return Ok(At::Beyond);
        }
        if let Some(damage) = map.damage.iter().find(|damage| damage.offsets.contains(&offset)) {
            return Ok(At::Damage(damage.offsets.clone()));
        }
        let before = map.places.partition_point(|(first, _)| *first <= offset);
        let (_, at) = map.places[before.saturating_sub(1)];
        self.walk_to(offset, at)
    }

    /// Reads the block with this offset, which is at `at` or a few blocks behind it.
    fn walk_to(&self, offset: u64, mut at: u64) -> Result<At, ReadError> {
        loop {
            let head = self.segment.head(at)?;
            if offset < head.end_offset() {
                return Ok(At::Block(self.segment.block(at)?));
            }
            at += head.bytes() as u64;
        }
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
        let mut map = self.map_mut();
        let map = map.as_mut().expect("it was surveyed");
        let mut walk = Walk::resume(&self.segment, self.until(), map.end_at, map.end);
        while let Some(step) = walk.step()? {
            map.take(step);
        }
        Ok(map.end)
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
