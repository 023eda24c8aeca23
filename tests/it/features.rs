//! Everything of the protocol that is more than a question and an answer, through the gateway: progress, logs,
//! elicitation, sampling, roots, subscriptions, changed lists, cancellation, completion. The upstream is one dual-era
//! server, so that each client is served in its own era on both sides.

use axiom_tests::bed;
use axiom_tests::client::{Client, Report, Way, answers};
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::servers;
use serde_json::{Value, json};

/// What all clients have from the server itself is what each must have through the gateway.
#[test]
fn without_the_gateway() {
    for client in [
        Client::TsV2Modern,
        Client::TsV2Legacy,
        Client::TsV1,
        Client::PyMcpModern,
        Client::PyMcpLegacy,
        Client::FastMcp,
    ] {
        let (_server, url) = servers::dual_http();
        all_features(client, &Way::Http(url), "");
    }
}

#[test]
fn typescript_v2_in_the_modern_era() {
    over_both_upstreams(Client::TsV2Modern);
}

#[test]
fn typescript_v2_that_finds_out_the_era() {
    over_both_upstreams(Client::TsV2);
}

#[test]
fn typescript_v2_in_a_session() {
    over_both_upstreams(Client::TsV2Legacy);
}

#[test]
fn typescript_v1_in_a_session() {
    over_both_upstreams(Client::TsV1);
}

#[test]
fn python_in_the_modern_era() {
    over_both_upstreams(Client::PyMcpModern);
}

#[test]
fn python_in_a_session() {
    over_both_upstreams(Client::PyMcpLegacy);
}

#[test]
fn fastmcp_that_finds_out_the_era() {
    over_both_upstreams(Client::FastMcp);
}

#[test]
fn over_sse() {
    let gateway = Gateway::start(&Config::new().stdio("dual", &servers::dual_stdio()));
    all_features(Client::TsV1, &Way::Sse(gateway.url("/sse")), "dual__");
}

#[test]
fn over_websocket() {
    let gateway = Gateway::start(&Config::new().stdio("dual", &servers::dual_stdio()));
    let url = gateway.url("/ws").replace("http://", "ws://");
    all_features(Client::TsV1, &Way::WebSocket(url), "dual__");
}

/// `axiom stdio` is the gateway as the child of a desktop client.
#[test]
fn over_stdio() {
    let file = bed::scratch("stdio").join("axiom.toml");
    Config::new().stdio("dual", &servers::dual_stdio()).write(&file);
    let axiom = bed::built("axiom").display().to_string();
    let command = vec![
        axiom,
        "stdio".to_owned(),
        "--config".to_owned(),
        file.display().to_string(),
    ];
    for client in [Client::TsV1, Client::TsV2, Client::PyMcpLegacy] {
        all_features(client, &Way::Stdio(command.clone()), "dual__");
    }
}

fn over_both_upstreams(client: Client) {
    let (_server, url) = servers::dual_http();
    let upstreams = [
        ("a server over HTTP", Config::new().url("dual", &url)),
        (
            "a child process",
            Config::new().stdio("dual", &servers::dual_stdio()),
        ),
    ];
    for (upstream, config) in upstreams {
        eprintln!("{client:?} to {upstream}");
        let gateway = Gateway::start(&config);
        all_features(client, &Way::Http(gateway.server("dual")), "");
        all_features(client, &Way::Http(gateway.mcp()), "dual__");
    }
}

/// Runs them one after the other in one connection; `prefix` stands before names on the common endpoint.
pub(crate) fn all_features(client: Client, way: &Way, prefix: &str) {
    let tool = |name: &str| json!({ "do": "callTool", "name": format!("{prefix}{name}") });
    let with = |mut step: Value, key: &str, value: Value| {
        step[key] = value;
        step
    };
    let prompt = format!("{prefix}test_prompt_with_arguments");
    let update = json!({ "uri": "test://watched-resource" });
    let trigger = with(tool("test_trigger_resource_update"), "arguments", update.clone());
    let steps = [
        with(tool("test_tool_with_progress"), "progress", json!(true)),
        json!({ "do": "setLevel", "level": "info" }),
        with(tool("test_tool_with_logging"), "logLevel", json!("info")),
        tool("test_input_required_result_elicitation"),
        tool("test_input_required_result_multiple_inputs"),
        json!({ "do": "readResource", "uri": "test://static-text" }),
        json!({ "do": "getPrompt", "name": prompt, "arguments": { "arg1": "a", "arg2": "b" } }),
        json!({ "do": "complete", "ref": { "type": "ref/prompt", "name": prompt },
                "argument": { "name": "arg1", "value": "pa" } }),
        json!({ "do": "subscribe", "uri": update["uri"], "trigger": trigger }),
        json!({ "do": "toolsChanged", "trigger": tool("test_trigger_tool_change") }),
        with(tool("test_slow"), "do", json!("cancel")),
        tool("test_cancelled_calls"),
        json!({ "do": "ping" }),
    ];
    let report = client.run(way, &answers(), &steps);
    check(&report, &format!("{client:?} over {way:?}"));
}

/// Compares all, so that one look shows everything that does not pass.
fn check(report: &Report, who: &str) {
    let modern = report.version() >= "2026";
    let text = |step: usize| report.steps[step]["ok"]["content"][0]["text"].clone();
    let told = |step: usize, method: &str, field: &str| -> Value {
        report
            .events(step, method)
            .iter()
            .map(|params| params[field].clone())
            .collect()
    };
    let worked = |step: usize| json!(report.steps[step].get("ok").is_some());
    let asked = |step: usize, method: &str| json!(report.events(step, method).len());
    let progress: Vec<Option<f64>> = report
        .events(0, "notifications/progress")
        .iter()
        .map(|params| params["progress"].as_f64())
        .collect();
    let logged = [
        "Tool execution started",
        "Tool processing data",
        "Tool execution completed",
    ];
    let ok = |step: usize| &report.steps[step]["ok"];

    let features = [
        ("a tool", text(0), json!("Reported progress")),
        ("progress", json!(progress), json!([0.0, 50.0, 100.0])),
        // 2026-07-28 has no session whose level could be set; each request carries its own.
        ("the log level of a session", worked(1), json!(!modern)),
        ("logs", told(2, "notifications/message", "data"), json!(logged)),
        ("one round of input", text(3), json!("Hello, Ada!")),
        ("one elicitation", asked(3, "elicitation/create"), json!(1)),
        ("three inputs at once", text(4), json!("Paris Ada, of 1 roots")),
        ("elicitation among them", asked(4, "elicitation/create"), json!(1)),
        (
            "sampling among them",
            asked(4, "sampling/createMessage"),
            json!(1),
        ),
        ("roots among them", asked(4, "roots/list"), json!(1)),
        (
            "a resource",
            ok(5)["contents"][0]["text"].clone(),
            json!("This is the content of the static text resource."),
        ),
        (
            "a prompt",
            ok(6)["messages"][0]["content"]["text"].clone(),
            json!("Prompt with arguments: arg1='a', arg2='b'"),
        ),
        (
            "completion",
            ok(7)["completion"]["values"].clone(),
            json!(["paris", "park", "party"]),
        ),
        (
            "an update of a resource",
            ok(8)["uri"].clone(),
            json!("test://watched-resource"),
        ),
        ("a changed list", worked(9), json!(true)),
        ("cancellation", worked(10), json!(true)),
        (
            "cancellation at the server",
            json!(text(11) != json!("0") && text(11).is_string()),
            json!(true),
        ),
        ("ping", worked(12), json!(!modern)),
    ];
    let failed: Vec<_> = features.iter().filter(|(_, got, want)| got != want).collect();
    assert!(failed.is_empty(), "{who} ({}): {failed:#?}", report.version());
}
