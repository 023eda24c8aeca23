//! How many calls there were, and since when servers are how they are: asked of the gateway, asked of its files, and the same
//! after it was stopped, and after it was killed.

use std::process::Command;

use axiom_tests::child::Running;
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::http::Request;
use axiom_tests::peer::{Peer as _, Session, Stateless};
use axiom_tests::{bed, servers, wait};
use serde_json::{Value, json};

fn config() -> Config {
    Config::new()
        .stdio("everything", &servers::everything().command)
        .stdio("dying", &servers::faulty("dies-mid-call", &[]))
        .stdio("broken", &["false".to_owned()])
        .events("dir = \"events\"")
}

fn stats(gateway: &Gateway) -> Value {
    Request::new("GET", "/api/v1/stats")
        .send(gateway.address())
        .json()
}

/// The statistics as soon as so many calls of tools are in them.
fn counted(gateway: &Gateway, calls: u64) -> Value {
    wait::until("all calls are counted", || {
        let stats = stats(gateway);
        (tool_calls(&stats) == calls).then_some(stats)
    })
}

fn tool_calls(stats: &Value) -> u64 {
    let servers = stats["servers"].as_array().expect("a list");
    let tools = servers
        .iter()
        .flat_map(|server| server["tools"].as_array().expect("a list"));
    tools
        .map(|tool| tool["total"]["calls"].as_u64().expect("a number"))
        .sum()
}

fn server<'a>(stats: &'a Value, name: &str) -> &'a Value {
    let servers = stats["servers"].as_array().expect("a list");
    let found = servers.iter().find(|server| server["server"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {stats}"))
}

fn tool<'a>(stats: &'a Value, of: &str, name: &str) -> &'a Value {
    let tools = server(stats, of)["tools"].as_array().expect("a list");
    let found = tools.iter().find(|tool| tool["tool"] == name);
    found.unwrap_or_else(|| panic!("no {name} in {stats}"))
}

fn axiom(arguments: &[&str]) -> (String, String, Option<i32>) {
    let mut command = Command::new(bed::built("axiom"));
    command.args(arguments).env("NO_COLOR", "1");
    let mut running = Running::start("axiom", &mut command);
    running.stdin = None;
    let (data, talk) = (running.stdout.all().join("\n"), running.stderr.all().join("\n"));
    (data, talk, running.ended().code())
}

/// Counted by `axiom stats` from the files: nobody listens at port 0.
fn from_files(gateway_file: &str) -> Value {
    let (data, talk, code) = axiom(&["stats", "--json", "--config", gateway_file]);
    assert_eq!(code, Some(0), "{talk}");
    serde_json::from_str(&data).unwrap_or_else(|error| panic!("{error} in {data}"))
}

#[test]
fn calls_are_counted_over_restarts_and_deaths() {
    let gateway = Gateway::start(&config());
    let file = gateway.file().display().to_string();
    let folder = gateway.file().parent().expect("it is in a folder").to_owned();
    let mut client = Stateless::new(&gateway.mcp());
    for _ in 0..20 {
        client.call("everything__echo", &json!({ "message": "x" })).text();
    }
    client.call("everything__get-sum", &json!({ "a": "x" }));
    client.call("dying__echo", &json!({ "text": "x" }));
    // At the server's own endpoint it is the same tool.
    let mut session = Session::open(&gateway.server("everything"));
    session.call("echo", &json!({ "message": "x" })).text();

    let first = counted(&gateway, 23);
    assert_eq!(first["recording"], true);
    let echo = tool(&first, "everything", "echo");
    assert_eq!(echo["total"]["outcomes"], json!({ "result": 21 }));
    assert_eq!(echo["total"]["errors"], 0);
    assert_eq!(echo["last_hour"]["calls"], 21);
    let durations = &echo["total"]["duration_us"];
    assert!(durations["p50"].as_u64() > Some(0), "{durations}");
    assert!(
        durations["p50"].as_u64() <= durations["p99"].as_u64(),
        "{durations}"
    );
    assert!(echo["total"]["response_bytes"].as_u64() > Some(21 * 40), "{echo}");
    let failed = tool(&first, "everything", "get-sum");
    assert_eq!(failed["total"]["outcomes"], json!({ "tool_error": 1 }));
    let fault = tool(&first, "dying", "echo");
    assert_eq!(
        (&fault["total"]["errors"], &fault["total"]["outcomes"]),
        (&json!(1), &json!({ "fault": 1 }))
    );
    assert_eq!(first["all"]["total"]["errors"], 2);
    let at_least = format!("/api/v1/stats?at_least={}", first["position"]);
    let again = Request::new("GET", &at_least).send(gateway.address()).json();
    assert_eq!(tool_calls(&again), 23);

    let beside = from_files(&file);
    assert_eq!(tool(&beside, "everything", "echo")["total"], echo["total"]);
    gateway.stop();
    let alone = from_files(&file);
    assert_eq!(tool(&alone, "everything", "echo")["total"], echo["total"]);

    let gateway = Gateway::start_in(&folder);
    let second = counted(&gateway, 23);
    assert_eq!(tool(&second, "everything", "echo")["total"], echo["total"]);
    wait::until("the log knows that another one has begun", || {
        let started = stats(&gateway)["gateway_started_ms"].as_u64();
        (started > first["gateway_started_ms"].as_u64()).then_some(())
    });
    let mut client = Stateless::new(&gateway.mcp());
    for _ in 0..5 {
        client.call("everything__echo", &json!({ "message": "x" })).text();
    }
    counted(&gateway, 28);
    gateway.kill();

    let gateway = Gateway::start_in(&folder);
    let third = counted(&gateway, 28);
    assert_eq!(tool(&third, "everything", "echo")["total"]["calls"], 26);
    assert_eq!(third["since_ms"], first["since_ms"]);
    let (data, _, code) = axiom(&["stats", "--config", &file]);
    assert_eq!(code, Some(0));
    let row = data.lines().find(|line| line.starts_with("everything  echo "));
    let row: Vec<&str> = row
        .unwrap_or_else(|| panic!("no row in {data}"))
        .split_whitespace()
        .collect();
    assert_eq!(&row[..4], ["everything", "echo", "26", "0"]);
    let (tail, _, _) = axiom(&["events", "tail", "-n", "1000", "--config", &file]);
    assert!(
        !tail.contains("$projection"),
        "what is kept for counting is not what happened: {tail}"
    );
}

/// What was counted is kept in the log, too: in whatever tier that is by now, and when all that was counted is retired.
#[test]
fn numbers_outlive_the_events_that_they_were_counted_from() {
    let config = |retention: &str| {
        Config::new()
            .stdio("everything", &servers::everything().command)
            .events(&format!("dir = \"events\"\n[events.retention]\n{retention}"))
    };
    let gateway = Gateway::start(&config("hot = \"1s\""));
    let file = gateway.file().display().to_string();
    let folder = gateway.file().parent().expect("it is in a folder").to_owned();
    let mut client = Stateless::new(&gateway.mcp());
    for _ in 0..20 {
        client.call("everything__echo", &json!({ "message": "x" })).text();
    }
    let first = counted(&gateway, 20);
    let numbers = |stats: &Value| {
        let total = tool(stats, "everything", "echo")["total"].clone();
        (total, stats["since_ms"].clone(), stats["lost"].clone())
    };
    let kept = numbers(&first);
    wait::until("all that happened is warm", || {
        let (tiers, _, _) = axiom(&["events", "tiers", "--json", "--config", &file]);
        let rows = tiers
            .lines()
            .map(|row| serde_json::from_str::<Value>(row).expect("it is JSON"));
        let hot = rows.into_iter().find(|row| row["tier"] == "hot");
        hot.is_some_and(|hot| hot["events"] == 0).then_some(())
    });
    assert_eq!(numbers(&from_files(&file)), kept, "beside it");
    gateway.stop();
    assert_eq!(numbers(&from_files(&file)), kept, "without it");

    let gateway = Gateway::start_in(&folder);
    assert_eq!(numbers(&counted(&gateway, 20)), kept, "by the next one");
    gateway.rewrite(&config("hot = \"1s\"\ndelete = \"2s\""));
    wait::until("the calls themselves are gone", || {
        let calls = axiom(&[
            "events",
            "export",
            "--filter",
            "method=tools/call",
            "--config",
            &file,
        ]);
        (calls.2 == Some(0) && calls.0.is_empty()).then_some(())
    });
    assert_eq!(
        numbers(&stats(&gateway)),
        kept,
        "nothing was counted twice or forgotten"
    );
    assert_eq!(numbers(&from_files(&file)), kept, "beside it, from what is left");
    gateway.stop();
    assert_eq!(numbers(&from_files(&file)), kept, "without it, from what is left");

    let gateway = Gateway::start_in(&folder);
    assert_eq!(
        numbers(&counted(&gateway, 20)),
        kept,
        "by the next one, from what is left"
    );
    let mut client = Stateless::new(&gateway.mcp());
    for _ in 0..5 {
        client.call("everything__echo", &json!({ "message": "x" })).text();
    }
    let last = counted(&gateway, 25);
    assert_eq!(tool(&last, "everything", "echo")["total"]["calls"], 25);
}

#[test]
fn servers_are_how_they_are_since_they_became_so() {
    let gateway = Gateway::start(&config());
    let folder = gateway.file().parent().expect("it is in a folder").to_owned();
    let known = |gateway: &Gateway, name: &str, state: &str| {
        wait::until("the log knows since when", || {
            let status = gateway.status(name);
            let since = status["since_ms"].as_u64().filter(|_| status["state"] == state);
            since.map(|since| (since, status))
        })
    };
    let (up, _) = known(&gateway, "everything", "up");
    let (down, _) = known(&gateway, "broken", "down");
    let mut client = Stateless::new(&gateway.mcp());
    client.call("dying__echo", &json!({ "text": "x" }));
    let (_, died) = known(&gateway, "dying", "down");
    assert_eq!(died["restarts"], 0);
    wait::until("it comes up again", || {
        client.ask("tools/list", "{}").bytes();
        let status = gateway.status("dying");
        (status["state"] == "up" && status["restarts"] == 1).then_some(())
    });
    assert!(gateway.status("dying")["last_failure"].is_string());
    gateway.stop();

    let gateway = Gateway::start_in(&folder);
    let (up_again, _) = known(&gateway, "everything", "up");
    assert!(up_again > up, "connections do not outlive a gateway");
    let (still_down, _) = known(&gateway, "broken", "down");
    assert_eq!(still_down, down, "it was down all the time");
}

#[test]
fn without_events_it_says_how_to_turn_them_on() {
    let gateway = Gateway::start(&Config::new().stdio("everything", &servers::everything().command));
    let stats = stats(&gateway);
    assert_eq!(stats["recording"], false);
    assert!(
        stats["hint"]
            .as_str()
            .is_some_and(|hint| hint.contains("[events]")),
        "{stats}"
    );
    assert!(gateway.status("everything").get("since_ms").is_none());
    let file = gateway.file().display().to_string();
    let (data, talk, code) = axiom(&["stats", "--config", &file]);
    assert_eq!((data.as_str(), code), ("", Some(3)));
    assert!(talk.contains("hint: add a section [events]"), "{talk}");
}
