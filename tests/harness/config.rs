//! An `axiom.toml` for a test.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// What a test wants behind the gateway.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// Lines for `[gateway]` besides the address.
    gateway: Vec<String>,
    servers: BTreeMap<String, Vec<String>>,
    views: BTreeMap<String, Vec<String>>,
    events: Vec<String>,
    tasks: Vec<String>,
}

impl Config {
    pub fn new() -> Self {
        Config::default()
    }

    /// A line for `[gateway]`, for example `prefix = "never"`.
    pub fn gateway(mut self, line: &str) -> Self {
        self.gateway.push(line.to_owned());
        self
    }

    /// A server that is a child process.
    pub fn stdio(self, name: &str, command: &[String]) -> Self {
        let command = command
            .iter()
            .map(|part| quote(part))
            .collect::<Vec<_>>()
            .join(", ");
        self.line(name, format!("command = [{command}]"))
    }

    /// A server behind a URL.
    pub fn url(self, name: &str, url: &str) -> Self {
        self.line(name, format!("url = {}", quote(url)))
    }

    /// One more line for a server that is there already, for example `call_timeout = "1s"`.
    pub fn with(self, name: &str, line: &str) -> Self {
        assert!(self.servers.contains_key(name), "add the server {name} first");
        self.line(name, line.to_owned())
    }

    /// A line for `[views.<name>]`.
    pub fn view(mut self, name: &str, line: &str) -> Self {
        self.views
            .entry(name.to_owned())
            .or_default()
            .push(line.to_owned());
        self
    }

    /// A line for `[events]`, for example `dir = "events"`.
    pub fn events(mut self, line: &str) -> Self {
        self.events.push(line.to_owned());
        self
    }

    /// A line for `[tasks]`, for example `dir = "tasks"`.
    pub fn tasks(mut self, line: &str) -> Self {
        self.tasks.push(line.to_owned());
        self
    }

    pub fn without(mut self, name: &str) -> Self {
        self.servers
            .remove(name)
            .expect("a server can be taken away only once");
        self
    }

    fn line(mut self, name: &str, line: String) -> Self {
        self.servers.entry(name.to_owned()).or_default().push(line);
        self
    }

    pub fn text(&self) -> String {
        let mut text = String::from("[gateway]\nlisten = \"127.0.0.1:0\"\n");
        let mut section = |header: String, lines: &[String]| {
            writeln!(text, "{header}{}", lines.join("\n")).unwrap();
        };
        section(String::new(), &self.gateway);
        for (name, lines) in &self.servers {
            section(format!("[servers.{name}]\n"), lines);
        }
        for (name, lines) in &self.views {
            section(format!("[views.{name}]\n"), lines);
        }
        if !self.events.is_empty() {
            section("[events]\n".to_owned(), &self.events);
        }
        if !self.tasks.is_empty() {
            section("[tasks]\n".to_owned(), &self.tasks);
        }
        text
    }

    /// Puts it in place in one step, so that a running gateway never reads half a file.
    pub fn write(&self, path: &Path) {
        put(path, &self.text());
    }
}

/// Replaces a file in one step.
pub fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    std::fs::write(&beside, text).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

/// A TOML basic string; JSON's escapes are among TOML's.
fn quote(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}
