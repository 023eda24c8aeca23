//! Reads values out of the tree and keeps a list of everything that was wrong, instead of stopping at the first.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::tree::{Entry, Node, Span, Value};
use super::{Environment, Problem, expand, units};

/// The state of one decoding: the text (for exact positions), the environment, and the problems so far.
pub(super) struct Decoder<'a> {
    text: &'a str,
    environment: Environment<'a>,
    /// What was filled in, and may be a secret.
    filled_in: BTreeSet<String>,
    problems: Vec<Problem>,
}

/// Variables that say where and who one is, and no secret.
const HARMLESS_VARIABLES: &[&str] = &[
    "HOME", "HOSTNAME", "LANG", "LOGNAME", "PATH", "PWD", "SHELL", "TMPDIR", "TZ", "USER",
];

impl<'a> Decoder<'a> {
    pub(super) fn new(text: &'a str, environment: Environment<'a>) -> Self {
        Decoder {
            text,
            environment,
            filled_in: BTreeSet::new(),
            problems: Vec::new(),
        }
    }

    pub(super) fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    /// Values of the environment's variables that were asked for.
    pub(super) fn take_filled_in(&mut self) -> BTreeSet<String> {
        std::mem::take(&mut self.filled_in)
    }

    pub(super) fn report(&mut self, problem: Problem) {
        self.problems.push(problem);
    }

    /// The entries of a table, each key once; anything else is reported and has none.
    pub(super) fn table<'n>(&mut self, node: &'n Node, place: &str) -> Vec<&'n Entry> {
        let Value::Table(entries) = &node.value else {
            self.wrong_type(node, &format!("{place} must be a table"));
            return Vec::new();
        };
        let mut kept: BTreeMap<&str, ()> = BTreeMap::new();
        let mut unique = Vec::with_capacity(entries.len());
        for entry in entries {
            if kept.insert(&entry.key, ()).is_some() {
                let message = format!("`{}` is set twice in {place}", entry.key);
                self.report(Problem::error(&entry.key_span, message, "set here again"));
            } else {
                unique.push(entry);
            }
        }
        unique
    }

    pub(super) fn unknown_key(&mut self, entry: &Entry, place: &str, known: &[&str]) {
        let message = format!("unknown key `{}` in {place}", entry.key);
        let mut problem = Problem::error(&entry.key_span, message, "not a key here");
        problem.help = Some(
            match foreign_key(&entry.key, known).or_else(|| did_you_mean(&entry.key, known)) {
                Some(help) => help,
                None => format!("the keys here are {}", list(known)),
            },
        );
        self.report(problem);
    }

    pub(super) fn wrong_type(&mut self, node: &Node, message: &str) {
        self.report(Problem::error(
            &node.span,
            message,
            format!("this is {}", node.value.kind()),
        ));
    }

    /// A string with its `${env:NAME}` parts filled in.
    pub(super) fn string(&mut self, node: &Node, key: &str) -> Option<String> {
        let Value::String(template) = &node.value else {
            self.wrong_type(node, &format!("`{key}` must be a string"));
            return None;
        };
        let filled_in = RefCell::new(&mut self.filled_in);
        let environment = |name: &str| {
            let value = (self.environment)(name);
            if !HARMLESS_VARIABLES.contains(&name) {
                filled_in.borrow_mut().extend(value.clone());
            }
            value
        };
        match expand::expand(template, &environment) {
            Ok(text) => Some(text),
            Err(errors) => {
                for error in errors {
                    let span = self.find(&node.span, error.part());
                    self.report(error.into_problem(&span, key));
                }
                None
            }
        }
    }

    /// What an environment variable says; nothing if it is empty.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.environment)(name).filter(|value| !value.is_empty())
    }

    /// A string exactly as it stands, for keys where the environment has no business.
    pub(super) fn plain<'n>(&mut self, node: &'n Node, key: &str) -> Option<&'n str> {
        let text = node.as_str();
        if text.is_none() {
            self.wrong_type(node, &format!("`{key}` must be a string"));
        }
        text
    }

    pub(super) fn boolean(&mut self, node: &Node, key: &str) -> Option<bool> {
        if let Value::Bool(flag) = node.value {
            return Some(flag);
        }
        self.wrong_type(node, &format!("`{key}` must be true or false"));
        None
    }

    /// An array's items; anything else is reported and has none.
    pub(super) fn array<'n>(&mut self, node: &'n Node, key: &str) -> Option<&'n [Node]> {
        if let Value::Array(items) = &node.value {
            return Some(items);
        }
        self.wrong_type(node, &format!("`{key}` must be an array"));
        None
    }

    /// Plain strings in an array.
    pub(super) fn plain_list<'n>(&mut self, node: &'n Node, key: &str) -> Vec<(&'n str, &'n Node)> {
        let items = self.array(node, key).unwrap_or_default();
        items
            .iter()
            .filter_map(|item| Some((self.plain(item, key)?, item)))
            .collect()
    }

    /// `"30s"`, `"5m"`; zero only where it means something.
    pub(super) fn duration(&mut self, node: &Node, key: &str, zero: Zero) -> Option<Duration> {
        let parsed = match &node.value {
            Value::String(text) => units::duration(text),
            Value::Integer(number) => Err(format!("which unit? For seconds write \"{number}s\"")),
            _ => Err("write a number and a unit, like \"30s\"".to_owned()),
        };
        match parsed {
            Ok(duration) if duration.is_zero() && zero == Zero::Refused => {
                self.bad_value(node, key, "must be longer than zero", None);
                None
            }
            Ok(duration) => Some(duration),
            Err(help) => {
                self.bad_value(node, key, "must be a duration", Some(help));
                None
            }
        }
    }

    /// `"4MiB"` or a number of bytes; at least one.
    pub(super) fn bytes(&mut self, node: &Node, key: &str) -> Option<usize> {
        let parsed = match &node.value {
            Value::String(text) => units::bytes(text),
            Value::Integer(number) => {
                usize::try_from(*number).map_err(|_| "write a positive number".to_owned())
            }
            _ => Err("write a number of bytes, or a size like \"4MiB\"".to_owned()),
        };
        match parsed {
            Ok(0) => {
                self.bad_value(node, key, "must be at least one byte", None);
                None
            }
            Ok(bytes) => Some(bytes),
            Err(help) => {
                self.bad_value(node, key, "must be a size", Some(help));
                None
            }
        }
    }

    /// An integer between 1 and `max`.
    pub(super) fn count(&mut self, node: &Node, key: &str, max: usize) -> Option<usize> {
        let Value::Integer(number) = node.value else {
            self.wrong_type(node, &format!("`{key}` must be an integer"));
            return None;
        };
        match usize::try_from(number) {
            Ok(count) if (1..=max).contains(&count) => Some(count),
            _ => {
                self.bad_value(node, key, &format!("must be between 1 and {max}"), None);
                None
            }
        }
    }

    pub(super) fn bad_value(&mut self, node: &Node, key: &str, complaint: &str, help: Option<String>) {
        let mut problem = Problem::error(&node.span, format!("`{key}` {complaint}"), "this value");
        problem.help = help;
        self.report(problem);
    }

    /// Where `part` stands inside `span`; the whole span when escapes hide it.
    fn find(&self, span: &Span, part: &str) -> Span {
        let within = self.text.get(span.clone()).and_then(|raw| raw.find(part));
        within.map_or_else(
            || span.clone(),
            |at| span.start + at..span.start + at + part.len(),
        )
    }
}

/// Whether a duration of zero means something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Zero {
    Allowed,
    Refused,
}

/// Keys that other programs' files have, said in ours. Only where our key is one of `known`.
fn foreign_key(key: &str, known: &[&str]) -> Option<String> {
    let (ours, help) = match key {
        "args" => (
            "command",
            "arguments are part of `command`: command = [\"program\", \"argument\"]",
        ),
        "type" => (
            "transport",
            "the key is `transport`, and it is only needed for \"sse\"",
        ),
        "serverUrl" | "httpUrl" | "uri" | "endpoint" => ("url", "the key is `url`"),
        "timeout" => (
            "call_timeout",
            "there are `start_timeout`, `call_timeout` and `idle_timeout`",
        ),
        "enabled" => ("disabled", "the key is `disabled`, the other way round"),
        "mcpServers" | "mcp_servers" | "context_servers" => (
            "servers",
            "the key is `servers`; `axiom import` translates a client's whole file",
        ),
        "cold" | "tenants" => (
            "delete",
            "how long events are kept at all is said with `delete`: delete = { age = \"365d\", tenants = { acme = \"30d\" } }",
        ),
        "port" | "host" | "address" | "bind" => ("listen", "write both in one: listen = \"127.0.0.1:3000\""),
        _ => return None,
    };
    known.contains(&ours).then(|| help.to_owned())
}

/// The nearest known word, when it is near enough to be a slip of the finger.
pub(crate) fn did_you_mean(word: &str, known: &[&str]) -> Option<String> {
    let lower = word.to_lowercase();
    let nearest = known
        .iter()
        .min_by_key(|candidate| strsim::damerau_levenshtein(&lower, candidate))?;
    let distance = strsim::damerau_levenshtein(&lower, nearest);
    let near = distance <= (nearest.len() / 3).max(1);
    near.then(|| format!("did you mean `{nearest}`?"))
}

/// `a`, `b` and `c`.
pub(super) fn list(words: &[&str]) -> String {
    let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}
