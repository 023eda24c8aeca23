//! `changes/*.md`: one small file for each change that a user will notice.
//!
//! The first line is one of `# Added`, `# Changed`, `# Fixed`, `# Removed`; then, after an empty line, plain sentences. At a
//! release they are gathered into `CHANGELOG.md` and removed.

use super::Finding;
use crate::workspace::Tree;

const KINDS: [&str; 4] = ["# Added", "# Changed", "# Fixed", "# Removed"];

/// A longer text is documentation and belongs in `docs/`.
const TEXT_BYTES_MAX: usize = 1500;

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    tree.iter()
        .filter_map(|(path, text)| {
            let name = path.strip_prefix("changes/")?;
            objection(name, text).map(|message| Finding::new(path, 0, message))
        })
        .collect()
}

fn objection(name: &str, text: &str) -> Option<String> {
    let Some(stem) = name.strip_suffix(".md") else {
        return Some("only Markdown files live in changes/".to_owned());
    };
    if stem.is_empty()
        || !stem
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    {
        return Some("name it in lower-case words with hyphens".to_owned());
    }
    let (kind, body) = text.split_once("\n\n").unwrap_or((text, ""));
    if !KINDS.contains(&kind.trim_end()) {
        return Some(format!(
            "the first line is one of {}, then an empty line",
            KINDS.join(", ")
        ));
    }
    let body = body.trim();
    if body.len() > TEXT_BYTES_MAX {
        return Some(format!(
            "{} bytes of text; keep it under {TEXT_BYTES_MAX}",
            body.len()
        ));
    }
    // A sentence, or a list or block that follows one.
    let whole = body.ends_with(['.', '`', ')', '!']);
    (!whole).then(|| "say in full sentences what a user will notice".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{listed, tree_of};

    fn check_change(name: &str, text: &str) -> Vec<String> {
        listed(&check(&tree_of(&[(name, text)])))
    }

    #[test]
    fn a_good_change_passes() {
        assert!(
            check_change(
                "changes/hot-reload.md",
                "# Added\n\nServers can be added while it runs.\n"
            )
            .is_empty()
        );
    }

    #[test]
    fn bad_ones_are_named() {
        assert_eq!(check_change("changes/Hot_Reload.md", "# Added\n\nX.\n").len(), 1);
        assert_eq!(check_change("changes/a.txt", "").len(), 1);
        assert_eq!(check_change("changes/a.md", "New: things\n").len(), 1);
        assert_eq!(check_change("changes/a.md", "# Fixed\n\n").len(), 1);
        assert_eq!(
            check_change("changes/a.md", &format!("# Fixed\n\n{}.", "x".repeat(2000))).len(),
            1
        );
    }
}
