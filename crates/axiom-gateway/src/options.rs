//! What may be configured, with units and limits. The binary builds these from `axiom.toml`; nothing here reads a file
//! or the environment.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axiom_transport::pipe::Builtin;

pub use crate::seal::{SealKey, SealKeyError};

/// Everything the gateway is told. Replaced as a whole on a hot reload.
#[derive(Debug, Clone)]
pub struct Options {
    /// The file that these options come from, as `/api/v1/servers` tells it; `None` if they come from no file. A name for
    /// people and for the command line, which nothing here opens.
    pub config_file: Option<String>,
    /// Address of the HTTP listener; port 0 picks a free one.
    pub listen: SocketAddr,
    /// How tool and prompt names are namespaced on `/mcp`.
    pub prefix: Prefix,
    /// Host header names accepted besides the loopback ones (`localhost`, `127.0.0.1`, `[::1]`), without port.
    pub allowed_hosts: Vec<String>,
    /// Origins accepted besides loopback ones, as `scheme://host[:port]`.
    pub allowed_origins: Vec<String>,
    /// What clients carry for the gateway (session ids, cursors, the state of calls) is sealed with the first of these and
    /// opened with any. Replicas share them. With none, a random one is made that lives as long as the process.
    pub keys: Vec<SealKey>,
    /// The base URL under which replicas with the same keys reach this one, without a slash at the end and of at most
    /// [`ADVERTISE_LEN_MAX`] bytes. With none, no other replica can find what only this one has.
    pub advertise: Option<String>,
    /// The servers behind the gateway, by the name a user gave them.
    pub servers: BTreeMap<String, ServerOptions>,
    /// Virtual endpoints at `/v/<name>/mcp`.
    pub views: BTreeMap<String, ViewOptions>,
    pub limits: Limits,
    /// Where and how events are recorded; nothing is without it.
    pub events: Option<EventsOptions>,
    /// What was filled in from the environment. None of it is ever recorded, whatever key it stands under.
    pub from_environment: Secrets,
}

/// Values that nobody is shown.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secrets(pub std::collections::BTreeSet<String>);

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} values", self.0.len())
    }
}

/// What is recorded of what happens, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventsOptions {
    /// The folder of the event store. Each log in it has a folder of its own.
    pub dir: PathBuf,
    /// What is recorded of calls' parameters and results.
    pub bodies: Bodies,
    /// Bytes that are recorded of a call's parameters, and of its result, at most; [`BODY_BYTES_LIMIT`] at most. What is
    /// longer is cut.
    pub body_bytes_max: usize,
    /// Whether clients can ask for events: a server `events` among the others, which reads them.
    pub mcp: bool,
    /// Where Arrow Flight SQL is spoken, on this machine only; `None` is nowhere.
    pub flight_sql: Option<SocketAddr>,
    /// The number of this node's log. Nodes whose events come together each have their own.
    pub shard: u16,
    /// The log is given to callers from other machines, too.
    pub share: bool,
    /// Where the newest blocks are shared with other nodes; `None` is nowhere.
    pub redis: Option<RedisOptions>,
    /// Which events are sampled, and how.
    pub sample: axiom_events::sample::Policy,
}

impl EventsOptions {
    /// Recording in `dir` as it is done where nothing else is said.
    pub fn new(dir: PathBuf) -> EventsOptions {
        EventsOptions {
            dir,
            bodies: Bodies::default(),
            body_bytes_max: BODY_BYTES_MAX,
            mcp: false,
            flight_sql: None,
            shard: 0,
            share: false,
            redis: None,
            sample: axiom_events::sample::Policy::default(),
        }
    }
}

/// A Redis that has the newest blocks of all nodes.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisOptions {
    /// May have a password in it, so it is shown without.
    pub url: String,
    /// How much of a shard is kept there: bytes of blocks, and how old they may be.
    pub keep_bytes: u64,
    pub keep_age: Duration,
}

impl std::fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RedisOptions")
            .field("keep_bytes", &self.keep_bytes)
            .field("keep_age", &self.keep_age)
            .finish_non_exhaustive()
    }
}

/// What of a body is recorded where nothing else is said: nearly every request whole, and of a long result enough to see
/// what it was.
pub const BODY_BYTES_MAX: usize = 64 << 10;
/// What may be said: an event has 8 MiB at most, and two bodies with their escapes must fit.
pub const BODY_BYTES_LIMIT: usize = 2 << 20;

/// What is recorded of calls' parameters and results. Headers never are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Bodies {
    #[default]
    Off,
    /// Without what may be a secret.
    Redacted,
    /// Without what is one beyond doubt.
    Full,
}

/// The longest address of a replica. It is part of every session id.
pub const ADVERTISE_LEN_MAX: usize = 200;

/// How names from several servers live together in one list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Prefix {
    /// `server__tool`, always. A name never changes because another server was added.
    #[default]
    Always,
    /// The plain name, unless two servers have it; then both are prefixed.
    Conflict,
    /// The plain name; of two equal ones the first server (by name) wins and the other is reported.
    Never,
}

/// One server behind the gateway.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerOptions {
    pub endpoint: Endpoint,
    /// From the first byte sent to a working connection, cold package download included.
    pub start_timeout: Duration,
    /// Silence (no answer, no progress) after which a call ends with a timeout error.
    pub call_timeout: Duration,
    /// A private connection (one client session's own child process) is closed after this long without a call.
    pub idle_timeout: Duration,
    /// Live connections to this server at most: the shared ones and those of client sessions that need their own.
    /// At the limit the longest idle private one of a client that is not there makes room; if there is none, a new
    /// session's call fails at once with `Busy`.
    pub links_max: usize,
    /// How long a list is served from memory when the server does not announce changes. Zero asks every time.
    pub list_ttl: Duration,
    /// Whether what this server says of its tools (`readOnlyHint`, `idempotentHint`) may decide what the gateway does by
    /// itself: whether a call is sent again when the server forgot our session.
    pub trust_annotations: bool,
}

impl ServerOptions {
    /// Defaults for everything but the endpoint.
    pub fn new(endpoint: Endpoint) -> Self {
        ServerOptions {
            endpoint,
            // `npx -y` may have to download a package first.
            start_timeout: Duration::from_secs(60),
            call_timeout: Duration::from_secs(300),
            idle_timeout: Duration::from_secs(300),
            links_max: 256,
            list_ttl: Duration::from_secs(5),
            trust_annotations: false,
        }
    }
}

/// Where a server is and how it is spoken to.
#[derive(Clone)]
pub enum Endpoint {
    /// A child process that speaks on its stdin and stdout.
    Stdio {
        /// Program and arguments; never empty.
        command: Vec<String>,
        env: BTreeMap<String, String>,
        cwd: Option<PathBuf>,
    },
    /// Streamable HTTP (2025-03-26 and later). A 2024-11-05 server that answers 4xx to POST is tried as `Sse`.
    Http {
        url: String,
        headers: BTreeMap<String, String>,
    },
    /// HTTP+SSE of 2024-11-05.
    Sse {
        url: String,
        headers: BTreeMap<String, String>,
    },
    /// WebSocket with the `mcp` subprotocol.
    WebSocket {
        url: String,
        headers: BTreeMap<String, String>,
    },
    /// A server inside this process.
    InProcess(Arc<dyn Builtin>),
}

impl std::fmt::Debug for Endpoint {
    /// Header and environment values may be secrets; only their names are shown.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Endpoint::Stdio { command, env, cwd } => f
                .debug_struct("Stdio")
                .field("command", command)
                .field("env", &env.keys().collect::<Vec<_>>())
                .field("cwd", cwd)
                .finish(),
            Endpoint::Http { url, headers } => debug_url(f, "Http", url, headers),
            Endpoint::Sse { url, headers } => debug_url(f, "Sse", url, headers),
            Endpoint::WebSocket { url, headers } => debug_url(f, "WebSocket", url, headers),
            Endpoint::InProcess(builtin) => f.debug_tuple("InProcess").field(&builtin.name()).finish(),
        }
    }
}

fn debug_url(
    f: &mut std::fmt::Formatter<'_>,
    kind: &str,
    url: &str,
    headers: &BTreeMap<String, String>,
) -> std::fmt::Result {
    f.debug_struct(kind)
        .field("url", &url)
        .field("headers", &headers.keys().collect::<Vec<_>>())
        .finish()
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        use Endpoint::{Http, InProcess, Sse, Stdio, WebSocket};
        match (self, other) {
            (
                Stdio {
                    command: a,
                    env: b,
                    cwd: c,
                },
                Stdio {
                    command: x,
                    env: y,
                    cwd: z,
                },
            ) => a == x && b == y && c == z,
            (Http { url: a, headers: b }, Http { url: x, headers: y })
            | (Sse { url: a, headers: b }, Sse { url: x, headers: y })
            | (WebSocket { url: a, headers: b }, WebSocket { url: x, headers: y }) => a == x && b == y,
            (InProcess(a), InProcess(b)) => a.name() == b.name(),
            _ => false,
        }
    }
}

/// A subset of all servers' tools, prompts and resources under names of its own.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct ViewOptions {
    /// Patterns `server.name` where `*` matches any run of characters, e.g. `files.read_*`.
    pub include: Vec<String>,
    /// `server.name` -> the name shown in this view.
    pub rename: BTreeMap<String, String>,
}

/// Bounds on what clients may make the gateway hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Client connections at once; more wait in the kernel's accept queue.
    pub connections_max: usize,
    /// Bytes of one client message. A longer one is refused with 413.
    pub message_bytes_max: usize,
    /// Bytes of one message from a server that must be held whole (a line of stdio, an SSE event).
    pub upstream_message_bytes_max: usize,
    /// Nesting of one message.
    pub depth_max: u16,
    /// Bytes kept per session for streams that a client may resume.
    pub replay_bytes_max: usize,
    /// How long a broken stream may be resumed.
    pub replay_ttl: Duration,
    /// A legacy session ends this long after it began. Its client must start another then, and not every client does so
    /// by itself: this bounds how long a stolen id is good, it is not there to save memory.
    pub session_ttl: Duration,
    /// Calls that wait for answers of their clients. Beyond, a call that asks something ends.
    pub parked_max: usize,
    /// How long such a call waits: a person may have to be found.
    pub parked_ttl: Duration,
    /// Time a client has to send its request head and body.
    pub request_timeout: Duration,
    /// Time running calls get to finish at shutdown.
    pub drain_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 16_384,
            message_bytes_max: 4 << 20,
            upstream_message_bytes_max: 64 << 20,
            depth_max: 256,
            replay_bytes_max: 1 << 20,
            replay_ttl: Duration::from_secs(300),
            session_ttl: Duration::from_secs(30 * 24 * 3600),
            parked_max: 1_000,
            parked_ttl: Duration::from_secs(600),
            request_timeout: Duration::from_secs(30),
            drain_timeout: Duration::from_secs(10),
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Options {
            config_file: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 3000)),
            prefix: Prefix::default(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            keys: Vec::new(),
            advertise: None,
            servers: BTreeMap::new(),
            views: BTreeMap::new(),
            limits: Limits::default(),
            events: None,
            from_environment: Secrets::default(),
        }
    }
}
