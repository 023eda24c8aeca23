//! What a block holds, in brief: whose events, how many, when. Taken while the writer has the block in its hands anyway.

use std::collections::HashMap;
use std::hash::BuildHasher as _;

use hashbrown::HashTable;

use crate::block::Block;
use crate::event::Level;
use crate::names::Names;
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
    pub(crate) names: Names,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
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
    /// Need not be there where it is a [form](crate::form), as no counter is.
    pub(crate) body: &'a [u8],
    pub(crate) body_bytes: u32,
}

impl Digest {
    /// Of the events of a block, in order.
    pub(crate) fn new<'a>(
        first_offset: u64,
        names: Names,
        events: impl Iterator<Item = Brief<'a>>,
    ) -> Digest {
        let mut tasks = Tally::new(names.len());
        let mut streams = Tally::new(names.len());
        let mut versions = vec![(0, 0); names.len()];
        let mut by_second = Cells::default();
        let mut by_hour = TaskCells::default();
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
                let body_bytes = event.body_bytes;
                let count = Count::kept(u64::from(body_bytes));
                let place = by_second.add(second, count);
                match event.task {
                    Task::Named(task) => {
                        tasks.add(task);
                        by_hour.add(task, place, second, count);
                    }
                    Task::Alone(id) => alone.push(Alone {
                        id,
                        cell: second.hour(),
                        body_bytes,
                    }),
                }
                continue;
            };
            let task = match event.task {
                Task::Named(task) => task,
                // It stands for more than one event.
                Task::Alone(id) => counters.names.number(&task_id::name(id), None),
            };
            tasks.add(task);
            for skipped in seconds {
                let time = skipped.second;
                let (second, count) = (Cell { time, kind, ..second }, Count::skipped(skipped));
                let place = by_second.add(second, count);
                by_hour.add(task, place, second, count);
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
                .filter(|(task, _)| !names.name(*task).is_empty())
                .collect(),
            streams: streams.collect(),
            by_second: by_second.found,
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
pub(crate) fn tasks(ids: &[u128], names: &mut Names) -> Vec<Task> {
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
            tasks[first] = Task::Named(names.push(&task_id::name(id)));
        }
        tasks.push(tasks[first]);
    }
    tasks
}

/// Finds counters among events.
struct Counters {
    /// The block's, and the kinds of events that were skipped.
    names: Names,
    /// Number of the kind and of the stream that counters have, if there may be any.
    are: Option<(u32, u32)>,
}

impl Counters {
    fn new(names: Names) -> Counters {
        Counters {
            are: names.get(SAMPLED_KIND).zip(names.get(LOG_STREAM)),
            names,
        }
    }

    /// If the event is a counter: the number of the kind that it counts, and how many when.
    fn read(&mut self, event: &Brief<'_>) -> Option<(u32, Vec<Second>)> {
        if self.are != Some((event.kind, event.stream)) {
            return None;
        }
        let Skipped { kind, seconds, .. } = Skipped::read_body(event.time, event.body)?;
        Some((self.names.number(&kind, None), seconds))
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

/// Counts by hour with each task apart. Every task has few cells here, so each is found from its task on.
#[derive(Default)]
struct TaskCells {
    /// For any task: what its cells are like.
    hours: Cells,
    /// By an event's place in the cells by second: its place in `hours`.
    hours_of: Vec<Option<usize>>,
    /// By a task's number: one more than the place of its latest cell. 0 if it has none.
    latest: Vec<usize>,
    cells: Vec<TaskCell>,
}

struct TaskCell {
    task: u32,
    /// Place in the hours.
    hour: usize,
    /// As in [`TaskCells::latest`], of the cell of the same task before this one.
    before: usize,
    count: Count,
}

impl TaskCells {
    /// `place` is where `second` is among the cells by second.
    fn add(&mut self, task: u32, place: usize, second: Cell, count: Count) {
        if place >= self.hours_of.len() {
            self.hours_of.resize(place + 1, None);
        }
        let hours = &mut self.hours;
        let hour = *self.hours_of[place].get_or_insert_with(|| hours.add(second.hour(), Count::default()));
        if task as usize >= self.latest.len() {
            self.latest.resize(task as usize + 1, 0);
        }
        let latest = &mut self.latest[task as usize];
        let mut next = *latest;
        while let Some(cell) = next.checked_sub(1).map(|place| &mut self.cells[place]) {
            if cell.hour == hour {
                cell.count += count;
                return;
            }
            next = cell.before;
        }
        self.cells.push(TaskCell {
            task,
            hour,
            before: *latest,
            count,
        });
        *latest = self.cells.len();
    }

    fn found(&self) -> Vec<(Cell, Count)> {
        let cells = self.cells.iter().map(|cell| {
            let (of_any, _) = self.hours.found[cell.hour];
            (
                Cell {
                    task: cell.task,
                    ..of_any
                },
                cell.count,
            )
        });
        cells.collect()
    }
}

/// Counts by cell. Neighbours are often in the same one.
#[derive(Default)]
struct Cells {
    hashing: foldhash::fast::RandomState,
    /// Places in `found`.
    places: HashTable<usize>,
    found: Vec<(Cell, Count)>,
    last: usize,
}

impl Cells {
    /// Says where the cell is among those that were found.
    fn add(&mut self, cell: Cell, count: Count) -> usize {
        if self.found.get(self.last).is_none_or(|(last, _)| *last != cell) {
            let Cells {
                hashing,
                places,
                found,
                last,
            } = self;
            let entry = places.entry(
                hashing.hash_one(cell),
                |place| found[*place].0 == cell,
                |place| hashing.hash_one(found[*place].0),
            );
            *last = *entry.or_insert(found.len()).get();
            if *last == found.len() {
                found.push((cell, Count::default()));
            }
        }
        let (_, sum) = &mut self.found[self.last];
        *sum += count;
        self.last
    }
}

/// In two steps in place of five: a block has thousands of cells.
impl std::hash::Hash for Cell {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        let Cell {
            time,
            tenant,
            task,
            kind,
            level,
        } = *self;
        hasher.write_u64(time.cast_unsigned() ^ u64::from(tenant) << 40 ^ (level as u64) << 60);
        hasher.write_u64(u64::from(task) << 32 | u64::from(kind));
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
