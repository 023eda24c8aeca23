//! Between the eras: clients of 2026-07-28 use servers that know sessions only, and clients of sessions use a server that
//! knows 2026-07-28 only. Lists, calls, resources, prompts, completion and progress say the same as within an era.

use axiom_tests::bed;
use axiom_tests::client::{Client, Way};
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{LATEST_LEGACY, MODERN, Peer, Session, Stateless};
use axiom_tests::servers::{self, Server};
use axiom_tests::stdio::Direct;
use serde_json::{Value, json};

/// What 2026-07-28 adds to every result.
const ADDED: [&str; 4] = ["resultType", "ttlMs", "cacheScope", "_meta"];

fn session_servers() -> Vec<Server> {
    let mut all = servers::all(&bed::scratch("session-servers"));
    all.retain(|server| !["git", "time"].contains(&server.name));
    all
}

/// Servers of 2024-11-05 to 2025-11-25, asked without a session.
#[test]
fn modern_requests_to_session_servers() {
    let servers = session_servers();
    let mut truths = Vec::new();
    for server in &servers {
        server.reset();
        let mut direct = Direct::start_with(server.name, &server.command, &server.environment);
        let ask = |(method, params): &(&str, Value)| direct.ask(method, &params.to_string());
        truths.push(server.requests.iter().map(ask).collect::<Vec<_>>());
        server.reset();
    }
    let config = servers
        .iter()
        .fold(Config::new(), |config, server| server.add_to(config));
    let gateway = Gateway::start(&config);
    for (server, truths) in servers.iter().zip(truths) {
        let mut stateless = Stateless::new(&gateway.server(server.name));
        for ((method, params), truth) in server.requests.iter().zip(truths) {
            let reply = stateless.ask(method, &params.to_string());
            let what = format!("{}: {method} {params}", server.name);
            match truth.error {
                Some(error) => assert_eq!(reply.error, Some(error), "{what}"),
                None => {
                    let result = reply.value();
                    assert_eq!(result["resultType"], "complete", "{what}");
                    assert_eq!(plain(result), plain(truth.value()), "{what}");
                }
            }
        }
    }
}

/// A server of 2026-07-28 alone, asked in a session.
#[test]
fn session_requests_to_a_modern_server() {
    let requests = [
        ("tools/list", json!({})),
        ("prompts/list", json!({})),
        ("resources/list", json!({})),
        ("resources/templates/list", json!({})),
        (
            "tools/call",
            json!({ "name": "test_simple_text", "arguments": {} }),
        ),
        (
            "tools/call",
            json!({ "name": "test_image_content", "arguments": {} }),
        ),
        (
            "tools/call",
            json!({ "name": "test_error_handling", "arguments": {} }),
        ),
        (
            "tools/call",
            json!({ "name": "test_custom_header", "arguments": { "region": "\u{e9}u" } }),
        ),
        (
            "tools/call",
            json!({ "name": "there-is-no-such-tool", "arguments": {} }),
        ),
        ("resources/read", json!({ "uri": "test://static-text" })),
        (
            "prompts/get",
            json!({ "name": "test_prompt_with_arguments", "arguments": { "arg1": "a", "arg2": "b" } }),
        ),
        (
            "completion/complete",
            json!({ "ref": { "type": "ref/prompt", "name": "test_prompt_with_arguments" },
                    "argument": { "name": "arg1", "value": "pa" } }),
        ),
    ];
    let mut direct = Direct::modern("modern only", &servers::modern_only_stdio(), &[]);
    let (_server, url) = servers::modern_only_http();
    let config = Config::new()
        .stdio("child", &servers::modern_only_stdio())
        .url("remote", &url);
    let gateway = Gateway::start(&config);
    let mut sessions = ["child", "remote"].map(|name| Session::open(&gateway.server(name)));
    for (method, params) in &requests {
        let truth = direct.ask(method, &params.to_string());
        for session in &mut sessions {
            let reply = session.ask(method, &params.to_string());
            match &truth.error {
                Some(error) => assert_eq!(reply.error.as_ref(), Some(error), "{method} {params}"),
                None => assert_eq!(plain(reply.value()), plain(truth.value()), "{method} {params}"),
            }
        }
    }
    for name in ["child", "remote"] {
        let status = gateway.status(name);
        assert_eq!(status["eras"], json!(["modern"]), "{status}");
    }
}

fn plain(mut result: Value) -> Value {
    let fields = result.as_object_mut().expect("a result is an object");
    fields.retain(|name, _| !ADDED.contains(&name.as_str()));
    result
}

/// Each client that speaks 2026-07-28, one server of each older revision behind one endpoint.
#[test]
fn modern_clients_on_session_servers() {
    let (_server, url) = servers::old_sse();
    let (_everything, everything_url) = servers::everything_over("streamableHttp");
    let config = Config::new()
        .url("sse2024", &url)
        .url("http2025", &everything_url);
    let config = [
        servers::legacy_everything("2025-03-26", "march2025"),
        servers::legacy_everything("2025-06-18", "june2025"),
        servers::everything(),
    ]
    .iter()
    .fold(config, |config, server| server.add_to(config));
    let gateway = Gateway::start(&config);
    for client in [
        Client::TsV2,
        Client::TsV2Modern,
        Client::PyMcp,
        Client::PyMcpModern,
        Client::FastMcp,
    ] {
        let who = format!("{client:?}");
        let report = client.run(&Way::Http(gateway.mcp()), &json!({}), &on_each_server());
        assert_eq!(report.version(), MODERN, "{who}");
        let tools = report.ok(0)["tools"].as_array().expect("tools are a list");
        for tool in [
            "sse2024__add",
            "march2025__add",
            "june2025__add",
            "http2025__echo",
            "everything__echo",
        ] {
            let listed = tools.iter().any(|found| found["name"] == tool);
            assert!(listed, "{who}: no {tool} in {tools:?}");
        }
        assert_eq!(report.text(1), "42", "{who}");
        for step in [2, 3] {
            assert_eq!(report.text(step), "The sum of 40 and 2 is 42.", "{who}");
        }
        for step in [4, 5] {
            assert_eq!(report.text(step), "Echo: hello", "{who}");
        }
        assert_eq!(report.ok(6)["contents"][0]["text"], "hello from 2024", "{who}");
        let said = &report.ok(7)["messages"][0]["content"]["text"];
        assert_eq!(said, "What do you know about Ada?", "{who}");
        let prompts = report.ok(8)["prompts"].as_array().expect("prompts are a list");
        let listed = prompts
            .iter()
            .any(|found| found["name"] == "june2025__simple_prompt");
        assert!(listed, "{who}: {prompts:?}");
        let resources = report.ok(9)["resources"]
            .as_array()
            .expect("resources are a list");
        let listed = resources.iter().any(|found| found["uri"] == "old://greeting");
        assert!(listed, "{who}: {resources:?}");
        for step in [10, 11] {
            assert!(
                report.text(step).contains("completed"),
                "{who}: {}",
                report.text(step)
            );
            let progress = report.events(step, "notifications/progress").len();
            assert!(progress >= 3, "{who}: {progress} of step {step}");
        }
    }
}

fn on_each_server() -> Vec<Value> {
    let call =
        |name: &str, arguments: Value| json!({ "do": "callTool", "name": name, "arguments": arguments });
    let slow = |name: &str| {
        let mut step = call(name, json!({ "duration": 0.4, "steps": 4 }));
        step["progress"] = json!(true);
        step
    };
    vec![
        json!({ "do": "listTools" }),
        call("sse2024__add", json!({ "a": 40, "b": 2 })),
        call("march2025__add", json!({ "a": 40, "b": 2 })),
        call("june2025__add", json!({ "a": 40, "b": 2 })),
        call("http2025__echo", json!({ "message": "hello" })),
        call("everything__echo", json!({ "message": "hello" })),
        json!({ "do": "readResource", "uri": "old://greeting" }),
        json!({ "do": "getPrompt", "name": "sse2024__ask", "arguments": { "topic": "Ada" } }),
        json!({ "do": "listPrompts" }),
        json!({ "do": "listResources" }),
        slow("june2025__longRunningOperation"),
        slow("http2025__trigger-long-running-operation"),
    ]
}

/// Each client of sessions, over each transport, on a server that never heard of them.
#[test]
fn session_clients_on_a_modern_server() {
    let (_server, url) = servers::modern_only_http();
    let config = Config::new()
        .stdio("child", &servers::modern_only_stdio())
        .url("remote", &url);
    let gateway = Gateway::start(&config);
    for server in ["child", "remote"] {
        for client in [Client::TsV1, Client::TsV2Legacy, Client::PyMcpLegacy] {
            uses_the_modern_server(client, &Way::Http(gateway.server(server)), "");
            uses_the_modern_server(client, &Way::Http(gateway.mcp()), &format!("{server}__"));
        }
        let sse = Way::Sse(gateway.url(&format!("/s/{server}/sse")));
        uses_the_modern_server(Client::TsV1, &sse, "");
        let ws = gateway
            .url(&format!("/s/{server}/ws"))
            .replace("http://", "ws://");
        uses_the_modern_server(Client::TsV1, &Way::WebSocket(ws), "");
    }
}

fn uses_the_modern_server(client: Client, way: &Way, prefix: &str) {
    let prompt = format!("{prefix}test_prompt_with_arguments");
    let tool = |name: &str| json!({ "do": "callTool", "name": format!("{prefix}{name}") });
    let mut progress = tool("test_tool_with_progress");
    progress["progress"] = json!(true);
    let mut cancel = tool("test_slow");
    cancel["do"] = json!("cancel");
    let steps = [
        json!({ "do": "listTools" }),
        tool("test_simple_text"),
        json!({ "do": "listResources" }),
        json!({ "do": "readResource", "uri": "test://static-text" }),
        json!({ "do": "listPrompts" }),
        json!({ "do": "getPrompt", "name": prompt, "arguments": { "arg1": "a", "arg2": "b" } }),
        progress,
        cancel,
        tool("test_cancelled_calls"),
        json!({ "do": "ping" }),
    ];
    let report = client.run(way, &json!({}), &steps);
    let who = format!("{client:?} over {way:?}");
    assert!(
        [LATEST_LEGACY, "2024-11-05"].contains(&report.version()),
        "{who}: {}",
        report.version()
    );
    let has = |step: usize, list: &str, field: &str, wanted: &str| {
        let found = report.ok(step)[list].as_array().expect("it is a list");
        assert!(found.iter().any(|item| item[field] == wanted), "{who}: {found:?}");
    };
    has(0, "tools", "name", &format!("{prefix}test_simple_text"));
    assert_eq!(
        report.text(1),
        "This is a simple text response for testing.",
        "{who}"
    );
    has(2, "resources", "uri", "test://static-text");
    let text = &report.ok(3)["contents"][0]["text"];
    assert_eq!(text, "This is the content of the static text resource.", "{who}");
    has(4, "prompts", "name", &prompt);
    let said = &report.ok(5)["messages"][0]["content"]["text"];
    assert_eq!(said, "Prompt with arguments: arg1='a', arg2='b'", "{who}");
    let progress: Vec<Option<f64>> = report
        .events(6, "notifications/progress")
        .iter()
        .map(|params| params["progress"].as_f64())
        .collect();
    assert_eq!(progress, [Some(0.0), Some(50.0), Some(100.0)], "{who}");
    report.ok(7);
    assert_ne!(report.text(8), "0", "{who}: the server saw the cancellation");
    report.ok(9);
}
