//! What can go wrong between us and an HTTP server. Every message names the server as `host:port`.

use std::sync::Arc;
use std::time::Duration;

/// A URL or header that cannot be a target. Found when a configuration is read, not when a call is made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    #[error("{url:?} is not a URL: {cause}")]
    Url { url: String, cause: url::ParseError },
    #[error("the URL has scheme {scheme:?}; only {expected} will do")]
    Scheme { scheme: String, expected: &'static str },
    #[error("the URL {url:?} names no host")]
    Host { url: String },
    #[error("header name {name:?} is not a valid HTTP header name")]
    HeaderName { name: String },
    // The value may be a secret: it is never shown.
    #[error("the value of header {name:?} has characters that HTTP does not allow")]
    HeaderValue { name: String },
    #[error("header {name:?} is set by the connection itself and cannot be configured")]
    Reserved { name: String },
}

/// Why a request got no answer, or only a part of one.
#[derive(Debug, Clone, thiserror::Error)]
pub enum HttpError {
    #[error("failed to resolve the name of {at}: {cause}")]
    Resolve {
        at: Arc<str>,
        cause: Arc<std::io::Error>,
    },
    #[error("failed to connect to {at}: {cause}")]
    Connect {
        at: Arc<str>,
        cause: Arc<std::io::Error>,
    },
    #[error("{at} did not accept a connection within {} s", after.as_secs())]
    Timeout { at: Arc<str>, after: Duration },
    #[error("failed to set up TLS with {at}: {cause}")]
    Tls { at: Arc<str>, cause: Arc<str> },
    #[error("the connection to {at} broke {}: {cause}", if *request_sent { "before the answer was complete" } else { "while sending the request" })]
    Broken {
        at: Arc<str>,
        /// The whole request had left: the server may have processed it.
        request_sent: bool,
        cause: Arc<std::io::Error>,
    },
    #[error("{at} sent an answer that is not valid HTTP/1.1: {what}")]
    Protocol { at: Arc<str>, what: &'static str },
    #[error("the answer of {at} exceeds the limit of {bytes_max} B")]
    TooLarge { at: Arc<str>, bytes_max: usize },
}

impl HttpError {
    /// True only if the request was certainly not processed, because the server never had all of it.
    pub fn retry_is_safe(&self) -> bool {
        match self {
            HttpError::Resolve { .. }
            | HttpError::Connect { .. }
            | HttpError::Timeout { .. }
            | HttpError::Tls { .. } => true,
            HttpError::Broken { request_sent, .. } => !request_sent,
            HttpError::Protocol { .. } | HttpError::TooLarge { .. } => false,
        }
    }
}
