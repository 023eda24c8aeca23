//! What clients of each revision are shown.

use axiom_protocol::envelope::{self, Limits};
use axiom_protocol::method::Method;
use axiom_protocol::revision::Revision;
use serde_json::{Value, json};

use super::{Unaskable, concerns, greeting, item, notice, question, result};
use crate::catalog::ListKind;

mod revisions;

const MARCH: Revision = Revision::V2025_03_26;
const JUNE: Revision = Revision::V2025_06_18;
const NOVEMBER: Revision = Revision::V2025_11_25;
const OLDEST: Revision = Revision::V2024_11_05;

fn level(message: &str, method: Method, client: Revision) -> Option<String> {
    let scanned = envelope::scan(message.as_bytes(), &Limits::default()).unwrap();
    let levelled = result(message.as_bytes(), scanned.result.unwrap(), method, client)?;
    envelope::scan(&levelled, &Limits::default()).unwrap_or_else(|error| {
        panic!("{error:?} in {}", String::from_utf8_lossy(&levelled));
    });
    Some(String::from_utf8(levelled).unwrap())
}

fn message(result: &str) -> String {
    format!(r#" {{"x":1.0, "id" : 1,"result":{result} ,"jsonrpc":"2.0"}}"#)
}

/// JSON as serde_json can read it: it knows no halves of surrogate pairs.
fn read(text: &str) -> Value {
    serde_json::from_str(&text.replace(r"\ud83e", "?")).unwrap_or_else(|error| panic!("{error}: {text}"))
}

fn levelled(method: Method, text: &str, client: Revision) -> Value {
    let text = message(text);
    read(&level(&text, method, client).unwrap_or(text))["result"].clone()
}

fn blocks(text: &str, client: Revision) -> Value {
    levelled(Method::ToolsCall, &format!(r#"{{"content":{text}}}"#), client)["content"].clone()
}

#[test]
fn a_link_is_said_in_words() {
    let link = r#"[{"type":"resource_link","uri":"file:///r.pdf","name":"r","title":"R\u00e9port \"1\"","mimeType":"application/pdf","description":"two\nlines","icons":[],"annotations":{"audience":["user"],"lastModified":"2026-01-01"}}]"#;
    for client in [OLDEST, MARCH] {
        assert_eq!(
            blocks(link, client),
            json!([{
                "type": "text",
                "text": "Resource link: R\u{e9}port \"1\" <file:///r.pdf> (application/pdf)\ntwo\nlines",
                "annotations": { "audience": ["user"] }
            }])
        );
    }
    assert_eq!(blocks(link, JUNE)[0]["type"], "resource_link");
    assert_eq!(blocks(link, JUNE)[0].get("icons"), None);
    assert_eq!(blocks(link, NOVEMBER)[0]["icons"], json!([]));
    let bare = r#"[{"type":"resource_link","uri":"u:1","name":"n","title":""}]"#;
    assert_eq!(
        blocks(bare, OLDEST),
        json!([{ "type": "text", "text": "Resource link: n <u:1>" }])
    );
}

#[test]
fn a_sound_is_said_in_words_to_the_oldest() {
    let sound = r#"[{"type":"audio","data":"AAECAw==","mimeType":"audio/wav"}]"#;
    let said = "Audio (audio/wav, 4 B) was left out: revision 2024-11-05 of the protocol has none.";
    assert_eq!(blocks(sound, OLDEST), json!([{ "type": "text", "text": said }]));
    assert_eq!(
        blocks(sound, MARCH),
        serde_json::from_str::<Value>(sound).unwrap()
    );
}

#[test]
fn structured_content_is_said_in_words_unless_the_server_did() {
    let call = |text: &str, client| levelled(Method::ToolsCall, text, client);
    let object = r#"{"n":123456789012345678901234567890}"#;
    let only = format!(r#"{{"content":[],"structuredContent":{object}}}"#);
    let said = json!({ "content": [{ "type": "text", "text": object }] });
    assert_eq!(call(&only, OLDEST), said);
    assert_eq!(call(&only, MARCH), said);
    let untouched = message(&only);
    assert_eq!(level(&untouched, Method::ToolsCall, JUNE), None);
    // Without any content, which the revision demands.
    assert_eq!(call(&format!(r#"{{"structuredContent":{object}}}"#), MARCH), said);
    assert_eq!(
        call(
            &format!(r#"{{"content":null,"structuredContent":{object}}}"#),
            MARCH
        ),
        said
    );
    // The server has said it.
    let both =
        format!(r#"{{"structuredContent":{object},"content":[{{"type":"text","text":"n is large"}}]}}"#);
    assert_eq!(
        call(&both, MARCH),
        json!({ "content": [{ "type": "text", "text": "n is large" }] })
    );
    // A picture says nothing of it.
    let picture = r#"{"type":"image","data":"AAAA","mimeType":"image/png"}"#;
    let pictured = format!(r#"{{"content":[{picture} ],"structuredContent":[1.0]}}"#);
    for client in Revision::LEGACY {
        let answer = call(&pictured, client);
        assert_eq!(answer["content"][0]["type"], "image");
        assert_eq!(answer["content"][1], json!({ "type": "text", "text": "[1.0]" }));
        assert_eq!(
            answer.get("structuredContent"),
            None,
            "not an object: new in 2026-07-28"
        );
    }
    assert_eq!(
        call(r#"{"content":[],"structuredContent":null}"#, NOVEMBER),
        json!({ "content": [] })
    );
}

#[test]
fn schemas_that_older_clients_refuse() {
    let tools = |tool: &str, client| {
        let list = format!(r#"{{"tools":[{tool}]}}"#);
        levelled(Method::ToolsList, &list, client)["tools"][0].clone()
    };
    for client in [JUNE, NOVEMBER] {
        let tool = tools(
            r#"{"name":"t","inputSchema":{"oneOf":[{"required":["a"]}],"properties":{"a":true}},"outputSchema":{"type":"array"}}"#,
            client,
        );
        assert_eq!(
            tool,
            json!({ "name": "t",
                    "inputSchema": { "type": "object", "oneOf": [{ "required": ["a"] }], "properties": { "a": {} } } })
        );
        let tool = tools(
            r#"{"name":"t","inputSchema":{},"outputSchema":{"type":"object","properties":{"b":false}}}"#,
            client,
        );
        assert_eq!(
            tool,
            json!({ "name": "t", "inputSchema": { "type": "object" },
                    "outputSchema": { "type": "object", "properties": { "b": { "not": {} } } } })
        );
    }
}

#[test]
fn bytes_beside_a_change_stay() {
    let text = r#" { "tools" : [ {"name":"a" , "title":"A", "inputSchema":{"type":"object","n":1.0e2} } ] , "ttlMs":0,"cacheScope":"public" } "#;
    let levelled = |client| level(&message(text.trim()), Method::ToolsList, client).unwrap();
    assert_eq!(
        levelled(NOVEMBER),
        message(
            r#"{ "tools" : [ {"name":"a" , "title":"A", "inputSchema":{"type":"object","n":1.0e2} } ] }"#
        )
    );
    assert_eq!(
        levelled(MARCH),
        message(r#"{ "tools" : [ {"name":"a", "inputSchema":{"type":"object","n":1.0e2} } ] }"#)
    );
}

#[test]
fn a_merged_list_is_levelled_item_by_item() {
    let raw = br#"{"title":"T","name":"a","icons":[]}"#;
    let levelled = |kind, client| item(raw, kind, client).map(|item| String::from_utf8(item).unwrap());
    assert_eq!(
        levelled(ListKind::Prompts, MARCH).as_deref(),
        Some(r#"{"name":"a"}"#)
    );
    assert_eq!(
        levelled(ListKind::Templates, JUNE).as_deref(),
        Some(r#"{"title":"T","name":"a"}"#)
    );
    assert_eq!(levelled(ListKind::Resources, NOVEMBER), None);
}

#[test]
fn a_question_is_levelled() {
    let ask = |params: &str, client| -> Value {
        let text =
            format!(r#"{{"id":1,"method":"sampling/createMessage","params":{params},"jsonrpc":"2.0"}}"#);
        let scanned = envelope::scan(text.as_bytes(), &Limits::default()).unwrap();
        let levelled = question(text.as_bytes(), scanned.params.unwrap(), scanned.method, client).unwrap();
        serde_json::from_slice::<Value>(levelled.as_deref().unwrap_or(text.as_bytes())).unwrap()["params"]
            .clone()
    };
    let sound = r#"{"type":"audio","data":"AAAA","mimeType":"audio/wav"}"#;
    let two = format!(
        r#"{{"messages":[{{"role":"user","content":[{{"type":"text","text":"hear"}},{sound}],"_meta":{{}}}}],"maxTokens":1.0,"toolChoice":{{}}}}"#
    );
    assert_eq!(ask(&two, NOVEMBER), serde_json::from_str::<Value>(&two).unwrap());
    let sound: Value = serde_json::from_str(sound).unwrap();
    let hear = json!({ "role": "user", "content": { "type": "text", "text": "hear" } });
    assert_eq!(
        ask(&two, JUNE),
        json!({ "messages": [hear, { "role": "user", "content": sound }], "maxTokens": 1.0 })
    );
    let oldest = ask(&two, OLDEST);
    assert_eq!(oldest["messages"][1]["content"]["type"], "text");
}

fn ask_form(params: &str, client: Revision) -> Result<Value, Unaskable> {
    let text = format!(r#"{{"id":1,"method":"elicitation/create","params":{params},"jsonrpc":"2.0"}}"#);
    let scanned = envelope::scan(text.as_bytes(), &Limits::default()).unwrap();
    let levelled = question(text.as_bytes(), scanned.params.unwrap(), scanned.method, client)?;
    let text = levelled.unwrap_or(text.into_bytes());
    Ok(serde_json::from_slice::<Value>(&text).unwrap()["params"].clone())
}

#[test]
fn a_form_is_made_plainer() {
    let form = r#"{"mode":"form","message":"Who?","task":{},"x":1.0,"requestedSchema":{"$schema":"s","type":"object",
        "properties":{
            "name":{"type":"string","default":"Ada","minLength":1},
            "age":{"default":7,"type":"integer"},
            "on":{"type":"boolean","default":true},
            "plain":{"type":"string","enum":["a","b"],"default":"a"},
            "titled":{"type":"string","title":"T","oneOf":[{"const":"r","title":"R\u00e9d"},{"const":"g"}],"default":"r"},
            "several":{"type":"array","items":{"type":"string","enum":["a"]},"default":["a"]}
        },"required":["name"]}}"#;
    assert_eq!(
        ask_form(form, JUNE).unwrap(),
        json!({ "message": "Who?", "x": 1.0, "requestedSchema": { "type": "object", "properties": {
            "name": { "type": "string", "minLength": 1 },
            "age": { "type": "integer" },
            "on": { "type": "boolean", "default": true },
            "plain": { "type": "string", "enum": ["a", "b"] },
            "titled": { "type": "string", "title": "T", "enum": ["r", "g"], "enumNames": ["R\u{e9}d", "g"] },
        }, "required": ["name"] } })
    );
    assert_eq!(ask_form(form, NOVEMBER).unwrap(), read(form));
}

#[test]
fn what_a_form_has_no_words_for_is_not_asked() {
    let visit = r#"{"mode":"url","url":"https://x","message":"Go","elicitationId":"e"}"#;
    assert_eq!(ask_form(visit, JUNE), Err(Unaskable::Visit { client: JUNE }));
    assert_eq!(ask_form(visit, NOVEMBER).unwrap(), read(visit));
    let several = r#"{"message":"Which?","requestedSchema":{"type":"object","properties":{"w":{"type":"array","items":{"anyOf":[]}}},"required":["w"]}}"#;
    let (client, field) = (JUNE, "w".to_owned());
    assert_eq!(ask_form(several, JUNE), Err(Unaskable::Field { client, field }));
    assert_eq!(ask_form(several, NOVEMBER).unwrap(), read(several));
}

#[test]
fn progress_had_no_message_once() {
    let progress = br#"{"method":"notifications/progress","params":{"message":"half","progress":1.0,"progressToken":7},"jsonrpc":"2.0"}"#;
    assert_eq!(
        notice(progress, OLDEST).as_deref(),
        Some(&br#"{"method":"notifications/progress","params":{"progress":1.0,"progressToken":7},"jsonrpc":"2.0"}"#[..])
    );
    assert_eq!(notice(progress, MARCH), None);
    let log = br#"{"method":"notifications/message","params":{"message":"stays"}}"#;
    assert_eq!(notice(log, OLDEST), None);
}

#[test]
fn a_greeting_is_levelled() {
    let raw = br#"{"protocolVersion":"x","serverInfo":{"name":"n","title":"N","version":"1","icons":[]},"capabilities":{"tools":{},"completions":{},"tasks":{},"extensions":{}}}"#;
    let greet =
        |client| -> Value { serde_json::from_slice(&greeting(raw, client).unwrap_or(raw.to_vec())).unwrap() };
    assert_eq!(
        greet(OLDEST)["serverInfo"],
        json!({ "name": "n", "version": "1" })
    );
    assert_eq!(
        greet(OLDEST)["capabilities"],
        json!({ "tools": {}, "extensions": {} })
    );
    assert_eq!(
        greet(JUNE)["serverInfo"],
        json!({ "name": "n", "title": "N", "version": "1" })
    );
    assert_eq!(greeting(raw, NOVEMBER), None);
}

#[test]
fn nothing_is_looked_at_for_a_client_as_new_as_its_server() {
    for server in Revision::ALL {
        for client in Revision::ALL {
            for method in Method::ALL {
                assert!(!concerns(*method, client, server) || client < server);
            }
            assert_eq!(concerns(Method::ToolsCall, client, server), client < server);
        }
    }
    assert!(!concerns(Method::Complete, MARCH, NOVEMBER));
    // Its progress is.
    assert!(concerns(Method::Complete, OLDEST, NOVEMBER));
}
