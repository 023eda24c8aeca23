//! GET and DELETE of a legacy session: its standing stream, a broken stream taken up again, its end.

use std::sync::Arc;

use axiom_protocol::headers::{LAST_EVENT_ID, MCP_PROTOCOL_VERSION, MCP_SESSION_ID};
use axiom_protocol::revision::{Era, Revision};
use axiom_transport::replay::parse_event_id;
use axiom_transport::server::Body;
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};

use super::{events, json, text};
use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::identify::session_of;
use crate::plan::{Endpoint, Scope};
use crate::record::SessionState;
use crate::replica::{self, Arrival};
use crate::session::Session;
use crate::upstream::{Reader, Want};

/// GET: the standing stream of the session, or with `Last-Event-ID` the rest of the stream that broke.
pub(super) async fn open(gateway: &Arc<Gateway>, endpoint: &Endpoint, head: &Parts) -> Response<Body> {
    let headers = &head.headers;
    if let Some(refusal) = refuse_modern(headers) {
        return refusal;
    }
    let identified = session_of(&gateway.sessions, endpoint, headers);
    let is_here = |session: &Arc<Session>| replica::resumes_here(session, headers);
    if !identified.as_ref().is_ok_and(is_here)
        && let Some(owner) = replica::owner_of_session(gateway, headers, &identified)
    {
        return ask(gateway, &owner, head).await;
    }
    let session = match identified {
        Ok(session) => session,
        // A browser, or a client that probes for HTTP+SSE: there is no stream without a session.
        Err(Fault::SessionRequired) => return no_stream(endpoint),
        Err(fault) => return refuse(&fault),
    };
    if gateway.is_draining() {
        return refuse(&Fault::ShuttingDown);
    }
    let bytes_max = gateway.plan().options.limits.replay_bytes_max;
    let last = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
    let reader = match last {
        None => session
            .standing_stream(bytes_max)
            .map(|stream| stream.read(prime(&session))),
        // The standing stream of a session that was forgotten meanwhile: nothing was sent on it, or it would be here.
        Some(last) if last.starts_with("0-") && session.find_stream(0).is_none() => session
            .standing_stream(bytes_max)
            .map(|stream| stream.read(prime(&session))),
        Some(last) => parse_event_id(last).and_then(|(stream, sequence)| {
            Some(session.find_stream(stream)?.read_after(sequence, prime(&session)))
        }),
    };
    let Some(reader) = reader else {
        let fault =
            Fault::InvalidRequest("no stream to resume: it is too long ago, or was never ours".to_owned());
        return refuse(&fault);
    };
    gateway.hub.join(&session);
    events::replay(gateway, reader)
}

fn prime(session: &Session) -> bool {
    session.revision() >= Revision::V2025_11_25
}

fn no_stream(endpoint: &Endpoint) -> Response<Body> {
    let body = format!(
        "{} speaks MCP: clients POST to it. A GET needs the Mcp-Session-Id of a session (revisions 2025-03-26 to \
         2025-11-25); HTTP+SSE clients of 2024-11-05 use {}\n",
        endpoint.path,
        format_args!("{}/sse", endpoint.path.strip_suffix("/mcp").unwrap_or_default())
    );
    let mut response = text(StatusCode::METHOD_NOT_ALLOWED, body);
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static("POST, GET, DELETE"));
    response
}

/// DELETE: the client ends its session. What only it used at servers is ended too.
pub(super) async fn end_session(gateway: &Arc<Gateway>, endpoint: &Endpoint, head: &Parts) -> Response<Body> {
    let headers = &head.headers;
    if let Some(refusal) = refuse_modern(headers) {
        return refusal;
    }
    let token = headers.get(MCP_SESSION_ID).and_then(|value| value.to_str().ok());
    let identified = session_of(&gateway.sessions, endpoint, headers);
    let owner = replica::owner_of_session(gateway, headers, &identified);
    let ended = match identified {
        Ok(session) => {
            if let Some(token) = token {
                // It was found right now, so it ends right now.
                let _ended = gateway.sessions.end(token).is_some();
            }
            close(gateway, endpoint, &session);
            Response::new(Body::Empty)
        }
        Err(fault) => refuse(&fault),
    };
    // It ends here too, where calls of it may have run; what counts is the owner's word.
    match owner {
        Some(owner) => ask(gateway, &owner, head).await,
        None => ended,
    }
}

/// Asks the replica that has the session, unless another replica has sent the request here.
async fn ask(gateway: &Arc<Gateway>, owner: &str, head: &Parts) -> Response<Body> {
    match replica::arrival(&gateway.sealer, head, &[]) {
        Arrival::Client => {}
        Arrival::Replica => return refuse(&Fault::SessionUnknown),
        Arrival::Stale => return super::stale_hop(),
    }
    if gateway.is_draining() {
        return refuse(&Fault::ShuttingDown);
    }
    match replica::forward(gateway, owner, head, Bytes::new()).await {
        Ok(response) => response,
        // Whatever has become of it: there is no session any more.
        Err(_) => refuse(&Fault::SessionUnknown),
    }
}

/// Lets go of everything that only `session` used.
pub(crate) fn close(gateway: &Arc<Gateway>, endpoint: &Endpoint, session: &Arc<Session>) {
    gateway.recorder.session(session, SessionState::Ended, None);
    gateway.hub.leave(session.id);
    session.with(|state| {
        for stream in &state.streams {
            stream.end();
        }
        if let crate::session::Outlet::Stream(stream) = &state.outlet {
            stream.end();
        }
        state.asked.clear();
        for call in state.calls.values().filter(|call| call.is_at_no_server()) {
            call.cancel(None);
        }
    });
    let upstreams = match &endpoint.scope {
        Scope::One(upstream) => std::slice::from_ref(upstream),
        Scope::Group(group) => &group.members[..],
    };
    for upstream in upstreams {
        upstream.unwatch(Reader::Session(session.id), None);
    }
    for link in upstreams.iter().flat_map(|upstream| upstream.live_links()) {
        link.unsubscribe_all(session);
    }
    if !session.interactive {
        return;
    }
    let want = Want::of_session(session);
    for link in upstreams.iter().filter_map(|upstream| upstream.live_link(&want)) {
        link.stop("its client ended the session");
    }
}

/// 2026-07-28 has neither streams nor sessions to GET or DELETE.
fn refuse_modern(headers: &HeaderMap) -> Option<Response<Body>> {
    let version = headers.get(MCP_PROTOCOL_VERSION)?.to_str().ok()?;
    (Revision::parse(version)?.era() == Era::Modern).then(|| {
        let mut response = text(
            StatusCode::METHOD_NOT_ALLOWED,
            "revision 2026-07-28 has only POST\n",
        );
        response
            .headers_mut()
            .insert(header::ALLOW, HeaderValue::from_static("POST"));
        response
    })
}

fn refuse(fault: &Fault) -> Response<Body> {
    json(fault.status(false), fault.body(None))
}
