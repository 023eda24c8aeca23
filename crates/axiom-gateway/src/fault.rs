//! Everything that can go wrong with a call: who is at fault, whether a retry may help, and what the client is told.
//!
//! This is the one file that maps failures to JSON-RPC codes and HTTP statuses.

use std::time::Duration;

use axiom_protocol::codes;
use axiom_protocol::envelope::ScanError;
use axiom_protocol::reply;
use axiom_protocol::revision::Revision;
use http::StatusCode;

use crate::task;

/// Who has to act.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    Client,
    Upstream,
    Gateway,
}

/// Why a request got no result from a server. Display is what the client reads.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Fault {
    #[error("{0}")]
    Unreadable(ScanError),
    #[error("message of more than {bytes_max} B")]
    TooLarge { bytes_max: usize },
    #[error("{0}")]
    InvalidRequest(String),
    #[error("{0}")]
    InvalidParams(String),
    #[error("method not found: {method}")]
    UnknownMethod { method: String },
    #[error("{0}")]
    HeaderMismatch(String),
    #[error("unsupported protocol version {requested}")]
    UnsupportedVersion { requested: String },
    #[error("no Mcp-Session-Id header: send initialize first")]
    SessionRequired,
    #[error("session not found or ended: send initialize again")]
    SessionUnknown,
    #[error("server '{server}' is not available: {reason}")]
    Unavailable { server: String, reason: String },
    #[error("server '{server}' ended during the call: {reason}; the call may or may not have taken effect")]
    Died { server: String, reason: String },
    #[error("server '{server}' gave no sign of life for {} s; the call may or may not have taken effect", after.as_secs())]
    Timeout { server: String, after: Duration },
    #[error("server '{server}' broke the protocol: {reason}")]
    Protocol { server: String, reason: String },
    #[error("server '{server}' answered HTTP {status}: {reason}")]
    Http {
        server: String,
        status: u16,
        reason: String,
    },
    #[error(
        "server '{server}' forgot the session (HTTP {status}): by the protocol the call was not executed, but what the \
         server kept for the session is gone; a new one is open: see whether the call still makes sense, then send it again"
    )]
    SessionLost { server: String, status: u16 },
    #[error("server '{server}' has {links_max} connections in use, its limit")]
    Busy { server: String, links_max: usize },
    #[error("server '{server}' speaks only {speaks}, which cannot carry {method}")]
    NotBridged {
        server: String,
        speaks: &'static str,
        method: String,
    },
    #[error(
        "server '{server}' needs the client capability {} for this call, and the request does not declare it",
        capability_name(required)
    )]
    MissingCapability {
        server: String,
        /// As `data.requiredCapabilities`, e.g. `{"sampling":{}}`.
        required: &'static str,
    },
    #[error(
        "{parked_max} calls wait for answers of their clients, the limit (gateway.limits.parked_max): this one was \
         cancelled at its server, and whether it took effect is unknown"
    )]
    TooManyParked { parked_max: usize },
    #[error(
        "the call that params.requestState continues is not waiting here any more (it was answered, timed out, or the \
         gateway was restarted): whether it took effect is unknown; call again without requestState to start anew"
    )]
    StateLost,
    #[error("the client did not answer {method}: {reason}")]
    NotAnswered { method: String, reason: String },
    #[error(
        "{method} is of the extension io.modelcontextprotocol/tasks, and the request does not declare it in its \
         clientCapabilities"
    )]
    TasksNotDeclared { method: String },
    #[error(
        "the task is lost: server '{server}' does not know it, or its connection to it has ended (it was restarted, \
         perhaps, or the task's time to live has passed); whether its work was done is unknown"
    )]
    TaskLost { server: String },
    #[error("the task was cancelled at server '{server}'")]
    TaskCancelled { server: String },
    #[error(
        "{tasks_max} tasks at server '{server}' are waited for, the limit: this one was not begun, or was cancelled"
    )]
    TooManyTasks { server: String, tasks_max: usize },
    #[error("the call was cancelled")]
    Cancelled,
    #[error("the gateway is shutting down")]
    ShuttingDown,
    #[error(
        "the gateway replica that has this session ended during the request, which may or may not have taken effect"
    )]
    ReplicaDied,
}

impl Fault {
    pub fn blame(&self) -> Blame {
        match self {
            Fault::Unavailable { .. }
            | Fault::Died { .. }
            | Fault::Timeout { .. }
            | Fault::Protocol { .. }
            | Fault::Http { .. }
            | Fault::SessionLost { .. }
            | Fault::TaskLost { .. }
            | Fault::NotBridged { .. } => Blame::Upstream,
            Fault::Busy { .. }
            | Fault::TooManyParked { .. }
            | Fault::TooManyTasks { .. }
            | Fault::ShuttingDown
            | Fault::ReplicaDied => Blame::Gateway,
            _ => Blame::Client,
        }
    }

    /// True if the same request may succeed later and has certainly not been executed.
    ///
    /// Not so after `SessionLost`: that it was not executed is taken from the server's word, and what repeats it blindly
    /// would do what the gateway has just refused to do.
    pub fn retry(&self) -> bool {
        matches!(
            self,
            Fault::Unavailable { .. } | Fault::Busy { .. } | Fault::ShuttingDown
        )
    }

    /// The server that it is about.
    pub fn server(&self) -> Option<&str> {
        match self {
            Fault::Unavailable { server, .. }
            | Fault::Died { server, .. }
            | Fault::Timeout { server, .. }
            | Fault::Protocol { server, .. }
            | Fault::Http { server, .. }
            | Fault::SessionLost { server, .. }
            | Fault::Busy { server, .. }
            | Fault::NotBridged { server, .. }
            | Fault::MissingCapability { server, .. } => Some(server),
            _ => None,
        }
    }

    /// The JSON-RPC error code.
    pub fn code(&self) -> i64 {
        match self {
            Fault::Unreadable(error) => error.code(),
            Fault::TooLarge { .. } | Fault::InvalidRequest(_) | Fault::SessionRequired => {
                codes::INVALID_REQUEST
            }
            // The extension names this code for a task that nobody knows.
            Fault::InvalidParams(_) | Fault::TaskLost { .. } => codes::INVALID_PARAMS,
            Fault::UnknownMethod { .. } => codes::METHOD_NOT_FOUND,
            Fault::HeaderMismatch(_) => codes::HEADER_MISMATCH,
            Fault::UnsupportedVersion { .. } => codes::UNSUPPORTED_VERSION,
            // What the reference servers answer, so that clients recognise it.
            Fault::SessionUnknown => -32001,
            Fault::Unavailable { .. } | Fault::Http { .. } => codes::UPSTREAM_UNAVAILABLE,
            Fault::Died { .. } | Fault::ReplicaDied => codes::UPSTREAM_DIED,
            Fault::Timeout { .. } => codes::UPSTREAM_TIMEOUT,
            Fault::Protocol { .. } => codes::UPSTREAM_PROTOCOL,
            Fault::SessionLost { .. } => codes::UPSTREAM_SESSION_LOST,
            Fault::Busy { .. } | Fault::TooManyParked { .. } | Fault::TooManyTasks { .. } => codes::BUSY,
            Fault::MissingCapability { .. } | Fault::TasksNotDeclared { .. } => codes::MISSING_CAPABILITY,
            Fault::StateLost => codes::STATE_LOST,
            Fault::NotAnswered { .. } => codes::NOT_ANSWERED,
            Fault::NotBridged { .. } => codes::UNSUPPORTED_BY_UPSTREAM_ERA,
            Fault::Cancelled | Fault::TaskCancelled { .. } => codes::CANCELLED,
            Fault::ShuttingDown => codes::SHUTTING_DOWN,
        }
    }

    /// The HTTP status for a POST that failed this way. A failed upstream is a JSON-RPC matter and answered with 200:
    /// clients of every era read the error object then, and few do on a 5xx.
    pub fn status(&self, modern: bool) -> StatusCode {
        match self {
            Fault::Unreadable(_)
            | Fault::InvalidRequest(_)
            | Fault::HeaderMismatch(_)
            | Fault::UnsupportedVersion { .. }
            | Fault::MissingCapability { .. }
            | Fault::TasksNotDeclared { .. }
            | Fault::SessionRequired => StatusCode::BAD_REQUEST,
            Fault::InvalidParams(_) | Fault::TaskLost { .. } if modern => StatusCode::BAD_REQUEST,
            Fault::UnknownMethod { .. } if modern => StatusCode::NOT_FOUND,
            Fault::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Fault::SessionUnknown => StatusCode::NOT_FOUND,
            Fault::ShuttingDown => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::OK,
        }
    }

    /// The JSON-RPC error response.
    pub fn body(&self, id: Option<&[u8]>) -> Vec<u8> {
        let data = self.data();
        reply::error(
            id,
            self.code(),
            &self.to_string(),
            data.as_deref().map(str::as_bytes),
        )
    }

    /// Machine-readable detail: the server's name for upstream faults, what the specification asks for others.
    fn data(&self) -> Option<String> {
        match self {
            Fault::UnsupportedVersion { requested } => {
                let supported: Vec<&str> = Revision::ALL
                    .iter()
                    .rev()
                    .map(|revision| revision.as_str())
                    .collect();
                Some(serde_json::json!({ "supported": supported, "requested": requested }).to_string())
            }
            Fault::MissingCapability { required, .. } => {
                Some(format!("{{\"requiredCapabilities\":{required}}}"))
            }
            Fault::TasksNotDeclared { .. } => {
                Some(format!("{{\"requiredCapabilities\":{}}}", task::REQUIRED))
            }
            Fault::Unavailable { server, .. }
            | Fault::Died { server, .. }
            | Fault::Timeout { server, .. }
            | Fault::Protocol { server, .. }
            | Fault::Http { server, .. }
            | Fault::SessionLost { server, .. }
            | Fault::Busy { server, .. }
            | Fault::TaskLost { server }
            | Fault::TaskCancelled { server }
            | Fault::TooManyTasks { server, .. }
            | Fault::NotBridged { server, .. } => {
                Some(serde_json::json!({ "server": server, "retry": self.retry() }).to_string())
            }
            _ => None,
        }
    }
}

fn capability_name(required: &str) -> &str {
    required.split('"').nth(1).unwrap_or_default()
}
