//! What `/api/v1/stats` answers, as JSON.

use std::collections::BTreeMap;

use serde::Serialize;

use super::calls::{Calls, Spans, Tally};
use super::servers::Servers;

/// What the numbers are as of.
#[derive(Debug, Clone, Copy)]
pub(super) struct AsOf {
    pub(super) position: u64,
    pub(super) behind: u64,
    pub(super) lost: u64,
    /// Nanoseconds since 1970.
    pub(super) now: i64,
}

#[derive(Debug, Serialize)]
pub(super) struct Report<'a> {
    recording: bool,
    /// Milliseconds since 1970 of the first call that was counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    since_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gateway_started_ms: Option<i64>,
    /// The offset after the last event that counts, and how many events there are behind it.
    position: u64,
    behind: u64,
    /// Events that could not be read and do not count, and calls that were not understood.
    lost: u64,
    unknown: u64,
    all: Numbers,
    servers: Vec<Server<'a>>,
}

#[derive(Debug, Serialize)]
struct Server<'a> {
    /// `null`: the gateway itself.
    server: Option<&'a str>,
    #[serde(flatten)]
    numbers: Numbers,
    tools: Vec<Tool<'a>>,
}

#[derive(Debug, Serialize)]
struct Tool<'a> {
    tool: &'a str,
    #[serde(flatten)]
    numbers: Numbers,
}

#[derive(Debug, Serialize)]
struct Numbers {
    total: Sum,
    last_minute: Sum,
    last_hour: Sum,
}

#[derive(Debug, Serialize)]
struct Sum {
    calls: u64,
    errors: u64,
    outcomes: BTreeMap<&'static str, u64>,
    request_bytes: u64,
    response_bytes: u64,
    duration_us: Percentiles,
}

/// `null` where no call got an answer.
#[derive(Debug, Serialize)]
struct Percentiles {
    p50: Option<u64>,
    p95: Option<u64>,
    p99: Option<u64>,
}

pub(super) fn report<'a>(calls: &'a Calls, servers: &Servers, as_of: AsOf) -> Report<'a> {
    let millis = |nanos: i64| nanos.div_euclid(1_000_000);
    Report {
        recording: true,
        since_ms: calls.since.map(millis),
        gateway_started_ms: servers.started.map(millis),
        position: as_of.position,
        behind: as_of.behind,
        lost: as_of.lost,
        unknown: calls.unknown,
        all: numbers(&calls.spans(as_of.now)),
        servers: calls
            .servers
            .iter()
            .map(|(name, server)| Server {
                server: (!name.is_empty()).then_some(name),
                numbers: numbers(&server.spans(as_of.now)),
                tools: server
                    .tools
                    .iter()
                    .map(|(tool, series)| Tool {
                        tool,
                        numbers: numbers(&series.spans(as_of.now)),
                    })
                    .collect(),
            })
            .collect(),
    }
}

fn numbers(spans: &Spans) -> Numbers {
    Numbers {
        total: sum(&spans.total),
        last_minute: sum(&spans.last_minute),
        last_hour: sum(&spans.last_hour),
    }
}

fn sum(tally: &Tally) -> Sum {
    let mut outcomes = BTreeMap::new();
    let (mut calls, mut errors) = (0, 0);
    for (name, is_error, count) in tally.outcomes() {
        outcomes.insert(name, count);
        calls += count;
        errors += if is_error { count } else { 0 };
    }
    let percentile = |percent| tally.durations.percentile(percent);
    Sum {
        calls,
        errors,
        outcomes,
        request_bytes: tally.request_bytes,
        response_bytes: tally.response_bytes,
        duration_us: Percentiles {
            p50: percentile(50),
            p95: percentile(95),
            p99: percentile(99),
        },
    }
}
