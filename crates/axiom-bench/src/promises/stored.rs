//! E4: what the events of a mixed corpus take as a Parquet file of the warm tier, beside NDJSON and plain Parquet.

mod corpus;
mod plain;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axiom_events::disk::Machine;
use axiom_events::{Append, Batch, Log, Options, Recorded};
use axiom_tiers::file::{File, WriteOptions, Writer};
use bytes::Bytes;

use super::{Finding, Setup};
use crate::measured::{as_f64, median};
use crate::{process, report, subject::Folder};
use corpus::Corpus;

/// Events that are appended together.
const APPEND_EVENTS: usize = 500;
/// What a user would take without thinking.
const PLAIN_ZSTD_LEVEL: i32 = 3;

pub(crate) use corpus::gather;

/// A file, and what it cost.
struct Stored {
    file: Bytes,
    /// For splitting, compressing and writing.
    write: Duration,
    read: Duration,
    errors: u64,
}

pub(super) fn stored(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let corpus = Corpus::gathered(setup)?;
    let events: Vec<Recorded<'_>> = corpus.events().collect();
    let ndjson = exported(setup, &events)?;
    report::say(&format!(
        "{:<10} {:>8} {:>12} {:>11} {:>7} {:>11} {:>7}",
        "class", "events", "NDJSON B", "Parquet B", "ratio", "plain B", "ratio"
    ));
    let mut errors = 0;
    let row = |class: &str, wanted: &[usize]| -> anyhow::Result<(f64, u64)> {
        let chosen: Vec<Recorded<'_>> = wanted.iter().map(|index| events[*index]).collect();
        let text: u64 = wanted.iter().map(|index| ndjson[*index]).sum();
        let ours = Stored::of(&chosen)?;
        let plain = plain::bytes(&chosen, PLAIN_ZSTD_LEVEL)?;
        let bytes = ours.file.len() as u64;
        let ratio = as_f64(text) / as_f64(bytes);
        report::say(&format!(
            "{class:<10} {:>8} {text:>12} {bytes:>11} {ratio:>7.2} {plain:>11} {:>7.2}",
            chosen.len(),
            as_f64(text) / as_f64(plain as u64)
        ));
        Ok((ratio, ours.errors))
    };
    for class in corpus.classes() {
        let (_, wrong) = row(class, &corpus.of(class))?;
        errors += wrong;
    }
    let all: Vec<usize> = (0..events.len()).collect();
    let (ratio, wrong) = row("all", &all)?;
    errors += wrong;

    let mut writes = Vec::new();
    let mut reads = Vec::new();
    for _ in 0..setup.effort.rounds {
        let stored = Stored::of(&events)?;
        errors += stored.errors;
        let rate = |took: Duration| as_f64(events.len() as u64) / took.as_secs_f64() / 1e6;
        writes.push(rate(stored.write));
        reads.push(rate(stored.read));
    }
    let (write, read) = (median(writes), median(reads));
    Ok(vec![
        Finding {
            id: "E4-ratio",
            value: ratio,
            errors,
            detail: format!("{} events: {}", events.len(), corpus.shares(&ndjson)),
        },
        Finding {
            id: "E4-seal-rate",
            value: write,
            errors,
            detail: format!("read again {read:.2} M events per CPU second, everything compared by hash"),
        },
    ])
}

impl Stored {
    fn of(events: &[Recorded<'_>]) -> anyhow::Result<Stored> {
        let (file, write) = cpu(|| {
            let mut writer = Writer::new(Vec::new(), 0, &WriteOptions::default())?;
            for event in events {
                writer.push(event)?;
            }
            Ok(Bytes::from(writer.finish()?.0))
        })?;
        let opened = File::open(Arc::new(file.clone()))?;
        let (bodies, read) = cpu(|| {
            let mut bodies = 0;
            for index in 0..opened.groups().len() {
                let group = opened.group(index)?;
                bodies += group
                    .iter()
                    .map(|recorded| recorded.event.body.len())
                    .sum::<usize>();
            }
            Ok(bodies)
        })?;
        let expected: usize = events.iter().map(|recorded| recorded.event.body.len()).sum();
        let is_wrong = bodies != expected || opened.verify().is_err();
        Ok(Stored {
            file,
            write,
            read,
            errors: u64::from(is_wrong),
        })
    }
}

/// What this process used of the CPU meanwhile; it has one busy thread.
fn cpu<T>(work: impl FnOnce() -> anyhow::Result<T>) -> anyhow::Result<(T, Duration)> {
    let ours = [std::process::id()];
    let before = process::cpu(&ours)?;
    let done = work()?;
    Ok((done, process::cpu(&ours)?.saturating_sub(before)))
}

/// Bytes of each event's line as `axiom events export` prints it, the newline included.
fn exported(setup: &Setup, events: &[Recorded<'_>]) -> anyhow::Result<Vec<u64>> {
    let folder = Folder::new()?;
    let shard = folder.path().join("shard-00000");
    let log = Log::open(Options::new(&shard), Arc::new(Machine))?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    for events in events.chunks(APPEND_EVENTS) {
        let mut batch = Batch::new();
        for recorded in events {
            batch.push(&recorded.event)?;
        }
        let append = Append {
            batch,
            ..Append::default()
        };
        runtime.block_on(log.append(append))?;
    }
    log.close();
    let mut export = Command::new(&setup.axiom)
        .args(["events", "export", "--dir"])
        .arg(folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("{} does not start", setup.axiom.display()))?;
    let mut lines = Vec::with_capacity(events.len());
    let mut printed = BufReader::new(export.stdout.take().context("it has no stdout")?);
    let mut line = Vec::new();
    while printed.read_until(b'\n', &mut line)? > 0 {
        lines.push(line.len() as u64);
        line.clear();
    }
    let status = export.wait()?;
    anyhow::ensure!(
        status.success() && lines.len() == events.len(),
        "axiom events export printed {} of {} events and ended with {status}",
        lines.len(),
        events.len()
    );
    Ok(lines)
}

/// How many there are of each, in the order of their names.
fn counted<'a>(names: impl Iterator<Item = (&'a str, u64)>) -> Vec<(&'a str, u64)> {
    let mut sums: HashMap<&str, u64> = HashMap::new();
    for (name, count) in names {
        *sums.entry(name).or_default() += count;
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_unstable();
    sums
}
