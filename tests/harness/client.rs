//! Real clients: each runs as its own process, takes a scenario and prints what it got.

use std::io::Write as _;
use std::process::Command;

use serde_json::{Value, json};

use crate::bed;
use crate::child::Running;

/// A client, in the way that a scenario uses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Client {
    /// TypeScript, `@modelcontextprotocol/client`; finds out the era by itself.
    TsV2,
    /// The same, held to sessions.
    TsV2Legacy,
    /// The same, held to 2026-07-28.
    TsV2Modern,
    /// TypeScript, `@modelcontextprotocol/sdk`; sessions only.
    TsV1,
    /// Python, `mcp`; finds out the era by itself.
    PyMcp,
    /// The same, held to sessions.
    PyMcpLegacy,
    /// The same, held to 2026-07-28.
    PyMcpModern,
    /// Python, `fastmcp`; finds out the era by itself.
    FastMcp,
}

/// How a client reaches its server.
#[derive(Debug, Clone)]
pub enum Way {
    Http(String),
    Sse(String),
    WebSocket(String),
    Stdio(Vec<String>),
}

/// What a client printed.
#[derive(Debug)]
pub struct Report {
    pub connected: Value,
    pub steps: Vec<Value>,
}

impl Report {
    /// The result of a step; panics when it failed.
    pub fn ok(&self, step: usize) -> &Value {
        let line = &self.steps[step];
        line.get("ok")
            .unwrap_or_else(|| panic!("step {step} failed: {line}"))
    }

    pub fn error(&self, step: usize) -> &Value {
        let line = &self.steps[step];
        line.get("error")
            .unwrap_or_else(|| panic!("step {step} did not fail: {line}"))
    }

    /// The text of a tool's first content block.
    pub fn text(&self, step: usize) -> &str {
        let ok = self.ok(step);
        ok["content"][0]["text"]
            .as_str()
            .unwrap_or_else(|| panic!("step {step} has no text: {ok}"))
    }

    /// What the client was told or asked during a step.
    pub fn events(&self, step: usize, method: &str) -> Vec<&Value> {
        let events = self.steps[step]["events"].as_array().expect("a step has events");
        events
            .iter()
            .filter(|event| event["method"] == method)
            .map(|event| &event["params"])
            .collect()
    }

    pub fn version(&self) -> &str {
        self.connected["version"]
            .as_str()
            .expect("a client knows its version")
    }
}

impl Client {
    /// Connects, runs the steps and ends.
    pub fn run(self, way: &Way, answers: &Value, steps: &[Value]) -> Report {
        let scenario = self.scenario(way, answers, steps);
        let mut running = Running::start(&format!("{self:?}"), &mut self.command());
        let mut stdin = running.stdin.take().expect("a client reads its scenario");
        stdin
            .write_all(scenario.to_string().as_bytes())
            .expect("a client reads its scenario");
        drop(stdin);
        let lines = running.stdout.all();
        let status = running.ended();
        let mut lines = lines.iter().map(|line| {
            serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{self:?}: {error} in {line}"))
        });
        let connected = lines.next().map(|line| line["connected"].clone());
        let connected = connected.unwrap_or_else(|| panic!("{self:?} did not connect over {way:?}"));
        let got: Vec<Value> = lines.collect();
        assert_eq!(
            got.len(),
            steps.len(),
            "{self:?} did not get through its steps: {got:#?}"
        );
        assert!(status.success(), "{self:?} ended with {status}");
        Report {
            connected,
            steps: got,
        }
    }

    fn scenario(self, way: &Way, answers: &Value, steps: &[Value]) -> Value {
        let (transport, key, target) = match way {
            Way::Http(url) => ("http", "url", json!(url)),
            Way::Sse(url) => ("sse", "url", json!(url)),
            Way::WebSocket(url) => ("ws", "url", json!(url)),
            Way::Stdio(command) => ("stdio", "command", json!(command)),
        };
        json!({ "transport": transport, key: target, "era": self.era(), "answers": answers, "steps": steps })
    }

    fn era(self) -> &'static str {
        match self {
            Client::TsV2 | Client::PyMcp | Client::FastMcp => "auto",
            Client::TsV2Legacy | Client::PyMcpLegacy | Client::TsV1 => "legacy",
            Client::TsV2Modern | Client::PyMcpModern => "2026-07-28",
        }
    }

    fn command(self) -> Command {
        let python = || bed::python("main", "python");
        let (program, script) = match self {
            Client::TsV2 | Client::TsV2Legacy | Client::TsV2Modern => (bed::node(), "clients/ts_v2.mjs"),
            Client::TsV1 => (bed::node(), "clients/ts_v1.mjs"),
            Client::PyMcp | Client::PyMcpLegacy | Client::PyMcpModern => (python(), "clients/py_mcp.py"),
            Client::FastMcp => (python(), "clients/py_fastmcp.py"),
        };
        let mut command = Command::new(program);
        command.arg(bed::ours(script));
        // Deprecation warnings about the very features that are under test.
        command
            .env("PYTHONWARNINGS", "ignore")
            .env("PYTHONDONTWRITEBYTECODE", "1");
        command
    }
}

/// One method of the Inspector's command line, for example `&["--method", "tools/list"]`; gives what it printed.
pub fn inspector(transport: &str, target: &[&str], arguments: &[&str]) -> Value {
    let mut command = Command::new(bed::node());
    command
        .arg(bed::npm(
            "@modelcontextprotocol/inspector/clients/launcher/build/index.js",
        ))
        .arg("--cli");
    command
        .args(target)
        .args(["--transport", transport])
        .args(arguments);
    let mut running = Running::start("the Inspector", &mut command);
    running.stdin = None;
    let text = running.stdout.all().join("\n");
    let status = running.ended();
    assert!(
        status.success(),
        "the Inspector ended with {status}: {text}\n{}",
        running.stderr.text()
    );
    serde_json::from_str(&text)
        .unwrap_or_else(|error| panic!("{error} in what the Inspector printed: {text}"))
}

/// Answers for a client that is asked: each makes it declare the capability.
pub fn answers() -> Value {
    let content = json!({ "name": "Ada", "username": "ada", "email": "ada@example.com", "ok": true });
    json!({
        "elicitation": { "action": "accept", "content": content },
        "sampling": { "role": "assistant", "content": { "type": "text", "text": "Paris" }, "model": "test" },
        "roots": [{ "uri": "file:///srv/project", "name": "project" }],
    })
}
