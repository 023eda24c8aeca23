//! What a person calls the difference between two configurations.

use std::collections::BTreeMap;
use std::fmt;

use axiom_gateway::options::{Endpoint, EventsOptions, Limits, Options, ServerOptions, ViewOptions};

/// One line of a diff.
#[derive(Debug, PartialEq)]
pub(super) enum Change {
    Added {
        what: &'static str,
        name: String,
    },
    Removed {
        what: &'static str,
        name: String,
    },
    Changed {
        what: &'static str,
        name: String,
        keys: Vec<&'static str>,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Added { what, name } => write!(f, "+ {what} {name}"),
            Change::Removed { what, name } => write!(f, "- {what} {name}"),
            Change::Changed { what, name, keys } if name.is_empty() => {
                write!(f, "~ {what}: {}", keys.join(", "))
            }
            Change::Changed { what, name, keys } => write!(f, "~ {what} {name}: {}", keys.join(", ")),
        }
    }
}

/// Everything that differs but the listening address. Values are not told: some are secrets.
pub(super) fn changes(old: &Options, new: &Options) -> Vec<Change> {
    let gateway = differing([
        ("prefix", old.prefix == new.prefix),
        ("allowed_hosts", old.allowed_hosts == new.allowed_hosts),
        ("allowed_origins", old.allowed_origins == new.allowed_origins),
        ("key_file", old.keys == new.keys),
        ("advertise", old.advertise == new.advertise),
    ]);
    let mut changes = Vec::new();
    for (what, keys) in [
        ("gateway", gateway),
        ("gateway.limits", limits(&old.limits, &new.limits)),
        ("events", events(&old.events, &new.events)),
    ] {
        if !keys.is_empty() {
            changes.push(Change::Changed {
                what,
                name: String::new(),
                keys,
            });
        }
    }
    changes.extend(sections("server", &old.servers, &new.servers, server));
    changes.extend(sections("view", &old.views, &new.views, view));
    changes
}

/// The names whose values are not equal.
fn differing<const N: usize>(fields: [(&'static str, bool); N]) -> Vec<&'static str> {
    fields
        .into_iter()
        .filter(|(_, equal)| !equal)
        .map(|(name, _)| name)
        .collect()
}

fn sections<T: PartialEq>(
    what: &'static str,
    old: &BTreeMap<String, T>,
    new: &BTreeMap<String, T>,
    keys: fn(&T, &T) -> Vec<&'static str>,
) -> Vec<Change> {
    let removed = old.keys().filter(|name| !new.contains_key(*name));
    let removed = removed.map(|name| Change::Removed {
        what,
        name: name.clone(),
    });
    let others = new.iter().filter_map(|(name, new)| match old.get(name) {
        None => Some(Change::Added {
            what,
            name: name.clone(),
        }),
        Some(old) if old == new => None,
        Some(old) => Some(Change::Changed {
            what,
            name: name.clone(),
            keys: keys(old, new),
        }),
    });
    removed.chain(others).collect()
}

fn events(old: &Option<EventsOptions>, new: &Option<EventsOptions>) -> Vec<&'static str> {
    let bodies = |events: &Option<EventsOptions>| events.as_ref().map(|events| events.bodies);
    let bytes_max = |events: &Option<EventsOptions>| events.as_ref().map(|events| events.body_bytes_max);
    // Another folder needs a restart, and is told elsewhere; `mcp` is a server more or less.
    differing([
        ("bodies", bodies(old) == bodies(new)),
        ("body_bytes_max", bytes_max(old) == bytes_max(new)),
    ])
}

fn limits(old: &Limits, new: &Limits) -> Vec<&'static str> {
    differing([
        ("connections_max", old.connections_max == new.connections_max),
        (
            "message_bytes_max",
            old.message_bytes_max == new.message_bytes_max,
        ),
        (
            "upstream_message_bytes_max",
            old.upstream_message_bytes_max == new.upstream_message_bytes_max,
        ),
        ("depth_max", old.depth_max == new.depth_max),
        ("replay_bytes_max", old.replay_bytes_max == new.replay_bytes_max),
        ("replay_ttl", old.replay_ttl == new.replay_ttl),
        ("session_ttl", old.session_ttl == new.session_ttl),
        ("parked_max", old.parked_max == new.parked_max),
        ("parked_ttl", old.parked_ttl == new.parked_ttl),
        ("request_timeout", old.request_timeout == new.request_timeout),
        ("drain_timeout", old.drain_timeout == new.drain_timeout),
    ])
}

fn server(old: &ServerOptions, new: &ServerOptions) -> Vec<&'static str> {
    let mut keys = endpoint(&old.endpoint, &new.endpoint);
    keys.extend(differing([
        ("start_timeout", old.start_timeout == new.start_timeout),
        ("call_timeout", old.call_timeout == new.call_timeout),
        ("idle_timeout", old.idle_timeout == new.idle_timeout),
        ("links_max", old.links_max == new.links_max),
        ("list_ttl", old.list_ttl == new.list_ttl),
        (
            "trust_annotations",
            old.trust_annotations == new.trust_annotations,
        ),
    ]));
    keys
}

fn endpoint(old: &Endpoint, new: &Endpoint) -> Vec<&'static str> {
    use Endpoint::{Http, InProcess, Sse, Stdio, WebSocket};
    match (old, new) {
        (
            Stdio {
                command: a,
                env: b,
                cwd: c,
            },
            Stdio {
                command: x,
                env: y,
                cwd: z,
            },
        ) => differing([("command", a == x), ("env", b == y), ("cwd", c == z)]),
        (
            Http { url: a, headers: b } | Sse { url: a, headers: b } | WebSocket { url: a, headers: b },
            Http { url: x, headers: y } | Sse { url: x, headers: y } | WebSocket { url: x, headers: y },
        ) => {
            let same_transport = std::mem::discriminant(old) == std::mem::discriminant(new);
            differing([
                ("url", a == x),
                ("headers", b == y),
                ("transport", same_transport),
            ])
        }
        (InProcess(_), InProcess(_)) => Vec::new(),
        (_, Stdio { .. }) => vec!["command"],
        (_, Http { .. } | Sse { .. } | WebSocket { .. }) => vec!["url"],
        (_, InProcess(_)) => vec!["builtin"],
    }
}

fn view(old: &ViewOptions, new: &ViewOptions) -> Vec<&'static str> {
    differing([
        ("include", old.include == new.include),
        ("rename", old.rename == new.rename),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Format, decode};

    fn options(text: &str) -> Options {
        decode(text, Format::Toml, &|_| None).config.unwrap().options
    }

    fn check(old: &str, new: &str, expected: &[&str]) {
        let lines: Vec<String> = changes(&options(old), &options(new))
            .iter()
            .map(Change::to_string)
            .collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn what_changed() {
        let a = "[servers.a]\ncommand = [\"a\"]\n";
        check(a, a, &[]);
        check(a, "", &["- server a"]);
        check("", a, &["+ server a"]);
        check(
            a,
            "[servers.a]\ncommand = [\"a\", \"b\"]\nenv = { X = \"secret\" }\ncall_timeout = \"1s\"",
            &["~ server a: command, env, call_timeout"],
        );
        check(a, "[servers.a]\nurl = \"http://h/\"", &["~ server a: url"]);
        check(
            a,
            "[servers.a]\ncommand = [\"a\"]\ndisabled = true",
            &["- server a"],
        );
        check(
            "[servers.a]\nurl = \"http://h/\"",
            "[servers.a]\nurl = \"http://h/\"\ntransport = \"sse\"",
            &["~ server a: transport"],
        );
        check(
            "[gateway]\nprefix = \"never\"\n[gateway.limits]\ndepth_max = 8",
            "[gateway]\nlisten = \"127.0.0.1:1\"\n[views.v]\ninclude = [\"a.*\"]",
            &["~ gateway: prefix", "~ gateway.limits: depth_max", "+ view v"],
        );
    }
}
