//! One file per command.

pub mod call;
pub mod config;
pub mod events;
pub mod import;
pub mod key;
pub mod replay;
pub mod servers;
pub mod sql;
pub mod stats;
pub mod stdio;
#[cfg(target_os = "linux")]
pub mod tasks;
pub mod tools;
pub mod up;
