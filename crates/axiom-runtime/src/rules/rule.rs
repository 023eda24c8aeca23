//! A rule as a person says it: for whom, when, what, and how often.

use std::time::Duration;

use super::budget::ACTIONS_MAX;
use super::{Budget, Stream, Whom};
use crate::pattern::Pattern;

/// Bytes of what a rule types, notes or tells.
const TEXT_BYTES_MAX: usize = 16 << 10;
const NAME_BYTES_MAX: usize = 64;
const TIMES_MAX: u32 = 100;
/// Longer than any task lives, and far below where adding to a clock overflows.
const TIME_MAX: Duration = Duration::from_secs(366 * 86_400);

/// What is done when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// Its own among all rules.
    pub name: String,
    pub scope: Scope,
    pub trigger: Trigger,
    pub action: Action,
    pub budget: Budget,
}

/// The tasks that a rule is for: all, if nothing is said. `*` stands for any run of characters.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Those that were started from a profile of this name.
    pub agent: Option<String>,
    /// Those of this name.
    pub task: Option<String>,
}

/// When a rule wants to act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trigger {
    /// A line has this in it.
    Pattern { pattern: Pattern, streams: Streams },
    /// The task has said nothing for so long. After it has acted it counts anew.
    Silence { time: Duration },
    /// Lines with this in them that are alike have come so often within so long: numbers, addresses and paths make no
    /// difference. After it has acted it counts anew.
    Repeated {
        pattern: Pattern,
        streams: Streams,
        times: u32,
        within: Duration,
    },
    /// No file below the task's folder was changed for so long. After it has acted it counts anew.
    Unchanged { time: Duration },
    /// The task says more than this a second, on average over so long. After it has acted it counts anew.
    Rate { per_second: Amount, over: Duration },
}

/// What a rule listens to. A terminal has one stream, which counts as stdout.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Streams {
    #[default]
    Both,
    Stdout,
    Stderr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    Lines(u64),
    Bytes(u64),
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Puts text in, and with `enter` the end of a line.
    Type { text: String, enter: bool },
    /// As Escape or Ctrl-C.
    Interrupt,
    /// Interrupts, and gives an agent another prompt.
    Redirect { prompt: String },
    /// Tells whoever watches.
    Notify { message: String },
    /// Freezes all its processes, and notes why.
    Checkpoint { note: String },
    /// Ends all its processes. The reason of its end names the rule.
    Kill,
}

/// Why a rule is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("rule {rule:?}: {field} {problem}")]
pub struct BadRule {
    pub rule: String,
    /// As in the configuration: `within`, `budget.window`.
    pub field: String,
    pub problem: String,
    /// What to do instead.
    pub hint: String,
}

impl BadRule {
    pub(super) fn new(rule: &str, field: &str, problem: String, hint: &str) -> BadRule {
        BadRule {
            rule: rule.to_owned(),
            field: field.to_owned(),
            problem,
            hint: hint.to_owned(),
        }
    }
}

impl Rule {
    /// What most programs call an error, for [`Trigger::Repeated`].
    pub fn errors() -> Pattern {
        Pattern::new(r"(?i)\b(error|errors|failed|failure|fatal|panic|panicked|exception|cannot|denied)\b")
            .expect("it is a pattern")
    }

    pub(super) fn check(&self) -> Result<(), BadRule> {
        let bad =
            |field: &str, problem: String, hint: &str| Err(BadRule::new(&self.name, field, problem, hint));
        let is_name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if self.name.is_empty() || self.name.len() > NAME_BYTES_MAX || !self.name.chars().all(is_name) {
            let hint = "a name has 1 to 64 letters, digits, `_` and `-`";
            return bad("name", format!("is {:?}", self.name), hint);
        }
        for (field, time) in self.times() {
            if time.is_zero() && field != "cool_down" {
                return bad(field, "is no time at all".to_owned(), "write one like \"30s\"");
            }
            if time > TIME_MAX {
                return bad(field, "is longer than a year".to_owned(), "no task lives so long");
            }
        }
        for (field, count, max) in self.counts() {
            if !(1..=max).contains(&count) {
                return bad(
                    field,
                    format!("is {count}"),
                    &format!("it must be between 1 and {max}"),
                );
            }
        }
        self.check_action()
    }

    fn times(&self) -> Vec<(&'static str, Duration)> {
        let own = match &self.trigger {
            Trigger::Pattern { .. } => None,
            Trigger::Silence { time } => Some(("silence", *time)),
            Trigger::Repeated { within, .. } => Some(("within", *within)),
            Trigger::Unchanged { time } => Some(("unchanged", *time)),
            Trigger::Rate { over, .. } => Some(("over", *over)),
        };
        let budget = [
            ("window", self.budget.window),
            ("cool_down", self.budget.cool_down),
        ];
        own.into_iter().chain(budget).collect()
    }

    fn counts(&self) -> Vec<(&'static str, u64, u64)> {
        let own = match &self.trigger {
            Trigger::Repeated { times, .. } => Some(("repeated", u64::from(*times), u64::from(TIMES_MAX))),
            Trigger::Rate {
                per_second: Amount::Lines(count),
                ..
            } => Some(("lines_per_second", *count, 1 << 40)),
            Trigger::Rate {
                per_second: Amount::Bytes(count),
                ..
            } => Some(("bytes_per_second", *count, 1 << 40)),
            _ => None,
        };
        let budget = [
            (
                "actions",
                u64::from(self.budget.actions_max),
                u64::from(ACTIONS_MAX),
            ),
            ("total", u64::from(self.budget.total_max), 10_000),
        ];
        own.into_iter().chain(budget).collect()
    }

    fn check_action(&self) -> Result<(), BadRule> {
        let (field, text) = match &self.action {
            Action::Type { text, .. } => ("type", text),
            Action::Redirect { prompt } => ("redirect", prompt),
            Action::Notify { message } => ("notify", message),
            Action::Checkpoint { note } => ("checkpoint", note),
            Action::Interrupt | Action::Kill => return Ok(()),
        };
        // Enter alone is something to type.
        let may_be_empty = matches!(self.action, Action::Type { enter: true, .. });
        if text.trim().is_empty() && !may_be_empty {
            let hint = "say what is to be typed, asked or told";
            return Err(BadRule::new(&self.name, field, "is empty".to_owned(), hint));
        }
        if text.len() > TEXT_BYTES_MAX {
            let problem = format!("has {} B; the longest has {TEXT_BYTES_MAX} B", text.len());
            let hint = "put it into a file, and name the file";
            return Err(BadRule::new(&self.name, field, problem, hint));
        }
        Ok(())
    }
}

impl Scope {
    pub fn is_for(&self, whom: Whom<'_>) -> bool {
        let agent = match (&self.agent, whom.agent) {
            (None, _) => true,
            (Some(pattern), Some(agent)) => fits(pattern, agent),
            (Some(_), None) => false,
        };
        agent && self.task.as_ref().is_none_or(|pattern| fits(pattern, whom.task))
    }
}

impl Streams {
    pub(super) fn has(self, stream: Stream) -> bool {
        match self {
            Streams::Both => true,
            Streams::Stdout => stream == Stream::Stdout,
            Streams::Stderr => stream == Stream::Stderr,
        }
    }
}

/// Whether `name` fits `pattern`, where `*` stands for any run of characters.
fn fits(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(start) else {
        return false;
    };
    let (middle, end) = rest.rsplit_once('*').unwrap_or(("", rest));
    for part in middle.split('*').filter(|part| !part.is_empty()) {
        match name.split_once(part) {
            Some((_, after)) => name = after,
            None => return false,
        }
    }
    name.ends_with(end)
}
