//! Tasks within an era: their ids are handles that say whose they are, and everything else passes as it is.

use serde_json::Value;

use crate::client::{Client, modern};
use crate::server::Server;
use crate::stage::{Stage, json};

/// What a session server that has tasks says of itself.
pub(crate) const TASKS: &str =
    r#"{"tools":{},"tasks":{"list":{},"cancel":{},"requests":{"tools":{"call":{}}}}}"#;
/// The same of a modern one.
pub(crate) const TASKS_MODERN: &str = r#"{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}"#;

/// A request of a modern client that knows tasks and declares this besides.
pub(crate) fn declaring(id: &str, method: &str, params: &str, besides: &str) -> String {
    let capabilities =
        format!(r#"clientCapabilities":{{{besides}"extensions":{{"io.modelcontextprotocol/tasks":{{}}}}}}"#);
    modern(id, method, params).replace(r#"clientCapabilities":{}"#, &capabilities)
}

pub(crate) fn request(id: &str, method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#)
}

/// The handle in an answer to a call, wherever its era puts it.
pub(crate) fn handle(answer: &Value) -> String {
    let result = &answer["result"];
    let task = if result["task"].is_object() {
        &result["task"]
    } else {
        result
    };
    task["taskId"]
        .as_str()
        .unwrap_or_else(|| panic!("no task in {answer}"))
        .to_owned()
}

#[tokio::test(start_paused = true)]
async fn a_session_servers_tasks() {
    let (one, two) = (Server::legacy("one", TASKS), Server::legacy("two", TASKS));
    for server in [&one, &two] {
        server.list_tools(&["x"]);
    }
    let stage = Stage::of(&[&one, &two]);
    let mut client = Client::legacy_with(&stage, "/mcp", r#"{"elicitation":{},"tasks":{}}"#).await;
    client
        .say(&request(
            "1",
            "tools/call",
            r#"{"name":"two__x","task":{"ttl":60000,"y":1.0}}"#,
        ))
        .await;
    let call = two.hears_of("tools/call").await;
    assert!(
        call.raw
            .contains(r#""params":{"name":"x","task":{"ttl":60000,"y":1.0}}"#),
        "{}",
        call.raw
    );
    call.answer(r#"{"z":[ 1 ],"task":{"taskId":"t\u0031","status":"working","ttl":1.0e4,"n":12345678901234567890},"_meta":{"io.modelcontextprotocol/model-immediate-response":"soon"}}"#).await;
    let answer = client.hears().await;
    let task = handle(&json(&answer));
    assert_eq!(
        answer,
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"z":[ 1 ],"task":{{"taskId":"{task}","status":"working","ttl":1.0e4,"n":12345678901234567890}},"_meta":{{"io.modelcontextprotocol/model-immediate-response":"soon"}}}}}}"#
        )
    );
    assert_ne!(task, "t1");

    // Its owner is asked, and nobody else; its own id comes back, and the handle is the same.
    client
        .say(&request(
            "2",
            "tasks/get",
            &format!(r#"{{"taskId":"{task}","u":[ ]}}"#),
        ))
        .await;
    let get = two.hears_of("tasks/get").await;
    assert!(
        get.raw.contains(r#""params":{"taskId":"t1","u":[ ]}"#),
        "{}",
        get.raw
    );
    get.answer(r#"{"taskId":"t1","status":"input_required"}"#).await;
    assert_eq!(
        client.hears().await,
        format!(r#"{{"jsonrpc":"2.0","id":2,"result":{{"taskId":"{task}","status":"input_required"}}}}"#)
    );

    // On the stream of the result the server asks, and tells of the task.
    client
        .say(&request(
            "3",
            "tasks/result",
            &format!(r#"{{"taskId":"{task}"}}"#),
        ))
        .await;
    let result = two.hears_of("tasks/result").await;
    let related =
        |id: &str| format!(r#""_meta":{{"io.modelcontextprotocol/related-task":{{"taskId":"{id}"}}}}"#);
    result
        .line
        .say(&request(
            "9",
            "elicitation/create",
            &format!(r#"{{"message":"?",{}}}"#, related("t1")),
        ))
        .await;
    let question = client.hears().await;
    assert_eq!(
        json(&question)["params"],
        json(&format!(r#"{{"message":"?",{}}}"#, related(&task)))
    );
    let id = &json(&question)["id"];
    client
        .say(&format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"accept",{}}}}}"#,
            related(&task)
        ))
        .await;
    assert_eq!(
        two.hears().await.raw,
        format!(
            r#"{{"jsonrpc":"2.0","id":9,"result":{{"action":"accept",{}}}}}"#,
            related("t1")
        )
    );
    result
        .line
        .say(r#"{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{"taskId":"t1","status":"working"}}"#)
        .await;
    assert_eq!(
        client.hears().await,
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/tasks/status","params":{{"taskId":"{task}","status":"working"}}}}"#
        )
    );
    // Minutes in which it has nothing to say are no reason to give up.
    tokio::time::sleep(std::time::Duration::from_secs(1800)).await;
    result
        .answer(&format!(r#"{{"content":[],{}}}"#, related("t1")))
        .await;
    assert_eq!(
        client.hears().await,
        format!(
            r#"{{"jsonrpc":"2.0","id":3,"result":{{"content":[],{}}}}}"#,
            related(&task)
        )
    );

    // The list is made of both servers', and has what this session has begun.
    client
        .say(&request("4", "tools/call", r#"{"name":"one__x","task":{}}"#))
        .await;
    one.hears_of("tools/call")
        .await
        .answer(r#"{"task":{"taskId":"t1","status":"working","ttl":null}}"#)
        .await;
    let other = handle(&json(&client.hears().await));
    assert_ne!(other, task, "the same id of another server");
    client.say(&request("5", "tasks/list", "{}")).await;
    for server in [&two, &one] {
        server
            .hears_of("tasks/get")
            .await
            .answer(r#"{"taskId":"t1","status":"completed","ttl":null}"#)
            .await;
    }
    let listed = json(&client.hears().await);
    let listed: Vec<&str> = listed["result"]["tasks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|task| task["taskId"].as_str().unwrap())
        .collect();
    assert_eq!(listed, [&task, &other]);

    client
        .say(&request(
            "6",
            "tasks/cancel",
            &format!(r#"{{"taskId":"{other}"}}"#),
        ))
        .await;
    let cancel = one.hears_of("tasks/cancel").await;
    assert_eq!(cancel.message["params"]["taskId"], "t1");
    cancel.answer(r#"{"taskId":"t1","status":"cancelled"}"#).await;
    assert_eq!(json(&client.hears().await)["result"]["taskId"], *other);
    one.heard_nothing_else().await;
    two.heard_nothing_else().await;
}

#[tokio::test(start_paused = true)]
async fn a_modern_servers_tasks() {
    let server = Server::modern("new", TASKS_MODERN);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/new/mcp");
    client
        .say(&declaring("1", "tools/call", r#"{"name":"x"}"#, ""))
        .await;
    let call = server.hears_of("tools/call").await;
    call.answer(r#"{"resultType":"task","taskId":"t","status":"working","ttlMs":1.0e3}"#)
        .await;
    let answer = client.hears().await;
    let task = handle(&json(&answer));
    assert_eq!(
        answer,
        format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{{"resultType":"task","taskId":"{task}","status":"working","ttlMs":1.0e3}}}}"#
        )
    );
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        client
            .say(&declaring(
                "2",
                method,
                &format!(r#"{{"taskId":"{task}","inputResponses":{{"k":{{}}}}}}"#),
                "",
            ))
            .await;
        let asked = server.hears_of(method).await;
        assert_eq!(asked.message["params"]["taskId"], "t");
        asked.answer(r#"{"resultType":"complete","taskId":"t","status":"completed","result":{"taskId":"mine","content":[ ]}}"#).await;
        let answer = client.hears().await;
        let id = if method == "tasks/update" { "t" } else { &task };
        let said = format!(
            r#"{{"jsonrpc":"2.0","id":2,"result":{{"resultType":"complete","taskId":"{id}","status":"completed","result":{{"taskId":"mine","content":[ ]}}}}}}"#
        );
        assert_eq!(answer, said, "{method}");
    }

    // A result that only looks like one is the tool's own.
    client
        .say(&declaring("3", "tools/call", r#"{"name":"x"}"#, ""))
        .await;
    let call = server.hears_of("tools/call").await;
    call.answer(r#"{"resultType":"complete","taskId":"t","content":[]}"#)
        .await;
    assert!(client.hears().await.contains(r#""taskId":"t""#));

    // A subscription names its tasks by their handles, both ways.
    client
        .say(&declaring(
            "4",
            "subscriptions/listen",
            &format!(r#"{{"notifications":{{"taskIds":["{task}"]}}}}"#),
            "",
        ))
        .await;
    let listen = server.hears_of("subscriptions/listen").await;
    assert_eq!(
        listen.message["params"]["notifications"]["taskIds"],
        json(r#"["t"]"#)
    );
    let id = listen.id();
    listen.line.say(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"notifications":{{"taskIds":["t"]}}}}}}"#)).await;
    assert_eq!(
        json(&client.hears().await)["params"]["notifications"]["taskIds"][0],
        *task
    );
    listen.line.say(&format!(r#"{{"jsonrpc":"2.0","method":"notifications/tasks","params":{{"_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}},"taskId":"t","status":"working"}}}}"#)).await;
    let told = json(&client.hears().await);
    assert_eq!(
        (&told["params"]["taskId"], &told["method"]),
        (&json(&format!("\"{task}\"")), &json("\"notifications/tasks\""))
    );
    server.heard_nothing_else().await;
}

/// Nothing of this reaches the server.
#[tokio::test(start_paused = true)]
async fn what_is_refused() {
    let (old, new) = (Server::legacy("old", TASKS), Server::modern("new", TASKS_MODERN));
    let stage = Stage::of(&[&old, &new]);
    let mut client = Client::new(&stage, "/s/new/mcp");
    client
        .say(&declaring("1", "tools/call", r#"{"name":"x"}"#, ""))
        .await;
    new.hears_of("tools/call")
        .await
        .answer(r#"{"resultType":"task","taskId":"t","status":"working","ttlMs":null}"#)
        .await;
    let task = handle(&json(&client.hears().await));
    let cut: String = task.chars().skip(1).collect();
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        for bad in [
            format!("\"{task}A\""),
            format!("\"{cut}\""),
            "\"t\"".to_owned(),
            "7".to_owned(),
            "\"\"".to_owned(),
        ] {
            let answer = json(
                &client
                    .asks(&declaring("2", method, &format!(r#"{{"taskId":{bad}}}"#), ""))
                    .await,
            );
            assert_eq!(answer["error"]["code"], -32602, "{method} {bad}: {answer}");
        }
        let answer = json(
            &client
                .asks(&modern("3", method, &format!(r#"{{"taskId":"{task}"}}"#)))
                .await,
        );
        assert_eq!(answer["error"]["code"], -32021, "{answer}");
        assert_eq!(
            answer["error"]["data"],
            json(r#"{"requiredCapabilities":{"extensions":{"io.modelcontextprotocol/tasks":{}}}}"#)
        );
        // The same task at the endpoint of all servers has another handle.
        let mut elsewhere = Client::new(&stage, "/mcp");
        let answer = json(
            &elsewhere
                .asks(&declaring("4", method, &format!(r#"{{"taskId":"{task}"}}"#), ""))
                .await,
        );
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    let listen = format!(r#"{{"notifications":{{"taskIds":["{task}"]}}}}"#);
    let answer = json(&client.asks(&modern("5", "subscriptions/listen", &listen)).await);
    assert_eq!(answer["error"]["code"], -32021, "{answer}");
    let foreign = listen.replace(&task, "t");
    let answer = json(
        &client
            .asks(&declaring("6", "subscriptions/listen", &foreign, ""))
            .await,
    );
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    for method in ["tasks/result", "tasks/list"] {
        let answer = json(
            &client
                .asks(&declaring("7", method, &format!(r#"{{"taskId":"{task}"}}"#), ""))
                .await,
        );
        assert_eq!(answer["error"]["code"], -32601, "{answer}");
    }

    let mut legacy = Client::legacy(&stage, "/s/old/mcp").await;
    for (method, params, code) in [
        ("tasks/get", r#"{"taskId":"t"}"#, -32602),
        ("tasks/result", "{}", -32602),
        ("tasks/cancel", r#"{"taskId":"t"}"#, -32602),
        ("tasks/update", r#"{"taskId":"t"}"#, -32601),
        ("ping", r#"{"_meta":{}}"#, 0),
    ] {
        let answer = json(&legacy.asks(&request("1", method, params)).await);
        let given = answer["error"]["code"].as_i64().unwrap_or_default();
        assert_eq!(given, code, "{method}: {answer}");
    }
    old.heard_nothing_else().await;
    new.heard_nothing_else().await;
}

#[tokio::test(start_paused = true)]
async fn news_of_several_servers_tasks_in_one_subscription() {
    let (one, two) = (
        Server::modern("one", TASKS_MODERN),
        Server::modern("two", TASKS_MODERN),
    );
    let old = Server::legacy("old", TASKS);
    let list =
        r#"{"tools":[{"name":"x","inputSchema":{"type":"object"},"execution":{"taskSupport":"required"}}]}"#;
    old.answers("tools/list", list);
    let stage = Stage::of(&[&old, &one, &two]);
    let mut client = Client::new(&stage, "/mcp");
    let mut handles = Vec::new();
    for (name, server) in [("one", &one), ("two", &two), ("old", &old)] {
        client
            .say(&declaring(
                "1",
                "tools/call",
                &format!(r#"{{"name":"{name}__x"}}"#),
                "",
            ))
            .await;
        let call = server.hears_of("tools/call").await;
        let task = r#""taskId":"t","status":"working","ttlMs":null"#;
        let task = match name {
            "old" => format!(r#"{{"task":{{{task}}}}}"#),
            _ => format!(r#"{{"resultType":"task",{task}}}"#),
        };
        call.answer(&task).await;
        handles.push(handle(&json(&client.hears().await)));
    }
    let listen =
        serde_json::json!({ "notifications": { "taskIds": handles, "toolsListChanged": true } }).to_string();
    client
        .say(&declaring("\"mine\"", "subscriptions/listen", &listen, ""))
        .await;
    let meta = |id: &Value| format!(r#""_meta":{{"io.modelcontextprotocol/subscriptionId":{id}}}"#);
    let mut listening = Vec::new();
    for server in [&one, &two] {
        let asked = server.hears_of("subscriptions/listen").await;
        assert_eq!(
            asked.message["params"]["notifications"],
            json(r#"{"taskIds":["t"]}"#)
        );
        let acknowledged = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{{},"notifications":{{"taskIds":["t"]}}}}}}"#,
            meta(asked.id())
        );
        asked.line.say(&acknowledged).await;
        listening.push(asked);
    }
    let acknowledged = json(&client.hears().await);
    // A session server's tasks are not among them: it has no such news.
    assert_eq!(
        acknowledged["params"]["notifications"]["taskIds"],
        serde_json::json!([handles[0], handles[1]])
    );
    for (asked, handle) in listening.iter().zip(&handles).rev() {
        let told = format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/tasks","params":{{{},"taskId":"t","status":"completed","result":{{"n":1.0}}}}}}"#,
            meta(asked.id())
        );
        asked.line.say(&told).await;
        let expected = told
            .replace(&meta(asked.id()), &meta(&json("\"mine\"")))
            .replace("\"t\"", &format!("\"{handle}\""));
        assert_eq!(client.hears().await, expected);
    }
    // One of them tells nothing more: the client may ask anew.
    listening[0].answer(r#"{"resultType":"complete"}"#).await;
    let goodbye = json(&client.hears().await);
    assert_eq!(
        (&goodbye["id"], &goodbye["result"]["resultType"]),
        (&json("\"mine\""), &json("\"complete\""))
    );
}
