//! Finding events by task or stream, and counting them, by the index: no more blocks are read than hold an answer.

use std::borrow::Cow;
use std::collections::HashMap;
use std::num::NonZero;
use std::ops::Range;
use std::sync::Arc;

use crate::archive::{Piece, Shelf, Side, Wanted};
use crate::block::Block;
use crate::block::columns::Column;
use crate::digest::{ANY, Cell, Count, HOUR, MINUTE, SECOND};
use crate::event::{Level, Recorded};
use crate::index::{Index, Posting};
use crate::names::Names;
use crate::read::{Next, Reader};
use crate::segment::ReadError;
use crate::segments::Placed;
use crate::task_id;

/// A task or a stream with fewer of a block's events than one in so many has them read alone. With more of them, somebody who
/// reads on from where he stopped would unpack the same block again and again.
const PART_OF_BLOCK: u64 = 16;

/// Threads that unpack blocks for one question.
const THREADS_MAX: usize = 4;
/// Blocks that are worth a thread.
const PARTS_OF_THREAD: usize = 3;
/// Parts that are read at once.
const PARTS_MAX: usize = 64;

/// What a task or a stream has of a block.
struct Part {
    first_offset: u64,
    count: usize,
    /// Next to the rest of the block.
    is_small: bool,
}

/// An event that was found.
#[derive(Debug, Clone)]
pub struct Hit {
    block: Arc<Block>,
    offset: u64,
}

/// What is to be counted: events of a time, of these properties.
#[derive(Debug, Clone, Default)]
pub struct Totals<'a> {
    /// Nanoseconds since 1970: whole seconds, or whole hours where tasks matter. All times if it is empty.
    pub times: Range<i64>,
    pub tenant: Option<&'a str>,
    pub task: Option<&'a str>,
    pub kind: Option<&'a str>,
    pub level_min: Option<Level>,
    /// What is counted apart.
    pub by: By,
}

/// Which properties are counted apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct By {
    /// Nanoseconds: whole seconds, or whole hours where tasks matter. 0: all times together.
    pub time: i64,
    pub tenant: bool,
    pub task: bool,
    pub kind: bool,
    pub level: bool,
}

/// Events that were counted together. What was not to be counted apart is `None`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Group {
    /// Start of the time, nanoseconds since 1970.
    pub time: Option<i64>,
    pub tenant: Option<String>,
    pub task: Option<String>,
    pub kind: Option<String>,
    pub level: Option<Level>,
}

/// Why something cannot be counted.
#[derive(Debug, thiserror::Error)]
pub enum TotalsError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("{time} ns is no whole number of {unit}: that is how {what} counted")]
    Uneven {
        time: i64,
        unit: &'static str,
        what: &'static str,
    },
}

impl Hit {
    /// The event at an offset that the block has.
    pub(crate) fn new(block: &Arc<Block>, offset: u64) -> Hit {
        Hit {
            block: Arc::clone(block),
            offset,
        }
    }

    pub fn recorded(&self) -> Recorded<'_> {
        self.block.event(self.offset).expect("it was found in this block")
    }
}

impl Reader {
    /// The event at this offset; `None` if there is none, or not any more.
    pub fn event(&self, offset: u64) -> Result<Option<Hit>, ReadError> {
        Ok(match self.at_alone(offset)? {
            Next::Block(block) => block.event(offset).is_some().then_some(Hit { block, offset }),
            Next::Gap(_) | Next::End => None,
        })
    }

    /// The event at this offset, if that needs no disk.
    pub(crate) fn cached(&self, offset: u64) -> Option<Hit> {
        let block = self.unpacked(offset)?;
        block.event(offset).is_some().then_some(Hit { block, offset })
    }

    /// The last `count` events of a task, in order.
    pub fn task_tail(&self, task: &str, count: usize) -> Result<Vec<Hit>, ReadError> {
        let look = |shelf: &dyn Shelf, piece: &Piece, wanted| shelf.task(piece, task, 0..u64::MAX, wanted);
        self.backward(Column::Task, task, count, |_| true, u64::MAX, look)
    }

    /// Events of a task with these offsets, in order, `count_max` at most.
    pub fn task_range(
        &self,
        task: &str,
        offsets: Range<u64>,
        count_max: usize,
    ) -> Result<Vec<Hit>, ReadError> {
        let look =
            |shelf: &dyn Shelf, piece: &Piece, wanted| shelf.task(piece, task, offsets.clone(), wanted);
        self.forward(Column::Task, task, count_max, offsets.clone(), |_| true, look)
    }

    /// Events of a stream from this version on, in order, `count_max` at most.
    pub fn stream(&self, stream: &str, from_version: u64, count_max: usize) -> Result<Vec<Hit>, ReadError> {
        let from = self.offset_of_version(stream, from_version)?.unwrap_or(0);
        let is_wanted = |recorded: &Recorded<'_>| recorded.version >= from_version;
        let versions = from_version..u64::MAX;
        let look =
            |shelf: &dyn Shelf, piece: &Piece, wanted| shelf.stream(piece, stream, versions.clone(), wanted);
        self.forward(Column::Stream, stream, count_max, from..u64::MAX, is_wanted, look)
    }

    /// Events of a stream before this version, newest first, `count_max` at most.
    pub fn stream_backward(
        &self,
        stream: &str,
        before_version: u64,
        count_max: usize,
    ) -> Result<Vec<Hit>, ReadError> {
        let last_block = self
            .offset_of_version(stream, before_version)?
            .unwrap_or_else(|| self.segments.first());
        let is_wanted = |recorded: &Recorded<'_>| recorded.version < before_version;
        let look =
            |shelf: &dyn Shelf, piece: &Piece, wanted| shelf.stream(piece, stream, 0..before_version, wanted);
        let mut hits = self.backward(Column::Stream, stream, count_max, is_wanted, last_block, look)?;
        hits.reverse();
        Ok(hits)
    }

    /// The version of a stream's last event.
    pub fn last_version(&self, stream: &str) -> Result<Option<u64>, ReadError> {
        let look =
            |shelf: &dyn Shelf, piece: &Piece, wanted| shelf.stream(piece, stream, 0..u64::MAX, wanted);
        let hits = self.backward(Column::Stream, stream, 1, |_| true, u64::MAX, look)?;
        Ok(hits.last().map(|hit| hit.recorded().version))
    }

    /// A stream's last event before this offset.
    pub(crate) fn last_before(&self, stream: &str, before: u64) -> Result<Option<Hit>, ReadError> {
        let is_wanted = |recorded: &Recorded<'_>| recorded.offset < before;
        let last_block = before.saturating_sub(1);
        let look = |shelf: &dyn Shelf, piece: &Piece, wanted: Wanted| {
            let all = Wanted {
                count_max: usize::MAX,
                ..wanted
            };
            // A tier finds the last event of a piece, which is another one where the offset lies within the piece.
            let found = match piece.offsets.contains(&before) {
                true => shelf.stream(piece, stream, 0..u64::MAX, all)?,
                false if piece.offsets.end <= before => shelf.stream(piece, stream, 0..u64::MAX, wanted)?,
                false => return Ok(Block::none(piece.offsets.clone())),
            };
            Ok(found.only(is_wanted))
        };
        let hits = self.backward(Column::Stream, stream, 1, is_wanted, last_block, look)?;
        Ok(hits.into_iter().next_back())
    }

    /// Where in the segments to look for a version: an offset at or before that of its event. `None` if it is not in them.
    fn offset_of_version(&self, stream: &str, version: u64) -> Result<Option<u64>, ReadError> {
        for placed in self.segments.all().iter().rev() {
            let found = self.segments.with_index(placed, |index| {
                let postings = index.stream(stream)?.iter();
                let before = postings.take_while(|posting| posting.first_version <= version);
                before.last().map(|posting| index.first_offset(posting))
            })?;
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    /// The older tiers, and which of their pieces come before these segments. The segments must have been listed first:
    /// what is not among them is in a tier by then.
    pub(crate) fn before(&self, segments: &[Arc<Placed>]) -> Option<(Arc<dyn Shelf>, usize)> {
        let first = match segments.first() {
            Some(placed) => placed.segment.begin.first_offset,
            None => self.end(),
        };
        let shelf = self.shelf()?;
        let count = shelf
            .pieces()
            .partition_point(|piece| piece.offsets.start < first);
        (count > 0).then_some((shelf, count))
    }

    /// The first `count_max` wanted events with these offsets, in order.
    fn forward(
        &self,
        column: Column,
        name: &str,
        count_max: usize,
        offsets: Range<u64>,
        is_wanted: impl Fn(&Recorded<'_>) -> bool,
        look: impl Fn(&dyn Shelf, &Piece, Wanted) -> Result<Block, ReadError>,
    ) -> Result<Vec<Hit>, ReadError> {
        let mut hits = Vec::new();
        let segments = self.segments.all();
        if let Some((shelf, count)) = self.before(&segments) {
            for piece in &shelf.pieces()[..count] {
                if piece.offsets.end <= offsets.start || piece.offsets.start >= offsets.end {
                    continue;
                }
                let wanted = Wanted {
                    count_max: count_max - hits.len(),
                    end: Side::First,
                };
                hits.extend(all_of(look(shelf.as_ref(), piece, wanted)?));
                if hits.len() >= count_max {
                    hits.truncate(count_max);
                    return Ok(hits);
                }
            }
        }
        for placed in segments {
            if placed.until().is_some_and(|until| until <= offsets.start) {
                continue;
            }
            let parts = self.parts(&placed, column, name)?;
            // The one before may reach into the offsets.
            let from = parts
                .partition_point(|part| part.first_offset <= offsets.start)
                .saturating_sub(1);
            let until = parts.partition_point(|part| part.first_offset < offsets.end);
            let mut parts = parts.get(from..until).unwrap_or_default();
            while !parts.is_empty() && hits.len() < count_max {
                let (next, later) = enough(parts, count_max - hits.len());
                parts = later;
                for block in self.read_parts(next, column, name)? {
                    let found = block.offsets_of(column, name).into_iter();
                    let found = found.filter(|offset| offsets.contains(offset)).map(|offset| Hit {
                        block: Arc::clone(&block),
                        offset,
                    });
                    hits.extend(found.filter(|hit| is_wanted(&hit.recorded())));
                }
            }
        }
        hits.truncate(count_max);
        Ok(hits)
    }

    /// The blocks of these parts, in order, by several threads where there are many.
    fn read_parts(&self, parts: &[Part], column: Column, name: &str) -> Result<Vec<Arc<Block>>, ReadError> {
        let threads = std::thread::available_parallelism()
            .map_or(1, NonZero::get)
            .min(THREADS_MAX);
        let each = parts.len().div_ceil(threads).max(PARTS_OF_THREAD);
        let mut shares = parts.chunks(each);
        let ours = shares.next().unwrap_or_default();
        std::thread::scope(|scope| {
            let read = |share| self.read_share(share, column, name);
            let start = |share| {
                let thread = std::thread::Builder::new().name("events read".to_owned());
                (share, thread.spawn_scoped(scope, move || read(share)))
            };
            let others: Vec<_> = shares.map(start).collect();
            let mut blocks = read(ours)?;
            for (share, thread) in others {
                blocks.extend(match thread {
                    Ok(thread) => thread.join().map_err(|_| ReadError::Panicked)??,
                    // There are no more threads to be had.
                    Err(_) => read(share)?,
                });
            }
            Ok(blocks)
        })
    }

    fn read_share(&self, parts: &[Part], column: Column, name: &str) -> Result<Vec<Arc<Block>>, ReadError> {
        let mut room = Vec::new();
        let mut blocks = Vec::new();
        for part in parts {
            let next = match part.is_small {
                true => self.at_of(part.first_offset, column, name, &mut room)?,
                false => self.at(part.first_offset)?,
            };
            if let Next::Block(block) = next {
                blocks.push(block);
            }
        }
        Ok(blocks)
    }

    /// The last `count` wanted events, in order. No block behind `last_block` has one.
    fn backward(
        &self,
        column: Column,
        name: &str,
        count: usize,
        is_wanted: impl Fn(&Recorded<'_>) -> bool,
        last_block: u64,
        look: impl Fn(&dyn Shelf, &Piece, Wanted) -> Result<Block, ReadError>,
    ) -> Result<Vec<Hit>, ReadError> {
        let mut hits = Vec::new();
        let segments = self.segments.all();
        for placed in segments.iter().rev() {
            let parts = self.parts(placed, column, name)?.into_iter().rev();
            let blocks = parts.map(|part| part.first_offset);
            for first in blocks.filter(|first| *first <= last_block) {
                if hits.len() >= count {
                    break;
                }
                let Next::Block(block) = self.at(first)? else {
                    continue;
                };
                let offsets = block.offsets_of(column, name).into_iter().rev();
                let found = offsets.map(|offset| Hit {
                    block: Arc::clone(&block),
                    offset,
                });
                hits.extend(found.filter(|hit| is_wanted(&hit.recorded())));
            }
            if hits.len() >= count {
                break;
            }
        }
        if let Some((shelf, pieces)) = self.before(&segments) {
            for piece in shelf.pieces()[..pieces].iter().rev() {
                if hits.len() >= count {
                    break;
                }
                let wanted = Wanted {
                    count_max: count - hits.len(),
                    end: Side::Last,
                };
                hits.extend(all_of(look(shelf.as_ref(), piece, wanted)?).rev());
            }
        }
        hits.truncate(count);
        hits.reverse();
        Ok(hits)
    }

    /// A segment's blocks in which there is something, ascending.
    fn parts(&self, placed: &Arc<Placed>, column: Column, name: &str) -> Result<Vec<Part>, ReadError> {
        self.segments.with_index(placed, |index| {
            let postings = match column {
                Column::Task => index.task(name),
                Column::Stream => index.stream(name).map(Cow::Borrowed),
            };
            let postings = postings.iter().flat_map(|postings| postings.iter());
            let part = |posting: Posting| {
                let first_offset = index.first_offset(posting);
                let events = match index.blocks.get(posting.block as usize + 1) {
                    Some(next) => next.saturating_sub(first_offset),
                    None => 0,
                };
                Part {
                    first_offset,
                    count: posting.count as usize,
                    is_small: u64::from(posting.count) * PART_OF_BLOCK <= events,
                }
            };
            postings.map(part).collect()
        })
    }

    /// Counts what happened, by what the index has counted already: events that were kept, and those that
    /// [counters](crate::sample::counter) stand for, to the second. What a producer has skipped and not told of yet is missing.
    pub fn totals(&self, totals: &Totals<'_>) -> Result<Vec<(Group, Count)>, TotalsError> {
        let unit = totals.unit()?;
        let mut sums = Sums::default();
        let segments = self.segments.all();
        if let Some((shelf, count)) = self.before(&segments) {
            for piece in shelf.pieces()[..count]
                .iter()
                .filter(|piece| totals.reaches(piece))
            {
                sums.add(totals.cells(&shelf.summary(piece)?.index, unit));
            }
        }
        for placed in segments {
            let cells = self
                .segments
                .with_index(&placed, |index| totals.cells(index, unit))?;
            sums.add(cells);
        }
        Ok(sums.groups(totals, unit))
    }
}

/// The first parts, as many as should have so many events, and the others.
fn enough(parts: &[Part], count: usize) -> (&[Part], &[Part]) {
    let mut sum = 0usize;
    let before = parts.iter().take_while(|part| {
        let is_needed = sum < count;
        sum = sum.saturating_add(part.count);
        is_needed
    });
    parts.split_at(before.count().min(PARTS_MAX))
}

fn all_of(block: Block) -> impl DoubleEndedIterator<Item = Hit> {
    let block = Arc::new(block);
    let offsets: Vec<u64> = block.events().map(|recorded| recorded.offset).collect();
    offsets.into_iter().map(move |offset| Hit {
        block: Arc::clone(&block),
        offset,
    })
}

/// Cells of one segment, and the names whose numbers they have.
struct Cells {
    names: Names,
    cells: Vec<(Cell, Count)>,
}

impl Totals<'_> {
    /// Whether a piece may have events of these times.
    fn reaches(&self, piece: &Piece) -> bool {
        let (earliest, latest) = piece.times;
        self.times.is_empty() || (earliest < self.times.end && latest >= self.times.start)
    }

    fn needs_tasks(&self) -> bool {
        self.task.is_some() || self.by.task
    }

    /// The coarsest unit, in nanoseconds, in which the answer is exact.
    fn unit(&self) -> Result<i64, TotalsError> {
        let times = [self.times.start, self.times.end, self.by.time];
        let times = if self.times.is_empty() {
            &times[2..]
        } else {
            &times
        };
        let uneven = |unit: i64| times.iter().find(|time| *time % unit != 0).copied();
        if uneven(HOUR).is_none() {
            return Ok(HOUR);
        }
        let (smallest, unit, what) = if self.needs_tasks() {
            (HOUR, "hours", "tasks are")
        } else if uneven(MINUTE).is_none() {
            return Ok(MINUTE);
        } else {
            (SECOND, "seconds", "events are")
        };
        match uneven(smallest) {
            Some(time) => Err(TotalsError::Uneven { time, unit, what }),
            None => Ok(smallest),
        }
    }

    /// The cells of a segment that count, summed up as far as they go together.
    fn cells(&self, index: &Index, unit: i64) -> Cells {
        let cells = match unit {
            HOUR if self.needs_tasks() => &index.rollups.task_hours,
            HOUR => &index.rollups.hours,
            MINUTE => &index.rollups.minutes,
            _ => &index.rollups.seconds,
        };
        let none = Cells {
            names: Names::default(),
            cells: Vec::new(),
        };
        let alone = if self.needs_tasks() {
            self.alone(index)
        } else {
            Vec::new()
        };
        // Those have no number of their own: they are given the next ones.
        let alone_from = index.names.len();
        let task_of = |place: usize| u32::try_from(alone_from + place).unwrap_or(ANY);
        // A name that the segment does not know has no events in it.
        let number = |name: Option<&str>| name.map(|name| index.names.get(name));
        let [tenant, mut task, kind] = [self.tenant, self.task, self.kind].map(number);
        if self.task.is_some() && !alone.is_empty() {
            task = Some(Some(task_of(0)));
        }
        if [tenant, task, kind].contains(&Some(None)) {
            return none;
        }
        let fits =
            |wanted: Option<Option<u32>>, number: u32| wanted.is_none_or(|wanted| wanted == Some(number));
        let times = self.times.start.div_euclid(unit)..self.times.end.div_euclid(unit);
        let step = self.by.time.max(0) / unit;
        let keep = |flag: bool, number: u32| if flag { number } else { ANY };
        let mut sums: HashMap<Cell, Count, foldhash::fast::FixedState> = HashMap::default();
        let of_alone = (0..).map(task_of).zip(&alone);
        let of_alone = of_alone.map(|(task, (_, cell, count))| (Cell { task, ..*cell }, *count));
        let cells = cells.iter().map(|(cell, count)| (*cell, *count));
        for (cell, count) in cells.chain(of_alone) {
            let is_in = (self.times.is_empty() || times.contains(&cell.time))
                && self.level_min.is_none_or(|min| cell.level >= min)
                && fits(tenant, cell.tenant)
                && fits(task, cell.task)
                && fits(kind, cell.kind);
            if !is_in {
                continue;
            }
            let group = Cell {
                time: if step > 0 {
                    cell.time.div_euclid(step) * step
                } else {
                    0
                },
                tenant: keep(self.by.tenant, cell.tenant),
                task: keep(self.by.task, cell.task),
                kind: keep(self.by.kind, cell.kind),
                level: if self.by.level { cell.level } else { Level::Trace },
            };
            *sums.entry(group).or_default() += count;
        }
        if sums.is_empty() {
            return none;
        }
        let mut names = index.names.clone();
        if self.by.task {
            for (id, ..) in &alone {
                names.push(&task_id::name(*id));
            }
        }
        Cells {
            names,
            cells: sums.into_iter().collect(),
        }
    }

    /// The wanted ones of the tasks that have one event in the segment.
    fn alone(&self, index: &Index) -> Vec<(u128, Cell, Count)> {
        match self.task {
            None => index.alone.counts().collect(),
            Some(task) => task_id::read(task)
                .and_then(|id| index.alone.count(id))
                .into_iter()
                .collect(),
        }
    }
}

/// Sums over segments.
#[derive(Default)]
struct Sums {
    names: Names,
    sums: HashMap<Cell, Count, foldhash::fast::FixedState>,
}

impl Sums {
    fn add(&mut self, cells: Cells) {
        for (cell, count) in cells.cells {
            let mut ours = |number: u32| match number {
                ANY => ANY,
                number => self.names.number_of(&cells.names, number),
            };
            let cell = Cell {
                tenant: ours(cell.tenant),
                task: ours(cell.task),
                kind: ours(cell.kind),
                ..cell
            };
            *self.sums.entry(cell).or_default() += count;
        }
    }

    /// Sorted by group.
    fn groups(&self, totals: &Totals<'_>, unit: i64) -> Vec<(Group, Count)> {
        let name = |number: u32| (number != ANY).then(|| self.names.name(number).to_owned());
        let mut groups: Vec<(Group, Count)> = self
            .sums
            .iter()
            .map(|(cell, count)| {
                let group = Group {
                    time: (totals.by.time > 0).then(|| cell.time.saturating_mul(unit)),
                    tenant: name(cell.tenant),
                    task: name(cell.task),
                    kind: name(cell.kind),
                    level: totals.by.level.then_some(cell.level),
                };
                (group, *count)
            })
            .collect();
        groups.sort_unstable_by(|left, right| left.0.cmp(&right.0));
        groups
    }
}
