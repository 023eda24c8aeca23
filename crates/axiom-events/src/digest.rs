//! What a block holds, in brief: whose events, how many, when. Taken while the writer has the block in its hands anyway.

use std::collections::HashMap;

use crate::block::Block;
use crate::event::Level;
use crate::sample::counter::{SAMPLED_KIND, Second, Skipped};
use crate::writer::LOG_STREAM;

pub(crate) const SECOND: i64 = 1_000_000_000;
pub(crate) const MINUTE: i64 = 60 * SECOND;
pub(crate) const HOUR: i64 = 60 * MINUTE;

/// A block in brief. Names are numbers: places in `names`.
#[derive(Debug, Default)]
pub(crate) struct Digest {
    pub(crate) first_offset: u64,
    pub(crate) names: Vec<Box<str>>,
    /// Each task and how many events it has; in the order in which they came.
    pub(crate) tasks: Vec<(u32, u32)>,
    pub(crate) streams: Vec<Stretch>,
    /// All tasks together.
    pub(crate) by_second: Vec<(Cell, Count)>,
    /// Each task apart.
    pub(crate) by_hour: Vec<(Cell, Count)>,
}

/// Events of one stream in a block: their versions follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) stream: u32,
    pub(crate) first_version: u64,
    pub(crate) count: u32,
}

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Cell {
    /// Seconds, minutes or hours since 1970.
    pub(crate) time: i64,
    pub(crate) tenant: u32,
    /// [`ANY`] where tasks are counted together.
    pub(crate) task: u32,
    pub(crate) kind: u32,
    pub(crate) level: Level,
}

/// In place of a name's number.
pub(crate) const ANY: u32 = u32::MAX;

/// How many events happened, and the bytes of their bodies. Some of them may not have been kept: then a
/// [counter](crate::sample::counter) stands for them. A counter does not count for itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    /// Kept or not.
    pub events: u64,
    /// Of all of them.
    pub body_bytes: u64,
    /// Of the events, those that were not kept.
    pub skipped: u64,
    /// Of the bytes, those that were not kept.
    pub skipped_body_bytes: u64,
}

/// An event in brief.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Brief<'a> {
    pub(crate) time: i64,
    pub(crate) version: u64,
    pub(crate) tenant: u32,
    pub(crate) stream: u32,
    pub(crate) task: u32,
    pub(crate) kind: u32,
    pub(crate) level: Level,
    pub(crate) body: &'a [u8],
}

impl Digest {
    /// Of the events of a block, in order.
    pub(crate) fn new<'a>(
        first_offset: u64,
        names: Vec<Box<str>>,
        events: impl Iterator<Item = Brief<'a>>,
    ) -> Digest {
        let mut tasks = Tally::new(names.len());
        let mut streams = Tally::new(names.len());
        let mut first_versions = vec![0; names.len()];
        let mut by_second = Cells::default();
        let mut by_hour = Cells::default();
        let mut counters = Counters::new(names);
        for event in events {
            tasks.add(event.task);
            if streams.add(event.stream) {
                first_versions[event.stream as usize] = event.version;
            }
            let second = Cell {
                time: event.time.div_euclid(SECOND),
                tenant: event.tenant,
                task: ANY,
                kind: event.kind,
                level: event.level,
            };
            let mut add = |second: Cell, count: Count| {
                by_second.add(second, count);
                let hour = Cell {
                    time: second.time.div_euclid(HOUR / SECOND),
                    task: event.task,
                    ..second
                };
                by_hour.add(hour, count);
            };
            match counters.read(&event) {
                None => add(second, Count::kept(event.body.len() as u64)),
                Some((kind, seconds)) => {
                    for skipped in seconds {
                        let time = skipped.second;
                        add(Cell { time, kind, ..second }, Count::skipped(skipped));
                    }
                }
            }
        }
        let names = counters.names;
        let streams = streams.found().map(|(stream, count)| Stretch {
            stream,
            first_version: first_versions[stream as usize],
            count,
        });
        Digest {
            first_offset,
            // No task is no task.
            tasks: tasks
                .found()
                .filter(|(task, _)| !names[*task as usize].is_empty())
                .collect(),
            streams: streams.collect(),
            by_second: by_second.found(),
            by_hour: by_hour.found(),
            names,
        }
    }

    /// Of a block that was read.
    pub(crate) fn of(block: &Block) -> Digest {
        let (names, events) = block.briefs();
        Digest::new(block.offsets().start, names, events)
    }
}

/// Finds counters among events.
struct Counters {
    /// The block's, and the kinds of events that were skipped.
    names: Vec<Box<str>>,
    /// Number of the kind and of the stream that counters have, if there may be any.
    are: Option<(u32, u32)>,
    kinds: HashMap<Box<str>, u32, foldhash::fast::RandomState>,
}

impl Counters {
    fn new(names: Vec<Box<str>>) -> Counters {
        let number = |wanted: &str| {
            let place = names.iter().position(|name| &**name == wanted)?;
            u32::try_from(place).ok()
        };
        Counters {
            are: number(SAMPLED_KIND).zip(number(LOG_STREAM)),
            names,
            kinds: HashMap::default(),
        }
    }

    /// If the event is a counter: the number of the kind that it counts, and how many when.
    fn read(&mut self, event: &Brief<'_>) -> Option<(u32, Vec<Second>)> {
        if self.are != Some((event.kind, event.stream)) {
            return None;
        }
        let Skipped { kind, seconds, .. } = Skipped::read_body(event.time, event.body)?;
        if let Some(number) = self.kinds.get(&*kind) {
            return Some((*number, seconds));
        }
        let place = self.names.iter().position(|name| **name == *kind);
        let number = u32::try_from(place.unwrap_or(self.names.len())).ok()?;
        if place.is_none() {
            self.names.push(kind.as_ref().into());
        }
        self.kinds.insert(kind.as_ref().into(), number);
        Some((number, seconds))
    }
}

/// Counts by number, and remembers which came first.
struct Tally {
    counts: Vec<u32>,
    order: Vec<u32>,
}

impl Tally {
    fn new(numbers: usize) -> Tally {
        Tally {
            counts: vec![0; numbers],
            order: Vec::new(),
        }
    }

    /// True if it is the first with this number.
    fn add(&mut self, number: u32) -> bool {
        let count = &mut self.counts[number as usize];
        *count += 1;
        if *count == 1 {
            self.order.push(number);
        }
        *count == 1
    }

    fn found(&self) -> impl Iterator<Item = (u32, u32)> {
        self.order
            .iter()
            .map(|number| (*number, self.counts[*number as usize]))
    }
}

/// Counts by cell. Neighbours are often in the same one.
#[derive(Default)]
struct Cells {
    numbers: HashMap<Cell, usize, foldhash::fast::RandomState>,
    found: Vec<(Cell, Count)>,
    last: usize,
}

impl Cells {
    fn add(&mut self, cell: Cell, count: Count) {
        if self.found.get(self.last).is_none_or(|(last, _)| *last != cell) {
            self.last = *self.numbers.entry(cell).or_insert_with(|| {
                self.found.push((cell, Count::default()));
                self.found.len() - 1
            });
        }
        let (_, sum) = &mut self.found[self.last];
        *sum += count;
    }

    fn found(self) -> Vec<(Cell, Count)> {
        self.found
    }
}

impl Count {
    /// Of one event that was kept.
    fn kept(body_bytes: u64) -> Count {
        Count {
            events: 1,
            body_bytes,
            ..Count::default()
        }
    }

    /// Of events that were not.
    fn skipped(second: Second) -> Count {
        let Second {
            events, body_bytes, ..
        } = second;
        Count {
            events,
            body_bytes,
            skipped: events,
            skipped_body_bytes: body_bytes,
        }
    }
}

impl std::ops::AddAssign for Count {
    /// What a counter says is its producer's word: it must not stop the log, whatever it is.
    fn add_assign(&mut self, other: Count) {
        self.events = self.events.saturating_add(other.events);
        self.body_bytes = self.body_bytes.saturating_add(other.body_bytes);
        self.skipped = self.skipped.saturating_add(other.skipped);
        self.skipped_body_bytes = self.skipped_body_bytes.saturating_add(other.skipped_body_bytes);
    }
}
