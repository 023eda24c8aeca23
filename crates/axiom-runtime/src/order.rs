//! What somebody wants done: a task as its supervisor takes it, with everything that must outlive the supervisor.

use std::time::Duration;

use axiom_sandbox::spec::{BadSpec, Spec};
use serde::{Deserialize, Serialize};

use crate::schedule::{Class, Owner};

/// Characters of a name; what is longer is no name.
const NAME_CHARS_MAX: usize = 80;
/// Bytes of who, why, key, group and tenant, each.
const WORDS_BYTES_MAX: usize = 200;

/// A task that is wanted. It is kept as JSON until the task is forgotten.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// What it runs, where and within which bounds. The id is the supervisor's to choose: whatever stands there is replaced.
    pub spec: Spec,
    /// For people; may be empty, and many tasks may have the same one.
    #[serde(default)]
    pub name: String,
    #[serde(default)]
    pub class: Urgency,
    #[serde(default)]
    pub owner: OwnerNames,
    /// Its profile, if it is a coding agent: then the prompt is delivered as that says, and it runs in a terminal if that needs one.
    #[serde(default)]
    pub agent: Option<String>,
    #[serde(default)]
    pub prompt: String,
    /// What it is given to read as soon as it runs, once: a task that is started again gets none. Kept apart until it was given.
    #[serde(skip)]
    pub input: Option<Input>,
    /// The pool that has started already what it needs. Its executor is then one of that kind, whose place is found when its turn has come.
    #[serde(default)]
    pub pool: Option<String>,
    /// The task that wanted it. Who kills that one kills this one as well.
    #[serde(default)]
    pub parent: Option<String>,
    #[serde(default)]
    pub restart: Restart,
    /// It is of no use unless it is started within this time.
    #[serde(default)]
    pub start_within: Option<Duration>,
    /// Of the budget of memory it takes so much, where its limit is only a bound that few come near.
    #[serde(default)]
    pub counted_bytes: Option<u64>,
    /// Two orders of the same owner with the same key are one: the second one gets the first one's task.
    #[serde(default)]
    pub key: Option<String>,
    pub by: Who,
}

/// What a task is given to read first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// At most [`INPUT_BYTES_MAX`].
    pub bytes: Vec<u8>,
    /// Nothing more can be put in behind it.
    pub ends: bool,
}

/// Of an order's input. What is longer has its place in a file.
pub const INPUT_BYTES_MAX: usize = 1 << 20;

/// Who wants something, and why: for the record.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Who {
    /// A client, a person, a rule.
    pub who: String,
    pub why: String,
}

/// A class of the scheduler, by its name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Urgency {
    Critical,
    High,
    #[default]
    Normal,
    Low,
}

/// Whose share of the machine it takes. See [`Owner`].
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OwnerNames {
    pub group: String,
    pub tenant: String,
}

/// Whether it is started again when it has ended. Somebody who kills it means it: then it is not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Restart {
    pub when: When,
    /// Before the first new start. Doubled with each one that follows, up to [`PAUSE_MAX`], and spread by up to a quarter.
    pub pause: Pause,
    /// So often at most within [`Restart::window`]; one more end is the last.
    pub times: Times,
    pub window: Window,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum When {
    #[default]
    Never,
    /// Its code was not 0, a signal or a limit ended it, or it was lost.
    OnFailure,
    Always,
}

/// Half a second, unless something else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pause(pub Duration);

/// Five, unless something else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Times(pub u32);

/// Ten minutes, unless something else is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Window(pub Duration);

/// No pause before a new start is longer.
pub const PAUSE_MAX: Duration = Duration::from_secs(60);

impl Order {
    /// This command for nobody in particular, with nothing special about it.
    pub fn new(spec: Spec, by: Who) -> Order {
        Order {
            spec,
            name: String::new(),
            class: Urgency::default(),
            owner: OwnerNames::default(),
            agent: None,
            prompt: String::new(),
            input: None,
            pool: None,
            parent: None,
            restart: Restart::default(),
            start_within: None,
            counted_bytes: None,
            key: None,
            by,
        }
    }

    /// Whether it could be started here, as far as that can be told without trying.
    ///
    /// # Errors
    /// Names the field.
    pub fn check(&self) -> Result<(), BadSpec> {
        let bad = |field: &str, problem: String| BadSpec {
            field: field.to_owned(),
            problem,
            hint: None,
        };
        let chars = self.name.chars().count();
        if chars > NAME_CHARS_MAX {
            let problem = format!("has {chars} characters; {NAME_CHARS_MAX} are allowed");
            return Err(bad("name", problem));
        }
        if self.name.chars().any(char::is_control) {
            return Err(bad("name", "has a control character in it".to_owned()));
        }
        let words = [
            ("key", self.key.as_deref().unwrap_or_default()),
            ("owner.group", &self.owner.group),
            ("owner.tenant", &self.owner.tenant),
            ("by.who", &self.by.who),
            ("by.why", &self.by.why),
        ];
        if let Some((field, text)) = words.into_iter().find(|(_, text)| text.len() > WORDS_BYTES_MAX) {
            let problem = format!("has {} B; {WORDS_BYTES_MAX} are allowed", text.len());
            return Err(bad(field, problem));
        }
        let input_bytes = self.input.as_ref().map_or(0, |input| input.bytes.len());
        if input_bytes > INPUT_BYTES_MAX {
            let problem = format!("has {input_bytes} B; {INPUT_BYTES_MAX} are allowed");
            return Err(bad("input", problem));
        }
        let spec = Spec {
            id: "a".to_owned(),
            ..self.spec.clone()
        };
        spec.check()
    }
}

impl Who {
    pub fn new(who: impl Into<String>, why: impl Into<String>) -> Who {
        Who {
            who: who.into(),
            why: why.into(),
        }
    }
}

impl Urgency {
    pub const ALL: [(&'static str, Urgency); 4] = [
        ("critical", Urgency::Critical),
        ("high", Urgency::High),
        ("normal", Urgency::Normal),
        ("low", Urgency::Low),
    ];

    pub fn class(self) -> Class {
        match self {
            Urgency::Critical => Class::Critical,
            Urgency::High => Class::High,
            Urgency::Normal => Class::Normal,
            Urgency::Low => Class::Low,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Urgency::Critical => "critical",
            Urgency::High => "high",
            Urgency::Normal => "normal",
            Urgency::Low => "low",
        }
    }
}

impl Default for OwnerNames {
    fn default() -> OwnerNames {
        OwnerNames {
            group: "local".to_owned(),
            tenant: "local".to_owned(),
        }
    }
}

impl OwnerNames {
    pub(crate) fn owner(&self) -> Owner {
        Owner::within(&self.group, &self.tenant)
    }
}

impl Default for Pause {
    fn default() -> Pause {
        Pause(Duration::from_millis(500))
    }
}

impl Default for Times {
    fn default() -> Times {
        Times(5)
    }
}

impl Default for Window {
    fn default() -> Window {
        Window(Duration::from_secs(600))
    }
}

impl Restart {
    /// How long to wait before it is started again, after so many starts within the window that were not the first; `None` if
    /// this was the last. `spread` is a number from 0 to 255, by chance.
    pub(crate) fn pause_before(&self, restarts: u32, is_failure: bool, spread: u8) -> Option<Duration> {
        let is_wanted = match self.when {
            When::Never => false,
            When::OnFailure => is_failure,
            When::Always => true,
        };
        if !is_wanted || restarts >= self.times.0 {
            return None;
        }
        let doubled = self
            .pause
            .0
            .saturating_mul(1u32.checked_shl(restarts).unwrap_or(u32::MAX));
        let pause = doubled.min(PAUSE_MAX);
        Some(pause + pause / 4 * u32::from(spread) / 255)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axiom_sandbox::spec::Executor;

    fn order() -> Order {
        let spec = Spec {
            id: String::new(),
            argv: vec!["true".to_owned()],
            env: Default::default(),
            folder: "/".into(),
            terminal: None,
            limits: Default::default(),
            executor: Executor::Process,
            grants: Default::default(),
            spool_bytes: 1,
        };
        Order::new(spec, Who::default())
    }

    #[test]
    fn what_cannot_be_is_refused_by_its_field() {
        assert_eq!(order().check(), Ok(()));
        let check = |field: &str, change: fn(&mut Order)| {
            let mut order = order();
            change(&mut order);
            assert_eq!(order.check().map_err(|bad| bad.field), Err(field.to_owned()));
        };
        check("name", |order| order.name = "x".repeat(81));
        check("name", |order| order.name = "a\u{1b}[2J".to_owned());
        check("key", |order| order.key = Some("x".repeat(201)));
        check("input", |order| {
            order.input = Some(Input {
                bytes: vec![0; INPUT_BYTES_MAX + 1],
                ends: true,
            });
        });
        check("by.why", |order| order.by.why = "x".repeat(201));
        check("argv", |order| order.spec.argv.clear());
        check("limits.memory_bytes", |order| {
            order.spec.limits.memory_bytes = Some(1 << 20)
        });
    }

    #[test]
    fn pauses_grow_and_end() {
        let mut restart = Restart {
            when: When::OnFailure,
            ..Restart::default()
        };
        let millis = |restart: &Restart, restarts, is_failure, spread| {
            restart
                .pause_before(restarts, is_failure, spread)
                .map(|pause| pause.as_millis())
        };
        assert_eq!(millis(&restart, 0, true, 0), Some(500));
        assert_eq!(millis(&restart, 0, true, 255), Some(625));
        assert_eq!(millis(&restart, 3, true, 0), Some(4_000));
        assert_eq!(millis(&restart, 5, true, 0), None);
        assert_eq!(millis(&restart, 0, false, 0), None);
        (restart.when, restart.times) = (When::Always, Times(u32::MAX));
        assert_eq!(millis(&restart, 0, false, 0), Some(500));
        assert_eq!(millis(&restart, 40, false, 0), Some(60_000));
        restart.when = When::Never;
        assert_eq!(millis(&restart, 0, true, 0), None);
    }

    #[test]
    fn an_order_is_read_as_it_was_written() {
        let written = serde_json::to_vec(&order()).unwrap();
        assert_eq!(serde_json::from_slice::<Order>(&written).unwrap(), order());
    }
}
