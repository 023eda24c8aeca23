//! Groups and machines for real: real processes in real groups, few and short, all ended and removed whatever happens.
#![allow(
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]
#![allow(clippy::print_stderr, reason = "what was skipped, and why")]

mod ending;
mod ground;
mod groups;
mod machine;
