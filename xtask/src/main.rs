//! `cargo xtask`: everything a contributor runs. Each command is a module of its own; this file only names them.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool: stdout is data, stderr is talk"
)]

mod cold;
mod deny;
mod docs;
mod promises;
mod readme;
mod setup;
mod test;
mod tidy;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Debug, Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Everything a contributor runs"
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Install what the tests need and this machine lacks, into the target directory
    Setup {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
        rest: Vec<String>,
    },
    /// Run setup, then every test; the runner's summary comes last
    Test {
        /// Passed on to the test runner, for example a part of a test's name
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Check what clippy cannot: arrows between crates, links, long files, the form of changes and decisions
    Tidy,
    /// Check licenses, sources and unwanted dependencies with cargo-deny
    Deny,
    /// Measure every number in PROMISES.md and write the results into it
    Promises(promises::Arguments),
    /// Generate docs/reference from the binary itself
    Docs {
        /// Change nothing; fail if a generated page is stale
        #[arg(long)]
        check: bool,
    },
    /// Clone this checkout, run README's first command with nothing built, and time it to the first answer
    Cold,
    /// Run the commands of README.md and compare what they print with what the page says
    Readme,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Setup { rest } => setup::run(rest),
        Command::Test { rest } => test::run(rest),
        Command::Tidy => tidy::run(),
        Command::Deny => deny::run(),
        Command::Promises(arguments) => promises::run(&arguments),
        Command::Docs { check } => docs::run(check),
        Command::Cold => cold::run(),
        Command::Readme => readme::run(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
