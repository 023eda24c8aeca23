//! Redis Streams as the tail that nodes share: the newest blocks of every shard, for whoever wants to see all nodes at once.
//!
//! Blocks travel as they lie on the disk, some hundred events each, never single events. A shard is the stream
//! `axiom:events:<shard>`; an entry's id is the offset of its first event and `-0`, for offset 0 `0-1`, the smallest that
//! Redis takes. So an entry that is added twice is refused the second time.
//!
//! | field | what |
//! |---|---|
//! | `block` | a block ([`axiom_events::block`]) |
//! | `hash` | its hash, 32 bytes |
//! | `gap` | instead of both: the offset with which events go on; those before it are not to be had |
//!
//! The log of a node stays the record: [`Push`] follows it, and whatever Redis does costs the log nothing. [`Tail`] reads a
//! shard in order and checks each block against the one before; [`Worker`] is one of several that share the work.

mod entry;
mod link;
mod push;
mod tail;
mod worker;

pub use entry::{Fault, key};
pub use link::{Address, shards};
pub use push::{Options, Push, State};
pub use tail::{Next, Tail};
pub use worker::{Given, Work, Worker};
