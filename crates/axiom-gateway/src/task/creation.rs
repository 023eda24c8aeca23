//! A call that has to do with tasks, and what its client gets when the server answers.

use std::sync::Arc;
use std::time::Duration;

use axiom_protocol::method::Method;
use axiom_protocol::reply;
use axiom_protocol::revision::{Era, Revision};
use axiom_protocol::rewrite::object_with;
use axiom_protocol::span::Span;
use axiom_protocol::text::quoted;
use axiom_protocol::walk::get;
use bytes::Bytes;

use super::words::{self, POLL, TTL};
use super::{Attendant, Awaited, Home, Naming};
use crate::bridge;
use crate::exchange::{Exchange, Final};
use crate::fault::Fault;
use crate::level;
use crate::message::Message;
use crate::session::Session;
use crate::upstream::{Link, Outgoing, whole};

/// What a call needs besides, that has to do with tasks.
#[derive(Debug)]
pub(crate) struct Creation {
    pub naming: Naming,
    pub client: Revision,
    pub then: Then,
}

/// What is done with the server's answer.
#[derive(Debug)]
pub(crate) enum Then {
    /// It is about tasks that there are: they get their handles.
    Name,
    /// It may be a new task: the client is told of it.
    Tell { session: Option<Arc<Session>> },
    /// It may be a new task, and the client knows nothing of tasks: it gets what the task comes to.
    Fetch {
        client_id: Bytes,
        session: Option<Arc<Session>>,
    },
}

/// What an answer comes to.
#[derive(Debug)]
pub(crate) enum Read {
    /// No new task. It may have to be converted yet.
    Other(Final),
    /// The client is told of its task.
    Told(Final),
    /// The call goes on until the task has ended.
    Goes(Box<Exchange>),
}

/// The longest that a call waits for its task.
const FETCH_MAX: Duration = Duration::from_secs(3600);

impl Creation {
    /// Whether the task that the call may begin can be attended to.
    pub(crate) fn check_room(&self, link: &Link) -> Result<(), Fault> {
        match (&self.then, self.naming.home) {
            (Then::Tell { .. }, Home::Link { .. }) => link.tasks.check_room(link),
            _ => Ok(()),
        }
    }

    pub(crate) async fn read(&self, answer: Final, method: Method, link: &Arc<Link>) -> Result<Read, Fault> {
        if !answer.is_result && matches!(self.then, Then::Name) && method.is_about_a_task() {
            // It has ended, or is not known; should it run all the same, the client hears so when it asks how it is.
            link.tasks.seen(self.naming.asked_for());
        }
        // What is still arriving is too large for a task.
        if !answer.is_result || answer.rest.is_some() && matches!(self.then, Then::Tell { .. }) {
            return Ok(Read::Other(answer));
        }
        let limits = link.limits();
        let status = answer.status;
        let bytes = answer.collect(limits.bytes_max, &link.upstream.name).await?;
        let message =
            Message::scan(bytes, &limits).map_err(|error| link.upstream.protocol_fault(error.to_string()))?;
        let again = |bytes| Final {
            status,
            ..Final::whole(bytes)
        };
        if let Then::Name = self.then {
            self.keep(&message, method, link);
            return Ok(Read::Other(again(words::with_handles(
                &message,
                method,
                &self.naming,
            ))));
        }
        let Some(task) = task_in(&message, link.era()) else {
            return Ok(Read::Other(again(self.without_task(&message))));
        };
        let id = words::id_of(&message.bytes, task)
            .ok_or_else(|| link.upstream.protocol_fault("it began a task without an id"))?;
        let ttl = words::millis_of(&message.bytes, task, TTL);
        if link.era() == Era::Legacy && self.naming.home == Home::Anywhere {
            link.tasks.hold(&id, ttl);
        }
        match &self.then {
            Then::Name => Ok(Read::Other(again(message.bytes))),
            Then::Tell { session } => {
                if let Some(session) = session {
                    session.note_task(&self.naming.handle(&id));
                }
                if let Home::Link { declared, .. } = self.naming.home {
                    // A task that nobody can attend to must not run on.
                    let begun = Attendant::of(link, &id, ttl, declared);
                    drop(begun.inspect_err(|_| link.cancel_task_later(&id))?);
                }
                let result = self.told(&message, task, &id, link);
                let client_id = message.id().unwrap_or(b"null");
                Ok(Read::Told(again(Bytes::from(reply::result(client_id, &result)))))
            }
            Then::Fetch { client_id, session } => {
                let patience = ttl.unwrap_or(FETCH_MAX).min(FETCH_MAX);
                let awaited = Awaited::new(link, &id, patience);
                let exchange = fetch(client_id, session.as_ref(), awaited).await?;
                Ok(Read::Goes(Box::new(exchange)))
            }
        }
    }

    /// Keeps the conversation for the task that the client has asked about, as long as that may be of use to it.
    fn keep(&self, message: &Message, method: Method, link: &Link) {
        let id = self.naming.asked_for();
        match method {
            // Its client has what it came to.
            Method::TasksResult | Method::TasksCancel => link.tasks.release(id),
            Method::TasksGet if link.era() == Era::Legacy => {
                let raw = &message.bytes;
                let Some(task) = message.envelope.result else {
                    return;
                };
                match words::status_of(raw, task).is_some_and(words::Status::is_final) {
                    true => {
                        link.tasks.ended(id, 0);
                        link.tasks.seen(id);
                    }
                    false => link.tasks.hold(id, words::millis_of(raw, task, TTL)),
                }
            }
            _ => {}
        }
    }

    /// An answer that is no task. To a client that knows none it does not come from one either.
    fn without_task(&self, message: &Message) -> Bytes {
        let is_told = !matches!(self.then, Then::Fetch { .. });
        let result = message.envelope.result.filter(|_| !is_told);
        match result.and_then(|result| words::without_related(&message.bytes, result)) {
            Some(result) => Bytes::from(reply::result(message.id().unwrap_or(b"null"), &result)),
            None => message.bytes.clone(),
        }
    }

    /// The new task, in the words of the client's era.
    fn told(&self, message: &Message, task: Span, id: &str, link: &Link) -> Vec<u8> {
        let raw = &message.bytes;
        let token = self.naming.token(id);
        let result = message.envelope.result.unwrap_or(task);
        match (self.client.era(), link.era()) {
            (Era::Modern, Era::Modern) => object_with(raw, result, &[("taskId", &token)], &[]),
            (Era::Legacy, Era::Legacy) => {
                let task = object_with(raw, task, &[("taskId", &token)], &[]);
                object_with(raw, result, &[("task", &task)], &[])
            }
            (Era::Modern, Era::Legacy) => {
                let mut set: Vec<(&str, &[u8])> = vec![("resultType", b"\"task\"")];
                let meta = bridge::with_server_info(message, link);
                set.extend(meta.as_deref().map(|meta| ("_meta", meta)));
                words::modern_task(raw, task, &token, &set)
            }
            (Era::Legacy, Era::Modern) => {
                let task = words::legacy_task(raw, task, &token);
                let mut set: Vec<(&str, &[u8])> = vec![("task", &task)];
                let meta = message.raw(message.envelope.in_result.meta);
                let meta = meta.and_then(|meta| level::meta(meta, self.client));
                set.extend(meta.as_deref().map(|meta| ("_meta", meta)));
                object_with(b"{}", whole(b"{}"), &set, &[])
            }
        }
    }
}

/// Where in an answer a new task is, if there is one.
fn task_in(message: &Message, server: Era) -> Option<Span> {
    let raw = &message.bytes;
    let result = message.envelope.result?;
    match server {
        Era::Modern => {
            let kind = message.text(message.envelope.in_result.result_type);
            (kind.as_deref() == Some("task")).then_some(result)
        }
        Era::Legacy => {
            let task = get(raw, result, "task")?;
            get(raw, task, "taskId").map(|_| task)
        }
    }
}

/// Asks a session server for what its task comes to. It answers when the task has ended, and asks meanwhile as it would
/// have in the call. Who gives this up gives up the task.
pub(super) async fn fetch(
    client_id: &[u8],
    session: Option<&Arc<Session>>,
    awaited: Awaited,
) -> Result<Exchange, Fault> {
    let link = Arc::clone(&awaited.link);
    let params = [b"{\"taskId\":", &quoted(&awaited.id)[..], b"}"].concat();
    let bytes = Bytes::from(reply::request(client_id, "tasks/result", &params));
    let message = Message::scan(bytes, &link.limits()).map_err(Fault::Unreadable)?;
    let outgoing = Outgoing {
        message: &message,
        edits: Vec::new(),
        headers: Vec::new(),
        session,
        takes_questions: session.is_none(),
        is_ours: false,
    };
    let mut exchange = link.call(outgoing).await?;
    exchange.works_for_task(awaited);
    Ok(exchange)
}

/// How long to wait before a task is asked about again.
pub(crate) fn pause_of(raw: &[u8], task: Span) -> Duration {
    const PAUSE: Duration = Duration::from_secs(1);
    const PAUSE_MIN: Duration = Duration::from_millis(50);
    const PAUSE_MAX: Duration = Duration::from_secs(60);
    words::millis_of(raw, task, POLL)
        .unwrap_or(PAUSE)
        .clamp(PAUSE_MIN, PAUSE_MAX)
}
