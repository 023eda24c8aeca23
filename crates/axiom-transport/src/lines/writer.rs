//! Writes messages as lines. The common message goes into the pipe with one system call of the caller; a task exists only
//! while the pipe is full.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, Bytes};
use tokio::net::unix::pipe;
use tokio::sync::Notify;

use super::{Cause, cause_or};
use crate::pipe::{CloseReason, Closed, stopped};

/// Messages that wait for a slow reader. Then senders wait: what the peer cannot take must not pile up here.
const BACKLOG_LEN_MAX: usize = 64;
const BACKLOG_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Up to this size, copying a message in front of its line end is cheaper than a write of its own.
const COPY_BYTES_MAX: usize = 4 * 1024;

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
