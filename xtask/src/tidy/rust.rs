//! Rust sources: how long, where `unsafe`, how ignored, how named.

mod code;

use super::Finding;
use crate::workspace::Tree;

const HERE: &str = "xtask/src/tidy/rust.rs";

/// A longer file is a path that wants phases; style asks for 100-300 lines.
const LINES_MAX: usize = 800;

/// Files that may be longer, each with its reason.
const LONG: [(&str, &str); 1] = [(
    "crates/axiom/tests/it/config.rs",
    "a table: each mistake in a file beside what is said about it",
)];

/// Modules that may contain `unsafe`, each with its reason.
const UNSAFE: [(&str, &str); 8] = [
    (
        "crates/axiom-duckdb/src/api.rs",
        "DuckDB's functions, as its header declares them",
    ),
    ("crates/axiom-duckdb/src/library.rs", "loads DuckDB's library"),
    ("crates/axiom-duckdb/src/session.rs", "calls DuckDB's functions"),
    ("crates/axiom-duckdb/src/import.rs", "copies what DuckDB made"),
    (
        "crates/axiom-sandbox/examples/starts/raw.rs",
        "asks what processes have used",
    ),
    (
        "crates/axiom-sandbox/src/confine/raw.rs",
        "system calls between fork and exec that have no safe function",
    ),
    (
        "crates/axiom-sandbox/src/raw.rs",
        "forks a process with one thread, and readies a child for its exec",
    ),
    (
        "crates/axiom-sandbox/tests/confine/probe.rs",
        "tries calls that no safe function makes, to see them refused",
    ),
];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let sources = tree.iter().filter(|(path, _)| path.ends_with(".rs"));
    let mut findings: Vec<Finding> = sources.flat_map(|(path, text)| check_file(path, text)).collect();
    // A part of a tree, as in a test, says nothing about the lists above.
    let listed = LONG.iter().chain(&UNSAFE).filter(|_| tree.contains_key(HERE));
    let gone = listed.filter(|(path, _)| !tree.contains_key(*path));
    findings.extend(gone.map(|(path, _)| Finding::new(HERE, 0, format!("lists {path}, which is gone"))));
    findings
}

fn check_file(path: &str, text: &str) -> Vec<Finding> {
    let mut findings = Vec::new();
    let lines = text.lines().count();
    if lines > LINES_MAX && !LONG.iter().any(|(long, _)| *long == path) {
        let message =
            format!("{lines} lines; more than {LINES_MAX} needs a reason in xtask/src/tidy/rust.rs");
        findings.push(Finding::new(path, 0, message));
    }
    if path.ends_with("/mod.rs") {
        let message = "a module stands in a file of its own name, beside its folder: x.rs, not x/mod.rs";
        findings.push(Finding::new(path, 0, message));
    }
    let code = code::only(text);
    let numbered = code.lines().enumerate().map(|(index, line)| (index + 1, line));
    findings.extend(
        numbered.filter_map(|(line, code)| {
            objection(path, code).map(|message| Finding::new(path, line, message))
        }),
    );
    findings
}

/// What is wrong with one line of code, comments and strings blanked out.
fn objection(path: &str, code: &str) -> Option<&'static str> {
    let mut words = code.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    let says_unsafe = words.any(|word| word == "unsafe" || word == "unsafe_code");
    if says_unsafe && !UNSAFE.iter().any(|(allowed, _)| *allowed == path) {
        return Some("unsafe outside the modules listed in xtask/src/tidy/rust.rs");
    }
    code.contains("#[ignore]")
        .then_some("say why it is ignored: #[ignore = \"...\"]")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{listed, tree_of};

    fn check_text(path: &str, text: &str) -> Vec<String> {
        listed(&check(&tree_of(&[(path, text)])))
    }

    #[test]
    fn finds_unsafe_in_code_only() {
        let text = "// unsafe here is a comment\nlet s = \"unsafe\";\nunsafe { f() }\nlet unsafely = 1;\n";
        let expected = "crates/a/src/a.rs:3: unsafe outside the modules listed in xtask/src/tidy/rust.rs";
        assert_eq!(check_text("crates/a/src/a.rs", text), [expected]);
    }

    #[test]
    fn an_ignored_test_says_why() {
        assert_eq!(check_text("a.rs", "#[ignore]\nfn t() {}\n").len(), 1);
        assert!(check_text("a.rs", "#[ignore = \"needs a kernel of its own\"]\nfn t() {}\n").is_empty());
    }

    #[test]
    fn long_files_and_mod_rs_are_named() {
        assert!(check_text("a.rs", &"\n".repeat(LINES_MAX)).is_empty());
        assert!(check_text("a.rs", &"\n".repeat(LINES_MAX + 1))[0].contains("801 lines"));
        assert_eq!(check_text("crates/a/src/b/mod.rs", "").len(), 1);
    }
}
