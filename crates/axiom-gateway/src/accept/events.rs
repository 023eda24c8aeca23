//! Event streams towards clients: the answers to one POST, or the news of a subscription.
//!
//! A legacy stream can be resumed: a task of its own reads the server and writes into a [`ReplayStream`], whoever
//! listens. A modern stream is the call itself: when the client closes it, the call ends.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axiom_core::channel::{self, Receiver, Sender};
use axiom_core::{spawn, time};
use axiom_protocol::revision::Revision;
use axiom_transport::replay::{ReplayReader, ReplayStream, Replayed};
use axiom_transport::server::{Body, BodyError};
use axiom_transport::sse;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, header};
use http_body::{Body as HttpBody, Frame, SizeHint};

use crate::call::Call;
use crate::exchange::{Rest, Step};
use crate::gateway::Gateway;
use crate::phase::Caller;
use crate::session::Session;
use crate::subscribe::{self, Subscription};

/// Silence after which a comment is sent, so that nothing in between takes the connection for dead.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_COMMENT: Bytes = Bytes::from_static(b": \n\n");
/// Events between a call and a slow client; then the call waits.
const EVENTS_MAX: usize = 16;

/// A stream that ends at once: the call was cancelled, and a cancelled call gets no answer.
pub(super) fn nothing() -> Response<Body> {
    events(Body::Empty)
}

/// The rest of a call as a stream. `first` has been taken from it already.
pub(super) fn stream(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    call: Box<Call>,
    first: Option<Bytes>,
    id: Option<Bytes>,
) -> Response<Body> {
    match caller {
        Caller::Legacy(session) => legacy(gateway, session, call, first, id),
        Caller::Modern { .. } => modern(gateway, call, first, id),
    }
}

fn legacy(
    gateway: &Arc<Gateway>,
    session: &Arc<Session>,
    call: Box<Call>,
    first: Option<Bytes>,
    id: Option<Bytes>,
) -> Response<Body> {
    let limits = gateway.plan().options.limits.clone();
    let stream = session.open_stream(limits.replay_bytes_max);
    // An event without data breaks clients older than the revision that introduced it.
    let reader = stream.read(session.revision() >= Revision::V2025_11_25);
    let session = Arc::downgrade(session);
    drop(spawn("call stream", async move {
        if let Some(first) = first {
            stream.push(&first);
        }
        pump(call, &stream, id).await;
        stream.end();
        // The session has it too; it alone decides how much is kept, and for how many calls.
        let stream_id = stream.id();
        drop(stream);
        time::sleep(limits.replay_ttl).await;
        if let Some(session) = session.upgrade() {
            session.forget_stream(stream_id);
        }
    }));
    events(Body::stream(Replaying::new(reader, None)))
}

/// Writes what a call yields into its stream, no faster than the client reads.
async fn pump(mut call: Box<Call>, stream: &ReplayStream, id: Option<Bytes>) {
    loop {
        stream.room().await;
        match call.next().await {
            Step::Notice(notice) => stream.push(&notice),
            Step::Done(result) => {
                if let Some(last) = last_word(&mut call, result, id.as_deref()).await {
                    stream.push(&last);
                }
                return;
            }
        }
    }
}

/// The message that ends a call; `None` if it was cancelled.
pub(crate) async fn last_word(
    call: &mut Call,
    result: Result<crate::exchange::Final, crate::fault::Fault>,
    id: Option<&[u8]>,
) -> Option<Bytes> {
    let server = call.server().to_owned();
    let bytes_max = call.link().limits().bytes_max;
    let whole = match result {
        Ok(answer) => answer.collect(bytes_max, &server).await,
        Err(fault) => Err(fault),
    };
    match whole {
        Ok(bytes) => Some(bytes),
        Err(crate::fault::Fault::Cancelled) => None,
        Err(fault) => Some(Bytes::from(fault.body(id))),
    }
}

fn modern(
    gateway: &Arc<Gateway>,
    mut call: Box<Call>,
    first: Option<Bytes>,
    id: Option<Bytes>,
) -> Response<Body> {
    let (tx, rx) = channel::bounded(EVENTS_MAX);
    let gateway = Arc::clone(gateway);
    drop(spawn("call stream", async move {
        let mut next = first.map(Step::Notice);
        loop {
            let step = match next.take() {
                Some(step) => step,
                None => tokio::select! {
                    // cancel-safe: see `Call::next`
                    step = call.next() => step,
                    // The client closed the stream: dropping the call cancels it.
                    () = tx.closed() => return,
                    // A subscription would outlast every drain; it ends in order.
                    () = gateway.drain_begun(), if call.is_subscription() => {
                        let goodbye = subscribe::goodbye(id.as_deref().unwrap_or(b"null"));
                        // A client that left needs no answer.
                        let _left = tx.send(encoded(&goodbye)).await.is_err();
                        return;
                    }
                },
            };
            match step {
                Step::Notice(notice) => {
                    if tx.send(encoded(&notice)).await.is_err() {
                        return;
                    }
                }
                Step::Done(result) => {
                    if let Some(last) = last_word(&mut call, result, id.as_deref()).await {
                        // A client that left needs no answer.
                        let _left = tx.send(encoded(&last)).await.is_err();
                    }
                    return;
                }
            }
        }
    }));
    events(Body::stream(Queued::new(rx)))
}

/// A subscription's news, until the client leaves or the gateway shuts down.
pub(super) fn subscription(gateway: &Arc<Gateway>, mut subscription: Subscription) -> Response<Body> {
    let (tx, rx): (Sender<Bytes>, Receiver<Bytes>) = channel::bounded(EVENTS_MAX);
    let gateway = Arc::clone(gateway);
    drop(spawn("subscription", async move {
        loop {
            let (message, last) = tokio::select! {
                // cancel-safe: see `Subscription::next`
                told = subscription.next() => told,
                // cancel-safe: nothing is consumed
                () = gateway.drain_begun() => (subscription.goodbye(), true),
                // cancel-safe: nothing is consumed
                () = tx.closed() => return,
            };
            if tx.send(encoded(&message)).await.is_err() || last {
                return;
            }
        }
    }));
    events(Body::stream(Queued::new(rx)))
}

/// A session's standing stream, or an earlier stream taken up again.
pub(super) fn replay(gateway: &Arc<Gateway>, reader: ReplayReader) -> Response<Body> {
    events(Body::stream(Replaying::new(reader, Some(Arc::clone(gateway)))))
}

/// Messages from a queue, for HTTP+SSE.
pub(super) fn queue(events_rx: Receiver<Bytes>) -> Response<Body> {
    events(Body::stream(Queued::new(events_rx)))
}

pub(super) fn encoded(message: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(message.len() + 32);
    sse::encode(&mut event, Some("message"), None, message);
    Bytes::from(event)
}

fn events(body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/event-stream"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("no-cache, no-transform"),
    );
    // Tells reverse proxies not to hold events back.
    headers.insert(
        HeaderName::from_static("x-accel-buffering"),
        HeaderValue::from_static("no"),
    );
    response
}

/// Comments in silence.
struct KeepAlive {
    timer: Pin<Box<time::Sleep>>,
}

impl KeepAlive {
    fn new() -> KeepAlive {
        KeepAlive {
            timer: Box::pin(time::sleep(KEEP_ALIVE)),
        }
    }

    fn reset(&mut self) {
        self.timer.as_mut().reset(time::now() + KEEP_ALIVE);
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Bytes> {
        self.timer.as_mut().poll(cx).map(|()| {
            self.reset();
            KEEP_ALIVE_COMMENT
        })
    }
}

struct Replaying {
    reader: ReplayReader,
    keep_alive: KeepAlive,
    /// For a stream without an end of its own: it ends when the gateway does.
    until: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl Replaying {
    fn new(reader: ReplayReader, gateway: Option<Arc<Gateway>>) -> Replaying {
        let until = gateway.map(|gateway| {
            let until: Pin<Box<dyn Future<Output = ()> + Send>> =
                Box::pin(async move { gateway.drain_begun().await });
            until
        });
        Replaying {
            reader,
            keep_alive: KeepAlive::new(),
            until,
        }
    }
}

impl HttpBody for Replaying {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        match self.reader.poll_next(cx) {
            Poll::Ready(Replayed::Event(event)) => {
                self.keep_alive.reset();
                return Poll::Ready(Some(Ok(Frame::data(event))));
            }
            Poll::Ready(Replayed::End) => return Poll::Ready(None),
            Poll::Pending => {}
        }
        if let Some(until) = self.until.as_mut()
            && until.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(None);
        }
        self.keep_alive
            .poll(cx)
            .map(|comment| Some(Ok(Frame::data(comment))))
    }
}

struct Queued {
    queue: Receiver<Bytes>,
    keep_alive: KeepAlive,
}

impl Queued {
    fn new(queue: Receiver<Bytes>) -> Queued {
        Queued {
            queue,
            keep_alive: KeepAlive::new(),
        }
    }
}

impl HttpBody for Queued {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(event) = self.queue.poll_recv(cx) {
            self.keep_alive.reset();
            return Poll::Ready(event.map(|event| Ok(Frame::data(event))));
        }
        self.keep_alive
            .poll(cx)
            .map(|comment| Some(Ok(Frame::data(comment))))
    }
}

/// A large answer on its way through: what is here, then the rest as it comes.
pub(super) struct Passed {
    parts: VecDeque<Bytes>,
    rest: Rest,
    sent: u64,
}

impl Passed {
    pub(super) fn new(parts: VecDeque<Bytes>, rest: Rest) -> Passed {
        Passed { parts, rest, sent: 0 }
    }
}

impl HttpBody for Passed {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Some(part) = self.parts.pop_front() {
            self.sent += part.len() as u64;
            return Poll::Ready(Some(Ok(Frame::data(part))));
        }
        self.rest.poll_chunk(cx).map(|chunk| {
            chunk.map(|chunk| match chunk {
                Ok(chunk) => {
                    self.sent += chunk.len() as u64;
                    Ok(Frame::data(chunk))
                }
                Err(fault) => Err(BodyError {
                    reason: fault.to_string(),
                }),
            })
        })
    }

    fn size_hint(&self) -> SizeHint {
        self.rest.len.map_or_else(SizeHint::new, |len| {
            SizeHint::with_exact(len.saturating_sub(self.sent))
        })
    }
}
