//! Our own lints: what we promised each other and clippy cannot hold.
//!
//! Each module below is one rule or one family of rules: a pure function from texts to findings, with its tests beside it.
//! A new rule is one new file and one line in [`run`].

mod arrows;
mod changes;
mod decisions;
mod links;
mod manifests;
mod rust;
mod traces;

use std::fmt;

use anyhow::bail;

use crate::promises;
use crate::workspace::{self, Tree};

/// One broken rule, at the place where a person must act.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    pub(crate) path: String,
    /// Counted from 1; 0 when the whole file is meant.
    pub(crate) line: usize,
    pub(crate) message: String,
}

impl Finding {
    pub(crate) fn new(path: &str, line: usize, message: impl Into<String>) -> Self {
        Finding {
            path: path.to_owned(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}: {}", self.path, self.message),
        }
    }
}

/// Runs every rule over the checkout and prints what is broken.
pub(crate) fn run() -> anyhow::Result<()> {
    let tree = workspace::tree()?;
    let mut findings = arrows::check(&arrows::read()?);
    findings.extend(manifests::check(&tree));
    findings.extend(rust::check(&tree));
    findings.extend(traces::check(&tree));
    findings.extend(links::check(&tree));
    findings.extend(changes::check(&tree));
    findings.extend(decisions::check(&tree));
    findings.extend(promises::table::check(&tree));
    report(findings, &tree)
}

fn report(mut findings: Vec<Finding>, tree: &Tree) -> anyhow::Result<()> {
    findings.sort();
    for finding in &findings {
        eprintln!("{finding}");
    }
    match findings.len() {
        0 => {
            println!("tidy: {} files, nothing to say", tree.len());
            Ok(())
        }
        count => bail!("tidy: {count} finding(s)"),
    }
}

/// A tree for the rules' tests.
#[cfg(test)]
pub(crate) fn tree_of(files: &[(&str, &str)]) -> Tree {
    files
        .iter()
        .map(|(path, text)| ((*path).to_owned(), (*text).to_owned()))
        .collect()
}

/// Findings as a test reads them: one per line.
#[cfg(test)]
pub(crate) fn listed(findings: &[Finding]) -> Vec<String> {
    findings.iter().map(ToString::to_string).collect()
}
