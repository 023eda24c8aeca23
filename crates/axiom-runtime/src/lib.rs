//! A thousand tasks at once: admitted, queued, placed, supervised, multiplexed, steered and recorded.
//!
//! An [`order`] comes to the [`supervisor`], waits for its place ([`schedule`]), is started and watched, and what it says goes
//! to everybody who reads along ([`mux`]).

pub mod order;
pub mod schedule;
pub mod supervisor;

pub mod mux;
