//! The configuration file: one typed file, `axiom.toml` or `axiom.json` with the same keys, or a client's `.mcp.json`.
//!
//! Text becomes a tree with positions (`toml`, `json`), the tree becomes options (`decoder` and its sections), and every
//! problem found on the way is kept with its place, so that a person sees all of them at once (`problem`).

pub mod problem;
pub mod tree;

mod json;
mod toml;

mod expand;
pub(crate) mod units;

mod decoder;
mod endpoint;
mod events;
mod gateway;
mod keys;
mod servers;
#[cfg(target_os = "linux")]
mod tasks;
mod tiers;
mod views;

#[cfg(target_os = "linux")]
mod agents;
#[cfg(target_os = "linux")]
pub(crate) mod pools;
#[cfg(target_os = "linux")]
mod rules;

mod address;

pub mod load;
pub mod schema;

use axiom_gateway::options::{Options, Secrets};

pub use address::listen_of;
#[cfg(target_os = "linux")]
pub use agents::{Agent, Agents};
pub(crate) use decoder::did_you_mean;
pub use gateway::parse_listen;
pub use keys::KeyFile;
#[cfg(target_os = "linux")]
pub use pools::{Kind as PoolKind, Pool};
pub use problem::{Look, Problem, render};
#[cfg(target_os = "linux")]
pub(crate) use servers::name_rule;
#[cfg(target_os = "linux")]
pub use tasks::Tasks;
pub use tiers::Tiers;

#[cfg(target_os = "linux")]
use crate::tasks_server;
use crate::{events_server, import};
use decoder::Decoder;
use tree::Node;

/// How the text of a configuration is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Toml,
    /// JSON with comments and trailing commas.
    Json,
}

/// A configuration that can be used.
#[derive(Debug, Clone)]
pub struct Config {
    pub options: Options,
    /// Servers that are configured and switched off with `disabled = true`, sorted.
    pub disabled: Vec<String>,
    /// What becomes of events that are no longer hot.
    pub tiers: Tiers,
    /// Commands that clients may start; `None`: none.
    #[cfg(target_os = "linux")]
    pub tasks: Option<Box<Tasks>>,
    /// The file that `options.keys` come from. Decoding does not read it.
    pub key_file: Option<KeyFile>,
    /// How tasks are started from a profile, and what is done about them.
    pub agents: Agents,
}

/// Tasks are processes of Linux: elsewhere their sections are passed over.
#[cfg(not(target_os = "linux"))]
#[derive(Debug, Clone, Default)]
pub struct Agents;

/// What came out of a text.
#[derive(Debug)]
pub struct Decoded {
    /// `None` when a problem is an error.
    pub config: Option<Config>,
    /// Errors and warnings, in no particular order.
    pub problems: Vec<Problem>,
}

/// Where `${env:NAME}` looks names up. A function, so that decoding stays pure.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Reads a configuration. Pure: neither files nor the process environment are touched, and no text makes it panic.
///
/// A text whose top level has `mcpServers` is a client's file and is translated as `axiom import` would.
pub fn decode(text: &str, format: Format, environment: Environment<'_>) -> Decoded {
    let parsed = match format {
        Format::Toml => toml::parse(text),
        Format::Json => json::parse(text).map(|root| (root, Vec::new())),
    };
    let (root, duplicates) = match parsed {
        Ok(parsed) => parsed,
        Err(problem) => {
            return Decoded {
                config: None,
                problems: vec![problem],
            };
        }
    };
    let mut decoder = Decoder::new(text, environment);
    duplicates.into_iter().for_each(|problem| decoder.report(problem));
    let config = match import::as_config(&root) {
        Some(translated) => top(&mut decoder, &translated),
        None => top(&mut decoder, &root),
    };
    let problems = decoder.into_problems();
    let usable = !problems.iter().any(Problem::is_error);
    Decoded {
        config: usable.then_some(config),
        problems,
    }
}

/// Text to tree.
///
/// # Errors
/// The first syntax error; in TOML a key that is set twice is one.
pub fn parse(text: &str, format: Format) -> Result<Node, Problem> {
    match format {
        Format::Toml => match toml::parse(text)? {
            (root, duplicates) if duplicates.is_empty() => Ok(root),
            (_, mut duplicates) => Err(duplicates.swap_remove(0)),
        },
        Format::Json => json::parse(text),
    }
}

/// Whether a server or a view may be called this.
pub fn is_server_name(name: &str) -> bool {
    servers::name_rule(name).is_ok()
}

/// Whether a shell could export this name.
pub fn is_variable_name(name: &str) -> bool {
    expand::is_name(name)
}

/// The keys of the file's top level.
pub(crate) const TOP_KEYS: &[&str] = &[
    "gateway", "servers", "views", "events", "tasks", "agents", "rules", "$schema",
];

fn top(decoder: &mut Decoder<'_>, root: &Node) -> Config {
    let mut options = Options::default();
    let mut disabled = Vec::new();
    let mut key_file = None;
    let mut tiers = Tiers::default();
    #[cfg_attr(
        not(target_os = "linux"),
        allow(unused_mut, reason = "nothing is read into it")
    )]
    let mut agents = Agents::default();
    #[cfg(target_os = "linux")]
    let mut tasks = None;
    for entry in decoder.table(root, "the file") {
        match entry.key.as_str() {
            "gateway" => gateway::decode(decoder, &entry.node, &mut options, &mut key_file),
            "servers" => servers::decode(decoder, &entry.node, &mut options, &mut disabled),
            "views" => views::decode(decoder, &entry.node, &mut options),
            "events" => {
                options.events = events::decode(decoder, &entry.node);
                tiers = tiers::decode(decoder, &entry.node);
            }
            #[cfg(target_os = "linux")]
            "agents" => agents.profiles = agents::decode(decoder, &entry.node),
            #[cfg(target_os = "linux")]
            "rules" => agents.rules = rules::decode(decoder, &entry.node, root.get("agents")),
            #[cfg(not(target_os = "linux"))]
            "agents" | "rules" => {}
            #[cfg(target_os = "linux")]
            "tasks" => tasks = tasks::decode(decoder, &entry.node).map(Box::new),
            #[cfg(not(target_os = "linux"))]
            "tasks" => {
                let problem = Problem::error(&entry.key_span, "`tasks` is for Linux", "not on this system");
                decoder.report(problem.help("take the section out"));
            }
            // For editors; means nothing to us.
            "$schema" => {}
            _ => decoder.unknown_key(entry, "the file", TOP_KEYS),
        }
    }
    disabled.sort();
    let reads_events = options.events.as_ref().is_some_and(|events| events.mcp);
    if reads_events {
        events::check_name(decoder, root.get("servers"));
    }
    let mut builtin: Vec<&str> = Vec::new();
    builtin.extend(reads_events.then_some(events_server::NAME));
    #[cfg(target_os = "linux")]
    if let Some(tasks) = &tasks {
        tasks::check_reach(decoder, root, tasks, options.listen.ip().is_loopback());
        if tasks.mcp {
            tasks::check_name(decoder, root.get("servers"));
            builtin.push(tasks_server::NAME);
        }
    }
    // Views may stand before servers in the file, so their patterns are checked at the end.
    if let Some(node) = root.get("views") {
        views::check_servers(decoder, node, root.get("servers"), &builtin);
    }
    options.from_environment = Secrets(decoder.take_filled_in());
    Config {
        options,
        disabled,
        tiers,
        #[cfg(target_os = "linux")]
        tasks,
        key_file,
        agents,
    }
}

#[cfg(test)]
mod tests;
