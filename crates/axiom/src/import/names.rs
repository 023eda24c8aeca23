//! Names of ours from names of theirs: `My Server!` becomes `My-Server`.

use super::draft::Draft;
use crate::config::is_server_name;

/// Renames drafts whose names are not allowed here, keeps all names distinct, and notes each change.
pub(super) fn make_valid(drafts: &mut [Draft]) {
    let mut taken: Vec<String> = drafts
        .iter()
        .filter(|draft| is_server_name(&draft.name))
        .map(|draft| draft.name.clone())
        .collect();
    for draft in drafts.iter_mut().filter(|draft| !is_server_name(&draft.name)) {
        let base = valid(&draft.name);
        let numbered = (2..).map(|number| {
            let suffix = format!("-{number}");
            let stem: String = base.chars().take(32 - suffix.len()).collect();
            format!("{stem}{suffix}")
        });
        // Endless, so there is always a first free one.
        let free = std::iter::once(base.clone())
            .chain(numbered)
            .find(|name| !taken.contains(name));
        draft.name = free.unwrap_or(base);
        draft
            .notes
            .push(format!("renamed from `{}`", draft.original.escape_debug()));
        taken.push(draft.name.clone());
    }
}

/// The nearest allowed name. Not necessarily free.
pub(super) fn valid(name: &str) -> String {
    let mut valid = String::new();
    for c in name.chars() {
        let c = if c.is_ascii_alphanumeric() || c == '_' || c == '-' {
            c
        } else {
            '-'
        };
        // No runs: `__` is not allowed, and `--` is ugly.
        if !(matches!(c, '-' | '_') && valid.ends_with(['-', '_'])) {
            valid.push(c);
        }
    }
    let trimmed: String = valid.trim_matches('-').chars().take(32).collect();
    if trimmed.is_empty() {
        "server".to_owned()
    } else {
        trimmed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearest_names() {
        for (name, expected) in [
            ("My Server!", "My-Server"),
            ("a__b", "a_b"),
            ("@scope/pkg", "scope-pkg"),
            ("ключ", "server"),
            ("", "server"),
            (
                "a-very-long-name-that-nobody-would-type-twice",
                "a-very-long-name-that-nobody-wou",
            ),
        ] {
            assert_eq!(valid(name), expected);
            assert!(is_server_name(&valid(name)));
        }
    }
}
