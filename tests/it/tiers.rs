//! Events that are no longer hot: moved by a running gateway, read with `axiom events` from wherever they are.

use std::process::Command;

use axiom_tests::child::Running;
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{Peer as _, Stateless};
use axiom_tests::{bed, servers, wait};
use serde_json::{Value, json};

fn axiom(gateway: &Gateway, arguments: &[&str]) -> (Vec<String>, String, Option<i32>) {
    let file = gateway.file().display().to_string();
    let mut command = Command::new(bed::built("axiom"));
    command
        .args(arguments)
        .args(["--config", &file])
        .env("NO_COLOR", "1");
    let mut running = Running::start("axiom", &mut command);
    running.stdin = None;
    let data = running.stdout.all();
    let talk = running.stderr.all().join("\n");
    (data, talk, running.ended().code())
}

fn rows(gateway: &Gateway, arguments: &[&str]) -> Vec<Value> {
    let (data, talk, code) = axiom(gateway, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {talk}");
    data.iter()
        .map(|line| serde_json::from_str(line).expect("it is JSON"))
        .collect()
}

/// Files of a tier.
fn files(gateway: &Gateway, tier: &str) -> u64 {
    let tiers = rows(gateway, &["events", "tiers", "--json"]);
    let row = tiers.iter().find(|row| row["tier"] == tier);
    row.map_or(0, |row| row["files"].as_u64().expect("a number"))
}

#[test]
fn a_running_gateway_moves_events_on_and_everything_reads_them_there() {
    let archive = bed::scratch("archive");
    let store = format!("file://{}", archive.display());
    let config = Config::new()
        .stdio("everything", &servers::everything().command)
        .events(&format!(
            "dir = \"events\"\nstore = \"{store}\"\n[events.retention]\nhot = \"1s\"\nwarm = \"2s\""
        ));
    let gateway = Gateway::start(&config);
    let mut client = Stateless::new(&gateway.mcp());
    let mut calls = 0;
    let mut call = || {
        client.call("everything__echo", &json!({ "message": "x" }));
        calls += 1;
    };
    wait::until("something is cold while calls go on", || {
        call();
        (files(&gateway, "cold") > 0).then_some(())
    });
    // And when they do not.
    wait::until("the last call is cold", || {
        let tiers = rows(&gateway, &["events", "tiers", "--json"]);
        let is_cold = |row: &Value| row["tier"] == "cold" || row["events"] == 0;
        tiers.iter().all(is_cold).then_some(())
    });
    let cold = std::fs::read_dir(archive.join("shard-00000")).expect("it is made with the first object");
    assert!(cold.count() > 0);
    let found = wait::until("all calls are there", || {
        let found = rows(&gateway, &["events", "export", "--filter", "method=tools/call"]);
        (found.len() >= calls).then_some(found)
    });
    assert_eq!(found.len(), calls, "each of them once");
    let newest = rows(
        &gateway,
        &[
            "events",
            "tail",
            "--json",
            "-n",
            "1000000",
            "--filter",
            "method=tools/call",
        ],
    );
    assert_eq!(newest, found, "backwards it is the same");
    let (verdict, talk, code) = axiom(&gateway, &["events", "verify"]);
    assert_eq!(code, Some(0), "{verdict:?} {talk}");
    assert!(verdict[0].contains("warm and cold files"), "{verdict:?}");
}

#[test]
fn a_store_that_is_named_while_the_gateway_runs_deletes_nothing() {
    let archive = bed::scratch("archive");
    let config = |more: &str| {
        Config::new()
            .stdio("everything", &servers::everything().command)
            .events(&format!("dir = \"events\"\n{more}"))
    };
    let gateway = Gateway::start(&config("[events.retention]\nhot = \"1s\""));
    let mut client = Stateless::new(&gateway.mcp());
    let mut calls = 0;
    // Calls go on until there are more warm files.
    let mut until_more_is_warm = || {
        let before = files(&gateway, "warm");
        wait::until("more is warm", || {
            client.call("everything__echo", &json!({ "message": "x" }));
            calls += 1;
            (files(&gateway, "warm") > before).then_some(())
        });
    };
    until_more_is_warm();
    gateway.rewrite(&config(&format!(
        "store = \"file://{}\"\n[events.retention]\nhot = \"1s\"\nwarm = \"1s\"",
        archive.display()
    )));
    gateway.stderr().wait("it says what it does", |line| {
        line.contains("events.store needs a restart")
    });
    // Each time everything was looked at, with what is older than a second.
    until_more_is_warm();
    until_more_is_warm();
    let found = rows(&gateway, &["events", "export", "--filter", "method=tools/call"]);
    assert_eq!(found.len(), calls, "all of them are there");
}

#[test]
fn holds_are_added_listed_and_removed_beside_a_running_gateway() {
    let config = Config::new()
        .stdio("everything", &servers::everything().command)
        .events("dir = \"events\"");
    let gateway = Gateway::start(&config);
    let (data, talk, code) = axiom(
        &gateway,
        &[
            "events",
            "hold",
            "add",
            "--tenant",
            "acme",
            "--from",
            "2026-07-01",
            "--reason",
            "case 17",
        ],
    );
    assert_eq!(
        (data.as_slice(), code),
        (["1".to_owned()].as_slice(), Some(0)),
        "{talk}"
    );
    let held = rows(&gateway, &["events", "hold", "list", "--json"]);
    assert_eq!(held.len(), 1);
    let told = |kind: &str| {
        let filter = format!("kind={kind}");
        wait::until("the log says who did that", || {
            rows(&gateway, &["events", "export", "--filter", &filter]).pop()
        })
    };
    let hold = told("axiom.hold");
    let body = |event: &Value| [event["body"]["reason"].clone(), event["body"]["by"].clone()];
    assert_eq!(body(&hold), [json!("case 17"), held[0]["by"].clone()]);
    assert_eq!(
        (&held[0]["tenant"], &held[0]["reason"]),
        (&json!("acme"), &json!("case 17"))
    );
    assert_eq!(held[0]["from"], "2026-07-01T00:00:00.000000000Z");
    let (_, talk, code) = axiom(&gateway, &["events", "hold", "add", "--reason", "x"]);
    assert_eq!(code, Some(2), "{talk}");
    assert!(talk.contains("--everything"), "{talk}");
    let (_, talk, code) = axiom(&gateway, &["events", "hold", "remove", "1"]);
    assert_eq!(code, Some(0), "{talk}");
    let (_, talk, code) = axiom(&gateway, &["events", "hold", "remove", "1"]);
    assert_eq!(code, Some(3), "{talk}");
    assert!(rows(&gateway, &["events", "hold", "list", "--json"]).is_empty());
    assert_eq!(body(&told("axiom.released")), body(&hold));
}
