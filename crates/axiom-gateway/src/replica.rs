//! Several gateways that serve the same clients: what only one of them has is asked there, directly and once.
//!
//! All replicas have the same keys, so each can read what another one sealed. Most of it needs nobody else: a session's
//! id and a list's cursor carry all there is. Two things live in one process only: what a legacy session has beyond its id
//! (the connections of its own, its standing stream, its subscriptions), and a call that is parked until its client comes
//! back. Their tokens name the replica that has them, and a request that needs one is passed on to it.
//!
//! | arrives here, sealed by another replica                          | handled           |
//! |------------------------------------------------------------------|-------------------|
//! | a session that servers may ask, or whose id does not carry all    | there, all of it  |
//! | any session: GET, DELETE, subscriptions, log level               | there             |
//! | any session: answers, notifications but `initialized`; batches   | there             |
//! | any session: cancellation of a call                              | where the call is |
//! | any session: every other request                                 | here              |
//! | 2024-11-05: a message to an HTTP+SSE stream                      | there             |
//! | 2026-07-28: `requestState` of a parked call                      | there             |
//! | a task, unless its server is a modern one on HTTP                | there             |
//!
//! A replica that is gone is not looked for: the client starts again. One that is slow is waited for, as long as its machine is
//! heard of.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axiom_protocol::envelope::Kind;
use axiom_protocol::headers::{LAST_EVENT_ID, MCP_SESSION_ID};
use axiom_protocol::method::Method;
use axiom_protocol::revision::Era;
use axiom_transport::http_client::{HttpError, Target};
use axiom_transport::replay::parse_event_id;
use axiom_transport::server::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};
use url::Url;

use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::identify::Who;
use crate::message::Message;
use crate::parking;
use crate::phase::Caller;
use crate::seal::{Owner, Purpose, Sealer};
use crate::session::Session;
use crate::task;

pub(crate) use hop::{Arrival, arrival, is_hop};

mod hop;
mod relay;

/// The ways to other replicas, so that connections to them are used again.
#[derive(Debug, Default)]
pub(crate) struct Replicas {
    /// By base URL.
    targets: Mutex<HashMap<String, Target>>,
}

/// A replica in the same cluster accepts within milliseconds. One that does not is gone, and its client should start again
/// rather than wait.
const DIAL_TIMEOUT: Duration = Duration::from_secs(2);
/// A connected one that is not heard of for so long, neither an answer nor the kernel's word that it has the request, is cut
/// off. A request that comes there later is refused anyway ([`hop`]).
const SILENCE_MAX: Duration = Duration::from_secs(hop::LIFETIME_S);
/// How often a request is sent to a replica that refuses it. One that stood still for a while gets requests when they are too
/// old, and executes none of them.
const ATTEMPTS_MAX: usize = 2;
/// Replicas that are remembered. Where they come and go, so do their addresses.
const TARGETS_MAX: usize = 1_024;

/// Why a replica did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lost {
    /// It never had the request.
    Gone,
    /// It may have had it.
    Died,
}

impl Lost {
    /// What a client is told: how to start again.
    pub(crate) fn fault(self, era: Era) -> Fault {
        match (era, self) {
            // Its session went with the replica, so `initialize` comes next.
            (Era::Legacy, Lost::Gone) => Fault::SessionUnknown,
            (Era::Legacy, Lost::Died) => Fault::ReplicaDied,
            (Era::Modern, _) => Fault::StateLost,
        }
    }
}

/// The replica that must handle a POST instead of this one.
pub(crate) fn owner_of(
    gateway: &Gateway,
    headers: &HeaderMap,
    identified: &Result<Who, Fault>,
    message: &Message,
) -> Option<Arc<str>> {
    match identified {
        Ok(Who::Caller(Caller::Legacy(session))) => {
            let owner = session.owner.clone();
            let owner = owner.filter(|_| needs_owner(session, message));
            owner.or_else(|| owner_of_task(gateway, message))
        }
        Ok(Who::Caller(Caller::Modern { .. })) if message.method().is_about_a_task() => {
            owner_of_task(gateway, message)
        }
        Ok(Who::Caller(Caller::Modern { .. })) => {
            let state = message.text(message.envelope.param.request_state)?;
            let opened = gateway.sealer.unseal(Purpose::Parked, &state).ok()?;
            let is_of_a_call = parking::is_of_a_call(&opened.plain);
            is_of_a_call.then(|| replica(opened.owner)).flatten()
        }
        Ok(Who::Newcomer) => None,
        Err(fault) => owner_of_unknown(gateway, headers, fault),
    }
}

/// The replica that has a task at a process or in a conversation of its own.
fn owner_of_task(gateway: &Gateway, message: &Message) -> Option<Arc<str>> {
    let is_about_a_task = message.method().is_about_a_task();
    is_about_a_task
        .then(|| task::owner(&gateway.sealer, message))
        .flatten()
}

/// The replica that has a session, for what is always handled there: its streams, its end, batches.
pub(crate) fn owner_of_session(
    gateway: &Gateway,
    headers: &HeaderMap,
    identified: &Result<Arc<Session>, Fault>,
) -> Option<Arc<str>> {
    match identified {
        Ok(session) => session.owner.clone(),
        Err(fault) => owner_of_unknown(gateway, headers, fault),
    }
}

/// Of a session that is too large for its id another replica's table says more. One that was ended here is ended, even if
/// its owner has not heard of it.
fn owner_of_unknown(gateway: &Gateway, headers: &HeaderMap, fault: &Fault) -> Option<Arc<str>> {
    if !matches!(fault, Fault::SessionUnknown) {
        return None;
    }
    let token = headers.get(MCP_SESSION_ID)?.to_str().ok()?;
    let owner = replica(gateway.sealer.owner(Purpose::Session, token))?;
    (!gateway.sessions.has_ended(token)).then_some(owner)
}

/// The replica that has the stream of an HTTP+SSE client, by the id in the place it POSTs to.
pub(crate) fn owner_of_stream(sealer: &Sealer, id: &str) -> Option<Arc<str>> {
    replica(sealer.owner(Purpose::Sse, id))
}

fn replica(owner: Owner) -> Option<Arc<str>> {
    match owner {
        Owner::Replica(owner) => Some(owner),
        Owner::Here | Owner::Unknown => None,
    }
}

/// True for what only the replica has that began the session.
fn needs_owner(session: &Session, message: &Message) -> bool {
    match (message.kind(), message.method()) {
        (Kind::Request, Method::ResourcesSubscribe | Method::ResourcesUnsubscribe | Method::SetLevel) => true,
        (Kind::Request, _) => session.interactive || session.pinned,
        // Nothing follows from it.
        (Kind::Notification, Method::Initialized) => false,
        (Kind::Notification, Method::Cancelled) => {
            let id = message.raw(message.envelope.param.request_id);
            !id.is_some_and(|id| session.with(|state| state.calls.contains_key(id)))
        }
        (Kind::Notification | Kind::Response | Kind::Error, _) => true,
    }
}

/// True if a GET asks for the rest of a stream that began here, although its session did not.
pub(crate) fn resumes_here(session: &Session, headers: &HeaderMap) -> bool {
    let last = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
    let stream = last.and_then(parse_event_id).map(|(stream, _)| stream);
    stream.is_some_and(|stream| stream != 0 && session.find_stream(stream).is_some())
}

/// Passes a request on to `owner` and its answer back. Dropping the future or the answer's body closes the connection, by
/// which the owner learns that the client left.
pub(crate) async fn forward(
    gateway: &Arc<Gateway>,
    owner: &str,
    head: &Parts,
    body: Bytes,
) -> Result<Response<Body>, Lost> {
    let path = head.uri.path();
    let place = head.uri.path_and_query().map_or(path, |place| place.as_str());
    let Some(target) = gateway.replicas.target(owner, place) else {
        return Err(Lost::Gone);
    };
    tracing::debug!(at = %target.at(), path, method = %head.method, "asking the replica that has it");
    for _ in 0..ATTEMPTS_MAX {
        let headers = headers_for(&gateway.sealer, head, &body);
        let answer = match head.method {
            http::Method::GET => target.get(&headers).await,
            http::Method::DELETE => target.delete(&headers).await,
            _ => target.post(&headers, body.clone()).await,
        };
        match answer {
            // It has done nothing but look at the headers.
            Ok(answer) if answer.status == StatusCode::FORBIDDEN => {
                tracing::debug!(at = %target.at(), "the request came too late");
            }
            Ok(answer) => return Ok(relay::response(gateway, answer, &head.method)),
            Err(error) => {
                tracing::warn!(at = %target.at(), %error, "the replica that has it did not answer");
                return Err(lost(&error));
            }
        }
    }
    tracing::warn!(at = %target.at(), "another replica refused a request; are the clocks apart?");
    Err(Lost::Gone)
}

fn lost(error: &HttpError) -> Lost {
    if error.retry_is_safe() {
        Lost::Gone
    } else {
        Lost::Died
    }
}

/// What the client said in headers, as far as the owner must know it, and the sign that this is a hop.
fn headers_for(sealer: &Sealer, head: &Parts, body: &[u8]) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers: Vec<_> = head
        .headers
        .iter()
        .filter(|(name, _)| is_passed_on(name))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    headers.push(hop::stamp(sealer, head, body));
    headers
}

fn is_passed_on(name: &HeaderName) -> bool {
    [header::ACCEPT, header::CONTENT_TYPE].contains(name)
        || name.as_str() == LAST_EVENT_ID
        || name.as_str().starts_with("mcp-")
}

impl Replicas {
    /// A place at a replica. `None` for a URL that is none; it was one in that replica's configuration.
    fn target(&self, owner: &str, place: &str) -> Option<Target> {
        let url = Url::parse(&format!("{owner}{place}")).ok()?;
        // No critical section leaves the map half-changed.
        let mut targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(target) = targets.get(owner) {
            return Some(target.with_url(url));
        }
        let target = Target::parse(owner, &BTreeMap::new()).ok()?;
        let target = target
            .with_dial_timeout(DIAL_TIMEOUT)
            .with_silence_max(SILENCE_MAX);
        if targets.len() >= TARGETS_MAX {
            targets.clear();
        }
        targets.insert(owner.to_owned(), target.clone());
        Some(target.with_url(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{Options, SealKey};
    use axiom_protocol::envelope::Limits;

    fn message(text: &str) -> Message {
        Message::scan(Bytes::from(text.to_owned()), &Limits::default()).unwrap()
    }

    #[tokio::test]
    async fn a_parked_call_is_continued_where_it_is() {
        let keys = vec![SealKey::random()];
        let [here, there] = ["http://a:1", "http://b:2"].map(|base| Sealer::new(&keys, Some(base)));
        let gateway = Gateway::new(Options {
            keys,
            advertise: Some("http://a:1".to_owned()),
            ..Options::default()
        });
        let check = |state: &str, expected: Option<&str>| {
            let text = format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"x","requestState":"{state}"}}}}"#
            );
            let modern = Ok(Who::Caller(Caller::Modern { mirrored: None }));
            let owner = owner_of(&gateway, &HeaderMap::new(), &modern, &message(&text));
            assert_eq!(owner.as_deref(), expected, "{state}");
        };
        // As `parking` writes them: the id of a call comes first, and zero is none.
        let call = [1; 60];
        check(&there.seal(Purpose::Parked, &call), Some("http://b:2"));
        check(&here.seal(Purpose::Parked, &call), None);
        check(&there.seal(Purpose::Parked, &[0; 60]), None);
        check(&there.seal(Purpose::Session, &call), None);
        check("a server's own", None);
        check("", None);
    }

    #[test]
    fn what_a_lost_replica_means() {
        let code = |lost: Lost, era: Era| {
            let fault = lost.fault(era);
            (fault.code(), fault.status(era == Era::Modern).as_u16())
        };
        assert_eq!(code(Lost::Gone, Era::Legacy), (-32001, 404));
        assert_eq!(code(Lost::Died, Era::Legacy), (1003, 200));
        for lost in [Lost::Gone, Lost::Died] {
            assert_eq!(code(lost, Era::Modern), (1010, 200));
        }
    }
}
