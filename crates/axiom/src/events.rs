//! What was recorded, for people and programs: which events are wanted, and how one is written.

mod filter;
mod line;
pub(crate) mod moment;

pub use filter::{BadFilter, Filter};
pub(crate) use line::{human, json};
pub use moment::Place;
pub(crate) use moment::full;
