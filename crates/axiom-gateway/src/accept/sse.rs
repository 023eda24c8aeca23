//! HTTP+SSE of 2024-11-05: a GET opens the stream and names the place to POST to; answers come on the stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use axiom_core::{channel, spawn, time};
use axiom_transport::pipe::{self, PipeSender};
use axiom_transport::server::{self, Body};
use axiom_transport::sse;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use super::{events, text};
use crate::gateway::Gateway;
use crate::pipe::serve;
use crate::plan::Endpoint;
use crate::record::Via;
use crate::replica::{self, Arrival};
use crate::seal::Purpose;

/// The open streams, by the random id in the place to POST to.
#[derive(Debug, Default)]
pub(crate) struct SseClients {
    open: Mutex<HashMap<String, PipeSender>>,
}

/// Messages between a stream and the gateway, each way.
const MESSAGES_MAX: usize = 64;

/// GET: a new conversation.
pub(super) fn open(
    gateway: &Arc<Gateway>,
    clients: &Arc<SseClients>,
    endpoint: Arc<Endpoint>,
) -> Response<Body> {
    let id = gateway.sealer.seal(Purpose::Sse, &gateway.sealer.random_id());
    let (ours, theirs) = pipe::pair(MESSAGES_MAX);
    let (tx, rx) = channel::bounded(MESSAGES_MAX);
    let mut first = Vec::new();
    let front = endpoint.path.strip_suffix("/mcp").unwrap_or_default();
    let place = format!("{front}/message");
    sse::encode(
        &mut first,
        Some("endpoint"),
        None,
        format!("{place}?sessionId={id}").as_bytes(),
    );
    lock(clients).insert(id.clone(), theirs.tx);

    drop(spawn(
        "sse client",
        serve(Arc::clone(gateway), endpoint, ours, Via::Sse),
    ));
    let clients = Arc::clone(clients);
    let mut messages = theirs.rx;
    let gateway = Arc::clone(gateway);
    drop(spawn("sse stream", async move {
        let mut next = Bytes::from(first);
        while tx.send(next).await.is_ok() {
            next = tokio::select! {
                // cancel-safe: see `PipeReceiver::recv`
                message = messages.recv() => match message {
                    Ok(message) => events::encoded(&message),
                    Err(_) => break,
                },
                // cancel-safe: nothing is consumed
                () = tx.closed() => break,
                // cancel-safe: nothing is consumed
                () = gateway.drain_begun() => break,
            };
        }
        // The stream was the conversation: the pipe ends with it.
        if let Some(pipe) = lock(&clients).remove(&id) {
            pipe.close();
        }
    }));
    events::queue(rx)
}

/// POST: a message of the client.
pub(super) async fn message(
    gateway: &Arc<Gateway>,
    clients: &Arc<SseClients>,
    request: Request<Incoming>,
) -> Response<Body> {
    let limits = gateway.plan().options.limits.clone();
    let (head, body) = request.into_parts();
    let id = head
        .uri
        .query()
        .and_then(|query| query.split('&').find_map(|pair| pair.strip_prefix("sessionId=")))
        .unwrap_or("");
    let pipe = lock(clients).get(id).cloned();
    let owner = match &pipe {
        Some(_) => None,
        None => replica::owner_of_stream(&gateway.sealer, id),
    };
    if pipe.is_none() && owner.is_none() {
        server::discard(&head.headers, body).await;
        return no_stream();
    }
    let body = Limited::new(body, limits.message_bytes_max).collect();
    let bytes = match time::timeout(limits.request_timeout, body).await {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => {
            let reason = format!(
                "a message of more than {} B, or one that broke off\n",
                limits.message_bytes_max
            );
            return text(StatusCode::PAYLOAD_TOO_LARGE, reason);
        }
        Err(_) => {
            return text(
                StatusCode::REQUEST_TIMEOUT,
                "the message did not arrive in time\n",
            );
        }
    };
    let arrival = replica::arrival(&gateway.sealer, &head, &bytes);
    let pipe = match (pipe, owner, arrival) {
        (_, _, Arrival::Stale) => return super::stale_hop(),
        (Some(pipe), _, _) => pipe,
        (None, Some(owner), Arrival::Client) => {
            let passed = replica::forward(gateway, &owner, &head, bytes).await;
            return passed.unwrap_or_else(|_| no_stream());
        }
        (None, _, _) => return no_stream(),
    };
    match pipe.send(bytes).await {
        Ok(()) => text(StatusCode::ACCEPTED, "Accepted"),
        Err(_) => text(StatusCode::NOT_FOUND, "the stream has ended\n"),
    }
}

fn no_stream() -> Response<Body> {
    text(StatusCode::NOT_FOUND, "no such stream: open one with GET first\n")
}

fn lock(clients: &SseClients) -> std::sync::MutexGuard<'_, HashMap<String, PipeSender>> {
    // No critical section leaves the map half-changed.
    clients.open.lock().unwrap_or_else(PoisonError::into_inner)
}
