//! Rules: what is done about a task, without a person, when its output or its silence asks for it.
//!
//! It is pure, as the scheduler is: no clock, no threads, no I/O. Time is a `Duration` since a start that the caller chose; time
//! that goes backwards counts as standing still. The caller says what a task says and when ([`Watch::line`],
//! [`Watch::unfinished`], [`Watch::files`]), comes back at [`Watch::wake_at`], and does what it is told ([`Act`]).
//!
//! ```
//! use std::time::Duration;
//! use axiom_runtime::pattern::Pattern;
//! use axiom_runtime::rules::*;
//!
//! let rule = Rule {
//!     name: "go-on".to_owned(),
//!     scope: Scope::default(),
//!     trigger: Trigger::Pattern { pattern: Pattern::new("rate limit").unwrap(), streams: Streams::Both },
//!     action: Action::Type { text: "continue".to_owned(), enter: true },
//!     budget: Budget::default(),
//! };
//! let rules = Rules::new(vec![rule]).unwrap();
//! let mut watch = rules.watch(Duration::ZERO, Whom { agent: None, task: "build" });
//! let acts = watch.line(Duration::from_secs(1), Stream::Stdout, "error: rate limit reached");
//! assert_eq!(acts[0].what, What::Type { text: "continue".to_owned(), enter: true });
//! // A terminal shows what is typed. That is not the task's word.
//! assert!(watch.line(Duration::from_secs(60), Stream::Stdout, "> continue").is_empty());
//! ```
//!
//! # No loops
//!
//! A rule acts on a task within its [`Budget`] and not beyond, whatever the task says; all rules together within
//! [`TASK_BUDGET`]. That one is used up is told once, until it has something again. Nothing is done about a task after it was
//! killed. What a rule has typed is taken out of what the task says before any rule looks at it, for as long as the task lives:
//! see `echo`.
//!
//! # Memory
//!
//! Some 80 KiB for each rule of a task at most, however much it says: of a rule that counts to 100, of 32 kinds of lines.

mod budget;
mod echo;
mod likeness;
mod rule;
mod trigger;
mod watch;

use std::sync::Arc;
use std::time::Duration;

pub use crate::mux::Stream;

pub use self::budget::{Budget, TASK_BUDGET, UsedUp};
pub use self::rule::{Action, Amount, BadRule, Rule, Scope, Streams, Trigger};
pub use self::watch::{Act, LINE_BYTES_MAX, TYPED_LINES_MAX, Watch, What};

/// More would make each line of each task slow.
pub const RULES_MAX: usize = 256;

/// Rules that fit together.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    rules: Arc<[Arc<Rule>]>,
}

/// The task that is watched, as rules know it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whom<'a> {
    /// The profile that it was started from.
    pub agent: Option<&'a str>,
    pub task: &'a str,
}

impl Rules {
    /// # Errors
    /// The first rule that can never act, or not as it says.
    pub fn new(rules: Vec<Rule>) -> Result<Rules, BadRule> {
        if let Some(rule) = rules.get(RULES_MAX) {
            let problem = format!("is one too many; there are {RULES_MAX} rules at most");
            return Err(BadRule::new(&rule.name, "name", problem, "make one of several"));
        }
        for (nth, rule) in rules.iter().enumerate() {
            rule.check()?;
            if rules.iter().take(nth).any(|other| other.name == rule.name) {
                let problem = "is the name of another rule, too".to_owned();
                return Err(BadRule::new(&rule.name, "name", problem, "each has its own"));
            }
        }
        Ok(Rules {
            rules: rules.into_iter().map(Arc::new).collect(),
        })
    }

    /// Begins to watch a task that was started `now`, for the rules that are for it.
    pub fn watch(&self, now: Duration, whom: Whom<'_>) -> Watch {
        let fitting = self.rules.iter().filter(|rule| rule.scope.is_for(whom));
        Watch::new(now, fitting.cloned())
    }
}

#[cfg(test)]
mod tests;
