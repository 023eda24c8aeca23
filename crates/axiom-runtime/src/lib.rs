//! A thousand tasks at once: admitted, queued, placed, supervised, multiplexed, steered and recorded.

pub mod mux;
pub mod schedule;

pub mod race;
