//! MCP and JSON-RPC on the wire: bytes in, values out, no I/O.
//!
//! The gateway never builds a typed model of a message. [`scan`] finds the few places that decide where a message
//! goes; [`splice`] and [`object_with`] change exactly those bytes. Everything else arrives as it was sent.
//! The modules stand in the order in which a message meets them.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

// A message arrives.
pub mod batch;
mod cursor;
pub mod envelope;
pub mod fault;
pub mod span;
// What it says.
pub mod codes;
pub mod method;
pub mod revision;
pub mod text;
pub mod walk;
// HTTP headers that mirror parts of it.
pub mod headers;
mod number;
pub mod tool_headers;
mod tool_schema;
// What becomes of it.
pub mod reply;
pub mod rewrite;
// Its answer streams past.
pub mod reply_head;
pub mod reply_scanner;

pub use batch::split_batch;
pub use envelope::{Envelope, Kind, Limits, MetaSpans, ParamSpans, ResultSpans, scan};
pub use fault::{ScanError, ScanFault};
pub use headers::{HeaderError, HeaderLookup, Lookup, check_modern};
pub use method::Method;
pub use reply_head::{ReplyHead, peek_reply};
pub use reply_scanner::{IdAt, ReplyScanner};
pub use revision::{Era, Revision};
pub use rewrite::{Edit, object_with, splice};
pub use span::Span;
pub use text::{push_quoted, quoted, text};
pub use tool_headers::{InvalidToolHeader, ToolHeaders};
pub use walk::{elements, get, members};
