//! `axiom`: reads the command line, runs one command, ends with its exit code.

use std::process::ExitCode;

#[cfg(target_os = "linux")]
use axiom::cli::TasksCommand;
use axiom::cli::{Cli, Command, EventsCommand, with_default_command};
use axiom::outcome::{Exit, Failed};
use axiom::terminal::Terminal;
use axiom::{commands, logging};
use clap::Parser as _;

fn main() -> ExitCode {
    let cli = Cli::parse_from(with_default_command(std::env::args_os().collect()));
    // Before anything could start a thread.
    #[cfg(target_os = "linux")]
    if let Some(Command::Tasks(TasksCommand::TaskSpawner { warm })) = cli.command {
        return commands::tasks::spawner::run(warm);
    }
    let terminal = Terminal::new(cli.no_color);
    match run(cli, terminal) {
        Ok(code) => code,
        Err(failed) => {
            failed.tell(&terminal);
            failed.exit.into()
        }
    }
}

fn run(cli: Cli, terminal: Terminal) -> Result<ExitCode, Failed> {
    let command = cli.command.unwrap_or_else(|| Command::Up(Default::default()));
    logging::start(cli.log.as_deref(), usual_log(&command), terminal)?;
    let exit = match command {
        // These only read and write files.
        Command::Import(import) => commands::import::run(&import, &terminal),
        Command::Config(config) => commands::config::run(&config, &terminal),
        Command::Key(key) => commands::key::run(&key, &terminal),
        Command::Events(EventsCommand::Export(export)) => commands::events::export::run(&export, &terminal),
        Command::Events(EventsCommand::Verify(verify)) => commands::events::verify::run(&verify, &terminal),
        Command::Events(EventsCommand::Prove(prove)) => commands::events::prove::run(&prove, &terminal),
        Command::Events(EventsCommand::Tiers(tiers)) => commands::events::tiers::run(&tiers, &terminal),
        Command::Events(EventsCommand::Hold(hold)) => commands::events::hold::run(&hold, &terminal),
        Command::Sql(sql) => commands::sql::run(&sql, &terminal),
        // Their code may be that of a task.
        #[cfg(target_os = "linux")]
        Command::Tasks(command) => return wait(commands::tasks::run(command, terminal)),
        // The others speak to servers, or wait for something.
        command => wait(speak(command, terminal)),
    };
    exit.map(ExitCode::from)
}

/// Worker threads are made by whoever serves; here one thread is enough.
fn wait<T>(command: impl Future<Output = Result<T, Failed>>) -> Result<T, Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let done = runtime.block_on(command);
    // What still runs is waiting for something that no longer matters.
    runtime.shutdown_background();
    done
}

/// What is logged when nobody says anything else: what the command does not tell anyway.
fn usual_log(command: &Command) -> &'static str {
    match command {
        Command::Up(up) if up.json => "info",
        // How the servers are is part of what `up` tells.
        Command::Up(_) => "warn,axiom_gateway::upstream=error",
        Command::Stdio(_) => "warn",
        _ => "error",
    }
}

async fn speak(command: Command, terminal: Terminal) -> Result<Exit, Failed> {
    match command {
        Command::Up(up) => commands::up::run(&up, &terminal).await,
        Command::Stdio(stdio) => commands::stdio::run(&stdio, &terminal).await,
        Command::Servers(servers) => commands::servers::run(&servers, &terminal).await,
        Command::Stats(stats) => commands::stats::run(&stats, &terminal).await,
        Command::Tools(tools) => commands::tools::run(&tools, &terminal).await,
        Command::Call(call) => commands::call::run(&call, &terminal).await,
        Command::Events(EventsCommand::Tail(tail)) => commands::events::tail::run(&tail, &terminal).await,
        Command::Events(EventsCommand::Follow(follow)) => {
            commands::events::follow::run(&follow, &terminal).await
        }
        Command::Replay(replay) => commands::replay::run(&replay, &terminal).await,
        Command::Import(_) | Command::Config(_) | Command::Key(_) | Command::Events(_) | Command::Sql(_) => {
            unreachable!("handled before the runtime was made")
        }
        #[cfg(target_os = "linux")]
        Command::Tasks(_) => unreachable!("waited for by itself"),
    }
}
