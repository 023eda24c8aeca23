//! E1 and E2: the event log, in this process and on this disk, beside a Redis stream.

mod redis;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axiom_events::disk::Machine;
use axiom_events::{Ack, Append, AppendError, Appended, Batch, Log, Options};

use super::agents::Corpus;
use super::{Finding, Setup};
use crate::measured::{as_f64, median};
use crate::subject::Folder;

/// Producers that append at the same time; a gateway has as many as it has workers, a runtime some more.
pub(super) const PRODUCERS: u64 = 4;
/// Events in an append, as a producer that flushes every few milliseconds has them.
pub(super) const APPEND_EVENTS: u64 = 500;
/// Appends of one producer that wait for their acknowledgement. More only makes the queue longer.
const IN_FLIGHT: usize = 16;
/// Events of one round; a quick look takes a tenth.
pub(super) const ROUND_EVENTS: u64 = 2_000_000;
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

/// Events a second. Their texts are made beforehand, as Redis' requests are; producers make batches of them.
fn append_all(events: u64) -> anyhow::Result<f64> {
    let each = events / PRODUCERS;
    let made: Result<Vec<Vec<Batch>>, _> = (0..PRODUCERS)
        .map(|producer| Corpus::new(producer).batches(each, APPEND_EVENTS).collect())
        .collect();
    let folder = Folder::new()?;
    let log = Log::open(Options::new(folder.path().join("log")), Arc::new(Machine))?;
    let runtime = runtime()?;
    let made = made?;
    let start = Instant::now();
    let producers: Vec<_> = made
        .into_iter()
        .map(|made| runtime.spawn(produce(log.clone(), made.into_iter().map(framed))))
        .collect();
    for producer in producers {
        runtime.block_on(producer)??;
    }
    let rate = as_f64(each * PRODUCERS) / start.elapsed().as_secs_f64();
    log.close();
    let end = log.reader().end();
    anyhow::ensure!(end == each * PRODUCERS, "{end} events are there");
    Ok(rate)
}

/// A batch of these events, one pushed after the other.
#[allow(
    clippy::needless_pass_by_value,
    reason = "whoever has framed an event has it no more"
)]
fn framed(made: Batch) -> anyhow::Result<Batch> {
    let mut batch = Batch::new();
    for event in made.events() {
        batch.push(&event)?;
    }
    Ok(batch)
}

/// Two threads, as many as a small machine has.
pub(super) fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
}

/// Appends these batches, [`IN_FLIGHT`] at a time, and waits until all of them are on the disk.
pub(super) async fn produce(
    log: Log,
    batches: impl Iterator<Item = anyhow::Result<Batch>>,
) -> anyhow::Result<()> {
    let mut waiting: VecDeque<tokio::task::JoinHandle<Result<Appended, AppendError>>> = VecDeque::new();
    for batch in batches {
        let (log, batch) = (log.clone(), batch?);
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
        let runtime = runtime()?;
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

pub(super) fn percentile(took: &mut [Duration], percent: usize) -> Duration {
    took.sort_unstable();
    let at = (took.len() * percent / 100).min(took.len().saturating_sub(1));
    took.get(at).copied().unwrap_or_default()
}

/// A quick look does a tenth.
pub(super) fn scaled(setup: &Setup, full: u64) -> u64 {
    if setup.effort.is_quick() { full / 10 } else { full }
}
