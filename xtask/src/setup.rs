//! `cargo xtask setup`: puts what the tests need, and the machine lacks, beside the build outputs.
//!
//! Everything lands in `<target directory>/test-bed`, so a cached target directory brings it along, and
//! `cargo clean` takes it away. Each group is keyed by its lock file: an unchanged group costs one file
//! comparison, a changed or half-finished one is installed anew. A few programs of the system come from apt.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};
use fs_err as fs;

/// Part of every stamp. Raise it when the way of installing changes while the lock files do not.
const FORMAT: u32 = 1;

/// The oldest Node that the Inspector and the conformance suite start on.
const NODE_MIN: (u32, u32) = (22, 19);

/// What one group is, and what it is for: the line that setup prints.
struct Group {
    name: &'static str,
    why: &'static str,
    /// Folder under `tests/servers` with package.json and package-lock.json, or a Python lock file.
    source: &'static str,
}

const NPM: &[Group] = &[
    Group {
        name: "npm",
        why: "today's reference servers, both TypeScript clients, the Inspector and the conformance suite",
        source: "",
    },
    Group {
        name: "legacy-2025-03-26",
        why: "a server of revision 2025-03-26 with the SDK of its day",
        source: "legacy-2025-03-26",
    },
    Group {
        name: "legacy-2025-06-18",
        why: "a server of revision 2025-06-18 with the SDK of its day",
        source: "legacy-2025-06-18",
    },
    Group {
        name: "duckdb",
        why: "DuckDB's library, which `axiom sql --engine duckdb` loads",
        source: "duckdb",
    },
];

const PYTHON: &[Group] = &[
    Group {
        name: "python-main",
        why: "the Python client and FastMCP, and the dual-era servers git and time",
        source: "python/main.lock.txt",
    },
    Group {
        name: "python-old",
        why: "servers on mcp 1.6: 2024-11-05, HTTP+SSE, and the one that dies when it is probed",
        source: "python/old.lock.txt",
    },
    Group {
        name: "python-s3",
        why: "moto, a server that speaks S3, for the cold tier's tests",
        source: "python/s3.lock.txt",
    },
    Group {
        name: "python-data",
        why: "DuckDB, pyarrow and the Flight SQL driver: other people's readers of our events",
        source: "python/data.lock.txt",
    },
];

/// A package of Debian's.
struct Package {
    name: &'static str,
    program: &'static str,
    why: &'static str,
    /// What cannot be done where it cannot be installed.
    without: &'static str,
}

const APT: &[Package] = &[
    Package {
        name: "nginx-light",
        program: "nginx",
        why: "the benchmarks compare with it",
        without: "the benchmarks cannot compare with it",
    },
    Package {
        name: "redis-server",
        program: "redis-server",
        why: "the tests of what several gateways share, and the event log's benchmarks, need it",
        without: "those tests skip themselves, and the event log's benchmarks cannot compare with it",
    },
    Package {
        name: "bubblewrap",
        program: "bwrap",
        why: "the benchmarks compare the start of a sandbox with it",
        without: "the benchmarks cannot compare with it",
    },
    Package {
        name: "runc",
        program: "runc",
        why: "the benchmarks compare the start of a sandbox with it, and tasks in containers are tested with it",
        without: "the benchmarks cannot compare with it, and the tests of containers skip themselves",
    },
    Package {
        name: "z3",
        program: "z3",
        why: "the tests of pools ask a solver",
        without: "those tests leave the solver out",
    },
    Package {
        name: "iproute2",
        program: "ip",
        why: "the tests of replicas put each on a network of its own, and cut it",
        without: "the tests that cut the network between replicas skip themselves",
    },
];

/// Installs whatever is missing. `args` takes nothing yet; an unknown argument is an error.
pub(crate) fn run(args: Vec<String>) -> anyhow::Result<()> {
    if let Some(arg) = args.first() {
        bail!("cargo xtask setup takes no arguments, got {arg}");
    }
    let places = Places::find()?;
    fs::create_dir_all(&places.bed)?;
    // Two setups at once, from two shells, would install into the same folders: the second one waits.
    let lock = fs::File::create(places.bed.join(".lock"))?;
    lock.file().lock().context("failed to lock the test bed")?;

    // Two lanes, because npm mostly waits for the network while pip unpacks.
    std::thread::scope(|scope| {
        let npm = scope.spawn(|| npm_lane(&places));
        let python = python_lane(&places);
        let npm = npm.join().unwrap_or_else(|_| bail!("the npm lane panicked"));
        npm.and(python)
    })?;
    debian();
    link_node_modules(&places)
}

/// The folders that setup reads from and writes to.
pub(crate) struct Places {
    pub(crate) workspace: PathBuf,
    pub(crate) target: PathBuf,
    /// `<target>/test-bed`; tests get it as `AXIOM_BED`.
    pub(crate) bed: PathBuf,
}

impl Places {
    /// Asks cargo, so that `CARGO_TARGET_DIR` and configuration files count.
    pub(crate) fn find() -> anyhow::Result<Self> {
        let metadata = cargo_metadata::MetadataCommand::new()
            .no_deps()
            .exec()
            .context("failed to run cargo metadata")?;
        let target = metadata.target_directory.into_std_path_buf();
        let bed = target.join("test-bed");
        Ok(Self {
            workspace: metadata.workspace_root.into_std_path_buf(),
            target,
            bed,
        })
    }

    fn servers(&self) -> PathBuf {
        self.workspace.join("tests/servers")
    }
}

fn npm_lane(places: &Places) -> anyhow::Result<()> {
    node(places)?;
    for group in NPM {
        let source = places.servers().join(group.source);
        let stamp = stamp(
            places,
            &[source.join("package.json"), source.join("package-lock.json")],
        )?;
        install(places, group.name, group.why, &stamp, |folder| {
            npm_ci(&source, folder)
        })?;
    }
    Ok(())
}

/// Makes `<bed>/node/bin/node` a Node that is new enough: the machine's own, or one from npm.
fn node(places: &Places) -> anyhow::Result<()> {
    if let Some(path) = new_enough_node() {
        let why = "the machine's own is new enough";
        let stamp = format!("{FORMAT} {}", path.display());
        return install(places, "node", why, &stamp, |folder| {
            fs::create_dir_all(folder.join("bin"))?;
            symlink(&path, &folder.join("bin/node"))
        });
    }
    let source = places.servers().join("node");
    let stamp = stamp(
        places,
        &[source.join("package.json"), source.join("package-lock.json")],
    )?;
    let why = "the Inspector and the conformance suite need Node 22.19 or newer";
    install(places, "node", why, &stamp, |folder| {
        npm_ci(&source, folder)?;
        let arch = if cfg!(target_arch = "aarch64") {
            "arm64"
        } else {
            "x64"
        };
        fs::create_dir_all(folder.join("bin"))?;
        let node = folder.join(format!("node_modules/node-linux-{arch}/bin/node"));
        symlink(&node, &folder.join("bin/node"))
    })
}

fn new_enough_node() -> Option<PathBuf> {
    let output = Command::new("node")
        .args(["-p", "process.version + ' ' + process.execPath"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let (version, path) = text.trim().split_once(' ')?;
    let mut parts = version
        .trim_start_matches('v')
        .split('.')
        .map_while(|part| part.parse::<u32>().ok());
    let found = (parts.next()?, parts.next()?);
    (found >= NODE_MIN).then(|| PathBuf::from(path))
}

/// `npm ci` installs exactly the lock file. Install scripts stay off: none of these packages needs one.
fn npm_ci(source: &Path, folder: &Path) -> anyhow::Result<()> {
    for name in ["package.json", "package-lock.json"] {
        fs::copy(source.join(name), folder.join(name))?;
    }
    quiet(
        Command::new("npm")
            .args([
                "ci",
                "--ignore-scripts",
                "--no-audit",
                "--no-fund",
                "--loglevel=error",
            ])
            .current_dir(folder),
    )
}

fn python_lane(places: &Places) -> anyhow::Result<()> {
    for group in PYTHON {
        let lock = places.servers().join(group.source);
        let stamp = stamp(places, std::slice::from_ref(&lock))?;
        install(places, group.name, group.why, &stamp, |folder| {
            quiet(Command::new("python3").args(["-m", "venv"]).arg(folder))
                .context("hint: Debian keeps this module in the package python3-venv")?;
            // The lock names every package, so pip has nothing to resolve.
            quiet(
                Command::new(folder.join("bin/python"))
                    .args([
                        "-m",
                        "pip",
                        "install",
                        "--quiet",
                        "--no-deps",
                        "--disable-pip-version-check",
                        "-r",
                    ])
                    .arg(&lock),
            )
        })?;
    }
    Ok(())
}

/// Installs what is missing of [`APT`]. Where that cannot be done, what needs it says so and is left out.
fn debian() {
    let missing: Vec<_> = APT.iter().filter(|package| !is_there(package.program)).collect();
    let apt = |args: &[&str]| {
        quiet(
            Command::new("apt-get")
                .args(args)
                .env("DEBIAN_FRONTEND", "noninteractive"),
        )
    };
    for (index, package) in missing.iter().enumerate() {
        say(package.name, &format!("installing: {}", package.why));
        let updated = if index == 0 {
            apt(&["update", "-qq"])
        } else {
            Ok(())
        };
        if let Err(error) = updated.and_then(|()| apt(&["install", "-y", "-qq", package.name])) {
            say(
                package.name,
                &format!("left out, so {}: {error:#}", package.without),
            );
        }
    }
}

/// Debian has some programs where only root's PATH leads.
fn is_there(program: &str) -> bool {
    Path::new("/usr/sbin").join(program).exists() || on_path(program)
}

fn on_path(program: &str) -> bool {
    std::env::var_os("PATH")
        .is_some_and(|path| std::env::split_paths(&path).any(|dir| dir.join(program).exists()))
}

/// Scripts under `tests/` import npm packages; Node looks for those in the folders above the script.
fn link_node_modules(places: &Places) -> anyhow::Result<()> {
    symlink(
        &places.bed.join("npm/node_modules"),
        &places.workspace.join("tests/node_modules"),
    )
}

/// Points `link` at `target`, replacing an older link. Does nothing when it already does.
fn symlink(target: &Path, link: &Path) -> anyhow::Result<()> {
    if fs::read_link(link).is_ok_and(|current| current == target) {
        return Ok(());
    }
    if link.symlink_metadata().is_ok() {
        fs::remove_file(link)?;
    }
    fs_err::os::unix::fs::symlink(target, link)?;
    Ok(())
}

/// What a group was installed from. The bed's own path counts: a venv does not survive a move.
fn stamp(places: &Places, inputs: &[PathBuf]) -> anyhow::Result<String> {
    let mut stamp = format!("{FORMAT} {}\n", places.bed.display());
    for input in inputs {
        stamp.push_str(&fs::read_to_string(input)?);
    }
    Ok(stamp)
}

/// Runs `fill` on an empty `<bed>/<name>` unless that folder already bears this stamp.
fn install(
    places: &Places,
    name: &str,
    why: &str,
    stamp: &str,
    fill: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let folder = places.bed.join(name);
    let stamp_path = folder.join(".stamp");
    if fs::read_to_string(&stamp_path).is_ok_and(|found| found == stamp) {
        return Ok(());
    }
    say(name, &format!("installing: {why}"));
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    fill(&folder).with_context(|| format!("failed to install the group {name}"))?;
    // Written last: an interrupted installation has none and starts over.
    Ok(fs::write(&stamp_path, stamp)?)
}

/// Runs a command without its chatter; what it said comes back only with a failure.
fn quiet(command: &mut Command) -> anyhow::Result<()> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("failed to start {command:?}"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{command:?} ended with {}:\n{}", output.status, said.trim());
    }
    Ok(())
}

fn say(name: &str, text: &str) {
    // Talk goes to stderr; a closed stderr is no reason to stop installing.
    drop(writeln!(std::io::stderr(), "setup: {name}: {text}"));
}
