//! A POST to an endpoint: one message (or, in 2025-03-26, a batch), and its answer as JSON or as an event stream.
//!
//! Which of the two is decided by what comes first: an answer makes a JSON response, a notification or a long silence
//! makes a stream. So a quick call costs one plain response, whatever the server behind it prefers.

use std::sync::Arc;
use std::time::Duration;

use axiom_core::{Limit, spawn, time};
use axiom_protocol::envelope::{Kind, Limits};
use axiom_protocol::headers::MCP_SESSION_ID;
use axiom_protocol::revision::{Era, Revision};
use axiom_transport::server::{self, Body};
use bytes::{Bytes, BytesMut};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};

use super::{events, json};
use crate::batch;
use crate::call::Call;
use crate::exchange::{Final, Step};
use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::greet;
use crate::identify::{self, Who, identify};
use crate::message::Message;
use crate::phase::{self, Caller, Reply};
use crate::plan::Endpoint;
use crate::record::{Record, SessionState, Via};
use crate::replica::{self, Arrival, Lost};
use crate::session::Outlet;
use crate::task;

/// Silence after which a response begins as a stream, so that nothing in between takes the connection for dead.
const SILENCE: Duration = Duration::from_secs(10);

pub(super) async fn handle(
    gateway: &Arc<Gateway>,
    endpoint: Arc<Endpoint>,
    request: Request<Incoming>,
) -> Response<Body> {
    // While a call waits for its server, neither the request nor anything read from it is held.
    match take(gateway, &endpoint, request).await {
        Taken::Answered(response) => response,
        Taken::Waiting { call, caller, id } => respond(gateway, &caller, call, id).await,
    }
}

/// What a request has come to as soon as it was understood.
enum Taken {
    Answered(Response<Body>),
    Waiting {
        call: Box<Call>,
        caller: Caller,
        id: Option<Bytes>,
    },
}

async fn take(gateway: &Arc<Gateway>, endpoint: &Arc<Endpoint>, request: Request<Incoming>) -> Taken {
    let (head, body) = request.into_parts();
    if let Some(refusal) = refuse_media(&head.headers) {
        Box::pin(server::discard(&head.headers, body)).await;
        return Taken::Answered(refusal);
    }
    let (timeout, scan_limits) = {
        let limits = &gateway.plan().options.limits;
        let scan_limits = Limits {
            bytes_max: limits.message_bytes_max,
            depth_max: limits.depth_max,
        };
        (limits.request_timeout, scan_limits)
    };
    let bytes = match time::timeout(timeout, read(body, scan_limits.bytes_max)).await {
        Ok(Ok(bytes)) => bytes,
        Ok(Err(fault)) => return Taken::Answered(refuse(&fault, None, false)),
        Err(_) => {
            return Taken::Answered(super::text(
                StatusCode::REQUEST_TIMEOUT,
                "the request body did not arrive in time\n",
            ));
        }
    };
    let arrival = replica::arrival(&gateway.sealer, &head, &bytes);
    if arrival == Arrival::Stale {
        return Taken::Answered(super::stale_hop());
    }
    match Message::scan(bytes.clone(), &scan_limits) {
        Ok(message) => one(gateway, endpoint, &head, arrival, &message).await,
        Err(error) => Taken::Answered(match batch::split(&bytes, &scan_limits) {
            Ok(Some(items)) => {
                let batch = several(gateway, endpoint, &head, arrival, bytes, items, &scan_limits);
                Box::pin(batch).await
            }
            Ok(None) | Err(_) => {
                let id = error.id.map(|at| at.of(&bytes).to_vec());
                refuse(&Fault::Unreadable(error), id.as_deref(), false)
            }
        }),
    }
}

/// A body must say that it is JSON: a web page can send anything else to any address without asking. And a client must
/// take one of the two forms an answer may have.
fn refuse_media(headers: &HeaderMap) -> Option<Response<Body>> {
    let value = |name| {
        headers
            .get(name)
            .and_then(|value: &HeaderValue| value.to_str().ok())
    };
    let kind = value(header::CONTENT_TYPE).unwrap_or_default();
    let essence = kind.split(';').next().unwrap_or_default().trim();
    if !essence.eq_ignore_ascii_case("application/json") {
        let reason = format!("the content-type must be application/json, not '{kind}'\n");
        return Some(super::text(StatusCode::UNSUPPORTED_MEDIA_TYPE, reason));
    }
    let accept = value(header::ACCEPT)?;
    let takes = |kind: &str| accept.split(',').any(|range| range.trim().starts_with(kind));
    if ["application/json", "text/event-stream", "*/*", "application/*"]
        .into_iter()
        .any(takes)
    {
        return None;
    }
    let reason = "an answer is application/json or text/event-stream; accept both\n";
    Some(super::text(StatusCode::NOT_ACCEPTABLE, reason))
}

/// Reads a body of at most `bytes_max` bytes. One that arrives in one piece, as most do, is not copied.
async fn read(mut body: Incoming, bytes_max: usize) -> Result<Bytes, Fault> {
    let too_large = || Fault::TooLarge { bytes_max };
    if body.size_hint().lower() > bytes_max as u64 {
        return Err(too_large());
    }
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|error| Fault::InvalidRequest(format!("the request body broke off: {error}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if first.is_empty() {
            first = data;
            continue;
        }
        if rest.is_empty() {
            rest.extend_from_slice(&first);
        }
        rest.extend_from_slice(&data);
        if rest.len() > bytes_max {
            return Err(too_large());
        }
    }
    if first.len() > bytes_max {
        return Err(too_large());
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// One message.
async fn one(
    gateway: &Arc<Gateway>,
    endpoint: &Arc<Endpoint>,
    head: &Parts,
    arrival: Arrival,
    message: &Message,
) -> Taken {
    let headers = &head.headers;
    let mut record = gateway
        .recorder
        .begin(Via::Http, endpoint, message, Some(headers));
    let modern = message.envelope.in_meta.protocol_version.is_some() || says_modern(headers);
    let identified = identify(&gateway.sessions, endpoint, headers, message);
    if let Some(owner) = replica::owner_of(gateway, headers, &identified, message) {
        let era = if modern { Era::Modern } else { Era::Legacy };
        let body = message.bytes.clone();
        let passed = Box::pin(pass_on(gateway, &owner, head, arrival, body, era)).await;
        return Taken::Answered(match passed {
            Ok(passed) => {
                record.leave_to_another();
                passed
            }
            Err(fault) => {
                let fault = task::lost_with_replica(&gateway.sealer, endpoint, message, fault);
                refuse_recorded(&fault, message, modern, record)
            }
        });
    }
    let caller = match identified {
        Ok(Who::Caller(caller)) => caller,
        Ok(Who::Newcomer) => {
            return Taken::Answered(Box::pin(newcomer(gateway, endpoint, message, record)).await);
        }
        Err(fault) => return Taken::Answered(refuse_recorded(&fault, message, modern, record)),
    };
    Taken::Answered(match message.kind() {
        Kind::Request => match phase::request(gateway, endpoint, &caller, message, record).await {
            Ok(Reply::Call(call)) => {
                let id = message.envelope.id.map(|at| message.slice(at));
                return Taken::Waiting { call, caller, id };
            }
            Ok(Reply::Now(answer)) => whole(answer, caller.era() == Era::Modern),
            Ok(Reply::Subscription(subscription)) => events::subscription(gateway, subscription),
            Err(Fault::Cancelled) => events::nothing(),
            Err(fault) => refuse(&fault, message.id(), modern),
        },
        Kind::Notification => {
            phase::notification(endpoint, &caller, message);
            accepted()
        }
        Kind::Response | Kind::Error => match caller.session() {
            None => refuse(
                &Fault::InvalidRequest("this revision has no client responses".to_owned()),
                None,
                modern,
            ),
            Some(session) => match phase::answer(session, message) {
                Ok(()) => accepted(),
                Err(fault) => refuse(&fault, None, modern),
            },
        },
    })
}

/// Asks the replica that has what the request needs. One that another replica sent here has gone astray.
async fn pass_on(
    gateway: &Arc<Gateway>,
    owner: &str,
    head: &Parts,
    arrival: Arrival,
    body: Bytes,
    era: Era,
) -> Result<Response<Body>, Fault> {
    if arrival == Arrival::Replica {
        return Err(Lost::Gone.fault(era));
    }
    if gateway.is_draining() {
        return Err(Fault::ShuttingDown);
    }
    replica::forward(gateway, owner, head, body)
        .await
        .map_err(|lost| lost.fault(era))
}

fn says_modern(headers: &HeaderMap) -> bool {
    headers
        .get(axiom_protocol::headers::MCP_PROTOCOL_VERSION)
        .and_then(|value| Revision::parse(value.to_str().ok()?))
        .is_some_and(|revision| revision.era() == Era::Modern)
}

async fn newcomer(
    gateway: &Arc<Gateway>,
    endpoint: &Arc<Endpoint>,
    message: &Message,
    mut record: Record,
) -> Response<Body> {
    match greet::initialize(gateway, endpoint, message, Outlet::None).await {
        Ok((session, Reply::Now(mut answer))) => {
            gateway
                .recorder
                .session(&session, SessionState::Begun, Some(Via::Http));
            record.by(&Caller::Legacy(Arc::clone(&session)));
            record.answered(&mut answer);
            let token = gateway.sessions.mint(&session);
            if session.interactive {
                // A link may already belong to this very object.
                gateway.sessions.remember(&token, &session);
            }
            let mut response = whole(answer, false);
            if let Ok(token) = HeaderValue::from_str(&token) {
                response
                    .headers_mut()
                    .insert(HeaderName::from_static(MCP_SESSION_ID), token);
            }
            response
        }
        Ok((_, Reply::Call(_) | Reply::Subscription(_))) => refuse(&Fault::Cancelled, message.id(), false),
        Err(fault) => refuse_recorded(&fault, message, false, record),
    }
}

/// The response to a call: JSON if the answer comes first, else a stream.
async fn respond(
    gateway: &Arc<Gateway>,
    caller: &Caller,
    call: Box<Call>,
    id: Option<Bytes>,
) -> Response<Body> {
    let modern = caller.era() == Era::Modern;
    let mut call = Attended::new(call, modern);
    let Some(first) = call.first().await else {
        return events::stream(gateway, caller, call.take(), None, id);
    };
    match first {
        Step::Done(Ok(answer)) => {
            call.done();
            whole(answer, modern)
        }
        Step::Done(Err(Fault::Cancelled)) => {
            call.done();
            events::nothing()
        }
        Step::Done(Err(fault)) => {
            call.done();
            refuse(&fault, id.as_deref(), modern)
        }
        Step::Notice(notice) => events::stream(gateway, caller, call.take(), Some(notice), id),
    }
}

/// A call with a client waiting for its first word. If the client leaves meanwhile, a modern call ends; a legacy one
/// goes on in the background, because in those revisions a lost connection is no cancellation.
struct Attended {
    call: Option<Box<Call>>,
}

impl Attended {
    fn new(mut call: Box<Call>, modern: bool) -> Attended {
        call.cancel_on_drop(modern);
        Attended { call: Some(call) }
    }

    /// The first step, or `None` after a long silence.
    async fn first(&mut self) -> Option<Step> {
        let call = self.call.as_mut()?;
        let mut silence = Limit::new(SILENCE);
        tokio::select! {
            biased;
            // cancel-safe: what was received is kept in the call
            step = call.next() => Some(step),
            // cancel-safe: nothing is consumed
            () = silence.reached() => None,
        }
    }

    fn take(mut self) -> Box<Call> {
        self.call.take().expect("an attended call is taken once")
    }

    fn done(&mut self) {
        self.call = None;
    }
}

impl Drop for Attended {
    fn drop(&mut self) {
        let Some(mut call) = self.call.take() else { return };
        if !call.cancels_on_drop() {
            drop(spawn("finish abandoned call", async move {
                // What its server asks meanwhile still reaches the client, on another stream.
                drop(call.outcome().await);
            }));
        }
    }
}

/// A whole answer as one JSON response; a large one is passed through as it arrives.
fn whole(answer: Final, modern: bool) -> Response<Body> {
    let Final {
        status,
        mut parts,
        rest,
        ..
    } = answer;
    let status = if modern { status } else { StatusCode::OK };
    let body = match rest {
        None if parts.len() == 1 => Body::from(parts.pop_front().unwrap_or_default()),
        None => Body::Many(parts),
        Some(rest) => Body::stream(events::Passed::new(parts, rest)),
    };
    json(status, body)
}

fn accepted() -> Response<Body> {
    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::ACCEPTED;
    response
}

fn refuse(fault: &Fault, id: Option<&[u8]>, modern: bool) -> Response<Body> {
    let mut response = json(fault.status(modern), fault.body(id));
    if matches!(fault, Fault::Busy { .. } | Fault::ShuttingDown) {
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// The response to a request that came to nothing.
fn refuse_recorded(fault: &Fault, message: &Message, modern: bool, mut record: Record) -> Response<Body> {
    record.failed(fault);
    refuse(fault, message.id(), modern)
}

async fn several(
    gateway: &Arc<Gateway>,
    endpoint: &Arc<Endpoint>,
    head: &Parts,
    arrival: Arrival,
    body: Bytes,
    items: Vec<Bytes>,
    limits: &Limits,
) -> Response<Body> {
    let identified = identify::session_of(&gateway.sessions, endpoint, &head.headers);
    if let Some(owner) = replica::owner_of_session(gateway, &head.headers, &identified) {
        let passed = pass_on(gateway, &owner, head, arrival, body, Era::Legacy).await;
        return passed.unwrap_or_else(|fault| refuse(&fault, None, false));
    }
    let answers = match identified {
        Ok(session) => batch::handle(gateway, endpoint, session, items, limits, Via::Http).await,
        Err(fault) => Err(fault),
    };
    match answers {
        Ok(Some(parts)) => json(StatusCode::OK, Body::Many(parts)),
        Ok(None) => accepted(),
        Err(fault) => refuse(&fault, None, false),
    }
}
