//! WebSocket: one pipe over an upgraded connection, subprotocol `mcp`.

use std::sync::Arc;

use axiom_core::spawn;
use axiom_transport::server::{Body, Place};
use axiom_transport::websocket;
use http::{HeaderValue, Request, Response, StatusCode, header};
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
    let Some(mut response) = websocket::switching_protocols(request.headers()) else {
        let mut response = text(
            StatusCode::UPGRADE_REQUIRED,
            "this is a WebSocket endpoint (subprotocol mcp)\n",
        );
        response
            .headers_mut()
            .insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        return response;
    };
    let offered = request.headers().get(header::SEC_WEBSOCKET_PROTOCOL);
    let offered = offered.and_then(|offered| offered.to_str().ok());
    let offers_mcp = offered.is_some_and(|offered| offered.to_ascii_lowercase().contains("mcp"));
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

    if offers_mcp {
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static("mcp"));
    }
    response
}
