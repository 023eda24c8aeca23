//! A thousand tasks at once.

use super::*;

const TASKS: usize = 1000;

fn options() -> Options {
    Options {
        waiting_bytes_max: 16 << 20,
        task_waiting_bytes_max: 1 << 20,
        recent_bytes_max: 1 << 20,
        reader_bytes_max: 1 << 20,
        line_bytes_max: 64 << 10,
        readers_max: 4,
        tasks_max: TASKS,
    }
}

fn writers(hub: &Hub) -> Vec<Writer> {
    let writer = |task| hub.writer(&format!("task-{task:04}"), 0).unwrap();
    (0..TASKS).map(writer).collect()
}

fn check_usage(hub: &Hub) {
    let (usage, options) = (hub.usage(), options());
    assert!(usage.waiting_bytes <= options.waiting_bytes_max, "{usage:?}");
    assert!(usage.recent_bytes <= options.recent_bytes_max, "{usage:?}");
    assert!(usage.readers_bytes <= options.reader_bytes_max, "{usage:?}");
}

/// Nobody is held up by a reader that never reads, nothing grows, and in the end it knows of every line.
#[test]
fn one_stalled_reader() {
    let hub = Hub::new(options());
    let (mut durable, mut stalled) = (
        hub.durable().unwrap(),
        hub.subscribe(Subscription::default()).unwrap(),
    );
    let mut writers = writers(&hub);
    let text =
        "a line as tasks write them, of eighty characters or so, and then one more of them\n".repeat(5);
    for _ in 0..20 {
        for writer in &mut writers {
            write(writer, Stream::Stdout, &text);
        }
        check_usage(&hub);
        while let Some(batch) = durable.next_now() {
            batch.stored();
        }
    }
    assert_eq!(hub.usage().waiting_bytes, 0);
    let mut next: HashMap<Arc<str>, u64> = HashMap::new();
    let mut missed_lines = 0;
    while let Some(news) = stalled.next_now() {
        match news {
            News::Missed(missed) => {
                assert_eq!(next.insert(Arc::clone(&missed.task), missed.last + 1), None);
                assert_eq!((missed.first, missed.lines), (0, missed.last + 1));
                missed_lines += missed.lines;
            }
            News::Lines(lines) => {
                for numbered in lines.iter() {
                    let next = next.entry(Arc::clone(lines.task())).or_default();
                    assert_eq!(*next, numbered.sequence);
                    *next += 1;
                }
            }
            News::MissedMore { lines } => panic!("{lines} lines of nobody"),
        }
    }
    assert!(missed_lines > 90_000, "{missed_lines}");
    assert!(next.len() == TASKS && next.values().all(|next| *next == 100));
}

/// Writes until there is no credit, for `text` again and again, at most `bytes` in all.
fn write_all_one_can(writer: &mut Writer, text: &str, bytes: &mut usize) {
    while *bytes > 0 {
        let taken = writer.write(Stream::Stdout, 0, &text.as_bytes()[..text.len().min(*bytes)]);
        if taken == 0 {
            break;
        }
        *bytes -= taken;
    }
}

/// Writes `bytes` of `text` for every task, while the store stands still whenever anybody can write.
async fn write_to_a_slow_store(text: &str, bytes: usize) {
    let hub = Hub::new(options());
    let mut durable = hub.durable().unwrap();
    let mut writers = writers(&hub);
    let mut left = vec![bytes; TASKS];
    let mut stored = 0;
    for round in 0.. {
        for (writer, left) in writers.iter_mut().zip(&mut left) {
            if *left > 0 && writer.credit() == 0 {
                // Asks, and is dropped before it gets an answer.
                timeout(Duration::ZERO, writer.ready()).await.unwrap_or_default();
            }
            write_all_one_can(writer, text, left);
        }
        check_usage(&hub);
        if left.iter().all(|left| *left == 0) {
            break;
        }
        let mut batches = 0;
        while let Some(batch) = durable.next_now() {
            stored += raw(&batch).len();
            batch.stored();
            batches += 1;
        }
        assert!(batches > 0, "stuck in round {round} with {:?}", hub.usage());
    }
    drop(writers);
    while let Some(batch) = durable.next_now() {
        stored += raw(&batch).len();
        batch.stored();
    }
    assert_eq!((stored, hub.usage().waiting_bytes), (bytes * TASKS, 0));
}

#[tokio::test(start_paused = true)]
async fn a_stalled_store_bounds_them_all() {
    write_to_a_slow_store(&"a line of text\n".repeat(1000), 60_000).await;
}

#[tokio::test(start_paused = true)]
async fn empty_lines_are_the_dearest() {
    write_to_a_slow_store(&"\n".repeat(1500), 3_000).await;
}

/// Threads that write, store and look on at once. Nobody may wait for what has come already.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_at_once() {
    let hub = Hub::new(Options {
        waiting_bytes_max: 1 << 20,
        task_waiting_bytes_max: 32 << 10,
        tasks_max: 16,
        ..options()
    });
    let (durable, live) = (
        hub.durable().unwrap(),
        hub.subscribe(Subscription::default()).unwrap(),
    );
    for task in 0..16_usize {
        let writer = hub.writer(&task.to_string(), 0).unwrap();
        let text = ("x".repeat(task * 9) + "\n").repeat(7) + "no end";
        axiom_core::spawn("writes", write_often(writer, text, 500));
    }
    hub.close();
    let stores = axiom_core::spawn("stores", store_all(durable));
    let looks = axiom_core::spawn("looks on", look_on(live));
    let minute = Duration::from_secs(60);
    let both = async { (stores.join().await, looks.join().await) };
    let (stored, seen) = timeout(minute, both).await.unwrap();
    let bytes: usize = (0..16).map(|task| 500 * (7 * (task * 9 + 1) + 6)).sum();
    assert_eq!(stored, Some(bytes));
    // Under pressure a line may come in pieces.
    assert!(seen.is_some_and(|lines| lines > 16 * 500 * 7), "{seen:?}");
    assert_eq!(hub.usage().waiting_bytes, 0);
}

async fn write_often(mut writer: Writer, text: String, times: usize) {
    for _ in 0..times {
        let mut left = text.as_bytes();
        while !left.is_empty() {
            writer.ready().await;
            let taken = writer.write(Stream::Stderr, 0, left);
            left = &left[taken..];
        }
    }
}

async fn store_all(mut durable: DurableReader) -> usize {
    let mut bytes = 0;
    while let Some(batch) = durable.next().await {
        bytes += raw(&batch).len();
        batch.stored();
    }
    bytes
}

async fn look_on(mut live: LiveReader) -> u64 {
    let mut lines = 0;
    while let Some(news) = live.next().await {
        lines += match news {
            News::Lines(lines) => lines.iter().count() as u64,
            News::Missed(missed) => missed.lines,
            News::MissedMore { lines } => lines,
        };
    }
    lines
}

/// What is kept of lines without an end must not use up what others need.
#[tokio::test(start_paused = true)]
async fn a_thousand_lines_without_an_end() {
    write_to_a_slow_store(&"x".repeat(7000), 60_000).await;
}
