//! The `[events]` section.

use std::net::SocketAddr;

use axiom_gateway::options::{Bodies, EventsOptions};

use super::decoder::{Decoder, did_you_mean};
use super::tree::Node;
use super::{Problem, parse_listen};

pub(crate) const KEYS: &[&str] = &["dir", "bodies", "flight_sql", "store", "retention"];

/// `None` when nothing can be recorded by what it says.
pub(super) fn decode(decoder: &mut Decoder<'_>, node: &Node) -> Option<EventsOptions> {
    let mut dir = None;
    let mut is_named = false;
    let mut bodies = Bodies::default();
    let mut flight_sql = None;
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
            "flight_sql" => flight_sql = self::flight_sql(decoder, node),
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
        flight_sql,
    })
}

/// Its clients are not asked who they are, and could read everything: so it stays on this machine.
fn flight_sql(decoder: &mut Decoder<'_>, node: &Node) -> Option<SocketAddr> {
    const KEY: &str = "events.flight_sql";
    let text = decoder.string(node, KEY)?;
    match parse_listen(&text) {
        Ok(address) if address.ip().is_loopback() => Some(address),
        Ok(_) => {
            let help =
                "clients are not asked who they are, and could read all events: write \"127.0.0.1:PORT\"";
            decoder.bad_value(
                node,
                KEY,
                "must be an address of this machine alone",
                Some(help.to_owned()),
            );
            None
        }
        Err(help) => {
            decoder.bad_value(node, KEY, "must be an address and a port", Some(help));
            None
        }
    }
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
