//! Puts the parts together: configuration to options, options to a gateway, a gateway to a listener.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axiom_core::Draining;
use axiom_events::disk::{Disk, Machine};
use axiom_events::{Log, OpenError};
use axiom_gateway::options::{Endpoint, Options, ServerOptions};
use axiom_gateway::{Gateway, serve_http};
use axiom_tiers::manifest::ManifestError;
use axiom_tiers::{Service, Store, StoreOptions, Workshop};

use crate::cli::ConfigFile;
use crate::config::load::{LoadError, Loaded, Source, discover, load};
use crate::config::{Agents, Config, Tiers, render};
use crate::demo::{self, Demo};
use crate::outcome::{Exit, Failed};
use crate::signals;
use crate::terminal::Terminal;
#[cfg(target_os = "linux")]
use crate::{tasks, tasks_api, tasks_server};

/// What a command was given to serve.
#[derive(Debug)]
pub struct Given {
    pub source: Source,
    pub config: Config,
    /// The text of the file; empty for the demo.
    pub text: String,
}

/// Finds and reads the configuration, and tells the warnings about it.
///
/// # Errors
/// A named file that does not exist, or a file with errors.
pub fn given(file: &ConfigFile, terminal: &Terminal) -> Result<Given, Failed> {
    let source = discover(file.config.as_deref());
    let Loaded {
        config,
        warnings,
        text,
    } = read(&source).map_err(|error| Failed::from_load(&error, terminal))?;
    if let Source::File(path) = &source
        && !warnings.is_empty()
    {
        let drawn = render(&warnings, &path.display().to_string(), &text, terminal.look());
        terminal.say(drawn.trim_end());
    }
    Ok(Given { source, config, text })
}

/// What a source says.
///
/// # Errors
/// As [`load`].
pub fn read(source: &Source) -> Result<Loaded, LoadError> {
    match source {
        Source::File(path) => load(path),
        Source::Demo => Ok(Loaded {
            config: demo_config(),
            warnings: Vec::new(),
            text: String::new(),
        }),
    }
}

/// The demo server alone.
fn demo_config() -> Config {
    let server = ServerOptions::new(Endpoint::InProcess(Arc::new(Demo)));
    let servers = [(demo::NAME.to_owned(), server)].into();
    Config {
        options: Options {
            servers,
            ..Options::default()
        },
        disabled: Vec::new(),
        tiers: Tiers::default(),
        #[cfg(target_os = "linux")]
        tasks: None,
        key_file: None,
        agents: Agents::default(),
    }
}

/// A log to record in, and what moves its events on.
#[derive(Debug)]
pub struct Recording {
    pub log: Log,
    pub tiers: Arc<Service>,
}

/// Opens the log that the configuration asks for, and its tiers. Blocks on the disk.
///
/// # Errors
/// Another gateway writes to it, or the disk does not give what is needed.
pub fn open_recording(config: &Config) -> Result<Option<Recording>, Failed> {
    let Some(events) = &config.options.events else {
        return Ok(None);
    };
    let Tiers { store, retention } = &config.tiers;
    let folder = shard_folder(&events.dir, events.shard);
    make_private(&events.dir);
    signals::survive_file_limits();
    let disk: Arc<dyn Disk> = Arc::new(Machine);
    let store = store.as_ref().map(open_store).transpose()?;
    let workshop = Workshop::open(Arc::clone(&disk), &folder, events.shard, store)
        .map_err(|error| manifest_failed(&error))?;
    let options = axiom_events::Options {
        linger: LINGER,
        shard: events.shard,
        segment_age: retention.segment_age(),
        archive: Some(workshop.shelves()),
        ..axiom_events::Options::new(&folder)
    };
    let log = Log::open(options, disk).map_err(|error| log_failed(&error))?;
    tell_damage(&log, &events.dir);
    let options = axiom_tiers::service::Options {
        retention: retention.clone(),
        ..axiom_tiers::service::Options::default()
    };
    let tiers = Service::start(Arc::new(workshop), log.clone(), options)
        .map_err(|error| Failed::new(Exit::Failure, format!("cannot keep events in order: {error}")))?;
    Ok(Some(Recording {
        log,
        tiers: Arc::new(tiers),
    }))
}

/// The desk of tasks, where there is one.
#[derive(Debug, Clone, Default)]
pub struct Desks {
    #[cfg(target_os = "linux")]
    desk: Option<Arc<tasks::Desk>>,
}

#[cfg(target_os = "linux")]
impl Desks {
    /// Opens the desk that the configuration asks for, for a gateway that listens there. Blocks on the disk.
    ///
    /// # Errors
    /// Others could start commands here, or the tasks cannot be had.
    pub fn open(
        config: &Config,
        served: SocketAddr,
        log: Option<&Log>,
        draining: &Draining,
    ) -> Result<Desks, Failed> {
        let is_open = config.tasks.as_ref().is_some_and(|tasks| !tasks.share) && !served.ip().is_loopback();
        if is_open {
            let message = format!(
                "whoever reaches {served} could start commands on this machine: there is a section [tasks]"
            );
            return Err(Failed::new(Exit::Usage, message)
                .hint("listen at 127.0.0.1, or write share = true into [tasks] if a guard stands in front"));
        }
        Ok(Desks {
            desk: tasks::open(config, log, draining.clone())?,
        })
    }

    /// Adds the server `tasks`, unless it is not wanted.
    pub fn plug_in(&self, options: &mut Options) {
        if let Some(desk) = self.desk.as_ref().filter(|desk| desk.has_server()) {
            options
                .servers
                .insert(tasks_server::NAME.to_owned(), tasks_server::section(desk));
        }
    }

    /// Answers at the gateway's address.
    pub fn attach(&self, gateway: &Gateway) {
        if let Some(desk) = &self.desk {
            gateway.annex_to(Arc::new(tasks_api::TasksApi::new(desk)));
        }
    }

    /// Finds out whether tasks can be kept apart as the configuration wants it, and tells if not. Nobody waits for it.
    pub fn try_out(&self, terminal: &Terminal) {
        let Some(desk) = &self.desk else { return };
        let (desk, terminal) = (Arc::clone(desk), *terminal);
        drop(axiom_core::spawn("trial of a sandbox", async move {
            let Some(why) = desk.trial().await else { return };
            let mark = terminal.yellow("warning:");
            terminal.say(format_args!(
                "{mark} no task can be started in a sandbox here: {why}"
            ));
            terminal.say(format_args!(
                "{} mend that, or write executor = \"process\" into [tasks] for tasks that nothing keeps apart",
                terminal.bold("hint:")
            ));
        }));
    }

    /// Lets go of the tasks, which go on.
    pub async fn close(&self) {
        if let Some(desk) = &self.desk {
            desk.close().await;
        }
    }
}

/// There are no tasks on this system; the configuration says so.
#[cfg(not(target_os = "linux"))]
impl Desks {
    /// # Errors
    /// None.
    pub fn open(_: &Config, _: SocketAddr, _: Option<&Log>, _: &Draining) -> Result<Desks, Failed> {
        Ok(Desks::default())
    }

    pub fn plug_in(&self, _: &mut Options) {}

    pub fn attach(&self, _: &Gateway) {}

    pub fn try_out(&self, _: &Terminal) {}

    pub async fn close(&self) {}
}

/// Ends what moves events on. What it was doing is begun again by the next start.
pub async fn stop(tiers: Option<Arc<Service>>) {
    if let Some(tiers) = tiers {
        let stopping = axiom_core::spawn::blocking(move || tiers.stop());
        // A panic was reported.
        let _stopped = stopping.join().await.is_some();
    }
}

/// The object store that the configuration names.
///
/// # Errors
/// When it names none.
pub fn open_store(options: &StoreOptions) -> Result<Arc<Store>, Failed> {
    let store = Store::open(options).map_err(|error| {
        Failed::new(Exit::Failure, format!("`events.store` cannot be used: {error}"))
            .hint("write \"s3://bucket/prefix\" or \"file:///folder\"; keys and endpoint go into a table [events.store]")
    })?;
    Ok(Arc::new(store))
}

/// Why the tiers of an event store cannot be read.
pub fn tiers_failed(error: &ManifestError) -> Failed {
    Failed::new(Exit::Failure, format!("cannot see where events are: {error}"))
}

/// How long a call's event may wait for others to share a block with. Nobody waits for it, and each block costs a sync.
const LINGER: Duration = Duration::from_millis(20);

/// A new folder is for its owner alone: what clients say may be in it. If it cannot be made, opening it says why.
#[cfg(unix)]
fn make_private(dir: &Path) {
    use std::os::unix::fs::DirBuilderExt as _;
    let mut builder = std::fs::DirBuilder::new();
    let _made = builder.recursive(true).mode(0o700).create(dir).is_ok();
}

#[cfg(not(unix))]
fn make_private(_dir: &Path) {}

/// The folder of a shard's log in an event store.
pub fn shard_folder(dir: &Path, shard: u16) -> PathBuf {
    dir.join(format!("shard-{shard:05}"))
}

/// The shards that an event store has, ascending.
pub fn shards(dir: &Path) -> Vec<u16> {
    let entries = fs_err::read_dir(dir).into_iter().flatten().flatten();
    let mut shards: Vec<u16> = entries
        .filter_map(|entry| {
            let name = entry.file_name();
            let digits = name.to_str()?.strip_prefix("shard-")?;
            (digits.len() == 5).then(|| digits.parse().ok()).flatten()
        })
        .collect();
    shards.sort_unstable();
    shards
}

fn tell_damage(log: &Log, dir: &Path) {
    let damage = log.report().damage.len();
    if damage > 0 {
        tracing::warn!(
            dir = %dir.display(),
            places = damage,
            "the event log is damaged; what is sound stays readable, `axiom events verify` names the rest"
        );
    }
}

/// What a disk that does not give what is needed ends the command with, and what to do.
fn disk_failed(error: &std::io::Error) -> (Exit, &'static str) {
    match error.kind() {
        std::io::ErrorKind::StorageFull => (
            Exit::Failure,
            "make room there, or name a folder on another disk as `events.dir`",
        ),
        std::io::ErrorKind::PermissionDenied => (
            Exit::Denied,
            "make the folder of `events.dir` writable, or name another one",
        ),
        _ => (
            Exit::Failure,
            "see whether the folder of `events.dir` can be written, or name another one",
        ),
    }
}

/// Nothing is recorded where nobody can say which events are where.
fn manifest_failed(error: &ManifestError) -> Failed {
    let failed = format!("cannot record events: {error}");
    match error {
        ManifestError::Disk { source, .. } => {
            let (exit, hint) = disk_failed(source);
            Failed::new(exit, failed).hint(hint)
        }
        // They say themselves what to do.
        ManifestError::Damaged { .. } | ManifestError::Locked { .. } | ManifestError::Impossible(_) => {
            Failed::new(Exit::Failure, failed)
        }
    }
}

fn log_failed(error: &OpenError) -> Failed {
    let (exit, hint) = match error {
        OpenError::Locked { .. } => (
            Exit::Unavailable,
            "another gateway records there; stop it, or name another folder as `events.dir`",
        ),
        OpenError::Disk { source, .. } => disk_failed(source),
        OpenError::Copy { .. } => (
            Exit::Failure,
            "name another folder as `events.dir`; a copy is written by `axiom events follow`",
        ),
        OpenError::Shard { .. } | OpenError::Read(_) | OpenError::Thread(_) => (
            Exit::Failure,
            "`axiom events verify` tells what can be read; name another folder as `events.dir` to go on",
        ),
    };
    Failed::new(exit, format!("cannot record events: {error}")).hint(hint)
}

/// Opens the listening socket. From here on clients can connect; they wait until somebody serves.
///
/// # Errors
/// The address is taken or not ours to take.
pub fn bind(address: SocketAddr) -> Result<TcpListener, Failed> {
    let bound = TcpListener::bind(address).map_err(|error| {
        let exit = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Exit::Denied,
            _ => Exit::Unavailable,
        };
        let failed = Failed::new(exit, format!("cannot listen at {address}: {error}"));
        match error.kind() {
            std::io::ErrorKind::AddrInUse => {
                failed.hint("something listens there already; try `axiom servers`, or --listen 127.0.0.1:0")
            }
            _ => failed,
        }
    })?;
    widen(&bound);
    Ok(bound)
}

/// Lets more connections wait to be accepted than the standard library's 128: clients start all at once.
#[cfg(unix)]
fn widen(listener: &TcpListener) {
    // The kernel caps it at its own limit. Without this, bursts are slower, nothing else.
    let _widened = rustix::net::listen(listener, 4_096).is_ok();
}

#[cfg(not(unix))]
fn widen(_listener: &TcpListener) {}

/// Serves until the drain is over.
///
/// # Errors
/// The listener or a worker thread failed.
pub async fn serve(gateway: Arc<Gateway>, listener: TcpListener, draining: Draining) -> Result<(), Failed> {
    serve_http(gateway, listener, draining)
        .await
        .map_err(|error| Failed::new(Exit::Failure, format!("the gateway failed: {error}")))
}

/// `http://127.0.0.1:3000`, without a slash at the end.
pub fn base_of(address: SocketAddr) -> String {
    format!("http://{address}")
}

/// An address that clients on this machine can connect to: a wildcard is none.
pub fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
