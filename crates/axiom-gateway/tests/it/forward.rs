//! What was invented after this gateway: between sides of one era it passes as it is, and a revision that nobody here
//! knows is answered with those that are known.

use axiom_gateway::options::Options;

use crate::client::{Client, call, initialize, modern};
use crate::http::Web;
use crate::server::Server;
use crate::stage::{Stage, json};

/// Capabilities with an extension that no revision has, written as no library writes them.
const EXTENDED: &str =
    r#"{ "tools":{},"elicitation":{},"extensions":{"io.example/odd":{ "n":1.50,"\u00e4":[] }},"odd":7 }"#;

#[tokio::test(start_paused = true)]
async fn within_the_session_era_the_unknown_passes() {
    let server = Server::legacy("files", EXTENDED);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/files/mcp");
    let welcome = client.asks(&initialize("2025-11-25", EXTENDED)).await;
    let capabilities = format!(r#""capabilities":{EXTENDED}"#);
    assert!(welcome.contains(&capabilities), "{welcome}");
    let greetings = server.greetings();
    let own = greetings.last().expect("the server was greeted");
    assert!(own.contains(&capabilities), "{own}");

    client
        .say(r#"{"jsonrpc":"2.0","id":"u","method":"odd/method","params":{"n":1.50,"name":"files__x"}}"#)
        .await;
    let asked = server.hears_of("odd/method").await;
    assert!(
        asked.raw.ends_with(r#""params":{"n":1.50,"name":"files__x"}}"#),
        "{}",
        asked.raw
    );
    asked
        .answer(r#"{"resultType":"io.example/riddle","n":1.50}"#)
        .await;
    assert_eq!(
        client.hears().await,
        r#"{"jsonrpc":"2.0","id":"u","result":{"resultType":"io.example/riddle","n":1.50}}"#
    );

    let notice = r#"{"jsonrpc":"2.0","method":"notifications/odd","params":{"n":1.50}}"#;
    client.say(notice).await;
    assert_eq!(server.hears().await.raw, notice);
    server.line().say(notice).await;
    assert_eq!(client.hears().await, notice);

    // A question that no revision has, and its answer.
    let question = r#"{"jsonrpc":"2.0","id":"q","method":"odd/question","params":{"n":1.50}}"#;
    server.line().say(question).await;
    let asked = client.hears().await;
    let id = json(&asked)["id"].to_string();
    assert_eq!(asked, question.replace(r#""q""#, &id));
    client
        .say(&format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"n":1.50}}}}"#))
        .await;
    assert_eq!(
        server.hears().await.raw,
        r#"{"jsonrpc":"2.0","id":"q","result":{"n":1.50}}"#
    );
}

#[tokio::test(start_paused = true)]
async fn within_the_era_of_2026_the_unknown_passes() {
    let server = Server::modern("new", EXTENDED);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/new/mcp");
    let discovered = client.asks(&modern("0", "server/discover", "{}")).await;
    let capabilities = format!(r#""capabilities":{EXTENDED}"#);
    assert!(discovered.contains(&capabilities), "{discovered}");

    let request = modern("\"u\"", "odd/method", r#"{ "n":1.50 }"#).replace(
        r#"clientCapabilities":{}"#,
        &format!(r#"clientCapabilities":{EXTENDED}"#),
    );
    client.say(&request).await;
    let asked = server.hears_of("odd/method").await;
    assert_eq!(
        asked.raw,
        request.replace(r#""id":"u""#, &format!(r#""id":{}"#, asked.id()))
    );
    asked
        .answer(r#"{"resultType":"io.example/riddle","n":1.50}"#)
        .await;
    assert_eq!(
        client.hears().await,
        r#"{"jsonrpc":"2.0","id":"u","result":{"resultType":"io.example/riddle","n":1.50}}"#
    );

    // A known method, with a result of a kind that the two have agreed on without us.
    client.say(&modern("2", "tools/call", r#"{"name":"x"}"#)).await;
    let asked = server.hears_of("tools/call").await;
    asked.answer(r#"{ "resultType" : "io.example/riddle" }"#).await;
    assert_eq!(
        client.hears().await,
        r#"{"jsonrpc":"2.0","id":2,"result":{ "resultType" : "io.example/riddle" }}"#
    );
}

/// On a pipe that many clients share, news of an unknown kind is for whom its subscription names.
#[tokio::test(start_paused = true)]
async fn within_the_era_of_2026_unknown_news_pass_on_a_subscription() {
    let server = Server::modern("new", EXTENDED);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/new/mcp");
    let listen = modern(
        "\"l\"",
        "subscriptions/listen",
        r#"{"notifications":{"odd":{ "n":1.50 }}}"#,
    );
    client.say(&listen).await;
    let asked = server.hears_of("subscriptions/listen").await;
    assert!(
        asked.raw.contains(r#""notifications":{"odd":{ "n":1.50 }}"#),
        "{}",
        asked.raw
    );
    let notice = |id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/odd","params":{{"n":1.50,"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
        )
    };
    asked.line.say(&notice(&asked.id().to_string())).await;
    assert_eq!(client.hears().await, notice(r#""l""#));
}

#[tokio::test]
async fn an_unknown_revision_is_answered_with_those_that_are_known() {
    let stage = Stage::with(Options::default());
    let web = Web::open(&stage);
    let known = json(r#"["2026-07-28","2025-11-25","2025-06-18","2025-03-26","2024-11-05"]"#);
    let future = modern("1", "tools/list", "{}").replace("2026-07-28", "2099-01-01");

    let session = web.session("/mcp", "2025-11-25").await;
    let headers = [
        ("mcp-session-id", session.as_str()),
        ("mcp-protocol-version", "2099-01-01"),
    ];
    let of_session = web.post("/mcp", &headers, &call("1", "x")).await;
    let headers = [
        ("mcp-protocol-version", "2099-01-01"),
        ("mcp-method", "tools/list"),
    ];
    let of_request = web.post("/mcp", &headers, &future).await;
    for refused in [of_session, of_request] {
        assert_eq!(refused.status.as_u16(), 400);
        let error = &json(&refused.text().await)["error"];
        assert_eq!(error["code"], -32022);
        assert_eq!(error["data"]["supported"], known);
        assert_eq!(error["data"]["requested"], "2099-01-01");
    }

    let mut on_a_pipe = Client::new(&stage, "/mcp");
    let refused = json(&on_a_pipe.asks(&future).await);
    assert_eq!(
        (&refused["id"], &refused["error"]["code"]),
        (&json("1"), &json("-32022"))
    );
    assert_eq!(refused["error"]["data"]["supported"], known);
}

/// What client and server have agreed on is not the gateway's to know.
#[tokio::test(start_paused = true)]
async fn notifications_that_nobody_knows_reach_a_modern_server() {
    let server = Server::modern("new", r#"{"tools":{}}"#);
    let old = Server::with_tools("old", &[]);
    server.answers("tools/list", r#"{"tools":[]}"#);
    let stage = Stage::of(&[&server, &old]);
    let unknown = r#"{"method":"notifications/acme/moved", "params":{ "n":12345678901234567890123,"_meta":{}},"jsonrpc":"2.0"}"#;
    let client = Client::new(&stage, "/s/new/mcp");
    client.say(unknown).await;
    assert_eq!(server.hears().await.raw, unknown);
    let named = unknown.replace(
        r#""_meta":{}"#,
        r#""_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}"#,
    );
    client.say(&named).await;
    assert_eq!(server.hears().await.raw, named);

    // An older server would not know it, and of several nobody can tell whose it is. Neither may be answered with.
    for endpoint in ["/s/old/mcp", "/mcp"] {
        let mut client = Client::new(&stage, endpoint);
        client.say(unknown).await;
        let listed = client.asks(&modern("1", "tools/list", "{}")).await;
        assert_eq!(json(&listed)["id"], 1, "{endpoint}: {listed}");
    }
    server.heard_nothing_else().await;
    old.heard_nothing_else().await;
}

#[tokio::test]
async fn notifications_that_nobody_knows_pass_over_http() {
    let server = Server::modern("new", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let web = Web::open(&stage);
    let unknown = r#"{"jsonrpc":"2.0","method":"notifications/acme/moved"}"#;
    let headers = [("mcp-protocol-version", "2026-07-28")];
    let response = web.post("/s/new/mcp", &headers, unknown).await;
    assert_eq!(response.status.as_u16(), 202);
    assert_eq!(server.hears().await.raw, unknown);
}
