//! The hot tier: blocks of the event log as record batches, made while they are asked for.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, RecordBatch, RecordBatchOptions, StringViewBuilder, TimestampNanosecondArray,
    UInt8Array, UInt16Array, UInt64Array,
};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use axiom_events::{Block, Format, Next, Reader, Recorded, Wanted};
use axiom_tiers::Snapshot;
use datafusion::common::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchReceiverStream;
use datafusion::physical_plan::streaming::PartitionStream;

use crate::columns;
use crate::notes::Notes;
use crate::store::Outrun;

/// Batches that wait for whoever takes them. Each may hold a block's bodies.
const BATCHES_AHEAD: usize = 2;

/// Some offsets of a shard's log.
#[derive(Debug)]
pub(super) struct Hot {
    pub(super) shard: u16,
    pub(super) reader: Reader,
    pub(super) offsets: Range<u64>,
    pub(super) wanted: Wanted,
    pub(super) schema: SchemaRef,
    pub(super) notes: Arc<Notes>,
    /// The shard's folder, if nothing keeps these events from being moved to another tier before they are read.
    pub(super) unpinned: Option<PathBuf>,
}

impl PartitionStream for Hot {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let rows_max = context.session_config().batch_size();
        let mut builder = RecordBatchReceiverStream::builder(Arc::clone(&self.schema), BATCHES_AHEAD);
        let tx = builder.tx();
        let mut scan = self.reader.scan(self.offsets.clone(), self.wanted.clone());
        let rows = Rows {
            shard: self.shard,
            offsets: self.offsets.clone(),
            wanted: self.wanted.clone(),
            schema: Arc::clone(&self.schema),
        };
        let notes = Arc::clone(&self.notes);
        let unpinned = self.unpinned.clone();
        // Unpacking a block takes milliseconds, and the disk may take longer.
        builder.spawn_blocking(move || {
            loop {
                let block = match scan.step() {
                    Ok(Next::Block(block)) => block,
                    Ok(Next::Gap(gap)) => {
                        if has_moved(unpinned.as_deref(), &gap)? {
                            return Err(DataFusionError::External(Box::new(Outrun)));
                        }
                        notes.missing(rows.shard, gap);
                        continue;
                    }
                    Ok(Next::End) => return Ok(()),
                    Err(error) => return Err(DataFusionError::External(Box::new(error))),
                };
                for batch in rows.batches(&block, rows_max) {
                    // Nobody wants more.
                    if tx.blocking_send(batch.map_err(DataFusionError::from)).is_err() {
                        return Ok(());
                    }
                }
            }
        });
        builder.build()
    }
}

/// Whether events that are not in the log any more are not missing but in another tier, which this query does not read.
fn has_moved(unpinned: Option<&Path>, gap: &Range<u64>) -> Result<bool, DataFusionError> {
    let Some(folder) = unpinned else { return Ok(false) };
    let newest = Snapshot::open(folder).map_err(|error| DataFusionError::External(Box::new(error)))?;
    Ok(newest.hot_from() > gap.start)
}

/// Makes rows of a block's events.
#[derive(Debug)]
struct Rows {
    shard: u16,
    offsets: Range<u64>,
    wanted: Wanted,
    schema: SchemaRef,
}

impl Rows {
    fn batches<'a>(
        &'a self,
        block: &'a Block,
        rows_max: usize,
    ) -> impl Iterator<Item = Result<RecordBatch, ArrowError>> + 'a {
        let mut events = block.events().filter(|recorded| self.is_wanted(recorded));
        std::iter::from_fn(move || {
            let events: Vec<Recorded<'a>> = events.by_ref().take(rows_max).collect();
            (!events.is_empty()).then(|| self.batch(&events))
        })
    }

    fn is_wanted(&self, recorded: &Recorded<'_>) -> bool {
        let event = &recorded.event;
        let is_of = |names: &Option<Vec<String>>, name: &str| {
            names
                .as_ref()
                .is_none_or(|names| names.iter().any(|wanted| wanted == name))
        };
        let Wanted {
            times,
            tenants,
            streams,
            tasks,
            kinds,
        } = &self.wanted;
        self.offsets.contains(&recorded.offset)
            && times.as_ref().is_none_or(|times| times.contains(&event.time))
            && is_of(tenants, event.tenant)
            && is_of(streams, event.stream)
            && is_of(tasks, event.task)
            && is_of(kinds, event.kind)
    }

    fn batch(&self, events: &[Recorded<'_>]) -> Result<RecordBatch, ArrowError> {
        let columns = self
            .schema
            .fields()
            .iter()
            .map(|field| self.column(field.name(), events));
        let options = RecordBatchOptions::new().with_row_count(Some(events.len()));
        RecordBatch::try_new_with_options(Arc::clone(&self.schema), columns.collect(), &options)
    }

    fn column(&self, name: &str, events: &[Recorded<'_>]) -> ArrayRef {
        let numbers = |number: fn(&Recorded<'_>) -> u64| -> ArrayRef {
            Arc::new(events.iter().map(number).collect::<UInt64Array>())
        };
        match name {
            columns::SHARD => Arc::new(UInt16Array::from(vec![self.shard; events.len()])),
            columns::OFFSET => numbers(|recorded| recorded.offset),
            columns::VERSION => numbers(|recorded| recorded.version),
            columns::TIME => {
                let times = events.iter().map(|recorded| recorded.event.time);
                Arc::new(TimestampNanosecondArray::from_iter_values(times).with_timezone("UTC"))
            }
            columns::TENANT => texts(events, |recorded| Some(recorded.event.tenant)),
            columns::STREAM => texts(events, |recorded| Some(recorded.event.stream)),
            columns::TASK => texts(events, |recorded| Some(recorded.event.task)),
            columns::KIND => texts(events, |recorded| Some(recorded.event.kind)),
            columns::LEVEL => texts(events, |recorded| Some(recorded.event.level.name())),
            columns::SEVERITY => {
                let levels = events.iter().map(|recorded| recorded.event.level as u8);
                Arc::new(levels.collect::<UInt8Array>())
            }
            columns::TRACE => texts(events, |recorded| {
                recorded.event.trace.map(|trace| trace.to_string())
            }),
            columns::ID => texts(events, |recorded| recorded.event.id.map(|id| id.to_string())),
            columns::FORMAT => texts(events, |recorded| Some(format_name(recorded.event.format))),
            columns::BODY => texts(events, |recorded| std::str::from_utf8(recorded.event.body).ok()),
            columns::BODY_BYTES => {
                let mut builder = BinaryBuilder::new();
                for recorded in events {
                    builder.append_value(recorded.event.body);
                }
                Arc::new(builder.finish())
            }
            columns::TIER => texts(events, |_| Some("hot")),
            other => unreachable!("the table has no column {other}"),
        }
    }
}

fn texts<'a, T: AsRef<str>>(
    events: &'a [Recorded<'a>],
    text: impl Fn(&'a Recorded<'a>) -> Option<T>,
) -> ArrayRef {
    let mut builder = StringViewBuilder::with_capacity(events.len());
    for recorded in events {
        builder.append_option(text(recorded));
    }
    Arc::new(builder.finish())
}

fn format_name(format: Format) -> &'static str {
    match format {
        Format::Binary => "binary",
        Format::Text => "text",
        Format::Json => "json",
    }
}
