//! Between the eras: a request of one era made readable to a server of the other, and the answer back.
//!
//! Here is what needs no state: lists, calls, reads, prompts, completion. What would need a server to ask the client in
//! the middle of a call (elicitation, sampling, roots) is not carried across eras yet: the other side is not told of
//! such capabilities, and a server that asks all the same gives a clear error.

use std::collections::VecDeque;
use std::sync::Arc;

use axiom_protocol::codes;
use axiom_protocol::headers::{MCP_METHOD, MCP_NAME, encode_value};
use axiom_protocol::method::Method;
use axiom_protocol::revision::{Era, Revision};
use axiom_protocol::rewrite::object_with;
use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use crate::exchange::Final;
use crate::fault::Fault;
use crate::level;
use crate::message::Message;
use crate::upstream::Link;

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
    params.extend_from_slice(&modern_meta(OUR_INFO.as_bytes(), None));
    params.push(b'}');
    params
}

fn modern_meta(info: &[u8], log_level: Option<&str>) -> Vec<u8> {
    let level = log_level.map(|level| serde_json::Value::from(level).to_string());
    let version = format!("\"{}\"", Revision::MODERN.as_str());
    let mut set: Vec<(&str, &[u8])> = vec![
        (META_VERSION, version.as_bytes()),
        (META_CAPABILITIES, b"{}"),
        (META_INFO, info),
    ];
    if let Some(level) = &level {
        set.push((META_LOG_LEVEL, level.as_bytes()));
    }
    object_with(b"{}", crate::upstream::whole(b"{}"), &set, &[])
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

/// A request for a link of the other era.
pub(crate) fn request(
    message: &Message,
    link: &Link,
    client_info: &[u8],
    log_level: Option<&str>,
) -> Result<Message, Fault> {
    let params = match link.era() {
        Era::Modern => to_modern(message, client_info, log_level),
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

fn to_modern(message: &Message, client_info: &[u8], log_level: Option<&str>) -> Vec<u8> {
    let added = modern_meta(
        if client_info.is_empty() {
            OUR_INFO.as_bytes()
        } else {
            client_info
        },
        log_level,
    );
    let meta = match message.raw(message.envelope.meta) {
        None => added,
        Some(old) => {
            let fields: Vec<(String, &[u8])> =
                axiom_protocol::walk::members(&added, crate::upstream::whole(&added))
                    .filter_map(|(key, value)| {
                        Some((
                            axiom_protocol::text::text(&added, key)?.into_owned(),
                            value.of(&added),
                        ))
                    })
                    .collect();
            let set: Vec<(&str, &[u8])> = fields.iter().map(|(key, value)| (key.as_str(), *value)).collect();
            object_with(old, crate::upstream::whole(old), &set, &[])
        }
    };
    match message.raw(message.envelope.params) {
        Some(params) => object_with(params, crate::upstream::whole(params), &[("_meta", &meta)], &[]),
        None => object_with(b"{}", crate::upstream::whole(b"{}"), &[("_meta", &meta)], &[]),
    }
}

fn to_legacy(message: &Message) -> Vec<u8> {
    let Some(params) = message.raw(message.envelope.params) else {
        return b"{}".to_vec();
    };
    let Some(meta) = message.raw(message.envelope.meta) else {
        return params.to_vec();
    };
    let kept = object_with(meta, crate::upstream::whole(meta), &[], &MODERN_META);
    if kept
        .iter()
        .all(|byte| matches!(byte, b'{' | b'}' | b' ' | b'\n' | b'\r' | b'\t'))
    {
        object_with(params, crate::upstream::whole(params), &[], &["_meta"])
    } else {
        object_with(params, crate::upstream::whole(params), &[("_meta", &kept)], &[])
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
) -> Result<Final, Fault> {
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
        (Era::Legacy, Some(result)) => {
            if link.era() == Era::Modern
                && message
                    .text(message.envelope.in_result.result_type)
                    .is_some_and(|kind| kind != "complete")
            {
                return Err(Fault::NotBridged {
                    server,
                    speaks: "2026-07-28",
                    method: "a question to a client of an older revision".to_owned(),
                });
            }
            level::result(&message.bytes, result, method, client).unwrap_or_else(|| message.bytes.to_vec())
        }
        (era, None) if era == link.era() => message.bytes.to_vec(),
        (era, None) => error_across(&message, method, era),
    };
    let is_result = message.envelope.result.is_some();
    Ok(Final {
        status,
        is_result,
        parts: VecDeque::from([Bytes::from(bytes)]),
        rest: None,
    })
}

/// The result's `_meta` with who the server is, which a legacy server says only once.
fn with_server_info(message: &Message, link: &Link) -> Option<Vec<u8>> {
    let greeting = &link.greeting.result;
    let info = axiom_protocol::walk::get(greeting, crate::upstream::whole(greeting), "serverInfo")?;
    let meta = message.raw(message.envelope.in_result.meta).unwrap_or(b"{}");
    let info = ("io.modelcontextprotocol/serverInfo", info.of(greeting));
    Some(object_with(meta, crate::upstream::whole(meta), &[info], &[]))
}

/// What has another code in each era. Message and data stay; codes without a twin do, too.
fn error_across(message: &Message, method: Method, client: Era) -> Vec<u8> {
    let (Some(code), Some(error)) = (message.envelope.error_code, message.raw(message.envelope.error)) else {
        return message.bytes.to_vec();
    };
    let code: &[u8] = match (client, code) {
        (Era::Modern, codes::RESOURCE_NOT_FOUND_LEGACY) => b"-32602",
        // The URLs are in the data, where a client that knows the older code finds them.
        (Era::Modern, codes::URL_ELICITATION) => b"1007",
        // A read has no parameter besides the URI that could be invalid.
        (Era::Legacy, codes::INVALID_PARAMS) if method == Method::ResourcesRead => b"-32002",
        // As the legacy revisions answer `initialize` with a version that a server does not know.
        (Era::Legacy, codes::UNSUPPORTED_VERSION) => b"-32602",
        (Era::Legacy, codes::MISSING_CAPABILITY | codes::HEADER_MISMATCH) => b"-32600",
        _ => return message.bytes.to_vec(),
    };
    let error = object_with(error, crate::upstream::whole(error), &[("code", code)], &[]);
    object_with(&message.bytes, message.envelope.object, &[("error", &error)], &[])
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
