//! Puts the parts together: configuration to options, options to a gateway, a gateway to a listener.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;

use axiom_core::Draining;
use axiom_gateway::options::{Endpoint, Options, ServerOptions};
use axiom_gateway::{Gateway, serve_http};

use crate::cli::ConfigFile;
use crate::config::load::{LoadError, Loaded, Source, discover, load};
use crate::config::{Config, render};
use crate::demo::{self, Demo};
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

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
        key_file: None,
    }
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
