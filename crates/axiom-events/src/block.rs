//! A block: some events as they lie on disk, in one piece that is whole or not there.
//!
//! All numbers are little-endian. A block is a head of 96 bytes, then `stored_bytes` of columns.
//!
//! | at | bytes | what |
//! |---|---|---|
//! | 0 | 4 | `AXB` and the version of this format, 1 |
//! | 4 | 4 | CRC-32C of everything after it, the columns included |
//! | 8 | 2 | shard |
//! | 10 | 1 | codec of the columns: 0 as they are, 1 zstd, one [frame](frames) or several |
//! | 11 | 1 | 0 |
//! | 12 | 4 | how many events, 1 to 262,144 |
//! | 16 | 8 | offset of the first; the others follow without a gap |
//! | 24 | 8 | earliest time, nanoseconds since 1970 |
//! | 32 | 8 | latest time |
//! | 40 | 4 | bytes of the columns, at most 32 MiB |
//! | 44 | 4 | bytes of the columns as stored |
//! | 48 | 32 | hash of the block before, zeros for a shard's first |
//! | 80 | 8 | up to which offset the shard was durable when the block was made |
//! | 88 | 4 | mask: the stored columns are combined with it (exclusive or), over and over; zeros leave them as they are |
//! | 92 | 4 | zeros |
//!
//! The mask is chosen such that the first four bytes of a block occur nowhere in the stored columns. Where a block is
//! damaged the next one is searched for, and what a producer has put into a body must not pass for it.
//!
//! A block's hash is BLAKE3 over its bytes from 8 on. So each block vouches for all before it, and two blocks that changed
//! places are found even where both are sound. The columns are described in [`columns`].
//!
//! Not supported: blocks of another version. A reader says so; it does not guess.

pub(crate) mod columns;
pub(crate) mod varint;

mod frames;

use std::borrow::Cow;
use std::fmt;
use std::hash::{BuildHasher as _, RandomState};

use bytes::Bytes;

use columns::{Column, Columns, Picked};
use frames::{Frames, Packer};

use crate::append::APPEND_BYTES_MAX;
use crate::batch::EVENT_BYTES;
use crate::digest::Brief;
use crate::event::Recorded;
use crate::follow::Filter;
use crate::names::Names;

/// Bytes of a block's head.
pub(crate) const HEAD_BYTES: usize = 96;
/// Bytes of columns that a block may have. What a reader allocates for a block that says so itself.
pub(crate) const COLUMNS_BYTES_MAX: usize = 32 << 20;

/// Events that a block may have: an append of 16 MiB with nothing but events without a body has fewer.
pub(crate) const EVENTS_MAX: u32 = 262_144;
const _: () = assert!(APPEND_BYTES_MAX / EVENT_BYTES < EVENTS_MAX as usize);
/// Masks that are tried. One in 256 at most does not do, for the largest block; and nobody knows beforehand which.
const MASKS_MAX: u64 = 16;

pub(crate) const MAGIC: [u8; 4] = *b"AXB\x01";

/// BLAKE3 of a block, or zeros for "no block".
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Hash(pub [u8; 32]);

/// What a block's head says. It is to be trusted only together with a whole block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) shard: u16,
    codec: Codec,
    pub(crate) count: u32,
    pub(crate) first_offset: u64,
    pub(crate) time_min: i64,
    pub(crate) time_max: i64,
    columns_bytes: u32,
    pub(crate) stored_bytes: u32,
    pub(crate) before: Hash,
    pub(crate) durable: u64,
    mask: [u8; 4],
    crc: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Codec {
    Plain,
    Zstd,
}

/// Why bytes are no block.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum Unsound {
    #[error("there is no block")]
    Absent,
    #[error("it ends after {bytes} B, before the block does")]
    Short { bytes: usize },
    #[error("it is a block of format {version}, this program reads format 1")]
    Version { version: u8 },
    #[error("its checksum is {found:08x}, its bytes have {computed:08x}")]
    Checksum { found: u32, computed: u32 },
    #[error("its head is not valid: {what}")]
    Head { what: &'static str },
    #[error("its columns are not valid: {what}")]
    Columns { what: &'static str },
}

/// A whole block, checked and unpacked.
pub struct Block {
    head: Head,
    columns: Box<Columns>,
    /// Of events that were gathered from elsewhere.
    gathered: Option<Box<Gathered>>,
}

/// Events that need not follow one another.
struct Gathered {
    /// The offset after the last one that may be here.
    end: u64,
    /// Ascending.
    offsets: Vec<u64>,
}

/// Makes blocks, one after the other; keeps the compressor and its memory.
pub(crate) struct Encoder {
    packer: Packer,
    /// All columns but the bodies.
    front: Vec<u8>,
}

/// Where a block goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place {
    pub(crate) shard: u16,
    pub(crate) first_offset: u64,
    pub(crate) before: Hash,
    pub(crate) durable: u64,
}

impl Encoder {
    /// # Errors
    /// When there is no memory for it.
    pub(crate) fn new() -> std::io::Result<Encoder> {
        Ok(Encoder {
            packer: Packer::new()?,
            front: Vec::new(),
        })
    }

    /// The block of these columns, appended to `out`, and its hash.
    pub(crate) fn encode(&mut self, columns: &columns::Builder, place: Place, out: &mut Vec<u8>) -> Hash {
        self.front.clear();
        columns.encode(&mut self.front);
        let (front, bodies) = (self.front.as_slice(), columns.bodies());
        let start = out.len();
        let codec = match self.packer.pack(front, bodies) {
            Some(frames) => {
                out.reserve_exact(HEAD_BYTES + frames.len());
                out.resize(start + HEAD_BYTES, 0);
                out.extend_from_slice(frames);
                Codec::Zstd
            }
            // What does not get smaller stays as it is.
            None => {
                out.reserve_exact(HEAD_BYTES + front.len() + bodies.len());
                out.resize(start + HEAD_BYTES, 0);
                out.extend_from_slice(front);
                out.extend_from_slice(bodies);
                Codec::Plain
            }
        };
        let mask = mask(&mut out[start + HEAD_BYTES..]);
        let (time_min, time_max) = columns.times();
        let head = Head {
            shard: place.shard,
            codec,
            count: columns.count(),
            first_offset: place.first_offset,
            time_min,
            time_max,
            columns_bytes: length(front.len() + bodies.len()),
            stored_bytes: length(out.len() - start - HEAD_BYTES),
            before: place.before,
            durable: place.durable,
            mask,
            crc: 0,
        };
        head.write(&mut out[start..]);
        let crc = crc32c::crc32c(&out[start + 8..]);
        out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        self.packer.shrink();
        if self.front.capacity() > frames::KEPT_BYTES_MAX {
            self.front = Vec::new();
        }
        hash(&out[start..])
    }
}

impl Head {
    /// Reads a head. What it says is plausible, no more: [`Block::decode`] proves it.
    pub(crate) fn read(bytes: &[u8]) -> Result<Head, Unsound> {
        let Some(head) = bytes.first_chunk::<HEAD_BYTES>() else {
            return Err(Unsound::Short { bytes: bytes.len() });
        };
        match head.first_chunk::<4>() {
            Some(magic) if *magic == MAGIC => {}
            Some([b'A', b'X', b'B', version]) => return Err(Unsound::Version { version: *version }),
            _ => return Err(Unsound::Absent),
        }
        let codec = match head[10] {
            0 => Codec::Plain,
            1 => Codec::Zstd,
            _ => {
                return Err(Unsound::Head {
                    what: "an unknown codec",
                });
            }
        };
        let read = Head {
            crc: u32::from_le_bytes(array(head, 4)),
            shard: u16::from_le_bytes(array(head, 8)),
            codec,
            count: u32::from_le_bytes(array(head, 12)),
            first_offset: u64::from_le_bytes(array(head, 16)),
            time_min: i64::from_le_bytes(array(head, 24)),
            time_max: i64::from_le_bytes(array(head, 32)),
            columns_bytes: u32::from_le_bytes(array(head, 40)),
            stored_bytes: u32::from_le_bytes(array(head, 44)),
            before: Hash(array(head, 48)),
            durable: u64::from_le_bytes(array(head, 80)),
            mask: array(head, 88),
        };
        read.is_plausible()?;
        Ok(read)
    }

    /// In place of the head of a block that never was on a disk.
    fn of_gathered(first_offset: u64) -> Head {
        Head {
            shard: 0,
            codec: Codec::Plain,
            count: 0,
            first_offset,
            time_min: 0,
            time_max: 0,
            columns_bytes: 0,
            stored_bytes: 0,
            before: Hash::default(),
            durable: 0,
            mask: [0; 4],
            crc: 0,
        }
    }

    fn is_plausible(&self) -> Result<(), Unsound> {
        let is_plain = self.codec == Codec::Plain;
        let what = match self {
            head if head.count == 0 => "no events",
            head if head.count > EVENTS_MAX => "more than 262,144 events",
            head if head.columns_bytes as usize > COLUMNS_BYTES_MAX => "more than 32 MiB of columns",
            head if head.stored_bytes > head.columns_bytes => "more bytes stored than there are",
            head if is_plain && head.stored_bytes != head.columns_bytes => "two lengths that differ",
            head if head.durable > head.first_offset => "durable beyond itself",
            head if head.first_offset.checked_add(u64::from(head.count)).is_none() => "offsets beyond 2^64",
            _ => return Ok(()),
        };
        Err(Unsound::Head { what })
    }

    fn write(&self, head: &mut [u8]) {
        head[..4].copy_from_slice(&MAGIC);
        head[8..10].copy_from_slice(&self.shard.to_le_bytes());
        head[10] = match self.codec {
            Codec::Plain => 0,
            Codec::Zstd => 1,
        };
        head[12..16].copy_from_slice(&self.count.to_le_bytes());
        head[16..24].copy_from_slice(&self.first_offset.to_le_bytes());
        head[24..32].copy_from_slice(&self.time_min.to_le_bytes());
        head[32..40].copy_from_slice(&self.time_max.to_le_bytes());
        head[40..44].copy_from_slice(&self.columns_bytes.to_le_bytes());
        head[44..48].copy_from_slice(&self.stored_bytes.to_le_bytes());
        head[48..80].copy_from_slice(&self.before.0);
        head[80..88].copy_from_slice(&self.durable.to_le_bytes());
        head[88..92].copy_from_slice(&self.mask);
    }

    /// Bytes of the whole block.
    pub(crate) fn bytes(&self) -> usize {
        HEAD_BYTES + self.stored_bytes as usize
    }

    /// The offset after its last event.
    pub(crate) fn end_offset(&self) -> u64 {
        self.first_offset + u64::from(self.count)
    }

    /// Whether these are the bytes that were written, all of them.
    pub(crate) fn check(&self, block: &[u8]) -> Result<(), Unsound> {
        let Some(block) = block.get(..self.bytes()) else {
            return Err(Unsound::Short { bytes: block.len() });
        };
        let computed = crc32c::crc32c(&block[8..]);
        if computed != self.crc {
            return Err(Unsound::Checksum {
                found: self.crc,
                computed,
            });
        }
        Ok(())
    }

    /// The columns of a whole block as they were before it was masked.
    fn stored<'a>(&self, bytes: &'a [u8]) -> Cow<'a, [u8]> {
        let mut stored = Cow::Borrowed(&bytes[HEAD_BYTES..self.bytes()]);
        if self.mask != [0; 4] {
            combine(stored.to_mut(), self.mask);
        }
        stored
    }

    /// The columns of a whole block.
    fn unpack(&self, stored: Cow<'_, [u8]>) -> Result<Vec<u8>, Unsound> {
        let plain = match self.codec {
            Codec::Plain => stored.into_owned(),
            Codec::Zstd => {
                let mut plain = Vec::with_capacity(self.columns_bytes as usize);
                frames::unpack(&stored, &mut plain)?;
                plain
            }
        };
        if plain.len() != self.columns_bytes as usize {
            let what = "another length than the head says";
            return Err(Unsound::Columns { what });
        }
        Ok(plain)
    }
}

impl Block {
    /// The block that `bytes` begin with. It takes some 100 MB of memory at most, whatever the bytes are.
    ///
    /// # Errors
    /// When they are not a block as it was written.
    pub fn decode(bytes: &[u8]) -> Result<Block, Unsound> {
        let head = Head::read(bytes)?;
        head.check(bytes)?;
        let plain = head.unpack(head.stored(bytes))?;
        let columns = Columns::decode(Bytes::from(plain), head.count)?;
        Ok(Block {
            head,
            columns: Box::new(columns),
            gathered: None,
        })
    }

    /// Of the block that `bytes` begin with the events of a task or a stream alone: no more of it is unpacked than they need,
    /// and the frames of other events' bodies are checked by the block's checksum only. `room` is for what is unpacked, and
    /// is kept for the next one.
    ///
    /// # Errors
    /// When they are not a block as it was written.
    pub(crate) fn pick(
        bytes: &[u8],
        column: Column,
        name: &str,
        room: &mut Vec<u8>,
    ) -> Result<Block, Unsound> {
        let head = Head::read(bytes)?;
        head.check(bytes)?;
        let stored = head.stored(bytes);
        let columns_bytes = head.columns_bytes as usize;
        let find = |plain: &[u8]| Picked::find(plain, columns_bytes, head.count, column, name);
        let frames = match head.codec {
            Codec::Plain => None,
            Codec::Zstd => Frames::find(&stored, columns_bytes),
        };
        let (columns, rows) = match frames {
            None => {
                let plain = head.unpack(stored)?;
                find(&plain)?.gather(&plain)?
            }
            Some(mut frames) => {
                room.resize(columns_bytes, 0);
                frames.unpack(&(0..1), room)?;
                let picked = find(&room[..frames.first_bytes()])?;
                for body in picked.bodies() {
                    frames.unpack(&body, room)?;
                }
                picked.gather(room)?
            }
        };
        let offsets = rows.into_iter().map(|row| head.first_offset + row as u64);
        Ok(Block {
            gathered: Some(Box::new(Gathered {
                end: head.end_offset(),
                offsets: offsets.collect(),
            })),
            columns: Box::new(columns),
            head: Head::of_gathered(head.first_offset),
        })
    }

    pub fn shard(&self) -> u16 {
        self.head.shard
    }

    /// Hash of the block before it, zeros for a shard's first.
    pub fn before(&self) -> Hash {
        self.head.before
    }

    /// Earliest and latest time of its events, nanoseconds since 1970.
    pub fn times(&self) -> (i64, i64) {
        (self.head.time_min, self.head.time_max)
    }

    /// Bytes of the whole block as it is stored.
    pub fn stored_bytes(&self) -> usize {
        self.head.bytes()
    }

    /// A block of events that were kept elsewhere: all that there are with these offsets, ascending. Where one is missing
    /// it was retired.
    ///
    /// # Errors
    /// When their names and bodies have more than 4 GiB together, or an event is not within the offsets.
    pub fn gather<'a>(
        offsets: std::ops::Range<u64>,
        events: impl Iterator<Item = Recorded<'a>>,
    ) -> Result<Block, Unsound> {
        let mut kept: Vec<u64> = Vec::new();
        let events = events.inspect(|recorded| kept.push(recorded.offset));
        let columns = Columns::gather(events)?;
        let ascends = kept.is_sorted_by(|before, after| before < after);
        let is_within = kept.first().is_none_or(|first| *first >= offsets.start)
            && kept.last().is_none_or(|last| *last < offsets.end);
        if !ascends || !is_within {
            let what = "events that are out of order";
            return Err(Unsound::Columns { what });
        }
        Ok(Block {
            head: Head::of_gathered(offsets.start),
            columns: Box::new(columns),
            gathered: Some(Box::new(Gathered {
                end: offsets.end,
                offsets: kept,
            })),
        })
    }

    /// Offsets of its events. In a block that was [gathered](Block::gather) not each of them has one.
    pub fn offsets(&self) -> std::ops::Range<u64> {
        let end = match &self.gathered {
            Some(gathered) => gathered.end,
            None => self.head.end_offset(),
        };
        self.head.first_offset..end
    }

    /// A block without any event.
    pub(crate) fn none(offsets: std::ops::Range<u64>) -> Block {
        Block::gather(offsets, std::iter::empty()).expect("nothing is in order")
    }

    /// A block of those of its events that are wanted.
    pub(crate) fn only(&self, is_wanted: impl Fn(&Recorded<'_>) -> bool) -> Block {
        let events = self.events().filter(|recorded| is_wanted(recorded));
        Block::gather(self.offsets(), events)
            .expect("a part of a block is in order and no longer than the block")
    }

    /// The offsets within a range that have an event, ascending.
    pub(crate) fn offsets_within(
        &self,
        range: &std::ops::Range<u64>,
    ) -> impl DoubleEndedIterator<Item = u64> + use<'_> {
        let range = range.clone();
        let offsets = (0..self.columns.len()).map(|row| self.offset_of(row));
        offsets.filter(move |offset| range.contains(offset))
    }

    /// How many offsets of its range have no event any more.
    pub fn retired(&self) -> u64 {
        let offsets = self.offsets();
        (offsets.end - offsets.start).saturating_sub(self.columns.len() as u64)
    }

    fn offset_of(&self, row: usize) -> u64 {
        match &self.gathered {
            Some(gathered) => gathered.offsets[row],
            None => self.head.first_offset + row as u64,
        }
    }

    fn row_of(&self, offset: u64) -> Option<usize> {
        match &self.gathered {
            Some(gathered) => gathered.offsets.binary_search(&offset).ok(),
            None => {
                let row = usize::try_from(offset.checked_sub(self.head.first_offset)?).ok()?;
                (row < self.columns.len()).then_some(row)
            }
        }
    }

    /// Its events in order.
    pub fn events(&self) -> impl DoubleEndedIterator<Item = Recorded<'_>> + ExactSizeIterator {
        (0..self.columns.len()).map(move |row| {
            let (event, version) = self.columns.row(row);
            Recorded {
                offset: self.offset_of(row),
                version,
                event,
            }
        })
    }

    /// The event at this offset, if it is here.
    pub fn event(&self, offset: u64) -> Option<Recorded<'_>> {
        let (event, version) = self.columns.row(self.row_of(offset)?);
        Some(Recorded {
            offset,
            version,
            event,
        })
    }

    /// The names in it, and its events with their numbers.
    pub(crate) fn briefs(&self) -> (Names, impl Iterator<Item = Brief<'_>>) {
        self.columns.briefs()
    }

    /// Offsets from `from` on of the events that a filter wants, ascending.
    pub(crate) fn wanted(&self, filter: &Filter, from: u64) -> Vec<u64> {
        let rows = self.columns.wanted(filter).into_iter();
        rows.map(|row| self.offset_of(row))
            .filter(|offset| *offset >= from)
            .collect()
    }

    /// Offsets of the events of a task or a stream, ascending.
    pub(crate) fn offsets_of(&self, column: Column, name: &str) -> Vec<u64> {
        let rows = self.columns.rows_of(column, name).into_iter();
        rows.map(|row| self.offset_of(row)).collect()
    }

    /// What it takes in memory.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        let offsets = self
            .gathered
            .as_ref()
            .map_or(0, |gathered| gathered.offsets.len());
        self.columns.bytes_in_memory() + offsets * size_of::<u64>() + size_of::<Block>()
    }
}

/// Sees to it that no block seems to begin in these bytes, and says what they were combined with.
fn mask(stored: &mut [u8]) -> [u8; 4] {
    let has_magic = |bytes: &[u8]| memchr::memmem::find(bytes, &MAGIC).is_some();
    if !has_magic(stored) {
        return [0; 4];
    }
    let random = RandomState::new();
    let mut mask = [0; 4];
    for n in 0..MASKS_MAX {
        combine(stored, mask);
        mask = *random
            .hash_one(n)
            .to_le_bytes()
            .first_chunk()
            .expect("it has eight");
        combine(stored, mask);
        if !has_magic(stored) {
            break;
        }
    }
    mask
}

fn combine(stored: &mut [u8], mask: [u8; 4]) {
    for (byte, mask) in stored.iter_mut().zip(mask.into_iter().cycle()) {
        *byte ^= mask;
    }
}

/// A block's hash, over its bytes.
pub(crate) fn hash(block: &[u8]) -> Hash {
    Hash(*blake3::hash(&block[8..]).as_bytes())
}

fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("columns are at most 32 MiB")
}

fn array<const N: usize>(head: &[u8; HEAD_BYTES], at: usize) -> [u8; N] {
    *head[at..]
        .first_chunk()
        .expect("every field lies within the head")
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Block").field("head", &self.head).finish()
    }
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder").finish()
    }
}

#[cfg(test)]
mod tests;
