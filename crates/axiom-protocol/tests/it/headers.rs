//! The standard headers of 2026-07-28 against the body.

use axiom_protocol::headers::{ValueError, decode_value, encode_value};
use axiom_protocol::{HeaderLookup, Limits, Lookup, check_modern, codes, scan};

/// Headers as they came: names in any case.
pub(crate) struct Headers<'a>(pub(crate) &'a [(&'a str, &'a str)]);

impl HeaderLookup for Headers<'_> {
    fn get(&self, name: &str) -> Lookup<'_> {
        let mut values = self
            .0
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value);
        match (values.next(), values.next()) {
            (None, _) => Lookup::Missing,
            (Some(value), None) => Lookup::One(value.as_bytes()),
            _ => Lookup::Many,
        }
    }
}

/// The error text of a request with this body and these headers, or "ok".
fn check(body: &str, headers: &[(&str, &str)]) -> String {
    let envelope = scan(body.as_bytes(), &Limits::default()).unwrap();
    match check_modern(&Headers(headers), body.as_bytes(), &envelope) {
        Ok(()) => "ok".to_owned(),
        Err(error) => {
            assert!([codes::HEADER_MISMATCH, codes::INVALID_PARAMS].contains(&error.code()));
            error.to_string()
        }
    }
}

fn body(method: &str, members: &str) -> String {
    format!(
        r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{members}"_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}}}}}}"#
    )
}

const VERSION: (&str, &str) = ("MCP-Protocol-Version", "2026-07-28");

#[test]
fn headers_that_agree() {
    let call = body("tools/call", r#""name":"get_weather","#);
    assert_eq!(
        check(
            &call,
            &[VERSION, ("Mcp-Method", "tools/call"), ("Mcp-Name", "get_weather")]
        ),
        "ok"
    );
    assert_eq!(
        check(
            &call,
            &[
                VERSION,
                ("MCP-METHOD", "tools/call"),
                ("mcp-name", " \tget_weather  ")
            ]
        ),
        "ok"
    );
    assert_eq!(
        check(
            &call,
            &[
                VERSION,
                ("Mcp-Method", "tools/call"),
                ("Mcp-Name", "=?base64?Z2V0X3dlYXRoZXI=?=")
            ]
        ),
        "ok"
    );
    let list = body("tools/list", "");
    assert_eq!(check(&list, &[VERSION, ("mcp-method", "tools/list")]), "ok");
    // No rule says what a name would mean here.
    assert_eq!(
        check(&list, &[VERSION, ("mcp-method", "tools/list"), ("mcp-name", "x")]),
        "ok"
    );
    let read = body("resources/read", r#""uri":"file:///a b","name":"other","#);
    assert_eq!(
        check(
            &read,
            &[
                VERSION,
                ("mcp-method", "resources/read"),
                ("mcp-name", "file:///a b")
            ]
        ),
        "ok"
    );
    for method in ["tasks/get", "tasks/update", "tasks/cancel"] {
        let task = body(method, r#""taskId":"t-1","#);
        assert_eq!(
            check(&task, &[VERSION, ("mcp-method", method), ("mcp-name", "t-1")]),
            "ok"
        );
    }
    let other = body("x/y", "");
    assert_eq!(check(&other, &[VERSION, ("mcp-method", "x/y")]), "ok");
}

#[test]
fn escapes_in_the_body_mean_what_they_say() {
    let call = body("tools\\/call", r#""name":"w\u00e9 \"q\"","#);
    let name = encode_value("wé \"q\"");
    assert_eq!(
        check(
            &call,
            &[VERSION, ("mcp-method", "tools/call"), ("mcp-name", &name)]
        ),
        "ok"
    );
    // The raw spelling is not the value.
    let call = body("tools/call", r#""name":"a\u0062","#);
    assert_eq!(
        check(
            &call,
            &[VERSION, ("mcp-method", "tools/call"), ("mcp-name", "ab")]
        ),
        "ok"
    );
    assert!(
        check(
            &call,
            &[VERSION, ("mcp-method", "tools/call"), ("mcp-name", "a\\u0062")]
        )
        .contains("does not match")
    );
    // A name that looks wrapped must itself be wrapped.
    let call = body("tools/call", r#""name":"=?base64?YWI=?=","#);
    assert!(
        check(
            &call,
            &[
                VERSION,
                ("mcp-method", "tools/call"),
                ("mcp-name", "=?base64?YWI=?=")
            ]
        )
        .contains("does not match")
    );
    let name = encode_value("=?base64?YWI=?=");
    assert_eq!(
        check(
            &call,
            &[VERSION, ("mcp-method", "tools/call"), ("mcp-name", &name)]
        ),
        "ok"
    );
}

#[test]
fn headers_that_disagree() {
    let call = body("tools/call", r#""name":"bar","#);
    let method = ("mcp-method", "tools/call");
    let cases: &[(&[(&str, &str)], &str)] = &[
        (
            &[VERSION, ("mcp-name", "bar")],
            "Header mismatch: Mcp-Method header is missing",
        ),
        (&[VERSION, method], "Header mismatch: Mcp-Name header is missing"),
        (
            &[method, ("mcp-name", "bar")],
            "Header mismatch: MCP-Protocol-Version header is missing",
        ),
        (
            &[VERSION, method, ("mcp-name", "foo")],
            "Header mismatch: Mcp-Name header value 'foo' does not match body value 'bar'",
        ),
        (
            &[VERSION, method, ("mcp-name", "BAR")],
            "Header mismatch: Mcp-Name header value 'BAR' does not match body value 'bar'",
        ),
        (
            &[VERSION, method, ("mcp-name", "")],
            "Header mismatch: Mcp-Name header value '' does not match body value 'bar'",
        ),
        (
            &[VERSION, ("mcp-method", "prompts/get"), ("mcp-name", "bar")],
            "Header mismatch: Mcp-Method header value 'prompts/get' does not match body value 'tools/call'",
        ),
        (
            &[VERSION, ("mcp-method", "TOOLS/CALL"), ("mcp-name", "bar")],
            "Header mismatch: Mcp-Method header value 'TOOLS/CALL' does not match body value 'tools/call'",
        ),
        // Only names and arguments may be wrapped.
        (
            &[
                VERSION,
                ("mcp-method", "=?base64?dG9vbHMvY2FsbA==?="),
                ("mcp-name", "bar"),
            ],
            "Header mismatch: Mcp-Method header value '=?base64?dG9vbHMvY2FsbA==?=' does not match body value 'tools/call'",
        ),
        (
            &[
                ("mcp-protocol-version", "2025-11-25"),
                method,
                ("mcp-name", "bar"),
            ],
            "Header mismatch: MCP-Protocol-Version header value '2025-11-25' does not match body value '2026-07-28'",
        ),
        (
            &[VERSION, method, ("mcp-name", "bar"), ("Mcp-Name", "bar")],
            "Header mismatch: Mcp-Name header is repeated",
        ),
        (
            &[VERSION, method, method, ("mcp-name", "bar")],
            "Header mismatch: Mcp-Method header is repeated",
        ),
        (
            &[VERSION, method, ("mcp-name", "b\u{e9}r")],
            "Header mismatch: Mcp-Name header has a character outside visible ASCII",
        ),
        (
            &[VERSION, method, ("mcp-name", "=?base64?YmFy")],
            "Header mismatch: Mcp-Name header value '=?base64?YmFy' does not match body value 'bar'",
        ),
        (
            &[VERSION, method, ("mcp-name", "=?base64?YmF?=")],
            "Header mismatch: Mcp-Name header holds invalid Base64",
        ),
        (
            &[VERSION, method, ("mcp-name", "=?base64?/w==?=")],
            "Header mismatch: Mcp-Name header holds Base64 of something that is not UTF-8",
        ),
    ];
    for (headers, expected) in cases {
        assert_eq!(check(&call, headers), *expected);
    }
}

#[test]
fn names_that_the_body_lacks_or_that_are_no_text() {
    let method = ("mcp-method", "tools/call");
    let without = body("tools/call", "");
    assert_eq!(check(&without, &[VERSION, method]), "ok");
    assert_eq!(
        check(&without, &[VERSION, method, ("mcp-name", "x")]),
        "Header mismatch: Mcp-Name header is present but the body has no such value"
    );
    let number = body("tools/call", r#""name":7,"#);
    assert_eq!(
        check(&number, &[VERSION, method, ("mcp-name", "7")]),
        "Header mismatch: Mcp-Name header value '7' does not match body value '7'"
    );
    let half = body("tools/call", r#""name":"\ud800","#);
    assert!(check(&half, &[VERSION, method, ("mcp-name", "\\ud800")]).contains("does not match"));
}

#[test]
fn the_version_must_stand_in_the_body_too() {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{}}"#;
    let envelope = scan(body.as_bytes(), &Limits::default()).unwrap();
    let headers = [VERSION, ("mcp-method", "tools/list")];
    let error = check_modern(&Headers(&headers), body.as_bytes(), &envelope).unwrap_err();
    assert_eq!(error.code(), codes::INVALID_PARAMS);
}

#[test]
fn notifications_need_no_headers_but_may_not_lie() {
    let body = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
    assert_eq!(check(body, &[]), "ok");
    assert_eq!(check(body, &[("mcp-method", "notifications/cancelled")]), "ok");
    assert!(check(body, &[("mcp-method", "tools/call")]).contains("does not match"));
}

#[test]
fn error_texts_carry_little_of_what_a_stranger_sent() {
    let call = body("tools/call", &format!(r#""name":"{}\n","#, "y".repeat(5000)));
    let long = "x".repeat(5000);
    let text = check(
        &call,
        &[VERSION, ("mcp-method", "tools/call"), ("mcp-name", &long)],
    );
    assert!(text.len() < 400, "{text}");
    assert!(!text.contains('\n'));
}

#[test]
fn values_are_encoded_as_the_specification_shows() {
    let table = [
        ("us-west1", "us-west1"),
        ("two words", "two words"),
        ("Hello, 世界", "=?base64?SGVsbG8sIOS4lueVjA==?="),
        (" padded ", "=?base64?IHBhZGRlZCA=?="),
        ("line1\nline2", "=?base64?bGluZTEKbGluZTI=?="),
        ("=?base64?literal?=", "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?="),
        ("=?base64?open", "=?base64?open"),
        ("=?BASE64?x?=", "=?BASE64?x?="),
        ("a\tb", "=?base64?YQli?="),
        ("", "=?base64??="),
    ];
    for (text, header) in table {
        assert_eq!(encode_value(text), header);
        assert_eq!(decode_value(header.as_bytes()).unwrap(), text);
    }
}

#[test]
fn values_that_cannot_be_decoded() {
    let cases: &[(&[u8], ValueError)] = &[
        (b"\x80", ValueError::InvalidCharacter),
        (b"a\x7f", ValueError::InvalidCharacter),
        (b"a\nb", ValueError::InvalidCharacter),
        (b"a\0", ValueError::InvalidCharacter),
        (b"=?base64?SGVsbG8?=", ValueError::InvalidBase64),
        (b"=?base64?SGVs!!!bG8=?=", ValueError::InvalidBase64),
        (b"=?base64?SGVsbG9=?=", ValueError::InvalidBase64),
        (b"=?base64? SGVsbG8=?=", ValueError::InvalidBase64),
        (b"=?base64?gA==?=", ValueError::NotUtf8),
    ];
    for (header, expected) in cases {
        assert_eq!(decode_value(header), Err(*expected));
    }
    assert_eq!(decode_value(b"=?base64?SGVsbG8=").unwrap(), "=?base64?SGVsbG8=");
    assert_eq!(
        decode_value(b"=?Base64?SGVsbG8=?=").unwrap(),
        "=?Base64?SGVsbG8=?="
    );
    assert_eq!(decode_value(b"=?base64?=").unwrap(), "=?base64?=");
    assert_eq!(decode_value(b" a\tb ").unwrap(), "a\tb");
}
