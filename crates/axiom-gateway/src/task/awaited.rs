//! A session server's task that somebody waits for, and what is thought of a wait that came to nothing.
//!
//! `tasks/result` may end without the task having ended: some servers refuse it while the task runs, and whatever is
//! between may cut a response that is silent for a minute. The work goes on all the same, and a client that took this for
//! its end would begin it a second time. So the server is asked how the task is, and then for its result again.

use std::sync::Arc;
use std::time::Duration;

use axiom_core::time;
use axiom_core::time::Instant;
use axiom_protocol::text::quoted;
use bytes::Bytes;

use super::creation::{fetch, pause_of};
use super::words::{self, Status};
use crate::exchange::{CallState, Exchange, Final};
use crate::fault::Fault;
use crate::session::Session;
use crate::upstream::Link;

/// The pause after a fault of the transport: where the server's task is, is not known to be busy.
const FAULT_PAUSE: Duration = Duration::from_secs(1);
/// The pause when not even `tasks/get` was answered.
const SILENT_PAUSE: Duration = Duration::from_secs(10);

/// A task that one call waits for and nobody else knows of. Dropped before it has ended, it is cancelled.
#[derive(Debug)]
pub(crate) struct Awaited {
    pub link: Arc<Link>,
    pub id: String,
    /// The longest that is waited for it.
    pub until: Instant,
    /// The server has said that it has ended: what it answers now is the outcome.
    pub has_ended: bool,
    is_settled: bool,
}

/// What a wait came to that brought no result.
pub(crate) enum Doubt {
    /// There is nothing better to be had.
    Stands,
    /// The result is to be asked for again after this.
    Again(Duration),
}

/// A call between two requests for its task's result, as its client can cancel it.
struct Between<'a> {
    session: Option<&'a Arc<Session>>,
    client_id: &'a Bytes,
    call: Arc<CallState>,
}

impl Awaited {
    pub(crate) fn new(link: &Arc<Link>, id: &str, patience: Duration) -> Awaited {
        Awaited {
            link: Arc::clone(link),
            id: id.to_owned(),
            until: time::now() + patience,
            has_ended: false,
            is_settled: false,
        }
    }

    /// Nobody need tell the server anything: the task has ended, or goes on by intent.
    pub(crate) fn settle(mut self) {
        self.is_settled = true;
    }

    /// What the call comes to after `outcome`, which was no result: the same, or another wait.
    pub(crate) async fn again(
        mut self,
        outcome: Result<Final, Fault>,
        client_id: &Bytes,
        session: Option<&Arc<Session>>,
    ) -> Result<Result<Final, Box<Exchange>>, Fault> {
        let between = Between::new(session, client_id);
        let next = tokio::select! {
            biased;
            // cancel-safe: the flag stays set
            () = between.call.wait_cancelled() => return Err(Fault::Cancelled),
            // Dropped, it has asked a question whose answer nobody needs.
            next = self.next(outcome.as_ref().err()) => next,
        };
        if next {
            drop(between);
            return Ok(Err(Box::new(fetch(client_id, session, self).await?)));
        }
        if outcome.is_ok() {
            self.link.tasks.release(&self.id);
            self.settle();
        }
        outcome.map(Ok)
    }

    /// True when the result is to be asked for again, and it is time.
    async fn next(&mut self, fault: Option<&Fault>) -> bool {
        match doubt(&self.link, &self.id, &mut self.has_ended, fault).await {
            Doubt::Again(pause) if time::now() + pause < self.until => {
                time::sleep(pause).await;
                true
            }
            Doubt::Again(_) | Doubt::Stands => false,
        }
    }
}

impl Drop for Awaited {
    fn drop(&mut self) {
        if !self.is_settled && !self.link.is_down() {
            self.link.cancel_task_later(&self.id);
        }
    }
}

impl<'a> Between<'a> {
    fn new(session: Option<&'a Arc<Session>>, client_id: &'a Bytes) -> Between<'a> {
        let call = CallState::at_no_server();
        if let Some(session) = session {
            session.with(|state| state.calls.insert(client_id.clone(), Arc::clone(&call)));
        }
        Between {
            session,
            client_id,
            call,
        }
    }
}

impl Drop for Between<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session {
            session.with(|state| {
                let calls = &mut state.calls;
                // The client may have used the id again already.
                if calls
                    .get(self.client_id)
                    .is_some_and(|call| Arc::ptr_eq(call, &self.call))
                {
                    calls.remove(self.client_id);
                }
            });
        }
    }
}

/// What is thought of an error (no `fault`) or a fault in place of the task's result. An error is the outcome only if the
/// task was known to have ended before it was asked for.
pub(crate) async fn doubt(link: &Arc<Link>, id: &str, has_ended: &mut bool, fault: Option<&Fault>) -> Doubt {
    let is_answer_unfit = matches!(fault, Some(Fault::Protocol { .. } | Fault::Cancelled));
    if link.is_down() || is_answer_unfit || *has_ended && fault.is_none() {
        return Doubt::Stands;
    }
    let floor = fault.map_or(Duration::ZERO, |_| FAULT_PAUSE);
    let params = [b"{\"taskId\":", &quoted(id)[..], b"}"].concat();
    let Ok(seen) = link.request("tasks/get", &params).await else {
        return Doubt::Again(SILENT_PAUSE);
    };
    let task = seen.envelope.result;
    match task.and_then(|task| Some((task, words::status_of(&seen.bytes, task)?))) {
        // It knows nothing of the task, or the outcome is that there is none.
        None | Some((_, Status::Cancelled)) => Doubt::Stands,
        Some((_, status)) if status.is_final() => {
            *has_ended = true;
            Doubt::Again(floor)
        }
        Some((task, _)) => Doubt::Again(pause_of(&seen.bytes, task).max(floor)),
    }
}
