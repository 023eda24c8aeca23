//! A gateway with scripted servers behind it, and what every test needs to read messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::drain::{Drain, Draining, drain};
use axiom_gateway::Gateway;
use axiom_gateway::options::{Endpoint, Options, Prefix, ServerOptions};
use axiom_transport::pipe::Builtin;
use serde_json::Value;

use crate::server::Server;

/// Longer than anything in a test takes, in paused time; much longer than a socket on this machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3600);

/// One gateway.
pub(crate) struct Stage {
    pub gateway: Arc<Gateway>,
    pub draining: Draining,
    drain: Drain,
}

impl Stage {
    /// A gateway over these servers with default options.
    pub(crate) fn of(servers: &[&Arc<Server>]) -> Stage {
        Stage::with(options(servers))
    }

    pub(crate) fn with(options: Options) -> Stage {
        let (drain, draining) = drain();
        let gateway = Gateway::new(options);
        Stage {
            gateway,
            draining,
            drain,
        }
    }

    /// Asks for the shutdown and leaves it to clients to see what happens.
    pub(crate) fn shut_down(self) {
        drop((self.drain, self.draining));
    }
}

/// Until everybody waits for something: paused time moves only then.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Default options with these servers, each under its own name.
pub(crate) fn options(servers: &[&Arc<Server>]) -> Options {
    let servers = servers
        .iter()
        .map(|server| (server.name().to_owned(), server_options(server)))
        .collect::<BTreeMap<_, _>>();
    Options {
        servers,
        ..Options::default()
    }
}

pub(crate) fn options_with(servers: &[&Arc<Server>], prefix: Prefix) -> Options {
    Options {
        prefix,
        ..options(servers)
    }
}

pub(crate) fn server_options(server: &Arc<Server>) -> ServerOptions {
    ServerOptions::new(Endpoint::InProcess(Arc::clone(server) as Arc<dyn Builtin>))
}

/// `text` as JSON, for comparing what a message says rather than how it is written.
pub(crate) fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("not JSON ({error}): {text}"))
}

/// The names in a `tools/list` answer, in order.
pub(crate) fn tool_names(answer: &str) -> Vec<String> {
    let answer = json(answer);
    let tools = answer["result"]["tools"]
        .as_array()
        .unwrap_or_else(|| panic!("no tools in {answer}"));
    tools
        .iter()
        .map(|tool| tool["name"].as_str().unwrap().to_owned())
        .collect()
}
