//! The tool `tail`: the newest events, or those from a place on.

use axiom_events::{Next, Reader, Recorded};
use serde_json::{Value as Json, json};

use super::log::{Log, listed, seek};
use crate::builtin::arguments::{Arguments, Complaint};
use crate::events::{Filter, Place};

pub(super) const ARGUMENTS: &[&str] = &["filter", "count", "from", "before"];
pub(super) const COUNT: usize = 20;
pub(super) const COUNT_MAX: usize = 200;
/// Events that one call looks at. A filter that hardly anything fits is searched for in several calls.
const LOOKED_AT_MAX: u64 = 200_000;
/// Bytes of one result, about: a model has to read it.
const RESULT_BYTES_MAX: usize = 128 << 10;

/// What has been found, and what was left out.
#[derive(Default)]
struct Found {
    events: Vec<Json>,
    bytes: usize,
    gaps: Vec<Json>,
}

pub(super) fn run(log: &Log, arguments: &Arguments<'_>) -> Result<Json, Complaint> {
    let filter: Filter = arguments.parsed("filter")?.unwrap_or_default();
    let count = arguments.count("count", COUNT, COUNT_MAX)?;
    let (from, before) = (arguments.place("from")?, arguments.offset("before")?);
    if from.is_some() && before.is_some() {
        return Err(Complaint::new(
            "give `from` to go forwards or `before` to go backwards, not both",
        ));
    }
    let reader = log.reader()?;
    match from {
        Some(place) => forwards(&reader, &filter, count, place),
        None => backwards(&reader, &filter, count, before),
    }
}

fn forwards(reader: &Reader, filter: &Filter, count: usize, from: Place) -> Result<Json, Complaint> {
    let (mut at, since) = match from {
        Place::Offset(offset) => (offset.max(reader.first()), i64::MIN),
        Place::Time(time) => (seek(reader, time)?, time),
    };
    let mut found = Found::default();
    let limit = at.saturating_add(LOOKED_AT_MAX);
    let mut is_end = false;
    'blocks: while at < limit {
        match reader.at(at)? {
            Next::End => {
                is_end = true;
                break;
            }
            Next::Gap(gap) => {
                found.gaps.push(json!([gap.start, gap.end]));
                at = gap.end;
            }
            Next::Block(block) => {
                for recorded in block.events().filter(|recorded| recorded.offset >= at) {
                    if found.is_full(count) {
                        at = recorded.offset;
                        break 'blocks;
                    }
                    if recorded.event.time >= since && filter.wants(&recorded.event) {
                        found.push(&recorded);
                    }
                }
                at = block.offsets().end;
            }
        }
    }
    Ok(found.result(json!({"next_from": at, "is_end": is_end || at >= reader.end()})))
}

fn backwards(reader: &Reader, filter: &Filter, count: usize, before: Option<u64>) -> Result<Json, Complaint> {
    let (first, newest) = (reader.first(), reader.end());
    let mut end = before.map_or(newest, |before| before.min(newest));
    let limit = end.saturating_sub(LOOKED_AT_MAX);
    let mut found = Found::default();
    'blocks: while end > first && end > limit {
        let Next::Block(block) = reader.at(end - 1)? else {
            found.gaps.push(json!([end - 1, end]));
            end -= 1;
            continue;
        };
        for recorded in block.events().rev().filter(|recorded| recorded.offset < end) {
            if found.is_full(count) {
                end = recorded.offset + 1;
                break 'blocks;
            }
            if filter.wants(&recorded.event) {
                found.push(&recorded);
            }
        }
        end = block.offsets().start;
    }
    found.events.reverse();
    let is_end = end <= first;
    Ok(found.result(json!({"before": end, "is_end": is_end, "next_from": newest})))
}

impl Found {
    fn is_full(&self, count: usize) -> bool {
        self.events.len() >= count || self.bytes >= RESULT_BYTES_MAX
    }

    fn push(&mut self, recorded: &Recorded<'_>) {
        let event = listed(recorded);
        self.bytes += event.to_string().len();
        self.events.push(event);
    }

    fn result(self, mut places: Json) -> Json {
        places["events"] = Json::Array(self.events);
        if !self.gaps.is_empty() {
            places["missing"] = Json::Array(self.gaps);
        }
        places
    }
}
