//! A folder of its own for each query: DuckDB reads files, and not all events are in files that it can read. It is removed
//! when the query has ended.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow::record_batch::RecordBatchReader as _;
use axiom_events::Wanted;
use axiom_tiers::file::{self, BODY_COLUMNS};
use futures_util::StreamExt as _;
use object_store::ObjectStoreExt as _;
use object_store::aws::AmazonS3Builder;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use tempfile::TempDir;

use super::tables::{Form, Part};
use crate::columns::{self, BODY, BODY_BYTES, SHARD, TIER};
use crate::fault::{Code, Fault};
use crate::limits::Limits;
use crate::notes::Notes;
use crate::rows::was_cancelled;
use crate::store::{Object, Pin, PinnedShard};
use crate::table::hot::Hot;

/// Rows that come from the log together.
const ROWS_AT_ONCE: usize = 8_192;
/// A row group of hot events ends at so many rows, or so many bytes in memory.
const GROUP_ROWS: usize = 65_536;
const GROUP_BYTES: usize = 16 << 20;

/// What is made beside files of hot events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Makes {
    /// Copies of objects of an object store.
    pub(super) cold: bool,
    /// Files with bodies that are put together, of those that have them in parts: DuckDB 1.x does not know the encoding of one
    /// of these parts (BYTE_STREAM_SPLIT of integers).
    pub(super) bodies: bool,
}

/// The folder, and the files that a query reads: in it and elsewhere.
#[derive(Debug)]
pub(super) struct Place {
    folder: TempDir,
    /// What may still be written here.
    bytes_left: u64,
    pub(super) parts: Vec<Part>,
}

impl Place {
    /// Makes files of what is pinned and not in files that DuckDB can read: hot events always, others as `makes` says. Blocks
    /// on the disk and on the network, until `is_over`.
    ///
    /// # Errors
    /// When something of it cannot be read by DuckDB and so would be missing, or there is no room.
    pub(super) fn make(
        pin: &Pin,
        limits: &Limits,
        makes: Makes,
        notes: &Arc<Notes>,
        is_over: &AtomicBool,
    ) -> Result<Place, Fault> {
        if !makes.cold {
            refuse_far(pin)?;
        }
        let folder = tempfile::Builder::new()
            .prefix("axiom-duckdb-")
            .tempdir_in(&limits.temp_dir);
        let folder = folder.map_err(|error| {
            Fault::new(
                Code::Failed,
                format!(
                    "cannot make a folder for the query in {}: {error}",
                    limits.temp_dir.display()
                ),
            )
        })?;
        let mut place = Place {
            folder,
            bytes_left: limits.temp_bytes,
            parts: Vec::new(),
        };
        let form = if makes.bodies { Form::Whole } else { Form::Sealed };
        for shard in &pin.shards {
            for lost in shard.objects.iter().flat_map(|object| &object.lost) {
                notes.missing(shard.number, lost.clone());
            }
            for tier in ["cold", "warm"] {
                let objects = shard.objects.iter().filter(|object| object.tier == tier);
                let files = objects.map(|object| place.file_of(shard.number, object, makes, is_over));
                let files = files.collect::<Result<_, _>>()?;
                place.add(shard.number, tier, form, files);
            }
            if !shard.hot.is_empty() {
                let file = place.hot(shard, notes, is_over)?;
                place.add(shard.number, "hot", Form::Hot, vec![file]);
            }
        }
        Ok(place)
    }

    /// Where DuckDB may put what does not fit into memory.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn add(&mut self, shard: u16, tier: &'static str, form: Form, files: Vec<String>) {
        self.parts.push(Part {
            shard,
            tier,
            form,
            files,
        });
    }

    /// The file of an object: itself, or a copy.
    fn file_of(
        &mut self,
        shard: u16,
        object: &Object,
        makes: Makes,
        is_over: &AtomicBool,
    ) -> Result<String, Fault> {
        let name = format!("{}-{shard:05}-{:020}.parquet", object.tier, object.offsets.start);
        let made = self.folder.path().join(name);
        let path = match object.location.to_file_path() {
            Ok(path) => path,
            Err(()) => {
                copy(object, &made, is_over)?;
                made.clone()
            }
        };
        if !makes.bodies {
            return plain(path);
        }
        let whole = made.with_extension("whole.parquet");
        self.rewrite(&path, &whole, is_over)?;
        plain(whole)
    }

    /// Writes a file again, with bodies that are put together.
    fn rewrite(&mut self, from: &Path, to: &Path, is_over: &AtomicBool) -> Result<(), Fault> {
        let failed = |error: &dyn std::fmt::Display| {
            Fault::new(Code::Failed, format!("cannot read {}: {error}", from.display()))
                .hint("`axiom events verify` tells what can be read")
        };
        let file = std::fs::File::open(from).map_err(|error| failed(&error))?;
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|error| failed(&error))?;
        let reader = reader
            .with_batch_size(ROWS_AT_ONCE)
            .build()
            .map_err(|error| failed(&error))?;
        let theirs = reader.schema();
        let is_kept = |name: &str| !BODY_COLUMNS.contains(&name);
        let kept: Vec<usize> = (0..theirs.fields().len())
            .filter(|n| is_kept(theirs.field(*n).name()))
            .collect();
        let schema = theirs.project(&kept).map_err(|error| failed(&error))?;
        let mut fields: Vec<FieldRef> = schema.fields().iter().cloned().collect();
        fields.push(Arc::new(Field::new(BODY_BYTES, DataType::Binary, false)));
        let schema = Arc::new(Schema::new(fields));
        let mut out = Out::create(to, &schema, self.bytes_left)?;
        for batch in reader {
            let batch = batch.map_err(|error| failed(&error))?;
            let bodies = file::bodies(&batch).map_err(|error| failed(&error))?;
            let mut columns: Vec<ArrayRef> = kept.iter().map(|n| Arc::clone(batch.column(*n))).collect();
            columns.push(Arc::new(bodies));
            let batch = RecordBatch::try_new(Arc::clone(&schema), columns).map_err(|error| failed(&error))?;
            out.write(&batch, is_over)?;
        }
        self.bytes_left = out.close()?;
        Ok(())
    }

    /// Writes a shard's hot events into a file: bodies as bytes, of which the text is made when it is asked for.
    fn hot(
        &mut self,
        shard: &PinnedShard,
        notes: &Arc<Notes>,
        is_over: &AtomicBool,
    ) -> Result<String, Fault> {
        let path = self
            .folder
            .path()
            .join(format!("hot-{:05}.parquet", shard.number));
        let schema = hot_schema();
        let mut out = Out::create(&path, &schema, self.bytes_left)?;
        let hot = Hot {
            shard: shard.number,
            reader: shard.reader.clone(),
            offsets: shard.hot.clone(),
            wanted: Wanted::default(),
            schema,
            notes: Arc::clone(notes),
        };
        let mut wrong = None;
        hot.read(ROWS_AT_ONCE, |batch| match out.write(&batch, is_over) {
            Ok(()) => ControlFlow::Continue(()),
            Err(fault) => {
                wrong = Some(fault);
                ControlFlow::Break(())
            }
        })?;
        if let Some(fault) = wrong {
            return Err(fault);
        }
        self.bytes_left = out.close()?;
        plain(path)
    }
}

/// A file in the making, and the bytes that it may have.
struct Out {
    path: PathBuf,
    writer: ArrowWriter<fs_err::File>,
    bytes_max: u64,
}

impl Out {
    fn create(path: &Path, schema: &SchemaRef, bytes_max: u64) -> Result<Out, Fault> {
        let file = fs_err::File::create(path).map_err(|error| unwritable(path, &error))?;
        let fast = ZstdLevel::try_new(1).map_err(|error| unwritable(path, &error))?;
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(fast))
            .set_max_row_group_row_count(Some(GROUP_ROWS))
            .set_max_row_group_bytes(Some(GROUP_BYTES))
            .build();
        let writer = ArrowWriter::try_new(file, Arc::clone(schema), Some(properties));
        Ok(Out {
            path: path.to_owned(),
            writer: writer.map_err(|error| unwritable(path, &error))?,
            bytes_max,
        })
    }

    fn write(&mut self, batch: &RecordBatch, is_over: &AtomicBool) -> Result<(), Fault> {
        if is_over.load(Ordering::SeqCst) {
            return Err(was_cancelled());
        }
        self.writer
            .write(batch)
            .map_err(|error| unwritable(&self.path, &error))?;
        if self.writer.bytes_written() as u64 > self.bytes_max {
            return Err(too_much());
        }
        Ok(())
    }

    /// The bytes that are left for others.
    fn close(mut self) -> Result<u64, Fault> {
        self.writer
            .finish()
            .map_err(|error| unwritable(&self.path, &error))?;
        let left = self.bytes_max.checked_sub(self.writer.bytes_written() as u64);
        left.ok_or_else(too_much)
    }
}

fn unwritable(path: &Path, error: &dyn std::fmt::Display) -> Fault {
    Fault::new(
        Code::Failed,
        format!("cannot write events to {}: {error}", path.display()),
    )
}

fn too_much() -> Fault {
    Fault::new(
        Code::Memory,
        "the events that must be written to the disk for DuckDB take more than queries may put there",
    )
    .hint("ask without --engine duckdb, which reads them where they are; DuckDB 2.0 or newer needs the hot ones alone")
}

/// The columns of the table that a file of hot events has: the others are the same in all its rows, or made of these.
fn hot_schema() -> SchemaRef {
    let ours = columns::schema();
    let kept = ours
        .fields()
        .iter()
        .filter(|field| ![SHARD, TIER, BODY].contains(&field.name().as_str()));
    Arc::new(Schema::new(kept.cloned().collect::<Vec<_>>()))
}

/// Objects that are not on this machine: DuckDB would fetch an extension from its makers to read them.
fn refuse_far(pin: &Pin) -> Result<(), Fault> {
    for shard in &pin.shards {
        let far: Vec<&Object> = shard.objects.iter().filter(|object| is_far(object)).collect();
        let (Some(first), Some(last)) = (far.first(), far.last()) else {
            continue;
        };
        let bytes: u64 = far.iter().map(|object| object.bytes).sum();
        let message = format!(
            "events {} to {} of shard {} are in an object store ({} objects, {} MiB, the first is {}), where DuckDB cannot read \
             them by itself",
            first.offsets.start,
            last.offsets.end.saturating_sub(1),
            shard.number,
            far.len(),
            bytes.div_ceil(1 << 20),
            first.location,
        );
        return Err(Fault::new(Code::Refused, message).hint(
            "--copy-cold copies them to this machine for the time of the query; without --engine duckdb they are read where they are",
        ));
    }
    Ok(())
}

fn is_far(object: &Object) -> bool {
    object.location.scheme() != "file"
}

/// A path as DuckDB takes it.
pub(super) fn plain(path: PathBuf) -> Result<String, Fault> {
    let strange = |why: &str| {
        Fault::new(
            Code::Refused,
            format!("DuckDB cannot be told to read {}: {why}", path.display()),
        )
        .hint("ask without --engine duckdb, or keep the events in a folder of another name")
    };
    let Some(text) = path.to_str() else {
        return Err(strange("its name is not UTF-8"));
    };
    if text.contains(['*', '?', '[', '\\']) {
        return Err(strange("it takes *, ?, [ and \\ in a path for a pattern"));
    }
    Ok(text.to_owned())
}

/// Copies an object of an S3 store. Its keys and its endpoint are in the environment, as the gateway puts them there.
fn copy(object: &Object, to: &Path, is_over: &AtomicBool) -> Result<(), Fault> {
    let failed = |error: &dyn std::fmt::Display| {
        Fault::new(
            Code::Failed,
            format!("cannot copy {} to {}: {error}", object.location, to.display()),
        )
        .hint("`axiom events verify` tells what can be read")
    };
    let bucket = object.location.host_str().unwrap_or_default();
    let store = AmazonS3Builder::from_env()
        .with_bucket_name(bucket)
        .build()
        .map_err(|error| failed(&error))?;
    let key =
        object_store::path::Path::from_url_path(object.location.path()).map_err(|error| failed(&error))?;
    let mut file = fs_err::File::create(to).map_err(|error| failed(&error))?;
    let copied = tokio::runtime::Handle::current().block_on(async {
        let mut parts = store
            .get(&key)
            .await
            .map_err(|error| failed(&error))?
            .into_stream();
        let mut copied = 0u64;
        while let Some(part) = parts.next().await {
            let part = part.map_err(|error| failed(&error))?;
            if is_over.load(Ordering::SeqCst) {
                return Err(was_cancelled());
            }
            std::io::Write::write_all(&mut file, &part).map_err(|error| failed(&error))?;
            copied += part.len() as u64;
        }
        Ok(copied)
    })?;
    if copied != object.bytes {
        let words = format!("it has {copied} bytes and should have {}", object.bytes);
        return Err(failed(&words));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_that_duckdb_would_take_for_a_pattern_are_refused() {
        assert_eq!(
            plain("/it's here/a.parquet".into()).unwrap(),
            "/it's here/a.parquet"
        );
        for path in ["/a*/b", "/a?/b", "/a[1]/b", "/a\\b"] {
            let fault = plain(path.into()).unwrap_err();
            assert!(fault.message.contains("pattern"), "{fault}");
        }
    }
}
