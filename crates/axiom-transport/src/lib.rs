//! Carries MCP messages: stdio, Streamable HTTP, legacy SSE, WebSocket, in-process; both directions.
//!
//! It knows how messages travel and how a conversation ends, not what the messages say.

pub mod pipe;

mod lines;
pub mod stdio;

pub mod child;

pub mod http_client;
pub mod sse;

pub mod legacy_sse;
pub mod websocket;

pub mod replay;
pub mod server;
