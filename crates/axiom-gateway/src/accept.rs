//! The HTTP side towards clients: path to endpoint, method to handler.
//!
//! | path                                  | what                                            |
//! |---------------------------------------|-------------------------------------------------|
//! | `/mcp`, `/s/<server>/mcp`, `/v/<view>/mcp` | Streamable HTTP, both eras                 |
//! | the same with `sse` and `message`     | HTTP+SSE of 2024-11-05                          |
//! | the same with `ws`                    | WebSocket                                       |
//! | `/healthz`, `/readyz`                 | alive; able to serve                            |
//! | `/api/v1/servers`                     | every server's state                            |
//! | `/api/v1/events/shard`, `/blocks`     | the event log, for a node that keeps a copy     |
//! | `/api/v1/stats`                       | how many calls there were, and how they went    |
//! | more below `/api/v1/`                 | what the binary adds ([`Annex`])                |

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axiom_core::{Draining, spawn};
use axiom_transport::server::{self, Body, ServerOptions};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use hyper::body::Incoming;

use crate::gateway::{self, Gateway};
use crate::plan::Endpoint;
use crate::replica;

pub use annex::Annex;
pub(crate) use events::last_word;
pub(crate) use sse::SseClients;
pub(crate) use standing::close as close_session;

mod admin;
mod annex;
mod blocks;
mod events;
mod guard;
mod post;
mod sse;
mod standing;
mod upgrade;

/// Why the listener could not be served.
#[derive(Debug, thiserror::Error)]
#[error("failed to serve {addr}: {source}")]
pub struct ServeError {
    pub addr: String,
    source: std::io::Error,
}

/// Serves clients on `listener` until a drain is asked for, then lets running calls finish, within the limit.
///
/// # Errors
/// When the listener or a worker thread cannot be set up.
pub async fn serve_http(
    gateway: Arc<Gateway>,
    listener: TcpListener,
    draining: Draining,
) -> Result<(), ServeError> {
    let addr = listener
        .local_addr()
        .map_or_else(|_| "the listener".to_owned(), |addr| addr.to_string());
    let limits = gateway.options().limits;
    let options = ServerOptions {
        connections_max: limits.connections_max,
        workers: std::thread::available_parallelism().map_or(1, usize::from),
        head_timeout: limits.request_timeout,
        drain_timeout: limits.drain_timeout,
    };
    drop(spawn(
        "watch for shutdown",
        gateway::watch_drain(Arc::clone(&gateway), draining.clone()),
    ));
    let sse_clients = Arc::new(SseClients::default());
    let service = move |request, peer| {
        let (gateway, sse_clients) = (Arc::clone(&gateway), Arc::clone(&sse_clients));
        async move { guard::for_no_page(handle(&gateway, &sse_clients, request, peer).await) }
    };
    match server::serve(listener, options, service, draining).await {
        Ok(true) => Ok(()),
        Ok(false) => {
            tracing::warn!("the drain deadline passed with calls still running; they were cut off");
            Ok(())
        }
        Err(source) => Err(ServeError { addr, source }),
    }
}

/// How a client reaches an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Streamable,
    Sse,
    SseMessage,
    WebSocket,
}

async fn handle(
    gateway: &Arc<Gateway>,
    sse_clients: &Arc<SseClients>,
    request: Request<Incoming>,
    peer: SocketAddr,
) -> Response<Body> {
    let plan = gateway.plan().clone();
    let path = request.uri().path();
    let door = door_of(path);
    if let Err(refusal) = guard::check(&plan.options, request.headers()) {
        // Another replica has checked its client, and knows this one by an address that clients need not know.
        let is_hop = matches!(door, Some((_, Door::Streamable | Door::SseMessage)))
            && replica::is_hop(&gateway.sealer, request.headers());
        if !is_hop {
            return Box::pin(refused(request, *refusal)).await;
        }
    }
    let Some((base, door)) = door else {
        let peer = guard::caller(peer, request.version(), request.headers());
        if let Some(annex) = gateway.annex(path) {
            if let Some(refusal) = blocks::refused_to(peer, annex.keeps_out(&plan.options)) {
                return Box::pin(refused(request, refusal)).await;
            }
            return Box::pin(annex.answer(request, peer)).await;
        }
        let (head, body) = request.into_parts();
        // Nothing here takes a body, but there may be one.
        Box::pin(server::discard(&head.headers, body)).await;
        let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
        if let Some(path) = path.strip_prefix(blocks::PREFIX) {
            return Box::pin(blocks::handle(gateway, peer, &head.method, path, query)).await;
        }
        return Box::pin(admin::handle(gateway, peer, &head.method, path, query)).await;
    };
    let Some(endpoint) = plan.endpoint(&base).cloned() else {
        let refusal = text(
            StatusCode::NOT_FOUND,
            format!("no endpoint {base}; see /api/v1/servers for what there is\n"),
        );
        return Box::pin(refused(request, refusal)).await;
    };
    match (door, request.method()) {
        (Door::Streamable, &Method::POST) => post::handle(gateway, endpoint, request).await,
        (Door::Streamable, &Method::GET) => {
            let (head, _) = request.into_parts();
            Box::pin(standing::open(gateway, &endpoint, &head)).await
        }
        (Door::Streamable, &Method::DELETE) => {
            let (head, _) = request.into_parts();
            Box::pin(standing::end_session(gateway, &endpoint, &head)).await
        }
        (Door::Sse, &Method::GET) => sse::open(gateway, sse_clients, endpoint),
        (Door::SseMessage, &Method::POST) => sse::message(gateway, sse_clients, request).await,
        (Door::WebSocket, &Method::GET) => upgrade::websocket(gateway, endpoint, request),
        (door, _) => Box::pin(refused(request, not_allowed(door, &endpoint))).await,
    }
}

/// A refusal, for a client that may still be writing. Whatever calls do not take is boxed here: every call's future would have room
/// for it.
async fn refused(request: Request<Incoming>, refusal: Response<Body>) -> Response<Body> {
    let (head, body) = request.into_parts();
    server::discard(&head.headers, body).await;
    refusal
}

/// Splits a path into the endpoint's name (its Streamable HTTP path) and the door.
fn door_of(path: &str) -> Option<(std::borrow::Cow<'_, str>, Door)> {
    let (front, last) = path.rsplit_once('/')?;
    let door = match last {
        "mcp" => return Some((path.into(), Door::Streamable)),
        "sse" => Door::Sse,
        "message" => Door::SseMessage,
        "ws" => Door::WebSocket,
        _ => return None,
    };
    Some((format!("{front}/mcp").into(), door))
}

fn not_allowed(door: Door, endpoint: &Endpoint) -> Response<Body> {
    let allow = match door {
        Door::Streamable => "POST, GET, DELETE",
        Door::Sse | Door::WebSocket => "GET",
        Door::SseMessage => "POST",
    };
    let mut response = text(
        StatusCode::METHOD_NOT_ALLOWED,
        format!("{} takes {allow}; it speaks MCP\n", endpoint.path),
    );
    response
        .headers_mut()
        .insert(header::ALLOW, HeaderValue::from_static(allow));
    response
}

/// A response for people and scripts.
fn text(status: StatusCode, body: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into().into_bytes()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(header::SERVER, HeaderValue::from_static("axiom"));
    response
}

/// A replica's sign with another request than it was made for, or too late.
fn stale_hop() -> Response<Body> {
    text(
        StatusCode::FORBIDDEN,
        "this request says that it comes from another replica; it does not, or it took too long\n",
    )
}

/// A JSON response.
fn json(status: StatusCode, body: impl Into<Body>) -> Response<Body> {
    let mut response = Response::new(body.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
