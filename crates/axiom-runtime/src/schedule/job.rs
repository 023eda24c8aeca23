//! What is asked for, and the names under which it lives: a ticket from the queue to the end, a lease from its place on.

use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use super::{Class, Why};

/// One task as it waits. `T` is what the caller needs to start it; nobody here looks at it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job<T> {
    pub owner: Owner,
    pub class: Class,
    /// One of [`Options::backends`](super::Options::backends), by its name.
    pub backend: Arc<str>,
    /// The limit under which it will run. That much of the budget is its own until it has ended.
    pub memory_bytes: u64,
    /// What `work` takes in memory while it waits, against the limits of the queue.
    pub queued_bytes: u64,
    /// What it takes from its tenant's share, in a unit of the caller's choice: 1 for each, or seconds, or bytes times seconds.
    pub cost: NonZeroU32,
    /// The moment from which on starting it is of no use. It is placed before that moment, or dropped.
    pub deadline: Option<Duration>,
    pub when_broken: WhenBroken,
    pub work: T,
}

/// Whose task it is: a tenant, which is one of a group.
///
/// A tenant can make up as many keys as it likes (one for each session, say), and fairness between keys would then give it as
/// many shares. So there are two levels. What cannot be made up (an account, an organisation) is the group, and it has a
/// weight and limits of its own; the keys below it share what the group gets.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Owner {
    pub group: Arc<str>,
    pub tenant: Arc<str>,
}

impl Owner {
    /// A tenant that belongs to nobody: a group with itself in it.
    pub fn alone(tenant: &str) -> Owner {
        Owner::within(tenant, tenant)
    }

    pub fn within(group: &str, tenant: &str) -> Owner {
        Owner {
            group: group.into(),
            tenant: tenant.into(),
        }
    }
}

/// What a task wants while its backend's breaker is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenBroken {
    Wait,
    /// It would rather be told, now or as soon as the breaker opens: it can go elsewhere.
    Refuse,
}

/// A task's name here, from the moment when it was taken until it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

impl fmt::Display for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The right to run a task once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Lease {
    pub ticket: Ticket,
    /// The fencing number: of two leases the one with the higher number is newer, whatever their tickets.
    pub attempt: u64,
}

/// Start this one.
#[derive(Debug, PartialEq, Eq)]
pub struct Placed<T> {
    pub lease: Lease,
    pub job: Box<Job<T>>,
}

/// This one will not be started; tell its owner.
#[derive(Debug, PartialEq, Eq)]
pub struct Dropped<T> {
    pub ticket: Ticket,
    pub job: Box<Job<T>>,
    pub why: Why,
}

/// What is to be done now.
#[derive(Debug, PartialEq, Eq)]
pub struct Next<T> {
    pub placed: Vec<Placed<T>>,
    pub dropped: Vec<Dropped<T>>,
}

/// How an attempt ended, as far as its backend is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It ran. A task that exits with an error has run as well.
    Done,
    /// The backend could not start it, or lost it.
    BackendFailed,
    /// It was stopped from outside, which says nothing about the backend.
    Stopped,
}

/// What a cancelled task was doing.
#[derive(Debug, PartialEq, Eq)]
pub enum Cancelled<T> {
    /// It waited, and is gone.
    Queued(Box<Job<T>>),
    /// It has a place, which comes back with `ended`: stop it, then say so. Its memory is in use until then.
    Running(Lease),
    /// There is no such task, or none any more.
    Unknown,
}
