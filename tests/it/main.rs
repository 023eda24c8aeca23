//! End to end: the built binary, real servers, real clients. One file per story.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests may use the real clock and say why they fail"
)]

mod bed;

mod bad_input;
mod conformance;
mod features;
mod processes;
mod real_servers;
mod reload;
mod rust_client;
mod same_ids;
mod upstream_faults;
