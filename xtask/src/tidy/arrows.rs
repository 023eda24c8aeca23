//! Who may depend on whom. The allowed arrows are data in the root `Cargo.toml`; cargo says which ones exist.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;
use cargo_metadata::{DependencyKind, MetadataCommand};

use super::Finding;
use crate::workspace;

/// Any crate may test itself with these.
const DEV_ONLY: [&str; 1] = ["axiom-testkit"];

/// Libraries that stay behind a few crates, who they are, and why.
const FENCED: [(&str, &[&str], &str); 1] = [(
    "rmcp",
    &["axiom-transport", "axiom-sdk", "axiom-tests"],
    "its typed model drops unknown fields and costs five times the CPU; it stays off the call path",
)];

/// What cargo and the table say.
#[derive(Debug, Default)]
pub(crate) struct Arrows {
    /// `[workspace.metadata.arrows]`: crate -> the crates it may depend on.
    allowed: BTreeMap<String, BTreeSet<String>>,
    members: BTreeSet<String>,
    found: Vec<Arrow>,
}

#[derive(Debug, Clone)]
struct Arrow {
    from: String,
    to: String,
    dev: bool,
}

/// Asks cargo for the workspace, without its dependencies' own graph.
pub(crate) fn read() -> anyhow::Result<Arrows> {
    let metadata = MetadataCommand::new()
        .current_dir(workspace::root())
        .no_deps()
        .exec()
        .context("cargo metadata does not accept this workspace")?;
    let allowed = serde_json::from_value(metadata.workspace_metadata["arrows"].clone())
        .context("[workspace.metadata.arrows] is not a table of lists")?;
    let mut arrows = Arrows {
        allowed,
        ..Arrows::default()
    };
    for package in &metadata.packages {
        arrows.members.insert(package.name.to_string());
        arrows
            .found
            .extend(package.dependencies.iter().map(|dependency| Arrow {
                from: package.name.to_string(),
                to: dependency.name.clone(),
                dev: dependency.kind == DependencyKind::Development,
            }));
    }
    Ok(arrows)
}

/// Names every arrow that the table does not allow, and every row of the table that means nothing.
pub(crate) fn check(arrows: &Arrows) -> Vec<Finding> {
    let forbidden = arrows.found.iter().filter_map(|arrow| objection(arrow, arrows));
    let unlisted = arrows
        .members
        .iter()
        .filter(|member| !arrows.allowed.contains_key(*member))
        .map(|member| format!("{member} has no row in [workspace.metadata.arrows]"));
    let unknown = arrows
        .allowed
        .iter()
        .flat_map(|(from, to)| std::iter::once(from).chain(to))
        .filter(|name| !arrows.members.contains(*name))
        .collect::<BTreeSet<_>>()
        .into_iter()
        .map(|name| format!("[workspace.metadata.arrows] names {name}, which is no crate of the workspace"));
    forbidden
        .chain(unlisted)
        .chain(unknown)
        .map(|message| Finding::new("Cargo.toml", 0, message))
        .collect()
}

fn objection(arrow: &Arrow, arrows: &Arrows) -> Option<String> {
    let Arrow { from, to, dev } = arrow;
    if let Some((_, homes, why)) = FENCED.iter().find(|(library, ..)| library == to) {
        let at_home = homes.contains(&from.as_str());
        return (!at_home).then(|| format!("{from} -> {to} is forbidden: {why}"));
    }
    let inside = arrows.members.contains(to);
    let allowed = arrows.allowed.get(from).is_some_and(|row| row.contains(to));
    let own_test = *dev && (DEV_ONLY.contains(&to.as_str()) || from == to);
    (inside && !allowed && !own_test)
        .then(|| format!("{from} -> {to} is forbidden: it is not in [workspace.metadata.arrows]"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::listed;

    /// `table` holds rows `a: b c`; `found` holds arrows `a -> b`, or `a ~> b` for a dev-dependency.
    fn check_arrows(table: &[&str], found: &[&str]) -> Vec<String> {
        let allowed: BTreeMap<String, BTreeSet<String>> = table
            .iter()
            .filter_map(|row| row.split_once(':'))
            .map(|(from, to)| {
                (
                    from.to_owned(),
                    to.split_whitespace().map(str::to_owned).collect(),
                )
            })
            .collect();
        let found = found
            .iter()
            .filter_map(|arrow| {
                let dev = arrow.contains("~>");
                let (from, to) = arrow.split_once(if dev { " ~> " } else { " -> " })?;
                Some(Arrow {
                    from: from.to_owned(),
                    to: to.to_owned(),
                    dev,
                })
            })
            .collect();
        let members = allowed.keys().cloned().collect();
        listed(&check(&Arrows {
            allowed,
            members,
            found,
        }))
    }

    #[test]
    fn allows_what_the_table_says_and_every_library() {
        assert!(check_arrows(&["gateway: core", "core:"], &["gateway -> core", "core -> tokio"]).is_empty());
    }

    #[test]
    fn names_the_forbidden_arrow() {
        let findings = check_arrows(
            &["gateway: core", "core:"],
            &["core -> gateway", "core ~> gateway"],
        );
        let expected =
            "Cargo.toml: core -> gateway is forbidden: it is not in [workspace.metadata.arrows]".to_owned();
        assert_eq!(findings, [expected.clone(), expected]);
    }

    #[test]
    fn the_testkit_is_for_tests_only() {
        let table = ["axiom-core:", "axiom-testkit: axiom-core"];
        assert!(check_arrows(&table, &["axiom-core ~> axiom-testkit"]).is_empty());
        assert_eq!(check_arrows(&table, &["axiom-core -> axiom-testkit"]).len(), 1);
    }

    #[test]
    fn rmcp_stays_behind_its_fence() {
        let table = ["axiom-gateway:", "axiom-tests:"];
        assert!(check_arrows(&table, &["axiom-tests ~> rmcp"]).is_empty());
        assert!(
            check_arrows(&table, &["axiom-gateway -> rmcp"])[0]
                .contains("axiom-gateway -> rmcp is forbidden")
        );
    }

    #[test]
    fn a_row_for_nobody_is_reported() {
        assert_eq!(check_arrows(&["core: ghost"], &[]).len(), 1);
    }

    #[test]
    fn this_workspace_keeps_its_arrows() -> anyhow::Result<()> {
        assert_eq!(listed(&check(&read()?)), Vec::<String>::new());
        Ok(())
    }
}
