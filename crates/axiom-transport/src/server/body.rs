//! What a response may carry: nothing, bytes at hand, or a stream.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};

/// A response body. Bytes at hand are sent as they are, in order, in one gathered write, with a `content-length`.
pub enum Body {
    Empty,
    One(Bytes),
    Many(VecDeque<Bytes>),
    Stream(Pin<Box<dyn HttpBody<Data = Bytes, Error = BodyError> + Send>>),
}

/// Why a body that had begun could not be finished. The connection is closed, so that the client sees a cut, not an end.
#[derive(Debug, thiserror::Error)]
#[error("the response was cut: {reason}")]
pub struct BodyError {
    pub reason: String,
}

impl Body {
    pub fn stream(body: impl HttpBody<Data = Bytes, Error = BodyError> + Send + 'static) -> Body {
        Body::Stream(Box::pin(body))
    }
}

impl std::fmt::Debug for Body {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Body::Empty => f.write_str("Empty"),
            Body::One(bytes) => write!(f, "One({} B)", bytes.len()),
            Body::Many(parts) => write!(f, "Many({} parts)", parts.len()),
            Body::Stream(_) => f.write_str("Stream"),
        }
    }
}

impl From<Bytes> for Body {
    fn from(bytes: Bytes) -> Body {
        if bytes.is_empty() {
            Body::Empty
        } else {
            Body::One(bytes)
        }
    }
}

impl From<Vec<u8>> for Body {
    fn from(bytes: Vec<u8>) -> Body {
        Body::from(Bytes::from(bytes))
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = self.get_mut();
        let next = match this {
            Body::Empty => None,
            Body::One(_) => match std::mem::replace(this, Body::Empty) {
                Body::One(bytes) => Some(bytes),
                _ => None,
            },
            Body::Many(parts) => parts.pop_front(),
            Body::Stream(stream) => return stream.as_mut().poll_frame(cx),
        };
        Poll::Ready(next.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Empty => true,
            Body::One(_) => false,
            Body::Many(parts) => parts.is_empty(),
            Body::Stream(stream) => stream.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Empty => SizeHint::with_exact(0),
            Body::One(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::Many(parts) => SizeHint::with_exact(parts.iter().map(|part| part.len() as u64).sum()),
            Body::Stream(stream) => stream.size_hint(),
        }
    }
}
