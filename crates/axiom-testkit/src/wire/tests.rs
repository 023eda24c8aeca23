use super::*;

fn message(json: &str) -> (Option<String>, String, Option<String>) {
    let message = Message::read(json.as_bytes()).expect("an object");
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("utf-8");
    (
        message.id.map(text),
        text(message.method),
        message.params.map(text),
    )
}

#[test]
fn finds_the_members_in_any_order_and_spacing() {
    let json = "{ \"params\" : {\"a\":[1,\"}\"]} ,\n\"id\" : 123456789012345678901234567890 , \"method\":\"tools/call\" }";
    let expected = (
        Some("123456789012345678901234567890".to_owned()),
        "tools/call".to_owned(),
        Some("{\"a\":[1,\"}\"]}".to_owned()),
    );
    assert_eq!(message(json), expected);
}

#[test]
fn keeps_string_ids_and_escapes_as_they_came() {
    assert_eq!(
        message(r#"{"id":"a\"b\\","method":"ping"}"#).0.as_deref(),
        Some(r#""a\"b\\""#)
    );
    let call = Message::read(br#"{"params":{"name":"echo","arguments":{"text":"\u00e4 \"x\""}}}"#)
        .expect("an object");
    assert_eq!(call.argument("text"), Some(br#""\u00e4 \"x\"""#.as_slice()));
    assert_eq!(call.argument("bytes"), None);
}

#[test]
fn tells_the_eras_apart() {
    let modern = br#"{"params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}"#;
    assert!(Message::read(modern).expect("an object").is_modern());
    assert!(
        !Message::read(br#"{"params":{"_meta":{"progressToken":1}}}"#)
            .expect("an object")
            .is_modern()
    );
}

#[test]
fn what_is_no_object_is_none_and_what_is_cut_short_ends() {
    assert_eq!(Message::read(b"[1]"), None);
    assert_eq!(Message::read(b""), None);
    for cut in 1..40 {
        let json = br#"{"id":1,"method":"tools/call","params":{"a":1}}"#;
        assert!(Message::read(&json[..cut]).is_some());
    }
}
