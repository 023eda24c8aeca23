//! The echo server over Streamable HTTP, both eras on one endpoint, on any path.

use std::{
    collections::HashSet,
    convert::Infallible,
    hash::{BuildHasher, RandomState},
    io,
    net::TcpListener,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};

use bytes::{Buf, Bytes, buf::Chain};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::{Frame, SizeHint};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use tokio::sync::mpsc;

use crate::{
    echo::{Answer, Echo, Eras, MODERN_REVISION, acknowledged, error, unsupported_revision},
    server::{self, Running, Service},
    wire::{Message, unquoted},
};

/// How the server behaves.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub eras: Eras,
    /// Mint `Mcp-Session-Id` at `initialize` and refuse unknown ones with 404.
    pub sessions: bool,
    /// Length of `tools/list`, at least 2.
    pub tools: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            eras: Eras::Dual,
            sessions: true,
            tools: 100,
        }
    }
}

/// A running echo server. Dropping it ends it.
#[derive(Debug)]
pub struct EchoServer {
    running: Running,
    state: Arc<State>,
}

impl EchoServer {
    /// Listens on a free port of the loopback interface.
    ///
    /// # Errors
    /// No port is free, or no thread can be started.
    pub fn start(options: Options) -> io::Result<EchoServer> {
        EchoServer::on(TcpListener::bind("127.0.0.1:0")?, options)
    }

    /// # Errors
    /// The listener cannot be used, or no thread can be started.
    pub fn on(listener: TcpListener, options: Options) -> io::Result<EchoServer> {
        let state = Arc::new(State {
            echo: Echo::new(options.eras, options.tools),
            sessions: options.sessions.then(Mutex::default),
            streams: Mutex::default(),
        });
        let running = server::start(listener, EchoService(Arc::clone(&state)))?;
        Ok(EchoServer { running, state })
    }

    pub fn url(&self) -> String {
        self.running.url()
    }

    /// Sends one message, whole JSON on one line, on every open stream. Returns how many took it.
    pub fn announce(&self, message: &str) -> usize {
        let event = Bytes::from(format!("data: {message}\n\n"));
        let mut streams = self
            .state
            .streams
            .lock()
            .expect("no thread panics while it holds the streams");
        streams.retain(|stream| stream.try_send(event.clone()).is_ok());
        streams.len()
    }

    /// Open sessions; always 0 without `sessions`.
    pub fn sessions(&self) -> usize {
        self.state
            .sessions
            .as_ref()
            .map_or(0, |sessions| known(sessions).len())
    }

    /// Forgets every session, as a restart would: the next request with one gets 404.
    pub fn forget_sessions(&self) {
        if let Some(sessions) = &self.state.sessions {
            known(sessions).clear();
        }
    }

    /// Serves until the process is killed.
    pub fn join(self) {
        self.running.join();
    }
}

#[derive(Debug)]
struct State {
    echo: Echo,
    sessions: Option<Sessions>,
    /// GET streams and listens; those whose client is gone are dropped by the next announcement.
    streams: Mutex<Vec<mpsc::Sender<Bytes>>>,
}

type Sessions = Mutex<HashSet<Box<[u8]>>>;

fn known(sessions: &Sessions) -> std::sync::MutexGuard<'_, HashSet<Box<[u8]>>> {
    sessions
        .lock()
        .expect("no thread panics while it holds the sessions")
}

#[derive(Debug, Clone)]
struct EchoService(Arc<State>);

impl Service for EchoService {
    type Body = ReplyBody;

    fn respond(
        &self,
        request: Request<Incoming>,
    ) -> impl Future<Output = io::Result<Response<ReplyBody>>> + Send + 'static {
        let state = Arc::clone(&self.0);
        async move {
            match *request.method() {
                Method::POST => {
                    let (head, body) = request.into_parts();
                    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
                    Ok(state.post(&head.headers, &body))
                }
                Method::GET => Ok(state.stream(request.headers())),
                Method::DELETE => Ok(state.end_session(request.headers())),
                _ => Ok(empty(StatusCode::METHOD_NOT_ALLOWED)),
            }
        }
    }
}

impl State {
    fn post(&self, headers: &HeaderMap, body: &Bytes) -> Response<ReplyBody> {
        let Some(message) = Message::read(body) else {
            return json(StatusCode::BAD_REQUEST, error(None, -32700, "parse error"));
        };
        let revision = headers.get("mcp-protocol-version").map(HeaderValue::as_bytes);
        if revision == Some(MODERN_REVISION.as_bytes()) {
            self.modern(headers, &message)
        } else {
            self.legacy(headers, &message)
        }
    }

    fn modern(&self, headers: &HeaderMap, message: &Message<'_>) -> Response<ReplyBody> {
        if !self.echo.eras().speaks_modern() {
            return json(
                StatusCode::BAD_REQUEST,
                error(message.id, -32000, "unsupported protocol version"),
            );
        }
        if let Some(problem) = modern_problem(headers, message) {
            return json(StatusCode::BAD_REQUEST, problem);
        }
        if let (Some(id), b"subscriptions/listen") = (message.id, message.method) {
            let (stream, body) = ReplyBody::stream();
            let event = [b"data: ".as_slice(), &acknowledged(id), b"\n\n"].concat();
            // The stream is new and has room.
            stream.try_send(Bytes::from(event)).ok();
            self.streams
                .lock()
                .expect("no thread panics while it holds the streams")
                .push(stream);
            return event_stream(body);
        }
        match self.echo.answer(message) {
            Some(answer) if answer.error == Some(-32601) => json(StatusCode::NOT_FOUND, answer),
            Some(answer) => json(StatusCode::OK, answer),
            None => empty(StatusCode::ACCEPTED),
        }
    }

    fn legacy(&self, headers: &HeaderMap, message: &Message<'_>) -> Response<ReplyBody> {
        if !self.echo.eras().speaks_legacy() {
            return json(StatusCode::BAD_REQUEST, unsupported_revision(message.id));
        }
        if message.method == b"initialize" {
            return self.initialize(message);
        }
        if let Err(status) = self.check_session(headers) {
            return json(status, error(message.id, -32000, "no valid session"));
        }
        match self.echo.answer(message) {
            Some(answer) => json(StatusCode::OK, answer),
            None => empty(StatusCode::ACCEPTED),
        }
    }

    fn initialize(&self, message: &Message<'_>) -> Response<ReplyBody> {
        let Some(answer) = self.echo.answer(message) else {
            return empty(StatusCode::BAD_REQUEST);
        };
        let mut response = json(StatusCode::OK, answer);
        if let Some(sessions) = &self.sessions {
            // Two random keys per id: unguessable, without a dependency.
            let part = || RandomState::new().hash_one(0);
            let id = format!("{:016x}{:016x}", part(), part());
            known(sessions).insert(id.as_bytes().into());
            let value = HeaderValue::try_from(id).expect("hex digits are a valid header");
            response.headers_mut().insert("mcp-session-id", value);
        }
        response
    }

    fn check_session(&self, headers: &HeaderMap) -> Result<(), StatusCode> {
        let Some(sessions) = &self.sessions else {
            return Ok(());
        };
        let id = headers.get("mcp-session-id").ok_or(StatusCode::BAD_REQUEST)?;
        if known(sessions).contains(id.as_bytes()) {
            Ok(())
        } else {
            Err(StatusCode::NOT_FOUND)
        }
    }

    fn stream(&self, headers: &HeaderMap) -> Response<ReplyBody> {
        if !self.echo.eras().speaks_legacy() {
            return empty(StatusCode::METHOD_NOT_ALLOWED);
        }
        if let Err(status) = self.check_session(headers) {
            return empty(status);
        }
        let (stream, body) = ReplyBody::stream();
        self.streams
            .lock()
            .expect("no thread panics while it holds the streams")
            .push(stream);
        event_stream(body)
    }

    fn end_session(&self, headers: &HeaderMap) -> Response<ReplyBody> {
        let Some(sessions) = &self.sessions else {
            return empty(StatusCode::METHOD_NOT_ALLOWED);
        };
        match self.check_session(headers) {
            Err(status) => empty(status),
            Ok(()) => {
                if let Some(id) = headers.get("mcp-session-id") {
                    known(sessions).remove(id.as_bytes());
                }
                empty(StatusCode::OK)
            }
        }
    }
}

/// What is wrong with a modern request: its headers must say what its body says, and its `_meta` must be there.
fn modern_problem(headers: &HeaderMap, message: &Message<'_>) -> Option<Answer> {
    let header = |name: &str| headers.get(name).map(HeaderValue::as_bytes);
    if header("mcp-method") != Some(message.method) {
        return Some(error(message.id, -32020, "Mcp-Method does not match the body"));
    }
    if message.method == b"tools/call" {
        let name = message.param("name").map(unquoted);
        // An encoded name is taken on trust: this is not the server that checks a client's encoder.
        if header("mcp-name") != name
            && !header("mcp-name").is_some_and(|name| name.starts_with(b"=?base64?"))
        {
            return Some(error(message.id, -32020, "Mcp-Name does not match the body"));
        }
    }
    if message.id.is_some() && !message.is_modern() {
        return Some(error(message.id, -32602, "_meta lacks the protocol version"));
    }
    None
}

/// An answer, or a stream that stays open until the client leaves.
#[derive(Debug)]
enum ReplyBody {
    Whole(Full<Chain<Bytes, Bytes>>),
    Stream(mpsc::Receiver<Bytes>),
}

impl ReplyBody {
    /// Events waiting for a slow client. At the limit the client counts as gone.
    const EVENTS_MAX: usize = 64;

    fn stream() -> (mpsc::Sender<Bytes>, ReplyBody) {
        let (tx, rx) = mpsc::channel(ReplyBody::EVENTS_MAX);
        (tx, ReplyBody::Stream(rx))
    }
}

impl http_body::Body for ReplyBody {
    type Data = Chain<Bytes, Bytes>;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Infallible>>> {
        match self.get_mut() {
            ReplyBody::Whole(full) => Pin::new(full).poll_frame(cx),
            ReplyBody::Stream(rx) => rx
                .poll_recv(cx)
                .map(|event| event.map(|event| Ok(Frame::data(event.chain(Bytes::new()))))),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, ReplyBody::Whole(full) if full.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ReplyBody::Whole(full) => full.size_hint(),
            ReplyBody::Stream(_) => SizeHint::default(),
        }
    }
}

fn json(status: StatusCode, answer: Answer) -> Response<ReplyBody> {
    let body = ReplyBody::Whole(Full::new(answer.head.chain(answer.tail)));
    with_type(status, HeaderValue::from_static("application/json"), body)
}

fn event_stream(body: ReplyBody) -> Response<ReplyBody> {
    with_type(
        StatusCode::OK,
        HeaderValue::from_static("text/event-stream"),
        body,
    )
}

fn with_type(status: StatusCode, content_type: HeaderValue, body: ReplyBody) -> Response<ReplyBody> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}

fn empty(status: StatusCode) -> Response<ReplyBody> {
    let mut response = Response::new(ReplyBody::Whole(Full::new(Bytes::new().chain(Bytes::new()))));
    *response.status_mut() = status;
    response
}
