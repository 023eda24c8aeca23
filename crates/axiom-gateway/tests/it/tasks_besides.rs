//! What goes on beside tasks, for as long as they live: progress, log lines, other calls, and clients that ask again.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;

use crate::client::Client;
use crate::http::Web;
use crate::server::Server;
use crate::stage::{Stage, json, settle};
use crate::tasks::{TASKS, TASKS_MODERN, handle, request};

const KNOWS_TASKS: &str = r#"{"elicitation":{},"tasks":{}}"#;

fn begun(id: &str) -> String {
    format!(r#"{{"task":{{"taskId":"{id}","status":"working","ttl":null}}}}"#)
}

fn related(id: &str) -> String {
    format!(r#""_meta":{{"io.modelcontextprotocol/related-task":{{"taskId":"{id}"}}}}"#)
}

fn working(id: &str) -> String {
    format!(r#"{{"resultType":"complete","taskId":"{id}","status":"working","pollIntervalMs":1000}}"#)
}

#[tokio::test(start_paused = true)]
async fn a_call_that_names_a_task() {
    let (one, two) = (Server::legacy("one", TASKS), Server::legacy("two", TASKS));
    for server in [&one, &two] {
        server.list_tools(&["x"]);
    }
    let stage = Stage::of(&[&one, &two]);
    let mut client = Client::legacy_with(&stage, "/mcp", KNOWS_TASKS).await;
    client
        .say(&request("1", "tools/call", r#"{"name":"two__x","task":{}}"#))
        .await;
    two.hears_of("tools/call").await.answer(&begun("t1")).await;
    let task = handle(&json(&client.hears().await));

    // Its own server knows it by its own id, wherever the name stands; to any other it is a word like any other.
    for (server, name, said, heard) in [
        (&two, "two__x", &*task, "t1"),
        (&one, "one__x", &task, &task),
        (&one, "one__x", "of-the-client", "of-the-client"),
    ] {
        for (params, expected) in [
            (
                format!(r#"{{{},"name":"{name}"}}"#, related(said)),
                format!(r#""params":{{{},"name":"x"}}"#, related(heard)),
            ),
            (
                format!(r#"{{"name":"{name}",{}}}"#, related(said)),
                format!(r#""params":{{"name":"x",{}}}"#, related(heard)),
            ),
        ] {
            client.say(&request("2", "tools/call", &params)).await;
            let call = server.hears_of("tools/call").await;
            assert!(call.raw.contains(&expected), "{}", call.raw);
            call.answer(r#"{"content":[]}"#).await;
            client.hears().await;
        }
    }

    // The task that is asked about is the one in `taskId`.
    let params = format!(r#"{{"taskId":"{task}",{}}}"#, related("another"));
    client.say(&request("3", "tasks/get", &params)).await;
    let get = two.hears_of("tasks/get").await;
    assert_eq!(get.message["params"]["taskId"], "t1");
    get.answer(r#"{"taskId":"t1","status":"working"}"#).await;
    assert_eq!(json(&client.hears().await)["result"]["taskId"], *task);
}

#[tokio::test(start_paused = true)]
async fn progress_of_a_task_comes_under_the_clients_token() {
    let server = Server::legacy("old", TASKS);
    server.list_tools(&["x"]);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy_with(&stage, "/s/old/mcp", KNOWS_TASKS).await;
    client
        .say(&request(
            "1",
            "tools/call",
            r#"{"name":"x","task":{},"_meta":{"progressToken":"mine"}}"#,
        ))
        .await;
    let call = server.hears_of("tools/call").await;
    let token = call.message["params"]["_meta"]["progressToken"].clone();
    assert_ne!(token, "mine");
    call.answer(&begun("t")).await;
    let task = handle(&json(&client.hears().await));
    let params = format!(r#"{{"taskId":"{task}"}}"#);
    client.say(&request("2", "tasks/result", &params)).await;
    let result = server.hears_of("tasks/result").await;
    for (token, is_for_client) in [(&token, true), (&Value::from(999_999), false)] {
        let params = format!(r#"{{"progressToken":{token},"progress":1}}"#);
        result
            .line
            .say(&format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{params}}}"#
            ))
            .await;
        if is_for_client {
            let notice = json(&client.hears().await);
            assert_eq!(notice["params"], json(r#"{"progressToken":"mine","progress":1}"#));
        }
    }
    result.answer(r#"{"content":[]}"#).await;
    assert_eq!(
        json(&client.hears().await)["id"],
        2,
        "nobody's progress came to nobody"
    );
}

#[tokio::test(start_paused = true)]
async fn a_task_that_is_waited_for_leaves_a_call_its_log_lines() {
    let capabilities = r#"{"tools":{},"logging":{},"tasks":{"requests":{"tools":{"call":{}}}}}"#;
    let server = Server::legacy("old", capabilities);
    server.list_tools(&["x"]);
    let stage = Stage::of(&[&server]);
    // Neither can be asked anything, so both share one conversation.
    let mut first = Client::legacy_with(&stage, "/s/old/mcp", r#"{"tasks":{}}"#).await;
    let mut second = Client::legacy_with(&stage, "/s/old/mcp", r#"{"tasks":{}}"#).await;
    first
        .say(&request("1", "tools/call", r#"{"name":"x","task":{}}"#))
        .await;
    server.hears_of("tools/call").await.answer(&begun("t")).await;
    let task = handle(&json(&first.hears().await));
    let params = format!(r#"{{"taskId":"{task}"}}"#);
    first.say(&request("2", "tasks/result", &params)).await;
    let wait = server.hears_of("tasks/result").await;
    second.say(&request("1", "tools/call", r#"{"name":"x"}"#)).await;
    let call = server.hears_of("tools/call").await;
    let logs = async |data: &str, besides: &str| {
        let params = format!(r#"{{"level":"warning","data":"{data}"{besides}}}"#);
        let line = format!(r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{params}}}"#);
        call.line.say(&line).await;
    };
    logs("of the task", &format!(",{}", related("t"))).await;
    logs("of another task", &format!(",{}", related("u"))).await;
    logs("of the call", "").await;
    assert_eq!(json(&second.hears().await)["params"]["data"], "of the call");
    let line = json(&first.hears().await);
    assert_eq!(line["params"]["data"], "of the task");
    call.answer(r#"{"content":[]}"#).await;
    assert_eq!(json(&second.hears().await)["id"], 1);
    // Now there is no call but the wait.
    logs("of whom?", "").await;
    assert_eq!(json(&first.hears().await)["params"]["data"], "of whom?");
    wait.answer(r#"{"content":[]}"#).await;
    assert_eq!(json(&first.hears().await)["id"], 2);
    assert_eq!(server.open_lines(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_result_that_is_asked_for_again_is_waited_for_once() {
    let server = Server::modern("new", TASKS_MODERN);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy_with(&stage, "/s/new/mcp", KNOWS_TASKS).await;
    client
        .say(&request("1", "tools/call", r#"{"name":"x","task":{}}"#))
        .await;
    server
        .hears_of("tools/call")
        .await
        .answer(&working("t").replace("complete", "task"))
        .await;
    let task = handle(&json(&client.hears().await));
    let params = format!(r#"{{"taskId":"{task}"}}"#);
    for id in 2..5 {
        client
            .say(&request(&id.to_string(), "tasks/result", &params))
            .await;
        if id > 2 {
            let ended = json(&client.hears().await);
            assert_eq!(
                (&ended["id"], &ended["error"]["code"]),
                (&Value::from(id - 1), &Value::from(-32600))
            );
        }
        server.hears_of("tasks/get").await.answer(&working("t")).await;
        settle().await;
    }
    let asked = server.times_asked("tasks/get");
    for _ in 0..5 {
        server.hears_of("tasks/get").await.answer(&working("t")).await;
        settle().await;
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(server.times_asked("tasks/get") - asked, 5, "one asks for all");
    server
        .hears_of("tasks/get")
        .await
        .answer(r#"{"taskId":"t","status":"completed","result":{"content":[]}}"#)
        .await;
    assert_eq!(json(&client.hears().await)["id"], 4);
}

#[tokio::test]
async fn the_end_of_a_session_ends_its_waits() {
    let server = Server::modern("new", TASKS_MODERN);
    let stage = Stage::of(&[&server]);
    let web = Web::open(&stage);
    let path = "/s/new/mcp";
    let session = web.session(path, "2025-11-25").await;
    let headers = [
        ("mcp-session-id", &*session),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let call = request("1", "tools/call", r#"{"name":"x","task":{}}"#);
    let (answer, ()) = tokio::join!(
        async { web.post(path, &headers, &call).await.text().await },
        async {
            let call = server.hears_of("tools/call").await;
            call.answer(&working("t").replace("complete", "task")).await;
        }
    );
    let said = answer.lines().find_map(|line| line.strip_prefix("data: {"));
    let answer = said.map_or(answer.clone(), |said| format!("{{{said}"));
    let task = handle(&json(&answer));
    let params = format!(r#"{{"taskId":"{task}"}}"#);
    let wait = request("2", "tasks/result", &params);
    let ((), ()) = tokio::join!(
        async {
            web.post(path, &headers, &wait).await.text().await;
        },
        async {
            let look = server.hears_of("tasks/get").await;
            // A minute until it is looked at again.
            look.answer(&working("t").replace("1000", "60000")).await;
            let ended = web.send("DELETE", path, &headers, "").await;
            assert_eq!(ended.status, StatusCode::OK);
        }
    );
    assert_eq!(server.times_asked("tasks/get"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_list_of_tasks_asks_for_a_few_at_once_and_does_not_wait_for_ever() {
    let server = Server::modern("new", TASKS_MODERN);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy_with(&stage, "/s/new/mcp", KNOWS_TASKS).await;
    for number in 0..10 {
        client
            .say(&request("1", "tools/call", r#"{"name":"x","task":{}}"#))
            .await;
        let call = server.hears_of("tools/call").await;
        call.answer(&working(&format!("t{number}")).replace("complete", "task"))
            .await;
        client.hears().await;
    }
    client.say(&request("2", "tasks/list", "{}")).await;
    settle().await;
    let mut looks = Vec::new();
    while let Some(look) = server.has_heard().await {
        looks.push(look);
    }
    assert_eq!(looks.len(), 8);
    // One is there, one is not known, and of the others nothing is heard.
    looks[0].answer(&working("t0")).await;
    looks[1]
        .refuse(r#"{"code":-32602,"message":"Task not found"}"#)
        .await;
    let began = tokio::time::Instant::now();
    let listed = json(&client.hears().await);
    assert_eq!(listed["result"]["tasks"].as_array().unwrap().len(), 1, "{listed}");
    assert!(began.elapsed() < Duration::from_secs(16), "{:?}", began.elapsed());
    while server.has_heard().await.is_some() {}

    client.say(&request("3", "tasks/list", "{}")).await;
    let mut asked = Vec::new();
    loop {
        let heard = server.hears().await;
        if heard.message["method"] == "tasks/get" {
            let id = heard.message["params"]["taskId"].as_str().unwrap().to_owned();
            heard.answer(&working(&id)).await;
            asked.push(id);
        }
        if asked.len() == 9 {
            break;
        }
    }
    let listed = json(&client.hears().await);
    assert_eq!(listed["result"]["tasks"].as_array().unwrap().len(), 9);
    assert!(!asked.contains(&"t1".to_owned()), "{asked:?}");
}
