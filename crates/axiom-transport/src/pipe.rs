//! A pipe carries whole MCP messages both ways: a child's stdio, a WebSocket, an HTTP+SSE pair, or two ends in one process.
//!
//! Whoever holds a pipe neither sees nor cares which of them it is. A message is opaque bytes without a trailing
//! newline; it arrives whole or not at all.

use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use axiom_core::channel::{self, Receiver, Sender};
use bytes::Bytes;

use crate::lines::{LineReader, LineWriter};
use crate::stdio::Printer;

/// A server that lives in this process. `connect` is called once per link the gateway opens.
pub trait Builtin: fmt::Debug + Send + Sync {
    /// Stable name, for people and for comparing configurations.
    fn name(&self) -> &str;
    /// Starts one conversation and returns the client's end of it.
    fn connect(self: Arc<Self>) -> Pipe;
}

/// Both ends of a conversation with a peer. The halves may live in different tasks.
#[derive(Debug)]
pub struct Pipe {
    pub tx: PipeSender,
    pub rx: PipeReceiver,
}

/// Two pipes inside this process, each the other's peer. At most `len_max` messages wait in each direction.
pub fn pair(len_max: usize) -> (Pipe, Pipe) {
    let (left_pipe, left_pump) = plumb(len_max);
    let Pump {
        outgoing,
        incoming,
        ending,
    } = left_pump;
    let right = Pipe {
        tx: PipeSender::queue(incoming, Arc::clone(&ending)),
        rx: PipeReceiver {
            inlet: Inlet::Queue {
                queue: outgoing,
                ending,
            },
        },
    };
    (left_pipe, right)
}

/// Sends whole messages. Cheap to clone; when the last clone is gone the peer sees the end of the conversation.
#[derive(Debug, Clone)]
pub struct PipeSender {
    outlet: Outlet,
}

#[derive(Debug, Clone)]
enum Outlet {
    Queue(Arc<QueueSender>),
    Lines(Arc<LineWriter>),
    Stdout(Arc<Printer>),
}

impl PipeSender {
    /// Hands one whole message, without trailing newline, to the peer. Waits while the peer is slow and the pipe's
    /// bounded backlog is full.
    ///
    /// # Errors
    /// [`Closed`] when either side has ended the conversation; the message was then not delivered.
    ///
    /// # Cancel safety
    /// A dropped call has either not begun to send or will still be sent whole: never half a message.
    pub async fn send(&self, message: Bytes) -> Result<(), Closed> {
        match &self.outlet {
            Outlet::Queue(queue) => queue.send(message).await,
            Outlet::Lines(writer) => writer.send(message).await,
            Outlet::Stdout(printer) => printer.send(message).await,
        }
    }

    /// Ends our side: what was accepted is still delivered, then the peer sees the end. Later sends fail.
    pub fn close(&self) {
        match &self.outlet {
            Outlet::Queue(queue) => queue.close(),
            Outlet::Lines(writer) => writer.close(),
            Outlet::Stdout(printer) => printer.close(),
        }
    }

    /// True when a send would certainly fail.
    pub fn is_closed(&self) -> bool {
        match &self.outlet {
            Outlet::Queue(queue) => queue.is_closed(),
            Outlet::Lines(writer) => writer.is_closed(),
            Outlet::Stdout(printer) => printer.is_closed(),
        }
    }

    pub(crate) fn lines(writer: Arc<LineWriter>) -> Self {
        PipeSender {
            outlet: Outlet::Lines(writer),
        }
    }

    pub(crate) fn stdout(printer: Arc<Printer>) -> Self {
        PipeSender {
            outlet: Outlet::Stdout(printer),
        }
    }

    fn queue(queue: Sender<Bytes>, ending: Ending) -> Self {
        PipeSender {
            outlet: Outlet::Queue(Arc::new(QueueSender {
                queue: Mutex::new(Some(queue)),
                ending,
            })),
        }
    }
}

/// Receives whole messages in order.
#[derive(Debug)]
pub struct PipeReceiver {
    inlet: Inlet,
}

#[derive(Debug)]
enum Inlet {
    Queue { queue: Receiver<Bytes>, ending: Ending },
    Lines(Box<LineReader>),
}

impl PipeReceiver {
    /// The next message. After an error every later call gives the same error.
    ///
    /// # Errors
    /// [`Closed`] says who ended the conversation and why.
    ///
    /// # Cancel safety
    /// Safe: a dropped call has taken nothing; half-read messages stay in the receiver.
    pub async fn recv(&mut self) -> Result<Bytes, Closed> {
        match &mut self.inlet {
            Inlet::Queue { queue, ending } => match queue.recv().await {
                Some(message) => Ok(message),
                None => Err(ending_of(ending)),
            },
            Inlet::Lines(lines) => lines.recv().await,
        }
    }

    pub(crate) fn lines(lines: LineReader) -> Self {
        PipeReceiver {
            inlet: Inlet::Lines(Box::new(lines)),
        }
    }
}

/// Why a pipe ended, with what is known about it.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Closed {
    pub reason: CloseReason,
    /// One line for people: who ended it and how.
    pub detail: String,
    /// The last lines that a child process wrote to stderr; empty for other pipes.
    pub stderr: Vec<String>,
}

impl Closed {
    /// Without stderr.
    pub fn new(reason: CloseReason, detail: impl Into<String>) -> Self {
        Closed {
            reason,
            detail: detail.into(),
            stderr: Vec::new(),
        }
    }
}

impl fmt::Display for Closed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.detail)?;
        // The last words of a process usually name the cause; the whole list is in `stderr`.
        match self.stderr.iter().rev().find(|line| !line.trim().is_empty()) {
            Some(line) => write!(f, "; last line on its stderr: {}", line.trim()),
            None => Ok(()),
        }
    }
}

/// What ended a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloseReason {
    /// The peer closed its side in an orderly way.
    Eof,
    /// The child process ended, by itself or by a signal.
    Exited { code: Option<i32>, signal: Option<i32> },
    /// The peer sent a message larger than the limit.
    TooLarge { bytes_max: usize },
    /// Reading or writing failed.
    Io,
    /// The peer broke the rules of the transport.
    Protocol,
    /// We closed it.
    Stopped,
}

/// The reason a pump leaves behind for both halves of its pipe. Empty means a plain end of the stream.
pub(crate) type Ending = Arc<OnceLock<Closed>>;

/// The inner side of a queued pipe: a task that carries messages between the queues and a socket.
#[derive(Debug)]
pub(crate) struct Pump {
    /// What the pipe's owner sends; ends when he closes.
    pub(crate) outgoing: Receiver<Bytes>,
    /// What the pipe's owner will receive.
    pub(crate) incoming: Sender<Bytes>,
    /// Set before dropping the two others, so that the owner learns why.
    pub(crate) ending: Ending,
}

/// A pipe and the inner side that somebody has to serve.
pub(crate) fn plumb(len_max: usize) -> (Pipe, Pump) {
    let ending = Ending::default();
    let (tx, outgoing) = channel::bounded(len_max);
    let (incoming, queue) = channel::bounded(len_max);
    let pipe = Pipe {
        tx: PipeSender::queue(tx, Arc::clone(&ending)),
        rx: PipeReceiver {
            inlet: Inlet::Queue {
                queue,
                ending: Arc::clone(&ending),
            },
        },
    };
    (
        pipe,
        Pump {
            outgoing,
            incoming,
            ending,
        },
    )
}

impl Pump {
    /// Leaves the reason for both halves. The first reason wins: later ones are consequences of it.
    pub(crate) fn end(&self, closed: Closed) {
        let _first_reason_wins = self.ending.set(closed);
    }
}

#[derive(Debug)]
struct QueueSender {
    // `None` once closed. The sender is cloned out before waiting, so no lock is held over an await.
    queue: Mutex<Option<Sender<Bytes>>>,
    ending: Ending,
}

impl QueueSender {
    async fn send(&self, message: Bytes) -> Result<(), Closed> {
        let Some(queue) = self.open() else {
            return Err(stopped());
        };
        queue
            .send(message)
            .await
            .map_err(|_refused| ending_of(&self.ending))
    }

    fn close(&self) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn is_closed(&self) -> bool {
        self.open().is_none_or(|queue| queue.is_closed())
    }

    fn open(&self) -> Option<Sender<Bytes>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(crate) fn stopped() -> Closed {
    Closed::new(CloseReason::Stopped, "the connection was closed on this side")
}

fn ending_of(ending: &Ending) -> Closed {
    ending
        .get()
        .cloned()
        .unwrap_or_else(|| Closed::new(CloseReason::Eof, "the peer closed the connection"))
}
