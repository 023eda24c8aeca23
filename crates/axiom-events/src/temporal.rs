//! The log as a whole, both ways, and as it was: at an offset, or at a time.
//!
//! A *moment* is a place in the log's one order. As of a moment there is everything recorded before it and nothing else, so
//! what several streams were at one moment fits together.
//!
//! Times are producers' clocks, and need not ascend. The moment of a time is the first event that is not before it: all
//! events in front of that moment are older than the time, and those behind it may be older, too, if their producers' clocks
//! were behind or they were recorded late. Events that cannot be read any more are as old as can be.

use std::ops::Range;
use std::sync::Arc;

use crate::block::Block;
use crate::digest::SECOND;
use crate::event::Recorded;
use crate::find::Hit;
use crate::read::{Next, Reader};
use crate::segment::ReadError;
use crate::segments::Placed;
use crate::walk::{Step, Walk};

/// A place in the log's order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Before the event with this offset.
    Offset(u64),
    /// Before the first event whose time is not before this: nanoseconds since 1970.
    Time(i64),
}

/// A piece of the log.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// In the order in which they were asked for.
    pub hits: Vec<Hit>,
    /// What was between them and cannot be read any more: retired, or lost to damage.
    pub gaps: Vec<Range<u64>>,
    /// To go on with: where the next page begins, or, backward, what it ends before.
    pub next: u64,
}

/// How many events of a stream are read at once when it is summed up. Each may lie in a block of its own, of some megabytes,
/// which is held until all of them are seen.
const FOLD_EVENTS: usize = 128;

impl Reader {
    /// The first offset whose event is not before `time`; the end of the log where there is none yet. Reads one segment, and
    /// of the others what their indexes say.
    ///
    /// # Errors
    /// When the disk does not give what is needed.
    pub fn offset_at(&self, time: i64) -> Result<u64, ReadError> {
        let end = self.end();
        let segments = self.segments.all();
        if let Some((shelf, count)) = self.before(&segments) {
            for piece in shelf.pieces()[..count]
                .iter()
                .filter(|piece| piece.times.1 >= time)
            {
                if let Some(offset) = self.first_in(piece.offsets.clone(), time)? {
                    return Ok(offset);
                }
            }
        }
        for placed in segments {
            if self.is_older(&placed, time)? {
                continue;
            }
            let mut walk = Walk::new(&placed.segment, placed.until());
            while let Some(step) = walk.step()? {
                let Step::Block(found) = step else { continue };
                if found.head.first_offset >= end {
                    return Ok(end);
                }
                if found.head.time_max >= time
                    && let Ok(block) = Block::decode(&found.bytes)
                    && let Some(offset) = first_since(&block, time)
                {
                    return Ok(offset.min(end));
                }
            }
        }
        Ok(end)
    }

    /// The first of these offsets whose event is not before `time`.
    fn first_in(&self, offsets: Range<u64>, time: i64) -> Result<Option<u64>, ReadError> {
        let mut at = offsets.start;
        while at < offsets.end {
            match self.at(at)? {
                Next::Block(block) => {
                    if let Some(offset) = first_since(&block, time) {
                        return Ok(Some(offset));
                    }
                    at = block.offsets().end;
                }
                Next::Gap(gap) => at = gap.end,
                Next::End => break,
            }
        }
        Ok(None)
    }

    /// The offset of a moment.
    ///
    /// # Errors
    /// When the disk does not give what is needed.
    pub fn offset_of(&self, moment: Moment) -> Result<u64, ReadError> {
        match moment {
            Moment::Offset(offset) => Ok(offset),
            Moment::Time(time) => self.offset_at(time),
        }
    }

    /// All events from a moment on, in order, `count_max` at most.
    ///
    /// # Errors
    /// When the disk does not give what is there. Damage is no error but one of [`Page::gaps`].
    pub fn read_at(&self, moment: Moment, count_max: usize) -> Result<Page, ReadError> {
        self.all(self.offset_of(moment)?, count_max)
    }

    /// All events from this offset on, in order, `count_max` at most.
    ///
    /// # Errors
    /// As [`Reader::read_at`].
    pub fn all(&self, from: u64, count_max: usize) -> Result<Page, ReadError> {
        let mut page = Page {
            next: from,
            ..Page::default()
        };
        while page.hits.len() < count_max {
            match self.at(page.next)? {
                Next::Block(block) => {
                    let wanted = page.next..block.offsets().end;
                    let room = count_max - page.hits.len();
                    let found = block.offsets_within(&wanted).take(room);
                    page.hits.extend(found.map(|offset| Hit::new(&block, offset)));
                    page.next = match page.hits.last() {
                        Some(last) if page.hits.len() == count_max => last.recorded().offset + 1,
                        _ => wanted.end,
                    };
                }
                Next::Gap(gap) => {
                    page.next = gap.end;
                    page.gaps.push(gap);
                }
                Next::End => break,
            }
        }
        Ok(page)
    }

    /// All events before this offset, newest first, `count_max` at most.
    ///
    /// # Errors
    /// As [`Reader::read_at`].
    pub fn all_backward(&self, before: u64, count_max: usize) -> Result<Page, ReadError> {
        let first = self.first();
        let mut page = Page {
            next: before.min(self.end()),
            ..Page::default()
        };
        while page.hits.len() < count_max && page.next > first {
            match self.at(page.next - 1)? {
                Next::Block(block) => {
                    let wanted = block.offsets().start.max(first)..page.next;
                    let room = count_max - page.hits.len();
                    let newest_first = block.offsets_within(&wanted).rev().take(room);
                    page.hits
                        .extend(newest_first.map(|offset| Hit::new(&block, offset)));
                    page.next = match page.hits.last() {
                        Some(last) if page.hits.len() == count_max => last.recorded().offset,
                        _ => wanted.start,
                    };
                }
                Next::Gap(gap) => {
                    let gap = self.start_of_gap(first, &gap)?..page.next;
                    page.next = gap.start;
                    page.gaps.push(gap);
                }
                // The log ended further ahead a moment ago, and it never goes back.
                Next::End => break,
            }
        }
        Ok(page)
    }

    /// The version that a stream's next event had at a moment: how many events it had by then, those that were retired
    /// since included. The same is what [`Expected::Exact`](crate::Expected::Exact) counts, plus one.
    ///
    /// # Errors
    /// When the disk does not give what is needed.
    pub fn version_at(&self, stream: &str, moment: Moment) -> Result<u64, ReadError> {
        let last = self.last_before(stream, self.offset_of(moment)?)?;
        Ok(last.map_or(0, |hit| hit.recorded().version + 1))
    }

    /// What a stream had come to at a moment: `state` after all its events before it, in order.
    ///
    /// # Errors
    /// When the disk does not give what is there. Events that are gone are left out: where that matters, compare the
    /// versions.
    pub fn fold<S>(
        &self,
        stream: &str,
        moment: Moment,
        mut state: S,
        mut apply: impl FnMut(&mut S, &Recorded<'_>),
    ) -> Result<S, ReadError> {
        let before = self.offset_of(moment)?;
        let mut from = 0;
        loop {
            let hits = self.stream(stream, from, FOLD_EVENTS)?;
            for hit in &hits {
                let recorded = hit.recorded();
                if recorded.offset >= before {
                    return Ok(state);
                }
                apply(&mut state, &recorded);
                from = recorded.version + 1;
            }
            if hits.len() < FOLD_EVENTS {
                return Ok(state);
            }
        }
    }

    /// Whether all events of a sealed segment are before `time`, as far as whole seconds tell.
    fn is_older(&self, placed: &Arc<Placed>, time: i64) -> Result<bool, ReadError> {
        // One that is being written has its index in memory, and most questions end in it: it is simply read.
        if placed.until().is_none() {
            return Ok(false);
        }
        let newest = |index: &crate::index::Index| {
            let seconds = index.rollups.seconds.keys();
            seconds.map(|cell| cell.time).max()
        };
        let newest = self.segments.with_index(placed, newest)?;
        Ok(newest.is_none_or(|newest| newest < time.div_euclid(SECOND)))
    }

    /// Where a gap begins that ends like this one. Within a gap every offset says the same end, and no other offset does.
    fn start_of_gap(&self, first: u64, gap: &Range<u64>) -> Result<u64, ReadError> {
        let (mut outside, mut inside) = (first, gap.start);
        while outside < inside {
            let middle = outside + (inside - outside) / 2;
            match self.at(middle)? {
                Next::Gap(other) if other.end == gap.end => inside = middle,
                _ => outside = middle + 1,
            }
        }
        Ok(inside)
    }
}

/// The first offset of a block whose event is not before `time`.
fn first_since(block: &Block, time: i64) -> Option<u64> {
    let mut events = block.events();
    let found = events.find(|recorded| recorded.event.time >= time);
    found.map(|recorded| recorded.offset)
}
