//! Why a gateway gave no result, and which exit code says so.

use axiom_protocol::codes;
use axiom_transport::http_client::{HttpError, TargetError};
use http::StatusCode;

use crate::outcome::{Exit, Failed};

/// Why an exchange gave no result.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Http(#[from] HttpError),
    /// Refused as a whole.
    #[error("the gateway answered {status}: {message}")]
    Status { status: StatusCode, message: String },
    /// The server's own error.
    #[error("{message} (error {code})")]
    Rpc { code: i64, message: String },
    #[error("the gateway broke the protocol: {0}")]
    Protocol(String),
    #[error("no answer in time")]
    Timeout,
}

impl ClientError {
    pub(super) fn protocol(what: impl Into<String>) -> Self {
        ClientError::Protocol(what.into())
    }

    /// See [`Exit`].
    pub fn exit(&self) -> Exit {
        match self {
            ClientError::Http(_) | ClientError::Timeout => Exit::Unavailable,
            ClientError::Status { status, .. } => match status.as_u16() {
                401 | 403 => Exit::Denied,
                404 => Exit::NotFound,
                408 | 429 | 502..=504 => Exit::Unavailable,
                _ => Exit::Failure,
            },
            ClientError::Rpc { code, .. } => match *code {
                codes::UPSTREAM_UNAVAILABLE
                | codes::UPSTREAM_TIMEOUT
                | codes::UPSTREAM_DIED
                | codes::BUSY
                | codes::SHUTTING_DOWN => Exit::Unavailable,
                codes::UPSTREAM_AUTH => Exit::Denied,
                codes::METHOD_NOT_FOUND => Exit::NotFound,
                _ => Exit::Failure,
            },
            ClientError::Target(_) | ClientError::Protocol(_) => Exit::Failure,
        }
    }
}

impl From<ClientError> for Failed {
    fn from(error: ClientError) -> Self {
        Failed::new(error.exit(), error.to_string())
    }
}
