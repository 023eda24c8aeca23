//! What a person calls the difference between two configurations.

use std::collections::BTreeMap;
use std::fmt;

use axiom_gateway::options::{
    Endpoint, EventsOptions, Limits, Options, RedisOptions, ServerOptions, ViewOptions,
};

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
    let share = |events: &Option<EventsOptions>| events.as_ref().map(|events| events.share);
    // What needs a restart is told as that; `mcp` is a server more or less.
    differing([
        ("share", share(old) == share(new)),
        ("bodies", bodies(old) == bodies(new)),
        ("body_bytes_max", bytes_max(old) == bytes_max(new)),
    ])
}

/// Of `events`, what only a restart brings. Values are not told: an address may have a password in it.
pub(super) fn waiting(old: Option<&EventsOptions>, new: Option<&EventsOptions>) -> Vec<String> {
    let (old, new) = match (old, new) {
        (Some(old), Some(new)) if old.dir == new.dir => (old, new),
        // With another log everything is another's.
        (Some(_), Some(new)) | (None, Some(new)) => {
            return vec![format!("events.dir = \"{}\"", new.dir.display())];
        }
        (Some(_), None) => return vec!["the end of `events`".to_owned()],
        (None, None) => return Vec::new(),
    };
    let url = |events: &EventsOptions| events.redis.as_ref().map(|redis| redis.url.clone());
    // With another Redis they go without saying.
    let (is_same, redis) = (url(old) == url(new), old.redis.as_ref().zip(new.redis.as_ref()));
    let is_kept =
        |kept: fn(&RedisOptions, &RedisOptions) -> bool| !is_same || redis.is_none_or(|(a, b)| kept(a, b));
    let keys = differing([
        ("flight_sql", old.flight_sql == new.flight_sql),
        ("shard", old.shard == new.shard),
        ("redis", is_same),
        ("redis_bytes", is_kept(|a, b| a.keep_bytes == b.keep_bytes)),
        ("redis_age", is_kept(|a, b| a.keep_age == b.keep_age)),
        ("sample", old.sample == new.sample),
    ]);
    keys.into_iter().map(|key| format!("events.{key}")).collect()
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
    fn what_waits_for_a_restart() {
        let check = |old: &str, new: &str, expected: &[&str]| {
            let section = |text: &str| options(text).events;
            assert_eq!(
                waiting(section(old).as_ref(), section(new).as_ref()),
                expected,
                "{new}"
            );
        };
        let events = |more: &str| format!("[events]\ndir = \"e\"\n{more}");
        let plain = events("");
        check("", "", &[]);
        check("", &plain, &["events.dir = \"e\""]);
        check(&plain, "", &["the end of `events`"]);
        check(
            &plain,
            "[events]\ndir = \"f\"\nshard = 3",
            &["events.dir = \"f\""],
        );
        for (more, expected) in [
            ("bodies = \"full\"\nmcp = true\nshare = true", None),
            ("flight_sql = \"127.0.0.1:1\"", Some("events.flight_sql")),
            ("shard = 3", Some("events.shard")),
            ("redis = \"redis://127.0.0.1\"", Some("events.redis")),
            ("redis_age = \"1h\"", None),
            ("[events.sample]\nkinds = [\"a\"]", Some("events.sample")),
        ] {
            check(&plain, &events(more), expected.as_slice());
            check(&events(more), &events(more), &[]);
        }
        let redis = |more: &str| events(&format!("redis = \"redis://127.0.0.1\"\n{more}"));
        check(&redis(""), &redis("redis_age = \"1h\""), &["events.redis_age"]);
        check(
            &plain,
            &events("shard = 3\nflight_sql = \"127.0.0.1:1\""),
            &["events.flight_sql", "events.shard"],
        );
        check(&plain, &events("share = true"), &[]);
        let line = changes(&options(&plain), &options(&events("share = true")));
        assert_eq!(line[0].to_string(), "~ events: share");
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
