//! E5: events made durable by a second of CPU time, beside DuckDB that inserts the same events into a table on the disk.
//!
//! Both are handed what they take without converting it: our log batches, DuckDB batches of Arrow. One that is inserted is a
//! transaction of its own, and has as many events as a block of our log at most, which is what shares an `fdatasync` here.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axiom_events::disk::Machine;
use axiom_events::{Batch, Log, Options, Recorded};
use serde_json::json;

use super::agents::Corpus;
use super::duckdb::DuckDb;
use super::events::{APPEND_EVENTS, PRODUCERS, ROUND_EVENTS, produce, runtime, scaled};
use super::{Finding, Setup, plain};
use crate::measured::{as_f64, median};
use crate::process;
use crate::subject::Folder;

/// Events of a block, at most.
const INSERT_EVENTS: u64 = 8192;

/// What one round took.
#[derive(Debug, Clone, Copy)]
struct Round {
    cpu: Duration,
    took: Duration,
}

pub(super) fn inserted(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let each = scaled(setup, ROUND_EVENTS) / PRODUCERS;
    let events = each * PRODUCERS;
    let mut duckdb = DuckDb::start(setup)?;
    load(&mut duckdb, each)?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut errors = 0;
    for _ in 0..setup.effort.rounds {
        ours.push(append(each)?);
        let (round, inserted) = insert(&mut duckdb)?;
        theirs.push(round);
        errors += u64::from(inserted != events);
    }
    let by_cpu = |round: &Round| as_f64(events) / round.cpu.as_secs_f64() / 1e6;
    let by_time = |round: &Round| as_f64(events) / round.took.as_secs_f64() / 1e6;
    let medians = |of: &dyn Fn(&Round) -> f64| [&ours, &theirs].map(|rounds| median(rounds.iter().map(of)));
    let [our_cpu, their_cpu] = medians(&by_cpu);
    let [our_time, their_time] = medians(&by_time);
    // Both saw the same machine within a round.
    let ratios = ours
        .iter()
        .zip(&theirs)
        .map(|(ours, theirs)| by_cpu(ours) / by_cpu(theirs));
    Ok(vec![Finding {
        id: "E5-duckdb",
        value: median(ratios),
        errors,
        detail: format!(
            "{our_cpu:.2} M events by CPU second, DuckDB {their_cpu:.2}; {our_time:.2} M/s, DuckDB {their_time:.2}; ours \
             {PRODUCERS} producers with {APPEND_EVENTS} events in an append, DuckDB {INSERT_EVENTS} in a transaction"
        ),
    }])
}

fn batches(producer: u64, each: u64) -> anyhow::Result<Vec<Batch>> {
    Corpus::new(producer).batches(each, APPEND_EVENTS).collect()
}

/// Gives DuckDB the events that we append.
fn load(duckdb: &mut DuckDb, each: u64) -> anyhow::Result<()> {
    let batches: Result<Vec<Vec<Batch>>, _> =
        (0..PRODUCERS).map(|producer| batches(producer, each)).collect();
    let batches = batches?;
    let events = batches.iter().flatten().flat_map(Batch::events).zip(0..);
    let recorded = events.map(|(event, offset)| Recorded {
        offset,
        version: 0,
        event,
    });
    let folder = Folder::new()?;
    let path = folder.path().join("events.parquet");
    std::fs::write(&path, plain::file(recorded, 1)?)?;
    let columns = [
        "offset", "time", "tenant", "stream", "task", "kind", "level", "trace", "body",
    ];
    duckdb.ask(&json!({"load": path, "columns": columns, "rows": INSERT_EVENTS}))?;
    Ok(())
}

fn append(each: u64) -> anyhow::Result<Round> {
    let folder = Folder::new()?;
    let log = Log::open(Options::new(folder.path().join("log")), Arc::new(Machine))?;
    let runtime = runtime()?;
    let ready: Result<Vec<Vec<Batch>>, _> = (0..PRODUCERS).map(|producer| batches(producer, each)).collect();
    let ready = ready?;
    let ours = [std::process::id()];
    let (cpu, start) = (process::cpu(&ours)?, Instant::now());
    let producers: Vec<_> = ready
        .into_iter()
        .map(|batches| runtime.spawn(produce(log.clone(), batches.into_iter().map(Ok))))
        .collect();
    for producer in producers {
        runtime.block_on(producer)??;
    }
    let round = Round {
        cpu: process::cpu(&ours)?.saturating_sub(cpu),
        took: start.elapsed(),
    };
    log.close();
    let end = log.reader().end();
    anyhow::ensure!(end == each * PRODUCERS, "{end} events are there");
    Ok(round)
}

/// Also says how many events the table has then.
fn insert(duckdb: &mut DuckDb) -> anyhow::Result<(Round, u64)> {
    let folder = Folder::new()?;
    let path = folder.path().join("events.duckdb");
    let (cpu, start) = (duckdb.cpu()?, Instant::now());
    duckdb.ask(&json!({"insert": path}))?;
    let round = Round {
        took: start.elapsed(),
        cpu: duckdb.cpu()?.saturating_sub(cpu),
    };
    let counted = duckdb.ask(&json!({"query": "SELECT count(*) FROM events"}))?;
    duckdb.ask(&json!({"close": true}))?;
    Ok((round, counted[0][0].as_u64().unwrap_or(0)))
}
