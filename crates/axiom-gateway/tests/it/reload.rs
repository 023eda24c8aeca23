//! New options while clients are connected: what stays, what comes, what goes, and who is told.

use std::time::Duration;

use crate::client::{Client, call};
use crate::http::Web;
use crate::server::Server;
use crate::stage::{Stage, json, options, tool_names};
use crate::subscriptions::{acknowledge, of_uri, updated};

const LIST: &str = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;

#[tokio::test(start_paused = true)]
async fn servers_come_go_and_change_under_a_connected_client() {
    let [stays, goes, changes, comes] =
        ["stays", "goes", "changes", "comes"].map(|name| Server::with_tools(name, &["x"]));
    let stage = Stage::of(&[&stays, &goes, &changes]);
    let mut client = Client::legacy(&stage, "/mcp").await;
    assert_eq!(
        tool_names(&client.asks(LIST).await),
        ["changes__x", "goes__x", "stays__x"]
    );
    client.say(&call("\"stays\"", "stays__x")).await;
    let surviving = stays.hears_of("tools/call").await;
    for (id, server) in [("\"goes\"", &goes), ("\"changes\"", &changes)] {
        client
            .say(&call(id, &format!("{}__x", id.trim_matches('"'))))
            .await;
        server.hears_of("tools/call").await;
    }

    let mut reloaded = options(&[&stays, &changes, &comes]);
    reloaded.servers.get_mut("changes").unwrap().call_timeout = Duration::from_secs(7);
    stage.gateway.apply(reloaded);

    // Their calls end with a reason; the lists have changed.
    let mut ended = Vec::new();
    let mut told = 0;
    while ended.len() < 2 || told < 3 {
        let message = json(&client.hears().await);
        match message["method"].as_str() {
            Some(method) => {
                assert!(method.ends_with("/list_changed"), "{message}");
                told += 1;
            }
            None => {
                assert_eq!(message["error"]["data"]["server"], message["id"], "{message}");
                let text = message["error"]["message"].as_str().unwrap();
                assert!(text.contains("configuration"), "{text}");
                ended.push(message["id"].clone());
            }
        }
    }
    surviving.answer(r#"{"content":["survived"]}"#).await;
    let answer = loop {
        let message = client.hears().await;
        if !message.contains("/list_changed") {
            break json(&message);
        }
    };
    assert_eq!(
        (&answer["id"], &answer["result"]["content"][0]),
        (&json("\"stays\""), &json("\"survived\""))
    );
    assert_eq!(stays.line().number, 1, "its link was kept");
    assert_eq!(changes.line().number, 2, "its link was replaced");
}

#[tokio::test(start_paused = true)]
async fn a_connected_pipe_client_sees_the_new_servers() {
    let [old, new] = ["old", "new"].map(|name| Server::with_tools(name, &["x"]));
    new.answers("tools/call", r#"{"content":[]}"#);
    let stage = Stage::of(&[&old]);
    let mut client = Client::legacy(&stage, "/mcp").await;
    stage.gateway.apply(options(&[&new]));
    for list in ["tools", "prompts", "resources"] {
        assert_eq!(
            client.hears().await,
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/{list}/list_changed","params":{{}}}}"#)
        );
    }
    client.heard_nothing_else().await;
    assert_eq!(tool_names(&client.asks(LIST).await), ["new__x"]);
    assert_eq!(
        client.asks(&call("2", "new__x")).await,
        r#"{"jsonrpc":"2.0","id":2,"result":{"content":[]}}"#
    );

    // A server that only goes is news too.
    stage.gateway.apply(options(&[]));
    for _ in 0..3 {
        assert!(client.hears().await.contains("/list_changed"));
    }
    assert_eq!(tool_names(&client.asks(LIST).await), [""; 0]);

    // An unchanged configuration is none.
    stage.gateway.apply(options(&[]));
    client.heard_nothing_else().await;
}

#[tokio::test]
async fn on_http_endpoints_come_and_go() {
    let [old, new] = ["old", "new"].map(|name| Server::with_tools(name, &["x"]));
    let stage = Stage::of(&[&old]);
    let web = Web::open(&stage);
    let session = web.session("/mcp", "2025-11-25").await;
    let headers = [("mcp-session-id", session.as_str())];
    assert_eq!(web.post("/s/new/mcp", &[], "{}").await.status.as_u16(), 404);

    stage.gateway.apply(options(&[&new]));
    assert_eq!(web.post("/s/old/mcp", &[], "{}").await.status.as_u16(), 404);
    let answer = web.post("/mcp", &headers, LIST).await.text().await;
    assert_eq!(tool_names(&answer), ["new__x"], "the session outlives the reload");
}

/// What has not reached a server of before goes to the one that took its place.
#[tokio::test(start_paused = true)]
async fn a_request_that_waits_for_a_server_which_is_replaced() {
    let before = Server::with_tools("files", &["x"]);
    before.set_mute();
    let stage = Stage::of(&[&before]);
    let mut client = Client::new(&stage, "/mcp");
    client.say(&crate::client::initialize("2025-11-25", "{}")).await;
    client.hears().await;
    client.say(&call("1", "files__x")).await;
    crate::stage::settle().await;
    assert_eq!(before.times_asked("initialize"), 1, "it is being waited for");

    let after = Server::with_tools("files", &["x"]);
    let mut reloaded = options(&[&after]);
    reloaded.servers.get_mut("files").unwrap().call_timeout = Duration::from_secs(7);
    stage.gateway.apply(reloaded);
    after
        .hears_of("tools/call")
        .await
        .answer(r#"{"content":[]}"#)
        .await;
    loop {
        let message = json(&client.hears().await);
        if message.get("method").is_none() {
            assert_eq!(
                (&message["id"], &message["result"]),
                (&json("1"), &json(r#"{"content":[]}"#))
            );
            break;
        }
    }
}

/// A client that shares its link, and one that has its own.
#[tokio::test(start_paused = true)]
async fn who_was_subscribed_at_a_server_that_changes_is_subscribed_still() {
    for capabilities in ["{}", r#"{"elicitation":{}}"#] {
        let server = Server::legacy("files", r#"{"resources":{"subscribe":true}}"#);
        server.answers("resources/list", r#"{"resources":[]}"#);
        server.answers("resources/templates/list", r#"{"resourceTemplates":[]}"#);
        let stage = Stage::of(&[&server]);
        let mut client = Client::legacy_with(&stage, "/s/files/mcp", capabilities).await;
        let mut bystander = Client::legacy_with(&stage, "/s/files/mcp", capabilities).await;
        client.say(&of_uri("1", "resources/subscribe", "r://a")).await;
        server.hears_of("resources/subscribe").await.answer("{}").await;
        client.hears().await;

        stage.gateway.apply(changed(&server));
        let again = server.hears_of("resources/subscribe").await;
        assert_eq!(again.message["params"]["uri"], "r://a", "{capabilities}");
        again.answer("{}").await;
        // It may have changed while nobody listened.
        assert_eq!(next_update(&mut client).await, updated("r://a"), "{capabilities}");
        again.line.say(&updated("r://a")).await;
        assert_eq!(next_update(&mut client).await, updated("r://a"), "{capabilities}");
        // The new server is told when the last one leaves, as the one before would have been.
        client.say(&of_uri("2", "resources/unsubscribe", "r://a")).await;
        let left = server.hears_of("resources/unsubscribe").await;
        assert_eq!(left.line.number, again.line.number);
        left.answer("{}").await;
        while let Some(heard) = bystander.has_heard() {
            assert!(heard.contains("/list_changed"), "{heard}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn who_was_subscribed_at_a_modern_server_that_changes_is_subscribed_still() {
    let server = Server::modern("files", r#"{"resources":{"subscribe":true}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/s/files/mcp").await;
    client.say(&of_uri("1", "resources/subscribe", "r://a")).await;
    acknowledge(&server.hears_of("subscriptions/listen").await).await;
    assert_eq!(json(&client.hears().await)["id"], 1);

    stage.gateway.apply(changed(&server));
    let listens = loop {
        let heard = server.hears().await;
        if heard.message["method"] == "subscriptions/listen" {
            break heard;
        }
    };
    assert_eq!(
        listens.message["params"]["notifications"]["resourceSubscriptions"],
        json(r#"["r://a"]"#)
    );
    acknowledge(&listens).await;
    assert_eq!(next_update(&mut client).await, updated("r://a"));
}

/// The same server under another configuration.
fn changed(server: &std::sync::Arc<Server>) -> axiom_gateway::options::Options {
    let mut changed = options(&[server]);
    let options = changed.servers.values_mut().next().unwrap();
    options.call_timeout = Duration::from_secs(7);
    changed
}

/// Past the news that lists have changed.
async fn next_update(client: &mut Client) -> String {
    loop {
        let heard = client.hears().await;
        if !heard.contains("/list_changed") {
            return heard;
        }
    }
}
