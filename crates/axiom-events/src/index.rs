//! What a segment holds and where: which blocks have events of a task or a stream, and how many events of what sort there
//! were when.
//!
//! A segment that is being written has its index in memory, block by block as they become durable. When it is sealed the
//! index goes into a file beside it ([`file`]). That file is derived: where it is missing or damaged, the segment is read.

pub(crate) mod file;

use std::collections::HashMap;

use crate::digest::{ANY, Cell, Count, Digest};

/// The index of one segment.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Index {
    pub(crate) names: Names,
    /// First offset of each block.
    pub(crate) blocks: Vec<u64>,
    /// By the task's number: the blocks with its events, ascending, and how many there are.
    pub(crate) tasks: HashMap<u32, Vec<Posting>, foldhash::fast::FixedState>,
    pub(crate) streams: HashMap<u32, Vec<Versions>, foldhash::fast::FixedState>,
    /// By second, all tasks together.
    pub(crate) by_second: HashMap<Cell, Count, foldhash::fast::FixedState>,
    /// By minute and task.
    pub(crate) by_minute: HashMap<Cell, Count, foldhash::fast::FixedState>,
}

/// Some events of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Posting {
    /// Place in [`Index::blocks`].
    pub(crate) block: u32,
    pub(crate) count: u32,
}

/// Events of a stream in a block: their versions follow one another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Versions {
    pub(crate) posting: Posting,
    pub(crate) first: u64,
}

/// Distinct names and their numbers.
#[derive(Debug, Default, Clone, PartialEq)]
pub(crate) struct Names {
    numbers: HashMap<Box<str>, u32, foldhash::fast::FixedState>,
    pub(crate) list: Vec<Box<str>>,
    bytes: usize,
}

impl Index {
    /// Adds the segment's next block.
    pub(crate) fn add(&mut self, digest: &Digest) {
        let block = u32::try_from(self.blocks.len()).expect("a segment holds fewer blocks than bytes");
        self.blocks.push(digest.first_offset);
        let ours: Vec<u32> = digest.names.iter().map(|name| self.names.number(name)).collect();
        let ours = |number: u32| if number == ANY { ANY } else { ours[number as usize] };
        for (task, count) in &digest.tasks {
            let posting = Posting { block, count: *count };
            self.tasks.entry(ours(*task)).or_default().push(posting);
        }
        for stretch in &digest.streams {
            let posting = Posting {
                block,
                count: stretch.count,
            };
            let first = stretch.first_version;
            let stream = self.streams.entry(ours(stretch.stream)).or_default();
            stream.push(Versions { posting, first });
        }
        let cell = |cell: &Cell| Cell {
            time: cell.time,
            tenant: ours(cell.tenant),
            task: ours(cell.task),
            kind: ours(cell.kind),
            level: cell.level,
        };
        for (of, count) in &digest.by_second {
            *self.by_second.entry(cell(of)).or_default() += *count;
        }
        for (of, count) in &digest.by_minute {
            *self.by_minute.entry(cell(of)).or_default() += *count;
        }
    }

    /// The blocks with events of a task, ascending.
    pub(crate) fn task(&self, task: &str) -> &[Posting] {
        let postings = self.names.get(task).and_then(|number| self.tasks.get(&number));
        postings.map(Vec::as_slice).unwrap_or_default()
    }

    /// The blocks with events of a stream, ascending.
    pub(crate) fn stream(&self, stream: &str) -> &[Versions] {
        let versions = self
            .names
            .get(stream)
            .and_then(|number| self.streams.get(&number));
        versions.map(Vec::as_slice).unwrap_or_default()
    }

    /// What it takes in memory, near enough for a limit.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        const ENTRY_BYTES: usize = 48;
        let entries = self.tasks.len() + self.streams.len() + self.by_second.len() + self.by_minute.len();
        let postings: usize = self.tasks.values().map(Vec::len).sum();
        let versions: usize = self.streams.values().map(Vec::len).sum();
        self.names.bytes
            + self.blocks.len() * 8
            + postings * size_of::<Posting>()
            + versions * size_of::<Versions>()
            + entries * ENTRY_BYTES
    }
}

impl Names {
    pub(crate) fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.list.len()).expect("a segment holds fewer names than bytes");
        self.numbers.insert(name.into(), number);
        self.list.push(name.into());
        self.bytes += 2 * (name.len() + size_of::<Box<str>>());
        number
    }

    pub(crate) fn get(&self, name: &str) -> Option<u32> {
        self.numbers.get(name).copied()
    }

    pub(crate) fn name(&self, number: u32) -> &str {
        &self.list[number as usize]
    }
}
