//! A session server's task, for a client of 2026-07-28.
//!
//! The server answers `tasks/result` when the task has ended, and asks what it needs on that request's stream; such a
//! client comes back again and again and stays for none of it. So for each of its tasks one request waits here, from the
//! task's beginning to its end: what the server asks is kept until the client answers it, and the outcome until the client
//! comes for it. It also keeps the conversation alive in which the task lives.

use std::sync::Arc;
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
    /// The task was cancelled: there is nothing to wait for.
    is_dismissed: bool,
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

impl Attendant {
    /// One who has `asked` questions already, in the person of a predecessor.
    pub(super) fn new(asked: usize) -> Attendant {
        let state = State {
            asked,
            ..State::default()
        };
        Attendant {
            state: watch::Sender::new(state),
        }
    }

    /// How many questions there were so far.
    pub(super) fn asked(&self) -> usize {
        self.state.borrow().asked
    }

    /// True once it is known what the task came to.
    pub(super) fn has_ended(&self) -> bool {
        self.state.borrow().payload.is_some()
    }

    /// Nobody needs to know what the task comes to.
    pub(super) fn dismiss(&self) {
        self.state.send_modify(|state| state.is_dismissed = true);
    }

    /// The conversation has ended, and the task with it.
    pub(super) fn lose(&self, fault: &Fault) {
        self.end(Payload::Lost(fault.clone()));
        self.dismiss();
    }

    async fn dismissed(&self) {
        let mut state = self.state.subscribe();
        // The sender is self's.
        let _seen = state.wait_for(|state| state.is_dismissed).await.is_ok();
    }

    /// The attendant of the task `id`, who begins now if there is none.
    pub(crate) fn of(
        link: &Arc<Link>,
        id: &str,
        ttl: Option<Duration>,
        declared: Declared,
    ) -> Result<Arc<Attendant>, Fault> {
        let (attendant, begun) = link
            .tasks
            .attendant(id, ttl)
            .ok_or_else(|| link.tasks.full(link))?;
        let Some(until) = begun else {
            return Ok(attendant);
        };
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
        link.tasks.attended(id)
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

    /// Passes the client's answers on. What the server could not be told stays open, also if nobody waits for this.
    pub(crate) async fn answer(self: &Arc<Self>, link: &Arc<Link>, message: &Message) -> Result<(), Fault> {
        let passing = Arc::clone(self).pass_on(Arc::clone(link), message.clone());
        let answered = spawn("answer a task's questions", passing).join().await;
        answered.unwrap_or_else(|| Err(link.task_lost()))
    }

    async fn pass_on(self: Arc<Self>, link: Arc<Link>, message: Message) -> Result<(), Fault> {
        // Taken out, so that nobody answers the same question meanwhile.
        let mut open = Vec::new();
        self.state
            .send_modify(|state| open = std::mem::take(&mut state.open));
        let answered = answer_questions(&mut open, &link, &message).await;
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
    let heard = tokio::select! {
        biased;
        // cancel-safe: the flag stays set
        () = attendant.dismissed() => return,
        // Given up, the request at the server is given up with it.
        heard = time::timeout(left, outcome_of(&link, &id, declared, &attendant)) => heard,
    };
    let payload = heard.unwrap_or_else(|_| Payload::Lost(link.task_lost()));
    match &payload {
        // The next one who comes may find it again.
        Payload::Lost(_) => link.tasks.unattend(&id, &attendant),
        Payload::Result(bytes) | Payload::Error(bytes) => link.tasks.ended(&id, bytes.len()),
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
