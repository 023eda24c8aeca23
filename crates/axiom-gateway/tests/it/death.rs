//! A server that dies mid-call: an error that names it, never an empty success, and the next call finds it again.

use crate::client::{Client, call, modern};
use crate::server::Server;
use crate::stage::{Stage, json};

#[tokio::test(start_paused = true)]
async fn every_call_in_flight_ends_with_the_servers_name() {
    let server = Server::with_tools("files", &["read"]);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/mcp").await;
    for id in ["1", "\"two\"", "3"] {
        client.say(&call(id, "files__read")).await;
    }
    let mut last = server.hears_of("tools/call").await;
    for _ in 0..2 {
        last = server.hears_of("tools/call").await;
    }
    last.line.die();

    let mut ended = Vec::new();
    for _ in 0..3 {
        let answer = json(&client.hears().await);
        assert_eq!(answer["error"]["code"], 1003, "{answer}");
        assert_eq!(answer["error"]["data"]["server"], "files");
        assert_eq!(
            answer["error"]["data"]["retry"], false,
            "it may have taken effect"
        );
        assert!(answer.get("result").is_none(), "{answer}");
        ended.push(answer["id"].to_string());
    }
    ended.sort();
    assert_eq!(ended, ["\"two\"", "1", "3"]);

    client.say(&call("4", "files__read")).await;
    let again = server.hears_of("tools/call").await;
    assert_eq!(again.line.number, 2, "a new conversation");
    assert_eq!(
        client.hears().await,
        r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{}}"#,
        "nobody heard what changed meanwhile"
    );
    again.answer(r#"{"content":[]}"#).await;
    assert_eq!(
        client.hears().await,
        r#"{"jsonrpc":"2.0","id":4,"result":{"content":[]}}"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_death_between_calls_is_not_noticed_by_clients() {
    let server = Server::modern("files", r#"{"tools":{}}"#);
    server.answers("tools/call", r#"{"resultType":"complete","content":[]}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/files/mcp");
    for id in ["1", "2", "3"] {
        let answer = client.asks(&modern(id, "tools/call", r#"{"name":"read"}"#)).await;
        assert_eq!(
            answer,
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","content":[]}}}}"#)
        );
        server.line().die();
        // The gateway's reader sees the end before the next call comes.
        tokio::task::yield_now().await;
    }
    assert_eq!(server.line().number, 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_is_down_is_an_error_with_its_name_and_others_go_on() {
    let (good, bad) = (
        Server::with_tools("good", &["a"]),
        Server::with_tools("bad", &["b"]),
    );
    bad.set_down(true);
    good.answers("tools/call", r#"{"content":[]}"#);
    let stage = Stage::of(&[&good, &bad]);
    let mut client = Client::legacy(&stage, "/mcp").await;

    let answer = json(&client.asks(&call("1", "bad__b")).await);
    assert_eq!(answer["error"]["data"]["server"], "bad");
    assert_eq!(
        answer["error"]["data"]["retry"], true,
        "it certainly had no effect: {answer}"
    );
    assert_eq!(
        client.asks(&call("2", "good__a")).await,
        r#"{"jsonrpc":"2.0","id":2,"result":{"content":[]}}"#
    );
}
