//! A client on a pipe (stdio, WebSocket, HTTP+SSE): many messages at once on one conversation, either era.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axiom_core::channel::{self, Sender};
use axiom_core::{Draining, Task, spawn};
use axiom_protocol::envelope::{Kind, Limits};
use axiom_protocol::method::Method;
use axiom_transport::pipe::{Pipe, PipeReceiver, PipeSender};
use bytes::Bytes;

use crate::accept::close_session;
use crate::exchange::Step;
use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::greet;
use crate::identify::require_modern;
use crate::message::Message;
use crate::phase::{self, Caller, Reply};
use crate::plan::Endpoint;
use crate::session::{Outlet, Session};

/// Messages that wait for a slow client; then the calls that produce them wait.
const OUTBOX_MAX: usize = 256;
/// Requests of one client at once. More wait on the pipe.
const CALLS_MAX: usize = 1_024;

/// Serves one client on a pipe until it leaves or a drain is asked for. `endpoint` is a path like `/mcp`.
///
/// # Errors
/// When there is no such endpoint.
pub async fn serve_pipe(
    gateway: Arc<Gateway>,
    endpoint: &str,
    pipe: Pipe,
    draining: Draining,
) -> Result<(), UnknownEndpoint> {
    let found = gateway.plan().endpoint(endpoint).cloned();
    let endpoint = found.ok_or_else(|| UnknownEndpoint {
        path: endpoint.to_owned(),
    })?;
    drop(spawn(
        "watch for shutdown",
        crate::gateway::watch_drain(Arc::clone(&gateway), draining),
    ));
    serve(gateway, endpoint, pipe).await;
    Ok(())
}

/// There is nothing at that path.
#[derive(Debug, thiserror::Error)]
#[error("no endpoint {path}")]
pub struct UnknownEndpoint {
    pub path: String,
}

/// One client's conversation.
struct Conversation {
    gateway: Arc<Gateway>,
    endpoint: Arc<Endpoint>,
    outbox: Sender<Bytes>,
    session: Option<Arc<Session>>,
    calls: Arc<Calls>,
}

/// Requests in progress by the client's raw id. Aborting one gives its call up.
#[derive(Default)]
struct Calls {
    running: Mutex<HashMap<Bytes, Task>>,
}

pub(crate) async fn serve(gateway: Arc<Gateway>, endpoint: Arc<Endpoint>, pipe: Pipe) {
    let (outbox, rx) = channel::bounded(OUTBOX_MAX);
    let writer = spawn("write client", write(rx, pipe.tx));
    let mut conversation = Conversation {
        gateway: Arc::clone(&gateway),
        endpoint,
        outbox,
        session: None,
        calls: Arc::default(),
    };
    tokio::select! {
        // cancel-safe: at a drain no further message is wanted
        () = conversation.read(pipe.rx) => {}
        // cancel-safe: nothing is consumed
        () = gateway.drain_begun() => {}
    }
    conversation.end();
    drop(conversation);
    // The writer ends once everything queued is out and nobody can queue more.
    writer.join().await.unwrap_or_default();
}

async fn write(mut messages: channel::Receiver<Bytes>, pipe: PipeSender) {
    while let Some(message) = messages.recv().await {
        if pipe.send(message).await.is_err() {
            return;
        }
    }
    pipe.close();
}

impl Conversation {
    async fn read(&mut self, mut rx: PipeReceiver) {
        let limits = {
            let plan = self.gateway.plan();
            let limits = &plan.options.limits;
            Limits {
                bytes_max: limits.message_bytes_max,
                depth_max: limits.depth_max,
            }
        };
        loop {
            let bytes = match rx.recv().await {
                Ok(bytes) => bytes,
                Err(closed) => return tracing::debug!(%closed, "a client left"),
            };
            match Message::scan(bytes.clone(), &limits) {
                Ok(message) => self.take(message).await,
                Err(error) => {
                    let id = error.id.map(|at| at.of(&bytes).to_vec());
                    self.say(Bytes::from(Fault::Unreadable(error).body(id.as_deref())))
                        .await;
                }
            }
        }
    }

    async fn take(&mut self, message: Message) {
        match message.kind() {
            Kind::Request if message.method() == Method::Initialize && !is_modern(&message) => {
                self.welcome(&message).await;
            }
            Kind::Request => match self.caller(&message) {
                Ok(caller) => self.start(caller, message).await,
                Err(fault) => self.say(Bytes::from(fault.body(message.id()))).await,
            },
            Kind::Notification if message.method() == Method::Cancelled => self.cancel(&message).await,
            Kind::Notification => {
                if let Some(session) = &self.session {
                    phase::notification(&self.endpoint, &Caller::Legacy(Arc::clone(session)), &message).await;
                }
            }
            Kind::Response | Kind::Error => {
                let answered = match &self.session {
                    Some(session) => phase::answer(session, &message).await,
                    None => Err(Fault::SessionRequired),
                };
                if let Err(fault) = answered {
                    tracing::debug!(%fault, "a client's answer could not be delivered");
                }
            }
        }
    }

    async fn welcome(&mut self, message: &Message) {
        match greet::initialize(&self.gateway, &self.endpoint, message).await {
            Ok((session, Reply::Now(answer))) => {
                session.with(|state| state.outlet = Outlet::Pipe(self.outbox.clone()));
                self.gateway.hub.join(&session);
                self.session = Some(session);
                if let Ok(bytes) = answer.collect(usize::MAX, "axiom").await {
                    self.say(bytes).await;
                }
            }
            Ok(_) => {}
            Err(fault) => self.say(Bytes::from(fault.body(message.id()))).await,
        }
    }

    fn caller(&self, message: &Message) -> Result<Caller, Fault> {
        if let Some(version) = message.text(message.envelope.in_meta.protocol_version) {
            require_modern(message, &version)?;
            return Ok(Caller::Modern { mirrored: None });
        }
        match &self.session {
            Some(session) => Ok(Caller::Legacy(Arc::clone(session))),
            // Asked before anything else, as a sign of life.
            None if message.method() == Method::Discover => Err(Fault::InvalidParams(
                "server/discover needs params._meta with io.modelcontextprotocol/protocolVersion".to_owned(),
            )),
            None => Err(Fault::InvalidRequest("send initialize first".to_owned())),
        }
    }

    /// Runs a request beside the others.
    async fn start(&self, caller: Caller, message: Message) {
        while self.calls.len() >= CALLS_MAX {
            tokio::task::yield_now().await;
        }
        let id = message
            .envelope
            .id
            .map(|at| message.slice(at))
            .unwrap_or_default();
        let (gateway, endpoint) = (Arc::clone(&self.gateway), Arc::clone(&self.endpoint));
        let (outbox, calls) = (self.outbox.clone(), Arc::clone(&self.calls));
        let key = id.clone();
        let task = spawn("client request", async move {
            run(&gateway, &endpoint, &caller, &message, &outbox).await;
            calls.remove(&key);
        });
        self.calls.insert(id, task);
    }

    /// The client gave a request up. A legacy call is found through its session, a modern one ends with its task.
    async fn cancel(&self, message: &Message) {
        let Some(id) = message.envelope.param.request_id.map(|at| message.slice(at)) else {
            return;
        };
        if let Some(session) = &self.session {
            phase::notification(&self.endpoint, &Caller::Legacy(Arc::clone(session)), message).await;
        }
        if let Some(task) = self.calls.remove(&id)
            && self.session.is_none()
        {
            task.abort();
        }
    }

    async fn say(&self, message: Bytes) {
        // A client that left needs no answer; the reader notices it too.
        let _left = self.outbox.send(message).await.is_err();
    }

    fn end(&self) {
        self.calls.abort_all();
        if let Some(session) = &self.session {
            session.with(|state| state.outlet = Outlet::None);
            close_session(&self.gateway, &self.endpoint, session);
        }
    }
}

fn is_modern(message: &Message) -> bool {
    message.envelope.in_meta.protocol_version.is_some()
}

async fn run(
    gateway: &Arc<Gateway>,
    endpoint: &Arc<Endpoint>,
    caller: &Caller,
    message: &Message,
    outbox: &Sender<Bytes>,
) {
    let id = message.id();
    let last = match phase::request(gateway, endpoint, caller, message).await {
        Ok(Reply::Now(answer)) => answer.collect(usize::MAX, "axiom").await.ok(),
        Ok(Reply::Call(mut call)) => loop {
            match call.next().await {
                Step::Notice(notice) => {
                    if outbox.send(notice).await.is_err() {
                        return;
                    }
                }
                Step::Done(result) => break crate::accept::last_word(&mut call, result, id).await,
            }
        },
        Ok(Reply::Subscription(mut subscription)) => loop {
            tokio::select! {
                // cancel-safe: see `Subscription::next`
                news = subscription.next() => {
                    if outbox.send(Bytes::from(news)).await.is_err() {
                        return;
                    }
                }
                // cancel-safe: nothing is consumed
                () = gateway.drain_begun() => break Some(Bytes::from(subscription.goodbye())),
            }
        },
        Err(fault) => Some(Bytes::from(fault.body(id))),
    };
    if let Some(last) = last {
        // A client that left needs no answer.
        let _left = outbox.send(last).await.is_err();
    }
}

impl Calls {
    fn insert(&self, id: Bytes, task: Task) {
        if !task.is_finished() {
            self.lock().insert(id, task);
        }
    }

    fn remove(&self, id: &Bytes) -> Option<Task> {
        self.lock().remove(id)
    }

    fn len(&self) -> usize {
        self.lock().len()
    }

    fn abort_all(&self) {
        for (_, task) in self.lock().drain() {
            task.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, Task>> {
        // No critical section leaves the map half-changed.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
