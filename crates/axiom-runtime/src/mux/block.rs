//! The lines of one write, in one piece of memory, shared by everybody who has not read them yet.

use std::sync::Arc;

use super::hub::TASK_ID_BYTES_MAX;
use super::lines::{End, Line, Part};

/// Which of a task's two outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stream {
    Stdout,
    Stderr,
}

/// Consecutive lines of one stream of one task, which came at the same time.
#[derive(Debug)]
pub struct Block {
    task: Arc<str>,
    stream: Stream,
    time_ns: i64,
    first: u64,
    /// The lines with their ends, exactly as the task wrote them.
    text: Box<[u8]>,
    /// For each line where it ends in `text`, times 16, and with that its [`Part`] and its [`End`].
    marks: Box<[u32]>,
}

/// One line of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Numbered<'a> {
    /// Its number among all lines of its task, both streams together: the order in which they came.
    pub sequence: u64,
    pub line: Line<'a>,
}

/// A block in the making.
#[derive(Debug, Default)]
pub(super) struct Draft {
    /// How much text is to be expected, once a line comes.
    text_bytes: usize,
    text: Vec<u8>,
    marks: Vec<u32>,
}

/// What a block takes beside text and marks: itself, what the allocator adds to its three pieces, its places in queues, and
/// its task's id, which may live for it alone.
pub(super) const BLOCK_BYTES: usize = size_of::<Block>() + 128 + TASK_ID_BYTES_MAX;
/// What a line takes beside its text.
pub(super) const MARK_BYTES: usize = size_of::<u32>();

const PARTS: [Part; 4] = [Part::Whole, Part::Begin, Part::Middle, Part::Last];
const ENDS: [End; 4] = [End::None, End::Lf, End::CrLf, End::Cr];

impl Block {
    pub fn task(&self) -> &Arc<str> {
        &self.task
    }

    pub fn stream(&self) -> Stream {
        self.stream
    }

    /// When the bytes were read from the pipe: nanoseconds since 1970.
    pub fn time_ns(&self) -> i64 {
        self.time_ns
    }

    /// The first line's sequence number; the others follow without a gap.
    pub fn first(&self) -> u64 {
        self.first
    }

    /// How many lines there are; at least one.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Never: a block without lines is not made.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// What the task wrote, byte for byte.
    pub fn raw(&self) -> &[u8] {
        &self.text
    }

    pub fn lines(&self) -> impl Iterator<Item = Numbered<'_>> {
        self.lines_from(0)
    }

    /// Without the first `skipped` lines.
    pub fn lines_from(&self, skipped: usize) -> impl Iterator<Item = Numbered<'_>> {
        let before = skipped.checked_sub(1).and_then(|last| self.marks.get(last));
        let mut start = before.map_or(0, |mark| (mark >> 4) as usize);
        let numbered = (self.first..).zip(self.marks.iter()).skip(skipped);
        numbered.map(move |(sequence, mark)| {
            let end = (mark >> 4) as usize;
            let line = Line {
                raw: &self.text[start..end],
                end: ENDS[(mark & 3) as usize],
                part: PARTS[(mark >> 2 & 3) as usize],
            };
            start = end;
            Numbered { sequence, line }
        })
    }

    /// What it takes in memory.
    pub fn bytes(&self) -> usize {
        BLOCK_BYTES + self.text.len() + self.marks.len() * MARK_BYTES
    }
}

impl Draft {
    /// For at most so much text. Takes no memory before the first line.
    pub(super) fn for_bytes(text_bytes: usize) -> Self {
        Draft {
            text_bytes,
            ..Draft::default()
        }
    }

    pub(super) fn push(&mut self, line: Line<'_>) {
        if self.marks.is_empty() {
            self.text.reserve_exact(self.text_bytes);
        }
        self.text.extend_from_slice(line.raw);
        let end = u32::try_from(self.text.len())
            .expect("a write and what was kept before it are far below 256 MiB");
        self.marks
            .push(end << 4 | (line.part as u32) << 2 | line.end as u32);
    }

    /// What the block will take; nothing if no line was pushed.
    pub(super) fn bytes(&self) -> usize {
        match self.marks.len() {
            0 => 0,
            lines => BLOCK_BYTES + self.text.len() + lines * MARK_BYTES,
        }
    }

    /// None if no line was pushed.
    pub(super) fn finish(self, task: Arc<str>, stream: Stream, time_ns: i64, first: u64) -> Option<Block> {
        (!self.marks.is_empty()).then(|| Block {
            task,
            stream,
            time_ns,
            first,
            text: self.text.into_boxed_slice(),
            marks: self.marks.into_boxed_slice(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_back_as_they_were_pushed() {
        let mut lines = Vec::new();
        for (part, end) in PARTS
            .iter()
            .flat_map(|part| ENDS.iter().map(move |end| (*part, *end)))
        {
            let raw = &b"text\r\n"[..lines.len() % 7];
            lines.push(Line { raw, end, part });
        }
        let mut draft = Draft::default();
        lines.iter().for_each(|line| draft.push(*line));
        let bytes = draft.bytes();
        let block = draft.finish("t".into(), Stream::Stderr, 7, 100).unwrap();
        let numbered = |skipped: usize| (100..).zip(lines.iter().copied()).skip(skipped);
        for skipped in [0, 1, 15, 16] {
            let expected = numbered(skipped).map(|(sequence, line)| Numbered { sequence, line });
            assert!(block.lines_from(skipped).eq(expected), "{skipped}");
        }
        assert_eq!(block.bytes(), bytes);
        assert_eq!(
            block
                .lines()
                .map(|numbered| numbered.line.raw.len())
                .sum::<usize>(),
            block.raw().len()
        );
        assert!(
            Draft::default()
                .finish("t".into(), Stream::Stdout, 7, 0)
                .is_none()
        );
    }
}
