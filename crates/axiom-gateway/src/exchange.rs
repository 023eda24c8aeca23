//! One call in flight: what comes back from the server, turned into what the client expects, until exactly one outcome.
//!
//! The server answers under an id of ours, so that any number of clients may use the same ids; here the client's own id
//! and progress token are put back. Nothing else of an answer is touched, and a large one is not even held.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axiom_core::Limit;
use axiom_core::mailbox::Letters;
use axiom_protocol::codes;
use axiom_protocol::envelope::Kind;
use axiom_protocol::method::Method;
use axiom_protocol::revision::Era;
use axiom_protocol::rewrite::Edit;
use bytes::Bytes;
use http::StatusCode;
use tokio::sync::Notify;

use crate::fault::Fault;
use crate::message::Message;
use crate::session::Session;
use crate::task::Awaited;
use crate::upstream::{Aside, Link};

pub(crate) use answer::Answered;
use answer::HttpAnswer;
pub(crate) use rest::Rest;

mod answer;
mod rest;

/// What a call yields next.
#[derive(Debug)]
pub(crate) enum Step {
    /// A notification of this call, or a question of the server to this client: to be passed on, more follows.
    Notice(Bytes),
    /// The one outcome. Nothing follows.
    Done(Result<Final, Fault>),
}

/// What a server says in a call.
#[derive(Debug)]
pub(crate) enum Heard {
    Step(Step),
    /// A question to a client that answers by calling again; only where [`Outgoing`] takes questions.
    ///
    /// [`Outgoing`]: crate::upstream::Outgoing
    Asked(Box<Message>),
}

impl From<Step> for Heard {
    fn from(step: Step) -> Heard {
        Heard::Step(step)
    }
}

/// A server's whole answer, with the client's id in it.
#[derive(Debug)]
pub(crate) struct Final {
    /// The HTTP status the server gave, 200 where there is none.
    pub status: StatusCode,
    /// True for a result, false for a JSON-RPC error.
    pub is_result: bool,
    /// What has arrived, in order.
    pub parts: VecDeque<Bytes>,
    /// The rest of a large answer that is still on its way, and its length where the server said it.
    pub rest: Option<Rest>,
}

/// A call that can be found by others: by the client to cancel it.
#[derive(Debug)]
pub(crate) struct CallState {
    /// Where it is on its way, and under which id.
    at: Mutex<Option<(Arc<Link>, Bytes)>>,
    cancelled: AtomicBool,
    wake: Notify,
}

/// One call in flight. Dropping it before its outcome gives the call up; what that means to the server is the era's
/// rule: a modern one is told to stop, a legacy one goes on (see [`Exchange::cancel_on_drop`]).
#[derive(Debug)]
pub(crate) struct Exchange {
    link: Arc<Link>,
    source: Source,
    ids: Ids,
    call: Arc<CallState>,
    /// The legacy session that made the call.
    session: Option<Arc<Session>>,
    /// Where questions may come from besides.
    aside: Option<Aside>,
    /// Silence after which the call is given up.
    silence: Duration,
    limit: Limit,
    done: bool,
    cancel_on_drop: bool,
    /// The server's task that the call waits for and nobody else knows of: it ends with the call.
    task: Option<Box<Awaited>>,
}

/// Who answers what a server asks in the middle of a call.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Asker<'a> {
    /// Nobody: the call is the gateway's own, or its client cannot be asked.
    Nobody,
    /// A legacy client, in its session.
    Session(&'a Arc<Session>),
    /// A modern client, by calling again.
    Caller,
}

/// How the client and the server name the same call.
#[derive(Debug, Clone)]
pub(crate) struct Ids {
    pub client_id: Bytes,
    /// Equal to `client_id` where the server may see the client's own.
    pub upstream_id: Bytes,
    /// The progress token as the client sent it, where it was replaced by `upstream_id`. A client that comes back may have
    /// another by then, or none.
    pub client_token: Option<Bytes>,
    /// True if the server knows the call's token, if there is one, as `upstream_id`.
    pub token_replaced: bool,
}

/// Something under way that is kept while others are waited for too.
pub(crate) type Waiting<T> = Pin<Box<dyn Future<Output = Result<T, Fault>> + Send>>;

pub(crate) enum Source {
    /// A shared pipe: the link sorts what comes by our id.
    Letters(Letters<Letter>),
    /// An HTTP request under way.
    Posting(Waiting<Answered>),
    // Boxed: an event stream's state is large, and most answers are one JSON body.
    Answer(Box<HttpAnswer>),
}

/// What a pipe's reader puts into a call's mailbox.
#[derive(Debug)]
pub(crate) enum Letter {
    /// A server message that belongs to the call.
    Notice(Message),
    /// A question to the client, already under the id the client will answer to.
    Question(Bytes),
    /// A question as the server asked it.
    Asked(Box<Message>),
    Answer(Message),
    Down(Fault),
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Source::Letters(_) => "Letters",
            Source::Posting(_) => "Posting",
            Source::Answer(_) => "Answer",
        })
    }
}

impl CallState {
    pub(crate) fn new(link: Arc<Link>, upstream_id: Bytes) -> Arc<CallState> {
        CallState::at(Some((link, upstream_id)))
    }

    /// A call that waits for its own client.
    pub(crate) fn at_no_server() -> Arc<CallState> {
        CallState::at(None)
    }

    fn at(at: Option<(Arc<Link>, Bytes)>) -> Arc<CallState> {
        Arc::new(CallState {
            at: Mutex::new(at),
            cancelled: AtomicBool::new(false),
            wake: Notify::new(),
        })
    }

    /// The client gave the call up explicitly: the server is told and the call ends.
    pub(crate) fn cancel(&self, reason: Option<&str>) {
        self.cancelled.store(true, Ordering::Release);
        self.wake.notify_one();
        if let Some((link, upstream_id)) = &*self.lock() {
            link.cancel_later(upstream_id, reason);
        }
    }

    /// True for a call that no server knows of.
    pub(crate) fn is_at_no_server(&self) -> bool {
        self.lock().is_none()
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::Acquire)
    }

    fn moved_to(&self, link: &Arc<Link>) {
        if let Some((at, _)) = &mut *self.lock() {
            *at = Arc::clone(link);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Arc<Link>, Bytes)>> {
        // No critical section leaves it half-changed.
        self.at.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the client gives the call up.
    ///
    /// # Cancel safety
    /// Safe: the flag stays set.
    pub(crate) async fn wait_cancelled(&self) {
        while !self.cancelled.load(Ordering::Acquire) {
            // A permit is kept if the notification came between the load and here.
            self.wake.notified().await;
        }
    }
}

impl Exchange {
    pub(crate) fn new(
        link: Arc<Link>,
        source: Source,
        ids: Ids,
        call: Arc<CallState>,
        session: Option<Arc<Session>>,
        aside: Option<Aside>,
    ) -> Exchange {
        link.call_begun();
        if let Some(session) = &session {
            session.with(|state| state.calls.insert(ids.client_id.clone(), Arc::clone(&call)));
        }
        let silence = link.upstream.options.call_timeout;
        Exchange {
            link,
            source,
            ids,
            call,
            session,
            aside,
            silence,
            limit: Limit::new(silence),
            done: false,
            cancel_on_drop: true,
            task: None,
        }
    }

    /// Whether giving the call up by dropping this tells the server to stop.
    pub(crate) fn cancel_on_drop(&mut self, cancel: bool) {
        self.cancel_on_drop = cancel;
    }

    pub(crate) fn cancels_on_drop(&self) -> bool {
        self.cancel_on_drop
    }

    /// No limit on silence: for a subscription, which may have nothing to say for hours.
    pub(crate) fn wait_forever(&mut self) {
        self.silence = Duration::MAX;
        self.limit = Limit::new(self.silence);
    }

    /// Another limit on silence than the server's.
    pub(crate) fn wait_up_to(&mut self, silence: Duration) {
        self.silence = silence;
        self.limit = Limit::new(silence);
    }

    /// The call waits for this task of the server, and no longer than is waited for that.
    pub(crate) fn works_for_task(&mut self, task: Awaited) {
        self.wait_up_to(task.until.saturating_duration_since(axiom_core::time::now()));
        self.task = Some(Box::new(task));
    }

    /// The task that the call has waited for without result, and for whom it did.
    pub(crate) fn unfinished(&mut self) -> Option<(Awaited, Option<Arc<Session>>)> {
        let task = self.task.take_if(|_| self.done)?;
        Some((*task, self.session.clone()))
    }

    /// The outcome alone, whole. What comes before it goes to the client outside of the call.
    pub(crate) async fn finish(mut self) -> Result<Final, Fault> {
        loop {
            match self.next().await {
                Step::Notice(notice) => self.divert(&notice),
                Step::Done(result) => {
                    let bytes_max = self.link.limits().bytes_max;
                    return result?.gathered(bytes_max, self.server()).await;
                }
            }
        }
    }

    /// Sends something of this call to its client outside of it.
    pub(crate) fn divert(&self, notice: &[u8]) {
        if let Some(session) = &self.session {
            session.send(notice, self.link.upstream.limits.replay_bytes_max);
        }
    }

    /// The same call, asked for again by its client: what comes is under the new request's id and progress token.
    pub(crate) fn taken_up_by(&mut self, client_id: Bytes, client_token: Option<Bytes>) {
        self.ids.client_id = client_id;
        self.ids.client_token = client_token;
        self.limit = Limit::new(self.silence);
    }

    /// The call may come to a task: its progress token stays good after its answer.
    pub(crate) fn keep_token(&self) {
        if let (Some(session), Some(token)) = (&self.session, &self.ids.client_token) {
            self.link.tokens.keep(&self.ids.upstream_id, token, session);
        }
    }

    /// True if its progress can be told to the client.
    pub(crate) fn has_token(&self) -> bool {
        self.ids.client_token.is_some()
    }

    /// Gives the call up, and tells the server.
    pub(crate) fn cancel(&self) {
        self.call.cancel(Some("the client cancelled it"));
    }

    /// Gives the call the id that its client knows it by, where it was made under another one.
    pub(crate) fn known_as(&mut self, client_id: Bytes) {
        let made_under = std::mem::replace(&mut self.ids.client_id, client_id);
        if let Some(session) = &self.session {
            session.with(|state| {
                state.calls.remove(&made_under);
                state
                    .calls
                    .insert(self.ids.client_id.clone(), Arc::clone(&self.call));
            });
        }
    }

    /// Notes that the call waits for its client to come back, or no longer does.
    pub(crate) fn set_parked(&self, is_parked: bool) {
        self.link.set_parked(&self.ids.upstream_id, is_parked);
    }

    pub(crate) fn client_id(&self) -> Bytes {
        self.ids.client_id.clone()
    }

    pub(crate) fn server(&self) -> &str {
        &self.link.upstream.name
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }

    /// What comes next. After `Done` there is nothing more.
    ///
    /// # Cancel safety
    /// Safe: everything received is kept in `self` until it is returned.
    pub(crate) async fn next(&mut self) -> Step {
        loop {
            if let Heard::Step(step) = self.hear().await {
                return step;
            }
        }
    }

    /// Like [`next`](Exchange::next), for callers who take questions.
    pub(crate) async fn hear(&mut self) -> Heard {
        let mut heard = self.hear_in_time().await;
        self.follow();
        if let (Heard::Step(Step::Notice(notice)), Some(session), true) =
            (&mut heard, &self.session, self.link.greeting.tasks)
            && self.link.era() == Era::Legacy
            && let Ok(message) = Message::scan(notice.clone(), &self.link.limits())
            // A question has its handles already.
            && message.kind() == Kind::Notification
        {
            *notice = self.link.with_handles(session, &message);
        }
        if let Heard::Step(Step::Done(result)) = &heard {
            self.end(result);
        } else {
            self.limit = Limit::new(self.silence);
        }
        heard
    }

    /// A session that its server forgot was opened anew, perhaps: then the call is there.
    fn follow(&mut self) {
        let Source::Answer(answer) = &self.source else {
            return;
        };
        if Arc::ptr_eq(answer.link(), &self.link) {
            return;
        }
        let link = Arc::clone(answer.link());
        link.call_came();
        self.link.call_went();
        if self.aside.is_some() {
            self.aside = link.asides();
        }
        self.call.moved_to(&link);
        self.link = link;
    }

    /// Refuses what the server has asked and nobody will answer any more.
    fn refuse_left_over(&mut self) {
        let reason = "the call has ended";
        while let Some(question) = self.aside.as_mut().and_then(Aside::left_over) {
            self.link.refuse(question.id().unwrap_or_default(), reason);
        }
        if let Source::Letters(letters) = &mut self.source {
            while let Some(letter) = letters.waiting() {
                if let Letter::Asked(question) = letter {
                    self.link.refuse(question.id().unwrap_or_default(), reason);
                }
            }
        }
    }

    async fn hear_in_time(&mut self) -> Heard {
        let call = Arc::clone(&self.call);
        let silence = self.silence;
        let link = &self.link;
        let asker = match &self.session {
            Some(session) => Asker::Session(session),
            None if self.aside.is_some() => Asker::Caller,
            None => Asker::Nobody,
        };
        tokio::select! {
            biased;
            // cancel-safe: see `next_from`
            step = next_from(&mut self.source, &self.ids, asker) => step,
            // cancel-safe: a question is taken only when it is returned
            question = heard_aside(self.aside.as_mut()) => Heard::Asked(question),
            // cancel-safe: the flag stays set
            () = call.wait_cancelled() => Step::Done(Err(Fault::Cancelled)).into(),
            // cancel-safe: the limit is kept in self
            () = self.limit.reached() => {
                // Not awaited: a server that is silent may not take this either.
                link.cancel_later(&self.ids.upstream_id, Some("timeout"));
                Step::Done(Err(Fault::Timeout { server: link.upstream.name.to_string(), after: silence })).into()
            }
        }
    }

    fn end(&mut self, result: &Result<Final, Fault>) {
        self.done = true;
        self.refuse_left_over();
        self.link.call_ended(result.is_err());
        self.leave_session();
        match result {
            // The task is cancelled with it.
            Err(Fault::Cancelled | Fault::Timeout { .. }) => self.task = None,
            Ok(answer) if answer.is_result => {
                if let Some(task) = self.task.take() {
                    task.link.tasks.release(&task.id);
                    task.settle();
                }
            }
            // Perhaps it goes on: see `unfinished`.
            Ok(_) | Err(_) => {}
        }
        if let Err(fault) = result {
            // A cancelled call gets no answer any more; it must not be waited for.
            self.link.forget(&self.ids.upstream_id);
            if !matches!(fault, Fault::Cancelled) {
                self.link.upstream.note_error(Some(fault.to_string()));
            }
            tracing::info!(server = self.server(), %fault, "call failed");
        }
    }

    fn leave_session(&self) {
        if let Some(session) = &self.session {
            session.with(|state| {
                // The client may have used the id again already.
                let calls = &mut state.calls;
                if calls
                    .get(&self.ids.client_id)
                    .is_some_and(|call| Arc::ptr_eq(call, &self.call))
                {
                    calls.remove(&self.ids.client_id);
                }
            });
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        self.refuse_left_over();
        self.link.call_ended(false);
        self.leave_session();
        self.link.forget(&self.ids.upstream_id);
        if self.cancel_on_drop {
            self.link.cancel_later(&self.ids.upstream_id, None);
        } else if let Some(task) = self.task.take() {
            task.settle();
        }
    }
}

async fn heard_aside(aside: Option<&mut Aside>) -> Box<Message> {
    match aside {
        Some(aside) => aside.next().await,
        None => std::future::pending().await,
    }
}

/// Cancel-safe: a source keeps what it has received until this returns it.
async fn next_from(source: &mut Source, ids: &Ids, asker: Asker<'_>) -> Heard {
    loop {
        match source {
            Source::Letters(letters) => {
                if let Some(heard) = from_letter(letters.next().await, ids) {
                    return heard;
                }
            }
            Source::Posting(posting) => match posting.as_mut().await {
                Ok(answered) => *source = Source::Answer(Box::new(HttpAnswer::new(answered))),
                Err(fault) => return Step::Done(Err(fault)).into(),
            },
            Source::Answer(answer) => return answer.next(ids, asker).await,
        }
    }
}

/// `None` for progress that the client has not asked for.
fn from_letter(letter: Letter, ids: &Ids) -> Option<Heard> {
    let step = match letter {
        Letter::Notice(message) => match restore_notice(&message, ids) {
            Some(notice) => Step::Notice(notice),
            None => return None,
        },
        Letter::Question(bytes) => Step::Notice(bytes),
        Letter::Asked(message) => return Some(Heard::Asked(message)),
        Letter::Answer(message) => Step::Done(Ok(restore_answer(&message, ids, StatusCode::OK))),
        Letter::Down(fault) => Step::Done(Err(fault)),
    };
    Some(step.into())
}

/// A response with the client's id in place of ours.
fn restore_answer(message: &Message, ids: &Ids, status: StatusCode) -> Final {
    let mut parts = VecDeque::new();
    match message.envelope.id {
        Some(id) if ids.client_id != ids.upstream_id => {
            parts.push_back(message.bytes.slice(..id.start as usize));
            parts.push_back(ids.client_id.clone());
            parts.push_back(message.bytes.slice(id.end as usize..));
        }
        _ => parts.push_back(message.bytes.clone()),
    }
    if let Some(at) = message.envelope.in_result.subscription_id
        && let Some(id) = message.envelope.id
        && ids.client_id != ids.upstream_id
    {
        // The end of a subscription names it once more.
        let edit = |at| Edit {
            at,
            with: &ids.client_id,
        };
        parts = VecDeque::from([message.with(&mut [edit(id), edit(at)])]);
    }
    let is_result = message.kind() == Kind::Response;
    let status = if is_result {
        status
    } else {
        status_of_error(message.envelope.error_code, status)
    };
    Final {
        status,
        is_result,
        parts,
        rest: None,
    }
}

/// The HTTP status that 2026-07-28 demands with an error; a server on a pipe has none to give.
fn status_of_error(code: Option<i64>, status: StatusCode) -> StatusCode {
    match code {
        Some(codes::HEADER_MISMATCH | codes::MISSING_CAPABILITY | codes::UNSUPPORTED_VERSION) => {
            StatusCode::BAD_REQUEST
        }
        Some(codes::METHOD_NOT_FOUND) => StatusCode::NOT_FOUND,
        _ => status,
    }
}

/// A notification with the client's progress token or subscription id in place of ours. `None` for progress under a token
/// that is not this call's: to the client it may mean another of its calls.
fn restore_notice(message: &Message, ids: &Ids) -> Option<Bytes> {
    let mut edits = Vec::new();
    if message.method() == Method::Progress && ids.token_replaced {
        let at = message.envelope.param.progress_token?;
        let with = ids.client_token.as_ref()?;
        let is_ours = message.raw(Some(at)) == Some(&ids.upstream_id[..]);
        edits.push(is_ours.then_some(Edit { at, with })?);
    }
    if let Some(at) = message.envelope.in_meta.subscription_id
        && ids.client_id != ids.upstream_id
    {
        edits.push(Edit {
            at,
            with: &ids.client_id,
        });
    }
    Some(if edits.is_empty() {
        message.bytes.clone()
    } else {
        message.with(&mut edits)
    })
}

impl Final {
    /// An answer of the gateway's own making.
    pub(crate) fn whole(bytes: Bytes) -> Final {
        Final {
            status: StatusCode::OK,
            is_result: true,
            parts: VecDeque::from([bytes]),
            rest: None,
        }
    }

    /// The same answer with all of it arrived.
    pub(crate) async fn gathered(self, bytes_max: usize, server: &str) -> Result<Final, Fault> {
        let (status, is_result) = (self.status, self.is_result);
        let bytes = self.collect(bytes_max, server).await?;
        Ok(Final {
            status,
            is_result,
            ..Final::whole(bytes)
        })
    }

    /// All of it as one message, for transports that carry whole messages.
    pub(crate) async fn collect(self, bytes_max: usize, server: &str) -> Result<Bytes, Fault> {
        let Final { mut parts, rest, .. } = self;
        if let Some(mut rest) = rest {
            let mut len: usize = parts.iter().map(Bytes::len).sum();
            while let Some(chunk) = rest.chunk().await {
                let chunk = chunk?;
                len += chunk.len();
                if len > bytes_max {
                    let fault = Fault::Protocol {
                        server: server.to_owned(),
                        reason: format!("an answer of more than {bytes_max} B"),
                    };
                    rest.record.failed(&fault);
                    return Err(fault);
                }
                parts.push_back(chunk);
            }
        }
        if parts.len() == 1 {
            return Ok(parts.pop_front().unwrap_or_default());
        }
        let mut whole = Vec::with_capacity(parts.iter().map(Bytes::len).sum());
        for part in parts {
            whole.extend_from_slice(&part);
        }
        Ok(Bytes::from(whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_under_a_token_of_another_call_is_not_passed_on() {
        let ids = |client_token: Option<&'static str>, token_replaced| Ids {
            client_id: Bytes::from_static(b"\"c\""),
            upstream_id: Bytes::from_static(b"7"),
            client_token: client_token.map(Bytes::from),
            token_replaced,
        };
        for (token, ids, expected) in [
            ("7", ids(Some("\"mine\""), true), Some("\"mine\"")),
            // Ours, of the call that began the task: to the client it may be any of its own.
            ("6", ids(Some("\"mine\""), true), None),
            ("6", ids(None, true), None),
            // The client's own, which the server has seen.
            ("6", ids(None, false), Some("6")),
        ] {
            let notice = |token: &str| {
                let params = format!("{{\"progress\":1,\"progressToken\":{token}}}");
                Bytes::from(axiom_protocol::reply::notification(
                    "notifications/progress",
                    params.as_bytes(),
                ))
            };
            let message = Message::scan(notice(token), &Default::default()).unwrap();
            assert_eq!(restore_notice(&message, &ids), expected.map(notice), "{token}");
        }
    }
}
