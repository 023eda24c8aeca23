//! Who gives a call up, what the server hears of it, and what the client does not hear any more.

use crate::client::{Client, call, modern};
use crate::http::Web;
use crate::server::Server;
use crate::stage::{Stage, json};

fn cancelled(id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id},"reason":"user"}}}}"#
    )
}

#[tokio::test(start_paused = true)]
async fn a_legacy_client_cancels_and_may_use_the_id_again() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/s/files/mcp").await;
    let mut bystander = Client::legacy(&stage, "/s/files/mcp").await;

    // Cancelling what is not there does nothing, whoever else uses that id.
    bystander.say(&call("7", "read")).await;
    let theirs = server.hears_of("tools/call").await;
    client.say(&cancelled("7")).await;
    client.say(&cancelled("\"never\"")).await;
    client.heard_nothing_else().await;
    server.heard_nothing_else().await;

    for round in 0..3 {
        client.say(&call("7", "read")).await;
        let asked = server.hears_of("tools/call").await;
        client.say(&cancelled("7")).await;
        let told = server.hears_of("notifications/cancelled").await;
        assert_eq!(told.message["params"]["requestId"], *asked.id(), "round {round}");
        asked.answer(r#"{"content":["late"]}"#).await;
        client.heard_nothing_else().await;
    }

    client.say(&call("7", "read")).await;
    server
        .hears_of("tools/call")
        .await
        .answer(r#"{"content":["mine"]}"#)
        .await;
    assert_eq!(
        client.hears().await,
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":["mine"]}}"#
    );
    theirs.answer(r#"{"content":["theirs"]}"#).await;
    assert_eq!(
        bystander.hears().await,
        r#"{"jsonrpc":"2.0","id":7,"result":{"content":["theirs"]}}"#
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_server_to_start_can_be_cancelled() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    server.set_mute();
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/mcp").await;
    client.say(&call("1", "files__x")).await;
    client.say(&call("2", "files__x")).await;
    client.say(&cancelled("1")).await;
    // Only the other one is answered when the start has failed.
    let answer = json(&client.hears().await);
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&json("2"), &json("1001"))
    );
    client.heard_nothing_else().await;
}

#[tokio::test(start_paused = true)]
async fn a_modern_client_on_a_pipe_cancels() {
    let server = Server::modern("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/mcp");

    client.say(&cancelled("\"c\"")).await;
    client
        .say(&modern("\"c\"", "tools/call", r#"{"name":"files__x"}"#))
        .await;
    let asked = server.hears_of("tools/call").await;
    client.say(&cancelled("\"c\"")).await;
    let told = server.hears_of("notifications/cancelled").await;
    assert_eq!(told.message["params"]["requestId"], *asked.id());
    asked
        .answer(r#"{"resultType":"complete","content":["late"]}"#)
        .await;

    client
        .say(&modern("\"c\"", "tools/call", r#"{"name":"files__x"}"#))
        .await;
    let again = server.hears_of("tools/call").await;
    again
        .answer(r#"{"resultType":"complete","content":["new"]}"#)
        .await;
    let answer = json(&client.hears().await);
    assert_eq!(
        (&answer["id"], &answer["result"]["content"][0]),
        (&json("\"c\""), &json("\"new\""))
    );
}

#[tokio::test(start_paused = true)]
async fn a_client_that_leaves_its_pipe_gives_its_calls_up() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let client = Client::legacy(&stage, "/s/files/mcp").await;
    client.say(&call("1", "read")).await;
    let asked = server.hears_of("tools/call").await;
    drop(client);
    let told = server.hears_of("notifications/cancelled").await;
    assert_eq!(told.message["params"]["requestId"], *asked.id());
}

#[tokio::test]
async fn on_http_a_modern_client_cancels_by_leaving_and_a_legacy_one_does_not() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    // A modern call on HTTP looks at the tool's schema first, for headers that mirror arguments.
    server.list_tools(&["modern"]);
    let web = Web::open(&stage);
    let session = web.session("/s/files/mcp", "2025-11-25").await;

    // Legacy: the call goes on without its client; the word of cancellation is a message of its own.
    let headers = [
        ("mcp-session-id", session.as_str()),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let legacy = call("1", "legacy");
    let asked = {
        let leaving = web.post("/s/files/mcp", &headers, &legacy);
        tokio::select! {
            response = leaving => panic!("answered by nobody: {response:?}"),
            asked = server.hears_of("tools/call") => asked,
        }
    };

    // Modern: leaving says it.
    let request = modern("1", "tools/call", r#"{"name":"modern"}"#);
    let mirrored = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", "modern"),
    ];
    let second = {
        let leaving = web.post("/s/files/mcp", &mirrored, &request);
        tokio::select! {
            response = leaving => panic!("answered by nobody: {response:?}"),
            asked = server.hears_of("tools/call") => asked,
        }
    };
    assert_eq!(second.message["params"]["name"], "modern");
    // The only cancellation is that of the second call, though the first was left before.
    let told = server.hears_of("notifications/cancelled").await;
    assert_eq!(told.message["params"]["requestId"], *second.id());
    assert_ne!(told.message["params"]["requestId"], *asked.id());

    // The same when its stream has begun.
    let request = request.replace(r#""_meta":{"#, r#""_meta":{"progressToken":"p","#);
    let (asked, stream) = tokio::join!(
        async {
            let asked = server.hears_of("tools/call").await;
            let token = &asked.message["params"]["_meta"]["progressToken"];
            asked
                .line
                .say(&format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1}}}}"#
                ))
                .await;
            asked
        },
        web.post("/s/files/mcp", &mirrored, &request)
    );
    let mut stream = stream;
    assert!(stream.event().await.1.contains(r#""progressToken":"p""#));
    drop(stream);
    let told = server.hears_of("notifications/cancelled").await;
    assert_eq!(told.message["params"]["requestId"], *asked.id());

    let third = {
        let waiting = web.post("/s/files/mcp", &headers, &legacy);
        tokio::pin!(waiting);
        let asked = tokio::select! {
            response = &mut waiting => panic!("answered by nobody: {response:?}"),
            asked = server.hears_of("tools/call") => asked,
        };
        let accepted = web.post("/s/files/mcp", &headers, &cancelled("1")).await;
        assert_eq!(accepted.status.as_u16(), 202);
        let told = server.hears_of("notifications/cancelled").await;
        assert_eq!(told.message["params"]["requestId"], *asked.id());
        waiting.await
    };
    // A cancelled call gets no answer: a stream that ends at once.
    assert_eq!(third.text().await, "");
}
