//! What the end-to-end tests stand on: the bed that `cargo xtask setup` made, the built gateway, real servers, real
//! clients, and two raw peers that show the bytes.
//!
//! Everything here panics on failure: a harness that cannot do its work is a failing test. Every wait has a deadline
//! and waits for a state; nothing sleeps and hopes.

#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test harness: panics are failures, and its clock is the real one"
)]
#![allow(
    missing_debug_implementations,
    reason = "harness types hold processes and sockets"
)]

#[path = "harness/bed.rs"]
pub mod bed;
#[path = "harness/wait.rs"]
pub mod wait;

#[path = "harness/child.rs"]
pub mod child;
#[path = "harness/network.rs"]
pub mod network;
#[path = "harness/process.rs"]
pub mod process;
#[path = "harness/pty.rs"]
pub mod pty;

#[path = "harness/config.rs"]
pub mod config;
#[path = "harness/gateway.rs"]
pub mod gateway;
#[path = "harness/servers.rs"]
pub mod servers;

#[path = "harness/http.rs"]
pub mod http;
#[path = "harness/peer.rs"]
pub mod peer;
#[path = "harness/stdio.rs"]
pub mod stdio;

#[path = "harness/client.rs"]
pub mod client;
