//! `axiom call SERVER.TOOL key=value`: one tool call.

use serde_json::{Map, Value as Json, json};

use crate::cli::Call;
use crate::client::{Client, ClientError};
use crate::compose::with_gateway;
use crate::import::preview::visible;
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

pub async fn run(call: &Call, terminal: &Terminal) -> Result<Exit, Failed> {
    let typed = Typed::parse(call)?;
    let result = with_gateway(&call.file, terminal, async |base: &str| {
        let mut client = match Client::open(base, &format!("/s/{}/mcp", typed.server)).await {
            Err(ClientError::Status { status, .. }) if status == 404 => {
                return Err(no_server(base, &typed.server).await);
            }
            client => client?,
        };
        let tools = client.list("tools/list", "tools").await?;
        let tool = tools.iter().find(|tool| tool["name"] == typed.tool.as_str());
        let tool = tool.ok_or_else(|| no_tool(&typed, &tools))?;
        let arguments = typed.arguments(tool.get("inputSchema").unwrap_or(&Json::Null))?;
        // A token asks for progress; a person wants to see it.
        let meta = json!({"progressToken": "call"});
        let params = json!({"name": typed.tool, "arguments": arguments, "_meta": meta});
        let result = client
            .request("tools/call", params, &mut |message| tell(message, terminal))
            .await;
        client.close().await;
        Ok(result?)
    })
    .await?;
    let is_error = result.get("isError") == Some(&Json::Bool(true));
    if call.json.is_some() {
        terminal.data(&result)?;
    } else {
        print(&result, terminal)?;
    }
    if is_error {
        terminal.say(format_args!(
            "{} the tool reports a failure",
            terminal.red("error:")
        ));
    }
    Ok(if is_error { Exit::Failure } else { Exit::Ok })
}

/// What was typed, before the tool's schema is known.
#[derive(Debug)]
struct Typed {
    server: String,
    tool: String,
    pairs: Vec<(String, String)>,
    whole: Option<Map<String, Json>>,
}

impl Typed {
    fn parse(call: &Call) -> Result<Self, Failed> {
        let usage = |message: String| Failed::new(Exit::Usage, message);
        let (server, tool) = call
            .tool
            .split_once('.')
            .filter(|(server, tool)| !server.is_empty() && !tool.is_empty())
            .ok_or_else(|| {
                usage(format!("`{}` is not SERVER.TOOL", call.tool)).hint("`axiom servers` names the servers")
            })?;
        let mut words: Vec<&str> = call.arguments.iter().map(String::as_str).collect();
        let mut whole = None;
        match call.json.as_ref().and_then(Option::as_deref) {
            Some(text) if text.trim_start().starts_with('{') => {
                let parsed = serde_json::from_str(text);
                whole =
                    Some(parsed.map_err(|error| usage(format!("--json has no valid JSON object: {error}")))?);
            }
            // `--json text=hi`: the word after the option was an argument after all.
            Some(word) => words.push(word),
            None => {}
        }
        if whole.is_some() && !words.is_empty() {
            return Err(usage(
                "give the arguments either as key=value or with --json".to_owned(),
            ));
        }
        let pairs = words.into_iter().map(|word| match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(usage(format!("`{word}` is not KEY=VALUE"))),
        });
        let pairs = pairs.collect::<Result<_, Failed>>()?;
        Ok(Typed {
            server: server.to_owned(),
            tool: tool.to_owned(),
            pairs,
            whole,
        })
    }

    /// The arguments as the tool's schema wants them.
    fn arguments(&self, schema: &Json) -> Result<Map<String, Json>, Failed> {
        if let Some(whole) = &self.whole {
            return Ok(whole.clone());
        }
        let mut arguments = Map::new();
        for (key, text) in &self.pairs {
            let property = schema
                .get("properties")
                .and_then(|properties| properties.get(key));
            let value = value(text, property.unwrap_or(&Json::Null))
                .map_err(|kind| Failed::new(Exit::Usage, format!("`{key}` must be {kind}, not `{text}`")))?;
            if arguments.insert(key.clone(), value).is_some() {
                return Err(Failed::new(Exit::Usage, format!("`{key}` is given twice")));
            }
        }
        Ok(arguments)
    }
}

/// Text becomes what the schema says; where it says nothing, JSON if it is JSON and a string otherwise.
///
/// # Errors
/// The kind of value that the text is not.
fn value(text: &str, schema: &Json) -> Result<Json, String> {
    let kinds: Vec<&str> = match schema.get("type") {
        Some(Json::String(kind)) => vec![kind],
        Some(Json::Array(kinds)) => kinds.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    };
    let json: Option<Json> = serde_json::from_str(text).ok();
    let fits = |kind: &str| match (&json, kind) {
        (Some(Json::Number(number)), "integer") => {
            number.as_f64().is_some_and(|number| number.fract() == 0.0)
        }
        (Some(Json::Number(_)), "number")
        | (Some(Json::Bool(_)), "boolean")
        | (Some(Json::Array(_)), "array")
        | (Some(Json::Object(_)), "object")
        | (Some(Json::Null), "null") => true,
        _ => false,
    };
    if kinds.iter().any(|kind| fits(kind)) || kinds.is_empty() {
        return Ok(json.unwrap_or_else(|| Json::String(text.to_owned())));
    }
    if kinds.contains(&"string") {
        return Ok(Json::String(text.to_owned()));
    }
    let wanted: Vec<&str> = kinds.iter().map(|kind| with_article(kind)).collect();
    Err(wanted.join(" or "))
}

fn with_article(kind: &str) -> &str {
    match kind {
        "integer" => "an integer",
        "number" => "a number",
        "boolean" => "true or false",
        "array" => "a JSON array",
        "object" => "a JSON object",
        other => other,
    }
}

/// The failure for a server that is not there, with the one that was perhaps meant.
pub(super) async fn no_server(base: &str, name: &str) -> Failed {
    let servers = super::servers::list(base).await.unwrap_or_default();
    let names: Vec<&str> = servers
        .iter()
        .filter_map(|server| server["name"].as_str())
        .collect();
    let failed = Failed::new(Exit::NotFound, format!("there is no server `{name}`"));
    hinted(failed, name, &names, "the servers are")
}

fn no_tool(typed: &Typed, tools: &[Json]) -> Failed {
    let names: Vec<&str> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
    let message = format!("the server `{}` has no tool `{}`", typed.server, typed.tool);
    hinted(
        Failed::new(Exit::NotFound, message),
        &typed.tool,
        &names,
        "its tools are",
    )
}

fn hinted(failed: Failed, name: &str, names: &[&str], otherwise: &str) -> Failed {
    match crate::config::did_you_mean(name, names) {
        Some(hint) => failed.hint(hint),
        None if names.is_empty() => failed,
        None => failed.hint(format!("{otherwise} {}", names.join(", "))),
    }
}

/// Progress and log messages are talk.
fn tell(message: &Json, terminal: &Terminal) {
    let params = &message["params"];
    match message["method"].as_str() {
        Some("notifications/progress") => {
            let total = params
                .get("total")
                .map(|total| format!("/{total}"))
                .unwrap_or_default();
            let text = params["message"].as_str().unwrap_or_default();
            terminal.say(format_args!("{}{total} {}", params["progress"], visible(text)));
        }
        Some("notifications/message") => {
            let data = match &params["data"] {
                Json::String(text) => text.clone(),
                other => other.to_string(),
            };
            terminal.say(format_args!(
                "{}: {}",
                params["level"].as_str().unwrap_or("log"),
                visible(&data)
            ));
        }
        _ => {}
    }
}

/// The texts of a result; what is no text is named. Structured content only where there is no text.
fn print(result: &Json, terminal: &Terminal) -> Result<(), Failed> {
    let blocks = result
        .get("content")
        .and_then(Json::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    if blocks.is_empty()
        && let Some(structured) = result.get("structuredContent")
    {
        terminal.data(format_args!("{structured:#}"))?;
    }
    for block in blocks {
        let text = |key: &str| block[key].as_str().unwrap_or_default();
        match text("type") {
            "text" => terminal.data(text("text"))?,
            "resource" => match block["resource"]["text"].as_str() {
                Some(text) => terminal.data(text)?,
                None => terminal.data(format_args!(
                    "[resource {}]",
                    visible(block["resource"]["uri"].as_str().unwrap_or_default())
                ))?,
            },
            "resource_link" => terminal.data(format_args!("[resource {}]", visible(text("uri"))))?,
            other => {
                let size = text("data").len() / 4 * 3;
                terminal.data(format_args!(
                    "[{} {}, about {size} B; --json shows it]",
                    visible(other),
                    visible(text("mimeType"))
                ))?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_what_the_schema_says() {
        for (text, schema, expected) in [
            ("1", json!({"type": "integer"}), Ok(json!(1))),
            ("1.5", json!({"type": "integer"}), Err("an integer".to_owned())),
            ("1.5", json!({"type": "number"}), Ok(json!(1.5))),
            ("1", json!({"type": "string"}), Ok(json!("1"))),
            ("true", json!({"type": "boolean"}), Ok(json!(true))),
            ("yes", json!({"type": "boolean"}), Err("true or false".to_owned())),
            ("[1]", json!({"type": "array"}), Ok(json!([1]))),
            ("null", json!({"type": ["string", "null"]}), Ok(json!(null))),
            ("x", json!({"type": ["string", "null"]}), Ok(json!("x"))),
            ("x", json!({}), Ok(json!("x"))),
            ("7", Json::Null, Ok(json!(7))),
        ] {
            assert_eq!(value(text, &schema), expected, "{text} {schema}");
        }
    }
}
