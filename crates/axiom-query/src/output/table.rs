//! A table for people: as wide as what is in it, numbers to the right.

use arrow::array::RecordBatch;
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow::util::display::{ArrayFormatter, FormatOptions};

/// Rows whose widths are looked at together. Later ones are a table of their own, below.
const ROWS_AT_ONCE: usize = 1_000;
/// Characters of a cell that are shown.
const CELL_MAX: usize = 120;

/// A table in the making.
#[derive(Debug)]
pub struct Table {
    names: Vec<String>,
    right: Vec<bool>,
    rows: Vec<Vec<String>>,
    has_begun: bool,
}

impl Table {
    pub(super) fn new(schema: &Schema) -> Table {
        let is_number = |kind: &DataType| kind.is_numeric();
        Table {
            names: schema.fields().iter().map(|field| field.name().clone()).collect(),
            right: schema
                .fields()
                .iter()
                .map(|field| is_number(field.data_type()))
                .collect(),
            rows: Vec::new(),
            has_begun: false,
        }
    }

    pub(super) fn rows(&mut self, batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
        let options = FormatOptions::new().with_null("");
        let columns = batch
            .columns()
            .iter()
            .map(|column| ArrayFormatter::try_new(column, &options));
        let columns = columns.collect::<Result<Vec<_>, _>>()?;
        let mut out = Vec::new();
        for row in 0..batch.num_rows() {
            let cells = columns.iter().map(|column| shown(&column.value(row).to_string()));
            self.rows.push(cells.collect());
            if self.rows.len() >= ROWS_AT_ONCE {
                out.extend(self.draw());
            }
        }
        Ok(out)
    }

    pub(super) fn end(mut self) -> Result<Vec<u8>, ArrowError> {
        if self.rows.is_empty() && self.has_begun {
            return Ok(Vec::new());
        }
        Ok(self.draw())
    }

    fn draw(&mut self) -> Vec<u8> {
        self.has_begun = true;
        let rows = std::mem::take(&mut self.rows);
        let mut widths: Vec<usize> = self.names.iter().map(|name| name.chars().count()).collect();
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut out = self.line(&self.names, &widths);
        for row in &rows {
            out.push_str(&self.line(row, &widths));
        }
        out.into_bytes()
    }

    fn line(&self, cells: &[String], widths: &[usize]) -> String {
        let padded = cells
            .iter()
            .zip(widths)
            .zip(&self.right)
            .map(|((cell, width), right)| {
                if *right {
                    format!("{cell:>width$}")
                } else {
                    format!("{cell:<width$}")
                }
            });
        let line = padded.collect::<Vec<_>>().join("  ");
        format!("{}\n", line.trim_end())
    }
}

/// A cell on one line, without what would move the cursor.
fn shown(cell: &str) -> String {
    let mut shown = String::new();
    for (at, c) in cell.chars().enumerate() {
        if at >= CELL_MAX {
            shown.push('…');
            break;
        }
        match c {
            '\n' => shown.push_str("\\n"),
            '\t' => shown.push_str("\\t"),
            c if c.is_control() => shown.extend(c.escape_default()),
            c => shown.push(c),
        }
    }
    shown
}
