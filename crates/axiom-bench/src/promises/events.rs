//! E1 to E3: the event log, in this process and on this disk, beside a Redis stream.

mod corpus;
mod redis;

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axiom_events::disk::Machine;
use axiom_events::find::By;
use axiom_events::{Ack, Append, AppendError, Appended, Batch, Log, Options, Reader, Totals};

use super::{Finding, Setup};
use crate::measured::{as_f64, median};
use crate::subject::Folder;

use corpus::{Corpus, TASKS};

/// Producers that append at the same time; a gateway has as many as it has workers, a runtime some more.
const PRODUCERS: usize = 4;
/// Events in an append, as a producer that flushes every few milliseconds has them.
const APPEND_EVENTS: usize = 500;
/// Appends of one producer that wait for their acknowledgement. More only makes the queue longer.
const IN_FLIGHT: usize = 16;
/// Events of one round; a quick look takes a tenth.
const ROUND_EVENTS: u64 = 2_000_000;
/// Events of the log that is searched.
const SEARCHED_EVENTS: u64 = 10_000_000;
/// Producers that each wait for one event's acknowledgement at a time.
const APPENDERS: usize = 16;

/// E1: events a second, from producers to the acknowledgement that they are on the disk, beside a Redis stream in memory.
pub(super) fn durable(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let events = scaled(setup, ROUND_EVENTS);
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut no_redis = None;
    for _ in 0..setup.effort.rounds {
        ours.push(append_all(events)?);
        match redis::xadd(events / 10) {
            Ok(rate) => theirs.push(rate),
            Err(error) => no_redis = Some(error),
        }
    }
    let ours = median(ours);
    let mut findings = vec![Finding {
        id: "E1-rate",
        value: ours / 1e6,
        errors: 0,
        detail: format!(
            "{PRODUCERS} producers, {APPEND_EVENTS} events of 130 B in an append, fdatasync before the acknowledgement"
        ),
    }];
    match no_redis {
        Some(error) => crate::report::say(&format!("no Redis to compare with: {error:#}")),
        None => {
            let theirs = median(theirs);
            findings.push(Finding {
                id: "E1-redis",
                value: ours / theirs,
                errors: 0,
                detail: format!(
                    "{:.2} M/s, Redis {:.2} M/s pipelined and in memory only",
                    ours / 1e6,
                    theirs / 1e6
                ),
            });
        }
    }
    Ok(findings)
}

/// Events a second.
fn append_all(events: u64) -> anyhow::Result<f64> {
    let folder = Folder::new()?;
    let log = Log::open(Options::new(folder.path().join("log")), Arc::new(Machine))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()?;
    let start = Instant::now();
    let producers: Vec<_> = (0..PRODUCERS as u64)
        .map(|producer| runtime.spawn(produce(log.clone(), producer, events / PRODUCERS as u64)))
        .collect();
    for producer in producers {
        runtime.block_on(producer)??;
    }
    let rate = as_f64(events) / start.elapsed().as_secs_f64();
    log.close();
    let end = log.reader().end();
    anyhow::ensure!(
        end == events / PRODUCERS as u64 * PRODUCERS as u64,
        "{end} events are there"
    );
    Ok(rate)
}

async fn produce(log: Log, producer: u64, events: u64) -> anyhow::Result<()> {
    let mut corpus = Corpus::new(producer);
    let mut waiting: VecDeque<tokio::task::JoinHandle<Result<Appended, AppendError>>> = VecDeque::new();
    let mut left = events;
    while left > 0 {
        let len = left.min(APPEND_EVENTS as u64);
        left -= len;
        let batch = corpus.batch(len)?;
        let log = log.clone();
        waiting.push_back(tokio::spawn(async move { log.append(group(batch)).await }));
        if waiting.len() >= IN_FLIGHT
            && let Some(oldest) = waiting.pop_front()
        {
            oldest.await??;
        }
    }
    for append in waiting {
        append.await??;
    }
    Ok(())
}

fn group(batch: Batch) -> Append {
    Append {
        batch,
        ack: Ack::Group,
        ..Append::default()
    }
}

/// E2: how long one event takes to be on the disk, with others on their way.
pub(super) fn single(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let appends = scaled(setup, 1_000);
    let mut p99s = Vec::new();
    for _ in 0..setup.effort.rounds {
        let folder = Folder::new()?;
        let log = Log::open(Options::new(folder.path().join("log")), Arc::new(Machine))?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .build()?;
        let appenders: Vec<_> = (0..APPENDERS as u64)
            .map(|appender| runtime.spawn(append_singly(log.clone(), appender, appends)))
            .collect();
        let mut took = Vec::new();
        for appender in appenders {
            took.extend(runtime.block_on(appender)??);
        }
        log.close();
        p99s.push(percentile(&mut took, 99).as_secs_f64() * 1e3);
    }
    Ok(vec![Finding {
        id: "E2",
        value: median(p99s),
        errors: 0,
        detail: format!(
            "{APPENDERS} appenders, one event each, 99th percentile, median of {} rounds",
            setup.effort.rounds
        ),
    }])
}

async fn append_singly(log: Log, appender: u64, appends: u64) -> anyhow::Result<Vec<Duration>> {
    let mut corpus = Corpus::new(appender);
    let mut took = Vec::new();
    for _ in 0..appends {
        let batch = corpus.batch(1)?;
        let start = Instant::now();
        log.append(group(batch)).await?;
        took.push(start.elapsed());
    }
    Ok(took)
}

/// E3: questions to ten million events of a thousand tasks that ran all at once.
pub(super) fn questions(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let folder = Folder::new()?;
    let path = folder.path().join("log");
    let events = scaled(setup, SEARCHED_EVENTS);
    fill(&path, events)?;
    let reader = Reader::open(Arc::new(Machine), &path)?;
    let mut random = corpus::Random::new(7);
    let mut task = random.clone();
    let mut a_task = move || corpus::task(task.below(TASKS));
    let window = events / 50;
    let mut from = random.clone();
    let by = By {
        time: 3_600_000_000_000,
        kind: true,
        level: true,
        ..By::default()
    };
    let totals = Totals {
        by,
        ..Totals::default()
    };
    let asked = [
        ask("E3-point", "an event by its offset", 1000, || {
            let found = reader.event(random.below(events))?;
            Ok(usize::from(found.is_some()))
        })?,
        ask("E3-tail", "the last 100 events of a task", 500, || {
            Ok(reader.task_tail(&a_task(), 100)?.len())
        })?,
        ask("E3-range", "100 events of a task from somewhere on", 300, || {
            let start = from.below(events - window);
            let task = corpus::task(from.below(TASKS));
            Ok(reader.task_range(&task, start..start + window, 100)?.len())
        })?,
        ask("E3-totals", "counts by hour, kind and level of all", 300, || {
            Ok(reader.totals(&totals)?.len())
        })?,
    ];
    Ok(asked.into())
}

fn ask(
    id: &'static str,
    what: &str,
    times: usize,
    mut question: impl FnMut() -> anyhow::Result<usize>,
) -> anyhow::Result<Finding> {
    // The first one opens files and reads indexes.
    question()?;
    let mut took = Vec::with_capacity(times);
    let mut errors = 0;
    for _ in 0..times {
        let start = Instant::now();
        let found = question()?;
        took.push(start.elapsed());
        errors += u64::from(found == 0);
    }
    let p99 = percentile(&mut took, 99);
    let p50 = percentile(&mut took, 50);
    Ok(Finding {
        id,
        value: p99.as_secs_f64() * 1e3,
        errors,
        detail: format!("{what}; p50 {:.2} ms", p50.as_secs_f64() * 1e3),
    })
}

fn fill(path: &Path, events: u64) -> anyhow::Result<()> {
    let log = Log::open(Options::new(path), Arc::new(Machine))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()?;
    runtime
        .block_on(runtime.spawn(produce(log.clone(), 0, events)))
        .context("the log was not filled")??;
    log.close();
    Ok(())
}

fn percentile(took: &mut [Duration], percent: usize) -> Duration {
    took.sort_unstable();
    let at = (took.len() * percent / 100).min(took.len().saturating_sub(1));
    took.get(at).copied().unwrap_or_default()
}

/// A quick look does a tenth.
fn scaled(setup: &Setup, full: u64) -> u64 {
    if setup.effort.is_quick() { full / 10 } else { full }
}
