//! Several servers' lists as one: order, names, pages, memory, and servers that are missing.

use std::time::Duration;

use axiom_gateway::options::{Prefix, ViewOptions};

use crate::client::{Client, call};
use crate::server::Server;
use crate::stage::{Stage, json, options, options_with, tool_names};

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
const LIST_CHANGES: [&str; 3] = [
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
];

#[tokio::test(start_paused = true)]
async fn names_in_each_style_lead_to_their_server() {
    for (prefix, names, called, server, own) in [
        (
            Prefix::Always,
            &["a__read", "a__same", "b__same", "b__write"][..],
            "b__same",
            "b",
            "same",
        ),
        (
            Prefix::Conflict,
            &["read", "a__same", "b__same", "write"],
            "b__same",
            "b",
            "same",
        ),
        (
            Prefix::Conflict,
            &["read", "a__same", "b__same", "write"],
            "write",
            "b",
            "write",
        ),
        (Prefix::Never, &["read", "same", "write"], "same", "a", "same"),
    ] {
        // Given in the other order: the names decide.
        let (b, a) = (
            Server::with_tools("b", &["same", "write"]),
            Server::with_tools("a", &["read", "same"]),
        );
        let stage = Stage::with(options_with(&[&b, &a], prefix));
        let mut client = Client::legacy(&stage, "/mcp").await;
        assert_eq!(tool_names(&client.asks(LIST).await), names, "{prefix:?}");
        client.say(&call("2", called)).await;
        let hearing = if server == "a" { &a } else { &b };
        let asked = hearing.hears_of("tools/call").await;
        assert_eq!(asked.message["params"]["name"], own, "{prefix:?} {called}");
    }
}

#[tokio::test(start_paused = true)]
async fn long_names_are_cut_for_clients_and_whole_for_servers() {
    let (one, two) = ("x".repeat(80), format!("{}y", "x".repeat(79)));
    let server = Server::with_tools("files", &[&one, &two]);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/mcp").await;
    let shown = tool_names(&client.asks(LIST).await);
    assert!(shown.iter().all(|name| name.len() == 64), "{shown:?}");
    assert_ne!(shown[0], shown[1]);
    for (shown, own) in shown.iter().zip([one, two]) {
        client.say(&call("1", shown)).await;
        assert_eq!(server.hears_of("tools/call").await.message["params"]["name"], own);
    }
}

#[tokio::test(start_paused = true)]
async fn a_view_shows_and_calls_only_what_it_includes() {
    let (files, git) = (
        Server::with_tools("files", &["read_a", "read_b", "write"]),
        Server::with_tools("git", &["log", "push"]),
    );
    let mut options = options(&[&files, &git]);
    options.views.insert(
        "safe".to_owned(),
        ViewOptions {
            include: vec!["files.read_*".to_owned()],
            rename: [("git.log".to_owned(), "history".to_owned())].into(),
        },
    );
    let stage = Stage::with(options);
    let mut client = Client::legacy(&stage, "/v/safe/mcp").await;
    assert_eq!(
        tool_names(&client.asks(LIST).await),
        ["files__read_a", "files__read_b", "history"]
    );
    client.say(&call("2", "history")).await;
    assert_eq!(git.hears_of("tools/call").await.message["params"]["name"], "log");
    for hidden in ["git__log", "git__push", "files__write", "log"] {
        let answer = json(&client.asks(&call("3", hidden)).await);
        assert_eq!(answer["error"]["code"], -32602, "{hidden}: {answer}");
    }
    git.heard_nothing_else().await;
    files.heard_nothing_else().await;
}

#[tokio::test(start_paused = true)]
async fn long_lists_come_in_pages_under_cursors_nobody_can_make_up() {
    let names: Vec<String> = (0..1_250).map(|index| format!("t{index:04}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let (a, b) = (Server::with_tools("a", &names), Server::with_tools("b", &names));
    let stage = Stage::of(&[&a, &b]);
    let mut client = Client::legacy(&stage, "/mcp").await;

    let mut seen = Vec::new();
    let mut pages = Vec::new();
    let mut cursor = None;
    let mut last_cursor = String::new();
    loop {
        let params = cursor
            .as_ref()
            .map_or_else(|| "{}".to_owned(), |cursor| format!(r#"{{"cursor":{cursor}}}"#));
        let answer = client
            .asks(&format!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{params}}}"#
            ))
            .await;
        let page = tool_names(&answer);
        pages.push(page.len());
        seen.extend(page);
        let next = &json(&answer)["result"]["nextCursor"];
        if next.is_null() {
            break;
        }
        last_cursor = next.to_string();
        cursor = Some(last_cursor.clone());
    }
    assert_eq!(pages, [1_000, 1_000, 500]);
    let expected: Vec<String> = ["a", "b"]
        .iter()
        .flat_map(|server| names.iter().map(move |name| format!("{server}__{name}")))
        .collect();
    assert_eq!(seen, expected);

    let stranger = Stage::of(&[&a, &b]);
    let mut elsewhere = Client::legacy(&stranger, "/mcp").await;
    assert_eq!(refusal(&mut client, "tools/list", r#""1000""#).await, -32602);
    assert_eq!(refusal(&mut client, "tools/list", r#""""#).await, -32602);
    // Good, but of another list and of another gateway.
    assert_eq!(refusal(&mut client, "prompts/list", &last_cursor).await, -32602);
    assert_eq!(refusal(&mut elsewhere, "tools/list", &last_cursor).await, -32602);
}

/// The code with which a list request with this cursor is refused.
async fn refusal(client: &mut Client, method: &str, cursor: &str) -> serde_json::Value {
    let request = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"cursor":{cursor}}}}}"#);
    json(&client.asks(&request).await)["error"]["code"].clone()
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_is_left_out_and_announced_when_it_is_back() {
    let (good, bad) = (
        Server::with_tools("good", &["a"]),
        Server::with_tools("bad", &["b"]),
    );
    bad.set_down(true);
    let stage = Stage::of(&[&good, &bad]);
    let mut client = Client::legacy(&stage, "/mcp").await;
    assert_eq!(tool_names(&client.asks(LIST).await), ["good__a"]);
    client.heard_nothing_else().await;

    bad.set_down(false);
    for method in LIST_CHANGES {
        assert_eq!(json(&client.hears().await)["method"], method);
    }
    assert_eq!(tool_names(&client.asks(LIST).await), ["bad__b", "good__a"]);
}

#[tokio::test(start_paused = true)]
async fn an_announced_list_is_asked_for_once_until_it_changes() {
    let server = Server::with_tools("files", &["old"]);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/mcp").await;
    let mut other = Client::legacy(&stage, "/mcp").await;
    for _ in 0..3 {
        assert_eq!(tool_names(&client.asks(LIST).await), ["files__old"]);
        assert_eq!(tool_names(&other.asks(LIST).await), ["files__old"]);
        tokio::time::advance(Duration::from_secs(600)).await;
    }
    assert_eq!(server.times_asked("tools/list"), 1);

    server.list_tools(&["new"]);
    server
        .line()
        .say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#)
        .await;
    for client in [&mut client, &mut other] {
        assert_eq!(
            client.hears().await,
            r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#
        );
        assert_eq!(tool_names(&client.asks(LIST).await), ["files__new"]);
    }
    assert_eq!(server.times_asked("tools/list"), 2);
}

#[tokio::test(start_paused = true)]
async fn a_list_that_nobody_announces_is_asked_for_again_after_its_time() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    server.list_tools(&["a"]);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/mcp").await;
    for expected in 1..=3 {
        client.asks(LIST).await;
        client.asks(LIST).await;
        assert_eq!(server.times_asked("tools/list"), expected);
        tokio::time::advance(stage.gateway.options().servers["files"].list_ttl).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_without_end_hides_nobody_else() {
    let (good, bad) = (
        Server::with_tools("good", &["a"]),
        Server::with_tools("bad", &["b"]),
    );
    bad.answers(
        "tools/list",
        r#"{"tools":[{"name":"again"}],"nextCursor":"more"}"#,
    );
    let stage = Stage::of(&[&good, &bad]);
    let mut client = Client::legacy(&stage, "/mcp").await;
    assert_eq!(tool_names(&client.asks(LIST).await), ["good__a"]);
    assert_eq!(bad.times_asked("tools/list"), 1_000, "and no page more");
    let status = stage.gateway.servers();
    assert!(
        format!("{status:?}").contains("tools/list has no end"),
        "{status:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_slow_list_is_not_waited_for_and_comes_in_late() {
    let (good, slow) = (
        Server::with_tools("good", &["a"]),
        Server::legacy("slow", r#"{"tools":{"listChanged":true}}"#),
    );
    let stage = Stage::of(&[&good, &slow]);
    let mut client = Client::legacy(&stage, "/mcp").await;
    let begun = tokio::time::Instant::now();
    assert_eq!(tool_names(&client.asks(LIST).await), ["good__a"]);
    assert_eq!(begun.elapsed().as_secs(), 10);
    // It is not asked again while it is at it.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(tool_names(&client.asks(LIST).await), ["good__a"]);
    let asked = slow.hears_of("tools/list").await;
    slow.heard_nothing_else().await;
    asked.answer(r#"{"tools":[{"name":"b"}]}"#).await;
    for method in LIST_CHANGES {
        assert_eq!(json(&client.hears().await)["method"], method);
    }
    assert_eq!(tool_names(&client.asks(LIST).await), ["good__a", "slow__b"]);
    assert_eq!(slow.times_asked("tools/list"), 1);
}
