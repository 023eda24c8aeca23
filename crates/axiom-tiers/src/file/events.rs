//! Events that were read.

use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, TimestampNanosecondType, UInt8Type, UInt64Type};
use arrow_array::{
    Array, BinaryArray, DictionaryArray, FixedSizeBinaryArray, RecordBatch, StringArray,
    TimestampNanosecondArray, UInt8Array, UInt64Array,
};
use axiom_events::{Event, EventId, Format, Recorded, TraceId};

use super::{FileError, Order, bodies, schema};

/// Events in the order that was asked for.
#[derive(Debug, Clone, Default)]
pub struct Events {
    parts: Vec<Part>,
    /// For each event its part, and its row there.
    order: Vec<(u32, u32)>,
}

/// The columns of some rows.
#[derive(Debug, Clone)]
pub(super) struct Part {
    offsets: UInt64Array,
    versions: UInt64Array,
    times: TimestampNanosecondArray,
    tenants: Words,
    streams: Words,
    tasks: Words,
    kinds: Words,
    severities: UInt8Array,
    traces: FixedSizeBinaryArray,
    ids: FixedSizeBinaryArray,
    formats: Vec<Format>,
    bodies: BinaryArray,
}

impl Events {
    pub(super) fn new(parts: Vec<Part>, order: Order) -> Events {
        let mut places: Vec<(u64, (u32, u32))> = Vec::new();
        for (part, number) in parts.iter().zip(0u32..) {
            let rows = part.offsets.values().iter().zip(0u32..);
            places.extend(rows.map(|(offset, row)| (*offset, (number, row))));
        }
        places.sort_unstable_by_key(|(offset, _)| *offset);
        if order == Order::Descending {
            places.reverse();
        }
        let order = places.into_iter().map(|(_, place)| place).collect();
        Events { parts, order }
    }

    pub fn len(&self) -> usize {
        self.order.len()
    }

    pub fn is_empty(&self) -> bool {
        self.order.is_empty()
    }

    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Recorded<'_>> + ExactSizeIterator {
        let places = self.order.iter();
        places.map(|(part, row)| self.parts[*part as usize].recorded(*row as usize))
    }

    pub fn get(&self, index: usize) -> Option<Recorded<'_>> {
        let (part, row) = self.order.get(index)?;
        Some(self.parts[*part as usize].recorded(*row as usize))
    }
}

impl Part {
    /// # Errors
    /// When a column is not what it should be.
    pub(super) fn of(batch: &RecordBatch) -> Result<Part, FileError> {
        let formats = Words::of(batch, "format")?;
        let formats: Option<Vec<Format>> = (0..batch.num_rows())
            .map(|row| schema::format_of(formats.get(row)))
            .collect();
        let severities = severities(batch)?;
        Ok(Part {
            offsets: numbers(batch, "offset")?,
            versions: numbers(batch, "version")?,
            times: column(batch, "time", |array| {
                array.as_primitive_opt::<TimestampNanosecondType>()
            })?,
            tenants: Words::of(batch, "tenant")?,
            streams: Words::of(batch, "stream")?,
            tasks: Words::of(batch, "task")?,
            kinds: Words::of(batch, "kind")?,
            severities,
            traces: column(batch, "trace", ids)?,
            ids: column(batch, "id", ids)?,
            formats: formats.ok_or(FileError::Column { name: "format" })?,
            bodies: bodies(batch)?,
        })
    }

    fn recorded(&self, row: usize) -> Recorded<'_> {
        let id = |column: &'_ FixedSizeBinaryArray| -> Option<[u8; 16]> {
            column
                .is_valid(row)
                .then(|| *column.value(row).first_chunk().expect("its width was checked"))
        };
        Recorded {
            offset: self.offsets.value(row),
            version: self.versions.value(row),
            event: Event {
                time: self.times.value(row),
                tenant: self.tenants.get(row),
                stream: self.streams.get(row),
                task: self.tasks.get(row),
                kind: self.kinds.get(row),
                level: schema::level_of(self.severities.value(row)).expect("severities were checked"),
                trace: id(&self.traces).map(TraceId),
                id: id(&self.ids).map(|id| EventId(u128::from_be_bytes(id))),
                format: self.formats[row],
                body: self.bodies.value(row),
            },
        }
    }
}

/// Texts of which many are alike.
#[derive(Debug, Clone)]
pub(super) struct Words(DictionaryArray<Int32Type>);

impl Words {
    pub(super) fn of(batch: &RecordBatch, name: &'static str) -> Result<Words, FileError> {
        let words = column(batch, name, |array| array.as_dictionary_opt::<Int32Type>())?;
        if words.values().as_string_opt::<i32>().is_none() {
            return Err(FileError::Column { name });
        }
        Ok(Words(words))
    }

    pub(super) fn get(&self, row: usize) -> &str {
        let values: &StringArray = self.0.values().as_string();
        let key = self.0.keys().value(row);
        values.value(usize::try_from(key).expect("a dictionary's keys were checked"))
    }
}

pub(super) fn numbers(batch: &RecordBatch, name: &'static str) -> Result<UInt64Array, FileError> {
    column(batch, name, |array| array.as_primitive_opt::<UInt64Type>())
}

fn severities(batch: &RecordBatch) -> Result<UInt8Array, FileError> {
    let severities = column(batch, "severity", |array| array.as_primitive_opt::<UInt8Type>())?;
    let are_levels = severities
        .values()
        .iter()
        .all(|value| schema::level_of(*value).is_some());
    are_levels
        .then_some(severities)
        .ok_or(FileError::Column { name: "severity" })
}

fn ids(array: &dyn Array) -> Option<&FixedSizeBinaryArray> {
    array
        .as_fixed_size_binary_opt()
        .filter(|ids| ids.value_length() == 16)
}

fn column<'a, T: Clone + Array + 'a>(
    batch: &'a RecordBatch,
    name: &'static str,
    cast: impl FnOnce(&'a dyn Array) -> Option<&'a T>,
) -> Result<T, FileError> {
    let array = batch.column_by_name(name).and_then(|array| cast(&**array));
    let is_nullable = matches!(name, "trace" | "id");
    let array = array.filter(|array| is_nullable || array.null_count() == 0);
    array.cloned().ok_or(FileError::Column { name })
}
