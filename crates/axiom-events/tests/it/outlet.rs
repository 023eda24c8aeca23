//! What happens to events when the log takes no more of them: they are recorded, counted, or missing by name.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axiom_events::disk::{Disk, Machine};
use axiom_events::outlet::{Outlet, PushError, Rule, WhenFull};
use axiom_events::sample::{Policy, SAMPLED_KIND};
use axiom_events::{Event, Format, Level, Log, Options, Totals};

use crate::history::{FOLDER, Found, block_on, read_all};
use crate::sim::Sim;

/// What an outlet may hold beside its sampler: a batch of 1.25 MiB for each rule.
const LANE_BYTES: usize = 1280 << 10;

/// A log with a small queue, on a disk that hangs.
fn stalled(sim: &Sim) -> Log {
    let mut options = Options::new(FOLDER);
    options.queue_bytes = 64 << 10;
    options.linger = Duration::ZERO;
    let log = Log::open(options, sim.arc()).expect("it opens");
    sim.hold_syncs();
    log
}

fn outlet(log: &Log, streams: &str, when_full: WhenFull) -> Outlet {
    let rule = Rule {
        streams: streams.to_owned(),
        when_full,
    };
    let policy = Policy {
        bytes_max: 1 << 20,
        ..Policy::default()
    };
    let disk: Arc<dyn Disk> = Arc::new(Machine);
    Outlet::open(log.clone(), policy, vec![rule], &disk).expect("it opens")
}

fn event<'a>(stream: &'a str, kind: &'a str, level: Level, body: &'a str) -> Event<'a> {
    Event {
        stream,
        task: "task",
        kind,
        level,
        format: Format::Text,
        body: body.as_bytes(),
        ..Event::default()
    }
}

fn state<'a>(stream: &'a str, body: &'a str) -> Event<'a> {
    event(stream, "task.state", Level::Info, body)
}

/// Pushes numbers until the outlet refuses; says which was the first that it did not take.
fn push_until_full(outlet: &mut Outlet, from: u64) -> u64 {
    for n in from.. {
        match outlet.push(&state("s", &format!("{n:080}"))) {
            Ok(_) => {}
            Err(PushError::Full) => return n,
            Err(error) => panic!("{error}"),
        }
        assert!(n < 1_000_000, "it takes everything");
    }
    unreachable!("there are numbers enough")
}

/// The numbers that were recorded, in order, and how many are missing at which place among them.
fn numbers(found: &Found) -> (Vec<u64>, Vec<(usize, u64)>) {
    let (mut numbers, mut gaps) = (Vec::new(), Vec::new());
    for event in &found.events {
        let body = std::str::from_utf8(&event.body).expect("it is a text");
        match event.kind.as_str() {
            "axiom.gap" => {
                let lost = body.trim_start_matches("{\"lost\":").split(',').next();
                gaps.push((
                    numbers.len(),
                    lost.and_then(|lost| lost.parse().ok()).expect("a number"),
                ));
            }
            SAMPLED_KIND => {}
            _ => numbers.push(body.parse().expect("a number")),
        }
    }
    (numbers, gaps)
}

#[test]
fn a_producer_that_blocks_waits_and_loses_nothing() {
    let sim = Sim::new(1);
    let log = stalled(&sim);
    let mut outlet = outlet(&log, "s", WhenFull::Block);
    let first_refused = push_until_full(&mut outlet, 0);
    assert!(outlet.bytes() < LANE_BYTES, "{} B", outlet.bytes());
    // Again and again: it takes nothing more, and holds nothing more.
    for _ in 0..1000 {
        assert_eq!(push_until_full(&mut outlet, first_refused), first_refused);
    }
    assert!(!outlet.post());
    sim.let_go();
    block_on(outlet.ready()).expect("the log is open");
    outlet
        .push(&state("s", &first_refused.to_string()))
        .expect("there is room");
    block_on(outlet.finish()).expect("the log is open");
    log.close();
    let (numbers, gaps) = numbers(&read_all(&log.reader()));
    assert!(numbers.into_iter().eq(0..=first_refused));
    assert_eq!(gaps, []);
    let refused = loop {
        if let Err(error) = outlet.push(&state("s", "0")) {
            break error;
        }
    };
    assert_eq!(refused, PushError::Full);
    block_on(outlet.ready()).expect_err("the log is closed");
}

#[test]
fn under_pressure_what_may_be_skipped_is_counted() {
    let sim = Sim::new(1);
    let log = stalled(&sim);
    let mut outlet = outlet(&log, "output", WhenFull::Sample);
    const EVENTS: u64 = 50_000;
    let mut bytes_most = 0;
    for n in 0..EVENTS {
        let level = if n % 1000 == 999 {
            Level::Error
        } else {
            Level::Info
        };
        let body = format!("{n:060}");
        outlet
            .push(&event("output.1", "task.output", level, &body))
            .expect("it goes on");
        bytes_most = bytes_most.max(outlet.bytes());
        if n % 100 == 0 {
            outlet.post();
        }
    }
    assert!(bytes_most < LANE_BYTES + (1 << 20), "{bytes_most} B");
    sim.let_go();
    block_on(outlet.finish()).expect("the log is open");
    log.close();
    let found = read_all(&log.reader());
    let errors = found
        .events
        .iter()
        .filter(|event| event.level == Level::Error)
        .count();
    assert_eq!(errors as u64, EVENTS / 1000, "errors are never skipped");
    let (kept, gaps) = numbers(&found);
    assert_eq!(gaps, []);
    let totals = log.reader().totals(&Totals::default()).expect("the disk is well");
    let [(_, count)] = totals.as_slice() else {
        panic!("{totals:?}");
    };
    assert_eq!((count.events, count.body_bytes), (EVENTS, EVENTS * 60));
    assert_eq!(count.skipped, EVENTS - kept.len() as u64);
    // Without pressure every error would have brought forty others along.
    assert!(kept.len() < 1000, "{}", kept.len());
}

#[test]
fn pressure_ends_when_the_log_takes_events_again() {
    let sim = Sim::new(1);
    let log = stalled(&sim);
    let mut outlet = outlet(&log, "output", WhenFull::Sample);
    let push = |outlet: &mut Outlet, word: &str| {
        outlet
            .push(&event("output.1", "task.output", Level::Info, word))
            .expect("it goes on")
    };
    while outlet.post() {
        for _ in 0..100 {
            outlet
                .push(&event("output.1", "task.state", Level::Info, &"x".repeat(1000)))
                .expect("it goes on");
        }
    }
    assert_eq!(push(&mut outlet, "first"), axiom_events::sample::Fate::Skipped);
    sim.let_go();
    block_on(outlet.finish()).expect("the log is open");
    assert_eq!(push(&mut outlet, "second"), axiom_events::sample::Fate::Kept);
    block_on(outlet.finish()).expect("the log is open");
    log.close();
}

/// What cannot be kept, skipped or waited for is missing by name: exactly so many.
#[test]
fn what_must_be_kept_and_finds_no_room_is_missing_by_name() {
    let sim = Sim::new(1);
    let log = stalled(&sim);
    let mut outlet = outlet(&log, "s", WhenFull::Sample);
    const EVENTS: u64 = 50_000;
    let mut bytes_most = 0;
    for n in 0..EVENTS {
        outlet
            .push(&state("s", &format!("{n:0200}")))
            .expect("it goes on");
        bytes_most = bytes_most.max(outlet.bytes());
    }
    assert!(bytes_most < LANE_BYTES + (1 << 20), "{bytes_most} B");
    sim.let_go();
    block_on(outlet.finish()).expect("the log is open");
    log.close();
    let (numbers, gaps) = numbers(&read_all(&log.reader()));
    let lost: u64 = gaps.iter().map(|(_, lost)| lost).sum();
    assert!(lost > EVENTS / 2, "{lost}");
    assert_eq!(numbers.len() as u64 + lost, EVENTS);
    // The gap stands between what came before it and what came after it.
    let [(place, lost)] = gaps.as_slice() else {
        panic!("{gaps:?}");
    };
    assert!(numbers[..*place].iter().copied().eq(0..*place as u64));
    assert!(numbers[*place..].iter().copied().eq(*place as u64 + lost..EVENTS));
}

fn spill(folder: &Path, bytes_max: u64) -> WhenFull {
    WhenFull::Spill {
        path: folder.join("spill"),
        bytes_max,
    }
}

#[test]
fn what_is_spilled_comes_back_in_order() {
    let folder = tempfile::tempdir().expect("a folder");
    let sim = Sim::new(1);
    let log = stalled(&sim);
    let mut outlet = outlet(&log, "s", spill(folder.path(), 8 << 20));
    const EVENTS: u64 = 30_000;
    for n in 0..EVENTS {
        outlet
            .push(&state("s", &format!("{n:0100}")))
            .expect("it goes on");
        if n % 1000 == 0 {
            outlet.post();
        }
        assert!(outlet.bytes() < LANE_BYTES);
    }
    sim.let_go();
    block_on(outlet.finish()).expect("the log is open");
    for n in EVENTS..EVENTS + 10 {
        outlet.push(&state("s", &n.to_string())).expect("it goes on");
    }
    block_on(outlet.finish()).expect("the log is open");
    log.close();
    let (numbers, gaps) = numbers(&read_all(&log.reader()));
    assert!(numbers.into_iter().eq(0..EVENTS + 10));
    assert_eq!(gaps, []);
}

/// Over and over: the file fills up, drains, and begins anew in its middle.
#[test]
fn a_spill_file_that_is_full_leaves_gaps_with_exact_counts() {
    let folder = tempfile::tempdir().expect("a folder");
    let sim = Sim::new(1);
    let log = stalled(&sim);
    let bytes_max = 200_000;
    let mut outlet = outlet(&log, "s", spill(folder.path(), bytes_max));
    let mut random = crate::sim::Random::new(3);
    let mut n = 0u64;
    for round in 0..6 {
        for _ in 0..10_000 {
            // Digits that do not compress well, and the number at their end.
            let body = format!("{:019}{n:019}", random.next() % 10_000_000_000_000_000);
            let event = Event {
                trace: Some(axiom_events::TraceId(
                    random.bytes(16).try_into().expect("sixteen"),
                )),
                body: body.as_bytes(),
                ..state("s", "")
            };
            outlet.push(&event).expect("it goes on");
            n += 1;
            if n.is_multiple_of(500) {
                outlet.post();
            }
            assert!(outlet.bytes() < LANE_BYTES);
        }
        let file = fs_err::metadata(folder.path().join("spill")).expect("it is there");
        assert!(file.len() <= bytes_max, "{} B", file.len());
        sim.let_go();
        if round % 2 == 0 {
            block_on(outlet.finish()).expect("the log is open");
        } else {
            outlet.post();
        }
        sim.hold_syncs();
    }
    sim.let_go();
    block_on(outlet.finish()).expect("the log is open");
    log.close();
    let mut found = read_all(&log.reader());
    for event in &mut found.events {
        if event.kind == "task.state" {
            event.body.drain(..19);
        }
    }
    let (numbers, gaps) = numbers(&found);
    let lost: u64 = gaps.iter().map(|(_, lost)| lost).sum();
    assert!(lost > 1000, "{lost}");
    assert_eq!(numbers.len() as u64 + lost, n);
    // Each gap is where its events would be.
    let mut next = 0;
    let mut gaps = gaps.into_iter().peekable();
    for (place, number) in numbers.into_iter().enumerate() {
        while let Some((_, lost)) = gaps.next_if(|(at, _)| *at == place) {
            next += lost;
        }
        assert_eq!(number, next);
        next += 1;
    }
}

#[test]
fn what_a_dead_process_has_spilled_is_recorded_by_the_next() {
    let folder = tempfile::tempdir().expect("a folder");
    let sim = Sim::new(1);
    let log = stalled(&sim);
    let mut first = outlet(&log, "s", spill(folder.path(), 8 << 20));
    const EVENTS: u64 = 5000;
    for n in 0..EVENTS {
        first.push(&state("s", &format!("{n:0100}"))).expect("it goes on");
        first.post();
    }
    // As after a kill: nothing is tidied up, and what only memory had is gone.
    std::mem::forget(first);
    sim.let_go();
    log.close();
    let before = numbers(&read_all(&log.reader())).0;
    drop(log);
    let log = Log::open(Options::new(FOLDER), sim.arc()).expect("it opens");
    let mut next = outlet(&log, "s", spill(folder.path(), 8 << 20));
    block_on(next.finish()).expect("the log is open");
    log.close();
    let (numbers, gaps) = numbers(&read_all(&log.reader()));
    assert!(numbers.len() > before.len() && gaps.is_empty());
    assert!(numbers.into_iter().eq(0..EVENTS));
}

#[test]
fn a_damaged_spill_file_is_missing_by_name() {
    for (at, is_counted) in [(300, true), (10, false)] {
        let folder = tempfile::tempdir().expect("a folder");
        let sim = Sim::new(1);
        let log = stalled(&sim);
        let mut first = outlet(&log, "s", spill(folder.path(), 1 << 20));
        const EVENTS: u64 = 2000;
        for n in 0..EVENTS {
            first.push(&state("s", &format!("{n:0100}"))).expect("it goes on");
            first.post();
        }
        std::mem::forget(first);
        let path = folder.path().join("spill");
        let mut bytes = fs_err::read(&path).expect("it is there");
        bytes[at] ^= 1;
        fs_err::write(&path, bytes).expect("it is ours");
        sim.let_go();
        let mut next = outlet(&log, "s", spill(folder.path(), 1 << 20));
        next.push(&state("s", &EVENTS.to_string())).expect("it goes on");
        block_on(next.finish()).expect("the log is open");
        log.close();
        let (numbers, gaps) = numbers(&read_all(&log.reader()));
        assert_eq!(numbers.last(), Some(&EVENTS));
        let lost: u64 = gaps.iter().map(|(_, lost)| lost).sum();
        if is_counted {
            assert_eq!(numbers.len() as u64 + lost, EVENTS + 1);
        } else {
            // How many there were stood in the damaged head.
            assert_eq!(lost, 0);
        }
    }
}
