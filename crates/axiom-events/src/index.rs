//! What a segment holds and where: which blocks have events of a task or a stream, and how many events of what sort there
//! were when.
//!
//! A segment that is being written has its index in memory, block by block as they become durable. When it is sealed the
//! index goes into a file beside it ([`file`]). That file is derived: where it is missing or damaged, the segment is read.

pub(crate) mod file;

mod alone;

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use crate::block::varint;
use crate::digest::{ANY, Cell, Count, Digest, HOUR, MINUTE, SECOND};
use crate::names::Names;
use crate::task_id;

use alone::Alone;

/// The index of one segment.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Index {
    pub(crate) names: Names,
    /// First offset of each block.
    pub(crate) blocks: Vec<u64>,
    /// By the task's number: the blocks with its events, ascending, and how many there are.
    pub(crate) tasks: HashMap<u32, Postings, foldhash::fast::FixedState>,
    pub(crate) streams: HashMap<u32, Postings, foldhash::fast::FixedState>,
    pub(crate) rollups: Rollups,
    /// Tasks that are numbers and have one event in the segment. They are in none of the above but the rollups of all
    /// tasks together.
    pub(crate) alone: Alone,
    /// Tasks that are numbers and have a name above.
    named: HashSet<u128, foldhash::fast::FixedState>,
}

/// Totals by time. The same events are in all of them.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Rollups {
    /// All tasks together.
    pub(crate) seconds: Cells,
    pub(crate) minutes: Cells,
    pub(crate) hours: Cells,
    /// Each task apart, but those that are [`Index::alone`].
    pub(crate) task_hours: Cells,
}

pub(crate) type Cells = HashMap<Cell, Count, foldhash::fast::FixedState>;

/// Some events of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Posting {
    /// Place in [`Index::blocks`].
    pub(crate) block: u32,
    /// Version of the first; 0 where there are no versions.
    pub(crate) first_version: u64,
    /// How many events; of a stream, how many versions from the first to the last.
    pub(crate) count: u32,
}

/// Postings of a task or a stream, ascending, as they are in the file too: for each three numbers, block and version as the
/// difference to what they would be if it followed on the one before, and the count. Mostly three bytes.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Postings {
    bytes: Vec<u8>,
    next_block: u32,
    next_version: u64,
}

impl Postings {
    /// A block that names something twice, which no writer does, is listed once.
    pub(crate) fn push(&mut self, posting: Posting) {
        if posting.block < self.next_block {
            return;
        }
        varint::push(&mut self.bytes, u64::from(posting.block - self.next_block));
        varint::push(
            &mut self.bytes,
            posting.first_version.wrapping_sub(self.next_version),
        );
        varint::push(&mut self.bytes, u64::from(posting.count));
        self.next_block = posting.block + 1;
        self.next_version = posting.first_version.wrapping_add(u64::from(posting.count));
    }

    /// Takes over what [`Postings::bytes`] gave; `None` if it is anything else, or of more than so many blocks.
    pub(crate) fn read(bytes: &[u8], blocks: usize) -> Option<Postings> {
        let mut read = Postings::default();
        let unchecked = Postings {
            bytes: bytes.to_vec(),
            ..Postings::default()
        };
        for posting in unchecked.iter() {
            if posting.block as usize >= blocks {
                return None;
            }
            read.push(posting);
        }
        (read.bytes == bytes).then_some(read)
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = Posting> {
        let mut rest = self.bytes.as_slice();
        let (mut next_block, mut next_version) = (0u32, 0u64);
        std::iter::from_fn(move || {
            let block = next_block.checked_add(u32::try_from(varint::take(&mut rest)?).ok()?)?;
            let first_version = next_version.wrapping_add(varint::take(&mut rest)?);
            let count = u32::try_from(varint::take(&mut rest)?).ok()?;
            next_block = block.checked_add(1)?;
            next_version = first_version.wrapping_add(u64::from(count));
            Some(Posting {
                block,
                first_version,
                count,
            })
        })
    }
}

impl Index {
    /// Adds the segment's next block.
    pub(crate) fn add(&mut self, digest: &Digest) {
        let block = u32::try_from(self.blocks.len()).expect("a segment holds fewer blocks than bytes");
        self.blocks.push(digest.first_offset);
        // The numbers of tasks that are named here may have been alone before.
        for (task, _) in &digest.tasks {
            if let Some(id) = task_id::read(digest.names.name(*task)) {
                self.name(id);
            }
        }
        let ours: Vec<u32> = self.names.numbers_of(&digest.names).collect();
        let ours = |number: u32| if number == ANY { ANY } else { ours[number as usize] };
        for (task, count) in &digest.tasks {
            self.tasks.entry(ours(*task)).or_default().push(Posting {
                block,
                first_version: 0,
                count: *count,
            });
        }
        for stretch in &digest.streams {
            self.streams
                .entry(ours(stretch.stream))
                .or_default()
                .push(Posting {
                    block,
                    first_version: stretch.first_version,
                    count: stretch.versions,
                });
        }
        let cell = |cell: &Cell| Cell {
            time: cell.time,
            tenant: ours(cell.tenant),
            task: ours(cell.task),
            kind: ours(cell.kind),
            level: cell.level,
        };
        for (of, count) in &digest.by_second {
            self.rollups.add(cell(of), *count);
        }
        for (of, count) in &digest.by_hour {
            *self.rollups.task_hours.entry(cell(of)).or_default() += *count;
        }
        for of in &digest.alone {
            let (id, body_bytes) = (of.id, of.body_bytes);
            let cell = cell(&of.cell);
            let is_alone = !self.named.contains(&id) && self.alone.add(id, block, cell, body_bytes);
            if !is_alone {
                let task = self.name(id);
                self.add_event(task, block, cell, body_bytes);
            }
        }
    }

    /// The name's number of a task that is a number and is alone no more.
    fn name(&mut self, id: u128) -> u32 {
        let task = self.names.number(&task_id::name(id), None);
        if self.named.insert(id)
            && let Some((block, cell, body_bytes)) = self.alone.remove(id)
        {
            self.add_event(task, block, cell, body_bytes);
        }
        task
    }

    /// Adds what is apart for each task.
    fn add_event(&mut self, task: u32, block: u32, cell: Cell, body_bytes: u32) {
        self.tasks.entry(task).or_default().push(Posting {
            block,
            first_version: 0,
            count: 1,
        });
        let count = Count::kept(u64::from(body_bytes));
        *self.rollups.task_hours.entry(Cell { task, ..cell }).or_default() += count;
    }

    pub(crate) fn task(&self, task: &str) -> Option<Cow<'_, Postings>> {
        let named = self.names.get(task).and_then(|number| self.tasks.get(&number));
        if let Some(postings) = named {
            return Some(Cow::Borrowed(postings));
        }
        let (block, ..) = self.alone.get(task_id::read(task)?)?;
        let mut postings = Postings::default();
        postings.push(Posting {
            block,
            first_version: 0,
            count: 1,
        });
        Some(Cow::Owned(postings))
    }

    pub(crate) fn stream(&self, stream: &str) -> Option<&Postings> {
        self.streams.get(&self.names.get(stream)?)
    }

    /// Offset of a block's first event.
    pub(crate) fn first_offset(&self, posting: Posting) -> u64 {
        self.blocks[posting.block as usize]
    }

    /// What it takes in memory, near enough for a limit.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        const ENTRY_BYTES: usize = 72;
        let cells: usize = self.rollups.all().into_iter().map(Cells::len).sum();
        let entries = self.tasks.len() + self.streams.len() + cells;
        let postings = self.tasks.values().chain(self.streams.values());
        let postings: usize = postings.map(|postings| postings.bytes.capacity()).sum();
        self.names.bytes()
            + self.blocks.len() * 8
            + postings
            + entries * ENTRY_BYTES
            + self.alone.bytes_in_memory()
    }
}

impl Rollups {
    /// Adds events of one second.
    fn add(&mut self, second: Cell, count: Count) {
        let in_units = |unit: i64| Cell {
            time: second.time.div_euclid(unit / SECOND),
            ..second
        };
        *self.seconds.entry(second).or_default() += count;
        *self.minutes.entry(in_units(MINUTE)).or_default() += count;
        *self.hours.entry(in_units(HOUR)).or_default() += count;
    }

    pub(crate) fn all(&self) -> [&Cells; 4] {
        [&self.seconds, &self.minutes, &self.hours, &self.task_hours]
    }

    pub(crate) fn all_mut(&mut self) -> [&mut Cells; 4] {
        [
            &mut self.seconds,
            &mut self.minutes,
            &mut self.hours,
            &mut self.task_hours,
        ]
    }
}
