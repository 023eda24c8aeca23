//! Reading a file: whole row groups, or what belongs to one task or stream, without unpacking the rest.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use bytes::{Buf as _, Bytes};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::bloom_filter::Sbbf;
use parquet::errors::ParquetError;

use parquet::file::metadata::{PageIndexPolicy, RowGroupMetaData};
use parquet::file::page_index::column_index::ColumnIndexMetaData;
use parquet::file::reader::{ChunkReader, Length};
use parquet::file::statistics::Statistics;

use super::check::{self, Data, Pieces, Tail};
use super::events::{Part, Words, numbers};
use super::{Events, EventsHash, Footer, Source, schema};

/// Rows that are unpacked at once.
const BATCH_ROWS: usize = 8192;

/// A file whose footer was read and proved. Clones share it. Every call may block.
#[derive(Debug, Clone)]
pub struct File {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    data: Data,
    metadata: ArrowReaderMetadata,
    offsets: Range<u64>,
    shard: u16,
    events_hash: [u8; 32],
    groups: Vec<Group>,
}

/// A row group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// From its first to its last event.
    pub offsets: Range<u64>,
    pub rows: u64,
    pub time_min: i64,
    pub time_max: i64,
}

/// Which way offsets and versions go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    Ascending,
    Descending,
}

#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("bytes {} to {} cannot be read", bytes.start, bytes.end)]
    Read { bytes: Range<u64>, source: io::Error },
    #[error("its end is not sound: {what}")]
    Tail { what: &'static str },
    #[error("its format is {found}, this program reads format 1")]
    Version { found: String },
    #[error("bytes {} to {} are not those that were written", bytes.start, bytes.end)]
    Damaged { bytes: Range<u64> },
    #[error("column {name} is not as Axiom writes it")]
    Column { name: &'static str },
    #[error("it is not as Parquet files are")]
    Parquet(#[from] ParquetError),
    #[error("its events have the hash {found}, it says {expected}")]
    Hash { expected: String, found: String },
    #[error("it has no row group {index}, there are {groups}")]
    NoGroup { index: usize, groups: usize },
}

/// Of which events something is to be found.
enum Wanted<'a> {
    Offset(u64),
    Task { task: &'a str, offsets: Range<u64> },
    Stream { stream: &'a str, versions: Range<u64> },
}

impl File {
    /// # Errors
    /// When it cannot be read, is damaged where that shows already, or is not a file of events.
    pub fn open(source: Arc<dyn Source>) -> Result<File, FileError> {
        let footer = Footer::parse(source.bytes(), Tail::read(&*source)?)?;
        let metadata = Arc::clone(footer.metadata());
        // This proves that the columns are ours, so it comes before they are looked at.
        let options = options().with_schema(read_schema());
        let typed = ArrowReaderMetadata::try_new(Arc::clone(&metadata), options)?;
        let groups = metadata.row_groups().iter().map(group_of).collect::<Option<_>>();
        let shared = Shared {
            groups: groups.ok_or(FileError::Tail {
                what: "a row group does not say what is in it",
            })?,
            offsets: footer.offsets(),
            shard: footer.shard(),
            events_hash: footer.events_hash(),
            data: Data::new(source, footer.into_sums()),
            metadata: typed,
        };
        Ok(File {
            shared: Arc::new(shared),
        })
    }

    pub fn shard(&self) -> u16 {
        self.shared.shard
    }

    /// What it answers for.
    pub fn offsets(&self) -> Range<u64> {
        self.shared.offsets.clone()
    }

    pub fn rows(&self) -> u64 {
        self.shared.groups.iter().map(|group| group.rows).sum()
    }

    /// What it says about its events; [`File::verify`] proves it.
    pub fn events_hash(&self) -> [u8; 32] {
        self.shared.events_hash
    }

    pub fn groups(&self) -> &[Group] {
        &self.shared.groups
    }

    /// All events of a row group, in the order of their offsets.
    ///
    /// # Errors
    /// When they cannot be read or are damaged.
    pub fn group(&self, index: usize) -> Result<Events, FileError> {
        let Some(group) = self.shared.groups.get(index) else {
            let groups = self.shared.groups.len();
            return Err(FileError::NoGroup { index, groups });
        };
        let rows = usize::try_from(group.rows).unwrap_or(usize::MAX);
        let parts = self.parts(index, std::slice::from_ref(&(0..rows)))?;
        Ok(Events::new(parts, Order::Ascending))
    }

    /// The event at this offset; none if it has none.
    ///
    /// # Errors
    /// When it cannot be read or is damaged.
    pub fn event(&self, offset: u64) -> Result<Events, FileError> {
        self.find(&Wanted::Offset(offset), 1, Order::Ascending)
    }

    /// Events of a task with these offsets: the first `count_max`, or the last in descending order.
    ///
    /// # Errors
    /// When they cannot be read or are damaged.
    pub fn task(
        &self,
        task: &str,
        offsets: Range<u64>,
        count_max: usize,
        order: Order,
    ) -> Result<Events, FileError> {
        self.find(&Wanted::Task { task, offsets }, count_max, order)
    }

    /// Events of a stream with these versions: the first `count_max`, or the last in descending order.
    ///
    /// # Errors
    /// When they cannot be read or are damaged.
    pub fn stream(
        &self,
        stream: &str,
        versions: Range<u64>,
        count_max: usize,
        order: Order,
    ) -> Result<Events, FileError> {
        self.find(&Wanted::Stream { stream, versions }, count_max, order)
    }

    /// Reads everything and compares it with what was to be written.
    ///
    /// # Errors
    /// When something cannot be read, is damaged, or was written wrongly.
    pub fn verify(&self) -> Result<(), FileError> {
        let mut hash = EventsHash::new();
        for index in 0..self.shared.groups.len() {
            self.group(index)?
                .iter()
                .for_each(|recorded| hash.push(&recorded));
        }
        let found = hash.finish();
        if found == self.shared.events_hash {
            return Ok(());
        }
        let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Err(FileError::Hash {
            expected: hex(&self.shared.events_hash),
            found: hex(&found),
        })
    }

    /// Row groups ascend by offset, and a stream's versions with them: the first or last groups have the first or last events.
    fn find(&self, wanted: &Wanted<'_>, count_max: usize, order: Order) -> Result<Events, FileError> {
        let mut parts = Vec::new();
        let mut left = count_max;
        let count = self.shared.groups.len();
        for step in 0..count {
            if left == 0 {
                break;
            }
            let index = match order {
                Order::Ascending => step,
                Order::Descending => count - 1 - step,
            };
            let mut rows = self.rows_of(index, wanted)?;
            match order {
                Order::Ascending => rows.truncate(left),
                Order::Descending => drop(rows.drain(..rows.len().saturating_sub(left))),
            }
            left -= rows.len();
            if !rows.is_empty() {
                parts.extend(self.parts(index, &ranges(rows))?);
            }
        }
        Ok(Events::new(parts, order))
    }

    /// Numbers of the wanted rows of a row group, by offset.
    fn rows_of(&self, index: usize, wanted: &Wanted<'_>) -> Result<Vec<usize>, FileError> {
        if !self.may_overlap(index, wanted) {
            return Ok(Vec::new());
        }
        let (name_column, name) = match wanted {
            Wanted::Offset(offset) => return self.row_at(index, *offset),
            Wanted::Task { task, .. } => ("task", *task),
            Wanted::Stream { stream, .. } => ("stream", *stream),
        };
        let candidates = self.pages(index, name_column, name.as_bytes());
        if candidates.is_empty() || !self.may_have(index, name_column, name)? {
            return Ok(Vec::new());
        }
        let columns = [name_column, "offset", "version"];
        let mut found = Vec::new();
        let mut rows = candidates.iter().cloned().flatten();
        for batch in self.batches(index, &candidates, &columns)? {
            let (names, offsets) = (Words::of(&batch, name_column)?, numbers(&batch, "offset")?);
            let versions = numbers(&batch, "version")?;
            for (at, row) in (0..batch.num_rows()).zip(&mut rows) {
                let is_in = match wanted {
                    Wanted::Offset(wanted) => *wanted == offsets.value(at),
                    Wanted::Task { offsets: range, .. } => range.contains(&offsets.value(at)),
                    Wanted::Stream { versions: range, .. } => range.contains(&versions.value(at)),
                };
                if is_in && names.get(at) == name {
                    found.push((offsets.value(at), row));
                }
            }
        }
        found.sort_unstable();
        Ok(found.into_iter().map(|(_, row)| row).collect())
    }

    /// The number of the row with this offset. Rows are in another order, so the whole column is read; it is a small one.
    fn row_at(&self, index: usize, offset: u64) -> Result<Vec<usize>, FileError> {
        let rows = usize::try_from(self.shared.groups[index].rows).unwrap_or(usize::MAX);
        let mut before = 0;
        for batch in self.batches(index, std::slice::from_ref(&(0..rows)), &["offset"])? {
            let offsets = numbers(&batch, "offset")?;
            if let Some(at) = offsets.values().iter().position(|there| *there == offset) {
                return Ok(vec![before + at]);
            }
            before += batch.num_rows();
        }
        Ok(Vec::new())
    }

    /// Whether a row group has any of the wanted offsets or versions.
    fn may_overlap(&self, index: usize, wanted: &Wanted<'_>) -> bool {
        let at;
        let (wanted, there) = match wanted {
            Wanted::Offset(offset) => {
                at = *offset..offset.saturating_add(1);
                (&at, Some(self.shared.groups[index].offsets.clone()))
            }
            Wanted::Task { offsets, .. } => (offsets, Some(self.shared.groups[index].offsets.clone())),
            Wanted::Stream { versions, .. } => {
                let group = self.shared.metadata.metadata().row_group(index);
                (versions, numbers_of(group, "version"))
            }
        };
        let overlap = |there: Range<u64>| wanted.start < there.end && there.start < wanted.end;
        !wanted.is_empty() && there.is_none_or(overlap)
    }

    /// Rows of the pages in which a name may be.
    fn pages(&self, index: usize, column: &str, name: &[u8]) -> Vec<Range<usize>> {
        let metadata = self.shared.metadata.metadata();
        let rows = usize::try_from(self.shared.groups[index].rows).unwrap_or(usize::MAX);
        let column = column_of(column);
        let page_index = metadata
            .column_index()
            .and_then(|index_of| index_of.get(index)?.get(column));
        let locations = metadata
            .offset_index()
            .and_then(|index_of| index_of.get(index)?.get(column));
        let (Some(ColumnIndexMetaData::BYTE_ARRAY(bounds)), Some(locations)) = (page_index, locations) else {
            // Nothing is known about its pages.
            return std::iter::once(0..rows).collect();
        };
        let row = |row: i64| usize::try_from(row).unwrap_or(rows);
        let starts = locations
            .page_locations()
            .iter()
            .map(|page| row(page.first_row_index));
        let ends = starts.clone().skip(1).chain([rows]);
        let pages = starts.zip(ends).enumerate().filter(|(page, _)| {
            let bounds = bounds.min_value(*page).zip(bounds.max_value(*page));
            bounds.is_none_or(|(min, max)| min <= name && name <= max)
        });
        pages.map(|(_, (start, end))| start..end).collect()
    }

    /// False if the bloom filter knows that there is none.
    fn may_have(&self, index: usize, column: &str, name: &str) -> Result<bool, FileError> {
        let group = self.shared.metadata.metadata().row_group(index);
        let column = group.column(column_of(column));
        let filter = Sbbf::read_from_column_chunk(column, &self.input(Pieces::default()))?;
        Ok(filter.is_none_or(|filter| filter.check(name)))
    }

    /// These rows of a row group, with everything.
    fn parts(&self, index: usize, rows: &[Range<usize>]) -> Result<Vec<Part>, FileError> {
        let batches = self.batches(index, rows, &[])?;
        batches.iter().map(Part::of).collect()
    }

    /// These rows of a row group, ascending. All columns that are of use, if none are named.
    fn batches(
        &self,
        index: usize,
        rows: &[Range<usize>],
        columns: &[&str],
    ) -> Result<Vec<RecordBatch>, FileError> {
        let metadata = self.shared.metadata.metadata();
        let group = metadata.row_group(index);
        let descriptor = metadata.file_metadata().schema_descr();
        let mask = if columns.is_empty() {
            // What `severity` says too.
            let all = descriptor.root_schema().get_fields().len();
            ProjectionMask::roots(descriptor, (0..all).filter(|root| *root != column_of("level")))
        } else {
            ProjectionMask::columns(descriptor, columns.iter().copied())
        };
        let total = usize::try_from(group.num_rows()).unwrap_or(usize::MAX);
        let is_all = matches!(rows, [range] if *range == (0..total));
        let selection = RowSelection::from_consecutive_ranges(rows.iter().cloned(), total);
        let mut pieces = Vec::new();
        for (number, column) in group.columns().iter().enumerate() {
            if !mask.leaf_included(number) {
                continue;
            }
            let (start, len) = column.byte_range();
            let pages = metadata
                .offset_index()
                .and_then(|index_of| index_of.get(index)?.get(number));
            match pages.map(|pages| pages.page_locations()) {
                Some(pages) if !is_all => {
                    // Before the first page is the dictionary.
                    let first = pages.first().and_then(|page| u64::try_from(page.offset).ok());
                    pieces.push(start..first.unwrap_or(start));
                    pieces.extend(selection.scan_ranges(pages));
                }
                _ => pieces.push(start..start.saturating_add(len)),
            }
        }
        let input = self.input(Pieces::read(&self.shared.data, pieces)?);
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(input, self.shared.metadata.clone())
            .with_row_groups(vec![index])
            .with_batch_size(BATCH_ROWS)
            .with_projection(mask);
        let builder = if is_all {
            builder
        } else {
            builder.with_row_selection(selection)
        };
        let batches = builder.build()?.collect::<Result<Vec<_>, _>>();
        batches.map_err(|error| ParquetError::from(error).into())
    }

    fn input(&self, pieces: Pieces) -> Input {
        let data = &self.shared.data;
        Input::new(Some(data.clone()), pieces, data.end())
    }
}

/// Page indexes are needed, Arrow's own schema is not: ours is known.
pub(super) fn options() -> ArrowReaderOptions {
    ArrowReaderOptions::new()
        .with_page_index_policy(PageIndexPolicy::Required)
        .with_skip_arrow_metadata(true)
}

/// What parquet reads from: pieces that were fetched, or else the file, proved.
#[derive(Debug, Clone)]
pub(super) struct Input {
    data: Option<Data>,
    pieces: Pieces,
    len: u64,
}

impl Input {
    pub(super) fn new(data: Option<Data>, pieces: Pieces, len: u64) -> Input {
        Input { data, pieces, len }
    }
}

impl Length for Input {
    fn len(&self) -> u64 {
        self.len
    }
}

impl ChunkReader for Input {
    type T = Stretch;

    fn get_read(&self, start: u64) -> Result<Stretch, ParquetError> {
        Ok(Stretch {
            here: self.pieces.from(start).unwrap_or_default(),
            input: self.clone(),
            at: start,
        })
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes, ParquetError> {
        if let Some(bytes) = self.pieces.from(start)
            && bytes.len() >= length
        {
            return Ok(bytes.slice(..length));
        }
        let external = |error: FileError| ParquetError::External(Box::new(error));
        match &self.data {
            Some(data) => data
                .read(start..start.saturating_add(length as u64))
                .map_err(external),
            None => Err(ParquetError::EOF(format!(
                "{length} B at {start} are not in the tail"
            ))),
        }
    }
}

/// Bytes from somewhere on, one after the other.
#[derive(Debug)]
pub(super) struct Stretch {
    /// What is at `at`.
    here: Bytes,
    input: Input,
    at: u64,
}

impl Read for Stretch {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        if self.here.is_empty() && !out.is_empty() {
            let left = self.input.len.saturating_sub(self.at).min(check::BLOCK_BYTES);
            if left == 0 {
                return Ok(0);
            }
            let left = usize::try_from(left).unwrap_or(usize::MAX);
            self.here = self.input.get_bytes(self.at, left).map_err(io::Error::other)?;
        }
        let len = out.len().min(self.here.len());
        self.here.copy_to_slice(&mut out[..len]);
        self.at += len as u64;
        Ok(len)
    }
}

/// As the file's columns, but names are read as the dictionaries that they are.
fn read_schema() -> SchemaRef {
    let words = DataType::Dictionary(Box::new(DataType::Int32), Box::new(DataType::Utf8));
    let schema = schema::schema();
    let fields = schema.fields().iter().map(|field| match field.data_type() {
        DataType::Utf8 => Field::new(field.name(), words.clone(), field.is_nullable()),
        _ => field.as_ref().clone(),
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A column's number, in our schema and, since those with several leaves come last, among the leaves of the file.
fn column_of(name: &str) -> usize {
    schema::schema().index_of(name).expect("it is a column of ours")
}

fn group_of(group: &RowGroupMetaData) -> Option<Group> {
    let (time_min, time_max) = bounds(group, "time")?;
    Some(Group {
        offsets: numbers_of(group, "offset")?,
        rows: u64::try_from(group.num_rows()).ok()?,
        time_min,
        time_max,
    })
}

/// From the smallest to after the largest of a column of unsigned numbers, which are stored as what they are modulo 2^64.
fn numbers_of(group: &RowGroupMetaData, name: &str) -> Option<Range<u64>> {
    let (min, max) = bounds(group, name)?;
    Some(min.cast_unsigned()..max.cast_unsigned().saturating_add(1))
}

fn bounds(group: &RowGroupMetaData, name: &str) -> Option<(i64, i64)> {
    match group.column(column_of(name)).statistics()? {
        Statistics::Int64(values) => Some((*values.min_opt()?, *values.max_opt()?)),
        _ => None,
    }
}

/// Ascending numbers as ranges.
fn ranges(mut rows: Vec<usize>) -> Vec<Range<usize>> {
    rows.sort_unstable();
    let mut ranges: Vec<Range<usize>> = Vec::new();
    for row in rows {
        match ranges.last_mut() {
            Some(last) if last.end == row => last.end += 1,
            _ => ranges.push(row..row + 1),
        }
    }
    ranges
}
