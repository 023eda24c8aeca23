//! The built-in server `events`: what was recorded, for agents. It reads the files as `axiom events` does, and changes
//! nothing.
//!
//! It is there only where `[events] mcp = true` says so, because whoever can call its tools sees everybody's calls. Then it
//! is a server like any other: in lists, in views, at `/s/events/mcp`.

mod log;
mod query;
mod stats;
mod tail;
mod tools;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use axiom_gateway::options::{Endpoint, ServerOptions};
use axiom_tiers::StoreOptions;
use axiom_transport::pipe::{Builtin, Pipe};
use serde_json::{Value as Json, json};

use crate::builtin::conversation::{self, Answers, Call};
use crate::builtin::wire::{self, RpcError};
use crate::config::Config;
use log::Log;

/// The name under which it stands in the list of servers.
pub const NAME: &str = "events";

/// Puts it among the servers, if the configuration wants it there.
pub fn plug_in(config: &mut Config) {
    let options = &mut config.options;
    let Some(events) = options.events.as_ref().filter(|events| events.mcp) else {
        return;
    };
    let server = EventsServer::new(&events.dir, events.shard, config.tiers.store.clone());
    let server = ServerOptions::new(Endpoint::InProcess(Arc::new(server)));
    options.servers.insert(NAME.to_owned(), server);
}

/// Reads one event store.
#[derive(Debug)]
pub struct EventsServer {
    log: Arc<Log>,
}

impl EventsServer {
    /// `dir` is the folder of the event store, `shard` the log in it, `store` where its cold events are. Nothing is opened
    /// before it is asked for.
    pub fn new(dir: &Path, shard: u16, store: Option<StoreOptions>) -> EventsServer {
        EventsServer {
            log: Arc::new(Log::new(PathBuf::from(dir), shard, store)),
        }
    }
}

impl Builtin for EventsServer {
    fn name(&self) -> &str {
        NAME
    }

    fn connect(self: Arc<Self>) -> Pipe {
        conversation::begin(self)
    }
}

impl Answers for EventsServer {
    const NAMES: [&'static str; 2] = ["events server", "events server call"];
    /// Each has a thread that reads the disk.
    const CALLS_MAX: usize = 64;

    fn info(&self) -> Json {
        server_info()
    }

    fn answer(&self, method: &str, params: &Json) -> Result<Json, RpcError> {
        answer(method, params)
    }

    async fn work(self: Arc<Self>, call: Call) -> Result<Json, RpcError> {
        match call.method.as_str() {
            "tools/call" => tools::call(&self.log, &call.params).await,
            _ => tools::read(&self.log, &call.params, call.era).await,
        }
    }
}

/// What needs no disk.
fn answer(method: &str, params: &Json) -> Result<Json, RpcError> {
    match method {
        "initialize" => Ok(json!({
            "protocolVersion": wire::negotiate(params),
            "capabilities": capabilities(),
            "serverInfo": server_info(),
            "instructions": INSTRUCTIONS,
        })),
        "server/discover" => Ok(wire::cacheable(json!({
            "supportedVersions": wire::supported(),
            "capabilities": capabilities(),
            "instructions": INSTRUCTIONS,
        }))),
        "ping" => Ok(json!({})),
        "tools/list" => wire::one_page(params, "tools", tools::list()).map(wire::cacheable),
        "resources/list" => wire::one_page(params, "resources", json!([])).map(wire::cacheable),
        "resources/templates/list" => {
            wire::one_page(params, "resourceTemplates", tools::templates()).map(wire::cacheable)
        }
        _ => Err(RpcError::unknown_method(method)),
    }
}

const INSTRUCTIONS: &str = "Reads the gateway's event log: every call of every client (kind gateway.call) and every change of \
     servers, sessions and the configuration. Start with `stats` to see what there is, look with `tail`, read one event whole \
     with `get`. Calls of these tools are recorded too: the filter `server!=events` leaves them out.";

fn capabilities() -> Json {
    json!({"tools": {}, "resources": {}})
}

fn server_info() -> Json {
    json!({"name": "axiom-events", "title": "Axiom events", "version": env!("CARGO_PKG_VERSION")})
}
