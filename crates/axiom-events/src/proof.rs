//! Showing somebody that an event is in a log, without showing the log.
//!
//! A proof has the block with the event, and the hashes that lead from it to the Merkle root of its segment. Whoever has the
//! root from elsewhere, or a copy of the log, needs to trust nobody else.

use std::sync::Arc;

use crate::block::{Block, Hash, Unsound, hash};
use crate::merkle;
use crate::read::Reader;
use crate::segment::ReadError;
use crate::segments::Placed;
use crate::walk::{Step, Walk};

/// That a block is in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    pub shard: u16,
    /// Which event it is about.
    pub offset: u64,
    /// Offset of the segment's first event.
    pub segment: u64,
    /// The block's place among the `count` blocks that the segment had.
    pub index: usize,
    pub count: usize,
    /// See [`merkle::proof`].
    pub path: Vec<Hash>,
    pub root: Hash,
    /// The segment is sealed: its root does not change any more.
    pub is_sealed: bool,
    pub block: Vec<u8>,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("there is no event {offset}")]
    Absent { offset: u64 },
    #[error("event {offset} is in a segment that is damaged, so its root cannot be computed: {reason}")]
    Damaged { offset: u64, reason: String },
}

/// Why a proof proves nothing.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unproven {
    #[error("its block is not sound: {0}")]
    Unsound(#[from] Unsound),
    #[error("its block has events {first} to {last}, and not {offset}")]
    Elsewhere { offset: u64, first: u64, last: u64 },
    #[error("its block is of shard {found}, not {shard}")]
    Shard { shard: u16, found: u16 },
    #[error("its hashes do not lead from the block to its root")]
    Path,
    #[error("its root is {found}, not {expected}")]
    Root { found: Hash, expected: Hash },
}

impl Proof {
    /// The block with the event, if everything in the proof fits together. Whether its root is that of a segment is for the
    /// caller to know.
    ///
    /// # Errors
    /// When something does not fit.
    pub fn check(&self) -> Result<Block, Unproven> {
        let block = Block::decode(&self.block)?;
        let offsets = block.offsets();
        if !offsets.contains(&self.offset) {
            return Err(Unproven::Elsewhere {
                offset: self.offset,
                first: offsets.start,
                last: offsets.end - 1,
            });
        }
        if block.shard() != self.shard {
            let found = block.shard();
            return Err(Unproven::Shard {
                shard: self.shard,
                found,
            });
        }
        let own = self.block.get(..block.stored_bytes()).unwrap_or_default();
        if own.len() != self.block.len()
            || !merkle::proves(hash(own), self.index, self.count, &self.path, self.root)
        {
            return Err(Unproven::Path);
        }
        Ok(block)
    }
}

impl Reader {
    /// A proof that the event at this offset is in its segment. Reads the segment.
    ///
    /// # Errors
    /// When there is no such event, its segment is damaged, or the disk does not give it.
    pub fn prove(&self, offset: u64) -> Result<Proof, ProveError> {
        let placed = (offset < self.end())
            .then(|| self.segments.segment_of(offset))
            .flatten();
        let placed = placed.ok_or(ProveError::Absent { offset })?;
        let damaged = |reason| ProveError::Damaged { offset, reason };
        let mut hashes = Vec::new();
        let mut found = None;
        let mut seal = None;
        let mut walk = Walk::new(&placed.segment, placed.until());
        while let Some(step) = walk.step()? {
            match step {
                Step::Block(block) => {
                    if (block.head.first_offset..block.head.end_offset()).contains(&offset) {
                        found = Some((hashes.len(), block.head.shard, block.bytes.clone()));
                    }
                    hashes.push(block.hash());
                }
                Step::Damage(damage) => return Err(damaged(damage.reason)),
                Step::End(end) => seal = end.seal,
            }
        }
        let root = merkle::root(&hashes);
        if seal.is_some_and(|seal| seal.root != root) {
            return Err(damaged("its seal is that of other blocks".to_owned()));
        }
        let (index, shard, block) = found.ok_or(ProveError::Absent { offset })?;
        Ok(Proof {
            shard,
            offset,
            segment: placed.segment.begin.first_offset,
            index,
            count: hashes.len(),
            path: merkle::proof(&hashes, index),
            root,
            is_sealed: seal.is_some(),
            block,
        })
    }

    /// The Merkle root over the first `count` blocks of the segment that begins with this offset; `None` if there is no such
    /// segment here, or it has fewer.
    ///
    /// # Errors
    /// When the disk does not give it.
    pub fn root(&self, segment: u64, count: usize) -> Result<Option<Hash>, ReadError> {
        let placed = self.segments.segment_of(segment);
        let Some(placed) = placed.filter(|placed: &Arc<Placed>| placed.segment.begin.first_offset == segment)
        else {
            return Ok(None);
        };
        let mut hashes = Vec::new();
        let mut walk = Walk::new(&placed.segment, placed.until());
        while let Some(Step::Block(block)) = walk.step()? {
            hashes.push(block.hash());
        }
        Ok(hashes.get(..count).map(merkle::root))
    }
}
