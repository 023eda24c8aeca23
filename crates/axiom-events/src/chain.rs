//! Blocks that come from somewhere else: each is checked before anybody sees anything of it.
//!
//! A block is what it claims to be if its checksum fits its bytes, its columns can be read, it belongs to this shard, begins
//! with the offset that comes next, and names the hash of the block before it. So whoever takes blocks from somebody whom he
//! does not trust, in order, has the same history as everybody else who was given the same last hash. What he was given as
//! the last block, the next one vouches for.

use crate::block::{Block, Hash, Unsound, hash};

/// How far a shard has come, and what must come next.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chain {
    /// Unknown until the first block.
    shard: Option<u16>,
    next: Option<u64>,
    /// Hash of the last block. Unknown before the first one, and behind a gap.
    last: Option<Hash>,
}

/// A block that may come next.
#[derive(Debug)]
pub struct Fits {
    pub block: Block,
    pub hash: Hash,
}

/// Why a block is not taken, or a seal. Nothing of it was kept.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("what came for offset {offset} is refused: {reason}")]
pub struct Refused {
    /// The offset that was to come next.
    pub offset: u64,
    pub reason: Reason,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Reason {
    #[error(transparent)]
    Unsound(#[from] Unsound),
    #[error("{bytes} B follow on the block's end")]
    Trailing { bytes: usize },
    #[error("it is of shard {found}, and everything before is of shard {expected}")]
    Shard { found: u16, expected: u16 },
    #[error("it begins with event {found}; {}", misplaced(*.found, *.expected))]
    Offset { found: u64, expected: u64 },
    #[error(
        "it follows on block {found}, and the last one here is {last}: either of them was changed, or this is another \
         history"
    )]
    Chain { found: Hash, last: Hash },
    #[error("the seal of the segment before it {what}")]
    Seal { what: &'static str },
}

fn misplaced(found: u64, expected: u64) -> String {
    match found.checked_sub(expected) {
        Some(missing) => format!("{missing} events before it are missing"),
        None => format!("everything before {expected} is here already"),
    }
}

impl Chain {
    /// A chain that goes on with `next`, of a shard that may be known. The first block that comes is believed to follow on
    /// what was before.
    pub fn new(shard: Option<u16>, next: Option<u64>) -> Chain {
        Chain {
            shard,
            next,
            last: None,
        }
    }

    /// One that goes on behind a block that is known.
    pub fn behind(shard: u16, next: u64, last: Hash) -> Chain {
        Chain {
            shard: Some(shard),
            next: Some(next),
            last: Some(last),
        }
    }

    pub fn shard(&self) -> Option<u16> {
        self.shard
    }

    /// The offset that comes next; `None` while any may.
    pub fn next(&self) -> Option<u64> {
        self.next
    }

    pub fn last(&self) -> Option<Hash> {
        self.last
    }

    /// Looks at what should be the next block; the chain stays as it is.
    ///
    /// # Errors
    /// When it is not.
    pub fn check(&self, bytes: &[u8]) -> Result<Fits, Refused> {
        let refused = |reason| Refused {
            offset: self.next.unwrap_or_default(),
            reason,
        };
        let block = Block::decode(bytes).map_err(|unsound| refused(unsound.into()))?;
        let trailing = bytes.len() - block.stored_bytes();
        if trailing > 0 {
            return Err(refused(Reason::Trailing { bytes: trailing }));
        }
        if let Some(expected) = self.shard
            && expected != block.shard()
        {
            let found = block.shard();
            return Err(refused(Reason::Shard { found, expected }));
        }
        let found = block.offsets().start;
        if let Some(expected) = self.next
            && expected != found
        {
            return Err(refused(Reason::Offset { found, expected }));
        }
        if let Some(last) = self.last
            && last != block.before()
        {
            let found = block.before();
            return Err(refused(Reason::Chain { found, last }));
        }
        let hash = hash(bytes);
        Ok(Fits { block, hash })
    }

    /// Goes on behind a block that was found to fit.
    pub fn advance(&mut self, fits: &Fits) {
        self.shard = Some(fits.block.shard());
        self.next = Some(fits.block.offsets().end);
        self.last = Some(fits.hash);
    }

    /// Goes on at `next`; what was before it is not to be had.
    pub fn skip(&mut self, next: u64) {
        self.next = Some(next);
        self.last = None;
    }
}
