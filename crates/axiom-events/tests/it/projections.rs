//! Whatever ends a projection and when, each event has its effect once.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use axiom_core::{Task, drain, spawn};
use axiom_events::projection::{CHECKPOINT_KIND, projection, view};
use axiom_events::saga::id_of;
use axiom_events::{
    Append, Batch, Clock, Emit, Event, Filter, Log, Projected, Projection, ProjectionError,
    ProjectionOptions, Raw, Reader, Recorded,
};
use proptest::prelude::*;

use crate::history::{Own, block_on, open, read_all};
use crate::sim::{EIO, Fault, Op, Sim};

const TASKS: [&str; 4] = ["red", "green", "blue", ""];
const PATIENCE: Duration = Duration::from_secs(20);

/// Counts each task's events, and says so with every third, under an id: whoever says it again is found out.
#[derive(Debug, Clone, Copy)]
struct Thirds {
    version: u32,
    panics_at: Option<u64>,
}

const THIRDS: Thirds = Thirds {
    version: 1,
    panics_at: None,
};

impl Projection for Thirds {
    type State = u64;

    fn name(&self) -> &str {
        "thirds"
    }

    fn version(&self) -> u32 {
        self.version
    }

    fn partition<'a>(&self, recorded: &Recorded<'a>) -> Option<Cow<'a, str>> {
        let event = &recorded.event;
        (event.kind == "test" && !event.task.is_empty()).then_some(Cow::Borrowed(event.task))
    }

    fn apply(&self, state: &mut u64, recorded: &Recorded<'_>, emit: &mut Emit) {
        assert_ne!(self.panics_at, Some(recorded.offset), "as the test says");
        *state += 1;
        if state.is_multiple_of(3) {
            let body = format!("{state} {}", self.version);
            emit.event(&Event {
                stream: "thirds",
                task: recorded.event.task,
                kind: "third",
                id: Some(id_of(&[recorded.event.task.as_bytes(), body.as_bytes()])),
                body: body.as_bytes(),
                ..Event::default()
            });
        }
    }

    fn save(&self, state: &u64) -> Vec<u8> {
        state.to_string().into_bytes()
    }

    fn load(&self, bytes: &[u8]) -> Option<u64> {
        std::str::from_utf8(bytes).ok()?.parse().ok()
    }
}

fn options() -> ProjectionOptions {
    ProjectionOptions {
        commit_events: 3,
        commit_partitions: 2,
        // Whoever waits for a position wakes it.
        pace: Duration::from_secs(600),
        partitions_max: 2,
        clock: Clock::runtime(1),
        ..ProjectionOptions::default()
    }
}

type Outcome = Result<(), ProjectionError>;

fn start(log: &Log, thirds: Thirds) -> (Projected<Thirds>, drain::Drain, Task<Outcome>) {
    let (runner, projected) = projection(log, thirds, options());
    let (drain, draining) = drain::drain();
    (projected, drain, spawn("projection", runner.run(draining)))
}

async fn append(log: &Log, tasks: &[usize]) -> Option<u64> {
    let mut batch = Batch::new();
    for task in tasks {
        let event = Event {
            stream: "s",
            task: TASKS[*task],
            kind: "test",
            ..Event::default()
        };
        batch.push(&event).expect("it keeps to the limits");
    }
    let append = Append {
        batch,
        ..Append::default()
    };
    // Where the power is off there is no answer worth knowing.
    Some(log.append(append).await.ok()?.position())
}

/// What the log holds, and what should have come of it.
fn check(events: &[Own], version: u32, emits_from: u64) {
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    let mut due: Vec<(String, String)> = Vec::new();
    let mut emitted: Vec<(String, String)> = Vec::new();
    for own in events {
        if own.kind == "test" && !own.task.is_empty() {
            let count = counts.entry(&own.task).or_default();
            *count += 1;
            if count.is_multiple_of(3) && own.offset >= emits_from {
                due.push((own.task.clone(), format!("{count} {version}")));
            }
        }
        if own.kind == "third" && own.body.ends_with(version.to_string().as_bytes()) {
            let body = String::from_utf8_lossy(&own.body).into_owned();
            emitted.push((own.task.clone(), body));
        }
    }
    assert_eq!(emitted, due, "each once, in order");
}

fn counts(events: &[Own]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for own in events.iter().filter(|own| own.kind == "test") {
        *counts.entry(own.task.clone()).or_default() += 1;
    }
    counts
}

async fn states_agree(projected: &Projected<Thirds>, reader: &Reader) {
    let events = read_all(reader).events;
    let counts = counts(&events);
    for task in &TASKS[..3] {
        let (state, position) = projected.state(task).await.expect("it can be read");
        assert_eq!(
            state,
            counts.get(*task).copied().unwrap_or(0),
            "{task} at {position}"
        );
    }
}

#[derive(Debug, Clone)]
enum Action {
    Append(Vec<usize>),
    /// The runner is dropped wherever it is; another one goes on.
    Drop,
    /// It is asked to end, and does.
    Drain,
    /// It comes to the end of the log, and its states are looked at.
    Wait,
    /// The power fails after so many more operations of the disk, while events are appended.
    Power(u64, u64),
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let tasks = || proptest::collection::vec(0..4usize, 1..6);
    let action = prop_oneof![
        6 => tasks().prop_map(Action::Append),
        2 => Just(Action::Drop),
        1 => Just(Action::Drain),
        2 => Just(Action::Wait),
        2 => (0..25u64, any::<u64>()).prop_map(|(ops, seed)| Action::Power(ops, seed)),
    ];
    proptest::collection::vec(action, 1..40)
}

async fn live(actions: &[Action]) {
    let sim = Sim::new(1);
    let mut log = open(&sim);
    let mut running = start(&log, THIRDS);
    for action in actions {
        match action {
            Action::Append(tasks) => {
                append(&log, tasks).await.expect("the disk is well");
            }
            Action::Drop => {
                running.2.abort();
                running = start(&log, THIRDS);
            }
            Action::Drain => {
                running.1.finish(PATIENCE).await;
                settled(running.2.join().await);
                running = start(&log, THIRDS);
            }
            Action::Wait => running = caught_up(&log, running).await,
            Action::Power(ops, seed) => {
                sim.power_fails_in(*ops);
                for nth in 0..4 {
                    append(&log, &[nth % 4, 0]).await;
                }
                sim.power_fails_in(0);
                running.2.abort();
                let _ended = running.2.join().await;
                let dead = log.clone();
                // It waits for threads that wait for a disk that is off.
                spawn::blocking(move || dead.close()).join().await;
                sim.power_comes_back(*seed);
                log = open(&sim);
                running = start(&log, THIRDS);
            }
        }
    }
    let (projected, drain, task) = caught_up(&log, running).await;
    drain.finish(PATIENCE).await;
    settled(task.join().await);
    let reader = log.reader();
    check(&read_all(&reader).events, 1, 0);
    states_agree(&projected, &reader).await;
    let viewed = spawn::blocking(move || view(&reader, THIRDS)).join().await;
    let viewed = viewed.expect("no panic").expect("it can be read");
    states_agree(&viewed, &log.reader()).await;
    spawn::blocking(move || log.close()).join().await;
}

type Running = (Projected<Thirds>, drain::Drain, Task<Outcome>);

/// A runner that comes after one that was dropped may find its commit in the log after it has looked: it ends, and the next
/// one goes on.
async fn caught_up(log: &Log, mut running: Running) -> Running {
    let end = log.reader().end();
    for _ in 0..10 {
        match running.0.at_least(end, PATIENCE).await {
            Ok(()) => {
                states_agree(&running.0, &log.reader()).await;
                return running;
            }
            Err(not_yet) => assert!(not_yet.is_closed, "{not_yet}"),
        }
        settled(running.2.join().await);
        running = start(log, THIRDS);
    }
    panic!("ten runners, one after the other, were refused");
}

fn settled(outcome: Option<Outcome>) {
    let outcome = outcome.expect("no panic, and not aborted");
    let is_well = matches!(outcome, Ok(()) | Err(ProjectionError::Taken { .. }));
    assert!(is_well, "{outcome:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn each_event_has_its_effect_once(actions in actions()) {
        block_on(live(&actions));
    }
}

#[test]
fn of_two_runners_one_goes_on() {
    block_on(async {
        let sim = Sim::new(1);
        let log = open(&sim);
        let (first, first_drain, first_task) = start(&log, THIRDS);
        first.at_least(1, PATIENCE).await.expect("it has begun");
        let (second, second_drain, second_task) = start(&log, THIRDS);
        second.at_least(1, PATIENCE).await.expect("it has begun");
        for _ in 0..5 {
            append(&log, &[0, 1]).await.expect("the disk is well");
        }
        let end = log.reader().end();
        let (one, other) = tokio::join!(first.at_least(end, PATIENCE), second.at_least(end, PATIENCE));
        assert!(one.is_ok() || other.is_ok(), "{one:?} {other:?}");
        first_drain.finish(PATIENCE).await;
        second_drain.finish(PATIENCE).await;
        let outcomes = [first_task.join().await, second_task.join().await];
        let taken = outcomes
            .iter()
            .filter(|outcome| matches!(outcome, Some(Err(ProjectionError::Taken { .. }))));
        assert_eq!(taken.count(), 1, "{outcomes:?}");
        check(&read_all(&log.reader()).events, 1, 0);
        log.close();
    });
}

/// Nobody else has committed: it goes on where the commit before it ended, and makes it again.
#[test]
fn a_commit_that_was_damaged_is_made_again() {
    block_on(async {
        let sim = Sim::new(1);
        let log = open(&sim);
        append(&log, &[0]).await.expect("the disk is well");
        for tasks in [[0, 0], [0, 0], [0, 1]] {
            let running = start(&log, THIRDS);
            append(&log, &tasks).await.expect("the disk is well");
            let (_, drain, task) = caught_up(&log, running).await;
            drain.finish(PATIENCE).await;
            settled(task.join().await);
        }
        let newest = log.reader().stream_backward("$projection.thirds", u64::MAX, 1);
        let newest = newest.expect("it can be read")[0].recorded().offset;
        let Raw::Block(block) = log.reader().raw(newest).expect("it can be read") else {
            panic!("it is there")
        };
        log.close();
        drop(log);
        let mut files = sim.contents();
        let mut places = 0;
        for file in files.values_mut() {
            let found = file
                .windows(block.bytes.len())
                .position(|window| window == &block.bytes[..]);
            if let Some(at) = found {
                file[at + block.bytes.len() / 2] ^= 1;
                places += 1;
            }
        }
        assert_eq!(places, 1);
        let sim = Sim::holding(&files);
        let log = open(&sim);
        let lost = read_all(&log.reader()).events;
        assert!(lost.iter().all(|own| own.offset != newest), "it is damaged");
        let (projected, drain, task) = start(&log, THIRDS);
        let end = append(&log, &[0]).await.expect("the disk is well");
        let read = projected.state_at_least("red", end, PATIENCE).await;
        assert_eq!(read.expect("it comes so far").0, 7);
        drain.finish(PATIENCE).await;
        let outcome = task.join().await;
        assert!(matches!(outcome, Some(Ok(()))), "{outcome:?}");
        check(&read_all(&log.reader()).events, 1, 0);
        log.close();
    });
}

#[test]
fn another_version_begins_again_and_is_silent_about_the_past() {
    block_on(async {
        let sim = Sim::new(1);
        let log = open(&sim);
        for _ in 0..7 {
            append(&log, &[0]).await.expect("the disk is well");
        }
        let old = caught_up(&log, start(&log, THIRDS)).await;
        old.1.finish(PATIENCE).await;
        settled(old.2.join().await);
        let past = old.0.at().committed;
        for version in [2, 1] {
            let thirds = Thirds { version, ..THIRDS };
            let (projected, drain, task) = start(&log, thirds);
            append(&log, &[0, 0]).await.expect("the disk is well");
            let end = log.reader().end();
            let read = projected.state_at_least("red", end, PATIENCE).await;
            let expected = if version == 2 { 9 } else { 11 };
            assert_eq!(read.expect("it comes so far").0, expected);
            drain.finish(PATIENCE).await;
            settled(task.join().await);
        }
        let events = read_all(&log.reader()).events;
        check(&events, 2, past);
        let told: Vec<&[u8]> = events
            .iter()
            .filter(|own| own.kind == "third")
            .map(|own| &own.body[..])
            .collect();
        // The eleven events have three thirds; each was told by whoever came to it first.
        assert_eq!(told, [&b"3 1"[..], b"6 1", b"9 2"]);
        log.close();
    });
}

#[test]
fn a_panic_ends_it_and_commits_nothing() {
    block_on(async {
        let sim = Sim::new(1);
        let log = open(&sim);
        append(&log, &[0, 0, 0, 0]).await.expect("the disk is well");
        let thirds = Thirds {
            panics_at: Some(3),
            ..THIRDS
        };
        let (projected, _drain, task) = start(&log, thirds);
        let outcome = task.join().await.expect("its panic is an error");
        assert!(
            matches!(outcome, Err(ProjectionError::Panicked { .. })),
            "{outcome:?}"
        );
        let not_yet = projected.at_least(4, PATIENCE).await.expect_err("it has ended");
        assert!(not_yet.is_closed);
        caught_up(&log, start(&log, THIRDS)).await;
        check(&read_all(&log.reader()).events, 1, 0);
        log.close();
    });
}

/// Reading how far it is, its states or the log: each of it fails once.
#[test]
fn a_disk_that_fails_for_a_while_does_not_end_it() {
    block_on(async {
        let sim = Sim::new(1);
        let log = open(&sim);
        append(&log, &[0, 1, 2, 0, 1, 2]).await.expect("the disk is well");
        let (_, drain, task) = caught_up(&log, start(&log, THIRDS)).await;
        drain.finish(PATIENCE).await;
        settled(task.join().await);
        append(&log, &[0, 1, 2]).await.expect("the disk is well");
        spawn::blocking(move || log.close()).join().await;
        let files = sim.contents();
        let lives = (0..8).map(|after| {
            let sim = Sim::holding(&files);
            spawn("life", async move {
                let log = open(&sim);
                let (op, times, errno) = (Some(Op::Read), 1, EIO);
                sim.fail(Fault {
                    op,
                    after,
                    times,
                    errno,
                });
                let (projected, drain, task) = start(&log, THIRDS);
                let end = log.reader().end();
                projected.at_least(end, PATIENCE).await.expect("it goes on");
                sim.heal();
                states_agree(&projected, &log.reader()).await;
                drain.finish(PATIENCE).await;
                settled(task.join().await);
                check(&read_all(&log.reader()).events, 1, 0);
                spawn::blocking(move || log.close()).join().await;
            })
        });
        for life in lives.collect::<Vec<_>>() {
            life.join().await.expect("see above");
        }
    });
}

/// What each task has said last, and a lot of room.
#[derive(Debug)]
struct Large;

impl Projection for Large {
    type State = u64;

    fn name(&self) -> &str {
        "large"
    }

    fn version(&self) -> u32 {
        1
    }

    fn partition<'a>(&self, recorded: &Recorded<'a>) -> Option<Cow<'a, str>> {
        Some(Cow::Borrowed(recorded.event.task))
    }

    fn apply(&self, state: &mut u64, recorded: &Recorded<'_>, emit: &mut Emit) {
        *state += 1;
        emit.event(&Event {
            stream: "large",
            kind: "told",
            body: recorded.event.task.as_bytes(),
            ..Event::default()
        });
    }

    fn save(&self, state: &u64) -> Vec<u8> {
        let mut saved = vec![0; 1 << 20];
        saved[..8].copy_from_slice(&state.to_le_bytes());
        saved
    }

    fn load(&self, bytes: &[u8]) -> Option<u64> {
        Some(u64::from_le_bytes(*bytes.first_chunk()?))
    }

    fn filter(&self) -> Filter {
        Filter {
            kind_prefix: "test".to_owned(),
            ..Filter::default()
        }
    }
}

/// 40 states of 1 MiB, that change in one moment, and an append takes 16 MiB.
#[test]
fn states_that_are_too_large_together_are_committed_one_after_the_other() {
    block_on(async {
        let sim = Sim::new(1);
        let log = open(&sim);
        let tasks: Vec<String> = (0..40).map(|n| n.to_string()).collect();
        for _ in 0..2 {
            let mut one = Append::default();
            for task in &tasks {
                let event = Event {
                    stream: "s",
                    task,
                    kind: "test",
                    ..Event::default()
                };
                one.batch.push(&event).expect("it keeps to the limits");
            }
            log.append(one).await.expect("the disk is well");
        }
        let (runner, projected) = projection(&log, Large, ProjectionOptions::default());
        let (drain, draining) = drain::drain();
        let task = spawn("projection", runner.run(draining));
        while projected.at().committed < 80 {
            tokio::task::yield_now().await;
        }
        drain.finish(PATIENCE).await;
        settled(task.join().await);
        for task in &tasks {
            let (count, _) = projected.state(task).await.expect("it can be read");
            assert_eq!(count, 2, "{task}");
        }
        let events = read_all(&log.reader()).events;
        let told = events.iter().filter(|own| own.kind == "told");
        let told: Vec<String> = told
            .map(|own| String::from_utf8_lossy(&own.body).into_owned())
            .collect();
        assert_eq!(told, [tasks.clone(), tasks].concat(), "each once, in order");
        let ends = events.iter().filter(|own| own.kind == CHECKPOINT_KIND);
        assert!(ends.count() > 5);
        log.close();
    });
}

#[test]
fn a_log_that_is_closed_ends_it() {
    block_on(async {
        let sim = Sim::new(1);
        let log = open(&sim);
        append(&log, &[0; 10]).await.expect("the disk is well");
        let (projected, _drain, task) = caught_up(&log, start(&log, THIRDS)).await;
        // It has nothing to do, and looks again in ten minutes.
        while projected.at().position < log.reader().end() {
            let end = log.reader().end();
            projected.at_least(end, PATIENCE).await.expect("it goes on");
        }
        let closed = log.clone();
        spawn::blocking(move || closed.close()).join().await;
        settled(task.join().await);
        assert!(projected.at().is_closed);
        // There is more to be done than may wait for a commit, and nowhere to commit it.
        let (_, _drain, task) = start(&log, Thirds { version: 2, ..THIRDS });
        settled(task.join().await);
    });
}
