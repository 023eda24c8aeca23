//! Every crate says what it is for and takes the workspace's lints.

use toml_edit::DocumentMut;

use super::Finding;
use crate::workspace::Tree;

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    // The fuzz targets are a workspace of their own, with nothing to inherit.
    tree.iter()
        .filter(|(path, _)| path.ends_with("/Cargo.toml") && !path.starts_with("fuzz/"))
        .flat_map(|(path, text)| {
            objections(text)
                .into_iter()
                .map(|message| Finding::new(path, 0, message))
        })
        .collect()
}

fn objections(text: &str) -> Vec<String> {
    let manifest: DocumentMut = match text.parse() {
        Ok(manifest) => manifest,
        Err(error) => return vec![format!("not TOML: {error}")],
    };
    let Some(package) = manifest.get("package") else {
        return Vec::new();
    };
    let mut objections = Vec::new();
    let description = package
        .get("description")
        .and_then(|item| item.as_str())
        .unwrap_or_default();
    if description.len() < 10 {
        objections.push("the package needs a description: what it is for, in one line".to_owned());
    }
    let inherits = |section: &str, key: &str| {
        manifest
            .get(section)
            .and_then(|item| item.get(key))
            .and_then(|item| item.as_bool())
            == Some(true)
    };
    if !inherits("lints", "workspace") {
        objections.push("needs `[lints] workspace = true`".to_owned());
    }
    for key in ["version", "edition", "rust-version", "license"] {
        let inherited = package
            .get(key)
            .and_then(|item| item.get("workspace"))
            .and_then(|item| item.as_bool());
        if inherited != Some(true) {
            objections.push(format!(
                "`{key}` belongs to the workspace: write `{key}.workspace = true`"
            ));
        }
    }
    objections
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{listed, tree_of};

    const GOOD: &str = "[package]\nname = \"a\"\ndescription = \"What it is for\"\nversion.workspace = true\n\
        edition.workspace = true\nrust-version.workspace = true\nlicense.workspace = true\n[lints]\nworkspace = true\n";

    #[test]
    fn a_good_manifest_passes() {
        assert!(
            check(&tree_of(&[
                ("crates/a/Cargo.toml", GOOD),
                ("Cargo.toml", "[workspace]\n")
            ]))
            .is_empty()
        );
    }

    #[test]
    fn names_what_is_missing() {
        let text = GOOD
            .replace("What it is for", "")
            .replace("edition.workspace = true", "edition = \"2021\"")
            .replace("[lints]\nworkspace = true\n", "");
        assert_eq!(
            listed(&check(&tree_of(&[("crates/a/Cargo.toml", &text)]))),
            [
                "crates/a/Cargo.toml: the package needs a description: what it is for, in one line",
                "crates/a/Cargo.toml: needs `[lints] workspace = true`",
                "crates/a/Cargo.toml: `edition` belongs to the workspace: write `edition.workspace = true`",
            ]
        );
    }
}
