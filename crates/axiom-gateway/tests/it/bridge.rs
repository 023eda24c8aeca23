//! Clients and servers of different eras: what passes, in whose words, and what is refused.

use std::sync::Arc;

use crate::client::{Client, call, initialize, modern};
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
    assert_eq!(
        answer["error"]["data"],
        json(r#"{"requiredCapabilities":{"elicitation":{}}}"#)
    );
    for (theirs, ours) in [
        (-32020, -32600),
        (-32022, -32602),
        (-32602, -32602),
        (-32000, -32000),
        (7, 7),
    ] {
        client.say(&call("6", "x")).await;
        let asked = server.hears_of("tools/call").await;
        asked
            .refuse(&format!(r#"{{"code":{theirs},"message":"m","data":[1.0]}}"#))
            .await;
        let answer = client.hears().await;
        assert!(answer.contains(r#""data":[1.0]"#), "{answer}");
        assert_eq!(json(&answer)["error"]["code"], ours);
    }
}

/// A server may insist on a newer revision than the client's. The client is still spoken to in its own.
#[tokio::test(start_paused = true)]
async fn an_older_client_and_a_newer_legacy_server() {
    let server = Server::legacy("old", r#"{"tools":{},"completions":{}}"#);
    let stage = Stage::of(&[&server]);
    for (path, prefix) in [("/s/old/mcp", ""), ("/mcp", "old__")] {
        let mut client = Client::new(&stage, path);
        let greeting = json(&client.asks(&initialize("2024-11-05", "{}")).await);
        assert_eq!(greeting["result"]["protocolVersion"], "2024-11-05");
        assert_eq!(greeting["result"]["capabilities"].get("completions"), None);
        assert_eq!(greeting["result"]["serverInfo"].get("title"), None);
        client
            .say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
            .await;

        client.say(&call("1", &format!("{prefix}x"))).await;
        let asked = server.hears_of("tools/call").await;
        asked
            .answer(r#"{"content":[{"type":"resource_link","uri":"u:1","name":"n"}],"structuredContent":{"a":1.0},"x":1.0}"#)
            .await;
        let answer = client.hears().await;
        assert_eq!(
            answer,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[{"type":"text","text":"Resource link: n <u:1>"},{"type":"text","text":"{\"a\":1.0}"}],"x":1.0}}"#
        );

        // Errors have the same codes within an era.
        client.say(&call("2", &format!("{prefix}x"))).await;
        let asked = server.hears_of("tools/call").await;
        asked.refuse(r#"{"code":-32602,"message":"m"}"#).await;
        assert_eq!(json(&client.hears().await)["error"]["code"], -32602);

        client
            .say(r#"{"jsonrpc":"2.0","id":3,"method":"tools/list"}"#)
            .await;
        let asked = server.hears_of("tools/list").await;
        asked
            .answer(
                r#"{"tools":[{"name":"x","title":"X","inputSchema":{"type":"object"},"annotations":{}}]}"#,
            )
            .await;
        assert_eq!(
            client.hears().await,
            format!(
                r#"{{"jsonrpc":"2.0","id":3,"result":{{"tools":[{{"name":"{prefix}x","inputSchema":{{"type":"object"}}}}]}}}}"#
            )
        );
    }
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
        json(
            r#"{"content":[],"isError":true,"resultType":"complete",
                "_meta":{"io.modelcontextprotocol/serverInfo":{"name":"old","version":"1"}}}"#
        )
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
    let answer = json(&client.asks(&modern("4", "skills/list", "{}")).await);
    assert_eq!(answer["error"]["code"], -32601, "{answer}");
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("skills/list"),
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

/// What a server asks an older client is levelled as well, whichever era it asks in.
#[tokio::test(start_paused = true)]
async fn a_question_to_an_older_client() {
    let messages = r#"[{"role":"user","content":[{"type":"text","text":"hear"},{"type":"audio","data":"AAAA","mimeType":"audio/wav"}]}]"#;
    let (old, new) = (
        Server::legacy("old", r#"{"tools":{}}"#),
        Server::modern("new", r#"{"tools":{}}"#),
    );
    let stage = Stage::of(&[&old, &new]);
    for server in [&old, &new] {
        let mut client = Client::new(&stage, &format!("/s/{server:?}/mcp"));
        client.asks(&initialize("2024-11-05", r#"{"sampling":{}}"#)).await;
        client
            .say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
            .await;
        client.say(&call("1", "x")).await;
        let asked = server.hears_of("tools/call").await;
        let question = format!(r#"{{"messages":{messages},"maxTokens":1.0,"tools":[]}}"#);
        if Arc::ptr_eq(server, &old) {
            let question = format!(
                r#"{{"jsonrpc":"2.0","id":9,"method":"sampling/createMessage","params":{question}}}"#
            );
            asked.line.say(&question).await;
        } else {
            let question = format!(r#"{{"method":"sampling/createMessage","params":{question}}}"#);
            asked
                .answer(&format!(
                    r#"{{"resultType":"input_required","inputRequests":{{"q":{question}}}}}"#
                ))
                .await;
        }
        let question = json(&client.hears().await);
        assert_eq!(question["method"], "sampling/createMessage");
        let audio = "Audio (audio/wav, 3 B) was left out: revision 2024-11-05 of the protocol has none.";
        let said =
            |text: &str| serde_json::json!({ "role": "user", "content": { "type": "text", "text": text } });
        assert_eq!(
            question["params"],
            serde_json::json!({ "messages": [said("hear"), said(audio)], "maxTokens": 1.0 })
        );
    }
}

/// 2025-03-26 gave progress a message.
#[tokio::test(start_paused = true)]
async fn the_oldest_clients_are_told_progress_without_words() {
    for server in [
        Server::legacy("s", r#"{"tools":{},"completions":{}}"#),
        Server::modern("s", r#"{"tools":{},"completions":{}}"#),
    ] {
        let stage = Stage::of(&[&server]);
        for (revision, said) in [
            ("2024-11-05", r#"{"progressToken":"p","progress":1}"#),
            (
                "2025-03-26",
                r#"{"progressToken":"p","message":"half","progress":1}"#,
            ),
        ] {
            let mut client = Client::of(&stage, "/s/s/mcp", revision, "{}").await;
            for method in ["tools/call", "completion/complete"] {
                let ask = format!(
                    r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{"name":"x","_meta":{{"progressToken":"p"}}}}}}"#
                );
                client.say(&ask).await;
                let asked = server.hears_of(method).await;
                let token = &asked.message["params"]["_meta"]["progressToken"];
                asked
                    .line
                    .say(&format!(
                        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"message":"half","progress":1}}}}"#
                    ))
                    .await;
                asked.answer("{}").await;
                let progress = json(&client.hears().await);
                assert_eq!(progress["params"], json(said), "{revision} {method}");
                assert_eq!(json(&client.hears().await)["id"], 1);
            }
        }
    }
}
