//! How Axiom runs: tasks that are named, drained and whose panics are reported; bounded channels; one clock.
//!
//! Every other crate spawns, queues and tells the time through here, so that the rules hold by construction.

pub mod channel;
pub mod drain;
pub mod limit;
pub mod mailbox;
pub mod spawn;
pub mod time;

pub use drain::{Drain, Draining};
pub use limit::Limit;
pub use spawn::{Task, spawn};
