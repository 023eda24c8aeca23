//! A body as a template and its values: `read 17 files of job 9f3a1c22` is `read \x11 files of job \x12` with 17 and `9f3a1c22`.
//!
//! Programs print the same lines over and over with other numbers in them. Templates are few and compress to nothing, and
//! numbers among numbers compress better than as digits in a text.
//!
//! | marker | value | stands for |
//! |---|---|---|
//! | `\x11` | an integer | its decimal digits: no sign, no leading zero, 18 digits at most |
//! | `\x12` | a word | itself: letters, digits and `_`, with a digit in it |
//!
//! What is not written like such an integer is a word: `007`, the digits behind a decimal point, a number of 19 digits, two
//! digits of a date or a time, a hash. A sign, a decimal point and an exponent's `e` are part of the template or of a word, so
//! every digit and every zero comes back as it was.
//!
//! Not split are bodies that are not UTF-8, that contain a marker, that are longer than [`SPLIT_BYTES_MAX`] or have more than
//! [`VALUES_MAX`] values.

/// Stands for an integer.
pub const INTEGER: u8 = 0x11;
/// Stands for a word.
pub const WORD: u8 = 0x12;

/// Bodies longer than this have no template that comes again.
pub const SPLIT_BYTES_MAX: usize = 8192;
/// Values that a body may have.
pub const VALUES_MAX: usize = 128;

/// Every number with so few digits is an `i64`.
const DIGITS_MAX: usize = 18;
/// Letters from a to f with digits behind them are a hash rather than a name with a number from this length on.
const HASH_BYTES_MIN: usize = 6;

/// A body that was split. Its memory is used again for the next one.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Split {
    pub template: Vec<u8>,
    pub integers: Vec<i64>,
    /// Where each word stands in the body.
    pub words: Vec<std::ops::Range<usize>>,
}

/// Why a template and values do not become a body: they are not what [`Split::split`] has made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Mismatch {
    #[error("a template has more markers than values")]
    TooFew,
    #[error("a template has fewer markers than values")]
    TooMany,
}

impl Split {
    /// Splits a body. False if it must stay as it is; then nothing here means anything.
    pub fn split(&mut self, body: &[u8]) -> bool {
        self.template.clear();
        self.integers.clear();
        self.words.clear();
        if body.len() > SPLIT_BYTES_MAX || std::str::from_utf8(body).is_err() {
            return false;
        }
        let mut at = 0;
        let mut copied = 0;
        while at < body.len() {
            match CLASSES[usize::from(body[at])] {
                Class::Other => at += 1,
                Class::Marker => return false,
                Class::Letter | Class::Digit => {
                    let start = at;
                    let mut first_digit = None;
                    let mut is_number_behind = true;
                    while at < body.len() {
                        match CLASSES[usize::from(body[at])] {
                            Class::Digit => first_digit = first_digit.or(Some(at)),
                            Class::Letter => is_number_behind &= first_digit.is_none(),
                            Class::Other | Class::Marker => break,
                        }
                        at += 1;
                    }
                    let Some(first_digit) = first_digit else {
                        continue;
                    };
                    if self.integers.len() + self.words.len() >= VALUES_MAX {
                        return false;
                    }
                    if is_number_behind && is_integer(body, start, first_digit, at) {
                        self.template.extend_from_slice(&body[copied..first_digit]);
                        self.template.push(INTEGER);
                        self.integers.push(integer(&body[first_digit..at]));
                    } else {
                        self.template.extend_from_slice(&body[copied..start]);
                        self.template.push(WORD);
                        self.words.push(start..at);
                    }
                    copied = at;
                }
            }
        }
        self.template.extend_from_slice(&body[copied..]);
        true
    }
}

/// Appends the body to `out`.
///
/// # Errors
/// When the values are not as many as the template's markers; then `out` has more at its end than before.
pub fn join<'a>(
    template: &[u8],
    integers: &[i64],
    mut words: impl Iterator<Item = &'a [u8]>,
    out: &mut Vec<u8>,
) -> Result<(), Mismatch> {
    let mut integers = integers.iter();
    let mut copied = 0;
    for at in memchr::memchr2_iter(INTEGER, WORD, template) {
        out.extend_from_slice(&template[copied..at]);
        copied = at + 1;
        if template[at] == INTEGER {
            write_integer(*integers.next().ok_or(Mismatch::TooFew)?, out);
        } else {
            out.extend_from_slice(words.next().ok_or(Mismatch::TooFew)?);
        }
    }
    out.extend_from_slice(&template[copied..]);
    if integers.next().is_some() || words.next().is_some() {
        return Err(Mismatch::TooMany);
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Class {
    Other,
    Letter,
    Digit,
    Marker,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Other; 256];
    let mut byte = 0u8;
    loop {
        classes[byte as usize] = match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'_' => Class::Letter,
            b'0'..=b'9' => Class::Digit,
            INTEGER | WORD => Class::Marker,
            _ => Class::Other,
        };
        if byte == u8::MAX {
            break;
        }
        byte += 1;
    }
    classes
};

/// Whether the digits at the end of a token are an integer that is written as we would write it, and always will be in
/// lines like this one: digits that may have a leading zero next time are words from the start.
fn is_integer(body: &[u8], start: usize, digits: usize, end: usize) -> bool {
    let len = end - digits;
    if len > DIGITS_MAX || (len > 1 && body[digits] == b'0') {
        return false;
    }
    if digits > start {
        let is_hash = end - start >= HASH_BYTES_MIN && body[start..digits].iter().all(u8::is_ascii_hexdigit);
        return !is_hash;
    }
    let is_digit = |at: Option<usize>| at.and_then(|at| body.get(at)).is_some_and(u8::is_ascii_digit);
    let is_one_of = |at: Option<usize>, bytes: &[u8]| {
        at.and_then(|at| body.get(at))
            .is_some_and(|byte| bytes.contains(byte))
    };
    let (before, after) = (start.checked_sub(1), Some(end));
    let (two_before, two_after) = (start.checked_sub(2), Some(end + 1));
    let is_fraction = is_one_of(before, b".") && is_digit(two_before);
    let is_of_time = len == 2
        && (is_one_of(before, b":-") && is_digit(two_before)
            || is_one_of(after, b":-") && is_digit(two_after));
    !is_fraction && !is_of_time
}

fn integer(digits: &[u8]) -> i64 {
    digits
        .iter()
        .fold(0, |value, digit| value * 10 + i64::from(digit - b'0'))
}

fn write_integer(value: i64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(left % 10).expect("it is a digit");
        left /= 10;
        if left == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        digits[at] = b'-';
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests;
