//! E4: what the events of a mixed corpus take as a Parquet file of the warm tier, beside NDJSON and plain Parquet; and what it
//! costs to make it, as the service does it: read from the log, written, read again, compared.

mod corpus;

use std::collections::HashMap;
use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axiom_events::disk::Machine;
use axiom_events::{Append, Batch, Log, Options, Recorded};
use axiom_tiers::Workshop;
use axiom_tiers::file::{File, WriteOptions, Writer};
use bytes::Bytes;

use super::{Finding, Setup, plain};
use crate::measured::{as_f64, median};
use crate::{process, report, subject::Folder};
use corpus::Corpus;

/// Events that are appended together.
const APPEND_EVENTS: usize = 500;
/// And no more than this, or one event: documents are large.
const APPEND_BYTES: usize = 1 << 20;
/// What a user would take without thinking.
const PLAIN_ZSTD_LEVEL: i32 = 3;
/// The kernel counts CPU time in steps of 10 ms: in a round enough is sealed that they do not show.
const SEALING: Duration = Duration::from_secs(1);
/// What is sealed is whole segments: with small ones little of the log is left.
const SEGMENT_BYTES: u64 = 1 << 20;

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
        let plain = plain::file(chosen.iter().copied(), PLAIN_ZSTD_LEVEL)?.len();
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

    let (mut seals, mut writes, mut reads) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..setup.effort.rounds {
        let rate = |events: u64, took: Duration| as_f64(events) / took.as_secs_f64() / 1e6;
        let (sealed, took) = seal(&events)?;
        seals.push(rate(sealed, took));
        let stored = Stored::of(&events)?;
        errors += stored.errors;
        writes.push(rate(events.len() as u64, stored.write));
        reads.push(rate(events.len() as u64, stored.read));
    }
    let (seal, write, read) = (median(seals), median(writes), median(reads));
    Ok(vec![
        Finding {
            id: "E4-ratio",
            value: ratio,
            errors,
            detail: format!("{} events: {}", events.len(), corpus.shares(&ndjson)),
        },
        Finding {
            id: "E4-seal-rate",
            value: seal,
            errors,
            detail: format!(
                "from the log to a file that was read again and compared by hash; split, compressed and written alone {write:.2} M, \
                 read alone {read:.2} M"
            ),
        },
    ])
}

/// Seals the corpus out of a log, as the service does, as often as it takes; says how many events, and what they took of the
/// CPU.
fn seal(events: &[Recorded<'_>]) -> anyhow::Result<(u64, Duration)> {
    let (mut sealed, mut took) = (0, Duration::ZERO);
    while took < SEALING {
        let folder = Folder::new()?;
        let workshop = Workshop::open(Arc::new(Machine), folder.path(), 0, None)?;
        let options = Options {
            segment_bytes: SEGMENT_BYTES,
            archive: Some(workshop.shelves()),
            ..Options::new(folder.path())
        };
        let log = Log::open(options, Arc::new(Machine))?;
        append(&log, events.iter())?;
        let (object, cpu) = cpu(|| Ok(workshop.seal(&log, &log.sealed()?)?))?;
        log.close();
        sealed += object
            .context("the corpus is smaller than a segment of the log")?
            .rows;
        took += cpu;
    }
    Ok((sealed, took))
}

/// Appends events, some hundred or a mebibyte at a time, and waits for the disk.
fn append<'a>(log: &Log, events: impl Iterator<Item = &'a Recorded<'a>>) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut events = events.peekable();
    while events.peek().is_some() {
        let mut batch = Batch::new();
        while batch.len() < APPEND_EVENTS
            && batch.bytes() < APPEND_BYTES
            && let Some(recorded) = events.next()
        {
            batch.push(&recorded.event)?;
        }
        let append = Append {
            batch,
            ..Append::default()
        };
        runtime.block_on(log.append(append))?;
    }
    Ok(())
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
    append(&log, events.iter())?;
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
