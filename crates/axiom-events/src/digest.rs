//! What a block holds, in brief: whose events, how many, when. Taken while the writer has the block in its hands anyway.

use std::collections::HashMap;

use crate::block::Block;
use crate::event::Level;
use crate::task_id;

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

/// How many events, and the bytes of their bodies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    pub events: u64,
    pub body_bytes: u64,
}

/// An event in brief.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Brief {
    pub(crate) time: i64,
    pub(crate) version: u64,
    pub(crate) tenant: u32,
    pub(crate) stream: u32,
    pub(crate) task: Task,
    pub(crate) kind: u32,
    pub(crate) level: Level,
    pub(crate) body_bytes: u32,
}

impl Digest {
    /// Of the events of a block, in order.
    pub(crate) fn new(
        first_offset: u64,
        names: Vec<Box<str>>,
        events: impl Iterator<Item = Brief>,
    ) -> Digest {
        let mut tasks = Tally::new(names.len());
        let mut streams = Tally::new(names.len());
        let mut first_versions = vec![0; names.len()];
        let mut by_second = Cells::default();
        let mut by_hour = Cells::default();
        let mut alone = Vec::new();
        for event in events {
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
            let hour = Cell {
                time: event.time.div_euclid(HOUR),
                ..second
            };
            by_second.add(second, event.body_bytes);
            match event.task {
                Task::Named(task) => {
                    tasks.add(task);
                    by_hour.add(Cell { task, ..hour }, event.body_bytes);
                }
                Task::Alone(id) => alone.push(Alone {
                    id,
                    cell: hour,
                    body_bytes: event.body_bytes,
                }),
            }
        }
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
    fn add(&mut self, cell: Cell, body_bytes: u32) {
        if self.found.get(self.last).is_none_or(|(last, _)| *last != cell) {
            self.last = *self.numbers.entry(cell).or_insert_with(|| {
                self.found.push((cell, Count::default()));
                self.found.len() - 1
            });
        }
        let (_, count) = &mut self.found[self.last];
        count.events += 1;
        count.body_bytes += u64::from(body_bytes);
    }

    fn found(self) -> Vec<(Cell, Count)> {
        self.found
    }
}

impl std::ops::AddAssign for Count {
    fn add_assign(&mut self, other: Count) {
        self.events += other.events;
        self.body_bytes += other.body_bytes;
    }
}
