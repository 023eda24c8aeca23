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
}

#[test]
fn merges_what_was_begun_in_the_same_past_hour_then_day() {
    let merged = |hours_ago: &[i64]| {
        let objects: Vec<Object> = hours_ago.iter().map(|hours| object(*hours, 10)).collect();
        to_merge(&objects, NOW)
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
    assert_eq!(to_merge(&objects, NOW), Some(1..3));
    let objects = [object(2, FILE_BYTES_MAX), object(2, FILE_BYTES_MAX)];
    assert_eq!(to_merge(&objects, NOW), None);
}

#[test]
fn does_not_merge_with_what_is_cold() {
    let mut objects = [object(2, 10), object(2, 10), object(2, 10)];
    objects[0].tier = Tier::Cold;
    assert_eq!(to_merge(&objects, NOW), Some(1..3));
    objects[1].tier = Tier::Cold;
    assert_eq!(to_merge(&objects, NOW), None);
}

#[test]
fn places_the_oldest_when_it_is_old_or_too_much() {
    let objects = [object(50, 10), object(40, 10)];
    let limits = |hours: Option<u32>, bytes| Limits {
        age: hours.map(|hours| MINUTE * 60 * hours),
        bytes,
    };
    let placed = |limits| to_place(&objects, limits, NOW).map(|object| (NOW - object.time_max) / HOUR);
    assert_eq!(placed(limits(Some(49), None)), Some(50));
    assert_eq!(placed(limits(Some(51), None)), None);
    assert_eq!(placed(limits(None, Some(19))), Some(50));
    assert_eq!(placed(limits(None, Some(20))), None);
    assert_eq!(placed(limits(None, None)), None);
}

#[test]
fn drops_the_oldest_of_what_is_too_much_in_the_last_tier() {
    let mut objects = [object(50, 10), object(40, 10), object(30, 10)];
    let retention = |bytes| Retention {
        warm: Limits { age: None, bytes },
        ..Retention::default()
    };
    assert_eq!(too_much(&objects, &retention(Some(30)), false), 0);
    assert_eq!(too_much(&objects, &retention(Some(29)), false), 1);
    assert_eq!(too_much(&objects, &retention(Some(5)), false), 3);
    assert_eq!(too_much(&objects, &retention(None), false), 0);
    // With a store what is warm goes there instead.
    assert_eq!(too_much(&objects, &retention(Some(5)), true), 0);
    objects[0].tier = Tier::Cold;
    let cold = Retention {
        cold: Limits {
            age: None,
            bytes: Some(5),
        },
        ..Retention::default()
    };
    assert_eq!(too_much(&objects, &cold, true), 1);
}
