//! Whose file is this? By what is in it, then by its name.

use std::path::Path;

use crate::config::tree::{Entry, Node};

/// A program whose configuration we understand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    ClaudeDesktop,
    ClaudeCode,
    Cursor,
    VsCode,
    Windsurf,
    Zed,
    Codex,
    Gemini,
    OpenCode,
    /// `mcpServers`, as many programs have it.
    McpServers,
}

impl Client {
    /// The name people know it by.
    pub fn name(self) -> &'static str {
        match self {
            Client::ClaudeDesktop => "Claude Desktop",
            Client::ClaudeCode => "Claude Code",
            Client::Cursor => "Cursor",
            Client::VsCode => "VS Code",
            Client::Windsurf => "Windsurf",
            Client::Zed => "Zed",
            Client::Codex => "Codex",
            Client::Gemini => "Gemini CLI",
            Client::OpenCode => "OpenCode",
            Client::McpServers => "mcpServers",
        }
    }
}

/// A recognised file: the client and where its servers stand.
#[derive(Debug)]
pub struct Shape<'n> {
    pub client: Client,
    pub servers: Vec<&'n Entry>,
    /// VS Code's `inputs`: values that the editor asks for.
    pub inputs: Option<&'n Node>,
}

/// `None` when no known client keeps servers like this.
pub fn recognise<'n>(path: &Path, root: &'n Node) -> Option<Shape<'n>> {
    let plain = |client, table: &'n Node| Shape {
        client,
        servers: entries(table),
        inputs: None,
    };
    if let Some(table) = root.get("context_servers").filter(|node| node.is_table()) {
        return Some(plain(Client::Zed, table));
    }
    if let Some(table) = root.get("mcp_servers").filter(|node| node.is_table()) {
        return Some(plain(Client::Codex, table));
    }
    if let Some(shape) = mcp_servers(path, root) {
        return Some(shape);
    }
    if let Some(mcp) = root.get("mcp").filter(|node| node.is_table()) {
        return Some(match mcp.get("servers").filter(|node| node.is_table()) {
            // VS Code's older place, inside settings.json.
            Some(table) => Shape {
                client: Client::VsCode,
                servers: entries(table),
                inputs: mcp.get("inputs"),
            },
            None => plain(Client::OpenCode, mcp),
        });
    }
    let table = root.get("servers").filter(|node| node.is_table())?;
    Some(Shape {
        client: Client::VsCode,
        servers: entries(table),
        inputs: root.get("inputs"),
    })
}

fn entries(table: &Node) -> Vec<&Entry> {
    table.entries().iter().collect()
}

/// `mcpServers` at the top, and (Claude Code's own file) in each project.
fn mcp_servers<'n>(path: &Path, root: &'n Node) -> Option<Shape<'n>> {
    let top = root.get("mcpServers").filter(|node| node.is_table());
    let projects = root.get("projects").map(Node::entries).unwrap_or_default();
    let in_projects = projects
        .iter()
        .filter_map(|project| project.node.get("mcpServers"));
    let servers: Vec<&Entry> = top
        .into_iter()
        .chain(in_projects)
        .flat_map(Node::entries)
        .collect();
    if top.is_none() && servers.is_empty() {
        return None;
    }
    let has = |key: &str| servers.iter().any(|entry| entry.node.get(key).is_some());
    let client = match by_name(path) {
        Some(client) => client,
        None if has("httpUrl") => Client::Gemini,
        None if has("serverUrl") => Client::Windsurf,
        None => Client::McpServers,
    };
    Some(Shape {
        client,
        servers,
        inputs: root.get("inputs"),
    })
}

fn by_name(path: &Path) -> Option<Client> {
    let file = path.file_name()?.to_str()?;
    let folder = path
        .parent()
        .and_then(Path::file_name)
        .and_then(|name| name.to_str())
        .unwrap_or_default();
    match (folder, file) {
        (_, "claude_desktop_config.json") => Some(Client::ClaudeDesktop),
        (_, ".mcp.json" | ".claude.json") | (".claude", _) => Some(Client::ClaudeCode),
        (".cursor", _) => Some(Client::Cursor),
        ("windsurf", _) | (_, "mcp_config.json") => Some(Client::Windsurf),
        (".gemini", _) => Some(Client::Gemini),
        _ => None,
    }
}
