//! One client's entry to one draft. All clients share most keys, so one reader knows every spelling of them.

use std::path::{Path, PathBuf};

use super::draft::{Draft, Launch, Skipped, Text};
use super::shape::{Client, Shape};
use super::variables::{self, Scope};
use crate::config::tree::{Entry, Node, Span, Value};

/// Every server of a file.
pub(super) fn servers(shape: &Shape<'_>, path: &Path) -> (Vec<Draft>, Vec<Skipped>) {
    let scope = Scope {
        inputs: shape.inputs.map(variables::inputs).unwrap_or_default(),
        folder: workspace(path),
        bare_dollar: shape.client == Client::Gemini,
    };
    let mut drafts = Vec::new();
    let mut skipped = Vec::new();
    for entry in &shape.servers {
        match server(shape.client, entry, &scope) {
            Ok(draft) => drafts.push(draft),
            Err(reason) => {
                skipped.push(Skipped {
                    name: entry.key.clone(),
                    reason,
                    span: entry.key_span.clone(),
                });
            }
        }
    }
    (drafts, skipped)
}

/// The folder that an editor calls the workspace: where `.vscode` or `.cursor` stands, or the file itself.
fn workspace(path: &Path) -> Option<PathBuf> {
    let folder = std::path::absolute(path).ok()?.parent()?.to_path_buf();
    let is_editor = [".vscode", ".cursor", ".zed"]
        .iter()
        .any(|name| folder.ends_with(name));
    if is_editor {
        folder.parent().map(Path::to_path_buf)
    } else {
        Some(folder)
    }
}

/// The state of one translation.
struct Reader<'a> {
    scope: &'a Scope,
    notes: Vec<String>,
    exports: Vec<String>,
}

fn server(client: Client, entry: &Entry, scope: &Scope) -> Result<Draft, String> {
    let node = &entry.node;
    if !node.is_table() {
        return Err(format!("this is {}, not a table", node.value.kind()));
    }
    let mut reader = Reader {
        scope,
        notes: Vec::new(),
        exports: Vec::new(),
    };
    let launch = match address(node) {
        Some((url, key)) => reader.remote(client, node, url, key)?,
        None => reader.command(node)?,
    };
    reader.mention_ignored(node);
    Ok(Draft {
        name: entry.key.clone(),
        original: entry.key.clone(),
        span: entry.key_span.clone(),
        launch,
        disabled: flag(node, "disabled") == Some(true) || flag(node, "enabled") == Some(false),
        start_timeout: seconds(node, "startup_timeout_sec").or_else(|| millis(node, "startup_timeout_ms")),
        call_timeout: seconds(node, "tool_timeout_sec").or_else(|| match client {
            Client::Gemini => millis(node, "timeout"),
            _ => None,
        }),
        notes: reader.notes,
        exports: reader.exports,
    })
}

/// The address of a remote server, under whichever name.
fn address(node: &Node) -> Option<(&Node, &'static str)> {
    ["url", "serverUrl", "httpUrl"]
        .into_iter()
        .find_map(|key| Some((node.get(key)?, key)))
}

impl Reader<'_> {
    fn command(&mut self, node: &Node) -> Result<Launch, String> {
        // Zed's older form keeps everything inside `command`.
        let (program, holder) = match node.get("command") {
            Some(inner) if inner.is_table() => (inner.get("path").or(inner.get("command")), inner),
            other => (other, node),
        };
        let program = program.ok_or_else(|| {
            match node.get("source").and_then(Node::as_str) {
                Some("extension") => "an extension of the editor starts it, not a command",
                _ => "it has neither a command nor a url",
            }
            .to_owned()
        })?;
        let mut command = match &program.value {
            Value::Array(_) => self.texts(program, "command")?,
            _ => vec![self.text(program, "command")?],
        };
        if let Some(args) = holder.get("args") {
            command.extend(self.texts(args, "args")?);
        }
        let mut env = Vec::new();
        for key in ["env", "environment"] {
            if let Some(table) = holder.get(key).or(node.get(key)) {
                env.extend(self.pairs(table, key)?);
            }
        }
        // Codex: variables handed through from its own environment.
        if let Some(names) = node.get("env_vars") {
            for name in self.texts(names, "env_vars")? {
                env.push((name.text.clone(), from_environment(&name.text, &name.span)));
            }
        }
        let cwd = node.get("cwd").map(|cwd| self.text(cwd, "cwd")).transpose()?;
        self.warn_about_secrets(&command);
        let env = first_of_each(env, |a, b| a == b);
        Ok(Launch::Command { command, env, cwd })
    }

    fn remote(&mut self, client: Client, node: &Node, url: &Node, key: &str) -> Result<Launch, String> {
        let url = self.text(url, key)?;
        let kind = node.get("type").or(node.get("transport")).and_then(Node::as_str);
        let transport = match kind {
            Some("sse") => Some("sse"),
            Some(_) => None,
            // Gemini's `url` is HTTP+SSE; its `httpUrl` is Streamable HTTP.
            None if client == Client::Gemini && key == "url" => Some("sse"),
            None => None,
        };
        let mut headers = Vec::new();
        for key in ["headers", "http_headers"] {
            if let Some(table) = node.get(key) {
                headers.extend(self.pairs(table, key)?);
            }
        }
        // Codex: headers whose values stand in environment variables.
        for entry in node
            .get("env_http_headers")
            .map(Node::entries)
            .unwrap_or_default()
        {
            let variable = entry
                .node
                .as_str()
                .ok_or("a value in `env_http_headers` is not a string")?;
            headers.push((entry.key.clone(), from_environment(variable, &entry.node.span)));
        }
        if let Some(variable) = node.get("bearer_token_env_var") {
            let name = variable
                .as_str()
                .ok_or("`bearer_token_env_var` is not a string")?;
            let mut value = from_environment(name, &variable.span);
            value.text.insert_str(0, "Bearer ");
            headers.push(("Authorization".to_owned(), value));
        }
        let headers = first_of_each(headers, |a, b| a.eq_ignore_ascii_case(b));
        Ok(Launch::Remote {
            url,
            transport,
            headers,
        })
    }

    fn text(&mut self, node: &Node, key: &str) -> Result<Text, String> {
        let text = match &node.value {
            Value::String(text) => text.clone(),
            // Clients take `"PORT": 8080` and `true` for strings; so do we.
            Value::Integer(number) => number.to_string(),
            Value::Number(number) => number.clone(),
            Value::Bool(flag) => flag.to_string(),
            other => return Err(format!("`{key}` has {} where a string belongs", other.kind())),
        };
        let translated = variables::translate(&text, self.scope);
        self.notes.extend(translated.notes);
        self.exports.extend(translated.exports);
        Ok(Text {
            text: translated.text,
            span: node.span.clone(),
        })
    }

    fn texts(&mut self, node: &Node, key: &str) -> Result<Vec<Text>, String> {
        match &node.value {
            Value::Array(items) => items.iter().map(|item| self.text(item, key)).collect(),
            Value::Null => Ok(Vec::new()),
            other => Err(format!("`{key}` is {}, not an array", other.kind())),
        }
    }

    fn pairs(&mut self, node: &Node, key: &str) -> Result<Vec<(String, Text)>, String> {
        match &node.value {
            Value::Table(entries) => {
                let pair = |entry: &Entry| Ok((entry.key.clone(), self.text(&entry.node, key)?));
                entries.iter().map(pair).collect()
            }
            Value::Null => Ok(Vec::new()),
            other => Err(format!("`{key}` is {}, not a table", other.kind())),
        }
    }

    /// Keys that change what a server may do and have no twin here are named, not dropped in silence.
    fn mention_ignored(&mut self, node: &Node) {
        const TELLING: &[&str] = &[
            "envFile",
            "env_file",
            "oauth",
            "auth",
            "headersHelper",
            "includeTools",
            "excludeTools",
            "enabled_tools",
            "disabled_tools",
            "disabledTools",
            "allowedTools",
            "sandbox",
            "settings",
        ];
        let ignored: Vec<String> = TELLING
            .iter()
            .filter(|key| node.get(key).is_some())
            .map(|key| format!("`{key}`"))
            .collect();
        if !ignored.is_empty() {
            self.notes.push(format!("{} is not imported", ignored.join(", ")));
        }
    }

    fn warn_about_secrets(&mut self, command: &[Text]) {
        if command
            .iter()
            .any(|word| super::secrets::is_secret_argument(&word.text))
        {
            self.notes
                .push("an argument looks like a secret; consider ${env:NAME}".to_owned());
        }
    }
}

/// One value per name: several keys of a client can name the same variable, and the plainest of them comes first.
fn first_of_each(pairs: Vec<(String, Text)>, same: fn(&str, &str) -> bool) -> Vec<(String, Text)> {
    let mut kept: Vec<(String, Text)> = Vec::with_capacity(pairs.len());
    for (name, text) in pairs {
        if !kept.iter().any(|(known, _)| same(known, &name)) {
            kept.push((name, text));
        }
    }
    kept
}

fn from_environment(name: &str, span: &Span) -> Text {
    Text {
        text: format!("${{env:{name}}}"),
        span: span.clone(),
    }
}

fn flag(node: &Node, key: &str) -> Option<bool> {
    match node.get(key)?.value {
        Value::Bool(flag) => Some(flag),
        _ => None,
    }
}

fn seconds(node: &Node, key: &str) -> Option<String> {
    match &node.get(key)?.value {
        Value::Integer(number) if *number > 0 => Some(format!("{number}s")),
        Value::Number(number) => {
            let ms = number.parse::<f64>().ok().filter(|seconds| *seconds > 0.0)? * 1000.0;
            Some(format!("{ms:.0}ms"))
        }
        _ => None,
    }
}

fn millis(node: &Node, key: &str) -> Option<String> {
    match node.get(key)?.value {
        Value::Integer(number) if number > 0 && number % 1000 == 0 => Some(format!("{}s", number / 1000)),
        Value::Integer(number) if number > 0 => Some(format!("{number}ms")),
        _ => None,
    }
}
