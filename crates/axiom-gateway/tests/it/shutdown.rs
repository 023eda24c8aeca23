//! The end: what runs may finish, what is new is refused, and nothing is left open at servers.

use crate::client::{Client, call};
use crate::server::Server;
use crate::stage::{Stage, json, settle};

#[tokio::test(start_paused = true)]
async fn a_call_in_flight_is_answered_before_the_conversation_ends() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/s/files/mcp").await;
    client.say(&call("1", "x")).await;
    let asked = server.hears_of("tools/call").await;

    stage.shut_down();
    settle().await;
    asked.answer(r#"{"content":[]}"#).await;
    assert_eq!(
        client.hears().await,
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#
    );
    assert!(client.is_dismissed().await);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_says_no_more_still_gets_its_answers() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/s/files/mcp").await;
    client.say(&call("1", "x")).await;
    let asked = server.hears_of("tools/call").await;
    // Like `printf '...' | axiom connect`: stdin ends, stdout is still read.
    client.says_no_more();
    settle().await;
    asked.answer(r#"{"content":[]}"#).await;
    assert_eq!(
        client.hears().await,
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#
    );
    assert!(client.is_dismissed().await);
}

#[tokio::test(start_paused = true)]
async fn closing_ends_calls_with_a_reason_and_every_link() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/s/files/mcp").await;
    client.say(&call("1", "x")).await;
    server.hears_of("tools/call").await;
    stage.gateway.close().await;
    let answer = json(&client.hears().await);
    assert_eq!(answer["id"], 1);
    let text = answer["error"]["message"].as_str().unwrap();
    assert!(text.contains("shutting down"), "{text}");
    settle().await;
    assert_eq!(server.open_lines(), 0);
}
