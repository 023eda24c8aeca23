//! The gateway starts processes for its servers. None of them outlives it, however it ends.

use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{Peer as _, Session};
use axiom_tests::process::{self, Process};
use axiom_tests::{servers, wait};
use serde_json::json;

/// Servers that are started by a shell, as `npx` and `uvx` do it: the gateway's child is not the server itself.
fn config() -> Config {
    let wrapped = |command: &[String]| {
        let line = command
            .iter()
            .map(|part| format!("'{part}'"))
            .collect::<Vec<_>>()
            .join(" ");
        // A second command keeps the shell from becoming the server.
        vec!["sh".to_owned(), "-c".to_owned(), format!("{line}; exit $?")]
    };
    Config::new()
        .stdio("plain", &servers::everything().command)
        .stdio("wrapped", &wrapped(&servers::everything().command))
        .stdio("dual", &servers::dual_stdio())
}

fn started() -> (Gateway, Vec<Process>) {
    let gateway = Gateway::start(&config());
    let mut session = Session::open(&gateway.mcp());
    for server in ["plain", "wrapped"] {
        let reply = session.call(&format!("{server}__echo"), &json!({ "message": server }));
        assert_eq!(reply.text(), format!("Echo: {server}"));
    }
    let reply = session.call("dual__test_simple_text", &json!({}));
    assert_eq!(reply.text(), "This is a simple text response for testing.");
    let processes = process::descendants(gateway.pid());
    assert!(processes.len() >= 4, "three servers and a shell: {processes:?}");
    (gateway, processes)
}

#[test]
fn a_stopped_gateway_leaves_nothing_behind() {
    let (gateway, processes) = started();
    let status = gateway.stop();
    assert!(status.success(), "it ends with {status}");
    assert_eq!(
        names(&process::alive(&processes)),
        Vec::<String>::new(),
        "it waits for its children to end"
    );
}

/// Nothing can be cleaned up by a process that is killed; its servers see the end of their input.
#[test]
fn a_killed_gateway_leaves_nothing_behind_for_long() {
    let (gateway, processes) = started();
    gateway.kill();
    wait::until("the servers of the killed gateway end", || {
        process::alive(&processes).is_empty().then_some(())
    });
}

#[test]
fn a_server_that_is_taken_away_ends() {
    let (gateway, processes) = started();
    gateway.rewrite(&config().without("wrapped").without("dual"));
    wait::until("two servers and a shell end", || {
        (process::alive(&processes).len() == 1).then_some(())
    });
    let mut session = Session::open(&gateway.mcp());
    assert_eq!(
        session.call("plain__echo", &json!({ "message": "on" })).text(),
        "Echo: on"
    );
    let zombies = process::descendants(gateway.pid())
        .into_iter()
        .filter(|process| process.state == 'Z')
        .count();
    assert_eq!(zombies, 0);
}

fn names(processes: &[Process]) -> Vec<String> {
    processes
        .iter()
        .map(|process| format!("{} {}", process.pid, process.name))
        .collect()
}
