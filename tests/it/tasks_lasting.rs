//! Calls of the server `tasks` that last, as tasks of MCP, for clients of both eras: raw ones, and real ones that know them.

use std::path::Path;

use axiom_tests::client::{Client, Way};
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{LATEST_LEGACY, Peer, Reply, Session, Stateless};
use axiom_tests::wait;
use rmcp::model::{CancelTaskParams, TaskPayload, TaskStatus};
use serde_json::{Value, json};

use crate::news::{ID, Stream};
use crate::tasks::{connect, ended};
use crate::tasks_server::{ask, config, spawn};

const EXTENSION: &str = "io.modelcontextprotocol/tasks";

/// A client of 2026-07-28 that knows tasks.
fn stateless(url: &str) -> Stateless {
    let mut client = Stateless::new(url);
    client.capabilities = json!({ "extensions": { EXTENSION: {} } });
    client
}

fn session(url: &str) -> Session {
    Session::open_as(url, LATEST_LEGACY, &json!({ "tasks": {} }))
}

fn about(task: &str) -> String {
    json!({ "taskId": task }).to_string()
}

/// Calls a tool in the way in which its client gets a task for it.
fn begin(client: &mut dyn Peer, tool: &str, mut arguments: Value, is_session: bool) -> Reply {
    if !tool.ends_with("wait") {
        arguments["class"] = json!("critical");
    }
    let mut params = json!({ "name": tool, "arguments": arguments });
    if is_session {
        params["task"] = json!({ "ttl": 600_000 });
    }
    client.ask("tools/call", &params.to_string())
}

fn task_of(reply: &Reply) -> String {
    let value = reply.value();
    let task = value.get("task").unwrap_or(&value);
    assert_eq!(task["status"], "working", "{value}");
    let id = task["taskId"].as_str();
    id.unwrap_or_else(|| panic!("no task in {value}")).to_owned()
}

fn until(client: &mut dyn Peer, task: &str, status: &str) -> Value {
    wait::until(&format!("the task is {status}"), || {
        let seen = client.ask("tasks/get", &about(task)).value();
        assert_eq!(seen["taskId"], task, "the same handle each time");
        (seen["status"] == status).then_some(seen)
    })
}

/// What the call came to, once it is over.
fn result(client: &mut dyn Peer, task: &str, is_session: bool) -> Value {
    let done = until(client, task, "completed");
    match is_session {
        true => client.ask("tasks/result", &about(task)).value(),
        false => done["result"].clone(),
    }
}

#[test]
fn calls_that_last_are_tasks_for_clients_of_both_eras() {
    let gateway = Gateway::start(&config());
    for (url, prefix) in [(gateway.server("tasks"), ""), (gateway.mcp(), "tasks__")] {
        let clients: [(Box<dyn Peer>, bool); 2] = [
            (Box::new(stateless(&url)), false),
            (Box::new(session(&url)), true),
        ];
        for (mut client, is_session) in clients {
            let client = client.as_mut();
            let tool = |name: &str| format!("{prefix}{name}");
            // One that says what it says, and ends.
            let order = json!({ "shell": "echo said; exit 3", "wait_s": 60 });
            let begun = begin(client, &tool("spawn"), order, is_session);
            let task = task_of(&begun);
            let begun = begun.value();
            let shown = begun.get("task").unwrap_or(&begun);
            assert!(
                shown["createdAt"].is_string() && shown["lastUpdatedAt"].is_string(),
                "{begun}"
            );
            let ttl = if is_session {
                &shown["ttl"]
            } else {
                &shown["ttlMs"]
            };
            assert_eq!(
                ttl.as_u64(),
                Some(if is_session { 600_000 } else { 604_800_000 }),
                "{begun}"
            );
            let said = result(client, &task, is_session);
            assert_eq!(said["structuredContent"]["has_ended"], true, "{said}");
            let ended = &said["structuredContent"]["tasks"][0];
            assert_eq!(
                (&ended["code"], &ended["last_lines"][0]["text"]),
                (&json!(3), &json!("said"))
            );

            // The time is over before.
            let order = json!({ "command": ["sleep", "300"], "wait_s": 0.3 });
            let short = task_of(&begin(client, &tool("spawn"), order, is_session));
            let said = result(client, &short, is_session);
            assert_eq!(said["structuredContent"]["has_ended"], false, "{said}");
            let sleeper = said["structuredContent"]["tasks"][0]["task"].clone();

            // A wait that is cancelled lets its tasks go on; a spawn takes them along.
            let state = |client: &mut dyn Peer, task: &Value| {
                let status = client.call(&tool("status"), &json!({ "task": task })).value();
                status["structuredContent"].clone()
            };
            let waiting = json!({ "tasks": [sleeper], "timeout_s": 600 });
            let waiting = task_of(&begin(client, &tool("wait"), waiting, is_session));
            let cancelled = client.ask("tasks/cancel", &about(&waiting)).value();
            if is_session {
                assert_eq!(cancelled["status"], "cancelled");
                assert_eq!(client.ask("tasks/cancel", &about(&waiting)).code(), -32602);
            }
            until(client, &waiting, "cancelled");
            assert_eq!(state(client, &sleeper)["state"], "running");
            let order = json!({ "command": ["sleep", "300"], "count": 2, "wait_s": 600, "name": "many" });
            let many = task_of(&begin(client, &tool("spawn"), order, is_session));
            let list = client.call(&tool("list"), &json!({ "name": "many" })).value();
            let first = list["structuredContent"]["tasks"][0]["task"].clone();
            let waiting = json!({ "tasks": [first, sleeper], "timeout_s": 600, "mode": "any" });
            let any = task_of(&begin(client, &tool("wait"), waiting, is_session));
            client.ask("tasks/cancel", &about(&many)).value();
            until(client, &many, "cancelled");
            let how = state(client, &first)["how"].clone();
            assert!(how.as_str().is_some_and(|how| how.contains("cancelled")), "{how}");
            let said = result(client, &any, is_session);
            assert_eq!(said["structuredContent"]["is_done"], true, "{said}");
            client.call(&tool("kill"), &json!({ "tasks": [sleeper] })).value();

            // What there is not.
            let refused = begin(client, &tool("spawn"), json!({ "wait_s": 1 }), is_session).value();
            assert_eq!(refused["isError"], true, "{refused}");
            assert_eq!(client.ask("tasks/get", &about("x")).code(), -32602);
            if is_session {
                let listed = client.ask("tasks/list", "{}").value();
                assert_eq!(listed["tasks"].as_array().map(Vec::len), Some(5), "{listed}");
            }
        }
        // Clients that know no tasks wait in the call.
        let plain = &mut Stateless::new(&url);
        let order = json!({ "shell": "echo said", "wait_s": 60, "class": "critical" });
        let said = plain.call(&format!("{prefix}spawn"), &order).value();
        assert_eq!(said["structuredContent"]["has_ended"], true, "{said}");
        let told = stateless(&url).ask(
            "tools/call",
            &json!({ "name": format!("{prefix}list"), "arguments": {} }).to_string(),
        );
        assert_eq!(told.value()["resultType"], "complete", "it does not last");
    }
}

/// Nobody asks: those who listen are told when it is over.
#[test]
fn the_end_is_told() {
    let gateway = Gateway::start(&config());
    for (url, prefix) in [(gateway.server("tasks"), ""), (gateway.mcp(), "tasks__")] {
        let go = gateway.file().with_file_name(format!("go{}", prefix.len()));
        let script = format!("while [ ! -e {} ]; do sleep 0.05; done; echo done", go.display());
        let order = json!({ "shell": script, "wait_s": 600 });
        let client = &mut stateless(&url);
        let task = task_of(&begin(client, &format!("{prefix}spawn"), order, false));
        let filter = json!({ "notifications": { "taskIds": [task] } });
        let mut stream = Stream::of(client.send(&client.request("5", "subscriptions/listen", &filter)));
        let first = stream.hears();
        assert_eq!(
            first["params"]["notifications"]["taskIds"],
            json!([task]),
            "{first}"
        );
        assert_eq!(first["params"]["_meta"][ID], 5);
        std::fs::write(&go, "").expect("a file");
        let told = stream.hears_of("notifications/tasks");
        let told = &told["params"];
        assert_eq!(
            (&told["taskId"], &told["status"]),
            (&json!(task), &json!("completed")),
            "{told}"
        );
        assert_eq!(told["result"]["structuredContent"]["has_ended"], true, "{told}");
    }
}

/// A handle is as good after the gateway was killed, and what it stands for went on.
#[test]
fn handles_outlive_a_gateway_that_is_killed() {
    let keys = axiom_tests::bed::scratch("faces-keys").join("axiom.keys");
    let mut made = std::process::Command::new(axiom_tests::bed::built("axiom"));
    let made = made.args(["key", "new", "--into"]).arg(&keys).output();
    assert!(made.expect("axiom starts").status.success());
    let gateway = Gateway::start(&config().gateway(&format!("key_file = {}", json!(keys))));
    let place = gateway.file().parent().map(Path::to_path_buf).unwrap_or_default();
    let go = place.join("go");
    let script = format!("while [ ! -e {} ]; do sleep 0.05; done; echo done", go.display());
    let client = &mut stateless(&gateway.server("tasks"));
    let order = json!({ "shell": script, "count": 2, "wait_s": 600 });
    let spawned = task_of(&begin(client, "spawn", order, false));
    let other = spawn(
        &mut Stateless::new(&gateway.server("tasks")),
        json!({ "command": ["sleep", "300"] }),
    );
    let waited = task_of(&begin(
        client,
        "wait",
        json!({ "tasks": [other], "timeout_s": 3600 }),
        false,
    ));
    gateway.kill();
    let gateway = Gateway::start_in(&place);
    let client = &mut stateless(&gateway.server("tasks"));
    until(client, &spawned, "working");
    std::fs::write(&go, "").expect("a file");
    let said = result(client, &spawned, false);
    assert_eq!(said["structuredContent"]["has_ended"], true, "{said}");
    until(client, &waited, "working");
    let plain = &mut Stateless::new(&gateway.server("tasks"));
    ask(plain, "kill", json!({ "tasks": [other] }));
    until(client, &waited, "completed");
}

/// The TypeScript client of before, which calls a tool as a task and polls it.
#[test]
fn a_real_session_client() {
    let gateway = Gateway::start(&config());
    for (url, prefix) in [(gateway.mcp(), "tasks__"), (gateway.server("tasks"), "")] {
        let arguments = json!({ "shell": "sleep 1; echo over", "wait_s": 60, "class": "critical" });
        let steps =
            [json!({ "do": "callToolAsTask", "name": format!("{prefix}spawn"), "arguments": arguments })];
        let report = Client::TsV1.run(&Way::Http(url), &json!({}), &steps);
        assert!(report.text(0).contains("over"), "{}", report.text(0));
        assert_eq!(report.ok(0)["structuredContent"]["has_ended"], true);
    }
}

/// rmcp, which knows the tasks of 2026-07-28.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_modern_client() {
    let gateway = Gateway::start(&config());
    for (url, prefix) in [(gateway.mcp(), "tasks__"), (gateway.server("tasks"), "")] {
        let client = connect(&url).await;
        let begin = |arguments: Value| crate::tasks::begin(&client, format!("{prefix}spawn"), arguments);
        let done = begin(json!({ "shell": "echo over", "wait_s": 60, "class": "critical" })).await;
        let done = ended(&client, &done, Value::Null).await;
        let TaskPayload::Completed { result } = &done.payload else {
            panic!("not completed: {done:?}")
        };
        let result = serde_json::to_value(result).expect("it is JSON");
        assert_eq!(result["structuredContent"]["has_ended"], true, "{result}");
        let endless = json!({ "command": ["sleep", "300"], "wait_s": 600, "class": "critical" });
        let endless = begin(endless).await;
        let params = CancelTaskParams::new(endless.clone());
        client.peer().cancel_task(params).await.expect("it is cancelled");
        let cancelled = ended(&client, &endless, Value::Null).await;
        assert_eq!(cancelled.status(), TaskStatus::Cancelled);
        client.cancel().await.expect("it ends");
    }
}
