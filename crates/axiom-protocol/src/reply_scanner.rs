//! Finding the id in an answer that streams past in chunks.

use crate::cursor::quote_or_backslash;
use crate::envelope::Kind;
use crate::fault::{ScanError, ScanFault};
use crate::text::{KEY_BYTES_MAX, unescape_key};

/// Where the top-level id stands, in bytes from the start of the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdAt {
    pub start: u64,
    pub end: u64,
}

/// Reads one top-level object in chunks, however they are cut, and finds its id.
///
/// It follows the structure, it does not judge: nested values only have their brackets counted, so it keeps no stack
/// and nothing is too deep for it. Memory: some 100 bytes, whatever passes.
#[derive(Clone, Debug)]
pub struct ReplyScanner {
    state: State,
    /// Bytes fed so far.
    at: u64,
    /// Containers open inside the top-level member at hand.
    depth: u64,
    key: KeyBuffer,
    value_start: u64,
    id: Option<IdAt>,
    kind: Option<Kind>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Start,
    /// After the opening brace.
    KeyOrEnd,
    /// After a comma.
    Key,
    InKey,
    InKeyEscape,
    Colon,
    Value,
    Scalar,
    InString,
    InStringEscape,
    Nested,
    NestedString,
    NestedStringEscape,
    AfterValue,
    Done,
}

impl Default for ReplyScanner {
    fn default() -> Self {
        Self::new()
    }
}

impl ReplyScanner {
    /// For one answer.
    pub fn new() -> Self {
        Self {
            state: State::Start,
            at: 0,
            depth: 0,
            key: KeyBuffer::default(),
            value_start: 0,
            id: None,
            kind: None,
        }
    }

    /// Reads the next chunk. Gives the place of the id once: from the chunk in which its end was seen (the end of a
    /// number is seen with the byte behind it).
    ///
    /// # Errors
    /// No object, a second id, an id that is an object or an array, or a top level that is not JSON. After an error
    /// the scanner is of no more use.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<Option<IdAt>, ScanError> {
        let before = self.id;
        let mut rest = chunk;
        while !rest.is_empty() {
            let used = self.step(rest)?;
            self.at += used as u64;
            rest = rest.get(used..).unwrap_or_default();
        }
        Ok(if before.is_none() { self.id } else { None })
    }

    /// Whether the object was complete.
    pub fn finish(&self) -> bool {
        self.state == State::Done
    }

    /// The place of the id, as soon as it is known.
    pub fn id(&self) -> Option<IdAt> {
        self.id
    }

    /// What the message is, by the deciding keys seen so far.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
            .map(|kind| if self.id.is_some() { kind.with_id() } else { kind })
    }

    /// Moves on by at least one byte or to another state, and says by how many bytes.
    fn step(&mut self, rest: &[u8]) -> Result<usize, ScanFault> {
        match self.state {
            State::InKey => Ok(self.in_key(rest)),
            State::InKeyEscape => {
                self.key.push(&rest[..1]);
                Ok(self.go(State::InKey))
            }
            State::InString => self.in_string(rest, State::InStringEscape),
            State::InStringEscape => Ok(self.go(State::InString)),
            State::NestedString => self.in_string(rest, State::NestedStringEscape),
            State::NestedStringEscape => Ok(self.go(State::NestedString)),
            State::Nested => self.nested(rest),
            State::Scalar => self.scalar(rest),
            _ => match rest[0] {
                b' ' | b'\n' | b'\r' | b'\t' => Ok(1),
                byte => self.structure(byte),
            },
        }
    }

    /// One byte of the top level that is no white space.
    fn structure(&mut self, byte: u8) -> Result<usize, ScanFault> {
        let state = match (self.state, byte) {
            (State::Start, b'{') => State::KeyOrEnd,
            (State::Start, _) => return Err(ScanFault::NotAnObject),
            (State::KeyOrEnd | State::Key, b'"') => {
                self.key = KeyBuffer::default();
                State::InKey
            }
            (State::KeyOrEnd | State::AfterValue, b'}') => State::Done,
            (State::Colon, b':') => State::Value,
            (State::AfterValue, b',') => State::Key,
            (State::Value, _) => return self.value(byte),
            _ => return Err(self.unexpected()),
        };
        Ok(self.go(state))
    }

    fn value(&mut self, byte: u8) -> Result<usize, ScanFault> {
        self.value_start = self.at;
        // Some servers write `"error":null` beside a result, or the reverse: a null does not replace what was seen.
        if byte != b'n' || self.kind.is_none() {
            self.kind = self.key.kind().or(self.kind);
        }
        let state = match byte {
            b'"' => State::InString,
            b'{' | b'[' if self.key.is_id() => return Err(ScanFault::InvalidId),
            b'{' | b'[' => {
                self.depth = 1;
                State::Nested
            }
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => State::Scalar,
            _ => return Err(self.unexpected()),
        };
        Ok(self.go(state))
    }

    fn in_key(&mut self, rest: &[u8]) -> usize {
        let Some(len) = quote_or_backslash(rest) else {
            self.key.push(rest);
            return rest.len();
        };
        if rest[len] == b'\\' {
            self.key.push(&rest[..=len]);
            self.state = State::InKeyEscape;
        } else {
            self.key.push(&rest[..len]);
            self.state = State::Colon;
        }
        len + 1
    }

    fn in_string(&mut self, rest: &[u8], escape: State) -> Result<usize, ScanFault> {
        let Some(len) = quote_or_backslash(rest) else {
            return Ok(rest.len());
        };
        if rest[len] == b'\\' {
            self.state = escape;
        } else if self.state == State::NestedString {
            self.state = State::Nested;
        } else {
            self.end_value(len as u64 + 1)?;
        }
        Ok(len + 1)
    }

    fn nested(&mut self, rest: &[u8]) -> Result<usize, ScanFault> {
        for (index, byte) in rest.iter().enumerate() {
            match byte {
                b'"' => {
                    self.state = State::NestedString;
                    return Ok(index + 1);
                }
                b'{' | b'[' => self.depth += 1,
                b'}' | b']' => {
                    self.depth -= 1;
                    if self.depth == 0 {
                        self.end_value(index as u64 + 1)?;
                        return Ok(index + 1);
                    }
                }
                _ => {}
            }
        }
        Ok(rest.len())
    }

    fn scalar(&mut self, rest: &[u8]) -> Result<usize, ScanFault> {
        match rest
            .iter()
            .position(|byte| matches!(byte, b',' | b'}' | b' ' | b'\n' | b'\r' | b'\t'))
        {
            Some(len) => {
                self.end_value(len as u64)?;
                Ok(len)
            }
            None => Ok(rest.len()),
        }
    }

    /// The member's value ends `len` bytes from here.
    fn end_value(&mut self, len: u64) -> Result<(), ScanFault> {
        self.state = State::AfterValue;
        if self.key.is_id() {
            let id = IdAt {
                start: self.value_start,
                end: self.at + len,
            };
            if self.id.replace(id).is_some() {
                return Err(ScanFault::DuplicateKey { key: "id" });
            }
        }
        Ok(())
    }

    fn go(&mut self, state: State) -> usize {
        self.state = state;
        1
    }

    fn unexpected(&self) -> ScanFault {
        ScanFault::NotJson {
            offset: usize::try_from(self.at).unwrap_or(usize::MAX),
        }
    }
}

/// The raw text of a key, as far as a key with a meaning can be long: each of its characters written as `\u0000`.
#[derive(Clone, Copy, Debug)]
struct KeyBuffer {
    bytes: [u8; KEY_BYTES_MAX],
    /// Above `KEY_BYTES_MAX`: too long to be one we know.
    len: usize,
}

impl Default for KeyBuffer {
    fn default() -> Self {
        Self {
            bytes: [0; KEY_BYTES_MAX],
            len: 0,
        }
    }
}

impl KeyBuffer {
    fn push(&mut self, piece: &[u8]) {
        if let Some(free) = self.bytes.get_mut(self.len..self.len.saturating_add(piece.len())) {
            free.copy_from_slice(piece);
        }
        self.len = self.len.saturating_add(piece.len());
    }

    fn with_text<T>(&self, read: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let raw = self.bytes.get(..self.len)?;
        let mut buffer = [0; KEY_BYTES_MAX];
        unescape_key(raw, &mut buffer).map(read)
    }

    fn is_id(&self) -> bool {
        self.with_text(|text| text == b"id").unwrap_or(false)
    }

    fn kind(&self) -> Option<Kind> {
        self.with_text(Kind::of_key).flatten()
    }
}
