//! Rows as bytes: for people, for scripts, for notebooks.

use std::collections::HashSet;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::json::LineDelimitedWriter;
use arrow::json::writer::{LineDelimited, WriterBuilder};

use crate::fault::Fault;

pub use table::Table;

mod table;

/// How an answer is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people
    Table,
    /// One object with `columns`, `rows`, and what else there is to know
    Json,
    /// One object on each line
    Ndjson,
    /// With a line of names
    Csv,
    /// An Arrow IPC stream
    Arrow,
}

impl Format {
    /// Whether an answer can say in itself that events are missing. A program that takes rows alone would take what is
    /// left of them for all.
    pub fn has_room_for_warnings(self) -> bool {
        match self {
            Format::Table | Format::Json => true,
            Format::Ndjson | Format::Csv | Format::Arrow => false,
        }
    }

    pub fn content_type(self) -> &'static str {
        match self {
            Format::Table => "text/plain; charset=utf-8",
            Format::Json => "application/json",
            Format::Ndjson => "application/x-ndjson",
            Format::Csv => "text/csv; charset=utf-8; header=present",
            Format::Arrow => "application/vnd.apache.arrow.stream",
        }
    }
}

/// What a format's reader is told behind the rows.
#[derive(Debug, Default)]
pub struct End {
    pub warnings: Vec<String>,
    /// Why there are rows that are not here.
    pub truncated: Option<String>,
    pub fault: Option<Fault>,
}

/// Writes one answer.
pub enum Writer {
    Table(Table),
    Json { rows: u64 },
    Ndjson,
    Csv,
    Arrow(Box<arrow::ipc::writer::StreamWriter<Vec<u8>>>),
}

impl Writer {
    /// # Errors
    /// When the columns cannot be written in this format.
    pub fn new(format: Format, schema: &SchemaRef) -> Result<Writer, ArrowError> {
        Ok(match format {
            Format::Table => Writer::Table(Table::new(schema)),
            Format::Json => Writer::Json { rows: 0 },
            Format::Ndjson => Writer::Ndjson,
            Format::Csv => Writer::Csv,
            Format::Arrow => {
                let writer = arrow::ipc::writer::StreamWriter::try_new(Vec::new(), schema)?;
                Writer::Arrow(Box::new(writer))
            }
        })
    }

    /// What comes before the first row.
    pub fn begin(&mut self, schema: &Schema) -> Result<Vec<u8>, ArrowError> {
        Ok(match self {
            Writer::Json { .. } => {
                let columns = schema.fields().iter().map(
                    |field| serde_json::json!({"name": field.name(), "type": field.data_type().to_string()}),
                );
                let columns = serde_json::Value::from_iter(columns);
                format!("{{\"columns\":{columns},\"rows\":[").into_bytes()
            }
            Writer::Csv => {
                // A batch without rows gives the names alone.
                csv(&RecordBatch::new_empty(Arc::new(schema.clone())), true)?
            }
            Writer::Arrow(writer) => std::mem::take(writer.get_mut()),
            Writer::Table(_) | Writer::Ndjson => Vec::new(),
        })
    }

    /// Some rows.
    pub fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        match self {
            Writer::Table(table) => table.rows(batch),
            Writer::Json { rows } => {
                let lines = lines(batch)?;
                let mut out = Vec::with_capacity(lines.len() + batch.num_rows());
                // A line break within a text is written as \n: each one here ends a row.
                for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
                    out.extend_from_slice(if *rows == 0 { b"\n" } else { b",\n" });
                    out.extend_from_slice(line);
                    *rows += 1;
                }
                Ok(out)
            }
            Writer::Ndjson => lines(batch),
            Writer::Csv => csv(batch, false),
            Writer::Arrow(writer) => {
                writer.write(batch)?;
                Ok(std::mem::take(writer.get_mut()))
            }
        }
    }

    /// What comes behind the last row. Formats that cannot say what went wrong end without it: their reader sees a stream
    /// that was cut.
    pub fn end(self, end: &End) -> Result<Vec<u8>, ArrowError> {
        Ok(match self {
            Writer::Table(table) => table.end()?,
            Writer::Json { rows } => {
                let mut told = serde_json::json!({ "row_count": rows, "truncated": end.truncated });
                told["warnings"] = end.warnings.clone().into();
                if let Some(fault) = &end.fault {
                    told["error"] = fault.json()["error"].take();
                }
                let told = told.to_string();
                let told = told.strip_prefix('{').unwrap_or_default();
                format!("\n],{told}\n").into_bytes()
            }
            Writer::Ndjson | Writer::Csv => Vec::new(),
            Writer::Arrow(writer) if end.fault.is_none() => {
                let mut writer = *writer;
                writer.finish()?;
                writer.into_inner()?
            }
            Writer::Arrow(_) => Vec::new(),
        })
    }
}

impl std::fmt::Debug for Writer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

fn lines(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let builder = WriterBuilder::new().with_explicit_nulls(true);
    let mut writer: LineDelimitedWriter<Vec<u8>> = builder.build::<_, LineDelimited>(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    Ok(writer.into_inner())
}

fn csv(batch: &RecordBatch, has_header: bool) -> Result<Vec<u8>, ArrowError> {
    let mut out = Vec::new();
    let mut writer = arrow::csv::WriterBuilder::new()
        .with_header(has_header)
        .build(&mut out);
    writer.write(batch)?;
    drop(writer);
    Ok(out)
}

/// The columns of an answer as they are written: under names that differ, and in types that every reader of Arrow knows.
pub(crate) fn schema(schema: &Schema) -> SchemaRef {
    let mut names = HashSet::new();
    let fields = schema.fields().iter().map(|field| {
        let mut name = field.name().clone();
        let mut number = 2;
        while !names.insert(name.clone()) {
            name = format!("{}_{number}", field.name());
            number += 1;
        }
        let plain = match field.data_type() {
            DataType::Utf8View | DataType::LargeUtf8 => DataType::Utf8,
            DataType::BinaryView | DataType::LargeBinary => DataType::Binary,
            // A column of nothing but NULL literals: not every reader knows that type.
            DataType::Null => DataType::Utf8,
            other => other.clone(),
        };
        Field::new(name, plain, true)
    });
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

/// A batch under such a schema.
pub(crate) fn plain(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
    let columns = batch.columns().iter().zip(schema.fields());
    let columns = columns.map(|(column, field)| cast(column, field.data_type()));
    let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::clone(schema), columns.collect::<Result<_, _>>()?, &options)
}
