//! Opening a link: find out which era a server speaks, and agree with it.
//!
//! The rules, each seen on real servers (a *conclusive* answer is remembered, anything else is not):
//!
//! | server says                                  | means                                                     |
//! |----------------------------------------------|-----------------------------------------------------------|
//! | a result to `server/discover`                | modern                                                    |
//! | -32022 that lists our modern revision        | it is asked once more                                     |
//! | -32022 that does not                         | not modern                                                |
//! | any other error to `server/discover`         | not modern; the same process would still take `initialize`|
//! | nothing, or it dies, when asked to discover  | inconclusive; a fresh process is asked to `initialize`    |
//! | a result to `initialize`                     | legacy, with the revision it names                        |
//! | an error to `initialize`, then it discovers  | modern only                                               |
//! | `initialize` agreed to our modern revision   | modern only                                               |
//!
//! A stdio process is bound to the era of its first message, so each trial of an era has a process of its own.

use std::sync::Arc;
use std::time::Duration;

use axiom_core::{Task, spawn, time};
use axiom_protocol::codes;
use axiom_protocol::envelope::{self, Kind};
use axiom_protocol::headers::MCP_SESSION_ID;
use axiom_protocol::reply;
use axiom_protocol::revision::{Era, Revision};
use axiom_transport::child::{Child, ChildOptions, spawn_child};
use axiom_transport::http_client::{Answer, Target};
use axiom_transport::pipe::Pipe;
use axiom_transport::sse::Decoder;
use axiom_transport::{legacy_sse, websocket};
use bytes::Bytes;
use http::{HeaderName, StatusCode};

use super::duplex::Duplex;
use super::link::{Greeting, Link, Wire};
use super::wire::HttpWire;
use super::{Upstream, Want, listen};
use crate::bridge;
use crate::exchange::Letter;
use crate::fault::Fault;
use crate::message::Message;
use crate::options::Endpoint;
use crate::subscribe;

/// Time for an answer to `server/discover` on a pipe. A Python server needs up to five seconds to start on a busy
/// machine; one that ignores the question must not hold a client much longer.
const PROBE_TIMEOUT: Duration = Duration::from_secs(15);
/// Time for a server to say what it has to say before its first call.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(1);
/// Grace for a child after its stdin was closed, and again after SIGTERM.
const CHILD_GRACE: Duration = Duration::from_secs(2);

/// Opens a link for exactly this want: its era, its capabilities.
pub(super) async fn connect(upstream: &Arc<Upstream>, want: &Want) -> Result<Arc<Link>, Fault> {
    let link = match &upstream.options.endpoint {
        Endpoint::Http { url, headers } => {
            let target = upstream.target(url, headers)?;
            connect_http(upstream, want, target).await?
        }
        _ => connect_pipe(upstream, want).await?,
    };
    let missed = upstream.inherit(&link);
    if link.era() == Era::Legacy {
        // Before any call: what a call changes is told to whoever wants to hear of it.
        upstream.subscribe_again(&link).await;
    }
    listen::start(&link, missed).await;
    if link.era() == Era::Legacy && link.can_ask() && link.private_to.is_none() {
        settle_questions(&link).await;
    }
    let level = want
        .owner
        .as_ref()
        .and_then(|session| session.with(|state| state.log_level.clone()));
    if let Some(level) = level.filter(|_| link.era() == Era::Legacy && link.greeting.has("logging")) {
        let params = serde_json::json!({ "level": level }).to_string();
        subscribe::tell_level(Arc::clone(&link), Bytes::from(params));
    }
    Ok(link)
}

/// Some servers ask for the client's roots as soon as there is a client, and keep to them. On a link that several clients
/// share that would be the roots of whoever comes first. So the server has its say before anybody calls, and is refused.
async fn settle_questions(link: &Arc<Link>) {
    // It need not answer: a server that does not know `ping` says so, and one that says nothing may still take calls.
    let _settled = time::timeout(SETTLE_TIMEOUT, link.request("ping", b"{}"))
        .await
        .is_ok();
}

/// A pipe with a reader on it, before anything was said.
struct Opened {
    duplex: Arc<Duplex>,
    child: Option<Child>,
    /// `None` once a link has taken over.
    reader: Option<Task>,
}

async fn open(upstream: &Arc<Upstream>) -> Result<(Pipe, Option<Child>), Fault> {
    let bytes_max = upstream.limits.upstream_message_bytes_max;
    let failed = |error: &dyn std::fmt::Display| upstream.unavailable(&error.to_string());
    match &upstream.options.endpoint {
        Endpoint::Stdio { command, env, cwd } => {
            let options = ChildOptions {
                command: command.clone(),
                env: env.clone(),
                cwd: cwd.clone(),
                message_bytes_max: bytes_max,
                grace: CHILD_GRACE,
            };
            let (pipe, child) = spawn_child(options).map_err(|error| failed(&error))?;
            Ok((pipe, Some(child)))
        }
        Endpoint::WebSocket { url, headers } => Ok((
            websocket::connect(url, headers, bytes_max)
                .await
                .map_err(|error| failed(&error))?,
            None,
        )),
        Endpoint::Sse { url, headers } | Endpoint::Http { url, headers } => {
            let target = upstream.target(url, headers)?;
            Ok((
                legacy_sse::connect(&target, bytes_max)
                    .await
                    .map_err(|error| failed(&error))?,
                None,
            ))
        }
        Endpoint::InProcess(builtin) => Ok((Arc::clone(builtin).connect(), None)),
    }
}

async fn connect_pipe(upstream: &Arc<Upstream>, want: &Want) -> Result<Arc<Link>, Fault> {
    let (pipe, child) = open(upstream).await?;
    let duplex = Duplex::new(pipe.tx);
    let limits = limits(upstream);
    let reading = Arc::clone(&duplex).read(pipe.rx, limits, Arc::clone(&upstream.name));
    let (link_tx, link_rx) = axiom_core::channel::oneshot::channel::<Arc<Link>>();
    let ended = Arc::clone(&duplex);
    let name = upstream.name.to_string();
    let reader = spawn("read server", async move {
        let closed = reading.await;
        let fault = Fault::Died {
            server: name,
            reason: closed.to_string(),
        };
        ended.fail_all(&fault);
        // Without a link the handshake has failed and has told why.
        if let Ok(link) = link_rx.await {
            link.close(fault);
        }
    });
    let mut opened = Opened {
        duplex,
        child,
        reader: Some(reader),
    };
    let (revision, greeting) = greet(upstream, want, &opened, &limits).await?;
    let wire = Wire::Duplex(Arc::clone(&opened.duplex));
    let link = Arc::new(Link::new(
        upstream,
        revision,
        want,
        greeting,
        wire,
        opened.child.take(),
    ));
    opened.reader = None;
    // Before `initialized`: from then on the server may ask.
    opened.duplex.attach(&link);
    // The reader may have ended already; then it finds the link here and closes it.
    let _reader_gone = link_tx.send(Arc::clone(&link)).is_err();
    if revision.era() == Era::Legacy {
        let initialized = Bytes::from(reply::notification("notifications/initialized", b"{}"));
        link.send(initialized).await?;
    }
    Ok(link)
}

/// A handshake that fails or is given up leaves nothing behind.
impl Drop for Opened {
    fn drop(&mut self) {
        let Some(reader) = self.reader.take() else { return };
        reader.abort();
        self.duplex.close();
        if let Some(child) = self.child.take() {
            drop(spawn("stop server process", child.stop()));
        }
    }
}

async fn greet(
    upstream: &Arc<Upstream>,
    want: &Want,
    opened: &Opened,
    limits: &envelope::Limits,
) -> Result<(Revision, Greeting), Fault> {
    match want.revision.era() {
        Era::Modern => {
            let params = bridge::modern_params();
            let ask = || opened.duplex.request("server/discover", &params, limits);
            let mut asked = time::timeout(PROBE_TIMEOUT, ask()).await;
            if matches!(&asked, Ok(Ok(answer)) if wants_to_be_asked_again(answer)) {
                asked = time::timeout(PROBE_TIMEOUT, ask()).await;
            }
            match asked {
                Ok(Ok(answer)) => judge_discover(upstream, &answer),
                Ok(Err(letter)) => Err(before_link(upstream, letter)),
                Err(_) => Err(upstream.unavailable("no answer to server/discover")),
            }
        }
        Era::Legacy => {
            let params = initialize_params(want);
            match opened.duplex.request("initialize", &params, limits).await {
                Ok(answer) => {
                    let agreed = judge_initialize(upstream, &answer);
                    if agreed.is_err() && answer.kind() == Kind::Error {
                        find_modern_only(upstream, limits).await;
                    }
                    agreed
                }
                Err(letter) => Err(before_link(upstream, letter)),
            }
        }
    }
}

/// Before a link is up, a server that ends is one that could not be reached.
fn before_link(upstream: &Upstream, letter: Letter) -> Fault {
    match letter {
        Letter::Down(Fault::Died { reason, .. }) => upstream.unavailable(&reason),
        Letter::Down(fault) => fault,
        _ => upstream.unavailable("it did not answer"),
    }
}

/// A server that refuses `initialize` may be a modern-only one: ask a fresh process.
async fn find_modern_only(upstream: &Arc<Upstream>, limits: &envelope::Limits) {
    let Ok((pipe, child)) = open(upstream).await else {
        return;
    };
    let duplex = Duplex::new(pipe.tx);
    let reader = spawn(
        "read server",
        Arc::clone(&duplex).read(pipe.rx, *limits, Arc::clone(&upstream.name)),
    );
    let params = bridge::modern_params();
    let asked = duplex.request("server/discover", &params, limits);
    if let Ok(Ok(answer)) = time::timeout(PROBE_TIMEOUT, asked).await
        && judge_discover(upstream, &answer).is_ok()
    {
        upstream.learn(Era::Legacy, false);
    }
    duplex.close();
    reader.abort();
    if let Some(child) = child {
        child.stop().await;
    }
}

fn judge_discover(upstream: &Upstream, answer: &Message) -> Result<(Revision, Greeting), Fault> {
    if let Some(result) = answer.result() {
        let parsed: serde_json::Value = serde_json::from_slice(&result).unwrap_or_default();
        let supported = parsed
            .get("supportedVersions")
            .and_then(|versions| versions.as_array());
        let ours = serde_json::Value::from(Revision::MODERN.as_str());
        if supported.is_some_and(|versions| versions.contains(&ours)) {
            upstream.learn(Era::Modern, true);
            return Ok((Revision::MODERN, Greeting::new(result)));
        }
    }
    if wants_to_be_asked_again(answer) {
        // Inconclusive: it has said so twice.
        return Err(upstream.protocol_fault("it refuses the revision that it says it supports"));
    }
    upstream.learn(Era::Modern, false);
    Err(upstream.unavailable("it does not speak a modern revision"))
}

/// True for a refusal of the version that names our version as a supported one.
fn wants_to_be_asked_again(answer: &Message) -> bool {
    if answer.envelope.error_code != Some(codes::UNSUPPORTED_VERSION) {
        return false;
    }
    let error: serde_json::Value = answer
        .raw(answer.envelope.error)
        .and_then(|error| serde_json::from_slice(error).ok())
        .unwrap_or_default();
    let supported = error
        .pointer("/data/supported")
        .and_then(|supported| supported.as_array());
    supported.is_some_and(|versions| versions.contains(&Revision::MODERN.as_str().into()))
}

fn judge_initialize(upstream: &Upstream, answer: &Message) -> Result<(Revision, Greeting), Fault> {
    let Some(result) = answer.result() else {
        let text =
            String::from_utf8_lossy(answer.raw(answer.envelope.error).unwrap_or_default()).into_owned();
        return Err(upstream.unavailable(&format!("it refused initialize: {text}")));
    };
    let parsed: serde_json::Value = serde_json::from_slice(&result).unwrap_or_default();
    let named = parsed
        .get("protocolVersion")
        .and_then(|version| version.as_str())
        .unwrap_or("");
    match Revision::parse(named).filter(|revision| revision.era() == Era::Legacy) {
        Some(revision) => {
            upstream.learn(Era::Legacy, true);
            Ok((revision, Greeting::new(result)))
        }
        // It took the words and missed the meaning: no session of that revision exists.
        None if named == Revision::MODERN.as_str() => {
            upstream.learn(Era::Legacy, false);
            Err(upstream.unavailable("it wants to speak revision '2026-07-28', which has no sessions"))
        }
        None => Err(upstream.protocol_fault(format!(
            "it wants to speak revision '{named}', which we do not know"
        ))),
    }
}

async fn connect_http(upstream: &Arc<Upstream>, want: &Want, target: Target) -> Result<Arc<Link>, Fault> {
    match want.revision.era() {
        Era::Modern => discover_http(upstream, want, target).await,
        Era::Legacy => initialize_http(upstream, want, target).await,
    }
}

async fn discover_http(upstream: &Arc<Upstream>, want: &Want, target: Target) -> Result<Arc<Link>, Fault> {
    let request = Bytes::from(reply::request(b"1", "server/discover", &bridge::modern_params()));
    let message = scan(upstream, request)?;
    let wire = HttpWire::new(target, Some(Revision::MODERN), None);
    let headers = bridge::modern_headers(&message, None);
    let ask = async || {
        let answer = wire
            .post(&headers, message.bytes.clone())
            .await
            .map_err(|error| upstream.unavailable(&error.to_string()))?;
        if says_nothing(answer.status) {
            return Err(refused(upstream, answer).await);
        }
        Ok(read_reply(upstream, answer).await)
    };
    let mut reply = ask().await?;
    if reply.as_ref().is_ok_and(wants_to_be_asked_again) {
        reply = ask().await?;
    }
    match reply {
        Ok(message) => {
            let (revision, greeting) = judge_discover(upstream, &message)?;
            Ok(Arc::new(Link::new(
                upstream,
                revision,
                want,
                greeting,
                Wire::Http(wire),
                None,
            )))
        }
        // A page that is no MCP at all is what a legacy server gives a modern request.
        Err(fault) => {
            upstream.learn(Era::Modern, false);
            Err(fault)
        }
    }
}

async fn initialize_http(upstream: &Arc<Upstream>, want: &Want, target: Target) -> Result<Arc<Link>, Fault> {
    let request = Bytes::from(reply::request(b"1", "initialize", &initialize_params(want)));
    let knocking = HttpWire::new(target.clone(), None, None);
    let answer = knocking
        .post(&[], request)
        .await
        .map_err(|error| upstream.unavailable(&error.to_string()))?;
    let status = answer.status;
    let session = answer.headers.value(&HeaderName::from_static(MCP_SESSION_ID));
    if matches!(status, StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED) {
        let refusal = refused(upstream, answer).await;
        // A server of 2024-11-05 takes POSTs elsewhere and answers on a GET stream.
        return connect_pipe(upstream, want).await.map_err(|_| refusal);
    }
    if says_nothing(status) {
        return Err(refused(upstream, answer).await);
    }
    let message = read_reply(upstream, answer).await?;
    let agreed = judge_initialize(upstream, &message);
    if agreed.is_err() && message.kind() == Kind::Error {
        let modern = Want::plain(Revision::MODERN);
        if discover_http(upstream, &modern, target.clone()).await.is_ok() {
            upstream.learn(Era::Legacy, false);
        }
    }
    let (revision, greeting) = agreed?;
    // The header came with 2025-06-18; older servers ignore it.
    let wire = HttpWire::new(target, Some(revision), session);
    let initialized = Bytes::from(reply::notification("notifications/initialized", b"{}"));
    let accepted = wire
        .post(&[], initialized)
        .await
        .map_err(|error| upstream.unavailable(&error.to_string()))?;
    if !accepted.status.is_success() {
        return Err(refused(upstream, accepted).await);
    }
    Ok(Arc::new(Link::new(
        upstream,
        revision,
        want,
        greeting,
        Wire::Http(wire),
        None,
    )))
}

/// A status that says nothing about what the server speaks.
fn says_nothing(status: StatusCode) -> bool {
    use StatusCode as S;
    status.is_server_error()
        || matches!(
            status,
            S::UNAUTHORIZED | S::FORBIDDEN | S::TOO_MANY_REQUESTS | S::REQUEST_TIMEOUT
        )
}

async fn refused(upstream: &Upstream, answer: Answer) -> Fault {
    let status = answer.status.as_u16();
    let text = answer.body.collect(4 << 10).await.unwrap_or_default();
    let text: String = String::from_utf8_lossy(&text).chars().take(300).collect();
    let hint = match status {
        401 | 403 => "\nhint: give it credentials with headers = { Authorization = \"...\" }",
        404 => "\nhint: is the url's path right?",
        _ => "",
    };
    upstream.unavailable(&format!("HTTP {status}: {}{hint}", text.trim()))
}

/// The one JSON-RPC answer in an HTTP answer of either form.
async fn read_reply(upstream: &Upstream, answer: Answer) -> Result<Message, Fault> {
    let bytes_max = upstream.limits.upstream_message_bytes_max;
    let events = answer.headers.says("text/event-stream");
    let mut body = answer.body;
    if !events {
        let bytes = body
            .collect(bytes_max)
            .await
            .map_err(|error| upstream.unavailable(&error.to_string()))?;
        let text: String = String::from_utf8_lossy(&bytes).chars().take(200).collect();
        return scan(upstream, bytes).map_err(|_| {
            upstream.protocol_fault(format!(
                "HTTP {} without an MCP answer: {text}",
                answer.status.as_u16()
            ))
        });
    }
    let mut decoder = Decoder::new(bytes_max);
    while let Some(chunk) = body.chunk().await {
        decoder.feed(chunk.map_err(|error| upstream.unavailable(&error.to_string()))?);
        while let Some(event) = decoder
            .next()
            .map_err(|error| upstream.protocol_fault(error.to_string()))?
        {
            if event.data.is_empty() {
                continue;
            }
            let message = scan(upstream, event.data)?;
            if matches!(message.kind(), Kind::Response | Kind::Error) {
                return Ok(message);
            }
        }
    }
    Err(upstream.protocol_fault("its event stream ended without an answer"))
}

fn scan(upstream: &Upstream, bytes: Bytes) -> Result<Message, Fault> {
    Message::scan(bytes, &limits(upstream)).map_err(|error| upstream.protocol_fault(error.to_string()))
}

fn limits(upstream: &Upstream) -> envelope::Limits {
    envelope::Limits {
        bytes_max: upstream.limits.upstream_message_bytes_max,
        depth_max: upstream.limits.depth_max,
    }
}

/// A private link introduces its client; a shared one introduces us.
fn initialize_params(want: &Want) -> Vec<u8> {
    let mut params = b"{\"protocolVersion\":\"".to_vec();
    params.extend_from_slice(want.revision.as_str().as_bytes());
    params.extend_from_slice(b"\",\"capabilities\":");
    params.extend_from_slice(&want.capabilities);
    params.extend_from_slice(b",\"clientInfo\":");
    match &want.owner {
        Some(session) if !session.hello.client_info.is_empty() => {
            params.extend_from_slice(&session.hello.client_info);
        }
        _ => params.extend_from_slice(bridge::OUR_INFO.as_bytes()),
    }
    params.push(b'}');
    params
}
