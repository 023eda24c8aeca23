//! Proving that a shard is what was written: every byte against its checksum, every block against the one before it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::block::{Block, Hash};
use crate::checkpoint;
use crate::disk::Disk;
use crate::files::Files;
use crate::merkle;
use crate::recover;
use crate::segment::ReadError;
use crate::segments::Placed;
use crate::streams::Streams;
use crate::walk::{Damage, Step, Walk};

/// What a shard was found to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub events: u64,
    pub blocks: u64,
    pub segments: Vec<Verified>,
    /// Everything that is not as it was written, in the order of the log.
    pub damage: Vec<Damage>,
    /// Bytes behind the newest segment's last block: an append that is being written, or was when the writer died.
    pub torn_bytes: u64,
}

/// A segment, and what it can be recognised by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    pub path: PathBuf,
    pub first_offset: u64,
    pub end_offset: u64,
    /// The Merkle root over its blocks; see [`crate::merkle`].
    pub root: Hash,
    /// Only the newest may be open.
    pub is_sealed: bool,
}

impl Verdict {
    /// True if nothing is damaged.
    pub fn is_sound(&self) -> bool {
        self.damage.is_empty()
    }
}

/// Reads a whole shard, changes nothing, and may run beside its writer.
///
/// # Errors
/// When the disk does not give what is there. Damage is no error but in the verdict.
pub fn verify(disk: &(impl Disk + Clone + 'static), folder: &Path) -> Result<Verdict, ReadError> {
    let mut verdict = Verdict {
        events: 0,
        blocks: 0,
        segments: Vec::new(),
        damage: Vec::new(),
        torn_bytes: 0,
    };
    // Before the segments: whoever writes makes one when a segment has ended.
    let counted = checkpoint::load(disk, folder, &mut Streams::default());
    let files = Files::new(Arc::new(disk.clone()));
    let list = recover::list(&files, folder, &mut verdict.damage)?;
    // The oldest segments may have been retired; what was before them is not for us to say.
    let mut before: Option<(u64, Hash)> = None;
    for placed in &list {
        let begin = placed.segment.begin;
        if let Some((end, last)) = before {
            if end < begin.first_offset {
                verdict
                    .damage
                    .push(recover::hole(folder, end..begin.first_offset));
            } else if last != begin.before {
                verdict.blame(placed, 0, "it does not follow on the segment before it");
            }
        }
        before = match verdict.segment(placed) {
            Ok(end) => Some(end),
            // It was retired meanwhile.
            Err(ReadError::Gone { .. }) => None,
            Err(error) => return Err(error),
        };
    }
    let end = before.map_or(0, |(end, _)| end);
    if counted > end {
        verdict.damage.push(recover::hole(folder, end..counted));
    } else if let (Some(newest), Some(placed)) = (verdict.segments.last(), list.last())
        && !newest.is_sealed
        && counted > newest.first_offset
    {
        verdict.blame(placed, 0, "it was sealed, and is not");
    }
    Ok(verdict)
}

impl Verdict {
    /// Walks one segment; says its end and the hash of its last block.
    fn segment(&mut self, placed: &Placed) -> Result<(u64, Hash), ReadError> {
        let begin = placed.segment.begin;
        let mut last = begin.before;
        let mut hashes = Vec::new();
        let mut end_offset = begin.first_offset;
        let mut is_sealed = false;
        let mut is_whole = true;
        let mut walk = Walk::new(&placed.segment, placed.until());
        while let Some(step) = walk.step()? {
            match step {
                Step::Block(found) => {
                    // After damage nobody knows the hash that should stand there.
                    if is_whole && found.head.before != last {
                        self.blame(placed, found.at, "it does not follow on the block before it");
                    }
                    if let Err(error) = Block::decode(&found.bytes) {
                        self.blame(placed, found.at, &error.to_string());
                    }
                    is_whole = true;
                    last = found.hash();
                    hashes.push(last);
                    self.events += u64::from(found.head.count);
                    self.blocks += 1;
                }
                Step::Damage(damage) => {
                    is_whole = false;
                    self.damage.push(damage);
                }
                Step::End(end) => {
                    end_offset = end.offset;
                    is_sealed = end.seal.is_some();
                    let is_newest = placed.until().is_none();
                    match end.seal {
                        Some(seal) if seal.root != merkle::root(&hashes) || seal.last != last => {
                            self.blame(placed, end.at, "its seal is that of other blocks");
                        }
                        None if !is_newest => {
                            self.blame(placed, end.at, "it is not sealed, and not the newest")
                        }
                        _ => {}
                    }
                    // Between the seal and the end of what was reserved there are zeros, until the writer has cut them off.
                    let is_cut = placed.segment.bytes()? == end.torn().start;
                    if is_sealed && !is_cut && !(is_newest && end.torn_bytes == 0) {
                        self.blame(placed, end.at, "bytes behind its seal");
                    } else if is_newest {
                        self.torn_bytes = end.torn_bytes;
                    }
                }
            }
        }
        self.segments.push(Verified {
            path: placed.segment.path.clone(),
            first_offset: begin.first_offset,
            end_offset,
            root: merkle::root(&hashes),
            is_sealed,
        });
        Ok((end_offset, last))
    }

    fn blame(&mut self, placed: &Placed, at: u64, reason: &str) {
        let offset = placed.segment.begin.first_offset;
        self.damage.push(Damage {
            path: placed.segment.path.clone(),
            bytes: at..at,
            offsets: offset..offset,
            reason: reason.to_owned(),
        });
    }
}
