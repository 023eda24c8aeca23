//! Servers come, change and go while the gateway runs, by editing its file.

use axiom_tests::config::{Config, put};
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{Peer as _, Session};
use axiom_tests::{bed, servers, wait};
use serde_json::json;

fn echo() -> Config {
    Config::new().stdio("first", &servers::everything().command)
}

fn dual() -> Vec<String> {
    servers::dual_stdio()
}

/// The names of all tools, as a new session sees them.
fn tools(gateway: &Gateway) -> Vec<String> {
    let tools = Session::open(&gateway.mcp()).ask("tools/list", "{}").value();
    let names = tools["tools"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|tool| tool["name"].as_str().expect("a tool has a name").to_owned());
    names.collect()
}

fn has(gateway: &Gateway, tool: &str) -> bool {
    tools(gateway).iter().any(|name| name == tool)
}

#[test]
fn a_server_is_added_and_taken_away() {
    let gateway = Gateway::start(&echo());
    let mut session = Session::open(&gateway.mcp());
    assert!(has(&gateway, "first__echo") && !has(&gateway, "second__test_simple_text"));

    gateway.rewrite(&echo().stdio("second", &dual()));
    wait::until("the new server's tools are listed", || {
        has(&gateway, "second__test_simple_text").then_some(())
    });
    let reply = session.call("second__test_simple_text", &json!({}));
    assert_eq!(
        reply.text(),
        "This is a simple text response for testing.",
        "a session from before can use it"
    );

    gateway.rewrite(&echo());
    wait::until("its tools are gone", || {
        (!has(&gateway, "second__test_simple_text")).then_some(())
    });
    let reply = session.call("second__test_simple_text", &json!({}));
    assert_eq!(
        reply.code(),
        -32602,
        "its tools are unknown now: {}",
        reply.message()
    );
    assert_eq!(
        session.call("first__echo", &json!({ "message": "on" })).text(),
        "Echo: on"
    );
}

#[test]
fn a_changed_server_is_started_anew() {
    let folder = bed::scratch("reload");
    let command = |name: &str| {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).unwrap();
        let script = bed::npm("@modelcontextprotocol/server-filesystem/dist/index.js");
        vec![bed::node(), script, folder.display().to_string()]
    };
    let gateway = Gateway::start(&Config::new().stdio("files", &command("before")));
    let allowed = || {
        let reply = Session::open(&gateway.server("files")).call("list_allowed_directories", &json!({}));
        reply.result.is_some().then(|| reply.text())
    };
    assert!(allowed().expect("it answers").contains("before"));

    gateway.rewrite(&Config::new().stdio("files", &command("after")));
    wait::until("it serves the other folder", || {
        allowed().filter(|text| text.contains("after"))
    });
}

#[test]
fn an_invalid_file_keeps_the_last_good_one_and_says_why() {
    let gateway = Gateway::start(&echo());
    let mut session = Session::open(&gateway.mcp());
    for (text, why) in [
        ("[gateway\n", "axiom.toml"),
        ("[servers.first]\ncomand = [\"true\"]\n", "comand"),
        ("[gateway]\nprefix = \"sometimes\"\n", "sometimes"),
    ] {
        let from = gateway.stderr().len();
        put(gateway.file(), text);
        gateway
            .stderr()
            .wait_from(from, &format!("the gateway complains about {why}"), |line| {
                line.contains(why)
            });
        assert_eq!(
            session.call("first__echo", &json!({ "message": "on" })).text(),
            "Echo: on"
        );
    }

    gateway.rewrite(&echo().stdio("second", &dual()));
    wait::until("the repaired file counts", || {
        has(&gateway, "second__test_simple_text").then_some(())
    });
}
