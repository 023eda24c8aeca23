//! A conversation with one client of a built-in server: what takes time runs beside it, and can be cancelled.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use axiom_core::channel::watch;
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

    /// Whether a method reads the disk or waits: then it runs beside the conversation.
    fn is_slow(method: &str) -> bool {
        matches!(method, "tools/call" | "resources/read")
    }

    /// A slow method. Dropped when the client cancels it or goes.
    fn work(self: Arc<Self>, call: Call) -> impl Future<Output = Result<Json, RpcError>> + Send;

    /// Whether the client of a session may hear when this resource changes.
    fn check_watch(&self, _: &str) -> Result<(), RpcError> {
        Err(RpcError::unknown_method("resources/subscribe"))
    }

    /// Tells the client of a session when one of these resources changes, until the conversation ends.
    fn watch(
        self: Arc<Self>,
        _uris: watch::Receiver<BTreeSet<String>>,
        _tx: PipeSender,
    ) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// A request that takes time.
pub(crate) struct Call {
    pub(crate) id: Json,
    pub(crate) method: String,
    pub(crate) params: Json,
    pub(crate) era: Era,
    /// What the client calls itself, if it has said so.
    pub(crate) client: Option<String>,
    /// To the client, for what it is to know before the answer.
    pub(crate) tx: PipeSender,
    /// Of the conversation that it belongs to.
    pub(crate) kept: Arc<Kept>,
}

/// What a server keeps as long as a conversation lasts.
#[derive(Default)]
pub(crate) struct Kept {
    /// Ids that it has given out, the newest last.
    names: Mutex<Vec<String>>,
    beside: Mutex<Vec<Task>>,
}

impl Kept {
    /// Of more, the oldest are forgotten.
    const NAMES_MAX: usize = 1000;
    /// Of more, none is begun.
    const BESIDE_MAX: usize = 1000;

    pub(crate) fn keep(&self, name: String) {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if names.len() >= Self::NAMES_MAX {
            names.remove(0);
        }
        names.push(name);
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Runs until the conversation ends, at the longest.
    pub(crate) fn beside(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        let mut beside = self.beside.lock().unwrap_or_else(PoisonError::into_inner);
        beside.retain(|task| !task.is_finished());
        if beside.len() < Self::BESIDE_MAX {
            beside.push(spawn(name, work));
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let beside = self.beside.get_mut().unwrap_or_else(PoisonError::into_inner);
        beside.iter().for_each(Task::abort);
    }
}

/// Resources that a session may hear of.
const WATCHED_MAX: usize = 1000;

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
    let mut running = Running {
        calls: HashMap::new(),
        kept: Arc::default(),
    };
    let mut watched = Watched::default();
    let mut client = None;
    while let Ok(message) = pipe.rx.recv().await {
        let answer = match wire::read(&message) {
            Ok(Incoming::Request(request)) => {
                if let Some(name) = wire::client_name(&request.params) {
                    client = Some(name.to_owned());
                }
                match request.method.as_str() {
                    method if S::is_slow(method) => running.start(&server, &pipe.tx, client.clone(), request),
                    "resources/subscribe" | "resources/unsubscribe" if request.era == Era::Legacy => {
                        let outcome = watched.change(&server, &pipe.tx, &running.kept, &request);
                        Some(wire::response(&request.id, request.era, &server.info(), outcome))
                    }
                    _ => {
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

/// The resources that the client of a session wants to hear of.
#[derive(Default)]
struct Watched(Option<watch::Sender<BTreeSet<String>>>);

impl Watched {
    fn change<S: Answers>(
        &mut self,
        server: &Arc<S>,
        tx: &PipeSender,
        kept: &Kept,
        request: &Request,
    ) -> Result<Json, RpcError> {
        let uri = wire::text(&request.params, "uri")?;
        server.check_watch(uri)?;
        let uris = self.0.get_or_insert_with(|| {
            let (uris, changes) = watch::channel(BTreeSet::new());
            kept.beside("news of resources", Arc::clone(server).watch(changes, tx.clone()));
            uris
        });
        let is_new = request.method == "resources/subscribe";
        if is_new && uris.borrow().len() >= WATCHED_MAX {
            let message = format!("{WATCHED_MAX} resources are subscribed to already");
            return Err(RpcError::invalid_params(message));
        }
        uris.send_if_modified(|uris| match is_new {
            true => uris.insert(uri.to_owned()),
            false => uris.remove(uri),
        });
        Ok(serde_json::json!({}))
    }
}

/// What runs for a client.
struct Running {
    /// By the request's id as JSON text.
    calls: HashMap<String, Task>,
    kept: Arc<Kept>,
}

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
        self.calls.retain(|_, task| !task.is_finished());
        if self.calls.len() >= S::CALLS_MAX {
            let message = format!("{} calls are running already", S::CALLS_MAX);
            return Some(refused(RpcError::new(codes::INTERNAL_ERROR, message)));
        }
        let (server, tx, key) = (Arc::clone(server), tx.clone(), request.id.to_string());
        let kept = Arc::clone(&self.kept);
        let task = spawn(S::NAMES[1], async move {
            let Request {
                id,
                method,
                params,
                era,
            } = request;
            let info = server.info();
            let call = Call {
                id: id.clone(),
                kept,
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
        self.calls.insert(key, task);
        None
    }

    /// The request is no longer wanted: it ends without an answer.
    fn cancel(&mut self, id: &Json) {
        if let Some(task) = self.calls.remove(&id.to_string()) {
            task.abort();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.calls.values().for_each(Task::abort);
    }
}
