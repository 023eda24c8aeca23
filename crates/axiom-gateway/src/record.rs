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
//! {"method":"tools/call","name":"demo__add","server":"demo","outcome":"result","request_bytes":118,"response_bytes":97,
//!  "duration_us":312,"code":-32000,"endpoint":"/mcp","transport":"http","client_revision":"2025-11-25",
//!  "server_revision":"2025-11-25","session":"5c07f1d29e3a4b60","request":{},"response":{}}
//! ```
//!
//! Most calls differ from others in their numbers alone. Of these the numbers are put down, and the rest once, as the
//! [form](axiom_events::form) of such a body.
//!
//! What does not apply is left out: `code` is there with errors and faults, bodies only where the policy says so. A body
//! of more than [`body_bytes_max`](crate::options::EventsOptions::body_bytes_max) is there as a text that was cut, under
//! `request_cut` or `response_cut`. A call that was made again has the id of the one that it repeats as `replay_of`.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use axiom_core::time;
use axiom_events::{Level, TraceId};
use axiom_protocol::envelope::Kind;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::exchange::Final;
use crate::fault::{Blame, Fault};
use crate::message::Message;
use crate::phase::Caller;
use crate::plan::Endpoint;
use crate::upstream::Link;

use answer::{Look, Seen, response};
use desk::Desk;
use known::{Ended, Known, Server, is_plain, quoted};
use members::cut;
use secrets::Policy;
use subject::Subject;

pub(crate) use desk::Recorder;
pub(crate) use states::{ServerState, SessionState};

mod answer;
mod desk;
mod forms;
mod known;
mod members;
mod secrets;
mod states;
mod subject;
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
    /// How bodies are recorded, if they are.
    bodies: Option<Arc<Policy>>,
    /// Of an answer whose rest is on its way, as much as is recorded of a body.
    pieces: VecDeque<Bytes>,
    known: Known,
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
        if !self.is_on() || message.kind() != Kind::Request {
            return Record::default();
        }
        let Some((desk, subject)) = self.subject(via, endpoint, message) else {
            return Record::default();
        };
        let id = desk.next_call();
        let bodies = self.bodies();
        let params = message.raw(message.envelope.params);
        let said = headers.map(Said::of).unwrap_or_default();
        let known = Known {
            subject,
            client_revision: None,
            session: None,
            server: Server::None,
            server_revision: None,
            replay_of: said.replay_of.and_then(replay_of).map(Box::from),
            request_bytes: message.bytes.len() as u64,
            response_bytes: 0,
            request: bodies
                .as_ref()
                .zip(params)
                .map(|(policy, params)| policy.copy(params, true)),
            response: None,
        };
        Record(Some(Box::new(Open {
            trace: trace::of(message, said.traceparent).unwrap_or(TraceId(id.to_be_bytes())),
            desk,
            began: time::now(),
            id,
            bodies,
            pieces: VecDeque::new(),
            known,
            given_up: None,
            look: None,
            is_whole: false,
        })))
    }

    /// This thread's desk, and what a request is about; `None` where nothing is recorded.
    fn subject(&self, via: Via, endpoint: &Endpoint, message: &Message) -> Option<(Arc<Desk>, Arc<Subject>)> {
        let method = message.method();
        let param = &message.envelope.param;
        let name = param.name.or(param.reference_name);
        let raw = message.raw(name).unwrap_or_default();
        let has_address = param.uri.or(param.reference_uri).is_some();
        let is_plain = is_plain(raw, NAME_BYTES_MAX) || (name.is_none() && !has_address);
        if is_plain && !method.as_str().is_empty() {
            return self.here(|desk, subjects| {
                let subject = subjects.find(method, raw, &endpoint.path, via);
                (Arc::clone(desk), subject)
            });
        }
        let subject = Subject {
            method,
            method_name: method.as_str().is_empty().then(|| message.method_text().into()),
            name: self.name_of(message).into_boxed_slice(),
            endpoint: Arc::clone(&endpoint.path),
            via,
            server: OnceLock::new(),
            is_shared: false,
        };
        Some((self.desk()?, Arc::new(subject)))
    }

    /// The name or the address of what a request is about, as JSON; empty where it says neither.
    fn name_of(&self, message: &Message) -> Vec<u8> {
        let param = &message.envelope.param;
        let name = param.name.or(param.reference_name);
        if let Some(raw) = message.raw(name)
            && is_plain(raw, NAME_BYTES_MAX)
        {
            raw.to_vec()
        } else if let Some(name) = message.text(name) {
            quoted(cut(&name, NAME_BYTES_MAX))
        } else if let Some(uri) = message.text(param.uri.or(param.reference_uri)) {
            // Where addresses carry secrets, they do so in whatever form; this is recorded whether bodies are or not.
            quoted(cut(&self.masked(&uri), NAME_BYTES_MAX))
        } else {
            Vec::new()
        }
    }
}

impl Record {
    /// Notes who calls.
    pub(crate) fn by(&mut self, caller: &Caller) {
        let Some(open) = &mut self.0 else { return };
        open.known.client_revision = Some(caller.revision());
        open.known.session = caller.session().map(|session| session.fingerprint);
    }

    /// Notes which server has it.
    pub(crate) fn at(&mut self, link: &Link) {
        let Some(open) = &mut self.0 else { return };
        open.known.at(&link.upstream.name);
        open.known.server_revision = Some(link.revision);
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
        open.known.response_bytes = answer.parts.iter().map(|part| part.len() as u64).sum();
        let seen = answer::judge(
            &answer.parts,
            answer.is_result,
            answer.rest.is_some(),
            open.known.subject.method,
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
        if let Some(server) = fault.server()
            && open.known.server().is_none()
        {
            open.known.at(&server.into());
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
        open.known.response_bytes += piece.len() as u64;
        if let Some(look) = &mut open.look {
            look.at(piece);
        }
        // The rest of what is too long is not needed.
        if let Some(policy) = &open.bodies
            && open.known.response_bytes <= (policy.bytes_max() + piece.len()) as u64
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
        let Some(mut open) = self.0.take() else {
            return;
        };
        if !open.pieces.is_empty() {
            let pieces = std::mem::take(&mut open.pieces);
            let bytes: usize = pieces.iter().map(Bytes::len).sum();
            let is_whole = open.is_whole && bytes as u64 == open.known.response_bytes;
            open.keep(&pieces, is_whole);
        }
        let now = time::now();
        let duration = now.saturating_duration_since(open.began);
        let ended = Ended {
            outcome,
            code,
            duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
        };
        open.desk.put_call(&open.known, ended, (open.id, open.trace), now);
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
        self.known.response = Some(policy.copy(body, is_whole));
    }
}

/// What a request's head says that is recorded.
#[derive(Debug, Default)]
struct Said<'h> {
    replay_of: Option<&'h HeaderValue>,
    traceparent: Option<&'h HeaderValue>,
}

impl<'h> Said<'h> {
    /// In one pass, as hardly any request has either: to look for a name takes longer than to see that it is none of these.
    fn of(headers: &'h HeaderMap) -> Said<'h> {
        let mut said = Said::default();
        for (name, value) in headers {
            // The first of several, as everywhere.
            if *name == trace::TRACEPARENT {
                said.traceparent.get_or_insert(value);
            } else if *name == REPLAY_OF {
                said.replay_of.get_or_insert(value);
            }
        }
        said
    }
}

/// The id of the call that this one repeats, if it is one.
fn replay_of(header: &HeaderValue) -> Option<&str> {
    let of = header.to_str().ok()?;
    let is_id = of.len() == 32 && of.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    is_id.then_some(of)
}

#[cfg(test)]
mod tests;
