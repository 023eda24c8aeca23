//! `cargo xtask deny`: licenses, sources and unwanted dependencies, by cargo-deny with the rules of deny.toml.
//!
//! The tool is built once into the target directory: 80 seconds on two cores with the light profile below (its own
//! profile, fat LTO in one unit, takes several minutes to make a check faster that runs for half a second).

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};
use cargo_metadata::MetadataCommand;

use crate::workspace;

/// Pinned, so that a new release of the tool cannot turn a checkout red that was green.
const VERSION: &str = "0.20.2";

pub(crate) fn run() -> anyhow::Result<()> {
    let tool = installed()?;
    workspace::run(&tool.to_string_lossy(), &["check", "bans", "licenses", "sources"])
}

/// The path of the tool, built now if this target directory has none of that version.
fn installed() -> anyhow::Result<PathBuf> {
    let metadata = MetadataCommand::new()
        .current_dir(workspace::root())
        .no_deps()
        .exec()
        .context("cargo metadata does not accept this workspace")?;
    let tools = metadata.target_directory.into_std_path_buf().join("tools");
    let home = tools.join(format!("cargo-deny-{VERSION}"));
    let tool = home.join("bin/cargo-deny");
    if !tool.exists() {
        eprintln!("deny: building cargo-deny {VERSION} once: it checks licenses and sources of dependencies");
        build(&home, &tools.join("build"))?;
    }
    Ok(tool)
}

fn build(home: &Path, scratch: &Path) -> anyhow::Result<()> {
    let status = Command::new("cargo")
        .args([
            "install",
            "cargo-deny",
            "--version",
            VERSION,
            "--locked",
            "--quiet",
            "--root",
        ])
        .arg(home)
        .env("CARGO_TARGET_DIR", scratch)
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
        .current_dir(workspace::root())
        .status()
        .context("failed to start cargo install")?;
    if !status.success() {
        bail!("cargo install cargo-deny ended with {status}");
    }
    // 300 MB of intermediate files that nothing needs again.
    fs_err::remove_dir_all(scratch)?;
    Ok(())
}
