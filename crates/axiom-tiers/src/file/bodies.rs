//! Bodies into columns and back: each as it is, or as a template and its values, whichever is smaller.
//!
//! | column | type | what |
//! |---|---|---|
//! | `body` | BINARY, null | the body as it is; null where it was split |
//! | `body_template` | STRING, null | the [template](crate::template); null where it was not |
//! | `body_ints` | LIST of INT64 | the integers, in the order of their markers |
//! | `body_words` | LIST of STRING | the words, likewise |
//!
//! zstd is good at lines that come again with small changes; taking them apart makes them larger. What pays to split is a
//! template that comes often ([`COUNT_MIN`]) and brings, most times, a value that has not stood there before. This is
//! decided for each row group.

use std::collections::HashMap;
use std::hash::BuildHasher as _;
use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, Int64Builder, ListBuilder, StringBuilder};
use arrow_array::cast::AsArray as _;
use arrow_array::types::{Int32Type, Int64Type};
use arrow_array::{Array, ArrayRef, BinaryArray, ListArray, RecordBatch};
use arrow_schema::{DataType, Field};

use super::FileError;
use crate::template::{self, Split};

/// The columns that a body is in.
pub const BODY_COLUMNS: &[&str] = &["body", "body_template", "body_ints", "body_words"];

/// How often a template must come in a row group.
const COUNT_MIN: u32 = 32;
/// Places for values that have been seen; older ones give way.
const SEEN: usize = 1 << 16;

/// The [`BODY_COLUMNS`], with their types.
pub fn fields() -> [Field; 4] {
    let list = |name: &str, data_type| Field::new(name, DataType::List(Arc::new(element(data_type))), false);
    [
        Field::new("body", DataType::Binary, true),
        Field::new("body_template", DataType::Utf8, true),
        list("body_ints", DataType::Int64),
        list("body_words", DataType::Utf8),
    ]
}

fn element(data_type: DataType) -> Field {
    Field::new("element", data_type, false)
}

/// Which bodies of a row group are split.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// For each body its template's number, or [`NONE`].
    templates: Vec<u32>,
    known: Vec<Known>,
}

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, Default)]
struct Known {
    count: u32,
    /// Values that had not been seen with it.
    new: u32,
}

impl Known {
    fn pays(self) -> bool {
        self.count >= COUNT_MIN && self.new >= self.count
    }
}

impl Plan {
    pub(super) fn of<'a>(bodies: impl Iterator<Item = &'a [u8]>) -> Plan {
        let mut plan = Plan::default();
        let mut numbers: HashMap<u64, u32, foldhash::fast::FixedState> = HashMap::default();
        let mut seen = vec![0u32; SEEN];
        let state = foldhash::fast::FixedState::default();
        let mut split = Split::default();
        for body in bodies {
            if !split.split(body) || split.integers.is_empty() && split.words.is_empty() {
                plan.templates.push(NONE);
                continue;
            }
            // Two templates with one hash are counted together, and that is all that comes of it.
            let hash = state.hash_one(&split.template);
            let number = *numbers.entry(hash).or_insert_with(|| {
                plan.known.push(Known::default());
                u32::try_from(plan.known.len() - 1).expect("there are fewer than 131,072")
            });
            plan.templates.push(number);
            let known = &mut plan.known[number as usize];
            known.count += 1;
            let mut look = |place: usize, value: u64| {
                let hash = state.hash_one((hash, place, value));
                let [low, high] =
                    [hash & 0xffff_ffff, hash >> 32].map(|half| u32::try_from(half).unwrap_or(0));
                let place = &mut seen[low as usize % SEEN];
                known.new += u32::from(*place != high);
                *place = high;
            };
            for (place, integer) in split.integers.iter().enumerate() {
                look(place, integer.cast_unsigned());
            }
            for (place, word) in split.words.iter().enumerate() {
                look(usize::MAX - place, state.hash_one(&body[word.clone()]));
            }
        }
        plan
    }

    fn is_split(&self, row: usize) -> bool {
        let number = self.templates.get(row).copied().unwrap_or(NONE);
        self.known.get(number as usize).is_some_and(|known| known.pays())
    }

    /// These bodies as columns; `rows` are their places in the row group.
    pub(super) fn columns<'a>(&self, rows: impl Iterator<Item = (usize, &'a [u8])>) -> Vec<ArrayRef> {
        let mut bodies = BinaryBuilder::new();
        let mut templates = StringBuilder::new();
        let mut integers = ListBuilder::new(Int64Builder::new()).with_field(element(DataType::Int64));
        let mut words = ListBuilder::new(StringBuilder::new()).with_field(element(DataType::Utf8));
        let mut split = Split::default();
        for (row, body) in rows {
            let text = std::str::from_utf8(body).ok().filter(|_| self.is_split(row));
            if let Some(text) = text
                && split.split(body)
            {
                let template = std::str::from_utf8(&split.template);
                templates.append_value(template.expect("between tokens of ASCII is UTF-8"));
                integers.values().append_slice(&split.integers);
                for word in &split.words {
                    words
                        .values()
                        .append_value(text.get(word.clone()).expect("tokens are ASCII"));
                }
                bodies.append_null();
            } else {
                bodies.append_value(body);
                templates.append_null();
            }
            integers.append(true);
            words.append(true);
        }
        vec![
            Arc::new(bodies.finish()),
            Arc::new(templates.finish()),
            Arc::new(integers.finish()),
            Arc::new(words.finish()),
        ]
    }
}

/// The bodies of a batch that has the [`BODY_COLUMNS`], of whichever of Arrow's types for bytes, texts and dictionaries.
///
/// # Errors
/// When it does not have them, or they are not as they are written.
pub fn bodies(batch: &RecordBatch) -> Result<BinaryArray, FileError> {
    let column = |name: &'static str| batch.column_by_name(name).ok_or(FileError::Column { name });
    let bodies = Texts::of(column("body")?, "body")?;
    let templates = Texts::of(column("body_template")?, "body_template")?;
    let integers = list(column("body_ints")?, "body_ints")?;
    let numbers = integers.values().as_primitive_opt::<Int64Type>();
    let numbers = numbers.ok_or(FileError::Column { name: "body_ints" })?;
    let words = list(column("body_words")?, "body_words")?;
    let texts = Texts::of(words.values(), "body_words")?;
    let mut joined = BinaryBuilder::with_capacity(batch.num_rows(), 0);
    let mut body = Vec::new();
    for row in 0..batch.num_rows() {
        let Some(template) = templates.get(row) else {
            joined.append_value(bodies.get(row).ok_or(FileError::Column { name: "body" })?);
            continue;
        };
        body.clear();
        let values = range(&integers, row).and_then(|range| numbers.values().get(range));
        let values = values.ok_or(FileError::Column { name: "body_ints" })?;
        let words = range(&words, row).ok_or(FileError::Column { name: "body_words" })?;
        let words = words.map(|word| texts.get(word).unwrap_or_default());
        template::join(template, values, words, &mut body).map_err(|_| FileError::Column {
            name: "body_template",
        })?;
        joined.append_value(&body);
    }
    Ok(joined.finish())
}

fn list(array: &ArrayRef, name: &'static str) -> Result<ListArray, FileError> {
    array
        .as_list_opt::<i32>()
        .cloned()
        .ok_or(FileError::Column { name })
}

fn range(list: &ListArray, row: usize) -> Option<std::ops::Range<usize>> {
    let offsets = list.value_offsets();
    let at = |row: usize| usize::try_from(*offsets.get(row)?).ok();
    Some(at(row)?..at(row + 1)?)
}

/// Bytes or texts, in whichever of Arrow's forms a reader likes them.
enum Texts<'a> {
    Binary(&'a BinaryArray),
    LargeBinary(&'a arrow_array::LargeBinaryArray),
    BinaryView(&'a arrow_array::BinaryViewArray),
    Utf8(&'a arrow_array::StringArray),
    LargeUtf8(&'a arrow_array::LargeStringArray),
    Utf8View(&'a arrow_array::StringViewArray),
    Dictionary(&'a arrow_array::DictionaryArray<Int32Type>, Box<Texts<'a>>),
}

impl<'a> Texts<'a> {
    fn of(array: &'a ArrayRef, name: &'static str) -> Result<Texts<'a>, FileError> {
        Ok(match array.data_type() {
            DataType::Binary => Texts::Binary(array.as_binary()),
            DataType::LargeBinary => Texts::LargeBinary(array.as_binary()),
            DataType::BinaryView => Texts::BinaryView(array.as_binary_view()),
            DataType::Utf8 => Texts::Utf8(array.as_string()),
            DataType::LargeUtf8 => Texts::LargeUtf8(array.as_string()),
            DataType::Utf8View => Texts::Utf8View(array.as_string_view()),
            DataType::Dictionary(..) => {
                let dictionary = array
                    .as_dictionary_opt::<Int32Type>()
                    .ok_or(FileError::Column { name })?;
                Texts::Dictionary(dictionary, Box::new(Texts::of(dictionary.values(), name)?))
            }
            _ => return Err(FileError::Column { name }),
        })
    }

    /// `None` where it is null.
    fn get(&self, row: usize) -> Option<&'a [u8]> {
        match self {
            Texts::Binary(array) => array.is_valid(row).then(|| array.value(row)),
            Texts::LargeBinary(array) => array.is_valid(row).then(|| array.value(row)),
            Texts::BinaryView(array) => array.is_valid(row).then(|| array.value(row)),
            Texts::Utf8(array) => array.is_valid(row).then(|| array.value(row).as_bytes()),
            Texts::LargeUtf8(array) => array.is_valid(row).then(|| array.value(row).as_bytes()),
            Texts::Utf8View(array) => array.is_valid(row).then(|| array.value(row).as_bytes()),
            Texts::Dictionary(array, values) => values.get(array.key(row)?),
        }
    }
}
