//! What stands in a stream, and what can be wrong with it.

use std::ops::Range;

use axiom_events::chain::Reason;
use axiom_events::{Block, Hash, Refused};
use redis::Value;

const PREFIX: &str = "axiom:events:";

/// The stream of a shard.
pub fn key(shard: u16) -> String {
    format!("{PREFIX}{shard}")
}

/// The shard that a stream is of.
pub(super) fn shard_of(key: &str) -> Option<u16> {
    let shard = key.strip_prefix(PREFIX)?.parse().ok()?;
    (self::key(shard) == key).then_some(shard)
}

/// What went wrong with Redis. Where it is shown without the password that its URL may have.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    #[error("the address of Redis cannot be used: {reason}")]
    Address { reason: String },
    #[error("Redis at {at} cannot be reached: {source}")]
    Away { at: String, source: redis::RedisError },
    #[error("Redis at {at} did not answer {command} within {after_s} s")]
    Slow {
        at: String,
        command: &'static str,
        after_s: u64,
    },
    #[error("Redis at {at} wants a name or password that it was not given: {detail}")]
    Denied { at: String, detail: String },
    #[error("Redis at {at} is full")]
    Full { at: String },
    #[error("{key} in Redis at {at} is something else than a stream of events")]
    Foreign { at: String, key: String },
    #[error("Redis at {at} refuses {command}: {detail}")]
    Refused {
        at: String,
        command: &'static str,
        detail: String,
    },
    /// What is there is not of the history that was read before, or of no history.
    #[error("entry {id} of {key}: {source}")]
    Unsound {
        key: String,
        id: String,
        source: Box<Refused>,
    },
    #[error(
        "{key} holds another history than the log here: {what}. Two nodes have the same `events.shard`, or this node's log was replaced"
    )]
    Conflict { key: String, what: String },
    /// Somebody else has added something, or the stream was emptied: where it ends must be looked up again.
    #[error("{key} was changed meanwhile")]
    Moved { key: String },
    #[error(transparent)]
    Log(#[from] axiom_events::ReadError),
}

/// An entry of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: String,
    pub(super) content: Content,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    Block {
        bytes: Vec<u8>,
        hash: Hash,
    },
    Gap(Range<u64>),
    /// Neither.
    Other,
    /// It was trimmed; only a worker's list still has its id.
    Trimmed,
}

/// The id of what begins with this offset.
pub(super) fn id(offset: u64) -> String {
    match offset {
        0 => "0-1".to_owned(),
        offset => format!("{offset}-0"),
    }
}

/// The offset that an id stands for.
pub(super) fn offset_of(id: &str) -> Option<u64> {
    let (offset, _) = id.split_once('-')?;
    let offset = offset.parse().ok()?;
    (self::id(offset) == id).then_some(offset)
}

/// The entries in a reply to XRANGE, XREVRANGE or XCLAIM, or in a part of one.
pub(super) fn entries(reply: &Value) -> Vec<Entry> {
    items(reply).iter().filter_map(entry).collect()
}

/// The entries of the one stream that XREAD or XREADGROUP was asked for.
pub(super) fn entries_read(reply: &Value) -> Vec<Entry> {
    let stream = items(reply).first().map(items).unwrap_or_default();
    stream.get(1).map(entries).unwrap_or_default()
}

pub(super) fn items(value: &Value) -> &[Value] {
    match value {
        Value::Array(items) => items,
        _ => &[],
    }
}

pub(super) fn bytes(value: &Value) -> &[u8] {
    match value {
        Value::BulkString(bytes) => bytes,
        Value::SimpleString(text) => text.as_bytes(),
        _ => &[],
    }
}

pub(super) fn text(value: &Value) -> String {
    String::from_utf8_lossy(bytes(value)).into_owned()
}

fn entry(value: &Value) -> Option<Entry> {
    let [id, fields] = items(value) else {
        return None;
    };
    let id = text(id);
    if matches!(fields, Value::Nil) {
        let content = Content::Trimmed;
        return Some(Entry { id, content });
    }
    let field = |name: &[u8]| {
        let pairs = items(fields).chunks_exact(2);
        let mut found = pairs
            .filter(|pair| bytes(&pair[0]) == name)
            .map(|pair| bytes(&pair[1]));
        found.next()
    };
    let gap = || {
        let end = std::str::from_utf8(field(b"gap")?).ok()?.parse().ok()?;
        Some(Content::Gap(offset_of(&id)?..end))
    };
    let block = || {
        let hash = Hash(field(b"hash")?.try_into().ok()?);
        let bytes = field(b"block")?.to_vec();
        Some(Content::Block { bytes, hash })
    };
    let content = block().or_else(gap).unwrap_or(Content::Other);
    Some(Entry { id, content })
}

impl Entry {
    /// The block in it, if it stands where it belongs; whether it follows on the one before is for a chain to say.
    pub(super) fn block(&self, key: &str, shard: u16) -> Result<Block, Fault> {
        let unsound = |reason| Fault::Unsound {
            key: key.to_owned(),
            id: self.id.clone(),
            source: Box::new(Refused {
                offset: offset_of(&self.id).unwrap_or_default(),
                reason,
            }),
        };
        let Content::Block { bytes, .. } = &self.content else {
            return Err(unsound(Reason::Unsound(axiom_events::block::Unsound::Absent)));
        };
        let block = Block::decode(bytes).map_err(|source| unsound(source.into()))?;
        if block.shard() != shard {
            let (found, expected) = (block.shard(), shard);
            return Err(unsound(Reason::Shard { found, expected }));
        }
        let found = block.offsets().start;
        match offset_of(&self.id) {
            Some(expected) if expected == found => Ok(block),
            expected => Err(unsound(Reason::Offset {
                found,
                expected: expected.unwrap_or_default(),
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_ids() {
        assert_eq!(key(7), "axiom:events:7");
        assert_eq!(shard_of("axiom:events:7"), Some(7));
        for other in [
            "axiom:events:07",
            "axiom:events:70000",
            "axiom:events:",
            "events:7",
        ] {
            assert_eq!(shard_of(other), None, "{other}");
        }
        for offset in [0, 1, 1000, u64::MAX] {
            assert_eq!(offset_of(&id(offset)), Some(offset));
        }
        for other in ["0-0", "5-1", "5", "x-0"] {
            assert_eq!(offset_of(other), None, "{other}");
        }
    }
}
