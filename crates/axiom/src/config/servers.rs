//! The `[servers.NAME]` sections: where a server is, and its times and bounds.

use std::collections::BTreeMap;

use axiom_gateway::options::{Endpoint, Options, ServerOptions};

use super::Problem;
use super::decoder::{Decoder, Zero};
use super::endpoint::{self, Section};
use super::gateway::set;
use super::tree::{Entry, Node};

pub(crate) const KEYS: &[&str] = &[
    "command",
    "env",
    "cwd",
    "url",
    "transport",
    "headers",
    "start_timeout",
    "call_timeout",
    "idle_timeout",
    "links_max",
    "list_ttl",
    "trust_annotations",
    "disabled",
];

pub(super) fn decode(
    decoder: &mut Decoder<'_>,
    node: &Node,
    options: &mut Options,
    disabled: &mut Vec<String>,
) {
    for entry in decoder.table(node, "`servers`") {
        check_name(decoder, entry, "server");
        let (server, is_disabled) = server(decoder, entry);
        match server {
            _ if is_disabled => disabled.push(entry.key.clone()),
            Some(server) => {
                options.servers.insert(entry.key.clone(), server);
            }
            // Its error is reported.
            None => {}
        }
    }
}

/// Names become parts of tool names and paths, so their alphabet is small.
pub(super) fn check_name(decoder: &mut Decoder<'_>, entry: &Entry, what: &str) {
    if let Err(rule) = name_rule(&entry.key) {
        let message = format!("`{}` cannot be the name of a {what}", entry.key);
        let mut problem = Problem::error(&entry.key_span, message, rule);
        problem.help = Some("a name has 1 to 32 letters, digits, `_` and `-`, and no `__`".to_owned());
        decoder.report(problem);
    }
}

/// # Errors
/// The rule that `name` breaks.
pub(crate) fn name_rule(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("the name is empty"),
        _ if name.len() > 32 => Err("longer than 32 characters"),
        _ if !name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') =>
        {
            Err("only letters, digits, `_` and `-`")
        }
        // `server__tool` must have one reading.
        _ if name.contains("__") => Err("`__` separates server and tool"),
        _ => Ok(()),
    }
}

/// One server, and whether it is switched off. A section with an error has no server.
fn server(decoder: &mut Decoder<'_>, entry: &Entry) -> (Option<ServerOptions>, bool) {
    let path = format!("servers.{}", entry.key);
    let place = format!("`{path}`");
    // The endpoint comes last: which parts it needs is known only when all keys were seen.
    let mut server = ServerOptions::new(Endpoint::Stdio {
        command: Vec::new(),
        env: BTreeMap::new(),
        cwd: None,
    });
    let mut section = Section::default();
    let mut disabled = false;
    if !entry.node.is_table() {
        decoder.wrong_type(&entry.node, &format!("{place} must be a table"));
        return (None, false);
    }
    for entry in decoder.table(&entry.node, &place) {
        let node = &entry.node;
        let key = format!("{path}.{}", entry.key);
        let key = key.as_str();
        match entry.key.as_str() {
            "command" => section.command = Some(entry),
            "env" => section.env = Some(entry),
            "cwd" => section.cwd = Some(entry),
            "url" => section.url = Some(entry),
            "transport" => section.transport = Some(entry),
            "headers" => section.headers = Some(entry),
            "start_timeout" => set(
                &mut server.start_timeout,
                decoder.duration(node, key, Zero::Refused),
            ),
            "call_timeout" => set(
                &mut server.call_timeout,
                decoder.duration(node, key, Zero::Refused),
            ),
            "idle_timeout" => set(
                &mut server.idle_timeout,
                decoder.duration(node, key, Zero::Refused),
            ),
            "links_max" => set(&mut server.links_max, decoder.count(node, key, LINKS_MAX)),
            "list_ttl" => set(&mut server.list_ttl, decoder.duration(node, key, Zero::Allowed)),
            "trust_annotations" => set(&mut server.trust_annotations, decoder.boolean(node, key)),
            "disabled" => disabled = decoder.boolean(node, key).unwrap_or(false),
            _ => decoder.unknown_key(entry, &place, KEYS),
        }
    }
    let endpoint = endpoint::decode(decoder, entry, &section);
    (
        endpoint.map(|endpoint| ServerOptions { endpoint, ..server }),
        disabled,
    )
}

/// Processes or connections to one server; more than a machine can have.
const LINKS_MAX: usize = 65_536;
