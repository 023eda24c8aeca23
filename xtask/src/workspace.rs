//! Where the checkout is, which files it holds, and how commands are run in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

/// The checkout's root folder.
///
/// Cargo tells the running process; the path known at compile time may belong to another checkout that shares the
/// target directory.
pub(crate) fn root() -> PathBuf {
    let manifest_dir = std::env::var_os("CARGO_MANIFEST_DIR")
        .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
    manifest_dir
        .parent()
        .map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// Cargo in the root, as a person would call it.
///
/// Cargo tells us about our own package in the environment. Build scripts that look at the same variables, as ring's does,
/// would run again for that, and everything that depends on them would be built again: all of DataFusion, each time.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(root());
    for (name, _) in std::env::vars_os() {
        let is_ours = name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"));
        if is_ours {
            command.env_remove(name);
        }
    }
    command
}

/// Runs `program` in the root with our own output streams; an exit status other than 0 is an error.
pub(crate) fn run(program: &str, args: &[&str]) -> anyhow::Result<()> {
    let status = Command::new(program)
        .args(args)
        .current_dir(root())
        .status()
        .with_context(|| format!("failed to start {program}"))?;
    if !status.success() {
        bail!("`{program} {}` ended with {status}", args.join(" "));
    }
    Ok(())
}

/// Builds a package's example programs, beside its profile's binaries.
pub(crate) fn build_examples(package: &str, profile: &str) -> anyhow::Result<()> {
    let status = cargo()
        .args([
            "build",
            "--quiet",
            "--package",
            package,
            "--examples",
            "--profile",
            profile,
        ])
        .status()
        .context("failed to start cargo")?;
    if !status.success() {
        bail!("cargo could not build the examples of {package}");
    }
    Ok(())
}

/// Builds one binary of the workspace and returns the path of its executable.
///
/// Cargo's own answer is used, not a guess: the target directory may be anywhere.
pub(crate) fn build_binary(package: &str, profile: &str) -> anyhow::Result<PathBuf> {
    let output = cargo()
        .args([
            "build",
            "--quiet",
            "--package",
            package,
            "--bins",
            "--profile",
            profile,
        ])
        .args(["--message-format", "json-render-diagnostics"])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("failed to start cargo")?;
    if !output.status.success() {
        bail!("cargo could not build {package}");
    }
    cargo_metadata::Message::parse_stream(output.stdout.as_slice())
        .filter_map(Result::ok)
        .find_map(|message| match message {
            cargo_metadata::Message::CompilerArtifact(artifact) if artifact.target.name == package => {
                artifact
                    .executable
                    .map(cargo_metadata::camino::Utf8PathBuf::into_std_path_buf)
            }
            _ => None,
        })
        .with_context(|| format!("package {package} has no binary of that name"))
}

/// Every text file of the checkout by its path relative to the root, with `/` between folders.
pub(crate) type Tree = BTreeMap<String, String>;

/// Reads the files that git tracks or would track; a build output or a binary file is not among them.
pub(crate) fn tree() -> anyhow::Result<Tree> {
    let root = root();
    let paths = tracked(&root).or_else(|_no_git| walk(&root))?;
    let mut tree = Tree::new();
    for path in paths {
        // A path that git still lists but that is gone, a link or a binary file: nothing to read.
        if let Ok(text) = fs_err::read_to_string(root.join(&path)) {
            tree.insert(path, text);
        }
    }
    Ok(tree)
}

fn tracked(root: &Path) -> anyhow::Result<Vec<String>> {
    let output = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root)
        .output()
        .context("failed to start git")?;
    if !output.status.success() {
        bail!("not a git checkout");
    }
    let names = String::from_utf8(output.stdout).context("a file name is not UTF-8")?;
    Ok(names.split_terminator('\0').map(str::to_owned).collect())
}

/// For a copy without git: everything but what builds and tools leave behind.
fn walk(root: &Path) -> anyhow::Result<Vec<String>> {
    const SKIPPED: [&str; 5] = [".git", "target", "node_modules", "__pycache__", ".venv"];
    let mut paths = Vec::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs_err::read_dir(&folder)? {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() && !SKIPPED.iter().any(|skipped| entry.file_name() == *skipped) {
                folders.push(entry.path());
            } else if kind.is_file() {
                let path = entry.path();
                let relative = path.strip_prefix(root).context("a file outside the root")?;
                paths.push(relative.to_string_lossy().replace('\\', "/"));
            }
        }
    }
    Ok(paths)
}
