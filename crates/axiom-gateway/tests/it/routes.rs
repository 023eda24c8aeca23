//! Which server a request goes to when its name does not say so.

use crate::client::{Client, call};
use crate::server::Server;
use crate::stage::{Stage, json, settle};

fn read(uri: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{{"uri":"{uri}"}}}}"#)
}

#[tokio::test(start_paused = true)]
async fn resources_go_to_who_lists_them_else_to_whose_template_fits_else_to_each_in_turn() {
    let [a, b] = ["a", "b"].map(|name| Server::legacy(name, r#"{"resources":{"listChanged":true}}"#));
    a.answers(
        "resources/list",
        r#"{"resources":[{"uri":"r://listed/a","name":"x"}]}"#,
    );
    a.answers("resources/templates/list", r#"{"resourceTemplates":[]}"#);
    b.answers("resources/list", r#"{"resources":[]}"#);
    b.answers(
        "resources/templates/list",
        r#"{"resourceTemplates":[{"uriTemplate":"r://item/{id}","name":"x"}]}"#,
    );
    let stage = Stage::of(&[&a, &b]);
    let mut client = Client::legacy(&stage, "/mcp").await;
    for (uri, server) in [("r://listed/a", &a), ("r://item/7", &b)] {
        client.say(&read(uri)).await;
        let asked = server.hears_of("resources/read").await;
        assert_eq!(asked.message["params"]["uri"], uri);
        asked.answer(r#"{"contents":[]}"#).await;
        assert_eq!(
            client.hears().await,
            r#"{"jsonrpc":"2.0","id":1,"result":{"contents":[]}}"#
        );
    }
    client.say(&read("r://secret")).await;
    let unknown = r#"{"code":-32002,"message":"no such resource"}"#;
    a.hears_of("resources/read").await.refuse(unknown).await;
    b.hears_of("resources/read")
        .await
        .answer(r#"{"contents":["found"]}"#)
        .await;
    assert_eq!(json(&client.hears().await)["result"]["contents"][0], "found");
    client.say(&read("r://none")).await;
    a.hears_of("resources/read").await.refuse(unknown).await;
    b.hears_of("resources/read").await.refuse(unknown).await;
    assert_eq!(json(&client.hears().await)["error"], json(unknown));
}

#[tokio::test(start_paused = true)]
async fn prompts_and_completions_get_their_own_names_back() {
    let server = Server::legacy("files", r#"{"prompts":{},"completions":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/mcp").await;
    client
        .say(r#"{"jsonrpc":"2.0","id":1,"method":"prompts/get","params":{"name":"files__greet"}}"#)
        .await;
    assert_eq!(
        server.hears_of("prompts/get").await.message["params"]["name"],
        "greet"
    );
    client
        .say(r#"{"jsonrpc":"2.0","id":2,"method":"completion/complete","params":{"ref":{"type":"ref/prompt","name":"files__greet"},"argument":{"name":"files__greet","value":"f"}}}"#)
        .await;
    let asked = server.hears_of("completion/complete").await;
    assert_eq!(
        asked.message["params"],
        json(
            r#"{"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"files__greet","value":"f"}}"#
        )
    );
    let unknown = json(&client.asks(&call("3", "nobody__x")).await);
    assert_eq!(unknown["error"]["code"], -32602);
}

#[tokio::test(start_paused = true)]
async fn a_log_level_reaches_servers_that_are_up_and_those_that_come_later() {
    let [early, late] = ["early", "late"].map(|name| Server::legacy(name, r#"{"tools":{},"logging":{}}"#));
    let stage = Stage::of(&[&early, &late]);
    let mut client = Client::legacy_with(&stage, "/mcp", r#"{"roots":{}}"#).await;
    client.say(&call("1", "early__x")).await;
    early.hears_of("tools/call").await;
    let set = r#"{"jsonrpc":"2.0","id":2,"method":"logging/setLevel","params":{"level":"warning"}}"#;
    assert_eq!(client.asks(set).await, r#"{"jsonrpc":"2.0","id":2,"result":{}}"#);
    assert_eq!(
        early.hears_of("logging/setLevel").await.message["params"]["level"],
        "warning"
    );

    client.say(&call("3", "late__x")).await;
    settle().await;
    let mut heard = [late.hears().await, late.hears().await].map(|heard| heard.message["method"].to_string());
    heard.sort();
    assert_eq!(heard, ["\"logging/setLevel\"", "\"tools/call\""]);
    late.line()
        .say(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1.0}}"#)
        .await;
    assert_eq!(
        client.hears().await,
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"error","data":1.0}}"#
    );
}
