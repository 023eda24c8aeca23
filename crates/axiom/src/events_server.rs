//! The built-in server `events`: what was recorded, for agents. It reads the files as `axiom events` does, and changes
//! nothing.
//!
//! It is there only where `[events] mcp = true` says so, because whoever can call its tools sees everybody's calls. Then it
//! is a server like any other: in lists, in views, at `/s/events/mcp`.

mod arguments;
mod log;
mod query;
mod stats;
mod tail;
mod tools;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axiom_core::{Task, spawn};
use axiom_gateway::options::{Endpoint, ServerOptions};
use axiom_protocol::codes;
use axiom_tiers::StoreOptions;
use axiom_transport::pipe::{Builtin, Pipe, PipeSender, pair};
use bytes::Bytes;
use serde_json::{Value as Json, json};

use crate::builtin::wire::{self, Era, Incoming, Request, RpcError};
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
        let (ours, theirs) = pair(MESSAGES_WAITING_MAX);
        // The task ends with the conversation; nobody needs to wait for it.
        drop(spawn("events server", serve(Arc::clone(&self.log), ours)));
        theirs
    }
}

/// Messages in one direction that neither side has taken.
const MESSAGES_WAITING_MAX: usize = 64;
/// Calls at once in one conversation: each has a thread that reads the disk.
const RUNNING_MAX: usize = 64;

/// Answers until the other side ends the conversation.
async fn serve(log: Arc<Log>, mut pipe: Pipe) {
    let mut running = Running(HashMap::new());
    while let Ok(message) = pipe.rx.recv().await {
        let answer = match wire::read(&message) {
            Ok(Incoming::Request(request)) if is_slow(&request.method) => {
                running.start(&log, &pipe.tx, request)
            }
            Ok(Incoming::Request(request)) => {
                let outcome =
                    wire::check_modern(&request).and_then(|()| answer(&request.method, &request.params));
                Some(response(&request, outcome))
            }
            Ok(Incoming::Cancelled(id)) => {
                running.cancel(&id);
                None
            }
            Ok(Incoming::Nothing) => None,
            Err(error) => Some(wire::response(
                &Json::Null,
                Era::Legacy,
                &server_info(),
                Err(error),
            )),
        };
        if let Some(answer) = answer
            && pipe.tx.send(Bytes::from(answer.to_string())).await.is_err()
        {
            break;
        }
    }
}

/// What reads the disk runs beside the conversation.
fn is_slow(method: &str) -> bool {
    matches!(method, "tools/call" | "resources/read")
}

/// Calls that read, by the request's id as JSON text.
struct Running(HashMap<String, Task>);

impl Running {
    /// An answer here means that it did not start.
    fn start(&mut self, log: &Arc<Log>, tx: &PipeSender, request: Request) -> Option<Json> {
        if let Err(error) = wire::check_modern(&request) {
            return Some(response(&request, Err(error)));
        }
        self.0.retain(|_, task| !task.is_finished());
        if self.0.len() >= RUNNING_MAX {
            let message = format!("{RUNNING_MAX} calls are running already");
            return Some(response(
                &request,
                Err(RpcError::new(codes::INTERNAL_ERROR, message)),
            ));
        }
        let (log, tx, key) = (Arc::clone(log), tx.clone(), request.id.to_string());
        let task = spawn("events server call", async move {
            let outcome = match request.method.as_str() {
                "tools/call" => tools::call(&log, &request.params).await,
                _ => tools::read(&log, &request.params, request.era).await,
            };
            let answer = response(&request, outcome);
            // A closed pipe: nobody is left who could read the answer.
            let _answered = tx.send(Bytes::from(answer.to_string())).await.is_ok();
        });
        self.0.insert(key, task);
        None
    }

    /// The request is no longer wanted: it ends without an answer.
    fn cancel(&mut self, id: &Json) {
        if let Some(task) = self.0.remove(&id.to_string()) {
            task.abort();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.values().for_each(Task::abort);
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

fn response(request: &Request, outcome: Result<Json, RpcError>) -> Json {
    wire::response(&request.id, request.era, &server_info(), outcome)
}
