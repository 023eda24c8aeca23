use proptest::prelude::*;

use super::*;

#[test]
fn what_differs_is_masked() {
    let text = |body: &str| masked(Format::Text, body.as_bytes());
    let cases = [
        (
            "Compiling serde v1.0.228 (/srv/x/serde)",
            "Compiling serde v<num> (<path>)",
        ),
        ("took 12.5ms, 1,024 bytes", "took <num>ms, <num>,<num> bytes"),
        ("0xdeadbeef at 7f3a9c2b1d00", "<hex> at <hex>"),
        ("commit 9cdd06f by d4f1", "commit <hex> by d<num>f<num>"),
        (
            "job 123e4567-e89b-12d3-a456-426614174000 ended",
            "job <uuid> ended",
        ),
        ("open('a b.txt') don't \"x y\"", "open(<str>) don't <str>"),
        ("an \"open quote", "an \"open quote"),
        (
            "GET http://127.0.0.1:80/a?b=1 200",
            "GET http:<path>:<num>/a?b=<num> <num>",
        ),
        (
            "tools/call and/or src/lib.rs ./x ~/y",
            "tools/call and/or <path> <path> <path>",
        ),
        ("key=abcDEF0123456789ghij0", "key=<id>"),
        ("2026-11-26T19:55:31Z", "<num>-<num>-<num>T<num>:<num>:<num>Z"),
        ("  two\t\nlines\r\n", "two lines"),
        ("bell\u{7}", "bell?"),
        ("", ""),
    ];
    for (body, expected) in cases {
        assert_eq!(text(body), expected, "{body}");
    }
    let long = "x".repeat(65);
    assert_eq!(text(&long), "<long>");
}

#[test]
fn json_is_cut_at_its_punctuation() {
    let body = br#"{"method":"tools/call","n":[1,-2.5e3],"line":"a\nb \"c\" \u00e9","ok":true}"#;
    assert_eq!(
        masked(Format::Json, body),
        "method tools/call n <num> -<num>e<num> line a b c <num>e<num> ok true"
    );
    assert_eq!(masked(Format::Binary, body), "");
}

proptest! {
    /// No panic, bounds are kept, and words are what is between spaces.
    #[test]
    fn any_bytes_have_words(body in proptest::collection::vec(any::<u8>(), 0..1500), is_json: bool) {
        let format = if is_json { Format::Json } else { Format::Text };
        let mut tokens = Tokens::default();
        tokens.read(&RandomState::default(), format, &body);
        let words = tokens.hashes().len();
        prop_assert!(words <= WORDS_MAX);
        let text = tokens.text();
        let seen = text.split(|byte| *byte == b' ').filter(|word| !word.is_empty()).count();
        prop_assert_eq!(seen, words);
    }

    /// Numbers do not matter, wherever they stand.
    #[test]
    fn numbers_do_not_matter(words in proptest::collection::vec("[a-z]{1,8}", 1..10), left in 1..99_999u32, right in 1..99_999u32) {
        let line = |number: u32| words.join(&format!(" {number}: "));
        prop_assert_eq!(
            masked(Format::Text, line(left).as_bytes()),
            masked(Format::Text, line(right).as_bytes())
        );
    }
}
