//! Arrow's C Data Interface, read by copying: what DuckDB gives becomes arrays that own their memory and were checked whole.
//!
//! A chunk has some thousands of rows, so a copy costs little beside making them. Arrow's own reader of the interface takes the
//! memory over instead; it is behind a feature that nothing else here needs, and one feature more of Arrow is another build of
//! everything above it.
#![allow(
    unsafe_code,
    reason = "reads what DuckDB made, by the rules of Arrow's C Data Interface"
)]

use std::ffi::{CStr, c_char, c_void};
use std::sync::Arc;

use arrow::array::{ArrayData, RecordBatch, RecordBatchOptions, StructArray};
use arrow::buffer::Buffer;
use arrow::datatypes::{DataType, Field, Fields, IntervalUnit, Schema, SchemaRef, TimeUnit};

use crate::api::{ArrowArray, ArrowSchema};
use crate::session::DuckDbError;

/// A schema that somebody else makes and that is released.
pub(crate) struct Imported(ArrowSchema);

/// An array that somebody else makes and that is released.
pub(crate) struct ImportedArray(ArrowArray);

/// How the buffers of a type lie.
enum Layout {
    /// None at all.
    Null,
    /// Validity, and so many bits for each value.
    Bits(usize),
    /// Validity, offsets of so many bytes, and what they lead to.
    Bytes(usize),
    /// Validity, offsets of so many bytes, and a child.
    Lists(usize),
    /// Validity, and children.
    Parts,
}

impl Imported {
    pub(crate) fn empty() -> Imported {
        Imported(ArrowSchema {
            format: std::ptr::null(),
            name: std::ptr::null(),
            metadata: std::ptr::null(),
            flags: 0,
            n_children: 0,
            children: std::ptr::null_mut(),
            dictionary: std::ptr::null_mut(),
            release: None,
            private_data: std::ptr::null_mut(),
        })
    }

    /// Where it is to be written, by a function that keeps to the interface.
    pub(crate) fn place(&mut self) -> *mut ArrowSchema {
        &raw mut self.0
    }

    pub(crate) fn schema(&self) -> Result<Schema, DuckDbError> {
        if self.0.release.is_none() {
            return Err(strange("a schema was not made"));
        }
        // SAFETY: it was made and is not released before this is dropped.
        let fields = unsafe { fields(&self.0)? };
        Ok(Schema::new(fields))
    }
}

impl Drop for Imported {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: it was made, and is released this once.
            unsafe { release(&raw mut self.0) };
        }
    }
}

impl ImportedArray {
    pub(crate) fn empty() -> ImportedArray {
        ImportedArray(ArrowArray {
            length: 0,
            null_count: 0,
            offset: 0,
            n_buffers: 0,
            n_children: 0,
            buffers: std::ptr::null_mut(),
            children: std::ptr::null_mut(),
            dictionary: std::ptr::null_mut(),
            release: None,
            private_data: std::ptr::null_mut(),
        })
    }

    /// Where it is to be written, by a function that keeps to the interface.
    pub(crate) fn place(&mut self) -> *mut ArrowArray {
        &raw mut self.0
    }

    /// Its rows: it is a struct, whose members are the columns.
    pub(crate) fn batch(&self, schema: &SchemaRef) -> Result<RecordBatch, DuckDbError> {
        if self.0.release.is_none() {
            return Err(strange("rows were not made"));
        }
        let kind = DataType::Struct(schema.fields().clone());
        // SAFETY: it was made, of the types that the schema was made of, and is not released before this is dropped.
        let data = unsafe { array(&self.0, &kind)? };
        let rows = data.len();
        let columns = StructArray::from(data).into_parts().1;
        let options = RecordBatchOptions::new().with_row_count(Some(rows));
        RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(strange)
    }
}

impl Drop for ImportedArray {
    fn drop(&mut self) {
        if let Some(release) = self.0.release {
            // SAFETY: it was made, and is released this once.
            unsafe { release(&raw mut self.0) };
        }
    }
}

fn strange(what: impl std::fmt::Display) -> DuckDbError {
    DuckDbError(format!("DuckDB's rows are not as Arrow has them: {what}"))
}

/// # Safety
/// The schema was made and is not released meanwhile.
unsafe fn fields(schema: &ArrowSchema) -> Result<Fields, DuckDbError> {
    let mut fields = Vec::new();
    // SAFETY: as above; the interface says how many children there are and that each was made.
    let children = unsafe { children(schema.children, schema.n_children) };
    for child in children {
        let child = child?;
        // SAFETY: as above.
        let (name, kind) = unsafe { (text(child.name)?, data_type(child)?) };
        // What is in a column says whether there are nulls in it: flags of other programs are not believed.
        fields.push(Field::new(name, kind, true));
    }
    Ok(fields.into())
}

/// # Safety
/// The schema was made and is not released meanwhile.
unsafe fn data_type(schema: &ArrowSchema) -> Result<DataType, DuckDbError> {
    // SAFETY: as above.
    let (name, format, dictionary) = unsafe {
        (
            text(schema.name)?,
            text(schema.format)?,
            schema.dictionary.as_ref(),
        )
    };
    if let Some(dictionary) = dictionary {
        // SAFETY: as above: what is within it was made with it.
        let values = unsafe { data_type(dictionary)? };
        let index = plain(format).filter(DataType::is_dictionary_key_type);
        let index = index.ok_or_else(|| unknown(name, format))?;
        return Ok(DataType::Dictionary(Box::new(index), Box::new(values)));
    }
    if let Some(kind) = plain(format) {
        return Ok(kind);
    }
    // SAFETY: as above.
    let mut fields = unsafe { fields(schema)? }
        .iter()
        .cloned()
        .collect::<Vec<_>>()
        .into_iter();
    let nested = match format {
        "+s" => Some(DataType::Struct(fields.collect())),
        "+l" => fields.next().map(DataType::List),
        "+L" => fields.next().map(DataType::LargeList),
        "+m" => fields.next().and_then(map),
        _ => {
            let width = format.strip_prefix("+w:").and_then(|width| width.parse().ok());
            width
                .zip(fields.next())
                .map(|(width, field)| DataType::FixedSizeList(field, width))
        }
    };
    nested.ok_or_else(|| unknown(name, format))
}

/// A map's entries are never null, and neither are their keys: arrays of it are checked for that.
fn map(entries: arrow::datatypes::FieldRef) -> Option<DataType> {
    let DataType::Struct(parts) = entries.data_type() else {
        return None;
    };
    let [key, value] = parts.as_ref() else {
        return None;
    };
    let key = key.as_ref().clone().with_nullable(false);
    let parts = Fields::from(vec![Arc::new(key), Arc::clone(value)]);
    let entries = Field::new(entries.name(), DataType::Struct(parts), false);
    Some(DataType::Map(Arc::new(entries), false))
}

fn unknown(name: &str, format: &str) -> DuckDbError {
    DuckDbError(format!(
        "the column {name} has a type that cannot be handed over (Arrow's {format:?}): cast it to VARCHAR"
    ))
}

/// Types without parts, by the interface's names of them.
fn plain(format: &str) -> Option<DataType> {
    let zone = |text: &str| (!text.is_empty()).then(|| text.into());
    Some(match format {
        "n" => DataType::Null,
        "b" => DataType::Boolean,
        "c" => DataType::Int8,
        "C" => DataType::UInt8,
        "s" => DataType::Int16,
        "S" => DataType::UInt16,
        "i" => DataType::Int32,
        "I" => DataType::UInt32,
        "l" => DataType::Int64,
        "L" => DataType::UInt64,
        "f" => DataType::Float32,
        "g" => DataType::Float64,
        "u" => DataType::Utf8,
        "U" => DataType::LargeUtf8,
        "z" => DataType::Binary,
        "Z" => DataType::LargeBinary,
        "tdD" => DataType::Date32,
        "tdm" => DataType::Date64,
        "ttu" => DataType::Time64(TimeUnit::Microsecond),
        "ttn" => DataType::Time64(TimeUnit::Nanosecond),
        "tiM" => DataType::Interval(IntervalUnit::YearMonth),
        "tin" => DataType::Interval(IntervalUnit::MonthDayNano),
        _ => {
            let (kind, rest) = format.split_once(':')?;
            match kind {
                "tss" => DataType::Timestamp(TimeUnit::Second, zone(rest)),
                "tsm" => DataType::Timestamp(TimeUnit::Millisecond, zone(rest)),
                "tsu" => DataType::Timestamp(TimeUnit::Microsecond, zone(rest)),
                "tsn" => DataType::Timestamp(TimeUnit::Nanosecond, zone(rest)),
                "w" => DataType::FixedSizeBinary(rest.parse().ok()?),
                "d" => return decimal(rest),
                _ => return None,
            }
        }
    })
}

/// Digits, digits behind the point, and how many bits; 128 if that is not said.
fn decimal(text: &str) -> Option<DataType> {
    let mut numbers = text.split(',');
    let (digits, scale) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
    Some(match numbers.next().unwrap_or("128") {
        "32" => DataType::Decimal32(digits, scale),
        "64" => DataType::Decimal64(digits, scale),
        "128" => DataType::Decimal128(digits, scale),
        _ => return None,
    })
}

fn layout(kind: &DataType) -> Result<Layout, DuckDbError> {
    Ok(match kind {
        DataType::Null => Layout::Null,
        DataType::Boolean => Layout::Bits(1),
        DataType::Utf8 | DataType::Binary => Layout::Bytes(4),
        DataType::LargeUtf8 | DataType::LargeBinary => Layout::Bytes(8),
        DataType::List(_) | DataType::Map(..) => Layout::Lists(4),
        DataType::LargeList(_) => Layout::Lists(8),
        DataType::Struct(_) | DataType::FixedSizeList(..) => Layout::Parts,
        DataType::FixedSizeBinary(width) => Layout::Bits(size(i64::from(*width))? * 8),
        DataType::Dictionary(index, _) => return layout(index),
        other => match other.primitive_width() {
            Some(bytes) => Layout::Bits(bytes * 8),
            None => return Err(strange(format_args!("{other} was not asked for"))),
        },
    })
}

/// The types of an array's children.
fn parts(kind: &DataType) -> Vec<&DataType> {
    match kind {
        DataType::Struct(fields) => fields.iter().map(|field| field.data_type()).collect(),
        DataType::List(field)
        | DataType::LargeList(field)
        | DataType::FixedSizeList(field, _)
        | DataType::Map(field, _) => vec![field.data_type()],
        _ => Vec::new(),
    }
}

/// # Safety
/// The array was made, is of this type, and is not released meanwhile.
unsafe fn array(raw: &ArrowArray, kind: &DataType) -> Result<ArrayData, DuckDbError> {
    let (length, offset) = (size(raw.length)?, size(raw.offset)?);
    let items = length + offset;
    let layout = layout(kind)?;
    // SAFETY: as above; the interface says how many buffers there are and how long each must be for so many items.
    let (validity, buffers) = unsafe {
        let pointer = |number: usize| {
            let is_there = (number as i64) < raw.n_buffers && !raw.buffers.is_null();
            if is_there {
                *raw.buffers.add(number)
            } else {
                std::ptr::null()
            }
        };
        let validity = pointer(0);
        let validity = if validity.is_null() {
            None
        } else {
            Some(copy(validity, items.div_ceil(8))?)
        };
        let buffers = match layout {
            Layout::Null | Layout::Parts => Vec::new(),
            Layout::Bits(bits) => vec![copy(pointer(1), (items * bits).div_ceil(8))?],
            Layout::Lists(width) => vec![copy_offsets(pointer(1), items, width)?],
            Layout::Bytes(width) => {
                let offsets = copy_offsets(pointer(1), items, width)?;
                let end = last(&offsets, width)?;
                vec![offsets, copy(pointer(2), end)?]
            }
        };
        (validity.filter(|_| !matches!(layout, Layout::Null)), buffers)
    };
    let mut within = Vec::new();
    if let DataType::Dictionary(_, values) = kind {
        // SAFETY: as above: what is within it was made with it, and is of the type that its schema says.
        let dictionary = unsafe { raw.dictionary.as_ref() };
        let dictionary = dictionary.ok_or_else(|| strange("values are not in their dictionary"))?;
        // SAFETY: as above.
        within.push(unsafe { array(dictionary, values)? });
    }
    let kinds = parts(kind);
    if size(raw.n_children)? != kinds.len() {
        return Err(strange(format_args!(
            "{} parts instead of {}",
            raw.n_children,
            kinds.len()
        )));
    }
    // SAFETY: as above.
    let children = unsafe { children(raw.children, raw.n_children) };
    for (child, kind) in children.zip(kinds) {
        // SAFETY: as above.
        within.push(unsafe { array(child?, kind)? });
    }
    ArrayData::builder(kind.clone())
        .len(length)
        .offset(offset)
        .null_bit_buffer(validity)
        .buffers(buffers)
        .child_data(within)
        .build()
        .map_err(strange)
}

/// # Safety
/// There are so many children, each null or made and not released meanwhile.
unsafe fn children<'a, T: 'a>(
    children: *mut *mut T,
    count: i64,
) -> impl Iterator<Item = Result<&'a T, DuckDbError>> {
    let count = if children.is_null() {
        0
    } else {
        usize::try_from(count).unwrap_or(0)
    };
    (0..count).map(move |number| {
        // SAFETY: as above.
        let child = unsafe { (*children.add(number)).as_ref() };
        child.ok_or_else(|| strange("a part is missing"))
    })
}

/// # Safety
/// So many bytes can be read there.
unsafe fn copy(from: *const c_void, bytes: usize) -> Result<Buffer, DuckDbError> {
    if bytes == 0 {
        return Ok(Buffer::default());
    }
    if from.is_null() {
        return Err(strange("values are missing"));
    }
    // SAFETY: as above, and it is not null.
    let bytes = unsafe { std::slice::from_raw_parts(from.cast::<u8>(), bytes) };
    Ok(Buffer::from(bytes))
}

/// Offsets: one more than there are items. Of no items there may be none.
///
/// # Safety
/// It is null, or so many offsets can be read there.
unsafe fn copy_offsets(from: *const c_void, items: usize, width: usize) -> Result<Buffer, DuckDbError> {
    if from.is_null() && items == 0 {
        return Ok(Buffer::default());
    }
    // SAFETY: as above.
    unsafe { copy(from, (items + 1) * width) }
}

/// The last offset: where what they lead to ends.
fn last(offsets: &Buffer, width: usize) -> Result<usize, DuckDbError> {
    let wrong = || strange("an offset is less than nothing");
    let end = match width {
        4 => offsets.typed_data::<i32>().last().copied().map(i64::from),
        _ => offsets.typed_data::<i64>().last().copied(),
    };
    usize::try_from(end.unwrap_or(0)).map_err(|_| wrong())
}

fn size(number: i64) -> Result<usize, DuckDbError> {
    usize::try_from(number).map_err(|_| strange("a size is less than nothing"))
}

/// # Safety
/// It is null or a text that ends with a zero and lives as long as is made of it.
unsafe fn text<'a>(text: *const c_char) -> Result<&'a str, DuckDbError> {
    if text.is_null() {
        return Ok("");
    }
    // SAFETY: as above.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| strange("a name is no text"))
}
