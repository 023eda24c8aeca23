//! Between the eras: a request of one era made readable to a server of the other, and the answer back.
//!
//! Here is what needs no state: the shape of requests, answers and errors. What a server asks its client in the middle
//! of a call (elicitation, sampling, roots) is carried across in [`crate::call`].

use std::collections::VecDeque;
use std::sync::Arc;

use axiom_protocol::codes;
use axiom_protocol::headers::{MCP_METHOD, MCP_NAME, encode_value};
use axiom_protocol::method::Method;
use axiom_protocol::revision::{Era, Revision};
use axiom_protocol::rewrite::object_with;
use axiom_protocol::span::Span;
use axiom_protocol::tool_headers;
use axiom_protocol::walk;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::call::{Converted, is_visit_first};
use crate::exchange::Final;
use crate::fault::Fault;
use crate::level;
use crate::message::Message;
use crate::session::Session;
use crate::task;
use crate::task::words::RELATED;
use crate::upstream::{Link, whole};

/// How the gateway introduces itself to servers and clients.
pub(crate) const OUR_INFO: &str = concat!(
    "{\"name\":\"axiom\",\"title\":\"Axiom gateway\",\"version\":\"",
    env!("CARGO_PKG_VERSION"),
    "\"}"
);

const META_VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const META_CAPABILITIES: &str = "io.modelcontextprotocol/clientCapabilities";
const META_INFO: &str = "io.modelcontextprotocol/clientInfo";
const META_LOG_LEVEL: &str = "io.modelcontextprotocol/logLevel";
/// Keys of a modern request's `_meta` that mean nothing to a legacy server.
const MODERN_META: [&str; 4] = [META_VERSION, META_CAPABILITIES, META_INFO, META_LOG_LEVEL];

/// Fields of a modern request by which its client comes back with answers.
const MODERN_PARAMS: [&str; 2] = ["inputResponses", "requestState"];
/// The same in `tools/call`, where `task` has come to mean nothing.
const MODERN_CALL_PARAMS: [&str; 3] = ["inputResponses", "requestState", "task"];

/// `params` with the `_meta` that every modern request carries, for requests of the gateway's own.
pub(crate) fn modern_params() -> Vec<u8> {
    modern_params_with(&[])
}

/// Like [`modern_params`], with further fields.
pub(crate) fn modern_params_with(fields: &[(&str, &[u8])]) -> Vec<u8> {
    let mut params = Vec::with_capacity(256);
    params.push(b'{');
    for (name, value) in fields {
        params.push(b'"');
        params.extend_from_slice(name.as_bytes());
        params.extend_from_slice(b"\":");
        params.extend_from_slice(value);
        params.push(b',');
    }
    params.extend_from_slice(b"\"_meta\":");
    params.extend_from_slice(&modern_meta(OUR_INFO.as_bytes(), b"{}", None));
    params.push(b'}');
    params
}

/// The same in the name of a client with a session.
pub(crate) fn params_introducing(client: &Introduction, fields: &[(&str, &[u8])]) -> Vec<u8> {
    let info = client.info_or_ours();
    let meta = modern_meta(info, &client.capabilities, client.log_level.as_deref());
    let mut all = fields.to_vec();
    all.push(("_meta", &meta));
    object_with(b"{}", whole(b"{}"), &all, &[])
}

fn modern_meta(info: &[u8], capabilities: &[u8], log_level: Option<&str>) -> Vec<u8> {
    let level = log_level.map(|level| serde_json::Value::from(level).to_string());
    let version = format!("\"{}\"", Revision::MODERN.as_str());
    let mut set: Vec<(&str, &[u8])> = vec![
        (META_VERSION, version.as_bytes()),
        (META_CAPABILITIES, capabilities),
        (META_INFO, info),
    ];
    if let Some(level) = &level {
        set.push((META_LOG_LEVEL, level.as_bytes()));
    }
    object_with(b"{}", whole(b"{}"), &set, &[])
}

/// The headers a modern HTTP server demands besides the version: what the body says, mirrored.
pub(crate) fn modern_headers(message: &Message, name: Option<&str>) -> Vec<(HeaderName, HeaderValue)> {
    let mut headers = Vec::with_capacity(2);
    if let Ok(method) = HeaderValue::from_str(&encode_value(&message.method_text())) {
        headers.push((HeaderName::from_static(MCP_METHOD), method));
    }
    let named = match message.method() {
        Method::ToolsCall | Method::PromptsGet => message.text(message.envelope.param.name),
        Method::ResourcesRead => message.text(message.envelope.param.uri),
        Method::TasksGet | Method::TasksUpdate | Method::TasksCancel => {
            message.text(message.envelope.param.task_id)
        }
        _ => None,
    };
    if let Some(name) = name.or(named.as_deref())
        && let Ok(value) = HeaderValue::from_str(&encode_value(name))
    {
        headers.push((HeaderName::from_static(MCP_NAME), value));
    }
    headers
}

/// What a client with a session said of itself, in each request to a modern server.
#[derive(Debug, Default)]
pub(crate) struct Introduction {
    pub info: Bytes,
    pub capabilities: Vec<u8>,
    pub log_level: Option<String>,
}

impl Introduction {
    pub(crate) fn of(session: &Session) -> Introduction {
        Introduction {
            info: session.hello.client_info.clone(),
            capabilities: to_modern_capabilities(&session.hello.capabilities, session.revision()),
            log_level: session.with(|state| state.log_level.clone()),
        }
    }

    /// The same client for a request in which it knows tasks.
    pub(crate) fn with_tasks(mut self) -> Introduction {
        let raw = &self.capabilities;
        let extensions = walk::get(raw, whole(raw), "extensions").map_or(&b"{}"[..], |at| at.of(raw));
        let extensions = object_with(extensions, whole(extensions), &[(task::EXTENSION, b"{}")], &[]);
        self.capabilities = object_with(raw, whole(raw), &[("extensions", &extensions)], &[]);
        self
    }

    fn info_or_ours(&self) -> &[u8] {
        if self.info.is_empty() {
            OUR_INFO.as_bytes()
        } else {
            &self.info
        }
    }
}

/// Capabilities without what 2026-07-28 does not know or what the gateway cannot keep.
fn to_modern_capabilities(capabilities: &[u8], revision: Revision) -> Vec<u8> {
    let is_object = |key: &str| {
        walk::get(capabilities, whole(capabilities), key)
            .is_some_and(|at| at.of(capabilities).starts_with(b"{"))
    };
    let mut set: Vec<(&str, &[u8])> = Vec::new();
    if is_object("roots") {
        // Changes of roots have no notification there.
        set.push(("roots", b"{}"));
    }
    if is_object("elicitation") && revision < Revision::V2025_11_25 {
        // It had forms only, whatever else a client of it says.
        set.push(("elicitation", b"{}"));
    }
    // Declared with each request that wants a task, and with no other.
    let extensions = walk::get(capabilities, whole(capabilities), "extensions")
        .filter(|at| walk::get(capabilities, *at, task::EXTENSION).is_some())
        .map(|at| object_with(capabilities, at, &[], &[task::EXTENSION]));
    set.extend(extensions.as_deref().map(|extensions| ("extensions", extensions)));
    object_with(capabilities, whole(capabilities), &set, &["tasks"])
}

/// A request for a link of the other era.
pub(crate) fn request(message: &Message, link: &Link, client: &Introduction) -> Result<Message, Fault> {
    let params = match link.era() {
        Era::Modern => to_modern(message, client),
        Era::Legacy => to_legacy(message),
    };
    let bytes = object_with(
        &message.bytes,
        message.envelope.object,
        &[("params", &params)],
        &[],
    );
    Message::scan(Bytes::from(bytes), &link.limits()).map_err(Fault::Unreadable)
}

fn to_modern(message: &Message, client: &Introduction) -> Vec<u8> {
    let added = modern_meta(
        client.info_or_ours(),
        &client.capabilities,
        client.log_level.as_deref(),
    );
    let meta = match message.raw(message.envelope.meta) {
        None => added,
        Some(old) => {
            let fields: Vec<(String, &[u8])> = walk::members(&added, whole(&added))
                .filter_map(|(key, value)| {
                    Some((
                        axiom_protocol::text::text(&added, key)?.into_owned(),
                        value.of(&added),
                    ))
                })
                .collect();
            let set: Vec<(&str, &[u8])> = fields.iter().map(|(key, value)| (key.as_str(), *value)).collect();
            object_with(old, whole(old), &set, &[])
        }
    };
    match message.raw(message.envelope.params) {
        Some(params) => object_with(params, whole(params), &[("_meta", &meta)], of_session(message)),
        None => object_with(b"{}", whole(b"{}"), &[("_meta", &meta)], &[]),
    }
}

/// Fields of a session's request that have another meaning now, or none.
fn of_session(message: &Message) -> &'static [&'static str] {
    match message.method() {
        Method::ToolsCall => &["task"],
        _ => &[],
    }
}

fn to_legacy(message: &Message) -> Vec<u8> {
    let Some(params) = message.raw(message.envelope.params) else {
        return b"{}".to_vec();
    };
    let gone: &[&str] = match message.method() {
        Method::ToolsCall => &MODERN_CALL_PARAMS,
        _ => &MODERN_PARAMS,
    };
    let Some(meta) = message.raw(message.envelope.meta) else {
        return object_with(params, whole(params), &[], gone);
    };
    let kept = object_with(meta, whole(meta), &[], &MODERN_META);
    if kept
        .iter()
        .all(|byte| matches!(byte, b'{' | b'}' | b' ' | b'\n' | b'\r' | b'\t'))
    {
        object_with(params, whole(params), &[], &[&["_meta"], gone].concat())
    } else {
        object_with(params, whole(params), &[("_meta", &kept)], gone)
    }
}

/// True for results that carry cache hints in the modern era.
fn is_cacheable(method: Method) -> bool {
    matches!(
        method,
        Method::ToolsList
            | Method::PromptsList
            | Method::ResourcesList
            | Method::ResourceTemplatesList
            | Method::ResourcesRead
            | Method::Discover
    )
}

/// An answer of the other era, made readable to the client.
pub(crate) async fn answer(
    answer: Final,
    method: Method,
    client: Revision,
    link: Arc<Link>,
) -> Result<Converted, Fault> {
    let server = link.upstream.name.to_string();
    let status = answer.status;
    let bytes = answer.collect(link.limits().bytes_max, &server).await?;
    let message = Message::scan(bytes, &link.limits()).map_err(|error| Fault::Protocol {
        server: server.clone(),
        reason: error.to_string(),
    })?;
    let bytes = match (client.era(), message.envelope.result) {
        (Era::Modern, Some(result)) => {
            let mut set: Vec<(&str, &[u8])> = vec![("resultType", b"\"complete\"")];
            if is_cacheable(method) {
                set.extend([("ttlMs", &b"0"[..]), ("cacheScope", &b"\"private\""[..])]);
            }
            let meta = with_server_info(&message, &link);
            set.extend(meta.as_deref().map(|meta| ("_meta", meta)));
            let result = object_with(&message.bytes, result, &set, &[]);
            object_with(
                &message.bytes,
                message.envelope.object,
                &[("result", &result)],
                &[],
            )
        }
        (Era::Legacy, Some(result)) => match message
            .text(message.envelope.in_result.result_type)
            .as_deref()
            .filter(|_| link.era() == Era::Modern)
        {
            None | Some("complete") => {
                let callable = (method == Method::ToolsList && link.is_http() && link.era() == Era::Modern)
                    .then(|| without_uncallable(&message, &link))
                    .flatten();
                let message = callable.as_ref().unwrap_or(&message);
                let result = message.envelope.result.unwrap_or(result);
                let levelled = level::result(&message.bytes, result, method, client);
                levelled.unwrap_or_else(|| message.bytes.to_vec())
            }
            Some("input_required") => {
                return Ok(Converted::InputRequired(message.result().unwrap_or_default()));
            }
            Some(other) => {
                return Err(Fault::NotBridged {
                    server,
                    speaks: "2026-07-28",
                    method: format!("an answer of the type {other} to a client of an older revision"),
                });
            }
        },
        (Era::Modern, None) if may_ask(method) && is_visit_first(message.envelope.error_code) => {
            let data = message
                .envelope
                .error
                .and_then(|error| walk::get(&message.bytes, error, "data"));
            let data = data.map(|at| message.slice(at)).unwrap_or_default();
            return Ok(Converted::VisitFirst(data));
        }
        (era, None) if era == link.era() => message.bytes.to_vec(),
        (era, None) => error_across(&message, method, era),
    };
    let is_result = message.envelope.result.is_some();
    Ok(Converted::Final(Final {
        status,
        is_result,
        parts: VecDeque::from([Bytes::from(bytes)]),
        rest: None,
    }))
}

/// The result's `_meta` with who the server is, which a legacy server says only once.
pub(crate) fn with_server_info(message: &Message, link: &Link) -> Option<Vec<u8>> {
    let greeting = &link.greeting.result;
    let info = walk::get(greeting, whole(greeting), "serverInfo")?;
    let meta = message.raw(message.envelope.in_result.meta).unwrap_or(b"{}");
    let info = ("io.modelcontextprotocol/serverInfo", info.of(greeting));
    // A client that was told of a task asks about it in other words.
    Some(object_with(meta, whole(meta), &[info], &[RELATED]))
}

/// A list of tools without those whose mirrored headers break the rules: a call to one could not be made. `None` if
/// there are none.
fn without_uncallable(message: &Message, link: &Link) -> Option<Message> {
    let raw = &message.bytes;
    let tools = message
        .envelope
        .result
        .and_then(|result| walk::get(raw, result, "tools"))
        .filter(|tools| tools.of(raw).starts_with(b"["));
    let (result, tools) = (message.envelope.result?, tools?);
    let is_callable = |tool: &Span| match walk::get(raw, *tool, "inputSchema") {
        Some(schema) => match tool_headers::compile(raw, schema) {
            Ok(_) => true,
            Err(error) => {
                tracing::warn!(server = %link.upstream.name, %error, "a tool was left out");
                false
            }
        },
        None => true,
    };
    let all: Vec<Span> = walk::elements(raw, tools).collect();
    let callable: Vec<&[u8]> = all
        .iter()
        .filter(|tool| is_callable(tool))
        .map(|tool| tool.of(raw))
        .collect();
    if callable.len() == all.len() {
        return None;
    }
    let tools = [b"[", &callable.join(&b","[..])[..], b"]"].concat();
    let result = object_with(result.of(raw), whole(result.of(raw)), &[("tools", &tools)], &[]);
    let bytes = object_with(raw, message.envelope.object, &[("result", &result)], &[]);
    Message::scan(Bytes::from(bytes), &link.limits()).ok()
}

/// What has another code in each era. Message and data stay; codes without a twin do, too.
pub(crate) fn error_across(message: &Message, method: Method, client: Era) -> Vec<u8> {
    let (Some(code), Some(error)) = (message.envelope.error_code, message.raw(message.envelope.error)) else {
        return message.bytes.to_vec();
    };
    let code: &[u8] = match (client, code) {
        (Era::Modern, codes::RESOURCE_NOT_FOUND_LEGACY) => b"-32602",
        // A read has no parameter besides the URI that could be invalid.
        (Era::Legacy, codes::INVALID_PARAMS) if method == Method::ResourcesRead => b"-32002",
        // As the legacy revisions answer `initialize` with a version that a server does not know.
        (Era::Legacy, codes::UNSUPPORTED_VERSION) => b"-32602",
        (Era::Legacy, codes::MISSING_CAPABILITY | codes::HEADER_MISMATCH) => b"-32600",
        _ => return message.bytes.to_vec(),
    };
    let error = object_with(error, whole(error), &[("code", code)], &[]);
    object_with(&message.bytes, message.envelope.object, &[("error", &error)], &[])
}

/// The methods in which a server may ask its client something.
pub(crate) fn may_ask(method: Method) -> bool {
    matches!(
        method,
        Method::ToolsCall | Method::PromptsGet | Method::ResourcesRead
    )
}

/// True for requests that a legacy server understands in the same sense.
pub(crate) fn has_legacy_twin(method: Method) -> bool {
    matches!(
        method,
        Method::ToolsList
            | Method::ToolsCall
            | Method::ResourcesList
            | Method::ResourceTemplatesList
            | Method::ResourcesRead
            | Method::PromptsList
            | Method::PromptsGet
            | Method::Complete
    )
}
