//! Stepping through values and changing them.

use axiom_protocol::{Edit, Span, elements, get, members, object_with, splice};

fn span(start: u32, end: u32) -> Span {
    Span { start, end }
}

fn string(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn edits_are_made_in_the_order_of_their_places() {
    let raw = b"0123456789";
    let mut edits = [
        Edit {
            at: span(8, 10),
            with: b"",
        },
        Edit {
            at: span(0, 0),
            with: b"<",
        },
        Edit {
            at: span(3, 5),
            with: b"abc",
        },
        Edit {
            at: span(5, 5),
            with: b"|",
        },
    ];
    assert_eq!(string(&splice(raw, &mut edits)), "<012abc|567");
    assert_eq!(splice(raw, &mut []), raw);
}

#[test]
fn two_insertions_at_one_place_keep_their_order_and_stand_before_what_is_replaced_there() {
    let mut edits = [
        Edit {
            at: span(1, 2),
            with: b"X",
        },
        Edit {
            at: span(1, 1),
            with: b"a",
        },
        Edit {
            at: span(1, 1),
            with: b"b",
        },
    ];
    assert_eq!(string(&splice(b"012", &mut edits)), "0abX2");
}

#[test]
fn an_object_with_members_set_and_removed() {
    let check = |object: &str, set: &[(&str, &[u8])], remove: &[&str], expected: &str| {
        let raw = format!("[{object}]");
        let place = span(1, u32::try_from(raw.len() - 1).unwrap());
        assert_eq!(
            string(&object_with(raw.as_bytes(), place, set, remove)),
            expected,
            "{object}"
        );
    };
    check("{}", &[], &[], "{}");
    check("{}", &[("a", b"1"), ("b", b"2")], &["c"], r#"{"a":1,"b":2}"#);
    check(r#"{"a":1}"#, &[], &["a"], "{}");
    check(r#"{"a":1,"b":2,"c":3}"#, &[], &["a", "c"], r#"{"b":2}"#);
    check(
        r#"{"a":1,"b":2,"c":3}"#,
        &[("b", b"[]")],
        &[],
        r#"{"a":1,"b":[],"c":3}"#,
    );
    check(
        r#"{"a":1,"b":2}"#,
        &[("z", b"0"), ("a", b"9")],
        &["b"],
        r#"{"a":9,"z":0}"#,
    );
    check(
        r#"{"\u0061":1,"x":1.0}"#,
        &[("a", b"2")],
        &[],
        r#"{"\u0061":2,"x":1.0}"#,
    );
    check(r#"{"\u0061":1,"x":1}"#, &[], &["a"], r#"{"x":1}"#);
    check(r#"{"a":1,"b":2,"a":3}"#, &[("a", b"9")], &[], r#"{"a":9,"b":2}"#);
    check(r#"{"a":1}"#, &[("q\"\n", b"1")], &[], r#"{"a":1,"q\"\n":1}"#);
    check(r#"{"a":1}"#, &[("a", b"2")], &["a"], r#"{"a":2}"#);
    // No object: there is nothing to keep.
    check("7", &[("a", b"1")], &[], r#"{"a":1}"#);
}

#[test]
fn members_and_elements() {
    let raw = br#"{ "a" : [1, "x,]}" , {"k":[2]}] ,"b":-1.5e3,"c\"d":null , "e":"\\"}"#;
    let all = Span::all(raw);
    let pairs: Vec<_> = members(raw, all)
        .map(|(key, value)| (string(key.of(raw)), string(value.of(raw))))
        .collect();
    let expected = [
        (r#""a""#, r#"[1, "x,]}" , {"k":[2]}]"#),
        (r#""b""#, "-1.5e3"),
        (r#""c\"d""#, "null"),
        (r#""e""#, r#""\\""#),
    ];
    assert_eq!(
        pairs,
        expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
    );
    let items = get(raw, all, "a").unwrap();
    assert_eq!(
        elements(raw, items)
            .map(|item| string(item.of(raw)))
            .collect::<Vec<_>>(),
        ["1", r#""x,]}""#, r#"{"k":[2]}"#]
    );
    assert_eq!(
        get(raw, all, "c\"d").map(|value| value.of(raw)),
        Some(b"null".as_slice())
    );
    assert_eq!(get(raw, all, "k"), None);
    assert_eq!(members(raw, items).count(), 0);
    assert_eq!(elements(raw, all).count(), 0);
    assert_eq!(members(b"{}", Span::all(b"{}")).count(), 0);
    assert_eq!(elements(b"[ ]", Span::all(b"[ ]")).count(), 0);
}

#[test]
fn walking_over_rubbish_ends() {
    for raw in [
        "{", "[", "{\"", "{\"a", "{\"a\\", "[}", "[]]", "{]", "[[[", "{\"a\":}", "[,,,,]", "{:::}",
        "[\u{1}]", "[1}2]", "]",
    ] {
        let all = Span::all(raw.as_bytes());
        assert!(members(raw.as_bytes(), all).take(100).count() < 100, "{raw}");
        assert!(elements(raw.as_bytes(), all).take(100).count() < 100, "{raw}");
        assert!(
            members(raw.as_bytes(), span(0, 999)).take(100).count() < 100,
            "{raw}"
        );
    }
}
