//! From block to block through a segment, over whatever is damaged: nothing is skipped without being named.

use std::ops::Range;
use std::path::PathBuf;

use crate::block::{Hash, Head, Unsound, hash};
use crate::segment::{HEAD_BYTES, ReadError, SEAL_BYTES, Seal, Segment};

/// What a walk comes to, in the order of the file.
#[derive(Debug)]
pub(crate) enum Step {
    Block(Found),
    Damage(Damage),
    End(End),
}

/// A sound block at its place.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) at: u64,
    pub(crate) head: Head,
    pub(crate) bytes: Vec<u8>,
}

/// Bytes that should be blocks and are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    pub path: PathBuf,
    pub bytes: Range<u64>,
    /// The events that were there and cannot be read. Empty where all events are accounted for: then a block lies where
    /// none belongs.
    pub offsets: Range<u64>,
    pub reason: String,
}

/// How a segment ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct End {
    /// The first byte after the last block.
    pub(crate) at: u64,
    pub(crate) offset: u64,
    pub(crate) seal: Option<Seal>,
    /// Bytes after `at` that are not zero: a block that was not finished, or that never became durable.
    pub(crate) torn_bytes: u64,
}

/// A walk through one segment.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    segment: &'a Segment,
    /// The first offset of the next segment: what lies beyond it here was written again there.
    until: Option<u64>,
    at: u64,
    offset: u64,
    has_ended: bool,
}

impl<'a> Walk<'a> {
    pub(crate) fn new(segment: &'a Segment, until: Option<u64>) -> Walk<'a> {
        Walk {
            segment,
            until,
            at: HEAD_BYTES as u64,
            offset: segment.begin.first_offset,
            has_ended: false,
        }
    }

    /// Goes on at `at`, where a block with `offset` as its first event is or will be.
    pub(crate) fn from(segment: &'a Segment, until: Option<u64>, offset: u64, at: u64) -> Walk<'a> {
        Walk {
            at,
            offset,
            ..Walk::new(segment, until)
        }
    }

    /// The next step; `None` after the end.
    pub(crate) fn step(&mut self) -> Result<Option<Step>, ReadError> {
        if self.has_ended {
            return Ok(None);
        }
        if self.until.is_some_and(|until| self.offset >= until) {
            return self.end(self.seal_here()?).map(Some);
        }
        match self.segment.raw_block(self.at) {
            Ok((head, bytes)) if self.belongs(&head) => Ok(Some(self.found(head, bytes))),
            Ok((head, _)) => self.misplaced(&head).map(Some),
            Err(ReadError::Damaged { source, .. }) => self.no_block(&source).map(Some),
            Err(error) => Err(error),
        }
    }

    fn found(&mut self, head: Head, bytes: Vec<u8>) -> Step {
        let at = self.at;
        self.at += bytes.len() as u64;
        self.offset = head.end_offset();
        Step::Block(Found { at, head, bytes })
    }

    fn belongs(&self, head: &Head) -> bool {
        self.follows(head) && head.first_offset == self.offset
    }

    /// Whether it may come next, over a gap.
    fn follows(&self, head: &Head) -> bool {
        head.shard == self.segment.begin.shard
            && head.first_offset >= self.offset
            && self.until.is_none_or(|until| head.end_offset() <= until)
    }

    /// A sound block, but another one's place.
    fn misplaced(&mut self, head: &Head) -> Result<Step, ReadError> {
        let reason = format!(
            "a block of shard {} with events {}..{} where event {} of shard {} should be",
            head.shard,
            head.first_offset,
            head.end_offset(),
            self.offset,
            self.segment.begin.shard
        );
        if self.follows(head) {
            // Those before it are missing; it is as good as any other.
            let lost = self.offset..head.first_offset;
            self.offset = head.first_offset;
            return Ok(self.damage(self.at..self.at, lost, reason));
        }
        self.go_on_behind(reason)
    }

    fn no_block(&mut self, why: &Unsound) -> Result<Step, ReadError> {
        match self.seal_here()? {
            Some(seal) if seal.end_offset == self.offset => self.end(Some(seal)),
            // In front of the next segment there may be less than the seal says.
            _ => self.go_on_behind(why.to_string()),
        }
    }

    /// Names the damage from here to the next sound block, or to the end.
    fn go_on_behind(&mut self, reason: String) -> Result<Step, ReadError> {
        let from = self.at;
        let next = match self.next_by_length()? {
            Some(next) => Some(next),
            None => self.segment.find_block(self.at + 1, self.offset)?,
        };
        let next = next.filter(|(_, head)| self.follows(head));
        let sealed = self.segment.sealed()?.filter(|(at, _)| *at >= from);
        // Somebody may be writing: what was half a block before the search, or not begun, may be a whole one now, with another
        // one or the seal behind it.
        if (next.is_some() || sealed.is_some())
            && let Ok((head, bytes)) = self.segment.raw_block(from)
            && self.belongs(&head)
        {
            return Ok(self.found(head, bytes));
        }
        if let Some((at, head)) = next {
            let lost = self.offset..head.first_offset;
            (self.at, self.offset) = (at, head.first_offset);
            return Ok(self.damage(from..at, lost, reason));
        }
        let end_offset = self.until.or(sealed.map(|(_, seal)| seal.end_offset));
        match end_offset {
            Some(end_offset) if end_offset > self.offset => {
                let lost = self.offset..end_offset;
                self.offset = end_offset;
                self.at = match sealed {
                    Some((at, _)) => at,
                    None => self.segment.used_until(from)?,
                };
                Ok(self.damage(from..self.at, lost, reason))
            }
            // Nothing is missing: what lies here never counted.
            _ => self.end(None),
        }
    }

    /// The block behind the one that is damaged, if that one's head still says where it ends. A search would go through
    /// its columns, and they are whatever producers put into them.
    fn next_by_length(&self) -> Result<Option<(u64, Head)>, ReadError> {
        let damaged = match self.segment.head(self.at) {
            Ok(head) => head,
            Err(ReadError::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let at = self.at + damaged.bytes() as u64;
        match self.segment.raw_block(at) {
            Ok((head, _)) if self.follows(&head) && head.first_offset == damaged.end_offset() => {
                Ok(Some((at, head)))
            }
            Ok(_) | Err(ReadError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn damage(&self, bytes: Range<u64>, offsets: Range<u64>, reason: String) -> Step {
        Step::Damage(Damage {
            path: self.segment.path.clone(),
            bytes,
            offsets,
            reason,
        })
    }

    fn seal_here(&self) -> Result<Option<Seal>, ReadError> {
        match self.segment.seal(self.at) {
            Ok(seal) => Ok(Some(seal)),
            Err(ReadError::Damaged { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn end(&mut self, seal: Option<Seal>) -> Result<Step, ReadError> {
        self.has_ended = true;
        let after = self.at + seal.map_or(0, |_| SEAL_BYTES as u64);
        Ok(Step::End(End {
            at: self.at,
            offset: self.offset,
            seal,
            torn_bytes: self.segment.used_until(after)? - after,
        }))
    }
}

impl End {
    /// The bytes that are neither blocks nor a seal.
    pub(crate) fn torn(&self) -> Range<u64> {
        let start = self.at + self.seal.map_or(0, |_| SEAL_BYTES as u64);
        start..start + self.torn_bytes
    }
}

impl Found {
    pub(crate) fn hash(&self) -> Hash {
        hash(&self.bytes)
    }
}
