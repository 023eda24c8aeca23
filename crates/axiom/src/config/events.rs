//! The `[events]` section.

use axiom_gateway::options::{Bodies, EventsOptions};

use super::Problem;
use super::decoder::{Decoder, did_you_mean};
use super::tree::Node;

pub(crate) const KEYS: &[&str] = &["dir", "bodies", "store", "retention"];

/// `None` when nothing can be recorded by what it says.
pub(super) fn decode(decoder: &mut Decoder<'_>, node: &Node) -> Option<EventsOptions> {
    let mut dir = None;
    let mut is_named = false;
    let mut bodies = Bodies::default();
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
            // Read where the tiers are.
            "store" | "retention" => {}
            "bodies" => bodies = self::bodies(decoder, node).unwrap_or(bodies),
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
    })
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
