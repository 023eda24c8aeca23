//! Many writers, many readers.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use super::budget::Budget;
use super::durable::{DurableReader, Ready};
use super::live::{Live, LiveReader, Subscription};
use super::lock;
use super::prefix::Prefixes;
use super::writer::Writer;

/// What the hub may use. Together they bound its memory, see [`Options::bytes_max`].
#[derive(Debug, Clone)]
pub struct Options {
    /// A longer line comes in pieces. At most 16 MiB.
    pub line_bytes_max: usize,
    /// What may wait for the store, of all tasks, unfinished lines included. At the limit tasks get no credit. Raised to
    /// 16 KiB for each of `tasks_max`, so that those that keep an unfinished line cannot starve the others.
    pub waiting_bytes_max: usize,
    /// What may wait for the store of one task.
    pub task_waiting_bytes_max: usize,
    /// Last lines, of all tasks, for readers to come. At the limit the oldest are forgotten.
    pub recent_bytes_max: usize,
    /// What may wait for a live reader. At the limit it misses the oldest.
    pub reader_bytes_max: usize,
    /// At the limit a new live reader is refused.
    pub readers_max: usize,
    /// Tasks that write at once. At the limit a new writer is refused.
    pub tasks_max: usize,
}

/// Made once; cheap to clone.
#[derive(Debug, Clone)]
pub struct Hub {
    shared: Arc<Shared>,
}

/// What is in use, to be compared with the options.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub waiting_bytes: usize,
    pub recent_bytes: usize,
    pub readers_bytes: usize,
    pub tasks: usize,
}

/// Why there is no writer.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum WriterError {
    #[error("task {task} has a writer already")]
    Taken { task: String },
    #[error("{tasks_max} tasks write already")]
    TooMany { tasks_max: usize },
    #[error("a task's id of {bytes} B exceeds the limit of {TASK_ID_BYTES_MAX} B")]
    IdTooLong { bytes: usize },
    #[error("the multiplexer is closed")]
    Closed,
}

/// Why there is no live reader.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{readers_max} readers look on already")]
pub struct TooManyReaders {
    pub readers_max: usize,
}

/// A task's id is a part of what is charged for its lines.
pub const TASK_ID_BYTES_MAX: usize = 96;
/// A task that says nothing takes at most this.
pub const TASK_BYTES: usize = 1 << 10;

/// Blocks count their bytes in 28 bits.
const LINE_BYTES_MAX: usize = 16 << 20;
const TASK_WAITING_BYTES_MIN: usize = 16 << 10;
const WAITING_BYTES_MIN: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) options: Options,
    pub(super) budget: Budget,
    pub(super) ready: Ready,
    pub(super) live: Live,
    pub(super) has_durable: AtomicBool,
    tasks: Mutex<Writing>,
}

#[derive(Debug, Default)]
struct Writing {
    ids: HashSet<Arc<str>>,
    prefixes: Prefixes,
    is_closed: bool,
}

impl Hub {
    pub fn new(options: Options) -> Self {
        let options = options.checked();
        let shared = Shared {
            budget: Budget::new(options.waiting_bytes_max, options.task_waiting_bytes_max),
            ready: Ready::default(),
            live: Live::new(options.recent_bytes_max, options.readers_max),
            has_durable: AtomicBool::new(false),
            tasks: Mutex::default(),
            options,
        };
        Hub {
            shared: Arc::new(shared),
        }
    }

    /// The writing side for a task. Its lines are numbered from `next_sequence`: 0, or where it left off before a restart.
    pub fn writer(&self, task: &str, next_sequence: u64) -> Result<Writer, WriterError> {
        let id = self.shared.admit(task)?;
        Ok(Writer::new(Arc::clone(&self.shared), id, next_sequence))
    }

    /// The reader that must get everything; None while there is one. Without one every task stops when its credit is used.
    pub fn durable(&self) -> Option<DurableReader> {
        let had_one = self.shared.has_durable.swap(true, SeqCst);
        (!had_one).then(|| DurableReader {
            shared: Arc::clone(&self.shared),
        })
    }

    /// A reader that looks on from now, or from the last lines.
    pub fn subscribe(&self, subscription: Subscription) -> Result<LiveReader, TooManyReaders> {
        let bytes_max = self.shared.options.reader_bytes_max;
        let queue_bytes_max = subscription.queue_bytes_max.unwrap_or(bytes_max).min(bytes_max);
        let feed = self.shared.live.subscribe(subscription, queue_bytes_max);
        let readers_max = self.shared.options.readers_max;
        Ok(LiveReader {
            feed: feed.ok_or(TooManyReaders { readers_max })?,
            shared: Arc::clone(&self.shared),
        })
    }

    /// No writer is made any more. When those that there are have gone and all is read, every reader's `next` says so.
    pub fn close(&self) {
        lock(&self.shared.tasks).is_closed = true;
        self.shared.tell_if_over();
    }

    /// What stands in front of a task's lines, the same for every reader. See [`Prefixes::write`].
    pub fn write_prefix(&self, task: &str, is_coloured: bool, out: &mut String) {
        lock(&self.shared.tasks).prefixes.write(task, is_coloured, out);
    }

    pub fn usage(&self) -> Usage {
        let (recent_bytes, readers_bytes) = self.shared.live.bytes();
        Usage {
            waiting_bytes: self.shared.budget.used(),
            recent_bytes,
            readers_bytes,
            tasks: lock(&self.shared.tasks).ids.len(),
        }
    }
}

impl Options {
    /// All the memory that the hub may use, were nothing shared between store, last lines and readers.
    pub fn bytes_max(&self) -> usize {
        let readers = self.readers_max * self.reader_bytes_max;
        self.waiting_bytes_max + self.recent_bytes_max + readers + self.tasks_max * TASK_BYTES
    }

    fn checked(mut self) -> Self {
        self.line_bytes_max = self.line_bytes_max.min(LINE_BYTES_MAX);
        let least = (self.tasks_max * TASK_WAITING_BYTES_MIN).max(WAITING_BYTES_MIN);
        self.waiting_bytes_max = self.waiting_bytes_max.max(least);
        self.task_waiting_bytes_max = self.task_waiting_bytes_max.max(TASK_WAITING_BYTES_MIN);
        self
    }
}

/// 64 MiB for the store, 16 MiB of last lines, 64 MiB for readers, 4 MiB for tasks.
impl Default for Options {
    fn default() -> Self {
        Options {
            line_bytes_max: 64 << 10,
            waiting_bytes_max: 64 << 20,
            task_waiting_bytes_max: 1 << 20,
            recent_bytes_max: 16 << 20,
            reader_bytes_max: 1 << 20,
            readers_max: 64,
            tasks_max: 4096,
        }
    }
}

impl Shared {
    /// True when nobody writes any more, nor ever will.
    pub(super) fn is_over(&self) -> bool {
        let writing = lock(&self.tasks);
        writing.is_closed && writing.ids.is_empty()
    }

    /// A writer is gone.
    pub(super) fn remove(&self, task: &Arc<str>) {
        {
            let mut writing = lock(&self.tasks);
            writing.ids.remove(task);
            writing.prefixes.remove(task);
        }
        self.tell_if_over();
    }

    fn admit(&self, task: &str) -> Result<Arc<str>, WriterError> {
        if task.len() > TASK_ID_BYTES_MAX {
            return Err(WriterError::IdTooLong { bytes: task.len() });
        }
        let mut writing = lock(&self.tasks);
        if writing.is_closed {
            return Err(WriterError::Closed);
        }
        let tasks_max = self.options.tasks_max;
        if writing.ids.len() >= tasks_max {
            return Err(WriterError::TooMany { tasks_max });
        }
        let id: Arc<str> = task.into();
        if !writing.ids.insert(Arc::clone(&id)) {
            return Err(WriterError::Taken {
                task: task.to_owned(),
            });
        }
        writing.prefixes.add(task);
        Ok(id)
    }

    fn tell_if_over(&self) {
        if self.is_over() {
            self.ready.news.notify_one();
            self.live.wake_all();
        }
    }
}

#[cfg(test)]
mod tests;
