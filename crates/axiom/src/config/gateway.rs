//! The `[gateway]` section and its limits.

use std::net::SocketAddr;

use axiom_gateway::options::{ADVERTISE_LEN_MAX, Limits, Options, Prefix};
use url::Url;

use super::decoder::{Decoder, Zero, did_you_mean};
use super::tree::Node;
use super::{KeyFile, Problem};

pub(crate) const KEYS: &[&str] = &[
    "listen",
    "prefix",
    "allowed_hosts",
    "allowed_origins",
    "key_file",
    "advertise",
    "limits",
];

pub(super) fn decode(
    decoder: &mut Decoder<'_>,
    node: &Node,
    options: &mut Options,
    key_file: &mut Option<KeyFile>,
) {
    let mut advertised = None;
    for entry in decoder.table(node, "`gateway`") {
        let node = &entry.node;
        match entry.key.as_str() {
            "listen" => options.listen = listen(decoder, node).unwrap_or(options.listen),
            "prefix" => options.prefix = prefix(decoder, node).unwrap_or(options.prefix),
            "allowed_hosts" => options.allowed_hosts = allowed_hosts(decoder, node),
            "allowed_origins" => options.allowed_origins = allowed_origins(decoder, node),
            "key_file" => *key_file = self::key_file(decoder, node),
            "advertise" => {
                options.advertise = advertise(decoder, node);
                advertised = Some(&node.span);
            }
            "limits" => limits(decoder, node, &mut options.limits),
            _ => decoder.unknown_key(entry, "`gateway`", KEYS),
        }
    }
    if let (Some(span), None) = (advertised, key_file) {
        let message = "`gateway.advertise` helps nobody without `gateway.key_file`";
        let help = "replicas find each other by what they seal, and only with the same keys can they read it";
        decoder.report(Problem::warning(span, message, "no other replica will know it").help(help));
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

pub(super) fn listen(decoder: &mut Decoder<'_>, node: &Node) -> Option<SocketAddr> {
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

fn key_file(decoder: &mut Decoder<'_>, node: &Node) -> Option<KeyFile> {
    let path = decoder.string(node, "gateway.key_file")?;
    if path.is_empty() {
        decoder.bad_value(node, "gateway.key_file", "must be the path of a file", None);
        return None;
    }
    Some(KeyFile {
        path: path.into(),
        span: node.span.clone(),
    })
}

fn advertise(decoder: &mut Decoder<'_>, node: &Node) -> Option<String> {
    let text = decoder.string(node, "gateway.advertise")?;
    match base_url(&text) {
        Ok(base) => Some(base),
        Err(help) => {
            decoder.bad_value(
                node,
                "gateway.advertise",
                "must be a base URL",
                Some(help.to_owned()),
            );
            None
        }
    }
}

/// A URL to which paths are appended, in one spelling: replicas compare it.
fn base_url(text: &str) -> Result<String, &'static str> {
    const HELP: &str = "write scheme, host and port, like \"http://10.0.0.5:3000\"";
    let url = Url::parse(text).map_err(|_| HELP)?;
    let is_plain = url.username().is_empty() && url.password().is_none();
    let is_base = url.query().is_none() && url.fragment().is_none() && url.has_host();
    if !matches!(url.scheme(), "http" | "https") || !is_plain || !is_base {
        return Err(HELP);
    }
    let is_wildcard = match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_unspecified(),
        Some(url::Host::Ipv6(ip)) => ip.is_unspecified(),
        Some(url::Host::Domain(_)) | None => false,
    };
    if is_wildcard || url.port() == Some(0) {
        return Err("write the address and the port that the other replicas can connect to");
    }
    let base = url.as_str().trim_end_matches('/').to_owned();
    if base.len() > ADVERTISE_LEN_MAX {
        return Err("write at most 200 characters: it becomes part of every session id");
    }
    Ok(base)
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
