//! One exchange on one connection: write the request, read the head of the answer.

use std::future::poll_fn;
use std::io::{self, IoSlice, Write as _};
use std::mem;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderName, HeaderValue};
use tokio::io::{AsyncRead as _, AsyncReadExt as _, AsyncWrite as _, ReadBuf};

use super::Answer;
use super::body::AnswerBody;
use super::buffers;
use super::dial::{Stream, dial};
use super::error::HttpError;
use super::head::{self, Head};
use super::target::Target;

/// Room for one read. Most answers fit; a longer body doubles it up to the maximum, to need fewer system calls.
const READ_BYTES_MIN: usize = buffers::LANDING_BYTES;
const READ_BYTES_MAX: usize = 128 * 1024;

/// Up to this size a body is copied behind the head, so that one plain write sends both.
const COPY_BYTES_MAX: usize = 16 * 1024;

/// A connection to a server, between two exchanges or in one.
#[derive(Debug)]
pub(super) struct Connection {
    stream: Stream,
    /// The runtime it was opened on, and works on.
    pub(super) home: tokio::runtime::Id,
    /// Received and not yet handed out.
    pub(super) received: BytesMut,
    read_bytes: usize,
    /// Received in this exchange.
    exchange_bytes: usize,
    /// What the socket did not take at once of the request.
    request: Vec<u8>,
}

/// A new connection to `target`.
pub(super) async fn open(target: &Target) -> Result<Connection, HttpError> {
    let stream = dial(target).await?;
    Ok(Connection {
        stream,
        home: tokio::runtime::Handle::current().id(),
        received: BytesMut::new(),
        read_bytes: READ_BYTES_MIN,
        exchange_bytes: 0,
        request: Vec::new(),
    })
}

impl Connection {
    /// Sends a request and reads the head of its answer.
    ///
    /// # Cancel safety
    /// Dropping it drops the connection, which tells the server.
    pub(super) async fn exchange(
        mut self,
        target: &Target,
        method: &'static str,
        headers: &[(HeaderName, HeaderValue)],
        body: Option<Bytes>,
    ) -> Result<Answer, HttpError> {
        self.request = buffers::take_request();
        let rest = self.render(target, method, headers, body);
        let mut sending = Sending {
            rest,
            sent: 0,
            flushed: false,
            failure: None,
        };
        let head = poll_fn(|cx| self.poll_exchange(cx, &mut sending)).await;
        let whole_request_sent = sending.is_done(&self.request);
        let head = head.map_err(|failure| failure.at(target, whole_request_sent))?;
        tracing::trace!(target = %target.at(), method, status = head.status.as_u16(), "answer");
        // A server that answered before it took the whole request will not understand what follows it.
        let reusable = head.reusable && whole_request_sent;
        let body = AnswerBody::new(self, target, head.framing, reusable, head.idle_max);
        Ok(Answer {
            status: head.status,
            headers: head.headers,
            body,
        })
    }

    /// Renders the request into `self.request`; returns the body if it is too large to be copied there.
    fn render(
        &mut self,
        target: &Target,
        method: &'static str,
        headers: &[(HeaderName, HeaderValue)],
        body: Option<Bytes>,
    ) -> Bytes {
        let out = &mut self.request;
        out.extend_from_slice(method.as_bytes());
        out.extend_from_slice(target.rendered());
        for (name, value) in headers {
            if target.fixed().iter().any(|(fixed, _)| fixed == name) {
                continue;
            }
            for part in [name.as_str().as_bytes(), b": ", value.as_bytes(), b"\r\n"] {
                out.extend_from_slice(part);
            }
        }
        let Some(body) = body else {
            out.extend_from_slice(b"\r\n");
            return Bytes::new();
        };
        write!(out, "content-length: {}\r\n\r\n", body.len()).expect("a Vec takes every write");
        if body.len() > COPY_BYTES_MAX {
            return body;
        }
        out.extend_from_slice(&body);
        Bytes::new()
    }

    /// Drives both directions: a server may answer, and stop reading, before it has the whole request.
    fn poll_exchange(&mut self, cx: &mut Context<'_>, sending: &mut Sending) -> Poll<Result<Head, Failure>> {
        if !sending.is_over(&self.request) {
            self.write(cx, sending);
            if sending.is_done(&self.request) {
                buffers::give_request(mem::take(&mut self.request));
                sending.sent = 0;
            }
        }
        loop {
            let failure = match ready!(self.poll_fill(cx)) {
                Ok(0) => io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it"),
                Ok(fresh) => match self.parse_head(fresh) {
                    Ok(Some(head)) => return Poll::Ready(Ok(head)),
                    Ok(None) => continue,
                    Err(what) => return Poll::Ready(Err(Failure::Protocol(what))),
                },
                Err(error) => error,
            };
            // Why writing failed tells more than the end of the stream that follows from it.
            return Poll::Ready(Err(Failure::Io(sending.failure.take().unwrap_or(failure))));
        }
    }

    /// Parses the head once a line more has come: a server that sends it byte by byte must not cost a parse each.
    fn parse_head(&mut self, fresh: usize) -> Result<Option<Head>, &'static str> {
        let fresh = self
            .received
            .get(self.received.len() - fresh..)
            .unwrap_or_default();
        if memchr::memchr(b'\n', fresh).is_none() && self.received.len() <= head::HEAD_BYTES_MAX {
            return Ok(None);
        }
        head::parse(&mut self.received)
    }

    /// Writes as much as the socket takes. A failure is kept: the server's answer may still be there to read.
    fn write(&mut self, cx: &mut Context<'_>, sending: &mut Sending) {
        while sending.failure.is_none() && !sending.is_written(&self.request) {
            let head = self.request.get(sending.sent..).unwrap_or_default();
            let stream = Pin::new(&mut self.stream);
            let written = if sending.rest.is_empty() {
                stream.poll_write(cx, head)
            } else {
                stream.poll_write_vectored(cx, &[IoSlice::new(head), IoSlice::new(&sending.rest)])
            };
            match written {
                Poll::Ready(Ok(0)) => sending.failure = Some(io::ErrorKind::WriteZero.into()),
                Poll::Ready(Ok(count)) => {
                    let of_head = count.min(head.len());
                    sending.sent += of_head;
                    sending.rest.advance(count - of_head);
                }
                Poll::Ready(Err(error)) => sending.failure = Some(error),
                Poll::Pending => return,
            }
        }
        // Only TLS holds anything back.
        match Pin::new(&mut self.stream).poll_flush(cx) {
            Poll::Ready(Ok(())) => sending.flushed = true,
            Poll::Ready(Err(error)) => sending.failure = Some(error),
            Poll::Pending => {}
        }
    }

    /// Reads once into `received`. `Ok(0)` is the end of the stream.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (count, room) = if self.received.is_empty() && self.read_bytes == READ_BYTES_MIN {
            ready!(self.poll_fill_little(cx))?
        } else {
            self.make_room();
            let room = self.room();
            // The read future holds no state of its own, so a new one for each poll is the poll function tokio lacks.
            let count = ready!(pin!(self.stream.read_buf(&mut self.received)).poll(cx))?;
            (count, room)
        };
        self.exchange_bytes += count;
        if count == room {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
        Poll::Ready(Ok(count))
    }

    /// Reads an answer that is likely small into the thread's buffer and keeps a copy that is just as long. With hundreds
    /// of calls in flight, room for a whole read in each would be more memory than the processor's caches hold.
    fn poll_fill_little(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<(usize, usize)>> {
        buffers::with_landing(|landing| {
            let mut landing = ReadBuf::uninit(landing);
            let room = landing.capacity();
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut landing))?;
            self.received.extend_from_slice(landing.filled());
            Poll::Ready(Ok((landing.filled().len(), room)))
        })
    }

    fn make_room(&mut self) {
        // Half of it will do: a buffer whose slices are still in use elsewhere would have to be replaced.
        if self.room() >= self.read_bytes / 2 {
            return;
        }
        if self.read_bytes > READ_BYTES_MIN && self.received.is_empty() {
            self.received = buffers::take(self.read_bytes);
        } else {
            self.received.reserve(self.read_bytes);
        }
    }

    fn room(&self) -> usize {
        self.received.capacity() - self.received.len()
    }

    /// More than a first read's worth of body is announced: make room for it at once.
    pub(super) fn expect(&mut self, body_bytes: u64) {
        let body_bytes = usize::try_from(body_bytes).unwrap_or(READ_BYTES_MAX);
        self.read_bytes = body_bytes.clamp(READ_BYTES_MIN, READ_BYTES_MAX);
    }

    /// Gives back what an idle connection does not need, and remembers how much the next answer may bring: a server
    /// that sends 64 KiB once mostly does so again.
    pub(super) fn rest(&mut self) {
        let likely_bytes = self.exchange_bytes.next_power_of_two();
        self.read_bytes = likely_bytes
            .max(self.read_bytes / 2)
            .clamp(READ_BYTES_MIN, READ_BYTES_MAX);
        self.exchange_bytes = 0;
        let received = mem::take(&mut self.received);
        if self.read_bytes > READ_BYTES_MIN {
            buffers::give(received);
        }
        self.request = Vec::new();
    }
}

/// How far the request is.
struct Sending {
    /// A large body, less what was written of it.
    rest: Bytes,
    /// Bytes of the rendered request that were written.
    sent: usize,
    flushed: bool,
    failure: Option<io::Error>,
}

impl Sending {
    fn is_written(&self, request: &[u8]) -> bool {
        self.sent == request.len() && self.rest.is_empty()
    }

    fn is_done(&self, request: &[u8]) -> bool {
        self.flushed && self.is_written(request)
    }

    fn is_over(&self, request: &[u8]) -> bool {
        self.failure.is_some() || self.is_done(request)
    }
}

enum Failure {
    Io(io::Error),
    Protocol(&'static str),
}

impl Failure {
    fn at(self, target: &Target, request_sent: bool) -> HttpError {
        let at = Arc::clone(target.at());
        match self {
            Failure::Io(cause) => HttpError::Broken {
                at,
                request_sent,
                cause: Arc::new(cause),
            },
            Failure::Protocol(what) => HttpError::Protocol { at, what },
        }
    }
}
