//! What is answered at the gateway's address and is none of its own work.

use std::fmt::Debug;
use std::future::Future;
use std::pin::Pin;

use axiom_transport::server::Body;
use http::{Request, Response};
use hyper::body::Incoming;

/// Answers requests below `/api/v1/` that the gateway itself knows nothing about. Host and Origin are checked by then.
pub trait Annex: Debug + Send + Sync {
    /// Whether this path is its.
    fn has(&self, path: &str) -> bool;

    /// Answers one request. It may run on any of the gateway's threads, each with a runtime of its own.
    fn answer(&self, request: Request<Incoming>) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>>;
}
