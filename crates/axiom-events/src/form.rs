//! Bodies that are alike but for some numbers. What they have in common is a form, with a blank for each number.
//!
//! A producer that says the same thing of everything that it does gives its [batch](crate::Batch) a form once, and then the
//! numbers alone. On its way to the log and in a block such a body is the place of its form and what stands in the blanks. Whoever
//! reads the event gets the body whole, to the byte as if it had been pushed like that.

use crate::block::varint;

/// In a form, a blank for a number in decimal. JSON has no such character: in its texts there is an escape in its place.
pub const NUMBER: char = '\u{11}';
/// In a form, a blank for a number as 16 lower-case hex digits.
pub const HEX: char = '\u{14}';

/// Bytes that a form may have.
pub const FORM_BYTES_MAX: usize = 4096;
/// Blanks that a form may have.
pub const BLANKS_MAX: usize = 16;

const HEX_DIGITS: usize = 16;
/// Digits of the longest number in decimal.
const DIGITS_MAX: usize = 20;

/// A form of a batch, good for that batch until it is handed over or cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Form {
    pub(crate) number: u32,
    pub(crate) stamp: u64,
}

/// What an event has beside its form.
#[derive(Debug, Clone, Copy)]
pub struct Filling<'a> {
    /// Nanoseconds since 1970, as [`Event::time`](crate::Event::time).
    pub time: i64,
    /// The event's task is this number in 32 hex digits.
    pub task_id: Option<u128>,
    pub trace: Option<crate::TraceId>,
    /// A number for each blank, in their order.
    pub values: &'a [u64],
}

/// What must be known of a form to tell how long a body is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    /// Without numbers in decimal.
    fixed_bytes: usize,
    blanks: usize,
    /// Which blanks are for hex digits: bit by bit, the lowest is the first blank.
    hex: u32,
}

impl Shape {
    /// `None` if it is no form: it is too long, or has more blanks than a form may have.
    pub(crate) fn of(text: &str) -> Option<Shape> {
        let mut shape = Shape {
            fixed_bytes: text.len(),
            blanks: 0,
            hex: 0,
        };
        if text.len() > FORM_BYTES_MAX {
            return None;
        }
        for blank in text.chars().filter(|char| [NUMBER, HEX].contains(char)) {
            if shape.blanks == BLANKS_MAX {
                return None;
            }
            shape.fixed_bytes -= 1;
            if blank == HEX {
                shape.fixed_bytes += HEX_DIGITS;
                shape.hex |= 1 << shape.blanks;
            }
            shape.blanks += 1;
        }
        Some(shape)
    }

    pub(crate) fn blanks(&self) -> usize {
        self.blanks
    }

    /// Packs the values, and says how long the body is.
    pub(crate) fn pack(&self, values: &[u64], out: &mut Vec<u8>) -> usize {
        let mut bytes = self.fixed_bytes;
        for (place, value) in values.iter().enumerate() {
            if self.is_hex(place) {
                out.extend_from_slice(&value.to_le_bytes());
            } else {
                varint::push(out, *value);
                bytes += digits(*value);
            }
        }
        bytes
    }

    /// How long the body is with the values that are first in `packed`, which are taken. `None` if there are not so many.
    pub(crate) fn measure(&self, packed: &mut &[u8]) -> Option<usize> {
        (0..self.blanks).try_fold(self.fixed_bytes, |bytes, place| {
            if self.is_hex(place) {
                return take_hex(packed).map(|_| bytes);
            }
            Some(bytes + digits(varint::take(packed)?))
        })
    }

    fn is_hex(&self, place: usize) -> bool {
        self.hex >> place & 1 == 1
    }
}

/// How many there are in decimal.
fn digits(value: u64) -> usize {
    value.checked_ilog10().unwrap_or(0) as usize + 1
}

fn take_hex(packed: &mut &[u8]) -> Option<u64> {
    let (bytes, rest) = packed.split_first_chunk()?;
    *packed = rest;
    Some(u64::from_le_bytes(*bytes))
}

/// Appends the body: the form with the values that are first in `packed`, which are taken. A value that is missing leaves its
/// blank out.
pub(crate) fn fill(text: &str, packed: &mut &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = memchr::memchr2(NUMBER as u8, HEX as u8, rest.as_bytes()) {
        let (before, blank) = rest.split_at(at);
        out.extend_from_slice(before.as_bytes());
        if blank.starts_with(HEX) {
            take_hex(packed)
                .into_iter()
                .for_each(|value| push_hex(value, out));
        } else {
            let value = varint::take(packed).into_iter();
            value.for_each(|value| push_number(value, out));
        }
        rest = blank.get(1..).unwrap_or_default();
    }
    out.extend_from_slice(rest.as_bytes());
}

fn push_number(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [b'0'; DIGITS_MAX];
    let mut first = DIGITS_MAX;
    loop {
        first -= 1;
        #[allow(clippy::cast_possible_truncation, reason = "it is less than ten")]
        let digit = (value % 10) as u8;
        digits[first] += digit;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

fn push_hex(value: u64, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let digits = value
        .to_be_bytes()
        .map(|byte| [HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
    out.extend_from_slice(digits.as_flattened());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_text_is_a_form_within_its_limits() {
        let is_form = |text: &str| Shape::of(text).is_some();
        assert!(is_form(""));
        assert!(is_form(&"x".repeat(FORM_BYTES_MAX)));
        assert!(!is_form(&"x".repeat(FORM_BYTES_MAX + 1)));
        assert!(is_form(&NUMBER.to_string().repeat(BLANKS_MAX)));
        assert!(!is_form(&HEX.to_string().repeat(BLANKS_MAX + 1)));
    }

    #[test]
    fn what_is_missing_leaves_its_blank_out() {
        let mut out = Vec::new();
        let text = format!("a{NUMBER}b{HEX}c");
        fill(&text, &mut &[7][..], &mut out);
        assert_eq!(out, b"a7bc");
        assert_eq!(Shape::of(&text).unwrap().measure(&mut &[7][..]), None);
    }

    proptest! {
        #[test]
        fn a_form_that_is_filled_in_is_what_would_have_been_written(
            parts in proptest::collection::vec(("[a-z\u{e9}]{0,5}", any::<bool>(), any::<u64>(), 0..64u32), 0..=BLANKS_MAX),
            end in "[a-z]{0,5}",
        ) {
            let (mut text, mut expected, mut values) = (String::new(), String::new(), Vec::new());
            for (part, is_hex, value, shift) in parts {
                let value = value >> shift;
                text.extend([part.as_str(), &(if is_hex { HEX } else { NUMBER }).to_string()]);
                expected.push_str(&part);
                expected += &if is_hex { format!("{value:016x}") } else { value.to_string() };
                values.push(value);
            }
            text += &end;
            expected += &end;
            let shape = Shape::of(&text).unwrap();
            prop_assert_eq!(shape.blanks(), values.len());
            let mut packed = Vec::new();
            prop_assert_eq!(shape.pack(&values, &mut packed), expected.len());
            let mut rest = packed.as_slice();
            prop_assert_eq!(shape.measure(&mut rest), Some(expected.len()));
            prop_assert!(rest.is_empty());
            let (mut rest, mut out) = (packed.as_slice(), Vec::new());
            fill(&text, &mut rest, &mut out);
            prop_assert!(rest.is_empty());
            prop_assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }
}
