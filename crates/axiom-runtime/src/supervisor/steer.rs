//! Steering: what is said to a task that runs, and its end with all that it wanted.

use std::sync::Arc;
use std::time::Duration;

use axiom_core::time;
use axiom_sandbox::exit::How;
use axiom_sandbox::spec::Size;
use serde_json::{Value as Json, json};
use tokio::sync::oneshot;

use super::view::Phase;
use super::{Shared, Unknown};
use crate::order::Who;
use crate::schedule::Cancelled;

/// A task reads what it is sent when it wants to. Who sends waits so long for it to have room.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// Bytes of input of which a record shows the beginning.
const SHOWN_BYTES: usize = 200;
/// What is said to a task and waits for it to listen.
const SAID_MAX: usize = 64;

/// What may be done to a task that runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Steer {
    /// Something for it to read.
    Input(Vec<u8>),
    /// A text and the end of a line. An agent gets it typed, as its profile says.
    Say(String),
    /// It is stopped in what it does, and given this to do.
    Redirect(String),
    /// What an agent asks a person: yes or no.
    Answer(bool),
    /// There is nothing more to read.
    EndInput,
    /// As ctrl-C does; an agent is stopped as its profile says.
    Interrupt,
    Signal(i32),
    Resize(Size),
    /// It stands still until it is thawed.
    Freeze,
    Thaw,
}

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error("task {id} does not run: it is {}", phase.name())]
    NotRunning { id: Arc<str>, phase: Phase },
    #[error("task {id} did not take it: {why}")]
    Refused { id: Arc<str>, why: String },
    /// It may still come to it.
    #[error("task {id} has not taken it within {ANSWER_TIME:?}: it does not read")]
    Late { id: Arc<str> },
}

/// Something for whoever watches the task.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) what: Steer,
    pub(super) answer: oneshot::Sender<Result<(), String>>,
}

impl Steer {
    /// What it gives the task to read.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Steer::Input(bytes) => bytes.len(),
            Steer::Say(text) | Steer::Redirect(text) => text.len(),
            _ => 0,
        }
    }

    /// For the record. Of input it has the beginning only.
    pub(super) fn record(&self) -> Json {
        match self {
            Steer::Input(bytes) => {
                let shown = bytes.get(..SHOWN_BYTES).unwrap_or(bytes);
                json!({"input": String::from_utf8_lossy(shown), "bytes": bytes.len()})
            }
            Steer::Say(text) => json!({"said": text.chars().take(SHOWN_BYTES).collect::<String>()}),
            Steer::Redirect(prompt) => {
                json!({"redirect": prompt.chars().take(SHOWN_BYTES).collect::<String>()})
            }
            Steer::Answer(is_yes) => json!({"answer": is_yes}),
            Steer::EndInput => json!("end of input"),
            Steer::Interrupt => json!("interrupt"),
            Steer::Signal(signal) => json!({"signal": signal}),
            Steer::Resize(size) => json!({"columns": size.columns, "rows": size.rows}),
            Steer::Freeze => json!("freeze"),
            Steer::Thaw => json!("thaw"),
        }
    }
}

pub(super) async fn steer(shared: &Shared, id: &str, what: Steer, by: &Who) -> Result<(), SteerError> {
    let record = what.record();
    let (answer, answered) = oneshot::channel();
    let (id, tenant, is_said) = {
        let mut table = shared.table();
        let entry = table.tasks.get_mut(id).ok_or_else(|| Unknown(id.to_owned()))?;
        let id = Arc::clone(&entry.id);
        let tenant = entry.order.owner.tenant.clone();
        let phase = entry.phase;
        let Some(said) = entry.said.as_mut().filter(|_| phase == Phase::Running) else {
            return Err(SteerError::NotRunning { id, phase });
        };
        let has_room = said.len() < SAID_MAX;
        if has_room {
            said.push_back(Said { what, answer });
            entry.progress.news.notify_one();
        }
        (id, tenant, has_room)
    };
    let refused = |why: &str| SteerError::Refused {
        id: Arc::clone(&id),
        why: why.to_owned(),
    };
    let outcome = match is_said {
        false => Err(refused("too much waits for it already")),
        true => match time::timeout(ANSWER_TIME, answered).await {
            Ok(Ok(Ok(()))) => Ok(()),
            Ok(Ok(Err(why))) => Err(refused(&why)),
            Ok(Err(_)) => Err(refused("it has just ended")),
            Err(_) => Err(SteerError::Late { id: Arc::clone(&id) }),
        },
    };
    let why = outcome.as_ref().err().map(ToString::to_string);
    shared
        .notes
        .steered(&id, &tenant, &record, by, why.as_deref().map_or(Ok(()), Err));
    outcome
}

pub(super) fn kill(shared: &Shared, id: &str, by: &Who) -> Result<Vec<Arc<str>>, Unknown> {
    let why = match (by.who.as_str(), by.why.as_str()) {
        (who, "") => who.to_owned(),
        ("", why) => why.to_owned(),
        (who, why) => format!("{why} ({who})"),
    };
    let tree = {
        let table = shared.table();
        let id = Arc::clone(&table.entry(id)?.id);
        table.tree(&id)
    };
    Ok(kill_all(shared, &tree, id, &why, by))
}

/// A task was ended by somebody who has not asked us: what it wanted ends with it.
pub(super) fn kill_below(shared: &Shared, id: &Arc<str>, by: &Who) {
    let mut tree = shared.table().tree(id);
    tree.retain(|each| each != id);
    kill_all(shared, &tree, id, &by.why, by);
}

/// Ends those that have not ended, and gives their ids.
fn kill_all(shared: &Shared, tree: &[Arc<str>], root: &str, why: &str, by: &Who) -> Vec<Arc<str>> {
    let mut killed = Vec::new();
    let mut gone = Vec::new();
    {
        let mut table = shared.table();
        for each in tree {
            let Some(entry) = table.tasks.get_mut(each) else {
                continue;
            };
            if entry.ending().is_some() {
                continue;
            }
            // Who came first has said why.
            entry.killed.get_or_insert_with(|| why.to_owned());
            entry.progress.news.notify_one();
            shared.notes.killed(each, &entry.order.owner.tenant, root, by);
            let ticket = entry.ticket.or(entry.lease.map(|lease| lease.ticket));
            if let Some(ticket) = ticket
                && let Cancelled::Queued(_) = table.scheduler.cancel(shared.now(), ticket)
            {
                gone.push(Arc::clone(each));
            }
            killed.push(Arc::clone(each));
        }
    }
    for id in gone {
        let why = why.to_owned();
        shared.settle(&id, Some(How::Killed { why }));
    }
    shared.look.notify_one();
    killed
}
