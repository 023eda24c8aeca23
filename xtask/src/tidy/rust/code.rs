//! Blanks out what is not code, so that a word in a comment or a string is not mistaken for a keyword.

/// `text` with comments, strings and character literals replaced by spaces; every line break stays where it was.
pub(crate) fn only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let skipped = not_code(rest, code.chars().next_back());
        if skipped == 0 {
            code.push(first);
            rest = rest.get(first.len_utf8()..).unwrap_or_default();
        } else {
            let (blank, after) = rest.split_at_checked(skipped).unwrap_or((rest, ""));
            code.extend(blank.chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
            rest = after;
        }
    }
    code
}

/// Bytes at the start of `rest` that are a comment or a literal; 0 if code starts here.
fn not_code(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return block_comment(rest);
    }
    if rest.starts_with('"') {
        return quoted(rest, '"');
    }
    if rest.starts_with('\'') {
        return character(rest);
    }
    // `r` and `br` open a raw string only where an identifier may start.
    let inside_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if inside_word { 0 } else { raw_string(rest) }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0_usize;
    let bytes = rest.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        match bytes.get(at..at + 2) {
            Some(b"/*") => (depth, at) = (depth + 1, at + 2),
            Some(b"*/") if depth == 1 => return at + 2,
            Some(b"*/") => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    rest.len()
}

/// A literal between two `quote`s, with backslash escapes.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

/// A character literal, or 0 for a lifetime: `'a'` against `'a`.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), _) => quoted(rest, '\''),
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 0,
    }
}

fn raw_string(rest: &str) -> usize {
    let after_r = rest.strip_prefix("br").or_else(|| rest.strip_prefix('r'));
    let Some(after_r) = after_r else { return 0 };
    let after_hashes = after_r.trim_start_matches('#');
    let Some(body) = after_hashes.strip_prefix('"') else {
        return 0;
    };
    let end = format!("\"{}", "#".repeat(after_r.len() - after_hashes.len()));
    let head = rest.len() - body.len();
    body.find(&end).map_or(rest.len(), |at| head + at + end.len())
}

#[cfg(test)]
mod tests {
    use super::only;

    fn check(text: &str, expected: &str) {
        assert_eq!(
            only(text).split_whitespace().collect::<Vec<_>>().join(" "),
            expected
        );
    }

    #[test]
    fn comments_and_literals_become_spaces() {
        check("a // b\nc", "a c");
        check("a /* b /* c */ d */ e", "a e");
        check(r#"f("b \" c", d)"#, "f( , d)");
        check("f('\"', '\\'', 'x')", "f( , , )");
        check("fn f<'a>(x: &'a str) {}", "fn f<'a>(x: &'a str) {}");
        check("r#\"a \" b\"# c br\"d\" e", "c e");
        check("var\"x\" y", "var y");
    }

    #[test]
    fn lines_stay_where_they_were() {
        assert_eq!(only("\"a\nb\"\n/*\n*/c").lines().count(), 4);
    }
}
