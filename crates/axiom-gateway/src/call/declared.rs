//! What a modern client can be asked, as its request declares, and a session server's question as such a client reads it.

use axiom_protocol::method::Method;
use axiom_protocol::rewrite::object_with;
use axiom_protocol::walk;
use bytes::Bytes;

use crate::message::Message;
use crate::parking::Question;
use crate::task::words::RELATED;
use crate::upstream::whole;

/// Whether a client can be asked, and what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Declared {
    pub form: bool,
    pub url: bool,
    pub sampling: bool,
    pub roots: bool,
}

/// Why a question does not reach a modern client.
pub(crate) enum Unasked {
    /// The client does not declare this.
    Lacking(&'static str),
    /// No such client can be asked this.
    Unknown,
}

impl Unasked {
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Unasked::Lacking(_) => "the client of this call cannot be asked this",
            Unasked::Unknown => "a client of 2026-07-28 cannot be asked this",
        }
    }
}

impl Declared {
    /// A server's question as the client reads it; `number` tells it from others of its kind.
    pub(crate) fn question(self, question: &Message, number: &str) -> Result<Question, Unasked> {
        if let Some(required) = self.missing_for(question) {
            return Err(Unasked::Lacking(required));
        }
        let method = question.method();
        if !matches!(method, Method::Elicit | Method::CreateMessage | Method::RootsList) {
            return Err(Unasked::Unknown);
        }
        Ok(Question {
            key: format!("{}-{number}", name_of(method)),
            upstream_id: Bytes::copy_from_slice(question.id().unwrap_or_default()),
            ask: Bytes::from(ask(question)),
        })
    }

    /// The same in one byte, for a token.
    pub(crate) fn bits(self) -> u8 {
        let flags = [self.form, self.url, self.sampling, self.roots];
        flags
            .iter()
            .rev()
            .fold(0, |bits, flag| bits << 1 | u8::from(*flag))
    }

    pub(crate) fn from_bits(bits: u8) -> Declared {
        let flag = |at: u8| bits >> at & 1 == 1;
        Declared {
            form: flag(0),
            url: flag(1),
            sampling: flag(2),
            roots: flag(3),
        }
    }

    /// What a request's `clientCapabilities` declare. An `elicitation` that names no mode means forms.
    pub(crate) fn of(message: &Message) -> Declared {
        let Some(capabilities) = message.envelope.in_meta.client_capabilities else {
            return Declared::default();
        };
        let raw = &message.bytes;
        let get = |key| walk::get(raw, capabilities, key);
        let elicitation = get("elicitation").filter(|at| at.of(raw).starts_with(b"{"));
        let mode = |key| elicitation.is_some_and(|at| walk::get(raw, at, key).is_some());
        Declared {
            form: elicitation.is_some() && (mode("form") || !mode("url")),
            url: mode("url"),
            sampling: get("sampling").is_some(),
            roots: get("roots").is_some(),
        }
    }

    /// The `capabilities` to declare at `initialize`, one text for equal declarations.
    pub(crate) fn capabilities(self) -> Bytes {
        let elicitation = match (self.form, self.url) {
            (true, true) => "\"elicitation\":{\"form\":{},\"url\":{}},",
            (true, false) => "\"elicitation\":{},",
            (false, true) => "\"elicitation\":{\"url\":{}},",
            (false, false) => "",
        };
        let sampling = if self.sampling { "\"sampling\":{}," } else { "" };
        let roots = if self.roots { "\"roots\":{}," } else { "" };
        let fields = format!("{elicitation}{roots}{sampling}");
        Bytes::from(format!("{{{}}}", fields.trim_end_matches(',')))
    }

    /// What is missing for the client to be asked this, as `requiredCapabilities`.
    fn missing_for(self, question: &Message) -> Option<&'static str> {
        let (has, required) = match question.method() {
            Method::Elicit if is_url(question) => (self.url, "{\"elicitation\":{\"url\":{}}}"),
            Method::Elicit => (self.form, "{\"elicitation\":{}}"),
            Method::CreateMessage => (self.sampling, "{\"sampling\":{}}"),
            Method::RootsList => (self.roots, "{\"roots\":{}}"),
            _ => return None,
        };
        (!has).then_some(required)
    }
}

fn is_url(question: &Message) -> bool {
    let params = question.envelope.params;
    params
        .and_then(|params| walk::get(&question.bytes, params, "mode"))
        .is_some_and(|mode| mode.of(&question.bytes) == b"\"url\"")
}

fn name_of(method: Method) -> &'static str {
    match method {
        Method::CreateMessage => "sampling",
        Method::RootsList => "roots",
        _ => "elicitation",
    }
}

/// `{"method":...,"params":...}` without what only means something between the server and us.
fn ask(question: &Message) -> Vec<u8> {
    let mut ask = b"{\"method\":".to_vec();
    ask.extend_from_slice(question.raw(question.envelope.method_span).unwrap_or(b"\"\""));
    if let Some(params) = question.raw(question.envelope.params) {
        let meta = question.raw(question.envelope.meta).map(|meta| {
            let meta = object_with(meta, whole(meta), &[], &["progressToken", RELATED]);
            (!is_empty(&meta)).then_some(meta)
        });
        let mut remove: Vec<&str> = ["elicitationId", "task"]
            .into_iter()
            .filter(|key| walk::get(params, whole(params), key).is_some())
            .collect();
        let mut set: Vec<(&str, &[u8])> = Vec::new();
        match &meta {
            Some(Some(meta)) => set.push(("_meta", meta)),
            Some(None) => remove.push("_meta"),
            None => {}
        }
        // What nothing says is a form, and not every client knows that.
        if question.method() == Method::Elicit && walk::get(params, whole(params), "mode").is_none() {
            set.push(("mode", b"\"form\""));
        }
        let params = if set.is_empty() && remove.is_empty() {
            params.to_vec()
        } else {
            object_with(params, whole(params), &set, &remove)
        };
        if !(question.method() == Method::RootsList && is_empty(&params)) {
            ask.extend_from_slice(b",\"params\":");
            ask.extend_from_slice(&params);
        }
    }
    ask.push(b'}');
    ask
}

fn is_empty(object: &[u8]) -> bool {
    walk::members(object, whole(object)).next().is_none()
}
