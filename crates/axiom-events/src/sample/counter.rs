//! Counters: what takes the place of events that were not kept, so that totals stay exact.
//!
//! A counter is an ordinary event of kind [`SAMPLED_KIND`] in the log's own stream, so every tier keeps it without knowing what
//! it is. Its tenant, task and level are those of the events that it stands for, its time lies in their minute, and its body
//! says the rest:
//!
//! ```json
//! {"kind":"task.output","template":"Compiling <*> v<num>.<num>.<num>","events":15,"body_bytes":612,
//!  "seconds":[[31,12,480],[32,3,132]]}
//! ```
//!
//! `seconds` has one entry for each second of that minute in which something was skipped: the second, 0 to 59, how many events,
//! and the bytes of their bodies. So totals are exact by the second. The log counts what a counter stands for, and not the
//! counter. What does not look exactly as it is written here is an event like any other.

use std::borrow::Cow;

use crate::digest::{MINUTE, SECOND};
use crate::event::{Event, Format, Level, NAME_BYTES_MAX};
use crate::json::push_string;
use crate::writer::LOG_STREAM;

/// The kind of an event that stands for others.
pub const SAMPLED_KIND: &str = "axiom.sampled";
/// Bytes of a template that a counter says. The rest of a longer one is left out.
pub const TEMPLATE_BYTES_MAX: usize = 256;

/// Events that were skipped, as a counter tells of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped<'a> {
    /// Theirs, not the counter's.
    pub kind: Cow<'a, str>,
    /// What they have in common; for people.
    pub template: Cow<'a, str>,
    /// Ascending, all in one minute, at least one.
    pub seconds: Vec<Second>,
}

/// What was skipped in one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Second {
    /// Seconds since 1970.
    pub second: i64,
    /// At least one.
    pub events: u64,
    pub body_bytes: u64,
}

impl Skipped<'_> {
    /// What an event tells of skipped ones; `None` if it is no counter.
    pub fn read<'a>(event: &Event<'a>) -> Option<Skipped<'a>> {
        if event.kind != SAMPLED_KIND || event.stream != LOG_STREAM {
            return None;
        }
        Skipped::read_body(event.time, event.body)
    }

    /// As [`Skipped::read`], of an event that has a counter's kind and stream.
    pub(crate) fn read_body(time: i64, body: &[u8]) -> Option<Skipped<'_>> {
        let mut rest = Rest(body);
        rest.word("{\"kind\":")?;
        let kind = rest.string()?;
        rest.word(",\"template\":")?;
        let template = rest.string()?;
        rest.word(",\"events\":")?;
        let events = rest.number()?;
        rest.word(",\"body_bytes\":")?;
        let body_bytes = rest.number()?;
        rest.word(",\"seconds\":[")?;
        let minute = time.div_euclid(MINUTE) * (MINUTE / SECOND);
        let mut seconds: Vec<Second> = Vec::new();
        loop {
            rest.word("[")?;
            let second = i64::try_from(rest.number()?).ok().filter(|second| *second < 60)?;
            rest.word(",")?;
            let events = rest.number().filter(|events| *events > 0)?;
            rest.word(",")?;
            let body_bytes = rest.number()?;
            rest.word("]")?;
            let second = minute + second;
            if seconds.last().is_some_and(|last| last.second >= second) {
                return None;
            }
            seconds.push(Second {
                second,
                events,
                body_bytes,
            });
            if rest.word(",").is_none() {
                break;
            }
        }
        rest.word("]}")?;
        let sum = |of: fn(&Second) -> u64| seconds.iter().map(of).try_fold(0u64, u64::checked_add);
        let is_sound = rest.0.is_empty()
            && !kind.is_empty()
            && kind.len() <= NAME_BYTES_MAX
            && sum(|second| second.events) == Some(events)
            && sum(|second| second.body_bytes) == Some(body_bytes);
        is_sound.then_some(Skipped {
            kind,
            template,
            seconds,
        })
    }

    /// How many there were.
    pub fn events(&self) -> u64 {
        self.seconds.iter().map(|second| second.events).sum()
    }

    /// Bytes of their bodies.
    pub fn body_bytes(&self) -> u64 {
        self.seconds.iter().map(|second| second.body_bytes).sum()
    }

    /// Writes a counter's body. `seconds` are as above.
    fn write(kind: &str, template: &str, seconds: &[Second], out: &mut Vec<u8>) {
        use std::io::Write as _;
        const INFALLIBLE: &str = "memory takes everything";
        let sum = |of: fn(&Second) -> u64| seconds.iter().map(of).sum::<u64>();
        out.clear();
        out.extend_from_slice(b"{\"kind\":");
        push_string(out, kind);
        out.extend_from_slice(b",\"template\":");
        push_string(out, template);
        let (events, body_bytes) = (sum(|second| second.events), sum(|second| second.body_bytes));
        write!(
            out,
            ",\"events\":{events},\"body_bytes\":{body_bytes},\"seconds\":["
        )
        .expect(INFALLIBLE);
        let mut comma = "";
        for second in seconds {
            let of_minute = second.second.rem_euclid(MINUTE / SECOND);
            let Second {
                events, body_bytes, ..
            } = second;
            write!(out, "{comma}[{of_minute},{events},{body_bytes}]").expect(INFALLIBLE);
            comma = ",";
        }
        out.extend_from_slice(b"]}");
    }
}

/// What counters have in common that stand for the same sort of events.
#[derive(Debug, Clone, Copy)]
pub(super) struct Whom<'a> {
    pub(super) tenant: &'a str,
    pub(super) task: &'a str,
    pub(super) level: Level,
    pub(super) kind: &'a str,
    pub(super) template: &'a str,
}

impl Second {
    /// Adds it to others, which are ascending.
    pub(super) fn add_to(self, seconds: &mut Vec<Second>) {
        let at = match seconds.last() {
            Some(last) if last.second < self.second => seconds.len(),
            Some(_) => seconds.partition_point(|other| other.second < self.second),
            None => 0,
        };
        match seconds.get_mut(at) {
            Some(same) if same.second == self.second => {
                same.events = same.events.saturating_add(self.events);
                same.body_bytes = same.body_bytes.saturating_add(self.body_bytes);
            }
            _ => seconds.insert(at, self),
        }
    }
}

/// The counters for these seconds, ascending: one for each minute.
pub(super) fn counters(of: Whom<'_>, seconds: &[Second], mut each: impl FnMut(&Event<'_>)) {
    let minute = |second: &Second| second.second.div_euclid(MINUTE / SECOND);
    let mut body = Vec::new();
    for of_minute in seconds.chunk_by(|left, right| minute(left) == minute(right)) {
        let Some(last) = of_minute.last() else { continue };
        Skipped::write(of.kind, of.template, of_minute, &mut body);
        each(&Event {
            time: last.second.saturating_mul(SECOND),
            tenant: of.tenant,
            stream: LOG_STREAM,
            task: of.task,
            kind: SAMPLED_KIND,
            level: of.level,
            format: Format::Json,
            body: &body,
            ..Event::default()
        });
    }
}

/// What is yet to be read of a body.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn word(&mut self, word: &str) -> Option<()> {
        self.0 = self.0.strip_prefix(word.as_bytes())?;
        Some(())
    }

    /// As it is written: no sign, no leading zeros.
    fn number(&mut self) -> Option<u64> {
        let digits = self.0.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let (digits, rest) = self.0.split_at(digits);
        if digits.len() > 1 && digits.first() == Some(&b'0') {
            return None;
        }
        let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
        self.0 = rest;
        Some(number)
    }

    fn string(&mut self) -> Option<Cow<'a, str>> {
        self.word("\"")?;
        let plain = memchr::memchr2(b'"', b'\\', self.0)?;
        let (text, rest) = self.0.split_at(plain);
        let text = std::str::from_utf8(text).ok()?;
        self.0 = rest;
        if self.word("\"").is_some() {
            return Some(Cow::Borrowed(text));
        }
        let mut text = text.to_owned();
        while self.word("\"").is_none() {
            if self.word("\\").is_some() {
                text.push(self.escaped()?);
            } else {
                let plain = memchr::memchr2(b'"', b'\\', self.0)?;
                let (more, rest) = self.0.split_at(plain);
                text.push_str(std::str::from_utf8(more).ok()?);
                self.0 = rest;
            }
        }
        Some(Cow::Owned(text))
    }

    fn escaped(&mut self) -> Option<char> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        match first {
            b'"' | b'\\' => Some(char::from(*first)),
            b'u' => {
                let (digits, rest) = self.0.split_at_checked(4)?;
                self.0 = rest;
                char::from_u32(u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?)
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
