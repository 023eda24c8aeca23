//! The tools: echo, add, now, and slow (which `calls` runs).

use std::time::Duration;

use axiom_core::time::unix_seconds;
use serde_json::{Value as Json, json};

use crate::builtin::wire::{self, Request, RpcError};

/// In the order of their names, so that lists are stable.
pub(super) fn list() -> Json {
    json!([
        {
            "name": "add",
            "title": "Add",
            "description": "Adds two numbers.",
            "inputSchema": {
                "type": "object",
                "properties": {"a": {"type": "number"}, "b": {"type": "number"}},
                "required": ["a", "b"],
            },
            "outputSchema": {
                "type": "object",
                "properties": {"sum": {"type": "number"}},
                "required": ["sum"],
            },
            "annotations": {"readOnlyHint": true, "idempotentHint": true, "openWorldHint": false},
        },
        {
            "name": "echo",
            "title": "Echo",
            "description": "Gives back the text it gets.",
            "inputSchema": {
                "type": "object",
                "properties": {"text": {"type": "string", "description": "What to give back"}},
                "required": ["text"],
            },
            "annotations": {"readOnlyHint": true, "idempotentHint": true, "openWorldHint": false},
        },
        {
            "name": "now",
            "title": "Now",
            "description": "The current time, in UTC.",
            "inputSchema": {"type": "object", "properties": {}},
            "annotations": {"readOnlyHint": true, "openWorldHint": false},
        },
        {
            "name": "slow",
            "title": "Slow",
            "description": "Takes its time, reports progress on the way, and can be cancelled.",
            "inputSchema": {
                "type": "object",
                "properties": {
                    "seconds": {"type": "number", "minimum": 0, "maximum": SECONDS_MAX, "default": 3},
                    "steps": {"type": "integer", "minimum": 1, "maximum": STEPS_MAX, "default": 10},
                },
            },
            "annotations": {"readOnlyHint": true, "openWorldHint": false},
        },
    ])
}

const SECONDS_MAX: u32 = 600;
const STEPS_MAX: u32 = 1_000;

/// All tools but `slow`.
pub(super) fn call(params: &Json) -> Result<Json, RpcError> {
    let arguments = params.get("arguments").unwrap_or(&Json::Null);
    Ok(match wire::text(params, "name")? {
        "add" => match (arguments.get("a"), arguments.get("b")) {
            (Some(Json::Number(a)), Some(Json::Number(b))) => {
                let sum = add(a, b);
                json!({"content": [{"type": "text", "text": sum.to_string()}], "structuredContent": {"sum": sum}})
            }
            _ => failure("`a` and `b` must be numbers"),
        },
        "echo" => match arguments.get("text") {
            Some(Json::String(text)) => success(text),
            _ => failure("`text` must be a string"),
        },
        "now" => success(&rfc3339(unix_seconds())),
        other => return Err(RpcError::invalid_params(format!("unknown tool: {other}"))),
    })
}

pub(super) fn success(text: &str) -> Json {
    json!({"content": [{"type": "text", "text": text}]})
}

/// A wrong argument is a result that the model can read, not an error of the protocol.
pub(super) fn failure(text: &str) -> Json {
    json!({"content": [{"type": "text", "text": text}], "isError": true})
}

/// Whole numbers stay whole as long as they fit.
fn add(a: &serde_json::Number, b: &serde_json::Number) -> Json {
    let whole = a.as_i64().zip(b.as_i64()).and_then(|(a, b)| a.checked_add(b));
    let float = || a.as_f64().unwrap_or_default() + b.as_f64().unwrap_or_default();
    whole.map_or_else(|| json!(float()), |sum| json!(sum))
}

pub(super) fn is_slow(request: &Request) -> bool {
    request.method == "tools/call" && request.params.get("name").is_some_and(|name| name == "slow")
}

/// How a slow call is to go.
#[derive(Debug)]
pub(super) struct Slow {
    pub(super) steps: u32,
    pub(super) step: Duration,
    /// Where to report; nobody asked if `None`.
    pub(super) progress_token: Option<Json>,
}

/// # Errors
/// What is wrong with the arguments, for the model.
pub(super) fn slow(params: &Json) -> Result<Slow, &'static str> {
    let argument = |key: &str| params.get("arguments").and_then(|arguments| arguments.get(key));
    let seconds = match argument("seconds") {
        None => 3.0,
        Some(value) => value
            .as_f64()
            .filter(|seconds| (0.0..=f64::from(SECONDS_MAX)).contains(seconds))
            .ok_or("`seconds` must be a number between 0 and 600")?,
    };
    let steps = match argument("steps") {
        None => 10,
        Some(value) => value
            .as_u64()
            .and_then(|steps| u32::try_from(steps).ok())
            .filter(|steps| (1..=STEPS_MAX).contains(steps))
            .ok_or("`steps` must be an integer between 1 and 1000")?,
    };
    let progress_token = params
        .get("_meta")
        .and_then(|meta| meta.get("progressToken"))
        .cloned();
    Ok(Slow {
        steps,
        step: Duration::from_secs_f64(seconds) / steps,
        progress_token,
    })
}

/// `2026-07-28T12:00:00Z`.
fn rfc3339(unix_seconds: u64) -> String {
    let (days, second) = (unix_seconds / 86_400, unix_seconds % 86_400);
    // Counts from 0000-03-01, so that the leap day ends a year (Howard Hinnant's civil_from_days).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::rfc3339;

    #[test]
    fn dates() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(rfc3339(1_785_239_999), "2026-07-28T11:59:59Z");
        assert_eq!(rfc3339(4_107_542_399), "2100-02-28T23:59:59Z");
        assert_eq!(rfc3339(4_107_542_400), "2100-03-01T00:00:00Z");
    }
}
