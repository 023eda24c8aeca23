//! Chunks of bytes in, as a pipe happens to give them; whole lines out.
//!
//! The bytes are never changed: the lines of one stream, one after the other with their ends, are exactly what the task
//! wrote. A chunk's whole lines are borrowed from it; only a line that goes on in the next chunk is kept here, and its
//! memory is freed with it, so that a task that says nothing holds nothing.

use std::mem;

use memchr::{memchr2, memrchr};

/// Cuts one stream of one task into lines.
#[derive(Debug)]
pub struct Splitter {
    /// A longer line comes in pieces of at most this.
    line_bytes_max: usize,
    /// Of a line whose end has not come. It may end with a CR, as long as nobody knows whether a LF follows.
    rest: Vec<u8>,
    /// Pieces of that line were given out before.
    begun: bool,
}

/// A line, or a piece of one, with its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Line<'a> {
    /// Exactly what the task wrote, the end included.
    pub raw: &'a [u8],
    pub end: End,
    pub part: Part,
}

/// What ends a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Nothing: a piece that is not the line's last, or the last line before the stream's end.
    None,
    Lf,
    CrLf,
    /// A CR without a LF: a progress bar, about to write over itself.
    Cr,
}

/// How much of its line a piece is. A line of at most `line_bytes_max` is whole, unless it was flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    Whole,
    Begin,
    Middle,
    Last,
}

/// A smaller limit is raised to this: a piece must hold any character and any escape that is kept together.
pub const LINE_BYTES_MIN: usize = 64;

/// How far back an escape without its end is looked for, where a long line is cut. Colours are shorter than this.
const ESCAPE_BYTES_MAX: usize = 32;
const ESC: u8 = 0x1b;

impl Splitter {
    /// Lines without a limit would be memory without a limit: those longer than `line_bytes_max` come in pieces.
    pub fn new(line_bytes_max: usize) -> Self {
        Splitter {
            line_bytes_max: line_bytes_max.max(LINE_BYTES_MIN),
            rest: Vec::new(),
            begun: false,
        }
    }

    /// Gives out every line that `chunk` ends, and keeps what is left.
    pub fn feed(&mut self, chunk: &[u8], mut out: impl FnMut(Line<'_>)) {
        let mut chunk = chunk;
        while !self.rest.is_empty() && !chunk.is_empty() {
            chunk = self.go_on(chunk, &mut out);
        }
        while let Some((len, end)) = self.first(chunk) {
            let (raw, left) = chunk.split_at(len);
            self.give(raw, end, end != End::None, &mut out);
            chunk = left;
        }
        self.rest.extend_from_slice(chunk);
    }

    /// Gives out what is here of a line without its end, as a piece: a prompt that waits for an answer. A character or an
    /// escape that is not complete stays, and so does a CR.
    pub fn flush(&mut self, mut out: impl FnMut(Line<'_>)) {
        let len = complete(&self.rest);
        if len > 0 {
            self.give_rest(len, End::None, false, &mut out);
        }
    }

    /// The stream has ended: gives out the last line, if it had no end. After this it is as new.
    pub fn finish(&mut self, mut out: impl FnMut(Line<'_>)) {
        if self.is_open() {
            let end = match self.rest.last() {
                Some(b'\r') => End::Cr,
                _ => End::None,
            };
            self.give_rest(self.rest.len(), end, true, &mut out);
        }
    }

    /// One that goes on where another one was: in the midst of a line of which pieces were given out (`begun`), and with this kept of it.
    pub(crate) fn resume(line_bytes_max: usize, begun: bool, rest: Vec<u8>) -> Self {
        Splitter {
            begun,
            rest,
            ..Splitter::new(line_bytes_max)
        }
    }

    /// What [`Splitter::resume`] needs.
    pub(crate) fn state(&self) -> (bool, &[u8]) {
        (self.begun, &self.rest)
    }

    /// True in the midst of a line.
    pub fn is_open(&self) -> bool {
        self.begun || !self.rest.is_empty()
    }

    /// What is kept of a line without its end, but for a character or an escape that is not complete, and a CR.
    pub fn rest(&self) -> &[u8] {
        self.rest.get(..complete(&self.rest)).unwrap_or_default()
    }

    /// Bytes that are kept for the next chunk.
    pub fn rest_bytes(&self) -> usize {
        self.rest.len()
    }

    /// Takes from `chunk` what the kept line lacks, and returns what it does not need.
    fn go_on<'a>(&mut self, chunk: &'a [u8], out: &mut impl FnMut(Line<'_>)) -> &'a [u8] {
        if self.rest.last() == Some(&b'\r') {
            let lf = usize::from(chunk.first() == Some(&b'\n'));
            self.rest.extend_from_slice(&chunk[..lf]);
            let end = if lf == 1 { End::CrLf } else { End::Cr };
            self.give_rest(self.rest.len(), end, true, out);
            return &chunk[lf..];
        }
        // At most `line_bytes_max` of text, and there the end may stand.
        let room = self.line_bytes_max - self.rest.len();
        let near = &chunk[..chunk.len().min(room + 1)];
        match memchr2(b'\n', b'\r', near) {
            Some(at) => {
                let (len, end) = end_at(chunk, at).unwrap_or((at + 1, End::None));
                self.rest.extend_from_slice(&chunk[..len]);
                // A CR as the chunk's last byte waits for the next chunk.
                if end != End::None {
                    self.give_rest(self.rest.len(), end, true, out);
                }
                &chunk[len..]
            }
            None if chunk.len() > room => {
                self.rest.extend_from_slice(&chunk[..room]);
                let len = piece(&self.rest);
                self.give_rest(len, End::None, false, out);
                &chunk[room..]
            }
            None => {
                self.rest.extend_from_slice(chunk);
                &[]
            }
        }
    }

    /// The first line in `bytes`, or the first piece of a long one: how long it is, and its end. None if more is needed.
    fn first(&self, bytes: &[u8]) -> Option<(usize, End)> {
        let near = &bytes[..bytes.len().min(self.line_bytes_max + 1)];
        match memchr2(b'\n', b'\r', near) {
            Some(at) => end_at(bytes, at),
            None => {
                let text = bytes.get(..self.line_bytes_max)?;
                (bytes.len() > self.line_bytes_max).then(|| (piece(text), End::None))
            }
        }
    }

    /// Gives out the first `len` kept bytes.
    fn give_rest(&mut self, len: usize, end: End, ends: bool, out: &mut impl FnMut(Line<'_>)) {
        let kept = mem::take(&mut self.rest);
        let (raw, left) = kept.split_at(len);
        self.give(raw, end, ends, out);
        self.rest.extend_from_slice(left);
    }

    fn give(&mut self, raw: &[u8], end: End, ends: bool, out: &mut impl FnMut(Line<'_>)) {
        let part = match (self.begun, ends) {
            (false, true) => Part::Whole,
            (false, false) => Part::Begin,
            (true, false) => Part::Middle,
            (true, true) => Part::Last,
        };
        self.begun = !ends;
        out(Line { raw, end, part });
    }
}

impl<'a> Line<'a> {
    /// Without its end.
    pub fn text(&self) -> &'a [u8] {
        &self.raw[..self.raw.len().saturating_sub(self.end.bytes())]
    }
}

impl End {
    fn bytes(self) -> usize {
        match self {
            End::None => 0,
            End::Lf | End::Cr => 1,
            End::CrLf => 2,
        }
    }
}

/// The length of the line whose end begins at `at`. None for a CR that is the last byte: a LF may follow.
fn end_at(bytes: &[u8], at: usize) -> Option<(usize, End)> {
    match (bytes[at], bytes.get(at + 1)) {
        (b'\r', None) => None,
        (b'\r', Some(b'\n')) => Some((at + 2, End::CrLf)),
        (b'\r', Some(_)) => Some((at + 1, End::Cr)),
        _ => Some((at + 1, End::Lf)),
    }
}

/// Where a line that is too long is cut: not within a character or an escape, if that can be.
fn piece(text: &[u8]) -> usize {
    match complete(text) {
        0 => text.len(),
        len => len,
    }
}

/// How much of `text` does not end within a character, an escape or a CR LF.
fn complete(text: &[u8]) -> usize {
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    let text = &text[..text.len() - character_begun(text)];
    text.len() - escape_begun(text)
}

/// Bytes at the end of `text` that begin a UTF-8 character and do not complete it.
fn character_begun(text: &[u8]) -> usize {
    let last = text.iter().rev().take(3).enumerate();
    for (before, byte) in last {
        let bytes = match byte {
            0x80..=0xbf => continue,
            0xc2..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0..=0xf4 => 4,
            _ => return 0,
        };
        return if bytes > before + 1 { before + 1 } else { 0 };
    }
    0
}

/// Bytes at the end of `text` that begin a short escape and do not complete it.
fn escape_begun(text: &[u8]) -> usize {
    let near = &text[text.len().saturating_sub(ESCAPE_BYTES_MAX)..];
    let Some(at) = memrchr(ESC, near) else {
        return 0;
    };
    let after = &near[at + 1..];
    let is_begun = match after.strip_prefix(b"[") {
        Some(parameters) => parameters.iter().all(|byte| (0x20..=0x3f).contains(byte)),
        None => after.iter().all(|byte| (0x20..=0x2f).contains(byte)),
    };
    if is_begun { near.len() - at } else { 0 }
}

#[cfg(test)]
mod tests;
