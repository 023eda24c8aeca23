//! Lines that say the same thing about different numbers, addresses and files, as one text.

/// What is left of a longer line is enough to tell it from others.
pub(super) const LIKENESS_BYTES_MAX: usize = 256;

/// Words with a digit become `0`, words with a slash `/`; all else stays, blanks as one.
///
/// ```text
/// 12:03:07 error[E0308] in /tmp/a1/main.rs:12: 0x7ffe deadbeef1  ->  0 0 in / 0 0
/// ```
pub(super) fn likeness(line: &str) -> String {
    let mut text = String::new();
    for word in line.split_whitespace() {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(match word {
            _ if word.contains('/') && word.len() > 1 => "/",
            _ if is_number(word) => "0",
            _ => word,
        });
        if text.len() >= LIKENESS_BYTES_MAX {
            text.truncate(text.floor_char_boundary(LIKENESS_BYTES_MAX));
            break;
        }
    }
    text
}

/// A number, a time, a version, a hash: whatever has a digit, or is long and of hexadecimal digits alone.
fn is_number(word: &str) -> bool {
    let is_hex = word.len() >= 8 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex || word.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_paths_are_alike() {
        let check = |line: &str, like: &str| assert_eq!(likeness(line), like);
        check(
            "12:03:07 error[E0308] in /tmp/a1/main.rs:12: 0x7ffe deadbeef",
            "0 0 in / 0 0",
        );
        check("error:  no such file", "error: no such file");
        check("a / b", "a / b");
        check("", "");
        assert!(likeness(&"\u{e9}".repeat(1000)).len() <= LIKENESS_BYTES_MAX);
        assert!(likeness(&"ab ".repeat(1000)).len() <= LIKENESS_BYTES_MAX);
    }
}
