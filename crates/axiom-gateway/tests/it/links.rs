//! Who shares a connection to a server, how many there may be, and when one is closed.

use std::time::Duration;

use crate::client::{Client, call, initialize};
use crate::http::{Response, Web};
use crate::server::Server;
use crate::stage::{Stage, json, options, settle};
use crate::standing_stream::Stopped;

const ASKABLE: &str = r#"{"roots":{}}"#;

#[tokio::test(start_paused = true)]
async fn clients_that_declare_the_same_share_and_askable_ones_do_not() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut clients = Vec::new();
    for (capabilities, links) in [
        ("{}", 1),
        ("{}", 1),
        (r#"{"experimental":{}}"#, 2),
        (r#"{"experimental":{}}"#, 2),
        (ASKABLE, 3),
        (ASKABLE, 4),
    ] {
        clients.push(Client::legacy_with(&stage, "/s/files/mcp", capabilities).await);
        assert_eq!(server.open_lines(), links, "{capabilities}");
    }
    // What only they used is closed when they leave; what is shared stays for the next one.
    clients.clear();
    settle().await;
    assert_eq!(server.open_lines(), 2);
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_a_client_is_told_so_until_another_leaves() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let mut options = options(&[&server]);
    options.servers.get_mut("files").unwrap().links_max = 1;
    let stage = Stage::with(options);
    let first = Client::legacy_with(&stage, "/s/files/mcp", ASKABLE).await;
    let mut second = Client::new(&stage, "/s/files/mcp");
    let hello = initialize("2025-11-25", ASKABLE);

    let refused = json(&second.asks(&hello).await);
    assert_eq!(refused["error"]["code"], 1005);
    assert_eq!(
        refused["error"]["data"],
        json(r#"{"server":"files","retry":true}"#)
    );
    drop(first);
    settle().await;
    assert!(json(&second.asks(&hello).await)["result"].is_object());
}

#[tokio::test]
async fn at_the_limit_the_longest_idle_link_of_a_client_that_is_not_there_makes_room() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let mut options = options(&[&server]);
    options.servers.get_mut("files").unwrap().links_max = 2;
    let stage = Stage::with(options);
    let web = Web::open(&stage);
    let (busy, idle) = (welcome(&web).await, welcome(&web).await);
    let request = call("1", "x");
    let in_flight = async {
        let headers = [("mcp-session-id", busy.as_str())];
        web.post("/s/files/mcp", &headers, &request).await.text().await
    };
    let others = async {
        let asked = server.hears_of("tools/call").await;
        // Not the busy one, though it has been there for longer.
        let third = welcome(&web).await;
        assert_eq!(asked.line.number, 1);
        let lines = server.greetings().len();
        // Who had to go is served again, on a link of its own and at the expense of the third.
        let headers = [("mcp-session-id", idle.as_str())];
        let again = async {
            loop {
                let answer = web.post("/s/files/mcp", &headers, &call("2", "y")).await;
                let text = answer.text().await;
                if json(&text)["error"]["code"] != 1005 {
                    return text;
                }
            }
        };
        let served = async {
            let theirs = server.hears_of("tools/call").await;
            assert_eq!(theirs.line.number, lines + 1);
            theirs.answer(r#"{"content":["again"]}"#).await;
        };
        let (again, ()) = tokio::join!(again, served);
        assert_eq!(json(&again)["result"]["content"][0], "again");
        assert_ne!(third, idle);
        asked.answer(r#"{"content":["undisturbed"]}"#).await;
    };
    let (answer, ()) = tokio::join!(in_flight, others);
    assert_eq!(json(&answer)["result"]["content"][0], "undisturbed");
    assert_eq!(server.open_lines(), 2);
}

/// A session of a client that can be asked something, as soon as there is room for it: a link that was handed out a
/// moment ago makes none.
async fn welcome(web: &Web) -> String {
    loop {
        let hello = initialize("2025-11-25", ASKABLE);
        let Response { headers, .. } = web.post("/s/files/mcp", &[], &hello).await;
        if let Some(id) = headers.get("mcp-session-id") {
            return id.to_str().unwrap().to_owned();
        }
    }
}

/// Clients that begin a task and are never seen again keep nobody out, and no server busy for a day.
#[tokio::test(start_paused = true)]
async fn tasks_of_clients_that_are_gone_do_not_keep_others_out() {
    let server = Server::legacy("files", crate::tasks::TASKS);
    let mut options = options(&[&server]);
    options.servers.get_mut("files").unwrap().links_max = 2;
    let stage = Stage::with(options);
    let clock = Stopped::clock();
    let web = Web::open(&stage);
    for _ in 0..2 {
        let id = welcome(&web).await;
        let headers = [("mcp-session-id", id.as_str())];
        let request = crate::tasks::request("1", "tools/call", r#"{"name":"x","task":{}}"#);
        let begun = async { web.post("/s/files/mcp", &headers, &request).await.text().await };
        let at_server = async {
            let call = server.hears_of("tools/call").await;
            call.answer(r#"{"task":{"taskId":"t","status":"working","ttl":null}}"#)
                .await;
        };
        let (begun, ()) = tokio::join!(begun, at_server);
        assert!(json(&begun)["result"]["task"].is_object(), "{begun}");
    }
    drop(clock);
    // They are kept for a while, should their clients come back.
    tokio::time::sleep(Duration::from_secs(1_800)).await;
    assert_eq!(server.open_lines(), 2);
    let clock = Stopped::clock();
    let mut is_welcome = false;
    for _ in 0..5_000 {
        let hello = initialize("2025-11-25", ASKABLE);
        let answer = web.post("/s/files/mcp", &[], &hello).await;
        is_welcome = answer.headers.contains_key("mcp-session-id");
        if is_welcome {
            break;
        }
    }
    assert!(is_welcome, "one of them makes room");
    assert_eq!(server.open_lines(), 2);
    drop(clock);
    tokio::time::sleep(Duration::from_secs(3 * 3_600)).await;
    assert_eq!(server.open_lines(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_private_link_is_kept_while_its_client_is_there() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy_with(&stage, "/mcp", ASKABLE).await;
    client.say(&call("1", "files__x")).await;
    server
        .hears_of("tools/call")
        .await
        .answer(r#"{"content":[]}"#)
        .await;
    client.hears().await;
    // Far longer than `idle_timeout`: a server may keep state for its client.
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(server.open_lines(), 1);
    client.say(&call("2", "files__x")).await;
    assert_eq!(server.hears_of("tools/call").await.line.number, 1);
}
