//! R9: what a task that means harm does to others: calls through the gateway, and short tasks from their start to their end, beside
//! the same without it, in turns. All tasks have the limits that they have where nobody asks for others.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use axiom_testkit::echo::Eras;
use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::{Finding, Setup, path::http};
use crate::{
    connection::Connection,
    load::{self, Plan},
    measured::{as_f64, empty_histogram},
    request::Work,
    subject::{self, Folder, Subject},
};

/// Calls a second, over all connections: a clock decides, so that a gateway that stalls cannot hide those that had to wait.
const CALLS_PER_SECOND: f64 = 200.0;
const CONNECTIONS: usize = 4;
/// Between two short tasks.
const PAUSE: Duration = Duration::from_millis(10);
/// How long one has its way before it is looked at what others suffer.
const HEAD_START: Duration = Duration::from_millis(500);

/// What tasks do to harm others.
const ABUSES: [(&str, &str); 5] = [
    ("fork bomb", "b() { b | b & }; while :; do b; done"),
    (
        "CPU spin",
        "for i in 1 2 3 4 5 6 7 8; do (while :; do :; done) & done; wait",
    ),
    ("memory hog", "while :; do x=x; while :; do x=$x$x; done; done"),
    (
        "disk flood",
        "while :; do dd if=/dev/zero of=flood bs=1M count=256 conv=fsync 2>/dev/null; done",
    ),
    (
        "output flood",
        "yes 0123456789012345678901234567890123456789012345678901234567890123456789",
    ),
];

/// What the neighbours took.
#[derive(Debug)]
struct Seen {
    calls_ns: Histogram<u64>,
    tasks_ns: Histogram<u64>,
    errors: u64,
}

pub(super) fn neighbours(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let folder = Folder::new()?;
    let direct = subject::echo(&folder, Eras::Legacy)?;
    let axiom = subject::tasking_axiom(&folder, &setup.axiom, &http(&direct))?;
    let mut found = Vec::new();
    for (name, script) in ABUSES {
        let (mut quiet, mut abused) = (Seen::new(), Seen::new());
        for _ in 0..setup.effort.rounds {
            quiet.add(&window(setup, &axiom)?)?;
            let task = Abuser::start(&axiom, script)?;
            std::thread::sleep(HEAD_START);
            abused.add(&window(setup, &axiom)?)?;
            task.end()?;
        }
        let shown = |of: fn(&Seen) -> &Histogram<u64>| {
            format!(
                "{:.1} ms, without {:.1} ms, {} times",
                p99_ms(of(&abused)),
                p99_ms(of(&quiet)),
                of(&abused).len()
            )
        };
        crate::report::say(&format!(
            "R9: {name}: p99 of calls {}; of tasks {}",
            shown(|seen| &seen.calls_ns),
            shown(|seen| &seen.tasks_ns)
        ));
        found.push((name, quiet, abused));
    }
    let errors = found
        .iter()
        .map(|(_, quiet, abused)| quiet.errors + abused.errors)
        .sum();
    let finding = |id, of: fn(&Seen) -> &Histogram<u64>| {
        let ratio = |(_, quiet, abused): &(&str, Seen, Seen)| p99_ms(of(abused)) / p99_ms(of(quiet));
        let each = found.iter().map(|one| format!("{} {:.2}", one.0, ratio(one)));
        let quiet = found.iter().map(|(_, quiet, _)| p99_ms(of(quiet)));
        Finding {
            id,
            value: found.iter().map(ratio).fold(0.0, f64::max),
            errors,
            detail: format!(
                "the worst of {}; p99 without them {:.1} ms",
                each.collect::<Vec<_>>().join(", "),
                crate::measured::median(quiet.collect::<Vec<f64>>())
            ),
        }
    };
    Ok(vec![
        finding("R9-calls", |seen| &seen.calls_ns),
        finding("R9-tasks", |seen| &seen.tasks_ns),
    ])
}

fn p99_ms(histogram: &Histogram<u64>) -> f64 {
    as_f64(histogram.value_at_quantile(0.99)) / 1e6
}

impl Seen {
    fn new() -> Seen {
        Seen {
            calls_ns: empty_histogram(),
            tasks_ns: empty_histogram(),
            errors: 0,
        }
    }

    fn add(&mut self, other: &Seen) -> anyhow::Result<()> {
        self.calls_ns.add(&other.calls_ns)?;
        self.tasks_ns.add(&other.tasks_ns)?;
        self.errors += other.errors;
        Ok(())
    }
}

/// Calls and short tasks at the same time.
fn window(setup: &Setup, axiom: &Subject) -> anyhow::Result<Seen> {
    let plan = Plan {
        address: axiom.address,
        dialect: axiom.dialect(false),
        work: Work::Echo,
        connections: CONNECTIONS,
        rate: Some(CALLS_PER_SECOND),
        warm_up: setup.effort.warm_up,
        window: setup.effort.window,
        pids: vec![axiom.pid()],
    };
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let tasks = scope.spawn(|| short_tasks(axiom, &is_over));
        let calls = load::run(&plan);
        is_over.store(true, Ordering::Relaxed);
        let tasks_ns = tasks
            .join()
            .map_err(|_| anyhow::anyhow!("the thread of short tasks panicked"))??;
        let calls = calls?;
        Ok(Seen {
            calls_ns: calls.latency,
            tasks_ns,
            errors: calls.errors,
        })
    })
}

/// One after the other, each from the request to the answer that it has ended.
fn short_tasks(axiom: &Subject, is_over: &AtomicBool) -> anyhow::Result<Histogram<u64>> {
    let mut took = empty_histogram();
    let mut line = Line::open(axiom)?;
    while !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let done = line.ask(
            "POST",
            "",
            &json!({ "command": ["true"], "wait_s": 60, "class": "critical" }),
        )?;
        let elapsed = began.elapsed();
        anyhow::ensure!(done["tasks"][0]["code"] == 0, "a short task: {done}");
        took.record(u64::try_from(elapsed.as_nanos())?)?;
        std::thread::sleep(PAUSE);
    }
    Ok(took)
}

/// A task that means harm. What ends it by a limit has it started again.
struct Abuser {
    line: Line,
    id: String,
}

impl Abuser {
    fn start(axiom: &Subject, script: &str) -> anyhow::Result<Abuser> {
        let mut line = Line::open(axiom)?;
        let order = json!({
            "shell": script, "class": "critical", "restart": { "when": "always", "pause_s": 0, "times": 10_000 },
        });
        let started = line.ask("POST", "", &order)?;
        let id = started["tasks"][0]["task"]
            .as_str()
            .context("no task was started")?;
        Ok(Abuser {
            id: id.to_owned(),
            line,
        })
    }

    fn end(mut self) -> anyhow::Result<()> {
        self.line.ask("POST", &format!("/{}/kill", self.id), &json!({}))?;
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.line.ask("GET", &format!("/{}", self.id), &Value::Null)?["state"] != "ended" {
            anyhow::ensure!(Instant::now() < deadline, "a task that was killed does not end");
            std::thread::sleep(PAUSE);
        }
        Ok(())
    }
}

/// To the interface for tasks.
struct Line {
    runtime: tokio::runtime::Runtime,
    connection: Connection,
    host: String,
}

impl Line {
    fn open(axiom: &Subject) -> anyhow::Result<Line> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let connection = runtime.block_on(Connection::open(axiom.address))?;
        Ok(Line {
            runtime,
            connection,
            host: axiom.address.to_string(),
        })
    }

    fn ask(&mut self, method: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
        let body = match body {
            Value::Null => String::new(),
            body => body.to_string(),
        };
        let request = format!(
            "{method} /api/v1/tasks{path} HTTP/1.1\r\nhost: {}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.host,
            body.len()
        );
        let answer = self.runtime.block_on(self.connection.call(request.as_bytes()))?;
        let said = serde_json::from_slice(answer.body).unwrap_or_default();
        anyhow::ensure!(answer.status == 200, "{method} {path}: {} {said}", answer.status);
        Ok(said)
    }
}
