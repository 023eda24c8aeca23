//! Servers that greet badly, and many clients that come at once.

use crate::client::{Client, call, initialize};
use crate::server::Server;
use crate::stage::{Stage, json};

#[tokio::test(start_paused = true)]
async fn whoever_comes_while_a_server_starts_waits_for_the_same_start() {
    let server = Server::with_tools("files", &["x"]);
    server.answers("tools/call", r#"{"content":[]}"#);
    let stage = Stage::of(&[&server]);
    let mut clients: Vec<Client> = (0..20).map(|_| Client::new(&stage, "/s/files/mcp")).collect();
    for client in &clients {
        client.say(&initialize("2025-11-25", "{}")).await;
    }
    for client in &mut clients {
        assert!(client.hears().await.contains(r#""name":"files""#));
        client.asks(&call("1", "x")).await;
    }
    assert_eq!((server.line().number, server.times_asked("initialize")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_bad_greeting_is_an_error_that_names_the_server_and_says_why() {
    for (greeting, reason) in [
        (
            r#"{"protocolVersion":"1999-01-01","capabilities":{}}"#,
            "1999-01-01",
        ),
        (
            r#"{"protocolVersion":"2026-07-28","capabilities":{}}"#,
            "2026-07-28",
        ),
        ("{}", "revision ''"),
        ("[]", "revision ''"),
    ] {
        let server = Server::legacy("files", "{}");
        server.answers("initialize", greeting);
        let stage = Stage::of(&[&server]);
        let mut client = Client::new(&stage, "/s/files/mcp");
        let answer = json(&client.asks(&initialize("2025-11-25", "{}")).await);
        assert_eq!(answer["error"]["data"]["server"], "files", "{greeting}");
        let text = answer["error"]["message"].as_str().unwrap();
        assert!(text.contains(reason), "{greeting}: {text}");
        assert_eq!(
            server.open_lines(),
            0,
            "{greeting}: what cannot be used is closed"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn the_endpoint_of_one_server_speaks_the_revision_of_that_server() {
    let server = Server::legacy("files", "{}");
    server.answers(
        "initialize",
        r#"{"protocolVersion":"2025-03-26","capabilities":{"x":{"n":1.0}},"serverInfo":{"name":"f","version":"1"},"instructions":"\u00e4"}"#,
    );
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/files/mcp");
    let answer = client.asks(&initialize("2025-11-25", "{}")).await;
    assert!(answer.contains(r#""protocolVersion":"2025-03-26""#), "{answer}");
    assert!(answer.contains(r#""capabilities":{"x":{"n":1.0}}"#), "{answer}");
    assert!(answer.contains(r#""instructions":"\u00e4""#), "{answer}");

    // A revision nobody knows is answered with one that both do.
    let mut future = Client::new(&stage, "/mcp");
    let answer = json(&future.asks(&initialize("2099-01-01", "{}")).await);
    assert_eq!(answer["result"]["protocolVersion"], "2025-11-25");
}
