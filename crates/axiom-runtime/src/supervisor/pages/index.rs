//! Where in an attempt's output its lines are: a mark for some of them, so that a page of it costs the page and not the output.
//!
//! Whoever watches the attempt [counts](Counter) its lines as they go by. When it is over the marks lie beside the output, unless that
//! is so short that reading all of it costs no more:
//!
//! ```text
//! lines := JSON {"lines": all lines, "marks": [mark]}     in the attempt's folder, written once
//! mark  := position and number of a frame, number of the next line to end there, time of the frame before, and of each stream's line
//!          that was begun before it what a splitter needs to go on
//! ```
//!
//! It can be lost: then the output is read from its beginning.

use std::io;
use std::path::Path;
use std::sync::Mutex;

use serde::{Deserialize, Serialize};

use crate::mux::Stream;
use crate::mux::lines::{Line, Splitter};
use crate::supervisor::lock;

/// In the attempt's folder.
const LINES: &str = "lines";
/// Bytes of output between two marks: about what a reader reads at once.
pub(super) const APART_BYTES: u64 = 256 << 10;
/// Marks of one attempt. At the limit every second one goes, and from then on they stand twice as far apart: those of a gibibyte stand
/// a mebibyte apart and take a tenth of one.
const MARKS_MAX: usize = 1024;
/// A mark keeps no more of a line than this. Where a longer one was begun there is none, and a later frame gets it.
const REST_BYTES_MAX: usize = 4 << 10;

/// Of one attempt.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Index {
    found: Mutex<Found>,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Found {
    /// All lines, when it has ended.
    lines: Option<u64>,
    marks: Vec<Mark>,
}

/// From here on output can be read without what comes before.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Mark {
    pub(super) position: u64,
    pub(super) seq: u64,
    /// The number in its attempt of the line that ends next.
    pub(super) line: u64,
    /// Of the frame before.
    pub(super) time: i64,
    begun: [Begun; 2],
}

/// A line without its end.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Begun {
    has_pieces: bool,
    rest: Vec<u8>,
}

impl Index {
    /// The last mark at or before this line; the beginning if there is none.
    pub(super) fn before(&self, line: u64) -> Mark {
        let found = lock(&self.found);
        let after = found.marks.partition_point(|mark| mark.line <= line);
        let at = after.checked_sub(1).and_then(|at| found.marks.get(at));
        at.cloned().unwrap_or_default()
    }

    /// All lines of the attempt, if it has ended and they were counted.
    pub(super) fn lines(&self) -> Option<u64> {
        lock(&self.found).lines
    }

    /// Of an attempt that has ended.
    pub(super) fn read(folder: &Path) -> Index {
        // Without it pages cost more, and are the same.
        let found = fs_err::read(folder.join(LINES)).map(|bytes| serde_json::from_slice(&bytes));
        Index {
            found: Mutex::new(found.ok().and_then(Result::ok).unwrap_or_default()),
        }
    }

    /// Lays it beside the output of an attempt that has ended, if it is of use there: there are marks, or lines that come behind
    /// (`is_followed`).
    pub(in crate::supervisor) fn write(&self, folder: &Path, is_followed: bool) -> io::Result<()> {
        let json = {
            let found = lock(&self.found);
            if found.marks.is_empty() && !is_followed {
                return Ok(());
            }
            serde_json::to_vec(&*found).map_err(io::Error::other)?
        };
        let aside = folder.join("lines.new");
        fs_err::write(&aside, json)?;
        fs_err::rename(aside, folder.join(LINES))
    }
}

impl Mark {
    /// Splitters of stdout and stderr that go on here.
    pub(super) fn splitters(self, line_bytes_max: usize) -> [Splitter; 2] {
        self.begun
            .map(|begun| Splitter::resume(line_bytes_max, begun.has_pieces, begun.rest))
    }
}

/// Counts the lines of an attempt as its output goes by, from the first byte on, and leaves marks.
#[derive(Debug)]
pub(in crate::supervisor) struct Counter {
    splitters: [Splitter; 2],
    lines: u64,
    /// Where the last mark stands, and how far from it the next one.
    marked: u64,
    apart: u64,
}

impl Counter {
    pub(in crate::supervisor) fn new(line_bytes_max: usize) -> Counter {
        Counter::apart(line_bytes_max, APART_BYTES)
    }

    pub(super) fn apart(line_bytes_max: usize, apart: u64) -> Counter {
        Counter {
            splitters: [Splitter::new(line_bytes_max), Splitter::new(line_bytes_max)],
            lines: 0,
            marked: 0,
            apart,
        }
    }

    /// A frame goes by. The next one has this position and number.
    pub(in crate::supervisor) fn frame(
        &mut self,
        stream: Stream,
        (time, bytes): (i64, &[u8]),
        (position, seq): (u64, u64),
        index: &Index,
    ) {
        let lines = &mut self.lines;
        self.splitters[nth(stream)].feed(bytes, |_: Line<'_>| *lines += 1);
        if position.saturating_sub(self.marked) < self.apart {
            return;
        }
        let states = self.splitters.each_ref().map(Splitter::state);
        if states.iter().any(|(_, rest)| rest.len() > REST_BYTES_MAX) {
            return;
        }
        self.marked = position;
        let begun = states.map(|(has_pieces, rest)| Begun {
            has_pieces,
            rest: rest.to_vec(),
        });
        let mut found = lock(&index.found);
        let marks = &mut found.marks;
        marks.push(Mark {
            position,
            seq,
            line: self.lines,
            time,
            begun,
        });
        if marks.len() >= MARKS_MAX {
            let mut is_kept = false;
            marks.retain(|_| {
                is_kept = !is_kept;
                is_kept
            });
            self.apart *= 2;
        }
    }

    /// Nothing more comes.
    pub(in crate::supervisor) fn finish(&mut self, index: &Index) {
        let lines = &mut self.lines;
        for splitter in &mut self.splitters {
            splitter.finish(|_| *lines += 1);
        }
        lock(&index.found).lines = Some(self.lines);
    }
}

/// A stream's place among both.
pub(super) fn nth(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}
