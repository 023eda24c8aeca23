//! Recorded calls, made again: what was asked and answered, and how another answer differs from that.

pub(crate) mod diff;
mod path;
pub(crate) mod recorded;
mod times;

pub use path::{BadPath, Ignored};
