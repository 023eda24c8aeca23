//! Calls as numbers: of all, of each server, of each tool; since recording began, and lately.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axiom_events::Event;
use serde::{Deserialize, Serialize};

use super::histogram::Histogram;

/// Tools that are counted apart, over all servers. Beyond it a tool's calls count for its server, and as `(others)`: names
/// come from clients, and memory is bounded.
const TOOLS_MAX: usize = 512;
/// Servers that are counted apart.
const SERVERS_MAX: usize = 512;
pub(super) const OTHERS: &str = "(others)";

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

/// All calls.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Calls {
    /// When the first of them was recorded, nanoseconds since 1970.
    pub(super) since: Option<i64>,
    pub(super) all: Series,
    /// By server; those that the gateway answered by itself are nobody's.
    pub(super) servers: BTreeMap<String, Server>,
    tools: usize,
    /// Events that are no calls as we know them.
    pub(super) unknown: u64,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Server {
    pub(super) series: Series,
    pub(super) tools: BTreeMap<String, Series>,
}

/// Calls of one sort over time.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Series {
    pub(super) total: Tally,
    minute: Slots,
    hour: Slots,
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

/// What an event says of a call.
#[derive(Debug, Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    method: Cow<'a, str>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    #[serde(borrow)]
    server: Option<Text<'a>>,
    #[serde(borrow)]
    outcome: Cow<'a, str>,
    #[serde(default)]
    request_bytes: u64,
    #[serde(default)]
    response_bytes: u64,
    #[serde(default)]
    duration_us: u64,
}

/// A text that is copied only where it has escapes, also as something that may be missing.
#[derive(Debug, Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Calls {
    pub(super) fn count(&mut self, event: &Event<'_>) {
        let call: Option<Call<'_>> = serde_json::from_slice(event.body).ok();
        let outcome = call.as_ref().and_then(|call| {
            let place = OUTCOMES.iter().position(|(name, _)| *name == call.outcome)?;
            u8::try_from(place).ok()
        });
        let (Some(call), Some(outcome)) = (call, outcome) else {
            self.unknown += 1;
            return;
        };
        self.since.get_or_insert(event.time);
        let add = |series: &mut Series| series.add(event.time, &call, outcome);
        add(&mut self.all);
        let server = call.server.as_ref().map_or("", |text| &*text.0);
        let is_known = self.servers.contains_key(server) || self.servers.len() < SERVERS_MAX;
        let name = if is_known { server } else { OTHERS };
        if !self.servers.contains_key(name) {
            self.servers.insert(name.to_owned(), Server::default());
        }
        let known = self.servers.get_mut(name).expect("it was put there");
        add(&mut known.series);
        if call.method != "tools/call" {
            return;
        }
        // At the endpoint of all servers its name has the server's in front.
        let whole = call.name.as_ref().map_or("", |text| &*text.0);
        let own = whole
            .strip_prefix(server)
            .and_then(|rest| rest.strip_prefix("__"));
        let tool = own.filter(|own| !own.is_empty()).unwrap_or(whole);
        if let Some(series) = known.tools.get_mut(tool) {
            return add(series);
        }
        let tool = if self.tools < TOOLS_MAX {
            self.tools += 1;
            tool
        } else {
            OTHERS
        };
        add(known.tools.entry(tool.to_owned()).or_default());
    }
}

impl Series {
    fn add(&mut self, time: i64, call: &Call<'_>, outcome: u8) {
        self.total.add(call, outcome);
        self.minute.add(MINUTE, time, call, outcome);
        self.hour.add(HOUR, time, call, outcome);
    }

    pub(super) fn last_minute(&self, now: i64) -> Tally {
        self.minute.sum(MINUTE, now)
    }

    pub(super) fn last_hour(&self, now: i64) -> Tally {
        self.hour.sum(HOUR, now)
    }
}

impl Slots {
    fn add(&mut self, span: Span, time: i64, call: &Call<'_>, outcome: u8) {
        let slot = time.div_euclid(span.slot);
        let newest = self.0.last().map_or(slot, |(newest, _)| slot.max(*newest));
        let oldest = newest - span.slots + 1;
        let gone = self.0.partition_point(|(slot, _)| *slot < oldest);
        self.0.drain(..gone);
        if slot < oldest {
            return;
        }
        match self.0.binary_search_by_key(&slot, |(slot, _)| *slot) {
            Ok(place) => self.0[place].1.add(call, outcome),
            Err(place) => {
                let mut tally = Tally::default();
                tally.add(call, outcome);
                self.0.insert(place, (slot, tally));
            }
        }
    }

    fn sum(&self, span: Span, now: i64) -> Tally {
        let newest = now.div_euclid(span.slot);
        let mut sum = Tally::default();
        for (slot, tally) in &self.0 {
            if *slot > newest - span.slots {
                sum.add_all(tally);
            }
        }
        sum
    }
}

impl Tally {
    fn add(&mut self, call: &Call<'_>, outcome: u8) {
        self.add_outcome(outcome, 1);
        self.request_bytes += call.request_bytes;
        self.response_bytes += call.response_bytes;
        let (name, _) = OUTCOMES[usize::from(outcome)];
        // Of the others the duration is their clients' patience.
        if !matches!(name, "cancelled" | "gone" | "panicked") {
            self.durations.add(call.duration_us);
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
