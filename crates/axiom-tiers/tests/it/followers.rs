//! Projections and groups keep what they know in the log: they go on where they were when that is warm, and when what was before it
//! is not there any more.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use axiom_core::{drain, spawn};
use axiom_events::group::group;
use axiom_events::projection::{projection, view};
use axiom_events::{
    Append, Consumer, Emit, Event, Filter, Group, GroupError, GroupOptions, Log, Message, Projection,
    ProjectionOptions, Recorded,
};

use crate::world::{PATIENCE, STREAMS, World, block_on, kept_for, wait_until};

const EVENTS: u64 = 1500;
/// A stream of one event, at the log's beginning.
const ONCE: &str = "once";

/// Counts each stream's events.
#[derive(Debug)]
struct Counts;

impl Projection for Counts {
    type State = u64;

    fn name(&self) -> &str {
        "counts"
    }

    fn version(&self) -> u32 {
        1
    }

    fn partition<'a>(&self, recorded: &Recorded<'a>) -> Option<Cow<'a, str>> {
        Some(Cow::Borrowed(recorded.event.stream))
    }

    fn apply(&self, state: &mut u64, _: &Recorded<'_>, _: &mut Emit) {
        *state += 1;
    }

    fn save(&self, state: &u64) -> Vec<u8> {
        state.to_string().into_bytes()
    }

    fn load(&self, bytes: &[u8]) -> Option<u64> {
        std::str::from_utf8(bytes).ok()?.parse().ok()
    }
}

fn append_once(log: &Log) {
    let mut append = Append::default();
    let event = Event {
        stream: ONCE,
        kind: "call",
        ..Event::default()
    };
    append.batch.push(&event).expect("it keeps to the limits");
    block_on(log.append(append)).expect("it is recorded");
}

/// What the projection knows when it has come to the log's end; then it ends.
fn counted(log: &Log) -> BTreeMap<&'static str, u64> {
    block_on(async {
        let (runner, projected) = projection(log, Counts, ProjectionOptions::default());
        let (drain, draining) = drain::drain();
        let running = spawn("projection", runner.run(draining));
        let end = log.reader().end();
        projected.at_least(end, PATIENCE).await.expect("it comes so far");
        let mut counts = BTreeMap::new();
        for stream in STREAMS.into_iter().chain([ONCE]) {
            let (count, _) = projected.state(stream).await.expect("it can be read");
            counts.insert(stream, count);
        }
        drain.finish(PATIENCE).await;
        running.join().await.expect("no panic").expect("it ends in order");
        counts
    })
}

/// As many as there were appended, whatever is left of them.
fn expected(log: &Log) -> BTreeMap<&'static str, u64> {
    let next = |stream| {
        let last = log.reader().last_version(stream).expect("it can be read");
        last.map_or(0, |last| last + 1)
    };
    STREAMS
        .into_iter()
        .map(|stream| (stream, next(stream)))
        .chain([(ONCE, 1)])
        .collect()
}

/// Everything that is warm goes, but for what is said to stay.
fn retire(world: &World, is_done: impl Fn() -> bool) {
    let service = world.service(kept_for(Duration::ZERO));
    wait_until("what is not needed is gone", is_done);
    service.stop();
}

/// Warm events of streams that are not a projection's or a group's, and of those.
fn warm(world: &World) -> (u64, u64) {
    let reader = world.beside();
    let hot_from = world.workshop.manifest().now().hot_from;
    let (mut others, mut own, mut at) = (0, 0, 0);
    while at < hot_from {
        match reader.at(at).expect("it can be read") {
            axiom_events::Next::Block(block) => {
                for recorded in block.events().filter(|recorded| recorded.offset >= at) {
                    match recorded.event.stream.starts_with('$') {
                        true => own += 1,
                        false => others += 1,
                    }
                }
                at = block.offsets().end;
            }
            axiom_events::Next::Gap(gap) => at = gap.end,
            axiom_events::Next::End => break,
        }
    }
    (others, own)
}

#[test]
fn a_projection_goes_on_where_it_was_in_whatever_tier_its_states_are() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    append_once(&world.log);
    assert_eq!(counted(&world.log)[ONCE], 1);
    for from in (0..EVENTS).step_by(300) {
        world.append(from..from + 300);
        assert_eq!(counted(&world.log), expected(&world.log));
    }
    world.seal(5).unwrap().unwrap();
    let world = world.again();
    assert_eq!(counted(&world.log), expected(&world.log), "the beginning is warm");
    world.seal_all();
    let world = world.again();
    assert_eq!(counted(&world.log), expected(&world.log), "all of it is warm");
    world.append(EVENTS..EVENTS + 20);
    let counts = counted(&world.log);
    assert_eq!(counts, expected(&world.log));
    world.seal_all();

    // One checkpoint, and the last state of each stream.
    let states = 1 + STREAMS.len() as u64 + 1;
    retire(&world, || warm(&world) == (0, states));
    let world = world.again();
    let mut now = counted(&world.log);
    assert_eq!(now, counts, "only they are left");
    let viewed = view(&world.beside(), Counts).unwrap();
    assert_eq!(block_on(viewed.state(ONCE)).unwrap().0, 1);
    world.append(EVENTS + 20..EVENTS + 40);
    now = counted(&world.log);
    assert_eq!(now.values().sum::<u64>(), EVENTS + 41);
    world.log.close();
}

fn group_options() -> GroupOptions {
    GroupOptions {
        filter: Filter {
            stream_prefix: "orders".to_owned(),
            ..Filter::default()
        },
        retry_pause: Duration::ZERO,
        ..GroupOptions::new("work")
    }
}

/// Works as a consumer of the group, which then ends.
fn work<T>(log: &Log, work: impl AsyncFnOnce(&Group, &mut Consumer) -> T) -> T {
    block_on(async {
        let (runner, group) = group(log, group_options()).expect("it is a good name");
        let (drain, draining) = drain::drain();
        let running = spawn("group", runner.run(draining));
        let mut consumer = group.subscribe().await.expect("it is open");
        let done = work(&group, &mut consumer).await;
        group.checkpoint().await.expect("the disk is well");
        drain.finish(PATIENCE).await;
        let outcome: Result<(), GroupError> = running.join().await.expect("no panic");
        outcome.expect("it ends in order");
        done
    })
}

async fn next(consumer: &mut Consumer) -> Message {
    let next = axiom_core::time::timeout(PATIENCE, consumer.next()).await;
    let next = next.expect("a message comes").expect("the group is well");
    next.expect("the group goes on")
}

#[test]
fn a_group_goes_on_where_it_was_in_whatever_tier_its_checkpoints_are() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.append(0..EVENTS);
    let orders: Vec<u64> = {
        let hits = world.log.reader().stream("orders", 0, usize::MAX).unwrap();
        hits.iter().map(|hit| hit.recorded().offset).collect()
    };
    let first = work(&world.log, async |_, consumer| {
        let mut given = Vec::new();
        for _ in 0..3 {
            given.push(next(consumer).await);
        }
        let offsets: Vec<u64> = given.iter().map(|message| message.recorded().offset).collect();
        let kept = given.remove(1);
        given
            .into_iter()
            .for_each(|message| message.ack().expect("it is not late"));
        drop(kept);
        offsets
    });
    assert_eq!(first, orders[..3]);
    world.seal_all();
    let world = world.again();
    let again = work(&world.log, async |_, consumer| {
        let message = next(consumer).await;
        message.recorded().offset
    });
    assert_eq!(
        again, orders[1],
        "what was not settled comes again from where it is warm"
    );
    world.seal_all();

    // The checkpoint.
    retire(&world, || warm(&world) == (0, 1));
    let world = world.again();
    world.append(EVENTS..EVENTS + 40);
    let newest = world
        .log
        .reader()
        .stream("orders", orders.len() as u64, 1)
        .unwrap();
    let newest = newest[0].recorded().offset;
    let (came, status) = work(&world.log, async |group, consumer| {
        let message = next(consumer).await;
        let offset = message.recorded().offset;
        message.ack().expect("it is not late");
        (offset, group.status().expect("it is open"))
    });
    assert_eq!(came, newest, "what was retired does not come, and the rest does");
    assert_eq!(status.acked_total, 3);
    assert!(status.lost_total > 0, "{status:?}");
    world.log.close();
}
