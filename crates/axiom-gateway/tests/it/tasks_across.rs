//! Tasks between the eras: a client of one begins them at a server of the other, or gets what they come to.

use std::time::Duration;

use serde_json::Value;

use crate::client::{Client, initialize};
use crate::server::Server;
use crate::stage::{PATIENCE, Stage, json, settle};
use crate::tasks::{TASKS, TASKS_MODERN, declaring, handle, request};

pub(crate) const TOOLS: &str = r#"{"tools":[{"name":"needs","inputSchema":{"type":"object"},"execution":{"taskSupport":"required"}},{"name":"may","inputSchema":{"type":"object"},"execution":{"taskSupport":"optional"}},{"name":"plain","inputSchema":{"type":"object"}}]}"#;

pub(crate) const CAN_BE_ASKED: &str = r#""elicitation":{},"#;

pub(crate) fn with_task(status: &str) -> String {
    format!(
        r#"{{"taskId":"t","status":"{status}","createdAt":"c","lastUpdatedAt":"u","ttl":600000,"pollInterval":500,"x":1.0}}"#
    )
}

pub(crate) fn about(task: &str) -> String {
    format!(r#"{{"taskId":"{task}"}}"#)
}

pub(crate) async fn legacy_of(stage: &Stage, endpoint: &str, revision: &str, capabilities: &str) -> Client {
    let mut client = Client::new(stage, endpoint);
    client.say(&initialize(revision, capabilities)).await;
    client.hears().await;
    client
        .say(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#)
        .await;
    client
}

#[tokio::test(start_paused = true)]
async fn a_modern_client_at_a_session_server() {
    let server = Server::legacy("old", TASKS);
    server.answers("tools/list", TOOLS);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    client.say(&declaring("1", "server/discover", "{}", "")).await;
    let discovered = json(&client.hears().await);
    assert_eq!(
        discovered["result"]["capabilities"]["extensions"],
        json(r#"{"io.modelcontextprotocol/tasks":{}}"#)
    );

    // One that does not do tasks is called as ever, and what the client says of tasks in the old way means nothing.
    client
        .say(&declaring(
            "2",
            "tools/call",
            r#"{"name":"plain","task":{}}"#,
            CAN_BE_ASKED,
        ))
        .await;
    let call = server.hears_of("tools/call").await;
    assert_eq!(call.message["params"], json(r#"{"name":"plain"}"#));
    call.answer(r#"{"content":[]}"#).await;
    assert_eq!(json(&client.hears().await)["result"]["resultType"], "complete");

    for tool in ["needs", "may"] {
        client
            .say(&declaring(
                "3",
                "tools/call",
                &format!(r#"{{"name":"{tool}","arguments":{{"a":1}}}}"#),
                CAN_BE_ASKED,
            ))
            .await;
        let call = server.hears_of("tools/call").await;
        assert_eq!(
            call.message["params"],
            json(&format!(
                r#"{{"name":"{tool}","arguments":{{"a":1}},"task":{{}}}}"#
            ))
        );
        call.answer(&format!(r#"{{"task":{}}}"#, with_task("working")))
            .await;
        let answer = json(&client.hears().await);
        let task = handle(&answer);
        assert_eq!(
            answer["result"],
            json(&format!(
                r#"{{"taskId":"{task}","status":"working","createdAt":"c","lastUpdatedAt":"u","ttlMs":600000,"pollIntervalMs":500,"x":1.0,"resultType":"task","_meta":{{"io.modelcontextprotocol/serverInfo":{{"name":"old","version":"1"}}}}}}"#
            ))
        );
        // From the beginning one request waits for its end.
        let result = server.hears_of("tasks/result").await;
        assert_eq!(result.message["params"], json(&about("t")));

        let get = |id: &str| declaring(id, "tasks/get", &about(&task), CAN_BE_ASKED);
        client.say(&get("4")).await;
        server
            .hears_of("tasks/get")
            .await
            .answer(&with_task("working"))
            .await;
        let answer = json(&client.hears().await);
        assert_eq!(
            (&answer["result"]["status"], &answer["result"]["resultType"]),
            (&json("\"working\""), &json("\"complete\""))
        );

        // What the server asks there is in the task until it is answered. A call besides is not meant.
        client
            .say(&declaring("5", "tools/call", r#"{"name":"plain"}"#, CAN_BE_ASKED))
            .await;
        let besides = server.hears_of("tools/call").await;
        let question = r#"{"message":"Who?","requestedSchema":{"type":"object"},"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}"#;
        result
            .line
            .say(&request("7", "elicitation/create", question))
            .await;
        for id in ["6", "7"] {
            client.say(&get(id)).await;
            server
                .hears_of("tasks/get")
                .await
                .answer(&with_task("input_required"))
                .await;
            let answer = json(&client.hears().await);
            assert_eq!(answer["result"]["status"], "input_required", "{answer}");
            assert_eq!(
                answer["result"]["inputRequests"],
                json(
                    r#"{"elicitation-1":{"method":"elicitation/create","params":{"message":"Who?","requestedSchema":{"type":"object"},"mode":"form"}}}"#
                )
            );
        }
        let update = |id: &str| {
            declaring(
                id,
                "tasks/update",
                &format!(
                    r#"{{"taskId":"{task}","inputResponses":{{"elicitation-1":{{"action":"accept","n":1.0}},"other":{{}}}}}}"#
                ),
                CAN_BE_ASKED,
            )
        };
        for id in ["8", "9"] {
            let answer = json(&client.asks(&update(id)).await);
            assert_eq!(answer["result"], json(r#"{"resultType":"complete"}"#));
        }
        assert_eq!(
            server.hears().await.raw,
            r#"{"jsonrpc":"2.0","id":7,"result":{"action":"accept","n":1.0}}"#
        );
        besides.answer(r#"{"content":[]}"#).await;
        assert_eq!(json(&client.hears().await)["id"], 5);

        // The outcome is in the task, however often it is asked for; the server gives it once. What the older era calls a
        // failure of the task is a result here.
        result.answer(r#"{"content":[ ],"isError":true,"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}"#).await;
        for id in ["10", "11"] {
            client.say(&get(id)).await;
            server
                .hears_of("tasks/get")
                .await
                .answer(&with_task("failed"))
                .await;
            let answer = json(&client.hears().await);
            assert_eq!(answer["result"]["status"], "completed", "{answer}");
            assert_eq!(
                answer["result"]["result"],
                json(r#"{"content":[],"isError":true}"#)
            );
        }

        // It has ended, so it cannot be cancelled there; here that is as good as done.
        client
            .say(&declaring("12", "tasks/cancel", &about(&task), ""))
            .await;
        server
            .hears_of("tasks/cancel")
            .await
            .refuse(r#"{"code":-32602,"message":"completed"}"#)
            .await;
        server
            .hears_of("tasks/get")
            .await
            .answer(&with_task("failed"))
            .await;
        assert_eq!(
            json(&client.hears().await)["result"],
            json(r#"{"resultType":"complete"}"#)
        );
        // The next one has the same id at this server, which starts anew.
        server.line().die();
        settle().await;
    }
    server.heard_nothing_else().await;
}

/// A server may need something before it begins the task.
#[tokio::test(start_paused = true)]
async fn a_question_before_the_task() {
    let server = Server::legacy("old", TASKS);
    server.answers("tools/list", TOOLS);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/mcp");
    for declares_again in [true, false] {
        client
            .say(&declaring(
                "1",
                "tools/call",
                r#"{"name":"old__may"}"#,
                CAN_BE_ASKED,
            ))
            .await;
        let call = server.hears_of("tools/call").await;
        call.line
            .say(&request("7", "elicitation/create", r#"{"message":"Sure?"}"#))
            .await;
        let asked = json(&client.hears().await);
        let state = &asked["result"]["requestState"];
        let params = format!(
            r#"{{"name":"old__may","inputResponses":{{"elicitation-1-1":{{"action":"accept"}}}},"requestState":{state}}}"#
        );
        let again = match declares_again {
            true => declaring("2", "tools/call", &params, CAN_BE_ASKED),
            false => crate::client::modern("2", "tools/call", &params),
        };
        client.say(&again).await;
        assert_eq!(server.hears().await.message["result"]["action"], "accept");
        call.answer(&format!(r#"{{"task":{}}}"#, with_task("working")))
            .await;
        if declares_again {
            let answer = json(&client.hears().await);
            assert_eq!(answer["result"]["resultType"], "task", "{answer}");
            assert_ne!(handle(&answer), "t");
        }
        let result = server.hears_of("tasks/result").await;
        result.answer(r#"{"content":[]}"#).await;
        if !declares_again {
            let answer = json(&client.hears().await);
            assert_eq!(
                (&answer["id"], &answer["result"]["content"]),
                (&json("2"), &json("[]"))
            );
        }
        // The next task has the same id, in another conversation.
        server.line().die();
        settle().await;
    }
    server.heard_nothing_else().await;
}

#[tokio::test(start_paused = true)]
async fn a_task_that_fails_and_one_that_is_lost() {
    let server = Server::legacy("old", TASKS);
    server.answers("tools/list", TOOLS);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    client
        .say(&declaring("1", "tools/call", r#"{"name":"may"}"#, ""))
        .await;
    server
        .hears_of("tools/call")
        .await
        .answer(&format!(r#"{{"task":{}}}"#, with_task("working")))
        .await;
    let task = handle(&json(&client.hears().await));
    let result = server.hears_of("tasks/result").await;
    // A refusal may be no outcome: it is one if the task had ended before it.
    result.refuse(r#"{"code":-32603,"message":"not yet"}"#).await;
    for status in ["working", "failed"] {
        server
            .hears_of("tasks/get")
            .await
            .answer(&with_task(status))
            .await;
        let result = server.hears_of("tasks/result").await;
        assert_eq!(result.message["params"], json(&about("t")));
        result.refuse(r#"{"code":-32603,"message":"no luck"}"#).await;
    }
    settle().await;
    client.say(&declaring("2", "tasks/get", &about(&task), "")).await;
    server
        .hears_of("tasks/get")
        .await
        .answer(&with_task("failed"))
        .await;
    let answer = json(&client.hears().await);
    assert_eq!(answer["result"]["status"], "failed", "{answer}");
    assert_eq!(
        answer["result"]["error"],
        json(r#"{"code":-32603,"message":"no luck"}"#)
    );

    server.line().die();
    settle().await;
    for method in ["tasks/get", "tasks/cancel", "tasks/update"] {
        client.say(&declaring("3", method, &about(&task), "")).await;
        if method != "tasks/update" {
            server
                .hears_of(method)
                .await
                .refuse(r#"{"code":-32602,"message":"not found"}"#)
                .await;
        }
        if method == "tasks/cancel" {
            server
                .hears_of("tasks/get")
                .await
                .refuse(r#"{"code":-32602,"message":"not found"}"#)
                .await;
        }
        let answer = json(&client.hears().await);
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
        assert!(
            answer["error"]["message"]
                .as_str()
                .unwrap()
                .contains("the task is lost"),
            "{answer}"
        );
    }
    server.heard_nothing_else().await;
}

/// The conversation in which a task lives is not closed over its head.
#[tokio::test(start_paused = true)]
async fn a_task_keeps_its_conversation() {
    let server = Server::legacy("old", TASKS);
    server.answers("tools/list", TOOLS);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    client
        .say(&declaring("1", "tools/call", r#"{"name":"may"}"#, CAN_BE_ASKED))
        .await;
    let task = with_task("working").replace("600000", "40000000");
    server
        .hears_of("tools/call")
        .await
        .answer(&format!(r#"{{"task":{task}}}"#))
        .await;
    let task = handle(&json(&client.hears().await));
    let result = server.hears_of("tasks/result").await;
    // A call that waits for its client sets the conversation apart from new calls.
    tokio::time::sleep(Duration::from_secs(20_000)).await;
    result.answer(r#"{"content":[]}"#).await;
    tokio::time::sleep(Duration::from_secs(10_000)).await;
    let before = server.greetings().len();
    client
        .say(&declaring("2", "tasks/get", &about(&task), CAN_BE_ASKED))
        .await;
    server
        .hears_of("tasks/get")
        .await
        .answer(&with_task("completed"))
        .await;
    assert_eq!(
        json(&client.hears().await)["result"]["result"],
        json(r#"{"content":[]}"#)
    );
    assert_eq!(server.greetings().len(), before, "in the same conversation");
    // Until its time has passed.
    let open = server.open_lines();
    tokio::time::sleep(Duration::from_secs(20_000)).await;
    assert!(
        server.open_lines() < open,
        "{} of {open} are open",
        server.open_lines()
    );
}

/// A tool that wants to be called as a task, called by clients that know nothing of tasks.
#[tokio::test(start_paused = true)]
async fn whoever_knows_no_tasks_gets_the_result() {
    let server = Server::legacy("old", TASKS);
    server.answers("tools/list", TOOLS);
    let stage = Stage::of(&[&server]);
    let answer = r#"{"content":[],"_meta":{"io.modelcontextprotocol/related-task":{"taskId":"t"}}}"#;

    // A session of before tasks, and one of 2025-11-25 that does not declare them.
    for (revision, name) in [("2025-06-18", "2025-06-18"), ("2025-11-25", "2025-11-25")] {
        let mut client = legacy_of(&stage, "/mcp", revision, r#"{"elicitation":{}}"#).await;
        client
            .say(&request(
                "1",
                "tools/call",
                r#"{"name":"old__needs","arguments":{}}"#,
            ))
            .await;
        let call = server.hears_of("tools/call").await;
        assert_eq!(
            call.message["params"],
            json(r#"{"name":"needs","arguments":{},"task":{}}"#),
            "{name}"
        );
        call.answer(&format!(r#"{{"task":{}}}"#, with_task("working")))
            .await;
        let result = server.hears_of("tasks/result").await;
        result
            .line
            .say(&request("7", "elicitation/create", r#"{"message":"Who?"}"#))
            .await;
        let question = json(&client.hears().await);
        client
            .say(&format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{{"action":"decline"}}}}"#,
                question["id"]
            ))
            .await;
        assert_eq!(
            server.hears().await.raw,
            r#"{"jsonrpc":"2.0","id":7,"result":{"action":"decline"}}"#
        );
        // Longer than a call may be silent.
        tokio::time::sleep(Duration::from_secs(500)).await;
        result.answer(answer).await;
        assert_eq!(
            client.hears().await,
            r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#,
            "{name}"
        );

        // It is given up: the task, too.
        client
            .say(&request("2", "tools/call", r#"{"name":"old__needs"}"#))
            .await;
        server
            .hears_of("tools/call")
            .await
            .answer(&format!(r#"{{"task":{}}}"#, with_task("working")))
            .await;
        server.hears_of("tasks/result").await;
        client
            .say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":2}}"#)
            .await;
        let mut told: Vec<Value> = vec![server.hears().await.message, server.hears().await.message];
        told.sort_by_key(|message| message["method"].to_string());
        assert_eq!(told[0]["method"], "notifications/cancelled");
        assert_eq!(
            (&told[1]["method"], &told[1]["params"]["taskId"]),
            (&json("\"tasks/cancel\""), &json("\"t\""))
        );
        client.heard_nothing_else().await;
    }

    // A modern client that does not declare them: what the server asks becomes the call's answer, and the same task goes on.
    let mut client = Client::new(&stage, "/s/old/mcp");
    let call = |id: &str, params: &str| {
        crate::client::modern(id, "tools/call", params).replace(
            r#"clientCapabilities":{}"#,
            r#"clientCapabilities":{"elicitation":{}}"#,
        )
    };
    client.say(&call("1", r#"{"name":"needs"}"#)).await;
    server
        .hears_of("tools/call")
        .await
        .answer(&format!(r#"{{"task":{}}}"#, with_task("working")))
        .await;
    let result = server.hears_of("tasks/result").await;
    result
        .line
        .say(&request("7", "elicitation/create", r#"{"message":"Who?"}"#))
        .await;
    let asked = json(&client.hears().await);
    assert_eq!(asked["result"]["resultType"], "input_required", "{asked}");
    let state = &asked["result"]["requestState"];
    client.say(&call("2", &format!(r#"{{"name":"needs","inputResponses":{{"elicitation-1-1":{{"action":"cancel"}}}},"requestState":{state}}}"#))).await;
    assert_eq!(
        server.hears().await.raw,
        r#"{"jsonrpc":"2.0","id":7,"result":{"action":"cancel"}}"#
    );
    result.answer(answer).await;
    let answer = json(&client.hears().await);
    assert_eq!(
        (
            &answer["id"],
            &answer["result"]["content"],
            &answer["result"]["resultType"]
        ),
        (&json("2"), &json("[]"), &json("\"complete\""))
    );
    assert!(!answer.to_string().contains("related-task"), "{answer}");
    // One that may is called as ever.
    client.say(&call("3", r#"{"name":"may"}"#)).await;
    let plain = server.hears_of("tools/call").await;
    assert_eq!(plain.message["params"]["task"], Value::Null);
    plain.answer(r#"{"content":[]}"#).await;
    client.hears().await;
    server.heard_nothing_else().await;
}

/// How the server's task is, in its own words.
fn modern_task(status: &str, besides: &str) -> String {
    format!(
        r#"{{"resultType":"complete","taskId":"t","status":"{status}","createdAt":"c","lastUpdatedAt":"u","ttlMs":600000,"pollIntervalMs":500,"x":1.0{besides}}}"#
    )
}

fn in_session_words(task: &str, status: &str) -> Value {
    json(&format!(
        r#"{{"taskId":"{task}","status":"{status}","createdAt":"c","lastUpdatedAt":"u","ttl":600000,"pollInterval":500,"x":1.0}}"#
    ))
}

#[tokio::test(start_paused = true)]
async fn a_session_client_at_a_modern_server() {
    let server = Server::modern("new", TASKS_MODERN);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/new/mcp");
    client
        .say(&initialize("2025-11-25", r#"{"elicitation":{},"tasks":{}}"#))
        .await;
    let greeting = json(&client.hears().await);
    assert_eq!(
        greeting["result"]["capabilities"]["tasks"],
        json(r#"{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}"#)
    );
    let declared =
        |message: &Value| message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"].clone();

    // Without `task` the server is not told that the client knows any.
    client.say(&request("1", "tools/call", r#"{"name":"x"}"#)).await;
    let call = server.hears_of("tools/call").await;
    assert_eq!(declared(&call.message), json(r#"{"elicitation":{}}"#));
    call.answer(r#"{"resultType":"complete","content":[]}"#).await;
    assert_eq!(
        client.hears().await,
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#
    );

    // With it, the server decides.
    let wanting = |id: &str| request(id, "tools/call", r#"{"name":"x","task":{"ttl":1}}"#);
    client.say(&wanting("2")).await;
    let call = server.hears_of("tools/call").await;
    assert_eq!(
        declared(&call.message),
        json(r#"{"elicitation":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#)
    );
    assert_eq!(call.message["params"]["task"], Value::Null);
    call.answer(r#"{"resultType":"complete","content":[]}"#).await;
    assert_eq!(
        client.hears().await,
        r#"{"jsonrpc":"2.0","id":2,"result":{"content":[]}}"#
    );
    client.say(&wanting("3")).await;
    let call = server.hears_of("tools/call").await;
    call.answer(
        &modern_task(
            "working",
            r#","_meta":{"m":1,"io.modelcontextprotocol/serverInfo":{"name":"new","version":"1"}}"#,
        )
        .replace("complete\"", "task\""),
    )
    .await;
    let answer = json(&client.hears().await);
    let task = handle(&answer);
    assert_eq!(
        answer["result"],
        serde_json::json!({ "task": in_session_words(&task, "working"), "_meta": { "m": 1 } })
    );

    client.say(&request("4", "tasks/get", &about(&task))).await;
    let get = server.hears_of("tasks/get").await;
    assert_eq!(get.message["params"]["taskId"], "t");
    get.answer(&modern_task("completed", r#","result":{"content":[]}"#))
        .await;
    assert_eq!(
        json(&client.hears().await)["result"],
        in_session_words(&task, "completed")
    );
    client.say(&request("5", "tasks/list", "{}")).await;
    server
        .hears_of("tasks/get")
        .await
        .answer(&modern_task("working", ""))
        .await;
    assert_eq!(
        json(&client.hears().await)["result"]["tasks"],
        Value::Array(vec![in_session_words(&task, "working")])
    );

    // The result is waited for, at the server's pace; what it wants to know is asked on the way, once.
    client.say(&request("6", "tasks/result", &about(&task))).await;
    let began = tokio::time::Instant::now();
    for _ in 0..4 {
        server
            .hears_of("tasks/get")
            .await
            .answer(&modern_task("working", ""))
            .await;
    }
    assert!(
        began.elapsed() >= Duration::from_millis(1_500),
        "{:?}",
        began.elapsed()
    );
    let asking = r#","inputRequests":{"who":{"method":"elicitation/create","params":{"message":"Who?","requestedSchema":{}}}}"#;
    server
        .hears_of("tasks/get")
        .await
        .answer(&modern_task("input_required", asking))
        .await;
    let question = json(&client.hears().await);
    assert_eq!(question["method"], "elicitation/create");
    assert_eq!(
        question["params"]["_meta"]["io.modelcontextprotocol/related-task"]["taskId"],
        *task
    );
    server
        .hears_of("tasks/get")
        .await
        .answer(&modern_task("input_required", asking))
        .await;
    client.say(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"action":"accept","_meta":{{"io.modelcontextprotocol/related-task":{{"taskId":"{task}"}}}}}}}}"#, question["id"])).await;
    let update = server.hears_of("tasks/update").await;
    assert_eq!(
        update.message["params"]["inputResponses"],
        json(r#"{"who":{"action":"accept"}}"#)
    );
    update.answer(r#"{"resultType":"complete"}"#).await;
    server
        .hears_of("tasks/get")
        .await
        .answer(&modern_task(
            "completed",
            r#","result":{"content":[ ],"structuredContent":[1]}"#,
        ))
        .await;
    let answer = json(&client.hears().await);
    assert_eq!(answer["id"], 6);
    assert_eq!(
        answer["result"],
        json(&format!(
            r#"{{"content":[{{"type":"text","text":"[1]"}}],"_meta":{{"io.modelcontextprotocol/related-task":{{"taskId":"{task}"}}}}}}"#
        )),
        "in words that the client knows"
    );
    server.heard_nothing_else().await;
}

#[tokio::test(start_paused = true)]
async fn a_session_client_is_told_how_a_modern_servers_task_ended() {
    let server = Server::modern("new", TASKS_MODERN);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy(&stage, "/mcp").await;
    client
        .say(&request("1", "tools/call", r#"{"name":"new__x","task":{}}"#))
        .await;
    server
        .hears_of("tools/call")
        .await
        .answer(&modern_task("working", "").replace("complete\"", "task\""))
        .await;
    let task = handle(&json(&client.hears().await));

    client.say(&request("2", "tasks/result", &about(&task))).await;
    server
        .hears_of("tasks/get")
        .await
        .answer(&modern_task(
            "failed",
            r#","error":{"code":-32603,"message":"no luck","data":[ 1 ]}"#,
        ))
        .await;
    assert_eq!(
        client.hears().await,
        r#"{"jsonrpc":"2.0","id":2,"error":{"code":-32603,"message":"no luck","data":[ 1 ]}}"#
    );
    client.say(&request("3", "tasks/result", &about(&task))).await;
    server
        .hears_of("tasks/get")
        .await
        .refuse(r#"{"code":-32602,"message":"expired"}"#)
        .await;
    assert_eq!(
        client.hears().await,
        r#"{"jsonrpc":"2.0","id":3,"error":{"code":-32602,"message":"expired"}}"#
    );

    // Given up, the wait ends and the task does not.
    client.say(&request("4", "tasks/result", &about(&task))).await;
    server
        .hears_of("tasks/get")
        .await
        .answer(&modern_task("working", ""))
        .await;
    settle().await;
    client
        .say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":4}}"#)
        .await;
    tokio::time::sleep(PATIENCE).await;
    client.heard_nothing_else().await;
    server.heard_nothing_else().await;

    // Cancelled: how it is after that, which may take a moment; and never twice.
    client.say(&request("5", "tasks/cancel", &about(&task))).await;
    server
        .hears_of("tasks/get")
        .await
        .answer(&modern_task("working", ""))
        .await;
    server
        .hears_of("tasks/cancel")
        .await
        .answer(r#"{"resultType":"complete"}"#)
        .await;
    for status in ["working", "cancelled"] {
        server
            .hears_of("tasks/get")
            .await
            .answer(&modern_task(status, ""))
            .await;
    }
    assert_eq!(
        json(&client.hears().await)["result"],
        in_session_words(&task, "cancelled")
    );
    client.say(&request("6", "tasks/cancel", &about(&task))).await;
    server
        .hears_of("tasks/get")
        .await
        .answer(&modern_task("cancelled", ""))
        .await;
    assert_eq!(json(&client.hears().await)["error"]["code"], -32602);
    client.say(&request("7", "tasks/result", &about(&task))).await;
    server
        .hears_of("tasks/get")
        .await
        .answer(&modern_task("cancelled", ""))
        .await;
    assert_eq!(json(&client.hears().await)["error"]["code"], 1011);
    server.heard_nothing_else().await;
}
