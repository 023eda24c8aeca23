//! `tasks/result` of a client with a session, at a modern server, which has no such request: the server is asked how the
//! task is, again and again, until it has ended. What the server wants to know meanwhile is asked of the client by real
//! requests on this one's stream, and the answers go up by `tasks/update`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::{self, Receiver, Sender};
use axiom_core::mailbox::{Letters, Mailbox, mailbox};
use axiom_core::time::Instant;
use axiom_core::{Task, spawn, time};
use axiom_protocol::envelope::Kind;
use axiom_protocol::method::Method;
use axiom_protocol::reply;
use axiom_protocol::rewrite::object_with;
use axiom_protocol::text::{push_quoted, quoted, text};
use axiom_protocol::walk::{get, members};
use bytes::Bytes;

use super::Naming;
use super::creation::pause_of;
use super::words::{self, RELATED, Status, TTL};
use crate::bridge::{self, Introduction};
use crate::call::{InputRequest, NOT_FILLED_IN, QUESTIONS_MAX, readable};
use crate::exchange::{CallState, Final, Step};
use crate::fault::Fault;
use crate::level;
use crate::message::Message;
use crate::session::{Answer, Asked, Session};
use crate::upstream::{Link, whole};

/// The longest that one request waits.
const WAIT_MAX: Duration = Duration::from_secs(3600);
/// After an answer the task goes on, and has news soon.
const PAUSE_AFTER_ANSWER: Duration = Duration::from_millis(100);
/// Questions on their way to a client that reads slowly.
const STEPS_MAX: usize = 16;

/// Such a request. Dropping it ends the wait; the task goes on.
pub(crate) struct Wait {
    steps: Receiver<Step>,
    waiting: Task,
    session: Arc<Session>,
    link: Arc<Link>,
    client_id: Bytes,
    call: Arc<CallState>,
    /// Among the session's waits.
    place: (Arc<str>, String),
    turn: Arc<CallState>,
}

/// What the wait works with.
struct Waiter {
    link: Arc<Link>,
    session: Arc<Session>,
    naming: Naming,
    /// The server's id of the task.
    id: String,
    client_id: Bytes,
    call: Arc<CallState>,
    /// Cancelled when the client asks for the same once more: most have given up the request before, without a word.
    turn: Arc<CallState>,
    /// How long a question waits for its answer.
    patience: Duration,
    /// Asked already, by the server's names; a name means one question for the task's whole life.
    asked: HashSet<String>,
    open: BTreeMap<Arc<str>, Open>,
    mailbox: Mailbox<Answer>,
    letters: Letters<Answer>,
    steps: Sender<Step>,
}

/// A question that the client has not answered.
struct Open {
    /// The session's id for it.
    id: u64,
    method: Method,
    until: Instant,
}

/// How the task is.
enum Seen {
    Ended(Step),
    /// To be asked about again after this.
    Goes(Duration),
}

impl Wait {
    pub(crate) fn begin(
        link: &Arc<Link>,
        session: &Arc<Session>,
        naming: Naming,
        id: String,
        message: &Message,
        patience: Duration,
    ) -> Wait {
        let client_id = message
            .envelope
            .id
            .map(|at| message.slice(at))
            .unwrap_or_default();
        let call = CallState::at_no_server();
        let turn = CallState::at_no_server();
        let place = (Arc::clone(&link.upstream.name), id.clone());
        let earlier = session.with(|state| {
            state.calls.insert(client_id.clone(), Arc::clone(&call));
            state.waits.insert(place.clone(), Arc::clone(&turn))
        });
        if let Some(earlier) = earlier {
            earlier.cancel(None);
        }
        let (tx, steps) = channel::bounded(STEPS_MAX);
        let (mailbox, letters) = mailbox(QUESTIONS_MAX);
        let waiter = Waiter {
            link: Arc::clone(link),
            session: Arc::clone(session),
            naming,
            id,
            client_id: client_id.clone(),
            call: Arc::clone(&call),
            turn: Arc::clone(&turn),
            patience,
            asked: HashSet::new(),
            open: BTreeMap::new(),
            mailbox,
            letters,
            steps: tx,
        };
        Wait {
            steps,
            waiting: spawn("wait for a task", waiter.run()),
            session: Arc::clone(session),
            link: Arc::clone(link),
            client_id,
            call,
            place,
            turn,
        }
    }

    /// Cancel-safe: a step is taken only when it is returned.
    pub(crate) async fn next(&mut self) -> Step {
        match self.steps.recv().await {
            Some(step) => step,
            // The waiter says how it ended, unless it ended by a panic.
            None => Step::Done(Err(self.link.task_lost())),
        }
    }

    /// Sends a question to its client outside of the request.
    pub(crate) fn divert(&self, notice: &[u8]) {
        self.session
            .send(notice, self.link.upstream.limits.replay_bytes_max);
    }

    pub(crate) fn link(&self) -> &Arc<Link> {
        &self.link
    }
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.waiting.abort();
        self.session.with(|state| {
            let calls = &mut state.calls;
            // The client may have used the id again already.
            if calls
                .get(&self.client_id)
                .is_some_and(|call| Arc::ptr_eq(call, &self.call))
            {
                calls.remove(&self.client_id);
            }
            let waits = &mut state.waits;
            if waits
                .get(&self.place)
                .is_some_and(|turn| Arc::ptr_eq(turn, &self.turn))
            {
                waits.remove(&self.place);
            }
        });
    }
}

impl Waiter {
    async fn run(mut self) {
        let turn = Arc::clone(&self.turn);
        let last = tokio::select! {
            biased;
            // cancel-safe: the flag stays set
            () = turn.wait_cancelled() => Step::Done(Err(asked_again())),
            // What is dropped half-way is done anew by the later wait.
            last = self.outcome() => last,
        };
        for Open { id, .. } in self.open.values() {
            let params =
                format!("{{\"requestId\":{id},\"reason\":\"the task has ended, or nobody waits for it\"}}");
            let notice = reply::notification("notifications/cancelled", params.as_bytes());
            // A client that left need not be told.
            let _left = self.steps.send(Step::Notice(Bytes::from(notice))).await.is_err();
        }
        let _left = self.steps.send(last).await.is_err();
    }

    async fn outcome(&mut self) -> Step {
        let began = time::now();
        let mut longest = WAIT_MAX;
        loop {
            let pause = match self.look(&mut longest).await {
                Ok(Seen::Ended(step)) => return step,
                Ok(Seen::Goes(pause)) => pause,
                Err(fault) => return Step::Done(Err(fault)),
            };
            if began.elapsed() >= longest {
                let server = self.link.upstream.name.to_string();
                return Step::Done(Err(Fault::Timeout {
                    server,
                    after: longest,
                }));
            }
            if let Err(fault) = self.pause(pause).await {
                return Step::Done(Err(fault));
            }
        }
    }

    /// Asks the server how the task is.
    async fn look(&mut self, longest: &mut Duration) -> Result<Seen, Fault> {
        if self.link.is_down() {
            // The server was removed or is another one: it must not be asked in the old way.
            return Err(self.link.fault());
        }
        let answer = self.request("tasks/get", &[]).await?;
        let raw = &answer.bytes;
        let Some(task) = answer.envelope.result else {
            let error = bridge::error_across(
                &answer,
                Method::TasksResult,
                axiom_protocol::revision::Era::Legacy,
            );
            return Ok(Seen::Ended(self.ended_with(Bytes::from(error))));
        };
        if let Some(ttl) = words::millis_of(raw, task, TTL) {
            *longest = ttl.min(WAIT_MAX);
        }
        let missing = |what: &str| {
            self.link
                .upstream
                .protocol_fault(format!("a task of it has no {what}"))
        };
        match words::status_of(raw, task).ok_or_else(|| missing("status"))? {
            Status::Working => {}
            Status::InputRequired => {
                let requests = get(raw, task, "inputRequests").ok_or_else(|| missing("inputRequests"))?;
                for (key, request) in members(raw, requests) {
                    let key = text(raw, key).unwrap_or_default().into_owned();
                    if self.asked.insert(key.clone()) {
                        self.ask(key, InputRequest::read(raw, request)).await?;
                    }
                }
            }
            Status::Completed => {
                let result = get(raw, task, "result").ok_or_else(|| missing("result"))?;
                return Ok(Seen::Ended(self.completed(result.of(raw))));
            }
            Status::Failed => {
                let error = get(raw, task, "error").ok_or_else(|| missing("error"))?;
                let mut bytes = b"{\"jsonrpc\":\"2.0\",\"id\":".to_vec();
                bytes.extend_from_slice(&self.client_id);
                bytes.extend_from_slice(b",\"error\":");
                bytes.extend_from_slice(error.of(raw));
                bytes.push(b'}');
                return Ok(Seen::Ended(self.ended_with(Bytes::from(bytes))));
            }
            Status::Cancelled => {
                let server = self.link.upstream.name.to_string();
                return Err(Fault::TaskCancelled { server });
            }
        }
        Ok(Seen::Goes(pause_of(raw, task)))
    }

    /// The result of the call that began the task, and a note that it belongs to the task.
    fn completed(&self, result: &[u8]) -> Step {
        let token = self.naming.token(&self.id);
        let related = [b"{\"taskId\":", &token[..], b"}"].concat();
        let meta = get(result, whole(result), "_meta").map_or(&b"{}"[..], |meta| meta.of(result));
        let meta = object_with(meta, whole(meta), &[(RELATED, &related)], &[]);
        let result = object_with(result, whole(result), &[("_meta", &meta)], &[]);
        let bytes = reply::result(&self.client_id, &result);
        let levelled = Message::scan(Bytes::from(bytes.clone()), &self.link.limits())
            .ok()
            .and_then(|message| {
                let result = message.envelope.result?;
                level::result(&bytes, result, Method::ToolsCall, self.session.revision())
            });
        Step::Done(Ok(Final::whole(Bytes::from(levelled.unwrap_or(bytes)))))
    }

    fn ended_with(&self, error: Bytes) -> Step {
        let bytes = match Message::scan(error.clone(), &self.link.limits()) {
            Ok(message) => Bytes::from(object_with(
                &message.bytes,
                message.envelope.object,
                &[("id", &self.client_id)],
                &[],
            )),
            Err(_) => error,
        };
        let answer = Final {
            is_result: false,
            ..Final::whole(bytes)
        };
        Step::Done(Ok(answer))
    }

    async fn ask(&mut self, key: String, request: Option<InputRequest>) -> Result<(), Fault> {
        let upstream = &self.link.upstream;
        let request =
            request.ok_or_else(|| upstream.protocol_fault("an input request of it is not readable"))?;
        let key: Arc<str> = key.into();
        let asked = Asked::ForCall {
            key: Arc::clone(&key),
            answers: self.mailbox.clone(),
        };
        let id = (self.open.len() < QUESTIONS_MAX)
            .then(|| self.session.ask(asked))
            .flatten();
        let id = id.ok_or_else(|| Fault::NotAnswered {
            method: request.method.clone(),
            reason: "too many questions to this client are open".to_owned(),
        })?;
        let related = [b"{\"taskId\":", &self.naming.token(&self.id)[..], b"}"].concat();
        let method = Method::parse(request.method.as_bytes());
        let question = request.related_to(&related).under(id);
        match readable(&self.link, self.session.revision(), question) {
            Ok(question) => {
                let until = time::now() + self.patience;
                self.open.insert(key, Open { id, method, until });
                // A client that left answers nothing either.
                let _left = self.steps.send(Step::Notice(question)).await.is_err();
                Ok(())
            }
            Err(unaskable) => {
                drop(self.session.answered(id));
                tracing::debug!(server = %self.link.upstream.name, %unaskable, "a question was not put");
                self.tell(&key, NOT_FILLED_IN).await
            }
        }
    }

    /// Waits until it is time to look again, or the client has answered something.
    async fn pause(&mut self, pause: Duration) -> Result<(), Fault> {
        let first = self.open.values().map(|open| open.until).min();
        let too_late = first.unwrap_or_else(|| time::now() + WAIT_MAX);
        tokio::select! {
            biased;
            // cancel-safe: the flag stays set
            () = self.call.wait_cancelled() => Err(Fault::Cancelled),
            // cancel-safe: a letter is taken only when it is returned
            answer = self.letters.next() => {
                self.take(&answer).await?;
                time::sleep(PAUSE_AFTER_ANSWER).await;
                Ok(())
            }
            // cancel-safe: nothing is consumed
            () = time::sleep(pause) => {
                if time::now() < too_late {
                    return Ok(());
                }
                Err(Fault::NotAnswered {
                    method: "the server's question".to_owned(),
                    reason: format!("no answer within {} s", self.patience.as_secs()),
                })
            }
        }
    }

    /// Passes an answer of the client on.
    async fn take(&mut self, answer: &Answer) -> Result<(), Fault> {
        let Answer { key, message } = answer;
        let Some(Open { method, .. }) = self.open.remove(key) else {
            return Ok(());
        };
        let value = match message.kind() {
            Kind::Response => {
                let result = message.result().unwrap_or_else(|| Bytes::from_static(b"{}"));
                let plain = words::without_related(&result, whole(&result));
                plain.map_or(result, Bytes::from)
            }
            // An error has no place in `inputResponses`. For a form there is a word that says the same.
            _ if method == Method::Elicit => Bytes::from_static(NOT_FILLED_IN),
            _ => {
                let error = message.raw(message.envelope.error).unwrap_or_default();
                return Err(Fault::NotAnswered {
                    method: method.as_str().to_owned(),
                    reason: String::from_utf8_lossy(error).chars().take(300).collect(),
                });
            }
        };
        self.tell(key, &value).await
    }

    /// Tells the server what came of one of its questions.
    async fn tell(&self, key: &str, value: &[u8]) -> Result<(), Fault> {
        let mut responses = b"{".to_vec();
        push_quoted(&mut responses, key);
        responses.push(b':');
        responses.extend_from_slice(value);
        responses.push(b'}');
        let told = self
            .request("tasks/update", &[("inputResponses", &responses)])
            .await?;
        if let Some(error) = told.raw(told.envelope.error) {
            let error = String::from_utf8_lossy(error);
            tracing::info!(server = %self.link.upstream.name, %error, "a task's question was answered in vain");
        }
        Ok(())
    }

    /// A request about the task, in the client's name.
    async fn request(&self, method: &str, fields: &[(&str, &[u8])]) -> Result<Message, Fault> {
        let id = quoted(&self.id);
        let mut all: Vec<(&str, &[u8])> = vec![("taskId", &id)];
        all.extend_from_slice(fields);
        let client = Introduction::of(&self.session).with_tasks();
        let params = bridge::params_introducing(&client, &all);
        let call = Arc::clone(&self.call);
        tokio::select! {
            biased;
            // cancel-safe: the flag stays set
            () = call.wait_cancelled() => Err(Fault::Cancelled),
            // An answer that nobody waits for changes nothing.
            answer = self.link.request(method, &params) => answer,
        }
    }
}

/// The answer to a wait that a later one takes the place of.
fn asked_again() -> Fault {
    Fault::InvalidRequest("a later tasks/result of this session waits for the same task".to_owned())
}

impl Drop for Waiter {
    fn drop(&mut self) {
        for Open { id, .. } in self.open.values() {
            // Nobody reads what the client says to it now.
            drop(self.session.answered(*id));
        }
    }
}
