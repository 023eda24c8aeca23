//! What the log knows of each stream: its next version, and which events of producers' own ids it has already.
//!
//! Only the writer changes it, so two appends never see the same version.

use std::collections::{HashMap, VecDeque};

use crate::batch::Batch;
use crate::event::EventId;
use crate::names::Names;

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
    names: Names,
    /// By a stream's number: its next version. 0 as long as it has no event.
    next: Vec<u64>,
    /// Of the batch that is given its versions: numbers of its names here.
    numbers: Vec<Option<usize>>,
    ids: HashMap<EventId, u64, foldhash::fast::RandomState>,
    /// In the order in which they came.
    ids_by_age: VecDeque<EventId>,
}

/// How things were before an append, to make it undone.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    /// Numbers of streams, and what was the next version.
    streams: Vec<(usize, u64)>,
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
        self.next[self.names.get(stream)? as usize].checked_sub(1)
    }

    pub(crate) fn len(&self) -> usize {
        self.iter().count()
    }

    /// The next versions of streams that have events, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        let streams = self.names.iter().zip(self.next.iter().copied());
        streams.filter(|(_, next)| *next > 0)
    }

    /// Takes over what a checkpoint or a recorded event says. A version that was given once is not given again, so the
    /// later one holds: an event from before the checkpoint may be all that damage left of its stream.
    pub(crate) fn set_next(&mut self, stream: &str, next: u64) {
        let number = self.names.number(stream, None);
        let known = self.next_of(number);
        self.next[known] = next.max(self.next[known]);
    }

    /// The place of the next version of the stream with this number.
    fn next_of(&mut self, number: u32) -> usize {
        let place = number as usize;
        if place >= self.next.len() {
            self.next.resize(place + 1, 0);
        }
        place
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
        let mut numbers = std::mem::take(&mut self.numbers);
        numbers.clear();
        numbers.resize(batch.names.len(), None);
        let mut ids = batch.numbers.ids.iter().copied();
        for (row, offset) in batch.rows.iter().zip(first_offset..) {
            let stream = *numbers[row.stream as usize].get_or_insert_with(|| {
                let number = self.names.number_of(&batch.names, row.stream);
                let stream = self.next_of(number);
                undo.streams.push((stream, self.next[stream]));
                stream
            });
            let next = &mut self.next[stream];
            versions.push(*next);
            *next = next.saturating_add(1);
            if row.has_id
                && let Some(id) = ids.next()
            {
                self.remember(id, offset);
                undo.ids.push(id);
            }
        }
        self.numbers = numbers;
    }

    /// Takes appends back, of which this is the latest.
    pub(crate) fn undo(&mut self, undo: Undo) {
        for (stream, before) in undo.streams.into_iter().rev() {
            self.next[stream] = before;
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
