//! What the echo server answers, whatever carries the messages.
//!
//! Answers are put together from parts that were made once: per request only the id, and for `echo` the text, is
//! copied. The server must cost little, because in a measurement it shares the cores with what is being measured.

use std::sync::Mutex;

use bytes::Bytes;

use crate::wire::{Message, unquoted};

/// The revisions which the echo server speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum Eras {
    /// `initialize` and what follows from it: 2024-11-05 to 2025-11-25.
    Legacy,
    /// 2026-07-28: every request speaks for itself.
    Modern,
    #[default]
    Dual,
}

impl Eras {
    pub fn speaks_legacy(self) -> bool {
        self != Eras::Modern
    }

    pub fn speaks_modern(self) -> bool {
        self != Eras::Legacy
    }
}

/// Legacy revisions, oldest first; the last is offered to a client that asks for something else.
pub const LEGACY_REVISIONS: [&str; 4] = ["2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25"];
pub const MODERN_REVISION: &str = "2026-07-28";

/// Bytes of text in the result of `blob` when the call does not say.
pub const BLOB_BYTES: usize = 64 * 1024;

/// One JSON-RPC message in two parts, so that a large part is shared instead of copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    pub head: Bytes,
    pub tail: Bytes,
    /// The JSON-RPC error code, if it is an error: the transport may need another status for it.
    pub error: Option<i32>,
}

impl Answer {
    /// The whole message in one piece.
    pub fn into_bytes(self) -> Vec<u8> {
        [self.head, self.tail].concat()
    }
}

/// The echo server without a transport. Tools: `echo` (`text`), `blob` (`bytes`), and enough others to fill the list.
#[derive(Debug)]
pub struct Echo {
    eras: Eras,
    legacy: Prepared,
    modern: Prepared,
}

impl Echo {
    /// `tools`: length of `tools/list`, at least 2.
    pub fn new(eras: Eras, tools: usize) -> Self {
        Echo {
            eras,
            legacy: Prepared::new(tools, ""),
            modern: Prepared::new(tools, MODERN_MEMBERS),
        }
    }

    pub fn eras(&self) -> Eras {
        self.eras
    }

    /// Answers a request; `None` for notifications and responses, which need no answer.
    pub fn answer(&self, message: &Message<'_>) -> Option<Answer> {
        let id = message.id?;
        let modern =
            self.eras.speaks_modern() && (message.is_modern() || message.method == b"server/discover");
        let prepared = if modern { &self.modern } else { &self.legacy };
        Some(match message.method {
            b"" => return None,
            b"tools/call" => self.call(id, message, prepared),
            b"tools/list" => result(id, prepared.list.clone()),
            b"server/discover" if modern => result(id, Bytes::from_static(DISCOVER_RESULT.as_bytes())),
            b"initialize" if !modern => self.initialize(id, message),
            b"ping" if !modern => result(id, Bytes::from_static(b",\"result\":{}}")),
            _ => error(Some(id), -32601, "method not found"),
        })
    }

    fn initialize(&self, id: &[u8], message: &Message<'_>) -> Answer {
        let asked = message.param("protocolVersion").map(unquoted).unwrap_or_default();
        if !self.eras.speaks_legacy() {
            return unsupported_revision(Some(id));
        }
        let known = LEGACY_REVISIONS
            .iter()
            .find(|revision| revision.as_bytes() == asked);
        let revision = known.unwrap_or(&LEGACY_REVISIONS[3]);
        result(
            id,
            Bytes::from(format!(
                ",\"result\":{{\"protocolVersion\":\"{revision}\",{SERVER_MEMBERS}}}}}"
            )),
        )
    }

    fn call(&self, id: &[u8], message: &Message<'_>, prepared: &Prepared) -> Answer {
        match message.param("name").map(unquoted) {
            Some(b"echo") => {
                let text = message.argument("text").map(unquoted).unwrap_or_default();
                let parts = [ID, id, CONTENT.as_bytes(), text, prepared.content_end.as_bytes()];
                Answer {
                    head: Bytes::from(parts.concat()),
                    tail: Bytes::new(),
                    error: None,
                }
            }
            Some(b"blob") => {
                let bytes = message
                    .argument("bytes")
                    .and_then(|raw| std::str::from_utf8(raw).ok()?.parse().ok());
                result(id, prepared.blob(bytes.unwrap_or(BLOB_BYTES)))
            }
            _ => error(Some(id), -32602, "unknown tool"),
        }
    }
}

/// A JSON-RPC error; `id` is `null` where the request's could not be read.
pub fn error(id: Option<&[u8]>, code: i32, message: &str) -> Answer {
    let tail = format!(",\"error\":{{\"code\":{code},\"message\":\"{message}\"}}}}");
    Answer {
        error: Some(code),
        ..result(id.unwrap_or(b"null"), Bytes::from(tail))
    }
}

/// What a modern-only server says to a client of another era.
pub fn unsupported_revision(id: Option<&[u8]>) -> Answer {
    let data = format!("\"data\":{{\"supported\":[\"{MODERN_REVISION}\"]}}");
    let tail =
        format!(",\"error\":{{\"code\":-32022,\"message\":\"unsupported protocol version\",{data}}}}}");
    Answer {
        error: Some(-32022),
        ..result(id.unwrap_or(b"null"), Bytes::from(tail))
    }
}

/// The first message on a `subscriptions/listen` stream, whose id is `id`.
pub fn acknowledged(id: &[u8]) -> Vec<u8> {
    let head: &[u8] =
        b"{\"jsonrpc\":\"2.0\",\"method\":\"notifications/subscriptions/acknowledged\",\"params\":\
        {\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":";
    [head, id, b"},\"notifications\":{\"toolsListChanged\":true}}}"].concat()
}

fn result(id: &[u8], tail: Bytes) -> Answer {
    Answer {
        head: Bytes::from([ID, id].concat()),
        tail,
        error: None,
    }
}

const ID: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":";
const CONTENT: &str = ",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"";
const SERVER_MEMBERS: &str = "\"capabilities\":{\"tools\":{\"listChanged\":true}},\
    \"serverInfo\":{\"name\":\"axiom-echo\",\"version\":\"1.0.0\"}";
const MODERN_MEMBERS: &str = ",\"resultType\":\"complete\",\"_meta\":\
    {\"io.modelcontextprotocol/serverInfo\":{\"name\":\"axiom-echo\",\"version\":\"1.0.0\"}}";
const DISCOVER_RESULT: &str = ",\"result\":{\"supportedVersions\":[\"2026-07-28\"],\
    \"capabilities\":{\"tools\":{\"listChanged\":true}},\"ttlMs\":60000,\"cacheScope\":\"public\",\
    \"resultType\":\"complete\",\"_meta\":\
    {\"io.modelcontextprotocol/serverInfo\":{\"name\":\"axiom-echo\",\"version\":\"1.0.0\"}}}}";

/// The parts of answers that depend on the era only.
#[derive(Debug)]
struct Prepared {
    list: Bytes,
    content_end: String,
    /// The blob of the last size asked for: a measurement asks for one size only.
    blob: Mutex<(usize, Bytes)>,
}

impl Prepared {
    fn new(tools: usize, members: &str) -> Self {
        let cache = if members.is_empty() {
            ""
        } else {
            ",\"ttlMs\":60000,\"cacheScope\":\"public\""
        };
        let list = format!(",\"result\":{{\"tools\":[{}]{cache}{members}}}}}", listing(tools));
        Prepared {
            list: Bytes::from(list),
            content_end: format!("\"}}]{members}}}}}"),
            blob: Mutex::new((0, Bytes::new())),
        }
    }

    fn blob(&self, bytes: usize) -> Bytes {
        let mut last = self
            .blob
            .lock()
            .expect("no thread panics while it holds the blob");
        if last.0 != bytes || last.1.is_empty() {
            *last = (
                bytes,
                Bytes::from([CONTENT, &"x".repeat(bytes), &self.content_end].concat()),
            );
        }
        last.1.clone()
    }
}

/// The tools, about 340 bytes each: the size of a plain tool of real servers.
fn listing(tools: usize) -> String {
    let tool = |number: usize| {
        let (name, argument) = match number {
            0 => (
                "echo".to_owned(),
                "\"text\":{\"type\":\"string\",\"description\":\"Comes back unchanged\"}",
            ),
            1 => (
                "blob".to_owned(),
                "\"bytes\":{\"type\":\"integer\",\"description\":\"Length of the text\"}",
            ),
            _ => (
                format!("lookup_{number:03}"),
                "\"query\":{\"type\":\"string\",\"description\":\"What to look for\"},\
                 \"limit\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":100}",
            ),
        };
        format!(
            "{{\"name\":\"{name}\",\"title\":\"Tool {number}\",\"description\":\"Finds the records that match and \
             returns them with their identifiers, newest first.\",\"inputSchema\":{{\"type\":\"object\",\
             \"properties\":{{{argument}}}}},\"annotations\":{{\"readOnlyHint\":true}}}}"
        )
    };
    (0..tools.max(2)).map(tool).collect::<Vec<_>>().join(",")
}

#[cfg(test)]
#[path = "echo/tests.rs"]
mod tests;
