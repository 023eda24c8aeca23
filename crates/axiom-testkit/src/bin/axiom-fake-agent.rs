//! A coding agent that does what a script says. See `fake_agent`.

use std::process::ExitCode;

#[cfg(unix)]
fn main() -> anyhow::Result<ExitCode> {
    use clap::Parser as _;
    axiom_testkit::fake_agent::FakeAgent::parse().run()
}

#[cfg(not(unix))]
fn main() -> ExitCode {
    ExitCode::FAILURE
}
