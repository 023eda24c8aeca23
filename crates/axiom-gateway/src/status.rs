//! How each server is doing, for people and for `/api/v1/servers`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axiom_protocol::revision::Era;
use serde::Serialize;

use crate::catalog::ListKind;
use crate::options::Endpoint;
use crate::upstream::Upstream;

/// What `/api/v1/servers` answers.
#[derive(Debug, Serialize)]
pub(crate) struct Overview {
    /// `null` for a gateway that was started without a file.
    pub(crate) config_file: Option<String>,
    pub(crate) servers: Vec<ServerStatus>,
}

/// One server, as of now.
#[derive(Debug, Clone, Serialize)]
pub struct ServerStatus {
    pub name: String,
    /// `stdio`, `http`, `sse`, `websocket` or `in-process`.
    pub kind: &'static str,
    /// `up`, `starting`, `down` (with an error) or `idle` (not asked for yet).
    pub state: &'static str,
    /// The eras it is known to speak: `legacy`, `modern`.
    pub eras: Vec<&'static str>,
    /// The revisions of its live connections, newest first.
    pub revisions: Vec<&'static str>,
    /// Why it is down, or what went wrong last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When it came into this state, milliseconds since 1970. Known where events are recorded, of `up` and `down`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since_ms: Option<i64>,
    /// How often it came up again after it was down, over restarts of the gateway. Known where events are recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub restarts: Option<u64>,
    /// Why it went down last, however long ago that was. Known where events are recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_failure: Option<String>,
    /// Live connections: shared ones and clients' own.
    pub connections: usize,
    /// Process ids of its children.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pids: Vec<u32>,
    /// Items in its lists, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompts: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resources: Option<usize>,
    pub calls: u64,
    pub faults: u64,
    pub in_flight: u64,
    /// Of those, the calls that wait for an answer of their client.
    pub parked: u64,
}

pub(crate) fn of(upstream: &Arc<Upstream>) -> ServerStatus {
    let links = upstream.live_links();
    let error = upstream.last_error();
    let state = match (links.is_empty(), upstream.is_connecting(), &error) {
        (false, _, _) => "up",
        (true, true, _) => "starting",
        (true, false, Some(_)) => "down",
        (true, false, None) => "idle",
    };
    let mut revisions: Vec<&'static str> = links.iter().map(|link| link.revision.as_str()).collect();
    revisions.sort_unstable_by(|a, b| b.cmp(a));
    revisions.dedup();
    let speaks = upstream.speaks();
    let eras = [(Era::Legacy, speaks.legacy), (Era::Modern, speaks.modern)]
        .into_iter()
        .filter(|(_, speaks)| *speaks == Some(true))
        .map(|(era, _)| if era == Era::Legacy { "legacy" } else { "modern" })
        .collect();
    let count = |kind| {
        upstream
            .catalogs
            .last_seen(kind)
            .map(|catalog| catalog.items.len())
    };
    ServerStatus {
        name: upstream.name.to_string(),
        kind: kind_of(&upstream.options.endpoint),
        state,
        eras,
        revisions,
        error,
        since_ms: None,
        restarts: None,
        last_failure: None,
        connections: links.len(),
        pids: links.iter().filter_map(|link| link.pid()).collect(),
        tools: count(ListKind::Tools),
        prompts: count(ListKind::Prompts),
        resources: count(ListKind::Resources),
        calls: upstream.tally.calls.load(Ordering::Relaxed),
        faults: upstream.tally.faults.load(Ordering::Relaxed),
        in_flight: upstream.tally.in_flight.load(Ordering::Relaxed),
        parked: upstream.tally.parked.load(Ordering::Relaxed),
    }
}

fn kind_of(endpoint: &Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Stdio { .. } => "stdio",
        Endpoint::Http { .. } => "http",
        Endpoint::Sse { .. } => "sse",
        Endpoint::WebSocket { .. } => "websocket",
        Endpoint::InProcess(_) => "in-process",
    }
}
