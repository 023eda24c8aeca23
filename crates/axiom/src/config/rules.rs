//! The `[[rules]]`: what is done about a task, without a person, when its output or its silence asks for it.

use std::collections::BTreeMap;

use axiom_runtime::rules::{Action, Amount, Budget, Rule, Rules, Scope, Streams, Trigger};

use super::Problem;
use super::agents::pattern;
use super::decoder::{Decoder, Zero, did_you_mean, list};
use super::gateway::set;
use super::tree::{Entry, Node};

pub(crate) const KEYS: &[&str] = &[
    "name",
    "agent",
    "task",
    "pattern",
    "stream",
    "silence",
    "repeated",
    "within",
    "unchanged",
    "lines_per_second",
    "bytes_per_second",
    "over",
    "type",
    "enter",
    "interrupt",
    "redirect",
    "notify",
    "checkpoint",
    "kill",
    "actions",
    "window",
    "cool_down",
    "total",
];

/// What makes a rule act. A `pattern` beside `repeated` says which lines are counted.
const TRIGGERS: &[&str] = &[
    "pattern",
    "silence",
    "repeated",
    "unchanged",
    "lines_per_second",
    "bytes_per_second",
];

/// What a rule does.
const ACTIONS: &[&str] = &["type", "interrupt", "redirect", "notify", "checkpoint", "kill"];

/// Keys that only go with others, and with which.
const COMPANIONS: &[(&str, &[&str])] = &[
    ("stream", &["pattern", "repeated"]),
    ("within", &["repeated"]),
    ("over", &["lines_per_second", "bytes_per_second"]),
    ("enter", &["type"]),
];

const TIMES_MAX: usize = 100;
const LINES_MAX: usize = 1 << 30;

pub(super) fn decode(decoder: &mut Decoder<'_>, node: &Node, agents: Option<&Node>) -> Rules {
    let mut rules = Vec::new();
    let mut nodes: BTreeMap<String, &Node> = BTreeMap::new();
    for node in decoder.array(node, "rules").unwrap_or_default() {
        if let Some(rule) = rule(decoder, node) {
            check_agent(decoder, node, agents);
            nodes.insert(rule.name.clone(), node);
            rules.push(rule);
        }
    }
    match Rules::new(rules) {
        Ok(rules) => rules,
        Err(bad) => {
            let rule = nodes.get(&bad.rule);
            let at = rule.and_then(|rule| rule.get(&bad.field)).or(rule.copied());
            let message = format!("`rules.{}` {}", bad.field, bad.problem);
            decoder.report(Problem::error(&at.unwrap_or(node).span, message, "this rule").help(bad.hint));
            Rules::default()
        }
    }
}

/// One rule; `None` if something is wrong with it, which is reported.
fn rule(decoder: &mut Decoder<'_>, node: &Node) -> Option<Rule> {
    const PLACE: &str = "`rules`";
    let mut name = None;
    let mut scope = Scope::default();
    let mut budget = Budget::default();
    for entry in decoder.table(node, PLACE) {
        let value = &entry.node;
        let key = format!("rules.{}", entry.key);
        let key = key.as_str();
        let mut count = |count: &mut u32, max: usize| {
            let given = decoder.count(value, key, max);
            set(count, given.and_then(|given| u32::try_from(given).ok()));
        };
        match entry.key.as_str() {
            "name" => name = decoder.plain(value, key).map(str::to_owned),
            "agent" => scope.agent = decoder.plain(value, key).map(str::to_owned),
            "task" => scope.task = decoder.plain(value, key).map(str::to_owned),
            "actions" => count(&mut budget.actions_max, TIMES_MAX),
            "total" => count(&mut budget.total_max, 10_000),
            "window" => set(&mut budget.window, decoder.duration(value, key, Zero::Refused)),
            "cool_down" => set(&mut budget.cool_down, decoder.duration(value, key, Zero::Allowed)),
            known if KEYS.contains(&known) => {}
            _ => decoder.unknown_key(entry, PLACE, KEYS),
        }
    }
    if !node.is_table() {
        return None;
    }
    if node.get("name").is_none() {
        let help = "name it, like name = \"stuck\": the end of a task that it kills says so";
        decoder.report(Problem::error(&node.span, "a rule has no `name`", "this rule").help(help));
    }
    for (key, with) in COMPANIONS {
        let entry = node.entries().iter().find(|entry| entry.key == *key);
        if let Some(entry) = entry.filter(|_| with.iter().all(|with| node.get(with).is_none())) {
            let message = format!("`rules.{key}` only goes with {}", list(with));
            decoder.report(Problem::error(&entry.key_span, message, "means nothing here"));
        }
    }
    let trigger = trigger(decoder, node);
    let action = action(decoder, node);
    Some(Rule {
        name: name?,
        scope,
        trigger: trigger?,
        action: action?,
        budget,
    })
}

/// The only one of these keys that the rule has. `false` says that it has it not.
fn only<'n>(decoder: &mut Decoder<'_>, node: &'n Node, keys: &[&str], what: &str) -> Option<&'n Entry> {
    let is_one = |entry: &&Entry| {
        keys.contains(&entry.key.as_str()) && entry.node.value != super::tree::Value::Bool(false)
    };
    let mut given: Vec<&Entry> = node.entries().iter().filter(is_one).collect();
    if given.iter().any(|entry| entry.key == "repeated") {
        given.retain(|entry| entry.key != "pattern");
    }
    match given[..] {
        [entry] => return Some(entry),
        [] => {
            let help = format!("add one of {}", list(keys));
            let message = format!("a rule does not say {what}");
            decoder.report(Problem::error(&node.span, message, "this rule").help(help));
        }
        [first, second, ..] => {
            let message = format!("a rule has both `{}` and `{}`", first.key, second.key);
            let help = format!("a rule has one of {}; make two rules", list(keys));
            decoder.report(Problem::error(&second.key_span, message, "one too many").help(help));
        }
    }
    None
}

fn trigger(decoder: &mut Decoder<'_>, node: &Node) -> Option<Trigger> {
    let entry = only(decoder, node, TRIGGERS, "when it acts")?;
    let value = &entry.node;
    let key = format!("rules.{}", entry.key);
    let key = key.as_str();
    let streams = match node.get("stream") {
        Some(node) => streams(decoder, node)?,
        None => Streams::Both,
    };
    Some(match entry.key.as_str() {
        "pattern" => Trigger::Pattern {
            pattern: pattern(decoder, value, key)?,
            streams,
        },
        "silence" => Trigger::Silence {
            time: decoder.duration(value, key, Zero::Refused)?,
        },
        "unchanged" => Trigger::Unchanged {
            time: decoder.duration(value, key, Zero::Refused)?,
        },
        "repeated" => Trigger::Repeated {
            times: u32::try_from(decoder.count(value, key, TIMES_MAX)?).ok()?,
            within: time(decoder, node, "within", 600)?,
            pattern: match node.get("pattern") {
                Some(node) => pattern(decoder, node, "rules.pattern")?,
                None => Rule::errors(),
            },
            streams,
        },
        "lines_per_second" => Trigger::Rate {
            per_second: Amount::Lines(decoder.count(value, key, LINES_MAX)? as u64),
            over: time(decoder, node, "over", 10)?,
        },
        _ => Trigger::Rate {
            per_second: Amount::Bytes(decoder.bytes(value, key)? as u64),
            over: time(decoder, node, "over", 10)?,
        },
    })
}

fn time(decoder: &mut Decoder<'_>, rule: &Node, key: &str, default_s: u64) -> Option<std::time::Duration> {
    match rule.get(key) {
        Some(node) => decoder.duration(node, &format!("rules.{key}"), Zero::Refused),
        None => Some(std::time::Duration::from_secs(default_s)),
    }
}

fn streams(decoder: &mut Decoder<'_>, node: &Node) -> Option<Streams> {
    match decoder.plain(node, "rules.stream")? {
        "both" => Some(Streams::Both),
        "stdout" => Some(Streams::Stdout),
        "stderr" => Some(Streams::Stderr),
        other => {
            let help = did_you_mean(other, &["both", "stdout", "stderr"]);
            decoder.bad_value(node, "rules.stream", "must be `both`, `stdout` or `stderr`", help);
            None
        }
    }
}

fn action(decoder: &mut Decoder<'_>, node: &Node) -> Option<Action> {
    let entry = only(decoder, node, ACTIONS, "what it does")?;
    let key = format!("rules.{}", entry.key);
    if matches!(entry.key.as_str(), "interrupt" | "kill") {
        let is_wanted = decoder.boolean(&entry.node, &key)?;
        return is_wanted.then_some(match entry.key.as_str() {
            "kill" => Action::Kill,
            _ => Action::Interrupt,
        });
    }
    let text = decoder.plain(&entry.node, &key)?.to_owned();
    Some(match entry.key.as_str() {
        "type" => Action::Type {
            text,
            enter: match node.get("enter") {
                Some(node) => decoder.boolean(node, "rules.enter")?,
                None => true,
            },
        },
        "redirect" => Action::Redirect { prompt: text },
        "notify" => Action::Notify { message: text },
        _ => Action::Checkpoint { note: text },
    })
}

/// Warns about a rule for an agent that is not in the file: a slip, or an agent to come.
fn check_agent(decoder: &mut Decoder<'_>, rule: &Node, agents: Option<&Node>) {
    let Some((node, wanted)) = rule.get("agent").and_then(|node| Some((node, node.as_str()?))) else {
        return;
    };
    let entries = agents.map(Node::entries).unwrap_or_default();
    let known: Vec<&str> = entries.iter().map(|entry| entry.key.as_str()).collect();
    if wanted.contains('*') || known.contains(&wanted) {
        return;
    }
    let message = format!("no agent is called `{wanted}`");
    let mut problem = Problem::warning(&node.span, message, "fits nothing");
    problem.help = did_you_mean(wanted, &known);
    decoder.report(problem);
}
