//! Whatever ends a group and when, every message is settled or parked in the end, and what a checkpoint has comes no more.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axiom_core::{Task, drain, spawn, time};
use axiom_events::group::group;
use axiom_events::{
    Append, Batch, Clock, Consumer, Correlation, Event, Filter, Group, GroupError, GroupOptions, GroupStatus,
    Late, Log, Message, Strategy,
};
use proptest::prelude::{Just, ProptestConfig, any, prop_oneof, proptest};
use proptest::strategy::Strategy as Arbitrary;

use crate::history::{block_on, open, read_all};
use crate::sim::Sim;

pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
pub(crate) const CHECKPOINT: u64 = 4;
const IN_FLIGHT: usize = 3;

pub(crate) fn options() -> GroupOptions {
    GroupOptions {
        filter: Filter {
            kind_prefix: "test".to_owned(),
            ..Filter::default()
        },
        in_flight_max: IN_FLIGHT,
        buffer_max: 16,
        message_timeout: Duration::from_secs(600),
        retry_pause: Duration::ZERO,
        attempts_max: 3,
        checkpoint_messages: CHECKPOINT,
        checkpoint_pause: Duration::from_secs(600),
        clock: Clock::runtime(1),
        ..GroupOptions::new("work")
    }
}

pub(crate) struct Running {
    pub(crate) group: Group,
    pub(crate) drain: drain::Drain,
    pub(crate) task: Task<Result<(), GroupError>>,
}

pub(crate) fn start(log: &Log, options: GroupOptions) -> Running {
    let (runner, group) = group(log, options).expect("it is a good name");
    let (drain, draining) = drain::drain();
    let task = spawn("group", runner.run(draining));
    Running { group, drain, task }
}

impl Running {
    pub(crate) async fn end(self) -> Result<(), GroupError> {
        self.drain.finish(PATIENCE).await;
        self.task.join().await.expect("no panic")
    }

    pub(crate) fn status(&self) -> GroupStatus {
        self.group.status().expect("it is open")
    }
}

pub(crate) async fn append(log: &Log, tasks: &[&str]) {
    let mut batch = Batch::new();
    for task in tasks {
        let event = Event {
            stream: "s",
            task,
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
    let _answer = log.append(append).await.is_ok();
}

pub(crate) async fn next(consumer: &mut Consumer) -> Message {
    let next = time::timeout(PATIENCE, consumer.next()).await;
    let next = next.expect("a message comes").expect("the group is well");
    next.expect("the group goes on")
}

/// Gives up at once if there is nothing.
pub(crate) async fn next_if_any(consumer: &mut Consumer) -> Option<Message> {
    tokio::select! {
        biased;
        next = consumer.next() => next.expect("the group is well"),
        () = nothing_happens() => None,
    }
}

/// Everybody else has had many turns, and the disk some time.
pub(crate) async fn nothing_happens() {
    for _ in 0..50 {
        spawn::blocking(|| ()).join().await;
        tokio::task::yield_now().await;
    }
}

#[derive(Debug, Clone, Copy)]
enum Say {
    Ack,
    Skip,
    Retry,
    Park,
    /// Nothing, for now.
    Keep,
}

#[derive(Debug, Clone)]
enum Action {
    Append(usize),
    Take(usize, Say),
    /// Says something of the message that was kept first.
    Settle(Say),
    /// A consumer goes, and another one comes.
    Leave(usize),
    Checkpoint,
    Replay,
    /// As if the process died: nobody says goodbye.
    Crash,
    Power(u64, u64),
}

fn actions() -> impl Arbitrary<Value = Vec<Action>> {
    let say = || {
        prop_oneof![
            5 => Just(Say::Ack),
            1 => Just(Say::Skip),
            2 => Just(Say::Retry),
            1 => Just(Say::Park),
            2 => Just(Say::Keep),
        ]
    };
    let action = prop_oneof![
        4 => (1..6usize).prop_map(Action::Append),
        12 => (0..2usize, say()).prop_map(|(consumer, say)| Action::Take(consumer, say)),
        4 => say().prop_map(Action::Settle),
        1 => (0..2usize).prop_map(Action::Leave),
        1 => Just(Action::Checkpoint),
        1 => Just(Action::Replay),
        1 => Just(Action::Crash),
        1 => (0..20u64, any::<u64>()).prop_map(|(ops, seed)| Action::Power(ops, seed)),
    ];
    proptest::collection::vec(action, 1..60)
}

/// What has become of messages, as far as their consumers know.
#[derive(Default)]
struct Known {
    settled: BTreeSet<u64>,
    /// Of those, what an owner of today knows of: what was settled before the last crash and was in no checkpoint comes again.
    in_force: BTreeSet<u64>,
    /// Settled before a checkpoint that was waited for.
    durable: BTreeSet<u64>,
    /// Settled messages that came again since the last crash.
    again: BTreeSet<u64>,
    kept: Vec<Message>,
}

impl Known {
    fn got(&mut self, message: &Message) {
        let offset = message.recorded().offset;
        assert!(!self.durable.contains(&offset), "{offset} is in a checkpoint");
        assert!(
            message.attempt() <= 3,
            "{offset} comes for the {}th time",
            message.attempt()
        );
        if self.settled.contains(&offset) {
            self.again.insert(offset);
            let bound = CHECKPOINT * 2 + IN_FLIGHT as u64 * 2;
            assert!(self.again.len() as u64 <= bound, "{:?}", self.again);
        }
    }

    fn say(&mut self, message: Message, say: Say) {
        let offset = message.recorded().offset;
        let outcome = match say {
            Say::Ack => message.ack(),
            Say::Skip => message.skip(),
            Say::Retry => return message.retry("once more").unwrap_or_default(),
            Say::Park => return message.park("no good").unwrap_or_default(),
            Say::Keep => return self.kept.push(message),
        };
        // Late ones come again.
        if outcome.is_ok() {
            self.settled.insert(offset);
            self.in_force.insert(offset);
        }
    }

    /// Nobody has anything in hand any more.
    fn crashed(&mut self) {
        self.kept.clear();
        self.again.clear();
        self.in_force = self.durable.clone();
    }
}

pub(crate) async fn consumers(running: &Running) -> Result<[Consumer; 2], GroupError> {
    Ok([running.group.subscribe().await?, running.group.subscribe().await?])
}

/// A runner that comes after one that was dropped may find its checkpoint in the log after it has looked: it ends, and the
/// next one goes on.
async fn begin(log: &Log) -> (Running, [Consumer; 2]) {
    for _ in 0..10 {
        let running = start(log, options());
        if let Ok(consumers) = consumers(&running).await {
            // Whatever was on its way is in the log by now, or is not going to be.
            if running.group.checkpoint().await.is_ok() {
                return (running, consumers);
            }
        }
        let outcome = running.end().await;
        assert!(matches!(outcome, Err(GroupError::Taken { .. })), "{outcome:?}");
    }
    panic!("ten owners, one after the other, were refused");
}

async fn live(actions: &[Action]) {
    let sim = Sim::new(1);
    let mut log = open(&sim);
    let (mut running, mut consumers) = begin(&log).await;
    let mut known = Known::default();
    for action in actions {
        match action {
            Action::Append(count) => append(&log, &vec!["t"; *count]).await,
            Action::Take(consumer, say) => {
                if let Some(message) = next_if_any(&mut consumers[*consumer]).await {
                    known.got(&message);
                    known.say(message, *say);
                }
            }
            Action::Settle(say) => {
                if !known.kept.is_empty() {
                    let message = known.kept.remove(0);
                    known.say(message, *say);
                }
            }
            Action::Leave(consumer) => {
                consumers[*consumer] = running.group.subscribe().await.expect("it is well");
            }
            Action::Checkpoint => {
                running.group.checkpoint().await.expect("the disk is well");
                known.durable = known.in_force.clone();
            }
            Action::Replay => {
                running.group.replay_parked().await.expect("the disk is well");
            }
            Action::Crash => {
                running.task.abort();
                let _ended = running.task.join().await;
                known.crashed();
                (running, consumers) = begin(&log).await;
            }
            Action::Power(ops, seed) => {
                sim.power_fails_in(*ops);
                append(&log, &["t", "t"]).await;
                for consumer in &mut consumers {
                    if let Some(message) = next_if_any(consumer).await {
                        known.got(&message);
                        known.say(message, Say::Ack);
                    }
                }
                sim.power_fails_in(0);
                running.task.abort();
                let _ended = running.task.join().await;
                known.crashed();
                let dead = log.clone();
                // It waits for threads that wait for a disk that is off.
                spawn::blocking(move || dead.close()).join().await;
                sim.power_comes_back(*seed);
                log = open(&sim);
                (running, consumers) = begin(&log).await;
            }
        }
        let status = running.status();
        assert!(status.in_flight <= 2 * IN_FLIGHT, "{status:?}");
        assert!(
            status.unsaved <= CHECKPOINT * 2 + 2 * IN_FLIGHT as u64,
            "{status:?}"
        );
    }
    finish(&log, running, consumers, known).await;
    spawn::blocking(move || log.close()).join().await;
}

/// Everything that is left is done; then every message is settled or parked, and the books say so.
async fn finish(log: &Log, running: Running, mut consumers: [Consumer; 2], mut known: Known) {
    known.kept.clear();
    let end = log.reader().end();
    loop {
        let status = running.status();
        if status.read_to >= end && status.waiting == 0 && status.in_flight == 0 {
            break;
        }
        if let Some(message) = next_if_any(&mut consumers[0]).await {
            known.got(&message);
            known.say(message, Say::Ack);
        }
    }
    running.group.checkpoint().await.expect("the disk is well");
    let parked = running.group.parked(0, 1000).await.expect("the disk is well");
    let parked: BTreeSet<u64> = parked.iter().map(|message| message.offset).collect();
    assert_eq!(running.status().parked, parked.len() as u64);
    for own in read_all(&log.reader()).events {
        let is_accounted_for = known.settled.contains(&own.offset) || parked.contains(&own.offset);
        assert_eq!(is_accounted_for, own.kind == "test", "{own:?}");
    }
    running.end().await.expect("the disk is well");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_forgotten_and_what_a_checkpoint_has_comes_no_more(actions in actions()) {
        block_on(live(&actions));
    }
}

/// A log and the group on it, for tests in which nothing fails.
pub(crate) async fn with_group(options: GroupOptions, tasks: &[&str]) -> (Log, Running) {
    let log = open(&Sim::new(1));
    append(&log, tasks).await;
    let running = start(&log, options);
    (log, running)
}

#[tokio::test]
async fn what_is_held_too_long_goes_to_another_one() {
    let paused = GroupOptions {
        message_timeout: Duration::from_secs(30),
        ..options()
    };
    let (_log, running) = with_group(paused, &["t"]).await;
    let [mut slow, mut quick] = consumers(&running).await.unwrap();
    let began = time::now();
    let held = next(&mut slow).await;
    // From here on nothing but time passes.
    tokio::time::pause();
    let again = quick.next().await.unwrap().expect("it goes on");
    assert!(began.elapsed() >= Duration::from_secs(30) && began.elapsed() < Duration::from_secs(50));
    assert_eq!((held.attempt(), again.attempt()), (1, 2));
    assert_eq!(held.ack(), Err(Late { offset: 0 }));
    assert_eq!(again.ack(), Ok(()));
    tokio::time::resume();
    running.end().await.unwrap();
}

#[tokio::test]
async fn what_is_tried_too_often_is_parked_and_comes_again_when_it_is_asked_for() {
    let (log, running) = with_group(options(), &["bad", "good"]).await;
    let mut consumer = running.group.subscribe().await.unwrap();
    let mut attempts = BTreeMap::new();
    for _ in 0..4 {
        let message = next(&mut consumer).await;
        let task = message.recorded().event.task.to_owned();
        *attempts.entry(task.clone()).or_insert(0) += 1;
        match task.as_str() {
            "bad" => message.retry("it is bad").unwrap(),
            _ => message.ack().unwrap(),
        }
    }
    assert_eq!(
        attempts,
        BTreeMap::from([("bad".to_owned(), 3), ("good".to_owned(), 1)])
    );
    running.group.checkpoint().await.unwrap();
    let parked = running.group.parked(0, 10).await.unwrap();
    assert_eq!(parked.len(), 1);
    assert_eq!((parked[0].offset, parked[0].attempts), (0, 3));
    insta::assert_snapshot!(parked[0].reason, @"given up after 3 attempts: it is bad");
    let event = parked[0].event.as_ref().expect("it is still there");
    assert_eq!(event.recorded().event.task, "bad");
    assert_eq!(
        log.reader().task_tail("bad", 1).unwrap()[0].recorded().event.kind,
        "axiom.group.parked"
    );

    assert_eq!(running.group.replay_parked().await.unwrap(), 1);
    let message = next(&mut consumer).await;
    assert_eq!((message.recorded().event.task, message.attempt()), ("bad", 1));
    message.park("still bad").unwrap();
    running.group.checkpoint().await.unwrap();
    let parked = running.group.parked(0, 10).await.unwrap();
    assert_eq!((parked.len(), parked[0].reason.as_str()), (1, "still bad"));
    assert_eq!(running.group.discard_parked(10).await.unwrap(), 1);
    assert!(running.group.parked(0, 10).await.unwrap().is_empty());
    running.end().await.unwrap();
    assert!(consumer.next().await.unwrap().is_none(), "it has ended in order");

    let running = start(&log, options());
    let mut consumer = running.group.subscribe().await.unwrap();
    assert!(
        next_if_any(&mut consumer).await.is_none(),
        "everything was seen to"
    );
    let status = running.status();
    assert_eq!(
        (status.acked_total, status.parked_total, status.parked),
        (1, 2, 0)
    );
    running.end().await.unwrap();
}

#[tokio::test]
async fn the_newest_owner_goes_on() {
    let (log, first) = with_group(options(), &["t", "t"]).await;
    let mut old = first.group.subscribe().await.unwrap();
    let held = next(&mut old).await;
    let second = start(&log, options());
    let mut new = second.group.subscribe().await.unwrap();
    assert_eq!(next(&mut new).await.recorded().offset, 0, "it was not settled");
    held.ack().unwrap();
    let refused = first.group.checkpoint().await.unwrap_err();
    insta::assert_snapshot!(refused, @r#"group "work" has ended: group "work" is taken: it was opened by another owner since; only one may go on"#);
    assert!(matches!(first.end().await, Err(GroupError::Taken { .. })));
    assert!(matches!(old.next().await, Err(GroupError::Ended { .. })));
    second.group.checkpoint().await.unwrap();
    second.end().await.unwrap();
}

#[tokio::test]
async fn what_belongs_together_stays_together_and_in_order() {
    let pinned = GroupOptions {
        strategy: Strategy::Pinned(Correlation::Task),
        ..options()
    };
    let (_log, running) = with_group(pinned, &["a", "a", "b", "c", "a", "d", "b"]).await;
    let mut consumers = consumers(&running).await.unwrap();
    let mut seen: BTreeMap<String, Vec<(usize, u64)>> = BTreeMap::new();
    let mut is_first = true;
    let mut left = 7;
    while left > 0 {
        for (nth, consumer) in consumers.iter_mut().enumerate() {
            let mut held: Vec<Message> = Vec::new();
            while let Some(message) = next_if_any(consumer).await {
                let recorded = message.recorded();
                let is_held = |other: &Message| other.recorded().event.task == recorded.event.task;
                assert!(!held.iter().any(is_held), "one after the other");
                seen.entry(recorded.event.task.to_owned())
                    .or_default()
                    .push((nth, recorded.offset));
                held.push(message);
            }
            for message in held {
                // One that is tried again is still before those that come after it.
                if std::mem::take(&mut is_first) {
                    message.retry("once more").unwrap();
                } else {
                    message.ack().unwrap();
                    left -= 1;
                }
            }
        }
    }
    for (task, deliveries) in &seen {
        let offsets: Vec<u64> = deliveries.iter().map(|(_, offset)| *offset).collect();
        assert!(offsets.is_sorted(), "{task}: {deliveries:?}");
        assert!(
            deliveries.iter().all(|(nth, _)| *nth == deliveries[0].0),
            "{task}: {deliveries:?}"
        );
    }
    running.end().await.unwrap();
}

#[tokio::test]
async fn in_turn_or_one_alone() {
    let (_log, running) = with_group(options(), &["t"; 4]).await;
    let [mut one, mut other] = consumers(&running).await.unwrap();
    let (first, second) = tokio::join!(next(&mut one), next(&mut other));
    let (third, fourth) = tokio::join!(next(&mut one), next(&mut other));
    let of = |messages: [&Message; 2]| messages.map(|message| message.recorded().offset % 2);
    assert_eq!(
        of([&first, &third])[0],
        of([&first, &third])[1],
        "each second one"
    );
    assert_eq!(
        of([&second, &fourth])[0],
        of([&second, &fourth])[1],
        "each second one"
    );
    drop((first, second, third, fourth));
    running.end().await.unwrap();

    let single = GroupOptions {
        strategy: Strategy::Single,
        ..options()
    };
    let (_log, running) = with_group(single, &["t"; 2]).await;
    let [mut one, mut other] = consumers(&running).await.unwrap();
    next(&mut one).await.ack().unwrap();
    assert!(next_if_any(&mut other).await.is_none(), "the first one is there");
    drop(one);
    next(&mut other).await.ack().unwrap();
    running.end().await.unwrap();
}

#[tokio::test]
async fn one_that_stalls_holds_up_the_reading() {
    let (log, running) = with_group(options(), &["t"; 100]).await;
    let [mut stalled, mut quick] = consumers(&running).await.unwrap();
    let held = next(&mut stalled).await;
    assert_eq!(held.recorded().offset, 0);
    for _ in 1..16 {
        next(&mut quick).await.ack().unwrap();
    }
    assert!(
        next_if_any(&mut quick).await.is_none(),
        "sixteen are remembered, and the first is not settled"
    );
    assert_eq!(running.status().read_to, 16);
    held.ack().unwrap();
    for _ in 16..100 {
        next(&mut quick).await.ack().unwrap();
    }
    running.end().await.unwrap();
    assert_eq!(
        log.reader()
            .last_version("$group.work")
            .unwrap()
            .map(|last| last > 10),
        Some(true)
    );
}

/// What is parked is remembered until a checkpoint has it, and so is all that was settled behind it.
#[tokio::test]
async fn one_that_is_given_up_makes_room() {
    let (_log, running) = with_group(options(), &["t"; 40]).await;
    let [mut slow, mut quick] = consumers(&running).await.unwrap();
    let held = next(&mut slow).await;
    for _ in 1..16 {
        next(&mut quick).await.ack().unwrap();
    }
    assert!(next_if_any(&mut quick).await.is_none(), "sixteen are remembered");
    running.group.checkpoint().await.unwrap();
    assert_eq!(running.status().unsaved, 0);
    held.park("no good").unwrap();
    for _ in 16..40 {
        next(&mut quick).await.ack().unwrap();
    }
    running.end().await.unwrap();
}

#[test]
fn a_log_that_is_closed_ends_it() {
    block_on(async {
        let (log, running) = with_group(options(), &["t"; 10]).await;
        let mut consumer = running.group.subscribe().await.expect("it is open");
        for _ in 0..CHECKPOINT - 1 {
            next(&mut consumer).await.ack().expect("it was quick");
        }
        let closed = log.clone();
        spawn::blocking(move || closed.close()).join().await;
        // Now there is something to be written, and nowhere to write it.
        if let Some(message) = next_if_any(&mut consumer).await {
            message.ack().unwrap_or_default();
        }
        running
            .task
            .join()
            .await
            .expect("no panic")
            .expect("it has ended in order");
        assert!(consumer.next().await.expect("it has ended in order").is_none());
        let late = start(&log, options());
        let outcome = late.task.join().await.expect("no panic");
        assert!(matches!(outcome, Err(GroupError::Append { .. })), "{outcome:?}");
    });
}
