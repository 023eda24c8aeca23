//! `axiom-query serve`: HTTP at a Unix socket, for the gateway that started it.
//!
//! | request | answer |
//! |---|---|
//! | `GET <any>/query?sql=...` | the query's answer |
//! | `POST <any>/query` | the same; the body is the query, or JSON with `sql` and what else is asked |
//! | `DELETE <any>/query/<id>` | the query with this id is ended |
//!
//! Beside `sql` a request may say `format` (else the Accept header decides, else JSON), `rows` (of JSON: how many at most),
//! `id` (by which it can be ended; else one is made, and told in the header `axiom-query-id`), and `partial` (below).
//!
//! An answer begins once its first rows are there: what goes wrong before has a status of its own. What goes wrong later
//! cuts the connection, and is told at the end where the format can say it (JSON). A client that hangs up ends its query.
//!
//! Events that cannot be read are told in JSON and below a table. In other formats the rows that are left would pass for all:
//! that goes wrong, unless `partial=true` says that they are wanted. Then the warnings are in the header `axiom-warnings`, as
//! far as they are known by the first row, and all in the trailer of that name, for clients that say `te: trailers`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};

use axiom_core::spawn;
use axiom_core::spawn::blocking;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::Incoming;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixListener;

use crate::cli::Serve;
use crate::engine::{Cancel, Engine, cancel};
use crate::fault::{Code, Fault};
use crate::flight;
use crate::workers::GRACE;
use asked::Asked;
use stalling::Stalling;

mod asked;
mod body;
mod stalling;

/// A body that may be cut.
pub(crate) type Body = UnsyncBoxBody<Bytes, Fault>;

/// The name of an id in a response.
const ID: &str = "axiom-query-id";
/// The name of the header, and of the trailer, that say which events are missing.
const WARNINGS: HeaderName = HeaderName::from_static("axiom-warnings");

/// What all connections share.
#[derive(Debug)]
struct Server {
    engine: Engine,
    running: Arc<Running>,
}

/// Queries that can be ended, by their ids.
#[derive(Debug, Default)]
struct Running {
    queries: Mutex<HashMap<String, Cancel>>,
    serial: std::sync::atomic::AtomicU64,
}

/// A query that runs; dropping it takes its id away.
#[derive(Debug)]
struct Registered {
    id: String,
    running: Arc<Running>,
}

pub async fn run(serve: &Serve) -> ExitCode {
    match listen(serve).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(error = format!("{error:#}"), "cannot serve queries");
            ExitCode::FAILURE
        }
    }
}

async fn listen(serve: &Serve) -> anyhow::Result<()> {
    let (dir, limits) = (serve.dir.clone(), serve.bounds.limits());
    let opened = blocking(move || Engine::open(&dir, limits)).join().await;
    let engine = opened.ok_or_else(|| anyhow::anyhow!("opening the event store failed"))??;
    let listener = bind(&serve.socket)?;
    let flight = match serve.flight {
        Some(address) => Some(flight::listen(address, engine.clone()).await?),
        None => None,
    };
    let server = Arc::new(Server {
        engine,
        running: Arc::default(),
    });
    announce(serve, flight.as_ref().map(flight::Listening::address))?;
    tokio::select! {
        // Never ends by itself; dropping it closes the socket, and connections end with the process.
        () = accept(&listener, &server) => {}
        // cancel-safe: the process ends here.
        () = stdin_ends() => {}
        // cancel-safe: the process ends here.
        () = server.engine.stuck() => anyhow::bail!(
            "a query went on {} s after its time was over and cannot be stopped: the process ends, and with it that query",
            GRACE.as_secs()
        ),
    }
    // Whoever started us is gone, and with it whoever could connect.
    let _removed = fs_err::remove_file(&serve.socket).is_ok();
    Ok(())
}

/// The socket is its owner's alone: whoever can connect can read all events.
fn bind(socket: &Path) -> anyhow::Result<UnixListener> {
    match fs_err::remove_file(socket) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    let listener = UnixListener::bind(socket)
        .map_err(|error| anyhow::anyhow!("cannot listen at {}: {error}", socket.display()))?;
    fs_err::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// One line on stdout says that clients can come, and where.
#[allow(clippy::print_stdout, reason = "whoever started us waits for it")]
fn announce(serve: &Serve, flight: Option<std::net::SocketAddr>) -> anyhow::Result<()> {
    use std::io::Write as _;
    let line = serde_json::json!({"listening": serve.socket, "flight": flight});
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()?;
    Ok(())
}

/// Our stdin is a pipe from whoever started us, and ends with it, however it ends.
async fn stdin_ends() {
    let mut stdin = tokio::io::stdin();
    let mut nothing = [0; 64];
    while stdin.read(&mut nothing).await.is_ok_and(|read| read > 0) {}
}

async fn accept(listener: &UnixListener, server: &Arc<Server>) {
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // Out of descriptors: connections that end give some back.
            axiom_core::time::sleep(std::time::Duration::from_millis(50)).await;
            continue;
        };
        let server = Arc::clone(server);
        // Whoever takes nothing for as long as a query may take gets no more.
        let stream = Stalling::new(stream, server.engine.limits().timeout);
        let service = hyper::service::service_fn(move |request| {
            let server = Arc::clone(&server);
            async move { Ok::<_, Infallible>(server.handle(request).await) }
        });
        drop(spawn("query connection", async move {
            let connection =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
        }));
    }
}

impl Server {
    async fn handle(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = asked::whole(body).await;
        let answered = match head.method {
            Method::GET | Method::POST => self.query(&head, body).await,
            Method::DELETE => self.end(head.uri.path()),
            _ => {
                let fault = Fault::new(
                    Code::Query,
                    "queries are sent with GET or POST, and ended with DELETE",
                );
                return refusal(StatusCode::METHOD_NOT_ALLOWED, &fault);
            }
        };
        answered.unwrap_or_else(|fault| {
            let status =
                StatusCode::from_u16(fault.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            refusal(status, &fault)
        })
    }

    async fn query(&self, head: &Parts, body: Result<Bytes, Fault>) -> Result<Response<Body>, Fault> {
        let asked = Asked::of(head, &body?)?;
        let (cancel, cancelled) = cancel();
        let registered = self.running.register(asked.id.clone(), cancel)?;
        let mut answer = self.engine.run(&asked.sql, cancelled).await?;
        // What goes wrong before the first rows can be said in a status.
        let first = answer.next().await?;
        let id = HeaderValue::from_str(&registered.id);
        let warnings = body::warnings_value(&answer.warnings());
        let body = body::stream(answer, first, &asked, registered)?;
        let mut response = Response::new(body);
        let headers = response.headers_mut();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(asked.format.content_type()),
        );
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Ok(id) = id {
            headers.insert(ID, id);
        }
        if let Some(warnings) = warnings {
            headers.insert(WARNINGS, warnings);
        }
        if asked.is_partial {
            headers.insert(header::TRAILER, WARNINGS.into());
        }
        Ok(response)
    }

    fn end(&self, path: &str) -> Result<Response<Body>, Fault> {
        let id = path.rsplit_once('/').map_or(path, |(_, id)| id);
        if !self.running.cancel(id) {
            let fault = Fault::new(Code::Absent, format!("no query with the id {id} runs"));
            return Err(fault.hint("it may have ended already"));
        }
        let mut response = Response::new(empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        Ok(response)
    }
}

impl Running {
    fn register(self: &Arc<Self>, id: Option<String>, cancel: Cancel) -> Result<Registered, Fault> {
        let serial = self.serial.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let id = id.unwrap_or_else(|| format!("q{serial}"));
        let mut queries = self.queries.lock().unwrap_or_else(PoisonError::into_inner);
        if queries.contains_key(&id) {
            let fault = Fault::new(Code::Query, format!("a query with the id {id} runs already"));
            return Err(fault.hint("name another id, or none"));
        }
        queries.insert(id.clone(), cancel);
        Ok(Registered {
            id,
            running: Arc::clone(self),
        })
    }

    fn cancel(&self, id: &str) -> bool {
        let queries = self.queries.lock().unwrap_or_else(PoisonError::into_inner);
        let query = queries.get(id);
        query.inspect(|query| query.cancel()).is_some()
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        let mut queries = self
            .running
            .queries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        queries.remove(&self.id);
    }
}

fn refusal(status: StatusCode, fault: &Fault) -> Response<Body> {
    let body = format!("{}\n", fault.json());
    let mut response = Response::new(full(body.into()));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

fn full(bytes: Bytes) -> Body {
    http_body_util::Full::new(bytes)
        .map_err(|never| match never {})
        .boxed_unsync()
}

fn empty() -> Body {
    full(Bytes::new())
}
