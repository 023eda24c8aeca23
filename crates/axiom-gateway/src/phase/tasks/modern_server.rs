//! A client with a session asks about a modern server's task.

use std::sync::Arc;
use std::time::Duration;

use axiom_core::time;
use axiom_protocol::method::Method;
use axiom_protocol::text::quoted;

use super::super::{Reply, Request, now};
use super::about::{carried, refusal};
use crate::bridge::{self, Introduction};
use crate::call::Call;
use crate::fault::Fault;
use crate::message::Message;
use crate::session::Session;
use crate::task::wait::Wait;
use crate::task::words::{self, Status};
use crate::task::{Named, Naming};
use crate::upstream::Link;

/// How often a task is looked at after it was cancelled, and the pause between: a modern server takes note of it and sees.
const CANCEL_LOOKS: u32 = 10;
const CANCEL_PAUSE: Duration = Duration::from_millis(100);

pub(super) async fn reply(
    asked: &Request<'_>,
    link: &Arc<Link>,
    session: &Arc<Session>,
    named: &Named,
) -> Result<Reply, Fault> {
    let message = asked.message;
    let naming = Naming::of_session(link, session).knowing(named, message);
    let client = Introduction::of(session).with_tasks();
    let token = naming.token(&named.id);
    let id = message.id().unwrap_or(b"null");
    let told = |answer: &Message| {
        let task = answer.envelope.result?;
        Some(now(id, &words::legacy_task(&answer.bytes, task, &token)))
    };
    match message.method() {
        Method::TasksResult => {
            let patience = asked.gateway.parking.ttl();
            let wait = Wait::begin(link, session, naming, named.id.clone(), message, patience);
            Ok(Reply::Call(Box::new(Call::waiting(wait))))
        }
        Method::TasksCancel => {
            let params = bridge::params_introducing(&client, &[("taskId", &quoted(&named.id))]);
            let is_final = |answer: &Message| {
                let task = answer.envelope.result?;
                words::status_of(&answer.bytes, task).map(Status::is_final)
            };
            let mut seen = link.request("tasks/get", &params).await?;
            if is_final(&seen) == Some(true) {
                return Err(Fault::InvalidParams("the task has ended already".to_owned()));
            }
            let answer = carried(asked, link, named, &client).await?;
            if answer.envelope.result.is_none() {
                return Ok(refusal(&answer, asked));
            }
            for _ in 0..CANCEL_LOOKS {
                seen = link.request("tasks/get", &params).await?;
                if is_final(&seen) != Some(false) {
                    break;
                }
                time::sleep(CANCEL_PAUSE).await;
            }
            told(&seen).ok_or_else(|| link.task_lost())
        }
        _ => {
            let answer = carried(asked, link, named, &client).await?;
            Ok(told(&answer).unwrap_or_else(|| refusal(&answer, asked)))
        }
    }
}
