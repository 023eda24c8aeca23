//! How many events a second become durable: `cargo run --release --example rate -- FOLDER [MILLIONS] [PRODUCERS] [BATCH]`.
#![allow(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::sync::Arc;
use std::time::Duration;

use axiom_events::disk::Machine;
use axiom_events::{Append, Batch, Event, Format, Level, Log, Options};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = arguments.first().ok_or("which folder?")?.clone();
    let number = |n: usize, default: usize| {
        arguments
            .get(n)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (millions, producers, batch_len) = (number(1, 3), number(2, 4), number(3, 500));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    let log = Log::open(Options::new(folder), Arc::new(Machine))?;
    let per_producer = millions * 1_000_000 / producers;
    let started = axiom_core::time::now();
    let tasks: Vec<_> = (0..producers)
        .map(|producer| {
            let log = log.clone();
            let work = async move { produce(&log, producer, per_producer, batch_len).await };
            axiom_core::spawn::spawn_on(runtime.handle(), "producer", work)
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            task.join().await;
        }
    });
    let took: Duration = started.elapsed();
    let count = per_producer * producers;
    println!(
        "{count} events in {took:?}: {:.2} M/s",
        count as f64 / took.as_secs_f64() / 1e6
    );
    log.close();
    Ok(())
}

async fn produce(log: &Log, producer: usize, count: usize, batch_len: usize) {
    let stream = format!("task-{producer}");
    let mut body = String::new();
    let mut batch = Batch::new();
    let mut pending = std::collections::VecDeque::new();
    for n in 0..count {
        body.clear();
        use std::fmt::Write as _;
        let _written = write!(
            body,
            "step {n}: read /src/module_{}/file_{}.rs ({} bytes) in {} us, cache {}, retry {}",
            n % 97,
            n % 1013,
            n * 37 % 65536,
            n * 7919 % 10007,
            ["hit", "miss"][n % 2],
            n % 3
        )
        .is_ok();
        let event = Event {
            time: axiom_core::time::unix_nanos(),
            tenant: "default",
            stream: &stream,
            task: &stream,
            kind: ["task.output", "tool.call", "state"][n % 3],
            level: Level::Info,
            format: Format::Text,
            body: body.as_bytes(),
            ..Event::default()
        };
        batch.push(&event).expect("it is small");
        if batch.len() == batch_len {
            let append = Append {
                batch: std::mem::take(&mut batch),
                ..Append::default()
            };
            let log = log.clone();
            pending.push_back(axiom_core::spawn("append", async move {
                log.append(append).await.map(drop)
            }));
            if pending.len() > 64
                && let Some(first) = pending.pop_front()
            {
                first.join().await.expect("no panic").expect("it is recorded");
            }
        }
    }
    for append in pending {
        append.join().await.expect("no panic").expect("it is recorded");
    }
}
