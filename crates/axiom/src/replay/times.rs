//! Times in answers, which differ from call to call and mean nothing by it.

use std::borrow::Cow;

/// The text with every date, and the time of day behind it, as one word.
pub(super) fn without(text: &str) -> Cow<'_, str> {
    let bytes = text.as_bytes();
    let mut out = String::new();
    let (mut copied, mut at) = (0, 0);
    while at < bytes.len() {
        let starts = at == 0 || !bytes[at - 1].is_ascii_digit();
        match date(&bytes[at..]).filter(|_| starts) {
            Some(len) => {
                out.push_str(text.get(copied..at).unwrap_or_default());
                out.push_str("<time>");
                at += len;
                copied = at;
            }
            None => at += 1,
        }
    }
    if copied == 0 {
        return Cow::Borrowed(text);
    }
    out.push_str(text.get(copied..).unwrap_or_default());
    Cow::Owned(out)
}

/// Bytes of `2026-07-28`, `2026-07-28T09:00:00.123Z`, `2026-07-28 09:00:00,123 +02:00`.
fn date(bytes: &[u8]) -> Option<usize> {
    let mut at = digits(bytes, "dddd-dd-dd")?;
    if bytes.get(at).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let Some(clock) = bytes.get(at + 1..).and_then(|rest| digits(rest, "dd:dd")) else {
        return Some(at);
    };
    if !matches!(bytes[at], b'T' | b't' | b' ' | b'_') {
        return Some(at);
    }
    at += 1 + clock;
    if let Some(seconds) = bytes.get(at..).and_then(|rest| digits(rest, ":dd")) {
        at += seconds;
        if matches!(bytes.get(at), Some(b'.' | b',')) {
            let fraction = bytes[at + 1..]
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .count();
            at += if fraction > 0 { fraction + 1 } else { 0 };
        }
    }
    let rest = &bytes[at..];
    let zone = match rest.first() {
        Some(b'Z' | b'z') => Some(1),
        Some(b'+' | b'-') => digits(&rest[1..], "dd:dd")
            .or_else(|| digits(&rest[1..], "dddd"))
            .map(|len| len + 1),
        _ => None,
    };
    Some(at + zone.unwrap_or(0))
}

/// Whether the bytes begin like this, where `d` is a digit.
fn digits(bytes: &[u8], form: &str) -> Option<usize> {
    let fits = |(byte, form): (&u8, u8)| match form {
        b'd' => byte.is_ascii_digit(),
        other => *byte == other,
    };
    let is_long = bytes.len() >= form.len();
    (is_long && bytes.iter().zip(form.bytes()).all(fits)).then_some(form.len())
}

/// Whether both are numbers of seconds, or of milli-, micro- or nanoseconds, since 1970, between 2001 and 2286.
pub(super) fn are_both(left: &str, right: &str) -> bool {
    let unit = |text: &str| {
        let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
        let is_whole = whole.bytes().all(|byte| byte.is_ascii_digit()) && !whole.starts_with('0');
        (is_whole && matches!(whole.len(), 10 | 13 | 16 | 19)).then_some(whole.len())
    };
    unit(left).is_some() && unit(left) == unit(right)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_words() {
        for (text, expected) in [
            ("2026-07-28T09:00:00.123Z", "<time>"),
            ("at 2026-07-28 09:00:00,5 +02:00!", "at <time> +02:00!"),
            ("2026-07-28T09:00+0200 and 2026-07-29", "<time> and <time>"),
            ("2026-07-28x", "<time>x"),
            ("12026-07-28", "12026-07-28"),
            ("2026-07-281", "2026-07-281"),
            ("1-2-3 \u{e9}", "1-2-3 \u{e9}"),
            ("\u{e9}2026-07-28T", "\u{e9}<time>T"),
        ] {
            assert_eq!(without(text), expected, "{text}");
        }
        assert!(are_both("1785229200", "1785229201.5"));
        assert!(are_both("1785229200123", "1785229200124"));
        assert!(!are_both("1785229200", "1785229200123"));
        assert!(!are_both("12", "13"));
    }
}
