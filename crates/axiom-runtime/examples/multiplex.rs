//! How many lines a second 100 tasks bring through the multiplexer into a store that keeps up, with one live reader or without;
//! and what a task takes that says nothing.
//!
//! ```sh
//! cargo run --release -p axiom-runtime --example multiplex
//! ```

#![allow(clippy::print_stdout, reason = "it is a program that prints what it measured")]

use std::time::Duration;

use axiom_core::time;
use axiom_runtime::mux::clean::Colours;
use axiom_runtime::mux::terminal::Terminal;
use axiom_runtime::mux::{Hub, Options, Stream, Subscription, Writer};

const TASKS: usize = 100;
const IDLE_TASKS: usize = 50_000;
const LINE: &str = "   Compiling a-crate v0.1.0: a line as tasks write them, of eighty characters..\n";

fn main() -> std::io::Result<()> {
    // First: later the process has memory to spare, and would not grow.
    println!("an idle task takes {} B", idle_task_bytes()?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_time()
        .build()?;
    for (lines, lines_per_write, looks_on) in [
        (4_000_000, 50, false),
        (4_000_000, 50, true),
        (1_000_000, 1, false),
    ] {
        let took = runtime.block_on(measure(lines, lines_per_write, looks_on));
        let per_second = lines as f64 / took.as_secs_f64();
        let reader = if looks_on {
            "one live reader"
        } else {
            "no live reader"
        };
        println!(
            "{TASKS} tasks, {lines_per_write} lines a write, {reader}: {:.2} million lines/s",
            per_second / 1e6
        );
    }
    Ok(())
}

/// What the process grows by, for each of many tasks that have said something, stored by now, and wait.
fn idle_task_bytes() -> std::io::Result<usize> {
    let options = Options {
        tasks_max: IDLE_TASKS,
        recent_bytes_max: 0,
        ..Options::default()
    };
    let hub = Hub::new(options);
    let mut durable = hub.durable().expect("nobody has it yet");
    let mut writers = Vec::with_capacity(IDLE_TASKS);
    let before = resident_bytes()?;
    for task in 0..IDLE_TASKS {
        let mut writer = hub
            .writer(&format!("0123456789abcdef-{task:015}"), 0)
            .expect("so many may write");
        writer.write(Stream::Stdout, 0, LINE.as_bytes());
        if let Some(batch) = durable.next_now() {
            batch.stored();
        }
        writers.push(writer);
    }
    Ok(resident_bytes()?.saturating_sub(before) / IDLE_TASKS)
}

/// As Linux counts it.
fn resident_bytes() -> std::io::Result<usize> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<usize>().ok());
    Ok(kib.unwrap_or_default() << 10)
}

/// Until every line is stored.
async fn measure(lines: usize, lines_per_write: usize, looks_on: bool) -> Duration {
    let hub = Hub::new(Options::default());
    let mut durable = hub.durable().expect("nobody has it yet");
    let store = axiom_core::spawn("store", async move {
        let mut stored = 0;
        while let Some(batch) = durable.next().await {
            stored += batch.blocks().map(|block| block.lines().count()).sum::<usize>();
            batch.stored();
        }
        stored
    });
    let looking = looks_on.then(|| axiom_core::spawn("looks on", look_on(hub.clone())));
    let started = time::now();
    for task in 0..TASKS {
        let writer = hub
            .writer(&format!("task-{task:04}"), 0)
            .expect("there are few tasks");
        let chunk = LINE.repeat(lines_per_write);
        axiom_core::spawn("task", write(writer, chunk, lines / TASKS / lines_per_write));
    }
    hub.close();
    let stored = store.join().await;
    let took = started.elapsed();
    assert_eq!(stored, Some(lines));
    if let Some(looking) = looking {
        looking.join().await;
    }
    took
}

async fn write(mut writer: Writer, chunk: String, writes: usize) {
    for write in 0..writes {
        let mut left = chunk.as_bytes();
        while !left.is_empty() {
            writer.ready().await;
            let taken = writer.write(Stream::Stdout, 0, left);
            left = left.get(taken..).unwrap_or_default();
        }
        if write % 16 == 0 {
            // As a task that waits for its pipe.
            tokio::task::yield_now().await;
        }
    }
}

/// Makes text of all that it gets, as a terminal would show it.
async fn look_on(hub: Hub) {
    let Ok(mut reader) = hub.subscribe(Subscription::default()) else {
        return;
    };
    let mut terminal = Terminal::new(hub, Colours::Keep);
    let mut text = String::new();
    while let Some(news) = reader.next().await {
        text.clear();
        terminal.write(&news, &mut text);
    }
}
