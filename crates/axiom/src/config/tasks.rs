//! The `[tasks]` section: commands that clients may start, and what bounds them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axiom_sandbox::limits::Limits;
use axiom_sandbox::spec::{Executor, Oci};

use super::decoder::{Decoder, Zero, did_you_mean};
use super::gateway::set;
use super::pools::{self, Pool};
use super::tree::{Node, Value};
use super::{Problem, is_variable_name};
use crate::tasks_server::NAME;

pub(crate) const KEYS: &[&str] = &[
    "dir",
    "executor",
    "limits",
    "limits_max",
    "oci",
    "pools",
    "memory",
    "running_max",
    "queued_max",
    "keep",
    "keep_tasks",
    "record",
    "roots",
    "env",
    "mcp",
    "share",
    "warm",
];
pub(crate) const LIMIT_KEYS: &[&str] = &[
    "memory", "cpu", "pids", "wall", "output", "files", "disk", "disk_io",
];

/// As many as the multiplexer has writers for.
const RUNNING_MAX: usize = 4096;
const QUEUED_MAX: usize = 1_000_000;
const KEEP_TASKS_MAX: usize = 1_000_000;
/// More would be made in a row of pauses, and be in the way of the tasks.
const WARM_MAX: usize = 64;
/// What a program needs to be found and to speak its user's language; nothing of it is a secret.
pub(crate) const ENV: &[&str] = &["PATH", "HOME", "USER", "LOGNAME", "LANG", "LC_ALL", "TZ", "TERM"];

/// What `[tasks]` says.
#[derive(Debug, Clone, PartialEq)]
pub struct Tasks {
    /// Where tasks are kept.
    pub dir: PathBuf,
    /// What keeps a task apart that asks for nothing else.
    pub executor: Executor,
    /// What runs containers. `None`: no task can have one, unless all have.
    pub oci: Option<Oci>,
    /// What has started already, by the names that tasks ask for.
    pub pools: BTreeMap<String, Pool>,
    /// Of every task that asks for no others. `None`: nobody has said anything, and the machine's size decides.
    pub limits: Option<Limits>,
    /// What no task's limits may lie above.
    pub limits_max: Limits,
    /// Of all tasks that run, together. `None`: four fifths of what the machine has.
    pub memory_bytes: Option<u64>,
    pub running_max: usize,
    pub queued_max: usize,
    /// How long a task that has ended is kept, and how many of them.
    pub keep: Duration,
    pub keep_tasks: usize,
    /// Whether what tasks say is recorded, or only what happens to them.
    pub records_lines: bool,
    /// Folders in which tasks may work, and of which they may be granted something. Empty: the configuration file's.
    pub roots: Vec<PathBuf>,
    /// Variables of the gateway's own environment that tasks get.
    pub env: Vec<String>,
    pub mcp: bool,
    pub share: bool,
    /// Sandboxes that stand before they are wanted, at most.
    pub warm: usize,
}

impl Tasks {
    fn new(dir: PathBuf) -> Tasks {
        Tasks {
            dir,
            executor: Executor::Sandbox,
            oci: None,
            pools: BTreeMap::new(),
            limits: None,
            limits_max: Limits::default(),
            memory_bytes: None,
            running_max: 256,
            queued_max: 10_000,
            keep: Duration::from_secs(7 * 24 * 3600),
            keep_tasks: 10_000,
            records_lines: true,
            roots: Vec::new(),
            env: ENV.iter().map(|name| (*name).to_owned()).collect(),
            mcp: true,
            share: false,
            warm: 0,
        }
    }

    /// Takes relative paths from the folder of the configuration file.
    pub(super) fn anchor(&mut self, folder: &Path) {
        self.dir = folder.join(&self.dir);
        if self.roots.is_empty() {
            self.roots.push(PathBuf::from("."));
        }
        for root in &mut self.roots {
            *root = folder.join(&root);
        }
        let usual = match &mut self.executor {
            Executor::Oci(oci) => Some(oci),
            _ => None,
        };
        for root in self
            .oci
            .iter_mut()
            .chain(usual)
            .filter_map(|oci| oci.root.as_mut())
        {
            *root = folder.join(&root);
        }
        self.pools.values_mut().for_each(|pool| pool.anchor(folder));
    }
}

/// `None` when no task can be kept by what it says.
pub(super) fn decode(decoder: &mut Decoder<'_>, node: &Node) -> Option<Tasks> {
    let mut tasks = Tasks::new(PathBuf::new());
    for entry in decoder.table(node, "`tasks`") {
        let node = &entry.node;
        match entry.key.as_str() {
            "dir" => set(&mut tasks.dir, path(decoder, node, "tasks.dir")),
            "executor" => set(&mut tasks.executor, executor(decoder, node)),
            // They depend on the executor, which may stand below.
            "limits" | "limits_max" | "pools" => {}
            "oci" => tasks.oci = Some(pools::oci(decoder, node)),
            "memory" => {
                let bytes = decoder.bytes(node, "tasks.memory");
                tasks.memory_bytes = bytes.map(|bytes| bytes as u64).or(tasks.memory_bytes);
            }
            "running_max" => {
                let count = decoder.count(node, "tasks.running_max", RUNNING_MAX);
                set(&mut tasks.running_max, count);
            }
            "queued_max" => {
                let count = decoder.count(node, "tasks.queued_max", QUEUED_MAX);
                set(&mut tasks.queued_max, count);
            }
            "keep" => set(
                &mut tasks.keep,
                decoder.duration(node, "tasks.keep", Zero::Refused),
            ),
            "keep_tasks" => {
                let count = decoder.count(node, "tasks.keep_tasks", KEEP_TASKS_MAX);
                set(&mut tasks.keep_tasks, count);
            }
            "record" => set(&mut tasks.records_lines, record(decoder, node)),
            "roots" => tasks.roots = roots(decoder, node),
            "env" => tasks.env = env(decoder, node),
            "mcp" => set(&mut tasks.mcp, decoder.boolean(node, "tasks.mcp")),
            "share" => set(&mut tasks.share, decoder.boolean(node, "tasks.share")),
            "warm" => set(&mut tasks.warm, warm(decoder, node)),
            _ => decoder.unknown_key(entry, "`tasks`", KEYS),
        }
    }
    if let Executor::Oci(usual) = &mut tasks.executor {
        // Its settings may stand below.
        usual.clone_from(tasks.oci.get_or_insert_with(pools::default_oci));
    }
    if let Some(node) = node.get("pools") {
        tasks.pools = pools::decode(decoder, node, &tasks.executor);
    }
    if let Some(node) = node.get("limits") {
        let limits = tasks.limits.insert(Limits::default());
        self::limits(decoder, node, "tasks.limits", &tasks.executor, limits);
    }
    if let Some(node) = node.get("limits_max") {
        self::limits(
            decoder,
            node,
            "tasks.limits_max",
            &tasks.executor,
            &mut tasks.limits_max,
        );
    }
    if node.is_table() && node.get("dir").is_none() {
        let problem = Problem::error(
            &node.span,
            "`tasks` needs `dir`",
            "nothing says where tasks are kept",
        );
        decoder.report(problem.help("name a folder, like dir = \"tasks\"; it is made if it is not there"));
    }
    (!tasks.dir.as_os_str().is_empty()).then_some(tasks)
}

/// The built-in server has its name for itself.
pub(super) fn check_name(decoder: &mut Decoder<'_>, servers: Option<&Node>) {
    let entries = servers.map(Node::entries).unwrap_or_default();
    if let Some(entry) = entries.iter().find(|entry| entry.key == NAME) {
        let message = format!("`servers.{NAME}` has the name of the server that `tasks.mcp` adds");
        let problem = Problem::error(&entry.key_span, message, "taken");
        decoder.report(problem.help("give it another name, or write mcp = false into [tasks]"));
    }
}

/// Whoever reaches the gateway can start commands, and nobody is asked who they are.
pub(super) fn check_reach(decoder: &mut Decoder<'_>, root: &Node, tasks: &Tasks, is_loopback: bool) {
    let entry = root.entries().iter().find(|entry| entry.key == "tasks");
    let Some(entry) = entry.filter(|_| !is_loopback && !tasks.share) else {
        return;
    };
    let message = "`tasks` would let whoever reaches `gateway.listen` start commands on this machine";
    let problem = Problem::error(
        &entry.key_span,
        message,
        "for callers of this machine, unless shared",
    );
    decoder.report(
        problem.help("listen at 127.0.0.1, or write share = true into [tasks] if a guard stands in front"),
    );
}

fn path(decoder: &mut Decoder<'_>, node: &Node, key: &str) -> Option<PathBuf> {
    let text = decoder.string(node, key)?;
    if text.is_empty() {
        decoder.bad_value(node, key, "must be the path of a folder", None);
        return None;
    }
    Some(text.into())
}

fn executor(decoder: &mut Decoder<'_>, node: &Node) -> Option<Executor> {
    match decoder.plain(node, "tasks.executor")? {
        "sandbox" => Some(Executor::Sandbox),
        "process" => Some(Executor::Process),
        "oci" => Some(Executor::Oci(pools::default_oci())),
        other => {
            let help = did_you_mean(other, &["sandbox", "process", "oci"]).unwrap_or_else(|| {
                "what has started already is asked for by each task: executor = \"NAME\" of [tasks.pools.NAME]".to_owned()
            });
            decoder.bad_value(
                node,
                "tasks.executor",
                "must be `sandbox`, `process` or `oci`",
                Some(help),
            );
            None
        }
    }
}

/// None is a number, too.
fn warm(decoder: &mut Decoder<'_>, node: &Node) -> Option<usize> {
    match node.value {
        Value::Integer(0) => Some(0),
        _ => decoder.count(node, "tasks.warm", WARM_MAX),
    }
}

fn record(decoder: &mut Decoder<'_>, node: &Node) -> Option<bool> {
    match decoder.plain(node, "tasks.record")? {
        "lines" => Some(true),
        "ends" => Some(false),
        other => {
            let help = did_you_mean(other, &["lines", "ends"]);
            decoder.bad_value(node, "tasks.record", "must be `lines` or `ends`", help);
            None
        }
    }
}

fn roots(decoder: &mut Decoder<'_>, node: &Node) -> Vec<PathBuf> {
    let items = decoder.array(node, "tasks.roots").unwrap_or_default();
    if items.is_empty() && matches!(node.value, Value::Array(_)) {
        let help = "leave it out for the folder of this file";
        decoder.bad_value(node, "tasks.roots", "must name a folder", Some(help.to_owned()));
    }
    items
        .iter()
        .filter_map(|item| path(decoder, item, "tasks.roots"))
        .collect()
}

fn env(decoder: &mut Decoder<'_>, node: &Node) -> Vec<String> {
    let mut names = Vec::new();
    for (name, node) in decoder.plain_list(node, "tasks.env") {
        match is_variable_name(name) {
            true => names.push(name.to_owned()),
            false => decoder.bad_value(node, "tasks.env", "must hold names of variables", None),
        }
    }
    names
}

/// What the executor cannot keep is refused here, rather than with each task.
pub(super) fn limits(
    decoder: &mut Decoder<'_>,
    node: &Node,
    place: &str,
    executor: &Executor,
    limits: &mut Limits,
) {
    for entry in decoder.table(node, &format!("`{place}`")) {
        let (node, key) = (&entry.node, format!("{place}.{}", entry.key));
        if let Some(name) = known_as(&entry.key)
            && !executor.limits().contains(&name)
        {
            let complaint = format!("cannot be kept by the executor `{}`", executor.name());
            let help = "the executor `sandbox` keeps it; `wall` and `output` are kept by all";
            decoder.bad_value(node, &key, &complaint, Some(help.to_owned()));
            continue;
        }
        let count = |decoder: &mut Decoder<'_>, max: usize| {
            decoder
                .count(node, &key, max)
                .and_then(|count| u32::try_from(count).ok())
        };
        let bytes = |decoder: &mut Decoder<'_>| decoder.bytes(node, &key).map(|bytes| bytes as u64);
        match entry.key.as_str() {
            "memory" => limits.memory_bytes = bytes(decoder),
            "cpu" => limits.cpu_millis = cpus(decoder, node, &key),
            "pids" => limits.pids = count(decoder, 4_194_304),
            "wall" => limits.wall = decoder.duration(node, &key, Zero::Refused),
            "output" => limits.output_bytes = bytes(decoder),
            "files" => {
                limits.open_files = count(decoder, 1_048_576);
                if limits.open_files.is_some_and(|files| files < 3) {
                    decoder.bad_value(
                        node,
                        &key,
                        "must be at least 3: so many are open at the start",
                        None,
                    );
                }
            }
            "disk" => limits.disk_bytes = bytes(decoder),
            "disk_io" => limits.disk_io_bytes_s = bytes(decoder),
            _ => decoder.unknown_key(entry, &format!("`{place}`"), LIMIT_KEYS),
        }
    }
}

/// What an executor calls a limit that not all of them keep.
fn known_as(key: &str) -> Option<&'static str> {
    Some(match key {
        "memory" => "memory_bytes",
        "cpu" => "cpu_millis",
        "pids" => "pids",
        "files" => "open_files",
        "disk" => "disk_bytes",
        "disk_io" => "disk_io_bytes_s",
        _ => return None,
    })
}

/// A number of CPUs: `2` or `0.5`.
fn cpus(decoder: &mut Decoder<'_>, node: &Node, key: &str) -> Option<u32> {
    let millis = match &node.value {
        Value::Integer(number) => u32::try_from(*number)
            .ok()
            .and_then(|number| number.checked_mul(1000)),
        Value::Number(text) => crate::cli::parse_cpus(text).ok(),
        _ => None,
    };
    let millis = millis.filter(|millis| *millis > 0);
    if millis.is_none() {
        let help = "write a number like 2 or 0.5, with three decimals at most";
        decoder.bad_value(node, key, "must be a number of CPUs", Some(help.to_owned()));
    }
    millis
}
