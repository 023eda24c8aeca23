//! Stepping through objects and arrays of a message that was already scanned.
//!
//! Nothing here validates: over text that is not JSON the iterators end early or yield odd spans, but never panic.

use crate::Span;
use crate::cursor::quote_or_backslash;
use crate::text::text;

/// The members of an object in order, each as (key with its quotes, value); empty if it is no object.
pub fn members(raw: &[u8], object: Span) -> Members<'_> {
    Members {
        walk: Walk::into(raw, object, b'{'),
    }
}

/// The elements of an array in order; empty if it is no array.
pub fn elements(raw: &[u8], array: Span) -> Elements<'_> {
    Elements {
        walk: Walk::into(raw, array, b'['),
    }
}

/// The value of the first member called `key`, however the key is spelled.
pub fn get(raw: &[u8], object: Span, key: &str) -> Option<Span> {
    members(raw, object)
        .find(|(name, _)| is_key(raw, *name, key))
        .map(|(_, value)| value)
}

/// Whether the string at `span` says `key`.
pub(crate) fn is_key(raw: &[u8], span: Span, key: &str) -> bool {
    let spelled = span.of(raw);
    if memchr::memchr(b'\\', spelled).is_none() {
        return spelled.len() == key.len() + 2 && spelled.get(1..=key.len()) == Some(key.as_bytes());
    }
    text(raw, span).is_some_and(|name| name == key)
}

/// See [`members`].
#[derive(Clone, Debug)]
pub struct Members<'a> {
    walk: Walk<'a>,
}

impl Iterator for Members<'_> {
    type Item = (Span, Span);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.walk.value()?;
        Some((key, self.walk.value()?))
    }
}

/// See [`elements`].
#[derive(Clone, Debug)]
pub struct Elements<'a> {
    walk: Walk<'a>,
}

impl Iterator for Elements<'_> {
    type Item = Span;

    fn next(&mut self) -> Option<Self::Item> {
        self.walk.value()
    }
}

#[derive(Clone, Debug)]
struct Walk<'a> {
    raw: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Walk<'a> {
    fn into(raw: &'a [u8], container: Span, open: u8) -> Self {
        let empty = container.of(raw).first() != Some(&open);
        let start = container.start as usize + 1;
        let end = if empty { start } else { container.end as usize - 1 };
        Self { raw, at: start, end }
    }

    /// The next value or key. In valid text only white space, commas and colons stand between two of them.
    fn value(&mut self) -> Option<Span> {
        while matches!(self.peek()?, b' ' | b'\n' | b'\r' | b'\t' | b',' | b':') {
            self.at += 1;
        }
        let start = self.at;
        match self.peek()? {
            b'"' => self.string(),
            b'{' | b'[' => self.container(),
            _ => {
                while self
                    .peek()
                    .is_some_and(|byte| !matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t'))
                {
                    self.at += 1;
                }
            }
        }
        if self.at == start {
            // Not JSON. Ending is better than standing still.
            self.at = self.end;
            return None;
        }
        Some(Span::new(start, self.at.min(self.end)))
    }

    fn peek(&self) -> Option<u8> {
        self.raw.get(..self.end)?.get(self.at).copied()
    }

    fn string(&mut self) {
        self.at += 1;
        while let Some(len) = self.raw.get(self.at..self.end).and_then(quote_or_backslash) {
            self.at += len;
            if self.raw[self.at] == b'"' {
                self.at += 1;
                return;
            }
            self.at += 2;
        }
        self.at = self.end;
    }

    fn container(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.peek() {
            match byte {
                b'"' => {
                    self.string();
                    continue;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth -= 1,
                _ => {}
            }
            self.at += 1;
            if depth == 0 {
                return;
            }
        }
    }
}
