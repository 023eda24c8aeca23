//! End to end: the built binary, real servers, real clients. One file per story.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests may use the real clock and say why they fail"
)]

/// What a client of every kind gets from the servers themselves, without the gateway: the bed is sound.
mod bed;
