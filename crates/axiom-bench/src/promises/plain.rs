//! Plain Parquet: the same columns with the writer's defaults and zstd, as anybody would write them.

use std::sync::Arc;

use arrow_array::{
    ArrayRef, BinaryArray, FixedSizeBinaryArray, RecordBatch, StringArray, TimestampNanosecondArray,
    UInt8Array, UInt64Array,
};
use axiom_events::{Format, Recorded};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

/// Rows that become columns at once.
const BATCH_ROWS: usize = 8192;

/// The file's bytes.
pub(super) fn file<'a>(
    mut events: impl Iterator<Item = Recorded<'a>>,
    zstd_level: i32,
) -> anyhow::Result<Vec<u8>> {
    let compression = Compression::ZSTD(ZstdLevel::try_new(zstd_level)?);
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut writer: Option<ArrowWriter<Vec<u8>>> = None;
    loop {
        let next: Vec<Recorded<'a>> = events.by_ref().take(BATCH_ROWS).collect();
        if next.is_empty() {
            break;
        }
        let batch = batch(&next)?;
        let writer = match &mut writer {
            Some(writer) => writer,
            None => writer.insert(ArrowWriter::try_new(
                Vec::new(),
                batch.schema(),
                Some(properties.clone()),
            )?),
        };
        writer.write(&batch)?;
    }
    let file = writer.map(ArrowWriter::into_inner).transpose()?;
    Ok(file.unwrap_or_default())
}

fn batch(events: &[Recorded<'_>]) -> anyhow::Result<RecordBatch> {
    let numbers = |of: fn(&Recorded<'_>) -> u64| -> ArrayRef {
        Arc::new(UInt64Array::from_iter_values(events.iter().map(of)))
    };
    let names = |of: for<'a> fn(&'a Recorded<'a>) -> &'a str| -> ArrayRef {
        Arc::new(StringArray::from_iter_values(events.iter().map(of)))
    };
    let times = TimestampNanosecondArray::from_iter_values(events.iter().map(|recorded| recorded.event.time));
    let severities = UInt8Array::from_iter_values(events.iter().map(|recorded| recorded.event.level as u8));
    let traces = events
        .iter()
        .map(|recorded| recorded.event.trace.map(|trace| trace.0));
    let ids = events
        .iter()
        .map(|recorded| recorded.event.id.map(|id| id.0.to_be_bytes()));
    let bodies = BinaryArray::from_iter_values(events.iter().map(|recorded| recorded.event.body));
    let columns: [(&str, ArrayRef); 13] = [
        ("offset", numbers(|recorded| recorded.offset)),
        ("version", numbers(|recorded| recorded.version)),
        ("time", Arc::new(times.with_timezone("UTC"))),
        ("tenant", names(|recorded| recorded.event.tenant)),
        ("stream", names(|recorded| recorded.event.stream)),
        ("task", names(|recorded| recorded.event.task)),
        ("kind", names(|recorded| recorded.event.kind)),
        ("level", names(|recorded| recorded.event.level.name())),
        ("severity", Arc::new(severities)),
        (
            "trace",
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(traces, 16)?),
        ),
        (
            "id",
            Arc::new(FixedSizeBinaryArray::try_from_sparse_iter_with_size(ids, 16)?),
        ),
        ("format", names(format_name)),
        ("body", Arc::new(bodies)),
    ];
    let columns = columns.map(|(name, column)| (name, column, matches!(name, "trace" | "id")));
    Ok(RecordBatch::try_from_iter_with_nullable(columns)?)
}

fn format_name<'a>(recorded: &'a Recorded<'a>) -> &'a str {
    match recorded.event.format {
        Format::Binary => "binary",
        Format::Text => "text",
        Format::Json => "json",
    }
}
