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

/// How far the clock of a producer may be ahead of ours and still be believed.
const AHEAD_MAX: Duration = Duration::from_secs(3600);

/// A segment ends after this part of the time that events are hot, so that they do not stay much longer.
const SEGMENTS_OF_AGE: u32 = 4;

/// How long events stay where. Only [`Retention::delete`] deletes: a limit of a tier says when events leave it for the next
/// one, and where there is no next one they stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// In the log. What is older, or more, becomes warm.
    pub hot: Limits,
    /// On this machine. What is older, or more, goes to the object store; without one it stays here.
    pub warm: Limits,
    pub delete: Deletion,
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

/// Which files and objects are deleted, whatever tier they are in. What is not set deletes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Deletion {
    /// Those that are older.
    pub age: Option<Duration>,
    /// The oldest, when all of them together have more.
    pub bytes: Option<u64>,
    /// For each of these tenants how old its events become, in place of `age`.
    pub tenants: BTreeMap<String, Duration>,
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
            delete: Deletion::default(),
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

/// How many of the oldest segments become a warm file now. One that a wrong clock has dated to come does not hold up others.
pub(crate) fn to_seal(sealed: &[Sealed], hot: Limits, now: i64) -> usize {
    let mut left: u64 = sealed.iter().map(|segment| segment.bytes).sum();
    let mut run = 0;
    for (place, segment) in sealed.iter().enumerate() {
        let is_over = |age| segment.ended <= before(now, age) || is_to_come(segment.ended, now);
        let is_old = hot.age.is_some_and(is_over);
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

/// Which warm files become one: those of an hour that is over, then those of a day. Not those that are to be spared.
pub(crate) fn to_merge(
    objects: &[Object],
    is_spared: impl Fn(&Object) -> bool,
    now: i64,
) -> Option<Range<usize>> {
    [HOUR, DAY].into_iter().find_map(|unit| {
        let mut from = 0;
        while from < objects.len() {
            let run = run_of(&objects[from..], &is_spared, unit, now);
            if run > 1 {
                return Some(from..from + run);
            }
            from += 1;
        }
        None
    })
}

/// How many of the first objects belong to the same past unit of time and fit into one file.
fn run_of(objects: &[Object], is_spared: impl Fn(&Object) -> bool, unit: i64, now: i64) -> usize {
    let Some(first) = objects.first() else { return 0 };
    let when = first.began.div_euclid(unit);
    if when >= now.div_euclid(unit) {
        return 0;
    }
    let mut bytes = 0;
    let run = objects.iter().take_while(|object| {
        bytes += object.bytes;
        object.tier == Tier::Warm
            && object.began.div_euclid(unit) == when
            && bytes <= FILE_BYTES_MAX
            && !is_spared(object)
    });
    run.count()
}

/// The warm files that may go to the object store next, the oldest first: those that are old enough or, if there are too many
/// bytes, any.
pub(crate) fn to_place(objects: &[Object], warm: Limits, now: i64) -> Vec<&Object> {
    let is_much = warm
        .bytes
        .is_some_and(|bytes| bytes_of(objects, Tier::Warm) > bytes);
    let is_old = |place| {
        warm.age
            .is_some_and(|age| newest(objects, place, now) < before(now, age))
    };
    let places = 0..objects.len();
    let due = places.filter(|place| objects[*place].tier == Tier::Warm && (is_much || is_old(*place)));
    due.map(|place| &objects[place]).collect()
}

/// When the newest event of an object happened, as far as it can be believed. A producer's clock may be wrong: what it dates
/// to come was recorded before the log began what follows.
fn newest(objects: &[Object], place: usize, now: i64) -> i64 {
    let object = &objects[place];
    if !is_to_come(object.time_max, now) {
        return object.time_max;
    }
    let Some(next) = objects.get(place + 1) else {
        // Nothing is known of its end, so it is as new as can be.
        return now;
    };
    let times = [object.time_min, object.began, next.began].into_iter();
    times.filter(|time| *time <= now).max().unwrap_or(now)
}

fn is_to_come(time: i64, now: i64) -> bool {
    time > now.saturating_add(nanos(AHEAD_MAX))
}

/// What is to become of the object at this place by the age of its events, if that can be said without its summary.
pub(crate) fn by_age(objects: &[Object], place: usize, delete: &Deletion, now: i64) -> Option<Verdict> {
    let newest = newest(objects, place, now);
    let is_over = |age: Duration| newest < before(now, age);
    let mut ages = delete.tenants.values().copied();
    let mut others = ages.clone();
    match delete.age.map(is_over) {
        Some(true) if ages.all(is_over) => Some(Verdict::Drop),
        Some(true) => None,
        _ if others.any(is_over) => None,
        _ => Some(Verdict::Keep),
    }
}

/// What is to become of the object at this place by the age of its events.
pub(crate) fn by_age_of(
    objects: &[Object],
    place: usize,
    summary: &Summary,
    delete: &Deletion,
    now: i64,
) -> Verdict {
    let newest = newest(objects, place, now);
    let shares = summary.tenants();
    let is_over = |tenant: &str| {
        let age = delete.tenants.get(tenant).copied().or(delete.age);
        age.is_some_and(|age| newest < before(now, age))
    };
    let over: BTreeSet<String> = shares
        .keys()
        .filter(|tenant| is_over(tenant))
        .map(|tenant| (*tenant).to_owned())
        .collect();
    match over.len() {
        0 if !shares.is_empty() => Verdict::Keep,
        0 if delete.age.is_none_or(|age| newest >= before(now, age)) => Verdict::Keep,
        count if count == shares.len() => Verdict::Drop,
        _ => Verdict::Thin(over),
    }
}

/// Places of the oldest objects that are too much, of those that can be deleted at all.
pub(crate) fn too_much(
    objects: &[Object],
    delete: &Deletion,
    is_in_reach: impl Fn(&Object) -> bool,
) -> BTreeSet<usize> {
    let Some(most) = delete.bytes else {
        return BTreeSet::new();
    };
    let in_reach = objects
        .iter()
        .enumerate()
        .filter(|(_, object)| is_in_reach(object));
    let mut left: u64 = in_reach.clone().map(|(_, object)| object.bytes).sum();
    let too_many = in_reach.take_while(|(_, object)| {
        let is_too_much = left > most;
        left -= object.bytes;
        is_too_much
    });
    too_many.map(|(place, _)| place).collect()
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
    now.saturating_sub(nanos(age))
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
