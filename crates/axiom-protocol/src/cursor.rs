//! One validating pass over JSON text (RFC 8259), without recursion and without allocation.
//!
//! The cursor hands out keys of the objects its caller cares about and skips every other value in one tight loop.
//! What a caller does not ask about costs its validation only.

mod token;

use crate::fault::ScanFault;
use crate::text::{KEY_BYTES_MAX, unescape_key};
use crate::{Limits, Span};

pub(crate) use token::quote_or_backslash;

/// Open containers that fit the bit stack. `Limits::depth_max` above it counts as this.
pub(crate) const DEPTH_MAX: u16 = 1024;

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
