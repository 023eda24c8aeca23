//! Tasks as resources: how one is, and what it has said.

use std::sync::Arc;

use axiom_protocol::codes;
use serde_json::{Value as Json, json};

use crate::builtin::wire::{self, Era, RpcError};
use crate::tasks::{Desk, Kind, LINES_MAX, Look, Refusal};

use super::calls::STATUS_LINES;

pub(super) fn templates() -> Json {
    json!([
        {
            "uriTemplate": "task://{task}",
            "name": "task",
            "title": "Task",
            "description": "How a task is, with its last lines.",
            "mimeType": "application/json",
        },
        {
            "uriTemplate": "task://{task}/output",
            "name": "output",
            "title": "Output of a task",
            "description": "The last thousand lines that a task has said.",
            "mimeType": "text/plain",
        },
    ])
}

/// The beginning of the id of the task that a resource is of.
pub(super) fn task_of(uri: &str) -> Option<&str> {
    let place = uri.strip_prefix("task://")?;
    Some(place.strip_suffix("/output").unwrap_or(place))
}

/// Answers `resources/read`. It is never the same for long.
pub(super) async fn read(desk: &Arc<Desk>, params: &Json, era: Era) -> Result<Json, RpcError> {
    let uri = wire::text(params, "uri")?;
    let not_found = || {
        let code = match era {
            Era::Legacy => codes::RESOURCE_NOT_FOUND_LEGACY,
            Era::Modern => codes::INVALID_PARAMS,
        };
        RpcError::new(code, format!("resource not found: {uri}"))
    };
    let place = uri.strip_prefix("task://").ok_or_else(not_found)?;
    let found = match place.strip_suffix("/output") {
        Some(task) => output(desk, task).await.map(|text| ("text/plain", text)),
        None => status(desk, place).await.map(|text| ("application/json", text)),
    };
    match found {
        Ok((kind, text)) => {
            let contents = json!([{"uri": uri, "mimeType": kind, "text": text}]);
            Ok(json!({"contents": contents, "ttlMs": 0, "cacheScope": "private"}))
        }
        Err(refusal) if refusal.kind == Kind::Unknown => Err(not_found()),
        Err(refusal) => Err(RpcError::new(codes::INTERNAL_ERROR, refusal.message)),
    }
}

async fn status(desk: &Desk, task: &str) -> Result<String, Refusal> {
    let id = desk.find(task)?;
    Ok(desk.whole(&id, STATUS_LINES).await?.0.to_string())
}

async fn output(desk: &Desk, task: &str) -> Result<String, Refusal> {
    let look = Look {
        from: None,
        count: LINES_MAX,
        stream: None,
    };
    Ok(desk.lines(&desk.find(task)?, look).await?.text())
}
