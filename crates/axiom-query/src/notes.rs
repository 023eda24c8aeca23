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

/// Warnings that are told on one line; the others are counted.
const JOINED_MAX: usize = 5;

/// Warnings on one line, for a header or an error.
pub(crate) fn joined(warnings: &[String]) -> String {
    let told = warnings.iter().take(JOINED_MAX).map(String::as_str);
    let told = told.collect::<Vec<_>>().join(". ");
    match warnings.len().saturating_sub(JOINED_MAX) {
        0 => told,
        more => format!("{told}. And {more} more of these"),
    }
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
