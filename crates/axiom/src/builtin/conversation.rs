//! A conversation with one client of a built-in server: what takes time runs beside it, and can be cancelled.

use std::collections::HashMap;
use std::sync::Arc;

use axiom_core::{Task, spawn};
use axiom_protocol::codes;
use axiom_transport::pipe::{Pipe, PipeSender, pair};
use bytes::Bytes;
use serde_json::Value as Json;

use super::wire::{self, Era, Incoming, Request, RpcError};

/// What a built-in server answers. The conversation does the rest.
pub(crate) trait Answers: Send + Sync + 'static {
    /// Of conversations and of calls, for the log.
    const NAMES: [&'static str; 2];
    /// Calls at once in one conversation.
    const CALLS_MAX: usize;

    /// `serverInfo`.
    fn info(&self) -> Json;

    /// What needs neither disk nor time.
    fn answer(&self, method: &str, params: &Json) -> Result<Json, RpcError>;

    /// `tools/call` and `resources/read`. Dropped when the client cancels it or goes.
    fn work(self: Arc<Self>, call: Call) -> impl Future<Output = Result<Json, RpcError>> + Send;
}

/// A request that takes time.
pub(crate) struct Call {
    pub(crate) method: String,
    pub(crate) params: Json,
    pub(crate) era: Era,
    /// What the client calls itself, if it has said so.
    pub(crate) client: Option<String>,
    /// To the client, for what it is to know before the answer.
    pub(crate) tx: PipeSender,
}

/// Messages in one direction that neither side has taken.
const MESSAGES_WAITING_MAX: usize = 64;

/// Starts a conversation, which ends when the client's end of it is dropped.
pub(crate) fn begin<S: Answers>(server: Arc<S>) -> Pipe {
    let (ours, theirs) = pair(MESSAGES_WAITING_MAX);
    // The task ends with the conversation; nobody needs to wait for it.
    drop(spawn(S::NAMES[0], serve(server, ours)));
    theirs
}

/// Answers until the other side ends the conversation.
async fn serve<S: Answers>(server: Arc<S>, mut pipe: Pipe) {
    let mut running = Running(HashMap::new());
    let mut client = None;
    while let Ok(message) = pipe.rx.recv().await {
        let answer = match wire::read(&message) {
            Ok(Incoming::Request(request)) => {
                if let Some(name) = wire::client_name(&request.params) {
                    client = Some(name.to_owned());
                }
                match is_slow(&request.method) {
                    true => running.start(&server, &pipe.tx, client.clone(), request),
                    false => {
                        let outcome = wire::check_modern(&request)
                            .and_then(|()| server.answer(&request.method, &request.params));
                        Some(wire::response(&request.id, request.era, &server.info(), outcome))
                    }
                }
            }
            Ok(Incoming::Cancelled(id)) => {
                running.cancel(&id);
                None
            }
            Ok(Incoming::Nothing) => None,
            Err(error) => Some(wire::response(
                &Json::Null,
                Era::Legacy,
                &server.info(),
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

/// What reads the disk or waits runs beside the conversation.
fn is_slow(method: &str) -> bool {
    matches!(method, "tools/call" | "resources/read")
}

/// Calls that run, by the request's id as JSON text.
struct Running(HashMap<String, Task>);

impl Running {
    /// An answer here means that it did not start.
    fn start<S: Answers>(
        &mut self,
        server: &Arc<S>,
        tx: &PipeSender,
        client: Option<String>,
        request: Request,
    ) -> Option<Json> {
        let refused = |error| wire::response(&request.id, request.era, &server.info(), Err(error));
        if let Err(error) = wire::check_modern(&request) {
            return Some(refused(error));
        }
        self.0.retain(|_, task| !task.is_finished());
        if self.0.len() >= S::CALLS_MAX {
            let message = format!("{} calls are running already", S::CALLS_MAX);
            return Some(refused(RpcError::new(codes::INTERNAL_ERROR, message)));
        }
        let (server, tx, key) = (Arc::clone(server), tx.clone(), request.id.to_string());
        let task = spawn(S::NAMES[1], async move {
            let Request {
                id,
                method,
                params,
                era,
            } = request;
            let info = server.info();
            let call = Call {
                method,
                params,
                era,
                client,
                tx: tx.clone(),
            };
            let outcome = server.work(call).await;
            let answer = wire::response(&id, era, &info, outcome);
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
