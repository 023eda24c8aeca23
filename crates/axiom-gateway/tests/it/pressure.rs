//! A client that does not read, a server that does not read: only those who deal with them notice.

use crate::client::{Client, call};
use crate::server::Server;
use crate::stage::{Stage, json, settle};

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_read_holds_up_nobody_else() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut slow = Client::legacy(&stage, "/s/files/mcp").await;
    let mut quick = Client::legacy(&stage, "/s/files/mcp").await;
    slow.say(
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":1}}}"#,
    )
    .await;
    let asked = server.hears_of("tools/call").await;
    let token = &asked.message["params"]["_meta"]["progressToken"];
    const NOTICES: usize = 10_000;
    for step in 1..=NOTICES {
        asked
            .line
            .say(&format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step}}}}}"#
            ))
            .await;
    }
    asked.answer(r#"{"content":["late"]}"#).await;

    quick.say(&call("1", "x")).await;
    server
        .hears_of("tools/call")
        .await
        .answer(r#"{"content":["quick"]}"#)
        .await;
    assert_eq!(json(&quick.hears().await)["result"]["content"][0], "quick");

    // Progress may be lost, in order; the answer never is, and comes last.
    let mut last = 0;
    let answer = loop {
        let message = json(&slow.hears().await);
        let Some(step) = message["params"]["progress"].as_u64() else {
            break message;
        };
        assert!(step > last, "{step} after {last}");
        last = step;
    };
    assert_eq!(usize::try_from(last).unwrap(), NOTICES, "the newest is kept");
    assert_eq!(answer["result"]["content"][0], "late");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_does_not_read_costs_its_own_calls_only() {
    let (stuck, good) = (
        Server::with_tools("stuck", &["x"]),
        Server::with_tools("good", &["x"]),
    );
    good.answers("tools/call", r#"{"content":[]}"#);
    let stage = Stage::of(&[&stuck, &good]);
    let mut client = Client::legacy(&stage, "/mcp").await;
    client
        .asks(r#"{"jsonrpc":"2.0","id":0,"method":"tools/list"}"#)
        .await;
    stuck.stall();

    const CALLS: usize = 100;
    for id in 0..CALLS {
        client.say(&call(&id.to_string(), "stuck__x")).await;
    }
    settle().await;
    assert_eq!(
        client.asks(&call("\"good\"", "good__x")).await,
        r#"{"jsonrpc":"2.0","id":"good","result":{"content":[]}}"#
    );
    // A cancelled one gets no answer, however stuck it is.
    client
        .say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}"#)
        .await;
    client.heard_nothing_else().await;
    let mut ended = Vec::new();
    while ended.len() < CALLS - 1 {
        let answer = json(&client.hears().await);
        assert_eq!(answer["error"]["code"], 1002, "{answer}");
        ended.push(answer["id"].as_u64().unwrap());
    }
    ended.sort_unstable();
    assert_eq!(ended, (0..99).collect::<Vec<u64>>());
    client.heard_nothing_else().await;
}
