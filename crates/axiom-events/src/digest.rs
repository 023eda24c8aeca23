//! What a block holds, in brief: whose events, how many, when. Taken while the writer has the block in its hands anyway.

use std::collections::HashMap;

use crate::block::Block;
use crate::event::Level;
use crate::sample::counter::{SAMPLED_KIND, Second, Skipped};
use crate::task_id;
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
    /// Each task apart, but those in `alone`.
    pub(crate) by_hour: Vec<(Cell, Count)>,
    /// Tasks that are numbers and have one event here.
    pub(crate) alone: Vec<Alone>,
}

/// Which task an event is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Task {
    Named(u32),
    /// A number, of which the block has no other event.
    Alone(u128),
}

/// The one event of a task that is a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Alone {
    pub(crate) id: u128,
    /// By the hour, for [`ANY`] task.
    pub(crate) cell: Cell,
    pub(crate) body_bytes: u32,
}

/// Events of one stream in a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stretch {
    pub(crate) stream: u32,
    pub(crate) first_version: u64,
    /// From the first to the last. As many events as that, but where an older tier has retired some of them.
    pub(crate) versions: u32,
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
    pub(crate) task: Task,
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
        let mut versions = vec![(0, 0); names.len()];
        let mut by_second = Cells::default();
        let mut by_hour = Cells::default();
        let mut counters = Counters::new(names);
        let mut alone = Vec::new();
        for event in events {
            let is_first = streams.add(event.stream);
            let (first, last) = &mut versions[event.stream as usize];
            *last = event.version;
            if is_first {
                *first = event.version;
            }
            let second = Cell {
                time: event.time.div_euclid(SECOND),
                tenant: event.tenant,
                task: ANY,
                kind: event.kind,
                level: event.level,
            };
            let Some((kind, seconds)) = counters.read(&event) else {
                let hour = second.hour();
                let body_bytes = u32::try_from(event.body.len()).unwrap_or(u32::MAX);
                let count = Count::kept(u64::from(body_bytes));
                by_second.add(second, count);
                match event.task {
                    Task::Named(task) => {
                        tasks.add(task);
                        by_hour.add(Cell { task, ..hour }, count);
                    }
                    Task::Alone(id) => alone.push(Alone {
                        id,
                        cell: hour,
                        body_bytes,
                    }),
                }
                continue;
            };
            let task = match event.task {
                Task::Named(task) => task,
                // It stands for more than one event.
                Task::Alone(id) => counters.name(task_id::name(id).into()),
            };
            tasks.add(task);
            for skipped in seconds {
                let time = skipped.second;
                let (second, count) = (Cell { time, kind, ..second }, Count::skipped(skipped));
                by_second.add(second, count);
                by_hour.add(
                    Cell {
                        task,
                        ..second.hour()
                    },
                    count,
                );
            }
        }
        let names = counters.names;
        let streams = streams.found().map(|(stream, _)| {
            let (first, last) = versions[stream as usize];
            let versions = last.saturating_sub(first).saturating_add(1);
            Stretch {
                stream,
                first_version: first,
                versions: u32::try_from(versions).unwrap_or(u32::MAX),
            }
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
            alone,
            names,
        }
    }

    /// Of a block that was read.
    pub(crate) fn of(block: &Block) -> Digest {
        let (names, events) = block.briefs();
        Digest::new(block.offsets().start, names, events)
    }
}

/// The tasks of a block's events, of those whose tasks are numbers. One with several events gets a name.
pub(crate) fn tasks(ids: &[u128], names: &mut Vec<Box<str>>) -> Vec<Task> {
    let mut first_places: HashMap<u128, usize, foldhash::fast::RandomState> = HashMap::default();
    first_places.reserve(ids.len());
    let mut tasks: Vec<Task> = Vec::with_capacity(ids.len());
    for (place, id) in ids.iter().enumerate() {
        let first = *first_places.entry(*id).or_insert(place);
        if first == place {
            tasks.push(Task::Alone(*id));
            continue;
        }
        if let Task::Alone(id) = tasks[first] {
            let number = u32::try_from(names.len()).expect("a block holds fewer names than bytes");
            names.push(task_id::name(id).into());
            tasks[first] = Task::Named(number);
        }
        tasks.push(tasks[first]);
    }
    tasks
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
        let number = match place {
            Some(place) => u32::try_from(place).ok()?,
            None => self.name(kind.as_ref().into()),
        };
        self.kinds.insert(kind.as_ref().into(), number);
        Some((number, seconds))
    }

    /// Adds a name that the block does not have, and gives its number.
    fn name(&mut self, name: Box<str>) -> u32 {
        self.names.push(name);
        u32::try_from(self.names.len() - 1).expect("a block holds fewer names than bytes")
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
        let number_of = number as usize;
        if number_of >= self.counts.len() {
            self.counts.resize(number_of + 1, 0);
        }
        let count = &mut self.counts[number_of];
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

impl Cell {
    /// The hour that a second is in.
    fn hour(self) -> Cell {
        let time = self.time.div_euclid(HOUR / SECOND);
        Cell { time, ..self }
    }
}

impl Count {
    /// Of one event that was kept.
    pub(crate) fn kept(body_bytes: u64) -> Count {
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
