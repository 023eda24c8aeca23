//! How one coding agent's command line is spoken to, as its profile says it.

use std::time::Duration;

use crate::pattern::Pattern;

/// What a conversation knows of the program that it is with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub prompt: PromptBy,
    /// On the cursor's row: a prompt can be typed.
    pub ready: Option<Pattern>,
    /// Anywhere on the screen: it works, whatever else is there.
    pub working: Option<Pattern>,
    /// On the cursor's row: it waits for us. `ready` if it is not given.
    pub idle: Option<Pattern>,
    /// It waits for us when its screen has not changed for so long.
    pub idle_after: Option<Duration>,
    /// Questions, each with its answer; the first that fits counts.
    pub approve: Vec<Approve>,
    pub interrupt: Interrupt,
    /// What ends it, without the Enter behind it.
    pub exit: Option<String>,
    pub times: Times,
}

/// How a prompt gets to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptBy {
    /// As its last argument.
    Argument,
    /// Through its standard input, which ends behind it.
    Stdin,
    /// Typed, once it is ready. In brackets it keeps its line breaks; without them they become blanks.
    Typed { is_bracketed: bool },
}

/// A question that it may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Approve {
    pub pattern: Pattern,
    pub answer: Answer,
    /// What is typed for yes and for no, where a person is asked or it is denied.
    pub yes: String,
    pub no: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This is typed.
    Type(String),
    /// A person says.
    Ask,
    /// No.
    Deny,
}

/// What stops it in what it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Interrupt {
    Type(String),
    Signal(i32),
}

/// How long each state may last. What comes then stands in [`Outcome`](super::Outcome).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Times {
    /// From its start until it is ready; then it is given up.
    pub start: Duration,
    /// Until it is idle or asks something; then it is given up. Without one it may work for ever.
    pub work: Option<Duration>,
    /// For a person to answer; then the answer is no.
    pub ask: Duration,
    /// Idle; then it is told to exit.
    pub idle: Duration,
    /// From an interruption until it is ready; then it is given up.
    pub interrupt: Duration,
    /// From being told to exit until it has ended; then it is given up.
    pub exit: Duration,
}

impl Default for Profile {
    /// Of a program that takes its prompt as an argument, and ends.
    fn default() -> Profile {
        Profile {
            prompt: PromptBy::Argument,
            ready: None,
            working: None,
            idle: None,
            idle_after: None,
            approve: Vec::new(),
            interrupt: Interrupt::Type("\u{1b}".to_owned()),
            exit: None,
            times: Times::default(),
        }
    }
}

impl Default for Times {
    fn default() -> Times {
        Times {
            start: Duration::from_secs(60),
            work: None,
            ask: Duration::from_secs(600),
            idle: Duration::from_secs(5),
            interrupt: Duration::from_secs(30),
            exit: Duration::from_secs(10),
        }
    }
}

/// Why a profile cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {problem}")]
pub struct BadProfile {
    pub field: &'static str,
    pub problem: &'static str,
    pub hint: &'static str,
}

impl Profile {
    /// Whether it runs in a terminal of its own.
    pub fn has_terminal(&self) -> bool {
        self.prompt != PromptBy::Stdin
    }

    /// Whether it can be given another prompt: it has a terminal, and something says when it is ready.
    pub fn takes_prompts(&self) -> bool {
        let is_told = self.ready.is_some() || self.idle.is_some() || self.idle_after.is_some();
        self.has_terminal() && is_told
    }

    /// # Errors
    /// The first thing that could not work.
    pub fn check(&self) -> Result<(), BadProfile> {
        let bad = |field, problem, hint| Err(BadProfile { field, problem, hint });
        match self.prompt {
            PromptBy::Typed { .. } if self.ready.is_none() => bad(
                "ready",
                "is missing, and `prompt` is \"typed\": nothing says when to type it",
                "write what stands where the cursor is then: ready = \"^> \"",
            ),
            PromptBy::Stdin if !self.approve.is_empty() => bad(
                "approve",
                "says how to answer, and `prompt` is \"stdin\": nothing can be answered after the prompt",
                "take the prompt as an argument or type it, or let the program ask nothing",
            ),
            PromptBy::Stdin if matches!(self.interrupt, Interrupt::Type(_)) => bad(
                "interrupt",
                "is a key, and `prompt` is \"stdin\": nothing can be typed after the prompt",
                "write a signal: interrupt = \"SIGINT\"",
            ),
            _ => Ok(()),
        }
    }
}
