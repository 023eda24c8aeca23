//! `docs/decisions/NNNN-title.md`: numbered without gaps, each with the same four parts.

use super::Finding;
use crate::workspace::Tree;

const FOLDER: &str = "docs/decisions/";

/// Every record answers these, in this order.
const PARTS: [&str; 3] = ["## Why", "## What we decided", "## What follows"];

/// Under a page.
const LINES_MAX: usize = 70;

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let records = tree
        .iter()
        .filter_map(|(path, text)| Some((path, path.strip_prefix(FOLDER)?, text)));
    records
        .filter(|(_, name, _)| *name != "README.md")
        .enumerate()
        .filter_map(|(index, (path, name, text))| {
            objection(index + 1, name, text).map(|message| Finding::new(path, 0, message))
        })
        .collect()
}

fn objection(number: usize, name: &str, text: &str) -> Option<String> {
    let expected = format!("{number:04}-");
    let slug = name
        .strip_prefix(&expected)
        .and_then(|rest| rest.strip_suffix(".md"));
    if slug.is_none_or(str::is_empty) {
        return Some(format!(
            "decisions are numbered without gaps: expected {expected}<title>.md"
        ));
    }
    if !text.starts_with(&format!("# {number:04} ")) {
        return Some(format!("the first line is `# {number:04} <title>`"));
    }
    let mut rest = text;
    for part in PARTS {
        match rest.split_once(part) {
            Some((_, after)) => rest = after,
            None => return Some(format!("needs the parts {}, in this order", PARTS.join(", "))),
        }
    }
    let lines = text.lines().count();
    (lines > LINES_MAX).then(|| format!("{lines} lines; a decision fits on a page of {LINES_MAX}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{listed, tree_of};

    fn record(number: u32) -> String {
        format!("# {number:04} Title\n\n## Why\n\n## What we decided\n\n## What follows\n")
    }

    #[test]
    fn consecutive_records_pass() {
        let tree = tree_of(&[
            ("docs/decisions/0001-a.md", &record(1)),
            ("docs/decisions/0002-b.md", &record(2)),
            ("docs/decisions/README.md", "how to write one"),
        ]);
        assert!(check(&tree).is_empty());
    }

    #[test]
    fn a_gap_and_a_missing_part_are_named() {
        let tree = tree_of(&[
            ("docs/decisions/0001-a.md", "# 0001 A\n\n## Why\n"),
            ("docs/decisions/0003-b.md", &record(3)),
        ]);
        let findings = listed(&check(&tree));
        assert!(findings[0].contains("needs the parts"), "{findings:?}");
        assert!(findings[1].contains("expected 0002-<title>.md"), "{findings:?}");
    }
}
