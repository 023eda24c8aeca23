//! The transports against real processes, a real HTTP server and raw sockets.
#![allow(clippy::disallowed_methods, reason = "tests may use tokio directly")]
#![allow(
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

mod child;
mod http_client;
mod https;
mod legacy_sse;
mod peer;
mod pipe;
mod stdio;
mod websocket;
