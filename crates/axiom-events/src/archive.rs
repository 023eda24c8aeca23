//! What becomes of events that are no longer hot: the joint between this log and the tiers that take over from it.
//!
//! The log knows no tier. It is told from which offset on it counts itself ([`Shelf::hot_from`]) and asks an [`Archive`] for
//! everything before that. Readers do not see where one ends and the other begins.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::sync::Arc;

use crate::block::Block;
use crate::digest::{Cell, Count, Digest};
use crate::index::{self, Index};
use crate::segment::ReadError;

/// Older tiers, as they are now and as they will be.
pub trait Archive: fmt::Debug + Send + Sync {
    /// What they hold now. As long as somebody has it, nothing that it shows is deleted.
    fn shelf(&self) -> Arc<dyn Shelf>;

    /// Looks for what another process has changed.
    ///
    /// # Errors
    /// When what says so cannot be read.
    fn refresh(&self) -> Result<(), ReadError>;
}

/// One state of the older tiers. Every call may block: on the disk, or on a network.
pub trait Shelf: fmt::Debug + Send + Sync {
    /// From this offset on events are in the log itself.
    fn hot_from(&self) -> u64;

    /// What is held, ascending and disjoint, all of it before [`Shelf::hot_from`]. Between them events were retired.
    fn pieces(&self) -> &[Piece];

    /// The events around an offset of a piece.
    ///
    /// # Errors
    /// When they may be readable later. What is lost for good is no error but a gap.
    fn at(&self, piece: &Piece, offset: u64) -> Result<Found, ReadError>;

    /// The event at an offset of a piece, alone: as [`Shelf::at`], where it is all that is wanted.
    ///
    /// # Errors
    /// As [`Shelf::at`].
    fn event(&self, piece: &Piece, offset: u64) -> Result<Found, ReadError> {
        self.at(piece, offset)
    }

    /// Events of a task with these offsets: the first, or the last, `count_max` of them.
    ///
    /// # Errors
    /// When some of them cannot be read.
    fn task(
        &self,
        piece: &Piece,
        task: &str,
        offsets: Range<u64>,
        wanted: Wanted,
    ) -> Result<Block, ReadError>;

    /// Events of a stream with these versions: the first, or the last, `count_max` of them.
    ///
    /// # Errors
    /// When some of them cannot be read.
    fn stream(
        &self,
        piece: &Piece,
        stream: &str,
        versions: Range<u64>,
        wanted: Wanted,
    ) -> Result<Block, ReadError>;

    /// What a piece holds, in brief.
    ///
    /// # Errors
    /// When it cannot be read.
    fn summary(&self, piece: &Piece) -> Result<Arc<Summary>, ReadError>;
}

/// A range of events that lie together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// Events with these offsets are here or nowhere.
    pub offsets: Range<u64>,
    /// The earliest and the latest time of an event, nanoseconds since 1970.
    pub times: (i64, i64),
}

/// Which of the events that fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wanted {
    pub count_max: usize,
    pub end: Side,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    First,
    Last,
}

/// What is around an offset.
#[derive(Debug)]
pub enum Found {
    /// Offsets of its range that have no event in it were retired.
    Block(Block),
    Gap(Range<u64>, Missing),
}

/// Why events are not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// They were kept as long as they were meant to be.
    Retired,
    /// They should be there and cannot be read.
    Lost,
}

/// What a range of events holds, in brief: who is in it, and the totals.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct Summary {
    pub(crate) index: Index,
}

impl Summary {
    pub fn new() -> Summary {
        Summary::default()
    }

    /// Adds the next events.
    pub fn add(&mut self, block: &Block) {
        self.index.add(&Digest::of(block));
    }

    /// As it is kept in a file, for the events with these offsets. A torn one is found by its checksum.
    ///
    /// # Errors
    /// When there is no memory to compress it.
    pub fn encode(&self, offsets: Range<u64>) -> io::Result<Vec<u8>> {
        index::file::encode_file(offsets, &self.index)
    }

    /// `None` if it is not whole, or that of other events.
    pub fn decode(bytes: &[u8], offsets: Range<u64>) -> Option<Summary> {
        let index = index::file::decode_file(bytes, offsets)?;
        Some(Summary { index })
    }

    pub fn has_task(&self, task: &str) -> bool {
        self.index.task(task).is_some()
    }

    /// From a stream's first version here to the one after its last; `None` if it has no event here.
    pub fn versions(&self, stream: &str) -> Option<Range<u64>> {
        let mut postings = self.index.stream(stream)?.iter();
        let first = postings.next()?;
        let last = postings.last().unwrap_or(first);
        Some(first.first_version..last.first_version.saturating_add(u64::from(last.count)))
    }

    /// Streams that have an event here, in no order.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.next_versions().map(|(stream, _)| stream)
    }

    /// The next version of each stream.
    pub(crate) fn next_versions(&self) -> impl Iterator<Item = (&str, u64)> {
        self.index.streams.iter().filter_map(|(number, postings)| {
            let last = postings.iter().last()?;
            let next = last.first_version.saturating_add(u64::from(last.count));
            Some((self.index.names.name(*number), next))
        })
    }

    /// How many events each tenant has.
    pub fn tenants(&self) -> BTreeMap<&str, Count> {
        let mut counts: BTreeMap<&str, Count> = BTreeMap::new();
        for (cell, count) in &self.index.rollups.hours {
            *counts.entry(self.index.names.name(cell.tenant)).or_default() += *count;
        }
        counts
    }

    /// Whether there are events, and all of them are of this kind.
    pub fn is_all(&self, kind: &str) -> bool {
        let hours = &self.index.rollups.hours;
        let is_of = |cell: &Cell| self.index.names.name(cell.kind) == kind;
        !hours.is_empty() && hours.keys().all(is_of)
    }

    /// What it takes in memory, near enough for a limit.
    pub fn bytes_in_memory(&self) -> usize {
        self.index.bytes_in_memory()
    }
}
