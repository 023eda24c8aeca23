//! Every wait has an end, and the server is told when nobody waits any more.

use std::time::Duration;

use axiom_gateway::options::Options;
use tokio::time::Instant;

use crate::client::{Client, call};
use crate::server::Server;
use crate::stage::{Stage, json, options};

fn with_timeouts(server: &std::sync::Arc<Server>, start_s: u64, call_s: u64) -> Options {
    let mut options = options(&[server]);
    let mut only = options.servers.first_entry().unwrap();
    only.get_mut().start_timeout = Duration::from_secs(start_s);
    only.get_mut().call_timeout = Duration::from_secs(call_s);
    options
}

#[tokio::test(start_paused = true)]
async fn a_silent_server_gives_a_timeout_and_is_told_to_stop() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::with(with_timeouts(&server, 60, 30));
    let mut client = Client::legacy(&stage, "/s/files/mcp").await;

    let begun = Instant::now();
    client.say(&call("\"slow\"", "read")).await;
    let asked = server.hears_of("tools/call").await;
    let answer = json(&client.hears().await);

    assert_eq!(begun.elapsed().as_secs(), 30);
    assert_eq!(answer["id"], "slow");
    assert_eq!(answer["error"]["code"], 1002);
    assert_eq!(answer["error"]["data"]["server"], "files");
    let cancelled = server.hears_of("notifications/cancelled").await;
    assert_eq!(cancelled.message["params"]["requestId"], *asked.id());

    // A late answer is nobody's, and the link is still good.
    asked.answer(r#"{"content":[]}"#).await;
    client.say(&call("2", "read")).await;
    let again = server.hears_of("tools/call").await;
    assert_eq!(again.line.number, 1);
    again.answer(r#"{"content":[2]}"#).await;
    assert_eq!(
        client.hears().await,
        r#"{"jsonrpc":"2.0","id":2,"result":{"content":[2]}}"#
    );
}

#[tokio::test(start_paused = true)]
async fn progress_is_a_sign_of_life() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::with(with_timeouts(&server, 60, 30));
    let mut client = Client::legacy(&stage, "/s/files/mcp").await;

    client
        .say(r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":"p"}}}"#)
        .await;
    let asked = server.hears_of("tools/call").await;
    let token = &asked.message["params"]["_meta"]["progressToken"];
    // Ten times 25 s: far more than the limit in all, never more at once.
    for step in 0..10 {
        tokio::time::advance(Duration::from_secs(25)).await;
        asked
            .line
            .say(&format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step}}}}}"#
            ))
            .await;
        assert_eq!(
            client.hears().await,
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"p","progress":{step}}}}}"#
            )
        );
    }
    // Then silence after all.
    let begun = Instant::now();
    assert_eq!(json(&client.hears().await)["error"]["code"], 1002);
    assert_eq!(begun.elapsed().as_secs(), 30);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_never_starts_is_given_up() {
    let server = Server::legacy("files", "{}");
    server.set_mute();
    let stage = Stage::with(with_timeouts(&server, 20, 300));
    let mut client = Client::new(&stage, "/s/files/mcp");

    let begun = Instant::now();
    let answer = json(&client.asks(&crate::client::initialize("2025-11-25", "{}")).await);
    assert_eq!(begun.elapsed().as_secs(), 20);
    assert_eq!(answer["error"]["data"]["server"], "files");
    let text = answer["error"]["message"].as_str().unwrap();
    assert!(text.contains("no answer within 20 s"), "{text}");
    assert!(text.contains("start_timeout"), "{text}");
}
