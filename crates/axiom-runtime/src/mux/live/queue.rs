//! What waits for one reader: first what it has missed, then lines, the oldest first.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use super::{Lines, Missed, News};

#[derive(Debug)]
pub(super) struct Queue {
    bytes_max: usize,
    lines: VecDeque<Lines>,
    lines_bytes: usize,
    /// By task. Lines are always lost from the front, so all of them are older than what waits.
    missed: BTreeMap<Arc<str>, Missed>,
    missed_more: u64,
}

/// What is remembered of a task takes about this, its id included.
pub(super) const MISSED_BYTES: usize = 256;

impl Queue {
    pub(super) fn new(bytes_max: usize) -> Self {
        Queue {
            bytes_max,
            lines: VecDeque::new(),
            lines_bytes: 0,
            missed: BTreeMap::new(),
            missed_more: 0,
        }
    }

    /// Adds the newest lines. The oldest are lost if they do not fit.
    pub(super) fn push(&mut self, lines: Lines) {
        self.lines_bytes += lines.block.bytes();
        self.lines.push_back(lines);
        while self.bytes() > self.bytes_max {
            let Some(oldest) = self.lines.pop_front() else {
                break;
            };
            self.lines_bytes -= oldest.block.bytes();
            self.miss(&oldest);
        }
    }

    /// Adds lines that are older than all others. False if they do not fit.
    pub(super) fn push_front(&mut self, lines: Lines) -> bool {
        let bytes = lines.block.bytes();
        let fits = self.bytes() + bytes <= self.bytes_max;
        if fits {
            self.lines_bytes += bytes;
            self.lines.push_front(lines);
        }
        fits
    }

    pub(super) fn pop(&mut self) -> Option<News> {
        if let Some((_, missed)) = self.missed.pop_first() {
            return Some(News::Missed(missed));
        }
        if self.missed_more > 0 {
            let lines = std::mem::take(&mut self.missed_more);
            return Some(News::MissedMore { lines });
        }
        let lines = self.lines.pop_front()?;
        self.lines_bytes -= lines.block.bytes();
        Some(News::Lines(lines))
    }

    pub(super) fn bytes(&self) -> usize {
        self.lines_bytes + self.missed.len() * MISSED_BYTES
    }

    fn miss(&mut self, lost: &Lines) {
        let (skipped, lines) = (lost.skipped as u64, lost.len() as u64);
        let first = lost.block.first() + skipped;
        let last = first + lines - 1;
        if let Some(missed) = self.missed.get_mut(lost.task()) {
            missed.last = last;
            missed.lines += lines;
        } else if (self.missed.len() + 1) * MISSED_BYTES <= self.bytes_max / 2 {
            let task = Arc::clone(lost.task());
            let missed = Missed {
                task,
                first,
                last,
                lines,
            };
            self.missed.insert(Arc::clone(lost.task()), missed);
        } else {
            self.missed_more += lines;
        }
    }
}
