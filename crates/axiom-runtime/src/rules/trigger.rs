//! What a rule has seen of a task, and whether that is reason enough to act.

use std::collections::VecDeque;
use std::time::Duration;

use super::likeness::likeness;
use super::{Amount, Stream, Trigger};

/// Lines that are alike, each kind counted by itself. The kind that came the longest ago is forgotten first.
const KINDS_MAX: usize = 32;
/// A rate is counted in so many slices of its time: the present one and those before it.
pub(super) const SLICES: u32 = 16;

/// The changing part of one rule.
#[derive(Debug)]
pub(super) enum Seen {
    Pattern,
    Silence(Lull),
    Repeated(VecDeque<Kind>),
    Unchanged(Lull),
    Rate(VecDeque<Slice>),
}

/// A time in which nothing happened.
#[derive(Debug)]
pub(super) struct Lull {
    /// When something last happened, or was done about it.
    pub(super) since: Duration,
    /// Nobody looks before this time; never again if it is `None`.
    pub(super) not_before: Option<Duration>,
}

#[derive(Debug)]
pub(super) struct Kind {
    likeness: String,
    /// The last times it came, as many as make a reason.
    at: VecDeque<Duration>,
}

#[derive(Debug)]
pub(super) struct Slice {
    nth: u128,
    amount: u64,
}

/// A line that a task itself said.
#[derive(Debug, Clone, Copy)]
pub(super) struct Heard<'a> {
    pub(super) stream: Stream,
    /// Without what rules have typed.
    pub(super) own: &'a str,
    /// Of the whole line, with its end.
    pub(super) bytes: u64,
    pub(super) is_echo: bool,
}

impl Seen {
    pub(super) fn new(now: Duration, trigger: &Trigger) -> Seen {
        let lull = Lull {
            since: now,
            not_before: Some(Duration::ZERO),
        };
        match trigger {
            Trigger::Pattern { .. } => Seen::Pattern,
            Trigger::Silence { .. } => Seen::Silence(lull),
            Trigger::Repeated { .. } => Seen::Repeated(VecDeque::new()),
            Trigger::Unchanged { .. } => Seen::Unchanged(lull),
            Trigger::Rate { .. } => Seen::Rate(VecDeque::new()),
        }
    }

    /// Takes in a line. Says why the rule should act, if it should.
    pub(super) fn line(&mut self, now: Duration, trigger: &Trigger, heard: Heard<'_>) -> Option<String> {
        match (self, trigger) {
            (Seen::Pattern, Trigger::Pattern { pattern, streams }) => {
                let fits = !heard.is_echo && streams.has(heard.stream) && pattern.is_in(heard.own);
                fits.then(|| format!("it said {}", quoted(heard.own)))
            }
            (Seen::Silence(lull), Trigger::Silence { .. }) => {
                if !heard.is_echo {
                    lull.since = now;
                }
                None
            }
            (
                Seen::Repeated(kinds),
                Trigger::Repeated {
                    pattern,
                    streams,
                    times,
                    within,
                },
            ) => {
                let fits = !heard.is_echo && streams.has(heard.stream) && pattern.is_in(heard.own);
                let is_reason = fits && repeats(kinds, now, likeness(heard.own), *times, *within);
                is_reason.then(|| {
                    let line = quoted(heard.own);
                    format!("it said {times} times within {within:?} something like {line}")
                })
            }
            (Seen::Rate(slices), Trigger::Rate { per_second, over }) => {
                let (amount, most, what) = match per_second {
                    Amount::Lines(most) => (1, *most, "lines"),
                    Amount::Bytes(most) => (heard.bytes, *most, "B"),
                };
                let sum = add(slices, now, amount, *over);
                let is_more = u128::from(sum) * 1000 > u128::from(most) * over.as_millis();
                is_more.then(|| format!("it said {sum} {what} within {over:?}"))
            }
            _ => None,
        }
    }

    /// The rule has acted: what was the reason for that is no reason for another time.
    pub(super) fn acted(&mut self, now: Duration) {
        match self {
            Seen::Pattern => {}
            Seen::Silence(lull) | Seen::Unchanged(lull) => lull.since = now,
            // The last one that came stands at the end.
            Seen::Repeated(kinds) => drop(kinds.pop_back()),
            Seen::Rate(slices) => slices.clear(),
        }
    }
}

impl Lull {
    /// When it has lasted for `time`, and somebody may act.
    pub(super) fn due(&self, time: Duration) -> Option<Duration> {
        Some(self.since.saturating_add(time).max(self.not_before?))
    }
}

/// Counts a line, whose kind comes last then. Says whether it came `times` times `within` so long.
fn repeats(
    kinds: &mut VecDeque<Kind>,
    now: Duration,
    likeness: String,
    times: u32,
    within: Duration,
) -> bool {
    let mut kind = match kinds.iter().position(|kind| kind.likeness == likeness) {
        Some(nth) => kinds.remove(nth),
        None => {
            if kinds.len() >= KINDS_MAX {
                kinds.pop_front();
            }
            None
        }
    }
    .unwrap_or_else(|| Kind {
        likeness,
        at: VecDeque::new(),
    });
    if kind.at.len() >= times as usize {
        kind.at.pop_front();
    }
    kind.at.push_back(now);
    let is_enough = kind.at.len() >= times as usize;
    let is_soon = kind.at.front().is_some_and(|first| now - *first <= within);
    kinds.push_back(kind);
    is_enough && is_soon
}

/// Adds to the present slice, and sums it up with those of `over` that are before it.
fn add(slices: &mut VecDeque<Slice>, now: Duration, amount: u64, over: Duration) -> u64 {
    let nth = now.as_nanos() * u128::from(SLICES) / over.as_nanos().max(1);
    while slices
        .front()
        .is_some_and(|slice| slice.nth + u128::from(SLICES) <= nth)
    {
        slices.pop_front();
    }
    match slices.back_mut() {
        Some(slice) if slice.nth == nth => slice.amount = slice.amount.saturating_add(amount),
        _ => slices.push_back(Slice { nth, amount }),
    }
    slices
        .iter()
        .fold(0, |sum: u64, slice| sum.saturating_add(slice.amount))
}

/// The beginning of a line, for people.
fn quoted(line: &str) -> String {
    let line = line.trim();
    let short = line.get(..line.floor_char_boundary(80)).unwrap_or(line);
    format!("{short:?}")
}
