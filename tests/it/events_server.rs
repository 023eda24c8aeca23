//! The built-in server `events`: there only where it was asked for, the same for clients of both eras, and what it answers is
//! what the log holds.

use std::sync::mpsc;

use axiom_tests::client::{Client, Way};
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{Peer, Session, Stateless};
use axiom_tests::{bed, process, servers, wait};
use serde_json::{Value, json};

use crate::events::{axiom, export, folder, recorded};

const CALLS: &str = "method=tools/call server=everything";

fn config() -> Config {
    Config::new()
        .stdio("everything", &servers::everything().command)
        .events("dir = \"events\"\nbodies = \"full\"")
}

fn names(client: &mut dyn Peer) -> Vec<String> {
    let tools = client.ask("tools/list", "{}").value();
    let tools = tools["tools"].as_array().expect("a list").clone();
    tools
        .iter()
        .filter_map(|tool| Some(tool["name"].as_str()?.to_owned()))
        .collect()
}

#[test]
fn it_is_there_only_where_it_was_asked_for() {
    let gateway = Gateway::start(&config());
    let is_there = |url: &str| {
        let names = names(&mut Stateless::new(url));
        names.iter().any(|name| name.starts_with("events__"))
    };
    assert!(!is_there(&gateway.mcp()));
    gateway.rewrite(
        &config()
            .events("mcp = true")
            .view("with", "include = [\"events.tail\"]")
            .view("without", "include = [\"everything.*\"]"),
    );
    gateway
        .stderr()
        .wait_from(0, "the change is told", |line| line.contains("events"));
    wait::until("it is there", || is_there(&gateway.mcp()).then_some(()));
    assert!(!is_there(&gateway.url("/v/without/mcp")));
    assert_eq!(
        names(&mut Stateless::new(&gateway.url("/v/with/mcp"))),
        ["events__tail"]
    );
    assert_eq!(
        names(&mut Session::open(&gateway.server("events"))),
        ["get", "query", "stats", "tail"]
    );

    // Its name is taken then.
    let file = axiom_tests::bed::scratch("taken").join("axiom.toml");
    config()
        .events("mcp = true")
        .stdio("events", &servers::everything().command)
        .write(&file);
    let check = axiom(&["config", "check", "--config", &file.display().to_string()]);
    assert_eq!(check.code, Some(1), "{}", check.talk);
    assert!(
        check
            .talk
            .contains("`servers.events` has the name of the server that `events.mcp` adds"),
        "{}",
        check.talk
    );
}

/// Calls a tool and gives its structured result, which is also there as text.
fn ask(client: &mut dyn Peer, tool: &str, arguments: Value) -> Value {
    let result = client.call(tool, &arguments).value();
    assert_ne!(result["isError"], true, "{tool} {arguments}: {result}");
    let text = result["content"][0]["text"].as_str().expect("a text");
    let parsed: Value = serde_json::from_str(text).expect("the text is JSON");
    assert_eq!(parsed, result["structuredContent"]);
    parsed
}

#[test]
fn its_tools_show_what_the_log_holds_to_clients_of_both_eras() {
    let gateway = Gateway::start(&config().events("mcp = true"));
    let dir = folder(&gateway);
    let mut caller = Stateless::new(&gateway.server("everything"));
    for n in 0..25 {
        caller
            .call("echo", &json!({ "message": format!("number {n}") }))
            .text();
    }
    caller.call("get-sum", &json!({ "a": "x" })).value();
    let calls = recorded(&dir, CALLS, 26);
    let offsets = |events: &Value| -> Vec<u64> {
        let events = events["events"].as_array().expect("a list");
        events
            .iter()
            .filter_map(|event| event["offset"].as_u64())
            .collect()
    };
    let expected: Vec<u64> = calls.iter().filter_map(|call| call["offset"].as_u64()).collect();
    // Each worker thread hands its events over by itself, so the first in the log need not have happened first.
    let first = calls.iter().filter_map(|call| call["time"].as_str()).min();
    let session: Box<dyn Peer> = Box::new(Session::open(&gateway.server("events")));
    let stateless: Box<dyn Peer> = Box::new(Stateless::new(&gateway.server("events")));
    for mut client in [session, stateless] {
        let client = client.as_mut();
        let filter = "method=tools/call server=everything";
        // Backwards, in pages.
        let mut seen: Vec<u64> = Vec::new();
        let mut arguments = json!({ "filter": filter, "count": 10 });
        loop {
            let page = ask(client, "tail", arguments.clone());
            let mut older = offsets(&page);
            older.extend(&seen);
            seen = older;
            if page["is_end"] == true {
                break;
            }
            arguments["before"] = page["before"].clone();
        }
        assert_eq!(seen, expected);
        // Forwards, in pages, from an offset and from a time.
        for from in [json!(0), json!("1h"), json!(first)] {
            let mut seen: Vec<u64> = Vec::new();
            let mut arguments = json!({ "filter": filter, "count": 7, "from": from });
            loop {
                let page = ask(client, "tail", arguments.clone());
                seen.extend(offsets(&page));
                if page["is_end"] == true {
                    break;
                }
                arguments["from"] = page["next_from"].clone();
            }
            assert_eq!(seen, expected, "from {from}");
        }
        let wrong = ask(
            client,
            "tail",
            json!({ "filter": format!("{filter} level=warn") }),
        );
        assert_eq!(offsets(&wrong).len(), 1);
        let body = &wrong["events"][0]["body"];
        assert_eq!(body["outcome"], "tool_error");
        assert!(
            body.get("request").is_none() && body.get("response").is_none(),
            "a list is short: {body}"
        );

        // One of them whole, by either name.
        let one = ask(client, "get", json!({ "offset": expected[3] }));
        assert_eq!(one["events"][0], calls[3]);
        assert_eq!(one, ask(client, "get", json!({ "call": calls[3]["task"] })));
        let uri = format!("event://{}", expected[3]);
        let read = client
            .ask("resources/read", &json!({ "uri": uri }).to_string())
            .value();
        let text = read["contents"][0]["text"].as_str().expect("a text");
        assert_eq!(serde_json::from_str::<Value>(text).expect("it is JSON"), calls[3]);

        let stats = ask(
            client,
            "stats",
            json!({ "kind": "gateway.call", "by": ["level"], "from": first }),
        );
        assert!(stats["events"].as_u64() >= Some(26), "{stats}");
        let by_task = ask(client, "stats", json!({ "by": ["task"], "count": 5 }));
        assert_eq!(by_task["groups"].as_array().map(Vec::len), Some(5));
        let more = ask(
            client,
            "stats",
            json!({ "by": ["task"], "count": 5, "cursor": by_task["next_cursor"] }),
        );
        assert_ne!(more["groups"], by_task["groups"]);
        let of_one = ask(client, "stats", json!({ "task": calls[3]["task"] }));
        assert_eq!(of_one["events"], 1);

        // What is wrong is said so that a model can do better.
        for (tool, arguments, words) in [
            (
                "tail",
                json!({ "cuont": 1 }),
                "there is no argument `cuont`; did you mean `count`?",
            ),
            (
                "tail",
                json!({ "count": 0 }),
                "`count` must be an integer from 1 to 200, not 0",
            ),
            (
                "tail",
                json!({ "filter": "sever=x" }),
                "`filter`: `sever` is no field of an event; did you mean `server`?",
            ),
            (
                "tail",
                json!({ "from": "yesterday" }),
                "`from`: write an offset, a time in UTC like",
            ),
            (
                "tail",
                json!({ "from": 1, "before": 2 }),
                "give `from` to go forwards or `before` to go backwards",
            ),
            ("get", json!({}), "give `offset` or `call`"),
            (
                "get",
                json!({ "offset": 1_000_000 }),
                "there is no event 1000000; those that can be read are 0 to",
            ),
            (
                "stats",
                json!({ "by": ["colour"] }),
                "`by` must be a list of some of kind, level,",
            ),
            (
                "stats",
                json!({ "by": ["task", "minute"] }),
                "tasks are counted by the hour",
            ),
            ("query", json!({}), "`sql` is missing"),
        ] {
            let result = client.call(tool, &arguments).value();
            assert_eq!(result["isError"], true, "{tool} {arguments}");
            let said = result["content"][0]["text"].as_str().unwrap_or_default();
            assert!(said.starts_with(words), "{tool} {arguments}: {said}");
        }
        let missing = client.ask("resources/read", r#"{"uri":"event://99999999"}"#);
        assert!(missing.message().contains("resource not found"), "{missing:?}");
        assert_eq!(client.call("no-such", &json!({})).code(), -32602);
    }
    // What was asked of it is recorded like any other call.
    assert!(!export(&dir, "server=events method=tools/call").is_empty());
}

/// Each query is a process that may take half a gigabyte; who asks is a model, as often as it likes.
#[test]
fn its_queries_are_few_at_once_however_many_conversations_ask() {
    const ASKING: usize = 6;
    const AT_ONCE: usize = 2;
    bed::built("axiom-query");
    let gateway = Gateway::start(&config().events("mcp = true"));
    let (tx, answers) = mpsc::sync_channel(ASKING);
    for _ in 0..ASKING {
        let (url, tx) = (gateway.server("events"), tx.clone());
        let sql = "SELECT sum(value % 7) AS n FROM generate_series(1, 100000000000000)";
        // Two of them are still waiting when the test is over.
        std::thread::spawn(move || {
            let result = Stateless::new(&url).call("query", &json!({ "sql": sql })).value();
            let _over = tx.send(result).is_ok();
        });
    }
    let running = || {
        let running = process::descendants(gateway.pid());
        running
            .iter()
            .filter(|process| process.name == "axiom-query")
            .count()
    };
    let mut most = 0;
    for _ in AT_ONCE..ASKING {
        let refused = wait::until("one is refused", || {
            most = most.max(running());
            answers.try_recv().ok()
        });
        assert_eq!(refused["isError"], true, "{refused}");
        let said = refused["content"][0]["text"].as_str().unwrap_or_default();
        assert!(said.contains("queries run already"), "{said}");
    }
    assert_eq!(most, AT_ONCE);
}

/// Another program answers it, which may die of a query. What is missing is said beside the rows.
#[test]
fn one_of_its_tools_answers_sql() {
    axiom_tests::bed::built("axiom-query");
    let gateway = Gateway::start(&config().events("mcp = true"));
    let dir = folder(&gateway);
    let mut caller = Stateless::new(&gateway.server("everything"));
    for n in 0..5 {
        caller
            .call("echo", &json!({ "message": format!("number {n}") }))
            .text();
    }
    recorded(&dir, CALLS, 5);
    let count = "SELECT method, count(*) AS n FROM calls WHERE server = 'everything' AND method = 'tools/call' GROUP BY method";
    let some = "SELECT \"offset\" FROM events ORDER BY \"offset\"";
    let rows = json!([{ "method": "tools/call", "n": 5 }]);
    let expected = json!({ "rows": rows, "is_end": true });
    let mut session = Session::open(&gateway.server("events"));
    assert_eq!(ask(&mut session, "query", json!({ "sql": count })), expected);
    let mut client = Stateless::new(&gateway.server("events"));
    let found = ask(&mut client, "query", json!({ "sql": some, "count": 2 }));
    let rows = json!([{ "offset": 0 }, { "offset": 1 }]);
    assert_eq!(found, json!({ "rows": rows, "is_end": false }));
    for (sql, words) in [
        ("SELECT kin FROM events", "kin"),
        ("DELETE FROM events", "never changed"),
        ("SELECT * FROM nowhere", "the tables are events, calls and tasks"),
        ("SELECT cardinality(array_repeat(1, 2000000000))", "more memory"),
    ] {
        let result = client.call("query", &json!({ "sql": sql })).value();
        let said = result["content"][0]["text"].as_str().unwrap_or_default();
        assert_eq!(result["isError"], true, "{sql}: {said}");
        assert!(said.contains(words), "{sql}: {said}");
    }
    assert_eq!(ask(&mut client, "query", json!({ "sql": count })), expected);
    // The log begins with a head, and its first block with what happened first.
    let segment = dir.join("shard-00000/00000000000000000000.seg");
    let file = std::fs::File::options().write(true).open(segment);
    let file = file.expect("the first segment");
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 64], 150).expect("the disk is well");
    let found = ask(&mut client, "query", json!({ "sql": some }));
    let warnings = found["warnings"].as_array().expect("something is missing");
    let said = warnings[0].as_str().expect("a sentence");
    assert!(
        said.starts_with("events 0 to ") && said.contains("cannot be read"),
        "{said}"
    );
    assert_ne!(found["rows"][0]["offset"], 0, "the others are there: {found}");
}

/// The clients check what they are given: schemas, structured results, and what each era must say.
#[test]
fn real_clients_take_it_for_a_server() {
    let gateway = Gateway::start(&config().events("mcp = true"));
    let tail =
        json!({ "do": "callTool", "name": "tail", "arguments": { "count": 3, "filter": "kind=gateway.*" } });
    let stats = json!({ "do": "callTool", "name": "stats", "arguments": {} });
    let get = json!({ "do": "callTool", "name": "get", "arguments": { "offset": 0 } });
    let read = json!({ "do": "readResource", "uri": "event://0" });
    let wrong = json!({ "do": "callTool", "name": "get", "arguments": {} });
    let steps = [json!({ "do": "listTools" }), tail, stats, get, read, wrong];
    recorded(&folder(&gateway), "kind=gateway.server state=up server=events", 1);
    for client in [
        Client::TsV1,
        Client::TsV2Legacy,
        Client::TsV2Modern,
        Client::PyMcpLegacy,
        Client::PyMcpModern,
        Client::FastMcp,
    ] {
        let report = client.run(&Way::Http(gateway.server("events")), &json!({}), &steps);
        let tools = report.ok(0)["tools"].as_array().expect("tools are a list");
        assert_eq!(tools.len(), 4, "{client:?}");
        for tool in tools {
            assert_eq!(tool["annotations"]["readOnlyHint"], true, "{client:?}: {tool}");
            assert_eq!(tool["outputSchema"]["type"], "object", "{client:?}: {tool}");
        }
        for step in 1..4 {
            let result = report.ok(step);
            assert!(result["structuredContent"].is_object(), "{client:?}: {result}");
        }
        assert!(report.ok(4)["contents"][0]["text"].is_string(), "{client:?}");
    }
}
