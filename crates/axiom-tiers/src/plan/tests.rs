use std::path::PathBuf;

use super::*;

const MINUTE: Duration = Duration::from_secs(60);
const NOW: i64 = 1000 * DAY;

fn segment(begun_min_ago: i64, ended_min_ago: i64, bytes: u64) -> Sealed {
    let at = |minutes: i64| NOW - minutes * (HOUR / 60);
    Sealed {
        path: PathBuf::new(),
        offsets: 0..1,
        created: at(begun_min_ago),
        ended: at(ended_min_ago),
        bytes,
    }
}

fn object(hours_ago: i64, bytes: u64) -> Object {
    Object {
        tier: Tier::Warm,
        location: String::new(),
        offsets: 0..1,
        rows: 1,
        bytes,
        time_min: NOW - hours_ago * HOUR,
        time_max: NOW - hours_ago * HOUR,
        events_hash: [0; 32],
        bytes_hash: [0; 32],
        began: NOW - hours_ago * HOUR,
        hot_bytes: 0,
        lost: Vec::new(),
    }
}

#[test]
fn seals_what_is_old_and_what_is_too_much() {
    let hot = |minutes: u32, bytes| Limits {
        age: Some(MINUTE * minutes),
        bytes: Some(bytes),
    };
    let sealed = [segment(90, 70, 10), segment(70, 50, 10), segment(50, 30, 10)];
    assert_eq!(to_seal(&sealed, hot(60, 100), NOW), 1);
    assert_eq!(to_seal(&sealed, hot(40, 100), NOW), 2);
    assert_eq!(to_seal(&sealed, hot(100, 100), NOW), 0);
    assert_eq!(to_seal(&sealed, hot(100, 20), NOW), 1);
    assert_eq!(to_seal(&sealed, hot(100, 0), NOW), 3);
    assert_eq!(to_seal(&sealed, Limits::default(), NOW), 0);
    // A full one is a file of its own, small ones share one.
    let full = [segment(90, 70, 64 << 20), segment(70, 50, 64 << 20)];
    assert_eq!(to_seal(&full, hot(1, 0), NOW), 1);
    // A clock was wrong for a while: what it has dated to come holds up nothing.
    let sealed = [
        segment(90, -5000, 10),
        segment(-5000, 70, 10),
        segment(70, 30, 10),
    ];
    assert_eq!(to_seal(&sealed, hot(60, 100), NOW), 2);
}

#[test]
fn merges_what_was_begun_in_the_same_past_hour_then_day() {
    let merged = |hours_ago: &[i64]| {
        let objects: Vec<Object> = hours_ago.iter().map(|hours| object(*hours, 10)).collect();
        to_merge(&objects, |_| false, NOW)
    };
    // NOW is the first moment of a day.
    assert_eq!(merged(&[3, 2, 2, 1]), Some(1..3));
    assert_eq!(merged(&[26, 3, 2, 1]), Some(1..4));
    assert_eq!(merged(&[49, 26, 3]), None);
    // What has begun is not over.
    assert_eq!(merged(&[0, 0, 0]), None);
    assert_eq!(merged(&[]), None);
}

#[test]
fn merges_nothing_into_a_file_that_would_be_too_large() {
    let objects = [object(2, FILE_BYTES_MAX - 5), object(2, 10), object(2, 10)];
    assert_eq!(to_merge(&objects, |_| false, NOW), Some(1..3));
    let objects = [object(2, FILE_BYTES_MAX), object(2, FILE_BYTES_MAX)];
    assert_eq!(to_merge(&objects, |_| false, NOW), None);
}

#[test]
fn does_not_merge_with_what_is_cold() {
    let mut objects = [object(2, 10), object(2, 10), object(2, 10)];
    objects[0].tier = Tier::Cold;
    assert_eq!(to_merge(&objects, |_| false, NOW), Some(1..3));
    objects[1].tier = Tier::Cold;
    assert_eq!(to_merge(&objects, |_| false, NOW), None);
}

#[test]
fn merges_around_what_is_spared() {
    let mut objects = [2, 2, 2, 2, 2].map(|hours| object(hours, 10));
    for (place, object) in objects.iter_mut().enumerate() {
        object.location = place.to_string();
    }
    let merged = |spared: &str| to_merge(&objects, |object| object.location == spared, NOW);
    assert_eq!(merged("0"), Some(1..5));
    assert_eq!(merged("1"), Some(2..5));
    assert_eq!(merged("2"), Some(0..2));
}

#[test]
fn places_the_oldest_when_it_is_old_or_too_much() {
    let objects = [object(50, 10), object(40, 10)];
    let limits = |hours: Option<u32>, bytes| Limits {
        age: hours.map(|hours| MINUTE * 60 * hours),
        bytes,
    };
    let placed = |limits| -> Vec<i64> {
        let due = to_place(&objects, limits, NOW).into_iter();
        due.map(|object| (NOW - object.time_max) / HOUR).collect()
    };
    assert_eq!(placed(limits(Some(49), None)), [50]);
    assert_eq!(placed(limits(Some(39), None)), [50, 40]);
    assert!(placed(limits(Some(51), None)).is_empty());
    // The oldest goes; if it cannot, the next one does.
    assert_eq!(placed(limits(None, Some(19))), [50, 40]);
    assert!(placed(limits(None, Some(20))).is_empty());
    assert!(placed(limits(None, None)).is_empty());
}

#[test]
fn what_a_wrong_clock_says_is_not_believed() {
    let mut objects = [object(50, 10), object(30, 10), object(20, 10)];
    objects[0].time_max = NOW + 1000 * HOUR;
    // It was recorded before the log began the next one.
    assert_eq!(newest(&objects, 0, NOW), NOW - 30 * HOUR);
    // Nothing is recorded behind it.
    assert_eq!(newest(&objects[..1], 0, NOW), NOW);
    // The log's own clock was far behind meanwhile: then it is as new as its other events.
    objects[1].began = 0;
    assert_eq!(newest(&objects, 0, NOW), NOW - 50 * HOUR);
    // A little ahead is believed.
    objects[0].time_max = NOW + HOUR / 2;
    assert_eq!(newest(&objects, 0, NOW), NOW + HOUR / 2);
}

#[test]
fn says_what_is_over_without_a_summary_where_it_can() {
    let objects = [object(50, 10)];
    let age = |hours: u32| Some(MINUTE * 60 * hours);
    let over = |age, acme: Option<Duration>| {
        let tenants = acme.map(|age| ("acme".to_owned(), age)).into_iter().collect();
        let delete = Deletion {
            age,
            bytes: None,
            tenants,
        };
        by_age(&objects, 0, &delete, NOW)
    };
    assert_eq!(over(None, None), Some(Verdict::Keep));
    assert_eq!(over(age(60), age(60)), Some(Verdict::Keep));
    assert_eq!(over(age(40), None), Some(Verdict::Drop));
    assert_eq!(over(age(40), age(40)), Some(Verdict::Drop));
    assert_eq!(over(age(40), age(60)), None);
    assert_eq!(over(age(60), age(40)), None);
    assert_eq!(over(None, age(40)), None);
}

#[test]
fn drops_the_oldest_of_what_is_too_much_and_can_be_deleted() {
    let mut objects = [object(50, 10), object(40, 10), object(30, 10)];
    let dropped = |objects: &[Object], bytes, has_store: bool| -> Vec<usize> {
        let delete = Deletion {
            bytes,
            ..Deletion::default()
        };
        let is_in_reach = |object: &Object| has_store || object.tier == Tier::Warm;
        too_much(objects, &delete, is_in_reach).into_iter().collect()
    };
    assert!(dropped(&objects, Some(30), false).is_empty());
    assert_eq!(dropped(&objects, Some(29), false), [0]);
    assert_eq!(dropped(&objects, Some(5), false), [0, 1, 2]);
    assert!(dropped(&objects, None, false).is_empty());
    // In the object store or not: what is deleted is deleted.
    objects[0].tier = Tier::Cold;
    assert_eq!(dropped(&objects, Some(20), true), [0]);
    // What is not in reach neither counts nor goes.
    assert!(dropped(&objects, Some(20), false).is_empty());
    assert_eq!(dropped(&objects, Some(19), false), [1]);
}
