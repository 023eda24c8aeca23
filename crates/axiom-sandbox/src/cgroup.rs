//! The control group of a task: its limits, its weight, its end, and what it used.
//!
//! Kernels offer control groups in two versions, and machines mount them in three ways: version 2 alone, version 1 (each
//! controller a tree of its own), or both, where a controller is in one of the two. A [`Group`] hides that: it is one folder in
//! each tree that has something for us, all of the same name.
//!
//! A [`Tree`] is the place where we make groups, `axiom-<name>` below the group that this process is in. Found once at the
//! start, it also knows what cannot be had here and why, and how to get it. **A limit that cannot be enforced is an error**: no
//! group is made without one that was asked for.
//!
//! Everything here blocks: a write moves a process (about 12 ms on version 1 after a quiet time), an end is waited for. Call it
//! from a thread that may wait. Groups can be made ahead of time, limited once their task is known, and given the process
//! before it execs, which keeps that cost out of the start of a task.

mod above;
mod controller;
mod delegate;
mod disk;
mod effective;
mod ended;
mod error;
mod file;
mod folders;
mod group;
mod kill;
mod layout;
mod name;
mod setting;
mod stats;
mod tree;

#[cfg(test)]
mod version2;

pub use above::Above;
pub use controller::{Controller, Version};
pub use ended::EndedBy;
pub use error::GroupError;
pub use group::{Allowance, Group};
pub use layout::Layout;
pub use setting::Class;
pub use stats::Stats;
pub use tree::{Options, Tree};
