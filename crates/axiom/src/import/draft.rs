//! A server as it will stand in our file: strings in our syntax, each with its place in the client's file.

use crate::config::tree::{Entry, Node, Span, Value};

/// One server, translated and not yet written.
#[derive(Debug, Clone, PartialEq)]
pub struct Draft {
    /// A valid name of ours.
    pub name: String,
    /// What the client calls it.
    pub original: String,
    /// Where the client's file names it.
    pub span: Span,
    pub launch: Launch,
    pub disabled: bool,
    /// In our syntax, like `30s`.
    pub start_timeout: Option<String>,
    pub call_timeout: Option<String>,
    /// What a person should know: renamed, left out, to be set before the start.
    pub notes: Vec<String>,
    /// Environment variables that must be exported because a secret was moved out or the editor used to ask for it.
    pub exports: Vec<String>,
}

/// How the server is reached.
#[derive(Debug, Clone, PartialEq)]
pub enum Launch {
    Command {
        command: Vec<Text>,
        env: Vec<(String, Text)>,
        cwd: Option<Text>,
    },
    Remote {
        url: Text,
        transport: Option<&'static str>,
        headers: Vec<(String, Text)>,
    },
}

/// A string in our syntax and where it came from.
#[derive(Debug, Clone, PartialEq)]
pub struct Text {
    pub text: String,
    pub span: Span,
}

/// An entry that is no server for us.
#[derive(Debug, Clone, PartialEq)]
pub struct Skipped {
    pub name: String,
    pub reason: String,
    pub span: Span,
}

impl Draft {
    /// The keys of the section that this draft becomes, in the order in which they are written.
    pub fn to_entry(&self) -> Entry {
        let mut fields = match &self.launch {
            Launch::Command { command, env, cwd } => vec![
                Some(self.field("command", Value::Array(command.iter().map(Text::node).collect()))),
                self.pairs("env", env),
                cwd.as_ref()
                    .map(|cwd| self.field("cwd", Value::String(cwd.text.clone()))),
            ],
            Launch::Remote {
                url,
                transport,
                headers,
            } => vec![
                Some(self.field_at("url", url.node())),
                transport.map(|transport| self.field("transport", Value::String(transport.to_owned()))),
                self.pairs("headers", headers),
            ],
        };
        let time = |key, value: &Option<String>| {
            value
                .as_ref()
                .map(|value| self.field(key, Value::String(value.clone())))
        };
        fields.push(time("start_timeout", &self.start_timeout));
        fields.push(time("call_timeout", &self.call_timeout));
        fields.push(self.disabled.then(|| self.field("disabled", Value::Bool(true))));
        let value = Value::Table(fields.into_iter().flatten().collect());
        let node = Node {
            span: self.span.clone(),
            value,
        };
        Entry {
            key: self.name.clone(),
            key_span: self.span.clone(),
            node,
        }
    }

    fn field(&self, key: &str, value: Value) -> Entry {
        self.field_at(
            key,
            Node {
                span: self.span.clone(),
                value,
            },
        )
    }

    fn field_at(&self, key: &str, node: Node) -> Entry {
        Entry {
            key: key.to_owned(),
            key_span: node.span.clone(),
            node,
        }
    }

    fn pairs(&self, key: &str, pairs: &[(String, Text)]) -> Option<Entry> {
        let entries = pairs
            .iter()
            .map(|(name, text)| self.field_at(name, text.node()))
            .collect();
        (!pairs.is_empty()).then(|| self.field(key, Value::Table(entries)))
    }
}

impl Text {
    fn node(&self) -> Node {
        Node {
            span: self.span.clone(),
            value: Value::String(self.text.clone()),
        }
    }
}
