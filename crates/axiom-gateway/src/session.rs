//! Who speaks which revision, and what a legacy session remembers.
//!
//! A session's fixed part (revision, capabilities, endpoint) travels sealed inside its id, so an idle session costs the
//! gateway nothing. What changes (calls in flight, streams, questions a server asked) is held only while it exists.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axiom_core::mailbox::Mailbox;
use axiom_core::{channel, time};
use axiom_protocol::revision::Revision;
use axiom_transport::replay::ReplayStream;
use bytes::Bytes;

use crate::exchange::CallState;
use crate::message::Message;
use crate::upstream::{Link, whole};

pub(crate) use table::SessionTable;

mod table;

/// Names a session; random, never reused.
pub(crate) type SessionId = u128;

/// Names everything about a client that a server may treat differently: revision and declared capabilities.
pub(crate) type Class = u128;

/// Who sees the same lists: everybody of a class, or the one session that has a link of its own.
pub(crate) type Audience = (Class, Option<SessionId>);

/// The fixed part of a legacy session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Hello {
    pub revision: Revision,
    /// The endpoint's path, e.g. `/mcp`. A session is good there and nowhere else.
    pub endpoint: String,
    /// The client's `capabilities` object as it sent it.
    pub capabilities: Bytes,
    /// The client's `clientInfo` object as it sent it.
    pub client_info: Bytes,
}

impl Hello {
    /// Whether a server may ask this client something. Answers belong to one client, so such a client never shares a
    /// connection to a legacy server with another one.
    pub(crate) fn is_interactive(&self) -> bool {
        can_be_asked(&self.capabilities)
    }
}

/// True for capabilities by which a server may ask their client something.
pub(crate) fn can_be_asked(capabilities: &[u8]) -> bool {
    ["roots", "sampling", "elicitation"]
        .iter()
        .any(|key| axiom_protocol::walk::get(capabilities, whole(capabilities), key).is_some())
}

/// One legacy client's conversation with the gateway.
#[derive(Debug)]
pub(crate) struct Session {
    pub id: SessionId,
    /// Names the session where its id must not be seen: in what is recorded.
    pub fingerprint: u64,
    pub hello: Hello,
    pub class: Class,
    pub interactive: bool,
    /// What client and gateway agreed on, if the server behind a single-server endpoint wanted an older revision.
    pub agreed: OnceLock<Revision>,
    /// True if the id does not carry the state (it would be too long for a header): it must be kept here.
    pub pinned: bool,
    /// The replica that began it, by its base URL, if that is another one than this.
    pub owner: Option<Arc<str>>,
    /// Unix seconds at which it ends, whoever uses it.
    pub until: u64,
    /// Seconds of [`clock_seconds`] at the last message.
    last_used: AtomicU64,
    state: Mutex<Option<Box<State>>>,
}

/// What a session remembers beyond its id.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Calls in flight by the client's own raw request id, so that it can cancel them.
    pub calls: HashMap<Bytes, Arc<CallState>>,
    /// Questions servers asked this client, by the id the gateway gave them.
    pub asked: HashMap<u64, Asked>,
    pub asked_next: u64,
    /// Where messages go that belong to no call.
    pub outlet: Outlet,
    /// Streams that may be resumed, oldest first.
    pub streams: Vec<ReplayStream>,
    pub streams_next: u64,
    /// Resources this client subscribed to.
    pub subscriptions: HashSet<String>,
    /// The least severe log level the client wants, as it sent it.
    pub log_level: Option<String>,
    /// Handles of the tasks that it has begun, oldest first.
    pub tasks: VecDeque<String>,
    /// Waits of this client for modern servers' tasks, by server and the server's id.
    pub waits: HashMap<(Arc<str>, String), Arc<CallState>>,
}

/// A question that waits for the client's answer.
#[derive(Debug)]
pub(crate) enum Asked {
    /// A server's own request.
    ByServer {
        link: Arc<Link>,
        /// The id under which the server waits.
        upstream_id: Bytes,
    },
    /// Asked here for a server that cannot ask: `key` names the question in that server's `inputRequests`.
    ForCall { key: Arc<str>, answers: Mailbox<Answer> },
}

/// What the client said to a question of [`Asked::ForCall`].
#[derive(Debug)]
pub(crate) struct Answer {
    pub key: Arc<str>,
    pub message: Message,
}

/// The way to a client outside of any call.
#[derive(Debug, Default, Clone)]
pub(crate) enum Outlet {
    /// No stream yet.
    #[default]
    None,
    /// The standing GET stream. It keeps what comes while the client is away.
    Stream(ReplayStream),
    /// A pipe: WebSocket, stdio, HTTP+SSE.
    Pipe(channel::Sender<Bytes>),
}

/// Questions one client may have open. A person answers them; more is a server gone wild.
const ASKED_MAX: usize = 256;
/// Streams one session may have for resumption. More than a client opens; the oldest is forgotten.
const STREAMS_MAX: usize = 32;
/// Tasks of one session that are listed. The oldest is left out; whoever has its handle can still ask for it.
const TASKS_MAX: usize = 100;

impl Session {
    pub(crate) fn new(id: SessionId, hello: Hello) -> Session {
        let class = class_of(hello.revision, &hello.capabilities);
        let interactive = hello.is_interactive();
        let last_used = AtomicU64::new(clock_seconds());
        Session {
            id,
            fingerprint: fingerprint(id),
            hello,
            class,
            interactive,
            agreed: OnceLock::new(),
            pinned: false,
            owner: None,
            until: u64::MAX,
            last_used,
            state: Mutex::new(None),
        }
    }

    /// The revision that is spoken with the client.
    pub(crate) fn revision(&self) -> Revision {
        self.agreed.get().copied().unwrap_or(self.hello.revision)
    }

    pub(crate) fn touch(&self) {
        self.last_used.store(clock_seconds(), Ordering::Relaxed);
    }

    pub(crate) fn idle(&self) -> Duration {
        Duration::from_secs(clock_seconds().saturating_sub(self.last_used.load(Ordering::Relaxed)))
    }

    /// Works on the changing part, made when it is first needed.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut State) -> R) -> R {
        work(self.lock().get_or_insert_default())
    }

    /// True if forgetting this object loses nothing: all that is left of it is in its id.
    pub(crate) fn is_bare(&self) -> bool {
        !self.pinned
            && self.lock().as_ref().is_none_or(|state| {
                state.calls.is_empty()
                    && state.asked.is_empty()
                    && matches!(state.outlet, Outlet::None)
                    && state.streams.is_empty()
                    && state.subscriptions.is_empty()
                    && state.log_level.is_none()
                    && state.tasks.is_empty()
            })
    }

    /// True while the client has a channel open on which it can be reached outside of a call.
    pub(crate) fn is_attached(&self) -> bool {
        match self.lock().as_ref().map(|state| &state.outlet) {
            Some(Outlet::Stream(stream)) => stream.has_reader(),
            Some(Outlet::Pipe(pipe)) => !pipe.is_closed(),
            Some(Outlet::None) | None => false,
        }
    }

    /// Sends a message that belongs to no call. Without an open stream it waits in the standing one, within its bound.
    pub(crate) fn send(&self, message: &[u8], replay_bytes_max: usize) {
        let outlet = self.with(|state| {
            if matches!(state.outlet, Outlet::None) {
                state.outlet = Outlet::Stream(ReplayStream::new(0, replay_bytes_max));
            }
            state.outlet.clone()
        });
        match outlet {
            Outlet::Stream(stream) => stream.push(message),
            Outlet::Pipe(pipe) => {
                if pipe.try_send(Bytes::copy_from_slice(message)).is_err() {
                    tracing::warn!(session = %self.short(), "a client reads too slowly; a notification was dropped");
                }
            }
            Outlet::None => {}
        }
    }

    /// The standing stream, for a GET. `None` when the session is on a pipe.
    pub(crate) fn standing_stream(&self, replay_bytes_max: usize) -> Option<ReplayStream> {
        self.with(|state| {
            if matches!(state.outlet, Outlet::None) {
                state.outlet = Outlet::Stream(ReplayStream::new(0, replay_bytes_max));
            }
            match &state.outlet {
                Outlet::Stream(stream) => Some(stream.clone()),
                Outlet::Pipe(_) | Outlet::None => None,
            }
        })
    }

    /// A new stream for the answers to one POST.
    pub(crate) fn open_stream(&self, replay_bytes_max: usize) -> ReplayStream {
        self.with(|state| {
            if state.streams_next == 0 && self.owner.is_some() {
                // The owner counts from one: a client that resumes must not be given another replica's stream.
                state.streams_next = RandomState::new().hash_one(self.id) >> 16;
            }
            state.streams_next += 1;
            let stream = ReplayStream::new(state.streams_next, replay_bytes_max);
            if state.streams.len() >= STREAMS_MAX {
                state.streams.remove(0);
            }
            state.streams.push(stream.clone());
            stream
        })
    }

    pub(crate) fn forget_stream(&self, id: u64) {
        self.with(|state| state.streams.retain(|stream| stream.id() != id));
    }

    pub(crate) fn find_stream(&self, id: u64) -> Option<ReplayStream> {
        self.with(|state| match &state.outlet {
            Outlet::Stream(stream) if id == 0 => Some(stream.clone()),
            _ => state.streams.iter().find(|stream| stream.id() == id).cloned(),
        })
    }

    /// Notes a question and returns the id under which the client will answer it. `None` if too many are open already.
    pub(crate) fn ask(&self, asked: Asked) -> Option<u64> {
        self.with(|state| {
            state.asked.retain(|_, asked| !asked.is_moot());
            if state.asked.len() >= ASKED_MAX {
                return None;
            }
            state.asked_next += 1;
            state.asked.insert(state.asked_next, asked);
            Some(state.asked_next)
        })
    }

    pub(crate) fn answered(&self, id: u64) -> Option<Asked> {
        self.lock().as_mut()?.asked.remove(&id)
    }

    /// Notes a task that the session has begun.
    pub(crate) fn note_task(&self, handle: &str) {
        self.with(|state| {
            if state.tasks.len() >= TASKS_MAX {
                state.tasks.pop_front();
            }
            state.tasks.push_back(handle.to_owned());
        });
    }

    /// A server does not know a task any more.
    pub(crate) fn forget_task(&self, handle: &str) {
        self.with(|state| state.tasks.retain(|task| task != handle));
    }

    /// Handles of the tasks that the session has begun, oldest first.
    pub(crate) fn tasks(&self) -> Vec<String> {
        let state = self.lock();
        let tasks = state.as_ref().map(|state| &state.tasks);
        tasks.into_iter().flatten().cloned().collect()
    }

    /// The first digits of the id, for logs. Never enough to use the session.
    pub(crate) fn short(&self) -> String {
        format!("{:08x}", self.id >> 96)
    }

    fn lock(&self) -> MutexGuard<'_, Option<Box<State>>> {
        // No critical section leaves the state half-changed.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// True if nobody waits for the answer any more.
    fn is_moot(&self) -> bool {
        match self {
            Asked::ByServer { link, .. } => link.is_down(),
            Asked::ForCall { answers, .. } => answers.is_abandoned(),
        }
    }
}

/// The class of clients that speak `revision` and declare `capabilities`, byte for byte.
pub(crate) fn class_of(revision: Revision, capabilities: &[u8]) -> Class {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    context.update(revision.as_str().as_bytes());
    context.update(capabilities);
    let digest = context.finish();
    let mut class = [0; 16];
    class.copy_from_slice(&digest.as_ref()[..16]);
    u128::from_be_bytes(class)
}

fn fingerprint(id: SessionId) -> u64 {
    let digest = ring::digest::digest(&ring::digest::SHA256, &id.to_be_bytes());
    let first = digest.as_ref().first_chunk().expect("a digest has 32 bytes");
    u64::from_be_bytes(*first)
}

/// Whole seconds since some fixed moment: cheap stamps for idleness.
pub(crate) fn clock_seconds() -> u64 {
    clock().as_secs()
}

/// The same clock, for what is told apart within a second.
pub(crate) fn clock_millis() -> u64 {
    u64::try_from(clock().as_millis()).unwrap_or(u64::MAX)
}

fn clock() -> Duration {
    static START: OnceLock<time::Instant> = OnceLock::new();
    START.get_or_init(time::now).elapsed()
}
