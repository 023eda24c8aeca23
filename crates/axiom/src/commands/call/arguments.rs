//! What was typed as arguments, and how it becomes JSON: every number keeps its digits.

use serde_json::value::{RawValue, to_raw_value};

use crate::cli::Call;
use crate::client::{Members, Tool};
use crate::outcome::{Exit, Failed};

/// What was typed, before the tool's schema is known.
#[derive(Debug)]
pub(super) struct Typed {
    pub(super) server: String,
    pub(super) tool: String,
    pairs: Vec<(String, String)>,
    whole: Option<Box<RawValue>>,
}

impl Typed {
    pub(super) fn parse(call: &Call) -> Result<Self, Failed> {
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
            return Err(usage("give the arguments either as key=value or with --json"));
        }
        let mut pairs: Vec<(String, String)> = Vec::new();
        for word in words {
            match word.split_once('=') {
                Some((key, _)) if pairs.iter().any(|(other, _)| other == key) => {
                    return Err(usage(format!("`{key}` is given twice")));
                }
                Some((key, value)) if !key.is_empty() => pairs.push((key.to_owned(), value.to_owned())),
                _ => return Err(usage(format!("`{word}` is not KEY=VALUE"))),
            }
        }
        Ok(Typed {
            server: server.to_owned(),
            tool: tool.to_owned(),
            pairs,
            whole,
        })
    }

    /// The arguments as the tool's schema wants them, in the order in which they were typed.
    pub(super) fn arguments(&self, tool: &Tool) -> Result<Box<RawValue>, Failed> {
        if let Some(whole) = &self.whole {
            return Ok(whole.clone());
        }
        let mut members = Vec::new();
        for (key, text) in &self.pairs {
            let value = value(text, &tool.properties.members(key))
                .map_err(|kind| usage(format!("`{key}` must be {kind}, not `{text}`")))?;
            members.push(format!("{}:{value}", quoted(key)));
        }
        let object = format!("{{{}}}", members.join(","));
        RawValue::from_string(object)
            .map_err(|error| Failed::new(Exit::Failure, format!("the arguments are no JSON: {error}")))
    }
}

fn usage(message: impl Into<String>) -> Failed {
    Failed::new(Exit::Usage, message)
}

/// Text becomes what the schema says; where it says nothing, JSON if it is JSON and a string otherwise.
///
/// # Errors
/// The kind of value that the text is not.
fn value(text: &str, schema: &Members) -> Result<String, String> {
    let kinds: Vec<String> = match schema.read("type") {
        Some(kind) => vec![kind],
        None => schema.read("type").unwrap_or_default(),
    };
    let json = json_kind(text);
    let fits = |kind: &String| match json {
        Some("integer") => kind == "integer" || kind == "number",
        Some(found) => kind == found && found != "string",
        None => false,
    };
    if kinds.iter().any(fits) || (kinds.is_empty() && json.is_some()) {
        return Ok(text.trim().to_owned());
    }
    if kinds.is_empty() || kinds.iter().any(|kind| kind == "string") {
        return Ok(quoted(text));
    }
    let wanted: Vec<&str> = kinds.iter().map(|kind| with_article(kind)).collect();
    Err(wanted.join(" or "))
}

/// What JSON Schema calls this text, if it is JSON.
fn json_kind(text: &str) -> Option<&'static str> {
    serde_json::from_str::<&RawValue>(text).ok()?;
    let text = text.trim();
    Some(match text.as_bytes().first()? {
        b'{' => "object",
        b'[' => "array",
        b'"' => "string",
        b't' | b'f' => "boolean",
        b'n' => "null",
        _ if text.parse().is_ok_and(|number: f64| number.fract() == 0.0) => "integer",
        _ => "number",
    })
}

fn quoted(text: &str) -> String {
    to_raw_value(text).map_or_else(|_| "\"\"".to_owned(), |json| json.get().to_owned())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_becomes_what_the_schema_says() {
        for (text, schema, expected) in [
            ("1", r#"{"type":"integer"}"#, Ok("1")),
            ("1.5", r#"{"type":"integer"}"#, Err("an integer")),
            ("1.5", r#"{"type":"number"}"#, Ok("1.5")),
            (" 7 ", r#"{"type":"number"}"#, Ok("7")),
            ("1e400", r#"{"type":"number"}"#, Ok("1e400")),
            (
                "123456789012345678901234567890",
                r#"{"type":"integer"}"#,
                Ok("123456789012345678901234567890"),
            ),
            ("1", r#"{"type":"string"}"#, Ok("\"1\"")),
            ("\"a\"", r#"{"type":"string"}"#, Ok("\"\\\"a\\\"\"")),
            ("true", r#"{"type":"boolean"}"#, Ok("true")),
            ("yes", r#"{"type":"boolean"}"#, Err("true or false")),
            ("[1]", r#"{"type":"array"}"#, Ok("[1]")),
            ("null", r#"{"type":["string","null"]}"#, Ok("null")),
            ("x", r#"{"type":["string","null"]}"#, Ok("\"x\"")),
            ("x", "{}", Ok("\"x\"")),
            (r#"{"b":1.0,"a":2}"#, "{}", Ok(r#"{"b":1.0,"a":2}"#)),
            ("7", "true", Ok("7")),
        ] {
            let schema = RawValue::from_string(schema.to_owned()).unwrap();
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(
                value(text, &Members::of(&schema)),
                expected,
                "{text} {}",
                schema.get()
            );
        }
    }
}
