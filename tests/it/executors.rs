//! Every executor by the ways that its users have: `[tasks]` and its pools, `spawn` over MCP, plain HTTP, and `axiom run`.
#![allow(
    clippy::unwrap_used,
    reason = "a failed expectation is a failed test, in helpers too"
)]

use std::path::{Path, PathBuf};
use std::process::Command;

use axiom_tests::child::Running;
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::http::Request;
use axiom_tests::peer::{Peer, Session, Stateless};
use axiom_tests::{bed, wait};
use serde_json::{Value, json};

use crate::running::{Said, said};

/// Answers a line with a line. Asked to wait it says on stderr that it has begun, and waits.
const WORKER: &str = "
let count = 0;
require('readline').createInterface({ input: process.stdin }).on('line', (line) => {
  const { say, wait } = JSON.parse(line);
  count += 1;
  const answer = JSON.stringify({ said: say, count, pid: process.pid, path: !!process.env.PATH });
  if (wait) { console.error('begun'); setTimeout(() => console.log(answer), wait); }
  else console.log(answer);
});
";

/// Whether it is there; says so if not.
fn has(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output();
    let has = found.is_ok_and(|output| output.status.success());
    if !has {
        eprintln!("skipped in part: there is no {program} in PATH");
    }
    has
}

/// A folder with the worker in it.
fn folder() -> PathBuf {
    let folder = bed::scratch("executors");
    std::fs::write(folder.join("worker.js"), WORKER).unwrap();
    folder
}

fn pools(folder: &Path) -> String {
    let script = folder.join("worker.js");
    format!(
        "pools.py = {{ kind = \"python\", preload = [\"json\"], size = 2 }}\n\
         pools.node = {{ kind = \"lines\", command = [\"node\", {script:?}], size = 1 }}\n\
         pools.solver = {{ kind = \"smt\", size = 2 }}"
    )
}

fn config(folder: &Path) -> Config {
    let config = Config::new().tasks("dir = \"tasks\"\nexecutor = \"process\"");
    config.tasks(&pools(folder))
}

fn post(gateway: &Gateway, body: &Value) -> (u16, Value) {
    let mut body = body.clone();
    // On a machine that is busy with other tests any other class would wait.
    body["class"] = json!("critical");
    let answer = Request::post("/api/v1/tasks", body.to_string()).send(gateway.address());
    (answer.status, answer.json())
}

/// One task, to its end.
fn run(gateway: &Gateway, mut order: Value) -> Value {
    order["wait_s"] = json!(60);
    let (status, done) = post(gateway, &order);
    assert_eq!(
        (status, &done["has_ended"]),
        (200, &json!(true)),
        "{order}: {done}"
    );
    // With its last lines.
    get(
        gateway,
        &format!("/{}", done["tasks"][0]["task"].as_str().unwrap()),
    )
}

fn get(gateway: &Gateway, path: &str) -> Value {
    Request::new("GET", &format!("/api/v1/tasks{path}"))
        .send(gateway.address())
        .json()
}

fn lines(task: &Value) -> Vec<String> {
    let lines = task["last_lines"].as_array().unwrap_or_else(|| panic!("{task}"));
    let text = |line: &Value| line["text"].as_str().unwrap().to_owned();
    lines.iter().map(text).collect()
}

/// What the worker answered.
fn answer(task: &Value) -> Value {
    assert_eq!(task["code"], 0, "{task}");
    serde_json::from_str(lines(task).last().unwrap()).unwrap()
}

fn is_alive(pid: &str) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"));
    stat.is_ok_and(|stat| !stat.contains(") Z "))
}

#[test]
fn python_that_has_started_runs_tasks_and_ends_with_the_gateway() {
    if !has("python3") {
        return;
    }
    let folder = folder();
    let gateway = Gateway::start(&config(&folder));
    let script = "import os, sys; print(os.getpid(), os.getppid(), 'json' in sys.modules, os.environ['AXIOM_TASK_NUMBER'])";
    let order = json!({ "executor": "py", "command": ["python3", "-c", script] });
    let first = run(&gateway, order.clone());
    assert_eq!(
        (&first["executor"], &first["pool"]),
        (&json!("zygote"), &json!("py")),
        "{first}"
    );
    let words = |task: &Value| -> Vec<String> {
        lines(task)
            .last()
            .unwrap()
            .split(' ')
            .map(str::to_owned)
            .collect()
    };
    let (one, two) = (words(&first), words(&run(&gateway, order)));
    // Another process, the same Python.
    assert_ne!(one[0], two[0]);
    assert_eq!(one[1..], two[1..]);
    assert_eq!(one[2..], ["True", "0"]);
    assert!(is_alive(&one[1]));
    // Its limits are those that the shim keeps for all, and are named.
    let long = run(
        &gateway,
        json!({ "executor": "py", "command": ["python3", "-c", "import time; time.sleep(600)"], "limits": { "wall": 0.5 } }),
    );
    assert!(long["how"].as_str().unwrap().contains("wall"), "{long}");
    gateway.stop();
    wait::until("the zygote has ended", || (!is_alive(&one[1])).then_some(()));
}

#[test]
fn workers_answer_over_mcp_and_http() {
    let folder = folder();
    let gateway = Gateway::start(&config(&folder));
    let mut left = None;
    if has("node") {
        let order = json!({ "executor": "node", "request": { "say": "hello\nthere" } });
        let first = answer(&run(&gateway, order));
        assert_eq!(
            (&first["said"], &first["count"], &first["path"]),
            (&json!("hello\nthere"), &json!(1), &json!(true)),
            "{first}"
        );
        let url = gateway.server("tasks");
        let clients: [Box<dyn Peer>; 2] = [Box::new(Session::open(&url)), Box::new(Stateless::new(&url))];
        for (mut client, count) in clients.into_iter().zip(2..) {
            let order =
                json!({ "executor": "node", "request": "{\"say\":1}", "wait_s": 60, "class": "critical" });
            let done = client.call("spawn", &order).value()["structuredContent"].clone();
            let next = answer(&done["tasks"][0]);
            assert_eq!(
                (&next["said"], &next["count"]),
                (&json!(1), &json!(count)),
                "{done}"
            );
            assert_eq!(next["pid"], first["pid"]);
        }
        left = Some(first["pid"].to_string());
    }
    if has("z3") {
        for (request, expected) in [
            (
                "(declare-const x Int) (assert (> x 2)) (assert (< x 4)) (check-sat) (get-value (x))",
                vec!["sat", "((x 3))"],
            ),
            // Nothing of the one before is left.
            (
                "(declare-const x Int) (assert (< x x)) (check-sat)",
                vec!["unsat"],
            ),
        ] {
            let task = run(&gateway, json!({ "executor": "solver", "request": request }));
            assert_eq!(lines(&task), expected, "{task}");
        }
    }
    gateway.stop();
    if let Some(pid) = left {
        wait::until("the worker has ended", || (!is_alive(&pid)).then_some(()));
    }
}

/// A pool has as many places as it has; who waits for one waits in the queue, and holds up nobody else.
#[test]
fn who_waits_for_a_worker_waits_in_the_queue() {
    if !has("node") {
        return;
    }
    let folder = folder();
    let gateway = Gateway::start(&config(&folder));
    let slow = json!({ "executor": "node", "request": { "say": "slow", "wait": 1500 }, "count": 3 });
    let (_, started) = post(&gateway, &slow);
    let state = |nth: usize| {
        let id = started["tasks"][nth]["task"].as_str().unwrap();
        get(&gateway, &format!("/{id}"))
    };
    wait::until("the first one runs", || {
        (state(0)["state"] == "running").then_some(())
    });
    assert_eq!(state(1)["state"], "queued");
    assert_eq!(run(&gateway, json!({ "command": ["true"] }))["code"], 0);
    for (nth, count) in (0..3).zip(1..) {
        let task = wait::until("it has ended", || {
            let task = state(nth);
            (task["state"] == "ended").then_some(task)
        });
        assert_eq!(answer(&task)["count"], count, "{task}");
    }
}

/// Whoever asked gets the answer, though nobody was there when it was given.
#[test]
fn a_request_outlives_the_gateway() {
    if !has("node") {
        return;
    }
    let folder = folder();
    std::fs::write(folder.join("axiom.toml"), config(&folder).text()).unwrap();
    let gateway = Gateway::start_in(&folder);
    let (_, started) = post(
        &gateway,
        &json!({ "executor": "node", "request": { "say": "late", "wait": 3000 } }),
    );
    let id = started["tasks"][0]["task"].as_str().unwrap().to_owned();
    wait::until("it has the request", || {
        let lines = get(&gateway, &format!("/{id}/output?from=0&stream=stderr"));
        lines["lines"][0]["text"]
            .as_str()
            .map(|text| assert_eq!(text, "begun"))
    });
    gateway.kill();
    let gateway = Gateway::start_in(&folder);
    let task = wait::until("it has ended", || {
        let task = get(&gateway, &format!("/{id}"));
        (task["state"] == "ended").then_some(task)
    });
    let late = answer(&task);
    assert_eq!(late["said"], "late");
    // The pool of the new gateway has a worker of its own.
    let next = answer(&run(
        &gateway,
        json!({ "executor": "node", "request": { "say": "next" } }),
    ));
    assert_eq!(next["count"], 1);
    gateway.stop();
}

#[test]
fn what_an_executor_cannot_keep_is_refused_by_its_name() {
    let folder = folder();
    let gateway = Gateway::start(&config(&folder).tasks("oci = { runtime = \"no-such-runtime\" }"));
    let python = json!(["python3", "-c", "pass"]);
    for (order, words) in [
        (
            json!({ "executor": "py", "command": python, "limits": { "memory": "1GiB" } }),
            "`limits.memory` cannot be kept by the executor `zygote`",
        ),
        (
            json!({ "executor": "node", "request": {}, "limits": { "cpu": 1 } }),
            "`limits.cpu` cannot be kept by the executor `worker`",
        ),
        (
            json!({ "executor": "py", "command": python, "network": "host" }),
            "`network`, `read` and `write` say what a sandbox opens",
        ),
        (
            json!({ "executor": "py", "shell": "true" }),
            "`shell` is for `sh`",
        ),
        (
            json!({ "executor": "py", "command": ["node", "-c", "1"] }),
            "`command[0]` is \"node\"",
        ),
        (
            json!({ "executor": "py", "command": ["python3", "-u"] }),
            "`command[1]` is neither",
        ),
        (
            json!({ "executor": "node", "command": ["true"] }),
            "`command` means nothing to the workers",
        ),
        (json!({ "executor": "node" }), "`request` is missing"),
        (
            json!({ "executor": "node", "request": "no JSON" }),
            "`request` is no JSON object on one line",
        ),
        (
            json!({ "executor": "node", "request": {}, "env": { "A": "b" } }),
            "`env` cannot be given to a worker",
        ),
        (
            json!({ "executor": "node", "request": {}, "terminal": {} }),
            "`terminal` cannot be had",
        ),
        (json!({ "request": {} }), "`request` is for a worker"),
        (
            json!({ "executor": "nod", "request": {} }),
            "`executor`: there is no \"nod\"",
        ),
        (
            json!({ "executor": "worker", "request": {} }),
            "`executor`: a worker belongs to a pool",
        ),
        (
            json!({ "executor": "oci", "command": ["true"], "limits": { "disk_io": "1MiB" } }),
            "`limits.disk_io` cannot be kept by the executor `oci`",
        ),
    ] {
        let (status, refused) = post(&gateway, &order);
        let said = refused["error"]["message"].as_str().unwrap_or_default();
        assert!(status == 400 && said.starts_with(words), "{order}: {refused}");
        assert!(refused["error"]["hint"].is_string(), "{order}: {refused}");
    }
    assert_eq!(get(&gateway, "")["total"], 0);
    // What is not there says so, with a way out.
    let missing = run(&gateway, json!({ "executor": "oci", "command": ["true"] }));
    let how = missing["how"].as_str().unwrap();
    assert!(how.contains("no-such-runtime") && how.contains("PATH"), "{how}");
}

#[test]
fn a_pool_whose_program_is_missing_says_how_to_get_it() {
    let config = Config::new()
        .tasks("dir = \"tasks\"\nexecutor = \"process\"")
        .tasks("pools.solver = { kind = \"smt\", command = [\"/nowhere/z3\", \"-in\"] }");
    let gateway = Gateway::start(&config);
    let task = run(
        &gateway,
        json!({ "executor": "solver", "request": "(check-sat)" }),
    );
    let how = task["how"].as_str().unwrap();
    for words in [
        "the pool \"solver\" has no place for it",
        "/nowhere/z3 cannot be started",
        "install the package z3",
    ] {
        assert!(how.contains(words), "{how}");
    }
}

/// What this machine has no room for is no failure of ours; it says so.
fn was_started(task: &Value) -> bool {
    let how = task["how"].as_str().unwrap_or_default();
    let was = !how.starts_with("not started");
    if !was {
        eprintln!("skipped: {how}");
    }
    was
}

#[test]
fn containers_of_a_gateway_keep_their_limits() {
    if !has("runc") {
        return;
    }
    let gateway = Gateway::start(
        &Config::new()
            .tasks("dir = \"tasks\"\nexecutor = \"oci\"\nlimits = { memory = \"64MiB\", pids = 64 }"),
    );
    let done = run(
        &gateway,
        json!({ "shell": "echo $HOME; cat /proc/1/comm; ls /root || echo nothing" }),
    );
    if !was_started(&done) {
        return;
    }
    assert_eq!(done["executor"], "oci");
    assert_eq!(lines(&done).first().map(String::as_str), Some("/tmp"), "{done}");
    assert!(lines(&done).contains(&"nothing".to_owned()), "{done}");
    let hog = run(&gateway, json!({ "shell": "x=x; while :; do x=$x$x; done" }));
    assert_eq!(hog["code"], 137, "{hog}");
    let (status, refused) = post(&gateway, &json!({ "executor": "process", "command": ["true"] }));
    assert_eq!(status, 400, "{refused}");
}

/// A pool in a sandbox, which is where pools are where tasks are in one.
#[test]
fn a_pool_has_the_walls_of_the_tasks() {
    if !Path::new("/usr/bin/python3").exists() {
        eprintln!("skipped: there is no /usr/bin/python3, which a sandbox would have");
        return;
    }
    let config = Config::new().tasks(
        "dir = \"tasks\"\npools.py = { kind = \"python\", command = [\"/usr/bin/python3\"], limits = { pids = 32 } }",
    );
    let gateway = Gateway::start(&config);
    let file = gateway.file().display().to_string();
    let script = format!(
        "open('kept', 'w').write('mine')\ntry: open({file:?}); print('read')\nexcept OSError: print('no configuration')\nimport os; print(os.environ['HOME'])"
    );
    let order = json!({ "executor": "py", "command": ["python3", "-c", script] });
    let task = run(&gateway, order);
    if !was_started(&task) {
        return;
    }
    assert_eq!(lines(&task), ["no configuration", "/tmp"], "{task}");
    assert!(gateway.file().with_file_name("tasks/work/kept").exists());
    let project = gateway.file().with_file_name("project");
    std::fs::create_dir(project).unwrap();
    let (status, refused) = post(
        &gateway,
        &json!({ "executor": "py", "command": ["python3", "-c", "pass"], "folder": "project" }),
    );
    let said = refused["error"]["message"].as_str().unwrap_or_default();
    assert!(
        status == 400 && said.contains("the sandbox of the pool \"py\" has no"),
        "{refused}"
    );
}

fn axiom_run(folder: &Path, arguments: &[&str]) -> Said {
    let mut command = Command::new(bed::built("axiom"));
    command
        .args(["run", "--dir"])
        .arg(folder.join("run"))
        .args(arguments)
        .current_dir(folder)
        .env("NO_COLOR", "1");
    let mut running = Running::start("axiom run", &mut command);
    running.stdin = None;
    said(&mut running)
}

#[test]
fn axiom_run_has_the_pools_of_the_configuration() {
    let folder = folder();
    std::fs::write(folder.join("axiom.toml"), config(&folder).text()).unwrap();
    if has("node") {
        // More than there are workers: they wait for one another.
        let said = axiom_run(
            &folder,
            &["--executor", "node", "--count", "3", "--", r#"{"say":"run"}"#],
        );
        assert_eq!(
            (said.code, said.data.len()),
            (Some(0), 3),
            "{} {:?}",
            said.talk,
            said.data
        );
        for count in 1..=3 {
            let part = format!("\"count\":{count},");
            assert!(
                said.data.iter().any(|line| line.contains(&part)),
                "{:?}",
                said.data
            );
        }
        let said = axiom_run(&folder, &["--executor", "node", "--", "no JSON"]);
        assert_eq!(said.code, Some(2), "{}", said.talk);
        assert!(said.talk.contains("argv[0] is no JSON object"), "{}", said.talk);
    }
    if has("z3") {
        let said = axiom_run(&folder, &["--executor", "solver", "--", "(check-sat)"]);
        assert_eq!(
            (said.code, said.data.len()),
            (Some(0), 1),
            "{} {:?}",
            said.talk,
            said.data
        );
        assert!(said.data[0].ends_with("sat"), "{:?}", said.data);
    }
    if has("python3") {
        let arguments = [
            "--executor",
            "py",
            "--count",
            "3",
            "--",
            "python3",
            "-c",
            "import sys; print('json' in sys.modules)",
        ];
        let said = axiom_run(&folder, &arguments);
        assert_eq!(
            (said.code, said.data.len()),
            (Some(0), 3),
            "{} {:?}",
            said.talk,
            said.data
        );
        assert!(
            said.data.iter().all(|line| line.ends_with("True")),
            "{:?}",
            said.data
        );
    }
    for (name, words) in [
        ("solv", "there is no executor and no pool"),
        ("worker", "belongs to a pool"),
    ] {
        let said = axiom_run(&folder, &["--executor", name, "--", "true"]);
        assert_eq!(said.code, Some(2), "{}", said.talk);
        assert!(said.talk.contains(words), "{}", said.talk);
    }
    let left = std::fs::read_dir(folder.join("run")).map(|entries| entries.flatten().count());
    assert_eq!(left.unwrap_or_default(), 0, "something was left");
}

#[test]
fn doctor_starts_what_the_configuration_names() {
    let folder = folder();
    let config = config(&folder).tasks("pools.missing = { kind = \"smt\", command = [\"/nowhere/z3\"] }");
    std::fs::write(folder.join("axiom.toml"), config.text()).unwrap();
    let mut command = Command::new(bed::built("axiom"));
    command
        .args(["doctor", "--json", "--dir"])
        .arg(folder.join("run"))
        .current_dir(&folder);
    let mut running = Running::start("axiom doctor", &mut command);
    running.stdin = None;
    let said = said(&mut running);
    let report: Value = serde_json::from_str(&said.data.join("\n")).unwrap();
    let find = |list: &str, name: &str| -> Value {
        let all = report[list].as_array().unwrap();
        let found = all.iter().find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {report:#}")).clone()
    };
    for (pool, program) in [("node", "node"), ("solver", "z3"), ("py", "python3")] {
        assert_eq!(find("pools", pool)["works"], has(program), "{report:#}");
    }
    let missing = find("pools", "missing");
    assert_eq!(missing["works"], false);
    assert!(
        missing["how"]
            .as_str()
            .unwrap()
            .contains("install the package z3"),
        "{missing}"
    );
    assert_eq!(find("executors", "zygote")["works"], has("python3"));
    let oci = find("executors", "oci");
    assert!(
        oci["works"] == true || !oci["reason"].as_str().unwrap().is_empty(),
        "{oci}"
    );
}

/// What a task may write is bounded where it writes, and its end says that this was it.
#[test]
fn a_task_that_fills_its_disk_is_told_by_that_limit() {
    let folder = folder();
    let fill = "dd if=/dev/zero of=/tmp/full bs=64k; code=$?; stat -f -c %a /tmp; exit $code";
    for (executor, names_it) in [("sandbox", true), ("oci", false)] {
        if executor == "oci" && !has("runc") {
            continue;
        }
        let arguments = [
            "--executor",
            executor,
            "--limit",
            "disk=8MiB",
            "--read-only",
            "--",
            "sh",
            "-c",
            fill,
        ];
        let said = axiom_run(&folder, &arguments);
        if said.code == Some(127) {
            eprintln!("skipped: {}", said.talk);
            continue;
        }
        assert!(said.talk.contains("No space left on device"), "{}", said.talk);
        // A quarter of it is for shared memory.
        assert!(said.talk.contains("6291456 bytes"), "{}", said.talk);
        assert_eq!(
            said.talk.contains("beyond its limit disk_bytes of 8388608 B"),
            names_it,
            "{}",
            said.talk
        );
        // It could not write where it was started either.
        let arguments = [
            "--executor",
            executor,
            "--read-only",
            "--",
            "sh",
            "-c",
            "echo x > here",
        ];
        let said = axiom_run(&folder, &arguments);
        assert!(
            said.code != Some(0) && !folder.join("here").exists(),
            "{}",
            said.talk
        );
        // A folder without a bound that it may write to.
        let arguments = ["--executor", executor, "--limit", "disk=8MiB", "--", "true"];
        let said = axiom_run(&folder, &arguments);
        assert_eq!(said.code, Some(127), "{}", said.talk);
        assert!(
            said.talk.contains("no project quota") && said.talk.contains("hint: "),
            "{}",
            said.talk
        );
    }
    let said = axiom_run(&folder, &["--limit", "disk=8MiB", "--", "true"]);
    assert_eq!(said.code, Some(2), "{}", said.talk);
    assert!(
        said.talk
            .contains("limits.disk_bytes cannot be kept by the executor `process`"),
        "{}",
        said.talk
    );
}
