use std::collections::HashMap;
use std::time::Duration;

use axiom_core::time::timeout;

use super::*;
use crate::mux::{Batch, LiveReader, News, Stream, Tasks};

mod crowd;
mod model;

const SECOND: Duration = Duration::from_secs(1);

fn small() -> Options {
    Options {
        line_bytes_max: 1 << 10,
        waiting_bytes_max: 1 << 20,
        task_waiting_bytes_max: 256 << 10,
        recent_bytes_max: 64 << 10,
        reader_bytes_max: 64 << 10,
        readers_max: 4,
        tasks_max: 64,
    }
}

/// Writes all of it; whoever calls this knows that there is credit.
fn write(writer: &mut Writer, stream: Stream, text: &str) {
    assert_eq!(writer.write(stream, 7, text.as_bytes()), text.len());
}

/// What a live reader has, one string for each line or notice.
fn read(reader: &mut LiveReader) -> Vec<String> {
    let mut seen = Vec::new();
    while let Some(news) = reader.next_now() {
        match news {
            News::Lines(lines) => seen.extend(lines.iter().map(|numbered| {
                let text = String::from_utf8_lossy(numbered.line.text());
                format!("{} {} {text}", lines.task(), numbered.sequence)
            })),
            News::Missed(missed) => seen.push(format!(
                "{} missed {} from {} to {}",
                missed.task, missed.lines, missed.first, missed.last
            )),
            News::MissedMore { lines } => seen.push(format!("missed {lines} more")),
        }
    }
    seen
}

fn raw(batch: &Batch) -> Vec<u8> {
    batch.blocks().flat_map(|block| block.raw().to_vec()).collect()
}

#[test]
fn both_streams_are_numbered_together() {
    let hub = Hub::new(small());
    let (mut durable, mut live) = (
        hub.durable().unwrap(),
        hub.subscribe(Subscription::default()).unwrap(),
    );
    let mut writer = hub.writer("t", 40).unwrap();
    write(&mut writer, Stream::Stdout, "out 1\nout");
    write(&mut writer, Stream::Stderr, "err 1\r\n");
    write(&mut writer, Stream::Stdout, " 2\n\nout 3");
    assert_eq!(writer.next_sequence(), 44);
    drop(writer);
    let expected = ["t 40 out 1", "t 41 err 1", "t 42 out 2", "t 43 ", "t 44 out 3"];
    assert_eq!(read(&mut live), expected);
    let batch = durable.next_now().unwrap();
    assert_eq!((&**batch.task(), batch.blocks().count()), ("t", 4));
    assert_eq!(raw(&batch), b"out 1\nerr 1\r\nout 2\n\nout 3");
    assert!(
        batch
            .blocks()
            .all(|block| block.time_ns() == 7 && !block.is_empty())
    );
    batch.stored();
    assert!(durable.next_now().is_none());
    assert_eq!(hub.usage().waiting_bytes, 0);
}

#[test]
fn a_prompt_can_be_flushed() {
    let hub = Hub::new(small());
    let mut live = hub.subscribe(Subscription::default()).unwrap();
    let mut writer = hub.writer("t", 0).unwrap();
    write(&mut writer, Stream::Stdout, "Name: ");
    assert_eq!(read(&mut live), [""; 0]);
    assert!(writer.flush(Stream::Stdout) && writer.flush(Stream::Stdout));
    assert_eq!(read(&mut live), ["t 0 Name: "]);
}

#[test]
fn only_the_task_that_writes_too_much_must_wait() {
    let hub = Hub::new(small());
    let mut durable = hub.durable().unwrap();
    assert!(hub.durable().is_none());
    let (mut noisy, mut calm) = (hub.writer("noisy", 0).unwrap(), hub.writer("calm", 0).unwrap());
    let line = "x".repeat(999) + "\n";
    let mut written = 0;
    while noisy.write(Stream::Stdout, 0, line.as_bytes()) > 0 {
        written += 1;
    }
    assert_eq!(noisy.credit(), 0);
    assert!(written > 100 && hub.usage().waiting_bytes <= 256 << 10);
    write(&mut calm, Stream::Stdout, "still\n");
    let batch = durable.next_now().unwrap();
    assert_eq!(batch.blocks().count(), written);
    assert_eq!(noisy.credit(), 0, "taken is not stored");
    batch.stored();
    assert!(noisy.credit() > 0);
    assert_eq!(&**durable.next_now().unwrap().task(), "calm");
}

#[test]
fn a_batch_that_was_not_stored_comes_again_before_what_is_newer() {
    let hub = Hub::new(small());
    let mut durable = hub.durable().unwrap();
    let mut writer = hub.writer("t", 0).unwrap();
    write(&mut writer, Stream::Stdout, "a\n");
    let batch = durable.next_now().unwrap();
    write(&mut writer, Stream::Stdout, "b\n");
    assert!(durable.next_now().is_none(), "one batch of a task at a time");
    drop(batch);
    drop(durable);
    let mut durable = hub.durable().unwrap();
    let batch = durable.next_now().unwrap();
    assert_eq!(raw(&batch), b"a\nb\n");
    batch.stored();
    assert!(durable.next_now().is_none());
}

#[test]
fn a_slow_reader_is_told_what_it_missed_where_it_is_missing() {
    let hub = Hub::new(small());
    let mut durable = hub.durable().unwrap();
    let subscription = Subscription {
        stream: Some(Stream::Stdout),
        queue_bytes_max: Some(8 << 10),
        ..Subscription::default()
    };
    let mut slow = hub.subscribe(subscription).unwrap();
    let (mut a, mut b) = (hub.writer("a", 0).unwrap(), hub.writer("b", 0).unwrap());
    let line = "x".repeat(999) + "\n";
    write(&mut b, Stream::Stdout, "first\n");
    for _ in 0..10 {
        write(&mut a, Stream::Stdout, &line);
        write(&mut a, Stream::Stderr, "not wanted\n");
        durable.next_now().unwrap().stored();
    }
    write(&mut b, Stream::Stdout, "last\n");
    let seen = read(&mut slow);
    assert_eq!(seen[..2], ["a missed 5 from 0 to 8", "b missed 1 from 0 to 0"]);
    let numbers: Vec<&str> = seen[2..].iter().filter_map(|line| line.get(..4)).collect();
    assert_eq!(numbers, ["a 10", "a 12", "a 14", "a 16", "a 18", "b 1 "]);
}

#[test]
fn what_was_missed_of_too_many_tasks_is_at_least_counted() {
    let hub = Hub::new(small());
    let subscription = Subscription {
        queue_bytes_max: Some(1 << 10),
        ..Subscription::default()
    };
    let mut slow = hub.subscribe(subscription).unwrap();
    for task in 0..5 {
        let mut writer = hub.writer(&format!("t{task}"), 0).unwrap();
        write(&mut writer, Stream::Stdout, "a\nb\n");
    }
    assert!(hub.usage().readers_bytes <= 1 << 10);
    let seen = read(&mut slow);
    let expected = [
        "t0 missed 2 from 0 to 1",
        "t1 missed 2 from 0 to 1",
        "missed 4 more",
        "t4 0 a",
        "t4 1 b",
    ];
    assert_eq!(seen, expected);
}

#[test]
fn the_last_lines_come_first() {
    let hub = Hub::new(small());
    let (mut a, mut b) = (hub.writer("a", 0).unwrap(), hub.writer("b", 0).unwrap());
    write(&mut a, Stream::Stdout, "1\n2\n3\n");
    write(&mut b, Stream::Stdout, "4\n5\n");
    write(&mut a, Stream::Stderr, "6\n");
    let check = |tasks: &[&str], stream, last_lines, expected: &[&str]| {
        let tasks = match tasks {
            [] => Tasks::All,
            tasks => Tasks::These(tasks.iter().map(|task| Arc::from(*task)).collect()),
        };
        let queue_bytes_max = None;
        let mut reader = hub
            .subscribe(Subscription {
                tasks,
                stream,
                last_lines,
                queue_bytes_max,
            })
            .unwrap();
        assert_eq!(read(&mut reader), expected);
    };
    check(&[], None, 0, &[]);
    check(&[], None, 4, &["a 2 3", "b 0 4", "b 1 5", "a 3 6"]);
    check(&["a"], None, 2, &["a 2 3", "a 3 6"]);
    check(
        &["a", "b"],
        Some(Stream::Stdout),
        99,
        &["a 0 1", "a 1 2", "a 2 3", "b 0 4", "b 1 5"],
    );
    check(&["c"], None, 9, &[]);
}

#[test]
fn who_is_refused_is_told_why() {
    let hub = Hub::new(Options {
        tasks_max: 1,
        readers_max: 0,
        ..small()
    });
    let writer = hub.writer("t", 0).unwrap();
    assert_eq!(
        hub.writer("t2", 0).unwrap_err(),
        WriterError::TooMany { tasks_max: 1 }
    );
    assert_eq!(
        hub.writer(&"x".repeat(97), 0).unwrap_err(),
        WriterError::IdTooLong { bytes: 97 }
    );
    let refused = hub.subscribe(Subscription::default()).unwrap_err();
    assert_eq!(refused, TooManyReaders { readers_max: 0 });
    drop(writer);
    let hub = Hub::new(small());
    let _writer = hub.writer("t", 0).unwrap();
    assert_eq!(
        hub.writer("t", 0).unwrap_err(),
        WriterError::Taken { task: "t".to_owned() }
    );
    hub.close();
    assert_eq!(hub.writer("t3", 0).unwrap_err(), WriterError::Closed);
}

#[tokio::test(start_paused = true)]
async fn waits_that_are_dropped_lose_nothing() {
    let hub = Hub::new(small());
    let (mut durable, mut live) = (
        hub.durable().unwrap(),
        hub.subscribe(Subscription::default()).unwrap(),
    );
    let mut writer = hub.writer("t", 0).unwrap();
    timeout(SECOND, durable.next()).await.unwrap_err();
    timeout(SECOND, live.next()).await.unwrap_err();
    write(&mut writer, Stream::Stdout, "a\n");
    assert!(matches!(live.next().await, Some(News::Lines(_))));
    durable.next().await.unwrap().stored();
    let line = "x".repeat(99) + "\n";
    while writer.write(Stream::Stdout, 0, line.as_bytes()) > 0 {}
    for _ in 0..3 {
        timeout(SECOND, writer.ready()).await.unwrap_err();
    }
    let store = async { durable.next().await.unwrap().stored() };
    let (ready, ()) = tokio::join!(timeout(SECOND, writer.ready()), store);
    ready.unwrap();
    assert!(writer.credit() > 0);
}

#[tokio::test(start_paused = true)]
async fn after_the_end_every_reader_knows() {
    let hub = Hub::new(small());
    let (mut durable, mut live) = (
        hub.durable().unwrap(),
        hub.subscribe(Subscription::default()).unwrap(),
    );
    let mut writer = hub.writer("t", 0).unwrap();
    let reads = async {
        let last = durable.next().await.unwrap();
        assert_eq!(raw(&last), b"last");
        last.stored();
        assert!(durable.next().await.is_none());
    };
    let looks = async {
        assert!(matches!(live.next().await, Some(News::Lines(_))));
        assert!(live.next().await.is_none());
    };
    let ends = async {
        hub.close();
        write(&mut writer, Stream::Stdout, "last");
        tokio::task::yield_now().await;
        drop(writer);
    };
    timeout(SECOND, async { tokio::join!(reads, looks, ends) })
        .await
        .unwrap();
}

#[test]
fn an_idle_task_costs_little() {
    let hub = Hub::new(small());
    let mut writer = hub.writer("0123456789abcdef0123456789abcdef", 0).unwrap();
    write(&mut writer, Stream::Stdout, "started\n");
    hub.durable().unwrap().next_now().unwrap().stored();
    assert_eq!(hub.usage().waiting_bytes, 0, "nothing is kept");
    // Its id is there twice, and stands in a hash table and in a tree, which may be half empty.
    let names = 2 * TASK_ID_BYTES_MAX + 2 * (size_of::<Arc<str>>() + size_of::<String>() + 16);
    let parts = size_of::<Writer>() + crate::mux::writer::TASK_RECORD_BYTES + names;
    assert!(parts <= TASK_BYTES, "{parts}");
}

#[test]
fn the_bound_is_the_sum_of_the_options() {
    let expected = (64 << 20) + (16 << 20) + 64 * (1 << 20) + 4096 * 1024;
    assert_eq!(Options::default().bytes_max(), expected);
}
