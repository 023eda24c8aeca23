//! Memory stays within its bounds whatever producers and readers do. Each case runs in a process of its own, which is this test
//! binary, and its bound is on the resident memory that it had at most, beyond what it began with.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::{drain, spawn};
use axiom_events::disk::{Disk, Machine};
use axiom_events::group::group;
use axiom_events::outlet::{Outlet, Rule, WhenFull};
use axiom_events::sample::Policy;
use axiom_events::{
    Ack, Append, Batch, Delivery, Event, Filter, Format, GroupOptions, Log, Moment, Options, Recorded,
};

use crate::history::{FOLDER, block_on, machine};
use crate::sim::{Random, Sim};

/// What a child is to do.
const CASE: &str = "AXIOM_EVENTS_MEMORY_CASE";

const QUEUE_BYTES: usize = 4 << 20;
const MIB: u64 = 1 << 20;

/// Resident memory in bytes: at most so far, and now.
fn resident() -> (u64, u64) {
    let status = fs_err::read_to_string("/proc/self/status").expect("this is Linux");
    let of = |key: &str| {
        let line = status
            .lines()
            .find_map(|line| line.strip_prefix(key))
            .expect("it is there");
        let kib = line
            .trim()
            .trim_end_matches(" kB")
            .parse::<u64>()
            .expect("a number");
        kib << 10
    };
    (of("VmHWM:"), of("VmRSS:"))
}

fn line<'a>(stream: &'a str, body: &'a [u8]) -> Event<'a> {
    Event {
        stream,
        task: "task",
        kind: "task.output",
        format: Format::Text,
        body,
        ..Event::default()
    }
}

/// 800 MB are offered to a log whose disk hangs; what it does not take is thrown away by the producer.
fn posts() {
    let sim = Sim::new(1);
    let log = stalled(&sim);
    let body = Random::new(1).bytes(4096);
    let mut refused = 0;
    for _ in 0..200_000 {
        let mut batch = Batch::new();
        batch.push(&line("s", &body)).expect("it keeps to the limits");
        refused += u32::from(log.post(batch).is_err());
    }
    assert!(refused > 190_000, "{refused}");
    sim.let_go();
    log.close();
}

/// A producer that never stops and a log that takes nothing, under each rule.
fn outlets() {
    let folder = tempfile::tempdir().expect("a folder");
    let sim = Sim::new(1);
    let log = stalled(&sim);
    let rules = [
        WhenFull::Block,
        WhenFull::Sample,
        WhenFull::Spill {
            path: folder.path().join("spill"),
            bytes_max: 4 << 20,
        },
    ];
    let disk: Arc<dyn Disk> = Arc::new(Machine);
    for when_full in rules {
        let rule = Rule {
            streams: String::new(),
            when_full,
        };
        let policy = Policy {
            bytes_max: 4 << 20,
            ..Policy::default()
        };
        let mut outlet = Outlet::open(log.clone(), policy, vec![rule], &disk).expect("it opens");
        let mut random = Random::new(2);
        for n in 0..20_000 {
            let body = random.bytes(1000);
            // Half of it must be kept.
            let kind = if n % 2 == 0 { "task.output" } else { "task.state" };
            let event = Event {
                kind,
                ..line("output", &body)
            };
            // Where it has to wait it goes on regardless: it never stops.
            let _refused = outlet.push(&event).is_err();
            if n % 100 == 0 {
                outlet.post();
            }
        }
        assert!(outlet.bytes() < 6 << 20, "{} B", outlet.bytes());
    }
    sim.let_go();
    log.close();
}

/// Somebody subscribes and never asks again, while 100 MB are recorded.
fn reader() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = Options::new(folder.path());
    options.queue_bytes = QUEUE_BYTES;
    options.segment_bytes = 8 << 20;
    let log = Log::open(options, machine()).expect("it opens");
    let mut random = Random::new(3);
    let mut append = || {
        let mut batch = Batch::new();
        for _ in 0..250 {
            batch
                .push(&line("s", &random.bytes(4000)))
                .expect("it keeps to the limits");
        }
        let append = Append {
            batch,
            ..Append::default()
        };
        block_on(log.append(append)).expect("it is recorded");
    };
    append();
    let mut follow = log.reader().follow(0, Filter::default());
    let first = block_on(follow.next()).expect("the disk is well");
    assert!(matches!(first, Some(Delivery::Events(_))));
    for _ in 0..100 {
        append();
    }
    assert_eq!(log.reader().end(), 101 * 250);
    drop((follow, first));
    log.close();
}

/// Of two streams one has a small event in each of many large blocks.
fn sparse(blocks: u64) -> (tempfile::TempDir, Log) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = Options::new(folder.path());
    options.queue_bytes = QUEUE_BYTES;
    let log = Log::open(options, machine()).expect("it opens");
    let body = vec![7; 1 << 20];
    for _ in 0..blocks {
        let mut append = Append {
            ack: Ack::Memory,
            ..Append::default()
        };
        for event in [line("large", &body), line("sparse", b"small")] {
            append.batch.push(&event).expect("it keeps to the limits");
        }
        block_on(log.append(append)).expect("it is recorded");
    }
    let reader = log.reader();
    block_on(reader.at_least(2 * blocks, Duration::from_secs(20))).expect("it is recorded");
    (folder, log)
}

/// 600 MB of blocks in which a stream has its events.
fn fold() {
    let (_folder, log) = sparse(600);
    let count = |count: &mut u64, _: &Recorded<'_>| *count += 1;
    let reader = log.reader();
    let folded = reader.fold("sparse", Moment::Offset(u64::MAX), 0, count);
    assert_eq!(folded.expect("the disk is well"), 600);
    log.close();
}

/// 300 MB of blocks in which messages lie that are parked and looked at.
fn parked() {
    let (_folder, log) = sparse(300);
    let options = GroupOptions {
        filter: Filter {
            stream_prefix: "sparse".to_owned(),
            ..Filter::default()
        },
        ..GroupOptions::new("work")
    };
    let (runner, group) = group(&log, options).expect("it is a good name");
    let (drain, draining) = drain::drain();
    block_on(async {
        let running = spawn("group", runner.run(draining));
        let mut consumer = group.subscribe().await.expect("it is open");
        for _ in 0..300 {
            let message = consumer.next().await.expect("the disk is well");
            let message = message.expect("it goes on");
            message.park("for later").expect("it was quick");
        }
        group.checkpoint().await.expect("the disk is well");
        let parked = group.parked(0, 1000).await.expect("the disk is well");
        assert_eq!(parked.len(), 300);
        for message in parked {
            let event = message.event.expect("it is there");
            assert_eq!(
                (event.recorded().event.body, event.recorded().offset),
                (&b"small"[..], message.offset)
            );
        }
        drain.finish(Duration::from_secs(20)).await;
        running.join().await.expect("no panic").expect("the disk is well");
    });
    log.close();
}

fn stalled(sim: &Sim) -> Log {
    let mut options = Options::new(FOLDER);
    options.queue_bytes = QUEUE_BYTES;
    options.segment_bytes = 1 << 20;
    options.linger = Duration::ZERO;
    let log = Log::open(options, sim.arc()).expect("it opens");
    sim.hold_syncs();
    log
}

#[test]
#[ignore = "it is a part of another test, which runs it in a process of its own"]
fn child() {
    let case = std::env::var(CASE).expect("whoever runs it says what");
    let (_, before) = resident();
    match case.as_str() {
        "posts" => posts(),
        "outlets" => outlets(),
        "reader" => reader(),
        "fold" => fold(),
        "parked" => parked(),
        other => panic!("{other} is no case"),
    }
    let (most, _) = resident();
    println!("\n> {}", most.saturating_sub(before));
}

/// How many bytes a child has taken at most.
fn taken(case: &str) -> u64 {
    let output = Command::new(std::env::current_exe().expect("we run"))
        .args([
            "--exact",
            "memory::child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(CASE, case)
        .output()
        .expect("it starts");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    let bytes = told.lines().find_map(|line| line.strip_prefix("> "));
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}{complaint}");
    bytes.and_then(|bytes| bytes.parse().ok()).expect("it says so")
}

/// The queue, its blocks on their way to the disk, and what the simulated disk holds of them.
#[test]
fn a_log_that_is_stalled_takes_no_more_than_its_queue() {
    let bytes = taken("posts");
    assert!(bytes < 32 * MIB, "{} MiB", bytes / MIB);
}

/// The same, an outlet's sampler of 4 MiB and batches of 1.25 MiB.
#[test]
fn an_outlet_holds_no_more_than_its_bounds() {
    let bytes = taken("outlets");
    assert!(bytes < 48 * MIB, "{} MiB", bytes / MIB);
}

/// Readers share a cache of 32 MiB; what a subscriber has not asked for is on the disk.
#[test]
fn a_reader_that_stalls_costs_nothing() {
    let bytes = taken("reader");
    assert!(bytes < 48 * MIB, "{} MiB", bytes / MIB);
}

/// The cache, and 128 blocks of 1 MiB.
#[test]
fn a_stream_is_summed_up_without_its_neighbours() {
    let bytes = taken("fold");
    assert!(bytes < 256 * MIB, "{} MiB", bytes / MIB);
}

/// The cache, 32 blocks of 1 MiB at once, and what the group itself has in hand.
#[test]
fn parked_messages_are_held_without_their_neighbours() {
    let bytes = taken("parked");
    assert!(bytes < 160 * MIB, "{} MiB", bytes / MIB);
}
