//! What an event says of a call, as far as it is counted.
//!
//! There may be fifty thousand a second, so an event as this gateway writes it without bodies, flat and without escapes, is
//! read by a few searches for quotes. Any other goes through a JSON parser, and comes to the same.

use std::borrow::Cow;

use serde::Deserialize;

#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
pub(super) struct Call<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow, default)]
    name: Cow<'a, str>,
    /// Empty where the gateway answered by itself.
    #[serde(borrow, default)]
    pub(super) server: Cow<'a, str>,
    #[serde(borrow)]
    pub(super) outcome: Cow<'a, str>,
    #[serde(default)]
    pub(super) request_bytes: u64,
    #[serde(default)]
    pub(super) response_bytes: u64,
    #[serde(default)]
    pub(super) duration_us: u64,
}

impl<'a> Call<'a> {
    pub(super) fn read(body: &'a [u8]) -> Option<Call<'a>> {
        Call::read_flat(body).or_else(|| serde_json::from_slice(body).ok())
    }

    /// The tool that was called, by the name that its server knows.
    pub(super) fn tool(&self) -> Option<&str> {
        if self.method != "tools/call" {
            return None;
        }
        // At the endpoint of all servers its name has the server's in front.
        let own = self.name.strip_prefix(&*self.server);
        let own = own.and_then(|rest| rest.strip_prefix("__"));
        Some(own.filter(|own| !own.is_empty()).unwrap_or(&self.name))
    }

    /// `None` if it is not as flat as that, or has something twice.
    fn read_flat(body: &'a [u8]) -> Option<Call<'a>> {
        let mut call = Call::default();
        let mut seen = 0u8;
        let mut first = |nth: u8| {
            let is_first = seen & 1 << nth == 0;
            seen |= 1 << nth;
            is_first.then_some(())
        };
        let mut rest = body.strip_prefix(b"{")?;
        loop {
            let (key, after) = text(rest)?;
            let (value, after) = Value::read(after.strip_prefix(b":")?)?;
            let (field, nth) = match key {
                b"method" => (Field::Text(&mut call.method), 0),
                b"outcome" => (Field::Text(&mut call.outcome), 1),
                b"name" => (Field::Text(&mut call.name), 2),
                b"server" => (Field::Text(&mut call.server), 3),
                b"request_bytes" => (Field::Number(&mut call.request_bytes), 4),
                b"response_bytes" => (Field::Number(&mut call.response_bytes), 5),
                b"duration_us" => (Field::Number(&mut call.duration_us), 6),
                _ => (Field::Other, 7),
            };
            match (field, value) {
                (Field::Text(field), Value::Text(text)) => {
                    *field = Cow::Borrowed(std::str::from_utf8(text).ok()?);
                }
                (Field::Number(field), Value::Number(number)) => *field = number,
                (Field::Other, _) => {}
                (Field::Text(_) | Field::Number(_), _) => return None,
            }
            if nth < 7 {
                first(nth)?;
            }
            match after.split_first()? {
                (b',', after) => rest = after,
                (b'}', []) => break,
                _ => return None,
            }
        }
        // A call has a method and an outcome.
        (seen & 0b11 == 0b11).then_some(call)
    }
}

/// Where a value is to go.
enum Field<'c, 'a> {
    Text(&'c mut Cow<'a, str>),
    Number(&'c mut u64),
    Other,
}

enum Value<'a> {
    Text(&'a [u8]),
    Number(u64),
    Negative,
}

impl<'a> Value<'a> {
    /// A value without anything in it, and what comes after it.
    fn read(json: &'a [u8]) -> Option<(Value<'a>, &'a [u8])> {
        match json.first()? {
            b'"' => text(json).map(|(text, after)| (Value::Text(text), after)),
            b'-' => digits(json.get(1..)?).map(|(_, after)| (Value::Negative, after)),
            _ => digits(json).map(|(number, after)| (Value::Number(number), after)),
        }
    }
}

/// A text without escapes, and what comes after its quotes.
fn text(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let json = json.strip_prefix(b"\"")?;
    let end = memchr::memchr2(b'"', b'\\', json)?;
    (json[end] == b'"').then(|| (&json[..end], &json[end + 1..]))
}

/// A whole number that is written as usual, and what comes after it.
fn digits(json: &[u8]) -> Option<(u64, &[u8])> {
    let end = json.iter().position(|byte| !byte.is_ascii_digit())?;
    if end == 0 || (end > 1 && json[0] == b'0') || matches!(json[end], b'.' | b'e' | b'E') {
        return None;
    }
    let number = json[..end].iter().try_fold(0u64, |number, digit| {
        number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
    });
    Some((number?, &json[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value as Json};

    #[test]
    fn what_the_gateway_writes_is_flat() {
        let body = br#"{"method":"tools/call","name":"demo__add","endpoint":"/mcp","transport":"http","request_bytes":118,"client_revision":"2025-11-25","session":"5c07f1d29e3a4b60","server":"demo","server_revision":"2025-11-25","outcome":"error","code":-32000,"response_bytes":97,"duration_us":312}"#;
        let call = Call::read_flat(body).unwrap();
        assert_eq!(Some(&call), serde_json::from_slice(body).ok().as_ref());
        assert_eq!((call.tool(), call.duration_us), (Some("add"), 312));
    }

    #[test]
    fn what_has_bodies_or_escapes_is_read_as_well() {
        for body in [
            r#"{"method":"tools/call","request":{"outcome":"no"},"outcome":"result"}"#,
            r#"{"method":"tools\/call","name":"a\"b","outcome":"result"}"#,
            r#"{ "method": "tools/call", "outcome": "result" }"#,
        ] {
            assert_eq!(Call::read_flat(body.as_bytes()), None);
            assert_eq!(Call::read(body.as_bytes()).unwrap().outcome, "result");
        }
        assert_eq!(Call::read(b"{\"method\":\"tools/call\"}"), None);
    }

    fn value() -> impl Strategy<Value = Json> {
        prop_oneof![
            "[a-z/_\\\\\"\u{e9}\u{1}]{0,6}".prop_map(Json::from),
            any::<u64>().prop_map(Json::from),
            any::<i64>().prop_map(Json::from),
            (-1e9..1e9f64).prop_map(Json::from),
            any::<bool>().prop_map(Json::from),
            Just(serde_json::json!({"outcome": "x", "a": [1, "}"]})),
        ]
    }

    fn key() -> impl Strategy<Value = String> {
        let known = prop::sample::select(vec![
            "method",
            "name",
            "server",
            "outcome",
            "request_bytes",
            "response_bytes",
            "duration_us",
            "code",
        ]);
        prop_oneof![8 => known.prop_map(str::to_owned), 1 => "[a-z\"]{0,3}"]
    }

    proptest! {
        #[test]
        fn a_flat_event_is_read_as_any_other(
            pairs in prop::collection::vec((key(), value()), 0..10),
            is_pretty in any::<bool>(),
        ) {
            let map: Map<String, Json> = pairs.into_iter().collect();
            let mut body = match is_pretty {
                true => serde_json::to_vec_pretty(&map).unwrap(),
                false => serde_json::to_vec(&map).unwrap(),
            };
            if let Some(call) = Call::read_flat(&body) {
                prop_assert_eq!(Some(call), serde_json::from_slice(&body).ok());
            }
            // Cut off, it is nothing.
            body.pop();
            prop_assert_eq!(Call::read(&body), None);
        }
    }
}
