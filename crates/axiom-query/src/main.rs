//! `axiom-query`: reads the command line, bounds itself, runs one command.

use std::process::ExitCode;

use axiom_query::cli::{Cli, Command};
use axiom_query::{serve, sql};
use clap::Parser as _;

/// Threads that talk with clients and keep the time. Queries have their own, see `workers`.
const THREADS: usize = 2;
/// Threads that may block: one reads stdin as long as we run, the others look up what is in the store when a query begins.
const BLOCKING_THREADS_MAX: usize = 8;

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    let bounds = match &cli.command {
        Command::Sql(sql) => &sql.bounds,
        Command::Serve(serve) => &serve.bounds,
    };
    bounds.limits().enforce()?;
    start_log();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(BLOCKING_THREADS_MAX)
        .enable_all()
        .build()?;
    let exit = runtime.block_on(async {
        match &cli.command {
            Command::Sql(sql) => sql::run(sql).await,
            Command::Serve(serve) => serve::run(serve).await,
        }
    });
    // What still runs is a query that nobody waits for.
    runtime.shutdown_background();
    Ok(exit)
}

/// Talk goes to stderr: stdout is for answers.
fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_env("AXIOM_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(filter);
    log.with_ansi(false).without_time().init();
}
