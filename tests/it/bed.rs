//! The bed itself, without the gateway: what fails here is not the gateway's fault.

use axiom_tests::client::{Client, Way, answers, inspector};
use axiom_tests::peer::Peer as _;
use axiom_tests::stdio::Direct;
use axiom_tests::{bed, servers};
use serde_json::json;

/// Every server starts and answers every request of its list, twice with the same bytes.
#[test]
fn every_server_answers_the_same_each_time() {
    for server in servers::all(&bed::scratch("servers")) {
        let answers = || {
            server.reset();
            let mut direct = Direct::start_with(server.name, &server.command, &server.environment);
            let ask = |(method, params): &(&str, serde_json::Value)| {
                let reply = direct.ask(method, &params.to_string());
                (reply.result, reply.error)
            };
            server.requests.iter().map(ask).collect::<Vec<_>>()
        };
        let (first, second) = (answers(), answers());
        for ((request, first), second) in server.requests.iter().zip(first).zip(second) {
            assert!(
                first.0.is_some() || first.1.is_some(),
                "{}: {request:?}",
                server.name
            );
            assert_eq!(first, second, "{}: {request:?}", server.name);
        }
    }
}

#[test]
fn every_client_reads_the_dual_era_server() {
    let (_server, url) = servers::dual_http();
    let steps = [
        json!({ "do": "listTools" }),
        json!({ "do": "callTool", "name": "test_simple_text" }),
    ];
    for (client, version) in [
        (Client::TsV2, "2026-07-28"),
        (Client::TsV2Legacy, "2025-11-25"),
        (Client::TsV2Modern, "2026-07-28"),
        (Client::TsV1, "2025-11-25"),
        (Client::PyMcp, "2026-07-28"),
        (Client::PyMcpLegacy, "2025-11-25"),
        (Client::PyMcpModern, "2026-07-28"),
        (Client::FastMcp, "2026-07-28"),
    ] {
        let report = client.run(&Way::Http(url.clone()), &answers(), &steps);
        assert_eq!(report.version(), version, "{client:?}");
        assert_eq!(
            report.text(1),
            "This is a simple text response for testing.",
            "{client:?}"
        );
    }
}

#[test]
fn the_inspector_reads_the_dual_era_server() {
    let (_server, url) = servers::dual_http();
    let got = inspector(
        "http",
        &[&url],
        &["--method", "tools/call", "--tool-name", "test_simple_text"],
    );
    assert_eq!(
        got["content"][0]["text"],
        "This is a simple text response for testing."
    );
}

#[test]
fn a_client_of_today_reads_the_server_of_2024() {
    let (_server, url) = servers::old_sse();
    let steps = [json!({ "do": "callTool", "name": "add", "arguments": { "a": 40, "b": 2 } })];
    let report = Client::TsV1.run(&Way::Sse(url), &answers(), &steps);
    assert_eq!(report.text(0), "42");
}
