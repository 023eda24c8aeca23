//! End to end: the built binary, real servers, real clients. One file per story.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stderr,
    reason = "tests may use the real clock and say why they fail"
)]

mod bed;

mod first_minutes;
mod readme;

mod failing_disk;
mod features;
mod real_servers;
mod rust_client;
mod same_ids;
mod views;

mod bridge;
mod command_line;
mod desktop_client;
mod levels;
mod news;
mod older_transports;
mod tasks;

mod bad_input;
mod lifetimes;
mod stale_sessions;
mod upstream_faults;

mod events;
mod events_server;
mod following;
mod partitions;
mod processes;
mod recording;
mod reload;
mod replay;
mod replicas;
mod sql;
mod stalled;
mod stats;
#[cfg(target_os = "linux")]
mod tasks_server;

mod tasks_followed;
mod tasks_lasting;
mod tasks_race;
mod tiers;

mod abuse;
mod agents;
mod attach;
mod doctor;
#[cfg(target_os = "linux")]
mod executors;
mod race;
mod running;
mod top;

mod conformance;
