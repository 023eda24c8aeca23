//! An HTTP/1.1 client for the gateway's call path: one connection, one request, no task in between.
//!
//! A request future writes and reads its connection itself, so an exchange costs one write, one read and one wake-up.
//! Idle connections wait in a pool of the thread that made them and never move to another one: each worker thread runs
//! its own runtime, and a connection belongs to the runtime it was opened on.
//!
//! Reading order: `target` (where to), `dial` (connect), `pool` (reuse), `connection` (one exchange), `head` (parse
//! the answer's head), `framing` (where the body ends), `body` (hand it out).
//!
//! Not supported, on purpose: HTTP/2, pipelining, proxies, redirects (an MCP endpoint that moved is a configuration
//! matter), content coding (never asked for), `Expect: 100-continue`.

mod body;
mod buffers;
mod connection;
mod dial;
mod error;
mod framing;
mod head;
mod pool;
mod target;

use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

pub use body::AnswerBody;
pub(crate) use dial::dial;
pub use error::{HttpError, TargetError};
pub use head::Headers;
pub use target::Target;

/// The head of an answer, and its body still to be read.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: Headers,
    pub body: AnswerBody,
}

impl Target {
    /// Sends a POST and returns when the head of the answer is here.
    ///
    /// `headers` come after the target's fixed ones, which win where both name the same header. There is no time limit
    /// on the answer: the caller knows how long a call may take.
    ///
    /// # Errors
    /// [`HttpError`] names the server; [`HttpError::retry_is_safe`] says whether the request was certainly not
    /// processed.
    ///
    /// # Cancel safety
    /// A dropped call closes its connection: that is how a request is cancelled.
    pub async fn post(
        &self,
        headers: &[(HeaderName, HeaderValue)],
        body: Bytes,
    ) -> Result<Answer, HttpError> {
        self.exchange("POST", headers, Some(body)).await
    }

    /// Sends a GET. Otherwise as [`Target::post`].
    pub async fn get(&self, headers: &[(HeaderName, HeaderValue)]) -> Result<Answer, HttpError> {
        self.exchange("GET", headers, None).await
    }

    /// Sends a DELETE. Otherwise as [`Target::post`].
    pub async fn delete(&self, headers: &[(HeaderName, HeaderValue)]) -> Result<Answer, HttpError> {
        self.exchange("DELETE", headers, None).await
    }

    async fn exchange(
        &self,
        method: &'static str,
        headers: &[(HeaderName, HeaderValue)],
        body: Option<Bytes>,
    ) -> Result<Answer, HttpError> {
        if let Some(connection) = pool::take(self) {
            match connection.exchange(self, method, headers, body.clone()).await {
                // The server closed this idle connection before it took the whole request: ask on a new one.
                Err(error) if error.retry_is_safe() => {
                    tracing::debug!(target = %self.at(), %error, "pooled connection was stale");
                }
                outcome => return outcome,
            }
        }
        let connection = connection::open(self).await?;
        connection.exchange(self, method, headers, body).await
    }
}
