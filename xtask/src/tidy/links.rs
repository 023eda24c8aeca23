//! Every relative link in a Markdown page leads somewhere: to a file of the checkout, and to a heading if it names one.

use super::Finding;
use crate::workspace::Tree;

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let pages = tree.iter().filter(|(path, _)| path.ends_with(".md"));
    pages
        .flat_map(|(path, text)| {
            links(text).into_iter().filter_map(move |(line, target)| {
                broken(path, target, tree).map(|message| Finding::new(path, line, message))
            })
        })
        .collect()
}

/// Line and target of each `](target)` outside code.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    for (line, prose) in prose_lines(text) {
        let mut in_code = false;
        let mut rest = prose;
        while let Some(at) = rest.find(['`', ']']) {
            let after = rest.get(at + 1..).unwrap_or_default();
            if rest.get(at..).is_some_and(|found| found.starts_with('`')) {
                in_code = !in_code;
            } else if let Some((target, _)) = after.strip_prefix('(').and_then(|link| link.split_once(')'))
                && !in_code
            {
                // A title may follow the target: `(page.md "Title")`.
                links.push((line, target.split_whitespace().next().unwrap_or_default()));
            }
            rest = after;
        }
    }
    links
}

/// The lines that are not in a fenced block, with their numbers.
fn prose_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut fenced = false;
    text.lines().enumerate().filter_map(move |(index, line)| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        (!fenced && !fence).then_some((index + 1, line))
    })
}

fn broken(page: &str, target: &str, tree: &Tree) -> Option<String> {
    if target.contains("://") || target.starts_with("mailto:") {
        return None;
    }
    let (file, heading) = target.split_once('#').unwrap_or((target, ""));
    let path = if file.is_empty() {
        page.to_owned()
    } else {
        resolve(page, file)
    };
    let folder = format!("{}/", path.trim_end_matches('/'));
    let Some(text) = tree.get(&path) else {
        let is_folder = tree.keys().any(|known| known.starts_with(&folder));
        return (!is_folder).then(|| format!("a link to {path}, which is not there"));
    };
    let found = heading.is_empty() || !path.ends_with(".md") || headings(text).any(|known| known == heading);
    (!found).then(|| format!("a link to the heading #{heading}, which {path} does not have"))
}

/// `file` as seen from `page`, relative to the root; a path that leaves the root stays unresolved and is reported.
fn resolve(page: &str, file: &str) -> String {
    let mut parts: Vec<&str> = page.split('/').collect();
    parts.pop();
    for part in file.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                if parts.pop().is_none() {
                    return file.to_owned();
                }
            }
            name => parts.push(name),
        }
    }
    parts.join("/")
}

/// The anchors of a page's headings: lower case, punctuation dropped, spaces to hyphens.
fn headings(text: &str) -> impl Iterator<Item = String> {
    prose_lines(text)
        .filter(|(_, line)| line.starts_with('#'))
        .map(|(_, line)| {
            let title = line.trim_start_matches('#').trim().to_lowercase();
            title
                .chars()
                .filter(|c| c.is_alphanumeric() || " -_".contains(*c))
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{listed, tree_of};

    fn check_page(text: &str) -> Vec<String> {
        let other = ("docs/other.md", "# The `x` of y\n");
        listed(&check(&tree_of(&[
            ("docs/page.md", text),
            other,
            ("README.md", ""),
        ])))
    }

    #[test]
    fn links_that_lead_somewhere_pass() {
        let text = "[a](other.md) [b](other.md#the-x-of-y) [c](../README.md) [d](https://example.org/x) [e](../docs)";
        assert!(check_page(text).is_empty());
    }

    #[test]
    fn links_that_lead_nowhere_are_named() {
        assert_eq!(
            check_page("\n[a](gone.md) [b](other.md#gone) [c](../../up.md)"),
            [
                "docs/page.md:2: a link to docs/gone.md, which is not there",
                "docs/page.md:2: a link to the heading #gone, which docs/other.md does not have",
                "docs/page.md:2: a link to ../../up.md, which is not there",
            ]
        );
    }

    #[test]
    fn code_is_not_a_link() {
        assert!(check_page("`[a](gone.md)`\n```\n[a](gone.md)\n```\n").is_empty());
    }
}
