//! Each transport there ever was, on both sides of the gateway: HTTP+SSE of 2024 and WebSocket as well as Streamable
//! HTTP, and a gateway behind a gateway.

use axiom_tests::client::{Client, Way};
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{Peer, Reply, Session};
use axiom_tests::servers;
use axiom_tests::stdio::Direct;
use serde_json::{Value, json};

use crate::features::all_features;

/// With the transport named, and with the URL alone: the server refuses a POST there, which tells what it is.
#[test]
fn a_server_of_2024_over_sse() {
    let (_server, url) = servers::old_sse();
    let config = Config::new()
        .url("named", &url)
        .with("named", "transport = \"sse\"")
        .url("found", &url);
    let gateway = Gateway::start(&config);
    for server in ["named", "found"] {
        for client in [
            Client::TsV1,
            Client::TsV2Legacy,
            Client::TsV2Modern,
            Client::PyMcpLegacy,
            Client::PyMcpModern,
        ] {
            uses_the_server_of_2024(client, &Way::Http(gateway.server(server)), "");
            uses_the_server_of_2024(client, &Way::Http(gateway.mcp()), &format!("{server}__"));
        }
        let sse = Way::Sse(gateway.url(&format!("/s/{server}/sse")));
        uses_the_server_of_2024(Client::TsV1, &sse, "");
        let status = gateway.status(server);
        assert_eq!(status["revisions"], json!(["2024-11-05"]), "{status}");
        assert_eq!(status["state"], "up", "{status}");
    }
}

fn uses_the_server_of_2024(client: Client, way: &Way, prefix: &str) {
    let steps = [
        json!({ "do": "listTools" }),
        json!({ "do": "callTool", "name": format!("{prefix}add"), "arguments": { "a": 40, "b": 2 } }),
        json!({ "do": "readResource", "uri": "old://greeting" }),
        json!({ "do": "getPrompt", "name": format!("{prefix}ask"), "arguments": { "topic": "Ada" } }),
    ];
    let report = client.run(way, &json!({}), &steps);
    let who = format!("{client:?} over {way:?}");
    let tools = report.ok(0)["tools"].as_array().expect("tools are a list");
    let listed = tools.iter().any(|tool| tool["name"] == format!("{prefix}add"));
    assert!(listed, "{who}: {tools:?}");
    assert_eq!(report.text(1), "42", "{who}");
    assert_eq!(report.ok(2)["contents"][0]["text"], "hello from 2024", "{who}");
    let said = &report.ok(3)["messages"][0]["content"]["text"];
    assert_eq!(said, "What do you know about Ada?", "{who}");
}

/// The reference server says over HTTP what it says as a child process, byte for byte.
#[test]
fn the_reference_server_over_streamable_http_and_over_sse() {
    let everything = servers::everything();
    let ask = |peer: &mut dyn Peer| -> Vec<Reply> {
        let requests = everything.requests.iter();
        requests
            .map(|(method, params)| peer.ask(method, &params.to_string()))
            .collect()
    };
    let truth = ask(&mut Direct::start("everything", &everything.command));
    let (_streamable, streamable_url) = servers::everything_over("streamableHttp");
    let (_sse, sse_url) = servers::everything_over("sse");
    let config = Config::new()
        .url("streamable", &streamable_url)
        .url("sse", &sse_url)
        .with("sse", "transport = \"sse\"")
        .url("found", &sse_url);
    let gateway = Gateway::start(&config);
    for server in ["streamable", "sse", "found"] {
        let replies = ask(&mut Session::open(&gateway.server(server)));
        for ((request, truth), reply) in everything.requests.iter().zip(&truth).zip(replies) {
            let got = (&reply.result, &reply.error);
            assert_eq!(got, (&truth.result, &truth.error), "{server}: {request:?}");
        }
    }
}

/// A call that runs for a while, with progress, on a server that holds sessions of its own.
#[test]
fn progress_from_servers_over_http() {
    let (_streamable, streamable_url) = servers::everything_over("streamableHttp");
    let (_sse, sse_url) = servers::everything_over("sse");
    let config = Config::new()
        .url("streamable", &streamable_url)
        .url("sse", &sse_url);
    let gateway = Gateway::start(&config);
    let slow = |server: &str| {
        let arguments = json!({ "duration": 0.4, "steps": 4 });
        json!({ "do": "callTool", "name": format!("{server}__trigger-long-running-operation"),
                "arguments": arguments, "progress": true })
    };
    for client in [Client::TsV1, Client::TsV2Legacy, Client::PyMcpLegacy] {
        let report = client.run(
            &Way::Http(gateway.mcp()),
            &json!({}),
            &[slow("streamable"), slow("sse")],
        );
        for step in 0..2 {
            let seen: Vec<Option<f64>> = report
                .events(step, "notifications/progress")
                .iter()
                .map(|params| params["progress"].as_f64())
                .collect();
            let text = report.text(step);
            assert!(text.contains("completed"), "{client:?}: {text}");
            // The last one and the result are sent together; some clients forget it then.
            assert!(
                seen.starts_with(&[Some(1.0), Some(2.0), Some(3.0)]),
                "{client:?}: {seen:?}"
            );
        }
    }
}

#[test]
fn clients_over_sse() {
    let (_server, url) = servers::dual_http();
    let config = Config::new()
        .stdio("dual", &servers::dual_stdio())
        .url("remote", &url);
    let gateway = Gateway::start(&config);
    for server in ["dual", "remote"] {
        let way = Way::Sse(gateway.url(&format!("/s/{server}/sse")));
        all_features(Client::TsV1, &way, "");
        all_features(Client::TsV2Legacy, &way, "");
        all_features(Client::PyMcpLegacy, &way, "");
    }
}

#[test]
fn clients_over_websocket() {
    let (_server, url) = servers::dual_http();
    let config = Config::new()
        .stdio("dual", &servers::dual_stdio())
        .url("remote", &url);
    let gateway = Gateway::start(&config);
    for server in ["dual", "remote"] {
        let way = Way::WebSocket(websocket(&gateway.url(&format!("/s/{server}/ws"))));
        all_features(Client::TsV1, &way, "");
    }
}

/// The far gateway has the server, the near one has the far gateway, by each way there is.
#[test]
fn a_gateway_behind_a_gateway() {
    let far = Gateway::start(&Config::new().stdio("dual", &servers::dual_stdio()));
    let config = Config::new()
        .url("http", &far.server("dual"))
        .url("ws", &websocket(&far.url("/s/dual/ws")))
        .url("sse", &far.url("/s/dual/sse"))
        .with("sse", "transport = \"sse\"");
    let near = Gateway::start(&config);
    for server in ["http", "ws", "sse"] {
        for client in [
            Client::TsV1,
            Client::PyMcpLegacy,
            Client::TsV2Modern,
            Client::PyMcpModern,
        ] {
            eprintln!("{client:?} by {server}");
            all_features(client, &Way::Http(near.server(server)), "");
        }
    }
}

/// Names grow by one prefix with each gateway.
#[test]
fn all_servers_of_a_gateway_behind_a_gateway() {
    let far = Gateway::start(&Config::new().stdio("dual", &servers::dual_stdio()));
    let expected: Vec<String> = names(&far.mcp())
        .iter()
        .map(|name| format!("far__{name}"))
        .collect();
    assert!(!expected.is_empty());
    // One at a time: where two servers have the same resource, the first one answers.
    for url in [far.mcp(), websocket(&far.url("/ws"))] {
        let near = Gateway::start(&Config::new().url("far", &url));
        assert_eq!(names(&near.mcp()), expected, "{url}");
        for client in [Client::TsV1, Client::TsV2Legacy] {
            all_features(client, &Way::Http(near.server("far")), "dual__");
            all_features(client, &Way::Http(near.mcp()), "far__dual__");
        }
    }
}

fn names(url: &str) -> Vec<String> {
    let list = Session::open(url).ask("tools/list", "{}").value();
    let tools = list["tools"].as_array().expect("tools are a list").iter();
    let name = |tool: &Value| tool["name"].as_str().expect("a tool has a name").to_owned();
    let mut names: Vec<String> = tools.map(name).collect();
    names.sort();
    names
}

fn websocket(url: &str) -> String {
    url.replace("http://", "ws://")
}
