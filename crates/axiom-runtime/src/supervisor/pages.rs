//! What a task has said, from its files: for those who ask for some of it now and then.

use std::collections::VecDeque;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use axiom_core::spawn;
use axiom_sandbox::output::{Next, Reader, Source};

use super::{Shared, Unknown};
use crate::mux::Stream;
use crate::mux::lines::{Line, Splitter};

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
    let (id, attempts, has_ended) = {
        let table = shared.table();
        let entry = table.entry(id)?;
        let has_ended = entry.ended.borrow().is_some();
        (Arc::clone(&entry.id), entry.attempt, has_ended)
    };
    let files: Vec<PathBuf> = (1..=attempts)
        .map(|attempt| shared.ledger.attempt(&id, attempt).join(OUTPUT))
        .collect();
    let line_bytes_max = shared.options.mux.line_bytes_max;
    let reading = spawn::blocking(move || page(&files, from, lines_max, line_bytes_max, has_ended));
    let read = reading.join().await;
    read.unwrap_or_else(|| Err(io::Error::other("reading it failed")))
        .map_err(|error| PageError::Disk { id, error })
}

/// Gathers lines as they go by.
struct Gather {
    from: From,
    lines_max: usize,
    lines: VecDeque<PageLine>,
    bytes: usize,
    next: u64,
    is_full: bool,
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
            let Some(old) = self.lines.pop_front() else { break };
            self.bytes -= old.text.len();
        }
    }
}

fn page(
    files: &[PathBuf],
    from: From,
    lines_max: usize,
    line_bytes_max: usize,
    has_ended: bool,
) -> io::Result<Page> {
    let mut gather = Gather {
        from,
        lines_max,
        lines: VecDeque::new(),
        bytes: 0,
        next: 0,
        is_full: false,
    };
    let (mut unfinished, mut damaged) = (String::new(), None);
    for (nth, path) in files.iter().enumerate() {
        let mut reader = match Reader::open(path) {
            Ok(reader) => reader,
            // It was never started.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        let mut splitters = [Splitter::new(line_bytes_max), Splitter::new(line_bytes_max)];
        let mut last = 0;
        let is_over = has_ended || nth + 1 < files.len();
        while !gather.is_full {
            match reader.next(is_over)? {
                Next::Frame(frame) => {
                    last = frame.time;
                    let (which, stream) = match frame.source {
                        Source::Stdout | Source::Terminal => (0, Stream::Stdout),
                        Source::Stderr => (1, Stream::Stderr),
                    };
                    splitters[which].feed(frame.bytes, |line| gather.put(stream, last, line));
                }
                Next::Damaged { why, .. } => {
                    damaged = Some(why);
                    break;
                }
                Next::End => break,
            }
        }
        for (splitter, stream) in splitters.iter_mut().zip([Stream::Stdout, Stream::Stderr]) {
            if is_over {
                splitter.finish(|line| gather.put(stream, last, line));
            } else if !gather.is_full {
                splitter.flush(|line| unfinished.push_str(&String::from_utf8_lossy(line.raw)));
            }
        }
    }
    Ok(Page {
        next: gather.next,
        is_end: !gather.is_full,
        lines: gather.lines.into(),
        unfinished,
        damaged,
    })
}
