//! Keeps secrets out of what is recorded: those that the gateway was given itself, values under keys that name one, and
//! texts that look like one.
//!
//! How much is masked is a policy. `redacted` masks in doubt: what is recorded is read by people and programs that the
//! secret was not meant for, and a masked word more costs them little. `full` keeps what a call needs to be made again, and
//! masks what is a secret beyond doubt.

use std::borrow::Cow;

use axiom_protocol::span::Span;
use axiom_protocol::text::{push_quoted, text};

use crate::options::{Bodies, Options};

mod known;
mod pairs;
mod words;

use known::Known;
use pairs::{Pairs, Part};
pub(super) use words::Doubt;
use words::is_secret_key;

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

/// Bytes of a body that was cut. As a text in the event each of them may become two, and two bodies must fit there.
const PART_BYTES_MAX: usize = 1 << 20;

/// What of bodies is recorded, and which secrets the gateway knows.
#[derive(Debug)]
pub(super) struct Policy {
    doubt: Doubt,
    known: Known,
    /// Bytes that are recorded of one body at most.
    bytes_max: usize,
}

impl Policy {
    /// Secrets that were known before stay so: a server that was started with one may still say it.
    pub(super) fn of(options: &Options, before: Option<&Policy>) -> Policy {
        let events = options.events.as_ref();
        let doubt = match events.map(|events| events.bodies) {
            Some(Bodies::Full) => Doubt::Keeps,
            _ => Doubt::Masks,
        };
        Policy {
            doubt,
            known: Known::of(options, before.map(|before| &before.known)),
            bytes_max: events.map_or(crate::options::BODY_BYTES_MAX, |events| events.body_bytes_max),
        }
    }

    pub(super) fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Copies a JSON value, and at most [`bytes_max`](Policy::bytes_max) of it. `is_whole` is false if `raw` is only the
    /// beginning of one.
    pub(super) fn copy(&self, raw: &[u8], is_whole: bool) -> Cut {
        let mut copy = Copy {
            policy: self,
            pairs: Pairs::of(raw, is_whole, self.doubt),
            raw,
            at: 0,
            out: Vec::with_capacity(raw.len().min(self.bytes_max) + 16),
            is_whole,
            mask_next: false,
        };
        while copy.at < raw.len() && copy.out.len() <= self.bytes_max {
            copy.token();
        }
        let copied = copy.out;
        if is_whole && copied.len() <= self.bytes_max {
            return Cut::Whole(copied);
        }
        let mut part = String::from_utf8_lossy(&copied).into_owned();
        let mut end = part.len().min(self.bytes_max).min(PART_BYTES_MAX);
        while !part.is_char_boundary(end) {
            end -= 1;
        }
        part.truncate(end);
        Cut::Part(part)
    }

    /// A text that is recorded whatever becomes of bodies, without what may be a secret.
    pub(super) fn masked<'t>(&self, text: &'t str) -> Cow<'t, str> {
        self.mask(text, Doubt::Masks)
    }

    fn mask<'t>(&self, text: &'t str, doubt: Doubt) -> Cow<'t, str> {
        match self.known.mask(text) {
            Cow::Borrowed(text) => words::mask(text, doubt),
            Cow::Owned(text) => Cow::Owned(words::mask(&text, doubt).into_owned()),
        }
    }
}

/// One pass over a JSON text that was scanned before, token by token.
struct Copy<'a> {
    policy: &'a Policy,
    /// Names and values that stand beside one another: `{"name":"Authorization","value":...}`.
    pairs: Pairs,
    raw: &'a [u8],
    at: usize,
    out: Vec<u8>,
    is_whole: bool,
    /// The string before names a secret: `--password`, or a name that no value stands beside.
    mask_next: bool,
}

impl Copy<'_> {
    fn token(&mut self) {
        match self.raw[self.at] {
            b'"' => {}
            b'0'..=b'9' | b'-' => return self.number(),
            other => {
                self.out.push(other);
                self.at += 1;
                return;
            }
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

    /// A number, which may be a secret that the gateway knows. Of half a number nobody can tell.
    fn number(&mut self) {
        let is_digit = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
        let len = self.raw[self.at..]
            .iter()
            .take_while(|byte| is_digit(byte))
            .count();
        let digits = &self.raw[self.at..self.at + len];
        self.at += len;
        let is_cut = !self.is_whole && self.at == self.raw.len();
        let says = std::str::from_utf8(digits).unwrap_or_default();
        match self.policy.known.mask(says) {
            Cow::Owned(_) => push_quoted(&mut self.out, MASK),
            Cow::Borrowed(_) if is_cut => {}
            Cow::Borrowed(_) => self.out.extend_from_slice(digits),
        }
    }

    /// A key, and its value if that is not to be seen.
    fn member(&mut self, key: Span, value_at: usize) {
        let name = text(self.raw, key);
        match name.as_deref().map(|name| self.policy.known.mask(name)) {
            Some(Cow::Owned(masked)) => push_quoted(&mut self.out, &masked),
            _ => self.out.extend_from_slice(key.of(self.raw)),
        }
        self.out.push(b':');
        self.at = skip_space(self.raw, value_at);
        let Some(name) = name else {
            // No name that anybody could read; whatever it is the name of is not needed.
            return self.masked_value();
        };
        let doubt = self.policy.doubt;
        let first = self.raw.get(self.at).copied();
        let is_number = first.is_some_and(|byte| byte.is_ascii_digit() || byte == b'-');
        // `max_tokens` and its like count something.
        let counts = is_number && words::plain(&name).contains("tokens");
        if matches!(first, Some(b't' | b'f' | b'n')) || counts {
            return;
        }
        let part = self.pairs.at(self.at);
        if is_secret_key(&name, doubt) || part == Some(Part::Secret) {
            return self.masked_value();
        }
        if pairs::is_name(&name) && first == Some(b'"') {
            let here = span(self.at, string_end(self.raw, self.at));
            let says = text(self.raw, here);
            let names_one = says.is_none_or(|says| is_secret_key(&says, doubt));
            self.at = here.end as usize;
            self.string(here, true);
            // Where the secret stands beside it, it is no secret what follows on it.
            self.mask_next = names_one && part != Some(Part::Name);
        } else if self.mask_next && pairs::is_value(&name) {
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
        let Policy { doubt, bytes_max, .. } = *self.policy;
        let room = bytes_max + BEYOND_BYTES;
        if is_closed && raw.len() <= room {
            let Some(says) = text(self.raw, at) else {
                // Half a character: what it says cannot be judged.
                return push_quoted(&mut self.out, MASK);
            };
            // An argument that says what the next one is.
            self.mask_next = says.starts_with('-') && !says.contains('=') && is_secret_key(&says, doubt);
            match self.policy.mask(&says, doubt) {
                Cow::Borrowed(_) => self.out.extend_from_slice(raw),
                Cow::Owned(masked) => push_quoted(&mut self.out, &masked),
            }
            return;
        }
        // The beginning of a long one. It is cut behind a whole escape and before what may be half a secret.
        let beginning = whole_escapes(&raw[..raw.len().min(room)]);
        let mut quoted = beginning.to_vec();
        quoted.push(b'"');
        let says = text(&quoted, span(0, quoted.len())).map(Cow::into_owned);
        let says = says.unwrap_or_else(|| String::from_utf8_lossy(beginning).into_owned());
        // Known secrets have spaces in them, too: they are masked before a space is taken for the end of a word.
        let (says, _) = says.split_at(self.policy.known.sure_end(&says));
        let says = self.policy.known.mask(says);
        let word_start = says.rfind(|c: char| c.is_whitespace()).unwrap_or(0);
        // A word that is longer than what is looked at beyond the limit is seen in any case.
        let is_long = raw.len() > room && says.len() - word_start > BEYOND_BYTES;
        let (sure, _) = says.split_at(if is_long { says.len() } else { word_start });
        push_quoted(&mut self.out, &words::mask(sure, doubt));
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
