//! Tasks of a session server whose result is refused too early, and tasks in great number.

use std::time::Duration;

use crate::client::Client;
use crate::server::Server;
use crate::stage::{PATIENCE, Stage, json, settle};
use crate::tasks::{TASKS, declaring, handle, request};
use crate::tasks_across::{CAN_BE_ASKED, TOOLS, about, legacy_of, with_task};

/// Some servers refuse to tell the result of a task that has not ended, where others wait.
#[tokio::test(start_paused = true)]
async fn a_result_refused_too_early_is_asked_for_again() {
    let server = Server::legacy("old", TASKS);
    server.answers("tools/list", TOOLS);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    let early = r#"{"code":-32603,"message":"the task has not ended"}"#;
    let known = declaring("1", "tools/call", r#"{"name":"may"}"#, "");
    let unknown = crate::client::modern("1", "tools/call", r#"{"name":"needs"}"#);
    for (call, is_known) in [(known, true), (unknown, false)] {
        client.say(&call).await;
        let call = server.hears_of("tools/call").await;
        call.answer(&format!(r#"{{"task":{}}}"#, with_task("working")))
            .await;
        let task = match is_known {
            true => handle(&json(&client.hears().await)),
            false => String::new(),
        };
        for status in ["working", "working", "completed"] {
            server.hears_of("tasks/result").await.refuse(early).await;
            let began = tokio::time::Instant::now();
            let seen = server.hears_of("tasks/get").await;
            assert!(began.elapsed() < Duration::from_millis(100), "at once");
            seen.answer(&with_task(status)).await;
        }
        // It ended between the refusal and the question how it is.
        server
            .hears_of("tasks/result")
            .await
            .answer(r#"{"content":[]}"#)
            .await;
        if is_known {
            settle().await;
            client.say(&declaring("2", "tasks/get", &about(&task), "")).await;
            let seen = server.hears_of("tasks/get").await;
            seen.answer(&with_task("completed")).await;
            let answer = json(&client.hears().await);
            assert_eq!(answer["result"]["status"], "completed", "{answer}");
            assert_eq!(answer["result"]["result"], json(r#"{"content":[]}"#));
            // The next task has the same id, in another conversation.
            server.line().die();
            settle().await;
        } else {
            assert_eq!(json(&client.hears().await)["result"]["content"], json("[]"));
        }
    }

    // What the server says after the end is the outcome, and the tool is not called a second time.
    client
        .say(&crate::client::modern("3", "tools/call", r#"{"name":"needs"}"#))
        .await;
    let call = server.hears_of("tools/call").await;
    call.answer(&format!(r#"{{"task":{}}}"#, with_task("working")))
        .await;
    server.hears_of("tasks/result").await.refuse(early).await;
    let seen = server.hears_of("tasks/get").await;
    seen.answer(&with_task("failed")).await;
    let error = r#"{"code":-32603,"message":"no luck"}"#;
    server.hears_of("tasks/result").await.refuse(error).await;
    assert_eq!(json(&client.hears().await)["error"], json(error));
    server.heard_nothing_else().await;
}

/// A name means one question for as long as the task lives, however often its result was asked for.
#[tokio::test(start_paused = true)]
async fn a_questions_name_is_not_used_again() {
    let server = Server::legacy("old", TASKS);
    server.answers("tools/list", TOOLS);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    client
        .say(&declaring("1", "tools/call", r#"{"name":"may"}"#, CAN_BE_ASKED))
        .await;
    let call = server.hears_of("tools/call").await;
    call.answer(&format!(r#"{{"task":{}}}"#, with_task("working")))
        .await;
    let task = handle(&json(&client.hears().await));
    for (round, key) in [(1, "elicitation-1"), (2, "elicitation-2")] {
        let result = server.hears_of("tasks/result").await;
        let question = request(
            &format!("7{round}"),
            "elicitation/create",
            r#"{"message":"Who?"}"#,
        );
        result.line.say(&question).await;
        settle().await;
        client
            .say(&declaring("2", "tasks/get", &about(&task), CAN_BE_ASKED))
            .await;
        let seen = server.hears_of("tasks/get").await;
        seen.answer(&with_task("input_required")).await;
        let answer = json(&client.hears().await);
        let requests = answer["result"]["inputRequests"].as_object().unwrap();
        assert_eq!(requests.keys().collect::<Vec<_>>(), [key], "{answer}");
        let params = format!(r#"{{"taskId":"{task}","inputResponses":{{"{key}":{{"action":"decline"}}}}}}"#);
        client
            .asks(&declaring("3", "tasks/update", &params, CAN_BE_ASKED))
            .await;
        assert_eq!(server.hears().await.message["id"], json(&format!("7{round}")));
        result.refuse(r#"{"code":-32603,"message":"not yet"}"#).await;
        let seen = server.hears_of("tasks/get").await;
        seen.answer(&with_task("working")).await;
    }
}

/// A client that gives its call up does so to the task, also where the server is asked for its result again.
#[tokio::test(start_paused = true)]
async fn a_call_given_up_between_two_looks_at_its_task() {
    let server = Server::legacy("old", TASKS);
    server.answers("tools/list", TOOLS);
    let stage = Stage::of(&[&server]);
    let mut client = legacy_of(&stage, "/mcp", "2025-06-18", "{}").await;
    client
        .say(&request("1", "tools/call", r#"{"name":"old__needs"}"#))
        .await;
    let call = server.hears_of("tools/call").await;
    call.answer(&format!(r#"{{"task":{}}}"#, with_task("working")))
        .await;
    let early = r#"{"code":-32603,"message":"the task has not ended"}"#;
    server.hears_of("tasks/result").await.refuse(early).await;
    let seen = server.hears_of("tasks/get").await;
    let slow = with_task("working").replace(r#""pollInterval":500"#, r#""pollInterval":30000"#);
    seen.answer(&slow).await;
    settle().await;
    client
        .say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#)
        .await;
    let told = server.hears_of("tasks/cancel").await;
    assert_eq!(told.message["params"], json(&about("t")));
    told.answer(&with_task("cancelled")).await;
    tokio::time::sleep(PATIENCE).await;
    client.heard_nothing_else().await;
    server.heard_nothing_else().await;
}

/// What has ended is in nobody's way, also where its client never came for it; what runs is limited, before it is begun.
#[tokio::test(start_paused = true)]
async fn a_thousand_tasks_may_run_and_more_may_have_ended() {
    let server = Server::legacy("old", TASKS);
    server.answers("tools/list", TOOLS);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    let call = declaring("1", "tools/call", r#"{"name":"may"}"#, "");
    let mut last = String::new();
    for number in 0..2_100 {
        client.say(&call).await;
        let task = with_task("working").replace(r#""t""#, &format!(r#""t{number}""#));
        let call = server.hears_of("tools/call").await;
        call.answer(&format!(r#"{{"task":{task}}}"#)).await;
        let answer = json(&client.hears().await);
        assert_eq!(answer["result"]["resultType"], "task", "{number}: {answer}");
        last = handle(&answer);
        let result = server.hears_of("tasks/result").await;
        if number < 1_100 {
            result.answer(r#"{"content":[]}"#).await;
        }
    }
    let answer = json(&client.asks(&call).await);
    assert_eq!(answer["error"]["code"], 1005, "{answer}");
    server.heard_nothing_else().await;

    // Cancelled, one makes room, and nobody waits for it at the server any more.
    client
        .say(&declaring("2", "tasks/cancel", &about(&last), ""))
        .await;
    let cancel = server.hears_of("tasks/cancel").await;
    cancel.answer(&with_task("cancelled")).await;
    client.hears().await;
    server.hears_of("notifications/cancelled").await;
    client.say(&call).await;
    server.hears_of("tools/call").await;
}
