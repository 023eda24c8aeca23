//! The `[gateway]` section and its limits.

use std::net::SocketAddr;

use axiom_gateway::options::{Limits, Options, Prefix};
use url::Url;

use super::Problem;
use super::decoder::{Decoder, Zero, did_you_mean};
use super::tree::Node;

pub(crate) const KEYS: &[&str] = &["listen", "prefix", "allowed_hosts", "allowed_origins", "limits"];

pub(super) fn decode(decoder: &mut Decoder<'_>, node: &Node, options: &mut Options) {
    for entry in decoder.table(node, "`gateway`") {
        let node = &entry.node;
        match entry.key.as_str() {
            "listen" => options.listen = listen(decoder, node).unwrap_or(options.listen),
            "prefix" => options.prefix = prefix(decoder, node).unwrap_or(options.prefix),
            "allowed_hosts" => options.allowed_hosts = allowed_hosts(decoder, node),
            "allowed_origins" => options.allowed_origins = allowed_origins(decoder, node),
            "limits" => limits(decoder, node, &mut options.limits),
            _ => decoder.unknown_key(entry, "`gateway`", KEYS),
        }
    }
}

/// Understands an address as `--listen` and the file write it; `localhost` is 127.0.0.1.
///
/// # Errors
/// What to write instead.
pub fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let numeric = match text.strip_prefix("localhost:") {
        Some(port) => format!("127.0.0.1:{port}"),
        None => text.to_owned(),
    };
    numeric.parse().map_err(|_| {
        "write an address and a port, like \"127.0.0.1:3000\"; port 0 picks a free one".to_owned()
    })
}

fn listen(decoder: &mut Decoder<'_>, node: &Node) -> Option<SocketAddr> {
    let text = decoder.string(node, "gateway.listen")?;
    match parse_listen(&text) {
        Ok(address) => {
            if !address.ip().is_loopback() {
                let message = format!("`gateway.listen` opens {address} to other machines");
                let help = "clients are not asked who they are: keep to 127.0.0.1, or put a guard in front";
                decoder.report(Problem::warning(&node.span, message, "not a loopback address").help(help));
            }
            Some(address)
        }
        Err(help) => {
            decoder.bad_value(
                node,
                "gateway.listen",
                "must be an address and a port",
                Some(help),
            );
            None
        }
    }
}

fn prefix(decoder: &mut Decoder<'_>, node: &Node) -> Option<Prefix> {
    const WORDS: &[&str] = &["always", "conflict", "never"];
    match decoder.plain(node, "gateway.prefix")? {
        "always" => Some(Prefix::Always),
        "conflict" => Some(Prefix::Conflict),
        "never" => Some(Prefix::Never),
        other => {
            let help = did_you_mean(other, WORDS);
            decoder.bad_value(
                node,
                "gateway.prefix",
                "must be `always`, `conflict` or `never`",
                help,
            );
            None
        }
    }
}

fn allowed_hosts(decoder: &mut Decoder<'_>, node: &Node) -> Vec<String> {
    let mut hosts = Vec::new();
    for (text, node) in decoder.plain_list(node, "gateway.allowed_hosts") {
        match url::Host::parse(text) {
            Ok(host) => hosts.push(host.to_string()),
            Err(_) => {
                let help = "write names without scheme and port, like \"mcp.example.com\"".to_owned();
                decoder.bad_value(node, "gateway.allowed_hosts", "must hold host names", Some(help));
            }
        }
    }
    hosts
}

fn allowed_origins(decoder: &mut Decoder<'_>, node: &Node) -> Vec<String> {
    let mut origins = Vec::new();
    for (text, node) in decoder.plain_list(node, "gateway.allowed_origins") {
        // The form that a browser sends: lower case, no default port, no path.
        match Url::parse(text)
            .ok()
            .filter(|url| url.has_host() && url.path() == "/" && url.query().is_none())
        {
            Some(url) => {
                let origin = url.origin();
                let tuple = origin.is_tuple().then(|| origin.ascii_serialization());
                origins.push(tuple.unwrap_or_else(|| text.trim_end_matches('/').to_owned()));
            }
            None => {
                let help = "write scheme and host, like \"https://app.example.com\"".to_owned();
                decoder.bad_value(node, "gateway.allowed_origins", "must hold origins", Some(help));
            }
        }
    }
    origins
}

pub(crate) const LIMIT_KEYS: &[&str] = &[
    "connections_max",
    "message_bytes_max",
    "upstream_message_bytes_max",
    "depth_max",
    "replay_bytes_max",
    "replay_ttl",
    "session_ttl",
    "parked_max",
    "parked_ttl",
    "request_timeout",
    "drain_timeout",
];

/// Nesting deeper than this is no message any more, and costs memory per level.
const DEPTH_MAX: usize = 4_096;
/// Twice the file descriptors that Linux grants a process by default at most.
const CONNECTIONS_MAX: usize = 1 << 20;

/// Each holds a connection to its server, or a place on one.
const PARKED_MAX: usize = 1 << 20;

fn limits(decoder: &mut Decoder<'_>, node: &Node, limits: &mut Limits) {
    for entry in decoder.table(node, "`gateway.limits`") {
        let node = &entry.node;
        let key = format!("gateway.limits.{}", entry.key);
        let key = key.as_str();
        match entry.key.as_str() {
            "connections_max" => set(
                &mut limits.connections_max,
                decoder.count(node, key, CONNECTIONS_MAX),
            ),
            "message_bytes_max" => set(&mut limits.message_bytes_max, decoder.bytes(node, key)),
            "upstream_message_bytes_max" => {
                set(&mut limits.upstream_message_bytes_max, decoder.bytes(node, key));
            }
            "depth_max" => {
                let depth = decoder.count(node, key, DEPTH_MAX);
                set(
                    &mut limits.depth_max,
                    depth.and_then(|depth| u16::try_from(depth).ok()),
                );
            }
            "replay_bytes_max" => set(&mut limits.replay_bytes_max, decoder.bytes(node, key)),
            "replay_ttl" => set(&mut limits.replay_ttl, decoder.duration(node, key, Zero::Allowed)),
            "session_ttl" => set(
                &mut limits.session_ttl,
                decoder.duration(node, key, Zero::Refused),
            ),
            "parked_max" => set(&mut limits.parked_max, decoder.count(node, key, PARKED_MAX)),
            "parked_ttl" => set(&mut limits.parked_ttl, decoder.duration(node, key, Zero::Refused)),
            "request_timeout" => set(
                &mut limits.request_timeout,
                decoder.duration(node, key, Zero::Refused),
            ),
            "drain_timeout" => set(
                &mut limits.drain_timeout,
                decoder.duration(node, key, Zero::Allowed),
            ),
            _ => decoder.unknown_key(entry, "`gateway.limits`", LIMIT_KEYS),
        }
    }
}

/// Keeps the default when the value was refused.
pub(super) fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}
