//! The `[agents.NAME]` sections: how a coding agent is started, and how it is spoken to. With them, in `rules`, what is done about
//! tasks without a person.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axiom_runtime::agent::{Answer, Approve, Interrupt, Profile, PromptBy};
use axiom_runtime::pattern::Pattern;
use axiom_runtime::rules::Rules;
use axiom_sandbox::limits::Limits;
use axiom_sandbox::spec::{Executor, Grants, Network};

use super::Problem;
use super::decoder::{Decoder, Zero, did_you_mean};
use super::endpoint::{command_line, environment};
use super::gateway::set;
use super::servers::check_name;
use super::tree::{Entry, Node, Value};
use crate::cli::parse_cpus;

/// Agents by their names, and the rules about tasks.
#[derive(Debug, Clone, Default)]
pub struct Agents {
    pub profiles: BTreeMap<String, Agent>,
    pub rules: Rules,
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Agent {
    pub command: Vec<String>,
    /// Besides what is inherited.
    pub env: BTreeMap<String, String>,
    pub executor: Executor,
    pub limits: Limits,
    pub grants: Grants,
    pub profile: Arc<Profile>,
}

pub(crate) const KEYS: &[&str] = &[
    "command",
    "env",
    "prompt",
    "bracketed_paste",
    "ready",
    "working",
    "idle",
    "idle_after",
    "approve",
    "interrupt",
    "exit",
    "start_timeout",
    "work_timeout",
    "ask_timeout",
    "idle_timeout",
    "interrupt_timeout",
    "exit_timeout",
    "executor",
    "limits",
    "network",
    "read",
    "write",
];

pub(crate) const APPROVE_KEYS: &[&str] = &["pattern", "answer", "yes", "no"];

pub(crate) const LIMIT_KEYS: &[&str] = &["wall", "output", "memory", "cpu", "pids", "files"];

/// Signals that a program may take for an interruption.
const SIGNALS: &[(&str, i32)] = &[
    ("SIGHUP", 1),
    ("SIGINT", 2),
    ("SIGQUIT", 3),
    ("SIGUSR1", 10),
    ("SIGUSR2", 12),
    ("SIGTERM", 15),
];

/// More processes or files than a machine can have.
const COUNT_MAX: usize = 1 << 22;

impl Agents {
    /// Relative paths are taken from where the file stands.
    pub(super) fn anchor(&mut self, folder: &Path) {
        for agent in self.profiles.values_mut() {
            for path in agent.grants.read.iter_mut().chain(&mut agent.grants.write) {
                *path = folder.join(&path);
            }
        }
    }
}

pub(super) fn decode(decoder: &mut Decoder<'_>, node: &Node) -> BTreeMap<String, Agent> {
    let mut agents = BTreeMap::new();
    for entry in decoder.table(node, "`agents`") {
        check_name(decoder, entry, "agent");
        if let Some(agent) = agent(decoder, entry) {
            agents.insert(entry.key.clone(), agent);
        }
    }
    agents
}

/// `None` if it could not be started.
fn agent(decoder: &mut Decoder<'_>, section: &Entry) -> Option<Agent> {
    let path = format!("agents.{}", section.key);
    let place = format!("`{path}`");
    let mut agent = Agent {
        command: Vec::new(),
        env: BTreeMap::new(),
        executor: Executor::Process,
        limits: Limits::default(),
        grants: Grants::default(),
        profile: Arc::default(),
    };
    let mut profile = Profile::default();
    let mut is_bracketed = None;
    if section.node.get("prompt").and_then(Node::as_str) == Some("stdin") {
        // A key is nothing to a program without a terminal.
        profile.interrupt = Interrupt::Signal(2);
    }
    for entry in decoder.table(&section.node, &place) {
        let node = &entry.node;
        let key = format!("{path}.{}", entry.key);
        let key = key.as_str();
        let times = &mut profile.times;
        match entry.key.as_str() {
            "command" => set(&mut agent.command, command_line(decoder, key, node)),
            "env" => set(&mut agent.env, environment(decoder, &path, entry)),
            "prompt" => set(&mut profile.prompt, prompt(decoder, node, key)),
            "bracketed_paste" => is_bracketed = decoder.boolean(node, key).map(|is_one| (is_one, node)),
            "ready" => profile.ready = pattern(decoder, node, key),
            "working" => profile.working = pattern(decoder, node, key),
            "idle" => profile.idle = pattern(decoder, node, key),
            "idle_after" => profile.idle_after = decoder.duration(node, key, Zero::Refused),
            "approve" => profile.approve = approve(decoder, node, key),
            "interrupt" => set(&mut profile.interrupt, interrupt(decoder, node, key)),
            "exit" => profile.exit = decoder.plain(node, key).map(str::to_owned),
            "start_timeout" => set(&mut times.start, decoder.duration(node, key, Zero::Refused)),
            "work_timeout" => times.work = decoder.duration(node, key, Zero::Refused),
            "ask_timeout" => set(&mut times.ask, decoder.duration(node, key, Zero::Refused)),
            "idle_timeout" => set(&mut times.idle, decoder.duration(node, key, Zero::Allowed)),
            "interrupt_timeout" => set(&mut times.interrupt, decoder.duration(node, key, Zero::Refused)),
            "exit_timeout" => set(&mut times.exit, decoder.duration(node, key, Zero::Refused)),
            "executor" => set(&mut agent.executor, executor(decoder, node, key)),
            "limits" => agent.limits = limits(decoder, node, key),
            "network" => set(&mut agent.grants.network, network(decoder, node, key)),
            "read" => agent.grants.read = paths(decoder, node, key),
            "write" => agent.grants.write = paths(decoder, node, key),
            _ => decoder.unknown_key(entry, &place, KEYS),
        }
    }
    if let Some((is_one, node)) = is_bracketed {
        match &mut profile.prompt {
            PromptBy::Typed { is_bracketed } => *is_bracketed = is_one,
            _ => {
                let help = "it says how a prompt is typed: prompt = \"typed\"".to_owned();
                decoder.bad_value(
                    node,
                    &format!("{path}.bracketed_paste"),
                    "means nothing here",
                    Some(help),
                );
            }
        }
    }
    if !section.node.is_table() {
        return None;
    }
    if section.node.get("command").is_none() {
        let message = format!("`{path}` does not say how it is started");
        let help = "add command = [\"program\", \"argument\"]";
        decoder.report(Problem::error(&section.key_span, message, "no `command`").help(help));
    }
    if let Err(bad) = profile.check() {
        let at = section
            .node
            .get(bad.field)
            .map_or(&section.key_span, |node| &node.span);
        let message = format!("`{path}.{}` {}", bad.field, bad.problem);
        decoder.report(Problem::error(at, message, "in this agent").help(bad.hint));
    }
    if agent.executor == Executor::Process && agent.grants != Grants::default() {
        let message = format!("`{path}` opens a sandbox and has none");
        let help = "add executor = \"sandbox\", or take out `network`, `read` and `write`";
        decoder.report(Problem::error(&section.key_span, message, "executor is \"process\"").help(help));
    }
    agent.profile = Arc::new(profile);
    Some(agent)
}

/// A regular expression, as it stands.
pub(super) fn pattern(decoder: &mut Decoder<'_>, node: &Node, key: &str) -> Option<Pattern> {
    match Pattern::new(decoder.plain(node, key)?) {
        Ok(pattern) => Some(pattern),
        Err(bad) => {
            decoder.bad_value(node, key, &bad.problem, Some(bad.hint));
            None
        }
    }
}

/// One of a few words.
pub(super) fn word<T: Clone>(
    decoder: &mut Decoder<'_>,
    node: &Node,
    key: &str,
    words: &[(&str, T)],
) -> Option<T> {
    let text = decoder.plain(node, key)?;
    let found = words.iter().find(|(word, _)| *word == text);
    if found.is_none() {
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        let complaint = format!("must be one of {}", super::decoder::list(&known));
        decoder.bad_value(node, key, &complaint, did_you_mean(text, &known));
    }
    found.map(|(_, value)| value.clone())
}

fn prompt(decoder: &mut Decoder<'_>, node: &Node, key: &str) -> Option<PromptBy> {
    let words = [
        ("argument", PromptBy::Argument),
        ("stdin", PromptBy::Stdin),
        ("typed", PromptBy::Typed { is_bracketed: false }),
    ];
    word(decoder, node, key, &words)
}

fn executor(decoder: &mut Decoder<'_>, node: &Node, key: &str) -> Option<Executor> {
    let words = [Executor::Process, Executor::Sandbox].map(|executor| (executor.name(), executor));
    word(decoder, node, key, &words)
}

pub(super) fn network(decoder: &mut Decoder<'_>, node: &Node, key: &str) -> Option<Network> {
    let words = [
        ("none", Network::None),
        ("loopback", Network::Loopback),
        ("host", Network::Host),
    ];
    word(decoder, node, key, &words)
}

fn paths(decoder: &mut Decoder<'_>, node: &Node, key: &str) -> Vec<PathBuf> {
    let items = decoder.array(node, key).unwrap_or_default();
    let paths = items.iter().filter_map(|item| decoder.string(item, key));
    paths.map(PathBuf::from).collect()
}

fn interrupt(decoder: &mut Decoder<'_>, node: &Node, key: &str) -> Option<Interrupt> {
    let text = decoder.plain(node, key)?;
    if text.is_empty() {
        let help = "write a key like \"\\u001b\", which is Escape, or a signal like \"SIGINT\"".to_owned();
        decoder.bad_value(node, key, "is empty", Some(help));
        return None;
    }
    if text.starts_with("SIG") {
        return word(decoder, node, key, SIGNALS).map(Interrupt::Signal);
    }
    Some(Interrupt::Type(text.to_owned()))
}

fn approve(decoder: &mut Decoder<'_>, node: &Node, key: &str) -> Vec<Approve> {
    let items = decoder.array(node, key).unwrap_or_default();
    items
        .iter()
        .filter_map(|item| question(decoder, item, key))
        .collect()
}

fn question(decoder: &mut Decoder<'_>, node: &Node, key: &str) -> Option<Approve> {
    let (mut found, mut answer) = (None, None);
    let (mut yes, mut no) = ("y\r".to_owned(), "n\r".to_owned());
    for entry in decoder.table(node, &format!("`{key}`")) {
        let node = &entry.node;
        let key = format!("{key}.{}", entry.key);
        let key = key.as_str();
        match entry.key.as_str() {
            "pattern" => found = pattern(decoder, node, key),
            "answer" => {
                answer = decoder.plain(node, key).map(|text| match text {
                    "ask" => Answer::Ask,
                    "deny" => Answer::Deny,
                    text => Answer::Type(text.to_owned()),
                });
            }
            "yes" => set(&mut yes, decoder.plain(node, key).map(str::to_owned)),
            "no" => set(&mut no, decoder.plain(node, key).map(str::to_owned)),
            _ => decoder.unknown_key(entry, &format!("`{key}`"), APPROVE_KEYS),
        }
    }
    for needed in ["pattern", "answer"] {
        if node.is_table() && node.get(needed).is_none() {
            let help = "a question is { pattern = \"(y/n)\", answer = \"ask\" }, where the answer is \"ask\", \"deny\" or what is typed";
            let message = format!("`{key}` has a question without `{needed}`");
            decoder.report(Problem::error(&node.span, message, "this question").help(help));
        }
    }
    Some(Approve {
        pattern: found?,
        answer: answer?,
        yes,
        no,
    })
}

fn limits(decoder: &mut Decoder<'_>, node: &Node, key: &str) -> Limits {
    let mut limits = Limits::default();
    let place = format!("`{key}`");
    for entry in decoder.table(node, &place) {
        let node = &entry.node;
        let key = format!("{key}.{}", entry.key);
        let key = key.as_str();
        let mut count = || {
            let count = decoder.count(node, key, COUNT_MAX)?;
            u32::try_from(count).ok()
        };
        match entry.key.as_str() {
            "pids" => limits.pids = count(),
            "files" => limits.open_files = count(),
            "wall" => limits.wall = decoder.duration(node, key, Zero::Refused),
            "output" => limits.output_bytes = decoder.bytes(node, key).map(|bytes| bytes as u64),
            "memory" => limits.memory_bytes = decoder.bytes(node, key).map(|bytes| bytes as u64),
            "cpu" => limits.cpu_millis = cpus(decoder, node, key),
            _ => decoder.unknown_key(entry, &place, LIMIT_KEYS),
        }
    }
    limits
}

fn cpus(decoder: &mut Decoder<'_>, node: &Node, key: &str) -> Option<u32> {
    let text = match &node.value {
        Value::Integer(number) => number.to_string(),
        Value::Number(text) | Value::String(text) => text.clone(),
        _ => String::new(),
    };
    match parse_cpus(&text) {
        Ok(millis @ 1..) => Some(millis),
        _ => {
            let help = "write how many, with three decimals at most: cpu = 1.5".to_owned();
            decoder.bad_value(node, key, "must be a number of CPUs", Some(help));
            None
        }
    }
}
