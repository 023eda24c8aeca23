//! What is due: pure decisions over what there is, what is wanted, and what time it is.
//!
//! Files are merged by the hour and the day in which the log began them. That is a matter of how many files there are and
//! nothing else: what a file has is a range of offsets, and whose time is over is asked of its events.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::Duration;

use axiom_events::archive::Summary;
use axiom_events::{Recorded, Sealed};

use crate::manifest::{Hold, Object, Tier};

const HOUR: i64 = 3_600_000_000_000;
const DAY: i64 = 24 * HOUR;

/// Segments that become one file: as much as a full one.
const SEAL_BYTES_MAX: u64 = 64 << 20;
/// A file is not merged into one that is larger than this.
const FILE_BYTES_MAX: u64 = 512 << 20;

/// A segment ends after this part of the time that events are hot, so that they do not stay much longer.
const SEGMENTS_OF_AGE: u32 = 4;

/// How long events stay where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// In the log. What is older, or more, becomes warm.
    pub hot: Limits,
    /// On this machine. What is older, or more, goes to the object store; without one it is deleted.
    pub warm: Limits,
    /// In the object store. What is older, or more, is deleted.
    pub cold: Limits,
    /// How long events of a tenant are kept in all; in place of what deletes those of others.
    pub tenants: BTreeMap<String, Duration>,
}

impl Retention {
    /// After how much time a segment of the log ends, however small it is.
    pub fn segment_age(&self) -> Option<Duration> {
        self.hot.age.map(|age| age / SEGMENTS_OF_AGE)
    }
}

/// What is not set has no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    pub age: Option<Duration>,
    pub bytes: Option<u64>,
}

impl Default for Retention {
    /// The log stays small, and nothing is ever deleted.
    fn default() -> Retention {
        Retention {
            hot: Limits {
                age: Some(Duration::from_secs(3600)),
                bytes: Some(256 << 20),
            },
            warm: Limits::default(),
            cold: Limits::default(),
            tenants: BTreeMap::new(),
        }
    }
}

/// What is to become of an object whose time is over for somebody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Verdict {
    Keep,
    /// Nobody's events in it are kept any more.
    Drop,
    /// Events of these tenants are not kept any more, but for those that are held.
    Thin(BTreeSet<String>),
}

/// How many of the oldest segments become a warm file now.
pub(crate) fn to_seal(sealed: &[Sealed], hot: Limits, now: i64) -> usize {
    let mut left: u64 = sealed.iter().map(|segment| segment.bytes).sum();
    let mut run = 0;
    for (place, segment) in sealed.iter().enumerate() {
        let is_old = hot.age.is_some_and(|age| segment.ended <= before(now, age));
        let is_much = hot.bytes.is_some_and(|bytes| left > bytes);
        if !is_old && !is_much {
            return place;
        }
        run += segment.bytes;
        if place > 0 && run > SEAL_BYTES_MAX {
            return place;
        }
        left -= segment.bytes;
    }
    sealed.len()
}

/// Which warm files become one: those of an hour that is over, then those of a day.
pub(crate) fn to_merge(objects: &[Object], now: i64) -> Option<Range<usize>> {
    [HOUR, DAY].into_iter().find_map(|unit| {
        let mut from = 0;
        while from < objects.len() {
            let run = run_of(&objects[from..], unit, now);
            if run > 1 {
                return Some(from..from + run);
            }
            from += 1;
        }
        None
    })
}

/// How many of the first objects belong to the same past unit of time and fit into one file.
fn run_of(objects: &[Object], unit: i64, now: i64) -> usize {
    let Some(first) = objects.first() else { return 0 };
    let when = first.began.div_euclid(unit);
    if when >= now.div_euclid(unit) {
        return 0;
    }
    let mut bytes = 0;
    let run = objects.iter().take_while(|object| {
        bytes += object.bytes;
        object.tier == Tier::Warm && object.began.div_euclid(unit) == when && bytes <= FILE_BYTES_MAX
    });
    run.count()
}

/// The warm file that goes to the object store next: the oldest one, if it is old enough or there are too many bytes.
pub(crate) fn to_place(objects: &[Object], warm: Limits, now: i64) -> Option<&Object> {
    let total: u64 = bytes_of(objects, Tier::Warm);
    let oldest = objects.iter().find(|object| object.tier == Tier::Warm)?;
    let is_old = warm.age.is_some_and(|age| oldest.time_max < before(now, age));
    let is_much = warm.bytes.is_some_and(|bytes| total > bytes);
    (is_old || is_much).then_some(oldest)
}

/// What deletes in the end: the last tier's limits.
pub(crate) fn last(retention: &Retention, has_store: bool) -> (Tier, Limits) {
    match has_store {
        true => (Tier::Cold, retention.cold),
        false => (Tier::Warm, retention.warm),
    }
}

/// Whether an object is so old that somebody's events in it may be over. Its summary must be asked.
pub(crate) fn may_be_over(object: &Object, retention: &Retention, has_store: bool, now: i64) -> bool {
    let ages = retention.tenants.values().copied();
    let ages = ages.chain(last(retention, has_store).1.age);
    ages.min().is_some_and(|age| object.time_max < before(now, age))
}

/// What is to become of an object by the age of its events.
pub(crate) fn by_age(
    object: &Object,
    summary: &Summary,
    retention: &Retention,
    has_store: bool,
    now: i64,
) -> Verdict {
    let common = last(retention, has_store).1.age;
    let shares = summary.tenants();
    let is_over = |tenant: &str| {
        let age = retention.tenants.get(tenant).copied().or(common);
        age.is_some_and(|age| object.time_max < before(now, age))
    };
    let over: BTreeSet<String> = shares
        .keys()
        .filter(|tenant| is_over(tenant))
        .map(|tenant| (*tenant).to_owned())
        .collect();
    match over.len() {
        0 if !shares.is_empty() => Verdict::Keep,
        0 if common.is_none_or(|age| object.time_max >= before(now, age)) => Verdict::Keep,
        count if count == shares.len() => Verdict::Drop,
        _ => Verdict::Thin(over),
    }
}

/// The oldest objects that are too much for the last tier.
pub(crate) fn too_much(objects: &[Object], retention: &Retention, has_store: bool) -> usize {
    let (tier, limits) = last(retention, has_store);
    let Some(most) = limits.bytes else { return 0 };
    let mut left = bytes_of(objects, tier);
    let mut count = 0;
    for object in objects.iter().take_while(|object| object.tier == tier) {
        if left <= most {
            break;
        }
        left -= object.bytes;
        count += 1;
    }
    count
}

/// Whether an event must be kept.
pub(crate) fn is_held(holds: &[Hold], recorded: &Recorded<'_>) -> bool {
    let event = &recorded.event;
    let is = |wanted: &Option<String>, name: &str| wanted.as_ref().is_none_or(|wanted| wanted == name);
    holds.iter().any(|hold| {
        is(&hold.tenant, event.tenant)
            && is(&hold.stream, event.stream)
            && is(&hold.task, event.task)
            && hold.from.is_none_or(|from| event.time >= from)
            && hold.to.is_none_or(|to| event.time < to)
    })
}

/// Whether an object may have events that must be kept.
pub(crate) fn may_be_held(holds: &[Hold], object: &Object, summary: &Summary) -> bool {
    let tenants = summary.tenants();
    holds.iter().any(|hold| {
        hold.from.is_none_or(|from| object.time_max >= from)
            && hold.to.is_none_or(|to| object.time_min < to)
            && hold
                .tenant
                .as_ref()
                .is_none_or(|tenant| tenants.contains_key(tenant.as_str()))
            && hold
                .task
                .as_ref()
                .is_none_or(|task| task.is_empty() || summary.has_task(task))
            && hold
                .stream
                .as_ref()
                .is_none_or(|stream| summary.versions(stream).is_some())
    })
}

pub(crate) fn bytes_of(objects: &[Object], tier: Tier) -> u64 {
    let objects = objects.iter().filter(|object| object.tier == tier);
    objects.map(|object| object.bytes).sum()
}

/// The time so long before now.
pub(crate) fn before(now: i64, age: Duration) -> i64 {
    now.saturating_sub(i64::try_from(age.as_nanos()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests;
