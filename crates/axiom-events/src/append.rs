//! Appending: what a producer hands over, what it gets back, and the queue in between.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::batch::Batch;
use crate::event::Unfit;
use crate::streams::{Conflict, Expected};

/// Bytes that an append may have: it goes into one block, whole or not at all.
pub const APPEND_BYTES_MAX: usize = 16 << 20;

/// The queue counts memory in pieces of this size.
const PERMIT_BYTES: usize = 1024;
/// Batches whose memory is kept, and the bytes of each at most: what a few producers that post regularly use in turn.
const SPARE_BATCHES: usize = 8;
const SPARE_BYTES: usize = 1 << 20;
/// A block is cut when it has this many events, or this many bytes.
const BLOCK_EVENTS: usize = 8192;
const BLOCK_BYTES: usize = 1 << 20;

/// Events to be recorded together: all of them or none, in this order, under these conditions.
#[derive(Debug, Default)]
pub struct Append {
    pub batch: Batch,
    /// Streams and what they must be like. A stream that is only named here is checked and not written to.
    pub expected: Vec<(String, Expected)>,
    pub ack: Ack,
}

/// What must be true of an append before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ack {
    /// It has its place and the system has it. It outlives this process; not the machine.
    Memory,
    /// It is on the disk, by a sync that it may share with others. Waits 5 ms for them at most.
    #[default]
    Group,
    /// It is on the disk, in a block of its own.
    Each,
}

/// Where an append is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    pub shard: u16,
    /// Offset of its first event; the others follow. Where there are no events, the offset that comes next.
    pub first_offset: u64,
    pub count: u32,
    /// It was recorded before, under the same ids, and is not recorded again.
    pub is_repeated: bool,
}

/// Why an append was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("an append has {bytes} B, the limit is {APPEND_BYTES_MAX} B\nhint: divide it")]
    TooLarge { bytes: usize },
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error("some of the append's events were recorded before, or two have the same id, and others are new")]
    PartlyKnown,
    /// Nothing of it was recorded, and the log goes on trying: the next append may succeed. Should the process end before
    /// the disk works again, then parts that did get to the disk may be found there by the next.
    #[error("the event log cannot write: {reason}")]
    Disk { reason: Arc<str> },
    #[error("the event log is closed")]
    Closed,
}

/// The queue was full; here is the batch back.
#[derive(Debug)]
pub struct Full(pub Box<Batch>);

/// Appends on their way to the writer, bounded in bytes.
#[derive(Debug)]
pub(crate) struct Queue {
    inner: Mutex<Inner>,
    filled: Condvar,
    room: Arc<Semaphore>,
    permits: u32,
    /// Batches that were written, whose memory the next ones can use.
    spare: Mutex<Vec<Batch>>,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: VecDeque<Submission>,
    /// Of those that wait.
    events: usize,
    bytes: usize,
    /// Of them, those whose producers wait too.
    awaited: usize,
    /// The writer is wanted for something else than appends.
    is_poked: bool,
    /// A segment that was begun before this time is to end, though nothing is appended.
    ends_begun_before: Option<i64>,
    is_closed: bool,
}

/// What the writer is to do next.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// A sync has failed.
    pub(crate) is_poked: bool,
    /// A segment that was begun before this time is to end.
    pub(crate) ends_begun_before: Option<i64>,
    pub(crate) submissions: Vec<Submission>,
}

/// An append in the queue.
#[derive(Debug)]
pub(crate) struct Submission {
    pub(crate) append: Append,
    /// Nobody waits for posted events.
    pub(crate) reply: Option<Reply>,
    /// Room in the queue, given back when the block is on the disk.
    pub(crate) room: OwnedSemaphorePermit,
}

pub(crate) type Reply = oneshot::Sender<Result<Appended, AppendError>>;

impl Queue {
    pub(crate) fn new(bytes: usize) -> Queue {
        let permits =
            u32::try_from((bytes / PERMIT_BYTES).clamp(1, Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Queue {
            inner: Mutex::default(),
            filled: Condvar::new(),
            room: Arc::new(Semaphore::new(permits as usize)),
            permits,
            spare: Mutex::default(),
        }
    }

    /// An empty batch, with memory if there is some to be had.
    pub(crate) fn spare_batch(&self) -> Batch {
        self.spare().pop().unwrap_or_default()
    }

    /// The writer is done with it.
    pub(crate) fn give_back(&self, mut batch: Batch) {
        let mut spare = self.spare();
        if spare.len() < SPARE_BATCHES && batch.capacity_bytes() <= SPARE_BYTES {
            batch.clear();
            spare.push(batch);
        }
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Batch>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an append into the queue when there is room, and waits for what comes of it.
    pub(crate) async fn submit(&self, append: Append) -> Result<Appended, AppendError> {
        let bytes = append.batch.bytes();
        if bytes > APPEND_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes });
        }
        let room = Arc::clone(&self.room).acquire_many_owned(self.permits_for(bytes));
        let room = room.await.map_err(|_| AppendError::Closed)?;
        let (tx, rx) = oneshot::channel();
        self.push(Submission {
            append,
            reply: Some(tx),
            room,
        })
        .map_err(|_| AppendError::Closed)?;
        rx.await.unwrap_or(Err(AppendError::Closed))
    }

    /// Puts events into the queue if there is room now.
    pub(crate) fn post(&self, batch: Batch) -> Result<(), Full> {
        let permits = self.permits_for(batch.bytes());
        let Ok(room) = Arc::clone(&self.room).try_acquire_many_owned(permits) else {
            return Err(Full(Box::new(batch)));
        };
        if batch.bytes() > APPEND_BYTES_MAX {
            return Err(Full(Box::new(batch)));
        }
        let append = Append {
            batch,
            ack: Ack::Memory,
            ..Append::default()
        };
        let submission = Submission {
            append,
            reply: None,
            room,
        };
        self.push(submission)
            .map_err(|refused| Full(Box::new(refused.append.batch)))
    }

    /// Whether there is room for so many bytes now.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.room.available_permits() >= self.permits_for(bytes) as usize
    }

    /// As [`Queue::post`], but waits for room. Until there is some, the batch stays where it is.
    pub(crate) async fn feed(&self, batch: &mut Batch) -> Result<(), AppendError> {
        let bytes = batch.bytes();
        if bytes > APPEND_BYTES_MAX {
            return Err(AppendError::TooLarge { bytes });
        }
        let room = Arc::clone(&self.room).acquire_many_owned(self.permits_for(bytes));
        let room = room.await.map_err(|_| AppendError::Closed)?;
        let append = Append {
            batch: std::mem::take(batch),
            ack: Ack::Memory,
            ..Append::default()
        };
        let submission = Submission {
            append,
            reply: None,
            room,
        };
        self.push(submission).map_err(|refused| {
            *batch = refused.append.batch;
            AppendError::Closed
        })
    }

    /// Gives the submission back if the queue is closed.
    fn push(&self, submission: Submission) -> Result<(), Box<Submission>> {
        let mut inner = self.lock();
        if inner.is_closed {
            return Err(Box::new(submission));
        }
        let was_empty = inner.waiting.is_empty();
        inner.events += submission.append.batch.len();
        inner.bytes += submission.append.batch.bytes();
        inner.awaited += usize::from(submission.reply.is_some());
        inner.waiting.push_back(submission);
        let wakes = was_empty || inner.is_pressing();
        drop(inner);
        if wakes {
            self.filled.notify_one();
        }
        Ok(())
    }

    /// One that is larger than the whole queue goes through alone.
    fn permits_for(&self, bytes: usize) -> u32 {
        u32::try_from(bytes.div_ceil(PERMIT_BYTES))
            .unwrap_or(u32::MAX)
            .clamp(1, self.permits)
    }

    /// What goes into the next block, in order. Waits until there is something; where nobody waits for an answer, for
    /// `linger` more, so that a block is worth its head. `None` when the queue is closed and empty.
    pub(crate) fn take(&self, linger: Duration) -> Option<Work> {
        let mut inner = self.lock();
        while inner.waiting.is_empty() && !inner.is_poked && inner.ends_begun_before.is_none() {
            if inner.is_closed {
                return None;
            }
            inner = self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if !inner.is_pressing() {
            let (after, _) = self
                .filled
                .wait_timeout_while(inner, linger, |inner| !inner.is_pressing())
                .unwrap_or_else(PoisonError::into_inner);
            inner = after;
        }
        Some(Work {
            is_poked: std::mem::take(&mut inner.is_poked),
            ends_begun_before: inner.ends_begun_before.take(),
            submissions: inner.take_block(),
        })
    }

    /// Wakes the writer for what the sync thread has to tell.
    pub(crate) fn poke(&self) {
        self.lock().is_poked = true;
        self.filled.notify_all();
    }

    /// Has the writer end a segment that was begun before this time.
    pub(crate) fn end_segment(&self, begun_before: i64) {
        self.lock().ends_begun_before = Some(begun_before);
        self.filled.notify_all();
    }

    /// Lets the writer finish what is in the queue; new appends are refused.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.room.close();
        self.filled.notify_all();
    }

    /// The writer is gone: whoever waits is told so. Says how many events there were that nobody waits for.
    pub(crate) fn give_up(&self) -> usize {
        self.close();
        let waiting = std::mem::take(&mut self.lock().waiting);
        let posted = waiting.iter().filter(|submission| submission.reply.is_none());
        posted.map(|submission| submission.append.batch.len()).sum()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether a block should be made now.
    fn is_pressing(&self) -> bool {
        self.is_closed
            || self.is_poked
            || self.ends_begun_before.is_some()
            || self.awaited > 0
            || self.events >= BLOCK_EVENTS
            || self.bytes >= BLOCK_BYTES
    }

    fn take_block(&mut self) -> Vec<Submission> {
        let mut left = Left::default();
        let mut taken = Vec::new();
        while let Some(next) = self.waiting.front() {
            let is_alone = next.append.ack == Ack::Each;
            let fits = left.take(&next.append.batch);
            if !taken.is_empty() && (is_alone || !fits) {
                break;
            }
            taken.extend(self.pop());
            if is_alone {
                break;
            }
        }
        taken
    }

    fn pop(&mut self) -> Option<Submission> {
        let submission = self.waiting.pop_front()?;
        self.events -= submission.append.batch.len();
        self.bytes -= submission.append.batch.bytes();
        self.awaited -= usize::from(submission.reply.is_some());
        Some(submission)
    }
}

/// What still goes into a block.
struct Left {
    events: usize,
    bytes: usize,
}

impl Default for Left {
    fn default() -> Left {
        Left {
            events: BLOCK_EVENTS,
            bytes: BLOCK_BYTES,
        }
    }
}

impl Left {
    /// False if the batch does not fit any more.
    fn take(&mut self, batch: &Batch) -> bool {
        let fits = batch.len() <= self.events && batch.bytes() <= self.bytes;
        self.events = self.events.saturating_sub(batch.len());
        self.bytes = self.bytes.saturating_sub(batch.bytes());
        fits
    }
}
