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
pub mod tools;
pub mod up;
