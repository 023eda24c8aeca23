//! A server of one era asks a client of the other in the middle of a call. The tool runs once, whatever happens.

use std::time::Duration;

use serde_json::Value;

use crate::client::{Client, call, modern};
use crate::server::{Heard, Server};
use crate::stage::{PATIENCE, Stage, json, options};

const ASKABLE: &str = r#"{"elicitation":{},"roots":{},"sampling":{}}"#;

/// A request of a modern client that can be asked everything.
fn askable(id: &str, params: &str) -> String {
    with_capabilities(
        id,
        params,
        r#"{"sampling":{},"elicitation":{"form":{}},"roots":{"listChanged":true}}"#,
    )
}

fn with_capabilities(id: &str, params: &str, capabilities: &str) -> String {
    modern(id, "tools/call", params).replace(
        r#"clientCapabilities":{}"#,
        &format!(r#"clientCapabilities":{capabilities}"#),
    )
}

/// The same request, with answers and the state that came with the questions.
fn again(id: &str, answers: &Value, state: &Value) -> String {
    askable(
        id,
        &format!(r#"{{"name":"x","arguments":{{"a":1}},"inputResponses":{answers},"requestState":{state}}}"#),
    )
}

const FIRST: &str = r#"{"name":"x","arguments":{"a":1}}"#;

/// The keys of an `input_required` answer, and its state.
fn asked_of(answer: &str) -> (Vec<String>, Value) {
    let answer = json(answer);
    assert_eq!(answer["result"]["resultType"], "input_required", "{answer}");
    let requests = answer["result"]["inputRequests"].as_object().unwrap();
    (
        requests.keys().cloned().collect(),
        answer["result"]["requestState"].clone(),
    )
}

async fn asks(call: &Heard, id: &str, method: &str, params: &str) {
    let question = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{params}}}"#);
    call.line.say(&question).await;
}

const NAME: &str = r#"{"message":"Who?","requestedSchema":{"type":"object"},"_meta":{"progressToken":0}}"#;

#[tokio::test(start_paused = true)]
async fn a_session_server_asks_a_modern_client_round_after_round() {
    let server = Server::legacy("old", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    client.say(&askable("1", FIRST)).await;
    let running = server.hears_of("tools/call").await;
    let declared = json(server.greetings().last().unwrap())["params"]["capabilities"].clone();
    assert_eq!(declared, json(ASKABLE), "what the client declares, and no more");

    // All of one breath at once.
    asks(&running, "0", "elicitation/create", NAME).await;
    asks(
        &running,
        "\"s\"",
        "sampling/createMessage",
        r#"{"messages":[],"n":1.0e0}"#,
    )
    .await;
    asks(&running, "2", "roots/list", r#"{"_meta":{"progressToken":2}}"#).await;
    let answer = json(&client.hears().await);
    assert_eq!(
        answer["result"]["inputRequests"],
        json(
            r#"{"elicitation-1-1":{"method":"elicitation/create","params":{"message":"Who?","requestedSchema":{"type":"object"},"mode":"form"}},
                "sampling-1-2":{"method":"sampling/createMessage","params":{"messages":[],"n":1.0}},
                "roots-1-3":{"method":"roots/list"}}"#
        )
    );
    let (_, first_state) = asked_of(&answer.to_string());

    // Some of the answers: the rest is asked again, and the call goes on waiting.
    let some = json(r#"{"elicitation-1-1":{"action":"accept","content":{"name":"Ada"}},"unknown":{}}"#);
    let (keys, state) = asked_of(&client.asks(&again("2", &some, &first_state)).await);
    assert_eq!(keys, ["roots-1-3", "sampling-1-2"]);
    assert_ne!(state, first_state);
    let told = server.hears().await;
    assert_eq!(
        told.raw,
        r#"{"jsonrpc":"2.0","id":0,"result":{"action":"accept","content":{"name":"Ada"}}}"#
    );
    let rest = json(r#"{"roots-1-3":{"roots":[]},"sampling-1-2":{"model":"m"}}"#);
    client.say(&again("3", &rest, &state)).await;
    assert_eq!(
        server.hears().await.raw,
        r#"{"jsonrpc":"2.0","id":"s","result":{"model":"m"}}"#
    );
    assert_eq!(
        server.hears().await.raw,
        r#"{"jsonrpc":"2.0","id":2,"result":{"roots":[]}}"#
    );

    // A second round, and the result under the last request's id.
    asks(&running, "3", "elicitation/create", NAME).await;
    let (keys, last_state) = asked_of(&client.hears().await);
    assert_eq!(keys, ["elicitation-3-1"]);
    client
        .say(&again(
            "4",
            &json(r#"{"elicitation-3-1":{"action":"decline"}}"#),
            &last_state,
        ))
        .await;
    assert_eq!(
        server.hears().await.raw,
        r#"{"jsonrpc":"2.0","id":3,"result":{"action":"decline"}}"#
    );
    running.answer(r#"{"content":[]}"#).await;
    assert_eq!(
        client.hears().await,
        r#"{"jsonrpc":"2.0","id":4,"result":{"content":[],"resultType":"complete","_meta":{"io.modelcontextprotocol/serverInfo":{"name":"old","version":"1"}}}}"#
    );
    assert_eq!(server.times_asked("tools/call"), 1, "the tool ran once");

    // No state is good twice.
    for used in [&first_state, &state, &last_state] {
        let answer = json(&client.asks(&again("5", &some, used)).await);
        assert_eq!(answer["error"]["code"], 1010, "{answer}");
    }
    server.heard_nothing_else().await;
}

#[tokio::test(start_paused = true)]
async fn a_state_is_good_for_its_own_request_only() {
    let server = Server::legacy("old", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    client.say(&askable("1", FIRST)).await;
    let running = server.hears_of("tools/call").await;
    asks(&running, "0", "elicitation/create", NAME).await;
    let (_, state) = asked_of(&client.hears().await);
    let answers = json(r#"{"elicitation-1-1":{"action":"accept"}}"#);
    let good = again("2", &answers, &state);
    let text = state.as_str().unwrap();
    for (what, bad) in [
        ("changed", good.replace(text, &format!("{text}A"))),
        (
            "cut",
            good.replace(text, text.strip_suffix(|_: char| true).unwrap()),
        ),
        ("made up", good.replace(text, "AAAA")),
        ("other arguments", good.replace(r#"{"a":1}"#, r#"{"a":2}"#)),
        ("another tool", good.replace(r#""x""#, r#""y""#)),
        ("no text", good.replace(&state.to_string(), "7")),
    ] {
        let answer = json(&client.asks(&bad).await);
        assert_eq!(answer["error"]["code"], -32602, "{what}: {answer}");
    }
    // The same request at the endpoint of all servers is another one.
    let mut elsewhere = Client::new(&stage, "/mcp");
    let answer = json(&elsewhere.asks(&good.replace(r#""x""#, r#""old__x""#)).await);
    assert_eq!(answer["error"]["code"], -32602, "{answer}");
    server.heard_nothing_else().await;

    // None of it harmed the call. Another connection may bring the answer.
    let mut later = Client::new(&stage, "/s/old/mcp");
    later.say(&good).await;
    server.hears().await;
    running.answer(r#"{"content":[]}"#).await;
    assert_eq!(json(&later.hears().await)["result"]["resultType"], "complete");
}

#[tokio::test(start_paused = true)]
async fn what_a_request_does_not_declare_is_not_asked() {
    let server = Server::legacy("old", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    for (capabilities, method, params, required) in [
        ("{}", "sampling/createMessage", "{}", r#"{"sampling":{}}"#),
        (
            r#"{"sampling":{}}"#,
            "elicitation/create",
            NAME,
            r#"{"elicitation":{}}"#,
        ),
        (r#"{"elicitation":{}}"#, "roots/list", "{}", r#"{"roots":{}}"#),
        (
            r#"{"elicitation":{}}"#,
            "elicitation/create",
            r#"{"mode":"url","url":"https://x","elicitationId":"1","message":"go"}"#,
            r#"{"elicitation":{"url":{}}}"#,
        ),
    ] {
        client.say(&with_capabilities("1", FIRST, capabilities)).await;
        let running = server.hears_of("tools/call").await;
        asks(&running, "9", method, params).await;
        let refusal = server.hears().await.message;
        assert_eq!(
            (&refusal["id"], &refusal["error"]["code"]),
            (&json("9"), &json("-32601"))
        );
        // The server may know what to do without. If it fails, this is why.
        running.answer(r#"{"content":[],"isError":true}"#).await;
        let answer = json(&client.hears().await);
        assert_eq!(answer["error"]["code"], -32021, "{answer}");
        assert_eq!(
            answer["error"]["data"]["requiredCapabilities"],
            json(required),
            "{answer}"
        );
        client.say(&with_capabilities("2", FIRST, capabilities)).await;
        let running = server.hears_of("tools/call").await;
        asks(&running, "9", method, params).await;
        server.hears().await;
        running.answer(r#"{"content":[]}"#).await;
        let answer = json(&client.hears().await);
        assert_eq!(answer["result"]["content"], json("[]"), "{answer}");
    }
    server.heard_nothing_else().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_does_not_come_back() {
    let server = Server::legacy("old", r#"{"tools":{}}"#);
    let mut options = options(&[&server]);
    options.limits.parked_ttl = Duration::from_secs(60);
    options.limits.parked_max = 1;
    let stage = Stage::with(options);
    let mut client = Client::new(&stage, "/s/old/mcp");
    client.say(&askable("1", FIRST)).await;
    let running = server.hears_of("tools/call").await;
    asks(&running, "0", "elicitation/create", NAME).await;
    let (_, state) = asked_of(&client.hears().await);
    let parked = || stage.gateway.servers()[0].parked;
    assert_eq!(parked(), 1);

    // There is room for one.
    client.say(&askable("2", r#"{"name":"y"}"#)).await;
    let second = server.hears_of("tools/call").await;
    asks(&second, "1", "elicitation/create", NAME).await;
    let answer = json(&client.hears().await);
    assert_eq!(answer["error"]["code"], 1005, "{answer}");
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("the limit"),
        "{answer}"
    );
    for _ in 0..2 {
        let told = server.hears().await.message;
        assert!(
            told["id"] == 1 || &told["params"]["requestId"] == second.id(),
            "{told}"
        );
    }

    tokio::time::sleep(Duration::from_secs(70)).await;
    let mut told = [server.hears().await.message, server.hears().await.message];
    told.sort_by_key(|message| message.get("method").is_some());
    assert_eq!(told[0]["id"], 0);
    assert!(told[0].get("error").is_some(), "{}", told[0]);
    assert_eq!(&told[1]["params"]["requestId"], running.id());
    assert_eq!(parked(), 0);
    let answer = json(&client.asks(&again("3", &json("{}"), &state)).await);
    assert!(
        answer["error"]["code"] == 1010 || answer["error"]["code"] == -32602,
        "{answer}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_server_that_dies_while_its_call_is_parked() {
    let server = Server::legacy("old", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    client.say(&askable("1", FIRST)).await;
    let running = server.hears_of("tools/call").await;
    asks(&running, "0", "elicitation/create", NAME).await;
    let (_, state) = asked_of(&client.hears().await);
    running.line.die();
    crate::stage::settle().await;
    let answers = json(r#"{"elicitation-1-1":{"action":"accept"}}"#);
    let answer = json(&client.asks(&again("2", &answers, &state)).await);
    assert_eq!(answer["error"]["code"], 1003, "{answer}");
    assert_eq!(server.times_asked("tools/call"), 1, "never run again by itself");
}

#[tokio::test(start_paused = true)]
async fn two_calls_in_progress_and_a_question_that_names_neither() {
    let server = Server::legacy("old", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    client.say(&askable("1", FIRST)).await;
    let first = server.hears_of("tools/call").await;
    client.say(&askable("2", r#"{"name":"y"}"#)).await;
    let second = server.hears_of("tools/call").await;
    asks(&first, "7", "elicitation/create", NAME).await;
    let refusal = server.hears().await.message;
    assert_eq!(
        (&refusal["id"], &refusal["error"]["code"]),
        (&json("7"), &json("-32601"))
    );
    // With the other one gone, or waiting for its client, it is clear who is meant.
    second.answer(r#"{"content":[]}"#).await;
    assert_eq!(json(&client.hears().await)["id"], 2);
    asks(&first, "8", "elicitation/create", NAME).await;
    let (_, first_state) = asked_of(&client.hears().await);
    client.say(&askable("3", r#"{"name":"z"}"#)).await;
    let third = server.hears_of("tools/call").await;
    asks(&third, "9", "roots/list", "{}").await;
    let (keys, _) = asked_of(&client.hears().await);
    assert_eq!(keys, ["roots-1-1"]);
    let answers = json(r#"{"elicitation-1-1":{"action":"accept"}}"#);
    client.say(&again("4", &answers, &first_state)).await;
    assert_eq!(json(&server.hears().await.raw)["id"], 8);
    first.answer(r#"{"content":[]}"#).await;
    assert_eq!(json(&client.hears().await)["id"], 4);
}

/// 2025-11-25's way to send a user to a page is an error; calling again is all that is needed.
#[tokio::test(start_paused = true)]
async fn pages_to_visit_first() {
    let server = Server::legacy("old", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    let visitor = |id: &str, params: &str| with_capabilities(id, params, r#"{"elicitation":{"url":{}}}"#);
    client.say(&visitor("1", FIRST)).await;
    let visit = r#"{"code":-32042,"message":"sign in","data":{"elicitations":[{"mode":"url","elicitationId":"e","url":"https://x","message":"go"}]}}"#;
    server.hears_of("tools/call").await.refuse(visit).await;
    let answer = client.hears().await;
    let (keys, state) = asked_of(&answer);
    assert_eq!(keys, ["visit-1"]);
    assert_eq!(
        json(&answer)["result"]["inputRequests"]["visit-1"],
        json(r#"{"method":"elicitation/create","params":{"mode":"url","url":"https://x","message":"go"}}"#)
    );
    let back = format!(
        r#"{{"name":"x","arguments":{{"a":1}},"inputResponses":{{"visit-1":{{"action":"accept"}}}},"requestState":{state}}}"#
    );
    client.say(&visitor("2", &back)).await;
    let once_more = server.hears_of("tools/call").await;
    assert_eq!(once_more.message["params"], json(FIRST), "a plain call");
    once_more.answer(r#"{"content":[]}"#).await;
    assert_eq!(json(&client.hears().await)["id"], 2);
    // A client that opens no pages learns what it lacks.
    client.say(&askable("3", FIRST)).await;
    server.hears_of("tools/call").await.refuse(visit).await;
    let answer = json(&client.hears().await);
    assert_eq!(
        answer["error"]["data"]["requiredCapabilities"],
        json(r#"{"elicitation":{"url":{}}}"#)
    );
}

#[tokio::test(start_paused = true)]
async fn a_modern_client_hears_what_it_asked_for() {
    let server = Server::legacy("old", r#"{"tools":{},"logging":{}}"#);
    server.answers("logging/setLevel", "{}");
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    let says = async |running: &Heard| {
        for level in ["debug", "warning"] {
            let line = format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/message","params":{{"level":"{level}","data":"d"}}}}"#
            );
            running.line.say(&line).await;
        }
        running.answer(r#"{"content":[]}"#).await;
    };
    client.say(&askable("1", FIRST)).await;
    says(&server.hears_of("tools/call").await).await;
    assert_eq!(
        json(&client.hears().await)["id"],
        1,
        "no log lines without a level"
    );
    assert_eq!(server.times_asked("logging/setLevel"), 0);
    let level = r#""_meta":{"io.modelcontextprotocol/logLevel":"warning","#;
    client
        .say(&askable("2", FIRST).replace(r#""_meta":{"#, level))
        .await;
    says(&server.hears_of("tools/call").await).await;
    let line = json(&client.hears().await);
    assert_eq!(line["params"]["level"], "warning", "{line}");
    assert_eq!(json(&client.hears().await)["id"], 2);
    assert_eq!(server.times_asked("logging/setLevel"), 1);
}

const QUESTIONS: &str = r#"{"resultType":"input_required","inputRequests":{
    "who":{"method":"elicitation/create","params":{ "message":"Who?","n":12345678901234567890123 }},
    "page":{"method":"elicitation/create","params":{"mode":"url","url":"https://x","message":"go"}},
    "where":{"method":"roots/list"}},"requestState":"\u00e4=="}"#;

#[tokio::test(start_paused = true)]
async fn a_modern_server_asks_a_client_with_a_session() {
    let server = Server::modern("new", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let capabilities = r#"{"roots":{"listChanged":true},"elicitation":{"form":{},"url":{}},"tasks":{}}"#;
    let mut client = Client::legacy_with(&stage, "/s/new/mcp", capabilities).await;
    client.say(&call("1", "x")).await;
    let first = server.hears_of("tools/call").await;
    assert_eq!(
        first.message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"],
        json(r#"{"roots":{},"elicitation":{"form":{},"url":{}}}"#)
    );
    first.answer(QUESTIONS).await;
    let mut asked = Vec::new();
    for _ in 0..3 {
        asked.push(client.hears().await);
    }
    assert!(
        asked[0].contains(r#"{ "message":"Who?","n":12345678901234567890123 }"#),
        "byte for byte: {}",
        asked[0]
    );
    assert!(
        json(&asked[1])["params"]["elicitationId"].is_string(),
        "{}",
        asked[1]
    );
    assert_eq!(json(&asked[2])["method"], "roots/list");
    let ids: Vec<Value> = asked.iter().map(|asked| json(asked)["id"].clone()).collect();
    // In any order; a refusal of a form has a word, too.
    for (id, answer) in [
        (&ids[2], r#""result":{"roots":[ ]}"#),
        (&ids[0], r#""result":{"action":"accept","content":{"n":1.0e0}}"#),
        (&ids[1], r#""error":{"code":-1,"message":"no"}"#),
    ] {
        client
            .say(&format!(r#"{{"jsonrpc":"2.0","id":{id},{answer}}}"#))
            .await;
    }
    let second = server.hears_of("tools/call").await;
    assert_ne!(second.id(), first.id());
    assert!(
        second.raw.contains(r#""inputResponses":{"where":{"roots":[ ]},"who":{"action":"accept","content":{"n":1.0e0}},"page":{"action":"cancel"}}"#),
        "{}",
        second.raw
    );
    assert!(
        second.raw.contains(r#""requestState":"\u00e4==""#),
        "{}",
        second.raw
    );
    assert_eq!(second.message["params"]["name"], "x");
    second.answer(r#"{"resultType":"complete","content":[]}"#).await;
    assert_eq!(json(&client.hears().await)["id"], 1);
    client.heard_nothing_else().await;
    server.heard_nothing_else().await;
}

/// What a client of before 2025-11-25 cannot be shown is not filled in; the rest is asked.
#[tokio::test(start_paused = true)]
async fn a_modern_server_asks_a_client_whose_forms_are_plain() {
    let server = Server::modern("new", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let capabilities = r#"{"elicitation":{"url":{}}}"#;
    let mut client = Client::of(&stage, "/s/new/mcp", "2025-06-18", capabilities).await;
    client.say(&call("1", "x")).await;
    let first = server.hears_of("tools/call").await;
    assert_eq!(
        first.message["params"]["_meta"]["io.modelcontextprotocol/clientCapabilities"],
        json(r#"{"elicitation":{}}"#)
    );
    first
        .answer(
            r#"{"resultType":"input_required","inputRequests":{
            "page":{"method":"elicitation/create","params":{"mode":"url","url":"https://x","message":"go"}},
            "who":{"method":"elicitation/create","params":{"mode":"form","message":"Who?"}}}}"#,
        )
        .await;
    let question = json(&client.hears().await);
    assert_eq!(question["params"], json(r#"{"message":"Who?"}"#));
    client
        .say(&format!(
            r#"{{"jsonrpc":"2.0","id":{},"result":{{"action":"decline"}}}}"#,
            question["id"]
        ))
        .await;
    let second = server.hears_of("tools/call").await;
    assert_eq!(
        second.message["params"]["inputResponses"],
        json(r#"{"page":{"action":"cancel"},"who":{"action":"decline"}}"#)
    );
    second.answer(r#"{"resultType":"complete","content":[]}"#).await;
    assert_eq!(json(&client.hears().await)["id"], 1);
    client.heard_nothing_else().await;
}

/// `requestState` alone: there is nothing to ask, the server only wants to be called again.
#[tokio::test(start_paused = true)]
async fn a_server_that_only_wants_its_state_back_but_not_for_ever() {
    let server = Server::modern("new", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy_with(&stage, "/s/new/mcp", ASKABLE).await;
    client.say(&call("1", "x")).await;
    for round in 0..=32 {
        let asked = server.hears_of("tools/call").await;
        assert!(
            asked.message["params"].get("inputResponses").is_none(),
            "{}",
            asked.raw
        );
        asked
            .answer(&format!(
                r#"{{"resultType":"input_required","requestState":"{round}"}}"#
            ))
            .await;
    }
    let answer = json(&client.hears().await);
    assert_eq!(answer["error"]["code"], 1004, "{answer}");
    server.heard_nothing_else().await;
}

#[tokio::test(start_paused = true)]
async fn a_client_with_a_session_that_cancels_refuses_or_stays_silent() {
    let server = Server::modern("new", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::legacy_with(&stage, "/s/new/mcp", ASKABLE).await;
    let question = |method: &str| {
        format!(
            r#"{{"resultType":"input_required","inputRequests":{{"q":{{"method":"{method}","params":{{}}}}}}}}"#
        )
    };
    // It cancels: no answer, and the question is withdrawn.
    client.say(&call("1", "x")).await;
    server
        .hears_of("tools/call")
        .await
        .answer(&question("roots/list"))
        .await;
    let asked = json(&client.hears().await);
    client
        .say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#)
        .await;
    let withdrawn = json(&client.hears().await);
    assert_eq!(withdrawn["params"]["requestId"], asked["id"], "{withdrawn}");
    client.heard_nothing_else().await;
    // It refuses what has no word for it: the call ends with its own error.
    client.say(&call("2", "x")).await;
    server
        .hears_of("tools/call")
        .await
        .answer(&question("sampling/createMessage"))
        .await;
    let asked = json(&client.hears().await);
    client
        .say(&format!(
            r#"{{"jsonrpc":"2.0","id":{},"error":{{"code":-1,"message":"no model"}}}}"#,
            asked["id"]
        ))
        .await;
    let answer = json(&client.hears().await);
    assert_eq!(answer["id"], 2);
    assert!(
        answer["error"]["message"].as_str().unwrap().contains("no model"),
        "{answer}"
    );
    // It stays silent.
    client.say(&call("3", "x")).await;
    server
        .hears_of("tools/call")
        .await
        .answer(&question("elicitation/create"))
        .await;
    let asked = json(&client.hears().await);
    assert_eq!(asked["method"], "elicitation/create");
    let heard = tokio::time::timeout(PATIENCE, async { [client.hears().await, client.hears().await] });
    let mut heard = heard.await.unwrap().map(|heard| json(&heard));
    heard.sort_by_key(|message| message.get("method").is_none());
    assert_eq!(heard[0]["params"]["requestId"], asked["id"]);
    assert_eq!(heard[1]["id"], 3);
    assert!(heard[1].get("error").is_some(), "{}", heard[1]);
}

/// A server that asks for roots as soon as there is a client would ask whoever comes first, for everybody.
#[tokio::test(start_paused = true)]
async fn what_a_server_asks_before_the_first_call_is_nobodys() {
    let server = Server::legacy("old", r#"{"tools":{}}"#);
    server.asks_when_initialized(r#"{"jsonrpc":"2.0","id":0,"method":"roots/list"}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    client.say(&askable("1", FIRST)).await;
    // On the link for lists, and on the one of clients that can be asked.
    for _ in 0..2 {
        let refusal = server.hears().await.message;
        assert_eq!(
            (&refusal["id"], &refusal["error"]["code"]),
            (&json("0"), &json("-32601"))
        );
    }
    let running = server.hears_of("tools/call").await;
    running.answer(r#"{"content":[]}"#).await;
    assert_eq!(json(&client.hears().await)["id"], 1);
}

/// On a pipe nothing says which call a question is about, so a call that waits for its client has the pipe to itself.
#[tokio::test(start_paused = true)]
async fn no_call_joins_one_that_is_parked() {
    let server = Server::legacy("old", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    client.say(&askable("1", FIRST)).await;
    let first = server.hears_of("tools/call").await;
    asks(&first, "0", "elicitation/create", NAME).await;
    let (_, state) = asked_of(&client.hears().await);
    client.say(&askable("2", r#"{"name":"y"}"#)).await;
    let second = server.hears_of("tools/call").await;
    assert_ne!(second.line.number, first.line.number);
    // The first tool asks once more: its own client, and no other.
    asks(&first, "1", "roots/list", "{}").await;
    second.answer(r#"{"content":[]}"#).await;
    assert_eq!(json(&client.hears().await)["id"], 2);
    client
        .say(&again(
            "3",
            &json(r#"{"elicitation-1-1":{"action":"accept"}}"#),
            &state,
        ))
        .await;
    let (keys, _) = asked_of(&client.hears().await);
    assert_eq!(keys, ["roots-2-1"]);
}

/// Cancelled by its client, but perhaps not by its server.
#[tokio::test(start_paused = true)]
async fn what_a_call_asks_that_was_given_up_is_no_other_calls() {
    let server = Server::legacy("old", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/s/old/mcp");
    client.say(&askable("1", FIRST)).await;
    let first = server.hears_of("tools/call").await;
    client
        .say(r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#)
        .await;
    assert_eq!(server.hears().await.message["method"], "notifications/cancelled");
    client.say(&askable("2", r#"{"name":"y"}"#)).await;
    let second = server.hears_of("tools/call").await;
    assert_eq!(second.line.number, first.line.number);
    asks(&first, "7", "elicitation/create", NAME).await;
    let refusal = server.hears().await.message;
    assert_eq!(
        (&refusal["id"], &refusal["error"]["code"]),
        (&json("7"), &json("-32601"))
    );
    second.answer(r#"{"content":[]}"#).await;
    assert_eq!(json(&client.hears().await)["id"], 2);
}
