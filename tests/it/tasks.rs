//! Tasks, for clients and servers of each era: the reference server has those of 2025-11-25, rmcp those of 2026-07-28; the
//! TypeScript client of before knows the former, rmcp's the latter. None of them knows of the other.

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;

use axiom_tests::client::{Client, Way};
use axiom_tests::config::Config;
use axiom_tests::gateway::Gateway;
use axiom_tests::peer::{LATEST_LEGACY, Peer, Reply, Session, Stateless, finish, message};
use axiom_tests::{bed, servers, wait};
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelTaskParams, ClientCapabilities, ClientConfig,
    DetailedTask, GetTaskParams, Implementation, ProtocolVersion, TaskPayload, TaskStatus, UpdateTaskParams,
};
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ClientLifecycleMode, ClientServiceExt as _};
use serde_json::{Value, json};

use server::TaskServer;

mod server;

/// The reference server's tool that must be called as a task. It takes four seconds.
const RESEARCH: &str = "simulate-research-query";

fn research(is_ambiguous: bool) -> Value {
    json!({ "topic": "sleep", "ambiguous": is_ambiguous })
}

fn with_everything() -> Config {
    Config::new().stdio("everything", &servers::everything().command)
}

fn with_both(tasks: &TaskServer) -> Config {
    with_everything().url("rmcp", &tasks.url)
}

fn keys() -> PathBuf {
    let file = bed::scratch("keys").join("axiom.keys");
    let mut made = std::process::Command::new(bed::built("axiom"));
    let made = made.args(["key", "new", "--into"]).arg(&file).output();
    assert!(made.expect("axiom starts").status.success());
    file
}

fn sharing(config: Config, keys: &PathBuf) -> Config {
    config.gateway(&format!("key_file = {}", json!(keys)))
}

fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound")
}

/// A client of 2026-07-28 that knows tasks and can be asked.
fn stateless(url: &str) -> Stateless {
    let mut client = Stateless::new(url);
    client.capabilities = json!({ "elicitation": {}, "extensions": { "io.modelcontextprotocol/tasks": {} } });
    client
}

/// A client of 2025-11-25 that knows tasks and can be asked.
fn session(url: &str) -> Session {
    Session::open_as(url, LATEST_LEGACY, &json!({ "elicitation": {}, "tasks": {} }))
}

fn task_of(reply: &Reply) -> String {
    let value = reply.value();
    let task = if value["task"].is_object() {
        &value["task"]
    } else {
        &value
    };
    task["taskId"]
        .as_str()
        .unwrap_or_else(|| panic!("no task in {value}"))
        .to_owned()
}

fn about(task: &str) -> String {
    json!({ "taskId": task }).to_string()
}

fn as_task(tool: &str, arguments: &Value) -> String {
    json!({ "name": tool, "arguments": arguments, "task": {} }).to_string()
}

/// Asks for the task until its status is this.
fn until(peer: &mut impl Peer, task: &str, status: &str) -> Value {
    wait::until(&format!("the task is {status}"), || {
        let seen = peer.ask("tasks/get", &about(task)).value();
        assert_eq!(seen["taskId"], task, "the same handle each time");
        (seen["status"] == status).then_some(seen)
    })
}

#[test]
fn a_session_client_on_both_eras() {
    let tasks = TaskServer::start();
    let gateway = Gateway::start(&with_both(&tasks));
    for (url, prefix) in [
        (gateway.mcp(), ["everything__", "rmcp__"]),
        (String::new(), ["", ""]),
    ] {
        let url = |server: &str| {
            if url.is_empty() {
                gateway.server(server)
            } else {
                url.clone()
            }
        };
        let mut old = session(&url("everything"));
        assert!(old.initialized["capabilities"]["tasks"]["requests"]["tools"]["call"].is_object());
        let created = old.ask(
            "tools/call",
            &as_task(&format!("{}{RESEARCH}", prefix[0]), &research(false)),
        );
        let in_old = task_of(&created);
        let mut new = session(&url("rmcp"));
        assert!(new.initialized["capabilities"]["tasks"]["requests"]["tools"]["call"].is_object());
        let work = format!("{}work", prefix[1]);
        let created = new.ask("tools/call", &as_task(&work, &json!({})));
        assert_eq!(
            created.value()["task"]["pollInterval"],
            50,
            "{:?}",
            created.result
        );
        let in_new = task_of(&created);
        let done = until(&mut new, &in_new, "completed");
        assert!(done["ttl"].is_u64() && done.get("result").is_none(), "{done}");
        let result = new.ask("tasks/result", &about(&in_new));
        assert_eq!(result.text(), "done");
        assert_eq!(
            result.value()["_meta"]["io.modelcontextprotocol/related-task"]["taskId"],
            *in_new
        );

        // How it failed, and that it is cancelled.
        let failing = task_of(&new.ask("tools/call", &as_task(&work, &json!({ "then": "fail" }))));
        let failed = new.ask("tasks/result", &about(&failing));
        assert_eq!((failed.code(), failed.message()), (-32603, "no luck".to_owned()));
        let endless = task_of(&new.ask("tools/call", &as_task(&work, &json!({ "then": "cancelled" }))));
        assert_eq!(
            new.ask("tasks/cancel", &about(&endless)).value()["status"],
            "cancelled"
        );
        assert_eq!(new.ask("tasks/cancel", &about(&endless)).code(), -32602);
        let listed = new.ask("tasks/list", "{}").value();
        let listed: Vec<&str> = listed["tasks"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|task| task["taskId"].as_str())
            .collect();
        assert_eq!(listed, [&in_new, &failing, &endless]);

        // Without `task` it is a call like any other; the server does not hear that this client knows tasks.
        assert_eq!(new.call(&work, &json!({})).text(), "at once");

        let listed = old.ask("tasks/list", "{}").value();
        assert_eq!(listed["tasks"][0]["taskId"], *in_old, "{listed}");
        let report = old.ask("tasks/result", &about(&in_old));
        assert!(
            report.text().contains("Research Report: sleep"),
            "{}",
            report.text()
        );
        assert_eq!(
            old.ask("tasks/get", &about(&in_old)).value()["status"],
            "completed"
        );
        assert_eq!(
            old.ask("tasks/cancel", &about(&in_old)).code(),
            -32602,
            "it has ended"
        );
    }
}

/// The TypeScript client of before calls a tool as a task, polls it, and answers what it is asked on the way.
#[test]
fn a_real_session_client_on_both_eras() {
    let tasks = TaskServer::start();
    let gateway = Gateway::start(&with_both(&tasks));
    let call = |name: &str, arguments: Value| {
        vec![json!({ "do": "callToolAsTask", "name": name, "arguments": arguments })]
    };
    for (url, prefix) in [
        (gateway.mcp(), "everything__"),
        (gateway.server("everything"), ""),
    ] {
        let answers =
            json!({ "elicitation": { "action": "accept", "content": { "interpretation": "historical" } } });
        let steps = call(&format!("{prefix}{RESEARCH}"), research(true));
        let report = Client::TsV1.run(&Way::Http(url), &answers, &steps);
        assert_eq!(report.events(0, "elicitation/create").len(), 1, "{report:?}");
        assert!(
            report.text(0).contains("sleep (historical)"),
            "{}",
            report.text(0)
        );
    }
    for (url, prefix) in [(gateway.mcp(), "rmcp__"), (gateway.server("rmcp"), "")] {
        let answers = json!({ "elicitation": { "action": "accept", "content": { "name": "Ada" } } });
        let steps = call(&format!("{prefix}work"), json!({ "then": "ask" }));
        let report = Client::TsV1.run(&Way::Http(url), &answers, &steps);
        assert_eq!(report.events(0, "elicitation/create").len(), 1, "{report:?}");
        assert_eq!(report.text(0), "Hello, Ada!");
    }
}

/// rmcp, which knows the tasks of 2026-07-28, on a server of its own kind and on the reference server.
#[tokio::test(flavor = "multi_thread")]
async fn a_real_modern_client_on_both_eras() {
    let tasks = TaskServer::start();
    let (_everything, remote) = servers::everything_over("streamableHttp");
    let gateway = Gateway::start(&with_both(&tasks).url("remote", &remote));
    for (url, prefix) in [(gateway.mcp(), "rmcp__"), (gateway.server("rmcp"), "")] {
        let client = connect(&url).await;
        let work = |then: &str| begin(&client, format!("{prefix}work"), json!({ "then": then }));
        let done = ended(&client, &work("done").await, Value::Null).await;
        assert_eq!(text_of(&done), "done");
        let asked = ended(
            &client,
            &work("ask").await,
            json!({ "action": "accept", "content": { "name": "Ada" } }),
        )
        .await;
        assert_eq!(text_of(&asked), "Hello, Ada!");
        let failed = ended(&client, &work("fail").await, Value::Null).await;
        assert!(
            matches!(&failed.payload, TaskPayload::Failed { error } if error["message"] == "no luck"),
            "{failed:?}"
        );
        let endless = work("cancelled").await;
        client
            .peer()
            .cancel_task(CancelTaskParams::new(endless.clone()))
            .await
            .expect("it is cancelled");
        assert_eq!(
            ended(&client, &endless, Value::Null).await.status(),
            TaskStatus::Cancelled
        );
        client.cancel().await.expect("it ends");
    }
    for (url, prefix) in [
        (gateway.mcp(), "everything__"),
        (gateway.server("everything"), ""),
    ] {
        let client = connect(&url).await;
        let research = |is_ambiguous| begin(&client, format!("{prefix}{RESEARCH}"), research(is_ambiguous));
        // Two at once: what one of them asks is its own.
        let (asking, plain) = (research(true).await, research(false).await);
        let answer = json!({ "action": "accept", "content": { "interpretation": "current" } });
        let (asked, done) = tokio::join!(
            ended(&client, &asking, answer),
            ended(&client, &plain, Value::Null)
        );
        assert!(text_of(&asked).contains("sleep (current)"), "{}", text_of(&asked));
        assert!(
            text_of(&done).contains("Research Report: sleep\n"),
            "{}",
            text_of(&done)
        );
        let dropped = research(false).await;
        client
            .peer()
            .cancel_task(CancelTaskParams::new(dropped.clone()))
            .await
            .expect("it is cancelled");
        assert_eq!(
            ended(&client, &dropped, Value::Null).await.status(),
            TaskStatus::Cancelled
        );
        client.cancel().await.expect("it ends");
    }
}

pub(crate) async fn connect(url: &str) -> RunningService<RoleClient, ClientConfig> {
    let capabilities = ClientCapabilities::builder()
        .enable_tasks()
        .enable_elicitation()
        .build();
    let client = ClientConfig::new(capabilities, Implementation::from_build_env());
    let mode = ClientLifecycleMode::Discover {
        preferred_versions: vec![ProtocolVersion::V_2026_07_28],
    };
    let transport = StreamableHttpClientTransport::from_uri(url);
    client
        .serve_with_lifecycle(transport, mode)
        .await
        .expect("it connects")
}

pub(crate) async fn begin(
    client: &RunningService<RoleClient, ClientConfig>,
    tool: String,
    arguments: Value,
) -> String {
    let mut params = CallToolRequestParams::new(tool);
    params.arguments = arguments.as_object().cloned();
    match client.call_tool_once(params).await.expect("it is called") {
        CallToolResponse::Task(created) => created.task.task_id,
        other => panic!("no task but {other:?}"),
    }
}

/// Follows a task to its end, and answers whatever it asks with `answer`.
pub(crate) async fn ended(
    client: &RunningService<RoleClient, ClientConfig>,
    task: &str,
    answer: Value,
) -> DetailedTask {
    let mut answered = Vec::new();
    for _ in 0..600 {
        let seen = client
            .peer()
            .get_task(GetTaskParams::new(task))
            .await
            .expect("it is known")
            .task;
        assert_eq!(seen.task.task_id, task);
        if seen.status().is_terminal() {
            return seen;
        }
        if let TaskPayload::InputRequired { input_requests } = &seen.payload {
            for key in input_requests
                .keys()
                .filter(|key| !answered.contains(*key))
                .cloned()
                .collect::<Vec<_>>()
            {
                let responses =
                    serde_json::from_value(json!({ key.clone(): answer })).expect("it is an answer");
                client
                    .peer()
                    .update_task(UpdateTaskParams::new(task, responses))
                    .await
                    .expect("it is taken");
                answered.push(key);
            }
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("the task did not end");
}

fn text_of(task: &DetailedTask) -> String {
    match &task.payload {
        TaskPayload::Completed { result } => result["content"][0]["text"]
            .as_str()
            .expect("it says something")
            .to_owned(),
        other => panic!("no result but {other:?}"),
    }
}

/// The reference server refuses to run the tool but as a task. Whoever knows no tasks gets what it comes to.
#[test]
fn clients_that_know_no_tasks_get_the_result() {
    let (_everything, url) = servers::everything_over("streamableHttp");
    let gateway = Gateway::start(&with_everything().url("remote", &url));
    std::thread::scope(|scope| {
        for server in ["everything", "remote"] {
            for revision in ["2025-06-18", LATEST_LEGACY] {
                let url = gateway.server(server);
                scope.spawn(move || {
                    let mut session = Session::open_as(&url, revision, &json!({}));
                    let reply = session.call(RESEARCH, &research(false));
                    assert!(
                        reply.text().contains("Research Report: sleep"),
                        "{server} {revision}"
                    );
                    assert!(!reply.bytes().contains("related-task"), "{}", reply.bytes());
                });
            }
            let url = gateway.mcp();
            scope.spawn(move || asked_on_the_way(&url, &format!("{server}__{RESEARCH}")));
            let url = gateway.server(server);
            scope.spawn(move || asked_in_a_session(&url));
        }
    });
}

/// A client of 2026-07-28 without the extension: what the server asks is the call's answer.
fn asked_on_the_way(url: &str, tool: &str) {
    let mut client = Stateless::new(url);
    client.capabilities = json!({ "elicitation": {} });
    let asked = client.call(tool, &research(true)).value();
    assert_eq!(asked["resultType"], "input_required", "{asked}");
    let key = asked["inputRequests"]
        .as_object()
        .and_then(|all| all.keys().next())
        .expect("a question");
    let again = json!({ "name": tool, "arguments": research(true), "requestState": asked["requestState"],
        "inputResponses": { key: { "action": "accept", "content": { "interpretation": "technical" } } } });
    let reply = client.ask("tools/call", &again.to_string());
    assert!(reply.text().contains("sleep (technical)"), "{}", reply.text());
    assert!(!reply.bytes().contains("related-task"), "{}", reply.bytes());
}

/// A client of a revision before tasks: the server asks on the call's stream.
fn asked_in_a_session(url: &str) {
    let session = Session::open_as(url, "2025-06-18", &json!({ "elicitation": {} }));
    let params = json!({ "name": RESEARCH, "arguments": research(true) }).to_string();
    let mut answer = session.send(&session.request(message("7", "tools/call", &params)));
    let question = loop {
        let said: Value = serde_json::from_str(&answer.next_message().expect("it asks")).expect("it is JSON");
        if said["method"] == "elicitation/create" {
            break said;
        }
    };
    let given = json!({ "jsonrpc": "2.0", "id": question["id"],
        "result": { "action": "accept", "content": { "interpretation": "historical" } } });
    assert_eq!(session.send(&session.request(given.to_string())).status, 202);
    let reply = finish("7", &mut answer);
    assert!(reply.text().contains("sleep (historical)"), "{}", reply.text());
}

/// A handle says by itself whose task it is: a gateway that was restarted knows it, and so does another replica.
#[test]
fn a_handle_outlives_the_gateway() {
    let tasks = TaskServer::start();
    let (keys, address) = (keys(), free_address());
    let config = sharing(with_both(&tasks), &keys);
    let gateway = Gateway::start_at(&config, address);
    let (mut modern, mut legacy) = (stateless(&gateway.mcp()), session(&gateway.mcp()));
    let work = json!({ "then": "ask" });
    let of_modern = task_of(&modern.call("rmcp__work", &work));
    let of_legacy = task_of(&legacy.ask("tools/call", &as_task("rmcp__work", &work)));
    // One that ends with the process it lives in.
    let lost = task_of(&modern.call(&format!("everything__{RESEARCH}"), &research(false)));
    gateway.stop();
    let gateway = Gateway::start_at(&config, address);
    let asks = until(&mut modern, &of_modern, "input_required");
    assert_eq!(asks["inputRequests"]["who"]["params"]["message"], "Who are you?");
    until(&mut legacy, &of_legacy, "input_required");
    let gone = modern.ask("tasks/get", &about(&lost));
    assert_eq!(gone.code(), -32602);
    assert!(
        gone.message().contains("the task is lost: server 'everything'"),
        "{}",
        gone.message()
    );

    let other = Gateway::start(&config);
    let mut elsewhere = stateless(&other.mcp());
    until(&mut elsewhere, &of_modern, "input_required");
    let answer = json!({ "taskId": of_modern, "inputResponses": { "who": { "action": "accept", "content": { "name": "Ada" } } } });
    assert_eq!(
        elsewhere.ask("tasks/update", &answer.to_string()).value()["resultType"],
        "complete"
    );
    let done = until(&mut modern, &of_modern, "completed");
    assert_eq!(done["result"]["content"][0]["text"], "Hello, Ada!");

    // Without the key nobody reads it.
    let stranger = Gateway::start(&with_both(&tasks));
    assert_eq!(
        stateless(&stranger.mcp())
            .ask("tasks/get", &about(&of_modern))
            .code(),
        -32602
    );
    drop(gateway);
}

/// A task that lives in a process of one replica is asked for there.
#[test]
fn a_task_in_one_replicas_process() {
    let keys = keys();
    let [one, two] = [free_address(), free_address()].map(|address| {
        let config = sharing(with_everything(), &keys).gateway(&format!("advertise = \"http://{address}\""));
        Gateway::start_at(&config, address)
    });
    let mut client = stateless(&one.server("everything"));
    let task = task_of(&client.call(RESEARCH, &research(false)));
    let mut elsewhere = stateless(&two.server("everything"));
    let done = until(&mut elsewhere, &task, "completed");
    assert!(
        done["result"]["content"][0]["text"]
            .as_str()
            .is_some_and(|text| text.contains("Research Report")),
        "{done}"
    );
    let of_one = task_of(&client.call(RESEARCH, &research(false)));
    one.kill();
    let gone = elsewhere.ask("tasks/get", &about(&of_one));
    assert_eq!(gone.code(), -32602, "{}", gone.message());
    assert!(gone.message().contains("lost"), "{}", gone.message());
}

#[test]
fn what_is_refused() {
    let tasks = TaskServer::start();
    let gateway = Gateway::start(&with_both(&tasks));
    let mut client = stateless(&gateway.mcp());
    let task = task_of(&client.call("rmcp__work", &json!({ "then": "cancelled" })));
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        for bad in [
            format!("{task}A"),
            task.chars().rev().collect(),
            "1234".to_owned(),
        ] {
            let reply = client.ask(method, &about(&bad));
            assert_eq!(
                (reply.code(), reply.status),
                (-32602, 400),
                "{method}: {}",
                reply.message()
            );
        }
        // The header must say the same as the body, as it stands there.
        let request = client
            .request("9", method, &json!({ "taskId": task }))
            .without("mcp-name")
            .header("mcp-name", "other");
        assert_eq!(finish("9", &mut client.send(&request)).code(), -32020);
        let mut plain = Stateless::new(&gateway.mcp());
        let reply = plain.ask(method, &about(&task));
        assert_eq!((reply.code(), reply.status), (-32021, 400), "{}", reply.message());
        let data = &reply.error.as_ref().expect("an error")["data"];
        assert_eq!(
            data["requiredCapabilities"],
            json!({ "extensions": { "io.modelcontextprotocol/tasks": {} } })
        );
        // At another endpoint it is another's.
        assert_eq!(
            stateless(&gateway.server("rmcp"))
                .ask(method, &about(&task))
                .code(),
            -32602
        );
    }
    assert_eq!(
        client.ask("tasks/get", &about(&task)).value()["status"],
        "working",
        "nothing of it did harm"
    );

    // A server that was started anew says that it knows nothing of the task.
    let _tasks = tasks.restarted();
    let reply = client.ask("tasks/get", &about(&task));
    assert_eq!(reply.code(), -32602, "{}", reply.message());
}
