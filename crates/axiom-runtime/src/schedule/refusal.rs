//! Why a task was not taken, or is not going to be started, in words for its owner; and what came too late to matter.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Job, Ticket};

/// The task comes back to whoever gave it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{why}")]
pub struct Refused<T> {
    pub job: Box<Job<T>>,
    pub why: Why,
}

/// The reason why a task is refused, or dropped from the queue.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Why {
    #[error("{whose} has {tasks_max} tasks waiting, which is the limit; {retry}")]
    QueueFull {
        whose: Whose,
        tasks_max: usize,
        retry: Retry,
    },
    #[error("{whose} has {bytes_max} B of tasks waiting at most, and this one does not fit in; {retry}")]
    QueueBytesFull {
        whose: Whose,
        bytes_max: u64,
        retry: Retry,
    },
    #[error("it needs {memory_bytes} B of memory, and all tasks together may have {budget_bytes} B")]
    TooLarge { memory_bytes: u64, budget_bytes: u64 },
    #[error("the deadline for its start has passed")]
    DeadlinePassed,
    #[error("there is no backend {backend}")]
    UnknownBackend { backend: Arc<str> },
    #[error("backend {backend} fails too often and has a pause; {retry}")]
    BackendBroken { backend: Arc<str>, retry: Retry },
}

impl Why {
    /// Whether the same task may be taken later.
    pub fn retry(&self) -> Retry {
        match self {
            Why::QueueFull { retry, .. } | Why::QueueBytesFull { retry, .. } => *retry,
            Why::BackendBroken { retry, .. } => *retry,
            Why::TooLarge { .. } | Why::DeadlinePassed | Why::UnknownBackend { .. } => Retry::Never,
        }
    }
}

/// When trying again may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Not before the task or the configuration is another one.
    Never,
    /// After so long, as a good guess.
    After(Duration),
}

impl fmt::Display for Retry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Retry::Never => f.write_str("trying again does not help"),
            Retry::After(pause) => write!(f, "try again in about {:.1} s", pause.as_secs_f64()),
        }
    }
}

/// Whose queue is full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    Everybody,
    Group(Arc<str>),
    Tenant(Arc<str>),
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Whose::Everybody => f.write_str("the scheduler"),
            Whose::Group(name) => write!(f, "group {name}"),
            Whose::Tenant(name) => write!(f, "tenant {name}"),
        }
    }
}

/// A report about an attempt that is none of the present ones. Nothing was changed.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
pub enum Stale {
    #[error("task {ticket} has ended already, or never was")]
    Gone { ticket: Ticket },
    #[error("attempt {attempt} of task {ticket} is over, and the task waits again")]
    WaitsAgain { ticket: Ticket, attempt: u64 },
    #[error("attempt {attempt} of task {ticket} is not its present one, {present}")]
    OtherAttempt {
        ticket: Ticket,
        attempt: u64,
        present: u64,
    },
    #[error("task {ticket} was reported as started before")]
    StartedBefore { ticket: Ticket },
}

/// A task could not be put back into the queue.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PutBackError<T> {
    /// Nothing was changed.
    #[error("{stale}")]
    Stale { job: Box<Job<T>>, stale: Stale },
    /// The attempt has ended, and the task with it.
    #[error("{why}")]
    Refused { job: Box<Job<T>>, why: Why },
}

/// Options that contradict themselves.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum BadOptions {
    #[error("{backends} backends are given, and there may be {backends_max}")]
    TooManyBackends { backends: usize, backends_max: usize },
    #[error("backend {name} is given twice")]
    BackendTwice { name: Arc<str> },
}
