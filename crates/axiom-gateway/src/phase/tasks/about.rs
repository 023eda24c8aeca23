//! Requests about tasks: whose the task is, and which way the request goes to its server.

use std::sync::Arc;
use std::time::Duration;

use axiom_core::time::{self, Instant};
use axiom_protocol::codes;
use axiom_protocol::method::Method;
use axiom_protocol::reply;
use axiom_protocol::revision::{Era, Revision};
use axiom_protocol::text::{push_quoted, quoted};
use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::super::across::fit;
use super::super::{Caller, Rename, Reply, Request, send};
use super::session_server::SessionTask;
use super::{answered, creation, modern_server};
use crate::bridge::{self, Introduction};
use crate::call::{Call, Declared, Side};
use crate::exchange::Final;
use crate::fault::Fault;
use crate::message::Message;
use crate::mirror;
use crate::plan::{Endpoint, Scope};
use crate::session::Session;
use crate::task::{self, Home, Named, Then, words};
use crate::upstream::{Link, Outgoing, Upstream, Want};

/// A request about tasks.
pub(in super::super) async fn request(asked: &Request<'_>) -> Result<Reply, Fault> {
    let Request {
        gateway,
        endpoint,
        caller,
        message,
        ..
    } = *asked;
    let method = message.method();
    let is_known = match caller {
        Caller::Modern { .. } => !matches!(method, Method::TasksResult | Method::TasksList),
        Caller::Legacy(session) => {
            session.revision() >= Revision::V2025_11_25 && method != Method::TasksUpdate
        }
    };
    if !is_known {
        return Err(Fault::UnknownMethod {
            method: message.method_text().into_owned(),
        });
    }
    if caller.era() == Era::Modern && !words::declares_tasks(message) {
        return Err(task::not_declared(message));
    }
    if method == Method::TasksList {
        return list(asked).await;
    }
    let handle = message.text(message.envelope.param.task_id).ok_or_else(|| {
        Fault::InvalidParams(format!("{} needs params.taskId, a string", message.method_text()))
    })?;
    let named = task::open(&gateway.sealer, &endpoint.path, &handle)?;
    let upstream = server_of(endpoint, &named)?;
    let link = match (caller, named.home) {
        (Caller::Modern { .. }, Home::Link { number, declared }) => {
            let link = match upstream
                .live_links()
                .into_iter()
                .find(|link| link.number == number)
            {
                Some(link) => link,
                None => upstream.link(&Want::declaring(declared.capabilities())).await?,
            };
            if link.era() == Era::Legacy {
                return SessionTask {
                    asked,
                    link,
                    named,
                    declared,
                }
                .reply(number)
                .await;
            }
            link
        }
        _ => upstream.link(asked.want).await?,
    };
    match (caller, link.era()) {
        (Caller::Legacy(session), Era::Modern) => modern_server::reply(asked, &link, session, &named).await,
        (Caller::Modern { .. }, Era::Legacy) => {
            let number = link.number;
            let declared = Declared::of(message);
            SessionTask {
                asked,
                link,
                named,
                declared,
            }
            .reply(number)
            .await
        }
        _ => same_era(asked, &link, &named).await,
    }
}

fn server_of(endpoint: &Endpoint, named: &Named) -> Result<Arc<Upstream>, Fault> {
    let upstream = match &endpoint.scope {
        Scope::One(upstream) => Some(upstream).filter(|upstream| *upstream.name == *named.server),
        Scope::Group(group) => group.member(&named.server),
    };
    upstream.map(Arc::clone).ok_or_else(|| {
        Fault::InvalidParams(format!(
            "the server '{}' that has the task is not here any more",
            named.server
        ))
    })
}

fn rename(message: &Message, named: &Named) -> Option<Rename> {
    Some((message.envelope.param.task_id?, named.id.clone()))
}

async fn same_era(asked: &Request<'_>, link: &Arc<Link>, named: &Named) -> Result<Reply, Fault> {
    let Request { caller, message, .. } = *asked;
    let mut exchange = send(link, caller, message, rename(message, named).as_ref()).await?;
    if message.method() == Method::TasksResult {
        // It has nothing to say until the task has ended.
        exchange.wait_up_to(RESULT_MAX);
    }
    let mut creation = creation(asked, link, Home::Anywhere, Then::Name);
    creation.naming = creation.naming.knowing(named, message);
    let side = Side::within(message.method(), caller.revision(), link.revision);
    let call = Call::across(exchange, message.method(), side);
    Ok(Reply::Call(Box::new(call.with_task(Some(creation)))))
}

/// The longest that a client waits in one `tasks/result`.
const RESULT_MAX: Duration = Duration::from_secs(3600);

/// The client's request as a server of the other era reads it, and the answer to it under the client's id.
pub(super) async fn carried(
    asked: &Request<'_>,
    link: &Arc<Link>,
    named: &Named,
    client: &Introduction,
) -> Result<Message, Fault> {
    let outgoing = fit(asked, link, rename(asked.message, named).as_ref(), client)?;
    let headers = match link.era() {
        Era::Modern => mirror::headers(link, &outgoing, None, None).await?,
        Era::Legacy => Vec::new(),
    };
    let exchange = link
        .call(Outgoing {
            message: &outgoing,
            edits: Vec::new(),
            headers,
            session: asked.caller.session(),
            takes_questions: false,
            is_ours: false,
        })
        .await?;
    let answer = exchange.finish().await?;
    let limits = link.limits();
    let bytes = answer.collect(limits.bytes_max, &link.upstream.name).await?;
    Message::scan(bytes, &limits).map_err(|error| link.upstream.protocol_fault(error.to_string()))
}

/// A server's error, in the words of the client's era.
pub(super) fn refusal(answer: &Message, asked: &Request<'_>) -> Reply {
    let bytes = bridge::error_across(answer, asked.message.method(), asked.caller.era());
    Reply::Now(Final {
        is_result: false,
        ..Final::whole(Bytes::from(bytes))
    })
}

/// Tasks that one list asks about at once.
const LOOKS_MAX: usize = 8;
/// Time for a server to say how one task is, and for all that a list asks.
const LOOK_MAX: Duration = Duration::from_secs(5);
const LIST_MAX: Duration = Duration::from_secs(15);

/// `tasks/list`: the tasks that this session has begun, as they are now. A server that nobody else shares with the session
/// is asked itself.
async fn list(asked: &Request<'_>) -> Result<Reply, Fault> {
    let Request {
        endpoint,
        caller,
        message,
        want,
        ..
    } = *asked;
    let Caller::Legacy(session) = caller else {
        return Err(Fault::Cancelled);
    };
    if let Scope::One(upstream) = &endpoint.scope {
        let link = upstream.link(want).await?;
        if link.era() == Era::Legacy && link.private_to.is_some() {
            let exchange = send(&link, caller, message, None).await?;
            return Ok(answered(asked, &link, exchange, Home::Anywhere, Then::Name));
        }
    }
    if message.envelope.param.cursor.is_some() {
        return Err(Fault::InvalidParams(
            "params.cursor is not one of this gateway's".to_owned(),
        ));
    }
    let handles = session.tasks();
    let until = time::now() + LIST_MAX;
    let looks: Vec<_> = handles
        .iter()
        .map(|handle| listed_by(until, asked, session, handle))
        .collect();
    let seen: Vec<Option<Vec<u8>>> = stream::iter(looks).buffered(LOOKS_MAX).collect().await;
    let tasks: Vec<Vec<u8>> = seen.into_iter().flatten().collect();
    let result = [b"{\"tasks\":[", &tasks.join(&b","[..])[..], b"]}"].concat();
    Ok(Reply::Now(Final::whole(Bytes::from(reply::result(
        message.id().unwrap_or(b"null"),
        &result,
    )))))
}

/// One task as it is now; `None` if nobody knows it any more, or its server does not say so in time.
async fn listed_by(
    until: Instant,
    asked: &Request<'_>,
    session: &Arc<Session>,
    handle: &str,
) -> Option<Vec<u8>> {
    let left = until.saturating_duration_since(time::now());
    let seen = time::timeout(left.min(LOOK_MAX), listed(asked, session, handle)).await;
    if seen.is_err() {
        tracing::info!(
            session = session.short(),
            "a list of tasks lacks one: its server did not answer in time"
        );
    }
    seen.ok().flatten()
}

/// One task as it is now; `None` if nobody knows it any more.
async fn listed(asked: &Request<'_>, session: &Arc<Session>, handle: &str) -> Option<Vec<u8>> {
    let named = task::open(&asked.gateway.sealer, &asked.endpoint.path, handle).ok()?;
    let upstream = server_of(asked.endpoint, &named).ok()?;
    let link = upstream.link(asked.want).await.ok()?;
    let id = quoted(&named.id);
    let params = match link.era() {
        Era::Modern => {
            bridge::params_introducing(&Introduction::of(session).with_tasks(), &[("taskId", &id)])
        }
        Era::Legacy => [b"{\"taskId\":", &id[..], b"}"].concat(),
    };
    let answer = link.request("tasks/get", &params).await.ok()?;
    if answer.envelope.error_code == Some(codes::INVALID_PARAMS) {
        session.forget_task(handle);
    }
    let task = answer.envelope.result?;
    let mut token = Vec::new();
    push_quoted(&mut token, handle);
    Some(words::legacy_task(&answer.bytes, task, &token))
}
