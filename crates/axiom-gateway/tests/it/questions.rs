//! A server asks in the middle of a call: to the client whose call it is, and back, unread.

use crate::client::{Client, call};
use crate::server::Server;
use crate::stage::{Stage, json};

const ASKABLE: &str = r#"{"roots":{"listChanged":true},"sampling":{},"elicitation":{}}"#;

#[tokio::test(start_paused = true)]
async fn questions_reach_their_client_and_answers_their_server() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy_with(&stage, "/mcp", ASKABLE).await;
    let mut other = Client::legacy_with(&stage, "/mcp", ASKABLE).await;
    client.say(&call("1", "files__x")).await;
    let mine = server.hears_of("tools/call").await;
    other.say(&call("1", "files__x")).await;
    let theirs = server.hears_of("tools/call").await;
    assert_ne!(
        mine.line.number, theirs.line.number,
        "who can be asked has a link of its own"
    );
    let greeting = json(&server.greetings()[0]);
    assert_eq!(greeting["params"]["capabilities"], json(ASKABLE));

    // The same id on both lines, as servers do.
    let methods = ["elicitation/create", "sampling/createMessage", "roots/list"];
    for (index, method) in methods.iter().enumerate() {
        for (asked, who) in [(&mine, "mine"), (&theirs, "theirs")] {
            asked
                .line
                .say(&format!(
                    r#"{{"jsonrpc":"2.0","id":"q{index}","method":"{method}","params":{{ "for":"{who}", "n":12345678901234567890123 }}}}"#
                ))
                .await;
        }
    }
    for (client, asked, who) in [(&mut client, &mine, "mine"), (&mut other, &theirs, "theirs")] {
        for (index, method) in methods.iter().enumerate() {
            let question = client.hears().await;
            let id = json(&question)["id"].to_string();
            assert_eq!(
                question,
                format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{ "for":"{who}", "n":12345678901234567890123 }}}}"#
                )
            );
            client
                .say(&format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"result":{{ "by":"{who}","n":1.0e0 }}}}"#
                ))
                .await;
            let answer = server.hears().await;
            assert_eq!(answer.line.number, asked.line.number);
            assert_eq!(
                answer.raw,
                format!(r#"{{"jsonrpc":"2.0","id":"q{index}","result":{{ "by":"{who}","n":1.0e0 }}}}"#)
            );
            // An answer counts once.
            client
                .say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{}}}}"#))
                .await;
        }
        asked.answer(&format!(r#"{{"content":["{who}"]}}"#)).await;
        assert_eq!(json(&client.hears().await)["result"]["content"][0], who);
        client.heard_nothing_else().await;
    }
    server.heard_nothing_else().await;
}

#[tokio::test(start_paused = true)]
async fn a_ping_is_answered_here_and_a_question_to_nobody_is_refused() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/s/files/mcp").await;
    let line = server.line();
    line.say(r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#).await;
    assert_eq!(
        server.hears().await.raw,
        r#"{"jsonrpc":"2.0","id":"p","result":{}}"#
    );

    // Nobody calls: there is no client to ask.
    line.say(r#"{"jsonrpc":"2.0","id":2,"method":"roots/list"}"#)
        .await;
    let refusal = server.hears().await.message;
    assert_eq!(
        (&refusal["id"], &refusal["error"]["code"]),
        (&json("2"), &json("-32601"))
    );
    client.heard_nothing_else().await;
}

#[tokio::test(start_paused = true)]
async fn on_a_shared_link_two_callers_make_a_question_ambiguous() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut clients = [
        Client::legacy(&stage, "/s/files/mcp").await,
        Client::legacy(&stage, "/s/files/mcp").await,
    ];
    for client in &clients {
        client.say(&call("1", "x")).await;
        server.hears_of("tools/call").await;
    }
    server
        .line()
        .say(r#"{"jsonrpc":"2.0","id":2,"method":"roots/list"}"#)
        .await;
    let refusal = server.hears().await.message;
    assert_eq!(
        (&refusal["id"], &refusal["error"]["code"]),
        (&json("2"), &json("-32601"))
    );
    for client in &mut clients {
        client.heard_nothing_else().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_withdraws_its_question() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy_with(&stage, "/s/files/mcp", ASKABLE).await;
    client.say(&call("1", "x")).await;
    let asked = server.hears_of("tools/call").await;
    asked
        .line
        .say(r#"{"jsonrpc":"2.0","id":77,"method":"roots/list"}"#)
        .await;
    let question = json(&client.hears().await);
    asked
        .line
        .say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}"#)
        .await;
    let withdrawn = json(&client.hears().await);
    assert_eq!(withdrawn["method"], "notifications/cancelled");
    assert_eq!(
        withdrawn["params"]["requestId"], question["id"],
        "under the id the client knows"
    );

    // An answer that crosses the withdrawal goes nowhere.
    client
        .say(&format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{{"roots":[]}}}}"#,
            question["id"]
        ))
        .await;
    client.heard_nothing_else().await;
    server.heard_nothing_else().await;
}

/// A client of the first revision with forms, at a server that speaks a newer one.
#[tokio::test(start_paused = true)]
async fn an_older_client_is_asked_in_its_own_words_or_not_at_all() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::of(&stage, "/s/files/mcp", "2025-06-18", ASKABLE).await;
    client.say(&call("1", "x")).await;
    let asked = server.hears_of("tools/call").await;
    for (id, params) in [
        (2, r#"{"mode":"url","url":"https://x","message":"Go"}"#),
        (
            3,
            r#"{"message":"?","requestedSchema":{"properties":{"w":{"type":"array"}},"required":["w"]}}"#,
        ),
    ] {
        asked
            .line
            .say(&format!(
                r#"{{"jsonrpc":"2.0","id":{id},"method":"elicitation/create","params":{params}}}"#
            ))
            .await;
        let refusal = server.hears().await.message;
        assert_eq!(
            (&refusal["id"], &refusal["error"]["code"]),
            (&json(&id.to_string()), &json("-32602")),
            "{refusal}"
        );
        let why = refusal["error"]["message"].as_str().unwrap();
        assert!(why.contains("2025-06-18"), "{why}");
    }
    asked
        .line
        .say(r#"{"jsonrpc":"2.0","id":4,"method":"elicitation/create","params":{"mode":"form","message":"?","requestedSchema":{"properties":{"c":{"type":"string","oneOf":[{"const":"a","title":"A"}]}}}}}"#)
        .await;
    let question = json(&client.hears().await);
    assert_eq!(
        question["params"],
        json(
            r#"{"message":"?","requestedSchema":{"properties":{"c":{"type":"string","enum":["a"],"enumNames":["A"]}}}}"#
        )
    );
    client.heard_nothing_else().await;
}
