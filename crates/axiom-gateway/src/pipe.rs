//! A client on a pipe (stdio, WebSocket, HTTP+SSE): many messages at once on one conversation, either era.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axiom_core::channel::{self, Sender};
use axiom_core::{Draining, Task, spawn, time};
use axiom_protocol::envelope::{Kind, Limits, ScanError};
use axiom_protocol::method::Method;
use axiom_transport::pipe::{Pipe, PipeReceiver, PipeSender};
use bytes::Bytes;
use tokio::sync::Semaphore;

use crate::accept::close_session;
use crate::batch;
use crate::exchange::Step;
use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::greet;
use crate::identify::require_modern;
use crate::message::Message;
use crate::phase::{self, Caller, Reply};
use crate::plan::Endpoint;
use crate::record::{GivenUp, Record, SessionState, Via};
use crate::session::{Outlet, Session};
use crate::subscribe;

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
    serve(gateway, endpoint, pipe, Via::Stdio).await;
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
    /// The endpoint's path. What stands behind it is looked up for each message: it changes with a reload.
    path: String,
    outbox: Sender<Bytes>,
    session: Option<Arc<Session>>,
    calls: Arc<Calls>,
    via: Via,
}

/// Requests in progress by the client's raw id. Aborting one gives its call up.
struct Calls {
    running: Mutex<HashMap<Bytes, (Task, GivenUp)>>,
    /// One for each request that may still begin.
    permits: Arc<Semaphore>,
}

pub(crate) async fn serve(gateway: Arc<Gateway>, endpoint: Arc<Endpoint>, pipe: Pipe, via: Via) {
    let (outbox, rx) = channel::bounded(OUTBOX_MAX);
    let writer = spawn("write client", write(rx, pipe.tx));
    let mut conversation = Conversation {
        gateway: Arc::clone(&gateway),
        path: endpoint.path.to_string(),
        outbox,
        session: None,
        calls: Arc::new(Calls::new()),
        via,
    };
    tokio::select! {
        // cancel-safe: at a drain no further message is wanted
        () = conversation.read(pipe.rx) => {}
        // cancel-safe: nothing is consumed
        () = gateway.drain_begun() => {}
    }
    // Neither a client that has said all it wanted nor a shutdown takes answers away that are on their way.
    let drain_timeout = gateway.plan().options.limits.drain_timeout;
    if time::timeout(drain_timeout, conversation.calls.finished())
        .await
        .is_err()
    {
        tracing::warn!("a client's calls did not end in time; they were given up");
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
                Err(error) => self.take_batch(&bytes, error, limits).await,
            }
        }
    }

    async fn take(&mut self, message: Message) {
        let Some(endpoint) = self.gateway.plan().endpoint(&self.path).cloned() else {
            if message.kind() == Kind::Request {
                // There is no endpoint to record it for.
                let gone = Fault::InvalidRequest(format!("{} was removed from the configuration", self.path));
                self.say(Bytes::from(gone.body(message.id()))).await;
            }
            return;
        };
        let mut record = self.gateway.recorder.begin(self.via, &endpoint, &message, None);
        match message.kind() {
            Kind::Request if message.method() == Method::Initialize && !is_modern(&message) => {
                self.welcome(&endpoint, &message, record).await;
            }
            Kind::Request => match self.caller(&message) {
                Ok(caller) => self.start(endpoint, caller, message, record).await,
                Err(fault) => {
                    record.failed(&fault);
                    self.say(Bytes::from(fault.body(message.id()))).await;
                }
            },
            Kind::Notification if message.method() == Method::Cancelled => self.cancel(&endpoint, &message),
            Kind::Notification => {
                let caller = match &self.session {
                    Some(session) => Caller::Legacy(Arc::clone(session)),
                    None => Caller::Modern { mirrored: None },
                };
                phase::notification(&endpoint, &caller, &message);
            }
            Kind::Response | Kind::Error => {
                let answered = match &self.session {
                    Some(session) => phase::answer(session, &message),
                    None => Err(Fault::SessionRequired),
                };
                if let Err(fault) = answered {
                    tracing::debug!(%fault, "a client's answer could not be delivered");
                }
            }
        }
    }

    /// What is no message may be a batch of them, which runs beside everything else.
    async fn take_batch(&self, bytes: &Bytes, error: ScanError, limits: Limits) {
        let endpoint = self.gateway.plan().endpoint(&self.path).cloned();
        let (Ok(Some(items)), Some(session), Some(endpoint)) =
            (batch::split(bytes, &limits), self.session.clone(), endpoint)
        else {
            let id = error.id.map(|at| at.of(bytes).to_vec());
            return self
                .say(Bytes::from(Fault::Unreadable(error).body(id.as_deref())))
                .await;
        };
        let Ok(permit) = Arc::clone(&self.calls.permits).acquire_owned().await else {
            return;
        };
        let (gateway, outbox) = (Arc::clone(&self.gateway), self.outbox.clone());
        let via = self.via;
        drop(spawn("client batch", async move {
            let answer = match batch::handle(&gateway, &endpoint, session, items, &limits, via).await {
                Ok(Some(parts)) => Vec::from(parts).concat(),
                Ok(None) => return,
                Err(fault) => fault.body(None),
            };
            // A client that left needs no answer.
            let _left = outbox.send(Bytes::from(answer)).await.is_err();
            drop(permit);
        }));
    }

    async fn welcome(&mut self, endpoint: &Endpoint, message: &Message, mut record: Record) {
        let outlet = Outlet::Pipe(self.outbox.clone());
        match greet::initialize(&self.gateway, endpoint, message, outlet).await {
            Ok((session, Reply::Now(mut answer))) => {
                let recorder = &self.gateway.recorder;
                recorder.session(&session, SessionState::Begun, Some(self.via));
                record.by(&Caller::Legacy(Arc::clone(&session)));
                record.answered(&mut answer);
                self.gateway.hub.join(&session);
                self.session = Some(session);
                if let Ok(bytes) = answer.collect(usize::MAX, "axiom").await {
                    self.say(bytes).await;
                }
            }
            Ok(_) => {}
            Err(fault) => {
                record.failed(&fault);
                self.say(Bytes::from(fault.body(message.id()))).await;
            }
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
    async fn start(&self, endpoint: Arc<Endpoint>, caller: Caller, message: Message, mut record: Record) {
        let Ok(permit) = Arc::clone(&self.calls.permits).acquire_owned().await else {
            return;
        };
        let id = message
            .envelope
            .id
            .map(|at| message.slice(at))
            .unwrap_or_default();
        let gateway = Arc::clone(&self.gateway);
        let (outbox, calls) = (self.outbox.clone(), Arc::clone(&self.calls));
        let key = id.clone();
        let given_up = GivenUp::default();
        record.given_up_by(Arc::clone(&given_up));
        // Held over the spawn: the task cannot leave the map before it is in it.
        let mut running = self.calls.lock();
        let task = spawn("client request", async move {
            run(&gateway, &endpoint, &caller, &message, record, &outbox).await;
            drop(calls.remove(&key));
            drop(permit);
        });
        running.insert(id, (task, given_up));
    }

    /// The client gave a request up. A legacy call on the wire ends by itself, in order; any other ends with its task.
    fn cancel(&self, endpoint: &Endpoint, message: &Message) {
        let Some(id) = message.envelope.param.request_id.map(|at| message.slice(at)) else {
            return;
        };
        let is_on_the_wire = self.session.as_ref().is_some_and(|session| {
            phase::notification(endpoint, &Caller::Legacy(Arc::clone(session)), message)
        });
        if !is_on_the_wire && let Some((task, given_up)) = self.calls.remove(&id) {
            given_up.store(true, Ordering::Release);
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
            if let Some(endpoint) = self.gateway.plan().endpoint(&self.path) {
                close_session(&self.gateway, endpoint, session);
            }
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
    record: Record,
    outbox: &Sender<Bytes>,
) {
    let id = message.id();
    let last = match phase::request(gateway, endpoint, caller, message, record).await {
        Ok(Reply::Now(answer)) => answer.collect(usize::MAX, "axiom").await.ok(),
        Ok(Reply::Call(mut call)) => loop {
            let step = tokio::select! {
                // cancel-safe: see `Call::next`
                step = call.next() => step,
                // A subscription would outlast every drain; it ends in order.
                () = gateway.drain_begun(), if call.is_subscription() => {
                    break Some(Bytes::from(subscribe::goodbye(id.unwrap_or(b"null"))));
                }
            };
            match step {
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
                (news, last) = subscription.next() => {
                    if last {
                        break Some(Bytes::from(news));
                    }
                    if outbox.send(Bytes::from(news)).await.is_err() {
                        return;
                    }
                }
                // cancel-safe: nothing is consumed
                () = gateway.drain_begun() => break Some(Bytes::from(subscription.goodbye())),
            }
        },
        // A cancelled call gets no answer.
        Err(Fault::Cancelled) => None,
        Err(fault) => Some(Bytes::from(fault.body(id))),
    };
    if let Some(last) = last {
        // A client that left needs no answer.
        let _left = outbox.send(last).await.is_err();
    }
}

impl Calls {
    fn new() -> Calls {
        Calls {
            running: Mutex::default(),
            permits: Arc::new(Semaphore::new(CALLS_MAX)),
        }
    }

    fn remove(&self, id: &Bytes) -> Option<(Task, GivenUp)> {
        self.lock().remove(id)
    }

    /// Waits until no request is in progress: all permits are back.
    async fn finished(&self) {
        let all = u32::try_from(CALLS_MAX).unwrap_or(u32::MAX);
        drop(self.permits.acquire_many(all).await);
    }

    fn abort_all(&self) {
        for (_, (task, _)) in self.lock().drain() {
            task.abort();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Bytes, (Task, GivenUp)>> {
        // No critical section leaves the map half-changed.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
