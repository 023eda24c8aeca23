//! What belongs to the machine it was written on and not to the project: absolute paths, package registries' hosts,
//! notes to oneself.

use super::Finding;
use crate::workspace::Tree;

/// Folders that only some machine has. Split so that this file does not find itself.
const MACHINE_FOLDERS: [&str; 5] = [
    concat!("/wo", "rk/"),
    concat!("/ro", "ot/"),
    concat!("/tm", "p/t/"),
    concat!("/ho", "me/"),
    concat!("/Use", "rs/"),
];

/// People who stand for the reader in examples and tests.
const ANYBODY: [&str; 6] = ["me", "you", "user", "alice", "ann", "USER"];

/// A lock file that names one of these breaks behind every mirror; leave the host out and let the client choose.
const REGISTRY_HOSTS: [&str; 7] = [
    concat!("registry.npm", "js.org"),
    concat!("registry.yarn", "pkg.com"),
    concat!("files.python", "hosted.org"),
    concat!("pypi", ".org"),
    concat!("index.crates", ".io"),
    concat!("static.crates", ".io"),
    concat!("deb.debian", ".org"),
];

pub(crate) fn check(tree: &Tree) -> Vec<Finding> {
    let lines = tree.iter().flat_map(|(path, text)| {
        text.lines()
            .enumerate()
            .map(move |(index, line)| (path.as_str(), index + 1, line))
    });
    lines
        .flat_map(|(path, number, line)| {
            let messages = [machine_path(line), registry_host(line), loose_todo(path, line)];
            messages
                .into_iter()
                .flatten()
                .map(move |message| Finding::new(path, number, message))
        })
        .collect()
}

fn machine_path(line: &str) -> Option<String> {
    MACHINE_FOLDERS.iter().find_map(|folder| {
        line.match_indices(folder).find_map(|(at, _)| {
            let before = line.get(..at)?.chars().next_back();
            // Inside something longer it is another path: `homework/`, `./root/`, `file:///work/`.
            let starts = before.is_none_or(|c| !(c.is_alphanumeric() || "/._-~*}>".contains(c)));
            let after = line.get(at + folder.len()..)?;
            let owner = after
                .split(|c: char| !c.is_alphanumeric())
                .next()
                .unwrap_or_default();
            (starts && !ANYBODY.contains(&owner)).then(|| format!("a path of one machine: {folder}{owner}"))
        })
    })
}

fn registry_host(line: &str) -> Option<String> {
    let host = REGISTRY_HOSTS.iter().find(|host| line.contains(**host))?;
    Some(format!("a registry's host name: {host}"))
}

fn loose_todo(path: &str, line: &str) -> Option<String> {
    let (_, after) = line.split_once(concat!("TO", "DO"))?;
    let loose = path.ends_with(".rs") && !after.starts_with("(#");
    loose.then(|| concat!("a half-thought: finish it, remove it, or write TO", "DO(#issue)").to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tidy::{listed, tree_of};

    fn check_line(line: &str) -> Vec<String> {
        listed(&check(&tree_of(&[("a.rs", line)])))
    }

    #[test]
    fn machine_paths_are_found() {
        assert_eq!(
            check_line(concat!("cd /wo", "rk/main")),
            [concat!("a.rs:1: a path of one machine: /wo", "rk/main")]
        );
        assert_eq!(check_line(concat!("\"/ho", "me/jenny/.npm\"")).len(), 1);
        assert!(check_line("/home/me/.cursor/mcp.json").is_empty());
        assert!(check_line("file:///work/notes.md, homework/1, ./root/x").is_empty());
    }

    #[test]
    fn registry_hosts_are_found() {
        assert_eq!(
            check_line(concat!("\"resolved\": \"https://registry.npm", "js.org/a\"")).len(),
            1
        );
        assert!(check_line("installed from npm and crates.io").is_empty());
    }

    #[test]
    fn a_half_thought_has_an_issue() {
        assert_eq!(check_line(concat!("// TO", "DO: later")).len(), 1);
        assert!(check_line(concat!("// TO", "DO(#12): later")).is_empty());
    }
}
