//! What is found by the index is what a walk over all events finds, whatever state the index is in.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use axiom_events::disk::Machine;
use axiom_events::find::{By, Group};
use axiom_events::{Append, Batch, Count, Event, Hit, Level, Log, Next, Options, Reader, Totals, Wanted};
use proptest::prelude::*;

/// The first is none. Some are numbers, and those from [`SELDOM`] on have few events or none.
const TASKS: [&str; 16] = [
    "",
    "red",
    "green",
    "0123456789abcdef0123456789abcdef",
    "00000000000000000000000000000000",
    "00000000000000000000000000000001",
    "00000000000000000000000000000002",
    "00000000000000000000000000000003",
    "00000000000000000000000000000004",
    "00000000000000000000000000000005",
    "00000000000000000000000000000006",
    "00000000000000000000000000000007",
    "ffffffffffffffffffffffffffffffff",
    "fffffffffffffffffffffffffffffffe",
    // Also a stream.
    STREAMS[2],
    "FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF",
];
const SELDOM: usize = 4;
const STREAMS: [&str; 3] = ["a", "b", "0000000000000000000000000000000f"];
const KINDS: [&str; 2] = ["call", "output"];
const MINUTE: i64 = 60_000_000_000;
const HOUR: i64 = 60 * MINUTE;

#[derive(Debug, Clone)]
struct Model {
    version: u64,
    time: i64,
    task: usize,
    stream: usize,
    kind: usize,
    level: usize,
    body: Vec<u8>,
}

fn models() -> impl Strategy<Value = Vec<Vec<Model>>> {
    let body = proptest::collection::vec(any::<u8>(), 0..40);
    let task = prop_oneof![20 => 0..SELDOM, 1 => SELDOM..TASKS.len()];
    let model = (0..6 * HOUR, task, 0..3usize, 0..2usize, 0..6usize, body);
    let model = model.prop_map(|(time, task, stream, kind, level, body)| Model {
        version: 0,
        time,
        task,
        stream,
        kind,
        level,
        body,
    });
    proptest::collection::vec(proptest::collection::vec(model, 1..20), 1..30)
}

/// Appends the batches, and gives the events in order with their versions.
fn record(folder: &Path, batches: Vec<Vec<Model>>) -> (Log, Vec<Model>) {
    let mut options = Options::new(folder);
    // A few blocks each.
    options.segment_bytes = 8192;
    let log = Log::open(options, Arc::new(Machine)).expect("it opens");
    let mut versions = [0; 3];
    let mut all = Vec::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    for models in batches {
        let mut batch = Batch::new();
        for mut model in models {
            let event = Event {
                time: model.time,
                tenant: "t",
                stream: STREAMS[model.stream],
                task: TASKS[model.task],
                kind: KINDS[model.kind],
                level: Level::ALL[model.level],
                body: &model.body,
                ..Event::default()
            };
            batch.push(&event).expect("it keeps to the limits");
            model.version = versions[model.stream];
            versions[model.stream] += 1;
            all.push(model);
        }
        let append = Append {
            batch,
            ..Append::default()
        };
        runtime.block_on(log.append(append)).expect("it is recorded");
    }
    (log, all)
}

fn offsets(hits: &[Hit]) -> Vec<u64> {
    hits.iter().map(|hit| hit.recorded().offset).collect()
}

fn agrees(reader: &Reader, all: &[Model]) {
    let where_is = |is: &dyn Fn(&Model) -> bool| -> Vec<u64> {
        let found = (0u64..).zip(all).filter(|(_, model)| is(model));
        found.map(|(offset, _)| offset).collect()
    };
    for (n, task) in TASKS.iter().enumerate().skip(1) {
        let all_of = where_is(&|model| model.task == n);
        for count in [1, 3, 1000] {
            let tail = &all_of[all_of.len().saturating_sub(count)..];
            assert_eq!(
                offsets(&reader.task_tail(task, count).expect("the disk is well")),
                tail
            );
        }
        let (from, to) = (all.len() as u64 / 4, all.len() as u64 / 2);
        let range: Vec<u64> = all_of
            .iter()
            .copied()
            .filter(|offset| (from..to).contains(offset))
            .take(5)
            .collect();
        assert_eq!(
            offsets(&reader.task_range(task, from..to, 5).expect("the disk is well")),
            range
        );
    }
    for (n, stream) in STREAMS.iter().enumerate() {
        let all_of = where_is(&|model| model.stream == n);
        assert_eq!(
            reader.last_version(stream).expect("the disk is well"),
            (all_of.len() as u64).checked_sub(1)
        );
        for version in [0, 1, all_of.len() / 2, all_of.len()] {
            let from = &all_of[version.min(all_of.len())..];
            let count = from.len().min(4);
            let version = version as u64;
            assert_eq!(
                offsets(&reader.stream(stream, version, 4).expect("the disk is well")),
                from[..count]
            );
            let mut before = all_of[..all_of.len() - from.len()].to_vec();
            before.reverse();
            before.truncate(4);
            assert_eq!(
                offsets(
                    &reader
                        .stream_backward(stream, version, 4)
                        .expect("the disk is well")
                ),
                before
            );
        }
    }
    for (offset, model) in (0u64..).zip(all) {
        let hit = reader
            .event(offset)
            .expect("the disk is well")
            .expect("it is there");
        assert_eq!(
            (hit.recorded().version, hit.recorded().event.body),
            (model.version, &model.body[..])
        );
    }
    counts_agree(reader, all);
    scans_agree(reader, all);
}

/// Every scan gives the wanted events, each once and in order; what else is in the blocks does not matter.
fn scans_agree(reader: &Reader, all: &[Model]) {
    let names = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    let count = all.len() as u64;
    for offsets in [0..u64::MAX, count / 3..count / 2, count..count + 5] {
        for (tasks, streams, kinds, times) in [
            (None, None, None, None),
            (names(&["red"]), None, None, None),
            (names(&["red", "blue"]), names(&["a"]), None, None),
            (names(&["", "red"]), None, None, None),
            (None, names(&["b", "none"]), None, Some(HOUR..=2 * HOUR)),
            (None, None, names(&["call"]), Some(0..=MINUTE)),
            (None, None, names(&["none"]), None),
        ] {
            let wanted = Wanted {
                times,
                tenants: None,
                streams,
                tasks,
                kinds,
            };
            let is_of = |names: &Option<Vec<String>>, name: &str| {
                names
                    .as_ref()
                    .is_none_or(|names: &Vec<String>| names.iter().any(|wanted| wanted == name))
            };
            let is_wanted = |model: &Model| {
                is_of(&wanted.tasks, TASKS[model.task])
                    && is_of(&wanted.streams, STREAMS[model.stream])
                    && is_of(&wanted.kinds, KINDS[model.kind])
                    && wanted
                        .times
                        .as_ref()
                        .is_none_or(|times| times.contains(&model.time))
            };
            let expected = (0u64..)
                .zip(all)
                .filter(|(offset, model)| offsets.contains(offset) && is_wanted(model));
            let expected: Vec<u64> = expected.map(|(offset, _)| offset).collect();
            let mut found = Vec::new();
            let mut scan = reader.scan(offsets.clone(), wanted.clone());
            loop {
                match scan.step().expect("the disk is well") {
                    Next::End => break,
                    Next::Gap(gap) => panic!("nothing is damaged, but {gap:?} is missing"),
                    Next::Block(block) => found.extend(
                        block
                            .events()
                            .map(|recorded| recorded.offset)
                            .filter(|offset| offsets.contains(offset))
                            .filter(|offset| usize::try_from(*offset).is_ok_and(|at| is_wanted(&all[at]))),
                    ),
                }
            }
            assert_eq!(found, expected, "{wanted:?} in {offsets:?}");
        }
    }
}

fn counts_agree(reader: &Reader, all: &[Model]) {
    let by = By {
        time: HOUR,
        tenant: false,
        task: true,
        kind: true,
        level: true,
    };
    let totals = Totals {
        times: HOUR..4 * HOUR,
        kind: Some("call"),
        level_min: Some(Level::Info),
        by,
        ..Totals::default()
    };
    let mut expected: BTreeMap<Group, Count> = BTreeMap::new();
    for model in all {
        let level = Level::ALL[model.level];
        if !(HOUR..4 * HOUR).contains(&model.time) || model.kind != 0 || level < Level::Info {
            continue;
        }
        let group = Group {
            time: Some(model.time / HOUR * HOUR),
            tenant: None,
            task: Some(TASKS[model.task].to_owned()),
            kind: Some("call".to_owned()),
            level: Some(level),
        };
        let count = expected.entry(group).or_default();
        count.events += 1;
        count.body_bytes += model.body.len() as u64;
    }
    let expected: Vec<(Group, Count)> = expected.into_iter().collect();
    assert_eq!(reader.totals(&totals).expect("the disk is well"), expected);
    let by = By {
        time: MINUTE,
        ..By::default()
    };
    let times = 90 * MINUTE..200 * MINUTE;
    let by_minute = Totals {
        by,
        times: times.clone(),
        ..Totals::default()
    };
    let mut expected: BTreeMap<i64, u64> = BTreeMap::new();
    for model in all.iter().filter(|model| times.contains(&model.time)) {
        *expected.entry(model.time / MINUTE * MINUTE).or_default() += 1;
    }
    let found = reader.totals(&by_minute).expect("the disk is well").into_iter();
    let found: BTreeMap<i64, u64> = found
        .filter_map(|(group, count)| Some((group.time?, count.events)))
        .collect();
    assert_eq!(found, expected);
    for task in TASKS {
        let of_task = Totals {
            task: Some(task),
            ..Totals::default()
        };
        let found = reader.totals(&of_task).expect("the disk is well");
        let found: u64 = found.iter().map(|(_, count)| count.events).sum();
        let expected = all.iter().filter(|model| TASKS[model.task] == task).count();
        assert_eq!(found, expected as u64, "{task}");
    }
    let everything = reader.totals(&Totals::default()).expect("the disk is well");
    assert_eq!(everything[0].1.events, all.len() as u64);
}

fn each_index(folder: &Path, change: impl Fn(&Path)) {
    for entry in fs_err::read_dir(folder).expect("the disk is well") {
        let path = entry.expect("the disk is well").path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            change(&path);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn by_index_and_by_walk_are_the_same(batches in models()) {
        let folder = tempfile::tempdir().unwrap();
        let (log, all) = record(folder.path(), batches);
        // Growing, with the segments before it sealed.
        agrees(&log.reader(), &all);
        log.close();
        let open = || Reader::open(Arc::new(Machine), folder.path()).unwrap();
        agrees(&open(), &all);
        each_index(folder.path(), |path| {
            let mut bytes = fs_err::read(path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            fs_err::write(path, bytes).unwrap();
        });
        agrees(&open(), &all);
        each_index(folder.path(), |path| fs_err::remove_file(path).unwrap());
        agrees(&open(), &all);
    }
}

/// Blocks in which each task has few of many events, in several frames: they are read in part, and several at once.
#[test]
fn few_events_of_many_blocks_are_found() {
    const TASKS: u64 = 150;
    const BLOCK: u64 = 1500;
    const BLOCKS: u64 = 14;
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::open(Options::new(folder.path()), Arc::new(Machine)).expect("it opens");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let task_of = |offset: u64| offset * 7 % TASKS;
    let body_of = |offset: u64| {
        format!(
            "{offset} {}",
            "x".repeat(usize::try_from(offset % 90).unwrap_or(0))
        )
    };
    for block in 0..BLOCKS {
        let mut batch = Batch::new();
        for offset in block * BLOCK..(block + 1) * BLOCK {
            let (task, stream) = (
                format!("task-{}", task_of(offset)),
                format!("stream-{}", task_of(offset)),
            );
            let body = body_of(offset);
            let event = Event {
                stream: &stream,
                task: &task,
                kind: "k",
                body: body.as_bytes(),
                ..Event::default()
            };
            batch.push(&event).expect("it keeps to the limits");
        }
        let append = Append {
            batch,
            ..Append::default()
        };
        runtime.block_on(log.append(append)).expect("it is recorded");
    }
    let all_of = |task: u64| (0..BLOCKS * BLOCK).filter(move |offset| task_of(*offset) == task);
    let whole = |hits: &[Hit]| {
        for hit in hits {
            let recorded = hit.recorded();
            assert_eq!(recorded.event.body, body_of(recorded.offset).as_bytes());
        }
        offsets(hits)
    };
    let check = |reader: &Reader| {
        for task in (0..TASKS).step_by(7) {
            let name = format!("task-{task}");
            for (range, count) in [
                (0..u64::MAX, 1000),
                (2000..9000, 1000),
                (700..u64::MAX, 33),
                (5..6, 9),
            ] {
                let expected: Vec<u64> = all_of(task)
                    .filter(|offset| range.contains(offset))
                    .take(count)
                    .collect();
                let found = reader.task_range(&name, range, count).expect("the disk is well");
                assert_eq!(whole(&found), expected);
            }
            let expected: Vec<u64> = all_of(task).skip(25).take(60).collect();
            let found = reader.stream(&format!("stream-{task}"), 25, 60);
            assert_eq!(whole(&found.expect("the disk is well")), expected);
        }
    };
    check(&log.reader());
    log.close();
    let open = || Reader::open(Arc::new(Machine), folder.path()).expect("it opens");
    check(&open());

    let path = folder.path().join("00000000000000000000.seg");
    let mut bytes = fs_err::read(&path).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&path, bytes).expect("the disk is well");
    let reader = open();
    let mut damaged: Option<u64> = None;
    for task in (0..TASKS).step_by(7) {
        let found = reader.task_range(&format!("task-{task}"), 0..u64::MAX, 1000);
        let found = whole(&found.expect("damage is no error"));
        let missing: Vec<u64> = all_of(task).filter(|offset| !found.contains(offset)).collect();
        assert_eq!(missing.len() as u64, BLOCK / TASKS, "one block's");
        let block = missing[0] / BLOCK;
        assert!(missing.iter().all(|offset| offset / BLOCK == block));
        assert_eq!(*damaged.get_or_insert(block), block);
    }
}
