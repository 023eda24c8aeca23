//! What is answered at the gateway's address and is none of its own work.

use std::fmt::Debug;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;

use axiom_transport::server::Body;
use http::{Request, Response};
use hyper::body::Incoming;

use super::blocks;
use crate::options::Options;

/// Answers requests below `/api/v1/` that the gateway itself knows nothing about. Host and Origin are checked by then.
pub trait Annex: Debug + Send + Sync {
    /// Whether this path is its.
    fn has(&self, path: &str) -> bool;

    /// What callers from other machines are told instead of an answer; `None`: they are served like any other.
    fn keeps_out(&self, options: &Options) -> Option<&'static str> {
        blocks::keeps_out(options)
    }

    /// Answers one request of this caller. It may run on any of the gateway's threads, each with a runtime of its own.
    fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
}
