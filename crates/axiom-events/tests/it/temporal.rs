//! The log as it was at any moment is what a list would have been.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axiom_events::disk::Machine;
use axiom_events::{Ack, Append, Batch, Event, Log, Moment, Options, Page, Reader};
use proptest::prelude::*;

use crate::history::block_on;

const STREAMS: [&str; 3] = ["a", "b", "c"];
const SECOND: i64 = 1_000_000_000;

#[derive(Debug, Clone)]
struct Model {
    time: i64,
    stream: usize,
    body: Vec<u8>,
}

fn models() -> impl Strategy<Value = Vec<Vec<Model>>> {
    // What ascends mostly, with producers whose clocks are behind.
    let model = (
        0..60 * SECOND,
        0..3usize,
        proptest::collection::vec(any::<u8>(), 0..60),
    );
    let model = model.prop_map(|(time, stream, body)| Model { time, stream, body });
    proptest::collection::vec(proptest::collection::vec(model, 1..12), 1..30).prop_map(|mut batches| {
        for (nth, batch) in (0i64..).zip(&mut batches) {
            for model in batch {
                model.time += nth * 5 * SECOND;
            }
        }
        batches
    })
}

fn record(folder: &Path, batches: &[Vec<Model>]) -> Log {
    let mut options = Options::new(folder);
    options.segment_bytes = 4096;
    let log = Log::open(options, Arc::new(Machine)).expect("it opens");
    for models in batches {
        let mut batch = Batch::new();
        for model in models {
            let event = Event {
                time: model.time,
                stream: STREAMS[model.stream],
                kind: "test",
                body: &model.body,
                ..Event::default()
            };
            batch.push(&event).expect("it keeps to the limits");
        }
        let append = Append {
            batch,
            ..Append::default()
        };
        block_on(log.append(append)).expect("it is recorded");
    }
    log
}

fn offsets(page: &Page) -> Vec<u64> {
    page.hits.iter().map(|hit| hit.recorded().offset).collect()
}

/// Every page of so many, one after the other.
fn pages(mut page: impl FnMut(u64) -> Page, mut next: u64) -> Vec<u64> {
    let mut all = Vec::new();
    loop {
        let page = page(next);
        assert!(page.gaps.is_empty(), "{:?}", page.gaps);
        if page.hits.is_empty() {
            return all;
        }
        all.extend(offsets(&page));
        next = page.next;
    }
}

fn agrees(reader: &Reader, all: &[Model]) {
    let end = all.len() as u64;
    for count in [1, 7, 1000] {
        let forward = pages(|from| reader.all(from, count).expect("the disk is well"), 3);
        assert_eq!(forward, (3.min(end)..end).collect::<Vec<u64>>());
        let backward = |before| reader.all_backward(before, count).expect("the disk is well");
        assert_eq!(pages(backward, u64::MAX), (0..end).rev().collect::<Vec<u64>>());
        assert_eq!(pages(backward, end / 2), (0..end / 2).rev().collect::<Vec<u64>>());
    }
    let mut times: Vec<i64> = all
        .iter()
        .flat_map(|model| [model.time, model.time + 1])
        .collect();
    times.extend([i64::MIN, 0, i64::MAX]);
    for time in times {
        let first = all.iter().position(|model| model.time >= time);
        let first = first.unwrap_or(all.len());
        assert_eq!(
            reader.offset_at(time).expect("the disk is well"),
            first as u64,
            "{time}"
        );
        let page = reader.read_at(Moment::Time(time), 2).expect("the disk is well");
        let expected: Vec<u64> = (first as u64..end).take(2).collect();
        assert_eq!(offsets(&page), expected);
        was(reader, all, Moment::Time(time), first);
    }
    for offset in [0, 1, end / 2, end, end + 5] {
        let before = all.len().min(usize::try_from(offset).expect("it is small"));
        was(reader, all, Moment::Offset(offset), before);
    }
}

/// What each stream was when there were so many events.
fn was(reader: &Reader, all: &[Model], moment: Moment, before: usize) {
    for (nth, stream) in STREAMS.iter().enumerate() {
        let of = all[..before].iter().filter(|model| model.stream == nth);
        let bodies: Vec<Vec<u8>> = of.map(|model| model.body.clone()).collect();
        assert_eq!(
            reader.version_at(stream, moment).expect("the disk is well"),
            bodies.len() as u64
        );
        let folded = reader.fold(stream, moment, Vec::new(), |bodies, recorded| {
            bodies.push(recorded.event.body.to_vec());
        });
        assert_eq!(folded.expect("the disk is well"), bodies);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 6, ..ProptestConfig::default() })]

    #[test]
    fn what_was_at_any_moment(batches in models()) {
        let folder = tempfile::tempdir().unwrap();
        let log = record(folder.path(), &batches);
        let all: Vec<Model> = batches.into_iter().flatten().collect();
        agrees(&log.reader(), &all);
        log.close();
        agrees(&Reader::open(Arc::new(Machine), folder.path()).unwrap(), &all);
    }
}

#[test]
fn a_gap_is_one_gap_both_ways() {
    let folder = tempfile::tempdir().unwrap();
    let one = |stream, time| {
        vec![Model {
            time,
            stream,
            body: vec![7; 300],
        }]
    };
    let batches: Vec<Vec<Model>> = (0..60i64).map(|n| one(0, n * SECOND)).collect();
    record(folder.path(), &batches).close();
    let mut names: Vec<_> = fs_err::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    names.sort();
    assert!(names.len() > 3, "{names:?}");
    let first_of = |nth: usize| {
        let name: &Path = names[nth].as_ref();
        let stem = name.file_stem().and_then(|stem| stem.to_str()).unwrap();
        stem.parse::<u64>().unwrap()
    };
    let gap = first_of(2)..first_of(3);
    fs_err::remove_file(&names[2]).unwrap();
    let reader = Reader::open(Arc::new(Machine), folder.path()).unwrap();
    let there: Vec<u64> = (0..60).filter(|offset| !gap.contains(offset)).collect();
    let forward = reader.all(0, 1000).unwrap();
    assert_eq!(
        (offsets(&forward), forward.gaps.clone()),
        (there.clone(), vec![gap.clone()])
    );
    let backward = reader.all_backward(u64::MAX, 1000).unwrap();
    let reversed: Vec<u64> = there.iter().rev().copied().collect();
    assert_eq!(
        (offsets(&backward), backward.gaps.clone()),
        (reversed, vec![gap.clone()])
    );
    // Events that are gone are as old as can be.
    let time = i64::try_from(gap.start).unwrap() * SECOND;
    assert_eq!(reader.offset_at(time).unwrap(), gap.end);
}

#[tokio::test]
async fn one_reads_what_one_wrote() {
    let folder = tempfile::tempdir().unwrap();
    let log = Log::open(Options::new(folder.path()), Arc::new(Machine)).unwrap();
    let mut append = Append {
        ack: Ack::Memory,
        ..Append::default()
    };
    let event = Event {
        stream: "a",
        kind: "test",
        ..Event::default()
    };
    append.batch.push(&event).unwrap();
    let position = log.append(append).await.unwrap().position();
    assert_eq!(position, 1);
    let reader = log.reader();
    reader.at_least(position, Duration::from_secs(30)).await.unwrap();
    assert!(reader.event(0).unwrap().is_some());
    // From here on nothing but time passes.
    tokio::time::pause();
    let not_yet = reader.at_least(5, Duration::from_secs(3)).await.unwrap_err();
    assert_eq!(
        (not_yet.wanted, not_yet.reached, not_yet.is_closed),
        (5, 1, false)
    );
    insta::assert_snapshot!(not_yet, @"the log is at position 1, 5 was asked for and was not reached within 3s; ask again");
    log.close();
    let never = reader.at_least(5, Duration::from_secs(3)).await.unwrap_err();
    insta::assert_snapshot!(never, @"the log is at position 1, 5 was asked for, and nothing comes any more: it was closed");
}
