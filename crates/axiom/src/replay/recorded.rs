//! A call as it was recorded, as far as it can be made again.

use axiom_events::Recorded;
use axiom_protocol::revision::Revision;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::client::Members;

/// A call that can be made again.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    pub(crate) offset: u64,
    /// The call's own id: the event's task.
    pub(crate) id: String,
    pub(crate) method: String,
    /// The tool's, prompt's or resource's name, as its client called it.
    pub(crate) name: String,
    /// Who answered; empty if several servers or the gateway itself did.
    pub(crate) server: String,
    /// The path of the endpoint at which it came.
    pub(crate) endpoint: String,
    /// Which revision its client spoke.
    pub(crate) revision: Option<Revision>,
    /// Without what its client said of itself and of this one call.
    pub(crate) params: Box<RawValue>,
    pub(crate) answer: Answer,
    pub(crate) duration_us: Option<u64>,
}

/// How a call was answered.
#[derive(Debug, Clone)]
pub(crate) enum Answer {
    Result(Box<RawValue>),
    /// A JSON-RPC error of the server.
    Error {
        code: i64,
        message: String,
    },
}

/// Why a recorded call cannot be made again.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum Refusal {
    #[error("event {offset} is no call but {kind}")]
    NoCall { offset: u64, kind: String },
    #[error("the event is of a form that this version does not know")]
    Unreadable,
    #[error("{method} {why}")]
    Method { method: String, why: &'static str },
    #[error("what was asked was not recorded")]
    NoBodies,
    #[error("its request was recorded without its secrets")]
    Masked,
    #[error("its request was longer than what is recorded of one")]
    RequestCut,
    #[error("its answer was longer than what is recorded of one, so there is nothing to compare with")]
    ResponseCut,
    #[error("its outcome was `{outcome}`, so there is no answer to compare with")]
    NoAnswer { outcome: String },
}

/// What stands where a secret was.
pub(crate) const MASK: &str = "[redacted]";

/// The members of a call's event that matter here.
#[derive(Deserialize)]
struct Body<'a> {
    method: String,
    #[serde(default)]
    name: String,
    #[serde(default)]
    server: String,
    endpoint: String,
    outcome: String,
    #[serde(default)]
    client_revision: String,
    duration_us: Option<u64>,
    #[serde(borrow)]
    request: Option<&'a RawValue>,
    request_cut: Option<String>,
    #[serde(borrow)]
    response: Option<&'a RawValue>,
    response_cut: Option<String>,
}

impl Refusal {
    /// What would help, if anything does.
    pub(crate) fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Refusal::NoBodies => {
                "set bodies = \"redacted\" or \"full\" in the section [events]: calls from then on can be made again"
            }
            Refusal::Masked => {
                "what only may be a secret is kept with bodies = \"full\"; a call with a real one must be made by hand"
            }
            Refusal::RequestCut | Refusal::ResponseCut => {
                "set a larger `body_bytes_max` in the section [events]: calls from then on are recorded whole"
            }
            Refusal::NoCall { .. } => "`axiom events tail --filter kind=gateway.call` shows calls",
            Refusal::NoAnswer { .. } | Refusal::Method { .. } | Refusal::Unreadable => return None,
        })
    }
}

impl Call {
    pub(crate) fn of(recorded: &Recorded<'_>) -> Result<Call, Refusal> {
        let event = &recorded.event;
        if event.kind != "gateway.call" {
            return Err(Refusal::NoCall {
                offset: recorded.offset,
                kind: event.kind.to_owned(),
            });
        }
        let body: Body<'_> = serde_json::from_slice(event.body).map_err(|_| Refusal::Unreadable)?;
        if let Some(why) = unrepeatable(&body.method) {
            let method = body.method;
            return Err(Refusal::Method { method, why });
        }
        let params = params(&body)?;
        let answer = answer(&body)?;
        Ok(Call {
            offset: recorded.offset,
            id: event.task.to_owned(),
            revision: Revision::parse(&body.client_revision),
            method: body.method,
            name: body.name,
            server: body.server,
            endpoint: body.endpoint,
            params,
            answer,
            duration_us: body.duration_us,
        })
    }
}

/// Why a method means nothing out of its conversation.
fn unrepeatable(method: &str) -> Option<&'static str> {
    match method {
        "tools/call"
        | "tools/list"
        | "prompts/get"
        | "prompts/list"
        | "resources/read"
        | "resources/list"
        | "resources/templates/list"
        | "completion/complete" => None,
        "initialize" | "server/discover" | "ping" => {
            Some("is a conversation's beginning, and no call to repeat")
        }
        _ if method.starts_with("tasks/") => Some("is about a task that is over"),
        _ => Some("means something in its own conversation only"),
    }
}

fn params(body: &Body<'_>) -> Result<Box<RawValue>, Refusal> {
    if body.request_cut.is_some() {
        return Err(Refusal::RequestCut);
    }
    let Some(request) = body.request else {
        // A list may be asked for without any parameters, which leaves no trace but the answer.
        let is_recorded = body.response.is_some() || body.response_cut.is_some();
        return match is_recorded {
            true => Ok(raw("{}".to_owned())),
            false => Err(Refusal::NoBodies),
        };
    };
    if request.get().contains(MASK) {
        return Err(Refusal::Masked);
    }
    let members = Members::of(request);
    for key in ["requestState", "inputResponses", "task"] {
        if members.raw(key).is_some() {
            let why = match key {
                "task" => "was called as a task, whose result is another call's",
                _ => "goes on with a call that had been answered with a question",
            };
            let method = body.method.clone();
            return Err(Refusal::Method { method, why });
        }
    }
    let kept = members.keys().filter(|key| *key != "_meta");
    let kept: Vec<String> = kept
        .filter_map(|key| {
            Some(format!(
                "{}:{}",
                serde_json::to_string(key).ok()?,
                members.raw(key)?.get()
            ))
        })
        .collect();
    Ok(raw(format!("{{{}}}", kept.join(","))))
}

fn answer(body: &Body<'_>) -> Result<Answer, Refusal> {
    let no_answer = || Refusal::NoAnswer {
        outcome: body.outcome.clone(),
    };
    if !matches!(body.outcome.as_str(), "result" | "tool_error" | "error") {
        return Err(no_answer());
    }
    if body.response_cut.is_some() {
        return Err(Refusal::ResponseCut);
    }
    let response = body.response.ok_or_else(no_answer)?;
    if body.outcome != "error" {
        return Ok(Answer::Result(response.to_owned()));
    }
    let error = Members::of(response);
    Ok(Answer::Error {
        code: error.read("code").ok_or_else(no_answer)?,
        message: error.text("message"),
    })
}

/// JSON that was put together of JSON.
fn raw(json: String) -> Box<RawValue> {
    RawValue::from_string(json).expect("members of JSON make JSON")
}

impl Answer {
    /// What it is, in the words of an event's outcome.
    pub(crate) fn outcome(&self) -> &'static str {
        match self {
            Answer::Result(result) if Members::of(result).read("isError") == Some(true) => "tool_error",
            Answer::Result(_) => "result",
            Answer::Error { .. } => "error",
        }
    }
}
