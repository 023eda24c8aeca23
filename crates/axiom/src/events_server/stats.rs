//! The tool `stats`: how many events there are, by what the index has counted already.

use axiom_events::Level;
use axiom_events::find::{By, Group, Totals, TotalsError};
use serde_json::{Map, Value as Json, json};

use super::log::Log;
use crate::builtin::arguments::{Arguments, Complaint};
use crate::events::{Place, moment};

pub(super) const ARGUMENTS: &[&str] = &[
    "by", "from", "to", "kind", "task", "tenant", "level", "count", "cursor",
];
/// What can be counted apart.
pub(super) const BY: &[&str] = &["kind", "level", "task", "tenant", "minute", "hour", "day"];
pub(super) const COUNT: usize = 100;
pub(super) const COUNT_MAX: usize = 1_000;

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3_600 * SECOND;

pub(super) fn run(log: &Log, arguments: &Arguments<'_>) -> Result<Json, Complaint> {
    let by = by(arguments)?;
    let task = arguments.text("task")?;
    // What the index has counted is whole seconds, or whole hours where tasks matter.
    let unit = match by.task || task.is_some() {
        true => HOUR,
        false => SECOND,
    };
    if by.time % unit != 0 {
        return Err(Complaint::new(
            "tasks are counted by the hour: take `hour` or `day` with `task`",
        ));
    }
    let from = time(arguments, "from")?.map(|from| from.div_euclid(unit) * unit);
    let to = time(arguments, "to")?.map(|to| -(-to).div_euclid(unit) * unit);
    let times = match (from, to) {
        (None, None) => 0..0,
        (from, to) => from.unwrap_or(0)..to.unwrap_or(i64::MAX / HOUR * HOUR),
    };
    if times.start > times.end || (times.is_empty() && (from.is_some() || to.is_some())) {
        return Err(Complaint::new("`to` must be after `from`"));
    }
    let level_min: Option<Level> =
        match arguments.text("level")? {
            Some(text) => Some(text.parse().map_err(|()| {
                Complaint::new("`level` must be trace, debug, info, warn, error or critical")
            })?),
            None => None,
        };
    let totals = Totals {
        times: times.clone(),
        tenant: arguments.text("tenant")?,
        task,
        kind: arguments.text("kind")?,
        level_min,
        by,
    };
    let count = arguments.count("count", COUNT, COUNT_MAX)?;
    let skip = arguments.offset("cursor")?.unwrap_or(0);
    let skip = usize::try_from(skip).unwrap_or(usize::MAX);
    let mut groups = log.reader()?.totals(&totals).map_err(|error| match error {
        TotalsError::Read(error) => error.into(),
        uneven @ TotalsError::Uneven { .. } => Complaint::new(uneven.to_string()),
    })?;
    if by.time == 0 {
        // The most first; among equals in the order of their names.
        groups.sort_by_key(|(_, count)| std::cmp::Reverse(count.events));
    }
    let sum =
        |field: fn(&axiom_events::Count) -> u64| groups.iter().map(|(_, count)| field(count)).sum::<u64>();
    let mut result = json!({
        "events": sum(|count| count.events),
        "body_bytes": sum(|count| count.body_bytes),
        "groups": groups.iter().skip(skip).take(count).map(|(group, count)| {
            let mut shown = names(group, by);
            shown.insert("events".to_owned(), json!(count.events));
            shown.insert("body_bytes".to_owned(), json!(count.body_bytes));
            Json::Object(shown)
        }).collect::<Vec<_>>(),
    });
    if from.is_some() {
        result["from"] = json!(moment::full(times.start));
    }
    if to.is_some() {
        result["to"] = json!(moment::full(times.end));
    }
    if skip.saturating_add(count) < groups.len() {
        result["next_cursor"] = json!((skip + count).to_string());
    }
    Ok(result)
}

fn by(arguments: &Arguments<'_>) -> Result<By, Complaint> {
    let mut by = By::default();
    let wrong = || Complaint(format!("`by` must be a list of some of {}", BY.join(", ")));
    let words = match arguments.get("by") {
        None => vec!["kind", "level"],
        Some(Json::String(word)) => vec![word.as_str()],
        Some(Json::Array(words)) => words
            .iter()
            .map(|word| word.as_str().ok_or_else(wrong))
            .collect::<Result<_, _>>()?,
        Some(_) => return Err(wrong()),
    };
    for word in words {
        match word {
            "kind" => by.kind = true,
            "level" => by.level = true,
            "task" => by.task = true,
            "tenant" => by.tenant = true,
            "minute" => by.time = 60 * SECOND,
            "hour" => by.time = HOUR,
            "day" => by.time = 24 * HOUR,
            _ => return Err(wrong()),
        }
    }
    Ok(by)
}

fn time(arguments: &Arguments<'_>, name: &str) -> Result<Option<i64>, Complaint> {
    match arguments.place(name)? {
        None => Ok(None),
        Some(Place::Time(time)) => Ok(Some(time)),
        Some(Place::Offset(_)) => Err(Complaint(format!(
            "`{name}` must be a time, like 2026-07-28T09:00:00Z, or how long ago, like 10m"
        ))),
    }
}

fn names(group: &Group, by: By) -> Map<String, Json> {
    let mut shown = Map::new();
    if let Some(time) = group.time {
        shown.insert("time".to_owned(), json!(moment::full(time)));
    }
    let words = [
        ("kind", &group.kind),
        ("task", &group.task),
        ("tenant", &group.tenant),
    ];
    for (key, word) in words {
        if let Some(word) = word {
            shown.insert(key.to_owned(), json!(word));
        }
    }
    if by.level
        && let Some(level) = group.level
    {
        shown.insert("level".to_owned(), json!(level.name()));
    }
    shown
}
