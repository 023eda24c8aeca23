use std::process::ExitCode;

use axiom_testkit::programs::EchoProgram;
use clap::Parser;

#[derive(Debug, Parser)]
struct Arguments {
    #[command(flatten)]
    program: EchoProgram,
}

fn main() -> anyhow::Result<ExitCode> {
    Arguments::parse().program.run()
}
