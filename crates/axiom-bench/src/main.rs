//! `axiom-bench`: load, comparisons, and the measurements behind PROMISES.md.
//!
//! - `axiom-bench promises [--only P1] [--quick] [--json]` measures the gateway's promises beside nginx;
//! - `axiom-bench compare` prints one table of servers side by side;
//! - `axiom-bench load URL` loads any MCP server over HTTP;
//! - `axiom-bench echo|floor|faulty` are the servers of axiom-testkit.
//!
//! # The result format
//! `promises --json` prints one object per line on stdout, each as soon as it is known; talk and tables go to stderr:
//! ```json
//! {"id":"P1","value":1.314,"unit":"x nginx CPU","goal":1.4,"gate":1.7,"verdict":"goal","detail":"16.6 us, nginx 12.6 us"}
//! ```
//! - `id`: the first column of PROMISES.md. `--only P9` measures `P9-start`, `P9-rss` and `P9-session`.
//! - `value`: a number in `unit`, or the text `not measured`.
//! - `goal`, `gate`: numbers in `unit`; whether less or more is better is the promise's own.
//! - `verdict`: `goal` (met), `gate` (only the gate is met), `missed`, or `skipped` (could not be measured; `detail`
//!   says why). A wrong answer during the measurement makes it `missed`.
//! - `detail`: for people; may be empty.
//!
//! Exit status: 0 if every measured gate is met, 1 if one is missed, 2 for wrong arguments.

#![allow(
    clippy::disallowed_methods,
    reason = "a load generator reads the real clock and owns its tasks"
)]

use std::{path::PathBuf, process::ExitCode, time::Duration};

use anyhow::Context;
use axiom_testkit::{
    echo::Eras,
    programs::{EchoProgram, FaultyProgram, FloorProgram},
};
use clap::{Parser, Subcommand};

mod process;

mod connection;
mod request;

mod load;
mod measured;
mod rounds;
mod subject;

mod promises;
mod report;

use load::Plan;
use measured::Figures;
use promises::{Effort, Setup};
use request::{Dialect, Work};
use rounds::Case;
use subject::{Folder, Subject, Upstream};

#[derive(Debug, Parser)]
#[command(about = "Measures MCP servers and gateways side by side")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Promises(Promises),
    Compare(Compare),
    Load(Load),
    Echo(EchoProgram),
    Floor(FloorProgram),
    Faulty(FaultyProgram),
}

/// Measure the promises of PROMISES.md.
#[derive(Debug, clap::Args)]
struct Promises {
    /// Only this one, for example P1 or P9-rss.
    #[arg(long)]
    only: Option<String>,
    /// Print one JSON object per result.
    #[arg(long)]
    json: bool,
    /// About two seconds per server and promise instead of seventeen.
    #[arg(long)]
    quick: bool,
    #[command(flatten)]
    gateway: Gateway,
}

/// Which gateway is measured.
#[derive(Debug, clap::Args)]
struct Gateway {
    /// The gateway's binary; by default $AXIOM_BIN, or else the one beside this program.
    #[arg(long)]
    axiom: Option<PathBuf>,
    /// Worker threads of nginx and of the floor; the gateway chooses its own number.
    #[arg(long, default_value_t = default_workers())]
    workers: usize,
}

/// As the gateway does it: one worker per core.
fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

impl Gateway {
    fn setup(&self, effort: Effort) -> Setup {
        let named = self
            .axiom
            .clone()
            .or_else(|| std::env::var_os("AXIOM_BIN").map(PathBuf::from));
        let beside = || {
            std::env::current_exe()
                .unwrap_or_default()
                .with_file_name("axiom")
        };
        Setup {
            axiom: named.unwrap_or_else(beside),
            workers: self.workers,
            effort,
        }
    }
}

/// Measure servers side by side in front of one upstream.
#[derive(Debug, clap::Args)]
struct Compare {
    #[arg(long, value_delimiter = ',', default_value = "direct,nginx,floor,axiom")]
    subjects: Vec<SubjectName>,
    #[command(flatten)]
    shape: Shape,
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[command(flatten)]
    gateway: Gateway,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum SubjectName {
    Direct,
    Nginx,
    Floor,
    Fastmcp,
    Axiom,
}

/// Load one server.
#[derive(Debug, clap::Args)]
struct Load {
    /// For example http://127.0.0.1:3000/mcp
    url: String,
    /// What the server puts before tool names.
    #[arg(long, default_value = "")]
    prefix: String,
    /// Report CPU time and memory of this process and its children.
    #[arg(long)]
    pid: Option<u32>,
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    shape: Shape,
}

/// The shape of the load.
#[derive(Debug, clap::Args)]
struct Shape {
    #[arg(long, default_value = "echo")]
    work: Work,
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Requests per second, sent by the clock; without it each connection sends when it has its answer.
    #[arg(long)]
    rate: Option<f64>,
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Speak 2026-07-28 instead of opening sessions.
    #[arg(long)]
    modern: bool,
}

impl Shape {
    fn plan(&self, address: std::net::SocketAddr, dialect: Dialect, pids: Vec<u32>) -> Plan {
        Plan {
            address,
            dialect,
            work: self.work,
            connections: self.connections,
            rate: self.rate,
            warm_up: Duration::from_millis(500),
            window: Duration::from_secs_f64(self.seconds),
            pids,
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    match Arguments::parse().command {
        Command::Promises(promises) => {
            let effort = if promises.quick {
                Effort::QUICK
            } else {
                Effort::FULL
            };
            let met = promises::run(
                &promises.gateway.setup(effort),
                promises.only.as_deref(),
                promises.json,
            )?;
            Ok(if met { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Compare(compare) => compare.run(),
        Command::Load(load) => load.run(),
        Command::Echo(program) => program.run(),
        Command::Floor(program) => program.run(),
        Command::Faulty(program) => program.run(),
    }
}

impl Compare {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let setup = self.gateway.setup(Effort::FULL);
        let folder = Folder::new()?;
        let direct = subject::echo(&folder, Eras::Dual)?;
        let mut others: Vec<Subject> = Vec::new();
        for name in &self.subjects {
            let started = match name {
                SubjectName::Direct => continue,
                SubjectName::Nginx => subject::nginx(&folder, &direct, setup.workers),
                SubjectName::Floor => subject::floor(&folder, &direct, setup.workers),
                SubjectName::Fastmcp => subject::rivals::fastmcp(&folder, &direct),
                SubjectName::Axiom => {
                    let upstream = Upstream::Http(format!("http://{}/mcp", direct.address));
                    subject::axiom(&folder, &setup.axiom, &upstream)
                }
            };
            match started {
                Ok(subject) => others.push(subject),
                Err(error) => report::say(&format!("left out: {error:#}")),
            }
        }
        let direct = self.subjects.contains(&SubjectName::Direct).then_some(&direct);
        let subjects = direct.into_iter().chain(&others);
        let cases: Vec<Case> = subjects
            .map(|subject| {
                let dialect = subject.dialect(self.shape.modern);
                Case {
                    label: subject.name,
                    plan: self.shape.plan(subject.address, dialect, subject.pids()),
                }
            })
            .collect();
        let outcomes = rounds::run(&cases, self.rounds)?;
        let title = format!("{:?}, {} connections", self.shape.work, self.shape.connections);
        report::line(&report::table(&title, &outcomes, "nginx"));
        Ok(ExitCode::SUCCESS)
    }
}

impl Load {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let (address, path) =
            subject::parse_url(&self.url).context("the URL must be http://ADDRESS:PORT/PATH")?;
        let dialect = Dialect {
            modern: self.shape.modern,
            path,
            prefix: self.prefix.clone(),
        };
        let pids = self.pid.map(process::tree).unwrap_or_default();
        let figures = Figures::of(&load::run(&self.shape.plan(address, dialect, pids))?);
        if self.json {
            report::json_line(&figures);
        } else {
            let outcome = rounds::Outcome {
                label: "load",
                rounds: vec![figures],
            };
            report::line(&report::table(&self.url, &[outcome], "load"));
        }
        Ok(if figures.errors == 0 {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
