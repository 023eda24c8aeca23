//! What a query's reader must know beside its rows: events that could not be read.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Mutex, PoisonError};

/// Gathered while a query runs, told when it ends.
#[derive(Debug, Default)]
pub struct Notes {
    /// End by shard and start.
    missing: Mutex<BTreeMap<(u16, u64), u64>>,
}

impl Notes {
    /// Events with these offsets cannot be read. Several scans of one query may come upon the same.
    pub(crate) fn missing(&self, shard: u16, offsets: Range<u64>) {
        let mut missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        missing.insert((shard, offsets.start), offsets.end);
    }

    /// One sentence for each thing to know.
    pub fn warnings(&self) -> Vec<String> {
        let missing = self.missing.lock().unwrap_or_else(PoisonError::into_inner);
        let told = missing.iter().map(|((shard, start), end)| {
            format!(
                "events {start} to {} of shard {shard} cannot be read and are missing here; `axiom events verify` says why",
                end.saturating_sub(1)
            )
        });
        told.collect()
    }
}
