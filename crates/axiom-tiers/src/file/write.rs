//! Writing a file, from first to last offset.

use std::io::Write;
use std::ops::Range;

use arrow_schema::ArrowError;
use axiom_events::Recorded;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use parquet::file::metadata::{KeyValue, SortingColumn};

use super::check::{self, Checked};
use super::rows::Rows;
use super::{EventsHash, schema};

/// Rows that become columns at once.
const BATCH_ROWS: usize = 8192;
/// 6.6 % smaller than level 3 at two fifths of its speed. Level 6 saves 3 % more and takes a quarter longer, which leaves about half
/// a million events a CPU second, everything included: too near the goal.
const ZSTD_LEVEL: i32 = 5;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteOptions {
    /// zstd's, 1 to 22.
    pub zstd_level: i32,
    /// The offsets that the file answers for. By default from the first to the last event; events may be missing at
    /// either end, if they were lost or their time was over.
    pub offsets: Option<Range<u64>>,
}

impl Default for WriteOptions {
    fn default() -> WriteOptions {
        WriteOptions {
            zstd_level: ZSTD_LEVEL,
            offsets: None,
        }
    }
}

/// Writes a file. Holds one row group in memory: events of at most 64 MiB and a body, some three times over.
#[derive(Debug)]
pub struct Writer<W: Write + Send> {
    parquet: ArrowWriter<Checked<W>>,
    shard: u16,
    range: Option<Range<u64>>,
    rows: Rows,
    hash: EventsHash,
    count: u64,
    first: Option<u64>,
    end: u64,
    times: Option<(i64, i64)>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    pub rows: u64,
    pub bytes: u64,
    pub offsets: Range<u64>,
    /// 0 if there are no events.
    pub time_min: i64,
    pub time_max: i64,
    pub events_hash: [u8; 32],
}

#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error("event {offset} does not come after event {last}")]
    Order { offset: u64, last: u64 },
    #[error("event {offset} is not one of {} to {}, which the file is for", range.start, range.end)]
    Outside { offset: u64, range: Range<u64> },
    #[error("the file cannot be written")]
    Parquet(#[from] ParquetError),
    #[error("events do not become columns")]
    Columns(#[from] ArrowError),
    #[error("the file cannot be completed")]
    Disk(#[from] std::io::Error),
}

impl<W: Write + Send> Writer<W> {
    /// # Errors
    /// When the options are not valid.
    pub fn new(out: W, shard: u16, options: &WriteOptions) -> Result<Writer<W>, WriteError> {
        let sorting = ["task", "offset"].map(sorting_column).to_vec();
        let properties = schema::properties(options.zstd_level)?
            .set_sorting_columns(Some(sorting))
            .build();
        let parquet = ArrowWriter::try_new(Checked::new(out), schema::schema(), Some(properties))?;
        Ok(Writer {
            parquet,
            shard,
            range: options.offsets.clone(),
            rows: Rows::default(),
            hash: EventsHash::new(),
            count: 0,
            first: None,
            end: 0,
            times: None,
        })
    }

    /// Adds the event that comes next: offsets ascend.
    ///
    /// # Errors
    /// When the event does not belong here; then the file is as it was. When the file cannot be written; then it is lost.
    pub fn push(&mut self, recorded: &Recorded<'_>) -> Result<(), WriteError> {
        let offset = recorded.offset;
        if self.first.is_some() && offset < self.end {
            let last = self.end - 1;
            return Err(WriteError::Order { offset, last });
        }
        if let Some(range) = self.range.clone().filter(|range| !range.contains(&offset)) {
            return Err(WriteError::Outside { offset, range });
        }
        self.rows.push(recorded);
        self.hash.push(recorded);
        self.count += 1;
        self.first = self.first.or(Some(offset));
        // No log has 2^64 events.
        self.end = offset.saturating_add(1);
        let time = recorded.event.time;
        let (min, max) = self.times.unwrap_or((time, time));
        self.times = Some((min.min(time), max.max(time)));
        if self.rows.is_full() {
            self.write_group()?;
        }
        Ok(())
    }

    pub(super) fn write_group(&mut self) -> Result<(), WriteError> {
        let order = self.rows.order();
        let plan = self.rows.plan();
        for rows in order.chunks(BATCH_ROWS) {
            self.parquet.write(&self.rows.batch(rows, &plan)?)?;
        }
        self.parquet.flush()?;
        self.rows.clear();
        Ok(())
    }

    /// Writes what is left and the footer. It is for the caller to sync a file.
    ///
    /// # Errors
    /// When the file cannot be written; then it is lost.
    pub fn finish(mut self) -> Result<(W, Written), WriteError> {
        if !self.rows.is_empty() {
            self.write_group()?;
        }
        // Everything must have come through before the checksums are taken.
        self.parquet.sync()?;
        let offsets = self.range.clone().unwrap_or(self.first.unwrap_or(0)..self.end);
        let events_hash = self.hash.finish();
        let (block_crcs, tail) = self.parquet.inner_mut().begin_tail();
        let hash: String = events_hash.iter().map(|byte| format!("{byte:02x}")).collect();
        let values = [
            (FORMAT_KEY, FORMAT.to_owned()),
            (SHARD_KEY, self.shard.to_string()),
            (FIRST_KEY, offsets.start.to_string()),
            (END_KEY, offsets.end.to_string()),
            (HASH_KEY, hash),
            (check::BLOCKS_KEY, block_crcs),
            (check::TAIL_KEY, tail),
        ];
        for (key, value) in values {
            self.parquet
                .append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
        let (out, bytes) = self.parquet.into_inner()?.finish()?;
        let (time_min, time_max) = self.times.unwrap_or_default();
        let written = Written {
            rows: self.count,
            bytes,
            offsets,
            time_min,
            time_max,
            events_hash,
        };
        Ok((out, written))
    }
}

pub(super) const FORMAT: &str = "1";
pub(super) const FORMAT_KEY: &str = "axiom.format";
pub(super) const SHARD_KEY: &str = "axiom.shard";
pub(super) const FIRST_KEY: &str = "axiom.first_offset";
pub(super) const END_KEY: &str = "axiom.end_offset";
pub(super) const HASH_KEY: &str = "axiom.events_hash";

fn sorting_column(name: &str) -> SortingColumn {
    let schema = schema::schema();
    let index = schema.index_of(name).expect("it is a column of ours");
    SortingColumn {
        column_idx: i32::try_from(index).expect("there are few columns"),
        descending: false,
        nulls_first: false,
    }
}
