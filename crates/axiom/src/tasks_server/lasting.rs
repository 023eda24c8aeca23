//! Calls that last, as tasks of MCP: a client that knows them gets a handle at once, and asks later, or is told, what it came to.
//!
//! A handle says itself what it is for: the tasks that were started or are waited for, or the race. Nothing of it is kept here, so it is
//! as good after the gateway was killed as before, for as long as its tasks are known.
//!
//! | call                   | working until                        | cancelled                              |
//! |------------------------|--------------------------------------|----------------------------------------|
//! | `spawn` with `wait_s`  | all have ended, or the time is over  | they are killed, with all they wanted  |
//! | `wait`                 | what was asked for, or the same      | the waiting ends; the tasks go on      |
//! | `race`                 | it is decided                        | its attempts are killed and removed    |

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axiom_core::channel::watch;
use axiom_core::time::unix_nanos;
use axiom_protocol::codes;
use axiom_runtime::order::Who;
use axiom_runtime::supervisor::{Phase, View};
use axiom_sandbox::exit::How;
use serde_json::{Value as Json, json};

use crate::builtin::wire::{Era, RpcError};
use crate::events::full;
use crate::tasks::{Desk, FoundRace, Mode, Refusal};

use super::calls::{Given, shown};

/// Tasks of one handle: it has to fit into a header. A call about more is answered when it is over, as without a handle.
pub(super) const TASKS_MAX: usize = 64;
/// How often a client may ask. News come sooner to those who listen.
const POLL_MS: u64 = 1000;
/// What stands in the end of a task that was killed because its handle was cancelled.
const CANCELLED: &str = "its client cancelled it";
/// Cancelled handles that are remembered; what they came to is known without that, but for `wait`.
const CANCELLED_MAX: usize = 1000;

/// A call that lasts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lasting {
    pub(super) work: Work,
    /// Milliseconds since 1970.
    created: i64,
    ttl_ms: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Work {
    Tasks {
        call: TasksCall,
        ids: Vec<Arc<str>>,
        mode: Mode,
        /// So many of the last lines of each.
        last: usize,
        /// Milliseconds since 1970 from which on nothing more is waited for.
        until: Option<i64>,
    },
    Race(String),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TasksCall {
    Spawn,
    Wait,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Working,
    Completed,
    Failed,
    Cancelled,
}

/// How one is.
pub(super) struct Seen {
    pub(super) status: Status,
    message: String,
    /// Nanoseconds since 1970.
    updated: i64,
}

/// Handles that clients have cancelled.
#[derive(Debug)]
pub(super) struct Cancels {
    those: Mutex<VecDeque<String>>,
    count: watch::Sender<u64>,
}

impl Default for Cancels {
    fn default() -> Cancels {
        Cancels {
            those: Mutex::default(),
            count: watch::channel(0).0,
        }
    }
}

impl Cancels {
    fn add(&self, id: String) {
        let mut those = self.those.lock().unwrap_or_else(PoisonError::into_inner);
        if those.len() >= CANCELLED_MAX {
            those.pop_front();
        }
        those.push_back(id);
        self.count.send_modify(|count| *count += 1);
    }

    fn has(&self, id: &str) -> bool {
        let those = self.those.lock().unwrap_or_else(PoisonError::into_inner);
        those.iter().any(|cancelled| cancelled == id)
    }
}

impl Status {
    fn name(self) -> &'static str {
        match self {
            Status::Working => "working",
            Status::Completed => "completed",
            Status::Failed => "failed",
            Status::Cancelled => "cancelled",
        }
    }
}

impl Lasting {
    /// `ttl_ms` is what its client asks for, if it does.
    pub(super) fn new(desk: &Desk, work: Work, ttl_ms: Option<u64>) -> Lasting {
        let kept_ms = u64::try_from(desk.kept_for().as_millis()).unwrap_or(u64::MAX);
        Lasting {
            work,
            created: now_ms(),
            ttl_ms: ttl_ms.unwrap_or(kept_ms).min(kept_ms),
        }
    }

    /// What its client knows it by.
    pub(super) fn id(&self) -> String {
        let (created, ttl) = (self.created, self.ttl_ms);
        match &self.work {
            Work::Race(id) => format!("race.{created}.{ttl}.{id}"),
            Work::Tasks {
                call,
                ids,
                mode,
                last,
                until,
            } => {
                let call = match (call, mode) {
                    (TasksCall::Spawn, _) => "spawn",
                    (TasksCall::Wait, Mode::All) => "wait-all",
                    (TasksCall::Wait, Mode::Any) => "wait-any",
                };
                let until = until.map(|until| until.to_string()).unwrap_or_default();
                format!("{call}.{created}.{ttl}.{last}.{until}.{}", ids.join("."))
            }
        }
    }

    /// # Errors
    /// When it is none, or its time is over.
    pub(super) fn read(id: &str) -> Result<Lasting, RpcError> {
        let read = Lasting::parse(id).filter(|lasting| {
            let ttl = i64::try_from(lasting.ttl_ms).unwrap_or(i64::MAX);
            now_ms() <= lasting.created.saturating_add(ttl)
        });
        read.ok_or_else(|| unknown(id))
    }

    fn parse(id: &str) -> Option<Lasting> {
        let mut parts = id.split('.');
        let call = parts.next()?;
        let created = parts.next()?.parse().ok()?;
        let ttl_ms = parts.next()?.parse().ok()?;
        let work = match call {
            "race" => Work::Race(parts.next()?.to_owned()),
            _ => {
                let (call, mode) = match call {
                    "spawn" => (TasksCall::Spawn, Mode::All),
                    "wait-all" => (TasksCall::Wait, Mode::All),
                    "wait-any" => (TasksCall::Wait, Mode::Any),
                    _ => return None,
                };
                let last = parts.next()?.parse().ok()?;
                let until = match parts.next()? {
                    "" => None,
                    until => Some(until.parse().ok()?),
                };
                let ids: Vec<Arc<str>> = parts.by_ref().map(Arc::from).collect();
                if ids.is_empty() || ids.len() > TASKS_MAX || ids.iter().any(|id| id.is_empty()) {
                    return None;
                }
                Work::Tasks {
                    call,
                    ids,
                    mode,
                    last,
                    until,
                }
            }
        };
        parts.next().is_none().then_some(Lasting {
            work,
            created,
            ttl_ms,
        })
    }

    /// How it is.
    ///
    /// # Errors
    /// When nobody knows it any more.
    pub(super) fn look(&self, desk: &Desk, cancels: &Cancels) -> Result<Seen, RpcError> {
        let created = self.created.saturating_mul(1_000_000);
        let is_cancelled = cancels.has(&self.id());
        match &self.work {
            Work::Race(id) => match desk.race(id).map_err(|_| unknown(id))? {
                FoundRace::Over(result) => Ok(Seen {
                    status: match (result.is_stopped, result.is_error) {
                        (true, _) => Status::Cancelled,
                        (_, true) => Status::Failed,
                        _ => Status::Completed,
                    },
                    message: first_line(&result.text),
                    updated: result.ended,
                }),
                FoundRace::Running(race) => {
                    let stage = race.stages().borrow().clone();
                    Ok(Seen {
                        status: match is_cancelled || race.is_stopping() {
                            true => Status::Cancelled,
                            false => Status::Working,
                        },
                        message: stage.words(),
                        updated: unix_nanos(),
                    })
                }
            },
            Work::Tasks {
                call,
                ids,
                mode,
                until,
                ..
            } => {
                let views: Vec<View> = ids.iter().filter_map(|id| desk.view(id).ok()).collect();
                if views.is_empty() {
                    return Err(unknown(&self.id()));
                }
                // One that is forgotten has ended.
                let alive = views.iter().filter(|view| view.phase != Phase::Ended).count();
                let ended = ids.len() - alive;
                let was_cancelled = |view: &View| {
                    let how = view.ending.as_ref().and_then(|ending| ending.how.as_ref());
                    matches!(how, Some(How::Killed { why }) if why.contains(CANCELLED))
                };
                let is_done = match mode {
                    Mode::All => alive == 0,
                    Mode::Any => ended > 0,
                };
                let is_late = until.is_some_and(|until| now_ms() >= until);
                let is_killed = *call == TasksCall::Spawn && views.iter().any(was_cancelled);
                let times = views.iter().flat_map(|view| {
                    let ended = view.ending.as_ref().map(|ending| ending.ended);
                    [view.started, ended]
                });
                Ok(Seen {
                    status: match (is_cancelled || is_killed, is_done || is_late) {
                        (true, _) => Status::Cancelled,
                        (false, true) => Status::Completed,
                        (false, false) => Status::Working,
                    },
                    message: format!("{ended} of {} ended", ids.len()),
                    updated: times.flatten().fold(created, i64::max),
                })
            }
        }
    }

    /// What the call comes to, once it is over.
    ///
    /// # Errors
    /// As the call itself.
    pub(super) async fn given(&self, desk: &Desk) -> Result<Given, Refusal> {
        match &self.work {
            Work::Race(id) => match desk.race(id)? {
                FoundRace::Over(result) => Ok(Given::of_race(&result)),
                FoundRace::Running(race) => Ok(Given::of_stage(&race)),
            },
            Work::Tasks {
                call,
                ids,
                mode,
                last,
                ..
            } => {
                let known: Vec<Arc<str>> = ids.iter().filter(|id| desk.view(id).is_ok()).cloned().collect();
                let views: Vec<View> = known.iter().filter_map(|id| desk.view(id).ok()).collect();
                let alive = views.iter().filter(|view| view.phase != Phase::Ended).count();
                let is_done = match mode {
                    Mode::All => alive == 0,
                    Mode::Any => alive < ids.len(),
                };
                let (tasks, text) = shown(desk, &known, *last).await?;
                let name = match call {
                    TasksCall::Spawn => "has_ended",
                    TasksCall::Wait => "is_done",
                };
                let mut structured = json!({"tasks": tasks});
                structured[name] = json!(is_done);
                Ok(Given {
                    structured,
                    text,
                    is_error: false,
                })
            }
        }
    }

    /// Waits until it is over, or the gateway ends.
    ///
    /// # Cancel safety
    /// Safe.
    pub(super) async fn settled(&self, desk: &Desk, cancels: &Cancels) {
        let mut count = cancels.count.subscribe();
        loop {
            count.borrow_and_update();
            let seen = self.look(desk, cancels);
            if seen.is_ok_and(|seen| seen.status == Status::Working) {
                tokio::select! {
                    // cancel-safe: it only waits.
                    () = self.over(desk) => {}
                    // cancel-safe: a change that was not seen is seen by the next call.
                    _ = count.changed() => {}
                    // cancel-safe: the value stays.
                    () = desk.closed() => return,
                }
            } else {
                return;
            }
        }
    }

    async fn over(&self, desk: &Desk) {
        match &self.work {
            Work::Race(id) => {
                if let Ok(FoundRace::Running(race)) = desk.race(id) {
                    race.over().await;
                }
            }
            Work::Tasks { ids, mode, until, .. } => {
                let left = until.map(|until| u64::try_from(until.saturating_sub(now_ms())).unwrap_or(0));
                let left = Duration::from_millis(left.unwrap_or(self.ttl_ms));
                desk.ends(ids, *mode, left.min(DAY), None).await;
            }
        }
    }

    /// Ends it. What its tasks become stands above.
    ///
    /// # Errors
    /// When it is over already, which a client of a session is told.
    pub(super) async fn cancel(&self, desk: &Desk, cancels: &Cancels, who: &str) -> Result<(), RpcError> {
        let seen = self.look(desk, cancels)?;
        if seen.status != Status::Working {
            let message = format!("the task is {} already", seen.status.name());
            return Err(RpcError::invalid_params(message));
        }
        let by = Who::new(who, CANCELLED);
        match &self.work {
            Work::Race(id) => {
                if let Ok(FoundRace::Running(race)) = desk.race(id) {
                    race.stop(desk, CANCELLED);
                }
            }
            Work::Tasks {
                call: TasksCall::Spawn,
                ids,
                ..
            } => {
                let killed = desk.kill(ids, &by).await;
                killed.map_err(|refusal| RpcError::new(codes::INTERNAL_ERROR, refusal.message))?;
            }
            Work::Tasks { .. } => {}
        }
        cancels.add(self.id());
        Ok(())
    }

    /// As the client's era writes it.
    pub(super) fn shown(&self, seen: &Seen, era: Era) -> Json {
        let [ttl, poll] = match era {
            Era::Legacy => ["ttl", "pollInterval"],
            Era::Modern => ["ttlMs", "pollIntervalMs"],
        };
        let mut shown = json!({
            "taskId": self.id(),
            "status": seen.status.name(),
            "statusMessage": seen.message,
            "createdAt": full(self.created.saturating_mul(1_000_000)),
            "lastUpdatedAt": full(seen.updated),
        });
        shown[ttl] = json!(self.ttl_ms);
        shown[poll] = json!(POLL_MS);
        shown
    }
}

/// Nobody waits longer at once.
const DAY: Duration = Duration::from_secs(86_400);

fn now_ms() -> i64 {
    unix_nanos() / 1_000_000
}

/// A moment so much later than now.
pub(super) fn after(wait: Duration) -> i64 {
    now_ms().saturating_add(i64::try_from(wait.as_millis()).unwrap_or(i64::MAX))
}

fn first_line(text: &str) -> String {
    text.lines()
        .next_back()
        .unwrap_or_default()
        .chars()
        .take(200)
        .collect()
}

fn unknown(id: &str) -> RpcError {
    let id: String = id.chars().take(40).collect();
    RpcError::invalid_params(format!("there is no task {id:?}, or none any more"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handle_says_what_it_is_for() {
        let check = |work: Work| {
            let lasting = Lasting {
                work,
                created: now_ms(),
                ttl_ms: 5000,
            };
            assert_eq!(
                Lasting::read(&lasting.id()).ok(),
                Some(lasting.clone()),
                "{}",
                lasting.id()
            );
            let old = Lasting {
                created: 1,
                ..lasting.clone()
            };
            assert_eq!(Lasting::read(&old.id()).ok(), None, "its time is over");
        };
        check(Work::Race("0a1b2c3d".to_owned()));
        let tasks = |call, mode, until| Work::Tasks {
            call,
            ids: vec!["0a1b2c3d4e5f".into(), "1a1b2c3d4e5f".into()],
            mode,
            last: 20,
            until,
        };
        check(tasks(TasksCall::Spawn, Mode::All, None));
        check(tasks(TasksCall::Wait, Mode::Any, Some(now_ms())));
        check(tasks(TasksCall::Wait, Mode::All, None));
        for bad in [
            "",
            "race",
            "race.1.x.a",
            "spawn.1.1.1.",
            "spawn.1.1.1..",
            "other.1.1.1..a",
            "race.1.1.a.b",
        ] {
            assert_eq!(Lasting::parse(bad), None, "{bad}");
        }
    }
}
