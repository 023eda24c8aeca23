//! Tasks whose names are numbers: 32 lower-case hex digits, which is how UUIDs and W3C trace ids are written.
//!
//! Most tasks that occur once, calls for example, have such a name. As a number it takes no memory of its own on its way,
//! and next to the one before it hardly any on the disk.

use std::sync::OnceLock;

/// Digits of a name that is a number.
const DIGITS: usize = 32;

/// Numbers of tasks, and their names as soon as somebody wants to read them.
#[derive(Debug, Default, Clone)]
pub(crate) struct TaskIds {
    ids: Vec<u128>,
    /// One after the other.
    names: OnceLock<String>,
}

impl TaskIds {
    pub(crate) fn push(&mut self, id: u128) {
        self.ids.push(id);
        self.names.take();
    }

    pub(crate) fn clear(&mut self) {
        self.ids.clear();
        self.names.take();
    }

    pub(crate) fn all(&self) -> &[u128] {
        &self.ids
    }

    pub(crate) fn name(&self, place: usize) -> &str {
        let names = self.names.get_or_init(|| names(&self.ids));
        let start = place * DIGITS;
        names
            .get(start..start + DIGITS)
            .expect("there are as many names as numbers")
    }

    /// With the names, whether they are there or not.
    pub(crate) fn bytes_in_memory(&self) -> usize {
        self.ids.capacity() * (size_of::<u128>() + DIGITS)
    }
}

/// The number that a name is, if it is one.
pub(crate) fn read(name: &str) -> Option<u128> {
    let digits: &[u8; DIGITS] = name.as_bytes().try_into().ok()?;
    let mut halves = [0; DIGITS];
    let mut are_digits = true;
    // Without a branch, so that it is a handful of vector instructions.
    for (half, digit) in halves.iter_mut().zip(digits) {
        let (decimal, letter) = (digit.wrapping_sub(b'0'), digit.wrapping_sub(b'a'));
        are_digits &= (decimal < 10) | (letter < 6);
        *half = if decimal < 10 {
            decimal
        } else {
            letter.wrapping_add(10)
        };
    }
    let mut bytes = [0; DIGITS / 2];
    for (byte, halves) in bytes.iter_mut().zip(halves.chunks_exact(2)) {
        *byte = halves[0] << 4 | halves[1];
    }
    are_digits.then_some(u128::from_be_bytes(bytes))
}

pub(crate) fn name(id: u128) -> String {
    names(&[id])
}

fn names(ids: &[u128]) -> String {
    let mut names = Vec::with_capacity(ids.len() * DIGITS);
    for id in ids {
        names.extend_from_slice(&digits(*id));
    }
    String::from_utf8(names).expect("digits are ASCII")
}

/// Without a branch or a table: eight digits at once.
fn digits(id: u128) -> [u8; DIGITS] {
    let mut digits = [0; DIGITS];
    for (eight, bytes) in digits.chunks_exact_mut(8).zip(id.to_be_bytes().chunks_exact(4)) {
        let mut wide = 0;
        for byte in bytes {
            wide = wide << 8 | u64::from(*byte);
        }
        // Each half of a byte gets a byte of its own.
        wide = (wide | wide << 16) & 0x0000_ffff_0000_ffff;
        wide = (wide | wide << 8) & 0x00ff_00ff_00ff_00ff;
        wide = (wide | wide << 4) & 0x0f0f_0f0f_0f0f_0f0f;
        // What is ten or more carries into the upper half.
        let letters = (wide + 0x0606_0606_0606_0606) >> 4 & 0x0101_0101_0101_0101;
        let zeros = 0x3030_3030_3030_3030;
        eight.copy_from_slice(&(wide + zeros + letters * u64::from(b'a' - 10 - b'0')).to_be_bytes());
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_number_only_if_it_is_written_like_one() {
        let check = |name: &str, expected: Option<u128>| assert_eq!(read(name), expected, "{name}");
        check("000000000000000000000000000000ff", Some(255));
        check("ffffffffffffffffffffffffffffffff", Some(u128::MAX));
        check(
            "0123456789abcdef0123456789abcdef",
            Some(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef),
        );
        check("0123456789ABCDEF0123456789abcdef", None);
        check("0123456789abcdef0123456789abcdeg", None);
        check("0123456789abcdef0123456789abcde", None);
        check("0123456789abcdef0123456789abcdef0", None);
        check("", None);
        for odd in ['/', ':', '`', 'g', '@', ' ', '\0'] {
            check(&format!("{odd}{}", "0".repeat(DIGITS - 1)), None);
        }
    }

    #[test]
    fn a_number_has_the_name_that_it_was_read_from() {
        let ids = [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0fed_cba9_8765_4321];
        let mut all = TaskIds::default();
        for (place, id) in ids.into_iter().enumerate() {
            all.push(id);
            assert_eq!(all.name(place), format!("{id:032x}"));
            assert_eq!(read(all.name(place)), Some(id));
            assert_eq!(name(id), all.name(place));
        }
        assert_eq!(all.all(), ids);
    }
}
