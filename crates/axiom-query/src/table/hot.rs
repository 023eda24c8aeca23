//! The hot tier: blocks of the event log as record batches, made while they are asked for.
//!
//! A thread is taken for one block at a time. A scan that kept its thread while its rows wait to be taken would keep others
//! from theirs, and a join may want the rows of those others first.

use std::ops::{ControlFlow, Range};
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BinaryBuilder, RecordBatch, RecordBatchOptions, StringViewBuilder, TimestampNanosecondArray,
    UInt8Array, UInt16Array, UInt64Array,
};
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use axiom_core::Task;
use axiom_core::spawn::blocking;
use axiom_events::{Block, Format, Next, Reader, Recorded, Scan, Wanted};
use datafusion::common::DataFusionError;
use datafusion::execution::{SendableRecordBatchStream, TaskContext};
use datafusion::physical_plan::stream::RecordBatchStreamAdapter;
use datafusion::physical_plan::streaming::PartitionStream;
use futures_util::{TryStreamExt as _, stream};

use crate::columns;
use crate::notes::Notes;

/// Some offsets of a shard's log.
#[derive(Debug, Clone)]
pub(crate) struct Hot {
    pub(crate) shard: u16,
    pub(crate) reader: Reader,
    pub(crate) offsets: Range<u64>,
    pub(crate) wanted: Wanted,
    /// Those of the table's columns that are made.
    pub(crate) schema: SchemaRef,
    pub(crate) notes: Arc<Notes>,
}

impl Hot {
    /// Gives the events to `take`, some at a time, as long as it wants more. Blocks on the disk.
    ///
    /// # Errors
    /// When the log cannot be read. Damage is no error but a note.
    pub(crate) fn read(
        &self,
        rows_max: usize,
        mut take: impl FnMut(RecordBatch) -> ControlFlow<()>,
    ) -> Result<(), DataFusionError> {
        let mut scan = self.reader.scan(self.offsets.clone(), self.wanted.clone());
        loop {
            let block = match scan.step() {
                Ok(Next::Block(block)) => block,
                Ok(Next::Gap(gap)) => {
                    self.notes.missing(self.shard, gap);
                    continue;
                }
                Ok(Next::End) => return Ok(()),
                Err(error) => return Err(DataFusionError::External(Box::new(error))),
            };
            for batch in self.batches(&block, rows_max) {
                if take(batch?).is_break() {
                    return Ok(());
                }
            }
        }
    }
}

impl PartitionStream for Hot {
    fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    fn execute(&self, context: Arc<TaskContext>) -> SendableRecordBatchStream {
        let reading = Reading {
            scan: self.reader.scan(self.offsets.clone(), self.wanted.clone()),
            rows_max: context.session_config().batch_size(),
            hot: self.clone(),
        };
        let blocks = stream::try_unfold(blocking(move || reading.step()), taken);
        let blocks = blocks.map_ok(|batches| stream::iter(batches.into_iter().map(Ok)));
        let schema = Arc::clone(&self.schema);
        Box::pin(RecordBatchStreamAdapter::new(schema, blocks.try_flatten()))
    }
}

/// What a step makes: the rows of a block, and what reads on behind it. `None` at the end.
type Step = Result<Option<(Vec<RecordBatch>, Reading)>, DataFusionError>;

/// Waits for a step and starts the next one, which reads on while these rows are looked at.
async fn taken(step: Task<Step>) -> Result<Option<(Vec<RecordBatch>, Task<Step>)>, DataFusionError> {
    let broken = || DataFusionError::Execution("reading the event log failed".to_owned());
    let Some((batches, reading)) = step.join().await.ok_or_else(broken)?? else {
        return Ok(None);
    };
    Ok(Some((batches, blocking(move || reading.step()))))
}

/// A scan, between two of its blocks.
struct Reading {
    scan: Scan,
    rows_max: usize,
    hot: Hot,
}

impl Reading {
    /// Unpacking a block takes milliseconds, and the disk may take longer.
    fn step(mut self) -> Step {
        loop {
            match self.scan.step() {
                Ok(Next::Block(block)) => {
                    let batches = self.hot.batches(&block, self.rows_max);
                    let batches = batches.collect::<Result<Vec<_>, _>>()?;
                    return Ok(Some((batches, self)));
                }
                Ok(Next::Gap(gap)) => self.hot.notes.missing(self.hot.shard, gap),
                Ok(Next::End) => return Ok(None),
                Err(error) => return Err(DataFusionError::External(Box::new(error))),
            }
        }
    }
}

/// Rows of a block's events.
impl Hot {
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

#[cfg(test)]
mod tests {
    use super::*;
    use axiom_core::time::timeout;
    use axiom_events::disk::Machine;
    use axiom_events::{Append, Batch, Event, Level, Log, Options};
    use std::path::Path;
    use std::time::Duration;

    const BLOCKS: u64 = 8;

    /// A log of as many blocks, of one event each.
    async fn record(dir: &Path) -> Log {
        let mut options = Options::new(dir.to_owned());
        options.segment_bytes = 1 << 20;
        let log = Log::open(options, Arc::new(Machine)).expect("it opens");
        for number in 0..BLOCKS {
            let mut batch = Batch::new();
            let event = Event {
                time: i64::try_from(number).expect("it is small"),
                tenant: "default",
                stream: "agent.output",
                task: "",
                kind: "output.line",
                level: Level::Info,
                trace: None,
                id: None,
                format: Format::Text,
                body: b"x",
            };
            batch.push(&event).expect("it keeps to the limits");
            let append = Append {
                batch,
                ..Append::default()
            };
            log.append(append).await.expect("it is recorded");
        }
        log
    }

    /// A join takes from one side first. The other side's scans must not keep the threads that this one needs.
    #[test]
    fn scans_that_nobody_takes_from_keep_no_thread() {
        const THREADS: usize = 2;
        let dir = tempfile::tempdir().unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .max_blocking_threads(THREADS)
            .enable_all()
            .build()
            .unwrap();
        let taken = runtime.block_on(async {
            let _log = record(dir.path()).await;
            let hot = Hot {
                shard: 0,
                reader: Reader::open(Arc::new(Machine), dir.path()).unwrap(),
                offsets: 0..BLOCKS,
                wanted: Wanted::default(),
                schema: columns::schema(),
                notes: Arc::default(),
            };
            let scan = || hot.execute(Arc::default());
            let untaken: Vec<_> = (0..2 * THREADS).map(|_| scan()).collect();
            let taken = timeout(Duration::from_secs(20), scan().try_collect::<Vec<_>>()).await;
            drop(untaken);
            taken
        });
        // What is stuck is left behind.
        runtime.shutdown_background();
        let taken = taken.expect("it waits for no other scan").unwrap();
        let rows: usize = taken.iter().map(RecordBatch::num_rows).sum();
        assert_eq!(rows as u64, BLOCKS);
    }
}
