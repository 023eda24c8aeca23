//! What a message must be beyond JSON, and what is found in it.

use axiom_protocol::{Kind, Limits, Method, Revision, ScanFault, Span, codes, scan, split_batch, text};

fn found(raw: &str) -> axiom_protocol::Envelope {
    scan(raw.as_bytes(), &Limits::default()).unwrap_or_else(|error| panic!("{error}: {raw}"))
}

/// The fault, its code, and the id the answer would carry.
fn refused(raw: &str) -> (ScanFault, i64, Option<&str>) {
    let error = scan(raw.as_bytes(), &Limits::default()).unwrap_err();
    let id = error.id.map(|id| at(raw, id));
    (error.fault.clone(), error.code(), id)
}

fn at(raw: &str, span: Span) -> &str {
    std::str::from_utf8(span.of(raw.as_bytes())).unwrap()
}

fn opt(raw: &str, span: Option<Span>) -> Option<&str> {
    span.map(|span| at(raw, span))
}

#[test]
fn a_tools_call_of_the_modern_era() {
    let raw = r#" {"jsonrpc":"2.0","id":"a\"1","method":"tools/call","params":{"name":"git__log","arguments":{"n":1e2,"name":"x"},
        "_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"a":[]},
        "io.modelcontextprotocol/clientInfo":{"name":"c"},"io.modelcontextprotocol/logLevel":"info","io.modelcontextprotocol/related-task":{"taskId":"t"},"progressToken":7,"traceparent":"t"},
        "inputResponses":{"k":{}},"requestState":"s","task":{"ttl":1}}} "#;
    let envelope = found(raw);
    assert_eq!(
        (envelope.kind, envelope.method),
        (Kind::Request, Method::ToolsCall)
    );
    assert_eq!(at(raw, envelope.object), raw.trim());
    assert_eq!(opt(raw, envelope.id), Some(r#""a\"1""#));
    assert_eq!(opt(raw, envelope.method_span), Some("\"tools/call\""));
    assert_eq!(opt(raw, envelope.param.name), Some("\"git__log\""));
    assert_eq!(
        opt(raw, envelope.param.arguments),
        Some(r#"{"n":1e2,"name":"x"}"#)
    );
    assert_eq!(opt(raw, envelope.param.input_responses), Some(r#"{"k":{}}"#));
    assert_eq!(opt(raw, envelope.param.request_state), Some("\"s\""));
    assert_eq!(opt(raw, envelope.param.task), Some(r#"{"ttl":1}"#));
    assert_eq!(
        opt(raw, envelope.in_meta.protocol_version),
        Some("\"2026-07-28\"")
    );
    assert_eq!(
        opt(raw, envelope.in_meta.client_capabilities),
        Some(r#"{"a":[]}"#)
    );
    assert_eq!(opt(raw, envelope.in_meta.client_info), Some(r#"{"name":"c"}"#));
    assert_eq!(opt(raw, envelope.in_meta.log_level), Some("\"info\""));
    assert_eq!(opt(raw, envelope.in_meta.related_task), Some(r#"{"taskId":"t"}"#));
    assert_eq!(opt(raw, envelope.in_meta.progress_token), Some("7"));
    assert!(at(raw, envelope.meta.unwrap()).ends_with(r#""traceparent":"t"}"#));
    assert!(at(raw, envelope.params.unwrap()).starts_with(r#"{"name""#));
    assert_eq!(
        (
            envelope.param.uri,
            envelope.param.progress_token,
            envelope.result,
            envelope.error
        ),
        (None, None, None, None)
    );
}

#[test]
fn the_places_of_other_requests_and_notifications() {
    let raw = r#"{"jsonrpc":"2.0","id":1,"method":"completion/complete","params":{"ref":{"type":"ref/resource","uri":"a:b","name":"n"}}}"#;
    let envelope = found(raw);
    assert_eq!(envelope.method, Method::Complete);
    assert_eq!(opt(raw, envelope.param.reference_uri), Some("\"a:b\""));
    assert_eq!(opt(raw, envelope.param.reference_name), Some("\"n\""));
    assert_eq!((envelope.param.uri, envelope.param.name), (None, None));

    let raw = r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":"t","progress":0.5}}"#;
    let envelope = found(raw);
    assert_eq!(
        (envelope.kind, envelope.method),
        (Kind::Notification, Method::Progress)
    );
    assert_eq!(opt(raw, envelope.param.progress_token), Some("\"t\""));

    let raw =
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":12,"reason":"r"}}"#;
    assert_eq!(opt(raw, found(raw).param.request_id), Some("12"));

    let raw = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{}}}"#;
    let envelope = found(raw);
    let version = text(raw.as_bytes(), envelope.param.protocol_version.unwrap()).unwrap();
    assert_eq!(Revision::parse(&version), Some(Revision::V2025_06_18));
    assert_eq!(
        (
            opt(raw, envelope.param.capabilities),
            opt(raw, envelope.param.client_info)
        ),
        (Some("{}"), Some("{}"))
    );

    let raw = r#"{"jsonrpc":"2.0","id":0,"method":"tasks/get","params":{"taskId":"t","cursor":"","level":"debug","notifications":{}}}"#;
    let envelope = found(raw);
    assert_eq!(opt(raw, envelope.param.task_id), Some("\"t\""));
    assert_eq!(opt(raw, envelope.param.cursor), Some("\"\""));
    assert_eq!(opt(raw, envelope.param.level), Some("\"debug\""));
    assert_eq!(opt(raw, envelope.param.notifications), Some("{}"));
}

#[test]
fn answers() {
    let raw = r#"{"result":{"resultType":"task","taskId":"t","nextCursor":"c","_meta":{"io.modelcontextprotocol/subscriptionId":9}},"id":1.0,"jsonrpc":"2.0"}"#;
    let envelope = found(raw);
    assert_eq!((envelope.kind, envelope.method), (Kind::Response, Method::None));
    assert_eq!(opt(raw, envelope.id), Some("1.0"));
    assert_eq!(opt(raw, envelope.in_result.result_type), Some("\"task\""));
    assert_eq!(opt(raw, envelope.in_result.task_id), Some("\"t\""));
    assert_eq!(opt(raw, envelope.in_result.next_cursor), Some("\"c\""));
    assert_eq!(opt(raw, envelope.in_result.subscription_id), Some("9"));
    assert!(envelope.in_result.meta.is_some());

    let raw = r#"{"jsonrpc":"2.0","id":null,"error":{"message":"m","code":-32020,"data":{"code":1}}}"#;
    let envelope = found(raw);
    assert_eq!(
        (envelope.kind, envelope.error_code),
        (Kind::Error, Some(codes::HEADER_MISMATCH))
    );
    assert_eq!(opt(raw, envelope.id), Some("null"));
    assert_eq!(
        found(r#"{"jsonrpc":"2.0","error":{"code":1.5}}"#).error_code,
        None
    );
    assert_eq!(found(r#"{"jsonrpc":"2.0","error":"no"}"#).error_code, None);
    assert_eq!(
        found(r#"{"jsonrpc":"2.0","id":1,"result":null}"#).kind,
        Kind::Response
    );
}

#[test]
fn escaped_keys_and_methods_are_what_they_mean() {
    let raw = r#"{"\u006asonrpc":"2\u002e0","i\u0064":5,"\u006dethod":"tools\/call","p\u0061rams":{"\u006eame":"\u0061"}}"#;
    let envelope = found(raw);
    assert_eq!(
        (envelope.kind, envelope.method),
        (Kind::Request, Method::ToolsCall)
    );
    assert_eq!(
        text(raw.as_bytes(), envelope.param.name.unwrap()).as_deref(),
        Some("a")
    );
    let raw = r#"{"jsonrpc":"2.0","method":"x","params":{"_meta":{"io.modelcontextprotocol\/protocolVersion":"v"}}}"#;
    assert_eq!(opt(raw, found(raw).in_meta.protocol_version), Some("\"v\""));
    // A key that only begins like one we know, and one that cannot be unescaped.
    let raw = r#"{"jsonrpc":"2.0","method":"x","id\u0000":{},"\ud800":1,"methodmethodmethodmethodmethodmethodmethod\u006d":1}"#;
    assert_eq!(found(raw).kind, Kind::Notification);
}

#[test]
fn ids_of_any_spelling() {
    for id in [
        "1",
        "1.0",
        "-1",
        "1e3",
        "123456789012345678901234567890",
        "\"1\"",
        "\"\"",
        r#""\u0031""#,
        "\"\u{1f600}\"",
    ] {
        let raw = format!(r#"{{"jsonrpc":"2.0","id": {id} ,"method":"ping"}}"#);
        assert_eq!(opt(&raw, found(&raw).id), Some(id));
    }
    for id in ["null", "true", "{}", "[1]"] {
        let raw = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"ping"}}"#);
        assert_eq!(
            refused(&raw),
            (ScanFault::InvalidId, codes::INVALID_REQUEST, None)
        );
    }
    assert_eq!(
        refused(r#"{"jsonrpc":"2.0","id":null,"result":{}}"#).0,
        ScanFault::InvalidId
    );
}

#[test]
fn a_deciding_key_may_not_appear_twice() {
    let cases = [
        (r#"{"jsonrpc":"2.0","id":1,"method":"a","method":"b"}"#, "method"),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","\u006dethod":"b"}"#,
            "method",
        ),
        (
            r#"{"jsonrpc":"2.0","jsonrpc":"2.0","id":1,"method":"a"}"#,
            "jsonrpc",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{},"params":{"name":"x"}}"#,
            "params",
        ),
        (r#"{"jsonrpc":"2.0","id":1,"result":{},"result":{}}"#, "result"),
        (r#"{"jsonrpc":"2.0","id":1,"error":{},"error":{}}"#, "error"),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"name":"x","n\u0061me":"y"}}"#,
            "params.name",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"uri":"x","uri":"y"}}"#,
            "params.uri",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"taskId":"x","taskId":"y"}}"#,
            "params.taskId",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"arguments":{},"arguments":{}}}"#,
            "params.arguments",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"requestState":"x","requestState":"y"}}"#,
            "params.requestState",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{},"_meta":{}}}"#,
            "params._meta",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"ref":{},"ref":1}}"#,
            "params.ref",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"ref":{"name":1,"name":2}}}"#,
            "params.ref.name",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"progressToken":1,"progressToken":1}}}"#,
            "_meta.progressToken",
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"a","io.modelcontextprotocol\/protocolVersion":"b"}}}"#,
            "_meta.io.modelcontextprotocol/protocolVersion",
        ),
    ];
    for (raw, key) in cases {
        assert_eq!(
            refused(raw),
            (ScanFault::DuplicateKey { key }, codes::INVALID_REQUEST, Some("1")),
            "{raw}"
        );
    }
    // Two ids: neither can be answered.
    let raw = r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"a"}"#;
    assert_eq!(
        refused(raw),
        (
            ScanFault::DuplicateKey { key: "id" },
            codes::INVALID_REQUEST,
            None
        )
    );
    let raw = r#"{"jsonrpc":"2.0","method":"a","params":[],"id":1,"id":2}"#;
    assert_eq!(
        refused(raw),
        (ScanFault::InvalidParams, codes::INVALID_PARAMS, None)
    );
    // Elsewhere it decides nothing.
    found(
        r#"{"jsonrpc":"2.0","id":1,"x":1,"x":2,"method":"a","params":{"arguments":{"name":1,"name":2},"y":1,"y":2}}"#,
    );
}

#[test]
fn messages_of_the_wrong_shape() {
    use ScanFault::*;
    let cases = [
        ("[]", NotAnObject, -32600, None),
        ("1", NotAnObject, -32600, None),
        ("\"x\"", NotAnObject, -32600, None),
        ("{}", MissingJsonRpc, -32600, None),
        (r#"{"id":3,"method":"a"}"#, MissingJsonRpc, -32600, Some("3")),
        (
            r#"{"jsonrpc":"1.0","method":"a","id":"x"}"#,
            WrongJsonRpc,
            -32600,
            Some("\"x\""),
        ),
        (r#"{"jsonrpc":2.0,"method":"a"}"#, WrongJsonRpc, -32600, None),
        (r#"{"jsonrpc":"2.0"}"#, UnknownKind, -32600, None),
        (r#"{"jsonrpc":"2.0","id":1}"#, UnknownKind, -32600, Some("1")),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","result":{}}"#,
            UnknownKind,
            -32600,
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"error":{},"result":{}}"#,
            UnknownKind,
            -32600,
            Some("1"),
        ),
        (r#"{"jsonrpc":"2.0","result":{}}"#, MissingId, -32600, None),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
            InvalidMethod,
            -32600,
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"\ud800"}"#,
            InvalidMethod,
            -32600,
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":[]}"#,
            InvalidParams,
            -32602,
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","method":"a","params":null,"id":1}"#,
            InvalidParams,
            -32602,
            Some("1"),
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"a","params":{"_meta":3}}"#,
            InvalidMeta,
            -32602,
            Some("1"),
        ),
    ];
    for (raw, fault, code, id) in cases {
        assert_eq!(refused(raw), (fault, code, id), "{raw}");
    }
}

#[test]
fn bad_json_wins_over_every_other_complaint_and_has_no_id() {
    let raw = r#"{"jsonrpc":"1.0","id":1,"id":2,"params":[],"x":}"#;
    assert_eq!(
        refused(raw),
        (ScanFault::NotJson { offset: 47 }, codes::PARSE_ERROR, None)
    );
    let error = scan(raw.as_bytes(), &Limits::default()).unwrap_err();
    assert_eq!(error.offset(), Some(47));
    assert_eq!(error.to_string(), "not JSON: unexpected input at byte 47");
}

#[test]
fn every_method_is_its_own_name() {
    for method in Method::ALL {
        assert_eq!(Method::parse(method.as_str().as_bytes()), *method);
        let raw = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{}"}}"#, method.as_str());
        assert_eq!(found(&raw).method, *method);
    }
    for other in ["", "Tools/call", "tools/call ", "tools", "x"] {
        assert_eq!(Method::parse(other.as_bytes()), Method::Other);
    }
}

#[test]
fn revisions_stand_in_order() {
    assert!(Revision::ALL.is_sorted());
    assert!(Revision::LEGACY.iter().rev().is_sorted());
    assert!(Revision::LATEST_LEGACY < Revision::MODERN);
    for revision in Revision::ALL {
        assert_eq!(Revision::parse(revision.as_str()), Some(revision));
    }
    assert_eq!(Revision::parse("2026-07-29"), None);
}

#[test]
fn batches() {
    let split = |raw: &str| split_batch(raw.as_bytes(), &Limits::default(), 3).map_err(|error| error.fault);
    assert_eq!(split(r#"{"a":[1]}"#), Ok(None));
    assert_eq!(split(""), Ok(None));
    assert_eq!(split("\u{c}[1]"), Ok(None));
    let raw = " [ {\"a\":[1,2]} ,3, \"]\" ]\n";
    let items = split(raw).unwrap().unwrap();
    assert_eq!(
        items.iter().map(|item| at(raw, *item)).collect::<Vec<_>>(),
        [r#"{"a":[1,2]}"#, "3", "\"]\""]
    );
    assert_eq!(split("[]"), Err(ScanFault::EmptyBatch));
    assert_eq!(split("[1,2,3,4]"), Err(ScanFault::TooManyItems { items_max: 3 }));
    assert_eq!(split("[1,2"), Err(ScanFault::NotJson { offset: 4 }));
    assert_eq!(split("[1]]"), Err(ScanFault::NotJson { offset: 3 }));
    assert!(matches!(
        split(&"[".repeat(100_000)),
        Err(ScanFault::TooDeep { .. })
    ));
}
