//! What an event says of a call, as far as it is counted.
//!
//! There may be fifty thousand a second, so of an event [as this gateway writes it](crate::record) only the head is read,
//! where all of this stands in a known order. Any other goes through a JSON parser, and comes to the same.

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

/// The numbers of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Numbers {
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    pub(super) duration_us: u64,
}

impl Numbers {
    /// Of what an event's body is behind the words that it begins with.
    pub(super) fn read(rest: &[u8]) -> Option<Numbers> {
        let mut head = Head(rest);
        Some(Numbers {
            request_bytes: head.number(b",\"request_bytes\":")?,
            response_bytes: head.number(b",\"response_bytes\":").unwrap_or_default(),
            duration_us: head.number(b",\"duration_us\":")?,
        })
    }
}

impl<'a> Call<'a> {
    /// With what it begins with, before its numbers, if it begins with words alone: calls that begin alike differ in their numbers
    /// and in nothing else that is read here.
    pub(super) fn read(body: &'a [u8]) -> Option<(Call<'a>, Option<&'a [u8]>)> {
        if let Some((call, words)) = Call::read_head(body) {
            return Some((call, Some(words)));
        }
        Some((serde_json::from_slice(body).ok()?, None))
    }

    pub(super) fn numbers(&self) -> Numbers {
        Numbers {
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
            duration_us: self.duration_us,
        }
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

    /// `None` if it begins in another way, or a text has escapes.
    fn read_head(body: &'a [u8]) -> Option<(Call<'a>, &'a [u8])> {
        let mut head = Head(body);
        let method = head.text(b"{\"method\":\"")?.into();
        let name = head.text(b",\"name\":\"").unwrap_or_default().into();
        let server = head.text(b",\"server\":\"").unwrap_or_default().into();
        let outcome = head.text(b",\"outcome\":\"")?.into();
        let words = body.strip_suffix(head.0)?;
        let Numbers {
            request_bytes,
            response_bytes,
            duration_us,
        } = Numbers::read(head.0)?;
        let call = Call {
            method,
            name,
            server,
            outcome,
            request_bytes,
            response_bytes,
            duration_us,
        };
        Some((call, words))
    }
}

/// What is left of an event's body.
struct Head<'a>(&'a [u8]);

impl<'a> Head<'a> {
    /// The text that follows this. If it does not follow, or has escapes, nothing is taken.
    fn text(&mut self, before: &[u8]) -> Option<&'a str> {
        let rest = self.0.strip_prefix(before)?;
        let end = rest.iter().position(|byte| matches!(byte, b'"' | b'\\'))?;
        let text = std::str::from_utf8(&rest[..end]).ok()?;
        self.0 = rest[end..].strip_prefix(b"\"")?;
        Some(text)
    }

    /// The whole number that follows this. If it does not follow, nothing is taken.
    fn number(&mut self, before: &[u8]) -> Option<u64> {
        let rest = self.0.strip_prefix(before)?;
        let end = rest.iter().position(|byte| !byte.is_ascii_digit())?;
        let mut digits = rest[..end].iter();
        // That of the gateway's own fits; another goes to the parser.
        let number = digits.try_fold(0u64, |number, digit| {
            number.checked_mul(10)?.checked_add(u64::from(digit - b'0'))
        })?;
        self.0 = (end > 0 && matches!(rest[end], b',' | b'}')).then(|| &rest[end..])?;
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value as Json;

    #[test]
    fn of_what_the_gateway_writes_the_head_is_read() {
        let body = br#"{"method":"tools/call","name":"demo__add","server":"demo","outcome":"error","request_bytes":118,"response_bytes":97,"duration_us":312,"code":-32000,"endpoint":"/mcp","request":{"outcome":"no"}}"#;
        let (call, words) = Call::read_head(body).unwrap();
        assert_eq!(Some(&call), serde_json::from_slice(body).ok().as_ref());
        assert!(words.ends_with(b",\"outcome\":\"error\""));
        assert_eq!(Numbers::read(&body[words.len()..]), Some(call.numbers()));
        assert_eq!((call.tool(), call.duration_us), (Some("add"), 312));
        let short = br#"{"method":"ping","outcome":"result","request_bytes":1,"duration_us":2}"#;
        let (call, _) = Call::read_head(short).unwrap();
        assert_eq!(Some(call), serde_json::from_slice(short).ok());
    }

    #[test]
    fn what_begins_in_another_way_is_read_as_well() {
        for body in [
            r#"{"method":"tools/call","endpoint":"/mcp","request_bytes":118,"outcome":"result","duration_us":312}"#,
            r#"{"method":"tools/call","request":{"outcome":"no"},"outcome":"result"}"#,
            r#"{"method":"tools\/call","name":"a\"b","outcome":"result","request_bytes":1,"duration_us":2}"#,
            r#"{"method":"tools/call","name":"a\"b","outcome":"result","request_bytes":1,"duration_us":2}"#,
            r#"{ "method": "tools/call", "outcome": "result" }"#,
        ] {
            assert_eq!(Call::read_head(body.as_bytes()), None);
            let (call, words) = Call::read(body.as_bytes()).unwrap();
            assert_eq!((&*call.outcome, words), ("result", None));
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

    /// Members in the order in which the gateway writes them, as far as they are there, and others behind.
    fn body() -> impl Strategy<Value = Vec<(&'static str, Json)>> {
        let keys = [
            "method",
            "name",
            "server",
            "outcome",
            "request_bytes",
            "response_bytes",
            "duration_us",
            "code",
            "request",
        ];
        let fitting = |key: &str| match key {
            "method" | "name" | "server" | "outcome" => "[a-z/_]{0,6}".prop_map(Json::from).boxed(),
            _ => any::<u64>().prop_map(Json::from).boxed(),
        };
        let member = move |key: &'static str| {
            let value = prop_oneof![12 => fitting(key), 1 => value()];
            prop::option::weighted(0.9, value).prop_map(move |value| value.map(|value| (key, value)))
        };
        let members: Vec<_> = keys.into_iter().map(member).collect();
        members.prop_map(|members| members.into_iter().flatten().collect())
    }

    proptest! {
        #[test]
        fn a_head_says_what_a_parser_reads(members in body(), is_other_order in any::<bool>()) {
            let mut members = members;
            if is_other_order {
                members.reverse();
            }
            let members: Vec<String> = members.iter().map(|(key, value)| format!("\"{key}\":{value}")).collect();
            let body = format!("{{{}}}", members.join(","));
            if let Some((call, words)) = Call::read_head(body.as_bytes()) {
                let rest = body.as_bytes().strip_prefix(words).unwrap_or_default();
                prop_assert_eq!(Numbers::read(rest), Some(call.numbers()));
                prop_assert_eq!(Some(call), serde_json::from_str(&body).ok());
            }
        }
    }
}
