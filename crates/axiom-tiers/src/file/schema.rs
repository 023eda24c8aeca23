//! The columns, how each is encoded, and what becomes of a body in them.

use std::sync::{Arc, LazyLock};

use arrow_array::{Array, ArrayRef, BinaryArray, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use axiom_events::{Format, Level};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::{FileError, GROUP_ROWS_MAX};

pub(super) const UTC: &str = "UTC";
/// Rows of a page: what is unpacked to read one event.
const PAGE_ROWS: usize = 8192;
/// Bytes of a page before it is compressed.
const PAGE_BYTES: usize = 1 << 20;

/// The columns that a body is in.
pub const BODY_COLUMNS: &[&str] = &["body"];

pub(super) fn schema() -> SchemaRef {
    static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| {
        let field = |name: &str, data_type| Field::new(name, data_type, false);
        let mut fields = vec![
            field("offset", DataType::UInt64),
            field("version", DataType::UInt64),
            field(
                "time",
                DataType::Timestamp(TimeUnit::Nanosecond, Some(UTC.into())),
            ),
        ];
        fields.extend(["tenant", "stream", "task", "kind", "level"].map(|name| field(name, DataType::Utf8)));
        fields.push(field("severity", DataType::UInt8));
        fields.extend(["trace", "id"].map(|name| Field::new(name, DataType::FixedSizeBinary(16), true)));
        fields.push(field("format", DataType::Utf8));
        fields.push(field("body", DataType::Binary));
        Arc::new(Schema::new(fields))
    });
    Arc::clone(&SCHEMA)
}

/// # Errors
/// When there is no such level of zstd.
pub(super) fn properties(zstd_level: i32) -> Result<WriterPropertiesBuilder, ParquetError> {
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("axiom {}", env!("CARGO_PKG_VERSION")))
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(zstd_level)?))
        .set_max_row_group_row_count(Some(GROUP_ROWS_MAX))
        .set_data_page_row_count_limit(PAGE_ROWS)
        .set_data_page_size_limit(PAGE_BYTES)
        .set_write_batch_size(1024);
    for name in ["offset", "version", "time"] {
        properties = properties
            .set_column_dictionary_enabled(column(name), false)
            .set_column_encoding(column(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in ["task", "stream"] {
        properties = properties.set_column_bloom_filter_enabled(column(name), true);
    }
    for name in BODY_COLUMNS {
        properties = properties
            .set_column_statistics_enabled(column(name), EnabledStatistics::None)
            .set_column_dictionary_enabled(column(name), false);
    }
    Ok(properties)
}

fn column(name: &str) -> ColumnPath {
    ColumnPath::from(name)
}

pub(super) fn body_columns<'a>(bodies: impl Iterator<Item = &'a [u8]>) -> Vec<ArrayRef> {
    vec![Arc::new(BinaryArray::from_iter_values(bodies))]
}

/// The bodies of a batch that has the [`BODY_COLUMNS`].
///
/// # Errors
/// When it does not have them, or they are not as they are written.
pub fn bodies(batch: &RecordBatch) -> Result<BinaryArray, FileError> {
    let bodies = batch
        .column_by_name("body")
        .and_then(|column| column.as_any().downcast_ref());
    bodies.cloned().ok_or(FileError::Column { name: "body" })
}

pub(super) fn format_name(format: Format) -> &'static str {
    match format {
        Format::Binary => "binary",
        Format::Text => "text",
        Format::Json => "json",
    }
}

pub(super) fn format_of(name: &str) -> Option<Format> {
    Format::ALL
        .into_iter()
        .find(|format| format_name(*format) == name)
}

pub(super) fn level_of(severity: u8) -> Option<Level> {
    Level::ALL.get(usize::from(severity)).copied()
}
