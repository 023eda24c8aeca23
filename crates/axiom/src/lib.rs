//! The binary's parts: command line, configuration, composition. A library only so that tests and fuzzers can reach them.
#![cfg_attr(test, allow(clippy::unwrap_used, reason = "tests"))]

pub mod cli;
pub mod commands;

pub mod config;
pub mod import;

pub mod attach;
pub mod compose;
pub mod events;
pub mod query;
#[cfg(target_os = "linux")]
mod race;
pub mod reload;
pub mod replay;
pub mod share;
#[cfg(target_os = "linux")]
pub mod tasks;

mod builtin;
pub mod demo;
pub mod events_server;
#[cfg(target_os = "linux")]
pub mod tasks_api;
#[cfg(target_os = "linux")]
pub mod tasks_server;

pub mod client;

pub mod logging;
pub mod outcome;
mod pretty;
pub mod signals;
mod table;
pub mod terminal;
