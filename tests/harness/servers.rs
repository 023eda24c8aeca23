//! The real servers, each with a few requests whose answers are the same each time it starts.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::bed;
use crate::child::Running;
use crate::config::Config;

/// A server that runs as a child process.
pub struct Server {
    pub name: &'static str,
    pub command: Vec<String>,
    pub environment: Vec<(String, String)>,
    /// Requests, in order: method and params.
    pub requests: Vec<(&'static str, Value)>,
    /// Puts back what its requests change outside the process.
    reset: Box<dyn Fn()>,
}

impl Server {
    /// Makes the world as it was before the first request.
    pub fn reset(&self) {
        (self.reset)();
    }

    /// Adds this server to a configuration.
    pub fn add_to(&self, config: Config) -> Config {
        let config = config.stdio(self.name, &self.command);
        if self.environment.is_empty() {
            return config;
        }
        let pairs: Vec<String> = self
            .environment
            .iter()
            .map(|(name, value)| format!("{name} = {}", json!(value)))
            .collect();
        config.with(self.name, &format!("env = {{ {} }}", pairs.join(", ")))
    }
}

/// All of them. `folder` is for their files, and the same for each call with the same folder.
pub fn all(folder: &Path) -> Vec<Server> {
    vec![
        everything(),
        filesystem(&folder.join("files")),
        memory(&folder.join("memory")),
        sequential_thinking(),
        git(&folder.join("repository")),
        time(),
        sqlite(&folder.join("database")),
        legacy_everything("2025-03-26", "everything-2025-03"),
        legacy_everything("2025-06-18", "everything-2025-06"),
    ]
}

/// The reference server with one of each, of today.
pub fn everything() -> Server {
    let script = bed::npm("@modelcontextprotocol/server-everything/dist/index.js");
    let mut server = plain("everything", vec![bed::node(), script, "stdio".to_owned()]);
    let reference = json!({ "type": "ref/prompt", "name": "completable-prompt" });
    server.requests = vec![
        ("tools/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        call("echo", json!({ "message": "\u{e9}\u{4e16} \\\" \u{1f980}" })),
        call("get-sum", json!({ "a": 40, "b": 2 })),
        call("get-structured-content", json!({ "location": "New York" })),
        call("get-tiny-image", json!({})),
        call("get-sum", json!({ "a": "forty" })),
        call("there-is-no-such-tool", json!({})),
        (
            "prompts/get",
            json!({ "name": "args-prompt", "arguments": { "city": "Bern" } }),
        ),
        (
            "resources/read",
            json!({ "uri": "demo://resource/static/document/structure.md" }),
        ),
        (
            "completion/complete",
            json!({ "ref": reference, "argument": { "name": "department", "value": "E" } }),
        ),
    ];
    server
}

/// The same server of an old revision, on the SDK of its day.
pub fn legacy_everything(revision: &str, name: &'static str) -> Server {
    let mut server = plain(
        name,
        vec![bed::node(), bed::legacy_everything(revision), "stdio".to_owned()],
    );
    server.requests = vec![
        ("tools/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        call("echo", json!({ "message": "hello from before" })),
        call("add", json!({ "a": 40, "b": 2 })),
        ("prompts/get", json!({ "name": "simple_prompt" })),
        ("resources/read", json!({ "uri": "test://static/resource/1" })),
    ];
    server
}

fn filesystem(folder: &Path) -> Server {
    let script = bed::npm("@modelcontextprotocol/server-filesystem/dist/index.js");
    let path = |name: &str| folder.join(name).display().to_string();
    let mut server = plain("filesystem", vec![bed::node(), script, path("")]);
    server.requests = vec![
        ("tools/list", json!({})),
        call("read_text_file", json!({ "path": path("notes.txt") })),
        call(
            "write_file",
            json!({ "path": path("new.txt"), "content": "written \u{4f60}\u{597d}" }),
        ),
        call("list_directory", json!({ "path": path("") })),
        call("read_text_file", json!({ "path": "/etc/hostname" })),
    ];
    let folder = folder.to_owned();
    server.reset = Box::new(move || {
        empty(&folder);
        std::fs::write(folder.join("notes.txt"), "two\nlines\n").unwrap();
    });
    server
}

fn memory(folder: &Path) -> Server {
    let script = bed::npm("@modelcontextprotocol/server-memory/dist/index.js");
    let mut server = plain("memory", vec![bed::node(), script]);
    server.environment = vec![(
        "MEMORY_FILE_PATH".to_owned(),
        folder.join("memory.json").display().to_string(),
    )];
    let ada = json!({ "name": "Ada", "entityType": "person", "observations": ["wrote the first program"] });
    server.requests = vec![
        ("tools/list", json!({})),
        call("create_entities", json!({ "entities": [ada] })),
        call("read_graph", json!({})),
        call("search_nodes", json!({ "query": "program" })),
    ];
    let folder = folder.to_owned();
    server.reset = Box::new(move || empty(&folder));
    server
}

fn sequential_thinking() -> Server {
    let script = bed::npm("@modelcontextprotocol/server-sequential-thinking/dist/index.js");
    let mut server = plain("thinking", vec![bed::node(), script]);
    let thought =
        json!({ "thought": "one", "nextThoughtNeeded": true, "thoughtNumber": 1, "totalThoughts": 2 });
    server.requests = vec![("tools/list", json!({})), call("sequentialthinking", thought)];
    server
}

fn git(folder: &Path) -> Server {
    let repository = folder.display().to_string();
    let command = vec![
        bed::python("main", "mcp-server-git"),
        "--repository".to_owned(),
        repository.clone(),
    ];
    let mut server = plain("git", command);
    server.requests = vec![
        ("tools/list", json!({})),
        call("git_status", json!({ "repo_path": repository })),
        call("git_log", json!({ "repo_path": repository, "max_count": 1 })),
        call(
            "git_add",
            json!({ "repo_path": repository, "files": ["new.txt"] }),
        ),
        call("git_diff_staged", json!({ "repo_path": repository })),
    ];
    let folder = folder.to_owned();
    server.reset = Box::new(move || repository_of_one_commit(&folder));
    server
}

fn time() -> Server {
    let command = vec![
        bed::python("main", "mcp-server-time"),
        "--local-timezone".to_owned(),
        "UTC".to_owned(),
    ];
    let mut server = plain("time", command);
    let convert = json!({ "source_timezone": "UTC", "time": "12:00", "target_timezone": "Asia/Tokyo" });
    server.requests = vec![
        ("tools/list", json!({})),
        call("convert_time", convert),
        call(
            "convert_time",
            json!({ "source_timezone": "Nowhere", "time": "12:00", "target_timezone": "UTC" }),
        ),
    ];
    server
}

/// On mcp 1.6: it speaks 2024-11-05 and dies when it is asked `server/discover`.
pub fn sqlite(folder: &Path) -> Server {
    let database = folder.join("test.db").display().to_string();
    let program = bed::python("old", "mcp-server-sqlite");
    let mut server = plain("sqlite", vec![program, "--db-path".to_owned(), database]);
    server.requests = vec![
        ("tools/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        call(
            "create_table",
            json!({ "query": "CREATE TABLE t (n INTEGER, word TEXT)" }),
        ),
        call(
            "write_query",
            json!({ "query": "INSERT INTO t VALUES (1, 'na\u{ef}ve')" }),
        ),
        call("read_query", json!({ "query": "SELECT * FROM t" })),
        call("list_tables", json!({})),
    ];
    let folder = folder.to_owned();
    server.reset = Box::new(move || empty(&folder));
    server
}

/// Our dual-era server, as a child process.
pub fn dual_stdio() -> Vec<String> {
    vec![
        bed::node(),
        bed::ours("servers/everything/main.mjs"),
        "stdio".to_owned(),
    ]
}

/// Our dual-era server over HTTP, and its URL.
pub fn dual_http() -> (Running, String) {
    dual_http_on(0)
}

/// The same on this port.
pub fn dual_http_on(port: u16) -> (Running, String) {
    let mut command = Command::new(bed::node());
    command
        .arg(bed::ours("servers/everything/main.mjs"))
        .arg("http")
        .arg(port.to_string());
    listening("the dual-era server", &mut command)
}

/// The server of 2024 over HTTP+SSE, and its URL.
pub fn old_sse() -> (Running, String) {
    let mut command = Command::new(bed::python("old", "python"));
    command.arg(bed::ours("servers/old_sse.py"));
    listening("the server of 2024", &mut command)
}

/// The reference server of today over `streamableHttp` or `sse`, and its URL.
pub fn everything_over(mode: &str) -> (Running, String) {
    let path = if mode == "sse" { "/sse" } else { "/mcp" };
    let mut command = Command::new(bed::node());
    command
        .args(["--import", &bed::ours("servers/on_loopback.mjs")])
        .arg(bed::npm("@modelcontextprotocol/server-everything/dist/index.js"))
        .arg(mode)
        .env("MCP_PATH", path);
    listening(&format!("server-everything over {mode}"), &mut command)
}

/// A server of 2026-07-28 alone, as a child process.
pub fn modern_only_stdio() -> Vec<String> {
    let script = bed::ours("servers/modern_only.mjs");
    vec![bed::node(), script, "stdio".to_owned()]
}

/// A server of 2026-07-28 alone over HTTP, and its URL.
pub fn modern_only_http() -> (Running, String) {
    let mut command = Command::new(bed::node());
    command.arg(bed::ours("servers/modern_only.mjs")).arg("http");
    listening("the server of 2026-07-28 alone", &mut command)
}

/// A server of 2026-07-28 alone that uses what is new since 2024-11-05, as a child process.
pub fn levels_stdio() -> Vec<String> {
    let script = bed::ours("servers/levels.mjs");
    vec![bed::node(), script, "stdio".to_owned()]
}

/// The same over HTTP, and its URL.
pub fn levels_http() -> (Running, String) {
    let mut command = Command::new(bed::node());
    command.arg(bed::ours("servers/levels.mjs")).arg("http");
    listening("the server with everything new", &mut command)
}

/// A server of sessions on this port that writes what its tools do into `effects` and refuses sessions that it does not
/// know with this status; and its URL.
pub fn forgetful(port: u16, effects: &Path, status: u16) -> (Running, String) {
    let mut command = Command::new(bed::node());
    command
        .arg(bed::ours("servers/forgetful.mjs"))
        .arg(port.to_string())
        .arg(effects)
        .arg(status.to_string());
    listening("the forgetful server", &mut command)
}

/// A server of the session revisions alone, as a child process.
pub fn legacy_only_stdio() -> Vec<String> {
    let script = bed::ours("servers/legacy_only.mjs");
    vec![bed::node(), script, "stdio".to_owned()]
}

/// A server of the session revisions alone over HTTP, and its URL.
pub fn legacy_only_http() -> (Running, String) {
    let mut command = Command::new(bed::node());
    command.arg(bed::ours("servers/legacy_only.mjs")).arg("http");
    listening("the server of the session revisions alone", &mut command)
}

/// A server of the test kit that has one fault, over stdio.
pub fn faulty(fault: &str, arguments: &[&str]) -> Vec<String> {
    let program = bed::built("axiom-faulty").display().to_string();
    let mut command = vec![program, "--fault".to_owned(), fault.to_owned()];
    command.extend(arguments.iter().map(|&argument| argument.to_owned()));
    command
}

fn listening(name: &str, command: &mut Command) -> (Running, String) {
    let running = Running::start(name, command);
    let listening = running.listening();
    let url = listening["mcp"]
        .as_str()
        .unwrap_or_else(|| panic!("no mcp in {listening}"))
        .to_owned();
    (running, url)
}

fn plain(name: &'static str, command: Vec<String>) -> Server {
    Server {
        name,
        command,
        environment: Vec::new(),
        requests: Vec::new(),
        reset: Box::new(|| ()),
    }
}

fn call(tool: &str, arguments: Value) -> (&'static str, Value) {
    ("tools/call", json!({ "name": tool, "arguments": arguments }))
}

fn empty(folder: &Path) {
    drop(std::fs::remove_dir_all(folder));
    std::fs::create_dir_all(folder).unwrap();
}

/// One commit that has the same hash each time, and one file that is not committed.
fn repository_of_one_commit(folder: &PathBuf) {
    empty(folder);
    let git = |arguments: &[&str]| {
        let mut command = Command::new("git");
        command
            .args(["-c", "user.name=Ada", "-c", "user.email=ada@example.com"])
            .args(arguments);
        command
            .env("GIT_AUTHOR_DATE", "2026-01-01T00:00:00Z")
            .env("GIT_COMMITTER_DATE", "2026-01-01T00:00:00Z");
        let output = command.current_dir(folder).output().expect("git is installed");
        assert!(
            output.status.success(),
            "git {arguments:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    };
    git(&["init", "--quiet", "--initial-branch", "main"]);
    std::fs::write(folder.join("readme.txt"), "a repository\n").unwrap();
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "first"]);
    std::fs::write(folder.join("new.txt"), "not committed\n").unwrap();
}
