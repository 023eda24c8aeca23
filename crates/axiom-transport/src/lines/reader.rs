//! Reads messages from lines, and finds out why there are no more.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::time;
use bytes::{Buf as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{Cause, cause_or};
use crate::pipe::{CloseReason, Closed};

/// Room for one read while messages are small, and within a large one: a pipe holds 64 KiB by default.
const READ_BYTES: usize = 16 * 1024;
const LARGE_READ_BYTES: usize = 64 * 1024;

/// A read with less room than this costs a new buffer instead of a system call more.
const READ_BYTES_MIN: usize = 4 * 1024;

/// After the peer's end is known, what it wrote before is still read for this long: a grandchild that holds the pipe
/// open must not keep a dead server's connection alive.
const LINGER: Duration = Duration::from_millis(100);

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
