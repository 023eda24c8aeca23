//! The floor: a plain proxy on hyper with a pool of connections, which reads and changes nothing.
//!
//! What it costs, any proxy on hyper costs; what a gateway costs above it is the gateway's own doing.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response, header};
use http_body::{Body, Frame, SizeHint};
use hyper::{body::Incoming, client::conn::http1::SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::server::{self, Running, Service};

/// Starts `threads` threads that accept from one listener and forward to `upstream`, each with a pool of its own.
///
/// # Errors
/// The listener cannot be used, or no thread can be started.
pub fn start(listener: &TcpListener, upstream: SocketAddr, threads: usize) -> io::Result<Vec<Running>> {
    let start = |_| {
        server::start(
            listener.try_clone()?,
            Floor(Arc::new(Pool {
                upstream,
                idle: Mutex::default(),
            })),
        )
    };
    (0..threads.max(1)).map(start).collect()
}

#[derive(Debug, Clone)]
struct Floor(Arc<Pool>);

/// Connections to the upstream that wait for work; never more than there were requests at once.
#[derive(Debug)]
struct Pool {
    upstream: SocketAddr,
    idle: Mutex<Vec<SendRequest<Incoming>>>,
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<SendRequest<Incoming>>> {
        self.idle
            .lock()
            .expect("no thread panics while it holds the pool")
    }

    async fn connection(&self) -> io::Result<SendRequest<Incoming>> {
        loop {
            let Some(mut idle) = self.idle().pop() else { break };
            if idle.ready().await.is_ok() {
                return Ok(idle);
            }
        }
        let stream = TcpStream::connect(self.upstream).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(io::Error::other)?;
        // Its end is seen by whoever uses the sender next.
        tokio::spawn(async move { connection.await.ok() });
        Ok(sender)
    }
}

impl Service for Floor {
    type Body = PooledBody;

    fn respond(
        &self,
        mut request: Request<Incoming>,
    ) -> impl Future<Output = io::Result<Response<PooledBody>>> + Send + 'static {
        let pool = Arc::clone(&self.0);
        async move {
            let mut sender = pool.connection().await?;
            request.headers_mut().remove(header::CONNECTION);
            let response = sender.send_request(request).await.map_err(io::Error::other)?;
            Ok(response.map(|body| PooledBody {
                body,
                pool,
                sender: Some(sender),
            }))
        }
    }
}

/// An answer's body that gives its connection back when it was read to the end.
#[derive(Debug)]
struct PooledBody {
    body: Incoming,
    pool: Arc<Pool>,
    sender: Option<SendRequest<Incoming>>,
}

impl Body for PooledBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<hyper::Result<Frame<Bytes>>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for PooledBody {
    fn drop(&mut self) {
        if self.body.is_end_stream()
            && let Some(sender) = self.sender.take()
        {
            self.pool.idle().push(sender);
        }
    }
}
