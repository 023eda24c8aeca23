//! E3: questions to ten million events, as they lie when a gateway has recorded for ten hours.
//!
//! The newest segments are hot. What is older was sealed, a file for each segment; files of an hour that is over were merged
//! into one, and those of a day that is over again. The service does that by the clock; here its workshop is told.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axiom_events::disk::Machine;
use axiom_events::find::By;
use axiom_events::{Hit, Log, Options, Reader, Totals};
use axiom_tiers::Workshop;
use axiom_tiers::manifest::Object;

use super::agents::{self, Corpus, Random, TASKS};
use super::events::{APPEND_EVENTS, percentile, produce, runtime};
use super::{Finding, Setup};
use crate::measured::as_f64;
use crate::process;
use crate::report::say;
use crate::subject::Folder;

/// Events of the log that is searched. A quick look takes a hundredth, and asks a tenth as often.
const EVENTS: u64 = 10_000_000;
/// A gateway begins a segment every quarter of an hour.
const SEGMENTS: u64 = 40;
const SEGMENTS_OF_HOUR: usize = 4;
/// What an event takes while it is hot.
const HOT_BYTES: u64 = 40;
/// A question is asked no longer than this, once it was asked often enough for a 99th percentile.
const PATIENCE: Duration = Duration::from_secs(60);
const ASKED_MIN: usize = 100;
/// Events that are asked for at once.
const COUNT: usize = 100;

pub(super) fn questions(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let folder = Folder::new()?;
    let events = match setup.effort.is_quick() {
        true => EVENTS / 100,
        false => EVENTS,
    };
    let log = Aged::make(&folder.path().join("shard-00000"), events)?;
    let reader = log.log.reader();
    warm_up(&reader, events)?;
    let mut random = Random::new(7);
    let mut task = random.clone();
    let mut a_task = move || agents::task(task.below(TASKS));
    // Twice as many of each task as are asked for.
    let window = (2 * COUNT as u64 * TASKS).min(events / 2);
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
    let ask = |id, what, times, question: &mut dyn FnMut() -> anyhow::Result<bool>| {
        let times = if setup.effort.is_quick() {
            times / 10
        } else {
            times
        };
        ask(id, what, times, question)
    };
    let asked = [
        ask("E3-point", "an event by its offset", 1000, &mut || {
            let offset = random.below(events);
            let found = reader.event(offset)?;
            Ok(found.is_some_and(|hit| hit.recorded().offset == offset))
        })?,
        ask("E3-tail", "the last 100 events of a task", 500, &mut || {
            let task = a_task();
            let found = reader.task_tail(&task, COUNT)?;
            Ok(are_of(&found, &task) && (found.len() == COUNT || setup.effort.is_quick()))
        })?,
        ask(
            "E3-range",
            "100 events of a task from somewhere on",
            300,
            &mut || {
                let start = from.below(events - window);
                let task = agents::task(from.below(TASKS));
                let found = reader.task_range(&task, start..start + window, COUNT)?;
                let is_inside = found.iter().all(|hit| hit.recorded().offset >= start);
                Ok(is_inside && are_of(&found, &task))
            },
        )?,
        ask(
            "E3-totals",
            "counts by hour, kind and level of all",
            300,
            &mut || {
                let counted: u64 = reader
                    .totals(&totals)?
                    .iter()
                    .map(|(_, count)| count.events)
                    .sum();
                Ok(counted == events)
            },
        )?,
    ];
    log.log.close();
    Ok(asked.map(|finding| log.describe(finding)).into())
}

/// Asks once wherever there are events: the first question after a start opens the file, and reads where its blocks are.
fn warm_up(reader: &Reader, events: u64) -> anyhow::Result<()> {
    let mut slowest = Duration::ZERO;
    for segment in 0..SEGMENTS {
        let start = Instant::now();
        let from = segment * events / SEGMENTS;
        reader.task_range(&agents::task(0), from..events, 1)?;
        slowest = slowest.max(start.elapsed());
    }
    say(&format!(
        "E3: the first question to a part of the log after a start took up to {:.1} ms",
        slowest.as_secs_f64() * 1e3
    ));
    Ok(())
}

/// Some, in order, and all of this task.
fn are_of(found: &[Hit], task: &str) -> bool {
    let offsets = found.iter().map(|hit| hit.recorded().offset);
    !found.is_empty() && offsets.is_sorted() && found.iter().all(|hit| hit.recorded().event.task == task)
}

/// Asks again and again; an answer says whether it was right.
fn ask(
    id: &'static str,
    what: &str,
    times: usize,
    question: &mut dyn FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<Finding> {
    question()?;
    let mut took = Vec::with_capacity(times);
    let mut errors = 0;
    let begun = Instant::now();
    for number in 0..times {
        if number >= ASKED_MIN && begun.elapsed() > PATIENCE {
            break;
        }
        let start = Instant::now();
        let is_right = question()?;
        took.push(start.elapsed());
        errors += u64::from(!is_right);
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

/// A log, and what has left it.
struct Aged {
    log: Log,
    hot_events: u64,
    files: usize,
}

impl Aged {
    fn make(folder: &Path, events: u64) -> anyhow::Result<Aged> {
        let workshop = Workshop::open(Arc::new(Machine), folder, 0, None)?;
        let options = || Options {
            archive: Some(workshop.shelves()),
            segment_bytes: events * HOT_BYTES / SEGMENTS,
            ..Options::new(folder)
        };
        let log = Log::open(options(), Arc::new(Machine))?;
        let runtime = runtime()?;
        let batches = Corpus::new(0).batches(events, APPEND_EVENTS);
        runtime.block_on(runtime.spawn(produce(log.clone(), batches)))??;
        age(&workshop, &log)?;
        log.close();
        drop(log);
        // As after a start of the gateway: what is known of the past is read from the files.
        let log = Log::open(options(), Arc::new(Machine))?;
        let state = workshop.manifest().now();
        anyhow::ensure!(
            log.reader().end() == events,
            "{} of {events} events are there",
            log.reader().end()
        );
        Ok(Aged {
            hot_events: events - state.hot_from,
            files: state.objects.len(),
            log,
        })
    }

    /// What was measured, and over what.
    fn describe(&self, finding: Finding) -> Finding {
        let hot = as_f64(self.hot_events) / 1e6;
        let detail = format!(
            "{}; {hot:.2} M hot, the others in {} files",
            finding.detail, self.files
        );
        Finding { detail, ..finding }
    }
}

/// Ten hours pass: all but the last hour becomes warm, hours are merged as they end, and at last the day before.
fn age(workshop: &Workshop, log: &Log) -> anyhow::Result<()> {
    let sealed = log.sealed()?;
    let old = sealed.len().saturating_sub(SEGMENTS_OF_HOUR);
    let (mut sealing, mut merging) = (Cost::default(), Cost::default());
    for (number, segment) in sealed.iter().take(old).enumerate() {
        sealing.add(|| Ok(workshop.seal(log, std::slice::from_ref(segment))?))?;
        if (number + 1) % SEGMENTS_OF_HOUR == 0 {
            merging.add(|| {
                merge(workshop, |objects| {
                    objects.len().saturating_sub(SEGMENTS_OF_HOUR)..objects.len()
                })
            })?;
        }
    }
    merging.add(|| merge(workshop, |objects| 0..objects.len().div_ceil(2)))?;
    workshop.reclaim(log)?;
    say(&format!(
        "E3: sealed {}; merged {}",
        sealing.for_people(),
        merging.for_people()
    ));
    Ok(())
}

/// Puts one file in the place of these.
fn merge(
    workshop: &Workshop,
    which: impl Fn(&[Object]) -> std::ops::Range<usize>,
) -> anyhow::Result<Option<Object>> {
    let objects = workshop.manifest().now().objects.clone();
    let run = objects.get(which(&objects)).unwrap_or_default();
    Ok(match run.len() {
        0 | 1 => None,
        _ => workshop.rewrite(run, |_| true, &[], "merged")?.added,
    })
}

/// What work on files took; nothing else runs meanwhile.
#[derive(Debug, Default)]
struct Cost {
    events: u64,
    cpu: Duration,
    took: Duration,
}

impl Cost {
    fn add(&mut self, work: impl FnOnce() -> anyhow::Result<Option<Object>>) -> anyhow::Result<()> {
        let ours = [std::process::id()];
        let (cpu, start) = (process::cpu(&ours)?, Instant::now());
        let made = work()?;
        self.events += made.map_or(0, |object| object.rows);
        self.cpu += process::cpu(&ours)?.saturating_sub(cpu);
        self.took += start.elapsed();
        Ok(())
    }

    fn for_people(&self) -> String {
        let (millions, cpu) = (as_f64(self.events) / 1e6, self.cpu.as_secs_f64());
        format!(
            "{millions:.2} M events in {:.1} s, {cpu:.1} s of CPU, {:.2} M by CPU second",
            self.took.as_secs_f64(),
            millions / cpu
        )
    }
}
