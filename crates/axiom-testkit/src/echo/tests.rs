use serde_json::{Value, json};

use super::*;

fn answer(eras: Eras, request: Value) -> Value {
    let request = request.to_string();
    let message = Message::read(request.as_bytes()).expect("an object");
    let answer = Echo::new(eras, 100)
        .answer(&message)
        .expect("a request has an answer");
    serde_json::from_slice(&answer.into_bytes()).expect("an answer is JSON")
}

fn modern(method: &str, mut params: Value) -> Value {
    params["_meta"] = json!({"io.modelcontextprotocol/protocolVersion": MODERN_REVISION});
    json!({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
}

#[test]
fn echo_gives_the_id_and_the_text_back() {
    let call = json!({"id": "a\"b", "method": "tools/call", "params": {"name": "echo", "arguments": {"text": "ä\n\"q\""}}});
    let expected = json!({"jsonrpc": "2.0", "id": "a\"b", "result": {"content": [{"type": "text", "text": "ä\n\"q\""}]}});
    assert_eq!(answer(Eras::Dual, call), expected);
}

#[test]
fn blob_has_the_size_asked_for_or_64_kib() {
    let sized = |arguments: Value| {
        let call = modern("tools/call", json!({"name": "blob", "arguments": arguments}));
        let answer = answer(Eras::Dual, call);
        assert_eq!(answer["result"]["resultType"], "complete");
        answer["result"]["content"][0]["text"]
            .as_str()
            .expect("a text")
            .len()
    };
    assert_eq!((sized(json!({})), sized(json!({"bytes": 10}))), (BLOB_BYTES, 10));
}

#[test]
fn the_list_is_whole_in_both_eras() {
    for list in [
        json!({"id": 1, "method": "tools/list"}),
        modern("tools/list", json!({})),
    ] {
        let answer = answer(Eras::Dual, list);
        assert_eq!(answer["result"]["tools"].as_array().expect("tools").len(), 100);
        assert_eq!(answer["result"]["tools"][0]["name"], "echo");
    }
}

#[test]
fn each_era_answers_its_own_first_message_only() {
    let initialize = json!({"id": 1, "method": "initialize", "params": {"protocolVersion": "2025-06-18"}});
    let discover = modern("server/discover", json!({}));
    assert_eq!(
        answer(Eras::Legacy, initialize.clone())["result"]["protocolVersion"],
        "2025-06-18"
    );
    assert_eq!(answer(Eras::Legacy, discover.clone())["error"]["code"], -32601);
    assert_eq!(answer(Eras::Modern, initialize.clone())["error"]["code"], -32022);
    assert_eq!(
        answer(Eras::Modern, discover.clone())["result"]["supportedVersions"],
        json!([MODERN_REVISION])
    );
    assert_eq!(
        answer(Eras::Dual, initialize)["result"]["serverInfo"]["name"],
        "axiom-echo"
    );
    assert_eq!(answer(Eras::Dual, discover)["result"]["cacheScope"], "public");
}

#[test]
fn unknown_methods_tools_and_revisions_have_their_answers() {
    assert_eq!(
        answer(Eras::Dual, json!({"id": 1, "method": "nope"}))["error"]["code"],
        -32601
    );
    let unknown_tool = json!({"id": 1, "method": "tools/call", "params": {"name": "nope"}});
    assert_eq!(answer(Eras::Dual, unknown_tool)["error"]["code"], -32602);
    let future = json!({"id": 1, "method": "initialize", "params": {"protocolVersion": "1999-01-01"}});
    assert_eq!(
        answer(Eras::Dual, future)["result"]["protocolVersion"],
        "2025-11-25"
    );
}

#[test]
fn notifications_and_responses_have_none() {
    let echo = Echo::new(Eras::Dual, 2);
    for json in [
        r#"{"method":"notifications/initialized"}"#,
        r#"{"id":1,"result":{}}"#,
    ] {
        assert_eq!(
            echo.answer(&Message::read(json.as_bytes()).expect("an object")),
            None
        );
    }
}
