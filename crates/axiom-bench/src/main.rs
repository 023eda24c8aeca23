//! `axiom-bench`: load, comparisons, and the measurements behind PROMISES.md.
//!
//! - `axiom-bench promises [--only P1] [--quick] [--json]` measures the gateway's promises beside nginx;
//! - `axiom-bench corpus OUT` gathers what this machine prints, for E4;
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

use std::{path::PathBuf, process::ExitCode};

use axiom_testkit::programs::{EchoProgram, FaultyProgram, FloorProgram};
use clap::{Parser, Subcommand};

mod process;

mod connection;
mod request;

mod load;
mod measured;
mod rounds;
mod subject;

mod adhoc;
mod promises;
mod report;

use adhoc::{Compare, Load};
use promises::{Effort, Setup};

#[derive(Debug, Parser)]
#[command(about = "Measures MCP servers and gateways side by side")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Promises(Promises),
    Corpus(Corpus),
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

/// Gather events from what builds, tests, tools and models print on this machine.
#[derive(Debug, clap::Args)]
struct Corpus {
    /// The file that gets them, one JSON object on each line.
    out: PathBuf,
    #[command(flatten)]
    gateway: Gateway,
}

/// Which gateway is measured.
#[derive(Debug, clap::Args)]
struct Gateway {
    /// The gateway's binary; by default $AXIOM_BIN, or else the one beside this program.
    #[arg(long)]
    axiom: Option<PathBuf>,
    /// The test bed; by default $AXIOM_BED, or else the one of the target directory that this program is in.
    #[arg(long)]
    bed: Option<PathBuf>,
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
        let bed = self
            .bed
            .clone()
            .or_else(|| std::env::var_os("AXIOM_BED").map(PathBuf::from));
        let in_target = || {
            std::env::current_exe()
                .unwrap_or_default()
                .with_file_name("../test-bed")
        };
        Setup {
            axiom: named.unwrap_or_else(beside),
            bed: bed.unwrap_or_else(in_target),
            workers: self.workers,
            effort,
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
        Command::Corpus(corpus) => {
            promises::gather(&corpus.gateway.setup(Effort::QUICK), &corpus.out)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Compare(compare) => compare.run(),
        Command::Load(load) => load.run(),
        Command::Echo(program) => program.run(),
        Command::Floor(program) => program.run(),
        Command::Faulty(program) => program.run(),
    }
}
