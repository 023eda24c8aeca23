//! The gateway's HTTP listener and a client that sees statuses, headers and single events.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axiom_gateway::serve_http;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::client::initialize;
use crate::stage::Stage;

/// Real time here, because sockets are involved; far more than any answer takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// One listener.
pub(crate) struct Web {
    addr: SocketAddr,
}

/// The head of a response, and its body as it arrives.
#[derive(Debug)]
pub(crate) struct Response {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: Incoming,
    read: String,
}

impl Web {
    pub(crate) fn open(stage: &Stage) -> Web {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        tokio::spawn(serve_http(
            Arc::clone(&stage.gateway),
            listener,
            stage.draining.clone(),
        ));
        Web { addr }
    }

    /// One request on a connection of its own; dropping the future or the response closes it.
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Response {
        let stream = TcpStream::connect(self.addr).await.unwrap();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost")
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned()))).unwrap();
        let response = timeout(PATIENCE, sender.send_request(request))
            .await
            .expect("no response")
            .unwrap();
        let (head, body) = response.into_parts();
        Response {
            status: head.status,
            headers: head.headers,
            body,
            read: String::new(),
        }
    }

    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Response {
        self.send("POST", path, headers, body).await
    }

    /// A legacy session's id.
    pub(crate) async fn session(&self, path: &str, revision: &str) -> String {
        let response = self.post(path, &[], &initialize(revision, "{}")).await;
        assert_eq!(response.status, StatusCode::OK);
        response.headers["mcp-session-id"].to_str().unwrap().to_owned()
    }
}

impl Response {
    /// The whole body.
    pub(crate) async fn text(mut self) -> String {
        while self.more().await {}
        self.read
    }

    /// The next event with data, as `(id, data)`. Comments and events without data are passed over.
    pub(crate) async fn event(&mut self) -> (String, String) {
        loop {
            while let Some((event, rest)) = self.read.split_once("\n\n") {
                let field = |name: &str| {
                    event
                        .lines()
                        .find_map(|line| line.strip_prefix(name))
                        .map(|value| value.trim_start().to_owned())
                };
                let found = (
                    field("id:").unwrap_or_default(),
                    field("data:").unwrap_or_default(),
                );
                self.read = rest.to_owned();
                if !found.1.is_empty() {
                    return found;
                }
            }
            assert!(self.more().await, "the stream ended; unread: {}", self.read);
        }
    }

    async fn more(&mut self) -> bool {
        match timeout(PATIENCE, self.body.frame())
            .await
            .expect("nothing more came")
        {
            Some(frame) => {
                let data = frame.unwrap().into_data().unwrap_or_default();
                self.read.push_str(std::str::from_utf8(&data).unwrap());
                true
            }
            None => false,
        }
    }
}
