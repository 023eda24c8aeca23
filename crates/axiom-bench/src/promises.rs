//! The promises that this program measures, and the verdict on each.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;

use crate::report;

mod idle;
mod path;
mod serial;

mod agents;
mod duckdb;
mod plain;

mod events;
mod inserted;
mod questions;
mod scanned;
mod stored;

mod neighbours;
mod running;

pub(crate) use stored::gather;

/// How to measure.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// The gateway's binary. `axiom-query` is beside it, if it is built.
    pub(crate) axiom: PathBuf,
    /// What `cargo xtask setup` installed.
    pub(crate) bed: PathBuf,
    /// Worker threads of nginx and of the floor: as many as the gateway has.
    pub(crate) workers: usize,
    pub(crate) effort: Effort,
}

/// How long to measure.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    pub(crate) warm_up: Duration,
    pub(crate) window: Duration,
    pub(crate) starts: usize,
}

impl Effort {
    pub(crate) const QUICK: Effort = Effort {
        rounds: 3,
        warm_up: Duration::from_millis(200),
        window: Duration::from_millis(600),
        starts: 7,
    };
    pub(crate) const FULL: Effort = Effort {
        rounds: 5,
        warm_up: Duration::from_millis(500),
        window: Duration::from_secs(3),
        starts: 21,
    };

    /// A look rather than a measurement.
    pub(crate) fn is_quick(self) -> bool {
        self.rounds < Effort::FULL.rounds
    }
}

/// A number that PROMISES.md holds.
#[derive(Debug)]
struct Promise {
    id: &'static str,
    unit: &'static str,
    goal: f64,
    gate: f64,
    better: Better,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Better {
    Lower,
    Higher,
}

const fn at_most(id: &'static str, unit: &'static str, goal: f64, gate: f64) -> Promise {
    Promise {
        id,
        unit,
        goal,
        gate,
        better: Better::Lower,
    }
}

const fn at_least(id: &'static str, unit: &'static str, goal: f64, gate: f64) -> Promise {
    Promise {
        id,
        unit,
        goal,
        gate,
        better: Better::Higher,
    }
}

const PROMISES: [Promise; 44] = [
    at_most("P1", "x nginx CPU", 1.4, 1.7),
    at_most("P4", "x nginx CPU", 1.3, 1.6),
    at_most("P5", "x nginx CPU", 1.2, 1.5),
    at_most("P6", "us", 20.0, 30.0),
    // Two windows on a machine with two cores differ by a few percent for every server, so the gate allows for five.
    at_least("P7-rate", "x the rate of 32", 1.0, 0.95),
    at_most("P7-p99", "x floor", 1.5, 2.0),
    at_most("P9-start", "ms", 25.0, 50.0),
    at_most("P9-rss", "MB", 25.0, 40.0),
    at_most("P9-session", "B", 2048.0, 20480.0),
    at_most("P10", "us", 60.0, 100.0),
    at_most("P11", "x session CPU", 1.0, 1.1),
    at_most("P12", "x session CPU", 1.3, 1.6),
    at_most("P13", "x CPU without", 1.05, 1.1),
    at_least("E1-rate", "M events/s", 1.0, 0.5),
    at_least("E1-redis", "x Redis", 3.0, 2.0),
    at_most("E2", "ms", 5.0, 10.0),
    at_most("E3-point", "ms", 10.0, 20.0),
    at_most("E3-tail", "ms", 10.0, 20.0),
    at_most("E3-range", "ms", 10.0, 20.0),
    at_most("E3-totals", "ms", 10.0, 20.0),
    at_least("E4-ratio", "x NDJSON", 10.0, 8.0),
    at_least("E4-seal-rate", "M events per CPU s", 0.5, 0.25),
    at_least("E5-duckdb", "x DuckDB", 4.0, 3.0),
    at_most("Q1-scan", "x DuckDB", 1.0, 1.5),
    at_most("Q2-start", "ms", 100.0, 250.0),
    // Their gates allow for machines on which the program itself costs less: on a virtual one, half of it is what the C
    // library asks the processor at its start.
    at_most("R1-cpu", "x bare CPU", 1.5, 2.5),
    at_most("R1-network", "x bare CPU", 2.0, 3.0),
    at_most("R2-bwrap", "x bwrap CPU", 1.0, 1.3),
    at_least("R2-runc", "x less CPU than runc", 10.0, 6.0),
    at_most("R3", "x bare first byte", 1.3, 1.6),
    at_most("R4-wall", "x bare wall time", 2.0, 3.0),
    at_most("R4-kill", "ms", 250.0, 1000.0),
    at_most("R5-memory", "KiB", 256.0, 1024.0),
    at_most("R5-descriptors", "descriptors", 0.0, 0.0),
    at_most("R9-calls", "x p99 without", 2.0, 2.0),
    at_most("R9-tasks", "x p99 without", 2.0, 2.0),
    at_most("R10-process", "ms", 200.0, 200.0),
    at_most("R10-sandbox", "ms", 200.0, 200.0),
    at_most("R10-zygote", "ms", 200.0, 200.0),
    at_most("R10-worker", "ms", 200.0, 200.0),
    at_most("R10-oci", "ms", 200.0, 200.0),
    at_most("R11-imports", "x cold CPU", 0.1, 0.1),
    at_most("R11-nothing", "x cold CPU", 0.1, 0.5),
    at_most("P0", "x nginx CPU", 1.25, 1.4),
];

/// Groups of promises that are measured together: the name, and how.
const SCENARIOS: [(&str, Scenario); 26] = [
    ("P0", path::floor),
    ("P1", path::call),
    ("P4", path::list),
    ("P5", path::blob),
    ("P6", serial::added),
    ("P7", path::many),
    ("P9", idle::start_and_memory),
    ("P10", path::stdio),
    ("P11", path::eras),
    ("P12", path::across),
    ("P13", path::recorded),
    ("E1", events::durable),
    ("E2", events::single),
    ("E3", questions::questions),
    ("E4", stored::stored),
    ("E5", inserted::inserted),
    ("Q1", scanned::scanned),
    ("Q2", scanned::started),
    ("R1", running::starts),
    ("R2", running::peers),
    ("R3", running::slots),
    ("R4", running::crowd),
    ("R5", running::left),
    ("R9", neighbours::neighbours),
    ("R10", running::first_bytes),
    ("R11", running::zygotes),
];

type Scenario = fn(&Setup) -> anyhow::Result<Vec<Finding>>;

/// What a scenario found for one promise.
#[derive(Debug)]
struct Finding {
    id: &'static str,
    value: f64,
    /// Wrong answers of the gateway. One is enough to miss: a fast wrong answer is worth nothing.
    errors: u64,
    detail: String,
}

/// One line of the result. See `main.rs` for what it promises to its readers.
#[derive(Debug, Serialize)]
struct Line {
    id: &'static str,
    value: serde_json::Value,
    unit: &'static str,
    goal: f64,
    gate: f64,
    verdict: Verdict,
    detail: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Goal,
    Gate,
    Missed,
    Skipped,
}

/// Measures the promises whose name starts with `only`, or all. Returns whether every gate was met.
pub(crate) fn run(setup: &Setup, only: Option<&str>, json: bool) -> anyhow::Result<bool> {
    // `P1` is not `P10`, but `P9` is `P9-rss`, and `P9-rss` measures all of P9.
    let wanted = |name: &str| only.is_none_or(|only| only == name || only.split('-').next() == Some(name));
    anyhow::ensure!(
        SCENARIOS.iter().any(|(name, _)| wanted(name)),
        "no promise is called {}",
        only.unwrap_or("")
    );
    let mut met = true;
    for (name, scenario) in SCENARIOS.iter().filter(|(name, _)| wanted(name)) {
        let promises = PROMISES
            .iter()
            .filter(|promise| promise.id.split('-').next() == Some(name));
        let findings = scenario(setup);
        for promise in promises.filter(|promise| only.is_none_or(|only| only == *name || only == promise.id))
        {
            let line = promise.line(&findings);
            met &= line.verdict != Verdict::Missed;
            if json {
                report::json_line(&line)
            } else {
                report::line(&line.for_people())
            }
        }
    }
    Ok(met)
}

impl Promise {
    fn line(&self, findings: &anyhow::Result<Vec<Finding>>) -> Line {
        let line = |value, verdict, detail| {
            let (id, unit, goal, gate) = (self.id, self.unit, self.goal, self.gate);
            Line {
                id,
                value,
                unit,
                goal,
                gate,
                verdict,
                detail,
            }
        };
        match findings {
            Err(error) => line("not measured".into(), Verdict::Skipped, format!("{error:#}")),
            Ok(findings) => match findings.iter().find(|finding| finding.id == self.id) {
                None => line("not measured".into(), Verdict::Skipped, String::new()),
                Some(finding) if finding.errors > 0 => {
                    let detail = format!("{} wrong answers; {}", finding.errors, finding.detail);
                    line(rounded(finding.value), Verdict::Missed, detail)
                }
                Some(finding) => line(
                    rounded(finding.value),
                    self.verdict(finding.value),
                    finding.detail.clone(),
                ),
            },
        }
    }

    fn verdict(&self, value: f64) -> Verdict {
        let meets = |limit: f64| match self.better {
            Better::Lower => value <= limit,
            Better::Higher => value >= limit,
        };
        match (meets(self.goal), meets(self.gate)) {
            (true, _) => Verdict::Goal,
            (false, true) => Verdict::Gate,
            (false, false) => Verdict::Missed,
        }
    }
}

impl Line {
    fn for_people(&self) -> String {
        let value = self
            .value
            .as_f64()
            .map_or_else(|| "not measured".to_owned(), |value| value.to_string());
        let verdict = format!("{:?}", self.verdict).to_lowercase();
        let (id, unit, goal, gate, detail) = (self.id, self.unit, self.goal, self.gate, &self.detail);
        format!("{id:<11} {value} {unit}: {verdict} (goal {goal}, gate {gate}; {detail})")
    }
}

/// Three decimals; the machine's noise is larger.
fn rounded(value: f64) -> serde_json::Value {
    ((value * 1000.0).round() / 1000.0).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(promise: &Promise, value: f64, errors: u64) -> String {
        let detail = "a / b".to_owned();
        let line = promise.line(&Ok(vec![Finding {
            id: promise.id,
            value,
            errors,
            detail,
        }]));
        serde_json::to_string(&line).expect("a line is JSON")
    }

    #[test]
    fn a_line_says_goal_gate_or_missed() {
        let low = at_most("P1", "x", 1.4, 1.7);
        assert_eq!(
            line(&low, 1.31415, 0),
            r#"{"id":"P1","value":1.314,"unit":"x","goal":1.4,"gate":1.7,"verdict":"goal","detail":"a / b"}"#
        );
        assert!(line(&low, 1.5, 0).contains(r#""verdict":"gate""#));
        assert!(line(&low, 1.8, 0).contains(r#""verdict":"missed""#));
        assert!(line(&low, f64::NAN, 0).contains(r#""value":null"#));
        assert!(line(&low, f64::NAN, 0).contains(r#""verdict":"missed""#));
        let high = at_least("P7-rate", "x", 1.0, 0.95);
        assert!(line(&high, 1.2, 0).contains(r#""verdict":"goal""#));
        assert!(line(&high, 0.9, 0).contains(r#""verdict":"missed""#));
    }

    #[test]
    fn one_wrong_answer_misses() {
        let line = line(&at_most("P1", "x", 1.4, 1.7), 1.0, 1);
        assert!(
            line.contains(r#""verdict":"missed""#) && line.contains("1 wrong answers"),
            "{line}"
        );
    }

    #[test]
    fn what_could_not_be_measured_says_why() {
        let line = at_most("P1", "x", 1.4, 1.7).line(&Err(anyhow::anyhow!("no nginx")));
        assert_eq!(
            (line.verdict, line.detail.as_str()),
            (Verdict::Skipped, "no nginx")
        );
    }

    #[test]
    fn every_promise_has_its_row() {
        let page = include_str!("../../../PROMISES.md");
        for promise in &PROMISES {
            let row = page
                .lines()
                .find(|line| line.starts_with(&format!("| {} |", promise.id)));
            let command = format!("| `cargo xtask promises --only {}` |", promise.id);
            assert!(row.is_some_and(|row| row.contains(&command)), "{}", promise.id);
        }
    }

    #[test]
    fn every_promise_has_its_scenario() {
        for promise in &PROMISES {
            assert!(
                SCENARIOS
                    .iter()
                    .any(|(name, _)| promise.id.split('-').next() == Some(name)),
                "{}",
                promise.id
            );
        }
    }
}
