//! Exactly one outcome, one event: what is recorded of each call.
//!
//! A [`Record`] is opened when a request is understood and goes wherever the call goes. It writes its event when the
//! outcome is known, or when it is dropped without one: a client that left, a task that was ended, a panic. So there is
//! no way out of a call that leaves no event, and none that leaves two.
//!
//! The event's kind is `gateway.call`, its stream `gateway.<server>` (`gateway` where no server was asked), its task the
//! call's id, and its body:
//!
//! ```json
//! {"method":"tools/call","name":"demo__add","endpoint":"/mcp","transport":"http","client_revision":"2025-11-25",
//!  "session":"5c07f1d29e3a4b60","request_bytes":118,"server":"demo","server_revision":"2025-11-25",
//!  "outcome":"result","code":-32000,"response_bytes":97,"duration_us":312,"request":{},"response":{}}
//! ```
//!
//! What does not apply is left out: `code` is there with errors and faults, bodies only where the policy says so. A body
//! of more than [`body_bytes_max`](crate::options::EventsOptions::body_bytes_max) is there as a text that was cut, under
//! `request_cut` or `response_cut`. A call that was made again has the id of the one that it repeats as `replay_of`.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axiom_core::time;
use axiom_events::{Level, TraceId};
use axiom_protocol::envelope::Kind;
use axiom_protocol::method::Method;
use axiom_protocol::text::push_quoted;
use bytes::Bytes;
use http::{HeaderMap, HeaderName};

use crate::exchange::Final;
use crate::fault::{Blame, Fault};
use crate::message::Message;
use crate::phase::Caller;
use crate::plan::Endpoint;
use crate::upstream::Link;

use answer::{Look, Seen, response};
use desk::{Desk, Draft};
use secrets::{Cut, Policy};

pub(crate) use desk::Recorder;
pub(crate) use states::{ServerState, SessionState};

mod answer;
mod desk;
mod secrets;
mod states;
mod trace;

/// Bytes of a name, an address or a method that are recorded at most.
const NAME_BYTES_MAX: usize = 256;

/// In the head of a call that is made again: the id of the one that was recorded. No server sees it.
pub const REPLAY_OF: HeaderName = HeaderName::from_static("axiom-replay-of");

/// How a client's message came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Via {
    Http,
    Stdio,
    WebSocket,
    /// HTTP+SSE of 2024-11-05.
    Sse,
}

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Result,
    /// A result that says of itself that it is an error.
    ToolError,
    /// A JSON-RPC error of the server.
    Error,
    /// The server wants to know something first; the call goes on as another one.
    InputRequired,
    /// A stream of news was opened.
    Listening,
    /// An error of the gateway's making.
    Fault(Blame),
    /// The client gave it up and said so.
    Cancelled,
    /// Its client was gone before there was an outcome.
    Gone,
    Panicked,
}

/// What will be one event. Nothing at all where events are not recorded.
#[derive(Debug, Default)]
pub(crate) struct Record(Option<Box<Open>>);

/// Set by whoever ends a call's task because its client has cancelled the call.
pub(crate) type GivenUp = Arc<AtomicBool>;

#[derive(Debug)]
struct Open {
    desk: Arc<Desk>,
    began: time::Instant,
    id: u128,
    trace: TraceId,
    method: Method,
    /// How bodies are recorded, if they are.
    bodies: Option<Arc<Policy>>,
    /// Of an answer whose rest is on its way, as much as is recorded of a body.
    pieces: VecDeque<Bytes>,
    /// The event's body, as far as it is known.
    draft: Draft,
    response_bytes: u64,
    given_up: Option<GivenUp>,
    /// Of an answer whose rest is on its way.
    look: Option<Look>,
    /// That rest has come.
    is_whole: bool,
}

impl Via {
    fn name(self) -> &'static str {
        match self {
            Via::Http => "http",
            Via::Stdio => "stdio",
            Via::WebSocket => "websocket",
            Via::Sse => "sse",
        }
    }
}

impl Outcome {
    fn name(self) -> &'static str {
        match self {
            Outcome::Result => "result",
            Outcome::ToolError => "tool_error",
            Outcome::Error => "error",
            Outcome::InputRequired => "input_required",
            Outcome::Listening => "listening",
            Outcome::Fault(_) => "fault",
            Outcome::Cancelled => "cancelled",
            Outcome::Gone => "gone",
            Outcome::Panicked => "panicked",
        }
    }

    fn level(self) -> Level {
        match self {
            Outcome::Result | Outcome::InputRequired | Outcome::Listening | Outcome::Cancelled => Level::Info,
            Outcome::ToolError | Outcome::Error | Outcome::Gone | Outcome::Fault(Blame::Client) => {
                Level::Warn
            }
            Outcome::Fault(_) | Outcome::Panicked => Level::Error,
        }
    }
}

impl Recorder {
    /// Opens the record of a request. Anything else than a request leaves none.
    pub(crate) fn begin(
        &self,
        via: Via,
        endpoint: &Endpoint,
        message: &Message,
        headers: Option<&HeaderMap>,
    ) -> Record {
        let Some(desk) = self.desk() else {
            return Record::default();
        };
        if message.kind() != Kind::Request {
            return Record::default();
        }
        let id = desk.next_call();
        let mut draft = Draft::new();
        match message.method().as_str() {
            "" => draft.text("method", &message.method_text(), NAME_BYTES_MAX),
            method => draft.word("method", method),
        }
        let param = &message.envelope.param;
        let name = param.name.or(param.reference_name);
        if message
            .raw(name)
            .is_some_and(|raw| draft.plain("name", raw, NAME_BYTES_MAX))
        {
            // Most names are what they look like.
        } else if let Some(name) = message.text(name) {
            draft.text("name", &name, NAME_BYTES_MAX);
        } else if let Some(uri) = message.text(param.uri.or(param.reference_uri)) {
            // Where addresses carry secrets, they do so in whatever form; this is recorded whether bodies are or not.
            draft.text("name", &self.masked(&uri), NAME_BYTES_MAX);
        }
        draft.text("endpoint", &endpoint.path, NAME_BYTES_MAX);
        draft.word("transport", via.name());
        draft.number("request_bytes", message.bytes.len() as u64);
        if let Some(of) = headers.and_then(|headers| replay_of(headers)) {
            draft.word("replay_of", of);
        }
        let bodies = self.bodies();
        if let (Some(policy), Some(params)) = (&bodies, message.raw(message.envelope.params)) {
            draft.body("request", policy.copy(params, true));
        }
        Record(Some(Box::new(Open {
            trace: trace::of(message, headers).unwrap_or(TraceId(id.to_be_bytes())),
            desk,
            began: time::now(),
            id,
            method: message.method(),
            bodies,
            pieces: VecDeque::new(),
            draft,
            response_bytes: 0,
            given_up: None,
            look: None,
            is_whole: false,
        })))
    }
}

impl Record {
    /// Notes who calls.
    pub(crate) fn by(&mut self, caller: &Caller) {
        let Some(open) = &mut self.0 else { return };
        open.draft.word("client_revision", caller.revision().as_str());
        if let Some(session) = caller.session() {
            open.draft.hex("session", session.fingerprint);
        }
    }

    /// Notes which server has it.
    pub(crate) fn at(&mut self, link: &Link) {
        let Some(open) = &mut self.0 else { return };
        open.draft.server(&link.upstream.name);
        open.draft.word("server_revision", link.revision.as_str());
    }

    /// Notes that the call's task may be ended from outside, and where to see whether its client wanted that.
    pub(crate) fn given_up_by(&mut self, given_up: GivenUp) {
        if let Some(open) = &mut self.0 {
            open.given_up = Some(given_up);
        }
    }

    /// The outcome is known. Of an answer whose rest is still on its way it is known when that has arrived.
    pub(crate) fn settle(&mut self, outcome: &mut Result<Final, Fault>) {
        match outcome {
            Ok(answer) => self.answered(answer),
            Err(fault) => self.failed(fault),
        }
    }

    pub(crate) fn answered(&mut self, answer: &mut Final) {
        let Some(open) = &mut self.0 else { return };
        open.response_bytes = answer.parts.iter().map(|part| part.len() as u64).sum();
        let seen = answer::judge(
            &answer.parts,
            answer.is_result,
            answer.rest.is_some(),
            open.method,
        );
        match &mut answer.rest {
            None => {
                open.keep(&answer.parts, true);
                self.end(seen.outcome, seen.code);
            }
            Some(rest) => {
                if open.bodies.is_some() {
                    open.pieces.clone_from(&answer.parts);
                }
                open.look = Some(Look::new(seen, &answer.parts));
                rest.record = std::mem::take(self);
            }
        }
    }

    pub(crate) fn failed(&mut self, fault: &Fault) {
        let Some(open) = &mut self.0 else { return };
        if let Some(server) = fault.server() {
            open.draft.server(server);
        }
        match fault {
            Fault::Cancelled => self.end(Outcome::Cancelled, None),
            _ => self.end(Outcome::Fault(fault.blame()), Some(fault.code())),
        }
    }

    /// A stream of news was opened; what comes on it is no part of the call.
    pub(crate) fn listening(&mut self) {
        self.end(Outcome::Listening, None);
    }

    /// Another replica has the call, and its record.
    pub(crate) fn leave_to_another(&mut self) {
        self.0 = None;
    }

    /// A piece of an answer's rest.
    pub(crate) fn passed(&mut self, piece: &Bytes) {
        let Some(open) = &mut self.0 else { return };
        open.response_bytes += piece.len() as u64;
        if let Some(look) = &mut open.look {
            look.at(piece);
        }
        // The rest of what is too long is not needed.
        if let Some(policy) = &open.bodies
            && open.response_bytes <= (policy.bytes_max() + piece.len()) as u64
        {
            open.pieces.push_back(piece.clone());
        }
    }

    /// The whole of an answer's rest has passed.
    pub(crate) fn passed_all(&mut self) {
        let look = self.0.as_mut().and_then(|open| {
            open.is_whole = true;
            open.look.take()
        });
        if let Some(Seen { outcome, code }) = look.map(Look::seen) {
            self.end(outcome, code);
        }
    }

    fn end(&mut self, outcome: Outcome, code: Option<i64>) {
        let Some(mut open) = self.0.take().map(|open| *open) else {
            return;
        };
        if !open.pieces.is_empty() {
            let pieces = std::mem::take(&mut open.pieces);
            let bytes: usize = pieces.iter().map(Bytes::len).sum();
            open.keep(&pieces, open.is_whole && bytes as u64 == open.response_bytes);
        }
        open.draft.word("outcome", outcome.name());
        if let Some(code) = code {
            open.draft.signed("code", code);
        }
        if open.response_bytes > 0 {
            open.draft.number("response_bytes", open.response_bytes);
        }
        let micros = u64::try_from(open.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        open.draft.number("duration_us", micros);
        open.desk
            .put_call(open.id, open.trace, outcome.level(), open.draft);
    }
}

impl Drop for Record {
    fn drop(&mut self) {
        let Some(open) = &self.0 else { return };
        let is_given_up = |flag: &GivenUp| flag.load(Ordering::Acquire);
        let outcome = if std::thread::panicking() {
            Outcome::Panicked
        } else if open.given_up.as_ref().is_some_and(is_given_up) {
            Outcome::Cancelled
        } else {
            Outcome::Gone
        };
        self.end(outcome, None);
    }
}

impl Open {
    /// Notes the answer's body, if that is wanted.
    fn keep(&mut self, parts: &VecDeque<Bytes>, is_whole: bool) {
        let Some(policy) = &self.bodies else { return };
        let joined = answer::joined(parts);
        let body = response(&joined);
        self.draft.body("response", policy.copy(body, is_whole));
    }
}

/// The id of the call that this one repeats, if it is one.
fn replay_of(headers: &HeaderMap) -> Option<&str> {
    let of = headers.get(REPLAY_OF)?.to_str().ok()?;
    let is_id = of.len() == 32 && of.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then_some(of)
}

impl Draft {
    fn body(&mut self, key: &str, copied: Cut) {
        match copied {
            Cut::Whole(json) => self.raw(key, &json),
            Cut::Part(text) => {
                let mut quoted = Vec::with_capacity(text.len() + 64);
                push_quoted(&mut quoted, &text);
                self.raw(&format!("{key}_cut"), &quoted);
            }
        }
    }
}

#[cfg(test)]
mod tests;
