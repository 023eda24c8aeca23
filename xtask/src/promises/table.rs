//! The table of PROMISES.md: `| id | promise | goal | gate | command | last result |`.

use std::collections::BTreeMap;

use crate::tidy::Finding;
use crate::workspace::Tree;

pub(crate) const PAGE: &str = "PROMISES.md";

const HEADER: [&str; 6] = ["id", "promise", "goal", "gate", "command", "last result"];

/// What stands in the last column until somebody measured.
const UNTESTED: &str = "[no test yet]";

/// `page` with new last results, by id; also the ids that no row has.
pub(crate) fn with_results<'a>(page: &str, results: &BTreeMap<&'a str, String>) -> (String, Vec<&'a str>) {
    let mut unknown: Vec<&str> = results.keys().copied().collect();
    let mut lines: Vec<String> = Vec::new();
    for line in page.lines() {
        let row = cells(line).filter(|cells| cells.len() == HEADER.len());
        let found = row
            .as_ref()
            .and_then(|cells| Some((cells, results.get(*cells.first()?)?)));
        match found {
            Some((cells, result)) => {
                unknown.retain(|id| Some(id) != cells.first());
                let kept = cells
                    .split_last()
                    .map(|(_, kept)| kept.join(" | "))
                    .unwrap_or_default();
                lines.push(format!("| {kept} | {result} |"));
            }
            None => lines.push(line.to_owned()),
        }
    }
    (lines.join("\n") + "\n", unknown)
}

/// Every row has six cells, an id of its own, a command that cargo runs, and a result or the words that there is none.
pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let Some(page) = tree.get(PAGE) else {
        return vec![Finding::new(
            PAGE,
            0,
            "every number we promise stands here, and the page is not there",
        )];
    };
    let mut seen: Vec<&str> = Vec::new();
    let mut findings = Vec::new();
    for (line, row) in rows(page) {
        let id = row.first().copied().unwrap_or_default();
        let message = if seen.contains(&id) {
            Some(format!("{id} is promised twice"))
        } else {
            objection(&row)
        };
        findings.extend(message.map(|message| Finding::new(PAGE, line, message)));
        seen.push(id);
    }
    if seen.is_empty() {
        findings.push(Finding::new(
            PAGE,
            0,
            format!("no table with the columns {}", HEADER.join(" | ")),
        ));
    }
    findings
}

fn objection(row: &[&str]) -> Option<String> {
    let [id, promise, _goal, gate, command, result] = row else {
        return Some(format!("{} cells; a row has {}", row.len(), HEADER.join(" | ")));
    };
    let mut id_chars = id.chars();
    let named = id_chars.next().is_some_and(|c| c.is_ascii_uppercase())
        && id_chars.all(|c| c.is_ascii_alphanumeric() || c == '-')
        && id.contains(|c: char| c.is_ascii_digit());
    if !named {
        return Some(format!(
            "`{id}` is no id: a capital letter and a number, as in P4"
        ));
    }
    if promise.is_empty() || gate.is_empty() {
        return Some(format!("{id} promises nothing or has no gate"));
    }
    if !(command.starts_with("`cargo ") && command.ends_with('`')) && *command != UNTESTED {
        return Some(format!(
            "{id} needs the command that measures it, as `cargo ...`, or {UNTESTED}"
        ));
    }
    result
        .is_empty()
        .then(|| format!("{id} needs its last result, or {UNTESTED}"))
}

/// The rows under our header, each with its line; the page may hold other tables.
fn rows(page: &str) -> Vec<(usize, Vec<&str>)> {
    let mut inside = false;
    let mut rows = Vec::new();
    for (index, line) in page.lines().enumerate() {
        let row = cells(line);
        inside = row.as_ref().is_some_and(|row| inside || *row == HEADER);
        if inside {
            rows.extend(
                row.filter(|row| *row != HEADER && !is_rule(row))
                    .map(|row| (index + 1, row)),
            );
        }
    }
    rows
}

fn is_rule(row: &[&str]) -> bool {
    row.iter()
        .all(|cell| !cell.is_empty() && cell.chars().all(|c| "-: ".contains(c)))
}

/// The cells of a table's line; `None` for any other line.
fn cells(line: &str) -> Option<Vec<&str>> {
    let inner = line.trim().strip_prefix('|')?.strip_suffix('|')?;
    Some(inner.split('|').map(str::trim).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{listed, tree_of};

    const TABLE: &str = "# Promises\n\n| id | promise | goal | gate | command | last result |\n|---|---|---|---|---|---|\n\
        | P1 | calls | 1.4x | 1.7x | `cargo xtask promises --only P1` | [no test yet] |\n\
        | P4 | lists | 1.3x | 1.6x | `cargo xtask promises --only P4` | 1.2x |\n";

    #[test]
    fn rewrites_only_what_was_measured() {
        let results = BTreeMap::from([("P1", "1.31x, goal met".to_owned()), ("P77", "?".to_owned())]);
        let (page, unknown) = with_results(TABLE, &results);
        assert_eq!(page, TABLE.replace("[no test yet]", "1.31x, goal met"));
        assert_eq!(unknown, ["P77"]);
    }

    #[test]
    fn a_good_table_passes() {
        assert_eq!(listed(&check(&tree_of(&[(PAGE, TABLE)]))), Vec::<String>::new());
    }

    #[test]
    fn bad_rows_are_named() {
        let table = TABLE
            .replace("| P4 |", "| P1 |")
            .replace("`cargo xtask promises --only P1`", "run it")
            + "| P5 | half a row |\n";
        assert_eq!(
            listed(&check(&tree_of(&[(PAGE, &table)]))),
            [
                "PROMISES.md:5: P1 needs the command that measures it, as `cargo ...`, or [no test yet]",
                "PROMISES.md:6: P1 is promised twice",
                "PROMISES.md:7: 2 cells; a row has id | promise | goal | gate | command | last result",
            ]
        );
    }
}
