//! The built binary, run as a person runs it. A test reads as a command line and what came back.

#![allow(clippy::unwrap_used, reason = "tests")]

#[cfg(target_os = "linux")]
mod agents;
mod config;
mod help;
mod import;
#[cfg(unix)]
mod key;
#[cfg(unix)]
mod running;
#[cfg(unix)]
mod serve;
mod session;
