//! JSON-RPC and what differs between the eras: which a message belongs to, and what its answer carries.

use axiom_protocol::codes;
use axiom_protocol::revision::Revision;
use bytes::Bytes;
use serde_json::{Value as Json, json};

/// Which rules a message follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Era {
    Legacy,
    /// The request's `_meta` names its version.
    Modern,
}

/// A message of the client.
#[derive(Debug)]
pub(crate) enum Incoming {
    Request(Request),
    /// The request with this id is no longer wanted.
    Cancelled(Json),
    /// Any other notification, or an answer to a question that we never asked.
    Nothing,
}

#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) id: Json,
    pub(crate) method: String,
    pub(crate) params: Json,
    pub(crate) era: Era,
}

/// An error answer.
#[derive(Debug, PartialEq)]
pub(crate) struct RpcError {
    code: i64,
    message: String,
    data: Option<Json>,
}

impl RpcError {
    pub(crate) fn new(code: i64, message: impl Into<String>) -> Self {
        RpcError {
            code,
            message: message.into(),
            data: None,
        }
    }

    pub(crate) fn invalid_params(message: impl Into<String>) -> Self {
        RpcError::new(codes::INVALID_PARAMS, message)
    }

    /// The request has to do with tasks, and its client does not say that it knows them.
    pub(crate) fn tasks_not_declared(method: &str) -> Self {
        let message = format!("{method} needs a client that declares the extension {TASKS_EXTENSION}");
        let extensions = json!({TASKS_EXTENSION: {}});
        RpcError {
            data: Some(json!({"requiredCapabilities": {"extensions": extensions}})),
            ..RpcError::new(codes::MISSING_CAPABILITY, message)
        }
    }

    pub(crate) fn unknown_method(method: &str) -> Self {
        RpcError::new(codes::METHOD_NOT_FOUND, format!("method not found: {method}"))
    }
}

const VERSION_KEY: &str = "io.modelcontextprotocol/protocolVersion";
const CAPABILITIES_KEY: &str = "io.modelcontextprotocol/clientCapabilities";
const CLIENT_INFO_KEY: &str = "io.modelcontextprotocol/clientInfo";
/// The extension by which clients and servers of 2026-07-28 agree on tasks.
pub(crate) const TASKS_EXTENSION: &str = "io.modelcontextprotocol/tasks";
const SERVER_INFO_KEY: &str = "io.modelcontextprotocol/serverInfo";

/// Understands one message.
///
/// # Errors
/// What the sender is to be told, without an id: it could not be read. Errors of requests with an id are answered with
/// it, through [`Incoming::Request`] and the method's own answer.
pub(crate) fn read(message: &[u8]) -> Result<Incoming, RpcError> {
    let message: Json = serde_json::from_slice(message)
        .map_err(|error| RpcError::new(codes::PARSE_ERROR, format!("not JSON: {error}")))?;
    let Some(method) = message.get("method").and_then(Json::as_str) else {
        let is_answer = message.get("result").is_some() || message.get("error").is_some();
        let refused = RpcError::new(codes::INVALID_REQUEST, "neither a request nor a notification");
        return if is_answer {
            Ok(Incoming::Nothing)
        } else {
            Err(refused)
        };
    };
    let params = message.get("params").cloned().unwrap_or_else(|| json!({}));
    match message.get("id") {
        Some(id @ (Json::String(_) | Json::Number(_))) => Ok(Incoming::Request(Request {
            id: id.clone(),
            method: method.to_owned(),
            era: era(method, &params),
            params,
        })),
        Some(_) => Err(RpcError::new(
            codes::INVALID_REQUEST,
            "an id is a string or a number",
        )),
        None if method == "notifications/cancelled" => Ok(Incoming::Cancelled(
            params.get("requestId").cloned().unwrap_or(Json::Null),
        )),
        None => Ok(Incoming::Nothing),
    }
}

fn era(method: &str, params: &Json) -> Era {
    // `server/discover` exists in the modern era only, so its missing `_meta` is an error there, not a legacy call.
    let is_modern = method == "server/discover" || meta(params, VERSION_KEY).is_some();
    if is_modern { Era::Modern } else { Era::Legacy }
}

fn meta<'a>(params: &'a Json, key: &str) -> Option<&'a Json> {
    params.get("_meta")?.get(key)
}

/// What the client calls itself: in its first message in the legacy era, in any in the modern one.
pub(crate) fn client_name(params: &Json) -> Option<&str> {
    let info = params
        .get("clientInfo")
        .or_else(|| meta(params, CLIENT_INFO_KEY))?;
    info.get("name")?.as_str()
}

/// What must stand in notifications about how far a request is. `None`: the client wants none.
pub(crate) fn progress_token(params: &Json) -> Option<&Json> {
    meta(params, "progressToken").filter(|token| token.is_string() || token.is_number())
}

/// Whether the client knows tasks, in the request or with it: a modern one says so in each request, and one of a session asks for one.
pub(crate) fn wants_task(era: Era, params: &Json) -> bool {
    match era {
        Era::Legacy => params.get("task").is_some_and(Json::is_object),
        Era::Modern => meta(params, CAPABILITIES_KEY)
            .and_then(|capabilities| capabilities.get("extensions")?.get(TASKS_EXTENSION))
            .is_some_and(Json::is_object),
    }
}

/// A message that needs no answer.
pub(crate) fn notification(method: &str, params: &Json) -> Bytes {
    let message = json!({"jsonrpc": "2.0", "method": method, "params": params});
    Bytes::from(message.to_string())
}

/// `_meta` of what belongs to the subscription that this request has opened.
pub(crate) fn of_subscription(id: &Json) -> Json {
    json!({"io.modelcontextprotocol/subscriptionId": id})
}

/// What every modern request must carry.
///
/// # Errors
/// The answer to a request that lacks it, or that asks for a version of the other era.
pub(crate) fn check_modern(request: &Request) -> Result<(), RpcError> {
    if request.era == Era::Legacy {
        return Ok(());
    }
    let version = meta(&request.params, VERSION_KEY)
        .and_then(Json::as_str)
        .ok_or_else(|| RpcError::invalid_params(format!("_meta must have {VERSION_KEY}")))?;
    if version != Revision::MODERN.as_str() {
        let message = format!("unsupported protocol version {version}");
        let data = json!({"supported": supported(), "requested": version});
        return Err(RpcError {
            data: Some(data),
            ..RpcError::new(codes::UNSUPPORTED_VERSION, message)
        });
    }
    match meta(&request.params, CAPABILITIES_KEY) {
        Some(Json::Object(_)) => Ok(()),
        _ => Err(RpcError::invalid_params(format!(
            "_meta must have {CAPABILITIES_KEY}"
        ))),
    }
}

/// Every revision, newest first.
pub(crate) fn supported() -> Vec<&'static str> {
    Revision::ALL
        .iter()
        .rev()
        .map(|revision| revision.as_str())
        .collect()
}

/// The version that `initialize` answers: the one asked for, if `initialize` can give it.
pub(crate) fn negotiate(params: &Json) -> &'static str {
    let asked = params
        .get("protocolVersion")
        .and_then(Json::as_str)
        .and_then(Revision::parse);
    asked
        .filter(|revision| *revision != Revision::MODERN)
        .unwrap_or(Revision::LATEST_LEGACY)
        .as_str()
}

/// Nothing here ever changes while the process lives, and it is the same for everyone.
pub(crate) fn cacheable(mut result: Json) -> Json {
    result["ttlMs"] = json!(CACHE_TTL_MS);
    result["cacheScope"] = json!("public");
    result
}

/// Lists change with a new version of the program only; a minute bounds how stale a client can be after that.
const CACHE_TTL_MS: u64 = 60_000;

/// A list that fits one page; so every cursor is a wrong one.
pub(crate) fn one_page(params: &Json, key: &str, items: Json) -> Result<Json, RpcError> {
    match params.get("cursor") {
        None | Some(Json::Null) => Ok(json!({key: items})),
        Some(_) => Err(RpcError::invalid_params("unknown cursor")),
    }
}

/// A whole message. Modern results say that they are complete and who made them; legacy ones do not have those fields.
pub(crate) fn response(id: &Json, era: Era, server_info: &Json, outcome: Result<Json, RpcError>) -> Json {
    match outcome {
        Ok(mut result) => {
            match (era, result.as_object_mut()) {
                (Era::Modern, Some(fields)) => {
                    fields.entry("resultType").or_insert_with(|| json!("complete"));
                    let meta = fields.entry("_meta").or_insert_with(|| json!({}));
                    meta[SERVER_INFO_KEY] = server_info.clone();
                }
                (Era::Legacy, Some(fields)) => {
                    fields.remove("ttlMs");
                    fields.remove("cacheScope");
                }
                _ => {}
            }
            json!({"jsonrpc": "2.0", "id": id, "result": result})
        }
        Err(RpcError { code, message, data }) => {
            let mut error = json!({"code": code, "message": message});
            if let Some(data) = data {
                error["data"] = data;
            }
            json!({"jsonrpc": "2.0", "id": id, "error": error})
        }
    }
}

/// A string in `params`.
pub(crate) fn text<'a>(params: &'a Json, key: &str) -> Result<&'a str, RpcError> {
    let found = params.get(key).and_then(Json::as_str);
    found.ok_or_else(|| RpcError::invalid_params(format!("`{key}` must be a string")))
}
