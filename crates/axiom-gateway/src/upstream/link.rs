//! One live conversation with a server, and how a call is put on it.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use axiom_core::channel::watch;
use axiom_core::{Task, spawn, time};
use axiom_protocol::codes;
use axiom_protocol::envelope;
use axiom_protocol::reply;
use axiom_protocol::revision::{Era, Revision};
use axiom_protocol::rewrite::Edit;
use axiom_protocol::span::Span;
use axiom_protocol::text::quoted;
use axiom_transport::child::Child;
use axiom_transport::http_client::Answer;
use bytes::Bytes;
use http::{HeaderName, HeaderValue, StatusCode};

use super::desk::DESK;
use super::duplex::Duplex;
use super::wire::HttpWire;
use super::{Aside, LinkKey, Upstream, Want};
use crate::exchange::{CallState, Exchange, Ids, Source, Step};
use crate::fault::Fault;
use crate::level::Unaskable;
use crate::log_level::{is_level, severity};
use crate::message::Message;
use crate::session::{Audience, Class, Session, SessionId, can_be_asked, clock_millis};
use crate::task::{EXTENSION, Tasks, Tokens, words};

/// One live conversation with a server.
pub(crate) struct Link {
    pub upstream: Arc<Upstream>,
    pub revision: Revision,
    /// What was declared to the server.
    pub capabilities: Bytes,
    pub class: Class,
    /// The session that has this link for itself.
    pub private_to: Option<SessionId>,
    /// The same, to be reached. The object may come and go while the session lives on in its id.
    owner: Mutex<Option<Weak<Session>>>,
    pub greeting: Greeting,
    /// Tells conversations apart, also from those of an earlier process.
    pub number: u64,
    /// Tasks that live in this conversation.
    pub tasks: Tasks,
    /// Progress tokens of calls that may have become tasks.
    pub tokens: Tokens,
    pub(super) wire: Wire,
    /// Why it ended.
    down: OnceLock<Fault>,
    /// [`clock_millis`] at the last message.
    last_used: AtomicU64,
    in_flight: AtomicU64,
    /// Whether the server would be heard if it announced a change: always on a legacy pipe.
    standing: watch::Sender<Standing>,
    pub(super) begun: time::Instant,
    /// Who wants to hear of which resource, on a link that several share.
    pub subscriptions: Mutex<Subscriptions>,
    /// Whoever holds it tells the server what is subscribed to by the desk.
    pub(super) telling: tokio::sync::Mutex<()>,
    /// Set when no new calls come to it: its place among the links of its server.
    pub(super) apart: OnceLock<u64>,
    /// The log level that the server was told last.
    told_level: Mutex<Option<String>>,
    running: Mutex<Vec<Task>>,
    child: Mutex<Option<Child>>,
}

/// What a server said of itself: the `result` of `initialize` or of `server/discover`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Greeting {
    pub result: Bytes,
    /// Parsed `capabilities`, for questions that are not on the call path.
    pub capabilities: serde_json::Value,
    /// Whether a call may become a task, in the words of either era.
    pub tasks: bool,
}

/// Resources by uri, and who wants to hear of them.
pub(crate) type Subscriptions = HashMap<String, HashSet<SessionId>>;

/// How it is with the stream on which a server tells of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has not been opened yet.
    Opening,
    Open,
    /// It has ended, or there is none, or the server has not said so far that there is one.
    Closed,
}

pub(super) enum Wire {
    Duplex(Arc<Duplex>),
    Http(HttpWire),
}

/// A request on its way out: the client's message and what must be changed in it.
#[derive(Debug)]
pub(crate) struct Outgoing<'a> {
    pub message: &'a Message,
    pub edits: Vec<Edit<'a>>,
    /// Headers for a modern HTTP server (`Mcp-Method`, `Mcp-Name`, `Mcp-Param-*`).
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The legacy session that sends it.
    pub session: Option<&'a Arc<Session>>,
    /// Whether what the server asks meanwhile is a step of the call ([`Heard::Asked`](crate::exchange::Heard::Asked)): its client answers by calling again.
    pub takes_questions: bool,
    /// The gateway's own: nobody reads what is told before its answer.
    pub is_ours: bool,
}

/// Links so far.
static COUNT: AtomicU64 = AtomicU64::new(0);

/// Time for the standing stream to open before a subscription counts without it. Many servers have opened it long before:
/// they send not even the head until there is an event.
pub(super) const STANDING_TIMEOUT: Duration = Duration::from_millis(200);
/// Time for a server to take a log level, before a call that wants it is made.
const LEVEL_TIMEOUT: Duration = Duration::from_secs(2);
/// Time for a server to take a message that gets no answer.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("server", &self.upstream.name)
            .field("revision", &self.revision)
            .finish()
    }
}

impl Greeting {
    pub(crate) fn new(result: Bytes) -> Greeting {
        let parsed: serde_json::Value = serde_json::from_slice(&result).unwrap_or_default();
        let capabilities = parsed.get("capabilities").cloned().unwrap_or_default();
        let is_modern = parsed.get("supportedVersions").is_some();
        let tasks = match is_modern {
            true => capabilities.get("extensions").and_then(|all| all.get(EXTENSION)),
            false => capabilities.pointer("/tasks/requests/tools/call"),
        };
        Greeting {
            tasks: tasks.is_some_and(serde_json::Value::is_object),
            capabilities,
            result,
        }
    }

    /// True if the server says it announces changes of the `kind` list (`tools`, `resources`, `prompts`).
    pub(crate) fn announces(&self, kind: &str) -> bool {
        self.capabilities
            .get(kind)
            .and_then(|kind| kind.get("listChanged"))
            == Some(&serde_json::Value::Bool(true))
    }

    /// True if the server says that it announces changes of any list.
    pub(crate) fn announces_any(&self) -> bool {
        ["tools", "prompts", "resources"]
            .iter()
            .any(|kind| self.announces(kind))
    }

    /// True if the server says that a client can subscribe to its resources.
    pub(crate) fn tells_of_resources(&self) -> bool {
        let resources = self.capabilities.get("resources");
        resources.and_then(|resources| resources.get("subscribe")) == Some(&serde_json::Value::Bool(true))
    }

    pub(crate) fn has(&self, capability: &str) -> bool {
        self.capabilities.get(capability).is_some()
    }
}

impl Link {
    pub(super) fn new(
        upstream: &Arc<Upstream>,
        revision: Revision,
        want: &Want,
        greeting: Greeting,
        wire: Wire,
        child: Option<Child>,
    ) -> Link {
        let is_legacy_pipe = revision.era() == Era::Legacy && matches!(wire, Wire::Duplex(_));
        let standing = if is_legacy_pipe {
            Standing::Open
        } else {
            Standing::Opening
        };
        Link {
            upstream: Arc::clone(upstream),
            revision,
            capabilities: want.capabilities.clone(),
            class: want.class,
            private_to: want.owner.as_ref().map(|session| session.id),
            owner: Mutex::new(want.owner.as_ref().map(Arc::downgrade)),
            greeting,
            number: RandomState::new().hash_one(COUNT.fetch_add(1, Ordering::Relaxed)),
            tasks: Tasks::default(),
            tokens: Tokens::default(),
            wire,
            down: OnceLock::new(),
            last_used: AtomicU64::new(clock_millis()),
            in_flight: AtomicU64::new(0),
            standing: watch::Sender::new(standing),
            begun: time::now(),
            subscriptions: Mutex::default(),
            telling: tokio::sync::Mutex::default(),
            apart: OnceLock::new(),
            told_level: Mutex::default(),
            running: Mutex::default(),
            child: Mutex::new(child),
        }
    }

    pub(crate) fn era(&self) -> Era {
        self.revision.era()
    }

    /// True if the server was told of a client that can be asked something.
    pub(super) fn can_ask(&self) -> bool {
        can_be_asked(&self.capabilities)
    }

    pub(crate) fn is_http(&self) -> bool {
        matches!(self.wire, Wire::Http(_))
    }

    pub(crate) fn limits(&self) -> envelope::Limits {
        envelope::Limits {
            bytes_max: self.upstream.limits.upstream_message_bytes_max,
            depth_max: self.upstream.limits.depth_max,
        }
    }

    /// Puts a call on the wire. What comes back is read from the exchange.
    pub(crate) async fn call(self: &Arc<Self>, outgoing: Outgoing<'_>) -> Result<Exchange, Fault> {
        self.touch();
        match &self.wire {
            // Boxed: the other way is a mere function call.
            Wire::Duplex(duplex) => Box::pin(duplex.call(self, outgoing)).await,
            Wire::Http(wire) => Ok(self.post_call(wire, outgoing)),
        }
    }

    /// On HTTP a call has a connection of its own; only a server with sessions needs ids of ours.
    fn post_call(self: &Arc<Self>, wire: &HttpWire, outgoing: Outgoing<'_>) -> Exchange {
        let Outgoing {
            message,
            mut edits,
            headers,
            session,
            takes_questions,
            is_ours: _,
        } = outgoing;
        let client_id = message
            .envelope
            .id
            .map(|id| message.slice(id))
            .unwrap_or_default();
        let task = takes_questions.then(|| words::waits_for(message, &edits));
        let mut client_token = None;
        let own_id = wire.own_ids();
        let is_own = own_id.is_some();
        let upstream_id = match own_id {
            Some(id) => Bytes::from(id.to_string()),
            // Without a session any id will do, as long as the server gives it back as it is.
            None if is_plain(&client_id) => client_id.clone(),
            None => Bytes::from_static(b"1"),
        };
        if upstream_id != client_id {
            edits.extend(message.envelope.id.map(|at| Edit {
                at,
                with: &upstream_id,
            }));
        }
        // Several clients may use the same one, and a client that comes back may do so under another.
        let token_replaced = is_own || upstream_id != client_id || takes_questions;
        if token_replaced && let Some(at) = message.envelope.in_meta.progress_token {
            client_token = Some(message.slice(at));
            edits.push(Edit {
                at,
                with: &upstream_id,
            });
        }
        let body = if edits.is_empty() {
            message.bytes.clone()
        } else {
            message.with(&mut edits)
        };
        let posting = super::wire::post(Arc::clone(self), headers, body);
        let ids = Ids {
            client_id,
            upstream_id: upstream_id.clone(),
            token_replaced,
            client_token,
        };
        let call = CallState::new(Arc::clone(self), upstream_id);
        Exchange::new(
            Arc::clone(self),
            Source::Posting(Box::pin(posting)),
            ids,
            call,
            session.cloned(),
            task.map(|task| wire.asides().listen(task)),
        )
    }

    /// A request of the gateway's own, answered whole. Notifications on the way are observed, questions refused.
    pub(crate) async fn request(self: &Arc<Self>, method: &str, params: &[u8]) -> Result<Message, Fault> {
        let bytes = Bytes::from(reply::request(b"1", method, params));
        let message = Message::scan(bytes, &self.limits())
            .map_err(|error| self.upstream.protocol_fault(error.to_string()))?;
        let headers = match self.era() {
            Era::Modern => crate::bridge::modern_headers(&message, None),
            Era::Legacy => Vec::new(),
        };
        let outgoing = Outgoing {
            message: &message,
            edits: Vec::new(),
            headers,
            session: None,
            takes_questions: false,
            is_ours: true,
        };
        let mut exchange = self.call(outgoing).await?;
        let answer = loop {
            match exchange.next().await {
                Step::Notice(_) => {}
                Step::Done(result) => break result?,
            }
        };
        let limits = self.limits();
        let bytes = answer.collect(limits.bytes_max, &self.upstream.name).await?;
        Message::scan(bytes, &limits).map_err(|error| self.upstream.protocol_fault(error.to_string()))
    }

    /// Makes a session server log at `level` at least. Its calls are filtered each by its own.
    pub(crate) async fn tell_level(self: &Arc<Self>, level: &str) {
        let told = || self.told_level.lock().unwrap_or_else(PoisonError::into_inner);
        let suffices = |told: &str| severity(told) <= severity(level);
        if !is_level(level) || !self.greeting.has("logging") || told().as_deref().is_some_and(suffices) {
            return;
        }
        let params = serde_json::json!({ "level": level }).to_string();
        let telling = self.request("logging/setLevel", params.as_bytes());
        // A server that does not answer this may answer the call all the same.
        match time::timeout(LEVEL_TIMEOUT, telling).await {
            Ok(Ok(_)) => *told() = Some(level.to_owned()),
            Ok(Err(fault)) => {
                tracing::debug!(server = %self.upstream.name, %fault, "the log level could not be set");
            }
            Err(_) => tracing::debug!(server = %self.upstream.name, "the log level was not taken in time"),
        }
    }

    /// Sends a message that gets no answer: a notification, or the client's answer to a server's question.
    pub(crate) async fn send(self: &Arc<Self>, bytes: Bytes) -> Result<(), Fault> {
        self.touch();
        let sent = async {
            match &self.wire {
                Wire::Duplex(duplex) => duplex.send(self, bytes).await,
                Wire::Http(_) => super::wire::send(self, bytes).await,
            }
        };
        match time::timeout(SEND_TIMEOUT, sent).await {
            Ok(result) => result,
            Err(_) => Err(Fault::Timeout {
                server: self.upstream.name.to_string(),
                after: SEND_TIMEOUT,
            }),
        }
    }

    /// Like [`send`](Link::send), from where nobody can wait; a failure is logged.
    pub(crate) fn send_later(self: &Arc<Self>, bytes: Bytes) {
        let link = Arc::clone(self);
        drop(spawn("send to server", async move {
            if let Err(fault) = link.send(bytes).await {
                tracing::debug!(server = %link.upstream.name, %fault, "a message could not be delivered");
            }
        }));
    }

    /// A server's question as a client of an older revision can read it; `None` if that is as it is.
    ///
    /// # Errors
    /// Why that client cannot be asked.
    pub(crate) fn levelled(
        &self,
        question: &Message,
        client: Revision,
    ) -> Result<Option<Message>, Unaskable> {
        let Some(params) = question.envelope.params.filter(|_| client < self.revision) else {
            return Ok(None);
        };
        let levelled = crate::level::question(&question.bytes, params, question.method(), client)?;
        Ok(levelled.and_then(|levelled| Message::scan(Bytes::from(levelled), &self.limits()).ok()))
    }

    /// Why a task is not to be found on this link.
    pub(crate) fn task_lost(&self) -> Fault {
        Fault::TaskLost {
            server: self.upstream.name.to_string(),
        }
    }

    /// Cancels a session server's task that nobody wants any more.
    pub(crate) fn cancel_task_later(self: &Arc<Self>, id: &str) {
        let link = Arc::clone(self);
        let params = [b"{\"taskId\":", &quoted(id)[..], b"}"].concat();
        link.tasks.release(id);
        drop(spawn("cancel task", async move {
            if let Err(fault) = link.request("tasks/cancel", &params).await {
                tracing::debug!(server = %link.upstream.name, %fault, "a task could not be cancelled");
            }
        }));
    }

    /// Refuses a server's question: there is nobody to ask.
    pub(crate) fn refuse(self: &Arc<Self>, id: &[u8], reason: &str) {
        self.refuse_as(codes::METHOD_NOT_FOUND, id, reason);
    }

    pub(crate) fn refuse_as(self: &Arc<Self>, code: i64, id: &[u8], reason: &str) {
        self.send_later(Bytes::from(reply::error(Some(id), code, reason, None)));
    }

    /// Tells the server that nobody waits for call `upstream_id` any more. On modern HTTP, closing says it.
    pub(crate) fn cancel_later(self: &Arc<Self>, upstream_id: &[u8], reason: Option<&str>) {
        let closing_says_it = self.is_http() && self.era() == Era::Modern;
        if !closing_says_it && !self.is_down() {
            self.send_later(cancelled(upstream_id, reason));
        }
    }

    /// True if a new call on it could not be told from one that waits for its client, should the server ask something.
    pub(crate) fn has_parked(&self) -> bool {
        match &self.wire {
            Wire::Duplex(duplex) => duplex.has_parked(),
            Wire::Http(_) => false,
        }
    }

    /// Whether it was set apart for the calls that are on it.
    pub(super) fn is_apart(&self) -> bool {
        self.apart.get().is_some()
    }

    /// A question on a standing stream: for the one call that it can belong to, or for the session that owns the link.
    pub(super) fn question_aside(self: &Arc<Self>, message: Message) {
        if self.is_ping(&message) {
            return;
        }
        let message = match &self.wire {
            Wire::Http(wire) if self.private_to.is_none() => match wire.asides().take(message) {
                Ok(()) => return,
                Err(message) => *message,
            },
            _ => message,
        };
        self.question_to_owner(&message);
    }

    /// Notes that call `upstream_id` waits for its client to come back, or no longer does.
    pub(crate) fn set_parked(&self, upstream_id: &[u8], parked: bool) {
        if let Wire::Duplex(duplex) = &self.wire {
            duplex.set_parked(upstream_id, parked);
        }
    }

    pub(crate) fn call_begun(&self) {
        self.upstream.tally.begin();
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn call_ended(&self, fault: bool) {
        self.upstream.tally.end(fault);
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        self.touch();
    }

    /// A call that was begun on another link goes on here.
    pub(crate) fn call_came(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// The opposite: it goes on elsewhere.
    pub(crate) fn call_went(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// An ear for questions that name no call.
    pub(crate) fn asides(&self) -> Option<Aside> {
        match &self.wire {
            Wire::Http(wire) => Some(wire.asides().listen(None)),
            Wire::Duplex(_) => None,
        }
    }

    /// True while a call is on the link.
    pub(crate) fn is_busy(&self) -> bool {
        self.in_flight.load(Ordering::Relaxed) > 0
    }

    /// Stops sorting answers to call `upstream_id`.
    pub(crate) fn forget(&self, upstream_id: &[u8]) {
        if let Wire::Duplex(duplex) = &self.wire {
            duplex.forget(upstream_id);
        }
    }

    /// Opens the server's standing stream, or takes a broken one up after `last_event_id`.
    pub(crate) async fn get_stream(self: &Arc<Self>, last_event_id: Option<Bytes>) -> Result<Answer, Fault> {
        match &self.wire {
            Wire::Http(wire) => wire.get(self, last_event_id).await,
            Wire::Duplex(_) => Err(self.upstream.protocol_fault("a pipe has no second stream")),
        }
    }

    pub(crate) fn is_down(&self) -> bool {
        self.down.get().is_some()
    }

    /// Why the link ended, as a fault for a call that was on it.
    pub(crate) fn fault(&self) -> Fault {
        self.down
            .get()
            .cloned()
            .unwrap_or_else(|| self.upstream.unavailable("the connection is closed"))
    }

    pub(crate) fn died(&self, reason: &str) -> Fault {
        Fault::Died {
            server: self.upstream.name.to_string(),
            reason: reason.to_owned(),
        }
    }

    /// A fault for an HTTP answer that is no MCP.
    pub(crate) fn http_fault(&self, status: StatusCode, body: &[u8]) -> Fault {
        let server = self.upstream.name.to_string();
        if status.is_success() {
            let reason = format!(
                "HTTP {} where an answer was due; the call may or may not have taken effect",
                status.as_u16()
            );
            return Fault::Protocol { server, reason };
        }
        let hint = match status.as_u16() {
            401 | 403 => "\nhint: give it credentials with headers = { Authorization = \"...\" }",
            404 => "\nhint: is the url's path right?",
            _ => "",
        };
        let text: String = String::from_utf8_lossy(body).chars().take(300).collect();
        let reason = if text.trim().is_empty() {
            "no text".to_owned()
        } else {
            text.trim().to_owned()
        };
        Fault::Http {
            server,
            status: status.as_u16(),
            reason: format!("{reason}{hint}"),
        }
    }

    /// The link has ended by itself: its calls fail, and another one is opened if somebody listens.
    pub(super) fn close(self: &Arc<Self>, fault: Fault) {
        let reason = fault.to_string();
        if self.end(fault) {
            let upstream = &self.upstream;
            upstream
                .recorder
                .server_down(&upstream.name, &reason, self.private_to.is_some());
            self.upstream.lost(self);
        }
    }

    /// Marks the link as ended, fails its calls and lets go of what it holds. The first reason stays; false if there is
    /// one already.
    fn end(self: &Arc<Self>, fault: Fault) -> bool {
        if self.down.set(fault.clone()).is_err() {
            return false;
        }
        self.upstream.retire(self);
        if let Wire::Duplex(duplex) = &self.wire {
            duplex.fail_all(&fault);
        }
        self.tasks.lose_all(&fault);
        for task in self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .drain(..)
        {
            task.abort();
        }
        let child = self.child.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(child) = child {
            drop(spawn::spawn_on(
                &self.upstream.runtime,
                "stop server process",
                child.stop(),
            ));
        }
        self.upstream.catalogs.link_lost(self);
        self.upstream.keep_subscriptions(self);
        true
    }

    /// Ends the link on our side.
    pub(crate) fn stop(self: &Arc<Self>, reason: &str) {
        if let Wire::Http(wire) = &self.wire {
            wire.say_goodbye(&self.upstream.runtime);
        }
        self.end(Fault::Died {
            server: self.upstream.name.to_string(),
            reason: reason.to_owned(),
        });
    }

    /// The child process, for a shutdown that waits for it.
    pub(crate) fn take_child(&self) -> Option<Child> {
        self.child.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(crate) fn pid(&self) -> Option<u32> {
        self.child
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .as_ref()
            .map(Child::pid)
    }

    pub(super) fn keep_task(&self, task: Task) {
        self.running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(task);
    }

    fn touch(&self) {
        self.last_used.store(clock_millis(), Ordering::Relaxed);
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_millis(clock_millis().saturating_sub(self.last_used.load(Ordering::Relaxed)))
    }

    /// The session that has this link for itself, while it lives.
    pub(crate) fn owner(&self) -> Option<Arc<Session>> {
        let owner = self.owner.lock().unwrap_or_else(PoisonError::into_inner);
        owner.as_ref().and_then(Weak::upgrade)
    }

    /// True if a session has it for itself, and is gone.
    pub(super) fn is_forlorn(&self) -> bool {
        self.private_to.is_some() && self.owner().is_none()
    }

    /// The session of a private link is in use again: a call of it is about to come.
    pub(super) fn meet_owner(&self, session: &Arc<Session>) {
        self.touch();
        *self.owner.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::downgrade(session));
    }

    pub(super) fn key(&self) -> LinkKey {
        if let Some(number) = self.apart.get() {
            return LinkKey::Apart(*number);
        }
        match self.era() {
            Era::Modern => LinkKey::Modern,
            Era::Legacy => LinkKey::Legacy {
                class: self.class,
                owner: self.private_to,
            },
        }
    }

    pub(crate) fn audience(&self) -> Audience {
        (self.class, self.private_to)
    }

    /// True for the link of clients that declare nothing, which the gateway uses itself.
    pub(crate) fn is_plain(&self) -> bool {
        self.private_to.is_none()
            && (self.era() == Era::Modern || self.class == Want::plain(Revision::LATEST_LEGACY).class)
    }

    pub(crate) fn has_no_subscribers(&self) -> bool {
        let subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        // Those of the desk come back with the link.
        subscriptions.values().flatten().all(|id| *id == DESK)
    }

    /// True if `subscriber` wants to hear of `uri`.
    pub(super) fn is_subscribed(&self, subscriber: SessionId, uri: &str) -> bool {
        let subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        subscriptions
            .get(uri)
            .is_some_and(|subscribers| subscribers.contains(&subscriber))
    }

    /// True if the server would be heard if it announced a change.
    pub(crate) fn is_listening(&self) -> bool {
        *self.standing.borrow() == Standing::Open
    }

    /// After the stream's end, lists are no longer taken for current.
    pub(super) fn set_standing(&self, standing: Standing) {
        let before = self.standing.send_replace(standing);
        if before == Standing::Open && standing != Standing::Open {
            self.upstream.catalogs.unwatched(self);
        }
    }

    /// Waits, for a moment at most, until a server that may ask its client something can do so. What it asks on a standing
    /// stream that is not open yet is lost, and its call would wait for the answer for ever.
    pub(crate) async fn hears_questions(&self) {
        let is_opening = *self.standing.borrow() == Standing::Opening;
        if is_opening && self.can_ask() {
            self.standing_settled().await;
        }
    }

    /// Waits until the standing stream is open, or it is clear that there is none: what a server tells before is lost.
    pub(crate) async fn standing_settled(&self) {
        let mut standing = self.standing.subscribe();
        let settled = standing.wait_for(|standing| *standing != Standing::Opening);
        // Without the stream all the same, then.
        let _in_time = time::timeout(STANDING_TIMEOUT, settled).await.is_ok();
    }
}

/// True for ids that no JSON library changes: short integers, and strings without escapes or anything beyond ASCII.
fn is_plain(id: &[u8]) -> bool {
    match id {
        [b'"', text @ .., b'"'] => text
            .iter()
            .all(|byte| matches!(byte, b' '..=b'~') && *byte != b'\\'),
        [b'0'] => true,
        [b'1'..=b'9', digits @ ..] => digits.len() < 15 && digits.iter().all(u8::is_ascii_digit),
        _ => false,
    }
}

fn cancelled(upstream_id: &[u8], reason: Option<&str>) -> Bytes {
    let mut params = b"{\"requestId\":".to_vec();
    params.extend_from_slice(upstream_id);
    if let Some(reason) = reason {
        params.extend_from_slice(b",\"reason\":");
        axiom_protocol::text::push_quoted(&mut params, reason);
    }
    params.push(b'}');
    Bytes::from(reply::notification("notifications/cancelled", &params))
}

/// The span of a whole byte string, for walking an object that was cut out.
pub(crate) fn whole(bytes: &[u8]) -> Span {
    Span {
        start: 0,
        end: u32::try_from(bytes.len()).unwrap_or(u32::MAX),
    }
}
