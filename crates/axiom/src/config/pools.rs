//! The `[tasks.oci]` and `[tasks.pools.NAME]` sections: what runs tasks beside a process and a sandbox.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axiom_runtime::supervisor::PoolOptions;
use axiom_sandbox::limits::Limits;
use axiom_sandbox::pool::{WorkerOptions, ZygoteOptions};
use axiom_sandbox::spec::{Executor, Grants, Oci, Protocol};

use super::Problem;
use super::agents::{network, word};
use super::decoder::{Decoder, Zero};
use super::endpoint::{command_line, environment};
use super::gateway::set;
use super::servers::check_name;
use super::tasks::limits;
use super::tree::{Entry, Node};

pub(crate) const OCI_KEYS: &[&str] = &["runtime", "arguments", "root"];
pub(crate) const KEYS: &[&str] = &[
    "kind", "command", "preload", "size", "reuse", "idle", "env", "folder", "executor", "limits", "network",
    "read", "write",
];

/// Each is one more queue, and there are 16 of those.
const POOLS_MAX: usize = 8;
const SIZE_MAX: usize = 1000;
const REUSE_MAX: usize = 1_000_000;
/// Of whatever configures none.
pub(crate) const RUNTIME: &str = "runc";

/// What has started already, for tasks to share.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    pub kind: Kind,
    /// What is started: an interpreter alone for Python.
    pub command: Vec<String>,
    /// What Python imports before its first task.
    pub preload: Vec<String>,
    /// Tasks at once; of workers so many processes.
    pub size: usize,
    /// Tasks of one process, until another takes its place.
    pub reuse: u32,
    pub idle: Duration,
    /// Besides what tasks get.
    pub env: BTreeMap<String, String>,
    /// Where workers run; a folder of their own without one.
    pub folder: Option<PathBuf>,
    /// What each of its processes is apart by.
    pub walls: Executor,
    /// Of each of its processes, for all of its tasks.
    pub limits: Limits,
    pub grants: Grants,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Python,
    Workers(Protocol),
}

impl Pool {
    fn new(walls: Executor) -> Pool {
        Pool {
            kind: Kind::Python,
            command: Vec::new(),
            preload: Vec::new(),
            size: 4,
            reuse: 1000,
            idle: Duration::from_secs(60),
            env: BTreeMap::new(),
            folder: None,
            walls,
            limits: Limits::default(),
            grants: Grants::default(),
        }
    }

    /// Takes relative paths from the folder of the configuration file.
    pub(super) fn anchor(&mut self, base: &Path) {
        let named = self.folder.iter_mut();
        for path in named.chain(&mut self.grants.read).chain(&mut self.grants.write) {
            *path = base.join(&path);
        }
    }

    /// What a task of it has as its executor before it has its place.
    pub(crate) fn executor(&self) -> Executor {
        self.options(BTreeMap::new(), &[]).executor()
    }

    /// Whether a command of this program is one for its Python.
    pub(crate) fn is_interpreter(&self, program: &str) -> bool {
        let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
        let asked = name(program);
        asked.starts_with("python") || self.command.first().is_some_and(|own| name(own) == asked)
    }

    /// With the real paths of what it names: a sandbox follows no link on the way.
    ///
    /// # Errors
    /// Something is not there.
    pub(crate) fn at_its_places(&self) -> std::io::Result<Pool> {
        let mut pool = self.clone();
        let named = pool.folder.iter_mut();
        for path in named.chain(&mut pool.grants.read).chain(&mut pool.grants.write) {
            *path = fs_err::canonicalize(&path)?;
        }
        Ok(pool)
    }

    /// With what its processes find in their environment, and where tasks of Python work.
    pub(crate) fn options(&self, mut env: BTreeMap<String, String>, work: &[PathBuf]) -> PoolOptions {
        env.extend(self.env.clone());
        match self.kind {
            Kind::Python => {
                let mut grants = self.grants.clone();
                if self.walls != Executor::Process {
                    grants.write.extend_from_slice(work);
                }
                let interpreter = self.command.first().cloned().unwrap_or_default();
                let options = ZygoteOptions {
                    modules: self.preload.clone(),
                    walls: self.walls.clone(),
                    grants,
                    limits: self.limits.clone(),
                    jobs_max: self.reuse,
                    idle: self.idle,
                    ..ZygoteOptions::new(interpreter, env)
                };
                PoolOptions::Zygotes {
                    options,
                    running_max: self.size,
                }
            }
            Kind::Workers(protocol) => PoolOptions::Workers(WorkerOptions {
                folder: self.folder.clone(),
                walls: self.walls.clone(),
                grants: self.grants.clone(),
                limits: self.limits.clone(),
                workers_max: self.size,
                requests_max: self.reuse,
                idle: self.idle,
                ..WorkerOptions::new(self.command.clone(), env, protocol)
            }),
        }
    }
}

pub(super) fn oci(decoder: &mut Decoder<'_>, node: &Node) -> Oci {
    let mut oci = default_oci();
    for entry in decoder.table(node, "`tasks.oci`") {
        let node = &entry.node;
        match entry.key.as_str() {
            "runtime" => {
                let runtime = decoder.string(node, "tasks.oci.runtime");
                if runtime.as_ref().is_some_and(|runtime| runtime.trim().is_empty()) {
                    let help = "write the name or the path of a program: runc, crun or runsc".to_owned();
                    decoder.bad_value(node, "tasks.oci.runtime", "names no program", Some(help));
                }
                set(&mut oci.runtime, runtime);
            }
            "arguments" => {
                let items = decoder.array(node, "tasks.oci.arguments").unwrap_or_default();
                let texts = items.iter();
                oci.arguments = texts
                    .filter_map(|item| decoder.string(item, "tasks.oci.arguments"))
                    .collect();
            }
            "root" => {
                oci.root = decoder.string(node, "tasks.oci.root").map(PathBuf::from);
                if oci.root.as_ref().is_some_and(|root| root.as_os_str().is_empty()) {
                    decoder.bad_value(node, "tasks.oci.root", "must be the path of a folder", None);
                }
            }
            _ => decoder.unknown_key(entry, "`tasks.oci`", OCI_KEYS),
        }
    }
    oci
}

/// Where nothing is said.
pub(crate) fn default_oci() -> Oci {
    Oci {
        runtime: RUNTIME.to_owned(),
        arguments: Vec::new(),
        root: None,
    }
}

/// All pools. What keeps them apart is what keeps tasks apart, unless they say otherwise.
pub(super) fn decode(decoder: &mut Decoder<'_>, node: &Node, usual: &Executor) -> BTreeMap<String, Pool> {
    let entries = decoder.table(node, "`tasks.pools`");
    if let Some(entry) = entries.get(POOLS_MAX) {
        let message = format!("there are more than {POOLS_MAX} pools");
        let problem = Problem::error(&entry.key_span, message, "one too many");
        decoder.report(problem.help("have what is alike in one, with a larger `size`"));
    }
    let mut pools = BTreeMap::new();
    for entry in entries {
        check_name(decoder, entry, "pool");
        if Executor::NAMES.contains(&entry.key.as_str()) {
            let message = format!("`tasks.pools.{}` has the name of an executor", entry.key);
            let problem = Problem::error(&entry.key_span, message, "taken");
            decoder.report(
                problem.help("tasks ask for a pool where they ask for an executor: give it another name"),
            );
        }
        if let Some(pool) = pool(decoder, entry, usual) {
            pools.insert(entry.key.clone(), pool);
        }
    }
    pools
}

/// `None` if nothing could be started.
fn pool(decoder: &mut Decoder<'_>, section: &Entry, usual: &Executor) -> Option<Pool> {
    let path = format!("tasks.pools.{}", section.key);
    let place = format!("`{path}`");
    let walls = match usual {
        Executor::Process => Executor::Process,
        _ => Executor::Sandbox,
    };
    let mut pool = Pool::new(walls);
    let mut kind = None;
    for entry in decoder.table(&section.node, &place) {
        let node = &entry.node;
        let key = format!("{path}.{}", entry.key);
        let key = key.as_str();
        match entry.key.as_str() {
            "kind" => kind = self::kind(decoder, node, key),
            "command" => set(&mut pool.command, command_line(decoder, key, node)),
            "preload" => {
                let names = decoder.plain_list(node, key);
                pool.preload = names.into_iter().map(|(name, _)| name.to_owned()).collect();
            }
            "size" => set(&mut pool.size, decoder.count(node, key, SIZE_MAX)),
            "reuse" => {
                let count = decoder.count(node, key, REUSE_MAX);
                set(&mut pool.reuse, count.and_then(|count| u32::try_from(count).ok()));
            }
            "idle" => set(&mut pool.idle, decoder.duration(node, key, Zero::Refused)),
            "env" => set(&mut pool.env, environment(decoder, &path, entry)),
            "folder" => pool.folder = decoder.string(node, key).map(PathBuf::from),
            "executor" => set(&mut pool.walls, self::walls(decoder, node, key)),
            // They depend on the executor, which may stand below.
            "limits" => {}
            "network" => set(&mut pool.grants.network, network(decoder, node, key)),
            "read" => pool.grants.read = paths(decoder, node, key),
            "write" => pool.grants.write = paths(decoder, node, key),
            _ => decoder.unknown_key(entry, &place, KEYS),
        }
    }
    if let Some(node) = section.node.get("limits") {
        limits(
            decoder,
            node,
            &format!("{path}.limits"),
            &pool.walls,
            &mut pool.limits,
        );
    }
    if !section.node.is_table() {
        return None;
    }
    if section.node.get("kind").is_none() {
        let message = format!("`{path}` does not say what it holds");
        let help = "add kind = \"python\", \"lines\" or \"smt\"";
        decoder.report(Problem::error(&section.key_span, message, "no `kind`").help(help));
    }
    pool.kind = kind?;
    check(decoder, section, &path, &mut pool);
    Some(pool)
}

/// What one kind wants, and another has no use for.
fn check(decoder: &mut Decoder<'_>, section: &Entry, path: &str, pool: &mut Pool) {
    if pool.command.is_empty() {
        match pool.kind {
            Kind::Python => pool.command = vec!["python3".to_owned()],
            Kind::Workers(Protocol::Smt) => pool.command = ["z3", "-in"].map(str::to_owned).to_vec(),
            Kind::Workers(Protocol::Lines) if section.node.get("command").is_none() => {
                let message = format!("`{path}` does not say what answers its requests");
                let help = "add command = [\"node\", \"worker.js\"]: a program that answers a line of JSON with a line of JSON";
                decoder.report(Problem::error(&section.key_span, message, "no `command`").help(help));
            }
            Kind::Workers(Protocol::Lines) => {}
        }
    }
    let is_python = pool.kind == Kind::Python;
    if is_python && pool.command.len() > 1 {
        let help = "leave its arguments out: tasks bring their own".to_owned();
        let at = section.node.get("command").unwrap_or(&section.node);
        decoder.bad_value(
            at,
            &format!("{path}.command"),
            "must name an interpreter alone",
            Some(help),
        );
    }
    let useless = [
        ("preload", !is_python, "kind = \"python\""),
        (
            "folder",
            is_python,
            "workers: a task of Python says itself where it runs",
        ),
    ];
    for (key, is_useless, whom) in useless {
        if let Some(node) = section.node.get(key).filter(|_| is_useless) {
            let help = format!("it is for {whom}");
            decoder.bad_value(node, &format!("{path}.{key}"), "means nothing here", Some(help));
        }
    }
    if pool.walls == Executor::Process && pool.grants != Grants::default() {
        let message = format!("`{path}` opens a sandbox and has none");
        let help = "add executor = \"sandbox\", or take out `network`, `read` and `write`";
        decoder.report(Problem::error(&section.key_span, message, "executor is \"process\"").help(help));
    }
}

fn kind(decoder: &mut Decoder<'_>, node: &Node, key: &str) -> Option<Kind> {
    let words = [
        ("python", Kind::Python),
        ("lines", Kind::Workers(Protocol::Lines)),
        ("smt", Kind::Workers(Protocol::Smt)),
    ];
    word(decoder, node, key, &words)
}

fn walls(decoder: &mut Decoder<'_>, node: &Node, key: &str) -> Option<Executor> {
    let words = [Executor::Process, Executor::Sandbox].map(|executor| (executor.name(), executor));
    word(decoder, node, key, &words)
}

fn paths(decoder: &mut Decoder<'_>, node: &Node, key: &str) -> Vec<PathBuf> {
    let items = decoder.array(node, key).unwrap_or_default();
    let paths = items.iter().filter_map(|item| decoder.string(item, key));
    paths.map(PathBuf::from).collect()
}
