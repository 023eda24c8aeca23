//! Legacy sessions on HTTP: batches, ends, and streams that are taken up again.

use crate::client::{Client, call, initialize};
use crate::http::Web;
use crate::server::Server;
use crate::stage::{Stage, json};

const PING: &str = r#"{"jsonrpc":"2.0","id":"p","method":"ping"}"#;

#[tokio::test]
async fn a_batch_on_a_pipe_is_answered_as_one() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    server.answers("tools/call", r#"{"content":[]}"#);
    let stage = Stage::of(&[&server]);
    let mut client = Client::new(&stage, "/mcp");
    client.say(&initialize("2025-03-26", "{}")).await;
    client.hears().await;
    client.say(&format!("[{PING},{}]", call("2", "files__x"))).await;
    let answers = json(&client.hears().await);
    assert_eq!(answers[0], json(r#"{"jsonrpc":"2.0","id":"p","result":{}}"#));
    assert_eq!(
        answers[1],
        json(r#"{"jsonrpc":"2.0","id":2,"result":{"content":[]}}"#)
    );
}

#[tokio::test]
async fn batches_belong_to_one_revision() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    server.answers("tools/call", r#"{"content":[]}"#);
    let stage = Stage::of(&[&server]);
    let web = Web::open(&stage);
    let initialized = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
    let batch = format!("[{PING}, {initialized},\n{}, 7]", call("2", "files__x"));

    let session = web.session("/mcp", "2025-03-26").await;
    let headers = [("mcp-session-id", session.as_str())];
    let answer = web.post("/mcp", &headers, &batch).await;
    assert_eq!(answer.status.as_u16(), 200);
    let answers = json(&answer.text().await);
    assert_eq!(answers.as_array().map(Vec::len), Some(3), "{answers}");
    assert_eq!(answers[0], json(r#"{"jsonrpc":"2.0","id":"p","result":{}}"#));
    assert_eq!(
        answers[1],
        json(r#"{"jsonrpc":"2.0","id":2,"result":{"content":[]}}"#)
    );
    assert_eq!(answers[2]["error"]["code"], -32600);
    let silent = web.post("/mcp", &headers, &format!("[{initialized}]")).await;
    assert_eq!((silent.status.as_u16(), silent.text().await.as_str()), (202, ""));

    for revision in ["2025-06-18", "2025-11-25"] {
        let session = web.session("/mcp", revision).await;
        let refused = web
            .post("/mcp", &[("mcp-session-id", session.as_str())], &batch)
            .await;
        assert_eq!(refused.status.as_u16(), 400, "{revision}");
        assert_eq!(json(&refused.text().await)["error"]["code"], -32600);
    }
    assert_eq!(server.times_asked("tools/call"), 1);
}

#[tokio::test]
async fn a_session_is_good_at_its_endpoint_until_it_ends() {
    let server = Server::with_tools("files", &["x"]);
    let stage = Stage::of(&[&server]);
    let web = Web::open(&stage);
    let session = web.session("/mcp", "2025-11-25").await;
    let headers = [("mcp-session-id", session.as_str())];

    assert_eq!(web.post("/mcp", &headers, PING).await.status.as_u16(), 200);
    for (path, headers, expected) in [
        ("/s/files/mcp", &headers[..], 404),
        ("/mcp", &[("mcp-session-id", "made-up")], 404),
        ("/mcp", &[], 400),
    ] {
        let refused = web.post(path, headers, PING).await;
        assert_eq!(refused.status.as_u16(), expected, "{path} {headers:?}");
        assert_eq!(json(&refused.text().await)["id"], "p");
    }
    assert_eq!(
        web.send("DELETE", "/s/files/mcp", &headers, "")
            .await
            .status
            .as_u16(),
        404
    );

    assert_eq!(
        web.send("DELETE", "/mcp", &headers, "").await.status.as_u16(),
        200
    );
    for method in ["POST", "GET", "DELETE"] {
        let refused = web.send(method, "/mcp", &headers, PING).await;
        assert_eq!(refused.status.as_u16(), 404, "{method}");
        assert_eq!(json(&refused.text().await)["error"]["code"], -32001);
    }
}

#[tokio::test]
async fn a_broken_stream_is_taken_up_where_it_broke() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let web = Web::open(&stage);
    let session = web.session("/s/files/mcp", "2025-11-25").await;
    let headers = [
        ("mcp-session-id", session.as_str()),
        ("mcp-protocol-version", "2025-11-25"),
    ];
    let request = r#"{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"x","_meta":{"progressToken":"t"}}}"#;

    let (asked, response) = tokio::join!(
        async {
            let asked = server.hears_of("tools/call").await;
            progress(&asked, 1).await;
            progress(&asked, 2).await;
            asked
        },
        web.post("/s/files/mcp", &headers, request)
    );
    let mut stream = response;
    let (first_id, first) = stream.event().await;
    assert_eq!(json(&first)["params"]["progress"], 1);
    drop(stream);
    progress(&asked, 3).await;
    asked.answer(r#"{"content":["end"]}"#).await;

    let mut resuming = headers.to_vec();
    resuming.push(("last-event-id", &first_id));
    let mut rest = web.send("GET", "/s/files/mcp", &resuming, "").await;
    assert_eq!(rest.status.as_u16(), 200);
    let mut ids = vec![first_id.clone()];
    for step in [2, 3] {
        let (id, event) = rest.event().await;
        assert_eq!(
            event,
            format!(
                r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":"t","progress":{step}}}}}"#
            )
        );
        ids.push(id);
    }
    let (id, event) = rest.event().await;
    assert_eq!(event, r#"{"jsonrpc":"2.0","id":9,"result":{"content":["end"]}}"#);
    ids.push(id);
    assert_eq!(rest.text().await, "", "nothing twice, and the stream ends");
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 4);

    // Another session cannot listen in.
    let stranger = web.session("/s/files/mcp", "2025-11-25").await;
    let prying = [
        ("mcp-session-id", stranger.as_str()),
        ("last-event-id", &first_id),
    ];
    assert_eq!(
        web.send("GET", "/s/files/mcp", &prying, "").await.status.as_u16(),
        400
    );
}

#[tokio::test]
async fn questions_travel_on_the_calls_stream_or_on_the_standing_one() {
    let server = Server::legacy("files", r#"{"tools":{}}"#);
    let stage = Stage::of(&[&server]);
    let web = Web::open(&stage);
    let hello = initialize("2025-11-25", r#"{"elicitation":{}}"#);
    let welcome = web.post("/s/files/mcp", &[], &hello).await;
    let session = welcome.headers["mcp-session-id"].to_str().unwrap().to_owned();
    let headers = [("mcp-session-id", session.as_str())];
    let question =
        r#"{"jsonrpc":"2.0","id":"q","method":"elicitation/create","params":{"message":"\u00e4?"}}"#;

    let mut standing = web.send("GET", "/s/files/mcp", &headers, "").await;
    assert_eq!(standing.status.as_u16(), 200);
    server.line().say(question).await;
    answer_question(&web, &headers, &standing.event().await.1).await;
    assert_eq!(
        server.hears().await.raw,
        r#"{"jsonrpc":"2.0","id":"q","result":{"action":"accept"}}"#
    );

    let request = call("1", "x");
    let (asked, response) = tokio::join!(
        async {
            let asked = server.hears_of("tools/call").await;
            asked.line.say(question).await;
            asked
        },
        web.post("/s/files/mcp", &headers, &request)
    );
    let mut stream = response;
    answer_question(&web, &headers, &stream.event().await.1).await;
    assert_eq!(
        server.hears().await.raw,
        r#"{"jsonrpc":"2.0","id":"q","result":{"action":"accept"}}"#
    );
    asked.answer(r#"{"content":[]}"#).await;
    assert_eq!(
        stream.event().await.1,
        r#"{"jsonrpc":"2.0","id":1,"result":{"content":[]}}"#
    );
    assert_eq!(stream.text().await, "");
}

#[tokio::test]
async fn the_standing_stream_keeps_what_its_client_missed_and_ends_with_the_session() {
    let server = Server::with_tools("files", &["x"]);
    let stage = Stage::of(&[&server]);
    let web = Web::open(&stage);
    let session = web.session("/s/files/mcp", "2025-11-25").await;
    let headers = [("mcp-session-id", session.as_str())];
    let changed = |n: usize| {
        format!(r#"{{"jsonrpc":"2.0","method":"notifications/tools/list_changed","params":{{"n":{n}}}}}"#)
    };

    let mut standing = web.send("GET", "/s/files/mcp", &headers, "").await;
    server.line().say(&changed(1)).await;
    let (last, event) = standing.event().await;
    assert_eq!(event, changed(1));
    drop(standing);
    server.line().say(&changed(2)).await;
    server.line().say(&changed(3)).await;

    let resuming = [headers[0], ("last-event-id", last.as_str())];
    let mut resumed = web.send("GET", "/s/files/mcp", &resuming, "").await;
    for n in [2, 3] {
        assert_eq!(resumed.event().await.1, changed(n));
    }
    server.line().say(&changed(4)).await;
    assert_eq!(resumed.event().await.1, changed(4));

    let ended = web.send("DELETE", "/s/files/mcp", &headers, "").await;
    assert_eq!(ended.status.as_u16(), 200);
    assert_eq!(resumed.text().await, "");
}

async fn answer_question(web: &Web, headers: &[(&str, &str)], question: &str) {
    let id = &json(question)["id"];
    assert_eq!(json(question)["params"]["message"], "ä?");
    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"action":"accept"}}}}"#);
    assert_eq!(
        web.post("/s/files/mcp", headers, &answer).await.status.as_u16(),
        202
    );
}

async fn progress(asked: &crate::server::Heard, step: u32) {
    let token = &asked.message["params"]["_meta"]["progressToken"];
    asked
        .line
        .say(&format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":{step}}}}}"#
        ))
        .await;
}
