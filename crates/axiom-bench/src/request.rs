//! The requests of a measurement, built once and patched in place, and the check that an answer is the right one.

use memchr::memmem;

/// What is asked of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Work {
    /// tools/call of `echo` with 1 KiB of text.
    Echo,
    /// tools/list of `LIST_TOOLS` tools.
    List,
    /// tools/call of `blob`: 64 KiB of text come back.
    Blob,
}

/// How to talk to one server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Dialect {
    pub(crate) modern: bool,
    pub(crate) path: String,
    /// What the server puts before tool names: empty, or `echo__` behind a gateway.
    pub(crate) prefix: String,
}

pub(crate) const LIST_TOOLS: usize = 100;
const TEXT_BYTES: usize = 1024;
const BLOB_BYTES: usize = 64 * 1024;

/// Ids have nine digits, so that a request can be patched without moving a byte.
const ID_DIGITS: usize = 9;
const FIRST_ID: u32 = 100_000_000;

/// A whole HTTP request in which the id, and for `echo` the start of the text, change from call to call.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    bytes: Vec<u8>,
    id_at: usize,
    /// Where the text of `echo` is; it starts with the same digits as the id.
    text_at: Option<usize>,
    expected: Expected,
    next_id: u32,
}

#[derive(Debug, Clone, Copy)]
enum Expected {
    Text,
    /// The length is that of the first list that was counted.
    List {
        length: Option<usize>,
    },
    Blob,
}

impl Request {
    /// `session` is the `Mcp-Session-Id` of a legacy session, if the server minted one.
    pub(crate) fn new(work: Work, dialect: &Dialect, host: &str, session: Option<&str>) -> Request {
        let id = FIRST_ID.to_string();
        let (method, name, arguments, expected) = match work {
            Work::Echo => {
                let filler = "the quick brown fox jumps over the lazy dog; ".repeat(TEXT_BYTES);
                let text: String = id.chars().chain(filler.chars()).take(TEXT_BYTES).collect();
                (
                    "tools/call",
                    "echo",
                    format!("{{\"text\":\"{text}\"}}"),
                    Expected::Text,
                )
            }
            Work::Blob => (
                "tools/call",
                "blob",
                format!("{{\"bytes\":{BLOB_BYTES}}}"),
                Expected::Blob,
            ),
            Work::List => ("tools/list", "", String::new(), Expected::List { length: None }),
        };
        let name = if name.is_empty() {
            String::new()
        } else {
            format!("{}{name}", dialect.prefix)
        };
        let meta = if dialect.modern { MODERN_META } else { "" };
        let call = if name.is_empty() {
            String::new()
        } else {
            format!("\"name\":\"{name}\",\"arguments\":{arguments}")
        };
        let comma = if meta.is_empty() || call.is_empty() {
            ""
        } else {
            ","
        };
        let body = format!(
            "{{\"jsonrpc\":\"2.0\",\"id\":{id},\"method\":\"{method}\",\"params\":{{{meta}{comma}{call}}}}}"
        );
        let headers = headers(dialect, session, method, &name);
        let bytes = post(&dialect.path, host, &headers, &body);
        let id_at = find(&bytes, b"\"id\":").expect("the body has an id") + b"\"id\":".len();
        let text_at = find(&bytes, b"\"text\":\"").map(|at| at + b"\"text\":\"".len());
        Request {
            bytes,
            id_at,
            text_at,
            expected,
            next_id: FIRST_ID,
        }
    }

    /// The bytes of the next call, with an id that this request has not used yet.
    pub(crate) fn next(&mut self) -> &[u8] {
        self.next_id += 1;
        let mut rest = self.next_id;
        for index in (0..ID_DIGITS).rev() {
            let digit = b'0' + u8::try_from(rest % 10).unwrap_or_default();
            rest /= 10;
            self.bytes[self.id_at + index] = digit;
            if let Some(text_at) = self.text_at {
                self.bytes[text_at + index] = digit;
            }
        }
        &self.bytes
    }

    /// Whether `body` is the right answer to the last call.
    pub(crate) fn is_answered_by(&mut self, body: &[u8]) -> bool {
        self.carries_our_id(body)
            && match &mut self.expected {
                Expected::Text => {
                    let text = self
                        .text_at
                        .map_or(&[][..], |at| &self.bytes[at..at + TEXT_BYTES]);
                    after(body, b"\"text\":\"").is_some_and(|rest| rest.starts_with(text))
                }
                Expected::Blob => after(body, b"\"text\":\"")
                    .and_then(|rest| rest.get(..BLOB_BYTES))
                    .is_some_and(|text| text.iter().all(|byte| *byte == b'x')),
                Expected::List { length: Some(length) } if *length == body.len() => true,
                Expected::List { length } => {
                    let whole = memmem::find_iter(body, b"\"inputSchema\"").count() == LIST_TOOLS;
                    *length = whole.then_some(body.len());
                    whole
                }
            }
    }

    fn carries_our_id(&self, body: &[u8]) -> bool {
        let id = &self.bytes[self.id_at..self.id_at + ID_DIGITS];
        // Servers write the id near the start or at the very end; only then the rest is searched.
        let mut ids = memmem::find_iter(body, b"\"id\":");
        ids.any(|at| {
            let value = &body[at + b"\"id\":".len()..];
            value.starts_with(id) && value.get(ID_DIGITS).is_some_and(|next| !next.is_ascii_digit())
        })
    }
}

/// The first request of a legacy client.
pub(crate) fn initialize(dialect: &Dialect, host: &str) -> Vec<u8> {
    let body = format!(
        "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"initialize\",\"params\":{{\"protocolVersion\":\"{LEGACY}\",\
         \"capabilities\":{{}},\"clientInfo\":{{\"name\":\"axiom-bench\",\"version\":\"1.0.0\"}}}}}}"
    );
    post(&dialect.path, host, "", &body)
}

/// What a legacy client says after the answer to `initialize`.
pub(crate) fn initialized(dialect: &Dialect, host: &str, session: Option<&str>) -> Vec<u8> {
    let body = "{\"jsonrpc\":\"2.0\",\"method\":\"notifications/initialized\"}";
    post(&dialect.path, host, &headers(dialect, session, "", ""), body)
}

const LEGACY: &str = "2025-11-25";
const MODERN: &str = "2026-07-28";
const MODERN_META: &str = "\"_meta\":{\"io.modelcontextprotocol/protocolVersion\":\"2026-07-28\",\
    \"io.modelcontextprotocol/clientCapabilities\":{},\
    \"io.modelcontextprotocol/clientInfo\":{\"name\":\"axiom-bench\",\"version\":\"1.0.0\"}}";

fn headers(dialect: &Dialect, session: Option<&str>, method: &str, name: &str) -> String {
    let mut headers = String::new();
    let mut add = |key: &str, value: &str| headers.extend([key, ": ", value, "\r\n"]);
    if dialect.modern {
        add("MCP-Protocol-Version", MODERN);
        add("Mcp-Method", method);
        if !name.is_empty() {
            add("Mcp-Name", name);
        }
    } else {
        add("MCP-Protocol-Version", LEGACY);
        if let Some(session) = session {
            add("Mcp-Session-Id", session);
        }
    }
    headers
}

fn post(path: &str, host: &str, headers: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: axiom-bench\r\n\
         Accept: application/json, text/event-stream\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n{headers}\r\n{body}"
    )
    .into_bytes()
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    memmem::find(haystack, needle)
}

fn after<'a>(haystack: &'a [u8], needle: &[u8]) -> Option<&'a [u8]> {
    find(haystack, needle).map(|at| &haystack[at + needle.len()..])
}

#[cfg(test)]
mod tests {
    use axiom_testkit::{
        echo::{Echo, Eras},
        wire::Message,
    };

    use super::*;

    fn answer(request: &[u8]) -> Vec<u8> {
        let body = after(request, b"\r\n\r\n").expect("a body");
        let message = Message::read(body).expect("an object");
        Echo::new(Eras::Dual, LIST_TOOLS)
            .answer(&message)
            .expect("a request")
            .into_bytes()
    }

    #[test]
    fn only_the_right_answer_is_accepted() {
        for (work, modern) in [
            (Work::Echo, false),
            (Work::Echo, true),
            (Work::List, false),
            (Work::List, true),
            (Work::Blob, false),
            (Work::Blob, true),
        ] {
            let dialect = Dialect {
                modern,
                path: "/mcp".to_owned(),
                prefix: String::new(),
            };
            let mut request = Request::new(work, &dialect, "localhost", None);
            let first = answer(request.next());
            assert!(request.is_answered_by(&first), "{work:?}");
            let second = answer(request.next());
            assert!(request.is_answered_by(&second), "{work:?}");
            assert!(
                !request.is_answered_by(&first),
                "{work:?}: the answer to another call"
            );
            assert!(
                !request.is_answered_by(&second[..second.len() / 2]),
                "{work:?}: half an answer"
            );
            assert!(
                !request.is_answered_by(b"{\"jsonrpc\":\"2.0\",\"id\":100000002,\"result\":{}}"),
                "{work:?}"
            );
        }
    }

    #[test]
    fn the_length_in_the_header_is_that_of_the_body() {
        let dialect = Dialect {
            modern: true,
            path: "/mcp".to_owned(),
            prefix: "echo__".to_owned(),
        };
        let mut request = Request::new(Work::Echo, &dialect, "localhost", None);
        let text = String::from_utf8(request.next().to_vec()).expect("utf-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a body");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())));
        assert!(head.ends_with("Mcp-Method: tools/call\r\nMcp-Name: echo__echo"));
        assert!(body.contains("\"text\":\"100000001the quick"));
    }
}
