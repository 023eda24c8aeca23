//! The tools as clients see them, and who answers which.

use std::sync::Arc;

use axiom_core::spawn;
use axiom_protocol::codes;
use serde_json::{Value as Json, json};

use super::log::{Log, line};
use super::{query, stats, tail};
use crate::builtin::arguments::{Arguments, Complaint};
use crate::builtin::wire::{self, Era, RpcError};

/// In the order of their names, so that lists are stable.
pub(super) fn list() -> Json {
    let annotations = |title: &str| json!({"title": title, "readOnlyHint": true, "idempotentHint": true, "openWorldHint": false});
    let event = json!({"type": "object", "description": "offset, time, stream, task, kind, level, trace and body of an event"});
    let events = json!({"type": "array", "items": event});
    let place = |what: &str| json!({"type": ["integer", "string"], "description": what});
    let text = |what: &str| json!({"type": "string", "description": what});
    let count = |what: &str, usual: usize, max: usize| json!({"type": "integer", "minimum": 1, "maximum": max, "default": usual, "description": what});
    json!([
        {
            "name": "get",
            "title": "Get events",
            "description": "One event by its offset, or all events of a call by the call's id (the `task` of its event), with bodies.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "offset": {"type": "integer", "minimum": 0, "description": "The event's offset"},
                    "call": text("The call's id: 32 hexadecimal digits"),
                },
                "additionalProperties": false,
            },
            "outputSchema": {"type": "object", "properties": {"events": events}, "required": ["events"]},
            "annotations": annotations("Get events"),
        },
        {
            "name": "query",
            "title": "Query events with SQL",
            "description": "Runs one SELECT over the table `events` (shard, offset, version, time, tenant, stream, task, kind, level, severity, \
                trace, id, format, body, body_bytes, tier) and the views `calls` and `tasks`.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "sql": text("The SELECT"),
                    "count": count("Rows at most", query::COUNT, query::COUNT_MAX),
                },
                "required": ["sql"],
                "additionalProperties": false,
            },
            "outputSchema": {
                "type": "object",
                "properties": {
                    "rows": {"type": "array", "items": {"type": "object"}},
                    "is_end": {"type": "boolean", "description": "False if there are more rows: ask for less, or with LIMIT and OFFSET"},
                    "warnings": {
                        "type": "array",
                        "items": {"type": "string"},
                        "description": "Events that cannot be read: these rows, and totals in them, are without them",
                    },
                },
                "required": ["rows", "is_end"],
            },
            "annotations": annotations("Query events with SQL"),
        },
        {
            "name": "stats",
            "title": "Count events",
            "description": "How many events there are, apart by kind, level, task, tenant or time. Fast on any log. Without a time among \
                them the largest group comes first.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "by": {
                        "type": "array",
                        "items": {"type": "string", "enum": stats::BY},
                        "default": ["kind", "level"],
                        "description": "What is counted apart",
                    },
                    "from": text("A time like 2026-07-28T09:00:00Z, or how long ago, like 10m or 2h"),
                    "to": text("Likewise; what is then is not counted"),
                    "kind": text("Only events of this kind, like gateway.call"),
                    "task": text("Only events of this task"),
                    "tenant": text("Only events of this tenant"),
                    "level": {
                        "type": "string",
                        "enum": ["trace", "debug", "info", "warn", "error", "critical"],
                        "description": "Only events of this level and above",
                    },
                    "count": count("Groups at most", stats::COUNT, stats::COUNT_MAX),
                    "cursor": text("`next_cursor` of the result before, for more groups"),
                },
                "additionalProperties": false,
            },
            "outputSchema": {
                "type": "object",
                "properties": {
                    "events": {"type": "integer", "description": "Of all groups together"},
                    "body_bytes": {"type": "integer"},
                    "groups": {"type": "array", "items": {"type": "object"}},
                    "from": {"type": "string"},
                    "to": {"type": "string"},
                    "next_cursor": {"type": "string"},
                },
                "required": ["events", "body_bytes", "groups"],
            },
            "annotations": annotations("Count events"),
        },
        {
            "name": "tail",
            "title": "List events",
            "description": "The newest events, or those from a place on, oldest first. What clients and servers said is left out: `get` shows it.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "filter": text("Conditions that must all hold, separated by spaces, like `kind=gateway.call level>=warn server=files \
                        outcome!=result duration_us>=1000000`. Fields: kind, stream, task, tenant, trace, level, server, method, name, \
                        outcome, endpoint, transport, session, state, replay_of, duration_us, request_bytes, response_bytes, code. \
                        A * at the end of a word stands for anything"),
                    "count": count("Events at most", tail::COUNT, tail::COUNT_MAX),
                    "from": place("Go forwards from here: an offset, a time like 2026-07-28T09:00:00Z, or how long ago, like 10m"),
                    "before": {"type": "integer", "minimum": 0, "description": "Go backwards from this offset: `before` of the result before"},
                },
                "additionalProperties": false,
            },
            "outputSchema": {
                "type": "object",
                "properties": {
                    "events": events,
                    "next_from": {"type": "integer", "description": "`from` for what comes next"},
                    "before": {"type": "integer", "description": "`before` for what is older"},
                    "is_end": {"type": "boolean", "description": "False if there may be more in this direction"},
                    "missing": {"type": "array", "items": {"type": "array", "items": {"type": "integer"}},
                        "description": "Ranges of offsets that cannot be read any more"},
                },
                "required": ["events", "next_from", "is_end"],
            },
            "annotations": annotations("List events"),
        },
    ])
}

pub(super) fn templates() -> Json {
    json!([{
        "uriTemplate": "event://{offset}",
        "name": "event",
        "title": "Event",
        "description": "One event, whole, as JSON.",
        "mimeType": "application/json",
    }])
}

/// Answers `tools/call`. What is wrong with a call is a result that the model can read.
pub(super) async fn call(log: &Arc<Log>, params: &Json) -> Result<Json, RpcError> {
    let name = wire::text(params, "name")?;
    let found = match name {
        "query" => match Arguments::of(params, query::ARGUMENTS) {
            Ok(arguments) => query::run(log, &arguments).await,
            Err(complaint) => Err(complaint),
        },
        "get" | "stats" | "tail" => reading(log, name.to_owned(), params.clone()).await,
        other => return Err(RpcError::invalid_params(format!("unknown tool: {other}"))),
    };
    Ok(match found {
        Ok(structured) => json!({
            "content": [{"type": "text", "text": structured.to_string()}],
            "structuredContent": structured,
        }),
        Err(Complaint(text)) => json!({"content": [{"type": "text", "text": text}], "isError": true}),
    })
}

/// Answers what reads the files, on a thread that may block.
async fn reading(log: &Arc<Log>, name: String, params: Json) -> Result<Json, Complaint> {
    let log = Arc::clone(log);
    let work = spawn::blocking(move || match name.as_str() {
        "get" => get(&log, &Arguments::of(&params, &["offset", "call"])?),
        "stats" => stats::run(&log, &Arguments::of(&params, stats::ARGUMENTS)?),
        _ => tail::run(&log, &Arguments::of(&params, tail::ARGUMENTS)?),
    });
    let done = work.join().await;
    done.unwrap_or_else(|| Err(Complaint::new("reading failed; the gateway's log says why")))
}

/// Events of one call at most.
const CALL_EVENTS_MAX: usize = 20;
/// Bytes of a result; an event is 8 MiB at most, and a model has to read it.
const GET_BYTES_MAX: usize = 512 << 10;

fn get(log: &Log, arguments: &Arguments<'_>) -> Result<Json, Complaint> {
    let (offset, call) = (arguments.offset("offset")?, arguments.text("call")?);
    let reader = log.reader()?;
    let hits = match (offset, call) {
        (Some(offset), None) => reader.event(offset)?.into_iter().collect(),
        (None, Some("")) => Vec::new(),
        (None, Some(call)) => reader.task_tail(call, CALL_EVENTS_MAX)?,
        _ => return Err(Complaint::new("give `offset` or `call`, one of the two")),
    };
    if hits.is_empty() {
        return Err(Complaint(match offset {
            Some(offset) => format!(
                "there is no event {offset}; those that can be read are {} to {}",
                reader.first(),
                reader.end().saturating_sub(1)
            ),
            None => "there is no event of this call: `tail` shows the `task` of each".to_owned(),
        }));
    }
    let lines: Vec<String> = hits.iter().map(|hit| line(&hit.recorded())).collect();
    let bytes: usize = lines.iter().map(String::len).sum();
    if bytes > GET_BYTES_MAX {
        let at = hits.first().map_or(0, |hit| hit.recorded().offset);
        return Err(Complaint(format!(
            "this has {bytes} B, more than the {GET_BYTES_MAX} B that are shown here; `axiom events export --from {at}` prints it"
        )));
    }
    let events: Vec<Json> = lines
        .iter()
        .map(|line| serde_json::from_str(line).unwrap_or_default())
        .collect();
    Ok(json!({"events": events}))
}

/// Answers `resources/read`: the line that `axiom events export` prints.
pub(super) async fn read(log: &Arc<Log>, params: &Json, era: Era) -> Result<Json, RpcError> {
    let uri = wire::text(params, "uri")?.to_owned();
    let not_found = || {
        let code = match era {
            Era::Legacy => codes::RESOURCE_NOT_FOUND_LEGACY,
            Era::Modern => codes::INVALID_PARAMS,
        };
        RpcError::new(code, format!("resource not found: {uri}"))
    };
    let offset: u64 = uri
        .strip_prefix("event://")
        .and_then(|offset| offset.parse().ok())
        .ok_or_else(not_found)?;
    let log = Arc::clone(log);
    let reading = spawn::blocking(move || {
        let hit = log.reader()?.event(offset)?;
        Ok::<_, Complaint>(hit.map(|hit| line(&hit.recorded())))
    });
    match reading.join().await {
        Some(Ok(Some(text))) => {
            let contents = json!([{"uri": uri, "mimeType": "application/json", "text": text}]);
            Ok(wire::cacheable(json!({"contents": contents})))
        }
        Some(Ok(None)) => Err(not_found()),
        Some(Err(Complaint(text))) => Err(RpcError::new(codes::INTERNAL_ERROR, text)),
        None => Err(RpcError::new(codes::INTERNAL_ERROR, "reading failed")),
    }
}
