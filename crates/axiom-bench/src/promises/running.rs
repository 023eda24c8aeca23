//! R1 to R5, R10 and R11: tasks in sandboxes, by the example programs of axiom-sandbox, which need a process with a single thread.

use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde_json::Value;

use super::{Finding, Setup};
use crate::measured::median;

/// Rounds of a thousand tasks; each takes seconds.
const CROWDS: usize = 5;
/// Rounds after which nothing may be left.
const LEAKS: usize = 10;
/// Tasks in each of those.
const LEAK_TASKS: usize = 100;

/// What one start costs, beside a bare process.
pub(super) fn starts(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let told = told(
        setup,
        "starts",
        &[&rounds(setup), "bare", "sandbox", "sandbox-network"],
    )?;
    let bare = number(subject(&told, "bare")?, "cpu_us")?;
    let one = |id, name| {
        let found = subject(&told, name)?;
        anyhow::Ok(Finding {
            id,
            value: number(found, "x_bare")?,
            errors: 0,
            detail: format!(
                "{:.0} us, bare {bare:.0} us; first byte after {:.1} x bare",
                number(found, "cpu_us")?,
                number(found, "first_byte_us")? / number(subject(&told, "bare")?, "first_byte_us")?,
            ),
        })
    };
    Ok(vec![
        one("R1-cpu", "sandbox")?,
        one("R1-network", "sandbox-network")?,
    ])
}

/// The same beside programs that do the like.
pub(super) fn peers(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let told = told(
        setup,
        "starts",
        &[&rounds(setup), "bare", "sandbox-network", "bwrap-network", "runc"],
    )?;
    let ours = number(subject(&told, "sandbox-network")?, "cpu_us")?;
    let mut findings = Vec::new();
    for (id, name) in [("R2-bwrap", "bwrap-network"), ("R2-runc", "runc")] {
        let found = subject(&told, name)?;
        if let Some(reason) = found.get("skipped").and_then(Value::as_str) {
            crate::report::say(&format!("{id} is left out: {name}: {reason}"));
            continue;
        }
        let theirs = number(found, "cpu_us")?;
        findings.push(Finding {
            id,
            value: if id == "R2-bwrap" {
                ours / theirs
            } else {
                theirs / ours
            },
            errors: 0,
            detail: format!("{ours:.0} us, {name} {theirs:.0} us"),
        });
    }
    Ok(findings)
}

/// The first byte of a command whose sandbox stands already.
pub(super) fn slots(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let told = told(
        setup,
        "starts",
        &[&rounds(setup), "bare", "slot", "sandbox-network"],
    )?;
    let of = |name| number(subject(&told, name)?, "first_byte_us");
    Ok(vec![Finding {
        id: "R3",
        value: number(subject(&told, "slot")?, "first_byte_x_bare")?,
        errors: 0,
        detail: format!(
            "with a network of its own {:.0} us, bare {:.0} us, without a slot {:.0} us",
            of("slot")?,
            of("bare")?,
            of("sandbox-network")?
        ),
    }])
}

/// A thousand at once.
pub(super) fn crowd(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let rounds = if setup.effort.is_quick() { 1 } else { CROWDS };
    let told = told(setup, "crowd", &[&rounds.to_string()])?;
    let each = |of: &dyn Fn(&Value) -> anyhow::Result<f64>| {
        let found = told.iter().filter(|line| line.get("tasks").is_some()).map(of);
        anyhow::Ok(median(found.collect::<anyhow::Result<Vec<f64>>>()?))
    };
    let wrong: u64 = told.iter().filter_map(|line| line["wrong"].as_u64()).sum();
    let walls = told.iter().find_map(|line| line["walls_kill_ms"].as_f64());
    let walls = walls.context("nothing was told of walls alone")?;
    Ok(vec![
        Finding {
            id: "R4-wall",
            value: each(&|line| Ok(number(line, "ready_ms")? / number(line, "bare_ready_ms")?))?,
            errors: wrong,
            detail: format!(
                "1,000 tasks, ten numbered lines each, all alive: {:.0} ms, bare {:.0} ms",
                each(&|line| number(line, "ready_ms"))?,
                each(&|line| number(line, "bare_ready_ms"))?
            ),
        },
        Finding {
            id: "R4-kill",
            value: each(&|line| number(line, "kill_ms"))?,
            errors: wrong,
            detail: format!(
                "from the first request to the last told end; as many bare processes {:.0} ms, as many sandboxes that nobody \
                 holds {walls:.0} ms",
                each(&|line| number(line, "bare_kill_ms"))?
            ),
        },
    ])
}

/// What the supervisor keeps of tasks that are over.
pub(super) fn left(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let told = told(setup, "crowd", &[&LEAKS.to_string(), &LEAK_TASKS.to_string()])?;
    let last = told.last().context("the example said nothing")?;
    let wrong: u64 = told.iter().filter_map(|line| line["wrong"].as_u64()).sum();
    let detail = format!("{LEAKS} rounds of {LEAK_TASKS} tasks after a first one");
    Ok(vec![
        Finding {
            id: "R5-memory",
            value: number(last, "resident_grown_bytes")? / 1024.0,
            errors: wrong,
            detail: detail.clone(),
        },
        Finding {
            id: "R5-descriptors",
            value: number(last, "descriptors_grown")?,
            errors: wrong,
            detail,
        },
    ])
}

/// From the request to the first byte, each executor: the slower of cold and warm, where there are both.
pub(super) fn first_bytes(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let starts = if setup.effort.is_quick() { 20 } else { 200 };
    let told = told(setup, "first_byte", &[&starts.to_string()])?;
    let executors: [(&str, &[&str]); 5] = [
        ("R10-process", &["process"]),
        ("R10-sandbox", &["sandbox"]),
        ("R10-zygote", &["zygote-cold", "zygote-warm"]),
        ("R10-worker", &["node-cold", "node-warm", "z3-cold", "z3-warm"]),
        ("R10-oci", &["oci"]),
    ];
    let mut findings = Vec::new();
    for (id, names) in executors {
        let (mut worst, mut each) = (None, Vec::new());
        for name in names {
            let found = subject(&told, name)?;
            if let Some(reason) = found.get("skipped").and_then(Value::as_str) {
                crate::report::say(&format!("{id}: {name} is left out: {reason}"));
                continue;
            }
            let (p50, p99) = (number(found, "p50_ms")?, number(found, "p99_ms")?);
            worst = Some(worst.map_or(p99, |worst: f64| worst.max(p99)));
            each.push(format!("{name} {p99:.1} ms, median {p50:.1}"));
        }
        findings.extend(worst.map(|value| Finding {
            id,
            value,
            errors: 0,
            detail: format!("99th percentile of {starts} starts: {}", each.join("; ")),
        }));
    }
    Ok(findings)
}

/// A job of a zygote beside a Python of its own.
pub(super) fn zygotes(setup: &Setup) -> anyhow::Result<Vec<Finding>> {
    let rounds = if setup.effort.is_quick() { "20" } else { "100" };
    let told = told(setup, "zygote", &["/usr/bin/python3", rounds])?;
    let one = |id, name| {
        let found = subject(&told, name)?;
        anyhow::Ok(Finding {
            id,
            value: number(found, "x_cold_cpu")?,
            errors: 0,
            detail: format!(
                "a whole task {:.2} ms of CPU, with a Python of its own {:.2} ms; its median {:.1} ms, {:.1} ms",
                number(found, "zygote_cpu_ms")?,
                number(found, "cold_cpu_ms")?,
                number(found, "zygote_ms")?,
                number(found, "cold_ms")?,
            ),
        })
    };
    Ok(vec![
        one("R11-imports", "imports")?,
        one("R11-nothing", "nothing")?,
    ])
}

fn rounds(setup: &Setup) -> String {
    (setup.effort.starts).to_string()
}

/// What an example prints, a line of JSON at a time.
fn told(setup: &Setup, example: &str, arguments: &[&str]) -> anyhow::Result<Vec<Value>> {
    let program = program(setup, example)?;
    let output = Command::new(&program)
        .args(arguments)
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("failed to start {}", program.display()))?;
    anyhow::ensure!(output.status.success(), "{example} ended with {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    text.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
}

/// Beside the gateway's binary, where cargo puts it.
fn program(setup: &Setup, example: &str) -> anyhow::Result<PathBuf> {
    let program = setup.axiom.with_file_name("examples").join(example);
    anyhow::ensure!(
        program.exists(),
        "there is no {}: cargo build --release -p axiom-sandbox --examples",
        program.display()
    );
    Ok(program)
}

fn subject<'a>(told: &'a [Value], name: &str) -> anyhow::Result<&'a Value> {
    let mut lines = told.iter();
    let found = lines.find(|line| line["subject"] == name);
    found.with_context(|| format!("nothing was told of {name}"))
}

fn number(line: &Value, field: &str) -> anyhow::Result<f64> {
    line[field]
        .as_f64()
        .with_context(|| format!("{line} has no {field}"))
}
