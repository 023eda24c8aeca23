//! Commands as tasks of a gateway: the built-in server `tasks` for clients of both eras, the admin interface, and a gateway that
//! is killed while they run.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::http::{Answer, Request};
use axiom_tests::peer::{Peer, Reply, Session, Stateless, message};
use axiom_tests::{bed, wait};
use serde_json::{Value, json};

use crate::events::{axiom, export, folder, recorded};

mod steered;

/// On every machine, with or without namespaces.
pub(crate) fn config() -> Config {
    Config::new().tasks("dir = \"tasks\"\nexecutor = \"process\"")
}

pub(crate) fn both(gateway: &Gateway) -> [Box<dyn Peer>; 2] {
    let url = gateway.server("tasks");
    [Box::new(Session::open(&url)), Box::new(Stateless::new(&url))]
}

/// Calls a tool and gives its structured result.
pub(crate) fn ask(client: &mut dyn Peer, tool: &str, arguments: Value) -> Value {
    let result = client.call(tool, &arguments).value();
    assert_ne!(result["isError"], true, "{tool} {arguments}: {result}");
    let text = result["content"][0]["text"].as_str().expect("a text");
    assert!(!text.is_empty(), "{result}");
    result["structuredContent"].clone()
}

/// Calls a tool that is to tell how far it is.
fn ask_with_progress(client: &mut dyn Peer, tool: &str, arguments: &Value) -> Reply {
    let params = json!({ "name": tool, "arguments": arguments, "_meta": { "progressToken": "how far" } });
    client.ask("tools/call", &params.to_string())
}

pub(crate) fn ids(result: &Value) -> Vec<String> {
    let tasks = result["tasks"].as_array().expect("a list");
    let id = |task: &Value| task["task"].as_str().expect("an id").to_owned();
    tasks.iter().map(id).collect()
}

/// Starts tasks. On a machine that is busy with other tests any other class would wait.
pub(crate) fn start(client: &mut dyn Peer, mut arguments: Value) -> Value {
    arguments["class"] = json!("critical");
    ask(client, "spawn", arguments)
}

pub(crate) fn spawn(client: &mut dyn Peer, arguments: Value) -> String {
    ids(&start(client, arguments)).remove(0)
}

pub(crate) fn texts(shown: &Value) -> Vec<&str> {
    let lines = shown.as_array().expect("lines");
    lines.iter().filter_map(|line| line["text"].as_str()).collect()
}

#[test]
fn it_is_there_where_tasks_are() {
    let gateway = Gateway::start(&config().view("some", "include = [\"tasks.status\"]"));
    let names = |url: &str| -> Vec<String> {
        let tools = Stateless::new(url).ask("tools/list", "{}").value();
        let tools = tools["tools"].as_array().expect("a list").clone();
        for tool in &tools {
            let annotations = &tool["annotations"];
            assert!(annotations["destructiveHint"].is_boolean(), "{tool}");
            assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{tool}");
            assert_eq!(tool["outputSchema"]["type"], "object", "{tool}");
        }
        let name = |tool: &Value| tool["name"].as_str().expect("a name").to_owned();
        tools.iter().map(name).collect()
    };
    let all = [
        "interrupt",
        "kill",
        "list",
        "orchestrate",
        "output",
        "race",
        "send",
        "spawn",
        "status",
        "tree",
        "wait",
    ];
    assert_eq!(names(&gateway.server("tasks")), all);
    assert_eq!(names(&gateway.url("/v/some/mcp")), ["tasks__status"]);

    // What is said of tasks holds from the next start on.
    gateway.rewrite(&Config::new().tasks("dir = \"others\"\nmcp = false"));
    gateway.stderr().wait_from(0, "the change is told", |line| {
        line.contains("another [tasks] needs a restart")
    });
    assert_eq!(names(&gateway.server("tasks")), all);

    // A command that starts a gateway for itself takes nobody's tasks.
    let file = bed::scratch("alone").join("axiom.toml");
    config().write(&file);
    let tools = axiom(&["tools", "--config", &file.display().to_string()]);
    assert_eq!(tools.code, Some(0), "{}", tools.talk);
    assert!(
        !tools.data.iter().any(|line| line.contains("spawn")),
        "{:?}",
        tools.data
    );
    assert!(!file.with_file_name("tasks").exists());
}

#[test]
fn nobody_opens_it_to_other_machines_by_mistake() {
    let file = bed::scratch("open").join("axiom.toml");
    config().write(&file);
    let path = file.display().to_string();
    let up = axiom(&["up", "--listen", "0.0.0.0:0", "--config", &path]);
    assert_eq!(up.code, Some(2), "{}", up.talk);
    assert!(
        up.talk.contains("could start commands on this machine") && up.talk.contains("share = true"),
        "{}",
        up.talk
    );
}

#[test]
fn twenty_tasks_speak_hear_and_end_for_clients_of_both_eras() {
    let gateway = Gateway::start(&config());
    for mut client in both(&gateway) {
        let client = client.as_mut();
        let script = "echo \"number $AXIOM_TASK_NUMBER\"; read line; echo \"heard $line\" >&2; exit 3";
        let tasks = start(
            client,
            json!({ "shell": script, "count": 20, "name": "ears", "why": "to hear" }),
        );
        let tasks = ids(&tasks);
        assert_eq!(tasks.iter().collect::<BTreeSet<_>>().len(), 20);
        for (number, task) in tasks.iter().enumerate() {
            let beginning = task.get(..10);
            let said = ask(
                client,
                "output",
                json!({ "task": beginning, "from": 0, "wait_s": 60 }),
            );
            assert_eq!(texts(&said["lines"]), [format!("number {number}")], "{said}");
            assert_eq!((&said["state"], &said["next"]), (&json!("running"), &json!(1)));
            ask(
                client,
                "send",
                json!({ "task": task, "text": format!("word {number}") }),
            );
        }
        let arguments = json!({ "tasks": tasks, "timeout_s": 60 });
        let reply = ask_with_progress(client, "wait", &arguments);
        let progress: Vec<&Value> = reply
            .before
            .iter()
            .filter(|message| message["method"] == "notifications/progress")
            .map(|message| &message["params"])
            .collect();
        let numbers: Vec<f64> = progress
            .iter()
            .filter_map(|told| told["progress"].as_f64())
            .collect();
        assert!(numbers.is_sorted_by(|one, next| one < next), "{numbers:?}");
        let last = progress.last().expect("it was told");
        assert_eq!(
            (
                &last["progressToken"],
                last["progress"].as_f64(),
                last["total"].as_f64()
            ),
            (&json!("how far"), Some(20.0), Some(20.0))
        );
        let waited = reply.value()["structuredContent"].clone();
        assert_eq!(waited["is_done"], true, "{waited}");
        for (number, task) in waited["tasks"].as_array().expect("a list").iter().enumerate() {
            assert_eq!((&task["state"], &task["code"]), (&json!("ended"), &json!(3)));
            assert_eq!(task["how"], "exit 3");
            let last = task["last_lines"].as_array().and_then(|lines| lines.last());
            let last = last.expect("a last line");
            assert_eq!(last["text"], format!("heard word {number}"));
            assert_eq!(last["stream"], "stderr");
            assert!(
                task["by"]["who"]
                    .as_str()
                    .is_some_and(|who| who.starts_with("mcp"))
            );
            assert_eq!(task["by"]["why"], "to hear");
        }

        // The same as resources.
        let read = |client: &mut dyn Peer, uri: String| -> String {
            let read = client.ask("resources/read", &json!({ "uri": uri }).to_string());
            read.value()["contents"][0]["text"]
                .as_str()
                .expect("a text")
                .to_owned()
        };
        let text = read(client, format!("task://{}/output", tasks[7]));
        assert_eq!(text, "number 7\nheard word 7\n");
        let status = read(client, format!("task://{}", tasks[7]));
        assert_eq!(serde_json::from_str::<Value>(&status).expect("JSON")["code"], 3);

        // What is there already is not waited for, and one of the two streams is enough.
        let errors = ask(client, "output", json!({ "task": tasks[7], "stream": "stderr" }));
        assert_eq!(texts(&errors["lines"]), ["heard word 7"]);
        let list = ask(
            client,
            "list",
            json!({ "state": "ended", "name": "ears", "count": 15 }),
        );
        assert_eq!(ids(&list).len(), 15);
        let more = json!({ "state": "ended", "name": "ears", "cursor": list["next_cursor"] });
        let more = ids(&ask(client, "list", more));
        assert!(more.len() >= 5 && ids(&list).iter().all(|id| !more.contains(id)));
    }
}

#[test]
fn what_an_agent_wants_most_takes_one_call() {
    let gateway = Gateway::start(&config());
    for mut client in both(&gateway) {
        let client = client.as_mut();
        let done = start(
            client,
            json!({ "command": ["cat"], "input": "one\ntwo\n", "end_input": true, "wait_s": 60 }),
        );
        assert_eq!(done["has_ended"], true, "{done}");
        assert_eq!(texts(&done["tasks"][0]["last_lines"]), ["one", "two"]);
        assert_eq!(done["tasks"][0]["code"], 0);
        let missing = start(client, json!({ "command": ["no-such-program"], "wait_s": 60 }));
        let how = missing["tasks"][0]["how"].as_str().unwrap_or_default();
        assert!(how.starts_with("not started: "), "{missing}");
        // The same key is the same task.
        let order = json!({ "command": ["true"], "key": "once" });
        assert_eq!(spawn(client, order.clone()), spawn(client, order));
        // A direction given to one that was busy with another.
        let task = spawn(
            client,
            json!({ "shell": "trap 'read next; echo \"now $next\"; exit 0' INT; echo ready; while :; do sleep 0.1; done" }),
        );
        ask(client, "output", json!({ "task": task, "from": 0, "wait_s": 60 }));
        ask(
            client,
            "interrupt",
            json!({ "task": task, "prompt": "something else" }),
        );
        let waited = ask(client, "wait", json!({ "tasks": [task], "timeout_s": 60 }));
        assert_eq!(
            texts(&waited["tasks"][0]["last_lines"]),
            ["ready", "now something else"],
            "{waited}"
        );
    }
}

#[test]
fn a_wait_holds_up_nobody_and_can_be_cancelled() {
    let gateway = Gateway::start(&config());
    let mut client = Session::open(&gateway.server("tasks"));
    let task = spawn(&mut client, json!({ "command": ["sleep", "300"] }));
    let params = json!({
        "name": "wait",
        "arguments": { "tasks": [task], "timeout_s": 600 },
        "_meta": { "progressToken": 1 },
    });
    let request = client.request(message("77", "tools/call", &params.to_string()));
    let mut waiting: Answer = client.send(&request);
    let first = waiting.next_message().expect("it is told that it waits");
    assert!(first.contains("0 of 1 ended"), "{first}");
    let status = ask(&mut client, "status", json!({ "task": task }));
    assert_ne!(status["state"], "ended");
    let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":77}}"#;
    assert_eq!(client.send(&client.request(cancelled)).status, 202);
    // The stream ends, without an answer.
    while let Some(told) = waiting.next_message() {
        assert!(told.contains("notifications/progress"), "{told}");
    }
    let short = json!({ "tasks": [task], "timeout_s": 0.2 });
    assert_eq!(ask(&mut client, "wait", short)["is_done"], false);
    ask(&mut client, "kill", json!({ "tasks": [task] }));
}

#[test]
fn a_tree_ends_with_its_root() {
    let gateway = Gateway::start(&config());
    let client = &mut Stateless::new(&gateway.server("tasks"));
    let root = spawn(client, json!({ "command": ["sleep", "300"], "name": "root" }));
    let child = spawn(client, json!({ "command": ["sleep", "300"], "parent": root }));
    let leaf = spawn(client, json!({ "command": ["sleep", "300"], "parent": child }));
    let other = spawn(client, json!({ "command": ["sleep", "300"] }));
    let tree = ask(client, "tree", json!({}));
    let trees = tree["tasks"].as_array().expect("a list");
    assert_eq!(trees.len(), 2, "{tree}");
    assert_eq!(trees[0]["name"], "root");
    assert_eq!(trees[0]["children"][0]["task"], child);
    assert_eq!(trees[0]["children"][0]["children"][0]["task"], leaf);
    let killed = ask(client, "kill", json!({ "tasks": [root], "why": "enough" }));
    let expected: BTreeSet<&String> = [&root, &child, &leaf].into();
    let ended = ids(&killed);
    assert_eq!(ended.iter().collect::<BTreeSet<_>>(), expected);
    for task in killed["tasks"].as_array().expect("a list") {
        assert_eq!(task["state"], "ended", "{task}");
        let how = task["how"].as_str().unwrap_or_default();
        assert!(how.contains("killed: enough (mcp"), "{how}");
    }
    assert_eq!(
        ids(&ask(client, "list", json!({ "state": "alive" }))),
        std::slice::from_ref(&other)
    );
    ask(client, "kill", json!({ "tasks": [other] }));
}

#[test]
fn what_cannot_be_is_refused_by_its_field_and_starts_nothing() {
    let root = bed::scratch("roots");
    let config = config()
        .tasks(&format!("roots = [{}]", json!(root)))
        .tasks("[tasks.limits_max]\nwall = \"1h\"");
    let gateway = Gateway::start(&config);
    for mut client in both(&gateway) {
        let client = client.as_mut();
        let run = |more: Value| {
            let mut order = json!({ "command": ["true"] });
            for (name, value) in more.as_object().expect("an object") {
                order[name] = value.clone();
            }
            order
        };
        for (tool, arguments, words) in [
            ("spawn", json!({}), "`command` is missing"),
            ("spawn", json!({ "command": [] }), "`command` names no program"),
            ("spawn", json!({ "command": [""] }), "`command` names no program"),
            (
                "spawn",
                json!({ "command": ["a\u{0}b"] }),
                "`command[0]` has a NUL",
            ),
            (
                "spawn",
                run(json!({ "shell": "true" })),
                "give `command` or `shell`, not both",
            ),
            (
                "spawn",
                json!({ "comand": ["true"] }),
                "there is no argument `comand`; did you mean `command`?",
            ),
            (
                "spawn",
                run(json!({ "executor": "docker" })),
                "`executor`: there is no \"docker\"",
            ),
            (
                "spawn",
                run(json!({ "folder": "/" })),
                "`folder`: / lies outside of the folders that tasks may use",
            ),
            ("spawn", run(json!({ "folder": "not-there" })), "`folder`: "),
            ("spawn", run(json!({ "folder": "../" })), "`folder`: "),
            (
                "spawn",
                run(json!({ "limits": { "memory": "1GiB" } })),
                "`limits.memory` cannot be kept by the executor `process`",
            ),
            (
                "spawn",
                run(json!({ "limits": { "wall": "soon" } })),
                "`limits.wall` must be a time",
            ),
            (
                "spawn",
                run(json!({ "limits": { "wall": "2h" } })),
                "`limits.wall` is beyond what a task may have here",
            ),
            (
                "spawn",
                run(json!({ "limits": { "wal": 1 } })),
                "`limits.wal` means nothing",
            ),
            (
                "spawn",
                run(json!({ "env": { "A=B": "c" } })),
                "`env.A=B` is no name",
            ),
            (
                "spawn",
                run(json!({ "class": "urgent" })),
                "`class`: there is no \"urgent\"",
            ),
            (
                "spawn",
                run(json!({ "parent": "ffff" })),
                "`parent`: there is no task \"ffff\"",
            ),
            (
                "spawn",
                run(json!({ "network": "host" })),
                "`network`, `read` and `write` say what a sandbox opens",
            ),
            (
                "spawn",
                run(json!({ "count": 0 })),
                "`count` must be an integer from 1 to 1000, not 0",
            ),
            (
                "spawn",
                run(json!({ "name": "x".repeat(81) })),
                "`name` has 81 characters",
            ),
            (
                "send",
                json!({ "task": "ffff", "text": "x" }),
                "there is no task \"ffff\"",
            ),
            ("status", json!({}), "`task` is missing"),
            ("kill", json!({ "tasks": [] }), "`tasks` names none"),
            (
                "wait",
                json!({ "tasks": ["ffff"], "mode": "some" }),
                "`mode` must be `all` or `any`",
            ),
            (
                "list",
                json!({ "state": "dead" }),
                "`state` must be one of alive,",
            ),
            ("list", json!({ "cursor": "x" }), "`cursor` is none"),
        ] {
            let result = client.call(tool, &arguments).value();
            assert_eq!(result["isError"], true, "{tool} {arguments}: {result}");
            let said = result["content"][0]["text"].as_str().unwrap_or_default();
            assert!(said.starts_with(words), "{tool} {arguments}: {said}");
        }
        assert_eq!(ask(client, "list", json!({}))["total"], 0);
        assert_eq!(client.call("no-such", &json!({})).code(), -32602);
        let missing = client.ask("resources/read", r#"{"uri":"task://ffff"}"#);
        assert!(missing.message().contains("resource not found"), "{missing:?}");
    }
}

/// Whether this machine could make the sandbox that a task was to have; if not, says why.
pub(crate) fn had_sandbox(task: &Value) -> bool {
    let how = task["how"].as_str().unwrap_or_default();
    let could = !how.starts_with("not started");
    if !could {
        eprintln!("skipped: {how}");
    }
    could
}

#[test]
fn a_task_in_a_sandbox_has_nothing_of_the_gateways() {
    let gateway = Gateway::start(&Config::new().tasks("dir = \"tasks\"\n[tasks.limits]\npids = 32"));
    let client = &mut Stateless::new(&gateway.server("tasks"));
    let file = gateway.file().display().to_string();
    let script = format!("echo \"at $HOME\"; cat {file} || echo \"no configuration\"; echo mine > kept");
    let done = start(client, json!({ "shell": script, "wait_s": 60 }));
    if !had_sandbox(&done["tasks"][0]) {
        return;
    }
    let said = texts(&done["tasks"][0]["last_lines"]);
    assert_eq!(done["tasks"][0]["code"], 0, "{done}");
    assert!(
        said.contains(&"at /tmp") && said.contains(&"no configuration"),
        "{done}"
    );
    assert!(gateway.file().with_file_name("tasks/work/kept").exists());
    let folder = gateway.file().parent().map(Path::to_path_buf).unwrap_or_default();
    for (more, words) in [
        (
            json!({ "executor": "process" }),
            "`executor` is `process`, and tasks have to be in a sandbox here",
        ),
        (json!({ "folder": folder }), "`folder`: "),
        (json!({ "read": [file] }), "`read`: "),
        (json!({ "write": ["tasks"] }), "`write`: "),
    ] {
        let mut order = more.clone();
        order["command"] = json!(["true"]);
        let result = client.call("spawn", &order).value();
        assert_eq!(result["isError"], true, "{more}");
        let said = result["content"][0]["text"].as_str().unwrap_or_default();
        assert!(said.starts_with(words), "{more}: {said}");
    }
    // What is granted is there.
    let project = folder.join("project");
    std::fs::create_dir(&project).expect("a folder");
    let done = start(
        client,
        json!({ "shell": "echo built > result; pwd", "folder": "project", "wait_s": 60 }),
    );
    assert_eq!(done["tasks"][0]["code"], 0, "{done}");
    assert!(project.join("result").exists());
}

fn get(gateway: &Gateway, path: &str) -> Value {
    let answer = Request::new("GET", &format!("/api/v1/tasks{path}")).send(gateway.address());
    assert_eq!(answer.status, 200, "{path}");
    answer.json()
}

fn post(gateway: &Gateway, path: &str, body: &Value) -> (u16, Value) {
    let request = Request::post(&format!("/api/v1/tasks{path}"), body.to_string());
    let answer = request.send(gateway.address());
    (answer.status, answer.json())
}

#[test]
fn the_admin_interface_starts_steers_and_shows_live() {
    let gateway = Gateway::start(&config());
    let mut live = Request::new("GET", "/api/v1/tasks/live?prefix=1&last=10").send(gateway.address());
    assert_eq!(live.status, 200);
    assert!(live.is_sse());
    let order = json!({ "class": "critical", "shell": "printf '\\033[2J\\033[31mred\\033[0m\\n'; read line; echo \"heard $line\"; read line" });
    let mut tasks = Vec::new();
    for _ in 0..2 {
        let (status, started) = post(&gateway, "", &order);
        assert_eq!(status, 200, "{started}");
        tasks.extend(ids(&started));
    }
    let mut seen: Vec<Value> = Vec::new();
    let mut until = |count: usize| {
        while seen.len() < count {
            let event = live.next_event().expect("the stream goes on");
            assert_eq!(event.event.as_deref(), Some("lines"));
            seen.push(serde_json::from_str(&event.data).expect("JSON"));
        }
        seen.clone()
    };
    for lines in until(2) {
        let task = lines["task"].as_str().expect("an id");
        assert!(tasks.iter().any(|known| known == task));
        assert_eq!(
            (&lines["number"], &lines["stream"]),
            (&json!(0), &json!("stdout"))
        );
        let text = lines["text"].as_str().expect("a text");
        // Colours stay; what clears the reader's screen does not.
        assert!(
            text.starts_with(&format!("[{}]", task.get(..8).unwrap_or_default())),
            "{text:?}"
        );
        assert!(
            text.contains("\u{1b}[31mred") && !text.contains("[2J"),
            "{text:?}"
        );
    }
    let one = &tasks[0];
    let (status, _) = post(&gateway, &format!("/{one}/input"), &json!({ "text": "you" }));
    assert_eq!(status, 200);
    let heard = until(3).remove(2);
    assert_eq!((&heard["task"], &heard["number"]), (&json!(one), &json!(1)));
    assert!(
        heard["text"]
            .as_str()
            .is_some_and(|text| text.ends_with("heard you"))
    );
    let lines = get(&gateway, &format!("/{one}/output?from=1"));
    assert_eq!(texts(&lines["lines"]), ["heard you"]);

    let (status, frozen) = post(&gateway, &format!("/{one}/freeze"), &json!({}));
    assert_eq!((status, &frozen["is_frozen"]), (200, &json!(true)), "{frozen}");
    let (status, thawed) = post(&gateway, &format!("/{one}/thaw"), &json!({}));
    assert_eq!((status, thawed.get("is_frozen")), (200, None));
    let scheduler = get(&gateway, "/scheduler");
    assert_eq!(scheduler["running"], 2, "{scheduler}");
    let (status, refused) = post(&gateway, "", &json!({ "command": [] }));
    assert_eq!(
        (status, &refused["error"]["code"]),
        (400, &json!("wrong")),
        "{refused}"
    );
    assert!(refused["error"]["hint"].is_string());
    let forget =
        |task: &str| Request::new("DELETE", &format!("/api/v1/tasks/{task}")).send(gateway.address());
    assert_eq!(forget(one).status, 409, "it runs");
    let (status, _) = post(&gateway, &format!("/{one}/signal"), &json!({ "signal": 9 }));
    assert_eq!(status, 200);
    wait::until("it has ended", || {
        (get(&gateway, &format!("/{one}"))["state"] == "ended").then_some(())
    });
    let (status, late) = post(&gateway, &format!("/{one}/input"), &json!({ "text": "you" }));
    assert_eq!(
        (status, &late["error"]["code"]),
        (409, &json!("not_now")),
        "{late}"
    );
    let (status, killed) = post(
        &gateway,
        &format!("/{}/kill", tasks[1]),
        &json!({ "why": "test" }),
    );
    assert_eq!((status, &killed["killed"]), (200, &json!([tasks[1]])));
    assert_eq!(forget(one).status, 200);
    assert_eq!(forget(one).status, 404);
    assert_eq!(ids(&get(&gateway, "?state=ended")), [tasks[1].clone()]);

    // Somebody behind a proxy may be anybody.
    let stranger = Request::new("GET", "/api/v1/tasks").header("x-forwarded-for", "192.0.2.1");
    let refused = stranger.send(gateway.address());
    assert_eq!(refused.status, 403);
    assert!(refused.text().contains("share = true"));
    gateway.stop();
    assert!(live.next_event().is_none(), "the stream ends with the gateway");
}

/// A gateway that is killed leaves its tasks alone; the next one finds them, and has missed nothing.
#[test]
fn tasks_outlive_a_gateway_that_is_killed() {
    const TASKS: usize = 20;
    const BEFORE: usize = 50;
    let config = config().events("dir = \"events\"\nsample = { kinds = [] }");
    let gateway = Gateway::start(&config);
    let place: PathBuf = gateway.file().parent().map(Path::to_path_buf).unwrap_or_default();
    let dir = folder(&gateway);
    let (go, end) = (place.join("go"), place.join("end"));
    let script = format!(
        "n=0; while [ $n -lt {BEFORE} ]; do echo line $n; n=$((n+1)); done
         while [ ! -e {go} ]; do sleep 0.05; done
         while [ $n -lt {twice} ]; do echo line $n; n=$((n+1)); done
         [ $(($AXIOM_TASK_NUMBER % 2)) = 0 ] && exit 0
         while [ ! -e {end} ]; do sleep 0.05; done
         echo last; exit 5",
        go = go.display(),
        end = end.display(),
        twice = 2 * BEFORE,
    );
    let client = &mut Stateless::new(&gateway.server("tasks"));
    let tasks = ids(&start(client, json!({ "shell": script, "count": TASKS })));
    wait::until("the first lines are recorded", || {
        let list = ask(client, "list", json!({}));
        let tasks = list["tasks"].as_array().expect("a list");
        let is_recorded = |task: &Value| task["lines"].as_u64() == Some(BEFORE as u64);
        tasks.iter().all(is_recorded).then_some(())
    });
    gateway.kill();
    // They go on: half of them end meanwhile.
    std::fs::write(&go, "").expect("a file");
    let exits = |tasks: &[String]| {
        let has_ended = |task: &&String| place.join("tasks").join(task).join("exit.json").exists();
        tasks.iter().filter(has_ended).count()
    };
    wait::until("half of them have ended", || {
        (exits(&tasks) == TASKS / 2).then_some(())
    });

    // Without a gateway they are found by its configuration.
    let here = |arguments: &[&str]| {
        let mut command = Command::new(bed::built("axiom"));
        let ended = command.args(arguments).current_dir(&place).output();
        let ended = ended.expect("axiom starts");
        (
            ended.status.code(),
            String::from_utf8_lossy(&ended.stdout).into_owned(),
            String::from_utf8_lossy(&ended.stderr).into_owned(),
        )
    };
    let (_, shown, _) = here(&["ps", "--json"]);
    assert!(tasks.iter().all(|task| shown.contains(task)), "{shown}");
    let (code, _, told) = here(&["rm", &tasks[0]]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("is a gateway's"), "{told}");

    let gateway = Gateway::start_in(&place);
    let client = &mut Stateless::new(&gateway.server("tasks"));
    let alive = ask(client, "list", json!({ "state": "alive" }));
    assert!(ids(&alive).len() >= TASKS / 2, "{alive}");
    std::fs::write(&end, "").expect("a file");
    let waited = ask(
        client,
        "wait",
        json!({ "tasks": tasks, "timeout_s": 60, "last": 1 }),
    );
    assert_eq!(waited["is_done"], true, "{waited}");
    for (number, task) in waited["tasks"].as_array().expect("a list").iter().enumerate() {
        assert_eq!(task["code"], if number % 2 == 0 { 0 } else { 5 }, "{task}");
    }
    assert!(gateway.stop().success());
    let ends = recorded(&dir, "kind=task.ended", TASKS);
    let ended: BTreeSet<String> = ends.iter().map(|event| event["stream"].to_string()).collect();
    assert_eq!(ended.len(), TASKS, "each ended once");
    for (number, task) in tasks.iter().enumerate() {
        let lines = export(&dir, &format!("stream=task.{task}.output"));
        let said: Vec<&str> = lines
            .iter()
            .filter_map(|event| event["body_text"].as_str())
            .collect();
        let mut expected: Vec<String> = (0..2 * BEFORE).map(|line| format!("line {line}")).collect();
        if number % 2 == 1 {
            expected.push("last".to_owned());
        }
        assert_eq!(said, expected, "{task}");
    }
}

/// Coding agents of the configuration: started by their names, answered by whoever directs them, and ended by a rule.
#[test]
fn agents_are_started_answered_and_directed() {
    let command = json!([
        bed::built("axiom-fake-agent"),
        "--script",
        "say at: {prompt}; ask Delete it?; spin 200; exit 4"
    ]);
    let agents = format!(
        r#"
[agents.fake]
command = {command}
prompt = "typed"
ready = "^> $"
approve = [{{ pattern = 'Delete it', answer = "ask", yes = "y\r", no = "n\r" }}]

[[rules]]
name = "no-harm"
agent = "fake"
pattern = "at: harm"
kill = true
"#
    );
    let gateway = Gateway::start(&config().tasks(&agents));
    let mut client = Stateless::new(&gateway.server("tasks"));
    let client: &mut dyn Peer = &mut client;
    let asks = |client: &mut dyn Peer, id: &str| {
        wait::until("it asks", || {
            let status = ask(client, "status", json!({ "task": id }));
            status["asks"].as_str()?.contains("Delete it?").then_some(())
        });
    };
    let id = spawn(client, json!({"agent": "fake", "prompt": "fix it"}));
    asks(client, &id);
    ask(client, "send", json!({"task": id, "answer": true}));
    let waited = ask(client, "wait", json!({"tasks": [id]}));
    assert_eq!(
        (&waited["is_done"], &waited["tasks"][0]["code"]),
        (&json!(true), &json!(4)),
        "{waited}"
    );
    let said = ask(client, "output", json!({ "task": id, "from": 0 }));
    assert_eq!(
        texts(&said["lines"])
            .iter()
            .filter(|line| line.contains("at: fix it"))
            .count(),
        1,
        "{said}"
    );

    let harmful = spawn(client, json!({"agent": "fake", "prompt": "harm"}));
    let waited = ask(client, "wait", json!({"tasks": [harmful]}));
    let how = waited["tasks"][0]["how"].as_str().expect("it has ended");
    assert!(how.contains("no-harm"), "{how}");

    let direct =
        |client: &mut dyn Peer, arguments: Value| ask(client, "orchestrate", arguments)["instances"].clone();
    let started = direct(
        client,
        json!({"action": "spawn", "instance": "one", "agent": "fake", "prompt": "look"}),
    );
    let id = started[0]["task"].as_str().expect("an id").to_owned();
    asks(client, &id);
    let all = direct(client, json!({"action": "status"}));
    assert_eq!(
        (all.as_array().map(Vec::len), &all[0]["name"]),
        (Some(1), &json!("one")),
        "{all}"
    );
    direct(
        client,
        json!({"action": "answer", "instance": "one", "answer": false}),
    );
    let shown = direct(client, json!({"action": "get_output", "instance": "one"}));
    assert!(shown[0]["last_lines"].is_array(), "{shown}");
    direct(client, json!({"action": "cleanup", "instance": "one"}));
    assert_eq!(direct(client, json!({"action": "status"})), json!([]));

    for (arguments, words) in [
        (json!({"agent": "fke", "prompt": "x"}), "there is no \"fke\""),
        (json!({"agent": "fake"}), "`prompt` is missing"),
        (
            json!({"agent": "fake", "prompt": "x", "executor": "process"}),
            "`executor` is not asked for an agent",
        ),
    ] {
        let result = client.call("spawn", &arguments).value();
        let text = result["content"][0]["text"].as_str().expect("a text");
        assert!(
            result["isError"] == true && text.contains(words),
            "{arguments}: {text}"
        );
    }
}
