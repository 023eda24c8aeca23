//! Hands out an answer's body piece by piece, and returns the connection to the pool at its end.

use std::future::poll_fn;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};

use super::connection::Connection;
use super::error::HttpError;
use super::framing::Framing;
use super::pool;
use super::target::Target;

/// The body of an answer. Dropping it before its end closes the connection: that cancels the request.
#[derive(Debug)]
pub struct AnswerBody {
    rest: Rest,
    content_length: Option<u64>,
    at: Arc<str>,
}

#[derive(Debug)]
enum Rest {
    /// All of it came with the head, so the connection is free already.
    Whole(Bytes),
    // Boxed: a body that is still arriving is large, and the common one is not.
    Arriving(Box<Arriving>),
    Done,
}

#[derive(Debug)]
struct Arriving {
    connection: Connection,
    target: Target,
    framing: Framing,
    reusable: bool,
    idle_max: Option<Duration>,
}

impl AnswerBody {
    pub(super) fn new(
        mut connection: Connection,
        target: &Target,
        framing: Framing,
        reusable: bool,
        idle_max: Option<Duration>,
    ) -> Self {
        let at = Arc::clone(target.at());
        let content_length = match framing {
            Framing::Length { left } => Some(left),
            Framing::Done => Some(0),
            Framing::Chunked(_) | Framing::UntilClose => None,
        };
        let whole_bytes = content_length.and_then(|length| usize::try_from(length).ok());
        let rest = match whole_bytes.filter(|length| *length <= connection.received.len()) {
            Some(length) => {
                let whole = connection.received.split_to(length).freeze();
                release(target, connection, reusable, idle_max);
                Rest::Whole(whole)
            }
            None => {
                if let Framing::Length { left } = framing {
                    connection.expect(left - connection.received.len() as u64);
                }
                Rest::Arriving(Box::new(Arriving {
                    connection,
                    target: target.clone(),
                    framing,
                    reusable,
                    idle_max,
                }))
            }
        };
        AnswerBody {
            rest,
            content_length,
            at,
        }
    }

    /// The next piece as it arrived, never empty; `None` at the end. After an error the body is over.
    ///
    /// # Errors
    /// [`HttpError::Broken`] if the server went away before the announced end, [`HttpError::Protocol`] if the framing
    /// is not valid.
    ///
    /// # Cancel safety
    /// Safe: nothing is taken from the body until the call returns it.
    pub async fn chunk(&mut self) -> Option<Result<Bytes, HttpError>> {
        poll_fn(|cx| self.poll_chunk(cx)).await
    }

    /// As [`AnswerBody::chunk`], for callers that implement a body or a stream themselves.
    pub fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, HttpError>>> {
        let Rest::Arriving(arriving) = &mut self.rest else {
            let whole = std::mem::replace(&mut self.rest, Rest::Done);
            return Poll::Ready(match whole {
                Rest::Whole(whole) if !whole.is_empty() => Some(Ok(whole)),
                _ => None,
            });
        };
        let outcome = ready!(arriving.poll_chunk(cx));
        let is_over = arriving.framing == Framing::Done;
        if (is_over || !matches!(outcome, Ok(Some(_))))
            && let Rest::Arriving(arriving) = std::mem::replace(&mut self.rest, Rest::Done)
        {
            let Arriving {
                connection,
                target,
                reusable,
                idle_max,
                ..
            } = *arriving;
            release(&target, connection, reusable && is_over, idle_max);
        }
        Poll::Ready(outcome.map_err(|failure| failure.at(&self.at)).transpose())
    }

    /// The announced length of the whole body; `None` if it is chunked or lasts until the server closes.
    pub fn content_length(&self) -> Option<u64> {
        self.content_length
    }

    /// The whole body, if it has at most `bytes_max` bytes. One that came in one piece is not copied.
    ///
    /// # Errors
    /// [`HttpError::TooLarge`], or as [`AnswerBody::chunk`].
    pub async fn collect(mut self, bytes_max: usize) -> Result<Bytes, HttpError> {
        let too_large = || HttpError::TooLarge {
            at: Arc::clone(&self.at),
            bytes_max,
        };
        if self
            .content_length
            .is_some_and(|length| length > bytes_max as u64)
        {
            return Err(too_large());
        }
        let Some(first) = self.chunk().await.transpose()? else {
            return Ok(Bytes::new());
        };
        if first.len() > bytes_max {
            return Err(HttpError::TooLarge {
                at: self.at,
                bytes_max,
            });
        }
        let Some(second) = self.chunk().await.transpose()? else {
            return Ok(first);
        };
        let whole_bytes = self
            .content_length
            .and_then(|length| usize::try_from(length).ok());
        let mut whole = BytesMut::with_capacity(whole_bytes.unwrap_or(first.len() + second.len()));
        whole.extend_from_slice(&first);
        let mut next = Some(second);
        while let Some(piece) = next {
            if whole.len() + piece.len() > bytes_max {
                return Err(HttpError::TooLarge {
                    at: self.at,
                    bytes_max,
                });
            }
            whole.extend_from_slice(&piece);
            next = self.chunk().await.transpose()?;
        }
        Ok(whole.freeze())
    }
}

impl Arriving {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Bytes>, Failure>> {
        loop {
            let piece = self
                .framing
                .take(&mut self.connection.received)
                .map_err(Failure::Protocol)?;
            if piece.is_some() || self.framing == Framing::Done {
                return Poll::Ready(Ok(piece));
            }
            if ready!(self.connection.poll_fill(cx)).map_err(Failure::Io)? == 0 {
                if self.framing == Framing::UntilClose {
                    self.framing = Framing::Done;
                    return Poll::Ready(Ok(None));
                }
                let cut = io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed it");
                return Poll::Ready(Err(Failure::Io(cut)));
            }
        }
    }
}

enum Failure {
    Io(io::Error),
    Protocol(&'static str),
}

impl Failure {
    fn at(self, at: &Arc<str>) -> HttpError {
        let at = Arc::clone(at);
        match self {
            Failure::Io(cause) => HttpError::Broken {
                at,
                request_sent: true,
                cause: Arc::new(cause),
            },
            Failure::Protocol(what) => HttpError::Protocol { at, what },
        }
    }
}

/// Bytes after the end of an answer belong to nobody: such a connection is closed.
fn release(target: &Target, connection: Connection, reusable: bool, idle_max: Option<Duration>) {
    if reusable && connection.received.is_empty() {
        pool::give(target, connection, idle_max);
    }
}
