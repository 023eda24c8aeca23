//! News across the eras: a legacy client hears of a modern server, a modern client of one with sessions, and a server is
//! asked once for all of them.

use std::sync::Arc;

use crate::client::{Client, call, modern};
use crate::server::{Heard, Server};
use crate::stage::{Stage, json, settle};
use crate::subscriptions::{acknowledge, acknowledge_only, of_uri, updated};

const DONE: &str = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
const LISTS: &str = r#"{"tools":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true}}"#;

fn tagged(method: &str, fields: &str, id: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{{{fields}"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
    )
}

async fn tells_of(listens: &Heard, uri: &str) {
    let fields = format!(r#""uri":"{uri}","#);
    let id = listens.id().to_string();
    listens.line.say(&tagged("resources/updated", &fields, &id)).await;
}

/// The gateway's own subscription, which must name these resources.
async fn gateway_listens(server: &Arc<Server>, uris: &str) -> Heard {
    let heard = server.hears_of("subscriptions/listen").await;
    let named = heard.message["params"]["notifications"].get("resourceSubscriptions");
    assert_eq!(named.cloned().unwrap_or_default(), json(uris), "{}", heard.raw);
    heard
}

#[tokio::test(start_paused = true)]
async fn sessions_share_one_subscription_at_a_modern_server() {
    let server = Server::modern("new", LISTS);
    let stage = Stage::of(&[&server]);
    let mut first = Client::legacy(&stage, "/s/new/mcp").await;
    let mut second = Client::legacy(&stage, "/s/new/mcp").await;
    let mut bystander = Client::legacy(&stage, "/s/new/mcp").await;
    acknowledge(&gateway_listens(&server, "null").await).await;

    first.say(&of_uri("1", "resources/subscribe", "r://a")).await;
    let listens = gateway_listens(&server, r#"["r://a"]"#).await;
    settle().await;
    assert_eq!(
        first.has_heard(),
        None,
        "the server has not promised anything yet"
    );
    acknowledge(&listens).await;
    assert_eq!(first.hears().await, DONE);
    // What is told already is not asked for again.
    assert_eq!(
        second.asks(&of_uri("1", "resources/subscribe", "r://a")).await,
        DONE
    );
    settle().await;
    tells_of(&listens, "r://a").await;
    for client in [&mut first, &mut second] {
        assert_eq!(
            client.hears().await,
            updated("r://a"),
            "without the subscription's id"
        );
        client.heard_nothing_else().await;
    }
    bystander.heard_nothing_else().await;

    // The new subscription begins before the old one ends, and what comes on either is told.
    second.say(&of_uri("1", "resources/subscribe", "r://b")).await;
    let both = gateway_listens(&server, r#"["r://a","r://b"]"#).await;
    tells_of(&listens, "r://a").await;
    acknowledge(&both).await;
    assert_eq!(first.hears().await, updated("r://a"));
    assert_eq!(second.hears().await, updated("r://a"));
    assert_eq!(second.hears().await, DONE);
    tells_of(&listens, "r://a").await;
    assert_eq!(first.hears().await, updated("r://a"), "it was on its way");
    assert_eq!(second.hears().await, updated("r://a"));
    let cancelled = server.hears_of("notifications/cancelled").await;
    let ended = [listens.id(), &cancelled.message["params"]["requestId"]];
    // The one that named no resource was the first to go.
    let cancelled = server.hears_of("notifications/cancelled").await;
    assert_eq!(&cancelled.message["params"]["requestId"], ended[0]);
    assert_ne!(ended[0], ended[1]);

    // The last who leaves a resource takes it out.
    assert_eq!(
        second.asks(&of_uri("1", "resources/unsubscribe", "r://a")).await,
        DONE
    );
    settle().await;
    server.heard_nothing_else().await;
    tells_of(&both, "r://a").await;
    assert_eq!(first.hears().await, updated("r://a"));
    second.heard_nothing_else().await;
    assert_eq!(
        first.asks(&of_uri("1", "resources/unsubscribe", "r://a")).await,
        DONE
    );
    acknowledge(&gateway_listens(&server, r#"["r://b"]"#).await).await;
    // A session that ends leaves too.
    server.hears_of("notifications/cancelled").await;
    second.says_no_more();
    let empty = gateway_listens(&server, "null").await;
    assert_eq!(empty.message["params"]["notifications"]["toolsListChanged"], true);
}

#[tokio::test(start_paused = true)]
async fn a_modern_server_that_offers_no_subscription_gets_none() {
    let server = Server::modern("new", r#"{"resources":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/s/new/mcp").await;
    for message in [
        of_uri("1", "resources/subscribe", "r://a"),
        of_uri("1", "resources/unsubscribe", "r://a"),
        r#"{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":"info"}}"#.to_owned(),
    ] {
        assert_eq!(
            json(&client.asks(&message).await)["error"]["code"],
            -32601,
            "{message}"
        );
    }
    server.heard_nothing_else().await;
}

#[tokio::test(start_paused = true)]
async fn what_a_modern_server_does_not_acknowledge_is_refused() {
    let server = Server::modern("new", r#"{"resources":{"subscribe":true}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/s/new/mcp").await;
    client.say(&of_uri("1", "resources/subscribe", "r://a")).await;
    acknowledge_only(&gateway_listens(&server, r#"["r://a"]"#).await, "{}").await;
    assert_eq!(json(&client.hears().await)["error"]["code"], -32602);

    // Nothing is left to ask for.
    server.hears_of("notifications/cancelled").await;

    // A server that does not answer at all does not hold its clients for ever.
    client.say(&of_uri("2", "resources/subscribe", "r://b")).await;
    gateway_listens(&server, r#"["r://b"]"#).await;
    let answer = json(&client.hears().await);
    assert_eq!(answer["error"]["data"]["server"], "new", "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_modern_server_that_dies_is_opened_again_and_what_was_missed_is_told() {
    let server = Server::modern("new", LISTS);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/s/new/mcp").await;
    acknowledge(&gateway_listens(&server, "null").await).await;
    client.say(&of_uri("1", "resources/subscribe", "r://a")).await;
    let listens = gateway_listens(&server, r#"["r://a"]"#).await;
    acknowledge(&listens).await;
    assert_eq!(client.hears().await, DONE);

    server.line().die();
    let again = gateway_listens(&server, r#"["r://a"]"#).await;
    assert_eq!(again.line.number, listens.line.number + 1);
    settle().await;
    assert_eq!(client.has_heard(), None, "not before the server is heard again");
    acknowledge(&again).await;
    for list in ["tools", "resources"] {
        assert_eq!(
            client.hears().await,
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/{list}/list_changed","params":{{}}}}"#)
        );
    }
    assert_eq!(client.hears().await, updated("r://a"));
    // The stream alone may end, too.
    again
        .answer(r#"{"resultType":"complete","_meta":{"io.modelcontextprotocol/subscriptionId":1}}"#)
        .await;
    acknowledge(&gateway_listens(&server, r#"["r://a"]"#).await).await;
    assert!(client.hears().await.contains("tools/list_changed"));
    assert!(client.hears().await.contains("resources/list_changed"));
    assert_eq!(client.hears().await, updated("r://a"));
}

#[tokio::test(start_paused = true)]
async fn a_modern_client_and_a_server_with_sessions() {
    let server = Server::legacy(
        "old",
        r#"{"tools":{"listChanged":true},"prompts":{},"resources":{"listChanged":true,"subscribe":true}}"#,
    );
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    let mut other = Client::new(&stage, "/s/old/mcp");
    client
        .say(&modern(
            "\"s\"",
            "subscriptions/listen",
            r#"{"notifications":{"toolsListChanged":true,"promptsListChanged":true,"resourceSubscriptions":["r://a","r://none"]}}"#,
        ))
        .await;
    // In the order of the client's list.
    server.hears_of("resources/subscribe").await.answer("{}").await;
    server
        .hears_of("resources/subscribe")
        .await
        .refuse(r#"{"code":-32002,"message":"no such resource"}"#)
        .await;
    assert_eq!(
        json(&client.hears().await)["params"],
        json(
            r#"{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["r://a"]},
                "_meta":{"io.modelcontextprotocol/subscriptionId":"s"}}"#
        ),
        "what the server announces and has agreed to, and no more"
    );
    other
        .say(&modern(
            "7",
            "subscriptions/listen",
            r#"{"notifications":{"resourcesListChanged":true,"resourceSubscriptions":["r://a"]}}"#,
        ))
        .await;
    assert!(
        other
            .hears()
            .await
            .contains(r#""resourceSubscriptions":["r://a"]"#)
    );

    for method in [
        "tools/list_changed",
        "resources/list_changed",
        "prompts/list_changed",
    ] {
        server
            .line()
            .say(&format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/{method}"}}"#
            ))
            .await;
    }
    server.line().say(&updated("r://a")).await;
    server.line().say(&updated("r://none")).await;
    assert_eq!(client.hears().await, tagged("tools/list_changed", "", "\"s\""));
    let update = |id: &str| tagged("resources/updated", r#""uri":"r://a","#, id);
    assert_eq!(client.hears().await, update("\"s\""));
    assert_eq!(other.hears().await, tagged("resources/list_changed", "", "7"));
    assert_eq!(other.hears().await, update("7"));

    // The server dies: another one is started, told of what is wanted, and everything counts as changed.
    server.answers("resources/subscribe", "{}");
    let asked = server.times_asked("resources/subscribe");
    server.line().die();
    assert_eq!(client.hears().await, tagged("tools/list_changed", "", "\"s\""));
    assert_eq!(client.hears().await, update("\"s\""));
    assert_eq!(other.hears().await, tagged("resources/list_changed", "", "7"));
    assert_eq!(other.hears().await, update("7"));
    assert_eq!(server.times_asked("resources/subscribe"), asked + 1);

    // One leaves, the other stays; the last one ends the subscription at the server.
    server.answers("resources/unsubscribe", "{}");
    let cancel = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":7}}"#;
    other.say(cancel).await;
    settle().await;
    assert_eq!(server.times_asked("resources/unsubscribe"), 0);
    server.line().say(&updated("r://a")).await;
    assert_eq!(client.hears().await, update("\"s\""));
    client.say(&cancel.replace('7', "\"s\"")).await;
    settle().await;
    assert_eq!(server.times_asked("resources/unsubscribe"), 1);
}

/// A session server binds what a client can be asked to a conversation, so there are several. News may come on any.
#[tokio::test(start_paused = true)]
async fn each_conversation_with_a_session_server_is_heard() {
    let server = Server::legacy(
        "old",
        r#"{"tools":{"listChanged":true},"resources":{"subscribe":true}}"#,
    );
    server.answers("resources/subscribe", "{}");
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    client
        .say(&modern(
            "1",
            "subscriptions/listen",
            r#"{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["r://a"]}}"#,
        ))
        .await;
    assert!(client.hears().await.contains("acknowledged"));
    let first = server.line();

    let call = modern("2", "tools/call", r#"{"name":"x"}"#).replace(
        r#"clientCapabilities":{}"#,
        r#"clientCapabilities":{"elicitation":{}}"#,
    );
    client.say(&call).await;
    let asked = server.hears_of("tools/call").await;
    assert_ne!(asked.line.number, first.number);
    assert_eq!(
        server.times_asked("resources/subscribe"),
        2,
        "before the call, so that what it changes is told"
    );
    asked.line.say(&updated("r://a")).await;
    let update = tagged("resources/updated", r#""uri":"r://a","#, "1");
    assert_eq!(client.hears().await, update);
    first.say(&updated("r://a")).await;
    assert_eq!(client.hears().await, update);
    asked
        .line
        .say(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#)
        .await;
    assert_eq!(client.hears().await, tagged("tools/list_changed", "", "1"));
}

#[tokio::test(start_paused = true)]
async fn a_stream_ends_in_order_when_its_server_is_removed() {
    let server = Server::legacy("old", r#"{"tools":{"listChanged":true}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    client
        .say(&modern(
            "1",
            "subscriptions/listen",
            r#"{"notifications":{"toolsListChanged":true}}"#,
        ))
        .await;
    assert!(client.hears().await.contains("acknowledged"));
    stage.gateway.apply(crate::stage::options(&[]));
    // What changed by the removal may be told before.
    loop {
        let last = json(&client.hears().await);
        if last["id"] == 1 {
            assert_eq!(last["result"]["resultType"], "complete");
            break;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_level_of_a_session_goes_with_each_of_its_calls() {
    let server = Server::modern("new", r#"{"tools":{},"logging":{}}"#);
    server.answers("tools/call", r#"{"resultType":"complete","content":[]}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/s/new/mcp").await;
    let level = |level: &str| {
        format!(r#"{{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{{"level":"{level}"}}}}"#)
    };
    let refused = json(&client.asks(&level("loud")).await);
    assert_eq!(refused["error"]["code"], -32602, "{refused}");
    assert_eq!(client.asks(&level("warning")).await, DONE);
    // Asked in so many words, so that the test sees it.
    client
        .say(r#"{"jsonrpc":"2.0","id":2,"method":"prompts/get","params":{"name":"x"}}"#)
        .await;
    let asked = server.hears_of("prompts/get").await;
    let meta = &asked.message["params"]["_meta"];
    assert_eq!(
        meta["io.modelcontextprotocol/logLevel"], "warning",
        "{}",
        asked.raw
    );
}

#[tokio::test(start_paused = true)]
async fn what_nobody_knows_is_unknown_in_the_clients_words() {
    let (old, new) = (
        Server::legacy("old", r#"{"tools":{}}"#),
        Server::modern("new", r#"{"tools":{}}"#),
    );
    let stage = Stage::of(&[&old, &new]);
    let mut young = Client::new(&stage, "/s/old/mcp");
    for method in [
        "unknown/method",
        "tasks/list",
        "roots/list",
        "resources/subscribe",
        "ping",
    ] {
        let answer = json(&young.asks(&modern("1", method, "{}")).await);
        assert_eq!(answer["error"]["code"], -32601, "{method}: {answer}");
    }
    old.heard_nothing_else().await;
    // Between peers of one era it is theirs to know.
    let mut young = Client::new(&stage, "/s/new/mcp");
    let mut legacy = Client::legacy(&stage, "/s/old/mcp").await;
    young.say(&modern("1", "skills/list", r#"{"n":1.0}"#)).await;
    let asked = new.hears_of("skills/list").await;
    asked
        .answer(r#"{"resultType":"complete","skills":[ 1.0 ]}"#)
        .await;
    assert_eq!(
        young.hears().await,
        r#"{"jsonrpc":"2.0","id":1,"result":{"resultType":"complete","skills":[ 1.0 ]}}"#
    );
    legacy
        .say(r#"{"jsonrpc":"2.0","id":1,"method":"skills/list","params":{"n":1.0}}"#)
        .await;
    let asked = old.hears_of("skills/list").await;
    assert!(asked.raw.contains(r#"{"n":1.0}"#), "{}", asked.raw);
    asked.answer(r#"{"skills":[ 1.0 ]}"#).await;
    assert_eq!(
        legacy.hears().await,
        r#"{"jsonrpc":"2.0","id":1,"result":{"skills":[ 1.0 ]}}"#
    );
}

/// The gateway lists a server's tools for itself while a client calls one of them.
#[tokio::test(start_paused = true)]
async fn log_lines_of_the_one_call_find_their_client_beside_a_request_of_the_gateway() {
    let server = Server::legacy("files", r#"{"tools":{"listChanged":true},"logging":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/s/files/mcp").await;
    client.say(&call("1", "x")).await;
    let called = server.hears_of("tools/call").await;
    let mut other = Client::legacy(&stage, "/mcp").await;
    other
        .say(r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#)
        .await;
    let listing = server.hears_of("tools/list").await;
    let log =
        r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"working"}}"#;
    called.line.say(log).await;
    assert_eq!(client.hears().await, log);
    listing.answer(r#"{"tools":[]}"#).await;
    assert_eq!(json(&other.hears().await)["id"], 1);
    called.answer(r#"{"content":[]}"#).await;
    assert_eq!(json(&client.hears().await)["id"], 1);
}
