//! A server that is restarted has forgotten its sessions. The gateway opens a new one and repeats what means the same
//! there; anything else is left to the client, who is told what is known. No tool ever runs twice.

use std::path::{Path, PathBuf};

use axiom_tests::child::Running;
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{Peer as _, Reply, Session, finish, message, split};
use axiom_tests::{bed, servers, wait};
use rustix::process::Signal;
use serde_json::json;

/// `UPSTREAM_SESSION_LOST` and `UPSTREAM_DIED` of the gateway's own codes.
const SESSION_LOST: i64 = 1012;
const DIED: i64 = 1003;

struct Forgetful {
    server: Running,
    port: u16,
    effects: PathBuf,
    status: u16,
    gateway: Gateway,
}

impl Forgetful {
    fn start(status: u16, options: &[&str]) -> Self {
        let effects = bed::scratch("forgetful").join("effects");
        let (server, url) = servers::forgetful(0, &effects, status);
        let config = options
            .iter()
            .fold(Config::new().url("shop", &url), |config, line| {
                config.with("shop", line)
            });
        Forgetful {
            server,
            port: split(&url).0.port(),
            effects,
            status,
            gateway: Gateway::start(&config),
        }
    }

    /// Nothing but the file of effects outlasts this.
    fn restart(&mut self) {
        self.server.stop();
        (self.server, _) = servers::forgetful(self.port, &self.effects, self.status);
    }

    /// How often a tool ran.
    fn ran(&self, tool: &str) -> usize {
        ran(&self.effects, tool)
    }
}

fn ran(effects: &Path, tool: &str) -> usize {
    let lines = std::fs::read_to_string(effects).unwrap_or_default();
    lines.lines().filter(|line| *line == tool).count()
}

fn call(session: &mut Session, tool: &str) -> Reply {
    session.call(tool, &json!({}))
}

/// The error says who, what happened to the call and what to do.
fn is_lost(reply: &Reply, status: u16) {
    assert_eq!(reply.code(), SESSION_LOST, "{:?}", reply.error);
    let said = reply.message();
    for part in ["'shop'", &status.to_string(), "was not executed", "send it again"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let data = reply.error.as_ref().map(|error| &error["data"]);
    assert_eq!(data, Some(&json!({ "server": "shop", "retry": false })));
}

#[test]
fn what_relies_on_nothing_is_repeated() {
    for status in [404, 400] {
        let mut shop = Forgetful::start(status, &[]);
        let mut session = Session::open(&shop.gateway.server("shop"));
        assert_eq!(call(&mut session, "pay").text(), "pay done");
        shop.restart();
        let read = session.ask("resources/read", r#"{"uri":"note://1"}"#).value();
        assert_eq!(read["contents"][0]["text"], "noted");
        shop.restart();
        let tools = session.ask("tools/list", "{}").value();
        assert_eq!(tools["tools"].as_array().unwrap().len(), 5);
        shop.restart();
        // The error of a server that knows the session again is its own.
        assert_eq!(
            session.ask("resources/read", r#"{"uri":"note://2"}"#).code(),
            -32602
        );
        assert_eq!(call(&mut session, "pay").text(), "pay done");
        assert_eq!(shop.ran("pay"), 2);
    }
}

#[test]
fn a_call_is_left_to_the_client() {
    for status in [404, 400] {
        let mut shop = Forgetful::start(status, &[]);
        let mut session = Session::open(&shop.gateway.server("shop"));
        assert_eq!(call(&mut session, "pay").text(), "pay done");
        for tool in ["pay", "look", "set", "push"] {
            shop.restart();
            let before = shop.ran(tool);
            is_lost(&call(&mut session, tool), status);
            assert_eq!(shop.ran(tool), before, "{tool} was not run");
            // The session is open again.
            assert_eq!(call(&mut session, tool).text(), format!("{tool} done"));
            assert_eq!(shop.ran(tool), before + 1);
        }
    }
}

#[test]
fn a_trusted_server_says_which_calls_may_be_repeated() {
    let mut shop = Forgetful::start(404, &["trust_annotations = true"]);
    let mut session = Session::open(&shop.gateway.mcp());
    assert_eq!(call(&mut session, "shop__pay").text(), "pay done");
    for tool in ["look", "set"] {
        shop.restart();
        let reply = call(&mut session, &format!("shop__{tool}"));
        assert_eq!(reply.text(), format!("{tool} done"));
        assert_eq!(shop.ran(tool), 1, "{tool} ran once");
    }
    for tool in ["pay", "push"] {
        shop.restart();
        let before = shop.ran(tool);
        is_lost(&call(&mut session, &format!("shop__{tool}")), 404);
        assert_eq!(shop.ran(tool), before, "{tool} was not run");
    }
}

/// Whoever is under way when the server ends may have taken effect. It is never sent again.
#[test]
fn a_call_under_way_is_not_repeated() {
    let mut shop = Forgetful::start(404, &["trust_annotations = true"]);
    let mut session = Session::open(&shop.gateway.server("shop"));
    let calling = std::thread::spawn(move || {
        let reply = call(&mut session, "hang");
        (session, reply)
    });
    let effects = shop.effects.clone();
    wait::until("the call is under way", || {
        (ran(&effects, "hang") == 1).then_some(())
    });
    shop.server.signal(Signal::KILL);
    let (mut session, reply) = calling.join().unwrap();
    assert_eq!(reply.code(), DIED, "{:?}", reply.error);
    let said = reply.message();
    assert!(
        said.contains("'shop'") && said.contains("may or may not"),
        "{said}"
    );
    shop.restart();
    assert!(session.ask("tools/list", "{}").result.is_some());
    assert_eq!(shop.ran("hang"), 1);
}

/// The stream of a call can be taken up again, but not at a server that has forgotten the session.
#[test]
fn a_stream_that_cannot_be_resumed() {
    let (server, url) = servers::dual_http();
    let gateway = Gateway::start(&Config::new().url("shop", &url));
    let session = Session::open(&gateway.server("shop"));
    let slow = json!({ "name": "test_slow", "arguments": {}, "_meta": { "progressToken": "p" } });
    let mut answer = session.send(&session.request(message("7", "tools/call", &slow.to_string())));
    let progress = answer.next_message().expect("the call reports once");
    assert!(progress.contains("notifications/progress"), "{progress}");
    server.signal(Signal::KILL);
    let (_server, _) = servers::dual_http_on(split(&url).0.port());
    let reply = finish("7", &mut answer);
    assert_eq!(reply.code(), DIED, "{:?}", reply.error);
    assert!(reply.message().contains("may or may not"), "{}", reply.message());
    // The loss is known by now: the next call does not have to meet it.
    let params = r#"{"name":"test_simple_text","arguments":{}}"#;
    assert!(session.ask_as("8", "tools/call", params).result.is_some());
}

/// A server that has a stream for news is found to have forgotten the session before the next call meets it.
#[test]
fn the_loss_is_noticed_between_calls() {
    let (mut server, url) = servers::dual_http();
    let gateway = Gateway::start(&Config::new().url("shop", &url));
    let mut session = Session::open(&gateway.server("shop"));
    assert!(call(&mut session, "test_simple_text").result.is_some());
    let port = split(&url).0.port();
    // Another connection, without a session, may be there for the server's news.
    let is_up = |line: &str| line.contains("server is up") && line.contains("2025-11-25");
    let (before, _) = gateway.stderr().wait_from(0, "the first session", is_up);
    server.stop();
    let (_server, _) = servers::dual_http_on(port);
    gateway.stderr().wait_from(before + 1, "another session", is_up);
    assert!(call(&mut session, "test_simple_text").result.is_some());
}
