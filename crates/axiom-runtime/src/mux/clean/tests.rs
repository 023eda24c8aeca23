use proptest::prelude::*;

use super::super::lines::{End, Splitter};
use super::*;

fn check(line: &str, expected: &str) {
    assert_eq!(clean(line.as_bytes(), Colours::Keep), expected, "{line:?}");
}

#[test]
fn plain_text_is_borrowed() {
    for plain in ["", "cc -O2 -c\tmain.c", "grün \u{20ac} \u{1f600}"] {
        assert!(matches!(clean(plain.as_bytes(), Colours::Keep), Cow::Borrowed(text) if text == plain));
    }
}

#[test]
fn colours_are_kept_and_put_out_or_stripped() {
    check("\x1b[31mred\x1b[0m", "\x1b[31mred\x1b[0m");
    check("\x1b[1;38;5;208mwarm", "\x1b[1;38;5;208mwarm\x1b[0m");
    check("\x1b[31mred\x1b[m", "\x1b[31mred\x1b[m");
    check("\x1b[>4;2mkeys", "keys");
    check("\x1b[8mhidden", "hidden");
    assert_eq!(clean(b"\x1b[31mred\x1b[0m", Colours::Strip), "red");
}

#[test]
fn nothing_steers_the_terminal() {
    check("a\x1b[2Jb\x1b[H\x1b[10;20Hc\x1b[1A", "abc");
    check("\x1b[?1049h\x1b[?25l\x1b[?2004hx\x1b[6n\x1b[!p", "x");
    check("\x1b]0;title\x07a\x1b]2;title\x1b\\b", "ab");
    check("\x1b]52;c;cm0gLXJmCg==\x07x", "x");
    check("\x1b]8;;http://evil/\x1b\\text\x1b]8;;\x1b\\", "text");
    check(
        "\x1bP1$r0m\x1b\\a\x1b_apc\x1b\\b\x1b^pm\x1b\\c\x1bXsos\x1b\\d",
        "abcd",
    );
    check("\x1bcreset\x1b7\x1b8\x1b=\x1b(0lqk\x1b(B\x1b#8", "resetlqk");
    check("\x07\x08\x0b\x0c\0\x7f", "\\x07\\x08\\x0b\\x0c\\x00\\x7f");
    check("\u{9b}2J\u{9d}0;t\u{9c}\u{90}", "\\x9b2J\\x9d0;t\\x9c\\x90");
    check(
        "user\u{202e}nimda\u{2066}\u{2028}",
        "user\\u{202e}nimda\\u{2066}\\u{2028}",
    );
}

#[test]
fn what_breaks_off_is_shown_and_hides_nothing() {
    check("a\x1b", "a\\x1b");
    check("a\x1b[12", "a\\x1b[12");
    check("\x1b]0;no end", "\\x1b]0;no end");
    check("\x1b[3\x1b[31mx", "\\x1b[3\x1b[31mx\x1b[0m");
    check("\x1b[2\x08J", "\\x1b[2\\x08J");
    check("\x1b]0;a\x1b[31mred", "\x1b[31mred\x1b[0m");
    check("\x1b\x1b[2Jx", "\\x1bx");
    check("\x1bé", "\\x1bé");
    check("\x1b]0;a\x18b", "b");
}

#[test]
fn bytes_that_are_not_utf8_are_replaced() {
    assert_eq!(
        clean(b"a\xff\xc3(\xe2\x82z", Colours::Keep),
        "a\u{fffd}\u{fffd}(\u{fffd}z"
    );
    // C1 as single bytes, which is not UTF-8.
    assert_eq!(
        clean(b"\x9b2J\x9d0;t\x9c", Colours::Keep),
        "\u{fffd}2J\u{fffd}0;t\u{fffd}"
    );
}

/// The pieces of what a stream says, each cleaned.
fn clean_stream(input: &[u8]) -> Vec<String> {
    let (mut splitter, mut cleaner) = (Splitter::new(64), Cleaner::new(Colours::Keep));
    let mut texts = Vec::new();
    splitter.feed(input, |line| texts.push(cleaner.clean(line).into_owned()));
    splitter.finish(|line| texts.push(cleaner.clean(line).into_owned()));
    assert_eq!(cleaner.string_bytes_left, 0);
    texts
}

#[test]
fn a_string_goes_on_in_its_lines_next_pieces_only() {
    let long = "x".repeat(150);
    let texts = clean_stream(format!("a\x1b]52;c;{long}\x07b\n\x1b]0;c\nd\n").as_bytes());
    assert_eq!(texts, ["a", "", "b", "\\x1b]0;c", "d"]);
    let texts = clean_stream(format!("\x1b]52;{long}\nb\n").as_bytes());
    assert_eq!(texts, ["", "", "", "b"]);
}

#[test]
fn a_string_hides_only_so_much() {
    let mut cleaner = Cleaner::new(Colours::Keep);
    let mut piece = |raw: &[u8], part| {
        let end = End::None;
        cleaner.clean(Line { raw, end, part }).len()
    };
    assert_eq!(piece(b"\x1b]52;", Part::Begin), 0);
    let x = vec![b'x'; 1 << 19];
    assert_eq!(piece(&x, Part::Middle), 0);
    // Three bytes of the first piece count, too.
    assert_eq!(piece(&x, Part::Middle), 3);
    assert_eq!(piece(&x, Part::Last), 1 << 19);
}

/// True if all that a terminal would see are printable characters, tabs and colours.
fn is_safe(text: &str, colours: Colours) -> bool {
    let mut rest = text;
    while let Some((_, special, after)) = split_special(rest) {
        let Some(sequence) = after.strip_prefix('[').filter(|_| special == ESC) else {
            return false;
        };
        let Some((parameters, after)) = sequence.split_once('m') else {
            return false;
        };
        if colours == Colours::Strip || !parameters.chars().all(|c| matches!(c, '0'..='9' | ';' | ':')) {
            return false;
        }
        rest = after;
    }
    true
}

fn output() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..12),
        proptest::collection::vec(
            proptest::sample::select(&b"\x1b[]P\\;0123m?>Jh\x07\x18\xc2\x9b\x9cx"[..]),
            0..20
        ),
        any::<String>().prop_map(String::into_bytes),
    ];
    proptest::collection::vec(word, 0..8).prop_map(|words| words.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]
    #[test]
    fn whatever_comes_is_safe(line in output(), strip in any::<bool>()) {
        let colours = if strip { Colours::Strip } else { Colours::Keep };
        let text = clean(&line, colours);
        prop_assert!(is_safe(&text, colours), "{text:?}");
        prop_assert!(text.len() <= GROWTH_MAX * line.len() + RESET.len());
        // What is safe already stays as it is.
        prop_assert_eq!(clean(text.as_bytes(), colours), text.as_ref());
    }

    /// Whatever a line held, the next one is read as if it were the first.
    #[test]
    fn no_line_changes_the_next(before in output(), line in output()) {
        let whole = |raw| Line { raw, end: End::None, part: Part::Whole };
        let mut cleaner = Cleaner::new(Colours::Keep);
        cleaner.clean(whole(&before));
        prop_assert_eq!(cleaner.clean(whole(&line)), clean(&line, Colours::Keep));
    }

    #[test]
    fn pieces_are_safe(input in output()) {
        for text in clean_stream(&input.repeat(9)) {
            prop_assert!(is_safe(&text, Colours::Keep), "{text:?}");
        }
    }
}
