//! Servers that fail in each way that servers fail: the client gets one clear error that names the server, never an
//! empty success, and nobody else notices.

use std::time::Instant;

use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{Peer as _, Reply, Session};
use axiom_tests::servers;
use serde_json::json;

/// A faulty server `broken` beside a sound one.
fn gateway(fault: &str, arguments: &[&str]) -> Gateway {
    let config = Config::new()
        .stdio("broken", &servers::faulty(fault, arguments))
        .with("broken", "call_timeout = \"2s\"")
        .with("broken", "start_timeout = \"5s\"")
        .stdio("sound", &servers::everything().command);
    Gateway::start(&config)
}

fn call_broken(session: &mut Session) -> Reply {
    session.call("broken__echo", &json!({ "message": "x", "text": "x" }))
}

fn sound_answers(session: &mut Session) {
    assert_eq!(
        session.call("sound__echo", &json!({ "message": "on" })).text(),
        "Echo: on"
    );
}

/// A call fails, by an error that names the server; the server beside it goes on.
fn fails_clearly(fault: &str, arguments: &[&str]) -> Reply {
    let gateway = gateway(fault, arguments);
    let mut session = Session::open(&gateway.mcp());
    sound_answers(&mut session);
    let reply = call_broken(&mut session);
    assert_eq!(reply.result, None, "{fault}: never a success");
    let message = reply.message();
    assert!(
        message.contains("broken"),
        "{fault}: the error names the server: {message}"
    );
    sound_answers(&mut session);
    let again = call_broken(&mut session);
    assert!(
        again.message().contains("broken"),
        "{fault}: the second call fails as clearly"
    );
    reply
}

#[test]
fn a_server_that_dies_mid_call() {
    fails_clearly("dies-mid-call", &[]);
}

#[test]
fn a_server_that_never_answers() {
    let start = Instant::now();
    fails_clearly("never-answers", &[]);
    assert!(
        start.elapsed().as_secs() < 40,
        "the call timeout of 2 s ends the wait"
    );
}

#[test]
fn a_server_that_answers_garbage() {
    fails_clearly("garbage", &[]);
}

#[test]
fn a_server_that_answers_under_a_wrong_id() {
    fails_clearly("wrong-id", &[]);
}

#[test]
fn a_server_whose_answer_is_too_long() {
    let gateway = gateway("huge-line", &["--huge-bytes", "83886080"]);
    let mut session = Session::open(&gateway.mcp());
    sound_answers(&mut session);
    let before = gateway.rss_kib();
    let reply = call_broken(&mut session);
    assert_eq!(reply.result, None, "80 MiB are over the limit");
    assert!(reply.message().contains("broken"), "{}", reply.message());
    let grown_mib = gateway.peak_rss_kib().saturating_sub(before) / 1024;
    assert!(grown_mib < 80, "the line is not held whole: {grown_mib} MiB");
    sound_answers(&mut session);
}

#[test]
fn a_server_that_claims_a_revision_that_does_not_exist() {
    fails_clearly("lies-about-revision", &[]);
}

#[test]
fn a_server_that_dies_when_it_is_probed() {
    let gateway = gateway("dies-when-probed", &[]);
    let mut session = Session::open(&gateway.mcp());
    let reply = call_broken(&mut session);
    assert!(
        reply.result.is_some(),
        "it is started again and not probed a second time: {:?}",
        reply.error
    );
    sound_answers(&mut session);
}

#[test]
fn a_server_that_floods_its_stderr() {
    let gateway = gateway("floods-stderr", &[]);
    let mut session = Session::open(&gateway.mcp());
    let before = gateway.rss_kib();
    for _ in 0..20 {
        let reply = call_broken(&mut session);
        assert!(
            reply.result.is_some(),
            "what it says on stderr is not in the way: {:?}",
            reply.error
        );
    }
    let grown_mib = gateway.peak_rss_kib().saturating_sub(before) / 1024;
    assert!(grown_mib < 20, "only the last lines are kept: {grown_mib} MiB");
}

/// One bad server never hides the others, and what is wrong with it can be seen.
#[test]
fn a_server_that_cannot_be_started() {
    let missing = vec!["there-is-no-such-program-anywhere".to_owned()];
    let config = Config::new()
        .stdio("broken", &missing)
        .stdio("sound", &servers::everything().command);
    let gateway = Gateway::start(&config);
    let mut session = Session::open(&gateway.mcp());
    sound_answers(&mut session);
    let tools = session.ask("tools/list", "{}").value();
    let names: Vec<_> = tools["tools"]
        .as_array()
        .unwrap()
        .iter()
        .map(|tool| tool["name"].to_string())
        .collect();
    assert!(
        names.iter().all(|name| name.starts_with("\"sound__")),
        "{names:?}"
    );
    let status = axiom_tests::http::Request::new("GET", "/api/v1/servers")
        .send(gateway.address())
        .json();
    let text = status.to_string();
    assert!(
        text.contains("there-is-no-such-program-anywhere"),
        "the error can be seen: {text}"
    );
}
