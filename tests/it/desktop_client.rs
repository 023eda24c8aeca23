//! `axiom stdio` as a desktop client has it: a child process that serves all servers on its stdin and stdout, and that
//! leaves nothing behind when its client goes away.

use std::path::{Path, PathBuf};

use axiom_tests::bed;
use axiom_tests::client::{Client, Way};
use axiom_tests::config::Config;
use axiom_tests::peer::{self, Peer as _};
use axiom_tests::stdio::Direct;
use axiom_tests::{process, servers, wait};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A folder whose name is in the arguments of every process of this test.
struct Desk {
    folder: PathBuf,
}

impl Desk {
    fn new(name: &str) -> Self {
        let desk = Desk {
            folder: bed::scratch(name),
        };
        let mark = desk.mark();
        let marked = |mut command: Vec<String>| {
            command.push(mark.clone());
            command
        };
        let config = Config::new()
            .stdio("dual", &marked(servers::dual_stdio()))
            .stdio("everything", &marked(servers::everything().command))
            .view("small", "include = [\"everything.echo\"]");
        config.write(&desk.file());
        desk
    }

    fn mark(&self) -> String {
        self.folder.display().to_string()
    }

    fn file(&self) -> PathBuf {
        self.folder.join("axiom.toml")
    }

    fn command(&self, more: &[&str]) -> Vec<String> {
        let axiom = bed::built("axiom").display().to_string();
        let file = self.file().display().to_string();
        let mut command = vec![axiom, "stdio".to_owned(), "--config".to_owned(), file];
        command.extend(more.iter().map(|&word| word.to_owned()));
        command
    }

    /// Waits until the last process that bears the mark has ended.
    fn is_left(&self, by: &str) {
        wait::until(&format!("nothing is left by {by}"), || {
            process::with_argument(&self.mark()).is_empty().then_some(())
        });
    }
}

#[test]
fn every_client_has_it_as_a_child() {
    let desk = Desk::new("desk");
    let steps = [
        json!({ "do": "listTools" }),
        json!({ "do": "callTool", "name": "everything__echo", "arguments": { "message": "hello" } }),
        json!({ "do": "callTool", "name": "dual__test_tool_with_progress", "progress": true }),
        json!({ "do": "cancel", "name": "dual__test_slow" }),
        json!({ "do": "callTool", "name": "dual__test_cancelled_calls" }),
    ];
    for client in [
        Client::TsV1,
        Client::TsV2Legacy,
        Client::TsV2Modern,
        Client::TsV2,
        Client::PyMcpLegacy,
        Client::PyMcpModern,
        Client::PyMcp,
        Client::FastMcp,
    ] {
        let report = client.run(&Way::Stdio(desk.command(&[])), &json!({}), &steps);
        let tools = report.ok(0)["tools"].as_array().expect("tools are a list");
        for tool in ["everything__echo", "dual__test_slow"] {
            assert!(
                tools.iter().any(|found| found["name"] == tool),
                "{client:?}: {tool} in {tools:?}"
            );
        }
        assert_eq!(report.text(1), "Echo: hello", "{client:?}");
        let progress: Vec<Option<f64>> = report
            .events(2, "notifications/progress")
            .iter()
            .map(|params| params["progress"].as_f64())
            .collect();
        assert_eq!(progress, [Some(0.0), Some(50.0), Some(100.0)], "{client:?}");
        report.ok(3);
        assert_eq!(report.text(4), "1", "{client:?}: the server saw the cancellation");
        desk.is_left(&format!("{client:?}"));
    }
}

#[test]
fn one_server_or_a_view_as_a_child() {
    let desk = Desk::new("choice");
    for (choice, tool) in [
        (["--server", "everything"], "echo"),
        (["--view", "small"], "everything__echo"),
    ] {
        for client in [Client::TsV1, Client::PyMcpModern] {
            let steps = [
                json!({ "do": "listTools" }),
                json!({ "do": "callTool", "name": tool, "arguments": { "message": "hello" } }),
            ];
            let report = client.run(&Way::Stdio(desk.command(&choice)), &json!({}), &steps);
            assert_eq!(report.text(1), "Echo: hello", "{client:?} {choice:?}");
            let tools = report.ok(0)["tools"].as_array().expect("tools are a list");
            let others = tools.iter().filter(|found| found["name"] != tool).count();
            assert_eq!(others == 0, choice[0] == "--view", "{client:?} {choice:?}");
        }
    }
    desk.is_left("clients of a choice");
}

/// The usual end: the client closes the pipe. The exit is clean, also while a call runs.
#[test]
fn it_ends_when_its_input_ends() {
    for busy in [false, true] {
        let desk = Desk::new("input-ends");
        let mut session = Direct::start("axiom stdio", &desk.command(&[]));
        let reply = session.call("everything__echo", &json!({ "message": "hello" }));
        assert_eq!(reply.text(), "Echo: hello");
        if busy {
            start_slow_call(&mut session);
        }
        assert!(!process::with_argument(&desk.mark()).is_empty());
        session.running().stdin = None;
        let status = session.running().ended();
        assert_eq!(status.code(), Some(0), "busy: {busy}");
        desk.is_left("a client that closed the pipe");
    }
}

#[test]
fn it_ends_when_it_is_asked_to() {
    for signal in [Signal::TERM, Signal::INT] {
        let desk = Desk::new("signal");
        let mut session = Direct::start("axiom stdio", &desk.command(&[]));
        let reply = session.call("dual__test_simple_text", &json!({}));
        assert_eq!(reply.text(), "This is a simple text response for testing.");
        session.running().signal(signal);
        let status = session.running().ended();
        assert!(status.code().is_some(), "{signal:?}: {status}");
        desk.is_left("a signal");
    }
}

/// What a client reads on stdout is the protocol, one message a line, whatever happens.
#[test]
fn stdout_is_the_protocol_and_nothing_else() {
    let desk = Desk::new("stdout");
    let broken = desk.folder.join("broken");
    add_server(&desk.file(), &broken);
    let mut session = Direct::start("axiom stdio", &desk.command(&["--log", "debug"]));
    session.ask("tools/list", "{}").value();
    session.write("this is no message");
    session.call("broken__x", &json!({}));
    session.running().stdin = None;
    let status = session.running().ended();
    assert!(status.success(), "{status}");
    let lines = session.running().stdout.all();
    assert!(lines.len() >= 3, "{lines:?}");
    for line in lines {
        let message: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error} in {line:?}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
    }
}

/// A server that cannot be started.
fn add_server(file: &Path, program: &Path) {
    let mut text = std::fs::read_to_string(file).expect("it was written");
    text.push_str(&format!("[servers.broken]\ncommand = [{}]\n", json!(program)));
    std::fs::write(file, text).expect("it can be written");
}

/// Returns once the server's first progress shows that the call runs.
fn start_slow_call(session: &mut Direct) {
    let params = json!({ "name": "dual__test_slow", "arguments": {}, "_meta": { "progressToken": "slow" } });
    session.write(&peer::message("\"slow\"", "tools/call", &params.to_string()));
    session.running().stdout.wait("the slow call reports", |line| {
        line.contains("notifications/progress")
    });
}
