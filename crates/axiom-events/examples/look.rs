//! How long questions take: `cargo run --release --example look -- FOLDER [MILLIONS] [TASKS]`.
#![allow(clippy::cast_possible_truncation, reason = "small numbers")]
#![allow(clippy::print_stdout, reason = "a program that prints what it measured")]

use std::sync::Arc;
use std::time::Duration;

use axiom_events::disk::Machine;
use axiom_events::find::By;
use axiom_events::{Append, Batch, Event, Format, Level, Log, Options, Reader, Totals};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = std::path::PathBuf::from(arguments.first().ok_or("which folder?")?);
    let number = |n: usize, default: usize| {
        arguments
            .get(n)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    };
    let (millions, tasks) = (number(1, 10), number(2, 1000));
    if !folder.exists() {
        fill(&folder, millions * 1_000_000, tasks)?;
    }
    let reader = Reader::open(Arc::new(Machine), &folder)?;
    println!("{} events", reader.end());
    let mut n = 7u64;
    let mut random = |below: u64| {
        n = n
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (n >> 33) % below
    };
    let end = reader.end();
    measure("point", 500, || {
        Ok(usize::from(reader.event(random(end))?.is_some()))
    });
    measure("tail 100", 500, || {
        Ok(reader.task_tail(&task(random(tasks as u64) as usize), 100)?.len())
    });
    measure("range 100", 500, || {
        let from = random(end - 200_000);
        Ok(reader
            .task_range(&task(random(tasks as u64) as usize), from..from + 200_000, 100)?
            .len())
    });
    let by = By {
        kind: true,
        level: true,
        ..By::default()
    };
    measure("by kind and level", 200, || {
        Ok(reader
            .totals(&Totals {
                by,
                ..Totals::default()
            })?
            .len())
    });
    let by = By {
        time: 60_000_000_000,
        kind: true,
        ..By::default()
    };
    measure("by minute and kind", 200, || {
        Ok(reader
            .totals(&Totals {
                by,
                ..Totals::default()
            })?
            .len())
    });
    let by = By {
        task: true,
        ..By::default()
    };
    measure("by task", 200, || {
        Ok(reader
            .totals(&Totals {
                by,
                ..Totals::default()
            })?
            .len())
    });
    Ok(())
}

fn measure(what: &str, times: usize, mut ask: impl FnMut() -> Result<usize, Box<dyn std::error::Error>>) {
    let mut took: Vec<Duration> = Vec::new();
    let mut found = 0;
    for _ in 0..times {
        let started = axiom_core::time::now();
        found += ask().expect("the disk is well");
        took.push(started.elapsed());
    }
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    println!(
        "{what}: p50 {:?} p99 {:?} max {:?}, {} found each",
        at(50),
        at(99),
        at(100),
        found / times
    );
}

fn task(n: usize) -> String {
    format!("task-{n:06}")
}

fn fill(folder: &std::path::Path, count: usize, tasks: usize) -> Result<(), Box<dyn std::error::Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let log = Log::open(Options::new(folder), Arc::new(Machine))?;
    let names: Vec<String> = (0..tasks).map(task).collect();
    let mut body = String::new();
    let mut batch = Batch::new();
    let mut state = 1u64;
    for n in 0..count {
        use std::fmt::Write as _;
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let random = (state >> 33) as usize;
        body.clear();
        let _written = write!(
            body,
            "step {n}: read /src/module_{}/file_{}.rs ({} bytes) in {} us, cache {}, retry {}",
            random % 97,
            random % 1013,
            random % 65536,
            random % 10007,
            ["hit", "miss"][random % 2],
            random % 3
        )
        .is_ok();
        let name = &names[random % tasks];
        batch.push(&Event {
            // Ten hours.
            time: 1_700_000_000_000_000_000 + n as i64 * 3_600_000,
            tenant: "default",
            stream: name,
            task: name,
            kind: ["task.output", "tool.call", "state"][random % 3],
            level: [Level::Info, Level::Info, Level::Warn, Level::Error][random % 4],
            format: Format::Text,
            body: body.as_bytes(),
            ..Event::default()
        })?;
        if batch.len() == 1000 {
            let batch = std::mem::take(&mut batch);
            runtime.block_on(log.append(Append {
                batch,
                ack: axiom_events::Ack::Memory,
                ..Append::default()
            }))?;
        }
    }
    log.close();
    Ok(())
}
