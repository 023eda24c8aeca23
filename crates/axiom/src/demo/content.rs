//! One resource, one template, one prompt, and completion of the argument that the last two have.

use axiom_protocol::codes;
use serde_json::{Value as Json, json};

use crate::builtin::wire::{self, Era, RpcError};

const README_URI: &str = "demo://readme";
const GREETING_PREFIX: &str = "demo://greeting/";
const GREETING_TEMPLATE: &str = "demo://greeting/{name}";

const README: &str = "\
# Axiom demo

This server is part of Axiom and needs nothing else. Try:

- the tool `echo`, `add` or `now`
- the tool `slow`, which reports progress and can be cancelled
- the resource `demo://greeting/{name}`
- the prompt `greet`

Then put your own servers behind the same endpoint: `axiom import FILE`, or write an `axiom.toml`.
";

pub(super) fn resources() -> Json {
    json!([{
        "uri": README_URI,
        "name": "readme",
        "title": "Read me",
        "description": "What this demo can do.",
        "mimeType": "text/markdown",
    }])
}

pub(super) fn templates() -> Json {
    json!([{
        "uriTemplate": GREETING_TEMPLATE,
        "name": "greeting",
        "title": "Greeting",
        "description": "A greeting for somebody.",
        "mimeType": "text/plain",
    }])
}

pub(super) fn read(params: &Json, era: Era) -> Result<Json, RpcError> {
    let uri = wire::text(params, "uri")?;
    let (mime_type, text) = match uri.strip_prefix(GREETING_PREFIX) {
        _ if uri == README_URI => ("text/markdown", README.to_owned()),
        Some(name) if !name.is_empty() && !name.contains('/') => ("text/plain", format!("Hello, {name}!")),
        _ => {
            let code = match era {
                Era::Legacy => codes::RESOURCE_NOT_FOUND_LEGACY,
                Era::Modern => codes::INVALID_PARAMS,
            };
            return Err(RpcError::new(code, format!("resource not found: {uri}")));
        }
    };
    Ok(json!({"contents": [{"uri": uri, "mimeType": mime_type, "text": text}]}))
}

pub(super) fn prompts() -> Json {
    json!([{
        "name": "greet",
        "title": "Greet",
        "description": "Asks for a greeting.",
        "arguments": [{"name": "name", "description": "Whom to greet", "required": true}],
    }])
}

pub(super) fn prompt(params: &Json) -> Result<Json, RpcError> {
    let name = wire::text(params, "name")?;
    if name != "greet" {
        return Err(RpcError::invalid_params(format!("unknown prompt: {name}")));
    }
    let whom = wire::text(params.get("arguments").unwrap_or(&Json::Null), "name")?;
    let text = format!("Write a warm greeting of one sentence for {whom}.");
    Ok(json!({
        "description": "Asks for a greeting.",
        "messages": [{"role": "user", "content": {"type": "text", "text": text}}],
    }))
}

/// Names to greet, sorted.
const NAMES: &[&str] = &[
    "Ada", "Alan", "Barbara", "Dennis", "Donald", "Edsger", "Grace", "Ken", "Margaret", "Niklaus",
];

pub(super) fn complete(params: &Json) -> Result<Json, RpcError> {
    let reference = params.get("ref").unwrap_or(&Json::Null);
    let known = match wire::text(reference, "type")? {
        "ref/prompt" => wire::text(reference, "name")? == "greet",
        "ref/resource" => wire::text(reference, "uri")? == GREETING_TEMPLATE,
        other => {
            return Err(RpcError::invalid_params(format!(
                "unknown reference type: {other}"
            )));
        }
    };
    let argument = params.get("argument").unwrap_or(&Json::Null);
    if !known || wire::text(argument, "name")? != "name" {
        return Err(RpcError::invalid_params("unknown reference or argument"));
    }
    let typed = wire::text(argument, "value")?.to_lowercase();
    let values: Vec<&&str> = NAMES
        .iter()
        .filter(|name| name.to_lowercase().starts_with(&typed))
        .collect();
    Ok(json!({"completion": {"values": values, "total": values.len(), "hasMore": false}}))
}
