//! What is known of a call: gathered while it goes on, and written once, as its event's body.

use std::sync::Arc;

use axiom_protocol::method::Method;
use axiom_protocol::text::push_quoted;

use super::members::Members;
use super::secrets::Cut;
use super::{NAME_BYTES_MAX, Outcome, Via};

#[derive(Debug)]
pub(super) struct Known {
    pub method: Method,
    /// The name of a method that we have no rule for.
    pub method_name: Option<Box<str>>,
    /// The name of what is called, as JSON; empty where there is none.
    pub name: Vec<u8>,
    pub endpoint: Arc<str>,
    pub via: Via,
    pub client_revision: Option<&'static str>,
    pub session: Option<u64>,
    pub server: Option<Arc<str>>,
    pub server_revision: Option<&'static str>,
    pub replay_of: Option<Box<str>>,
    pub request_bytes: u64,
    pub response_bytes: u64,
    pub request: Option<Cut>,
    pub response: Option<Cut>,
}

/// How a call ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ended {
    pub outcome: Outcome,
    pub code: Option<i64>,
    pub duration_us: u64,
}

impl Known {
    /// Appends the event's body. What statistics count comes first and always in this order, so that they
    /// [need not read the rest](crate::stats).
    pub(super) fn write(&self, ended: Ended, out: &mut Vec<u8>) {
        let mut members = Members::of(out);
        match &self.method_name {
            Some(name) => members.text("method", name, NAME_BYTES_MAX),
            None => members.word("method", self.method.as_str()),
        }
        if !self.name.is_empty() {
            members.raw("name", &self.name);
        }
        if let Some(server) = &self.server {
            members.word("server", server);
        }
        members.word("outcome", ended.outcome.name());
        members.number("request_bytes", self.request_bytes);
        if self.response_bytes > 0 {
            members.number("response_bytes", self.response_bytes);
        }
        members.number("duration_us", ended.duration_us);
        if let Some(code) = ended.code {
            members.signed("code", code);
        }
        members.text("endpoint", &self.endpoint, NAME_BYTES_MAX);
        members.word("transport", self.via.name());
        if let Some(revision) = self.client_revision {
            members.word("client_revision", revision);
        }
        if let Some(revision) = self.server_revision {
            members.word("server_revision", revision);
        }
        if let Some(session) = self.session {
            members.hex("session", session);
        }
        if let Some(of) = &self.replay_of {
            members.word("replay_of", of);
        }
        for (key, body) in [("request", &self.request), ("response", &self.response)] {
            match body {
                Some(Cut::Whole(json)) => members.raw(key, json),
                Some(Cut::Part(text)) => members.raw(&format!("{key}_cut"), &quoted(text)),
                None => {}
            }
        }
        members.close();
    }
}

/// A text as JSON.
pub(super) fn quoted(text: &str) -> Vec<u8> {
    let mut quoted = Vec::with_capacity(text.len() + 16);
    push_quoted(&mut quoted, text);
    quoted
}

/// Whether a text as it stands in some JSON, with its quotes, is no longer than `bytes_max` and has no escapes: then it is
/// what it looks like, and need not be read.
pub(super) fn is_plain(quoted: &[u8], bytes_max: usize) -> bool {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~') && *byte != b'\\';
    // Every byte is looked at, which goes faster than to stop at the first.
    let odd = quoted.iter().filter(|byte| !is_plain(byte)).count();
    odd == 0 && quoted.len() <= bytes_max + 2 && quoted.starts_with(b"\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_begins_with_what_statistics_read() {
        let known = Known {
            method: Method::ToolsCall,
            method_name: None,
            name: quoted("demo__add"),
            endpoint: "/mcp".into(),
            via: Via::Http,
            client_revision: Some("2025-11-25"),
            session: Some(0x5c07_f1d2_9e3a_4b60),
            server: Some("demo".into()),
            server_revision: Some("2025-11-25"),
            replay_of: None,
            request_bytes: 118,
            response_bytes: 97,
            request: Some(Cut::Whole(b"{}".to_vec())),
            response: Some(Cut::Part("{\"a".to_owned())),
        };
        let ended = Ended {
            outcome: Outcome::Error,
            code: Some(-32000),
            duration_us: 312,
        };
        let mut out = b"before".to_vec();
        known.write(ended, &mut out);
        let expected = "before{\"method\":\"tools/call\",\"name\":\"demo__add\",\"server\":\"demo\",\"outcome\":\"error\",\
                        \"request_bytes\":118,\"response_bytes\":97,\"duration_us\":312,\"code\":-32000,\"endpoint\":\"/mcp\",\
                        \"transport\":\"http\",\"client_revision\":\"2025-11-25\",\"server_revision\":\"2025-11-25\",\
                        \"session\":\"5c07f1d29e3a4b60\",\"request\":{},\"response_cut\":\"{\\\"a\"}";
        assert_eq!(String::from_utf8_lossy(&out), expected);
    }

    #[test]
    fn a_name_is_plain_if_it_is_what_it_looks_like() {
        let check = |quoted: &str, expected| assert_eq!(is_plain(quoted.as_bytes(), 4), expected, "{quoted}");
        check("\"\"", true);
        check("\"abcd\"", true);
        check("\"abcde\"", false);
        check("\"a\\n\"", false);
        check("\"\u{e9}\"", false);
        check("12", false);
    }
}
