//! A modern client asks about a session server's task. What that server says in a `tasks/result` that waits, the client
//! finds in `tasks/get`.

use std::sync::Arc;
use std::time::Duration;

use axiom_protocol::method::Method;
use axiom_protocol::text::quoted;

use super::super::{Reply, Request, now};
use super::about::{carried, refusal};
use crate::bridge::{self, Introduction};
use crate::call::{Declared, input_requests};
use crate::fault::Fault;
use crate::message::Message;
use crate::task::words::{self, Status, TTL};
use crate::task::{Attendant, Named, Naming, Payload};
use crate::upstream::Link;

/// Time for a server that says that a task has ended to say how.
const PAYLOAD_PATIENCE: Duration = Duration::from_secs(10);
/// Time for a server that says that it needs something to say what.
const QUESTION_PATIENCE: Duration = Duration::from_secs(2);

/// Such a request.
pub(super) struct SessionTask<'a> {
    pub asked: &'a Request<'a>,
    pub link: Arc<Link>,
    pub named: Named,
    pub declared: Declared,
}

impl SessionTask<'_> {
    /// `number` is that of the conversation in which the task was begun.
    pub(super) async fn reply(self, number: u64) -> Result<Reply, Fault> {
        let reply = match self.asked.message.method() {
            Method::TasksUpdate => self.update(number).await,
            Method::TasksCancel => self.cancel(number).await,
            _ => self.get(number).await,
        };
        match reply {
            Err(_) if self.link.is_down() => Err(self.link.task_lost()),
            reply => reply,
        }
    }

    async fn carried(&self) -> Result<Message, Fault> {
        carried(self.asked, &self.link, &self.named, &Introduction::default()).await
    }

    /// The server knows nothing of the task. If it was begun in another conversation, this is why.
    fn unknown(&self, number: u64, answer: &Message) -> Result<Reply, Fault> {
        if number == self.link.number {
            return Ok(refusal(answer, self.asked));
        }
        Err(self.link.task_lost())
    }

    async fn get(&self, number: u64) -> Result<Reply, Fault> {
        let message = self.asked.message;
        let answer = self.carried().await?;
        let raw = &answer.bytes;
        let Some(task) = answer.envelope.result else {
            return self.unknown(number, &answer);
        };
        let status = words::status_of(raw, task)
            .ok_or_else(|| self.link.upstream.protocol_fault("a task of it has no status"))?;
        let ttl = words::millis_of(raw, task, TTL);
        let attendant = match status {
            Status::Cancelled => {
                self.link.tasks.dismiss(&self.named.id);
                None
            }
            _ => Some(Attendant::of(&self.link, &self.named.id, ttl, self.declared)?),
        };
        let naming =
            Naming::new(&self.link, &self.asked.endpoint.path, self.named.home).knowing(&self.named, message);
        let token = naming.token(&self.named.id);
        let mut set: Vec<(&str, &[u8])> = vec![("resultType", b"\"complete\"")];
        let payload = match (status, &attendant) {
            (Status::Completed | Status::Failed, Some(attendant)) => {
                attendant.payload(PAYLOAD_PATIENCE).await
            }
            _ => None,
        };
        let patience = match status {
            Status::InputRequired => QUESTION_PATIENCE,
            _ => Duration::ZERO,
        };
        let open = match &attendant {
            Some(attendant) => attendant.questions(patience).await,
            None => Vec::new(),
        };
        let requests = input_requests(&open);
        if payload.is_some() {
            self.link.tasks.seen(&self.named.id);
        }
        match (status, &payload) {
            // In the older era a tool's failure is one of the task; here it is a result that says so.
            (_, Some(Payload::Result(result))) => {
                set.extend([("status", &b"\"completed\""[..]), ("result", result)])
            }
            (_, Some(Payload::Error(error))) => {
                set.extend([("status", &b"\"failed\""[..]), ("error", error)])
            }
            (_, Some(Payload::Lost(fault))) => return Err(fault.clone()),
            (Status::Cancelled, None) => {}
            // What it needs was refused, or is answered already; or how it ended is not known yet.
            (_, None) if open.is_empty() => set.push(("status", b"\"working\"")),
            (_, None) => set.extend([
                ("status", &b"\"input_required\""[..]),
                ("inputRequests", &requests),
            ]),
        }
        let meta = bridge::with_server_info(&answer, &self.link);
        set.extend(meta.as_deref().map(|meta| ("_meta", meta)));
        let result = words::modern_task(raw, task, &token, &set);
        Ok(now(message.id().unwrap_or(b"null"), &result))
    }

    async fn update(&self, number: u64) -> Result<Reply, Fault> {
        let attendant = match Attendant::find(&self.link, &self.named.id) {
            Some(attendant) => attendant,
            None if number == self.link.number => {
                let attendant = Attendant::of(&self.link, &self.named.id, None, self.declared)?;
                // An answer must find its question.
                attendant.questions(QUESTION_PATIENCE).await;
                attendant
            }
            None => return Err(self.link.task_lost()),
        };
        attendant.answer(&self.link, self.asked.message).await?;
        Ok(self.acknowledged())
    }

    async fn cancel(&self, number: u64) -> Result<Reply, Fault> {
        let answer = self.carried().await?;
        if answer.envelope.result.is_some() {
            self.link.tasks.dismiss(&self.named.id);
            return Ok(self.acknowledged());
        }
        // In the older era a task that has ended cannot be cancelled; here that is as good as done.
        let id = quoted(&self.named.id);
        let seen = self
            .link
            .request("tasks/get", &[b"{\"taskId\":", &id[..], b"}"].concat())
            .await?;
        let status = seen
            .envelope
            .result
            .and_then(|task| words::status_of(&seen.bytes, task));
        if status.is_some_and(Status::is_final) {
            return Ok(self.acknowledged());
        }
        self.unknown(number, &answer)
    }

    fn acknowledged(&self) -> Reply {
        now(
            self.asked.message.id().unwrap_or(b"null"),
            b"{\"resultType\":\"complete\"}",
        )
    }
}
