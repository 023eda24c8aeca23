//! One event on one line: for people, or as JSON.

use axiom_events::{Event, Format, Level, Recorded};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::Value as Json;
use serde_json::value::RawValue;

use super::moment;
use crate::import::preview::visible;
use crate::terminal::Terminal;

/// Characters of a body that is no gateway's, which are shown to people.
const BODY_CHARS_MAX: usize = 200;

/// An event as programs read it.
#[derive(Serialize)]
struct Line<'a> {
    offset: u64,
    /// Its place in its stream.
    version: u64,
    /// RFC 3339, UTC.
    time: String,
    tenant: &'a str,
    stream: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    task: &'a str,
    kind: &'a str,
    level: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    trace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    /// A body that is JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    body: Option<&'a RawValue>,
    /// A body that is text.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_text: Option<&'a str>,
    /// Any other body.
    #[serde(skip_serializing_if = "Option::is_none")]
    body_base64: Option<String>,
}

/// Appends the event as JSON, with a newline. Nothing of it is left out.
pub(crate) fn json(out: &mut Vec<u8>, recorded: &Recorded<'_>) {
    let event = &recorded.event;
    let body = match event.format {
        // A newline in it would end the line.
        Format::Json if !event.body.contains(&b'\n') => serde_json::from_slice(event.body).ok(),
        _ => None,
    };
    let body_text = match (body, event.format) {
        (None, Format::Json | Format::Text) => std::str::from_utf8(event.body).ok(),
        _ => None,
    };
    let is_other = body.is_none() && body_text.is_none();
    let line = Line {
        offset: recorded.offset,
        version: recorded.version,
        time: moment::full(event.time),
        tenant: event.tenant,
        stream: event.stream,
        task: event.task,
        kind: event.kind,
        level: event.level.name(),
        trace: event.trace.map(|trace| trace.to_string()),
        id: event.id.map(|id| id.to_string()),
        body,
        body_text,
        body_base64: is_other.then(|| BASE64_STANDARD.encode(event.body)),
    };
    serde_json::to_writer(&mut *out, &line).expect("a line has text and numbers only");
    out.push(b'\n');
}

/// Appends the event as a line for people.
pub(crate) fn human(out: &mut Vec<u8>, recorded: &Recorded<'_>, terminal: &Terminal) {
    let event = &recorded.event;
    let body: Json = match event.format {
        Format::Json => serde_json::from_slice(event.body).unwrap_or_default(),
        Format::Text | Format::Binary => Json::Null,
    };
    let says = match event.kind {
        "gateway.call" => call(&body),
        "gateway.server" | "gateway.session" | "gateway.config" => state(&body),
        _ => other(event),
    };
    let level = format!("{:<5}", event.level.name());
    let level = match event.level {
        Level::Critical | Level::Error => terminal.red(&level),
        Level::Warn => terminal.yellow(&level),
        _ => terminal.dim(&level),
    };
    let time = terminal.dim(&moment::short(event.time));
    let line = format!(
        "{}  {time}  {level}  {:<15}  {}\n",
        terminal.dim(&format!("{:>6}", recorded.offset)),
        visible(event.kind),
        visible(&says)
    );
    out.extend_from_slice(line.as_bytes());
}

/// `demo  tools/call demo__add  result in 312 us, 97 B`.
fn call(body: &Json) -> String {
    let word = |key| body.get(key).and_then(Json::as_str);
    let number = |key| body.get(key).and_then(Json::as_i64);
    let mut says = format!(
        "{}  {}",
        word("server").unwrap_or("-"),
        word("method").unwrap_or("?")
    );
    if let Some(name) = word("name") {
        says = format!("{says} {name}");
    }
    says = format!("{says}  {}", word("outcome").unwrap_or("?"));
    if let Some(code) = number("code") {
        says = format!("{says} {code}");
    }
    if let Some(micros) = number("duration_us") {
        says = format!("{says} in {}", duration(micros));
    }
    if let Some(bytes) = number("response_bytes") {
        says = format!("{says}, {bytes} B");
    }
    says
}

fn duration(micros: i64) -> String {
    match micros {
        ..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{}.{} ms", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}.{} s", micros / 1_000_000, micros % 1_000_000 / 100_000),
    }
}

/// The words of a flat object: `demo  down  connection=shared reason=...`.
fn state(body: &Json) -> String {
    let Some(fields) = body.as_object() else {
        return String::new();
    };
    let first = ["server", "state"];
    let text = |value: &Json| match value {
        Json::String(text) => text.clone(),
        Json::Array(items) => items
            .iter()
            .filter_map(Json::as_str)
            .collect::<Vec<_>>()
            .join(","),
        other => other.to_string(),
    };
    let mut words: Vec<String> = first
        .iter()
        .filter_map(|key| fields.get(*key))
        .map(text)
        .collect();
    let rest = fields.iter().filter(|(key, _)| !first.contains(&key.as_str()));
    words.extend(rest.map(|(key, value)| format!("{key}={}", text(value))));
    words.join("  ")
}

fn other(event: &Event<'_>) -> String {
    let text = String::from_utf8_lossy(event.body);
    let mut says: String = text.chars().take(BODY_CHARS_MAX).collect();
    if says.len() < text.len() {
        says.push_str("...");
    }
    format!("{}  {says}", event.stream)
}
