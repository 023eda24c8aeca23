use std::sync::Arc;

use axiom_events::disk::Machine;

use super::*;

fn object(location: &str, offsets: std::ops::Range<u64>) -> Object {
    Object {
        tier: Tier::Warm,
        location: location.to_owned(),
        rows: offsets.end - offsets.start,
        offsets,
        bytes: 100,
        time_min: 1,
        time_max: 2,
        events_hash: [7; 32],
        bytes_hash: [8; 32],
        began: 3,
        hot_bytes: 400,
        lost: Vec::new(),
    }
}

fn seal(location: &str, offsets: std::ops::Range<u64>) -> Change {
    Change::Seal(Box::new(object(location, offsets)))
}

fn replace(removed: &[&str], added: Vec<Object>) -> Change {
    Change::Replace {
        removed: removed.iter().map(|name| (*name).to_owned()).collect(),
        added,
        retired: 0,
        why: "test".to_owned(),
    }
}

fn open(folder: &std::path::Path) -> Manifest {
    Manifest::open(Arc::new(Machine), folder, 0).unwrap()
}

/// A manifest in which three objects were sealed and the first two merged.
fn three(folder: &std::path::Path) -> Manifest {
    let manifest = open(folder);
    for (name, offsets) in [("a", 0..10), ("b", 10..20), ("c", 20..30)] {
        manifest.change("test", |_| Some(seal(name, offsets))).unwrap();
    }
    manifest
        .change("test", |_| Some(replace(&["a", "b"], vec![object("ab", 0..20)])))
        .unwrap();
    manifest
}

fn names(state: &State) -> Vec<&str> {
    state
        .objects
        .iter()
        .map(|object| object.location.as_str())
        .collect()
}

#[test]
fn says_again_what_was_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = three(folder.path());
    let read = open(folder.path());
    assert_eq!(*read.now(), *manifest.now());
    let state = read.now();
    assert_eq!(names(&state), ["ab", "c"]);
    assert_eq!((state.hot_from, state.sequence), (30, 4));
    let garbage: Vec<&str> = state
        .garbage
        .iter()
        .map(|garbage| garbage.location.as_str())
        .collect();
    assert_eq!(garbage, ["a", "b"]);
}

#[test]
fn refuses_what_would_lose_events_or_have_them_twice() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = three(folder.path());
    let before = manifest.now();
    let refused = [
        seal("d", 31..40),
        seal("d", 29..40),
        seal("d", 30..30),
        seal("c", 30..40),
        replace(&["x"], vec![]),
        replace(&["ab", "c"], vec![object("d", 0..31)]),
        replace(&["ab", "c"], vec![object("d", 0..20), object("e", 19..30)]),
        replace(&["c"], vec![object("c", 20..30)]),
        Change::Release { id: 1 },
        Change::State(Box::new(State::new(0))),
    ];
    for change in refused {
        let text = format!("{change:?}");
        let error = manifest.change("test", |_| Some(change)).unwrap_err();
        assert!(matches!(error, ManifestError::Impossible(_)), "{text}: {error}");
    }
    assert_eq!(*manifest.now(), *before);
    assert_eq!(*open(folder.path()).now(), *before);
}

#[test]
fn every_cut_of_the_file_is_a_state_that_once_was() {
    let folder = tempfile::tempdir().unwrap();
    drop(three(folder.path()));
    let path = folder.path().join(NAME);
    let whole = fs_err::read(&path).unwrap();
    let mut sequences = Vec::new();
    for length in 0..=whole.len() {
        fs_err::write(&path, &whole[..length]).unwrap();
        match Manifest::open(Arc::new(Machine), folder.path(), 0) {
            Ok(manifest) => {
                let sequence = manifest.now().sequence;
                sequences.push(sequence);
                // And it goes on from there.
                manifest
                    .change("test", |state| {
                        Some(seal("z", state.hot_from..state.hot_from + 1))
                    })
                    .unwrap();
                assert_eq!(open(folder.path()).now().sequence, sequence + 1);
            }
            // The first record is written before the file has its name: such a file cannot be.
            Err(ManifestError::Damaged { .. }) => assert!(sequences.is_empty(), "at {length}"),
            Err(error) => panic!("at {length}: {error}"),
        }
    }
    assert!(sequences.is_sorted());
    sequences.dedup();
    assert_eq!(sequences, [0, 1, 2, 3, 4]);
}

#[test]
fn every_flipped_bit_before_the_last_record_is_reported_with_its_place() {
    let folder = tempfile::tempdir().unwrap();
    drop(three(folder.path()));
    let path = folder.path().join(NAME);
    let whole = fs_err::read(&path).unwrap();
    let (records, _) = frames::records(&whole).unwrap();
    let (last, _) = records.last().unwrap();
    for at in 0..*last {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        fs_err::write(&path, &bytes).unwrap();
        let begin = records
            .iter()
            .rev()
            .map(|(begin, _)| *begin)
            .find(|begin| *begin <= at);
        match Manifest::open(Arc::new(Machine), folder.path(), 0) {
            Err(ManifestError::Damaged { at: place, .. }) => {
                assert_eq!(place, begin.unwrap_or(0) as u64, "a bit at {at}");
            }
            other => panic!("a bit at {at}: {other:?}"),
        }
    }
}

#[test]
fn is_written_anew_before_it_grows_without_end() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = open(folder.path());
    for n in 0..200u64 {
        manifest
            .change("test", |_| {
                Some(Change::Hold(Hold {
                    id: n,
                    reason: "x".repeat(4000),
                    ..Hold::default()
                }))
            })
            .unwrap();
        manifest
            .change("test", |_| Some(Change::Release { id: n }))
            .unwrap();
        manifest
            .change("test", |state| {
                let sequence = state.sequence;
                Some(Change::Told { sequence })
            })
            .unwrap();
    }
    let bytes = fs_err::metadata(folder.path().join(NAME)).unwrap().len();
    assert!(bytes < 2 * BYTES_MAX, "{bytes}");
    assert_eq!(open(folder.path()).now().sequence, 600);
}

#[test]
fn two_processes_may_change_it() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (three(folder.path()), open(folder.path()));
    other.change("other", |_| Some(seal("d", 30..40))).unwrap();
    // The first one has not read that: it decides on what is there, not on what it knows.
    let state = one
        .change("one", |state| {
            Some(seal("e", state.hot_from..state.hot_from + 10))
        })
        .unwrap();
    assert_eq!(names(&state), ["ab", "c", "d", "e"]);
    assert_eq!(*other.refresh().unwrap(), *state);
}

#[test]
fn a_pin_keeps_what_it_shows_until_it_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = three(folder.path());
    let floor = Floor::of(&manifest.now());
    assert_eq!(manifest.floor().unwrap(), floor);
    let snapshot = Snapshot::open(folder.path()).unwrap();
    manifest.change("test", |_| Some(seal("d", 30..40))).unwrap();
    assert_eq!(manifest.floor().unwrap(), floor);
    assert_eq!(snapshot.hot_from(), 30);
    assert!(snapshot.is_outdated().unwrap());
    drop(snapshot);
    assert_eq!(manifest.floor().unwrap(), Floor::of(&manifest.now()));
    // In this process a state is a pin, too.
    let shown = manifest.now();
    manifest.change("test", |_| Some(seal("e", 40..50))).unwrap();
    assert_eq!(manifest.floor().unwrap(), Floor::of(&shown));
    drop(shown);
    assert_eq!(manifest.floor().unwrap().hot_from, 50);
}

#[test]
fn a_pin_whose_owner_died_is_removed() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = three(folder.path());
    let stale = pins::folder(folder.path()).join("1-1.pin");
    fs_err::write(&stale, "0 0\n").unwrap();
    assert_eq!(manifest.floor().unwrap(), Floor::of(&manifest.now()));
    assert!(!stale.exists());
}

#[test]
fn whoever_looks_for_stale_pins_never_keeps_one_from_being_taken() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = three(folder.path());
    let is_over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(std::sync::atomic::Ordering::Relaxed) {
                    manifest.floor().unwrap();
                }
            });
        }
        for _ in 0..2000 {
            let snapshot = Snapshot::open(folder.path()).unwrap();
            assert!(snapshot._pin.is_some());
        }
        is_over.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}
