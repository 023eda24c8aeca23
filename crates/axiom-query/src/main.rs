//! SQL over all tiers of the event store, in a process of its own.

fn main() {}
