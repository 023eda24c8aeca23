use proptest::prelude::*;

use super::*;

/// Template with readable markers, and the values; `None` if it stays as it is.
fn split(body: &str) -> Option<(String, Vec<i64>, Vec<&str>)> {
    let mut split = Split::default();
    if !split.split(body.as_bytes()) {
        return None;
    }
    let template = String::from_utf8(split.template.clone()).unwrap();
    let template = template.replace('\x11', "<i>").replace('\x12', "<w>");
    let words = split.words.iter().map(|range| body.get(range.clone()).unwrap());
    Some((template, split.integers.clone(), words.collect()))
}

fn round_trip(body: &[u8]) -> bool {
    let mut split = Split::default();
    if !split.split(body) {
        return false;
    }
    let mut joined = Vec::new();
    let words = split.words.iter().map(|range| &body[range.clone()]);
    join(&split.template, &split.integers, words, &mut joined).unwrap();
    assert_eq!(joined, body);
    true
}

#[test]
fn a_body_becomes_a_template_and_values() {
    let table: [(&str, &str, &[i64], &[&str]); 12] = [
        (
            "read 17 files of job 9f3a1c22",
            "read <i> files of job <w>",
            &[17],
            &["9f3a1c22"],
        ),
        (
            "worker-12 of module_97",
            "worker-<i> of module_<i>",
            &[12, 97],
            &[],
        ),
        ("0 007 -0 -5", "<i> <w> -<i> -<i>", &[0, 0, 5], &["007"]),
        (
            "1e5 3.14 2.0 0x1f",
            "<w> <i>.<w> <i>.<w> <w>",
            &[3, 2],
            &["1e5", "14", "0", "0x1f"],
        ),
        (
            "999999999999999999 1000000000000000000",
            "<i> <w>",
            &[999_999_999_999_999_999],
            &["1000000000000000000"],
        ),
        (
            "2026-11-26T20:05:59",
            "<i>-<w>-<w>:<w>:<w>",
            &[2026],
            &["11", "26T20", "05", "59"],
        ),
        (
            "abc12 abc123 thread1",
            "abc<i> <w> thread<i>",
            &[12, 1],
            &["abc123"],
        ),
        ("no numbers at all", "no numbers at all", &[], &[]),
        ("", "", &[], &[]),
        ("\u{e4}5\u{20ac}", "\u{e4}<i>\u{20ac}", &[5], &[]),
        (
            r#"{"a":1,"b":[2,30]}"#,
            r#"{"a":<i>,"b":[<i>,<i>]}"#,
            &[1, 2, 30],
            &[],
        ),
        (
            "127.0.0.1:8080",
            "<i>.<w>.<w>.<w>:<i>",
            &[127, 8080],
            &["0", "0", "1"],
        ),
    ];
    for (body, template, integers, words) in table {
        let expected = Some((template.to_owned(), integers.to_vec(), words.to_vec()));
        assert_eq!(split(body), expected, "{body}");
        assert!(round_trip(body.as_bytes()));
    }
}

#[test]
fn what_cannot_be_split_stays_as_it_is() {
    assert!(!round_trip(b"a marker \x11 in it"));
    assert!(!round_trip(b"a marker \x12 in it"));
    assert!(!round_trip(b"not UTF-8: \xff 1"));
    assert!(!round_trip(&vec![b'1'; SPLIT_BYTES_MAX + 1]));
    assert!(!round_trip("1 ".repeat(VALUES_MAX + 1).as_bytes()));
    assert!(round_trip("1 ".repeat(VALUES_MAX).as_bytes()));
    assert!(round_trip(&vec![b'1'; SPLIT_BYTES_MAX]));
}

#[test]
fn values_that_do_not_fit_are_refused() {
    let mut out = Vec::new();
    let mut join = |template: &[u8], integers: &[i64], words: &[&[u8]]| {
        join(template, integers, words.iter().copied(), &mut out)
    };
    assert_eq!(join(b"\x11\x12", &[1], &[b"w"]), Ok(()));
    assert_eq!(join(b"\x11", &[], &[]), Err(Mismatch::TooFew));
    assert_eq!(join(b"\x12", &[1], &[]), Err(Mismatch::TooFew));
    assert_eq!(join(b"\x11", &[1, 2], &[]), Err(Mismatch::TooMany));
    assert_eq!(join(b"", &[], &[b"w"]), Err(Mismatch::TooMany));
}

#[test]
fn integers_are_written_as_everyone_writes_them() {
    for value in [0, 1, -1, 9, 10, 999_999_999_999_999_999, i64::MAX, i64::MIN] {
        let mut out = Vec::new();
        write_integer(value, &mut out);
        assert_eq!(out, value.to_string().into_bytes());
    }
}

proptest! {
    #[test]
    fn every_body_comes_back(body in proptest::collection::vec(any::<u8>(), 0..200)) {
        round_trip(&body);
    }

    #[test]
    fn every_text_comes_back(body in "[a-f_x0-9 .:\\-\u{11}\u{12}\u{e4}eE+]{0,120}") {
        let has_marker = body.contains(['\u{11}', '\u{12}']);
        prop_assert_eq!(round_trip(body.as_bytes()), !has_marker);
    }
}
