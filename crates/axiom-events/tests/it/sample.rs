//! Whatever is skipped, totals are what happened.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axiom_events::disk::Machine;
use axiom_events::find::{By, Group};
use axiom_events::sample::{Fate, Policy, SAMPLED_KIND, Sampler, Skipped};
use axiom_events::{Batch, Count, Event, EventId, Format, Full, Level, Log, Options, Reader, Totals};
use proptest::prelude::*;

use crate::history::read_all;

const SECOND: i64 = 1_000_000_000;
const HOUR: i64 = 3600 * SECOND;
/// One of them is a number.
const TASKS: [&str; 3] = ["", "red", "0123456789abcdef0123456789abcdef"];
const KINDS: [&str; 3] = ["task.output", "task.state", "tool.call"];
const WORDS: [&str; 4] = ["compiling", "tests", "ok", "at"];

/// An event that happens, or something that a producer does.
#[derive(Debug, Clone)]
enum Step {
    Happens(Happening),
    Tell,
    /// The log does not take the batch.
    Reduce,
    GiveUp,
    Press(bool),
}

#[derive(Debug, Clone)]
struct Happening {
    time: i64,
    task: usize,
    kind: usize,
    level: Level,
    has_id: bool,
    body: String,
}

impl Happening {
    fn event<'a>(&'a self, id: u128) -> Event<'a> {
        Event {
            time: self.time,
            tenant: "t",
            stream: "s",
            task: TASKS[self.task],
            kind: KINDS[self.kind],
            level: self.level,
            id: self.has_id.then_some(EventId(id)),
            format: Format::Text,
            body: self.body.as_bytes(),
            ..Event::default()
        }
    }
}

fn happening() -> impl Strategy<Value = Happening> {
    let level = prop_oneof![
        8 => Just(Level::Info),
        2 => Just(Level::Warn),
        1 => Just(Level::Error),
    ];
    let body = (0..4usize, 0..1000u32, 0..4usize)
        .prop_map(|(first, number, last)| format!("{} {number} {}", WORDS[first], WORDS[last]));
    let time = prop_oneof![9 => 0..200 * SECOND, 1 => -2 * HOUR..2 * HOUR];
    (
        time,
        0..3usize,
        0..3usize,
        level,
        proptest::bool::weighted(0.05),
        body,
    )
        .prop_map(|(time, task, kind, level, has_id, body)| Happening {
            time,
            task,
            kind,
            level,
            has_id,
            body,
        })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        60 => happening().prop_map(Step::Happens),
        2 => Just(Step::Tell),
        1 => Just(Step::Reduce),
        1 => Just(Step::GiveUp),
        1 => any::<bool>().prop_map(Step::Press),
    ];
    proptest::collection::vec(step, 1..500)
}

fn policy() -> Policy {
    Policy {
        kinds: vec!["task.*".to_owned(), "tool.call".to_owned()],
        keep: vec!["task.state".to_owned()],
        first: 1,
        window: Duration::from_secs(30),
        floor: Duration::from_secs(20),
        before_error: 3,
        after_error: 2,
        bytes_max: 0,
    }
}

type Counts = BTreeMap<(i64, &'static str, &'static str, Level), (u64, u64)>;

fn count(counts: &mut Counts, happening: &Happening) {
    let key = (
        happening.time.div_euclid(SECOND),
        TASKS[happening.task],
        KINDS[happening.kind],
        happening.level,
    );
    let count = counts.entry(key).or_default();
    count.0 += 1;
    count.1 += happening.body.len() as u64;
}

/// What the log says that happened, by second without tasks, or by hour with them.
fn totals(reader: &Reader, by_task: bool) -> BTreeMap<Group, Count> {
    let by = By {
        time: if by_task { HOUR } else { SECOND },
        tenant: false,
        task: by_task,
        kind: true,
        level: true,
    };
    let totals = Totals {
        by,
        ..Totals::default()
    };
    reader
        .totals(&totals)
        .expect("the disk is well")
        .into_iter()
        .collect()
}

fn expected(counts: &Counts, by_task: bool) -> BTreeMap<Group, (u64, u64)> {
    let mut expected = BTreeMap::new();
    for ((second, task, kind, level), (events, bytes)) in counts {
        let group = Group {
            time: Some(if by_task {
                (second * SECOND).div_euclid(HOUR) * HOUR
            } else {
                second * SECOND
            }),
            tenant: None,
            task: by_task.then(|| (*task).to_owned()),
            kind: Some((*kind).to_owned()),
            level: Some(*level),
        };
        let sum: &mut (u64, u64) = expected.entry(group).or_default();
        (sum.0, sum.1) = (sum.0 + events, sum.1 + bytes);
    }
    expected
}

fn agree(reader: &Reader, counts: &Counts) {
    for by_task in [false, true] {
        let found = totals(reader, by_task);
        let (mut skipped, mut sampled) = (0, 0);
        let mut events = BTreeMap::new();
        for (group, count) in found {
            assert!(count.skipped <= count.events && count.skipped_body_bytes <= count.body_bytes);
            skipped += count.skipped;
            events.insert(group, (count.events, count.body_bytes));
        }
        assert_eq!(events, expected(counts, by_task));
        for own in read_all(reader).events {
            let event = Event {
                time: own.time,
                stream: &own.stream,
                kind: &own.kind,
                body: &own.body,
                ..Event::default()
            };
            sampled += Skipped::read(&event).map_or(0, |skipped| skipped.events());
        }
        assert_eq!(skipped, sampled);
    }
}

fn open(folder: &Path) -> Log {
    let mut options = Options::new(folder);
    // A few blocks each.
    options.segment_bytes = 16 << 10;
    options.linger = Duration::ZERO;
    Log::open(options, Arc::new(Machine)).expect("it opens")
}

fn post(log: &Log, batch: &mut Batch) {
    log.post(std::mem::take(batch)).expect("there is room");
}

/// What the batch says, and nothing of the counters.
fn uncount(counts: &mut Counts, batch: &Batch) {
    for event in batch.events().filter(|event| event.kind != SAMPLED_KIND) {
        let is_of = |((second, task, kind, level), _): &(&(i64, &str, &str, Level), &mut (u64, u64))| {
            *second == event.time.div_euclid(SECOND)
                && *task == event.task
                && *kind == event.kind
                && *level == event.level
        };
        let (_, count) = counts.iter_mut().find(is_of).expect("it was counted");
        (count.0, count.1) = (count.0 - 1, count.1 - event.body.len() as u64);
    }
    counts.retain(|_, count| count.0 > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn totals_are_what_happened(steps in steps()) {
        let folder = tempfile::tempdir().unwrap();
        let log = open(folder.path());
        let mut sampler = Sampler::new(policy());
        let mut batch = Batch::new();
        let mut counts = Counts::new();
        let (mut kept, mut id, mut is_pressed) = (0, 0, false);
        for step in &steps {
            match step {
                Step::Happens(happening) => {
                    id += 1;
                    count(&mut counts, happening);
                    let event = happening.event(id);
                    let before = batch.len();
                    let fate = sampler.push(&mut batch, &event).unwrap();
                    let must_stay = happening.level >= Level::Error || happening.has_id || happening.kind == 1;
                    assert!(fate == Fate::Kept || !must_stay, "{happening:?}");
                    assert!(fate == Fate::Skipped || must_stay || !is_pressed, "{happening:?}");
                    if fate == Fate::Kept {
                        prop_assert_eq!(batch.events().last(), Some(event));
                        kept += 1;
                    } else {
                        prop_assert!(batch.events().skip(before).all(|event| event.kind == SAMPLED_KIND));
                    }
                    if batch.len() > 20 {
                        post(&log, &mut batch);
                    }
                }
                Step::Tell => prop_assert!(sampler.tell(&mut batch)),
                Step::Reduce => prop_assert_eq!(sampler.reduce(&mut batch), 0),
                Step::GiveUp => {
                    let real = batch.events().filter(|event| event.kind != SAMPLED_KIND).count();
                    prop_assert_eq!(sampler.give_up(&batch), real as u64);
                    uncount(&mut counts, &batch);
                    batch.clear();
                }
                Step::Press(pressed) => {
                    is_pressed = *pressed;
                    sampler.press(is_pressed);
                }
            }
            prop_assert!(sampler.bytes() <= 256 << 10);
        }
        prop_assert!(kept > 0 || counts.values().all(|count| count.0 < 500));
        prop_assert!(sampler.finish(&mut batch));
        prop_assert!(!sampler.has_untold());
        post(&log, &mut batch);
        log.close();
        let open_reader = || Reader::open(Arc::new(Machine), folder.path()).unwrap();
        agree(&open_reader(), &counts);
        // Derived files are made again from what is recorded.
        for entry in fs_err::read_dir(folder.path()).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "idx") {
                fs_err::remove_file(path).unwrap();
            }
        }
        agree(&open_reader(), &counts);
        // As the log itself sees it when it is opened again, and goes on.
        let log = open(folder.path());
        agree(&log.reader(), &counts);
        log.close();
    }

    /// The same producer says the same thing twice and is sampled in the same way twice.
    #[test]
    fn it_depends_on_nothing_but_the_events(steps in steps()) {
        let run = || {
            let mut sampler = Sampler::new(policy());
            let mut batch = Batch::new();
            for (id, step) in steps.iter().enumerate() {
                match step {
                    Step::Happens(happening) => {
                        sampler.push(&mut batch, &happening.event(id as u128)).unwrap();
                    }
                    Step::Press(pressed) => sampler.press(*pressed),
                    _ => assert!(sampler.tell(&mut batch)),
                }
            }
            assert!(sampler.finish(&mut batch));
            let events: Vec<String> = batch.events().map(|event| format!("{event:?}")).collect();
            events
        };
        prop_assert_eq!(run(), run());
    }
}

fn line<'a>(time: i64, level: Level, body: &'a str) -> Event<'a> {
    Event {
        time,
        stream: "output",
        task: "task",
        kind: "task.output",
        level,
        format: Format::Text,
        body: body.as_bytes(),
        ..Event::default()
    }
}

fn bodies(batch: &Batch) -> Vec<String> {
    let events = batch.events().filter(|event| event.kind != SAMPLED_KIND);
    events
        .map(|event| String::from_utf8_lossy(event.body).into_owned())
        .collect()
}

#[test]
fn the_first_ones_then_powers_of_two_then_one_a_while() {
    let mut sampler = Sampler::new(Policy {
        window: Duration::from_secs(1000),
        before_error: 0,
        ..Policy::default()
    });
    let mut batch = Batch::new();
    for n in 1..=40 {
        sampler
            .push(&mut batch, &line(n, Level::Info, &format!("line {n}")))
            .unwrap();
    }
    for n in 41..=43 {
        sampler
            .push(
                &mut batch,
                &line(n * 5 * SECOND, Level::Info, &format!("line {n}")),
            )
            .unwrap();
    }
    let kept = bodies(&batch);
    assert_eq!(
        kept,
        [
            "line 1", "line 2", "line 3", "line 4", "line 8", "line 16", "line 32", "line 41", "line 43"
        ]
    );
    // In the next window it begins anew.
    batch.clear();
    for n in 1..=5 {
        sampler
            .push(
                &mut batch,
                &line(2000 * SECOND, Level::Info, &format!("line {n}")),
            )
            .unwrap();
    }
    assert_eq!(bodies(&batch).len(), 4);
}

#[test]
fn an_error_brings_along_what_was_around_it() {
    let mut sampler = Sampler::new(Policy {
        first: 1,
        before_error: 2,
        after_error: 3,
        ..Policy::default()
    });
    let mut batch = Batch::new();
    for n in 1..=7 {
        sampler
            .push(&mut batch, &line(n, Level::Info, &format!("line {n}")))
            .unwrap();
    }
    // Another task's error is not this one's.
    let other = Event {
        task: "other",
        ..line(8, Level::Error, "other failed")
    };
    sampler.push(&mut batch, &other).unwrap();
    assert_eq!(bodies(&batch), ["line 1", "line 2", "line 4", "other failed"]);
    sampler
        .push(&mut batch, &line(9, Level::Critical, "failed"))
        .unwrap();
    for n in 9..=15 {
        sampler
            .push(&mut batch, &line(n, Level::Info, &format!("line {n}")))
            .unwrap();
    }
    let after = bodies(&batch).split_off(4);
    assert_eq!(
        after,
        ["line 6", "line 7", "failed", "line 9", "line 10", "line 11"]
    );
    assert!(sampler.finish(&mut batch));
    let skipped = batch
        .events()
        .filter_map(|event| Skipped::read(&event).map(|skipped| skipped.events()));
    // 3 and 5, and 12 to 15.
    assert_eq!(skipped.sum::<u64>(), 6);
    assert_eq!(bodies(&batch).len() + 6, 16);
}

#[test]
fn some_things_are_always_kept() {
    let mut sampler = Sampler::new(Policy {
        kinds: vec!["*".to_owned()],
        ..Policy::default()
    });
    sampler.press(true);
    let base = line(0, Level::Info, "the same");
    let kept = [
        Event {
            level: Level::Error,
            ..base
        },
        Event {
            level: Level::Critical,
            ..base
        },
        Event {
            id: Some(EventId(7)),
            ..base
        },
        Event {
            stream: "audit",
            ..base
        },
        Event {
            stream: "audit.keys",
            ..base
        },
        Event {
            stream: "axiom.log",
            ..base
        },
        Event {
            kind: "axiom.gap",
            ..base
        },
        Event {
            kind: "gateway.call",
            ..base
        },
        Event {
            kind: "tool.result",
            ..base
        },
        Event {
            kind: "file.write",
            ..base
        },
        Event {
            kind: "llm.text",
            ..base
        },
        Event {
            kind: "intervention",
            ..base
        },
    ];
    let skipped = [
        base,
        Event {
            stream: "auditorium",
            ..base
        },
        Event {
            kind: "whatever",
            ..base
        },
        Event {
            body: b"error: fatal create write",
            ..base
        },
    ];
    let mut batch = Batch::new();
    for event in kept {
        assert_eq!(sampler.push(&mut batch, &event).unwrap(), Fate::Kept, "{event:?}");
    }
    for event in skipped {
        assert_eq!(
            sampler.push(&mut batch, &event).unwrap(),
            Fate::Skipped,
            "{event:?}"
        );
    }
    assert_eq!(batch.len(), kept.len());
    // Whoever names a kind means it.
    let named = Policy {
        kinds: vec!["gateway.call".to_owned()],
        ..Policy::default()
    };
    assert!(named.samples_kind("gateway.call") && !named.samples_kind("gateway.server"));
    assert!(!Policy::default().samples_kind("gateway.call"));
}

/// Every memory of the sampler overflows; nothing gets lost, and no memory grows.
#[test]
fn a_hostile_producer_is_counted_exactly_in_bounded_memory() {
    let mut sampler = Sampler::new(Policy {
        kinds: vec!["*".to_owned()],
        first: 0,
        bytes_max: 1 << 20,
        ..Policy::default()
    });
    let mut batch = Batch::new();
    let mut random = crate::sim::Random::new(5);
    let (mut kept, mut counted, mut bytes_most) = (0u64, 0, 0);
    let mut settle = |batch: &mut Batch| {
        for event in batch.events() {
            match Skipped::read(&event) {
                Some(skipped) => counted += skipped.events(),
                None => kept += 1,
            }
        }
        batch.clear();
    };
    const EVENTS: u64 = 30_000;
    for n in 0..EVENTS {
        sampler.press(n % 3 == 0);
        let task = format!("task-{}", random.below(2000));
        let words: Vec<String> = (0..1 + random.below(60))
            .map(|_| ["a", "bb", "ccc", "dddd"][random.below(4)].repeat(1 + random.below(3)))
            .collect();
        let body = words.join(" ");
        let time = i64::try_from(random.below(1_000_000)).expect("small") * SECOND;
        let event = Event {
            task: &task,
            kind: ["x", "y"][random.below(2)],
            level: if n % 97 == 0 { Level::Error } else { Level::Info },
            ..line(time, Level::Info, &body)
        };
        sampler.push(&mut batch, &event).unwrap();
        bytes_most = bytes_most.max(sampler.bytes());
        if batch.bytes() > 64 << 10 {
            settle(&mut batch);
        }
        if n % 10_000 == 0 {
            sampler.tell(&mut batch);
        }
    }
    while !sampler.finish(&mut batch) {
        settle(&mut batch);
    }
    settle(&mut batch);
    assert!(bytes_most <= 1 << 20, "{bytes_most} B");
    assert!(bytes_most > 512 << 10, "{bytes_most} B: nothing overflowed");
    assert!(counted > EVENTS / 10, "{counted}");
    assert_eq!(kept + counted, EVENTS);
}

#[test]
fn a_forged_counter_does_no_harm() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    let mut batch = Batch::new();
    let of = |body: &'static str, stream: &'static str| Event {
        stream,
        kind: SAMPLED_KIND,
        body: body.as_bytes(),
        ..line(0, Level::Info, "")
    };
    let most = "{\"kind\":\"k\",\"template\":\"\",\"events\":18446744073709551615,\"body_bytes\":0,\"seconds\":[[0,18446744073709551615,0]]}";
    // No counters: of another stream, and cut.
    batch.push(&of(most, "elsewhere")).unwrap();
    batch.push(&of(most.trim_end_matches("}"), "axiom.log")).unwrap();
    for _ in 0..3 {
        batch.push(&of(most, "axiom.log")).unwrap();
    }
    post(&log, &mut batch);
    log.close();
    let reader = Reader::open(Arc::new(Machine), folder.path()).unwrap();
    let by_kind = Totals {
        by: By {
            kind: true,
            ..By::default()
        },
        ..Totals::default()
    };
    let found = reader.totals(&by_kind).unwrap();
    let found: Vec<(Option<&str>, u64)> = found
        .iter()
        .map(|(group, count)| (group.kind.as_deref(), count.events))
        .collect();
    assert_eq!(found, [(Some(SAMPLED_KIND), 2), (Some("k"), u64::MAX)]);
}

#[test]
fn what_is_refused_is_told_again() {
    let mut sampler = Sampler::new(Policy::default());
    let mut batch = Batch::new();
    for n in 0..100 {
        sampler
            .push(&mut batch, &line(n, Level::Info, &format!("line {n}")))
            .unwrap();
    }
    assert!(sampler.finish(&mut batch));
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    log.close();
    let Err(Full(mut batch)) = log.post(batch) else {
        panic!("it is closed");
    };
    let kept = bodies(&batch).len() as u64;
    assert_eq!(kept, 8);
    // What was kept is skipped after all, and all of it is told by one counter each.
    assert_eq!(sampler.reduce(&mut batch), 0);
    assert!(batch.is_empty());
    assert!(sampler.has_untold() && sampler.finish(&mut batch));
    let counted = batch
        .events()
        .filter_map(|event| Some(Skipped::read(&event)?.events()));
    assert_eq!(counted.sum::<u64>(), 100);
}

/// Where the child samples.
const KILL_FOLDER: &str = "AXIOM_EVENTS_SAMPLE_FOLDER";
const KILLS: u64 = 12;

#[test]
#[ignore = "it is a part of another test, which runs it in a process of its own"]
fn child() {
    let folder = std::env::var(KILL_FOLDER).expect("whoever runs it says where");
    let log = open(Path::new(&folder));
    let mut sampler = Sampler::new(policy());
    let (mut pushed, mut promised) = (0u64, 0);
    for round in 0u64.. {
        let mut batch = Batch::new();
        for _ in 0..40 {
            pushed += 1;
            let body = format!(
                "{} {pushed}",
                WORDS[usize::try_from(pushed % 4).expect("one of four")]
            );
            let time = i64::try_from(pushed).expect("small") * 10_000_000;
            sampler
                .push(&mut batch, &line(time, Level::Info, &body))
                .expect("it keeps to the limits");
        }
        if round % 5 == 0 {
            sampler.tell(&mut batch);
        }
        promised += happened(batch.events());
        say(&format!("pushed {pushed}"));
        let append = axiom_events::Append {
            batch,
            ack: axiom_events::Ack::Memory,
            ..axiom_events::Append::default()
        };
        crate::history::block_on(log.append(append)).expect("it is recorded");
        say(&format!("promised {promised}"));
    }
}

fn say(line: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    out.write_all(format!("\n> {line}\n").as_bytes())
        .expect("somebody listens");
    out.flush().expect("somebody listens");
}

/// How many events these tell of: those that were kept, and those that counters stand for.
fn happened<'a>(events: impl Iterator<Item = Event<'a>>) -> u64 {
    events
        .map(|event| Skipped::read(&event).map_or(1, |skipped| skipped.events()))
        .sum()
}

/// A producer is killed, over and over. What was acknowledged is there, counts and all, and nothing is counted that was not
/// pushed.
#[test]
fn a_kill_takes_no_count_that_was_acknowledged() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};
    let folder = tempfile::tempdir().expect("a folder");
    let mut random = crate::sim::Random::new(11);
    let mut before = 0;
    for life in 0..KILLS {
        let mut child = Command::new(std::env::current_exe().expect("we run"))
            .args([
                "--exact",
                "sample::child",
                "--ignored",
                "--nocapture",
                "--test-threads=1",
            ])
            .env(KILL_FOLDER, folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it starts");
        let (mut pushed, mut promised) = (0, 0);
        let last = 5 + random.below(60) as u64;
        let mut said = 0;
        for line in BufReader::new(child.stdout.take().expect("it is ours")).lines() {
            let line = line.expect("it can be read");
            let Some((what, number)) = line.strip_prefix("> ").and_then(|line| line.split_once(' ')) else {
                continue;
            };
            let number: u64 = number.parse().expect("a number");
            *(if what == "pushed" {
                &mut pushed
            } else {
                &mut promised
            }) = number;
            said += 1;
            if said == last {
                child.kill().expect("it lives");
            }
        }
        child.wait().expect("it has ended");
        assert!(said >= last, "it ended by itself");
        let reader = Reader::open(Arc::new(Machine), folder.path()).expect("it can be read");
        let totals = reader.totals(&Totals::default()).expect("the disk is well");
        let found = totals.first().map_or(0, |(_, count)| count.events) - before;
        assert!(
            (promised..=pushed).contains(&found),
            "life {life}: {promised} <= {found} <= {pushed}"
        );
        before += found;
    }
    assert!(before > KILLS * 40, "{before}");
}
