//! Where a task's output comes in: its bytes become numbered lines, and every reader's.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use super::block::{Block, Draft, Stream};
use super::budget::{Account, PIECE_BYTES_MIN, kept_charge};
use super::hub::Shared;
use super::lines::{Line, Splitter};
use super::lock;

/// The writing side of one task. Dropping it ends both streams and the task.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<Shared>,
    task: Arc<Task>,
    stdout: Splitter,
    stderr: Splitter,
    /// When the last bytes came.
    time_ns: i64,
}

/// What the hub knows of one task, for as long as it writes or something of it is not stored.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) id: Arc<str>,
    pub(super) account: Arc<Account>,
    pub(super) state: Mutex<TaskState>,
}

#[derive(Debug)]
pub(super) struct TaskState {
    next_sequence: u64,
    /// For the store.
    pub(super) waiting: VecDeque<Arc<Block>>,
    /// The store has taken a batch and not said what became of it. The next one waits for that, to keep the order.
    pub(super) is_in_hand: bool,
}

impl Writer {
    pub(super) fn new(shared: Arc<Shared>, id: Arc<str>, next_sequence: u64) -> Self {
        let line_bytes_max = shared.options.line_bytes_max;
        let state = TaskState {
            next_sequence,
            waiting: VecDeque::new(),
            is_in_hand: false,
        };
        Writer {
            shared,
            task: Arc::new(Task {
                id,
                account: Arc::default(),
                state: Mutex::new(state),
            }),
            stdout: Splitter::new(line_bytes_max),
            stderr: Splitter::new(line_bytes_max),
            time_ns: 0,
        }
    }

    pub fn task(&self) -> &Arc<str> {
        &self.task.id
    }

    /// Takes bytes that the task wrote to `stream`, which were read at `time_ns` (since 1970), and returns how many: at most
    /// 64 KiB at once, and none while there is no credit. Then the pipe must not be read before [`Writer::ready`].
    ///
    /// While bytes are scarce, what is long of an unfinished line is not kept but given out as a piece.
    pub fn write(&mut self, stream: Stream, time_ns: i64, chunk: &[u8]) -> usize {
        if chunk.is_empty() {
            return 0;
        }
        let Some((bytes, charge)) = self.shared.budget.reserve(&self.task.account, chunk.len()) else {
            return 0;
        };
        self.time_ns = time_ns;
        let taken = chunk.get(..bytes).unwrap_or(chunk);
        self.put(stream, charge, bytes, |splitter, out| splitter.feed(taken, out));
        if self.shared.budget.is_scarce() {
            self.give_out_pieces();
        }
        bytes
    }

    /// Bytes that may be read from the task's pipes and written now; 0 without credit.
    pub fn credit(&self) -> usize {
        self.shared.budget.credit(&self.task.account)
    }

    /// Waits for credit, which comes back as the store takes what was written before.
    ///
    /// # Cancel safety
    /// Safe: nothing is taken.
    pub async fn ready(&mut self) {
        if self.credit() == 0 {
            // What is kept counts, too, and nobody can store it as long as it is kept.
            self.give_out_pieces();
            self.shared.budget.ready(&self.task.account).await;
        }
    }

    /// Gives out what is here of an unfinished line, such as a prompt; its rest comes as a further piece. False if there is
    /// no room for it now. To be called when nothing came for a while.
    pub fn flush(&mut self, stream: Stream) -> bool {
        if self.splitter(stream).rest_bytes() == 0 {
            return true;
        }
        let Some((_, charge)) = self.shared.budget.reserve(&self.task.account, 1) else {
            return false;
        };
        self.put(stream, charge, 0, |splitter, out| splitter.flush(out));
        true
    }

    /// The stream has ended: its last line is given out, if it had no end. Needs no credit.
    pub fn end(&mut self, stream: Stream) {
        self.put(stream, 0, 0, |splitter, out| splitter.finish(out));
    }

    /// Whoever writes is going, and the task is not: lines without an end are kept back. Another writer, which begins with
    /// their first byte, gives them out whole.
    pub fn leave(mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            self.put(stream, 0, 0, |splitter, _| splitter.finish(|_| ()));
        }
    }

    /// The number that the next line gets.
    pub fn next_sequence(&self) -> u64 {
        lock(&self.task.state).next_sequence
    }

    /// Long unfinished lines go to the store before their end has come, so that they do not hold memory for nobody's use.
    fn give_out_pieces(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            if self.splitter(stream).rest_bytes() >= PIECE_BYTES_MIN {
                self.put(stream, 0, 0, |splitter, out| splitter.flush(out));
            }
        }
    }

    /// Gives the lines that `act` brings about to every reader. `charge` was reserved for `bytes` more.
    fn put(
        &mut self,
        stream: Stream,
        charge: usize,
        bytes: usize,
        act: impl FnOnce(&mut Splitter, &mut dyn FnMut(Line<'_>)),
    ) {
        let splitter = self.splitter(stream);
        let reserved = charge + kept(splitter);
        let mut draft = Draft::for_bytes(splitter.rest_bytes() + bytes);
        act(splitter, &mut |line| draft.push(line));
        let used = kept(splitter) + draft.bytes();
        debug_assert!(used <= reserved, "{used} of {reserved}");
        let unused = reserved.saturating_sub(used);
        let (budget, account) = (&self.shared.budget, &self.task.account);
        match draft.bytes() {
            0 => budget.release(account, unused),
            // Before the store can see the block: when it has stored that, whoever waits is woken and finds this, too.
            _ => budget.give_back(account, unused),
        }
        self.publish(stream, draft);
    }

    /// Numbers the lines and hands them on.
    fn publish(&self, stream: Stream, draft: Draft) {
        let mut state = lock(&self.task.state);
        let id = Arc::clone(&self.task.id);
        let Some(block) = draft.finish(id, stream, self.time_ns, state.next_sequence) else {
            return;
        };
        state.next_sequence += block.len() as u64;
        let block = Arc::new(block);
        // Under the task's lock, so that every reader sees its lines in their order.
        let forgotten = self.shared.live.publish(&block);
        self.shared.ready.add(&self.task, &mut state, block);
        drop(state);
        drop(forgotten);
    }

    fn splitter(&mut self, stream: Stream) -> &mut Splitter {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.end(Stream::Stdout);
        self.end(Stream::Stderr);
        self.shared.budget.forget(&self.task.account);
        self.shared.remove(&self.task.id);
    }
}

fn kept(splitter: &Splitter) -> usize {
    kept_charge(splitter.is_open(), splitter.rest_bytes())
}

/// A task's record with its account, and what the allocator adds to them.
#[cfg(test)]
pub(super) const TASK_RECORD_BYTES: usize =
    size_of::<Task>() + size_of::<Account>() + 4 * size_of::<usize>() + 48;
