//! The gateway from the outside: scripted servers on one side, raw clients on the other. One file per story.
//!
//! Time is paused wherever no socket is involved: minutes of silence pass at once, and a message that never comes fails
//! its test instead of hanging it.
#![allow(
    clippy::disallowed_methods,
    clippy::tests_outside_test_module,
    clippy::unwrap_used,
    reason = "tests spawn and make channels of their own; here everything is a test"
)]

mod client;
mod http;
mod server;
mod stage;

mod ids;
mod outcomes;
mod pressure;
mod questions;
mod questions_across;

mod cancellation;
mod death;
mod timeouts;

mod lists;
mod news;
mod routes;
mod subscriptions;

mod bridge;
mod tasks;
mod tasks_across;
mod tasks_besides;
mod tasks_cut;
mod tasks_early;

mod reload;

mod forward;
mod handshake;
mod links;
mod sessions;
mod shutdown;
mod standing_stream;
