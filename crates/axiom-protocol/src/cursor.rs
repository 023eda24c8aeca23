//! One validating pass over JSON text (RFC 8259), without recursion and without allocation.
//!
//! The cursor hands out keys of the objects its caller cares about and skips every other value in one tight loop.
//! What a caller does not ask about costs its validation only.

use crate::fault::ScanFault;
use crate::text::{KEY_BYTES_MAX, unescape_key};
use crate::{Limits, Span};

/// Open containers that fit the bit stack. `Limits::depth_max` above it counts as this.
pub(crate) const DEPTH_MAX: u16 = 1024;

/// Bytes of a string looked at word by word before memchr takes over: setting memchr up costs more than a short key.
const SHORT_STRING_BYTES: usize = 32;

#[derive(Debug)]
pub(crate) struct Cursor<'a> {
    raw: &'a [u8],
    at: usize,
    /// Containers open at `at`.
    depth: u16,
    depth_max: u16,
    /// Whether the text holds a byte below 0x20. Only then must strings be searched for one.
    has_controls: bool,
}

/// A key as it stands in the text: between its quotes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key {
    start: usize,
    end: usize,
    escaped: bool,
}

impl<'a> Cursor<'a> {
    /// Checks what can be checked about all bytes at once: length, UTF-8.
    pub(crate) fn new(raw: &'a [u8], limits: &Limits) -> Result<Self, ScanFault> {
        // Spans have 32 bits.
        let bytes_max = limits.bytes_max.min(u32::MAX as usize);
        if raw.len() > bytes_max {
            return Err(ScanFault::TooLarge {
                bytes: raw.len(),
                bytes_max,
            });
        }
        // Two flags in one branch-free sweep, which the compiler turns into vector instructions.
        let (bits, has_controls) = raw.iter().fold((0, false), |(bits, controls), byte| {
            (bits | byte, controls | (*byte < 0x20))
        });
        if bits >= 0x80
            && let Err(error) = std::str::from_utf8(raw)
        {
            return Err(ScanFault::NotJson {
                offset: error.valid_up_to(),
            });
        }
        let depth_max = limits.depth_max.min(DEPTH_MAX);
        let mut cursor = Self {
            raw,
            at: 0,
            depth: 0,
            depth_max,
            has_controls,
        };
        cursor.space();
        Ok(cursor)
    }

    /// For the head of a message that may be cut anywhere and is not to be judged: no checks, only scalar values.
    pub(crate) fn of_head(raw: &'a [u8]) -> Self {
        let mut cursor = Self {
            raw,
            at: 0,
            depth: 0,
            depth_max: 1,
            has_controls: false,
        };
        cursor.space();
        cursor
    }

    pub(crate) fn at(&self) -> usize {
        self.at
    }

    #[inline]
    pub(crate) fn peek(&self) -> Option<u8> {
        self.raw.get(self.at).copied()
    }

    /// Everything after the root value must be white space.
    pub(crate) fn end(&mut self) -> Result<(), ScanFault> {
        self.space();
        if self.at == self.raw.len() {
            Ok(())
        } else {
            Err(self.unexpected())
        }
    }

    /// Steps into the object or array whose bracket stands here.
    pub(crate) fn open(&mut self) -> Result<(), ScanFault> {
        self.deeper()?;
        self.at += 1;
        self.space();
        Ok(())
    }

    /// The next key of the object stepped into, with the cursor on its value; `None` past the closing brace.
    #[inline]
    pub(crate) fn key(&mut self, first: &mut bool) -> Result<Option<Key>, ScanFault> {
        if !self.next(first, b'}')? {
            return Ok(None);
        }
        let start = self.at + 1;
        let escaped = self.string()?;
        let key = Key {
            start,
            end: self.at - 1,
            escaped,
        };
        self.colon()?;
        Ok(Some(key))
    }

    /// Whether the array stepped into has a next element, with the cursor on it.
    pub(crate) fn element(&mut self, first: &mut bool) -> Result<bool, ScanFault> {
        self.next(first, b']')
    }

    /// Which of the caller's keys this is, however it is spelled.
    #[inline]
    pub(crate) fn name<K>(&self, key: Key, parse: impl FnOnce(&[u8]) -> K) -> K {
        let body = self.raw.get(key.start..key.end).unwrap_or_default();
        if !key.escaped {
            return parse(body);
        }
        let mut buffer = [0; KEY_BYTES_MAX];
        parse(unescape_key(body, &mut buffer).unwrap_or_default())
    }

    /// Past the comma before the next member or element, or past the closing bracket.
    #[inline]
    fn next(&mut self, first: &mut bool, close: u8) -> Result<bool, ScanFault> {
        self.space();
        let begins = std::mem::replace(first, false);
        match self.peek() {
            Some(byte) if byte == close => {
                self.at += 1;
                self.depth -= 1;
                return Ok(false);
            }
            Some(b',') if !begins => {
                self.at += 1;
                self.space();
            }
            Some(_) if begins => {}
            _ => return Err(self.unexpected()),
        }
        Ok(true)
    }

    /// Skips one value of any kind and says where it stood.
    #[inline]
    pub(crate) fn value(&mut self) -> Result<Span, ScanFault> {
        let start = self.at;
        match self.peek() {
            Some(b'{' | b'[') => self.container()?,
            _ => self.scalar()?,
        }
        Ok(Span::new(start, self.at))
    }

    /// Skips the object or array that begins here. One bit per open container remembers which bracket closes it.
    fn container(&mut self) -> Result<(), ScanFault> {
        let outside = self.depth;
        let mut kinds = Kinds::default();
        'value: loop {
            match self.peek() {
                Some(open @ (b'{' | b'[')) => {
                    let object = open == b'{';
                    self.open()?;
                    kinds.push(self.depth, object);
                    if self.peek() != Some(if object { b'}' } else { b']' }) {
                        if object {
                            self.skip_key()?;
                        }
                        continue 'value;
                    }
                    self.at += 1;
                    self.depth -= 1;
                }
                _ => self.scalar()?,
            }
            // A value just ended: close what ends with it, then go on to the next one.
            while self.depth > outside {
                self.space();
                let object = kinds.is_object(self.depth);
                match (self.peek(), object) {
                    (Some(b','), _) => {
                        self.at += 1;
                        self.space();
                        if object {
                            self.skip_key()?;
                        }
                        continue 'value;
                    }
                    (Some(b'}'), true) | (Some(b']'), false) => {
                        self.at += 1;
                        self.depth -= 1;
                    }
                    _ => return Err(self.unexpected()),
                }
            }
            return Ok(());
        }
    }

    #[inline]
    fn scalar(&mut self) -> Result<(), ScanFault> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => Err(self.unexpected()),
        }
    }

    #[inline]
    fn skip_key(&mut self) -> Result<(), ScanFault> {
        self.string()?;
        self.colon()
    }

    #[inline]
    fn colon(&mut self) -> Result<(), ScanFault> {
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(())
    }

    /// Skips a string and says whether it holds escapes. Its UTF-8 is already known to be good.
    #[inline]
    fn string(&mut self) -> Result<bool, ScanFault> {
        self.expect(b'"')?;
        let mut escaped = false;
        loop {
            let rest = self.raw.get(self.at..).unwrap_or_default();
            let Some(len) = quote_or_backslash(rest) else {
                self.at = self.raw.len();
                return Err(self.unexpected());
            };
            if self.has_controls {
                self.no_controls(len)?;
            }
            self.at += len + 1;
            if rest[len] == b'"' {
                return Ok(escaped);
            }
            escaped = true;
            self.escape()?;
        }
    }

    fn no_controls(&mut self, len: usize) -> Result<(), ScanFault> {
        let run = self.raw.get(self.at..self.at + len).unwrap_or_default();
        if run.iter().fold(false, |found, byte| found | (*byte < 0x20)) {
            self.at += run.iter().position(|byte| *byte < 0x20).unwrap_or_default();
            return Err(self.unexpected());
        }
        Ok(())
    }

    /// What follows a backslash. Halves of surrogate pairs are let through: RFC 8259 allows them.
    fn escape(&mut self) -> Result<(), ScanFault> {
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.peek().is_some_and(|byte| byte.is_ascii_hexdigit()) {
                        return Err(self.unexpected());
                    }
                    self.at += 1;
                }
            }
            _ => return Err(self.unexpected()),
        }
        Ok(())
    }

    fn number(&mut self) -> Result<(), ScanFault> {
        if self.peek() == Some(b'-') {
            self.at += 1;
        }
        if self.peek() == Some(b'0') {
            self.at += 1;
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            if let Some(b'+' | b'-') = self.peek() {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(())
    }

    fn digits(&mut self) -> Result<(), ScanFault> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start {
            Err(self.unexpected())
        } else {
            Ok(())
        }
    }

    fn literal(&mut self, word: &[u8]) -> Result<(), ScanFault> {
        if self.raw.get(self.at..).unwrap_or_default().starts_with(word) {
            self.at += word.len();
            return Ok(());
        }
        Err(self.unexpected())
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8) -> Result<(), ScanFault> {
        if self.peek() != Some(byte) {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
    }

    #[inline]
    fn deeper(&mut self) -> Result<(), ScanFault> {
        if self.depth == self.depth_max {
            return Err(ScanFault::TooDeep {
                depth_max: self.depth_max,
                offset: self.at,
            });
        }
        self.depth += 1;
        Ok(())
    }

    #[cold]
    pub(crate) fn unexpected(&self) -> ScanFault {
        ScanFault::NotJson { offset: self.at }
    }
}

/// For each open container whether it is an object.
#[derive(Default)]
struct Kinds([u64; DEPTH_MAX as usize / 64]);

impl Kinds {
    #[inline]
    fn push(&mut self, depth: u16, object: bool) {
        let (word, bit) = Self::place(depth);
        self.0[word] = self.0[word] & !(1 << bit) | u64::from(object) << bit;
    }

    #[inline]
    fn is_object(&self, depth: u16) -> bool {
        let (word, bit) = Self::place(depth);
        self.0[word] >> bit & 1 == 1
    }

    /// Depths begin at 1 and end at `DEPTH_MAX`.
    #[inline]
    fn place(depth: u16) -> (usize, u32) {
        let index = (depth - 1) % DEPTH_MAX;
        (usize::from(index / 64), u32::from(index % 64))
    }
}

/// The offset of the first `"` or `\`.
#[inline]
pub(crate) fn quote_or_backslash(text: &[u8]) -> Option<usize> {
    let mut at = 0;
    while at < SHORT_STRING_BYTES {
        let Some(word) = text.get(at..).and_then(<[u8]>::first_chunk::<8>) else {
            break;
        };
        let word = u64::from_le_bytes(*word);
        let hits = zero_bytes(word ^ repeat(b'"')) | zero_bytes(word ^ repeat(b'\\'));
        if hits != 0 {
            return Some(at + hits.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    memchr::memchr2(b'"', b'\\', text.get(at..)?).map(|len| at + len)
}

const fn repeat(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The high bit of each zero byte. Bytes after the first zero byte may be marked wrongly; the lowest mark is right.
#[inline]
fn zero_bytes(word: u64) -> u64 {
    word.wrapping_sub(repeat(0x01)) & !word & repeat(0x80)
}
