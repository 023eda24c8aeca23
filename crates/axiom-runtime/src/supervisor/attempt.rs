//! One start of one task, from its place to its end; and what comes after.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::time::Duration;

use axiom_core::time;
use axiom_sandbox::exit::How;
use axiom_sandbox::handle::StartError;
use axiom_sandbox::spec::Spec;

use super::follow::{self, Since, Watched, driven};
use super::ledger::{At, LedgerPage, Told, attempt_name};
use super::pools::Seat;
use super::steer;
use super::view::{Ending, Phase};
use super::{Shared, places};
use crate::order::{Order, Who};
use crate::schedule::{Cancelled, Lease, Outcome};

/// How an attempt ended, and what that says about whoever runs it.
pub(super) struct Over {
    /// `None`: nobody knows.
    pub(super) how: Option<How>,
    pub(super) outcome: Outcome,
}

pub(super) async fn run(shared: Arc<Shared>, id: Arc<str>, lease: Lease, attempt: u32) {
    // Apart, so that a task that runs does not hold what only its start needs.
    let over = match Box::pin(begin(&shared, &id, lease, attempt)).await {
        Ok(Begun::Runs(seat)) => {
            let watched = follow::run(&shared, &id, attempt, Since::Start).await;
            // Before the next one has its turn.
            drop(seat);
            match watched {
                Watched::Over(over) => over,
                // The supervisor is being closed. The task goes on.
                Watched::Closing => return,
                Watched::NeverBegun => follow::lost("nobody has started it".to_owned()),
            }
        }
        // The next supervisor starts it.
        Ok(Begun::Closed) => return,
        Err(over) => over,
    };
    shared.attempt_over(&id, lease, attempt, over);
}

/// A task that was found running or ended, and not all of it told.
pub(super) async fn go_on(shared: Arc<Shared>, id: Arc<str>, lease: Lease, attempt: u32) {
    match follow::run(&shared, &id, attempt, Since::Later).await {
        Watched::Over(over) => shared.attempt_over(&id, lease, attempt, over),
        Watched::Closing => {}
        // The supervisor before was killed in the midst of starting it.
        Watched::NeverBegun => {
            if let Err(stale) = shared
                .table()
                .scheduler
                .ended(shared.now(), lease, Outcome::Stopped)
            {
                tracing::error!(task = %id, %stale, "a task was found that has no place");
            }
            queue_again(&shared, &id);
        }
    }
}

/// What became of the start.
enum Begun {
    /// It runs, in its place if it has one in a pool.
    Runs(Option<Box<Seat>>),
    /// The supervisor was closed before anything of it was started.
    Closed,
}

async fn begin(shared: &Arc<Shared>, id: &Arc<str>, lease: Lease, attempt: u32) -> Result<Begun, Over> {
    let order = {
        let table = shared.table();
        let Some(entry) = table.tasks.get(id) else {
            return Err(stopped("it was forgotten".to_owned()));
        };
        if let Some(why) = &entry.killed {
            return Err(stopped(why.clone()));
        }
        Arc::clone(&entry.order)
    };
    let mut spec = Spec {
        id: attempt_name(id, attempt),
        ..order.spec.clone()
    };
    driven::prepare(shared, &order, &mut spec);
    let mut closing = shared.closing.subscribe();
    let seat = tokio::select! {
        // What it has started ends when it was idle for long enough. Not cancel-safe otherwise.
        _ = closing.wait_for(|is_closing| *is_closing) => return Ok(Begun::Closed),
        seat = shared.pools.seat(&order, &shared.spawner) => seat.map_err(without_seat)?,
    };
    if let Some(seat) = &seat {
        spec.executor = seat.executor.clone();
    }
    let began = time::now();
    let started = shared.spawner.start(shared.ledger.tasks(), &spec).await;
    let took = began.elapsed();
    let pid = match started {
        Ok(running) => Some(running.command),
        Err(error) => match unstarted(&error) {
            Some(over) => return Err(over),
            None => None,
        },
    };
    let mut table = shared.table();
    if let Err(stale) = table.scheduler.started(shared.now(), lease, took) {
        tracing::error!(task = %id, %stale, "a task was started that has no place");
    }
    let now = time::unix_nanos();
    if let Some(entry) = table.tasks.get_mut(id) {
        entry.phase = Phase::Running;
        entry.started = Some(now);
        entry.pid = pid;
        entry.is_frozen = false;
        entry.said.get_or_insert_default();
    }
    drop(table);
    shared.notes.started(id, &order, attempt, pid, now);
    // One more may be starting now.
    shared.look.notify_one();
    Ok(Begun::Runs(seat.map(Box::new)))
}

fn without_seat(why: String) -> Over {
    Over {
        how: Some(How::NotStarted { why }),
        outcome: Outcome::BackendFailed,
    }
}

fn stopped(why: String) -> Over {
    Over {
        how: Some(How::Killed { why }),
        outcome: Outcome::Stopped,
    }
}

/// Why nothing runs; `None` if nobody knows whether it does.
fn unstarted(error: &StartError) -> Option<Over> {
    let outcome = match error {
        StartError::Unheard { .. } => return None,
        // The command is to blame, or what was asked for it.
        StartError::Spec(_) | StartError::NotStarted(_) => Outcome::Done,
        StartError::Folder { .. } | StartError::Spawner { .. } => Outcome::BackendFailed,
    };
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let hint = error.hint().map(|hint| format!("; {hint}"));
    let why = format!("{error}{}{}", cause.unwrap_or_default(), hint.unwrap_or_default());
    Some(Over {
        how: Some(How::NotStarted { why }),
        outcome,
    })
}

/// What becomes of a task whose attempt is over.
enum Then {
    End,
    Rest { pause: Duration, page: LedgerPage },
}

impl Shared {
    /// An attempt is over and all of it recorded: the task is started again, or has ended.
    fn attempt_over(self: &Arc<Self>, id: &Arc<str>, lease: Lease, attempt: u32, over: Over) {
        let Over { how, outcome } = over;
        let is_failure = how != Some(How::Code(0));
        // What it has not read it will never read.
        self.ledger.drop_input(id);
        let mut killed_outside = None;
        let then = {
            let mut table = self.table();
            if let Err(stale) = table.scheduler.ended(self.now(), lease, outcome) {
                tracing::error!(task = %id, %stale, "a task ended that has no place");
            }
            let Some(entry) = table.tasks.get_mut(id) else {
                return;
            };
            (entry.lease, entry.said, entry.pid, entry.agent) = (None, None, None, None);
            entry.over = attempt;
            // Its shim was asked to, by somebody who has not asked us. It is meant, all the same.
            if let (Some(How::Killed { why }), None) = (&how, &entry.killed) {
                entry.killed = Some(why.clone());
                killed_outside = Some(why.clone());
            }
            let now = time::unix_nanos();
            let restart = entry.order.restart;
            let window = i64::try_from(restart.window.0.as_nanos()).unwrap_or(i64::MAX);
            entry.restarts.retain(|at| now.saturating_sub(*at) < window);
            let restarts = u32::try_from(entry.restarts.len()).unwrap_or(u32::MAX);
            let pause = restart.pause_before(restarts, is_failure, spread());
            match pause.filter(|_| entry.killed.is_none()) {
                None => Then::End,
                Some(pause) => {
                    entry.phase = Phase::Resting;
                    entry.restarts.push(now);
                    let page = entry.page(None, false);
                    Then::Rest { pause, page }
                }
            }
        };
        if let Some(why) = killed_outside {
            // And whoever ends a task ends what it wanted.
            steer::kill_below(self, id, &Who::new("", why));
        }
        self.look.notify_one();
        match then {
            Then::End => self.settle(id, how),
            Then::Rest { pause, page } => {
                self.write_page(id, &page);
                self.tell_end(id, &page.order, how.as_ref(), attempt, Some(pause));
                self.also("a task that rests", rest(Arc::clone(self), Arc::clone(id), pause));
            }
        }
    }

    /// It has ended for good.
    pub(super) fn settle(&self, id: &Arc<str>, how: Option<How>) {
        let ended = time::unix_nanos();
        let ending = Ending { how, ended };
        let (page, attempt) = {
            let mut table = self.table();
            let Some(entry) = table.tasks.get_mut(id) else {
                return;
            };
            let attempt = entry.attempt;
            let page = entry.page(Some(ending.clone()), self.options.recording.is_some());
            (page, attempt)
        };
        // Before anybody hears of it, so that it stays so.
        self.write_page(id, &page);
        let how = ending.how.as_ref();
        self.tell_end(id, &page.order, how, attempt, None);
        self.table().end(id, ending.clone());
        self.prune();
    }

    /// Tells in the event log that an attempt is over, unless that was told: by an earlier supervisor, which was killed then.
    pub(super) fn tell_end(
        &self,
        id: &Arc<str>,
        order: &Order,
        how: Option<&How>,
        attempt: u32,
        again_in: Option<Duration>,
    ) {
        if self.options.recording.is_none() {
            return;
        }
        let Some(progress) = self.progress(id) else { return };
        let end = match again_in {
            Some(_) => Told::rests(attempt),
            None => Told::ended(attempt),
        };
        let kept = progress.kept();
        if kept.told >= end {
            return;
        }
        if !kept.has_file {
            // It has said nothing. That its end was told needs a place.
            let at = At::settled(kept.stored, kept.told);
            match self.ledger.set_at(id, &at) {
                Ok(()) => drop(progress.change(|kept| kept.has_file = true)),
                Err(error) => {
                    tracing::warn!(task = %id, %error, "whether a task's end is recorded cannot be noted");
                }
            }
        }
        self.notes.ended(id, order, how, attempt, again_in, end);
    }

    pub(super) fn write_page(&self, id: &str, page: &LedgerPage) {
        if let Err(error) = self.ledger.write(id, page) {
            // The folder of its last attempt says the same, so the next supervisor finds out again.
            tracing::error!(task = id, %error, "how a task ended cannot be written down");
        }
    }

    /// Forgets tasks that ended long ago, and the oldest of too many.
    pub(super) fn prune(&self) {
        let oldest = time::unix_nanos()
            .saturating_sub(i64::try_from(self.options.kept_for.as_nanos()).unwrap_or(i64::MAX));
        loop {
            let old = self.table().take_old(oldest, self.options.kept_tasks);
            let Some(id) = old else { return };
            match self.remove(&id) {
                Ok(()) => self.notes.forgotten(&id),
                Err(error) => tracing::warn!(task = %id, %error, "a task that ended long ago stays"),
            }
        }
    }
}

/// Waits until it is time for a new start, or somebody wants no more of it.
pub(super) async fn rest(shared: Arc<Shared>, id: Arc<str>, pause: Duration) {
    let Some(progress) = shared.progress(&id) else {
        return;
    };
    let mut closing = shared.closing.subscribe();
    let until = time::now() + pause;
    while time::now() < until && !shared.is_killed(&id) {
        tokio::select! {
            // cancel-safe: a timer.
            () = time::sleep_until(until) => {}
            // cancel-safe: a permit that was given stays. It may be for something else.
            () = progress.news.notified() => {}
            // cancel-safe: the value stays.
            _ = closing.wait_for(|is_closing| *is_closing) => return,
        }
    }
    queue_again(&shared, &id);
}

/// Lets a task wait for its next start.
pub(super) fn queue_again(shared: &Arc<Shared>, id: &Arc<str>) {
    let refused = {
        let mut table = shared.table();
        let Some(entry) = table.tasks.get_mut(id) else {
            return;
        };
        (entry.lease, entry.said) = (None, None);
        match &entry.killed {
            Some(why) => Some(How::Killed { why: why.clone() }),
            None => {
                let job = places::job(shared, id, &Arc::clone(&entry.order));
                let submitted = table.scheduler.submit(shared.now(), job);
                match (submitted, table.tasks.get_mut(id)) {
                    (Ok(ticket), Some(entry)) => {
                        entry.phase = Phase::Queued;
                        entry.ticket = Some(ticket);
                        None
                    }
                    (Ok(ticket), None) => {
                        let _: Cancelled<_> = table.scheduler.cancel(shared.now(), ticket);
                        return;
                    }
                    (Err(refused), _) => Some(How::NotStarted {
                        why: refused.why.to_string(),
                    }),
                }
            }
        }
    };
    match refused {
        None => shared.look.notify_one(),
        Some(how) => shared.settle(id, Some(how)),
    }
}

impl super::table::Entry {
    pub(super) fn page(&self, ending: Option<Ending>, is_told: bool) -> LedgerPage {
        LedgerPage {
            created: self.created,
            order: Arc::clone(&self.order),
            restarts: self.restarts.clone(),
            over: self.over,
            killed: self.killed.clone(),
            ending,
            is_told,
        }
    }
}

fn spread() -> u8 {
    // By chance: many that failed together are not to start together.
    RandomState::new().hash_one(0).to_le_bytes()[0]
}
