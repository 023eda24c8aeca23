//! MCP and JSON-RPC on the wire: bytes in, values out, no I/O.
//!
//! The gateway never builds a typed model of a message. [`scan`] finds the few places that decide where a message
//! goes; [`splice`] and [`object_with`] change exactly those bytes. Everything else arrives as it was sent.
//! The groups of modules stand in the order in which a message meets them.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

// A message arrives.
mod batch;
mod cursor;
pub mod envelope;
mod fault;
mod scan;
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
mod reply_head;
mod reply_scanner;

pub use envelope::{
    Envelope, IdAt, Kind, Limits, MetaSpans, ParamSpans, ReplyHead, ReplyScanner, ResultSpans, ScanError,
    ScanFault, peek_reply, scan, split_batch,
};
pub use headers::{HeaderError, HeaderLookup, Lookup, check_modern};
pub use method::Method;
pub use revision::{Era, Revision};
pub use rewrite::{Edit, object_with, splice};
pub use span::Span;
pub use text::{push_quoted, quoted, text};
pub use tool_headers::{InvalidToolHeader, ToolHeaders};
pub use walk::{elements, get, members};
