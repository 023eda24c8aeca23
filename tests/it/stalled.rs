//! What a gateway holds in memory while clients never stop, what they say is recorded in full, and whoever reads it stalls.

use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use axiom_testkit::echo::Eras;
use axiom_testkit::echo_http::{EchoServer, Options};
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::http::{Request, connect};
use axiom_tests::peer::{Peer as _, Stateless};
use axiom_tests::{bed, process, wait};
use serde_json::json;

use crate::events::{folder, noise};

/// What docs/guide/events.md says that recording holds, whatever happens; and what a reader does.
const HELD_KIB: u64 = 128 << 10;
const CLIENTS: u64 = 4;
/// What they say, and the server says again, is half more than may be held.
const CALLS: u64 = 400;
/// A body of a call is cut at 64 KiB.
const LETTERS: u64 = 20_000;
/// Texts of a client, which it says in turn. A block of the log has fewer, so they do not compress.
const TEXTS: u64 = 16;
/// Others who ask for the log and do not read it. Each has an answer of 8 MiB.
const COPIES: usize = 4;

/// A program whose output nobody reads. Dropping it ends it.
struct Stalled(Child);

impl Stalled {
    fn start(arguments: &[&str]) -> Stalled {
        let child = Command::new(bed::built("axiom"))
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn();
        Stalled(child.expect("it starts"))
    }
}

impl Drop for Stalled {
    fn drop(&mut self) {
        // It may have ended by itself, which the test has noticed.
        let _killed = self.0.kill().is_ok();
        let _waited = self.0.wait().is_ok();
    }
}

#[test]
fn readers_that_stall_and_clients_that_never_stop_cost_a_bounded_memory() {
    let server = EchoServer::start(Options {
        eras: Eras::Modern,
        sessions: false,
        tools: 3,
    });
    let server = server.expect("a port is free");
    let config = Config::new()
        .url("echo", &server.url())
        .events("dir = \"events\"")
        .events("bodies = \"full\"");
    let gateway = Gateway::start(&config);
    work(&gateway, 4);
    let before = gateway.rss_kib();

    let dir = folder(&gateway).display().to_string();
    let mut tail = Stalled::start(&["events", "tail", "-n", "1000000", "-f", "--dir", &dir]);
    // A copy of the log that is asked for and not read.
    let blocks = Request::new("GET", "/api/v1/events/blocks?from=0");
    let copies: Vec<_> = (0..COPIES)
        .map(|_| {
            let mut copy = connect(gateway.address()).expect("the gateway listens");
            let request = blocks.bytes(gateway.address());
            copy.write_all(&request).expect("the gateway reads");
            copy
        })
        .collect();
    work(&gateway, CALLS);

    wait::until("all calls are recorded", || {
        let shard = Request::new("GET", "/api/v1/events/shard")
            .send(gateway.address())
            .json();
        (shard["end_offset"].as_u64() >= Some(CLIENTS * CALLS)).then_some(())
    });
    let taken = gateway.peak_rss_kib().saturating_sub(before);
    assert!(
        taken < HELD_KIB,
        "{} MiB beyond {} MiB",
        taken >> 10,
        before >> 10
    );
    assert!(
        tail.0.try_wait().is_ok_and(|ended| ended.is_none()),
        "it still waits to be read"
    );
    let reader = process::peak_rss_kib(tail.0.id());
    assert!(reader < HELD_KIB, "{} MiB", reader >> 10);
    eprintln!(
        "gateway {} MiB beyond {} MiB, reader {} MiB",
        taken >> 10,
        before >> 10,
        reader >> 10
    );
    drop(copies);
}

/// Calls with texts that do not compress, from several clients at once, each as fast as it is answered.
fn work(gateway: &Gateway, calls: u64) {
    let text = |seed: u64| -> String { (0..LETTERS).map(|letter| noise((seed << 32) | letter)).collect() };
    std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            scope.spawn(move || {
                let texts: Vec<String> = (0..TEXTS).map(|n| text(client * TEXTS + n)).collect();
                let mut peer = Stateless::new(&gateway.mcp());
                for text in texts.iter().cycle().zip(0..calls).map(|(text, _)| text) {
                    let reply = peer.call("echo__echo", &json!({ "text": text }));
                    assert!(reply.bytes().len() > text.len(), "it says it again");
                }
            });
        }
    });
}
