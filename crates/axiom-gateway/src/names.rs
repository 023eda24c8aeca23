//! Names of tools and prompts on endpoints of several servers.

/// Between server and tool. Clients accept letters, digits, `_`, `-` (and some `.`), so this is all the room there is.
pub(crate) const SEPARATOR: &str = "__";
/// The longest name that every client accepts.
pub(crate) const NAME_CHARS_MAX: usize = 64;
/// Hex digits of the hash that keeps two cut names apart.
const HASH_CHARS: usize = 8;

/// `server__name`, cut if it is too long.
pub(crate) fn prefixed(server: &str, name: &str) -> String {
    guarded(&format!("{server}{SEPARATOR}{name}"))
}

/// The name itself, or its beginning and a hash of the whole if it is too long.
pub(crate) fn guarded(name: &str) -> String {
    if name.chars().count() <= NAME_CHARS_MAX {
        return name.to_owned();
    }
    let digest = ring::digest::digest(&ring::digest::SHA256, name.as_bytes());
    let hash: String = digest
        .as_ref()
        .iter()
        .take(HASH_CHARS / 2)
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let kept: String = name.chars().take(NAME_CHARS_MAX - HASH_CHARS - 1).collect();
    format!("{kept}_{hash}")
}

/// Splits `server__name` where the name is whole. A cut name must be looked up instead.
pub(crate) fn split(shown: &str) -> Option<(&str, &str)> {
    let (server, name) = shown.split_once(SEPARATOR)?;
    (shown.chars().count() < NAME_CHARS_MAX).then_some((server, name))
}

/// True if `text` matches `pattern`, in which `*` stands for any run of characters.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| text.strip_prefix(first)) else {
        return false;
    };
    let Some(last) = pattern.rsplit('*').next().filter(|_| pattern.contains('*')) else {
        return rest.is_empty();
    };
    let middle: Vec<&str> = parts.collect();
    for part in &middle[..middle.len() - 1] {
        match rest.find(part) {
            Some(at) => rest = rest.get(at + part.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// True if `uri` can come of `template` (RFC 6570): literal parts match, an expression stands for any run, which holds
/// no `/` unless the expression says so (`{+var}`, `{/var*}`, `{?query}` and the like).
pub(crate) fn uri_matches(template: &str, uri: &str) -> bool {
    let (literal, mut template) = template.split_once('{').unwrap_or((template, ""));
    let Some(mut uri) = uri.strip_prefix(literal) else {
        return false;
    };
    // Each round takes one expression and the literal behind it; the run ends where that literal first occurs.
    while let Some((expression, rest)) = template.split_once('}') {
        let (literal, next) = rest.split_once('{').unwrap_or((rest, ""));
        let end = match (next.is_empty(), literal.is_empty()) {
            (true, _) => uri
                .len()
                .checked_sub(literal.len())
                .filter(|_| uri.ends_with(literal)),
            (false, true) => Some(0),
            (false, false) => uri.find(literal),
        };
        let Some((run, tail)) = end.and_then(|end| uri.split_at_checked(end)) else {
            return false;
        };
        let simple = !expression.starts_with(['+', '#', '/', '?', '&', '.', ';']);
        if simple && run.contains('/') {
            return false;
        }
        uri = tail.get(literal.len()..).unwrap_or_default();
        template = next;
    }
    uri.is_empty() && template.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let (a, b) = ("x".repeat(80), "x".repeat(81));
        assert_eq!(prefixed("files", "read"), "files__read");
        assert_eq!(guarded(&a).len(), NAME_CHARS_MAX);
        assert_ne!(guarded(&a), guarded(&b));
        assert_eq!(split("files__read__all"), Some(("files", "read__all")));
        assert_eq!(split(&guarded(&format!("s__{a}"))), None);
    }

    #[test]
    fn patterns() {
        for (pattern, text, expected) in [
            ("files.read_*", "files.read_file", true),
            ("files.read_*", "files.write", false),
            ("*", "anything", true),
            ("remote.*", "remote.", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
            ("exact", "exact", true),
            ("exact", "exactly", false),
            ("*.x", "a.x.x", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn templates() {
        for (template, uri, expected) in [
            ("file:///{path}", "file:///a", true),
            ("file:///{path}", "file:///a/b", false),
            ("file:///{+path}", "file:///a/b", true),
            ("demo://item/{id}/x", "demo://item/7/x", true),
            ("demo://item/{id}/x", "demo://item/7/y", false),
            ("plain://a", "plain://a", true),
        ] {
            assert_eq!(uri_matches(template, uri), expected, "{template} {uri}");
        }
    }
}
