//! A log to which nothing is appended any more: its newest segment ends when somebody asks, and what comes later goes on behind it.

use std::path::Path;
use std::time::Duration;

use axiom_events::verify::verify;
use axiom_events::{Append, Event, Log};

use crate::history::{FOLDER, block_on, open, read_all};
use crate::sim::{EIO, Fault, Sim};

/// Longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn of(body: &str) -> Append {
    let mut append = Append::default();
    let event = Event {
        stream: "s",
        kind: "test",
        body: body.as_bytes(),
        ..Event::default()
    };
    append.batch.push(&event).expect("it keeps to the limits");
    append
}

fn append(log: &Log, body: &str) {
    block_on(log.append(of(body))).expect("it is recorded");
}

/// Ends the newest segment, whenever it was begun, and waits for it.
fn end(log: &Log) {
    log.end_segment(i64::MAX);
    let end = log.reader().end();
    let since = axiom_core::time::now();
    while ended(log).last() != Some(&end) {
        assert!(since.elapsed() < PATIENCE, "it ends");
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Where segments have ended.
fn ended(log: &Log) -> Vec<u64> {
    let sealed = log.sealed().expect("it can be read");
    sealed.into_iter().map(|segment| segment.offsets.end).collect()
}

fn bodies(log: &Log) -> Vec<String> {
    let events = read_all(&log.reader()).events;
    let text = |body: Vec<u8>| String::from_utf8(body).expect("it is text");
    events.into_iter().map(|own| text(own.body)).collect()
}

fn is_sound(sim: &Sim) {
    let verdict = verify(sim, Path::new(FOLDER)).expect("it can be read");
    assert!(verdict.is_sound(), "{verdict:#?}");
}

fn segments(sim: &Sim) -> usize {
    let files = sim.contents();
    let is_segment = |path: &&std::path::PathBuf| path.extension().is_some_and(|suffix| suffix == "seg");
    files.keys().filter(is_segment).count()
}

#[test]
fn a_segment_ends_though_nothing_comes_and_an_empty_one_does_not() {
    let sim = Sim::new(1);
    let log = open(&sim);
    log.end_segment(i64::MAX);
    append(&log, "one");
    append(&log, "two");
    log.end_segment(0);
    append(&log, "three");
    assert_eq!(ended(&log), [0; 0], "it is younger than that");
    end(&log);
    assert_eq!(segments(&sim), 2);
    let ops = sim.ops();
    for _ in 0..100 {
        log.end_segment(i64::MAX);
    }
    // Behind all of them in the queue.
    let nothing = Append::default();
    block_on(log.append(nothing)).expect("it is answered");
    assert_eq!(sim.ops(), ops, "there is nothing in it to be ended");
    append(&log, "four");
    append(&log, "five");
    assert_eq!(ended(&log), [3]);
    assert_eq!(bodies(&log), ["one", "two", "three", "four", "five"]);
    is_sound(&sim);
    log.close();
    is_sound(&sim);
}

#[test]
fn it_ends_when_the_log_was_opened_again_and_nothing_came_since() {
    let sim = Sim::new(1);
    let log = open(&sim);
    append(&log, "one");
    log.close();
    for _ in 0..3 {
        let log = open(&sim);
        end(&log);
        assert_eq!(segments(&sim), 2);
        is_sound(&sim);
        log.close();
        is_sound(&sim);
    }
    let log = open(&sim);
    append(&log, "two");
    assert_eq!(ended(&log), [1]);
    assert_eq!(bodies(&log), ["one", "two"]);
    log.close();
    is_sound(&sim);
}

/// An empty segment is replaced by one of the same name: whoever removes what is retired must not mean the new one.
#[test]
fn what_comes_after_all_was_retired_stays() {
    let sim = Sim::new(1);
    let log = open(&sim);
    append(&log, "one");
    end(&log);
    log.retire(1);
    log.reclaim(1).expect("it can be removed");
    assert_eq!(segments(&sim), 1);
    log.close();
    let log = open(&sim);
    append(&log, "two");
    end(&log);
    append(&log, "three");
    log.retire(2);
    log.reclaim(2).expect("it can be removed");
    assert_eq!(segments(&sim), 1);
    assert_eq!(bodies(&log), ["three"]);
    log.close();
    is_sound(&sim);
    let log = open(&sim);
    append(&log, "four");
    assert_eq!(bodies(&log), ["three", "four"]);
    log.close();
    is_sound(&sim);
}

#[test]
fn whatever_fails_while_a_segment_ends_nothing_is_lost() {
    for after in 0..20 {
        let sim = Sim::new(after);
        let log = open(&sim);
        append(&log, "one");
        sim.fail(Fault {
            op: None,
            after,
            times: 1,
            errno: EIO,
        });
        log.end_segment(i64::MAX);
        let mut refused = 0;
        while let Err(error) = block_on(log.append(of("two"))) {
            refused += 1;
            assert!(refused < 3, "after {after}: {error}");
        }
        sim.heal();
        append(&log, "three");
        assert_eq!(bodies(&log), ["one", "two", "three"], "after {after}");
        // What could not be sealed at first is sealed by now.
        is_sound(&sim);
        log.close();
        let log = open(&sim);
        assert_eq!(bodies(&log), ["one", "two", "three"], "after {after}");
        log.close();
        is_sound(&sim);
    }
}
