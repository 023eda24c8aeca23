use std::process::ExitCode;

use axiom_testkit::programs::FloorProgram;
use clap::Parser;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    program: FloorProgram,
}

fn main() -> anyhow::Result<ExitCode> {
    Arguments::parse().program.run()
}
