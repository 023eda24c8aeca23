//! WebSocket: one pipe over an upgraded connection, subprotocol `mcp`.

use std::sync::Arc;

use axiom_core::spawn;
use axiom_transport::server::{Body, Place};
use axiom_transport::websocket;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use super::text;
use crate::gateway::Gateway;
use crate::pipe::serve;
use crate::plan::Endpoint;
use crate::record::Via;

pub(super) fn websocket(
    gateway: &Arc<Gateway>,
    endpoint: Arc<Endpoint>,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let headers = request.headers();
    let is = |name: HeaderName, value: &str| {
        headers
            .get(name)
            .and_then(|given| given.to_str().ok())
            .is_some_and(|given| given.to_ascii_lowercase().contains(value))
    };
    let key = headers
        .get(header::SEC_WEBSOCKET_KEY)
        .and_then(|key| key.to_str().ok())
        .map(websocket::accept_key);
    let (true, true, Some(key)) = (
        is(header::UPGRADE, "websocket"),
        is(header::CONNECTION, "upgrade"),
        key,
    ) else {
        let mut response = text(
            StatusCode::UPGRADE_REQUIRED,
            "this is a WebSocket endpoint (subprotocol mcp)\n",
        );
        response
            .headers_mut()
            .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        return response;
    };
    let offers_mcp = is(header::SEC_WEBSOCKET_PROTOCOL, "mcp");
    let bytes_max = gateway.plan().options.limits.message_bytes_max;
    let upgraded = hyper::upgrade::on(&mut request);
    let gateway = Arc::clone(gateway);
    // The connection counts, and a drain waits for it, until the client has left.
    let place = request.extensions_mut().remove::<Place>();
    drop(spawn("websocket client", async move {
        let _place = place;
        match upgraded.await {
            Ok(io) => {
                serve(
                    gateway,
                    endpoint,
                    websocket::accept(TokioIo::new(io), bytes_max).await,
                    Via::WebSocket,
                )
                .await
            }
            Err(error) => tracing::debug!(%error, "a connection could not be upgraded"),
        }
    }));

    let mut response = Response::new(Body::Empty);
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    if let Ok(key) = HeaderValue::from_str(&key) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, key);
    }
    if offers_mcp {
        headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mcp"));
    }
    response
}
