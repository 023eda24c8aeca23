//! A thousand tasks at once: admitted, queued, placed, supervised, multiplexed, steered and recorded.
//!
//! An [`order`] comes to the [`supervisor`], waits for its place ([`schedule`]), is started and watched, and what it says goes
//! to everybody who reads along ([`mux`]). What is done about it without a person is up to [`rules`], and how a coding agent is
//! spoken to is up to its profile ([`agent`]); both together [`drive`] a task.

pub mod order;
pub mod schedule;
pub mod supervisor;

pub mod mux;

pub mod agent;
pub mod drive;
pub mod rules;

pub mod race;

pub mod pattern;
