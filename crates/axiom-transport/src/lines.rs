//! MCP's stdio framing: one message per line. The reader cuts lines out of what it read without copying them; the
//! writer writes straight into the pipe, and only what does not fit is left to a task.

use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axiom_core::time;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::net::unix::pipe;
use tokio::sync::Notify;

use crate::pipe::{CloseReason, Closed, stopped};

/// Room for one read while messages are small, and within a large one: a pipe holds 64 KiB by default.
const READ_BYTES: usize = 16 * 1024;
const LARGE_READ_BYTES: usize = 64 * 1024;

/// A read with less room than this costs a new buffer instead of a system call more.
const READ_BYTES_MIN: usize = 4 * 1024;

/// Messages that wait for a slow reader. Then senders wait: what the peer cannot take must not pile up here.
const BACKLOG_LEN_MAX: usize = 64;
const BACKLOG_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Up to this size, copying a message behind its predecessor's line end is cheaper than a write of its own.
const COPY_BYTES_MAX: usize = 4 * 1024;

/// After the peer's end is known, what it wrote before is still read for this long: a grandchild that holds the pipe
/// open must not keep a dead server's connection alive.
const LINGER: Duration = Duration::from_millis(100);

/// How long to wait for the cause (an exit status) after the stream itself has ended.
const CAUSE_WAIT: Duration = Duration::from_secs(1);

/// Says how the process at the other end ended, once it has.
pub(crate) trait Cause: fmt::Debug + Send + Sync {
    fn ended(&self) -> Pin<Box<dyn Future<Output = Closed> + Send>>;
}

/// Waits a moment for the real cause; `fallback` if there is none to be had.
async fn cause_or(cause: &dyn Cause, fallback: Closed) -> Closed {
    time::timeout(CAUSE_WAIT, cause.ended()).await.unwrap_or(fallback)
}

/// Reads messages from lines.
pub(crate) struct LineReader {
    source: Pin<Box<dyn AsyncRead + Send + Sync>>,
    received: BytesMut,
    /// The front of `received` that is known to hold no line end.
    searched: usize,
    bytes_max: usize,
    cause: Arc<dyn Cause>,
    end: End,
}

/// How far the end of the conversation is.
enum End {
    /// Resolves when the process at the other end has gone. Boxed once per conversation, not per message.
    Open(Pin<Box<dyn Future<Output = Closed> + Send>>),
    /// The process has gone; what it wrote is read until the pipe is empty or the time is over.
    Lingering(Closed, time::Instant),
    Over(Closed),
}

impl LineReader {
    /// A line of more than `bytes_max` bytes ends the conversation.
    pub(crate) fn new(
        source: impl AsyncRead + Send + Sync + 'static,
        bytes_max: usize,
        cause: Arc<dyn Cause>,
    ) -> Self {
        let end = End::Open(cause.ended());
        let (source, received) = (Box::pin(source), BytesMut::new());
        LineReader {
            source,
            received,
            searched: 0,
            bytes_max,
            cause,
            end,
        }
    }

    /// # Cancel safety
    /// Safe: all state is in `self`, and each await either reads into it or waits for an event that stays true.
    pub(crate) async fn recv(&mut self) -> Result<Bytes, Closed> {
        loop {
            if let Some(message) = self.take_line() {
                return Ok(message);
            }
            if let End::Over(closed) = &self.end {
                return Err(closed.clone());
            }
            if self.received.len() > self.bytes_max {
                let closed = self.too_large();
                self.end(closed);
                continue;
            }
            self.read_more().await;
        }
    }

    /// One read, or one step towards the end.
    async fn read_more(&mut self) {
        self.make_room();
        // cancel-safe: read_buf takes bytes only when it completes.
        let read = self.source.read_buf(&mut self.received);
        let outcome = match &mut self.end {
            End::Open(gone) => tokio::select! {
                // What can be read comes first: it was written before the end.
                biased;
                outcome = read => outcome,
                // cancel-safe: the future stays in `self.end` and is polled again.
                closed = gone => {
                    self.end = End::Lingering(closed, time::now() + LINGER);
                    return;
                }
            },
            End::Lingering(closed, until) => match time::timeout_at(*until, read).await {
                Ok(outcome) => outcome,
                Err(_elapsed) => {
                    let closed = closed.clone();
                    return self.end(closed);
                }
            },
            End::Over(_) => return,
        };
        let closed = match outcome {
            Ok(count) if count > 0 => return,
            Ok(_end) => Closed::new(
                CloseReason::Eof,
                "the server closed its stdout but is still running",
            ),
            Err(error) => Closed::new(
                CloseReason::Io,
                format!("failed to read from the server: {error}"),
            ),
        };
        let closed = match &self.end {
            End::Lingering(known, _) => known.clone(),
            // If this wait is dropped, the next call reads the same end again and waits anew.
            End::Open(_) | End::Over(_) => cause_or(&*self.cause, closed).await,
        };
        self.end_of_stream(closed);
    }

    fn make_room(&mut self) {
        let spare = self.received.capacity() - self.received.len();
        if self.received.len() >= READ_BYTES {
            self.received.reserve(LARGE_READ_BYTES);
        } else if spare < READ_BYTES_MIN {
            self.received.reserve(READ_BYTES);
        }
    }

    fn end_of_stream(&mut self, closed: Closed) {
        self.end(closed);
        // A last message may lack its line end.
        if !self.received.is_empty() && self.received.len() <= self.bytes_max {
            self.received.extend_from_slice(b"\n");
        }
    }

    fn end(&mut self, closed: Closed) {
        self.end = End::Over(closed);
    }

    fn too_large(&mut self) -> Closed {
        self.received.clear();
        self.searched = 0;
        let bytes_max = self.bytes_max;
        Closed::new(
            CloseReason::TooLarge { bytes_max },
            format!("the server sent a message of more than {bytes_max} B"),
        )
    }

    /// The next line that is not blank, without its line end.
    fn take_line(&mut self) -> Option<Bytes> {
        loop {
            let unsearched = self.received.get(self.searched..).unwrap_or_default();
            let Some(end) = memchr::memchr(b'\n', unsearched) else {
                self.searched = self.received.len();
                return None;
            };
            let end = self.searched + end;
            if end > self.bytes_max {
                self.end = End::Over(self.too_large());
                return None;
            }
            self.searched = 0;
            let mut line = self.received.split_to(end).freeze();
            self.received.advance(1);
            if line.ends_with(b"\r") {
                line.truncate(line.len() - 1);
            }
            if !line.iter().all(u8::is_ascii_whitespace) {
                return Some(line);
            }
        }
    }
}

impl fmt::Debug for LineReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LineReader")
            .field("received_bytes", &self.received.len())
            .field("bytes_max", &self.bytes_max)
            .field("cause", &self.cause)
            .finish_non_exhaustive()
    }
}

/// Writes messages as lines into the stdin of a process. Dropping it closes that stdin.
#[derive(Debug)]
pub(crate) struct LineWriter {
    shared: Arc<Shared>,
    cause: Arc<dyn Cause>,
    /// Where the pipe is registered: the task that waits for room in it has to run there.
    runtime: tokio::runtime::Handle,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Told whenever the backlog shrinks, or the writer closes.
    room: Notify,
}

#[derive(Debug)]
struct State {
    /// `None` once closed: dropping the last reference closes stdin.
    stdin: Option<Arc<pipe::Sender>>,
    /// Lines, or the rest of one, that did not fit into the pipe. Not empty exactly while a task writes it.
    backlog: VecDeque<Bytes>,
    closing: bool,
    failure: Option<Closed>,
}

impl LineWriter {
    /// # Panics
    /// Outside a tokio runtime.
    pub(crate) fn new(stdin: pipe::Sender, cause: Arc<dyn Cause>) -> Self {
        let stdin = Some(Arc::new(stdin));
        let state = State {
            stdin,
            backlog: VecDeque::new(),
            closing: false,
            failure: None,
        };
        let shared = Shared {
            state: Mutex::new(state),
            room: Notify::new(),
        };
        LineWriter {
            shared: Arc::new(shared),
            cause,
            runtime: tokio::runtime::Handle::current(),
        }
    }

    /// # Cancel safety
    /// A message is taken whole or not at all; once taken it is written even if the caller is gone.
    pub(crate) async fn send(&self, message: Bytes) -> Result<(), Closed> {
        loop {
            // Created before looking, so that no notice between the look and the wait is lost.
            let room = self.shared.room.notified();
            match self.try_send(&message) {
                Ok(true) => return Ok(()),
                Ok(false) => room.await,
                Err(Some(closed)) => return Err(closed),
                Err(None) => return Err(self.failed().await),
            }
        }
    }

    /// True if the message was taken, false if there is no room. An error without a reason is a broken pipe.
    fn try_send(&self, message: &Bytes) -> Result<bool, Option<Closed>> {
        let mut state = self.shared.lock();
        let stdin = match &state.stdin {
            Some(stdin) if !state.closing => Arc::clone(stdin),
            _ if state.closing => return Err(Some(state.failure.clone().unwrap_or_else(stopped))),
            _ => return Err(state.failure.clone()),
        };
        if state.is_full() {
            return Ok(false);
        }
        if !state.backlog.is_empty() {
            state.push(message, 0);
            return Ok(true);
        }
        let written = match stdin.try_write_vectored(&[IoSlice::new(message), IoSlice::new(b"\n")]) {
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
            Err(_broken) => {
                state.stdin = None;
                return Err(None);
            }
        };
        if written <= message.len() {
            state.push(message, written);
            let shared = Arc::clone(&self.shared);
            axiom_core::spawn::spawn_on(&self.runtime, "write backlog", write_backlog(shared, stdin));
        }
        Ok(true)
    }

    /// The pipe broke: the process is gone, or closed its stdin. Says which.
    async fn failed(&self) -> Closed {
        let fallback = Closed::new(CloseReason::Io, "the server closed its stdin");
        let closed = cause_or(&*self.cause, fallback).await;
        self.shared.lock().failure = Some(closed.clone());
        closed
    }

    /// Closes stdin as soon as everything accepted is written.
    pub(crate) fn close(&self) {
        self.shared.close();
    }

    pub(crate) fn is_closed(&self) -> bool {
        let state = self.shared.lock();
        state.closing || state.stdin.is_none()
    }

    /// Closes the writer later without keeping it, and thereby the child's stdin, open until then.
    pub(crate) fn closer(&self) -> impl Fn() + Send + Sync + 'static {
        let shared = Arc::downgrade(&self.shared);
        move || {
            if let Some(shared) = shared.upgrade() {
                shared.close();
            }
        }
    }
}

impl Drop for LineWriter {
    fn drop(&mut self) {
        // The task that writes a backlog must know that it is the last one.
        self.shared.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closing = true;
        if state.backlog.is_empty() {
            state.stdin = None;
        }
        drop(state);
        self.room.notify_waiters();
    }
}

impl State {
    fn is_full(&self) -> bool {
        let bytes: usize = self.backlog.iter().map(Bytes::len).sum();
        self.backlog.len() >= BACKLOG_LEN_MAX || bytes >= BACKLOG_BYTES_MAX
    }

    /// Keeps what is left of a line after `written` bytes of it.
    fn push(&mut self, message: &Bytes, written: usize) {
        let rest = message.slice(written..);
        if rest.len() > COPY_BYTES_MAX {
            self.backlog.push_back(rest);
            self.backlog.push_back(Bytes::from_static(b"\n"));
        } else {
            self.backlog.push_back([&rest, b"\n".as_slice()].concat().into());
        }
    }
}

/// Writes the backlog until it is empty, then ends: the next message goes straight into the pipe again.
async fn write_backlog(shared: Arc<Shared>, stdin: Arc<pipe::Sender>) {
    loop {
        let broken = stdin.writable().await.is_err() || shared.write_some(&stdin).is_err();
        let mut state = shared.lock();
        if broken {
            state.stdin = None;
            state.backlog.clear();
        }
        let is_done = state.backlog.is_empty();
        if is_done && state.closing {
            state.stdin = None;
        }
        drop(state);
        shared.room.notify_waiters();
        if is_done {
            return;
        }
    }
}

impl Shared {
    /// Writes lines from the front of the backlog until the pipe is full.
    fn write_some(&self, stdin: &pipe::Sender) -> io::Result<()> {
        let mut state = self.lock();
        while let Some(line) = state.backlog.front_mut() {
            match stdin.try_write(line) {
                Ok(written) if written == line.len() => drop(state.backlog.pop_front()),
                Ok(written) => line.advance(written),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
