//! Which gateway a command talks to: the one that runs at the configured address, or else one in this process.

use std::net::SocketAddr;
use std::sync::Arc;

use axiom_core::drain;
use axiom_core::time::timeout;
use axiom_gateway::Gateway;
use axiom_gateway::options::{Endpoint, Options, ServerOptions};

use crate::cli::ConfigFile;
use crate::client::{self, Members, is_axiom};
use crate::commands::replay::ADDRESSED;
use crate::compose::{Recording, base_of, bind, open_recording, reachable, read, serve, stop};
use crate::config::Config;
use crate::config::load::{LoadError, Source, discover, full_name};
use crate::outcome::{Exit, Failed};
use crate::signals::Signals;
use crate::terminal::Terminal;

/// Runs `work` with the base address of a gateway: the one that listens at the configured address if it is one of ours,
/// else one in this process for the time of the work. A mistake in the file is only a warning while a gateway runs: it
/// serves what it read before.
///
/// # Errors
/// Those of `work`; a file with mistakes and no running gateway; one that cannot be started; an interruption.
pub async fn with_gateway<T>(
    file: &ConfigFile,
    terminal: &Terminal,
    work: impl AsyncFnOnce(&str) -> Result<T, Failed>,
) -> Result<T, Failed> {
    with_gateway_as(file, Records::Nothing, terminal, work).await
}

/// What a gateway in this process serves if it is one that records.
#[derive(Debug, Clone)]
pub enum Own {
    /// What the configuration says; a gateway that runs already is used instead.
    Configured,
    /// This server alone, under the name `to`.
    Server(Endpoint),
}

/// Runs `work` with a gateway whose calls are recorded where the configuration says so.
///
/// # Errors
/// As [`with_gateway`].
pub async fn with_gateway_of<T>(
    file: &ConfigFile,
    own: Own,
    terminal: &Terminal,
    work: impl AsyncFnOnce(&str) -> Result<T, Failed>,
) -> Result<T, Failed> {
    let Own::Server(endpoint) = own else {
        return with_gateway_as(file, Records::Everything, terminal, work).await;
    };
    let source = discover(file.config.as_deref());
    let loaded = read(&source).map_err(|error| Failed::from_load(&error, terminal))?;
    let mut config = loaded.config;
    config.options.servers = [(ADDRESSED.to_owned(), ServerOptions::new(endpoint))].into();
    config.options.views.clear();
    let mut signals = Signals::listen()?;
    with_own(config, Records::Everything, &mut signals, work).await
}

/// What a gateway in this process records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Records {
    /// Its calls are one command's own.
    Nothing,
    /// What the configuration says, unless another process writes to the log.
    Everything,
}

async fn with_gateway_as<T>(
    file: &ConfigFile,
    records: Records,
    terminal: &Terminal,
    work: impl AsyncFnOnce(&str) -> Result<T, Failed>,
) -> Result<T, Failed> {
    let source = discover(file.config.as_deref());
    let loaded = read(&source).map(|loaded| loaded.config);
    let mut signals = Signals::listen()?;
    match (Running::find(&source, loaded.as_ref()).await, loaded) {
        (Some(running), loaded) => {
            running.tell(&source, loaded.as_ref().err(), terminal);
            interruptible(&mut signals, work(&running.base)).await
        }
        (None, Ok(config)) => with_own(config, records, &mut signals, work).await,
        (None, Err(error)) => Err(Failed::from_load(&error, terminal)),
    }
}

/// What a command that reads something has to go by.
#[derive(Debug)]
pub enum Attached {
    /// The base address of the gateway that listens at the configured address.
    Running(String),
    /// None does; this is the configuration.
    Alone(Box<Config>),
}

/// The gateway that listens at the configured address, if it is one of ours, or else the configuration.
///
/// # Errors
/// A file with mistakes and no running gateway.
pub async fn running_or_config(file: &ConfigFile, terminal: &Terminal) -> Result<Attached, Failed> {
    let source = discover(file.config.as_deref());
    let loaded = read(&source).map(|loaded| loaded.config);
    match (Running::find(&source, loaded.as_ref()).await, loaded) {
        (Some(running), loaded) => {
            running.tell(&source, loaded.as_ref().err(), terminal);
            Ok(Attached::Running(running.base))
        }
        (None, Ok(config)) => Ok(Attached::Alone(Box::new(config))),
        (None, Err(error)) => Err(Failed::from_load(&error, terminal)),
    }
}

/// A gateway that listens already.
#[derive(Debug)]
struct Running {
    base: String,
    serves: Serves,
}

/// What a running gateway was started from.
#[derive(Debug, PartialEq)]
enum Serves {
    /// This file, by its full name.
    File(String),
    NoFile,
    /// An older gateway does not say.
    Unknown,
}

impl Running {
    /// The gateway at the address that a source asks for. Where a mistake hides the address, it is the one at the default
    /// address, provided that it says it was started from this very file.
    async fn find(source: &Source, loaded: Result<&Config, &LoadError>) -> Option<Self> {
        let address = match loaded {
            Ok(config) => Some(config.options.listen),
            // A name that was mistyped: nothing can have been started from it.
            Err(LoadError::NotFound { .. }) => return None,
            Err(error) => error.listen(),
        };
        let running = Running::at(address.unwrap_or(Options::default().listen)).await?;
        let is_known = address.is_some() || running.serves == wanted(source);
        is_known.then_some(running)
    }

    async fn at(address: SocketAddr) -> Option<Self> {
        let base = base_of(reachable(address));
        if address.port() == 0 || !is_axiom(&base).await {
            return None;
        }
        let status = client::get(&base, "/api/v1/servers").await.ok();
        let file = status.and_then(|status| Members::of(&status).read::<Option<String>>("config_file"));
        let serves = match file {
            Some(Some(file)) => Serves::File(file),
            Some(None) => Serves::NoFile,
            None => Serves::Unknown,
        };
        Some(Running { base, serves })
    }

    /// Says what a person may not expect of it.
    fn tell(&self, source: &Source, mistake: Option<&LoadError>, terminal: &Terminal) {
        let mark = terminal.yellow("warning:");
        let base = &self.base;
        if let Some(mistake) = mistake {
            let details = mistake.details(terminal.look());
            if !details.is_empty() {
                terminal.say(details.trim_end());
            }
            terminal.say(format_args!(
                "{mark} {mistake}; this is the gateway at {base}, which serves what it read before"
            ));
        }
        let (Serves::File(ours), theirs) = (wanted(source), &self.serves) else {
            // Without a file of one's own there is none to be mistaken for another.
            return;
        };
        let theirs = match theirs {
            Serves::File(theirs) if *theirs != ours => format!("from {theirs}"),
            Serves::NoFile => "without a file".to_owned(),
            Serves::File(_) | Serves::Unknown => return,
        };
        terminal.say(format_args!(
            "{mark} the gateway at {base} was started {theirs}, not from {ours}"
        ));
        terminal.say(format_args!(
            "{} give one of them another `gateway.listen`, or stop that gateway",
            terminal.bold("hint:")
        ));
    }
}

/// What a gateway of this source says that it serves.
fn wanted(source: &Source) -> Serves {
    match source {
        Source::File(path) => Serves::File(full_name(path)),
        Source::Demo => Serves::NoFile,
    }
}

/// Runs `work` with a gateway that ends with it.
async fn with_own<T>(
    config: Config,
    records: Records,
    signals: &mut Signals,
    work: impl AsyncFnOnce(&str) -> Result<T, Failed>,
) -> Result<T, Failed> {
    let recording = match records {
        Records::Nothing => None,
        Records::Everything => open_recording(&config).unwrap_or_else(|failed| {
            tracing::error!(reason = failed.message, "these calls are not recorded");
            None
        }),
    };
    let options = Options {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        // It is nobody's replica.
        advertise: None,
        events: config.options.events.filter(|_| recording.is_some()),
        ..config.options
    };
    let listener = bind(options.listen)?;
    let base = base_of(listener.local_addr()?);
    let (log, tiers) = recording.map(|Recording { log, tiers }| (log, tiers)).unzip();
    let gateway = Gateway::recording(options, log);
    let (drain, draining) = drain::drain();
    let mut serving = std::pin::pin!(serve(Arc::clone(&gateway), listener, draining));
    let outcome = tokio::select! {
        // Ends only with an error; the work is over then.
        served = &mut serving => return Err(served.err().unwrap_or_else(ended_early)),
        // Dropping it drops an HTTP exchange, which cancels the call.
        outcome = interruptible(signals, work(&base)) => outcome,
    };
    let finish = async {
        drain.finish(FINISH_TIMEOUT).await;
    };
    // The servers' processes are ended here; one that resists is killed when the gateway is dropped.
    let _in_time = timeout(FINISH_TIMEOUT, async { tokio::join!(finish, &mut serving) })
        .await
        .is_ok();
    if tiers.is_some() {
        // What was recorded is on the disk when the command ends.
        stop(tiers).await;
        let _in_time = timeout(FINISH_TIMEOUT, gateway.close()).await.is_ok();
    }
    outcome
}

/// How long child processes may take to end. One that resists is killed when the gateway is dropped.
const FINISH_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

async fn interruptible<T>(
    signals: &mut Signals,
    work: impl Future<Output = Result<T, Failed>>,
) -> Result<T, Failed> {
    tokio::select! {
        // Dropping the work cancels it, which is what an interruption asks for.
        outcome = work => outcome,
        // cancel-safe: a signal that was not taken is still there.
        () = signals.interrupted() => Err(Failed::new(Exit::Interrupted, "interrupted")),
    }
}

fn ended_early() -> Failed {
    Failed::new(Exit::Failure, "the gateway ended by itself")
}
