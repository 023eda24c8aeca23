//! Fake MCP servers for tests and benchmarks: one that answers as cheaply as it can, several that misbehave on purpose,
//! and the plain proxy that shows what any proxy on hyper must cost. And a fake coding agent, for whoever drives those.
//!
//! Nothing here shares code with the gateway, so that a mistake in the gateway's reading of the protocol does not
//! cancel itself out in its tests.

#![allow(clippy::disallowed_methods, reason = "test servers may use tokio directly")]

pub mod wire;

pub mod echo;
pub mod echo_http;
pub mod echo_stdio;

pub mod faulty;
pub mod faulty_http;

pub mod floor;

#[cfg(unix)]
pub mod fake_agent;

pub mod programs;
pub mod server;
