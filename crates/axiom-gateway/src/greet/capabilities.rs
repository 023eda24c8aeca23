//! What a server offers, in the words of the other era. A client must be told of what works for it, and of nothing else.

use serde_json::{Map, Value, json};

use crate::task::EXTENSION;

/// Tasks have a capability in 2025-11-25 and an extension in 2026-07-28. (Before, clients are not told of either.)
const TASKS: &str = "tasks";

/// A modern server's capabilities for a legacy client. Extensions have no place of their own before 2026-07-28: clients
/// look for them in `experimental`, newer ones in `extensions` too.
pub(super) fn for_legacy(capabilities: &Value) -> Value {
    let mut offered = object(capabilities);
    let mut extensions = object(capabilities.get("extensions").unwrap_or(&Value::Null));
    let has_tasks = extensions.remove(EXTENSION).is_some();
    offered.remove("extensions");
    if has_tasks {
        let calls = json!({ "tools": { "call": {} } });
        offered.insert(
            TASKS.to_owned(),
            json!({ "list": {}, "cancel": {}, "requests": calls }),
        );
    }
    if !extensions.is_empty() {
        let mut experimental = object(capabilities.get("experimental").unwrap_or(&Value::Null));
        for (name, settings) in &extensions {
            experimental
                .entry(name.clone())
                .or_insert_with(|| settings.clone());
        }
        offered.insert("experimental".to_owned(), experimental.into());
        offered.insert("extensions".to_owned(), extensions.into());
    }
    offered.into()
}

/// A legacy server's capabilities for a modern client. What is experimental there and named like an extension is one.
pub(super) fn for_modern(capabilities: &Value) -> Value {
    let mut offered = object(capabilities);
    let tasks = offered.remove(TASKS).unwrap_or_default();
    let mut extensions = object(capabilities.get("extensions").unwrap_or(&Value::Null));
    for (name, settings) in object(capabilities.get("experimental").unwrap_or(&Value::Null)) {
        if name.contains('/') && settings.is_object() {
            extensions.entry(name).or_insert(settings);
        }
    }
    match tasks.pointer("/requests/tools/call") {
        Some(_) => drop(extensions.insert(EXTENSION.to_owned(), json!({}))),
        None => drop(extensions.remove(EXTENSION)),
    }
    if extensions.is_empty() {
        offered.remove("extensions");
    } else {
        offered.insert("extensions".to_owned(), extensions.into());
    }
    offered.into()
}

fn object(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_and_tasks() {
        let tasks = json!({ "list": {}, "cancel": {}, "requests": { "tools": { "call": {} } } });
        let ui = json!({ "mimeTypes": ["text/html;profile=mcp-app"] });
        for (modern, legacy) in [
            (json!({}), json!({})),
            (
                json!({ "tools": { "listChanged": true }, "logging": {}, "resources": { "subscribe": true } }),
                json!({ "tools": { "listChanged": true }, "logging": {}, "resources": { "subscribe": true } }),
            ),
            (
                json!({ "extensions": { "io.modelcontextprotocol/tasks": {}, "io.modelcontextprotocol/ui": ui },
                        "experimental": { "mine": { "n": 1 } } }),
                json!({ "extensions": { "io.modelcontextprotocol/ui": ui }, "tasks": tasks,
                        "experimental": { "mine": { "n": 1 }, "io.modelcontextprotocol/ui": ui } }),
            ),
            (
                json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } }),
                json!({ "tasks": tasks }),
            ),
        ] {
            assert_eq!(for_legacy(&modern), legacy);
        }
        for (legacy, modern) in [
            (json!({ "tools": {} }), json!({ "tools": {} })),
            (
                json!({ "tasks": { "list": {} }, "completions": {}, "logging": {} }),
                json!({ "completions": {}, "logging": {} }),
            ),
            (
                json!({ "tasks": tasks }),
                json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } }),
            ),
            (
                json!({ "experimental": { "io.modelcontextprotocol/ui": ui, "mine": {} } }),
                json!({ "experimental": { "io.modelcontextprotocol/ui": ui, "mine": {} },
                        "extensions": { "io.modelcontextprotocol/ui": ui } }),
            ),
        ] {
            assert_eq!(for_modern(&legacy), modern);
        }
    }
}
