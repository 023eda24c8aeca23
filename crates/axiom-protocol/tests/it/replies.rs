//! Finding the id of an answer without reading it whole.

use axiom_protocol::{IdAt, Kind, ReplyHead, ReplyScanner, ScanFault, peek_reply};

/// The id and kind, or the name of the other outcome.
fn peek(head: &str) -> String {
    match peek_reply(head.as_bytes()) {
        ReplyHead::Id { id, kind } => format!("{} {kind:?}", String::from_utf8_lossy(id.of(head.as_bytes()))),
        other => format!("{other:?}"),
    }
}

#[test]
fn the_head_tells_the_id() {
    let cases = [
        (
            r#"{"jsonrpc":"2.0","id":12,"result":{"content":["#,
            "12 Some(Response)",
        ),
        (
            r#" {"id": "a\"b" , "jsonrpc":"2.0","error":{"#,
            r#""a\"b" Some(Error)"#,
        ),
        (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, "1 Some(Request)"),
        (r#"{"method":"x","id":1,"params":{"#, "1 Some(Request)"),
        (r#"{"jsonrpc":"2.0","id":1,"resu"#, "1 None"),
        (
            r#"{"jsonrpc":"2.0","\u0069d":null,"error":{"code":"#,
            "null Some(Error)",
        ),
        (r#"{"jsonrpc":"2.0","result":null,"id":3}"#, "3 None"),
        (r#"{"id":3,"error":null,"result":{}}"#, "3 Some(Response)"),
        (r#"{"id":3,"error":"#, "3 None"),
        (r#"{"jsonrpc":"2.0","id":12"#, "NotInHead"),
        (r#"{"jsonrpc":"2.0","id":"12"#, "NotInHead"),
        (r#"{"jsonrpc":"2.0","result":{"id":1},"id":12}"#, "NotInHead"),
        (r#"{"id":1,"id":2,"result":{"#, "NotInHead"),
        (r#"{"id":{"a":1}}"#, "NotInHead"),
        (
            r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{}}"#,
            "NotInHead",
        ),
        ("{", "NotInHead"),
        ("  ", "NotInHead"),
        ("", "NotInHead"),
        ("[{}]", "NotAnObject"),
        ("null", "NotAnObject"),
        ("<html>", "NotAnObject"),
    ];
    for (head, expected) in cases {
        assert_eq!(peek(head), expected, "{head}");
    }
}

#[test]
fn the_head_is_not_searched_without_end() {
    let late = format!(r#"{{"a":"{}","id":1}}"#, "x".repeat(10_000));
    assert_eq!(peek(&late), "NotInHead");
}

/// Feeds the text in pieces of `size` bytes: the id's text, the kind, and whether it was complete.
pub(crate) fn feed(raw: &[u8], size: usize) -> Result<(Option<IdAt>, Option<Kind>, bool), ScanFault> {
    let mut scanner = ReplyScanner::new();
    let mut reported = None;
    for chunk in raw.chunks(size) {
        if let Some(id) = scanner.feed(chunk).map_err(|error| error.fault)? {
            assert_eq!(reported.replace(id), None, "reported once");
        }
    }
    assert_eq!(reported, scanner.id());
    Ok((reported, scanner.kind(), scanner.finish()))
}

#[test]
fn the_id_is_found_however_the_answer_is_cut() {
    let cases = [
        (
            r#"{"jsonrpc":"2.0","result":{"id":9,"t":"}\"]{\\"},"id":12}"#,
            Some("12"),
            Kind::Response,
        ),
        (
            r#" { "result" : [ {"a":[]} , "x" ] , "i\u0064" : "a\"b\\" } "#,
            Some(r#""a\"b\\""#),
            Kind::Response,
        ),
        (
            r#"{"\u0065rror":{"code":1},"id":null}"#,
            Some("null"),
            Kind::Error,
        ),
        (r#"{"id":1,"result":{},"error":null}"#, Some("1"), Kind::Response),
        (r#"{"error":null,"result":{},"id":1}"#, Some("1"), Kind::Response),
        (r#"{"result":null,"id":1}"#, Some("1"), Kind::Response),
        (r#"{"id":-1.5e3,"method":"m"}"#, Some("-1.5e3"), Kind::Request),
        (r#"{"method":"m","params":{"id":1}}"#, None, Kind::Notification),
        (
            r#"{"identity":1,"idd":2,"i":3,"a long key that fills more than the buffer for keys has room for":4,"result":1}"#,
            None,
            Kind::Response,
        ),
    ];
    for (raw, id, kind) in cases {
        for size in 1..=raw.len() {
            let (at, seen, complete) = feed(raw.as_bytes(), size).unwrap();
            let text = at
                .and_then(|at| raw.get(usize::try_from(at.start).unwrap()..usize::try_from(at.end).unwrap()));
            assert_eq!((text, seen, complete), (id, Some(kind), true), "{raw} in {size}");
        }
    }
}

#[test]
fn an_answer_that_is_cut_off_is_not_complete() {
    let raw = br#"{"id":1,"result":{"a":"b"},"x":[1]}"#;
    for len in 0..raw.len() {
        assert!(!feed(&raw[..len], 5).unwrap().2, "{len}");
    }
    assert!(feed(raw, 5).unwrap().2);
}

#[test]
fn what_is_no_answer_is_refused() {
    let cases = [
        ("[]", ScanFault::NotAnObject),
        ("x", ScanFault::NotAnObject),
        (r#"{"id":1,"id":1}"#, ScanFault::DuplicateKey { key: "id" }),
        (
            r#"{"id":"a","\u0069d":"b"}"#,
            ScanFault::DuplicateKey { key: "id" },
        ),
        (r#"{"id":[1]}"#, ScanFault::InvalidId),
        (r#"{"id":1,}"#, ScanFault::NotJson { offset: 8 }),
        (r#"{"id" 1}"#, ScanFault::NotJson { offset: 6 }),
        (r#"{"id":}"#, ScanFault::NotJson { offset: 6 }),
        (r#"{id:1}"#, ScanFault::NotJson { offset: 1 }),
        (r#"{"id":1} {}"#, ScanFault::NotJson { offset: 9 }),
        (r#"{"id":1 "a":2}"#, ScanFault::NotJson { offset: 8 }),
    ];
    for (raw, fault) in cases {
        for size in 1..=raw.len() {
            assert_eq!(feed(raw.as_bytes(), size), Err(fault.clone()), "{raw} in {size}");
        }
    }
}

#[test]
fn nesting_costs_no_memory() {
    let raw = [
        r#"{"result":"#.to_owned(),
        "[".repeat(200_000),
        "]".repeat(200_000),
        r#","id":5}"#.to_owned(),
    ]
    .concat();
    let (id, _, complete) = feed(raw.as_bytes(), 4096).unwrap();
    assert!(complete && id.is_some());
    assert!(size_of::<ReplyScanner>() <= 160);
}
