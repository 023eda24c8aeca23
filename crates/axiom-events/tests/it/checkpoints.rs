//! What is known of streams and ids when a log is opened again, whatever has become of its checkpoints.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axiom_events::verify::verify;
use axiom_events::{Append, AppendError, Event, EventId, Expected, Log, Options};

use crate::history::{FOLDER, block_on, read_all};
use crate::sim::Sim;

/// Events on each of the streams, which are named by numbers.
const EVENTS: u64 = 20;
const STREAMS: u64 = 5;

fn options() -> Options {
    let mut options = Options::new(FOLDER);
    options.segment_bytes = 4 << 10;
    options
}

fn of(stream: u64, number: u64, expected: Expected) -> Append {
    let stream = format!("stream-{stream}");
    let mut append = Append::default();
    let body = crate::sim::Random::new(number).bytes(300);
    let event = Event {
        stream: &stream,
        kind: "test",
        id: Some(EventId(number.into())),
        body: &body,
        ..Event::default()
    };
    append.batch.push(&event).expect("it keeps to the limits");
    append.expected = vec![(stream, expected)];
    append
}

/// A closed log of some segments, with a checkpoint at the end of each.
fn written() -> BTreeMap<PathBuf, Vec<u8>> {
    let sim = Sim::new(1);
    let log = Log::open(options(), sim.arc()).expect("it opens");
    for number in 0..EVENTS * STREAMS {
        let append = of(number % STREAMS, number, Expected::Any);
        block_on(log.append(append)).expect("it is recorded");
    }
    log.close();
    sim.contents()
}

fn of_kind(files: &BTreeMap<PathBuf, Vec<u8>>, extension: &str) -> Vec<PathBuf> {
    let has = |path: &&PathBuf| path.extension().is_some_and(|found| found == extension);
    files.keys().filter(has).cloned().collect()
}

/// Each stream goes on where it was, and each id is known.
fn knows_everything(files: &BTreeMap<PathBuf, Vec<u8>>) {
    let sim = Sim::holding(files);
    let log = Log::open(options(), sim.arc()).expect("it opens");
    assert_eq!(log.report(), &axiom_events::Report::default());
    for number in [0, 7, EVENTS * STREAMS - 1] {
        let again = block_on(log.append(of(0, number, Expected::Any))).expect("it is known");
        assert!(again.is_repeated && again.first_offset == number);
    }
    for stream in 0..STREAMS {
        let stale = of(stream, 1000 + stream, Expected::Exact(EVENTS - 2));
        match block_on(log.append(stale)) {
            Err(AppendError::Conflict(conflict)) => assert_eq!(conflict.last, Some(EVENTS - 1)),
            other => panic!("{other:?}"),
        }
        let next = of(stream, 1000 + stream, Expected::Exact(EVENTS - 1));
        let next = block_on(log.append(next)).expect("that is its version");
        assert_eq!(next.first_offset, EVENTS * STREAMS + stream);
    }
    log.close();
}

#[test]
fn a_checkpoint_that_is_sound_missing_or_damaged_makes_no_difference() {
    let files = written();
    knows_everything(&files);
    let checkpoints = of_kind(&files, "streams");
    assert_eq!(checkpoints.len(), 2, "the newest and the one before");
    for checkpoint in &checkpoints {
        let mut without = files.clone();
        without.remove(checkpoint);
        knows_everything(&without);
    }
    let mut without = files.clone();
    without.retain(|path, _| !checkpoints.contains(path));
    knows_everything(&without);
    let newest = checkpoints.last().expect("there are two");
    for at in 0..files[newest].len() {
        let mut damaged = files.clone();
        let file = damaged.get_mut(newest).expect("it is there");
        if at % 2 == 0 {
            file[at] ^= 1 << (at % 8);
        } else {
            file.truncate(at);
        }
        knows_everything(&damaged);
    }
    let mut garbage = files.clone();
    garbage.insert(PathBuf::from(FOLDER).join("7.streams"), b"?".to_vec());
    garbage.insert(
        PathBuf::from(FOLDER).join("18446744073709551615.streams"),
        Vec::new(),
    );
    garbage.insert(PathBuf::from(FOLDER).join("99999999999999999999.seg"), Vec::new());
    garbage.insert(PathBuf::from(FOLDER).join("streams.tmp"), Vec::new());
    garbage.insert(PathBuf::from(FOLDER).join("fresh.tmp"), Vec::new());
    knows_everything(&garbage);
}

/// The newest events are gone, but a checkpoint says how many there were: neither their offsets nor their versions are given
/// to others.
#[test]
fn a_checkpoint_beyond_the_end_is_told_and_nothing_is_given_twice() {
    let mut files = written();
    let newest = of_kind(&files, "seg").pop().expect("there are some");
    files.remove(&newest);
    let sim = Sim::holding(&files);
    let verdict = verify(&sim, FOLDER.as_ref()).expect("it can be read");
    let first = verdict.segments.last().expect("there are more").end_offset;
    let lost = first..EVENTS * STREAMS;
    assert_eq!(verdict.damage.len(), 1);
    assert_eq!(verdict.damage[0].offsets, lost);
    let log = Log::open(options(), sim.arc()).expect("it opens");
    assert_eq!(log.report().damage[0].offsets, lost);
    assert_eq!(read_all(&log.reader()).gaps, std::slice::from_ref(&lost));
    let next = block_on(log.append(of(0, 1000, Expected::Exact(EVENTS - 1)))).expect("that is its version");
    assert_eq!(next.first_offset, EVENTS * STREAMS);
    log.close();
    let log = Log::open(options(), sim.arc()).expect("it opens");
    let found = read_all(&log.reader());
    assert_eq!(found.gaps, [lost]);
    assert_eq!(found.events.last().map(|own| own.version), Some(EVENTS));
    log.close();
}

/// Of a stream, an old event is left and younger ones are damaged: its version does not go back.
#[test]
fn damage_before_the_checkpoint_does_not_turn_a_stream_back() {
    let mut files = written();
    let last = of_kind(&files, "seg").pop().expect("there are some");
    for (path, file) in &mut files {
        if path.extension().is_some_and(|found| found == "seg") && *path <= last {
            let middle = file.len() / 2;
            let end = file.len() - 128;
            file[middle..end].fill(0);
        }
    }
    let sim = Sim::holding(&files);
    let log = Log::open(options(), sim.arc()).expect("it opens");
    for stream in 0..STREAMS {
        let next = of(stream, 1000 + stream, Expected::Exact(EVENTS - 1));
        block_on(log.append(next)).expect("that is its version");
    }
    log.close();
}
