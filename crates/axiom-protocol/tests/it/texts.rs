//! Strings in and out.

use axiom_protocol::{Span, push_quoted, quoted, reply, text};

fn read(raw: &str) -> Option<String> {
    text(raw.as_bytes(), Span::all(raw.as_bytes())).map(std::borrow::Cow::into_owned)
}

#[test]
fn strings_are_unescaped() {
    let cases = [
        (r#""""#, Some("")),
        (r#""plain é""#, Some("plain é")),
        (r#""\"\\\/\b\f\n\r\t""#, Some("\"\\/\u{8}\u{c}\n\r\t")),
        (r#""a\u0041\u00e9z""#, Some("aAéz")),
        (r#""\uD83D\uDE00!""#, Some("😀!")),
        (r#""\ud800""#, None),
        (r#""\udc00""#, None),
        (r#""\ud800\u0041""#, None),
        (r#""\ud800\ud800""#, None),
        (r#""\ud800x""#, None),
        ("1", None),
        ("{}", None),
        ("null", None),
        ("\"", None),
        ("", None),
    ];
    for (raw, expected) in cases {
        assert_eq!(read(raw).as_deref(), expected, "{raw}");
    }
}

#[test]
fn a_string_without_escapes_is_borrowed() {
    let raw = br#""name""#;
    assert!(matches!(
        text(raw, Span::all(raw)),
        Some(std::borrow::Cow::Borrowed("name"))
    ));
}

#[test]
fn what_is_quoted_reads_back() {
    for value in [
        "",
        "a",
        "\"\\/",
        "\0\u{1}\u{1f}\u{7f}",
        "\n\r\t",
        "é😀\u{2028}",
        "a\"b\\c\nd",
    ] {
        let mut out = b"x".to_vec();
        push_quoted(&mut out, value);
        assert_eq!(serde_json::from_slice::<String>(&out[1..]).unwrap(), value);
        assert_eq!(
            text(
                &out,
                Span {
                    start: 1,
                    end: u32::try_from(out.len()).unwrap()
                }
            )
            .as_deref(),
            Some(value)
        );
        assert_eq!(quoted(value), out[1..]);
    }
}

#[test]
fn our_own_messages() {
    let string = |raw: Vec<u8>| String::from_utf8(raw).unwrap();
    assert_eq!(
        string(reply::error(Some(b"\"a\""), -32020, "say \"x\"", Some(b"{}"))),
        r#"{"jsonrpc":"2.0","id":"a","error":{"code":-32020,"message":"say \"x\"","data":{}}}"#
    );
    assert_eq!(
        string(reply::error(None, -32700, "m", None)),
        r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"m"}}"#
    );
    assert_eq!(
        string(reply::result(b"1", b"{\"a\":1}")),
        r#"{"jsonrpc":"2.0","id":1,"result":{"a":1}}"#
    );
    assert_eq!(
        string(reply::request(b"1", "ping", b"")),
        r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#
    );
    assert_eq!(
        string(reply::notification("notifications/x", b"{}")),
        r#"{"jsonrpc":"2.0","method":"notifications/x","params":{}}"#
    );
}
