//! Keeps secrets out of what is recorded: values under keys that name one, and texts that look like one.
//!
//! In doubt it masks. What is recorded is read by people and programs that the secret was not meant for, and a masked
//! word more costs them little.

use std::borrow::Cow;

use axiom_protocol::span::Span;
use axiom_protocol::text::{push_quoted, text};

use crate::options::Bodies;

mod words;

use words::{is_secret_key, mask};

/// What stands where a secret was.
pub(super) const MASK: &str = "[redacted]";

/// A copy of a JSON value.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// All of it, as JSON.
    Whole(Vec<u8>),
    /// Its first bytes, which are no JSON any more.
    Part(String),
}

/// Bytes that are looked at beyond the limit, so that a secret at the limit is recognised by what follows.
const BEYOND_BYTES: usize = 4 << 10;

/// Copies a JSON value by a policy, and at most `bytes_max` bytes of it. `is_whole` is false if `raw` is only the
/// beginning of one.
pub(super) fn copy(raw: &[u8], is_whole: bool, bodies: Bodies, bytes_max: usize) -> Cut {
    let copied = match bodies {
        Bodies::Off => Vec::new(),
        Bodies::Full => raw.get(..bytes_max + 1).unwrap_or(raw).to_vec(),
        Bodies::Redacted => redacted(raw, is_whole, bytes_max),
    };
    if is_whole && copied.len() <= bytes_max {
        return Cut::Whole(copied);
    }
    let mut part = String::from_utf8_lossy(&copied).into_owned();
    let mut end = part.len().min(bytes_max);
    while !part.is_char_boundary(end) {
        end -= 1;
    }
    part.truncate(end);
    Cut::Part(part)
}

/// A text without what looks like a secret.
pub(super) fn masked(text: &str) -> Cow<'_, str> {
    mask(text)
}

/// Copies until there is more than `bytes_max`.
fn redacted(raw: &[u8], is_whole: bool, bytes_max: usize) -> Vec<u8> {
    let mut copy = Copy {
        raw,
        at: 0,
        out: Vec::with_capacity(raw.len().min(bytes_max) + 16),
        is_whole,
        bytes_max,
        mask_next: false,
    };
    while copy.at < raw.len() && copy.out.len() <= bytes_max {
        copy.token();
    }
    copy.out
}

/// One pass over a JSON text that was scanned before, token by token.
struct Copy<'a> {
    raw: &'a [u8],
    at: usize,
    out: Vec<u8>,
    is_whole: bool,
    bytes_max: usize,
    /// The string before names a secret: `--password`, or `{"name":"Authorization","value":...}`.
    mask_next: bool,
}

impl Copy<'_> {
    fn token(&mut self) {
        if self.raw[self.at] != b'"' {
            self.out.push(self.raw[self.at]);
            self.at += 1;
            return;
        }
        let end = string_end(self.raw, self.at);
        let here = span(self.at, end);
        let after = skip_space(self.raw, end);
        let is_closed =
            end > self.at + 1 && self.raw[end - 1] == b'"' && (end < self.raw.len() || self.is_whole);
        if is_closed && self.raw.get(after) == Some(&b':') {
            return self.member(here, after + 1);
        }
        self.at = end;
        if std::mem::take(&mut self.mask_next) {
            return push_quoted(&mut self.out, MASK);
        }
        self.string(here, is_closed);
    }

    /// A key, and its value if that is not to be seen.
    fn member(&mut self, key: Span, value_at: usize) {
        self.out.extend_from_slice(key.of(self.raw));
        self.out.push(b':');
        self.at = skip_space(self.raw, value_at);
        let Some(name) = text(self.raw, key) else {
            // No name that anybody could read; whatever it is the name of is not needed.
            return self.masked_value();
        };
        let first = self.raw.get(self.at).copied();
        let is_number = first.is_some_and(|byte| byte.is_ascii_digit() || byte == b'-');
        // `max_tokens` and its like count something.
        let counts = is_number && words::plain(&name).contains("tokens");
        if matches!(first, Some(b't' | b'f' | b'n')) || counts {
            return;
        }
        if is_secret_key(&name) {
            return self.masked_value();
        }
        if matches!(
            words::plain(&name).as_str(),
            "name" | "key" | "header" | "field" | "variable"
        ) && first == Some(b'"')
        {
            let here = span(self.at, string_end(self.raw, self.at));
            let says = text(self.raw, here);
            let names_one = says.is_none_or(|says| is_secret_key(&says));
            self.at = here.end as usize;
            self.string(here, true);
            self.mask_next = names_one;
        }
        // In the same object, or right behind it.
        if self.mask_next
            && matches!(
                words::plain(&name).as_str(),
                "value" | "values" | "content" | "text"
            )
        {
            self.mask_next = false;
            self.masked_value();
        }
    }

    fn masked_value(&mut self) {
        push_quoted(&mut self.out, MASK);
        self.at = value_end(self.raw, self.at);
    }

    fn string(&mut self, at: Span, is_closed: bool) {
        let raw = at.of(self.raw);
        let room = self.bytes_max + BEYOND_BYTES;
        if is_closed && raw.len() <= room {
            let Some(says) = text(self.raw, at) else {
                // Half a character: what it says cannot be judged.
                return push_quoted(&mut self.out, MASK);
            };
            // An argument that says what the next one is.
            self.mask_next = says.starts_with('-') && !says.contains('=') && is_secret_key(&says);
            match mask(&says) {
                Cow::Borrowed(_) => self.out.extend_from_slice(raw),
                Cow::Owned(masked) => push_quoted(&mut self.out, &masked),
            }
            return;
        }
        // The beginning of a long one. It is cut behind a whole escape and before what may be half a word.
        let beginning = whole_escapes(&raw[..raw.len().min(room)]);
        let mut quoted = beginning.to_vec();
        quoted.push(b'"');
        let says = text(&quoted, span(0, quoted.len())).map(Cow::into_owned);
        let says = says.unwrap_or_else(|| String::from_utf8_lossy(beginning).into_owned());
        let word_start = says.rfind(|c: char| c.is_whitespace()).unwrap_or(0);
        let (sure, _) = says.split_at(if raw.len() > room { says.len() } else { word_start });
        push_quoted(&mut self.out, &mask(sure));
    }
}

/// A string's beginning without an escape that was cut in two.
fn whole_escapes(raw: &[u8]) -> &[u8] {
    let mut at = 1;
    while at < raw.len() {
        let len = match (raw[at], raw.get(at + 1)) {
            (b'\\', Some(b'u')) => 6,
            (b'\\', _) => 2,
            _ => 1,
        };
        if at + len > raw.len() {
            break;
        }
        at += len;
    }
    let mut end = at.min(raw.len());
    // Nor half a character.
    while end > 0
        && std::str::from_utf8(&raw[end.saturating_sub(4)..end]).is_err()
        && end > raw.len().saturating_sub(4)
    {
        end -= 1;
    }
    &raw[..end]
}

/// Where the string that begins at `at` ends, behind its quote.
fn string_end(raw: &[u8], at: usize) -> usize {
    let mut at = at + 1;
    while let Some(found) = raw.get(at..).and_then(|rest| memchr::memchr2(b'"', b'\\', rest)) {
        at += found;
        if raw[at] == b'"' {
            return at + 1;
        }
        at += 2;
    }
    raw.len()
}

/// Where the value that begins at `at` ends.
fn value_end(raw: &[u8], at: usize) -> usize {
    let mut at = at;
    let mut depth = 0_usize;
    while let Some(byte) = raw.get(at) {
        match byte {
            b'"' => {
                at = string_end(raw, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' | b',' if depth == 0 => return at,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    raw.len()
}

/// Messages are scanned before, and have less than 4 GiB.
fn span(start: usize, end: usize) -> Span {
    let place = |at| u32::try_from(at).unwrap_or(u32::MAX);
    Span {
        start: place(start),
        end: place(end),
    }
}

fn skip_space(raw: &[u8], mut at: usize) -> usize {
    while matches!(raw.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests;
