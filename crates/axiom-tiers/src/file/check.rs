//! Checksums over everything, in a file that stays an ordinary Parquet file.
//!
//! Up to where the last row group ends, every 64 KiB have a CRC-32C; all of them stand in the footer's key-value metadata as
//! `axiom.block_crcs`, 8 hex digits each. The rest, page indexes and footer, is the tail. `axiom.tail` says where it begins
//! (16 hex digits) and its CRC-32C (8 hex digits), computed while these 8 digits are zeros. Its value has a fixed length, so
//! it is found, and the tail proved, before anything in the tail is parsed.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{FileError, Source};

pub(super) const BLOCK_BYTES: u64 = 64 << 10;
pub(super) const BLOCKS_KEY: &str = "axiom.block_crcs";
pub(super) const TAIL_KEY: &str = "axiom.tail";
const MARK: &[u8; 4] = b"PAR1";
/// In thrift's compact protocol: the key, then a second field, text again, of 24 bytes.
const TAIL_MARK: &[u8] = b"axiom.tail\x18\x18";
const PLACE_DIGITS: usize = 16;
const CRC_DIGITS: usize = 8;
/// How long the footer is, and the mark.
const LAST_BYTES: u64 = 8;

/// Passes bytes on and takes their checksums; from [`Checked::begin_tail`] on it keeps them.
#[derive(Debug)]
pub(super) struct Checked<W> {
    out: W,
    bytes: u64,
    /// Of the block that is not full yet.
    crc: u32,
    crcs: Vec<u32>,
    tail: Option<Vec<u8>>,
}

impl<W: io::Write> Checked<W> {
    pub(super) fn new(out: W) -> Checked<W> {
        Checked {
            out,
            bytes: 0,
            crc: 0,
            crcs: Vec::new(),
            tail: None,
        }
    }

    /// What comes now is the tail. Returns the values of [`BLOCKS_KEY`] and [`TAIL_KEY`], which must become part of it.
    pub(super) fn begin_tail(&mut self) -> (String, String) {
        if !self.bytes.is_multiple_of(BLOCK_BYTES) {
            self.crcs.push(self.crc);
        }
        self.tail = Some(Vec::new());
        let crcs = self.crcs.iter().map(|crc| format!("{crc:08x}")).collect();
        (crcs, format!("{:016x}{:08x}", self.bytes, 0))
    }

    /// Completes the tail and writes it. Returns how many bytes there are in all.
    pub(super) fn finish(mut self) -> io::Result<(W, u64)> {
        let mut tail = self.tail.unwrap_or_default();
        let at = tail_value(&tail).ok_or_else(|| io::Error::other("the footer has no axiom.tail"))?;
        let crc = crc32c::crc32c(&tail);
        let digits = at + PLACE_DIGITS..at + PLACE_DIGITS + CRC_DIGITS;
        tail[digits].copy_from_slice(format!("{crc:08x}").as_bytes());
        self.out.write_all(&tail)?;
        self.out.flush()?;
        Ok((self.out, self.bytes + tail.len() as u64))
    }
}

impl<W: io::Write> io::Write for Checked<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(tail) = &mut self.tail {
            tail.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        let room = BLOCK_BYTES - self.bytes % BLOCK_BYTES;
        let len = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
        let written = self.out.write(&bytes[..len])?;
        self.crc = crc32c::crc32c_append(self.crc, &bytes[..written]);
        self.bytes += written as u64;
        if written > 0 && self.bytes.is_multiple_of(BLOCK_BYTES) {
            self.crcs.push(std::mem::take(&mut self.crc));
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Where the value of the last [`TAIL_KEY`] begins. Names of producers stand further ahead, in statistics.
fn tail_value(bytes: &[u8]) -> Option<usize> {
    let at = memchr::memmem::rfind(bytes, TAIL_MARK)? + TAIL_MARK.len();
    (at + PLACE_DIGITS + CRC_DIGITS <= bytes.len()).then_some(at)
}

/// A file's tail, proved.
#[derive(Debug)]
pub struct Tail {
    /// Where it begins: where the data end.
    pub(super) start: u64,
    pub(super) bytes: Bytes,
}

/// What has become of proving a tail.
#[derive(Debug)]
pub enum Ending {
    Proved(Tail),
    /// It begins earlier: the bytes from here to the end of the file are needed.
    Needs(u64),
}

impl Tail {
    pub(super) fn read(source: &dyn Source) -> Result<Tail, FileError> {
        let bytes = source.bytes();
        let mut from = bytes.saturating_sub(LAST_BYTES);
        loop {
            match Tail::prove(bytes, &read(source, from..bytes)?)? {
                Ending::Proved(tail) => return Ok(tail),
                Ending::Needs(start) => from = start,
            }
        }
    }

    /// Proves the tail of a file of `bytes` bytes, of which `end` are the last.
    ///
    /// # Errors
    /// When it is not as it was written, whatever comes before it.
    pub fn prove(bytes: u64, end: &Bytes) -> Result<Ending, FileError> {
        let unsound = |what| FileError::Tail { what };
        if bytes < 12 {
            return Err(unsound("it is too short"));
        }
        let Some(from) = bytes.checked_sub(end.len() as u64) else {
            return Err(unsound("it is longer than it should be"));
        };
        let Some(last) = end.last_chunk::<8>() else {
            return Ok(Ending::Needs(bytes - LAST_BYTES));
        };
        if &last[4..] != MARK {
            return Err(unsound("it does not end as a Parquet file does"));
        }
        let len = u64::from(u32::from_le_bytes(
            *last.first_chunk().expect("it has eight bytes"),
        ));
        let Some(footer_start) = (bytes - LAST_BYTES).checked_sub(len) else {
            return Err(unsound("its footer would begin before it does"));
        };
        if footer_start < from {
            return Ok(Ending::Needs(footer_start));
        }
        // What lies behind `from` is in memory.
        let at = |place: u64| usize::try_from(place - from).unwrap_or(usize::MAX);
        let footer = &end[at(footer_start)..];
        let value =
            tail_value(footer).ok_or(unsound("its footer has no axiom.tail: Axiom has not written it"))?;
        let (place, crc) = footer[value..value + PLACE_DIGITS + CRC_DIGITS].split_at(PLACE_DIGITS);
        let start = hex(place).ok_or(unsound("axiom.tail is no number"))?;
        let crc = hex(crc).ok_or(unsound("axiom.tail is no number"))?;
        if start > footer_start {
            return Err(unsound("axiom.tail lies behind the footer"));
        }
        if start < from {
            return Ok(Ending::Needs(start));
        }
        let tail = end.slice(at(start)..);
        let mut zeroed = tail.to_vec();
        let value = tail_value(&zeroed).ok_or(unsound("its footer has no axiom.tail"))?;
        zeroed[value + PLACE_DIGITS..value + PLACE_DIGITS + CRC_DIGITS].fill(b'0');
        let found = crc32c::crc32c(&zeroed);
        if u64::from(found) != crc {
            return Err(unsound("its checksum is not that of its bytes"));
        }
        Ok(Ending::Proved(Tail { start, bytes: tail }))
    }
}

/// Where the tail begins, as the value of [`TAIL_KEY`] says.
pub(super) fn tail_start(value: &str) -> Option<u64> {
    hex(value.as_bytes().get(..PLACE_DIGITS)?)
}

/// The checksums of what lies before the tail. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Sums {
    bytes: u64,
    crcs: Arc<[u32]>,
}

impl Sums {
    /// `crcs` is the value of [`BLOCKS_KEY`].
    pub(super) fn new(bytes: u64, crcs: &str) -> Result<Sums, FileError> {
        let parsed: Option<Vec<u32>> = crcs
            .as_bytes()
            .chunks(CRC_DIGITS)
            .map(|digits| u32::try_from(hex(digits)?).ok())
            .collect();
        let crcs = parsed.filter(|crcs| crcs.len() as u64 == bytes.div_ceil(BLOCK_BYTES));
        let crcs = crcs.ok_or(FileError::Tail {
            what: "axiom.block_crcs are not what they should be",
        })?;
        Ok(Sums {
            bytes,
            crcs: crcs.into(),
        })
    }

    pub(super) fn memory_bytes(&self) -> usize {
        size_of_val(&*self.crcs)
    }

    /// The whole blocks that a range lies in.
    pub(super) fn blocks(&self, range: &Range<u64>) -> Result<Range<u64>, FileError> {
        if range.start > range.end || range.end > self.bytes {
            return Err(FileError::Tail {
                what: "it speaks of bytes that are not there",
            });
        }
        let start = range.start / BLOCK_BYTES * BLOCK_BYTES;
        Ok(start..range.end.next_multiple_of(BLOCK_BYTES).min(self.bytes))
    }

    /// Proves whole blocks, of which the first begins at `start`.
    pub(super) fn check(&self, start: u64, bytes: &[u8]) -> Result<(), FileError> {
        let first = start / BLOCK_BYTES;
        let mut crcs = self
            .crcs
            .iter()
            .skip(usize::try_from(first).unwrap_or(usize::MAX));
        let blocks = bytes.chunks(usize::try_from(BLOCK_BYTES).unwrap_or(usize::MAX));
        for (block, number) in blocks.zip(first..) {
            if crcs.next() != Some(&crc32c::crc32c(block)) {
                let start = number * BLOCK_BYTES;
                return Err(FileError::Damaged {
                    bytes: start..start + block.len() as u64,
                });
            }
        }
        Ok(())
    }
}

/// Reads what lies before the tail, and proves it.
#[derive(Debug, Clone)]
pub(super) struct Data {
    source: Arc<dyn Source>,
    sums: Sums,
}

impl Data {
    pub(super) fn new(source: Arc<dyn Source>, sums: Sums) -> Data {
        Data { source, sums }
    }

    /// Where the tail begins.
    pub(super) fn end(&self) -> u64 {
        self.sums.bytes
    }

    pub(super) fn read(&self, range: Range<u64>) -> Result<Bytes, FileError> {
        let blocks = self.sums.blocks(&range)?;
        let start = blocks.start;
        let bytes = read(&*self.source, blocks)?;
        self.sums.check(start, &bytes)?;
        let at = |place: u64| usize::try_from(place - start).unwrap_or(usize::MAX);
        Ok(bytes.slice(at(range.start)..at(range.end)))
    }
}

fn read(source: &dyn Source, range: Range<u64>) -> Result<Bytes, FileError> {
    let bytes = source.read(range.clone()).map_err(|source| FileError::Read {
        bytes: range.clone(),
        source,
    })?;
    if bytes.len() as u64 != range.end - range.start {
        let source = io::ErrorKind::UnexpectedEof.into();
        return Err(FileError::Read { bytes: range, source });
    }
    Ok(bytes)
}

fn hex(digits: &[u8]) -> Option<u64> {
    // `from_str_radix` would take a sign, and capitals, which are a change that nobody made.
    if !digits
        .iter()
        .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'))
    {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// Pieces of a file that were read beforehand, each with where it begins.
#[derive(Debug, Clone, Default)]
pub(super) struct Pieces(Vec<(u64, Bytes)>);

/// Ranges with less than this between them are read at once: an object store takes longer to answer than to send it.
const GAP_BYTES: u64 = 64 << 10;

impl Pieces {
    pub(super) fn of(start: u64, bytes: Bytes) -> Pieces {
        Pieces(vec![(start, bytes)])
    }

    /// Reads these ranges, neighbours together.
    pub(super) fn read(data: &Data, mut ranges: Vec<Range<u64>>) -> Result<Pieces, FileError> {
        ranges.retain(|range| !range.is_empty());
        ranges.sort_unstable_by_key(|range| range.start);
        let mut joined: Vec<Range<u64>> = Vec::new();
        for range in ranges {
            match joined.last_mut() {
                Some(last) if range.start <= last.end.saturating_add(GAP_BYTES) => {
                    last.end = last.end.max(range.end);
                }
                _ => joined.push(range),
            }
        }
        let pieces = joined
            .into_iter()
            .map(|range| Ok((range.start, data.read(range)?)));
        pieces.collect::<Result<_, FileError>>().map(Pieces)
    }

    /// The bytes from `start` to the end of the piece that they are in.
    pub(super) fn from(&self, start: u64) -> Option<Bytes> {
        let (first, bytes) = self.0.iter().rev().find(|(first, _)| *first <= start)?;
        let skip = usize::try_from(start - first).ok()?;
        (skip <= bytes.len()).then(|| bytes.slice(skip..))
    }
}
