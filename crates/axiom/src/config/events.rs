//! The `[events]` section.

use axiom_gateway::options::{BODY_BYTES_LIMIT, BODY_BYTES_MAX, Bodies, EventsOptions};

use super::Problem;
use super::decoder::{Decoder, did_you_mean};
use super::gateway::set;
use super::tree::Node;
use crate::events_server::NAME;

pub(crate) const KEYS: &[&str] = &["dir", "bodies", "body_bytes_max", "mcp"];

/// `None` when nothing can be recorded by what it says.
pub(super) fn decode(decoder: &mut Decoder<'_>, node: &Node) -> Option<EventsOptions> {
    let mut dir = None;
    let mut is_named = false;
    let mut bodies = Bodies::default();
    let mut body_bytes_max = BODY_BYTES_MAX;
    let mut mcp = false;
    for entry in decoder.table(node, "`events`") {
        let node = &entry.node;
        match entry.key.as_str() {
            "dir" => {
                is_named = true;
                dir = decoder.string(node, "events.dir").filter(|dir| !dir.is_empty());
                if dir.is_none() && node.as_str().is_some() {
                    decoder.bad_value(node, "events.dir", "must be the path of a folder", None);
                }
            }
            "bodies" => bodies = self::bodies(decoder, node).unwrap_or(bodies),
            "body_bytes_max" => set(&mut body_bytes_max, self::body_bytes_max(decoder, node)),
            "mcp" => set(&mut mcp, decoder.boolean(node, "events.mcp")),
            _ => decoder.unknown_key(entry, "`events`", KEYS),
        }
    }
    if !is_named {
        let problem = Problem::error(
            &node.span,
            "`events` needs `dir`",
            "nothing says where events are kept",
        );
        decoder.report(problem.help("name a folder, like dir = \"events\"; it is made if it is not there"));
    }
    Some(EventsOptions {
        dir: dir?.into(),
        bodies,
        body_bytes_max,
        mcp,
    })
}

/// The built-in server has its name for itself.
pub(super) fn check_name(decoder: &mut Decoder<'_>, servers: Option<&Node>) {
    let entries = servers.map(Node::entries).unwrap_or_default();
    if let Some(entry) = entries.iter().find(|entry| entry.key == NAME) {
        let message = format!("`servers.{NAME}` has the name of the server that `events.mcp` adds");
        let problem = Problem::error(&entry.key_span, message, "taken");
        decoder.report(problem.help("give it another name, or take `mcp` out of [events]"));
    }
}

fn body_bytes_max(decoder: &mut Decoder<'_>, node: &Node) -> Option<usize> {
    let key = "events.body_bytes_max";
    let bytes = decoder.bytes(node, key)?;
    if bytes > BODY_BYTES_LIMIT {
        decoder.bad_value(node, key, "must be at most 2MiB", None);
        return None;
    }
    Some(bytes)
}

fn bodies(decoder: &mut Decoder<'_>, node: &Node) -> Option<Bodies> {
    match decoder.plain(node, "events.bodies")? {
        "off" => Some(Bodies::Off),
        "redacted" => Some(Bodies::Redacted),
        "full" => Some(Bodies::Full),
        other => {
            let help = did_you_mean(other, &["off", "redacted", "full"]);
            decoder.bad_value(node, "events.bodies", "must be `off`, `redacted` or `full`", help);
            None
        }
    }
}
