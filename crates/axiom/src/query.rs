//! Queries over the event store at the gateway's address: another process answers them, and this is the way to it.
//!
//! The process, `axiom-query`, is started by the first query and ended when nobody has asked for a while. What a query does
//! to it - eat all memory, crash, hang - it does to that process alone: the next query starts another one.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::{Draining, spawn, time};
use axiom_gateway::options::EventsOptions;
use axiom_gateway::{Annex, Gateway};
use axiom_tiers::StoreOptions;
use axiom_transport::server::{Body, BodyError, discard};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Body as HttpBody;
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use process::{Asking, Keeper, Lease};

mod process;

/// The program beside this one.
const PROGRAM: &str = "axiom-query";
/// How to come by it.
pub const BUILD: &str = "cargo build --release -p axiom-query";
const PATH: &str = "/api/v1/query";

/// How long the process may take until an answer begins: by its own limits, 30 seconds for the request to arrive, 10 in a
/// queue and 60 for the query, and some to spare. What is late it tells by itself; one that says nothing does nothing any more.
const ANSWER_TIME: Duration = Duration::from_secs(120);

/// Headers that go to the process and back. The others are between a client and the gateway.
const HEADERS: [HeaderName; 5] = [
    header::ACCEPT,
    header::CONTENT_TYPE,
    header::CONTENT_LENGTH,
    header::CACHE_CONTROL,
    header::TRAILER,
];
/// Headers of the process's own.
const TOLD: [&str; 2] = ["axiom-query-id", "axiom-warnings"];

/// The way to the query process.
#[derive(Debug)]
struct Queries {
    asking: Asking,
}

/// Answers queries over `events` at the gateway's address until the drain. With Flight SQL the process runs all the time.
pub fn attach(
    gateway: &Arc<Gateway>,
    events: &EventsOptions,
    store: Option<&StoreOptions>,
    draining: Draining,
) {
    let (keeper, asking) = Keeper::new(events, store_environment(store));
    drop(spawn("query process", keeper.run(draining)));
    gateway.annex_to(Arc::new(Queries { asking }));
}

/// What the program must know of the object store of cold events. Not on its command line: that everybody can read.
pub fn store_environment(store: Option<&StoreOptions>) -> BTreeMap<String, String> {
    let Some(store) = store else {
        return BTreeMap::new();
    };
    let is_plain = store
        .endpoint
        .as_ref()
        .is_some_and(|endpoint| endpoint.starts_with("http://"));
    let said = [
        ("AWS_ENDPOINT_URL", store.endpoint.clone()),
        ("AWS_REGION", store.region.clone()),
        ("AWS_ACCESS_KEY_ID", store.access_key_id.clone()),
        ("AWS_SECRET_ACCESS_KEY", store.secret_access_key.clone()),
        ("AWS_SESSION_TOKEN", store.session_token.clone()),
        ("AWS_ALLOW_HTTP", is_plain.then(|| "true".to_owned())),
    ];
    let said = said.into_iter();
    said.filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// Where the program is: beside this one.
///
/// # Errors
/// Words for a person, if it is not there.
pub fn program() -> Result<PathBuf, String> {
    let ours =
        std::env::current_exe().map_err(|error| format!("cannot find out where this program is: {error}"))?;
    beside(&ours)
}

fn beside(ours: &Path) -> Result<PathBuf, String> {
    let path = ours.with_file_name(PROGRAM);
    if path.is_file() {
        return Ok(path);
    }
    let folder = ours.parent().unwrap_or(Path::new("."));
    Err(format!(
        "SQL needs the program {PROGRAM}, which is not in {}",
        folder.display()
    ))
}

impl Annex for Queries {
    fn has(&self, path: &str) -> bool {
        path.strip_prefix(PATH)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    fn answer(
        &self,
        request: Request<Incoming>,
        _peer: SocketAddr,
    ) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        let asking = self.asking.clone();
        Box::pin(async move {
            match asking.lease().await {
                Ok(lease) => forward(request, lease).await,
                Err(reason) => {
                    let (head, body) = request.into_parts();
                    discard(&head.headers, body).await;
                    unavailable(&reason.message, &reason.hint)
                }
            }
        })
    }
}

/// Sends a request to the process and its answer back, as it comes. A client that hangs up drops both, which ends the query.
async fn forward<B>(request: Request<B>, lease: Lease) -> Response<Body>
where
    B: HttpBody<Data: Send, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + Unpin + 'static,
{
    let sent = async {
        let stream = UnixStream::connect(lease.socket())
            .await
            .map_err(|error| error.to_string())?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| error.to_string())?;
        drop(spawn("query", async move {
            // What it ends with is told by the response or its body.
            let _ended = connection.await.is_ok();
        }));
        let (head, body) = request.into_parts();
        let mut inner = Request::new(body);
        *inner.method_mut() = head.method;
        *inner.uri_mut() = head.uri;
        *inner.headers_mut() = kept(&head.headers);
        inner
            .headers_mut()
            .insert(header::HOST, HeaderValue::from_static("axiom-query"));
        // Whether the client takes them is between it and the gateway.
        inner
            .headers_mut()
            .insert(header::TE, HeaderValue::from_static("trailers"));
        sender
            .send_request(inner)
            .await
            .map_err(|error| error.to_string())
    };
    let (head, body) = match time::timeout(ANSWER_TIME, sent).await {
        Ok(Ok(response)) => response.into_parts(),
        Err(_) => {
            lease.give_up();
            let message = format!(
                "the query process did not answer within {} s and is ended",
                ANSWER_TIME.as_secs()
            );
            return unavailable(&message, lease.why_it_may_end());
        }
        Ok(Err(error)) => {
            let message = format!("the query process ended before it answered ({error})");
            return unavailable(&message, lease.why_it_may_end());
        }
    };
    let body = body.map_err(move |error| {
        // The process is wanted as long as an answer comes from it.
        let _lease = &lease;
        BodyError {
            reason: format!("the query process did not finish its answer: {error}"),
        }
    });
    let mut response = Response::new(Body::stream(body));
    *response.status_mut() = head.status;
    *response.headers_mut() = kept(&head.headers);
    for name in TOLD {
        if let Some(value) = head.headers.get(name) {
            response.headers_mut().insert(name, value.clone());
        }
    }
    response
}

fn kept(headers: &HeaderMap) -> HeaderMap {
    let kept = HEADERS.into_iter().filter_map(|name| {
        let value = headers.get(&name)?.clone();
        Some((name, value))
    });
    kept.collect()
}

fn unavailable(message: &str, hint: &str) -> Response<Body> {
    let error = serde_json::json!({"error": {"code": "unavailable", "message": message, "hint": hint}});
    let mut response = Response::new(Body::from(format!("{error}\n").into_bytes()));
    *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_not_there_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let words = beside(&folder.path().join("axiom")).unwrap_err();
        assert!(
            words.contains(PROGRAM) && words.contains(&folder.path().display().to_string()),
            "{words}"
        );
        fs_err::write(folder.path().join(PROGRAM), "").unwrap();
        let found = beside(&folder.path().join("axiom")).unwrap();
        assert_eq!(found, folder.path().join(PROGRAM));
    }

    /// It takes connections, as the kernel does for a process that is stopped.
    #[tokio::test(start_paused = true)]
    async fn a_process_that_says_nothing_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("socket");
        let _listener = tokio::net::UnixListener::bind(&socket).unwrap();
        let lease = Lease::at(&socket);
        let begun = time::now();
        let request = Request::new(http_body_util::Empty::<bytes::Bytes>::new());
        let response = forward(request, lease.clone()).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(begun.elapsed(), ANSWER_TIME);
        lease.given_up().await;
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let words = String::from_utf8_lossy(&body);
        assert!(words.contains("did not answer within 120 s"), "{words}");
    }
}
