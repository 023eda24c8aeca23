//! A session server's task, for a client of 2026-07-28.
//!
//! The server answers `tasks/result` when the task has ended, and asks what it needs on that request's stream; such a
//! client comes back again and again and stays for none of it. So for each of its tasks one request waits here, from the
//! task's beginning to its end: what the server asks is kept until the client answers it, and the outcome until the client
//! comes for it. It also keeps the conversation alive in which the task lives.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axiom_core::channel::watch;
use axiom_core::time::Instant;
use axiom_core::{spawn, time};
use axiom_protocol::method::Method;
use axiom_protocol::reply;
use axiom_protocol::text::quoted;
use bytes::Bytes;

use super::awaited::{Doubt, doubt};
use super::words::without_related;
use crate::call::{Declared, OPEN_MAX, answer_questions};
use crate::exchange::{Exchange, Heard, Step};
use crate::fault::Fault;
use crate::message::Message;
use crate::parking::Question;
use crate::upstream::{Link, Outgoing, whole};

/// A task that says nothing of its end, or of one in the far future, is kept this long.
const KEPT_MAX: Duration = Duration::from_secs(24 * 3600);
/// Tasks in one conversation. Each that is attended to has a request waiting at the server.
const TASKS_MAX: usize = 1_000;

/// The tasks in one conversation with a server.
#[derive(Debug, Default)]
pub(crate) struct Tasks {
    held: Mutex<HashMap<String, Held>>,
}

#[derive(Debug)]
struct Held {
    until: Instant,
    attendant: Option<Arc<Attendant>>,
    /// Questions of former attendants.
    asked: usize,
}

/// Whoever waits for a task's end.
#[derive(Debug)]
pub(crate) struct Attendant {
    state: watch::Sender<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What the server asked and the client has not answered.
    open: Vec<Question>,
    /// Questions so far: their names are never used twice.
    asked: usize,
    payload: Option<Payload>,
}

/// What a task came to.
#[derive(Debug, Clone)]
pub(crate) enum Payload {
    /// The `result` of the call that began it.
    Result(Bytes),
    /// Its `error`.
    Error(Bytes),
    Lost(Fault),
}

impl Tasks {
    /// Keeps the conversation open for the task's sake, until it ends or its time has passed.
    pub(crate) fn hold(&self, id: &str, ttl: Option<Duration>) {
        let mut held = self.lock();
        if held.len() < TASKS_MAX {
            let until = end_of(ttl);
            held.entry(id.to_owned()).or_insert(Held {
                until,
                attendant: None,
                asked: 0,
            });
        }
    }

    /// The task has ended, and its client has what it came to.
    pub(crate) fn release(&self, id: &str) {
        self.lock().remove(id);
    }

    /// Nobody attends to the task any more, and it is kept: it may go on. Its questions' names stay used.
    fn unattend(&self, id: &str, by: &Arc<Attendant>) {
        if let Some(held) = self.lock().get_mut(id)
            && held
                .attendant
                .take_if(|attendant| Arc::ptr_eq(attendant, by))
                .is_some()
        {
            held.asked = by.state.borrow().asked;
        }
    }

    /// True while a task is kept.
    pub(crate) fn is_any(&self) -> bool {
        let now = time::now();
        self.lock().values().any(|held| held.until > now)
    }

    /// Forgets tasks whose time has passed.
    pub(crate) fn sweep(&self) {
        let now = time::now();
        self.lock().retain(|_, held| held.until > now);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Held>> {
        // No critical section leaves the map half-changed.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn end_of(ttl: Option<Duration>) -> Instant {
    time::now() + ttl.unwrap_or(KEPT_MAX).min(KEPT_MAX)
}

impl Attendant {
    /// The attendant of the task `id`, who begins now if there is none.
    pub(crate) fn of(
        link: &Arc<Link>,
        id: &str,
        ttl: Option<Duration>,
        declared: Declared,
    ) -> Result<Arc<Attendant>, Fault> {
        let mut held = link.tasks.lock();
        if let Some(attendant) = held.get(id).and_then(|held| held.attendant.clone()) {
            return Ok(attendant);
        }
        let asked = held.get(id).map_or(0, |held| held.asked);
        if held.len() >= TASKS_MAX && !held.contains_key(id) {
            return Err(Fault::TooManyTasks {
                server: link.upstream.name.to_string(),
                tasks_max: TASKS_MAX,
            });
        }
        let attendant = Arc::new(Attendant {
            state: watch::Sender::new(State {
                asked,
                ..State::default()
            }),
        });
        let until = end_of(ttl);
        let noted = Held {
            until,
            attendant: Some(Arc::clone(&attendant)),
            asked,
        };
        held.insert(id.to_owned(), noted);
        drop(held);
        let following = follow(
            Arc::clone(link),
            id.to_owned(),
            until,
            declared,
            Arc::clone(&attendant),
        );
        drop(spawn("task attendant", following));
        Ok(attendant)
    }

    /// The attendant of the task, if there is one.
    pub(crate) fn find(link: &Link, id: &str) -> Option<Arc<Attendant>> {
        link.tasks.lock().get(id).and_then(|held| held.attendant.clone())
    }

    /// What the task came to, if that is known within `patience`.
    pub(crate) async fn payload(&self, patience: Duration) -> Option<Payload> {
        self.seen(patience, |state| state.payload.is_some()).await;
        self.state.borrow().payload.clone()
    }

    /// What the server wants to know, if it asks within `patience`.
    pub(crate) async fn questions(&self, patience: Duration) -> Vec<Question> {
        self.seen(patience, |state| {
            !state.open.is_empty() || state.payload.is_some()
        })
        .await;
        self.state.borrow().open.clone()
    }

    async fn seen(&self, patience: Duration, is_there: impl FnMut(&State) -> bool) {
        let mut state = self.state.subscribe();
        // Looked at afterwards, in time or not.
        let _in_time = time::timeout(patience, state.wait_for(is_there)).await.is_ok();
    }

    /// Passes the client's answers on. What the server could not be told stays open.
    pub(crate) async fn answer(&self, link: &Arc<Link>, message: &Message) -> Result<(), Fault> {
        // Taken out, so that nobody answers the same question meanwhile.
        let mut open = Vec::new();
        self.state
            .send_modify(|state| open = std::mem::take(&mut state.open));
        let answered = answer_questions(&mut open, link, message).await;
        self.state.send_modify(|state| {
            if state.payload.is_none() {
                open.append(&mut state.open);
                state.open = open;
            }
        });
        answered
    }

    fn note(&self, link: &Arc<Link>, question: &Message, declared: Declared) {
        let id = question.id().unwrap_or_default();
        let (asked, open) = {
            let state = self.state.borrow();
            (state.asked, state.open.len())
        };
        if open >= OPEN_MAX {
            return link.refuse(id, "too many questions to this client are open");
        }
        match declared.question(question, &format!("{}", asked + 1)) {
            Ok(question) => self.state.send_modify(|state| {
                state.asked += 1;
                state.open.push(question);
            }),
            Err(unasked) => link.refuse(id, unasked.reason()),
        }
    }

    fn end(&self, payload: Payload) {
        self.state.send_modify(|state| {
            state.open.clear();
            state.payload = Some(payload);
        });
    }
}

/// Waits at the server until the task has ended, or its time has passed.
async fn follow(link: Arc<Link>, id: String, until: Instant, declared: Declared, attendant: Arc<Attendant>) {
    let left = until.saturating_duration_since(time::now());
    let heard = time::timeout(left, outcome_of(&link, &id, declared, &attendant)).await;
    let payload = heard.unwrap_or_else(|_| Payload::Lost(link.task_lost()));
    if matches!(payload, Payload::Lost(_)) {
        // The next one who comes may find it again.
        link.tasks.unattend(&id, &attendant);
    }
    attendant.end(payload);
}

/// Asks for the task's result until there is one, or an error that is its outcome.
async fn outcome_of(link: &Arc<Link>, id: &str, declared: Declared, attendant: &Attendant) -> Payload {
    let mut has_ended = false;
    loop {
        let payload = match result_of(link, id).await {
            Ok(mut exchange) => {
                exchange.wait_forever();
                hear_out(link, &mut exchange, declared, attendant).await
            }
            Err(fault) => Payload::Lost(fault),
        };
        let fault = match &payload {
            Payload::Result(_) => return payload,
            Payload::Error(_) => None,
            Payload::Lost(fault) => Some(fault),
        };
        match doubt(link, id, &mut has_ended, fault).await {
            Doubt::Stands => return payload,
            Doubt::Again(pause) => time::sleep(pause).await,
        }
    }
}

async fn result_of(link: &Arc<Link>, id: &str) -> Result<Exchange, Fault> {
    let params = [b"{\"taskId\":", &quoted(id)[..], b"}"].concat();
    let bytes = Bytes::from(reply::request(b"1", "tasks/result", &params));
    let message = Message::scan(bytes, &link.limits()).map_err(Fault::Unreadable)?;
    link.call(Outgoing {
        message: &message,
        edits: Vec::new(),
        headers: Vec::new(),
        session: None,
        takes_questions: true,
        is_ours: true,
    })
    .await
}

async fn hear_out(
    link: &Arc<Link>,
    exchange: &mut Exchange,
    declared: Declared,
    attendant: &Attendant,
) -> Payload {
    loop {
        match exchange.hear().await {
            Heard::Asked(question) => attendant.note(link, &question, declared),
            Heard::Step(Step::Notice(notice)) => {
                // The client is not there to hear of progress; what concerns others reaches them.
                if let Ok(message) = Message::scan(notice, &link.limits())
                    && !matches!(message.method(), Method::Progress | Method::LogMessage)
                {
                    link.deliver(&message);
                }
            }
            Heard::Step(Step::Done(Err(fault))) => return Payload::Lost(fault),
            Heard::Step(Step::Done(Ok(answer))) => {
                let limits = link.limits();
                let bytes = answer.collect(limits.bytes_max, &link.upstream.name).await;
                return bytes.map_or_else(Payload::Lost, |bytes| payload_of(link, bytes));
            }
        }
    }
}

fn payload_of(link: &Link, bytes: Bytes) -> Payload {
    let message = match Message::scan(bytes, &link.limits()) {
        Ok(message) => message,
        Err(error) => return Payload::Lost(link.upstream.protocol_fault(error.to_string())),
    };
    match (message.result(), message.envelope.error) {
        (Some(result), _) => {
            let plain = without_related(&result, whole(&result));
            Payload::Result(plain.map_or(result, Bytes::from))
        }
        (None, error) => Payload::Error(error.map(|at| message.slice(at)).unwrap_or_default()),
    }
}
