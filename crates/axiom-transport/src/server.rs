//! The HTTP/1.1 listener: takes a permit, accepts, and serves each connection on one worker thread for its whole life.
//!
//! Every worker runs a current-thread runtime of its own. A request, the upstream connection it uses and the timers it
//! sets live on that thread, so the call path never wakes another one. The accepting task deals connections out in
//! turn, which keeps the threads level where `SO_REUSEPORT` would leave it to a hash.

use std::convert::Infallible;
use std::future::Future;
use std::net::{SocketAddr, TcpListener as StdListener, TcpStream as StdStream};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::{self, Receiver};
use axiom_core::{Draining, drain, spawn, time};
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use body::{Body, BodyError};
pub use unread::discard;

mod body;
mod unread;

/// What the listener allows.
#[derive(Debug, Clone)]
pub struct ServerOptions {
    /// Connections at once; more wait in the kernel's accept queue.
    pub connections_max: usize,
    /// Threads that serve connections.
    pub workers: usize,
    /// Time to send a complete request head; also how long a connection may sit idle.
    pub head_timeout: Duration,
    /// Time running requests get to finish once a drain was asked for.
    pub drain_timeout: Duration,
}

/// Bytes of one request head. Session ids carry their state, so this is roomier than a web server's usual 8 KiB.
const HEAD_BYTES_MAX: usize = 64 << 10;
/// Header lines of one request.
const HEADERS_MAX: usize = 100;
/// Connections handed to one worker and not yet picked up.
const HANDOVER_LEN_MAX: usize = 256;
/// Pause after the accept call failed, e.g. because the process has no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts until a drain is asked for, then lets running requests finish. Returns true if all did in time.
///
/// # Errors
/// When the listener or a worker thread cannot be set up; nothing is served then.
pub async fn serve<F, Fut>(
    listener: StdListener,
    options: ServerOptions,
    service: F,
    mut draining: Draining,
) -> std::io::Result<bool>
where
    F: Fn(Request<Incoming>, SocketAddr) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let (owner, workers_drain) = drain::drain();
    let mut workers = Vec::new();
    for index in 0..options.workers.max(1) {
        let (tx, rx) = channel::bounded(HANDOVER_LEN_MAX);
        start_worker(index, rx, options.clone(), service.clone(), workers_drain.clone())?;
        workers.push(tx);
    }
    drop(workers_drain);

    let permits = Arc::new(Semaphore::new(options.connections_max));
    let mut next = 0;
    loop {
        let accepted = tokio::select! {
            // cancel-safe: nothing is consumed
            () = draining.asked() => break,
            // cancel-safe: a permit or a connection is either returned or not taken
            accepted = accept(&listener, &permits) => accepted,
        };
        match accepted {
            Ok(connection) => {
                next = (next + 1) % workers.len();
                if workers[next].send(connection).await.is_err() {
                    tracing::error!(
                        worker = next,
                        "a worker thread is gone; its connection was dropped"
                    );
                }
            }
            Err(error) => {
                tracing::warn!(%error, "accept failed; trying again");
                time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    drop(workers);
    Ok(owner.finish(options.drain_timeout).await)
}

/// One accepted connection on its way to a worker, with its place in the count.
struct Accepted {
    stream: StdStream,
    peer: SocketAddr,
    permit: OwnedSemaphorePermit,
}

/// A connection's place in the count of connections, and in a drain. A request that may be upgraded has it among its
/// extensions: whoever goes on with the connection holds on to it.
#[derive(Debug, Clone)]
pub struct Place {
    _held: Arc<(OwnedSemaphorePermit, Draining)>,
}

async fn accept(listener: &TcpListener, permits: &Arc<Semaphore>) -> std::io::Result<Accepted> {
    let permit = Arc::clone(permits)
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, peer) = listener.accept().await?;
    stream.set_nodelay(true)?;
    // Detached from this runtime, to be registered with its worker's.
    let stream = stream.into_std()?;
    Ok(Accepted { stream, peer, permit })
}

fn start_worker<F, Fut>(
    index: usize,
    mut connections: Receiver<Accepted>,
    options: ServerOptions,
    service: F,
    draining: Draining,
) -> std::io::Result<()>
where
    F: Fn(Request<Incoming>, SocketAddr) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    std::thread::Builder::new()
        .name(format!("axiom-worker-{index}"))
        .spawn(move || {
            runtime.block_on(async move {
                let (local, local_draining) = drain::drain();
                while let Some(accepted) = connections.recv().await {
                    let connection =
                        serve_connection(accepted, options.clone(), service.clone(), local_draining.clone());
                    // The task is counted by its `Draining`, so its handle is not needed.
                    drop(spawn("connection", connection));
                }
                drop(local_draining);
                if !local.finish(options.drain_timeout).await {
                    tracing::warn!(
                        worker = index,
                        "drain deadline passed with requests still running"
                    );
                }
                drop(draining);
            });
        })?;
    Ok(())
}

async fn serve_connection<F, Fut>(
    accepted: Accepted,
    options: ServerOptions,
    service: F,
    mut draining: Draining,
) where
    F: Fn(Request<Incoming>, SocketAddr) -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output = Response<Body>> + Send + 'static,
{
    let Accepted { stream, peer, permit } = accepted;
    let stream = match TcpStream::from_std(stream) {
        Ok(stream) => stream,
        Err(error) => return tracing::warn!(%error, %peer, "failed to register a connection"),
    };
    let place = Place {
        _held: Arc::new((permit, draining.clone())),
    };
    let answer = service_fn(move |mut request: Request<Incoming>| {
        if request.headers().contains_key(http::header::UPGRADE) {
            request.extensions_mut().insert(place.clone());
        }
        let response = service(request, peer);
        async move { Ok::<_, Infallible>(response.await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(options.head_timeout)
        .max_buf_size(HEAD_BYTES_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        // cancel-safe: the connection outlives this select
        ended = connection.as_mut() => ended,
        // cancel-safe: nothing is consumed
        () = draining.asked() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, %peer, "connection ended");
    }
}
