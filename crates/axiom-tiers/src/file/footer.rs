//! What stands in a file's footer: what the file is, and what proves each of its bytes. For our own reader, and for query engines
//! that read the columns themselves.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use parquet::arrow::arrow_reader::ArrowReaderMetadata;
use parquet::file::metadata::ParquetMetaData;

use super::FileError;
use super::check::{BLOCKS_KEY, Pieces, Sums, TAIL_KEY, Tail, tail_start};
use super::read::{Input, options};
use super::write::{END_KEY, FIRST_KEY, FORMAT, FORMAT_KEY, HASH_KEY, SHARD_KEY};

/// A footer that was proved. What is before it is proved block by block: a reader fetches the [`blocks`](Footer::blocks) of what it
/// wants and gives them to [`check`](Footer::check).
#[derive(Debug, Clone)]
pub struct Footer {
    metadata: Arc<ParquetMetaData>,
    sums: Sums,
    offsets: Range<u64>,
    shard: u16,
    events_hash: [u8; 32],
}

impl Footer {
    /// Reads the proved tail of a file of `bytes` bytes.
    ///
    /// # Errors
    /// When the file is not one of events, or of another format.
    pub fn parse(bytes: u64, tail: Tail) -> Result<Footer, FileError> {
        let input = Input::new(None, Pieces::of(tail.start, tail.bytes), bytes);
        let metadata = ArrowReaderMetadata::load(&input, options())?;
        let metadata = Arc::clone(metadata.metadata());
        let value = |key: &str| value(&metadata, key);
        match value(FORMAT_KEY) {
            Some(FORMAT) => {}
            found => {
                let found = found.unwrap_or("not said").to_owned();
                return Err(FileError::Version { found });
            }
        }
        let bad = |what| move || FileError::Tail { what };
        let number = |key: &str| value(key).and_then(|text| text.parse::<u64>().ok());
        let first = number(FIRST_KEY).ok_or_else(bad("axiom.first_offset is no number"))?;
        let end = number(END_KEY).ok_or_else(bad("axiom.end_offset is no number"))?;
        let shard = number(SHARD_KEY).and_then(|shard| u16::try_from(shard).ok());
        let hash = value(HASH_KEY).and_then(hash_of);
        let start = value(TAIL_KEY).and_then(tail_start);
        // Where it was proved from is where it says that it begins.
        let start = start.filter(|start| *start == tail.start);
        let start = start.ok_or_else(bad("axiom.tail is no place in the file"))?;
        let crcs = value(BLOCKS_KEY).ok_or_else(bad("there are no axiom.block_crcs"))?;
        Ok(Footer {
            sums: Sums::new(start, crcs)?,
            offsets: first..end,
            shard: shard.ok_or_else(bad("axiom.shard is no number of a shard"))?,
            events_hash: hash.ok_or_else(bad("axiom.events_hash is no hash"))?,
            metadata,
        })
    }

    /// Parquet's own, with page indexes.
    pub fn metadata(&self) -> &Arc<ParquetMetaData> {
        &self.metadata
    }

    /// What the file answers for.
    pub fn offsets(&self) -> Range<u64> {
        self.offsets.clone()
    }

    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// What it says about its events, their offsets among it: no other file has the same, unless it has the same events.
    pub fn events_hash(&self) -> [u8; 32] {
        self.events_hash
    }

    /// The bytes to fetch in order to prove those of `range`.
    ///
    /// # Errors
    /// When they do not all lie before the tail.
    pub fn blocks(&self, range: &Range<u64>) -> Result<Range<u64>, FileError> {
        self.sums.blocks(range)
    }

    /// Proves bytes that were fetched as [`Footer::blocks`] says, from `start` on.
    ///
    /// # Errors
    /// When they are not those that were written.
    pub fn check(&self, start: u64, blocks: &Bytes) -> Result<(), FileError> {
        self.sums.check(start, blocks)
    }

    /// What it takes in memory, about.
    pub fn memory_bytes(&self) -> usize {
        self.metadata.memory_size() + self.sums.memory_bytes()
    }

    pub(super) fn into_sums(self) -> Sums {
        self.sums
    }
}

fn value<'a>(metadata: &'a ParquetMetaData, key: &str) -> Option<&'a str> {
    let values = metadata.file_metadata().key_value_metadata()?;
    values.iter().find(|value| value.key == key)?.value.as_deref()
}

fn hash_of(text: &str) -> Option<[u8; 32]> {
    let hash = blake3::Hash::from_hex(text).ok()?;
    Some(*hash.as_bytes())
}
