//! Where `cargo xtask setup` put things, and where cargo put the binaries.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// The test bed, `<target>/test-bed`.
pub fn root() -> PathBuf {
    let bed = std::env::var_os("AXIOM_BED").map_or_else(|| target().join("test-bed"), PathBuf::from);
    assert!(
        bed.exists(),
        "there is no test bed at {}: run cargo xtask setup",
        bed.display()
    );
    bed
}

/// A Node that is new enough for every script here.
pub fn node() -> String {
    need(&root().join("node/bin/node"))
}

/// A file of an npm package, for example `@modelcontextprotocol/server-memory/dist/index.js`.
pub fn npm(path: &str) -> String {
    need(&root().join("npm/node_modules").join(path))
}

/// The entry of server-everything as it was for an old revision.
pub fn legacy_everything(revision: &str) -> String {
    let path = "node_modules/@modelcontextprotocol/server-everything/dist/index.js";
    need(&root().join(format!("legacy-{revision}")).join(path))
}

/// A program of a Python environment, `main` or `old`.
pub fn python(environment: &str, program: &str) -> String {
    need(
        &root()
            .join(format!("python-{environment}"))
            .join("bin")
            .join(program),
    )
}

/// DuckDB's library, if there is one for this machine: the one that is named, or that setup installed.
pub fn duckdb() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("AXIOM_DUCKDB_LIBRARY") {
        return Some(named.into());
    }
    let packages = std::fs::read_dir(root().join("duckdb/node_modules/@duckdb")).ok()?;
    packages.flatten().find_map(|package| {
        let names = ["libduckdb.so", "libduckdb.dylib"].into_iter();
        names
            .map(|name| package.path().join(name))
            .find(|path| path.is_file())
    })
}

/// A file of ours under `tests/`.
pub fn ours(path: &str) -> String {
    need(&Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
}

/// A program of this workspace; `cargo xtask test` builds them all and says where the gateway is.
pub fn built(program: &str) -> PathBuf {
    let given = (program == "axiom")
        .then(|| std::env::var_os("AXIOM_BIN"))
        .flatten()
        .map(PathBuf::from);
    let path = given.unwrap_or_else(|| target().join("debug").join(program));
    assert!(
        path.exists(),
        "{} is not built: run cargo xtask test, or cargo build --bins",
        path.display()
    );
    path
}

/// Where the machine's own Python is installed, if that is not with its other programs.
pub fn python_home() -> String {
    let output = std::process::Command::new("python3")
        .args(["-c", "import sys; print(sys.base_prefix)"])
        .output()
        .unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// A folder of this test's own, made empty.
pub fn scratch(name: &str) -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let folder = std::env::temp_dir().join(format!("axiom-e2e-{}-{count}-{name}", std::process::id()));
    // Left over from a killed process that had the same id.
    drop(std::fs::remove_dir_all(&folder));
    std::fs::create_dir_all(&folder).unwrap();
    folder.canonicalize().unwrap()
}

/// A test runs in `<target>/debug/deps`.
fn target() -> PathBuf {
    let here = std::env::current_exe().unwrap();
    here.ancestors()
        .nth(3)
        .expect("a test binary lies in <target>/<profile>/deps")
        .to_owned()
}

fn need(path: &Path) -> String {
    assert!(
        path.exists(),
        "{} is missing: run cargo xtask setup",
        path.display()
    );
    path.to_str().expect("paths of the checkout are UTF-8").to_owned()
}
