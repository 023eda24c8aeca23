//! Finds the programs of this crate, for tests that need a fake server as a child process.

use std::path::{Path, PathBuf};

/// The path of `axiom-echo`, `axiom-floor` or `axiom-faulty`, or of another program of this workspace, in the target
/// folder that the running program came from.
///
/// # Errors
/// The program was not built; the message says with which command.
pub fn find(name: &str) -> anyhow::Result<PathBuf> {
    let here = std::env::current_exe()?;
    // A test runs in target/<profile>/deps, a program in target/<profile>.
    let folders = here.ancestors().skip(1).take(2);
    folders
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .ok_or_else(|| missing(name, &here))
}

fn missing(name: &str, here: &Path) -> anyhow::Error {
    let package = if name == "axiom" || name == "axiom-bench" {
        name
    } else {
        "axiom-testkit"
    };
    anyhow::anyhow!(
        "{name} is not beside {}\nhint: cargo build -p {package} --bin {name}",
        here.display()
    )
}
