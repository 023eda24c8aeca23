//! Numbers in as few bytes as they need: seven bits a byte, the lowest first, the eighth says that more follow (LEB128).

/// Bytes of the longest number.
const BYTES_MAX: usize = 10;
/// And of the longest one of 128 bits.
const LONG_BYTES_MAX: usize = 19;

pub(crate) fn push(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        #[allow(clippy::cast_possible_truncation, reason = "the low seven bits are wanted")]
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    #[allow(clippy::cast_possible_truncation, reason = "less than 0x80")]
    out.push(value as u8);
}

/// A number near zero of either sign (zigzag).
pub(crate) fn push_signed(out: &mut Vec<u8>, value: i64) {
    push(out, (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned());
}

/// As [`push_signed`], of 128 bits.
pub(crate) fn push_signed_long(out: &mut Vec<u8>, value: i128) {
    let mut value = (value.cast_unsigned() << 1) ^ (value >> 127).cast_unsigned();
    while value >= 0x80 {
        #[allow(clippy::cast_possible_truncation, reason = "the low seven bits are wanted")]
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    #[allow(clippy::cast_possible_truncation, reason = "less than 0x80")]
    out.push(value as u8);
}

/// Takes a number from the front; `None` if there is none, or one that is longer than 64 bits.
pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for n in 0..BYTES_MAX {
        let byte = *bytes.get(n)?;
        let bits = u64::from(byte & 0x7f);
        if n == BYTES_MAX - 1 && bits > 1 {
            return None;
        }
        value |= bits << (7 * n);
        if byte < 0x80 {
            *bytes = &bytes[n + 1..];
            return Some(value);
        }
    }
    None
}

pub(crate) fn take_signed(bytes: &mut &[u8]) -> Option<i64> {
    let value = take(bytes)?;
    Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()))
}

/// As [`take_signed`], of 128 bits.
pub(crate) fn take_signed_long(bytes: &mut &[u8]) -> Option<i128> {
    let mut value = 0u128;
    for n in 0..LONG_BYTES_MAX {
        let byte = *bytes.get(n)?;
        let bits = u128::from(byte & 0x7f);
        if n == LONG_BYTES_MAX - 1 && bits > 3 {
            return None;
        }
        value |= bits << (7 * n);
        if byte < 0x80 {
            *bytes = &bytes[n + 1..];
            return Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
    }
    None
}
