//! How a task is, for those who ask.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axiom_sandbox::exit::How;
use serde::{Deserialize, Serialize};

use super::table::{Entry, Table};
use crate::agent::State;
use crate::order::Order;

/// A task at one moment. Times are nanoseconds since 1970.
#[derive(Debug, Clone)]
pub struct View {
    pub id: Arc<str>,
    pub order: Arc<Order>,
    pub phase: Phase,
    /// Which start of it this is: 1, 2, ...; 0 before the first.
    pub attempt: u32,
    pub created: i64,
    /// Of the present or last attempt.
    pub started: Option<i64>,
    pub pid: Option<i32>,
    /// Lines that it has said and that are recorded, or were read where nothing is recorded.
    pub lines: u64,
    /// Bytes of output of the present or last attempt that were read.
    pub output_bytes: u64,
    pub is_frozen: bool,
    /// Of a coding agent that runs.
    pub agent: Option<AgentView>,
    pub children: Vec<Arc<str>>,
    pub ending: Option<Ending>,
}

/// What a coding agent is doing, and what it asks a person, if it does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentView {
    pub state: State,
    pub question: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    Queued,
    Starting,
    Running,
    /// It ended, and will be started again.
    Resting,
    Ended,
}

/// How a task ended for good.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// `None`: its shim was killed before it could say how, and its command with it.
    pub how: Option<How>,
    pub ended: i64,
}

impl Phase {
    pub fn name(self) -> &'static str {
        match self {
            Phase::Queued => "queued",
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Resting => "resting",
            Phase::Ended => "ended",
        }
    }
}

impl Ending {
    /// What a shell would say; 1 if nobody knows.
    pub fn code(&self) -> u8 {
        self.how.as_ref().map_or(1, How::code)
    }

    /// In a few words.
    pub fn words(&self) -> String {
        match &self.how {
            None => "lost: its shim was killed before it could say how it ended".to_owned(),
            Some(How::Code(code)) => format!("exit {code}"),
            Some(How::Signal(signal)) => format!("ended by signal {signal}"),
            Some(How::Limit { limit, value }) => format!("killed: beyond its limit {limit} of {value}"),
            Some(How::Killed { why }) => format!("killed: {why}"),
            Some(How::NotStarted { why }) => format!("not started: {why}"),
            Some(How::Broken { why }) => format!("broken: {why}"),
        }
    }
}

impl View {
    pub(super) fn of(entry: &Entry, table: &Table) -> View {
        View {
            id: Arc::clone(&entry.id),
            order: Arc::clone(&entry.order),
            phase: entry.phase,
            attempt: entry.attempt,
            created: entry.created,
            started: entry.started,
            pid: entry.pid,
            lines: entry.progress.stored().lines,
            output_bytes: entry.progress.read_bytes.load(Relaxed),
            is_frozen: entry.is_frozen,
            agent: entry.agent.clone(),
            children: table.children(&entry.id),
            ending: entry.ending().cloned(),
        }
    }

    /// The folder of its present or last attempt, among those of all tasks.
    pub fn folder(&self, dir: &std::path::Path) -> PathBuf {
        dir.join(super::ledger::attempt_name(&self.id, self.attempt))
    }
}
