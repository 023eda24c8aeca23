//! The pieces of JSON text without inner structure: strings, numbers, literals, white space.

use super::Cursor;
use crate::fault::ScanFault;

/// Bytes of a string looked at word by word before memchr takes over: setting memchr up costs more than a short key.
const SHORT_STRING_BYTES: usize = 32;

impl Cursor<'_> {
    #[inline]
    pub(super) fn scalar(&mut self) -> Result<(), ScanFault> {
        match self.peek() {
            Some(b'"') => self.string().map(|_| ()),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.literal(b"true"),
            Some(b'f') => self.literal(b"false"),
            Some(b'n') => self.literal(b"null"),
            _ => Err(self.unexpected()),
        }
    }

    /// Skips a string and says whether it holds escapes. Its UTF-8 is already known to be good.
    #[inline]
    pub(super) fn string(&mut self) -> Result<bool, ScanFault> {
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
    pub(super) fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    #[inline]
    pub(super) fn expect(&mut self, byte: u8) -> Result<(), ScanFault> {
        if self.peek() != Some(byte) {
            return Err(self.unexpected());
        }
        self.at += 1;
        Ok(())
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
