//! The events of one row group while they are gathered, and then as columns in the order in which they are written.

use std::sync::Arc;

use arrow_array::builder::{FixedSizeBinaryBuilder, StringBuilder};
use arrow_array::{ArrayRef, RecordBatch, TimestampNanosecondArray, UInt8Array, UInt64Array};
use arrow_schema::ArrowError;
use axiom_events::{Format, Level, Recorded};

use super::bodies::Plan;
use super::names::Names;
use super::{GROUP_ROWS_MAX, schema};

/// Bodies that a row group gathers; the last one may exceed it. It bounds the memory of a writer and of a reader.
const GROUP_BODY_BYTES: usize = 64 << 20;

#[derive(Debug, Default)]
pub(super) struct Rows {
    names: Names,
    rows: Vec<Row>,
    bodies: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    offset: u64,
    version: u64,
    time: i64,
    tenant: u32,
    stream: u32,
    task: u32,
    kind: u32,
    level: Level,
    format: Format,
    trace: Option<[u8; 16]>,
    id: Option<[u8; 16]>,
    /// Where its body ends in the bodies; it begins where the one before ends.
    body_end: usize,
}

impl Rows {
    pub(super) fn push(&mut self, recorded: &Recorded<'_>) {
        let event = &recorded.event;
        let last = self.rows.last().copied();
        let mut number = |name: &str, guess: Option<u32>| self.names.number(name, guess);
        let (tenant, stream) = (
            number(event.tenant, last.map(|row| row.tenant)),
            number(event.stream, last.map(|row| row.stream)),
        );
        let (task, kind) = (
            number(event.task, last.map(|row| row.task)),
            number(event.kind, last.map(|row| row.kind)),
        );
        self.bodies.extend_from_slice(event.body);
        self.rows.push(Row {
            offset: recorded.offset,
            version: recorded.version,
            time: event.time,
            tenant,
            stream,
            task,
            kind,
            level: event.level,
            format: event.format,
            trace: event.trace.map(|trace| trace.0),
            id: event.id.map(|id| id.0.to_be_bytes()),
            body_end: self.bodies.len(),
        });
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.rows.len() >= GROUP_ROWS_MAX || self.bodies.len() >= GROUP_BODY_BYTES
    }

    pub(super) fn clear(&mut self) {
        self.names.clear();
        self.rows.clear();
        self.bodies.clear();
    }

    /// The rows' numbers by task and offset.
    pub(super) fn order(&self) -> Vec<usize> {
        let ranks = self.names.ranks();
        let mut order: Vec<usize> = (0..self.rows.len()).collect();
        // Stable: they came by offset.
        order.sort_by_key(|row| ranks[self.rows[*row].task as usize]);
        order
    }

    /// What becomes of the bodies.
    pub(super) fn plan(&self) -> Plan {
        Plan::of((0..self.rows.len()).map(|row| self.body(row)))
    }

    /// These rows as columns.
    pub(super) fn batch(&self, order: &[usize], plan: &Plan) -> Result<RecordBatch, ArrowError> {
        let rows = || order.iter().map(|row| &self.rows[*row]);
        let names = |of: fn(&Row) -> u32| -> ArrayRef {
            let mut builder = StringBuilder::new();
            rows().for_each(|row| builder.append_value(self.names.name(of(row))));
            Arc::new(builder.finish())
        };
        let words = |of: fn(&Row) -> &'static str| -> ArrayRef {
            let mut builder = StringBuilder::new();
            rows().for_each(|row| builder.append_value(of(row)));
            Arc::new(builder.finish())
        };
        let ids = |of: fn(&Row) -> Option<[u8; 16]>| -> Result<ArrayRef, ArrowError> {
            let mut builder = FixedSizeBinaryBuilder::with_capacity(order.len(), 16);
            for row in rows() {
                match of(row) {
                    Some(id) => builder.append_value(id)?,
                    None => builder.append_null(),
                }
            }
            Ok(Arc::new(builder.finish()))
        };
        let times = TimestampNanosecondArray::from_iter_values(rows().map(|row| row.time));
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(UInt64Array::from_iter_values(rows().map(|row| row.offset))),
            Arc::new(UInt64Array::from_iter_values(rows().map(|row| row.version))),
            Arc::new(times.with_timezone(schema::UTC)),
            names(|row| row.tenant),
            names(|row| row.stream),
            names(|row| row.task),
            names(|row| row.kind),
            words(|row| row.level.name()),
            Arc::new(UInt8Array::from_iter_values(rows().map(|row| row.level as u8))),
            ids(|row| row.trace)?,
            ids(|row| row.id)?,
            words(|row| schema::format_name(row.format)),
        ];
        columns.extend(plan.columns(order.iter().map(|row| (*row, self.body(*row)))));
        RecordBatch::try_new(schema::schema(), columns)
    }

    fn body(&self, row: usize) -> &[u8] {
        let start = row.checked_sub(1).map_or(0, |before| self.rows[before].body_end);
        &self.bodies[start..self.rows[row].body_end]
    }
}
