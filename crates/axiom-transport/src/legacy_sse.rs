//! The client of revision 2024-11-05's HTTP+SSE transport: one GET stream brings every message from the server, its first
//! event names the URL to which ours are posted.

use std::time::Duration;

use axiom_core::channel::{Receiver, Sender};
use axiom_core::time::timeout;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, header};
use url::Url;

use crate::http_client::{AnswerBody, HttpError, Target};
use crate::pipe::{CloseReason, Closed, Pipe, Pump, plumb, stopped};
use crate::sse::{Decoder, Event};

/// Messages that wait between the streams and the pipe's owner, each way.
const QUEUE_LEN_MAX: usize = 16;

/// From the GET to the `endpoint` event. Python servers under load need seconds.
const ENDPOINT_TIMEOUT: Duration = Duration::from_secs(30);

/// A POST is answered as soon as the server has taken the message, not when it has dealt with it.
const POST_TIMEOUT: Duration = Duration::from_secs(60);

/// The body of the answer to a POST ("Accepted") has no meaning; a longer one is not worth its connection.
const POST_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Why no conversation came about.
#[derive(Debug, thiserror::Error)]
pub enum SseConnectError {
    #[error(transparent)]
    Http(#[from] HttpError),
    #[error("{at} answered with status {status} where an event stream was expected")]
    Status { at: String, status: u16 },
    #[error("{at} answered with content type {content_type:?} where an event stream was expected")]
    ContentType { at: String, content_type: String },
    #[error("{at} did not name its endpoint within {} s", ENDPOINT_TIMEOUT.as_secs())]
    Timeout { at: String },
    #[error("the first event of {at} is not a valid `endpoint`: {what}")]
    Endpoint { at: String, what: String },
    // Following it would send our credentials to whomever the server names.
    #[error("{at} named an endpoint on another origin: {origin}")]
    ForeignEndpoint { at: String, origin: String },
}

/// Opens the stream and learns where to post.
///
/// # Errors
/// [`SseConnectError`]; a status of 404 or 405 means that the server does not speak this transport here.
///
/// # Cancel safety
/// A dropped call closes the connection.
pub async fn connect(target: &Target, message_bytes_max: usize) -> Result<Pipe, SseConnectError> {
    let opened = timeout(ENDPOINT_TIMEOUT, open(target, message_bytes_max)).await;
    let (stream, endpoint) = opened.map_err(|_| SseConnectError::Timeout {
        at: target.at().to_string(),
    })??;
    let (pipe, pump) = plumb(QUEUE_LEN_MAX);
    axiom_core::spawn("legacy sse", serve(stream, endpoint, pump, message_bytes_max));
    Ok(pipe)
}

async fn open(target: &Target, message_bytes_max: usize) -> Result<(Stream, Target), SseConnectError> {
    let at = || target.at().to_string();
    let answer = target
        .get(&[(header::ACCEPT, HeaderValue::from_static("text/event-stream"))])
        .await?;
    if !answer.status.is_success() {
        return Err(SseConnectError::Status {
            at: at(),
            status: answer.status.as_u16(),
        });
    }
    if !answer.headers.says("text/event-stream") {
        let content_type = answer.headers.get(&header::CONTENT_TYPE).unwrap_or_default();
        return Err(SseConnectError::ContentType {
            at: at(),
            content_type: String::from_utf8_lossy(content_type).into_owned(),
        });
    }
    let mut stream = Stream {
        body: answer.body,
        decoder: Decoder::new(message_bytes_max),
    };
    let invalid = |what: String| SseConnectError::Endpoint { at: at(), what };
    let first = stream
        .next()
        .await
        .map_err(|closed| invalid(closed.to_string()))?;
    if first.event.as_deref() != Some(b"endpoint") {
        return Err(invalid("it is a different event".into()));
    }
    let endpoint = std::str::from_utf8(&first.data).map_err(|error| invalid(error.to_string()))?;
    let endpoint = target
        .url()
        .join(endpoint)
        .map_err(|error| invalid(error.to_string()))?;
    same_origin(target.url(), &endpoint)
        .map_err(|origin| SseConnectError::ForeignEndpoint { at: at(), origin })?;
    Ok((stream, target.with_url(endpoint)))
}

fn same_origin(ours: &Url, theirs: &Url) -> Result<(), String> {
    let origin = theirs.origin();
    if origin == ours.origin() {
        Ok(())
    } else {
        Err(origin.ascii_serialization())
    }
}

async fn serve(mut stream: Stream, endpoint: Target, mut pump: Pump, bytes_max: usize) {
    let closed = tokio::select! {
        // Neither is polled again after this: the conversation is over.
        closed = read(&mut stream, &pump.incoming, bytes_max) => closed,
        closed = write(&endpoint, &mut pump.outgoing) => closed,
    };
    pump.end(closed);
}

async fn read(stream: &mut Stream, incoming: &Sender<Bytes>, bytes_max: usize) -> Closed {
    loop {
        let event = match stream.next().await {
            Ok(event) => event,
            Err(StreamEnd::TooLarge) => {
                let detail = format!("the server sent a message of more than {bytes_max} B");
                return Closed::new(CloseReason::TooLarge { bytes_max }, detail);
            }
            Err(StreamEnd::Eof) => {
                return Closed::new(CloseReason::Eof, "the server closed its event stream");
            }
            Err(StreamEnd::Http(error)) => return Closed::new(CloseReason::Io, error.to_string()),
        };
        let is_message = event.event.is_none_or(|kind| kind.as_ref() == b"message");
        if is_message && !event.data.is_empty() && incoming.send(event.data).await.is_err() {
            return stopped();
        }
    }
}

/// Posts one message after the other: the order of `initialize` and what follows it matters.
async fn write(endpoint: &Target, outgoing: &mut Receiver<Bytes>) -> Closed {
    const JSON: (HeaderName, HeaderValue) =
        (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    while let Some(message) = outgoing.recv().await {
        let posted = timeout(POST_TIMEOUT, async {
            let answer = endpoint.post(&[JSON], message).await?;
            let status = answer.status;
            // Read to its end, so that the next message finds this connection free.
            let _meaningless = answer.body.collect(POST_ANSWER_BYTES_MAX).await.is_ok();
            Ok::<_, HttpError>(status)
        });
        match posted.await {
            Ok(Ok(status)) if status.is_success() => {}
            Ok(Ok(status)) => {
                let detail = format!(
                    "{} refused a message with status {}",
                    endpoint.at(),
                    status.as_u16()
                );
                return Closed::new(CloseReason::Protocol, detail);
            }
            Ok(Err(error)) => return Closed::new(CloseReason::Io, error.to_string()),
            Err(_elapsed) => {
                let seconds = POST_TIMEOUT.as_secs();
                let detail = format!("{} did not take a message within {seconds} s", endpoint.at());
                return Closed::new(CloseReason::Io, detail);
            }
        }
    }
    stopped()
}

/// The events of a body.
#[derive(Debug)]
struct Stream {
    body: AnswerBody,
    decoder: Decoder,
}

/// Why there is no next event.
#[derive(Debug, thiserror::Error)]
enum StreamEnd {
    #[error("the stream ended")]
    Eof,
    #[error("it is too large")]
    TooLarge,
    #[error(transparent)]
    Http(HttpError),
}

impl Stream {
    async fn next(&mut self) -> Result<Event, StreamEnd> {
        loop {
            if let Some(event) = self.decoder.next().map_err(|_| StreamEnd::TooLarge)? {
                return Ok(event);
            }
            let chunk = self.body.chunk().await.ok_or(StreamEnd::Eof)?;
            self.decoder.feed(chunk.map_err(StreamEnd::Http)?);
        }
    }
}
