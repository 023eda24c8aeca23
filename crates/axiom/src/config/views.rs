//! The `[views.NAME]` sections: virtual endpoints with a subset under names of their own.

use std::collections::BTreeMap;

use axiom_gateway::options::{Options, ViewOptions};

use super::Problem;
use super::decoder::{Decoder, did_you_mean};
use super::servers::check_name;
use super::tree::{Entry, Node};

pub(crate) const KEYS: &[&str] = &["include", "rename"];

pub(super) fn decode(decoder: &mut Decoder<'_>, node: &Node, options: &mut Options) {
    for entry in decoder.table(node, "`views`") {
        check_name(decoder, entry, "view");
        let view = view(decoder, entry);
        options.views.insert(entry.key.clone(), view);
    }
}

fn view(decoder: &mut Decoder<'_>, entry: &Entry) -> ViewOptions {
    let place = format!("`views.{}`", entry.key);
    let mut view = ViewOptions::default();
    for field in decoder.table(&entry.node, &place) {
        match field.key.as_str() {
            "include" => {
                view.include = include(decoder, &format!("views.{}.include", entry.key), &field.node)
            }
            "rename" => view.rename = rename(decoder, &format!("views.{}.rename", entry.key), &field.node),
            _ => decoder.unknown_key(field, &place, KEYS),
        }
    }
    if entry.node.is_table() && entry.node.get("include").is_none() {
        let problem = Problem::error(
            &entry.key_span,
            format!("{place} includes nothing"),
            "no `include`",
        );
        decoder.report(problem.help("say what it shows: include = [\"server.*\"]"));
    }
    view
}

fn include(decoder: &mut Decoder<'_>, key: &str, node: &Node) -> Vec<String> {
    let mut patterns = Vec::new();
    for (pattern, node) in decoder.plain_list(node, key) {
        if is_qualified(pattern) {
            patterns.push(pattern.to_owned());
        } else {
            let help =
                "write server and name: \"files.read_*\", or \"files.*\" for all of a server".to_owned();
            decoder.bad_value(node, key, "must hold patterns like `server.name`", Some(help));
        }
    }
    patterns
}

fn rename(decoder: &mut Decoder<'_>, key: &str, node: &Node) -> BTreeMap<String, String> {
    let mut renamed: BTreeMap<String, String> = BTreeMap::new();
    for entry in decoder.table(node, &format!("`{key}`")) {
        let Some(shown) = decoder.plain(&entry.node, &format!("{key}.{}", entry.key)) else {
            continue;
        };
        if !is_qualified(&entry.key) {
            let message = format!("`{key}` must have keys like `server.name`");
            decoder.report(Problem::error(&entry.key_span, message, "no server"));
        } else if shown.is_empty() || shown.len() > 64 {
            decoder.bad_value(&entry.node, key, "must give names of 1 to 64 characters", None);
        } else if renamed.values().any(|taken| taken == shown) {
            decoder.bad_value(&entry.node, key, "gives the same name twice", None);
        } else {
            renamed.insert(entry.key.clone(), shown.to_owned());
        }
    }
    renamed
}

/// `server.name`, both parts present.
fn is_qualified(pattern: &str) -> bool {
    pattern
        .split_once('.')
        .is_some_and(|(server, name)| !server.is_empty() && !name.is_empty())
}

/// Warns about patterns whose server part matches no server of the file: a slip, or a server to come. One that is there
/// with a mistake of its own counts as there.
pub(super) fn check_servers(
    decoder: &mut Decoder<'_>,
    node: &Node,
    servers: Option<&Node>,
    builtin: &[&str],
) {
    let entries = servers.map(Node::entries).unwrap_or_default().iter();
    let servers: Vec<&str> = entries
        .map(|entry| entry.key.as_str())
        .chain(builtin.iter().copied())
        .collect();
    for view in node.entries() {
        let include = view.node.get("include").map(|node| match &node.value {
            super::tree::Value::Array(items) => items.iter().collect::<Vec<_>>(),
            _ => Vec::new(),
        });
        for item in include.unwrap_or_default() {
            if let Some(pattern) = item.as_str() {
                check_pattern(decoder, pattern, &item.span, &servers);
            }
        }
        for entry in view.node.get("rename").map(Node::entries).unwrap_or_default() {
            check_pattern(decoder, &entry.key, &entry.key_span, &servers);
        }
    }
}

fn check_pattern(decoder: &mut Decoder<'_>, pattern: &str, span: &super::tree::Span, servers: &[&str]) {
    let Some((server, _)) = pattern.split_once('.') else {
        return;
    };
    if servers.iter().any(|name| matches(server, name)) {
        return;
    }
    let mut problem = Problem::warning(span, format!("no server is called `{server}`"), "matches nothing");
    problem.help = did_you_mean(server, servers);
    decoder.report(problem);
}

/// Whether `name` fits `pattern`, where `*` stands for any run of characters.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match name.split_once(part) {
            Some((_, after)) => name = after,
            None => return false,
        }
    }
    name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn stars_match_runs() {
        for (pattern, name, fits) in [
            ("files", "files", true),
            ("files", "file", false),
            ("*", "", true),
            ("f*s", "files", true),
            ("f*s", "f", false),
            ("*i*e*", "files", true),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }
}
