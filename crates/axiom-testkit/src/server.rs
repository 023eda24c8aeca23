//! Runs an HTTP/1.1 service on a thread of its own, so that any test can start one, with or without a runtime.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread::JoinHandle,
};

use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::sync::oneshot;

/// A server on a thread of its own. Dropping it closes the listener and every connection.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The MCP endpoint; the fake servers answer on any path.
    pub fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    /// Serves until the process is killed.
    pub fn join(mut self) {
        if let Some(thread) = self.thread.take() {
            // An error is the panic of the server's thread, which has been printed already.
            drop(thread.join());
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// What a service does with a request. An error closes the connection without an answer.
pub(crate) trait Service: Clone + Send + Sync + 'static {
    type Body: Body<Data: Send, Error: std::error::Error + Send + Sync + 'static> + Send + 'static;

    fn respond(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = io::Result<Response<Self::Body>>> + Send + 'static;
}

/// Starts `service` on one thread. Several calls with clones of one listener share its connections.
///
/// # Errors
/// The listener cannot be used, or no thread can be started.
pub(crate) fn start<S: Service>(listener: TcpListener, service: S) -> io::Result<Running> {
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let (stop, stopped) = oneshot::channel();
    let (ready, is_ready) = mpsc::sync_channel(1);
    let thread = std::thread::Builder::new()
        .name("testkit-server".to_owned())
        .spawn(move || {
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener);
                // The other end waits for exactly one message and cannot be gone.
                ready
                    .send(listener.as_ref().map(drop).map_err(io::Error::to_string))
                    .ok();
                let Ok(listener) = listener else { return };
                tokio::select! {
                    // cancel-safe: nothing is accepted after the end.
                    () = accept(listener, service) => {}
                    // cancel-safe: it fires once.
                    _ = stopped => {}
                }
            });
        })?;
    is_ready
        .recv()
        .map_err(io::Error::other)?
        .map_err(io::Error::other)?;
    Ok(Running {
        address,
        stop: Some(stop),
        thread: Some(thread),
    })
}

async fn accept<S: Service>(listener: tokio::net::TcpListener, service: S) {
    loop {
        // A failed accept is the peer's business, or a lack of descriptors which the test will notice.
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        stream.set_nodelay(true).ok();
        let service = service.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| service.respond(request));
            // A connection that breaks is seen by the peer, which is what the test looks at.
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .await
                .ok();
        });
    }
}
