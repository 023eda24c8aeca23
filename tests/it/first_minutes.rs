//! The first minutes of a newcomer: one command in an empty folder, and any client at the address it prints.

use std::process::Command;

use axiom_tests::bed;
use axiom_tests::child::Running;
use axiom_tests::client::{Client, Way, inspector};
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{Peer as _, Session};
use axiom_tests::servers;
use serde_json::{Value, json};

#[test]
fn every_client_uses_the_demo() {
    let gateway = Gateway::start_in(&bed::scratch("newcomer"));
    let steps = [
        json!({ "do": "listTools" }),
        json!({ "do": "callTool", "name": "demo__add", "arguments": { "a": 40, "b": 2 } }),
        json!({ "do": "callTool", "name": "demo__slow", "arguments": { "seconds": 0.1, "steps": 3 }, "progress": true }),
        json!({ "do": "listResources" }),
        json!({ "do": "getPrompt", "name": "demo__greet", "arguments": { "name": "Ada" } }),
    ];
    for client in [
        Client::TsV2,
        Client::TsV2Legacy,
        Client::TsV2Modern,
        Client::TsV1,
        Client::PyMcp,
        Client::PyMcpLegacy,
        Client::PyMcpModern,
        Client::FastMcp,
    ] {
        let report = client.run(&Way::Http(gateway.mcp()), &json!({}), &steps);
        let tools = report.ok(0)["tools"].as_array().expect("tools are a list");
        assert!(
            tools.iter().any(|tool| tool["name"] == "demo__echo"),
            "{client:?}: {tools:?}"
        );
        assert_eq!(report.text(1), "42", "{client:?}");
        report.ok(2);
        assert!(
            !report.events(2, "notifications/progress").is_empty(),
            "{client:?}: {}",
            report.steps[2]
        );
        assert_eq!(
            report.ok(3)["resources"].as_array().map(Vec::len),
            Some(1),
            "{client:?}"
        );
        let text = report.ok(4)["messages"][0]["content"]["text"].to_string();
        assert!(text.contains("Ada"), "{client:?}: {text}");
    }
}

#[test]
fn the_inspector_uses_the_demo() {
    let gateway = Gateway::start_in(&bed::scratch("newcomer"));
    let arguments = [
        "--method",
        "tools/call",
        "--tool-name",
        "demo__add",
        "--tool-arg",
        "a=40",
        "b=2",
    ];
    for (transport, url) in [("http", gateway.mcp()), ("sse", gateway.url("/sse"))] {
        let got = inspector(transport, &[&url], &arguments);
        assert_eq!(got["content"][0]["text"], "42", "{transport}");
    }
    let axiom = bed::built("axiom").display().to_string();
    let got = inspector("stdio", &[&axiom, "stdio"], &arguments);
    assert_eq!(got["content"][0]["text"], "42", "as a child of the Inspector");
}

/// A project that has servers for Claude Code needs no file of ours.
#[test]
fn the_servers_of_an_mcp_json_are_used_as_they_are() {
    let folder = bed::scratch("claude");
    let command = servers::everything().command;
    let server = json!({ "command": command[0], "args": command[1..] });
    let text = json!({ "mcpServers": { "everything": server } }).to_string();
    std::fs::write(folder.join(".mcp.json"), text).expect("a file can be written");
    let gateway = Gateway::start_in(&folder);
    let mut session = Session::open(&gateway.mcp());
    assert_eq!(
        session
            .call("everything__echo", &json!({ "message": "hello" }))
            .text(),
        "Echo: hello"
    );
}

#[test]
fn the_command_line_needs_no_running_gateway() {
    let axiom = |arguments: &[&str]| {
        let folder = bed::scratch("terminal");
        let mut running = Running::start(
            "axiom",
            Command::new(bed::built("axiom"))
                .args(arguments)
                .current_dir(folder),
        );
        running.stdin = None;
        let text = running.stdout.all().join("\n");
        (running.ended().code(), text, running.stderr.all().join("\n"))
    };
    let (status, text, _) = axiom(&["call", "demo.add", "a=40", "b=2"]);
    assert_eq!((status, text.as_str()), (Some(0), "42"));

    let (status, text, _) = axiom(&["tools", "--json"]);
    let tools: Value = serde_json::from_str(&text).expect("--json prints JSON");
    assert_eq!((status, tools.as_array().map(Vec::len)), (Some(0), Some(4)));

    let (status, text, said) = axiom(&["call", "demo.nope"]);
    assert_eq!((status, text.as_str()), (Some(3), ""), "stdout is data only");
    assert!(said.contains("nope") && said.contains("hint:"), "{said}");
}
