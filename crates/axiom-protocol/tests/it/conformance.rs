//! JSON itself, by the categories of the public conformance corpora: what every parser must accept, what it must
//! reject, and what RFC 8259 leaves open, where the table says what we chose.

use axiom_protocol::{Limits, ScanFault, scan};

/// Values that stand at `params.value` of a notification.
const ACCEPT: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "10",
    "-1",
    "1.5",
    "0.0",
    "1e5",
    "1E+5",
    "1e-5",
    "1.25e10",
    "-0.1E-07",
    "123456789012345678901234567890",
    "1e400",
    "-1e-400",
    "1.0",
    "\"\"",
    "\"a\"",
    "\" \"",
    r#""\"\\\/\b\f\n\r\t""#,
    r#""\u0000""#,
    r#""\u00e9\u00E9""#,
    r#""\ud83d\ude00""#,
    "\"\u{7f}\"",
    "\"é 世界 😀\"",
    "\"\u{2028}\u{2029}\"",
    "\"\u{feff}\"",
    "\"\u{fffe}\"",
    "\"//\"",
    "\"/*\"",
    "[]",
    "[ ]",
    "[1]",
    "[1, 2]",
    "[[]]",
    "[[[[]]], {}]",
    "[null]",
    "[\"]\"]",
    "{}",
    "{ }",
    "{\"\":0}",
    "{\"a\":1,\"b\":2}",
    "{\"a\":{\"a\":{}}}",
    "{\"}\":\"{\"}",
    "{\"a\\u0000b\":1}",
    "{\"a\":1,\"a\":1}",
    "[\t\r\n 1 ]",
    "{\t\"a\"\r:\n1 }",
];

const REJECT: &[&str] = &[
    // Numbers.
    "01",
    "-01",
    "00",
    "1.",
    ".5",
    "-.5",
    "+1",
    "-",
    "--1",
    "1e",
    "1e+",
    "1.e1",
    "0x10",
    "1_000",
    "1,5",
    "NaN",
    "Infinity",
    "-Infinity",
    "0e",
    "1.2.3",
    "1e1.5",
    "1a",
    "- 1",
    "1 2",
    "１",
    // Literals.
    "nul",
    "nulll",
    "True",
    "FALSE",
    "undefined",
    "tru e",
    // Strings.
    "\"",
    "\"a",
    "'a'",
    "a",
    "\"\\\"",
    r#""\x""#,
    r#""\a""#,
    r#""\u""#,
    r#""\u12""#,
    r#""\u12g4""#,
    r#""\U0041""#,
    r#""\u 041""#,
    "\"\t\"",
    "\"\n\"",
    "\"\r\"",
    "\"\u{0}\"",
    "\"\u{1f}\"",
    "\"long enough to leave the short path \u{1} \"",
    "\"a\" \"b\"",
    "\"\\\u{e9}\"",
    // Arrays.
    "[",
    "[1",
    "[1,",
    "[1,]",
    "[,1]",
    "[,]",
    "[1 2]",
    "[1,,2]",
    "]",
    "[1}",
    "[1:2]",
    "[\"a\":1]",
    "[[]",
    // Objects.
    "{",
    "{\"a\"",
    "{\"a\":",
    "{\"a\":1",
    "{\"a\":1,",
    "{\"a\":1,}",
    "{,}",
    "{\"a\" 1}",
    "{\"a\":}",
    "{a:1}",
    "{1:1}",
    "{'a':1}",
    "{\"a\":1 \"b\":2}",
    "{\"a\":1]",
    "{\"a\"::1}",
    "{\"a\":1,,\"b\":2}",
    "{null:1}",
    "{\"a\":\"b\":1}",
    "{\"a\":1,\"b\"}",
    // White space that JSON does not know, comments.
    "1\u{a0}",
    "\u{feff}1",
    "1\u{2028}",
    "1\u{b}",
    "1\u{c}",
    "1 // c",
    "1 /* c */",
    "# c\n1",
    "",
];

/// RFC 8259 leaves these to the parser. We pass on what we need not understand.
const EITHER_ACCEPTED: &[&str] = &[
    // Halves of surrogate pairs, in every position.
    r#""\ud800""#,
    r#""\udc00""#,
    r#""\ud800\ud800""#,
    r#""\ud800a""#,
    r#""\ude00\ud83d""#,
    r#""\ud800\u0041""#,
    // Numbers beyond any machine type.
    "1e99999999999999999999",
    "0.00000000000000000000000000000000000000000000000000000000000001",
    // Keys that appear twice, where they decide nothing.
    r#"{"name":1,"name":2}"#,
];

/// Bytes that are no UTF-8, inside a string.
const REJECT_BYTES: &[&[u8]] = &[
    b"\x80",
    b"\xff",
    b"\xc3",
    b"\xc0\x80",
    b"\xe0\x80\x80",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xf0\x80\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xe9",
    b"abc\xe4",
    b"\xfe\xff",
];

fn message(value: &[u8]) -> Vec<u8> {
    [
        br#"{"jsonrpc":"2.0","method":"m","params":{"value":"#,
        value,
        b"}}",
    ]
    .concat()
}

fn fault(raw: &[u8]) -> Option<ScanFault> {
    scan(raw, &Limits::default()).err().map(|error| error.fault)
}

#[test]
fn accepts_what_every_parser_must_accept() {
    for value in ACCEPT {
        assert_eq!(fault(&message(value.as_bytes())), None, "{value}");
        assert!(
            serde_json::from_slice::<&serde_json::value::RawValue>(value.as_bytes()).is_ok(),
            "{value}"
        );
    }
}

#[test]
fn rejects_what_every_parser_must_reject() {
    for value in REJECT {
        let raw = message(value.as_bytes());
        assert!(
            matches!(fault(&raw), Some(ScanFault::NotJson { .. })),
            "{value:?}: {:?}",
            fault(&raw)
        );
        assert!(
            serde_json::from_slice::<&serde_json::value::RawValue>(value.as_bytes()).is_err(),
            "{value}"
        );
    }
}

#[test]
fn passes_on_what_the_standard_leaves_open() {
    for value in EITHER_ACCEPTED {
        assert_eq!(fault(&message(value.as_bytes())), None, "{value}");
    }
}

#[test]
fn rejects_bytes_that_are_no_utf8_and_says_where() {
    for bytes in REJECT_BYTES {
        let value = [b"\"", *bytes, b"\""].concat();
        let raw = message(&value);
        let offset = std::str::from_utf8(&raw).unwrap_err().valid_up_to();
        assert_eq!(fault(&raw), Some(ScanFault::NotJson { offset }), "{bytes:?}");
    }
}

#[test]
fn rejects_a_byte_order_mark() {
    let raw = [b"\xef\xbb\xbf".as_slice(), &message(b"1")].concat();
    assert_eq!(fault(&raw), Some(ScanFault::NotJson { offset: 0 }));
    let utf16: Vec<u8> = "{}".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert!(matches!(fault(&utf16), Some(ScanFault::NotJson { .. })));
}

#[test]
fn rejects_anything_after_the_message_but_white_space() {
    let good = message(b"1");
    assert_eq!(fault(&[b" \n".as_slice(), &good, b" \r\n\t"].concat()), None);
    for tail in [",", "}", "]", "x", "{}", "\0", "\u{feff}"] {
        let raw = [&good, tail.as_bytes()].concat();
        assert_eq!(
            fault(&raw),
            Some(ScanFault::NotJson { offset: good.len() }),
            "{tail:?}"
        );
    }
}

#[test]
fn rejects_every_message_that_is_cut() {
    let raw = message(r#"{"a":[1,"x\u0041",true,null,{"b":-1.5e3}]}"#.as_bytes());
    for len in 0..raw.len() {
        assert!(
            matches!(fault(&raw[..len]), Some(ScanFault::NotJson { .. })),
            "cut at {len}"
        );
    }
}

#[test]
fn a_control_character_is_found_at_every_offset_of_a_string() {
    for offset in 0..100 {
        let mut text = vec![b'x'; 100];
        text[offset] = 0x1f;
        let raw = message(&[b"\"", text.as_slice(), b"\""].concat());
        let expected = message(b"").len() - 2 + 1 + offset;
        assert_eq!(fault(&raw), Some(ScanFault::NotJson { offset: expected }));
    }
}

#[test]
fn nesting_beyond_the_limit_is_refused_without_using_stack() {
    let count = 100_000;
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        let value = [open.repeat(count), "0".to_owned(), close.repeat(count)].concat();
        let depth_max = Limits::default().depth_max;
        assert!(
            matches!(fault(&message(value.as_bytes())), Some(ScanFault::TooDeep { depth_max: max, .. }) if max == depth_max)
        );
        // Never closed: the same.
        let value = open.repeat(count);
        assert!(matches!(
            fault(&message(value.as_bytes())),
            Some(ScanFault::TooDeep { .. })
        ));
    }
}

#[test]
fn the_depth_limit_is_exact() {
    for depth_max in [3, 64, 65, 256, 1024] {
        let limits = Limits {
            depth_max,
            ..Limits::default()
        };
        for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
            let nested = |levels: usize| [open.repeat(levels), "0".to_owned(), close.repeat(levels)].concat();
            // The root object and `params` are two levels.
            let fits = message(nested(usize::from(depth_max) - 2).as_bytes());
            let deeper = message(nested(usize::from(depth_max) - 1).as_bytes());
            assert!(scan(&fits, &limits).is_ok(), "{depth_max}");
            assert!(
                matches!(
                    scan(&deeper, &limits).unwrap_err().fault,
                    ScanFault::TooDeep { .. }
                ),
                "{depth_max}"
            );
        }
    }
}

#[test]
fn a_bracket_is_closed_by_its_own_kind_at_every_depth() {
    for depth in [1, 2, 63, 64, 65, 200] {
        let wrong = ["[".repeat(depth), "{\"a\":0]".to_owned(), "]".repeat(depth)].concat();
        assert!(
            matches!(fault(&message(wrong.as_bytes())), Some(ScanFault::NotJson { .. })),
            "{depth}"
        );
        let wrong = ["{\"a\":".repeat(depth), "[0}".to_owned(), "}".repeat(depth)].concat();
        assert!(
            matches!(fault(&message(wrong.as_bytes())), Some(ScanFault::NotJson { .. })),
            "{depth}"
        );
    }
}

#[test]
fn a_message_that_is_too_large_is_not_looked_at() {
    let raw = vec![b'x'; 101];
    let limits = Limits {
        bytes_max: 100,
        ..Limits::default()
    };
    assert_eq!(
        scan(&raw, &limits).unwrap_err().fault,
        ScanFault::TooLarge {
            bytes: 101,
            bytes_max: 100
        }
    );
    assert!(matches!(
        scan(&raw[..100], &limits).unwrap_err().fault,
        ScanFault::NotJson { offset: 0 }
    ));
}
