//! Clients name their calls as they like; servers answer as they like; nobody gets another's answer.

use crate::client::{Client, call};
use crate::server::Server;
use crate::stage::{Stage, json};

#[tokio::test(start_paused = true)]
async fn equal_ids_and_tokens_of_two_clients_stay_apart() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut clients = [
        Client::legacy(&stage, "/s/files/mcp").await,
        Client::legacy(&stage, "/s/files/mcp").await,
    ];
    let mut asked = Vec::new();
    for (index, client) in clients.iter().enumerate() {
        client
            .say(&format!(
                r#"{{"jsonrpc":"2.0","id":"same","method":"tools/call","params":{{"name":"x{index}","_meta":{{"progressToken":"same"}}}}}}"#
            ))
            .await;
        asked.push(server.hears_of("tools/call").await);
    }
    assert_eq!(asked[0].line.number, asked[1].line.number, "one link is shared");
    assert_ne!(asked[0].id(), asked[1].id());
    let tokens: Vec<_> = asked
        .iter()
        .map(|asked| asked.message["params"]["_meta"]["progressToken"].clone())
        .collect();
    assert_ne!(tokens[0], tokens[1]);

    // Answered in the other order.
    for index in [1, 0] {
        let token = &tokens[index];
        asked[index]
            .line
            .say(&format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{index}}}}}"#
            ))
            .await;
        asked[index].answer(&format!(r#"{{"content":[{index}]}}"#)).await;
    }
    for (index, client) in clients.iter_mut().enumerate() {
        assert_eq!(
            client.hears().await,
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"same","progress":{index}}}}}"#
            )
        );
        assert_eq!(
            client.hears().await,
            format!(r#"{{"jsonrpc":"2.0","id":"same","result":{{"content":[{index}]}}}}"#)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn ids_come_back_as_they_were_written() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    server.answers("tools/call", r#"{"content":[]}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/s/files/mcp").await;
    for id in [
        "0",
        "-1",
        "123456789012345678901234567890",
        "1.50",
        r#""""#,
        r#""1""#,
        r#""\u00e4\/\ud83d\ude00""#,
        r#""ä😀 with \"quotes\"""#,
    ] {
        assert_eq!(
            client.asks(&call(id, "x")).await,
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[]}}}}"#)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_gateway_does_not_understand_passes_byte_for_byte() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/s/files/mcp").await;
    let odd =
        r#"{ "z":1.50e+1, "a" :[ 123456789012345678901234567890,"\u00e4\/" ], "z":{"id":7,"method":"x"} }"#;
    client
        .say(&format!(
            r#"{{"params" : {{"arguments":{odd},"name":"x"}},"extra":[null],"method":"tools/call", "id" : 5,"jsonrpc":"2.0"}}"#
        ))
        .await;
    // Not `hears`: a double key does not survive a JSON library.
    let asked = server.hears_of("tools/call").await;
    let id = asked.id();
    assert_eq!(
        asked.raw,
        format!(
            r#"{{"params" : {{"arguments":{odd},"name":"x"}},"extra":[null],"method":"tools/call", "id" : {id},"jsonrpc":"2.0"}}"#
        )
    );
    asked
        .line
        .say(&format!(
            r#"{{ "result":{odd} , "id":{id}, "jsonrpc":"2.0" ,"more":{odd}}}"#
        ))
        .await;
    assert_eq!(
        client.hears().await,
        format!(r#"{{ "result":{odd} , "id":5, "jsonrpc":"2.0" ,"more":{odd}}}"#)
    );
}

#[tokio::test(start_paused = true)]
async fn answers_to_nobody_are_dropped() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/s/files/mcp").await;
    client.say(&call("1", "x")).await;
    let asked = server.hears_of("tools/call").await;
    let id = asked.id();
    for wrong in [
        r#"{"jsonrpc":"2.0","id":999999,"result":{"content":["unknown id"]}}"#.to_owned(),
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse error"}}"#.to_owned(),
        format!(r#"{{"jsonrpc":"2.0","id":"{id}","result":{{"content":["the id as a string"]}}}}"#),
        "no MCP at all".to_owned(),
        r#"[{"jsonrpc":"2.0","id":1,"result":{}}]"#.to_owned(),
    ] {
        asked.line.say(&wrong).await;
    }
    asked.answer(r#"{"content":["right"]}"#).await;
    asked.answer(r#"{"content":["twice"]}"#).await;
    assert_eq!(
        client.hears().await,
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":["right"]}}"#
    );
    client.heard_nothing_else().await;

    // The conversation has survived all that.
    client.say(&call("1", "x")).await;
    let next = server.hears_of("tools/call").await;
    assert_eq!(next.line.number, 1);
    next.refuse(r#"{"code":-32000,"message":"no"}"#).await;
    assert_eq!(json(&client.hears().await)["error"]["message"], "no");
}
