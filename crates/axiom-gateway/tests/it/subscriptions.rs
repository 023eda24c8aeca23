//! Who asked for which news gets it, under the name that he gave it, and nobody else does.

use crate::client::{Client, modern};
use crate::server::{Heard, Server};
use crate::stage::{Stage, json, settle};

pub(crate) fn of_uri(id: &str, method: &str, uri: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{"uri":"{uri}"}}}}"#)
}

pub(crate) fn updated(uri: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","method":"notifications/resources/updated","params":{{"uri":"{uri}"}}}}"#)
}

#[tokio::test(start_paused = true)]
async fn on_a_shared_link_the_server_is_told_of_the_first_and_the_last() {
    let server = Server::legacy("files", r#"{"resources":{"subscribe":true}}"#);
    let stage = Stage::of(&[&server]);
    let mut first = Client::legacy(&stage, "/s/files/mcp").await;
    let mut second = Client::legacy(&stage, "/s/files/mcp").await;
    let mut bystander = Client::legacy(&stage, "/s/files/mcp").await;
    let done = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;

    first.say(&of_uri("1", "resources/subscribe", "r://a")).await;
    server.hears_of("resources/subscribe").await.answer("{}").await;
    assert_eq!(first.hears().await, done);
    assert_eq!(
        second.asks(&of_uri("1", "resources/subscribe", "r://a")).await,
        done
    );

    server.line().say(&updated("r://a")).await;
    server.line().say(&updated("r://other")).await;
    for client in [&mut first, &mut second] {
        assert_eq!(client.hears().await, updated("r://a"));
        client.heard_nothing_else().await;
    }
    bystander.heard_nothing_else().await;

    assert_eq!(
        first.asks(&of_uri("1", "resources/unsubscribe", "r://a")).await,
        done
    );
    server.line().say(&updated("r://a")).await;
    assert_eq!(second.hears().await, updated("r://a"));
    first.heard_nothing_else().await;

    second.say(&of_uri("1", "resources/unsubscribe", "r://a")).await;
    server.hears_of("resources/unsubscribe").await.answer("{}").await;
    assert_eq!(second.hears().await, done);
    server.heard_nothing_else().await;
}

#[tokio::test(start_paused = true)]
async fn a_refused_subscription_is_none() {
    let server = Server::legacy("files", r#"{"resources":{"subscribe":true}}"#);
    let stage = Stage::of(&[&server]);
    for _ in 0..2 {
        // Whoever comes second must not be told that all is well.
        let mut client = Client::legacy(&stage, "/s/files/mcp").await;
        client.say(&of_uri("1", "resources/subscribe", "r://a")).await;
        let asked = server.hears_of("resources/subscribe").await;
        asked
            .refuse(r#"{"code":-32002,"message":"no such resource"}"#)
            .await;
        assert_eq!(json(&client.hears().await)["error"]["code"], -32002);
    }
}

/// Acknowledges all that a subscription asks for.
pub(crate) async fn acknowledge(listens: &Heard) {
    acknowledge_only(listens, &listens.message["params"]["notifications"].to_string()).await;
}

pub(crate) async fn acknowledge_only(listens: &Heard, filter: &str) {
    let id = listens.id();
    listens
        .line
        .say(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"notifications":{filter},"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
        ))
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_modern_subscription_to_several_servers() {
    let capabilities = r#"{"tools":{"listChanged":true},"resources":{"subscribe":true}}"#;
    let server = Server::modern("files", capabilities);
    server.answers(
        "resources/list",
        r#"{"resultType":"complete","resources":[{"uri":"r://a","name":"a"}],"ttlMs":0,"cacheScope":"public"}"#,
    );
    server.answers(
        "resources/templates/list",
        r#"{"resultType":"complete","resourceTemplates":[],"ttlMs":0,"cacheScope":"public"}"#,
    );
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/mcp");
    let mut other = Client::new(&stage, "/mcp");

    client
        .say(&modern(
            "\"sub\"",
            "subscriptions/listen",
            r#"{"notifications":{"toolsListChanged":true,"resourceSubscriptions":["r://a","r://nobody"]}}"#,
        ))
        .await;
    // The gateway has one subscription of its own; with the resource it is a new one.
    let mut listens = server.hears_of("subscriptions/listen").await;
    if listens.message["params"]["notifications"]["resourceSubscriptions"].is_null() {
        acknowledge(&listens).await;
        listens = server.hears_of("subscriptions/listen").await;
    }
    assert_eq!(
        listens.message["params"]["notifications"],
        json(r#"{"toolsListChanged":true,"resourceSubscriptions":["r://a"]}"#)
    );
    acknowledge(&listens).await;
    let meta = |id: &str| format!(r#""_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}"#);
    let acknowledged = |id: &str, honoured: &str| {
        let meta = meta(id);
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{{meta},"notifications":{honoured}}}}}"#
        )
    };
    // What no server has is not promised.
    assert_eq!(
        client.hears().await,
        acknowledged(
            "\"sub\"",
            r#"{"toolsListChanged":true,"resourceSubscriptions":["r://a"]}"#
        )
    );
    other
        .say(&modern(
            "5",
            "subscriptions/listen",
            r#"{"notifications":{"promptsListChanged":true}}"#,
        ))
        .await;
    assert_eq!(
        other.hears().await,
        acknowledged("5", r#"{"promptsListChanged":true}"#)
    );

    for method in ["prompts/list_changed", "tools/list_changed"] {
        let meta = meta(&listens.id().to_string());
        listens
            .line
            .say(&format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{{{meta}}}}}"#
            ))
            .await;
    }
    let news = |method: &str, fields: &str, id: &str| {
        let meta = meta(id);
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{{{fields}{meta}}}}}"#)
    };
    assert_eq!(client.hears().await, news("tools/list_changed", "", "\"sub\""));
    assert_eq!(other.hears().await, news("prompts/list_changed", "", "5"));
    let raw = news(
        "resources/updated",
        r#""uri":"r://a","#,
        &listens.id().to_string(),
    );
    listens.line.say(&raw).await;
    assert_eq!(
        client.hears().await,
        news("resources/updated", r#""uri":"r://a","#, "\"sub\"")
    );

    stage.shut_down();
    for (client, id) in [(&mut client, "\"sub\""), (&mut other, "5")] {
        let meta = meta(id);
        assert_eq!(
            client.hears().await,
            format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete",{meta}}}}}"#)
        );
        assert!(client.is_dismissed().await);
    }
}

#[tokio::test(start_paused = true)]
async fn a_legacy_subscription_outlives_the_servers_death() {
    let server = Server::legacy("files", r#"{"tools":{},"resources":{"subscribe":true}}"#);
    server.answers("resources/subscribe", "{}");
    server.answers("tools/call", r#"{"content":[]}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/s/files/mcp").await;
    client.asks(&of_uri("1", "resources/subscribe", "r://a")).await;
    server.line().die();
    // Nobody calls: somebody listens.
    for list in ["tools", "resources"] {
        assert_eq!(
            client.hears().await,
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/{list}/list_changed","params":{{}}}}"#)
        );
    }
    assert_eq!(
        client.hears().await,
        updated("r://a"),
        "it may have changed meanwhile"
    );
    assert_eq!(
        (server.line().number, server.times_asked("resources/subscribe")),
        (2, 2)
    );
    client.asks(&crate::client::call("2", "x")).await;
    server.line().say(&updated("r://a")).await;
    assert_eq!(client.hears().await, updated("r://a"));
}

#[tokio::test(start_paused = true)]
async fn on_a_single_servers_endpoint_the_subscription_is_the_servers_own() {
    let server = Server::modern("files", "{}");
    let stage = Stage::of(&[&server]);
    let mut clients = [
        Client::new(&stage, "/s/files/mcp"),
        Client::new(&stage, "/s/files/mcp"),
    ];
    let mut heard = Vec::new();
    for client in &mut clients {
        client
            .say(&modern(
                "\"s\"",
                "subscriptions/listen",
                r#"{"notifications":{"toolsListChanged":true}}"#,
            ))
            .await;
        heard.push(server.hears_of("subscriptions/listen").await);
    }
    let news = |method: &str, id: &str| {
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/{method}","params":{{"n":1.0,"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}}}"#
        )
    };
    for (client, heard) in clients.iter_mut().zip(&heard) {
        for method in ["subscriptions/acknowledged", "tools/list_changed"] {
            heard.line.say(&news(method, &heard.id().to_string())).await;
            assert_eq!(client.hears().await, news(method, "\"s\""));
        }
    }
    // One is ended by the server, the other by the shutdown, in the same words.
    let goodbye = |id: &str| {
        format!(r#"{{"resultType":"complete","_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}}}"#)
    };
    heard[0].answer(&goodbye(&heard[0].id().to_string())).await;
    let answer = |id: &str| format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{}}}"#, goodbye(id));
    assert_eq!(clients[0].hears().await, answer("\"s\""));
    stage.shut_down();
    assert_eq!(clients[1].hears().await, answer("\"s\""));
    assert!(clients[1].is_dismissed().await);
}

#[tokio::test(start_paused = true)]
async fn a_modern_subscriber_and_a_legacy_one_share_a_legacy_server() {
    let server = Server::legacy("files", r#"{"resources":{"subscribe":true}}"#);
    server.answers("resources/list", r#"{"resources":[{"uri":"r://a","name":"a"}]}"#);
    server.answers("resources/templates/list", r#"{"resourceTemplates":[]}"#);
    server.answers("resources/subscribe", "{}");
    server.answers("resources/unsubscribe", "{}");
    let stage = Stage::of(&[&server]);
    let mut legacy = Client::legacy(&stage, "/mcp").await;
    let mut young = Client::new(&stage, "/mcp");
    legacy.asks(&of_uri("1", "resources/subscribe", "r://a")).await;
    // The link of both: the modern client finds out on another one that this server is not modern.
    let line = server.line();
    young
        .say(&modern(
            "1",
            "subscriptions/listen",
            r#"{"notifications":{"resourceSubscriptions":["r://a"]}}"#,
        ))
        .await;
    assert!(young.hears().await.contains("acknowledged"));

    line.say(&updated("r://a")).await;
    assert_eq!(legacy.hears().await, updated("r://a"));
    assert_eq!(json(&young.hears().await)["params"]["uri"], "r://a");

    // The one leaves, the other stays subscribed.
    legacy.asks(&of_uri("2", "resources/unsubscribe", "r://a")).await;
    assert_eq!(server.times_asked("resources/unsubscribe"), 0);
    line.say(&updated("r://a")).await;
    assert_eq!(json(&young.hears().await)["params"]["uri"], "r://a");
    drop(young);
    settle().await;
    tokio::time::sleep(std::time::Duration::from_secs(60)).await;
    assert_eq!(server.times_asked("resources/unsubscribe"), 1);
}
