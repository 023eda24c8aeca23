//! Scanning: many events in order, without reading what cannot hold any that are wanted.
//!
//! The index tells which segments know a name and which blocks have a task or a stream; a block's head tells its times. What
//! is left out is left out for certain; what is read may still hold events that nobody wants.

use std::collections::VecDeque;
use std::ops::{Range, RangeInclusive};
use std::sync::Arc;

use crate::block::Block;
use crate::block::columns::Column;
use crate::digest::HOUR;
use crate::index::Postings;
use crate::read::{Next, Reader};
use crate::segment::ReadError;
use crate::segments::{At, Placed};

/// Which events are wanted at most. Several conditions must all hold; a list is one of its names, and an empty one nothing.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// Nanoseconds since 1970.
    pub times: Option<RangeInclusive<i64>>,
    pub tenants: Option<Vec<String>>,
    pub streams: Option<Vec<String>>,
    pub tasks: Option<Vec<String>>,
    pub kinds: Option<Vec<String>>,
}

/// A way through a shard, block by block.
#[derive(Debug)]
pub struct Scan {
    reader: Reader,
    wanted: Wanted,
    at: u64,
    end: u64,
    stretch: Stretch,
}

/// What is known about the offsets from `at` on.
#[derive(Debug)]
enum Stretch {
    Unknown,
    /// Up to here every block may hold something.
    All(u64),
    /// Up to here only the blocks that begin with these offsets do, and damage.
    Blocks(VecDeque<u64>, u64),
}

impl Wanted {
    fn is_everything(&self) -> bool {
        self.times.is_none() && self.tasks.is_none() && self.named().next().is_none()
    }

    /// Names that are in the index if they are in the segment. Of tasks that does not hold: some are numbers.
    fn named(&self) -> impl Iterator<Item = &Vec<String>> {
        let lists = [&self.tenants, &self.streams, &self.kinds];
        lists.into_iter().flatten()
    }

    fn is_time(&self, first: i64, last: i64) -> bool {
        let Some(times) = &self.times else { return true };
        first <= *times.end() && last >= *times.start()
    }
}

impl Reader {
    /// Goes through the events with these offsets. Every step may block on the disk.
    pub fn scan(&self, offsets: Range<u64>, wanted: Wanted) -> Scan {
        Scan {
            reader: self.clone(),
            wanted,
            at: offsets.start,
            end: offsets.end,
            stretch: Stretch::Unknown,
        }
    }
}

impl Scan {
    /// The next block that may hold wanted events, or the next gap; [`Next::End`] for ever after the last. A block may reach
    /// over both ends of the offsets.
    ///
    /// # Errors
    /// When the disk does not give it. The next call tries the same place again.
    pub fn step(&mut self) -> Result<Next, ReadError> {
        let end = self.end.min(self.reader.end());
        while self.at < end {
            let offset = self.at;
            let Some(placed) = self.reader.segments.segment_of(offset) else {
                return self.go_on_behind(Next::Gap(offset..end));
            };
            let first = placed.segment.begin.first_offset;
            if offset < first {
                return self.go_on_behind(Next::Gap(offset..first.min(end)));
            }
            match &mut self.stretch {
                Stretch::All(until) if offset < *until => {}
                Stretch::Blocks(blocks, until) if offset < *until => {
                    while blocks.front().is_some_and(|block| *block < offset) {
                        blocks.pop_front();
                    }
                    let next = blocks.front().copied().unwrap_or(*until);
                    if next != offset {
                        self.at = next;
                        continue;
                    }
                }
                _ => {
                    self.stretch = self.look_ahead(&placed, end)?;
                    if let Stretch::Blocks(blocks, _) = &self.stretch
                        && let Some(block) = blocks.front()
                        && *block <= offset
                    {
                        // The scan begins within this block.
                        let block = *block;
                        if let Next::Block(block) = self.reader.at(block)?
                            && block.offsets().contains(&offset)
                        {
                            return self.go_on_behind(Next::Block(block));
                        }
                    }
                    continue;
                }
            }
            if let Some(block) = self.reader.cached_block(offset) {
                return self.go_on_behind(Next::Block(block));
            }
            let next = match placed.at(offset)? {
                At::Block(found) if !self.wanted.is_time(found.head.time_min, found.head.time_max) => {
                    self.at = found.head.end_offset();
                    continue;
                }
                At::Block(found) => match Block::decode(&found.bytes) {
                    Ok(block) => Next::Block(Arc::new(block)),
                    Err(_) => Next::Gap(offset..found.head.end_offset().min(end)),
                },
                At::Damage(range) => Next::Gap(offset..range.end.min(end)),
                At::Older(_) | At::Beyond => Next::Gap(offset..placed.until().unwrap_or(end).min(end)),
            };
            return self.go_on_behind(next);
        }
        Ok(Next::End)
    }

    fn go_on_behind(&mut self, next: Next) -> Result<Next, ReadError> {
        self.at = match &next {
            Next::Block(block) => block.offsets().end,
            Next::Gap(gap) => gap.end,
            Next::End => self.at,
        };
        Ok(next)
    }

    /// What a segment's index says about the rest of it.
    fn look_ahead(&self, placed: &Arc<Placed>, end: u64) -> Result<Stretch, ReadError> {
        let until = placed.until().unwrap_or(end).min(end);
        let wanted = &self.wanted;
        if wanted.is_everything() {
            return Ok(Stretch::All(until));
        }
        let columns = [(Column::Task, &wanted.tasks), (Column::Stream, &wanted.streams)];
        let blocks = self.reader.segments.with_index(placed, |index| {
            let knows = |names: &Vec<String>| names.iter().any(|name| index.names.get(name).is_some());
            let hours = &index.rollups.hours;
            let in_time = || {
                hours.keys().any(|cell| {
                    let first = cell.time.saturating_mul(HOUR);
                    wanted.is_time(first, first.saturating_add(HOUR - 1))
                })
            };
            if !wanted.named().all(knows) || !in_time() {
                return Some(Vec::new());
            }
            // No task is no task: the index does not have it.
            let (column, names) = columns.iter().find_map(|(column, names)| {
                let names = names.as_ref()?;
                (!names.iter().any(String::is_empty)).then_some((*column, names))
            })?;
            let mut blocks = Vec::new();
            for name in names {
                let first_offsets = |postings: &Postings| -> Vec<u64> {
                    let postings = postings.iter();
                    postings.map(|posting| index.first_offset(posting)).collect()
                };
                blocks.extend(
                    match column {
                        Column::Task => index.task(name).as_deref().map(first_offsets),
                        Column::Stream => index.stream(name).map(first_offsets),
                    }
                    .unwrap_or_default(),
                );
            }
            blocks.sort_unstable();
            blocks.dedup();
            Some(blocks)
        })?;
        Ok(match blocks {
            None => Stretch::All(until),
            Some(mut blocks) => {
                // An index that was made from damaged blocks does not know what was in them.
                blocks.extend(placed.lost()?.into_iter().map(|lost| lost.start));
                blocks.sort_unstable();
                // The one before may reach into the rest.
                let from = blocks.partition_point(|first| *first <= self.at);
                let blocks = blocks.into_iter().skip(from.saturating_sub(1)).collect();
                Stretch::Blocks(blocks, until)
            }
        })
    }
}
