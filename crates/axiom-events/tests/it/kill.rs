//! A process that appends is killed, over and over: what was acknowledged in any way is there, once.
//!
//! The process is this test binary itself, told by its arguments to run [`child`] alone.

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

use axiom_events::verify::verify;
use axiom_events::{Ack, Append, Batch, Event, EventId, Log, Next, Options, Reader};

use crate::history::{block_on, machine};
use crate::sim::Random;

/// Where the child appends, and the number of its first event.
const FOLDER: &str = "AXIOM_EVENTS_KILL_FOLDER";
const FIRST: &str = "AXIOM_EVENTS_KILL_FIRST";

const SHARDS: u64 = 10;
const KILLS: u64 = 50;
/// Shards at once: the disk and the processor are shared with whoever else tests.
const AT_ONCE: u64 = 3;
/// Events that one child may append, far more than it lives for.
const NUMBERS: u64 = 1_000_000;
const PRODUCERS: u64 = 6;

fn open(folder: &Path) -> Log {
    let mut options = Options::new(folder);
    options.segment_bytes = 32 << 10;
    Log::open(options, machine()).expect("it opens")
}

#[test]
#[ignore = "it is a part of another test, which runs it in a process of its own"]
fn child() {
    let folder = std::env::var(FOLDER).expect("whoever runs it says where");
    let first: u64 = std::env::var(FIRST)
        .expect("and from where on")
        .parse()
        .expect("a number");
    let log = open(Path::new(&folder));
    say("opened");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|producer| {
                let log = log.clone();
                axiom_core::spawn("producer", async move { produce(&log, first, producer).await })
            })
            .collect();
        for producer in producers {
            producer.join().await.expect("no panic");
        }
    });
}

/// Appends without an end, and says each place that it was given.
async fn produce(log: &Log, first: u64, producer: u64) {
    let mut random = Random::new(first + producer);
    let mut numbers = (first..first + NUMBERS).filter(|number| number % PRODUCERS == producer);
    loop {
        let mut batch = Batch::new();
        let count = 1 + random.below(3);
        let taken: Vec<u64> = numbers.by_ref().take(count).collect();
        for number in &taken {
            let bytes = random.below(600);
            let mut body = number.to_le_bytes().to_vec();
            body.extend(random.bytes(bytes));
            let event = Event {
                stream: "s",
                kind: "test",
                id: Some(EventId(u128::from(*number))),
                body: &body,
                ..Event::default()
            };
            batch.push(&event).expect("it keeps to the limits");
        }
        let append = Append {
            batch,
            // Each of them outlives the process.
            ack: [Ack::Memory, Ack::Group, Ack::Each][random.below(3)],
            ..Append::default()
        };
        let appended = log.append(append).await.expect("it is recorded");
        for (number, offset) in taken.iter().zip(appended.first_offset..) {
            say(&format!("{number} {offset}"));
        }
    }
}

/// In one piece, so that what is read of it is whole or has no end of line.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n> {line}\n").as_bytes())
        .expect("somebody listens");
    out.flush().expect("somebody listens");
}

/// Lets a child live until it has said so many lines; gives the places that it said.
fn live(folder: &Path, first: u64, lines: usize) -> HashMap<u64, u64> {
    let mut child = Command::new(std::env::current_exe().expect("we run"))
        .args([
            "--exact",
            "kill::child",
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(FOLDER, folder)
        .env(FIRST, first.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut out = BufReader::new(child.stdout.take().expect("it is ours"));
    let mut told = HashMap::new();
    let (mut said, mut is_dead) = (0, false);
    loop {
        if said >= lines && !is_dead {
            // SIGKILL; what it said before is still read.
            child.kill().expect("it lives");
            is_dead = true;
        }
        let mut line = String::new();
        if out.read_line(&mut line).expect("it can be read") == 0 {
            break;
        }
        let Some(line) = line.strip_suffix('\n').and_then(|line| line.strip_prefix("> ")) else {
            continue;
        };
        said += 1;
        if let Some((number, offset)) = line.split_once(' ') {
            let number: u64 = number.parse().expect("a number");
            told.insert(number, offset.parse().expect("an offset"));
        }
    }
    let left = child.wait_with_output().expect("it has ended");
    assert!(
        is_dead,
        "it ended by itself: {}",
        String::from_utf8_lossy(&left.stderr)
    );
    told
}

/// Offset by number of every event from `from` on; none is there twice.
fn numbers(reader: &Reader, from: u64) -> HashMap<u64, u64> {
    let mut found = HashMap::new();
    let mut offset = from;
    loop {
        match reader.at(offset).expect("the disk is well") {
            Next::Block(block) => {
                for recorded in block.events().filter(|recorded| recorded.offset >= from) {
                    let number = recorded.event.body.first_chunk::<8>().expect("it has a number");
                    let number = u64::from_le_bytes(*number);
                    if let Some(other) = found.insert(number, recorded.offset) {
                        panic!("event {number} is at {other} and at {}", recorded.offset);
                    }
                }
                offset = block.offsets().end;
            }
            Next::Gap(gap) => panic!("a gap at {gap:?}"),
            Next::End => return found,
        }
    }
}

fn shard(seed: u64) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut random = Random::new(seed);
    let mut told = HashMap::new();
    let mut checked = 0;
    for life in 0..KILLS {
        let fresh = live(folder.path(), life * NUMBERS, random.below(40));
        let reader = Reader::open(machine(), folder.path()).expect("it can be read");
        let found = numbers(&reader, checked);
        for (number, offset) in &fresh {
            assert_eq!(
                found.get(number),
                Some(offset),
                "life {life}: {number} was promised"
            );
        }
        checked = reader.end();
        told.extend(fresh);
        if random.below(2) == 0 {
            // Else the next child puts in order what this one left.
            let log = open(folder.path());
            assert!(log.report().damage.is_empty(), "{:?}", log.report());
            assert_eq!(log.reader().end(), checked);
            again(&log, &told, &mut random);
            log.close();
        }
    }
    let log = open(folder.path());
    let found = numbers(&log.reader(), 0);
    for (number, offset) in &told {
        assert_eq!(found.get(number), Some(offset), "{number} was promised");
    }
    log.close();
    let verdict = verify(&axiom_events::disk::Machine, folder.path()).expect("it can be read");
    assert!(verdict.is_sound(), "{verdict:#?}");
    assert!(told.len() as u64 > KILLS, "{} were acknowledged", told.len());
}

/// A producer that did not get its answer asks again: what is there is not recorded again.
fn again(log: &Log, told: &HashMap<u64, u64>, random: &mut Random) {
    let Some((number, offset)) = told.iter().nth(random.below(told.len())) else {
        return;
    };
    let mut append = Append::default();
    let event = Event {
        stream: "s",
        kind: "test",
        id: Some(EventId(u128::from(*number))),
        body: &number.to_le_bytes(),
        ..Event::default()
    };
    append.batch.push(&event).expect("it keeps to the limits");
    let appended = block_on(log.append(append)).expect("it is known");
    assert!(appended.is_repeated);
    assert_eq!(appended.first_offset, *offset);
}

#[test]
fn five_hundred_kills_lose_nothing_that_was_acknowledged() {
    let threads: Vec<_> = (0..AT_ONCE)
        .map(|thread| {
            let work = move || (thread..SHARDS).step_by(3).for_each(shard);
            axiom_core::spawn::thread("shard", work).expect("a thread")
        })
        .collect();
    for thread in threads {
        thread.join().expect("see above");
    }
}
