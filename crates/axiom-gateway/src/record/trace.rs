//! The W3C trace that a call belongs to: `traceparent` of the request's `_meta`, or of its head.

use std::sync::LazyLock;

use axiom_events::TraceId;
use axiom_protocol::text::text;
use axiom_protocol::walk;
use http::{HeaderName, HeaderValue};
use memchr::memmem::Finder;

use crate::message::Message;

pub(super) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
static FIND_TRACEPARENT: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(b"traceparent"));

/// `header` is what the request's head says under [`TRACEPARENT`].
pub(super) fn of(message: &Message, header: Option<&HeaderValue>) -> Option<TraceId> {
    in_meta(message).or_else(|| parse(header?.as_bytes()))
}

fn in_meta(message: &Message) -> Option<TraceId> {
    let meta = message.envelope.meta?;
    // Few clients trace: a search is cheaper than a walk through everything else that a client says there.
    FIND_TRACEPARENT.find(meta.of(&message.bytes))?;
    let at = walk::get(&message.bytes, meta, "traceparent")?;
    parse(text(&message.bytes, at)?.as_bytes())
}

/// `version "-" trace-id "-" parent-id "-" flags`, all in lower-case hex; a trace id of zeros is none.
fn parse(header: &[u8]) -> Option<TraceId> {
    let mut fields = header.split(|byte| *byte == b'-');
    let (version, trace) = (fields.next()?, fields.next()?);
    let (parent, flags) = (fields.next()?, fields.next()?);
    let is_hex = |field: &[u8], len| {
        field.len() == len && field.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    if !is_hex(version, 2) || version == b"ff" || !is_hex(parent, 16) || !is_hex(flags, 2) {
        return None;
    }
    if !is_hex(trace, 32) {
        return None;
    }
    let id = u128::from_str_radix(std::str::from_utf8(trace).ok()?, 16).ok()?;
    (id != 0).then(|| TraceId(id.to_be_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_taken_only_if_it_is_one() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let check = |text: String, expected: Option<&str>| {
            let found = parse(text.as_bytes()).map(|trace| trace.to_string());
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check(format!("00-{id}-00f067aa0ba902b7-01"), Some(id));
        check(format!("01-{id}-00f067aa0ba902b7-01-more"), Some(id));
        check(format!("ff-{id}-00f067aa0ba902b7-01"), None);
        check(format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)), None);
        check(format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()), None);
        check(format!("00-{id}-00f067aa0ba902b7"), None);
        check(String::new(), None);
    }
}
