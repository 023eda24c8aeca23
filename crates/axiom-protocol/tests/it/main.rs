//! What axiom-protocol promises, against tables of our own and against serde_json.
#![allow(clippy::unwrap_used, reason = "tests")]

mod conformance;
mod documents;
mod envelope;
mod headers;
mod properties;
mod replies;
mod rewriting;
mod texts;
mod tool_headers;
