//! What no retention takes away: the newest event of each stream whose name begins with `$`.
//!
//! There what is built on the log keeps what it is at: how far a projection or a group has come, what a partition's events
//! come to, which steps of a saga are to be undone. Nothing else says it, and it is as new as what it stands for was the last
//! time that it changed, however long ago that is. Older ones of the same stream go like all others.

use std::collections::BTreeSet;

use axiom_events::archive::Summary;
use axiom_events::{ReadError, Reader, Recorded};

use crate::manifest::Object;

/// Those events of an object.
#[derive(Debug, Default)]
pub(crate) struct Standing {
    offsets: BTreeSet<u64>,
}

impl Standing {
    /// Blocks on the disk, and maybe on the object store.
    ///
    /// # Errors
    /// When it cannot be read which event of a stream is its newest; then nothing may be deleted.
    pub(crate) fn of(object: &Object, summary: &Summary, reader: &Reader) -> Result<Standing, ReadError> {
        let mut offsets = BTreeSet::new();
        for stream in summary.streams().filter(|stream| stream.starts_with('$')) {
            let newest = reader.stream_backward(stream, u64::MAX, 1)?;
            let newest = newest.iter().map(|hit| hit.recorded().offset);
            offsets.extend(newest.filter(|offset| object.offsets.contains(offset)));
        }
        Ok(Standing { offsets })
    }

    pub(crate) fn has(&self, recorded: &Recorded<'_>) -> bool {
        self.offsets.contains(&recorded.offset)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Whether the object has no other events.
    pub(crate) fn is_all_of(&self, object: &Object) -> bool {
        self.offsets.len() as u64 == object.rows
    }
}
