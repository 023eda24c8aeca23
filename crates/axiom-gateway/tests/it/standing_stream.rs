//! A session server that asks on its standing stream, and is slow to open that stream: what it asks before is lost.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axiom_gateway::options::{Endpoint, Options, ServerOptions};
use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::{Method, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot};

use crate::client::{Client, call};
use crate::stage::{Stage, json};

const ASKABLE: &str = r#"{"elicitation":{}}"#;
const QUESTION: &str = r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"Who?","requestedSchema":{"type":"object","properties":{}}}}"#;

/// The call waits for the stream; what asks nothing does not.
#[tokio::test(start_paused = true)]
async fn the_first_call_of_a_session_waits_until_its_server_can_ask() {
    let _clock = Stopped::clock();
    let server = LateStream::start().await;
    let stage = Stage::with(server.options());
    let mut client = Client::legacy_with(&stage, "/s/late/mcp", ASKABLE).await;
    client.say(&call("1", "x")).await;
    server.asked_for_stream.notified().await;
    // It comes after the call, and is answered: a call that had not waited would have been made by now.
    let listed = client
        .asks(r#"{"jsonrpc":"2.0","id":2,"method":"tools/list"}"#)
        .await;
    assert_eq!(json(&listed)["id"], 2, "{listed}");

    server.open_stream.notify_one();
    let question = json(&client.hears().await);
    assert_eq!(question["method"], "elicitation/create", "{question}");
    let answer = r#""result":{"action":"accept","content":{"name":"Ada"}}"#;
    client
        .say(&format!(
            r#"{{"jsonrpc":"2.0","id":{},{answer}}}"#,
            question["id"]
        ))
        .await;
    let result = json(&client.hears().await);
    assert_eq!(result["result"]["content"][0]["text"], "Ada", "{result}");
}

/// Sockets take real time, and no deadline passes meanwhile: while it lives the clock stands still.
pub(crate) struct Stopped {
    _until_dropped: std::sync::mpsc::Sender<()>,
}

impl Stopped {
    pub(crate) fn clock() -> Stopped {
        let (until_dropped, dropped) = std::sync::mpsc::channel::<()>();
        // A paused clock only moves while no blocking task runs.
        tokio::task::spawn_blocking(move || dropped.recv().is_err());
        Stopped {
            _until_dropped: until_dropped,
        }
    }
}

/// The server. Its one tool asks who is there on the standing stream, and answers with the name.
struct LateStream {
    address: SocketAddr,
    /// The gateway has asked for the stream.
    asked_for_stream: Arc<Notify>,
    /// Lets it have the stream.
    open_stream: Arc<Notify>,
}

#[derive(Default)]
struct State {
    asked_for_stream: Arc<Notify>,
    open_stream: Arc<Notify>,
    stream: Mutex<Option<mpsc::UnboundedSender<Bytes>>>,
    answer: Mutex<Option<oneshot::Sender<Value>>>,
}

type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

impl LateStream {
    async fn start() -> LateStream {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let (asked_for_stream, open_stream) = (
            Arc::clone(&state.asked_for_stream),
            Arc::clone(&state.open_stream),
        );
        tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                let state = Arc::clone(&state);
                let service = service_fn(move |request| respond(Arc::clone(&state), request));
                let serving = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(connection), service);
                tokio::spawn(serving);
            }
        });
        LateStream {
            address,
            asked_for_stream,
            open_stream,
        }
    }

    fn options(&self) -> Options {
        let endpoint = Endpoint::Http {
            url: format!("http://{}/mcp", self.address),
            headers: Default::default(),
        };
        Options {
            servers: [("late".to_owned(), ServerOptions::new(endpoint))].into(),
            ..Options::default()
        }
    }
}

async fn respond(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Body>, std::convert::Infallible> {
    Ok(match *request.method() {
        Method::GET => standing_stream(&state).await,
        Method::POST => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            post(&state, &json(std::str::from_utf8(&body).unwrap())).await
        }
        _ => respond_with(StatusCode::OK, "application/json", ""),
    })
}

async fn standing_stream(state: &State) -> Response<Body> {
    state.asked_for_stream.notify_one();
    state.open_stream.notified().await;
    let (events, mut sent) = mpsc::unbounded_channel();
    *state.stream.lock().unwrap() = Some(events);
    let frames = stream::poll_fn(move |cx| sent.poll_recv(cx)).map(|event| Ok(Frame::data(event)));
    let body = StreamBody::new(frames).boxed_unsync();
    let mut response = Response::new(body);
    response
        .headers_mut()
        .insert("content-type", "text/event-stream".parse().unwrap());
    response
}

async fn post(state: &State, message: &Value) -> Response<Body> {
    let result = match message["method"].as_str() {
        Some("initialize") => r#"{"protocolVersion":"2025-11-25","capabilities":{"tools":{}},"serverInfo":{"name":"late","version":"1"}}"#.to_owned(),
        Some("tools/list") => r#"{"tools":[]}"#.to_owned(),
        Some("tools/call") => {
            let name = ask(state).await;
            format!(r#"{{"content":[{{"type":"text","text":{name}}}]}}"#)
        }
        None => {
            let waiting = state.answer.lock().unwrap().take().expect("something was asked");
            waiting.send(message["result"]["content"]["name"].clone()).unwrap();
            return respond_with(StatusCode::ACCEPTED, "application/json", "");
        }
        _ if message.get("id").is_none() => return respond_with(StatusCode::ACCEPTED, "application/json", ""),
        _ => {
            let error = format!(r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-32601,"message":"unknown"}}}}"#, message["id"]);
            return respond_with(StatusCode::OK, "application/json", &error);
        }
    };
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, message["id"]);
    respond_with(StatusCode::OK, "application/json", &answer)
}

/// Asks on the standing stream, which nobody hears if there is none.
async fn ask(state: &State) -> Value {
    let Some(stream) = state.stream.lock().unwrap().clone() else {
        return "nobody heard the question".into();
    };
    let (answer, answered) = oneshot::channel();
    *state.answer.lock().unwrap() = Some(answer);
    let question = Bytes::from(format!("data: {QUESTION}\n\n"));
    stream.send(question).unwrap();
    answered.await.unwrap()
}

fn respond_with(status: StatusCode, content_type: &str, body: &str) -> Response<Body> {
    Response::builder()
        .status(status)
        .header("content-type", content_type)
        .header("mcp-session-id", "s")
        .body(Full::new(Bytes::from(body.to_owned())).boxed_unsync())
        .unwrap()
}
