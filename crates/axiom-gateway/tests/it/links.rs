//! Who shares a connection to a server, how many there may be, and when one is closed.

use std::time::Duration;

use crate::client::{Client, call, initialize};
use crate::server::Server;
use crate::stage::{Stage, json, options, settle};

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
