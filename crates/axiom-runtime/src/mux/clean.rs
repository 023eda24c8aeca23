//! A task's line as text that cannot steer the terminal of whoever reads it.
//!
//! Kept: printable characters, tabs, and colours (SGR) if wanted. Removed: complete escapes of every other kind - cursor,
//! screen, modes, titles, clipboard (OSC 52), the address of a link (OSC 8, its text stays), DCS and their like. Shown as
//! `\x1b`, `\x07`, `\u{202e}`: every other control character, C1 included, and what turns the direction of text. Bytes that
//! are not UTF-8 become U+FFFD. A colour that is on at the end is put out, so it never reaches another task's line.
//!
//! Each line is read by itself. Only between the pieces of one long line something is remembered: that a string (OSC, DCS)
//! was begun, and how much of it may still be hidden.

use std::borrow::Cow;

use super::lines::{Line, Part};

mod sgr;

/// What becomes of a task's colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Colours {
    #[default]
    Keep,
    Strip,
}

/// Cleans the lines of one stream, which may come in pieces.
#[derive(Debug, Clone, Copy)]
pub struct Cleaner {
    colours: Colours,
    /// Bytes that a string of the line's pieces before may still hide; 0 outside of one.
    string_bytes_left: usize,
}

/// A string of one line that goes on for longer is text again: nothing that a task writes stays hidden for long.
pub const STRING_BYTES_MAX: usize = 1 << 20;

/// The text is never longer than this many times the line, and [`RESET`].
pub const GROWTH_MAX: usize = 4;

/// Puts out every colour.
pub const RESET: &str = "\x1b[0m";

const ESC: char = '\x1b';

impl Cleaner {
    pub fn new(colours: Colours) -> Self {
        Cleaner {
            colours,
            string_bytes_left: 0,
        }
    }

    /// The line's text without its end. Borrowed if nothing had to be changed.
    pub fn clean<'a>(&mut self, line: Line<'a>) -> Cow<'a, str> {
        let goes_on = matches!(line.part, Part::Begin | Part::Middle);
        if matches!(line.part, Part::Whole | Part::Begin) {
            self.string_bytes_left = 0;
        }
        let text = self.text(line.text(), goes_on);
        if !goes_on {
            self.string_bytes_left = 0;
        }
        text
    }

    fn text<'a>(&mut self, bytes: &'a [u8], goes_on: bool) -> Cow<'a, str> {
        let text = String::from_utf8_lossy(bytes);
        if self.string_bytes_left == 0 && (is_plain(bytes) || !text.contains(is_special)) {
            return text;
        }
        Cow::Owned(self.rewrite(&text, goes_on))
    }

    fn rewrite(&mut self, text: &str, goes_on: bool) -> String {
        let mut out = String::with_capacity(text.len() + RESET.len());
        let mut is_coloured = false;
        let mut rest = self.leave_string(text, goes_on);
        while let Some((plain, special, after)) = split_special(rest) {
            out.push_str(plain);
            rest = after;
            match escape(special, after) {
                Escape::Sgr { parameters, after } => {
                    rest = after;
                    if self.colours == Colours::Keep && sgr::is_harmless(parameters) {
                        out.extend(["\x1b[", parameters, "m"]);
                        is_coloured = sgr::leaves_on(parameters, is_coloured);
                    }
                }
                Escape::Complete { after } => rest = after,
                Escape::Open { length } if goes_on => {
                    self.string_bytes_left = STRING_BYTES_MAX.saturating_sub(length);
                    rest = "";
                }
                Escape::Open { .. } | Escape::No => show(special, &mut out),
            }
        }
        out.push_str(rest);
        if is_coloured {
            out.push_str(RESET);
        }
        out
    }

    /// What follows the string that a piece before began; nothing if all of `text` belongs to it.
    fn leave_string<'a>(&mut self, text: &'a str, goes_on: bool) -> &'a str {
        if self.string_bytes_left == 0 {
            return text;
        }
        if let Some(after) = after_string(text) {
            self.string_bytes_left = 0;
            return after;
        }
        let hidden = text.floor_char_boundary(self.string_bytes_left);
        self.string_bytes_left = match goes_on && hidden == text.len() {
            true => self.string_bytes_left - hidden,
            false => 0,
        };
        text.get(hidden..).unwrap_or_default()
    }
}

/// One line by itself.
pub fn clean(text: &[u8], colours: Colours) -> Cow<'_, str> {
    Cleaner::new(colours).text(text, false)
}

/// What stands at a special character.
enum Escape<'a> {
    Sgr {
        parameters: &'a str,
        after: &'a str,
    },
    Complete {
        after: &'a str,
    },
    /// A string without its end, and how long it is so far.
    Open {
        length: usize,
    },
    /// Not an escape, or one that breaks off.
    No,
}

fn escape(special: char, after: &str) -> Escape<'_> {
    let mut chars = after.chars();
    let kind = match (special, chars.next()) {
        (ESC, Some(kind)) => kind,
        _ => return Escape::No,
    };
    let rest = chars.as_str();
    match kind {
        '[' => control_sequence(rest),
        ']' | 'P' | 'X' | '^' | '_' => match after_string(rest) {
            Some(after) => Escape::Complete { after },
            None => Escape::Open { length: rest.len() },
        },
        ' '..='/' => {
            let last = rest.trim_start_matches(|c| matches!(c, ' '..='/'));
            complete_if(last, |c| matches!(c, '0'..='~'))
        }
        '0'..='~' => Escape::Complete { after: rest },
        _ => Escape::No,
    }
}

/// After `ESC [`.
fn control_sequence(rest: &str) -> Escape<'_> {
    let tail = rest.trim_start_matches(|c| matches!(c, '0'..='?'));
    let parameters = rest.strip_suffix(tail).unwrap_or_default();
    match tail.strip_prefix('m') {
        Some(after) => Escape::Sgr { parameters, after },
        None => {
            let last = tail.trim_start_matches(|c| matches!(c, ' '..='/'));
            complete_if(last, |c| matches!(c, '@'..='~'))
        }
    }
}

fn complete_if(last: &str, is_final: fn(char) -> bool) -> Escape<'_> {
    match last.strip_prefix(is_final) {
        Some(after) => Escape::Complete { after },
        None => Escape::No,
    }
}

/// What follows a string's end: BEL, ST, or what terminals take as its abortion. None if it has no end.
fn after_string(text: &str) -> Option<&str> {
    let at = text.find(['\x07', '\u{9c}', '\x18', '\x1a', ESC])?;
    let end = text.get(at..)?;
    match end.strip_prefix("\x1b\\") {
        Some(after) => Some(after),
        // Another escape begins where this one was left.
        None if end.starts_with(ESC) => Some(end),
        None => end.get(end.chars().next()?.len_utf8()..),
    }
}

/// The text before the first special character, that character, and what follows it.
fn split_special(text: &str) -> Option<(&str, char, &str)> {
    let at = text.find(is_special)?;
    let (plain, rest) = text.split_at_checked(at)?;
    let mut chars = rest.chars();
    let special = chars.next()?;
    Some((plain, special, chars.as_str()))
}

fn show(special: char, out: &mut String) {
    let code = u32::from(special);
    out.push_str(&match code {
        0..=0xff => format!("\\x{code:02x}"),
        _ => format!("\\u{{{code:x}}}"),
    });
}

/// True if all is printable ASCII, as most lines are. Piece by piece without a way out, which is several bytes at once.
fn is_plain(bytes: &[u8]) -> bool {
    let is_plain = |byte: &u8| matches!(byte, b' '..=b'~' | b'\t');
    let mut pieces = bytes.chunks(32);
    pieces.all(|piece| piece.iter().fold(true, |so_far, byte| so_far & is_plain(byte)))
}

fn is_special(c: char) -> bool {
    match c {
        '\t' => false,
        // Line and paragraph separators, and what turns the direction of everything after it.
        '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        c => c.is_control(),
    }
}

#[cfg(test)]
mod tests;
