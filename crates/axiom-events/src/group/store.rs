//! What a group has in the log: its checkpoints and its parked messages.

use std::sync::Arc;

use crate::append::{Ack, Append};
use crate::block::Block;
use crate::event::{Event, Format, Level};
use crate::find::Hit;
use crate::line::{Line, Said};
use crate::read::Reader;
use crate::segment::ReadError;
use crate::streams::Expected;

use super::ledger::{Parked, Snapshot, Totals};
use super::{CHECKPOINT_KIND, GroupError, GroupOptions, PARKED_KIND, ParkedMessage, Strategy, key_of};

/// Messages that may be settled out of order. A buffer has a thousand; a checkpoint that says far more is none of ours, and
/// each of them takes memory.
const DONE_MAX: u64 = 1 << 22;
/// Bytes of a reason that are kept.
const REASON_BYTES_MAX: usize = 2000;
/// Parked messages that are read at once. Each may lie in a block of its own, which is held until all of them are read.
const PAGE_MESSAGES: usize = 32;

#[derive(Debug, Clone)]
pub(super) struct Store {
    pub(super) reader: Reader,
    pub(super) name: String,
}

/// A parked message, as far as it must be known to give it out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ParkedKey {
    pub(super) version: u64,
    pub(super) offset: u64,
    /// See [`key_of`]; `None` if the event cannot be read any more.
    pub(super) key: Option<u64>,
}

impl Store {
    pub(super) fn stream(&self) -> String {
        format!("$group.{}", self.name)
    }

    pub(super) fn parked_stream(&self) -> String {
        format!("$group.{}.parked", self.name)
    }

    /// The last checkpoint and its version, or where a new group begins; and the keys of what is given out again. Blocks on
    /// the disk.
    pub(super) fn load(
        &self,
        options: &GroupOptions,
    ) -> Result<(Snapshot, Option<u64>, Vec<u64>), GroupError> {
        let Some(hit) = self.reader.last_before(&self.stream(), u64::MAX)? else {
            let position = self.reader.offset_of(options.from)?;
            let snapshot = Snapshot {
                position,
                ..Snapshot::default()
            };
            return Ok((snapshot, None, Vec::new()));
        };
        let recorded = hit.recorded();
        let mut snapshot = read(recorded.event.body).ok_or(GroupError::NotUnderstood {
            name: self.name.clone(),
            offset: recorded.offset,
        })?;
        // Nobody can put another checkpoint between it and its parked messages. Damage may have taken the last of those.
        let last_parked = self.reader.last_version(&self.parked_stream())?;
        snapshot.parked.next = last_parked.map_or(0, |last| last + 1).max(snapshot.totals.parked);
        let mut keys = Vec::new();
        for (offset, _) in &snapshot.again {
            let hit = self.reader.event(*offset)?;
            keys.push(hit.map_or(0, |hit| key_of(options.strategy, &hit.recorded().event)));
        }
        Ok((snapshot, Some(recorded.version), keys))
    }

    /// A checkpoint, and what is parked with it, on the condition that nobody else has gone on. Blocks on the disk.
    pub(super) fn append(
        &self,
        snapshot: &Snapshot,
        last: Option<u64>,
        time: i64,
    ) -> Result<Append, ReadError> {
        let mut append = Append {
            expected: vec![(self.stream(), last.map_or(Expected::NoStream, Expected::Exact))],
            ack: Ack::Group,
            ..Append::default()
        };
        let stream = self.parked_stream();
        for (offset, given) in &snapshot.parks {
            let hit = self.reader.event(*offset)?;
            let event = hit.as_ref().map(|hit| hit.recorded().event).unwrap_or_default();
            let reason = cut(&given.reason, REASON_BYTES_MAX);
            let line = Line::default()
                .with("offset", offset)
                .with("attempts", given.attempts)
                .with("stream", event.stream)
                .with("reason", reason);
            let parked = Event {
                time,
                stream: &stream,
                kind: PARKED_KIND,
                level: Level::Warn,
                format: Format::Text,
                body: line.bytes(),
                id: None,
                ..event
            };
            append
                .batch
                .push(&parked)
                .expect("names that were recorded keep to the limits");
        }
        let stream = self.stream();
        let line = write(snapshot);
        let checkpoint = Event {
            time,
            stream: &stream,
            kind: CHECKPOINT_KIND,
            level: Level::Trace,
            format: Format::Text,
            body: line.bytes(),
            ..Event::default()
        };
        append
            .batch
            .push(&checkpoint)
            .expect("a buffer's offsets are far fewer than 8 MiB");
        Ok(append)
    }

    /// Parked messages from a version on, whole. None of them holds the block that its event is in.
    pub(super) fn parked(&self, from: u64, count_max: usize) -> Result<Vec<ParkedMessage>, ReadError> {
        self.each_parked(from, count_max, |hit| self.parked_of(hit))
    }

    /// Parked messages from a version on, as far as they must be known to give them out again.
    pub(super) fn parked_keys(
        &self,
        from: u64,
        count_max: usize,
        strategy: Strategy,
    ) -> Result<Vec<ParkedKey>, ReadError> {
        self.each_parked(from, count_max, |hit| {
            let (version, (offset, event)) = (hit.recorded().version, self.event_of(hit)?);
            let key = event.map(|event| key_of(strategy, &event.recorded().event));
            Ok(ParkedKey { version, offset, key })
        })
    }

    fn each_parked<T>(
        &self,
        mut from: u64,
        count_max: usize,
        see: impl Fn(&Hit) -> Result<T, ReadError>,
    ) -> Result<Vec<T>, ReadError> {
        let stream = self.parked_stream();
        let mut seen = Vec::new();
        while seen.len() < count_max {
            let wanted = (count_max - seen.len()).min(PAGE_MESSAGES);
            let page = self.reader.stream(&stream, from, wanted)?;
            for hit in &page {
                seen.push(see(hit)?);
                from = hit.recorded().version + 1;
            }
            if page.len() < wanted {
                break;
            }
        }
        Ok(seen)
    }

    /// The offset of the event that a parked message is about, and the event, if it is there.
    fn event_of(&self, parked: &Hit) -> Result<(u64, Option<Hit>), ReadError> {
        let said = Said::of(parked.recorded().event.body);
        let Some(offset) = said.and_then(|said| said.number("offset")) else {
            return Ok((u64::MAX, None));
        };
        Ok((offset, self.reader.event(offset)?))
    }

    fn parked_of(&self, hit: &Hit) -> Result<ParkedMessage, ReadError> {
        let recorded = hit.recorded();
        let said = Said::of(recorded.event.body);
        let (offset, event) = self.event_of(hit)?;
        Ok(ParkedMessage {
            version: recorded.version,
            parked_at: recorded.event.time,
            offset,
            attempts: said.and_then(|said| said.number("attempts")).unwrap_or(0),
            reason: said.and_then(|said| said.text("reason")).unwrap_or_default(),
            event: event.as_ref().map(alone),
        })
    }
}

/// The event without its block, which may be a thousand times as large.
fn alone(hit: &Hit) -> Hit {
    let recorded = hit.recorded();
    let offset = recorded.offset;
    let block = Block::gather(offset..offset + 1, std::iter::once(recorded))
        .expect("an event of a block is no longer than the block");
    Hit::new(&Arc::new(block), offset)
}

fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}

/// Offsets as differences, stretches as one: `0-3,7`.
fn ranges(position: u64, offsets: &[u64]) -> String {
    let mut parts: Vec<(u64, u64)> = Vec::new();
    for offset in offsets.iter().map(|offset| offset - position) {
        match parts.last_mut() {
            Some((_, last)) if *last + 1 == offset => *last = offset,
            _ => parts.push((offset, offset)),
        }
    }
    let part = |(first, last): &(u64, u64)| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    parts.iter().map(part).collect::<Vec<_>>().join(",")
}

fn read_ranges(position: u64, text: &str) -> Option<Vec<u64>> {
    let mut offsets = Vec::new();
    for part in text.split(',').filter(|part| !part.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
        let count = last.checked_sub(first)?.checked_add(offsets.len() as u64)?;
        if count >= DONE_MAX {
            return None;
        }
        position.checked_add(last)?;
        offsets.extend((first..=last).map(|offset| position + offset));
    }
    Some(offsets)
}

/// `4711:2,4720:1`.
fn pairs(pairs: &[(u64, u32)]) -> String {
    let pair = |(offset, attempts): &(u64, u32)| format!("{offset}:{attempts}");
    pairs.iter().map(pair).collect::<Vec<_>>().join(",")
}

fn read_pairs(text: &str) -> Option<Vec<(u64, u32)>> {
    let parts = text.split(',').filter(|part| !part.is_empty());
    let pair = |part: &str| {
        let (offset, attempts) = part.split_once(':')?;
        Some((offset.parse().ok()?, attempts.parse().ok()?))
    };
    parts.map(pair).collect()
}

fn write(snapshot: &Snapshot) -> Line {
    let Totals {
        acked,
        skipped,
        parked,
        lost,
    } = snapshot.totals;
    Line::default()
        .with("position", snapshot.position)
        .with("done", ranges(snapshot.position, &snapshot.done))
        .with("again", pairs(&snapshot.again))
        .with("tries", pairs(&snapshot.tries))
        .with("parked_from", snapshot.parked.from)
        .with("replay_to", snapshot.parked.replay_to)
        .with("acked", acked)
        .with("skipped", skipped)
        .with("parked", parked)
        .with("lost", lost)
}

fn read(body: &[u8]) -> Option<Snapshot> {
    let said = Said::of(body)?;
    let position = said.number("position")?;
    Some(Snapshot {
        position,
        done: read_ranges(position, said.word("done")?)?,
        again: read_pairs(said.word("again")?)?,
        tries: read_pairs(said.word("tries")?)?,
        parked: Parked {
            from: said.number("parked_from")?,
            replay_to: said.number("replay_to")?,
            next: 0,
        },
        totals: Totals {
            acked: said.number("acked")?,
            skipped: said.number("skipped")?,
            parked: said.number("parked")?,
            lost: said.number("lost")?,
        },
        ..Snapshot::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_read_as_it_was_written() {
        let snapshot = Snapshot {
            position: 1000,
            done: vec![1001, 1002, 1003, 1007],
            again: vec![(4, 1), (900, 0)],
            tries: vec![(1000, 3)],
            parked: Parked {
                from: 3,
                replay_to: 5,
                next: 0,
            },
            totals: Totals {
                acked: 1,
                skipped: 2,
                parked: 3,
                lost: 4,
            },
            ..Snapshot::default()
        };
        let line = write(&snapshot);
        insta::assert_snapshot!(
            String::from_utf8_lossy(line.bytes()),
            @"position=1000 done=1-3,7 again=4:1,900:0 tries=1000:3 parked_from=3 replay_to=5 acked=1 skipped=2 parked=3 lost=4"
        );
        assert_eq!(read(line.bytes()), Some(snapshot));
    }

    #[test]
    fn a_checkpoint_that_says_too_much_is_not_understood() {
        assert_eq!(read_ranges(5, "0-2,4"), Some(vec![5, 6, 7, 9]));
        for other in [
            "0-18446744073709551615",
            "3-2",
            "18446744073709551615",
            "0-4194304",
        ] {
            assert_eq!(read_ranges(5, other), None, "{other}");
        }
    }
}
