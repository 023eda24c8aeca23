//! A pipe carries whole MCP messages both ways: a child's stdio, a WebSocket, an HTTP+SSE pair, or two ends in one process.

use std::sync::Arc;

use bytes::Bytes;

/// A server that lives in this process. `connect` is called once per link the gateway opens.
pub trait Builtin: std::fmt::Debug + Send + Sync {
    /// Stable name, for people and for comparing configurations.
    fn name(&self) -> &str;
    /// Starts one conversation and returns the client's end of it.
    fn connect(self: Arc<Self>) -> Pipe;
}

/// Both ends of a conversation with a peer. The halves may live in different tasks.
#[derive(Debug)]
pub struct Pipe {
    pub tx: PipeSender,
    pub rx: PipeReceiver,
}

/// Sends whole messages. Cheap to clone.
#[derive(Debug, Clone)]
pub struct PipeSender {}

/// Receives whole messages in order.
#[derive(Debug)]
pub struct PipeReceiver {}

/// Why a pipe ended, with what is known about it.
#[derive(Debug, Clone)]
pub struct Closed {}

#[allow(unused, reason = "contract stub")]
fn contract(_: Bytes) {}
