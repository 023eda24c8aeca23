//! JSON strings to text and back.

use std::borrow::Cow;

use crate::Span;

/// The text of the JSON string at `span`; `None` if it is no string or holds half of a surrogate pair.
///
/// Such a half has no text. Replacing it would let two different names look the same, so it is refused.
/// Borrows unless the string holds escapes.
pub fn text(raw: &[u8], span: Span) -> Option<Cow<'_, str>> {
    let body = span.of(raw).strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if memchr::memchr(b'\\', body).is_none() {
        return std::str::from_utf8(body).ok().map(Cow::Borrowed);
    }
    let mut out = Vec::with_capacity(body.len());
    unescape(body, |bytes| {
        out.extend_from_slice(bytes);
        Some(())
    })?;
    String::from_utf8(out).ok().map(Cow::Owned)
}

/// The text of a key in a fixed buffer: `None` if it is longer than the buffer, so it is no key that we know.
pub(crate) fn unescape_key<'b>(body: &[u8], buffer: &'b mut [u8; KEY_BYTES_MAX]) -> Option<&'b [u8]> {
    let mut len = 0;
    unescape(body, |bytes| {
        buffer.get_mut(len..len + bytes.len())?.copy_from_slice(bytes);
        len += bytes.len();
        Some(())
    })?;
    buffer.get(..len)
}

/// The longest key with a meaning (`io.modelcontextprotocol/clientCapabilities`) has 42 bytes.
pub(crate) const KEY_BYTES_MAX: usize = 48;

/// Hands the pieces of the unescaped text of `body` to `push` in order; `None` ends it early.
fn unescape(body: &[u8], mut push: impl FnMut(&[u8]) -> Option<()>) -> Option<()> {
    let mut rest = body;
    while let Some(at) = memchr::memchr(b'\\', rest) {
        push(&rest[..at])?;
        let (escape, after) = rest.get(at + 1..)?.split_first()?;
        rest = after;
        let plain = match escape {
            b'"' | b'\\' | b'/' => *escape,
            b'b' => 0x08,
            b'f' => 0x0c,
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'u' => {
                let (char, after) = unicode(rest)?;
                push(char.encode_utf8(&mut [0; 4]).as_bytes())?;
                rest = after;
                continue;
            }
            _ => return None,
        };
        push(&[plain])?;
    }
    push(rest)
}

/// The character of a `\u` escape whose digits stand first in `rest`, with the second half of a pair if it needs one.
fn unicode(rest: &[u8]) -> Option<(char, &[u8])> {
    let (high, after) = hex4(rest)?;
    if !(0xd800..0xdc00).contains(&high) {
        return char::from_u32(high).map(|char| (char, after));
    }
    let (low, after) = hex4(after.strip_prefix(b"\\u")?)?;
    let low = low.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
    char::from_u32(0x1_0000 + ((high - 0xd800) << 10) + low).map(|char| (char, after))
}

fn hex4(rest: &[u8]) -> Option<(u32, &[u8])> {
    let (digits, after) = rest.split_at_checked(4)?;
    let value = digits.iter().try_fold(0, |value, digit| {
        Some(value * 16 + char::from(*digit).to_digit(16)?)
    })?;
    Some((value, after))
}

/// Appends `text` as a JSON string with its quotes.
pub fn push_quoted(out: &mut Vec<u8>, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    let mut rest = text.as_bytes();
    while let Some(at) = rest
        .iter()
        .position(|byte| *byte < 0x20 || *byte == b'"' || *byte == b'\\')
    {
        out.extend_from_slice(&rest[..at]);
        let byte = rest[at];
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => out.extend_from_slice(&[
                b'\\',
                b'u',
                b'0',
                b'0',
                HEX[usize::from(byte >> 4)],
                HEX[usize::from(byte & 15)],
            ]),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// `text` as a JSON string with its quotes.
pub fn quoted(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    push_quoted(&mut out, text);
    out
}
