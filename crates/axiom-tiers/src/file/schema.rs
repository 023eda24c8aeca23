//! The columns, and how each is encoded.

use std::sync::{Arc, LazyLock};

use arrow_schema::{DataType, Field, Schema, SchemaRef, TimeUnit};
use axiom_events::{Format, Level};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

use super::{GROUP_ROWS_MAX, bodies};

pub(super) const UTC: &str = "UTC";
/// Rows of a page: what is unpacked to read one event.
const PAGE_ROWS: usize = 8192;
/// Bytes of a page before it is compressed.
const PAGE_BYTES: usize = 1 << 20;

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
        fields.extend(bodies::fields());
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
    let text = ColumnPath::from("body");
    let template = ColumnPath::from("body_template");
    let integers = elements("body_ints");
    let words = elements("body_words");
    for path in [&text, &template, &integers, &words] {
        properties = properties.set_column_statistics_enabled(path.clone(), EnabledStatistics::None);
    }
    for path in [&text, &integers, &words] {
        properties = properties.set_column_dictionary_enabled(path.clone(), false);
    }
    // Lengths lie apart from the texts: each compresses better without the other.
    for path in [&text, &words] {
        properties = properties.set_column_encoding(path.clone(), Encoding::DELTA_LENGTH_BYTE_ARRAY);
    }
    // The upper bytes of small numbers lie together: all zeros.
    properties = properties.set_column_encoding(integers, Encoding::BYTE_STREAM_SPLIT);
    Ok(properties)
}

fn column(name: &str) -> ColumnPath {
    ColumnPath::from(name)
}

/// The values of a column of lists.
fn elements(name: &str) -> ColumnPath {
    ColumnPath::from(vec![name.to_owned(), "list".to_owned(), "element".to_owned()])
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
