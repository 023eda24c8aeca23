//! A stream of SSE events that a client may lose and take up again (2025-03-26 ... 2025-11-25, `Last-Event-ID`).
//!
//! The writer pushes messages and never waits. A reader takes events from a place in the stream. Events already read are
//! kept, up to a number of bytes, for a reader that comes back; the oldest go first. An event id is
//! `<stream>-<sequence>`: it names its stream, so that one header is enough to find the place.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use crate::sse;

/// One resumable stream. Cheap to clone; all clones are the same stream.
#[derive(Debug, Clone)]
pub struct ReplayStream {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    id: u64,
    bytes_max: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Encoded events, oldest first; the last one has sequence `next - 1`.
    events: VecDeque<Bytes>,
    bytes: usize,
    /// Sequence number of the next event, from 1. Number 0 is the priming event, which carries nothing.
    next: u64,
    ended: bool,
    /// Counts readers ever attached; only the newest reads.
    reader: u64,
    /// True while the newest reader is there.
    attached: bool,
    /// The next sequence that reader will get.
    reading: u64,
    waker: Option<Waker>,
    /// A writer that waits for the reader.
    writer: Option<Waker>,
}

/// A place in a stream: everything after it will be read.
#[derive(Debug)]
pub struct ReplayReader {
    stream: ReplayStream,
    reader: u64,
    next: u64,
    /// The id-only event that lets a client resume even if it saw nothing yet (2025-11-25).
    prime: bool,
}

/// What a reader finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Replayed {
    Event(Bytes),
    /// All was read and nothing more will come.
    End,
}

impl ReplayStream {
    /// An empty stream that keeps at most `bytes_max` bytes of events.
    pub fn new(id: u64, bytes_max: usize) -> Self {
        let state = Mutex::new(State {
            next: 1,
            ..State::default()
        });
        ReplayStream {
            shared: Arc::new(Shared { id, bytes_max, state }),
        }
    }

    pub fn id(&self) -> u64 {
        self.shared.id
    }

    /// Waits until a push would not make a reader lose events that it has not read yet. Without a reader there is
    /// always room: the stream keeps its bound then by forgetting the oldest.
    ///
    /// # Cancel safety
    /// Safe: nothing changes.
    pub async fn room(&self) {
        std::future::poll_fn(|cx| {
            let mut state = self.lock();
            if state.attached && state.reading < state.next && state.bytes >= self.shared.bytes_max / 2 {
                state.writer = Some(cx.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(())
        })
        .await;
    }

    /// Appends one message. What no longer fits is forgotten from the front, but never the newest event.
    pub fn push(&self, message: &[u8]) {
        let waker = {
            let mut state = self.lock();
            let sequence = state.next;
            state.next += 1;
            let mut event = Vec::with_capacity(message.len() + 48);
            sse::encode(
                &mut event,
                Some("message"),
                Some(&format!("{}-{sequence}", self.shared.id)),
                message,
            );
            state.bytes += event.len();
            state.events.push_back(Bytes::from(event));
            while state.bytes > self.shared.bytes_max && state.events.len() > 1 {
                let oldest = state.next - state.events.len() as u64;
                let unread = state.attached && oldest >= state.reading;
                // Whoever waits for room before a push overshoots by one message; who cannot wait gets twice the bound.
                if unread && state.bytes <= 2 * self.shared.bytes_max {
                    break;
                }
                let forgotten = state.events.pop_front().map_or(0, |event| event.len());
                state.bytes -= forgotten;
            }
            state.waker.take()
        };
        wake(waker);
    }

    /// Nothing more will be pushed.
    pub fn end(&self) {
        let waker = {
            let mut state = self.lock();
            state.ended = true;
            state.waker.take()
        };
        wake(waker);
    }

    /// True while somebody reads.
    pub fn has_reader(&self) -> bool {
        self.lock().attached
    }

    /// Reads from the first event that is still kept.
    pub fn read(&self, prime: bool) -> ReplayReader {
        self.read_after(0, prime)
    }

    /// Reads what came after event `sequence`; of one that has not been sent yet, all that will be. An earlier reader of
    /// the same stream ends: a message goes to one stream.
    pub fn read_after(&self, sequence: u64, prime: bool) -> ReplayReader {
        let (reader, next, waker) = {
            let mut state = self.lock();
            state.reader += 1;
            state.attached = true;
            state.reading = sequence.saturating_add(1).min(state.next);
            (state.reader, state.reading, state.waker.take())
        };
        wake(waker);
        ReplayReader {
            stream: self.clone(),
            reader,
            next,
            prime,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No critical section leaves the state half-changed.
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Splits an event id into stream and sequence.
pub fn parse_event_id(id: &str) -> Option<(u64, u64)> {
    let (stream, sequence) = id.split_once('-')?;
    Some((stream.parse().ok()?, sequence.parse().ok()?))
}

impl ReplayReader {
    /// The next event.
    ///
    /// # Cancel safety
    /// Safe: the place moves only when an event is returned.
    pub async fn next(&mut self) -> Replayed {
        std::future::poll_fn(|cx| self.poll_next(cx)).await
    }

    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Replayed> {
        let shared = Arc::clone(&self.stream.shared);
        if std::mem::take(&mut self.prime) {
            let mut event = Vec::new();
            sse::encode(
                &mut event,
                None,
                Some(&format!("{}-{}", shared.id, self.next - 1)),
                b"",
            );
            return Poll::Ready(Replayed::Event(Bytes::from(event)));
        }
        let mut state = self.stream.lock();
        if state.reader != self.reader {
            return Poll::Ready(Replayed::End);
        }
        let oldest = state.next - state.events.len() as u64;
        self.next = self.next.max(oldest);
        if self.next < state.next {
            let index = usize::try_from(self.next - oldest).unwrap_or(usize::MAX);
            if let Some(event) = state.events.get(index).cloned() {
                self.next += 1;
                state.reading = self.next;
                let writer = state.writer.take();
                drop(state);
                wake(writer);
                return Poll::Ready(Replayed::Event(event));
            }
        }
        if state.ended {
            return Poll::Ready(Replayed::End);
        }
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }
}

impl Drop for ReplayReader {
    fn drop(&mut self) {
        let writer = {
            let mut state = self.stream.lock();
            if state.reader == self.reader {
                state.waker = None;
                state.attached = false;
            }
            state.writer.take()
        };
        wake(writer);
    }
}

fn wake(waker: Option<Waker>) {
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn text(reader: &mut ReplayReader) -> String {
        match reader.next().await {
            Replayed::Event(event) => String::from_utf8(event.to_vec()).unwrap(),
            Replayed::End => "end".to_owned(),
        }
    }

    #[tokio::test]
    async fn a_reader_that_comes_back_goes_on_where_it_was() {
        let stream = ReplayStream::new(7, 1 << 10);
        stream.push(b"one");
        let mut reader = stream.read(true);
        assert_eq!(text(&mut reader).await, "id: 7-0\ndata: \n\n");
        assert_eq!(text(&mut reader).await, "event: message\nid: 7-1\ndata: one\n\n");
        drop(reader);
        stream.push(b"two");
        stream.end();
        let (id, sequence) = parse_event_id("7-1").unwrap();
        assert_eq!(id, stream.id());
        let mut again = stream.read_after(sequence, false);
        assert_eq!(text(&mut again).await, "event: message\nid: 7-2\ndata: two\n\n");
        assert_eq!(text(&mut again).await, "end");
    }

    #[tokio::test]
    async fn forgets_the_oldest_first_and_never_the_newest() {
        let stream = ReplayStream::new(1, 10);
        stream.push(b"one");
        stream.push(b"two");
        let mut reader = stream.read(false);
        assert_eq!(text(&mut reader).await, "event: message\nid: 1-2\ndata: two\n\n");
    }

    /// A client that has seen more than there is, say of a stream of the same number before a restart, misses nothing new.
    #[tokio::test]
    async fn a_reader_from_the_future_gets_what_comes() {
        for sequence in [2, 50, u64::MAX] {
            let stream = ReplayStream::new(1, 1 << 10);
            stream.push(b"seen");
            let mut reader = stream.read_after(sequence, false);
            stream.push(b"new");
            stream.end();
            assert_eq!(text(&mut reader).await, "event: message\nid: 1-2\ndata: new\n\n");
        }
    }

    #[tokio::test]
    async fn only_the_newest_reader_reads() {
        let stream = ReplayStream::new(1, 1 << 10);
        let mut old = stream.read(false);
        let mut new = stream.read(false);
        stream.push(b"x");
        assert_eq!(text(&mut old).await, "end");
        assert!(text(&mut new).await.contains("data: x"));
    }
}
