//! Where a server is: a command that starts it, or an address, with all that belongs to either.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axiom_gateway::options::Endpoint;
use http::{HeaderName, HeaderValue};
use url::Url;

use super::Problem;
use super::decoder::{Decoder, did_you_mean};
use super::tree::{Entry, Node};

/// The parts of a section that say where the server is, before they are put together.
#[derive(Default)]
pub(super) struct Section<'n> {
    pub(super) command: Option<&'n Entry>,
    pub(super) env: Option<&'n Entry>,
    pub(super) cwd: Option<&'n Entry>,
    pub(super) url: Option<&'n Entry>,
    pub(super) transport: Option<&'n Entry>,
    pub(super) headers: Option<&'n Entry>,
}

/// Puts the parts together. `None` if anything in them was wrong; then it is reported.
pub(super) fn decode(decoder: &mut Decoder<'_>, entry: &Entry, section: &Section<'_>) -> Option<Endpoint> {
    let path = format!("servers.{}", entry.key);
    match (section.command, section.url) {
        (Some(command), None) => stdio(decoder, &path, command, section),
        (None, Some(url)) => remote(decoder, &path, url, section),
        (Some(_), Some(url)) => {
            let message = format!("`{path}` has both `command` and `url`");
            let help = "a server is either started by its `command` or reached at its `url`";
            decoder.report(Problem::error(&url.key_span, message, "one too many").help(help));
            None
        }
        (None, None) => {
            let message = format!("`{path}` says neither how to start the server nor where it is");
            let help = "add command = [\"program\", \"argument\"] or url = \"http://host/mcp\"";
            decoder.report(Problem::error(&entry.key_span, message, "no `command`, no `url`").help(help));
            None
        }
    }
}

fn stdio(decoder: &mut Decoder<'_>, path: &str, command: &Entry, section: &Section<'_>) -> Option<Endpoint> {
    for extra in [section.transport, section.headers].into_iter().flatten() {
        misplaced(decoder, path, extra, "url");
    }
    let command = command_line(decoder, &format!("{path}.command"), &command.node);
    let env = section
        .env
        .map_or_else(|| Some(BTreeMap::new()), |env| environment(decoder, path, env));
    let cwd = match section.cwd {
        Some(cwd) => Some(decoder.string(&cwd.node, &format!("{path}.cwd"))?),
        None => None,
    };
    Some(Endpoint::Stdio {
        command: command?,
        env: env?,
        cwd: cwd.map(PathBuf::from),
    })
}

pub(super) fn command_line(decoder: &mut Decoder<'_>, key: &str, node: &Node) -> Option<Vec<String>> {
    if let Some(line) = node.as_str() {
        let words: Vec<String> = line.split_whitespace().map(|word| format!("{word:?}")).collect();
        let help = format!(
            "write the program and each argument on its own: [{}]",
            words.join(", ")
        );
        decoder.bad_value(node, key, "must be an array", Some(help));
        return None;
    }
    let items = decoder.array(node, key)?;
    let words: Vec<Option<String>> = items.iter().map(|item| decoder.string(item, key)).collect();
    let command: Vec<String> = words.into_iter().collect::<Option<_>>()?;
    if command.first().is_none_or(|program| program.trim().is_empty()) {
        let help = "the first item is the program: command = [\"npx\", \"-y\", \"some-server\"]".to_owned();
        decoder.bad_value(node, key, "is empty", Some(help));
        return None;
    }
    if command.iter().any(|word| word.contains('\0')) {
        decoder.bad_value(node, key, "must not hold a NUL character", None);
        return None;
    }
    Some(command)
}

pub(super) fn environment(
    decoder: &mut Decoder<'_>,
    path: &str,
    env: &Entry,
) -> Option<BTreeMap<String, String>> {
    let values = strings(decoder, &format!("{path}.env"), env)?;
    let mut whole = true;
    for (entry, value) in &values {
        if entry.key.is_empty() || entry.key.contains(['=', '\0']) || value.contains('\0') {
            let message = format!("`{}` cannot be an environment variable", entry.key);
            decoder.report(Problem::error(
                &entry.key_span,
                message,
                "empty, or has `=` or NUL",
            ));
            whole = false;
        }
    }
    whole.then(|| {
        values
            .into_iter()
            .map(|(entry, value)| (entry.key.clone(), value))
            .collect()
    })
}

fn remote(decoder: &mut Decoder<'_>, path: &str, url: &Entry, section: &Section<'_>) -> Option<Endpoint> {
    for extra in [section.env, section.cwd].into_iter().flatten() {
        misplaced(decoder, path, extra, "command");
    }
    let parsed = address(decoder, &format!("{path}.url"), &url.node);
    let headers = section
        .headers
        .map_or_else(|| Some(BTreeMap::new()), |entry| headers(decoder, path, entry));
    let transport = match section.transport {
        Some(entry) => Some(transport(decoder, path, entry)?),
        None => None,
    };
    let (url, headers) = (parsed?, headers?);
    let is_ws = matches!(url.scheme(), "ws" | "wss");
    let endpoint = match (transport, is_ws) {
        (None | Some(Transport::Ws), true) => Endpoint::WebSocket {
            url: url.into(),
            headers,
        },
        (None | Some(Transport::Http), false) => Endpoint::Http {
            url: url.into(),
            headers,
        },
        (Some(Transport::Sse), false) => Endpoint::Sse {
            url: url.into(),
            headers,
        },
        (Some(_), _) => {
            let node = section.transport.map(|entry| &entry.node)?;
            let message = format!("`{path}.transport` and `{path}.url` contradict each other");
            let help = "ws:// and wss:// go with \"ws\"; http:// and https:// with \"http\" or \"sse\"";
            let label = format!("the url is {}://", url.scheme());
            decoder.report(Problem::error(&node.span, message, label).help(help));
            return None;
        }
    };
    Some(endpoint)
}

fn address(decoder: &mut Decoder<'_>, key: &str, node: &Node) -> Option<Url> {
    let text = decoder.string(node, key)?;
    let complaint = match Url::parse(&text) {
        Ok(url) if !matches!(url.scheme(), "http" | "https" | "ws" | "wss") => {
            format!(
                "has the scheme `{}`; it must be http, https, ws or wss",
                url.scheme()
            )
        }
        Ok(url) if url.host_str().is_none_or(str::is_empty) => "has no host".to_owned(),
        Ok(url) => return Some(url),
        Err(error) => format!("is not a URL: {error}"),
    };
    let help = "write it whole, like \"https://example.com/mcp\"".to_owned();
    decoder.bad_value(node, key, &complaint, Some(help));
    None
}

/// What `transport` may say.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Transport {
    Http,
    Sse,
    Ws,
}

fn transport(decoder: &mut Decoder<'_>, path: &str, entry: &Entry) -> Option<Transport> {
    let key = format!("{path}.transport");
    match decoder.plain(&entry.node, &key)? {
        "http" => Some(Transport::Http),
        "sse" => Some(Transport::Sse),
        "ws" => Some(Transport::Ws),
        other => {
            let help = match other {
                "streamable-http" | "streamableHttp" | "streamable_http" => Some("write \"http\"".to_owned()),
                "websocket" => Some("write \"ws\"".to_owned()),
                "stdio" => Some("a stdio server has a `command` and no `transport`".to_owned()),
                _ => did_you_mean(other, &["http", "sse", "ws"]),
            };
            decoder.bad_value(&entry.node, &key, "must be `http`, `sse` or `ws`", help);
            None
        }
    }
}

fn headers(decoder: &mut Decoder<'_>, path: &str, entry: &Entry) -> Option<BTreeMap<String, String>> {
    let values = strings(decoder, &format!("{path}.headers"), entry)?;
    let mut whole = true;
    for (entry, value) in &values {
        if HeaderName::try_from(entry.key.as_str()).is_err() {
            let message = format!("`{}` cannot be the name of a header", entry.key);
            decoder.report(Problem::error(
                &entry.key_span,
                message,
                "letters, digits and `-`",
            ));
            whole = false;
        } else if HeaderValue::try_from(value.as_str()).is_err() {
            // The value itself may be a secret and is not repeated.
            let key = format!("{path}.headers.{}", entry.key);
            decoder.bad_value(&entry.node, &key, "has a character that no header may have", None);
            whole = false;
        }
    }
    whole.then(|| {
        values
            .into_iter()
            .map(|(entry, value)| (entry.key.clone(), value))
            .collect()
    })
}

/// A table of strings. All of its problems are reported before it is given up.
fn strings<'n>(decoder: &mut Decoder<'_>, path: &str, entry: &'n Entry) -> Option<Vec<(&'n Entry, String)>> {
    let is_table = entry.node.is_table();
    let entries = decoder.table(&entry.node, &format!("`{path}`"));
    let values: Vec<Option<(&Entry, String)>> = entries
        .into_iter()
        .map(|entry| {
            Some((
                entry,
                decoder.string(&entry.node, &format!("{path}.{}", entry.key))?,
            ))
        })
        .collect();
    is_table.then(|| values.into_iter().collect()).flatten()
}

fn misplaced(decoder: &mut Decoder<'_>, path: &str, entry: &Entry, needs: &str) {
    let message = format!("`{path}.{}` only goes with `{needs}`", entry.key);
    decoder.report(Problem::error(&entry.key_span, message, "means nothing here"));
}
