//! How many events one thread samples in a second of its time, and how many of them it keeps.
//!
//! ```sh
//! cargo run --release -p axiom-events --example sampling                # a made-up mix
//! cargo run --release -p axiom-events --example sampling -- build.log   # each line of these files an event, a task each
//! ```

#![allow(clippy::print_stdout, reason = "it is a program that prints what it measured")]

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use axiom_core::time;
use axiom_events::sample::{Policy, SAMPLED_KIND, Sampler, Skipped};
use axiom_events::{Batch, Event, Format, Level};

const EVENTS: usize = 2_000_000;
const ROUNDS: usize = 5;
/// Of the made-up mix. Twenty thousand events a second, all tasks together.
const TASKS: usize = 200;
const APART_NS: i64 = 50_000;
const FIRST_NS: i64 = 1_700_000_000_000_000_000;
/// How often it is told what was skipped, by the events' clock.
const TELL_NS: i64 = 1_000_000_000;
const POST_BYTES: usize = 256 << 10;

/// One that will happen.
struct Line {
    task: usize,
    level: Level,
    format: Format,
    body: String,
}

/// What came of it.
#[derive(Default)]
struct Seen {
    kept: u64,
    kept_bytes: u64,
    counters: u64,
    counter_bytes: u64,
    second_bytes: u64,
    counted: u64,
}

fn main() {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let lines = if files.is_empty() { mix() } else { read(&files) };
    let tasks: Vec<String> = (0..TASKS.max(files.len()))
        .map(|task| format!("task-{task:04}"))
        .collect();
    let streams: Vec<String> = tasks.iter().map(|task| format!("output.{task}")).collect();
    let event = |n: usize| {
        let line = &lines[n % lines.len()];
        Event {
            time: FIRST_NS + i64::try_from(n).unwrap_or(i64::MAX) * APART_NS,
            tenant: "default",
            stream: &streams[line.task],
            task: &tasks[line.task],
            kind: "task.output",
            level: line.level,
            format: line.format,
            body: line.body.as_bytes(),
            ..Event::default()
        }
    };
    let mut rates = [Vec::new(), Vec::new()];
    let mut last = None;
    for _ in 0..ROUNDS {
        let mut batch = Batch::new();
        let begin = now();
        for n in 0..EVENTS {
            batch.push(&event(n)).expect("it keeps to the limits");
            if batch.bytes() > POST_BYTES {
                batch.clear();
            }
        }
        rates[0].push(rate(begin));
        let (mut sampler, mut seen) = (Sampler::new(Policy::default()), Seen::default());
        let (mut told, mut batch) = (FIRST_NS, Batch::new());
        let begin = now();
        for n in 0..EVENTS {
            let event = event(n);
            sampler.push(&mut batch, &event).expect("it keeps to the limits");
            if event.time - told >= TELL_NS {
                told = event.time;
                sampler.tell(&mut batch);
            }
            if batch.bytes() > POST_BYTES {
                seen.look(&batch);
                batch.clear();
            }
        }
        rates[1].push(rate(begin));
        while !sampler.finish(&mut batch) {
            seen.look(&batch);
            batch.clear();
        }
        seen.look(&batch);
        last = Some((sampler, seen));
    }
    let Some((sampler, seen)) = last else { return };
    let happened: u64 = (0..EVENTS)
        .map(|n| lines[n % lines.len()].body.len() as u64)
        .sum();
    let [plain, sampled] = rates.map(median);
    println!("{EVENTS} events, {happened} B of bodies, median of {ROUNDS} rounds on one thread");
    println!("into a batch             {:>8.2} M events/s", plain / 1e6);
    println!("through the sampler      {:>8.2} M events/s", sampled / 1e6);
    println!(
        "kept                     {:>8.2} % of events, {:.2} % of bytes",
        share(seen.kept, EVENTS as u64),
        share(seen.kept_bytes, happened)
    );
    println!(
        "counters                 {:>8} events, {:.2} % of bytes, of which seconds are {:.1} %",
        seen.counters,
        share(seen.counter_bytes, happened),
        share(seen.second_bytes, seen.counter_bytes)
    );
    println!(
        "templates                {:>8}, {} KiB held",
        sampler.templates(),
        sampler.bytes() >> 10
    );
    assert_eq!(seen.kept + seen.counted, EVENTS as u64, "totals are exact");
}

impl Seen {
    fn look(&mut self, batch: &Batch) {
        for event in batch.events() {
            let bytes = event.body.len() as u64;
            if event.kind == SAMPLED_KIND {
                let skipped = Skipped::read(&event).expect("it is a counter");
                self.counters += 1;
                self.counter_bytes += bytes;
                let at = event.body.windows(9).position(|word| word == b"\"seconds\"");
                self.second_bytes += bytes - at.unwrap_or_default() as u64;
                self.counted += skipped.events();
            } else {
                self.kept += 1;
                self.kept_bytes += bytes;
            }
        }
    }
}

/// The time that this thread has run: what others do on the machine does not count. Where the system does not say, the clock.
fn now() -> Duration {
    let spent = fs_err::read_to_string("/proc/thread-self/schedstat").ok();
    let nanos = spent.and_then(|spent| spent.split(' ').next()?.parse().ok());
    nanos.map_or_else(
        || Duration::from_nanos(time::unix_nanos().unsigned_abs()),
        Duration::from_nanos,
    )
}

fn rate(begin: Duration) -> f64 {
    f64::from(u32::try_from(EVENTS).unwrap_or(u32::MAX)) / (now() - begin).as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_unstable_by(f64::total_cmp);
    rates[rates.len() / 2]
}

#[allow(clippy::cast_precision_loss, reason = "a share for people")]
fn share(part: u64, whole: u64) -> f64 {
    100.0 * part as f64 / whole.max(1) as f64
}

fn read(files: &[String]) -> Vec<Line> {
    let mut lines = Vec::new();
    for (task, file) in files.iter().enumerate() {
        let bytes = fs_err::read(Path::new(file)).expect("the file is there");
        let text = String::from_utf8_lossy(&bytes);
        lines.extend(text.lines().filter(|line| !line.is_empty()).map(|line| Line {
            task,
            level: Level::Info,
            format: if line.starts_with('{') {
                Format::Json
            } else {
                Format::Text
            },
            body: line.to_owned(),
        }));
    }
    lines
}

/// A linear congruential generator: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    fn word(&mut self) -> &'static str {
        const WORDS: [&str; 24] = [
            "the", "function", "returns", "a", "value", "that", "cannot", "be", "shared", "between",
            "threads", "so", "we", "should", "move", "it", "into", "its", "own", "module", "and", "test",
            "first", "again",
        ];
        WORDS[usize::try_from(self.below(24)).unwrap_or(0)]
    }
}

/// Builds, tests, tools, servers, tracebacks and prose.
fn mix() -> Vec<Line> {
    let mut random = Random(7);
    let line = |_| {
        let mut body = String::new();
        let (number, name, long) = (
            random.below(100_000),
            random.below(900),
            random.below(u64::MAX >> 33),
        );
        let (mut level, mut format) = (Level::Info, Format::Text);
        let written = match random.below(1000) {
            0..250 => write!(
                body,
                "   Compiling crate-{name} v{}.{}.{}",
                number % 10,
                number % 37,
                number % 11
            ),
            250..450 => write!(
                body,
                "test module_{name}::case_{} ... ok ({number} us)",
                number % 97
            ),
            450..600 => write!(
                body,
                "2026-07-28T09:{:02}:{:02}.{number:05}Z INFO GET /srv/app/items/{name}?page={} 200 {long} bytes",
                number % 60,
                name % 60,
                number % 9
            ),
            600..750 => {
                format = Format::Json;
                write!(
                    body,
                    "{{\"tool\":\"read_file\",\"path\":\"/srv/app/src/module_{name}/file_{number}.rs\",\"bytes\":{long},\"ok\":true}}"
                )
            }
            750..850 => write!(
                body,
                "  File \"/usr/lib/python3/site-packages/m{name}/x.py\", line {number}, in call_{}",
                name % 40
            ),
            850..919 => {
                level = Level::Warn;
                write!(
                    body,
                    "warning: unused variable: `v{name}` --> src/m{number}.rs:{}:{}",
                    number % 900,
                    name % 80
                )
            }
            919..920 => {
                level = Level::Error;
                write!(body, "error[E0{name}]: mismatched types in module_{number}")
            }
            _ => {
                for _ in 0..6 + number % 24 {
                    body.push_str(random.word());
                    body.push(' ');
                }
                Ok(())
            }
        };
        written.expect("a text takes everything");
        Line {
            task: usize::try_from(random.below(TASKS as u64)).unwrap_or(0),
            level,
            format,
            body,
        }
    };
    (0..200_000).map(line).collect()
}
