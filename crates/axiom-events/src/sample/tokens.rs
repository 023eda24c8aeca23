//! A body as words, with a mask over what differs from one event to the next.
//!
//! A text is cut at white space, JSON at its punctuation too. Within a word these are masked:
//!
//! | mask | what |
//! |---|---|
//! | `<num>` | digits, with points between them: `12`, `1.2.3` |
//! | `<hex>` | `0x` and hex digits, or seven and more hex digits of which some are letters and some are not |
//! | `<uuid>` | hex digits in groups of 8, 4, 4, 4 and 12 |
//! | `<path>` | what begins with `/`, `./`, `../` or `~/`, has two slashes, or one slash and then a point |
//! | `<id>` | twenty and more letters and digits, mixed |
//! | `<str>` | in a text, what stands in quotation marks |
//! | `<long>` | more than 64 bytes in one piece |
//!
//! It looks at the first 1,024 bytes and 48 words: what is behind them does not decide what an event is like.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;

use crate::event::Format;

/// Bytes of a body that are looked at.
const SCAN_BYTES_MAX: usize = 1024;
/// Words of a body that are looked at.
pub(super) const WORDS_MAX: usize = 48;
/// Longer pieces are not words.
const PIECE_BYTES_MAX: usize = 64;
/// How far away a closing quotation mark may be.
const QUOTED_BYTES_MAX: usize = 256;
const HEX_BYTES_MIN: usize = 7;
const ID_BYTES_MIN: usize = 20;

/// The words of a body. Their memory is used again for the next one.
#[derive(Debug, Default)]
pub(super) struct Tokens {
    /// All words, masked, one after the other.
    text: Vec<u8>,
    /// Where each ends.
    ends: Vec<usize>,
    hashes: Vec<u64>,
}

impl Tokens {
    /// Takes the words of this body in place of those before.
    pub(super) fn read(&mut self, state: &RandomState, format: Format, body: &[u8]) {
        self.text.clear();
        self.ends.clear();
        self.hashes.clear();
        let body = body.get(..SCAN_BYTES_MAX).unwrap_or(body);
        match format {
            Format::Binary => {}
            Format::Text => self.read_words(state, body, text_word),
            Format::Json => self.read_words(state, body, json_word),
        }
    }

    fn read_words(&mut self, state: &RandomState, body: &[u8], next: fn(&[u8], usize) -> (usize, usize)) {
        let mut at = 0;
        while self.ends.len() < WORDS_MAX {
            let (start, end) = next(body, at);
            if start == end {
                break;
            }
            let from = self.text.len();
            mask(&body[start..end], &mut self.text);
            self.hashes.push(state.hash_one(&self.text[from..]));
            self.ends.push(self.text.len());
            at = end;
        }
    }

    /// One for each word; the same word has the same.
    pub(super) fn hashes(&self) -> &[u64] {
        &self.hashes
    }

    /// All words with a space between them.
    pub(super) fn text(&self) -> Vec<u8> {
        let mut text = Vec::with_capacity(self.text.len() + self.ends.len());
        let mut start = 0;
        for end in &self.ends {
            if start > 0 {
                text.push(b' ');
            }
            text.extend_from_slice(&self.text[start..*end]);
            start = *end;
        }
        text
    }
}

/// A body's words, masked, with a space between them: how the sampler sees it before it compares it with others.
pub fn masked(format: Format, body: &[u8]) -> String {
    let mut tokens = Tokens::default();
    tokens.read(&RandomState::default(), format, body);
    String::from_utf8_lossy(&tokens.text()).into_owned()
}

/// Start and end of a text's next word; the same twice if there is none.
fn text_word(body: &[u8], at: usize) -> (usize, usize) {
    let start = skip(body, at, |byte| byte.is_ascii_whitespace());
    let mut end = start;
    while let Some(byte) = body.get(end).filter(|byte| !byte.is_ascii_whitespace()) {
        end = match byte {
            b'"' | b'\'' | b'`' => closing(&body[start..], end - start).map_or(end + 1, |at| start + at + 1),
            _ => end + 1,
        };
    }
    (start, end)
}

/// Where the quotation mark is closed that opens at `at`; `None` if it opens nothing.
fn closing(word: &[u8], at: usize) -> Option<usize> {
    let opens = at == 0 || !is_word(word[at - 1]);
    let behind = &word[at + 1..word.len().min(at + 1 + QUOTED_BYTES_MAX)];
    let length = memchr::memchr(word[at], behind)?;
    let is_one_line = !behind[..length].contains(&b'\n');
    (opens && is_one_line).then_some(at + 1 + length)
}

/// As [`text_word`], of JSON. What is escaped separates words as well.
fn json_word(body: &[u8], at: usize) -> (usize, usize) {
    let is_between = |byte: u8| {
        byte.is_ascii_whitespace() || matches!(byte, b'{' | b'}' | b'[' | b']' | b',' | b':' | b'"' | b'\\')
    };
    let mut start = at;
    loop {
        start = skip(body, start, |byte| is_between(byte) && byte != b'\\');
        if body.get(start) != Some(&b'\\') {
            break;
        }
        start = (start + 2).min(body.len());
    }
    (start, skip(body, start, |byte| !is_between(byte)))
}

fn skip(body: &[u8], at: usize, is_skipped: impl Fn(u8) -> bool) -> usize {
    let rest = body.get(at..).unwrap_or_default();
    let skipped = rest.iter().position(|byte| !is_skipped(*byte));
    at + skipped.unwrap_or(rest.len())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

/// Bytes that may be in one piece: a word, a path, a number with a sign.
fn is_in_piece(byte: u8) -> bool {
    is_word(byte) || matches!(byte, b'/' | b'.' | b'~' | b'-' | b'+' | b'%' | b'@')
}

/// Appends a word with what differs masked.
fn mask(word: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(byte) = word.get(at) {
        let end = skip(word, at, is_in_piece);
        if end > at {
            mask_piece(&word[at..end], out);
            at = end;
        } else if matches!(byte, b'"' | b'\'' | b'`')
            && let Some(close) = closing(word, at)
        {
            out.extend_from_slice(b"<str>");
            at = close + 1;
        } else {
            // A control character would have to be escaped in every counter; a space would seem to be between two words.
            out.push(if *byte <= b' ' || *byte == 0x7f {
                b'?'
            } else {
                *byte
            });
            at += 1;
        }
    }
}

fn mask_piece(piece: &[u8], out: &mut Vec<u8>) {
    let mut slashes = 0;
    let mut has_digit = false;
    for byte in piece {
        slashes += usize::from(*byte == b'/');
        has_digit |= byte.is_ascii_digit();
    }
    let whole = if slashes > 0 && is_path(piece, slashes) {
        Some("<path>")
    } else if piece.len() > PIECE_BYTES_MAX {
        Some("<long>")
    } else if has_digit {
        named(piece)
    } else {
        None
    };
    match whole {
        Some(whole) => out.extend_from_slice(whole.as_bytes()),
        None if has_digit => mask_digits(piece, out),
        None => out.extend_from_slice(piece),
    }
}

fn is_path(piece: &[u8], slashes: usize) -> bool {
    let begins = [b"/".as_slice(), b"./", b"../", b"~/"];
    let has_point_behind = || {
        let slash = memchr::memrchr(b'/', piece).unwrap_or_default();
        piece[slash..].contains(&b'.')
    };
    slashes >= 2
        || begins
            .iter()
            .any(|begin| piece.len() > begin.len() && piece.starts_with(begin))
        || has_point_behind()
}

/// What a piece with digits is, if it is one thing.
fn named(piece: &[u8]) -> Option<&'static str> {
    let is_hex = |bytes: &[u8]| bytes.iter().all(u8::is_ascii_hexdigit);
    let has_letter = || piece.iter().any(u8::is_ascii_alphabetic);
    if let Some(digits) = piece.strip_prefix(b"0x")
        && is_hex(digits)
    {
        return Some("<hex>");
    }
    if piece.len() >= HEX_BYTES_MIN && is_hex(piece) && has_letter() {
        return Some("<hex>");
    }
    if piece.len() == 36 && has_letter() {
        let mut groups = piece.split(|byte| *byte == b'-');
        if [8, 4, 4, 4, 12].into_iter().all(|length| {
            groups
                .next()
                .is_some_and(|group| group.len() == length && is_hex(group))
        }) {
            return Some("<uuid>");
        }
    }
    let is_id = piece.len() >= ID_BYTES_MIN
        && has_letter()
        && piece
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+'));
    is_id.then_some("<id>")
}

fn mask_digits(piece: &[u8], out: &mut Vec<u8>) {
    let mut at = 0;
    while let Some(byte) = piece.get(at) {
        if !byte.is_ascii_digit() {
            out.push(*byte);
            at += 1;
            continue;
        }
        out.extend_from_slice(b"<num>");
        loop {
            at = skip(piece, at, |byte| byte.is_ascii_digit());
            let goes_on = piece.get(at) == Some(&b'.') && piece.get(at + 1).is_some_and(u8::is_ascii_digit);
            if !goes_on {
                break;
            }
            at += 1;
        }
    }
}

#[cfg(test)]
mod tests;
