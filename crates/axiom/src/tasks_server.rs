//! The built-in server `tasks`: agents start commands, read along, steer them and wait for them.
//!
//! It is there where `[tasks]` is, unless `mcp = false` says otherwise: a server like any other, in lists, in views, at
//! `/s/tasks/mcp`. A call that waits holds up no other, and can be cancelled. A client that knows tasks of MCP gets a handle instead.

mod calls;
mod orchestrate;
mod race;

mod about;
mod lasting;

mod read;
mod tools;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::watch;
use axiom_gateway::options::{Endpoint, ServerOptions};
use axiom_protocol::codes;
use axiom_transport::pipe::{Builtin, Pipe, PipeSender};
use serde_json::{Value as Json, json};

use crate::builtin::conversation::{self, Answers, Call};
use crate::builtin::wire::{self, RpcError, TASKS_EXTENSION};
use crate::tasks::{Desk, WAIT_MAX};
use lasting::Cancels;

pub(crate) use calls::list;

/// The name under which it stands in the list of servers.
pub const NAME: &str = "tasks";

/// Between the longest wait and the answer.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// The server's section in the list of servers.
pub fn section(desk: &Arc<Desk>) -> ServerOptions {
    let server = TasksServer {
        desk: Arc::clone(desk),
        cancels: Cancels::default(),
    };
    ServerOptions {
        // Silence is what a wait is.
        call_timeout: Duration::from_secs_f64(WAIT_MAX) + ANSWER_TIME,
        ..ServerOptions::new(Endpoint::InProcess(Arc::new(server)))
    }
}

/// Speaks for one desk.
#[derive(Debug)]
pub struct TasksServer {
    desk: Arc<Desk>,
    cancels: Cancels,
}

impl Builtin for TasksServer {
    fn name(&self) -> &str {
        NAME
    }

    fn connect(self: Arc<Self>) -> Pipe {
        conversation::begin(self)
    }
}

impl Answers for TasksServer {
    const NAMES: [&'static str; 2] = ["tasks server", "tasks server call"];
    /// Most of them only wait. Clients that declare the same share a conversation.
    const CALLS_MAX: usize = 4096;

    fn info(&self) -> Json {
        json!({"name": "axiom-tasks", "title": "Axiom tasks", "version": env!("CARGO_PKG_VERSION")})
    }

    fn answer(&self, method: &str, params: &Json) -> Result<Json, RpcError> {
        match method {
            "initialize" => Ok(json!({
                "protocolVersion": wire::negotiate(params),
                "capabilities": {
                    "tools": {},
                    "resources": {"subscribe": true},
                    "tasks": {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}},
                },
                "serverInfo": self.info(),
                "instructions": INSTRUCTIONS,
            })),
            "server/discover" => Ok(wire::cacheable(json!({
                "supportedVersions": wire::supported(),
                "capabilities": {
                    "tools": {},
                    "resources": {"subscribe": true},
                    "extensions": {(TASKS_EXTENSION): {}},
                },
                "instructions": INSTRUCTIONS,
            }))),
            "ping" => Ok(json!({})),
            "tools/list" => wire::one_page(params, "tools", tools::list()).map(wire::cacheable),
            "resources/list" => wire::one_page(params, "resources", json!([])).map(wire::cacheable),
            "resources/templates/list" => {
                wire::one_page(params, "resourceTemplates", read::templates()).map(wire::cacheable)
            }
            _ => Err(RpcError::unknown_method(method)),
        }
    }

    fn is_slow(method: &str) -> bool {
        method.starts_with("tasks/")
            || matches!(method, "tools/call" | "resources/read" | "subscriptions/listen")
    }

    async fn work(self: Arc<Self>, call: Call) -> Result<Json, RpcError> {
        match call.method.as_str() {
            "tools/call" => calls::call(&self, &call).await,
            "resources/read" => read::read(&self.desk, &call.params, call.era).await,
            "subscriptions/listen" => about::listen(&self, &call).await,
            _ => about::answer(&self, &call).await,
        }
    }

    fn check_watch(&self, uri: &str) -> Result<(), RpcError> {
        let found = about::task_of(self, uri);
        found
            .map(drop)
            .map_err(|refusal| RpcError::new(codes::RESOURCE_NOT_FOUND_LEGACY, refusal.words()))
    }

    async fn watch(self: Arc<Self>, uris: watch::Receiver<BTreeSet<String>>, tx: PipeSender) {
        about::watch(self, uris, tx).await;
    }
}

const INSTRUCTIONS: &str = "Runs commands as tasks. `spawn` starts one, or many at once, and with `wait_s` gives their ends \
     and last lines. Tasks go on when nobody waits: `list` and `tree` find them again, `status` and `output` tell how they are \
     and what they said, `wait` waits for their ends. A task that runs can be told something (`send`), interrupted, given another \
     direction (`interrupt` with a prompt) and killed with everything that it started. Coding agents of the configuration are started \
     with `spawn` (`agent`, `prompt`), or kept under names of their own with `orchestrate`. `race` lets several attempts at the same thing \
     run against each other, each in a git worktree of its own, and keeps the best one. The beginning of an id is enough.";
