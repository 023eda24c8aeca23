//! Other gateways, measured where they are installed.

use std::{path::PathBuf, process::Command};

use anyhow::Context;

use super::{Folder, Subject, free_port, listening};

/// FastMCP's proxy from the test bed.
///
/// # Errors
/// It is not installed, or does not start.
pub(crate) fn fastmcp(folder: &Folder, upstream: &Subject) -> anyhow::Result<Subject> {
    let binary = find_fastmcp().context("FastMCP is not installed\nhint: cargo xtask setup")?;
    let port = free_port()?;
    let mut command = Command::new(binary);
    command.args(["run", &format!("http://{}/mcp", upstream.address)]);
    command.args([
        "--transport",
        "http",
        "--port",
        &port.to_string(),
        "--no-banner",
        "--log-level",
        "ERROR",
    ]);
    command.current_dir(folder.path());
    listening("fastmcp", command, port, folder)
}

/// In `$AXIOM_BED`, or in the test bed of the target folder that this program came from.
fn find_fastmcp() -> Option<PathBuf> {
    let named = std::env::var_os("AXIOM_BED").map(PathBuf::from);
    let beside = std::env::current_exe()
        .ok()
        .and_then(|here| Some(here.ancestors().nth(2)?.join("test-bed")));
    let beds = named.into_iter().chain(beside);
    beds.map(|bed| bed.join("python-main/bin/fastmcp"))
        .find(|path| path.is_file())
}
