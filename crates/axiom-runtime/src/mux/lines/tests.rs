use proptest::prelude::*;

use super::*;

type Owned = (Vec<u8>, End, Part);

fn owned(line: Line<'_>) -> Owned {
    assert!(line.raw.starts_with(line.text()));
    (line.raw.to_vec(), line.end, line.part)
}

/// What comes out when `chunks` go in.
fn split<'a>(line_bytes_max: usize, chunks: impl IntoIterator<Item = &'a [u8]>) -> Vec<Owned> {
    let mut splitter = Splitter::new(line_bytes_max);
    let mut lines = Vec::new();
    for chunk in chunks {
        splitter.feed(chunk, |line| lines.push(owned(line)));
        assert!(splitter.rest_bytes() <= splitter.line_bytes_max + 1);
    }
    splitter.finish(|line| lines.push(owned(line)));
    assert_eq!((splitter.is_open(), splitter.rest.capacity()), (false, 0));
    lines
}

/// The same for every chunking: all at once, byte by byte, and in two at every place.
fn check(input: &str, expected: &[(&str, End, Part)]) {
    let expected: Vec<Owned> = expected
        .iter()
        .map(|(raw, end, part)| (raw.as_bytes().to_vec(), *end, *part))
        .collect();
    let input = input.as_bytes();
    assert_eq!(split(64, [input]), expected);
    assert_eq!(split(64, input.chunks(1)), expected, "byte by byte");
    for at in 0..=input.len() {
        let (before, after) = input.split_at(at);
        assert_eq!(split(64, [before, after]), expected, "in two at {at}");
    }
}

#[test]
fn every_kind_of_end() {
    use End::*;
    use Part::Whole;
    check("", &[]);
    check("a\nb", &[("a\n", Lf, Whole), ("b", None, Whole)]);
    check(
        "\n\r\n\n",
        &[("\n", Lf, Whole), ("\r\n", CrLf, Whole), ("\n", Lf, Whole)],
    );
    check("a\r\nb\r\n", &[("a\r\n", CrLf, Whole), ("b\r\n", CrLf, Whole)]);
    check(
        "1%\r50%\r99%\r\n",
        &[
            ("1%\r", Cr, Whole),
            ("50%\r", Cr, Whole),
            ("99%\r\n", CrLf, Whole),
        ],
    );
    check("a\r\r\n", &[("a\r", Cr, Whole), ("\r\n", CrLf, Whole)]);
    check("a\r", &[("a\r", Cr, Whole)]);
    check("a\0b\n\0\n", &[("a\0b\n", Lf, Whole), ("\0\n", Lf, Whole)]);
    check("grün \u{1f600}\n", &[("grün \u{1f600}\n", Lf, Whole)]);
}

#[test]
fn a_long_line_comes_in_pieces() {
    use End::*;
    use Part::*;
    let x = "x".repeat(64);
    check(&format!("{x}\n"), &[(&format!("{x}\n"), Lf, Whole)]);
    check(&x, &[(&x, None, Whole)]);
    check(&format!("{x}\r\n"), &[(&format!("{x}\r\n"), CrLf, Whole)]);
    check(
        &format!("{x}{x}x\n"),
        &[(&x, None, Begin), (&x, None, Middle), ("x\n", Lf, Last)],
    );
    check(&format!("{x}x"), &[(&x, None, Begin), ("x", None, Last)]);
}

#[test]
fn a_cut_spares_characters_and_escapes() {
    use End::None;
    use Part::{Begin, Last};
    let before = "x".repeat(62);
    check(
        &format!("{before}\u{1f600}x"),
        &[(&before, None, Begin), ("\u{1f600}x", None, Last)],
    );
    check(
        &format!("{before}\x1b[31mx"),
        &[(&before, None, Begin), ("\x1b[31mx", None, Last)],
    );
    let colour = format!("{}\x1b[0m", "x".repeat(60));
    check(
        &format!("{colour}x"),
        &[(&colour, None, Begin), ("x", None, Last)],
    );
}

#[test]
fn a_prompt_is_flushed_and_its_line_ended() {
    let mut splitter = Splitter::new(64);
    let mut lines = Vec::new();
    splitter.feed(b"ok\nPassword: \xf0\x9f", |line| lines.push(owned(line)));
    splitter.flush(|line| lines.push(owned(line)));
    splitter.flush(|_| panic!("half a character is not flushed"));
    splitter.feed(b"\x98\x80\n", |line| lines.push(owned(line)));
    let expected = [
        (b"ok\n".to_vec(), End::Lf, Part::Whole),
        (b"Password: ".to_vec(), End::None, Part::Begin),
        (b"\xf0\x9f\x98\x80\n".to_vec(), End::Lf, Part::Last),
    ];
    assert_eq!(lines, expected);
    splitter.feed(b"> ", |_| panic!("no end has come"));
    splitter.flush(|_| ());
    splitter.finish(|line| assert_eq!((line.raw.len(), line.part), (0, Part::Last)));
}

#[test]
fn a_line_of_100_mb_is_never_held() {
    let chunk = vec![b'x'; 1 << 20];
    let mut splitter = Splitter::new(64 << 10);
    let (mut bytes, mut pieces) = (0, 0);
    for _ in 0..100 {
        splitter.feed(&chunk, |line| {
            bytes += line.raw.len();
            pieces += 1;
        });
        assert!(splitter.rest.capacity() <= 2 * (64 << 10));
    }
    splitter.finish(|line| {
        bytes += line.raw.len();
        assert_eq!(line.part, Part::Last);
    });
    assert_eq!((bytes, pieces), (100 << 20, 1599));
}

/// Bytes as tasks write them, with everything that may be split at a bad place.
fn output() -> impl Strategy<Value = Vec<u8>> {
    let word = prop_oneof![
        "[a-z]{0,90}".prop_map(String::into_bytes),
        "[\n\r]{1,3}".prop_map(String::into_bytes),
        Just("é\u{20ac}\u{1f600}".as_bytes().to_vec()),
        Just(b"\x1b[1;38;5;208mwarm\x1b[0m".to_vec()),
        proptest::collection::vec(any::<u8>(), 0..8),
    ];
    proptest::collection::vec(word, 0..12).prop_map(|words| words.concat())
}

proptest! {
    /// Nothing is lost, added or changed, and the chunks do not matter.
    #[test]
    fn lines_together_are_the_input(input in output(), cuts in proptest::collection::vec(1..40usize, 0..40)) {
        let at_once = split(64, [input.as_slice()]);
        let together: Vec<u8> = at_once.iter().flat_map(|(raw, ..)| raw.clone()).collect();
        prop_assert_eq!(&together, &input);
        let mut chunks = Vec::new();
        let mut left = input.as_slice();
        for cut in cuts {
            let (chunk, rest) = left.split_at(cut.min(left.len()));
            chunks.push(chunk);
            left = rest;
        }
        chunks.push(left);
        prop_assert_eq!(split(64, chunks), at_once.clone());
        prop_assert_eq!(split(64, input.chunks(1)), at_once.clone());
        let mut begun = false;
        for (raw, end, part) in at_once {
            prop_assert_eq!(begun, matches!(part, Part::Middle | Part::Last));
            prop_assert!(raw.len() - end.bytes() <= 64);
            begun = matches!(part, Part::Begin | Part::Middle);
        }
        prop_assert!(!begun);
    }

    #[test]
    fn flushing_loses_nothing(input in output(), every in 1..9usize) {
        let mut splitter = Splitter::new(64);
        let mut together = Vec::new();
        for chunk in input.chunks(every) {
            splitter.feed(chunk, |line| together.extend_from_slice(line.raw));
            splitter.flush(|line| together.extend_from_slice(line.raw));
        }
        splitter.finish(|line| together.extend_from_slice(line.raw));
        prop_assert_eq!(together, input);
    }
}
