//! The built-in demo server: a small, real MCP server of both eras, so that the first run shows something that works.
//!
//! It is written by hand on JSON values and speaks through the same pipe as every other server. A message carries
//! everything needed to answer it, so both eras may alternate on one conversation.

mod calls;
mod content;
mod tools;

use std::sync::Arc;

use axiom_core::spawn;
use axiom_transport::pipe::{Builtin, Pipe, pair};
use bytes::Bytes;
use serde_json::{Value as Json, json};

use crate::builtin::wire::{self, Era, Incoming, RpcError};
use calls::Calls;

/// The name under which the demo stands in the list of servers.
pub const NAME: &str = "demo";

/// The demo server. Keeps nothing between messages.
#[derive(Debug, Default)]
pub struct Demo;

impl Builtin for Demo {
    fn name(&self) -> &str {
        NAME
    }

    fn connect(self: Arc<Self>) -> Pipe {
        let (ours, theirs) = pair(MESSAGES_WAITING_MAX);
        // The task ends with the conversation; nobody needs to wait for it.
        drop(spawn("demo", serve(ours)));
        theirs
    }
}

/// Messages in one direction that neither side has taken: a little more than a page of progress.
const MESSAGES_WAITING_MAX: usize = 64;

/// Answers until the other side ends the conversation.
async fn serve(mut pipe: Pipe) {
    let mut calls = Calls::new(pipe.tx.clone());
    while let Ok(message) = pipe.rx.recv().await {
        let answer = match wire::read(&message) {
            Ok(Incoming::Request(request)) if tools::is_slow(&request) => calls.start(request),
            Ok(Incoming::Request(request)) => {
                let outcome = wire::check_modern(&request)
                    .and_then(|()| answer(&request.method, &request.params, request.era));
                Some(response(&request.id, request.era, outcome))
            }
            Ok(Incoming::Cancelled(id)) => {
                calls.cancel(&id);
                None
            }
            Ok(Incoming::Nothing) => None,
            Err(error) => Some(response(&Json::Null, Era::Legacy, Err(error))),
        };
        if let Some(answer) = answer
            && pipe.tx.send(Bytes::from(answer.to_string())).await.is_err()
        {
            break;
        }
    }
}

/// Everything but the slow tool is answered at once.
fn answer(method: &str, params: &Json, era: Era) -> Result<Json, RpcError> {
    match (method, era) {
        ("initialize", Era::Legacy) => Ok(initialize(params)),
        ("ping", Era::Legacy) => Ok(json!({})),
        ("server/discover", Era::Modern) => Ok(wire::cacheable(discover())),
        ("tools/list", _) => wire::one_page(params, "tools", tools::list()).map(wire::cacheable),
        ("tools/call", _) => tools::call(params),
        ("resources/list", _) => {
            wire::one_page(params, "resources", content::resources()).map(wire::cacheable)
        }
        ("resources/templates/list", _) => {
            wire::one_page(params, "resourceTemplates", content::templates()).map(wire::cacheable)
        }
        ("resources/read", _) => content::read(params, era).map(wire::cacheable),
        ("prompts/list", _) => wire::one_page(params, "prompts", content::prompts()).map(wire::cacheable),
        ("prompts/get", _) => content::prompt(params),
        ("completion/complete", _) => content::complete(params),
        _ => Err(RpcError::unknown_method(method)),
    }
}

const INSTRUCTIONS: &str =
    "Axiom's built-in demo. Put your own servers into axiom.toml, or run `axiom import FILE`.";

fn capabilities() -> Json {
    json!({"tools": {}, "resources": {}, "prompts": {}, "completions": {}})
}

fn server_info() -> Json {
    json!({"name": "axiom-demo", "title": "Axiom demo", "version": env!("CARGO_PKG_VERSION")})
}

fn response(id: &Json, era: Era, outcome: Result<Json, RpcError>) -> Json {
    wire::response(id, era, &server_info(), outcome)
}

fn initialize(params: &Json) -> Json {
    json!({
        "protocolVersion": wire::negotiate(params),
        "capabilities": capabilities(),
        "serverInfo": server_info(),
        "instructions": INSTRUCTIONS,
    })
}

fn discover() -> Json {
    json!({
        "supportedVersions": wire::supported(),
        "capabilities": capabilities(),
        "instructions": INSTRUCTIONS,
    })
}

#[cfg(test)]
mod tests;
