//! Why something is not done, for whoever asked: what is wrong, and what to do instead.

use std::error::Error;

use axiom_runtime::mux::TooManyReaders;
use axiom_runtime::schedule::Why;
use axiom_runtime::supervisor::{PageError, RemoveError, SteerError, SubmitError, Unknown};
use axiom_sandbox::spec::BadSpec;

use crate::builtin::arguments::Complaint;
use crate::outcome::{Exit, Failed};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) kind: Kind,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What was asked makes no sense; again it will not either.
    Wrong,
    Unknown,
    /// The task is not in a state for it.
    NotNow,
    /// There is no room. Later there may be.
    Full,
    /// Our fault, or the machine's.
    Broken,
}

impl Refusal {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Refusal {
        Refusal {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    pub(crate) fn wrong(message: impl Into<String>) -> Refusal {
        Refusal::new(Kind::Wrong, message)
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Refusal {
        Refusal {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// In one piece.
    pub(crate) fn words(&self) -> String {
        match &self.hint {
            Some(hint) => format!("{}\nhint: {hint}", self.message),
            None => self.message.clone(),
        }
    }
}

impl From<Complaint> for Refusal {
    fn from(Complaint(message): Complaint) -> Refusal {
        Refusal::wrong(message)
    }
}

impl From<Failed> for Refusal {
    fn from(failed: Failed) -> Refusal {
        let kind = match failed.exit {
            Exit::Usage | Exit::NotFound => Kind::Wrong,
            _ => Kind::Broken,
        };
        Refusal {
            hint: failed.hint,
            ..Refusal::new(kind, failed.message)
        }
    }
}

impl From<Unknown> for Refusal {
    fn from(unknown: Unknown) -> Refusal {
        Refusal::new(Kind::Unknown, unknown.to_string()).hint("`list` shows the tasks there are")
    }
}

impl From<BadSpec> for Refusal {
    fn from(bad: BadSpec) -> Refusal {
        let BadSpec { field, problem, hint } = bad;
        Refusal {
            hint,
            ..Refusal::wrong(format!("`{}` {problem}", our_name(&field)))
        }
    }
}

/// A field of a specification, as clients call it.
fn our_name(field: &str) -> String {
    for (theirs, ours) in [
        ("argv", "command"),
        ("limits.memory_bytes", "limits.memory"),
        ("limits.cpu_millis", "limits.cpu"),
        ("limits.open_files", "limits.files"),
        ("limits.output_bytes", "limits.output"),
        ("limits.disk_io_bytes_s", "limits.disk_io"),
        ("limits.disk_bytes", "limits.disk"),
        ("grants.read", "read"),
        ("grants.write", "write"),
        ("grants", "network`, `read` and `write"),
        ("by.why", "why"),
    ] {
        if let Some(rest) = field.strip_prefix(theirs) {
            return format!("{ours}{rest}");
        }
    }
    field.to_owned()
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Refusal {
        let message = with_cause(&error);
        match error {
            SubmitError::Spec(bad) => bad.into(),
            SubmitError::NoAgent { .. } => Refusal::new(Kind::Unknown, format!("`agent`: {message}"))
                .hint("the agents there are stand in [agents] of the gateway's configuration"),
            SubmitError::NoPool { .. } => Refusal::new(Kind::Unknown, format!("`executor`: {message}"))
                .hint("the pools there are stand in [tasks.pools] of the gateway's configuration"),
            SubmitError::NoParent { .. } => Refusal::new(Kind::Unknown, format!("`parent`: {message}")),
            SubmitError::ParentEnds { .. } => Refusal::new(Kind::NotNow, format!("`parent`: {message}")),
            SubmitError::Refused(Why::TooLarge { .. }) => Refusal::wrong(format!(
                "`limits.memory`: {message}"
            ))
            .hint("ask for less; `tasks.memory` in the gateway's configuration is what all have together"),
            SubmitError::Refused(_) => Refusal::new(Kind::Full, message),
            SubmitError::Ledger(_) => {
                Refusal::new(Kind::Broken, message).hint("see whether the disk of `tasks.dir` is full")
            }
            SubmitError::Closed => {
                Refusal::new(Kind::Full, message).hint("try again when the gateway is back")
            }
        }
    }
}

impl From<SteerError> for Refusal {
    fn from(error: SteerError) -> Refusal {
        let kind = match &error {
            SteerError::Unknown(_) => Kind::Unknown,
            SteerError::NotRunning { .. } | SteerError::Refused { .. } | SteerError::Late { .. } => {
                Kind::NotNow
            }
        };
        Refusal::new(kind, error.to_string())
    }
}

impl From<PageError> for Refusal {
    fn from(error: PageError) -> Refusal {
        let message = with_cause(&error);
        match error {
            PageError::Unknown(unknown) => unknown.into(),
            PageError::Disk { .. } => Refusal::new(Kind::Broken, message),
        }
    }
}

impl From<RemoveError> for Refusal {
    fn from(error: RemoveError) -> Refusal {
        let message = with_cause(&error);
        match error {
            RemoveError::Unknown(unknown) => unknown.into(),
            RemoveError::Alive(_) => Refusal::new(Kind::NotNow, message).hint("kill it first"),
            RemoveError::Disk { .. } => Refusal::new(Kind::Broken, message),
        }
    }
}

impl From<TooManyReaders> for Refusal {
    fn from(error: TooManyReaders) -> Refusal {
        Refusal::new(Kind::Full, error.to_string()).hint("try again when another one has ended")
    }
}

fn with_cause(error: &dyn Error) -> String {
    match error.source() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_the_names_that_clients_gave() {
        for (theirs, ours) in [
            ("argv", "command"),
            ("argv[2]", "command[2]"),
            ("limits.memory_bytes", "limits.memory"),
            ("limits.wall", "limits.wall"),
            ("grants.read", "read"),
            ("folder", "folder"),
        ] {
            assert_eq!(our_name(theirs), ours);
        }
    }
}
