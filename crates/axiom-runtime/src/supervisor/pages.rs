//! What a task has said, from its files: for those who ask for some of it now and then. A page costs about the page, however much came
//! before it: see [`index`].

pub(super) mod index;

#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axiom_core::spawn;
use axiom_sandbox::output::{Next, Reader, Source};

use super::{Shared, Unknown};
use crate::mux::Stream;
use crate::mux::lines::Line;
use index::{Index, Mark, nth};

/// The file of frames in an attempt's folder.
const OUTPUT: &str = "output";
/// Bytes of text that one page has at most.
const PAGE_BYTES_MAX: usize = 1 << 20;

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    /// At the line of this number.
    Line(u64),
    /// So many lines before the end.
    Last(usize),
}

/// Some lines of a task.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page {
    pub lines: Vec<PageLine>,
    /// The number of the line that comes next.
    pub next: u64,
    /// Whether there is nothing more, for now.
    pub is_end: bool,
    /// What it has said of a line that has no end yet: a prompt, perhaps.
    pub unfinished: String,
    /// Some of its output was lost on the disk.
    pub damaged: Option<&'static str>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageLine {
    /// Its number among all lines of the task, from 0: both outputs together, all attempts one after the other.
    pub number: u64,
    pub stream: Stream,
    /// When it was read, nanoseconds since 1970.
    pub time: i64,
    /// Without its end. What is no UTF-8 is replaced.
    pub text: String,
}

/// Why there are no lines.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error("what task {id} has said cannot be read")]
    Disk {
        id: Arc<str>,
        #[source]
        error: io::Error,
    },
}

pub(super) async fn read(shared: &Shared, id: &str, from: From, lines_max: usize) -> Result<Page, PageError> {
    let (id, attempts, has_ended, index) = {
        let table = shared.table();
        let entry = table.entry(id)?;
        let has_ended = entry.ending().is_some();
        let index = entry.progress.index();
        (Arc::clone(&entry.id), entry.attempt, has_ended, index)
    };
    let folders: Vec<PathBuf> = (1..=attempts)
        .map(|attempt| shared.ledger.attempt(&id, attempt))
        .collect();
    let line_bytes_max = shared.options.mux.line_bytes_max;
    let reading = spawn::blocking(move || {
        let mut output = Output::new(&folders, index, line_bytes_max, has_ended);
        output.page(from, lines_max)
    });
    let read = reading.join().await;
    read.unwrap_or_else(|| Err(io::Error::other("reading it failed")))
        .map_err(|error| PageError::Disk { id, error })
}

/// All attempts of a task, one after the other.
struct Output {
    attempts: Vec<Attempt>,
    line_bytes_max: usize,
    has_ended: bool,
    /// Bytes that were read from the disk.
    read_bytes: u64,
}

struct Attempt {
    output: PathBuf,
    index: Arc<Index>,
}

impl Output {
    /// The last attempt may be watched at the moment, and has its index then.
    fn new(
        folders: &[PathBuf],
        watched: Option<Arc<Index>>,
        line_bytes_max: usize,
        has_ended: bool,
    ) -> Output {
        let mut attempts: Vec<Attempt> = folders
            .iter()
            .map(|folder| Attempt {
                output: folder.join(OUTPUT),
                index: Arc::default(),
            })
            .collect();
        let last = attempts.len().checked_sub(1).filter(|_| watched.is_some());
        for (at, (attempt, folder)) in attempts.iter_mut().zip(folders).enumerate() {
            attempt.index = match (&watched, last == Some(at)) {
                (Some(watched), true) => Arc::clone(watched),
                _ => Arc::new(Index::read(folder)),
            };
        }
        Output {
            attempts,
            line_bytes_max,
            has_ended,
            read_bytes: 0,
        }
    }

    fn page(&mut self, from: From, lines_max: usize) -> io::Result<Page> {
        let count = match from {
            From::Line(first) => return Ok(self.read(first, from, lines_max)?.0),
            From::Last(count) => count.min(lines_max),
        };
        // From the last mark there is, which says where the end is.
        let (page, is_cut) = self.read(u64::MAX, from, lines_max)?;
        if is_cut || page.lines.len() >= count || page.lines.len() as u64 == page.next {
            return Ok(page);
        }
        let first = page.next.saturating_sub(count as u64);
        Ok(self.read(first, from, lines_max)?.0)
    }

    /// Reads from the last mark before the line `start`, to the end or until the page is full. True with it if there were more lines
    /// than a page has bytes for.
    fn read(&mut self, start: u64, from: From, lines_max: usize) -> io::Result<(Page, bool)> {
        let mut gather = Gather {
            from,
            lines_max,
            lines: VecDeque::new(),
            bytes: 0,
            next: 0,
            is_full: false,
            is_cut: false,
        };
        let mut rest = Rest::default();
        for (at, attempt) in self.attempts.iter().enumerate() {
            let is_last = at + 1 == self.attempts.len();
            let base = gather.next;
            if let Some(lines) = attempt.index.lines().filter(|_| !is_last)
                && base.saturating_add(lines) <= start
            {
                gather.next = base + lines;
                continue;
            }
            let mark = attempt.index.before(start.saturating_sub(base));
            gather.next = base + mark.line;
            let is_over = self.has_ended || !is_last;
            self.read_bytes += attempt.read(mark, self.line_bytes_max, is_over, &mut gather, &mut rest)?;
        }
        let page = Page {
            next: gather.next,
            is_end: !gather.is_full,
            lines: gather.lines.into(),
            unfinished: rest.unfinished,
            damaged: rest.damaged,
        };
        Ok((page, gather.is_cut))
    }
}

/// What there is beside lines.
#[derive(Default)]
struct Rest {
    unfinished: String,
    damaged: Option<&'static str>,
}

impl Attempt {
    /// Reads from a mark on. Gives how many bytes that took.
    fn read(
        &self,
        mark: Mark,
        line_bytes_max: usize,
        is_over: bool,
        gather: &mut Gather,
        rest: &mut Rest,
    ) -> io::Result<u64> {
        let mut reader = match Reader::open_at(&self.output, mark.position, mark.seq) {
            Ok(reader) => reader,
            // It was never started.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
            Err(error) => return Err(error),
        };
        let mut last = mark.time;
        let mut splitters = mark.splitters(line_bytes_max);
        while !gather.is_full {
            match reader.next(is_over)? {
                Next::Frame(frame) => {
                    last = frame.time;
                    let stream = match frame.source {
                        Source::Stdout | Source::Terminal => Stream::Stdout,
                        Source::Stderr => Stream::Stderr,
                    };
                    splitters[nth(stream)].feed(frame.bytes, |line| gather.put(stream, last, line));
                }
                Next::Damaged { why, .. } => {
                    rest.damaged = Some(why);
                    break;
                }
                Next::End => break,
            }
        }
        for (splitter, stream) in splitters.iter_mut().zip([Stream::Stdout, Stream::Stderr]) {
            if is_over {
                splitter.finish(|line| gather.put(stream, last, line));
            } else if !gather.is_full {
                splitter.flush(|line| {
                    rest.unfinished.push_str(&String::from_utf8_lossy(line.raw));
                });
            }
        }
        Ok(reader.read_bytes())
    }
}

/// Gathers lines as they go by.
struct Gather {
    from: From,
    lines_max: usize,
    lines: VecDeque<PageLine>,
    bytes: usize,
    next: u64,
    is_full: bool,
    /// Some of the last lines had to go because the others are long.
    is_cut: bool,
}

impl Gather {
    fn put(&mut self, stream: Stream, time: i64, line: Line<'_>) {
        let number = self.next;
        let is_wanted = match self.from {
            From::Line(first) => number >= first,
            From::Last(_) => true,
        };
        if self.is_full {
            return;
        }
        if is_wanted {
            if matches!(self.from, From::Line(_))
                && (self.lines.len() >= self.lines_max || self.bytes >= PAGE_BYTES_MAX)
            {
                self.is_full = true;
                return;
            }
            let text = String::from_utf8_lossy(line.text()).into_owned();
            self.bytes += text.len();
            self.lines.push_back(PageLine {
                number,
                stream,
                time,
                text,
            });
            self.forget_old();
        }
        self.next += 1;
    }

    fn forget_old(&mut self) {
        let From::Last(count) = self.from else { return };
        let count = count.min(self.lines_max);
        while self.lines.len() > count || (self.bytes > PAGE_BYTES_MAX && self.lines.len() > 1) {
            self.is_cut |= self.lines.len() <= count;
            let Some(old) = self.lines.pop_front() else { break };
            self.bytes -= old.text.len();
        }
    }
}
