//! What no retention takes away: the newest event of each stream whose name begins with `$`.
//!
//! There what is built on the log keeps what it is at: how far a projection or a group has come, what a partition's events
//! come to, which steps of a saga are to be undone. Nothing else says it, and it is as new as what it stands for was the last
//! time that it changed, however long ago that is. Older ones of the same stream go like all others.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use axiom_core::time::{self, Instant};
use axiom_events::archive::Summary;
use axiom_events::{ReadError, Reader, Recorded};

use crate::manifest::Object;
use crate::plan::Verdict;

/// How long an object with such events is left alone: their streams may have newer ones by then.
const LOOK_AGAIN: Duration = Duration::from_secs(3600);

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

/// When objects were looked through that have such events, by their locations; with what verdict, and with which hold as the
/// newest.
#[derive(Debug, Default)]
pub(crate) struct Looked(HashMap<String, (Verdict, u64, Instant)>);

impl Looked {
    /// Whether this was found not long ago to have nothing more that may go.
    pub(crate) fn is_recent(&self, location: &str, verdict: &Verdict, newest_hold: u64) -> bool {
        self.0.get(location).is_some_and(|(was, hold, when)| {
            (was, *hold) == (verdict, newest_hold) && when.elapsed() < LOOK_AGAIN
        })
    }

    pub(crate) fn note(&mut self, location: &str, verdict: &Verdict, newest_hold: u64) {
        self.0.retain(|_, (_, _, when)| when.elapsed() < LOOK_AGAIN);
        let looked = (verdict.clone(), newest_hold, time::now());
        self.0.insert(location.to_owned(), looked);
    }
}
