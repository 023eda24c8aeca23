//! Reads the few members of a JSON object that a fake server needs, as slices of the received bytes.
//!
//! It trusts its input: a fake server that meets malformed JSON answers with a parse error or not at all, and never
//! has to say where the fault is. Nothing is decoded, so `id` and `text` go back exactly as they came.

use memchr::{memchr2, memmem};

/// A request, notification or response; the slices are raw JSON.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// `None` for a notification.
    pub id: Option<&'a [u8]>,
    /// Without quotes; empty for a response.
    pub method: &'a [u8],
    pub params: Option<&'a [u8]>,
}

impl<'a> Message<'a> {
    /// `None` if `body` is not a JSON object.
    pub fn read(body: &'a [u8]) -> Option<Message<'a>> {
        let mut message = Message::default();
        for (key, value) in Members::of(body)? {
            match key {
                b"id" => message.id = Some(value),
                b"method" => message.method = unquoted(value),
                b"params" => message.params = Some(value),
                _ => {}
            }
        }
        Some(message)
    }

    /// The raw value of `params.<key>`.
    pub fn param(&self, key: &str) -> Option<&'a [u8]> {
        member(self.params?, key)
    }

    /// The raw value of `params.arguments.<key>`.
    pub fn argument(&self, key: &str) -> Option<&'a [u8]> {
        member(self.param("arguments")?, key)
    }

    /// Whether the request speaks for itself, as every request of 2026-07-28 does.
    pub fn is_modern(&self) -> bool {
        self.param("_meta")
            .is_some_and(|meta| memmem::find(meta, b"\"io.modelcontextprotocol/protocolVersion\"").is_some())
    }
}

/// The raw value of a member of `object`; `None` if it is absent or `object` is not an object.
pub fn member<'a>(object: &'a [u8], key: &str) -> Option<&'a [u8]> {
    Members::of(object)?
        .find(|(name, _)| *name == key.as_bytes())
        .map(|(_, value)| value)
}

/// A raw JSON string without its quotes, escapes kept; anything else as it is.
pub fn unquoted(value: &[u8]) -> &[u8] {
    value
        .strip_prefix(b"\"")
        .and_then(|rest| rest.strip_suffix(b"\""))
        .unwrap_or(value)
}

/// The members of an object in order; it ends early where the bytes stop making sense.
#[derive(Debug, Clone)]
pub struct Members<'a> {
    rest: &'a [u8],
}

impl<'a> Members<'a> {
    /// `None` if `value` does not begin as an object.
    pub fn of(value: &'a [u8]) -> Option<Members<'a>> {
        value
            .trim_ascii_start()
            .strip_prefix(b"{")
            .map(|rest| Members { rest })
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.rest.trim_ascii_start();
        let start = start.strip_prefix(b",").unwrap_or(start).trim_ascii_start();
        let (key, after) = start.split_at_checked(string_len(start)?)?;
        let after = after.trim_ascii_start().strip_prefix(b":")?.trim_ascii_start();
        let (value, rest) = after.split_at_checked(value_len(after)?)?;
        self.rest = rest;
        Some((unquoted(key), value))
    }
}

/// Bytes of the value at the start of `json`.
fn value_len(json: &[u8]) -> Option<usize> {
    match json.first()? {
        b'"' => string_len(json),
        b'{' | b'[' => container_len(json),
        _ => Some(
            json.iter()
                .position(|byte| b",}] \t\r\n".contains(byte))
                .unwrap_or(json.len()),
        ),
    }
}

/// Bytes of the string at the start of `json`, quotes included.
fn string_len(json: &[u8]) -> Option<usize> {
    if json.first() != Some(&b'"') {
        return None;
    }
    let mut at = 1;
    loop {
        at += memchr2(b'"', b'\\', json.get(at..)?)?;
        if json[at] == b'"' {
            return Some(at + 1);
        }
        at += 2;
    }
}

/// Bytes of the object or array at the start of `json`. Counts brackets outside of strings.
fn container_len(json: &[u8]) -> Option<usize> {
    let (mut at, mut depth) = (0, 0_usize);
    loop {
        match json.get(at)? {
            b'"' => {
                at += string_len(&json[at..])?;
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return Some(at + 1);
                }
            }
            _ => {}
        }
        at += 1;
    }
}

#[cfg(test)]
#[path = "wire/tests.rs"]
mod tests;
