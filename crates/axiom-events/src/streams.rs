//! What the log knows of each stream: its next version, and which events of producers' own ids it has already.
//!
//! Only the writer changes it, so two appends never see the same version.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::batch::Batch;
use crate::event::EventId;

/// Producers' own ids that are remembered. A producer that repeats an event must do so before this many others have come,
/// with an id or without: after a start the log knows the ids among its last so many events. 24 MB at most.
pub(crate) const IDS_MAX: usize = 262_144;

/// What a stream must be like for an append to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    Any,
    /// It has no events yet.
    NoStream,
    /// It has at least one.
    Exists,
    /// This is the version of its last event.
    Exact(u64),
}

/// A condition that did not hold; nothing of the append was recorded.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("stream {stream:?} is at {found}, the append expects {expected}")]
pub struct Conflict {
    pub stream: String,
    pub expected: Expected,
    /// `None` if there is no such stream.
    pub last: Option<u64>,
    found: String,
}

/// The streams of a shard.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    /// The next version of each.
    next: HashMap<Arc<str>, u64, foldhash::fast::RandomState>,
    ids: HashMap<EventId, u64, foldhash::fast::RandomState>,
    /// In the order in which they came.
    ids_by_age: VecDeque<EventId>,
}

/// How things were before an append, to make it undone.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    streams: Vec<(Arc<str>, Option<u64>)>,
    ids: Vec<EventId>,
}

/// Whether a batch was recorded before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Known {
    No,
    /// All of it, from this offset on.
    Yes(u64),
    Partly,
}

impl Streams {
    pub(crate) fn check(&self, stream: &str, expected: Expected) -> Result<(), Conflict> {
        let last = self.last(stream);
        let holds = match expected {
            Expected::Any => true,
            Expected::NoStream => last.is_none(),
            Expected::Exists => last.is_some(),
            Expected::Exact(version) => last == Some(version),
        };
        if holds {
            return Ok(());
        }
        Err(Conflict {
            stream: stream.to_owned(),
            expected,
            last,
            found: last.map_or("no event".to_owned(), |last| format!("version {last}")),
        })
    }

    /// The version of a stream's last event.
    pub(crate) fn last(&self, stream: &str) -> Option<u64> {
        self.next.get(stream)?.checked_sub(1)
    }

    pub(crate) fn len(&self) -> usize {
        self.next.len()
    }

    /// The next versions, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, u64)> {
        self.next.iter().map(|(stream, next)| (stream, *next))
    }

    /// Takes over what a checkpoint or a recorded event says. A version that was given once is not given again, so the
    /// later one holds: an event from before the checkpoint may be all that damage left of its stream.
    pub(crate) fn set_next(&mut self, stream: &str, next: u64) {
        match self.next.get_mut(stream) {
            Some(known) => *known = next.max(*known),
            None => {
                self.next.insert(stream.into(), next);
            }
        }
    }

    pub(crate) fn remember(&mut self, id: EventId, offset: u64) {
        if self.ids.insert(id, offset).is_some() {
            return;
        }
        self.ids_by_age.push_back(id);
        while self.ids_by_age.len() > IDS_MAX {
            if let Some(oldest) = self.ids_by_age.pop_front() {
                self.ids.remove(&oldest);
            }
        }
    }

    pub(crate) fn known(&self, batch: &Batch) -> Known {
        let ids = &batch.numbers.ids;
        if ids.len() > 1 {
            let mut distinct = ids.clone();
            distinct.sort_unstable();
            distinct.dedup();
            if distinct.len() < ids.len() {
                return Known::Partly;
            }
        }
        let found: Vec<u64> = ids.iter().filter_map(|id| self.ids.get(id).copied()).collect();
        match found.first() {
            None => Known::No,
            Some(&first) if found.iter().copied().eq(first..first + batch.rows.len() as u64) => {
                Known::Yes(first)
            }
            Some(_) => Known::Partly,
        }
    }

    /// Gives each event of a batch its version, in order.
    pub(crate) fn assign(
        &mut self,
        batch: &Batch,
        first_offset: u64,
        versions: &mut Vec<u64>,
        undo: &mut Undo,
    ) {
        let names = &batch.names.names;
        let mut next: Vec<Option<u64>> = vec![None; names.len()];
        let mut ids = batch.numbers.ids.iter().copied();
        for (row, offset) in batch.rows.iter().zip(first_offset..) {
            let stream = row.stream as usize;
            let version =
                next[stream].unwrap_or_else(|| self.next.get(&*names[stream]).copied().unwrap_or(0));
            versions.push(version);
            next[stream] = Some(version.saturating_add(1));
            if row.has_id
                && let Some(id) = ids.next()
            {
                self.remember(id, offset);
                undo.ids.push(id);
            }
        }
        for (stream, next) in names.iter().zip(next) {
            if let Some(next) = next {
                self.advance(stream, next, undo);
            }
        }
    }

    fn advance(&mut self, stream: &str, next: u64, undo: &mut Undo) {
        match self.next.get_key_value(stream) {
            Some((name, before)) => {
                undo.streams.push((Arc::clone(name), Some(*before)));
                self.set_next(stream, next);
            }
            None => {
                let name: Arc<str> = stream.into();
                undo.streams.push((Arc::clone(&name), None));
                self.next.insert(name, next);
            }
        }
    }

    /// Takes appends back, of which this is the latest.
    pub(crate) fn undo(&mut self, undo: Undo) {
        for (stream, before) in undo.streams.into_iter().rev() {
            match before {
                Some(before) => self.next.insert(stream, before),
                None => self.next.remove(&stream),
            };
        }
        for id in undo.ids.into_iter().rev() {
            self.ids.remove(&id);
            // It must not grow old for two: what comes again with it is as young as any other.
            if self.ids_by_age.back() == Some(&id) {
                self.ids_by_age.pop_back();
            }
        }
    }
}

impl std::fmt::Display for Expected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Expected::Any => f.write_str("anything"),
            Expected::NoStream => f.write_str("no event"),
            Expected::Exists => f.write_str("some event"),
            Expected::Exact(version) => write!(f, "version {version}"),
        }
    }
}

#[cfg(test)]
mod tests;
