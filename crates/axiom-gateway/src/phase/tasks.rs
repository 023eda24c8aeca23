//! Calls that may become tasks, and requests about tasks, in each pair of eras.
//!
//! | client | server | a call | `tasks/get`, `cancel` | the outcome | what the server asks |
//! |---|---|---|---|---|---|
//! | same era | | the handle is put in | passed on | passed on | passed on |
//! | sessions | modern | `params.task` becomes the extension | in the client's words | `tasks/result` asks again and again | requests on that stream |
//! | modern | sessions | `params.task` is put in | in the client's words | in `tasks/get` | in `tasks/get`, answered by `tasks/update` |
//! | knows no tasks | sessions | `params.task` is put in | - | of the call | as in any call |
//!
//! Here are the calls; `about` has the requests, `modern_server` and `session_server` those of clients of the other era.

use std::sync::Arc;

use axiom_protocol::method::Method;
use axiom_protocol::revision::Revision;
use axiom_protocol::rewrite::{Edit, object_with};
use axiom_protocol::span::Span;
use axiom_protocol::text::push_quoted;
use axiom_protocol::walk;
use bytes::Bytes;

use super::{Caller, Rename, Reply, Request, send};
use crate::call::{Call, Declared, Side};
use crate::catalog::{ListKind, TaskSupport};
use crate::exchange::Exchange;
use crate::fault::Fault;
use crate::message::Message;
use crate::session::Session;
use crate::task::{self, Creation, Home, Naming, Then, words};
use crate::upstream::{Link, Upstream, whole};

pub(super) use about::request;

mod about;
mod modern_server;
mod session_server;

/// True for a call within an era that may have to do with tasks. Most have not, and this is all they pay.
pub(super) fn may_concern(link: &Link, caller: &Caller, message: &Message) -> bool {
    link.greeting.tasks
        && match message.method() {
            Method::ToolsCall => match caller {
                Caller::Modern { .. } => words::declares_tasks(message),
                Caller::Legacy(session) => message.envelope.param.task.is_some() || !knows_tasks(session),
            },
            Method::SubscriptionsListen => !subscribed(message).is_empty(),
            _ => false,
        }
}

/// Such a call.
pub(super) async fn call(
    asked: &Request<'_>,
    link: &Arc<Link>,
    rename: Option<&Rename>,
) -> Result<Option<Reply>, Fault> {
    let Request { caller, message, .. } = *asked;
    if message.method() == Method::SubscriptionsListen {
        return listen(asked, link).await.map(Some);
    }
    let session = caller.session();
    let is_for_client = session.is_none() || message.envelope.param.task.is_some();
    let then = if is_for_client {
        Then::Tell {
            session: session.cloned(),
        }
    } else if support_of(link, message, rename).await == Some(TaskSupport::Required) {
        Then::Fetch {
            client_id: message
                .envelope
                .id
                .map(|at| message.slice(at))
                .unwrap_or_default(),
            session: session.cloned(),
        }
    } else {
        return Ok(None);
    };
    let exchange = if is_for_client {
        send(link, caller, message, rename).await?
    } else {
        let as_task = as_task(message, link)?;
        // The parameters are written anew, so their places are others.
        let rename = rename.and_then(|(_, name)| Some((as_task.envelope.param.name?, name.clone())));
        send(link, caller, &as_task, rename.as_ref()).await?
    };
    exchange.keep_token();
    Ok(Some(answered(asked, link, exchange, Home::Anywhere, then)))
}

/// How far a call across eras has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    New,
    /// Its client comes back with answers. It may have been made as a task, whatever this request declares.
    UnderWay,
}

/// A call across eras: how it is made at a session server, and what becomes of its answer. `None` if it has nothing to do
/// with tasks.
pub(super) async fn at_session_server(
    asked: &Request<'_>,
    link: &Arc<Link>,
    rename: Option<&Rename>,
    stage: Stage,
) -> Option<Creation> {
    let message = asked.message;
    if message.method() != Method::ToolsCall || !link.greeting.tasks {
        return None;
    }
    let declares = words::declares_tasks(message);
    let then = match (support_of(link, message, rename).await?, declares, stage) {
        (_, true, _) => Then::Tell { session: None },
        (TaskSupport::Required, ..) | (_, _, Stage::UnderWay) => Then::Fetch {
            client_id: message
                .envelope
                .id
                .map(|at| message.slice(at))
                .unwrap_or_default(),
            session: None,
        },
        (TaskSupport::Optional, false, Stage::New) => return None,
    };
    let home = Home::Link {
        number: link.number,
        declared: Declared::of(message),
    };
    Some(creation(asked, link, home, then))
}

/// The same at a modern server: the client says in the request whether it wants a task.
pub(super) fn at_modern_server(asked: &Request<'_>, link: &Arc<Link>) -> Option<Creation> {
    let message = asked.message;
    let wants = message.method() == Method::ToolsCall && message.envelope.param.task.is_some();
    let session = asked.caller.session()?;
    (wants && link.greeting.tasks && session.revision() >= Revision::V2025_11_25).then(|| {
        let session = Some(Arc::clone(session));
        creation(asked, link, Home::Anywhere, Then::Tell { session })
    })
}

/// The message with `params.task`.
pub(super) fn as_task(message: &Message, link: &Link) -> Result<Message, Fault> {
    let params = message.raw(message.envelope.params).unwrap_or(b"{}");
    let params = object_with(params, whole(params), &[("task", b"{}")], &[]);
    let bytes = object_with(
        &message.bytes,
        message.envelope.object,
        &[("params", &params)],
        &[],
    );
    Message::scan(Bytes::from(bytes), &link.limits()).map_err(Fault::Unreadable)
}

fn creation(asked: &Request<'_>, link: &Link, home: Home, then: Then) -> Creation {
    Creation {
        naming: Naming::new(link, &asked.endpoint.path, home),
        client: asked.caller.revision(),
        then,
    }
}

fn answered(asked: &Request<'_>, link: &Link, exchange: Exchange, home: Home, then: Then) -> Reply {
    let creation = creation(asked, link, home, then);
    let side = Side::within(asked.message.method(), asked.caller.revision(), link.revision);
    let call = Call::across(exchange, asked.message.method(), side);
    Reply::Call(Box::new(call.with_task(Some(creation))))
}

/// Whether a session's client would know a task if it saw one.
fn knows_tasks(session: &Session) -> bool {
    let declared = &session.hello.capabilities;
    session.revision() >= Revision::V2025_11_25 && walk::get(declared, whole(declared), "tasks").is_some()
}

/// What the tool that is called says of tasks.
async fn support_of(link: &Arc<Link>, message: &Message, rename: Option<&Rename>) -> Option<TaskSupport> {
    let called = message.text(message.envelope.param.name).unwrap_or_default();
    let name = rename.map_or(&*called, |(_, name)| name.as_str());
    let catalogs = &link.upstream.catalogs;
    let kept = catalogs
        .kept(link, ListKind::Tools)
        .or_else(|| catalogs.last_seen(ListKind::Tools));
    let tools = match kept {
        Some(tools) => tools,
        // A server that cannot list its tools may be able to run one.
        None => catalogs.get(link, ListKind::Tools).await.ok()?,
    };
    tools.tasks.get(name).copied()
}

/// The handles that a subscription names.
fn subscribed(message: &Message) -> Vec<Span> {
    let filter = message.envelope.param.notifications;
    filter.map_or_else(Vec::new, |filter| words::task_ids(&message.bytes, filter))
}

/// A subscription that a modern server answers itself, to tasks among other things.
async fn listen(asked: &Request<'_>, link: &Arc<Link>) -> Result<Reply, Fault> {
    let Request { caller, message, .. } = *asked;
    if !words::declares_tasks(message) {
        return Err(task::not_declared(message));
    }
    let mut own = Vec::new();
    for at in subscribed(message) {
        let handle = message.text(Some(at)).unwrap_or_default();
        let named = task::open(&asked.gateway.sealer, &asked.endpoint.path, &handle)?;
        let mut id = Vec::new();
        push_quoted(&mut id, &named.id);
        own.push((at, id));
    }
    let mut edits: Vec<Edit<'_>> = own.iter().map(|(at, id)| Edit { at: *at, with: id }).collect();
    let bytes = message.with(&mut edits);
    let message = Message::scan(bytes, &link.limits()).map_err(Fault::Unreadable)?;
    let mut exchange = send(link, caller, &message, None).await?;
    exchange.wait_forever();
    Ok(answered(asked, link, exchange, Home::Anywhere, Then::Name))
}

/// A call that may say in passing which task it belongs to (`related-task`). Its server knows the task by its own id; what
/// is no task of that server's stays as it is: a client may have tasks of its own.
pub(super) async fn within(
    asked: &Request<'_>,
    upstream: &Arc<Upstream>,
    rename: Option<Rename>,
) -> Result<Reply, Fault> {
    let before = asked.message;
    let Some(message) = upstream.with_own_ids(&asked.endpoint.path, before) else {
        return super::call(asked, upstream, rename).await;
    };
    let said = before.envelope.in_meta.related_task;
    let rename = rename.map(|(at, name)| {
        let is_behind = said.is_some_and(|said| at.start > said.start);
        let at = if is_behind {
            moved(at, before.bytes.len(), message.bytes.len())
        } else {
            at
        };
        (at, name)
    });
    let asked = Request {
        message: &message,
        ..*asked
    };
    super::call(&asked, upstream, rename).await
}

/// A place in a message behind another that became longer or shorter.
fn moved(at: Span, len_before: usize, len_after: usize) -> Span {
    // Both lengths are of one message, whose places fit.
    let place = |place: u32| u32::try_from(place as usize + len_after - len_before).unwrap_or(place);
    Span {
        start: place(at.start),
        end: place(at.end),
    }
}
