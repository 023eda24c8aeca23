//! Health and status, for machines and people.

use std::net::SocketAddr;
use std::sync::Arc;

use axiom_transport::server::Body;
use http::{Method, Response, StatusCode};

use super::{blocks, json, text};
use crate::gateway::Gateway;
use crate::stats::StatsError;

/// What `/api/v1/stats` says where there is nothing to be counted.
const NOTHING_RECORDED: &str = concat!(
    r#"{"recording":false,"message":"this gateway records no events, so there are no statistics","#,
    r#""hint":"add a section [events] with dir = \"events\" to its configuration and start it again"}"#
);

pub(super) async fn handle(
    gateway: &Arc<Gateway>,
    peer: SocketAddr,
    method: &Method,
    path: &str,
    query: &str,
) -> Response<Body> {
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
        "/api/v1/servers" => match serde_json::to_vec(&gateway.overview().await) {
            Ok(body) => json(StatusCode::OK, body),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        "/api/v1/stats" => match blocks::stranger(peer, &gateway.plan().options) {
            Some(refusal) => refusal,
            None => stats(gateway, query).await,
        },
        "/" => text(
            StatusCode::OK,
            "This is Axiom, an MCP gateway.\n\nPoint your MCP client at /mcp (all servers), /s/<server>/mcp (one \
             server) or /v/<view>/mcp.\nOlder clients: /sse. WebSocket: /ws. Servers and their state: \
             /api/v1/servers. Calls in numbers: /api/v1/stats\n",
        ),
        _ => text(
            StatusCode::NOT_FOUND,
            "not found; MCP clients use /mcp, people start at /\n",
        ),
    }
}

async fn stats(gateway: &Arc<Gateway>, query: &str) -> Response<Body> {
    let Some(stats) = &gateway.stats else {
        return json(StatusCode::OK, NOTHING_RECORDED.as_bytes().to_vec());
    };
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let asked = pairs
        .find(|(key, _)| *key == "at_least")
        .map(|(_, value)| value.parse());
    let at_least = match asked.transpose() {
        Ok(at_least) => at_least,
        Err(_) => {
            return text(
                StatusCode::BAD_REQUEST,
                "at_least is a position in the event log: the offset of an event that must count, plus one\n",
            );
        }
    };
    match stats.report(at_least).await {
        Ok(body) => json(StatusCode::OK, body),
        Err(StatsError::NotYet(error)) => text(StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::{EventsOptions, Options};

    #[tokio::test]
    async fn strangers_get_no_numbers_of_events_unless_they_are_shared() {
        let events = |share| {
            let mut events = EventsOptions::new("none".into());
            events.share = share;
            events
        };
        let (ours, theirs) = ("127.0.0.1:9", "192.0.2.1:9");
        for (events, peer, path, status) in [
            (Some(events(false)), ours, "/api/v1/stats", 200),
            (Some(events(false)), theirs, "/api/v1/stats", 403),
            (Some(events(true)), theirs, "/api/v1/stats", 200),
            (None, theirs, "/api/v1/stats", 200),
            (Some(events(false)), theirs, "/api/v1/servers", 200),
            (Some(events(false)), theirs, "/healthz", 200),
        ] {
            let gateway = Gateway::new(Options {
                events,
                ..Options::default()
            });
            let peer: SocketAddr = peer.parse().unwrap();
            let response = handle(&gateway, peer, &Method::GET, path, "").await;
            assert_eq!(response.status(), status, "{peer} {path}");
        }
    }
}
