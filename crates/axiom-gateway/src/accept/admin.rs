//! Health and status, for machines and people.

use std::sync::Arc;

use axiom_transport::server::Body;
use http::{Method, Response, StatusCode};

use super::{json, text};
use crate::gateway::Gateway;

pub(super) fn handle(gateway: &Arc<Gateway>, method: &Method, path: &str) -> Response<Body> {
    if !matches!(*method, Method::GET | Method::HEAD) {
        return text(
            StatusCode::NOT_FOUND,
            "nothing here takes that; MCP clients POST to /mcp\n",
        );
    }
    match path {
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" if gateway.is_draining() => text(StatusCode::SERVICE_UNAVAILABLE, "shutting down\n"),
        "/readyz" => text(StatusCode::OK, "ready\n"),
        "/api/v1/servers" => match serde_json::to_vec(&gateway.overview()) {
            Ok(body) => json(StatusCode::OK, body),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        "/" => text(
            StatusCode::OK,
            "This is Axiom, an MCP gateway.\n\nPoint your MCP client at /mcp (all servers), /s/<server>/mcp (one \
             server) or /v/<view>/mcp.\nOlder clients: /sse. WebSocket: /ws. Servers and their state: \
             /api/v1/servers\n",
        ),
        _ => text(
            StatusCode::NOT_FOUND,
            "not found; MCP clients use /mcp, people start at /\n",
        ),
    }
}
