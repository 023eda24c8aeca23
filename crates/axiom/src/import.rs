//! Other programs' MCP configurations, understood: recognise the shape, translate each server, show it, write it.
//!
//! The pipeline is `shape` (whose file is this) -> `translate` (one entry to one [`Draft`], variables included) ->
//! `names` and `secrets` (make it ours) -> `preview` -> `write`.

pub mod draft;
pub mod preview;
pub mod shape;
pub mod write;

mod names;
mod secrets;
mod translate;
mod variables;

use std::path::Path;

use crate::config::load::format_of;
use crate::config::tree::{Entry, Node, Value};
use crate::config::{Problem, parse};

pub use draft::{Draft, Launch, Skipped};
pub use shape::Client;

/// What a client's file holds.
#[derive(Debug)]
pub struct Found {
    pub client: Client,
    pub drafts: Vec<Draft>,
    /// Entries that cannot be servers of ours, with the reason.
    pub skipped: Vec<Skipped>,
}

/// Why nothing could be read from a file.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Not valid JSON or TOML.
    #[error("the file cannot be parsed")]
    Syntax(Problem),
    #[error("no MCP servers in here; its keys are {keys}")]
    NotRecognised { keys: String },
}

/// Whether secrets stay where they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// They become `${env:NAME}`.
    Moved,
    /// They are written as they are.
    Inline,
}

/// Understands the text of a client's file.
///
/// # Errors
/// A syntax error, or a file in which no known client keeps its servers.
pub fn read(path: &Path, text: &str, secrets: Secrets) -> Result<Found, ReadError> {
    let root = parse(text, format_of(path)).map_err(ReadError::Syntax)?;
    let shape = shape::recognise(path, &root).ok_or_else(|| {
        let keys: Vec<String> = root
            .entries()
            .iter()
            .map(|entry| format!("`{}`", entry.key))
            .take(8)
            .collect();
        ReadError::NotRecognised {
            keys: if keys.is_empty() {
                "none".to_owned()
            } else {
                keys.join(", ")
            },
        }
    })?;
    let (mut drafts, skipped) = translate::servers(&shape, path);
    names::make_valid(&mut drafts);
    if secrets == Secrets::Moved {
        secrets::move_out(&mut drafts);
    }
    Ok(Found {
        client: shape.client,
        drafts,
        skipped,
    })
}

/// A `mcpServers` file as a configuration of ours, for the decoder; `None` if the text is our own.
///
/// Entries that are no servers come out as empty sections, which the decoder reports in their place.
pub(crate) fn as_config(root: &Node) -> Option<Node> {
    if root.get("servers").is_some() || root.get("gateway").is_some() || !root.get("mcpServers")?.is_table() {
        return None;
    }
    let shape = shape::recognise(Path::new(".mcp.json"), root)?;
    let (mut drafts, skipped) = translate::servers(&shape, Path::new(".mcp.json"));
    names::make_valid(&mut drafts);
    let mut sections: Vec<Entry> = drafts.iter().map(Draft::to_entry).collect();
    sections.extend(skipped.into_iter().map(|skipped| Entry {
        key: names::valid(&skipped.name),
        node: Node {
            span: skipped.span.clone(),
            value: Value::Table(Vec::new()),
        },
        key_span: skipped.span,
    }));
    let servers = Node {
        span: root.span.clone(),
        value: Value::Table(sections),
    };
    let entry = Entry {
        key: "servers".to_owned(),
        key_span: root.span.clone(),
        node: servers,
    };
    Some(Node {
        span: root.span.clone(),
        value: Value::Table(vec![entry]),
    })
}

#[cfg(test)]
mod tests;
