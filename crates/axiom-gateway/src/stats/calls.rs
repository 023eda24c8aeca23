//! Calls as numbers: of all, of each server, of each tool; since recording began, and lately.

use std::collections::BTreeMap;

use axiom_events::Event;
use serde::{Deserialize, Serialize};

use super::call::{Call, Numbers};
use super::histogram::Histogram;

/// Tools that are counted apart, over all servers. Beyond it a tool's calls count for its server, and as `(others)`: names
/// come from clients, and memory is bounded.
const TOOLS_MAX: usize = 512;
/// Servers that are counted apart.
const SERVERS_MAX: usize = 512;
pub(super) const OTHERS: &str = "(others)";
/// Ways in which events begin that are kept in mind.
const SORTS_MAX: usize = 16;

const SECOND: i64 = 1_000_000_000;
/// The last minute is kept in pieces of five seconds, the last hour in minutes.
pub(super) const MINUTE: Span = Span {
    slot: 5 * SECOND,
    slots: 12,
};
pub(super) const HOUR: Span = Span {
    slot: 60 * SECOND,
    slots: 60,
};

/// The outcomes, as they are recorded, and whether each is an error.
pub(super) const OUTCOMES: [(&str, bool); 9] = [
    ("result", false),
    ("tool_error", true),
    ("error", true),
    ("input_required", false),
    ("listening", false),
    ("fault", true),
    ("cancelled", false),
    ("gone", false),
    ("panicked", true),
];

/// All calls. Each is counted once, where it belongs most narrowly; whoever wants sums adds them up.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Calls {
    /// When the first of them was recorded, nanoseconds since 1970.
    pub(super) since: Option<i64>,
    /// By server; those that the gateway answered by itself are nobody's.
    pub(super) servers: BTreeMap<String, Server>,
    tools: usize,
    /// Events that are no calls as we know them.
    pub(super) unknown: u64,
    #[serde(skip)]
    sorts: Sorts,
}

/// How the latest events began: most others begin alike.
#[derive(Debug, Clone, Default)]
struct Sorts {
    kept: Vec<Sort>,
    /// The one that gives up its place next.
    next: usize,
}

/// Calls that differ in nothing but their numbers.
#[derive(Debug, Clone, Default)]
struct Sort {
    /// What their events begin with.
    words: Vec<u8>,
    server: String,
    tool: Option<String>,
    outcome: u8,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Server {
    pub(super) tools: BTreeMap<String, Series>,
    /// Calls that are no tool's.
    others: Series,
}

/// Calls of one sort over time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Series {
    /// The newest piece of the last minute: its number, and what the others do not have yet.
    newest: (i64, Tally),
    total: Tally,
    minute: Slots,
    hour: Slots,
}

/// Calls of one sort: all of them, and lately.
#[derive(Debug, Default)]
pub(super) struct Spans {
    pub(super) total: Tally,
    pub(super) last_minute: Tally,
    pub(super) last_hour: Tally,
}

/// A stretch of time in pieces.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    /// Nanoseconds.
    slot: i64,
    slots: i64,
}

/// The newest pieces of a span: the number of each and what was in it, ascending.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Slots(Vec<(i64, Tally)>);

/// Calls that are counted together.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tally {
    /// Place in [`OUTCOMES`] and count, ascending by place.
    outcomes: Vec<(u8, u64)>,
    pub(super) request_bytes: u64,
    pub(super) response_bytes: u64,
    /// Of those that got an answer.
    pub(super) durations: Histogram,
}

impl Calls {
    pub(super) fn count(&mut self, event: &Event<'_>) {
        let sorts = std::mem::take(&mut self.sorts);
        if let Some((sort, numbers)) = sorts.find(event.body) {
            self.add(
                event.time,
                &sort.server,
                sort.tool.as_deref(),
                sort.outcome,
                numbers,
            );
            self.sorts = sorts;
            return;
        }
        self.sorts = sorts;
        let read = Call::read(event.body);
        let outcome = read.as_ref().and_then(|(call, _)| {
            let place = OUTCOMES.iter().position(|(name, _)| *name == call.outcome)?;
            u8::try_from(place).ok()
        });
        let (Some((call, words)), Some(outcome)) = (read, outcome) else {
            self.unknown += 1;
            return;
        };
        self.add(event.time, &call.server, call.tool(), outcome, call.numbers());
        if let Some(words) = words {
            self.sorts.keep(words, &call, outcome);
        }
    }

    fn add(&mut self, time: i64, server: &str, tool: Option<&str>, outcome: u8, numbers: Numbers) {
        self.since.get_or_insert(time);
        let tools = &mut self.tools;
        let server = entry(&mut self.servers, server, |servers| servers.len() < SERVERS_MAX);
        let series = match tool {
            None => &mut server.others,
            Some(tool) => entry(&mut server.tools, tool, |_| {
                let fits = *tools < TOOLS_MAX;
                *tools += usize::from(fits);
                fits
            }),
        };
        series.add(time, numbers, outcome);
    }

    /// All calls there were.
    pub(super) fn spans(&self, now: i64) -> Spans {
        let mut sum = Spans::default();
        for server in self.servers.values() {
            server.add_to(&mut sum, now);
        }
        sum
    }
}

impl Sorts {
    /// What the event is, if one that began alike is known.
    fn find(&self, body: &[u8]) -> Option<(&Sort, Numbers)> {
        self.kept.iter().find_map(|sort| {
            let numbers = body.strip_prefix(sort.words.as_slice())?;
            Some((sort, Numbers::read(numbers)?))
        })
    }

    fn keep(&mut self, words: &[u8], call: &Call<'_>, outcome: u8) {
        if self.kept.len() < SORTS_MAX {
            self.kept.push(Sort::default());
        }
        let sort = &mut self.kept[self.next];
        self.next = (self.next + 1) % SORTS_MAX;
        sort.words.clear();
        sort.words.extend_from_slice(words);
        call.server.as_ref().clone_into(&mut sort.server);
        sort.tool = call.tool().map(str::to_owned);
        sort.outcome = outcome;
    }
}

/// What is kept under this name, or under that for all others where nothing more fits.
fn entry<'m, V: Default>(
    kept: &'m mut BTreeMap<String, V>,
    name: &str,
    fits: impl FnOnce(&BTreeMap<String, V>) -> bool,
) -> &'m mut V {
    let is_known = kept.contains_key(name);
    let name = if is_known || fits(kept) { name } else { OTHERS };
    if !is_known && !kept.contains_key(name) {
        kept.insert(name.to_owned(), V::default());
    }
    kept.get_mut(name).expect("it was put there")
}

impl Server {
    pub(super) fn spans(&self, now: i64) -> Spans {
        let mut sum = Spans::default();
        self.add_to(&mut sum, now);
        sum
    }

    fn add_to(&self, sum: &mut Spans, now: i64) {
        for series in self.tools.values().chain([&self.others]) {
            series.add_to(sum, now);
        }
    }
}

impl Series {
    fn add(&mut self, time: i64, numbers: Numbers, outcome: u8) {
        let slot = time.div_euclid(MINUTE.slot);
        if slot > self.newest.0 {
            let newest = std::mem::replace(&mut self.newest, (slot, Tally::default()));
            self.settle(&newest);
        }
        if slot == self.newest.0 {
            self.newest.1.add(numbers, outcome);
        } else {
            // Threads hand over one after the other, so some come late.
            let mut late = Tally::default();
            late.add(numbers, outcome);
            self.settle(&(slot, late));
        }
    }

    fn settle(&mut self, (slot, tally): &(i64, Tally)) {
        if *tally == Tally::default() {
            return;
        }
        self.total.add_all(tally);
        self.minute.add_all(MINUTE, *slot, tally);
        self.hour.add_all(HOUR, hour_slot(*slot), tally);
    }

    pub(super) fn spans(&self, now: i64) -> Spans {
        let mut sum = Spans::default();
        self.add_to(&mut sum, now);
        sum
    }

    fn add_to(&self, sum: &mut Spans, now: i64) {
        let (slot, newest) = &self.newest;
        sum.total.add_all(&self.total);
        sum.total.add_all(newest);
        self.minute.add_to(&mut sum.last_minute, MINUTE, now);
        if MINUTE.has(*slot, now) {
            sum.last_minute.add_all(newest);
        }
        self.hour.add_to(&mut sum.last_hour, HOUR, now);
        if HOUR.has(hour_slot(*slot), now) {
            sum.last_hour.add_all(newest);
        }
    }
}

/// In which piece of an hour a piece of a minute lies.
fn hour_slot(minute_slot: i64) -> i64 {
    minute_slot.div_euclid(HOUR.slot / MINUTE.slot)
}

impl Span {
    /// Whether a piece is not over yet, now.
    fn has(self, slot: i64, now: i64) -> bool {
        slot > now.div_euclid(self.slot) - self.slots
    }
}

impl Slots {
    fn add_all(&mut self, span: Span, slot: i64, tally: &Tally) {
        let newest = self.0.last().map_or(slot, |(newest, _)| slot.max(*newest));
        let oldest = newest - span.slots + 1;
        let gone = self.0.partition_point(|(slot, _)| *slot < oldest);
        self.0.drain(..gone);
        if slot < oldest {
            return;
        }
        match self.0.binary_search_by_key(&slot, |(slot, _)| *slot) {
            Ok(place) => self.0[place].1.add_all(tally),
            Err(place) => self.0.insert(place, (slot, tally.clone())),
        }
    }

    fn add_to(&self, sum: &mut Tally, span: Span, now: i64) {
        for (_, tally) in self.0.iter().filter(|(slot, _)| span.has(*slot, now)) {
            sum.add_all(tally);
        }
    }
}

impl Tally {
    fn add(&mut self, numbers: Numbers, outcome: u8) {
        self.add_outcome(outcome, 1);
        self.request_bytes += numbers.request_bytes;
        self.response_bytes += numbers.response_bytes;
        let (name, _) = OUTCOMES[usize::from(outcome)];
        // Of the others the duration is their clients' patience.
        if !matches!(name, "cancelled" | "gone" | "panicked") {
            self.durations.add(numbers.duration_us);
        }
    }

    fn add_all(&mut self, other: &Tally) {
        for (outcome, count) in &other.outcomes {
            self.add_outcome(*outcome, *count);
        }
        self.request_bytes += other.request_bytes;
        self.response_bytes += other.response_bytes;
        self.durations.add_all(&other.durations);
    }

    fn add_outcome(&mut self, outcome: u8, count: u64) {
        match self.outcomes.binary_search_by_key(&outcome, |(known, _)| *known) {
            Ok(place) => self.outcomes[place].1 += count,
            Err(place) => self.outcomes.insert(place, (outcome, count)),
        }
    }

    /// Name, whether it is an error, and count of each outcome that there was.
    pub(super) fn outcomes(&self) -> impl Iterator<Item = (&'static str, bool, u64)> {
        self.outcomes.iter().filter_map(|(place, count)| {
            let (name, is_error) = OUTCOMES.get(usize::from(*place))?;
            Some((*name, *is_error, *count))
        })
    }
}
