//! Clients and servers of different eras: what passes, in whose words, and what is refused.

use crate::client::{Client, call, modern};
use crate::server::Server;
use crate::stage::{Stage, json};

const VERSION: &str = "io.modelcontextprotocol/protocolVersion";
const INFO: &str = "io.modelcontextprotocol/clientInfo";

#[tokio::test(start_paused = true)]
async fn a_legacy_client_and_a_modern_server() {
    let server = Server::modern("new", r#"{"tools":{},"resources":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/s/new/mcp").await;

    client
        .say(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"mine":[1.0]}}}"#)
        .await;
    let asked = server.hears_of("tools/list").await;
    let meta = &asked.message["params"]["_meta"];
    assert_eq!(meta[VERSION], "2026-07-28");
    assert_eq!(
        meta[INFO]["name"], "client",
        "the client is introduced, not the gateway"
    );
    assert!(asked.raw.contains(r#""mine":[1.0]"#), "{}", asked.raw);
    asked
        .answer(r#"{"resultType":"complete","tools":[{"name":"x","n":1.0}],"ttlMs":5,"cacheScope":"public"}"#)
        .await;
    let answer = client.hears().await;
    assert!(answer.contains(r#""tools":[{"name":"x","n":1.0}]"#), "{answer}");

    client.say(&call("2", "x")).await;
    let asked = server.hears_of("tools/call").await;
    assert_eq!(asked.message["params"]["_meta"][VERSION], "2026-07-28");
    asked
        .answer(r#"{"resultType":"complete","content":[{"type":"text","text":"\u00e4"}]}"#)
        .await;
    let answer = client.hears().await;
    assert!(
        answer.contains(r#""content":[{"type":"text","text":"\u00e4"}]"#),
        "{answer}"
    );

    // Of a kind that no revision of this client has.
    client.say(&call("3", "x")).await;
    let asked = server.hears_of("tools/call").await;
    asked.answer(r#"{"resultType":"riddle"}"#).await;
    let answer = json(&client.hears().await);
    assert!(answer.get("result").is_none(), "never an empty success: {answer}");
    assert_eq!(
        (&answer["id"], &answer["error"]["data"]["server"]),
        (&json("3"), &json("\"new\""))
    );
    let text = answer["error"]["message"].as_str().unwrap();
    assert!(text.contains("riddle"), "{text}");

    client
        .say(r#"{"jsonrpc":"2.0","id":5,"method":"resources/read","params":{"uri":"r://none"}}"#)
        .await;
    let asked = server.hears_of("resources/read").await;
    asked
        .refuse(r#"{"code":-32602,"message":"no such resource","data":{"uri":"r://none"}}"#)
        .await;
    assert_eq!(
        json(&client.hears().await)["error"],
        json(r#"{"code":-32002,"message":"no such resource","data":{"uri":"r://none"}}"#)
    );

    client.say(&call("4", "x")).await;
    let asked = server.hears_of("tools/call").await;
    asked.refuse(r#"{"code":-32021,"message":"needs elicitation","data":{"requiredCapabilities":{"elicitation":{}}}}"#).await;
    let answer = json(&client.hears().await);
    assert_eq!(answer["error"]["code"], -32600);
    assert_eq!(answer["error"]["message"], "needs elicitation");
}

#[tokio::test(start_paused = true)]
async fn a_modern_client_and_a_legacy_server() {
    let server = Server::legacy("old", r#"{"tools":{},"resources":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");

    let discovered = json(&client.asks(&modern("0", "server/discover", "{}")).await);
    assert_eq!(discovered["result"]["supportedVersions"][0], "2026-07-28");
    assert_eq!(
        discovered["result"]["capabilities"],
        json(r#"{"tools":{},"resources":{}}"#)
    );

    client.say(&modern("1", "tools/list", "{}")).await;
    let asked = server.hears_of("tools/list").await;
    assert_eq!(
        asked.message["params"].get("_meta"),
        None,
        "nothing the server cannot know: {}",
        asked.raw
    );
    asked.answer(r#"{"tools":[{"name":"x","n":1.0}]}"#).await;
    let answer = client.hears().await;
    assert!(answer.contains(r#"[{"name":"x","n":1.0}]"#), "{answer}");
    let answer = json(&answer);
    assert_eq!(answer["result"]["resultType"], "complete");
    assert_eq!(answer["result"]["cacheScope"], "private");

    client
        .say(&modern(
            "2",
            "tools/call",
            r#"{"name":"x","arguments":{"n":1.0}}"#,
        ))
        .await;
    let asked = server.hears_of("tools/call").await;
    assert!(asked.raw.contains(r#""arguments":{"n":1.0}"#), "{}", asked.raw);
    asked.answer(r#"{"content":[],"isError":true}"#).await;
    let answer = json(&client.hears().await);
    assert_eq!(
        answer["result"],
        json(r#"{"content":[],"isError":true,"resultType":"complete"}"#)
    );

    client
        .say(&modern("3", "resources/read", r#"{"uri":"r://none"}"#))
        .await;
    let asked = server.hears_of("resources/read").await;
    asked
        .refuse(r#"{"code":-32002,"message":"no such resource","data":{"uri":"r://none"}}"#)
        .await;
    let answer = json(&client.hears().await);
    assert_eq!(
        answer["error"],
        json(r#"{"code":-32602,"message":"no such resource","data":{"uri":"r://none"}}"#)
    );

    // A method without a legacy twin is refused here, by name.
    let answer = json(&client.asks(&modern("4", "tasks/get", r#"{"taskId":"t"}"#)).await);
    assert_eq!(answer["error"]["data"]["server"], "old");
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("tasks/get"),
        "{answer}"
    );
    server.heard_nothing_else().await;
}

#[tokio::test(start_paused = true)]
async fn one_list_of_both_eras_for_clients_of_both() {
    let (old, new) = (
        Server::with_tools("old", &["a"]),
        Server::modern("new", r#"{"tools":{}}"#),
    );
    new.answers(
        "tools/list",
        r#"{"resultType":"complete","tools":[{"name":"b","inputSchema":{"type":"object"}}],"ttlMs":0,"cacheScope":"public"}"#,
    );
    let stage = Stage::of(&[&old, &new]);
    let mut legacy = Client::legacy(&stage, "/mcp").await;
    let mut young = Client::new(&stage, "/mcp");
    for answer in [
        legacy
            .asks(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#)
            .await,
        young.asks(&modern("1", "tools/list", "{}")).await,
    ] {
        assert_eq!(crate::stage::tool_names(&answer), ["new__b", "old__a"]);
    }
}

#[tokio::test(start_paused = true)]
async fn between_modern_sides_a_question_is_a_result_that_nobody_reads() {
    let server = Server::modern("new", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/mcp");
    client
        .say(&modern("1", "tools/call", r#"{"name":"new__x"}"#))
        .await;
    let asked = server.hears_of("tools/call").await;
    let question = r#"{"resultType":"input_required","inputRequests":{"q":{"method":"elicitation/create","params":{ "n":1.0 }}},"requestState":"\u00e4=="}"#;
    asked.answer(question).await;
    assert_eq!(
        client.hears().await,
        format!(r#"{{"jsonrpc":"2.0","id":1,"result":{question}}}"#)
    );
    let retry = modern(
        "2",
        "tools/call",
        r#"{"name":"new__x","inputResponses":{"q":{"action":"accept","content":{ "n":1.0 }}},"requestState":"\u00e4=="}"#,
    );
    client.say(&retry).await;
    let asked = server.hears_of("tools/call").await;
    let expected = retry
        .replace("new__x", "x")
        .replace(r#""id":2"#, &format!(r#""id":{}"#, asked.id()));
    assert_eq!(asked.raw, expected);
}
