use std::process::ExitCode;

use axiom_testkit::programs::FaultyProgram;
use clap::Parser;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    program: FaultyProgram,
}

fn main() -> anyhow::Result<ExitCode> {
    Arguments::parse().program.run()
}
