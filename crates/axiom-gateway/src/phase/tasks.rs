//! Calls that may become tasks, and requests about tasks, in each pair of eras.
//!
//! | client | server | a call | `tasks/get`, `cancel` | the outcome | what the server asks |
//! |---|---|---|---|---|---|
//! | same era | | the handle is put in | passed on | passed on | passed on |
//! | sessions | modern | `params.task` becomes the extension | in the client's words | `tasks/result` asks again and again | requests on that stream |
//! | modern | sessions | `params.task` is put in | in the client's words | in `tasks/get` | in `tasks/get`, answered by `tasks/update` |
//! | knows no tasks | sessions | `params.task` is put in | - | of the call | as in any call |

use std::sync::Arc;
use std::time::Duration;

use axiom_core::time;
use axiom_protocol::method::Method;
use axiom_protocol::reply;
use axiom_protocol::revision::{Era, Revision};
use axiom_protocol::rewrite::{Edit, object_with};
use axiom_protocol::span::Span;
use axiom_protocol::text::{push_quoted, quoted};
use axiom_protocol::walk;
use bytes::Bytes;
use futures_util::future::join_all;

use super::across::fit;
use super::{Caller, Rename, Reply, Request, now, send};
use crate::bridge::{self, Introduction};
use crate::call::{Call, Declared, Side, input_requests};
use crate::catalog::{ListKind, TaskSupport};
use crate::exchange::{Exchange, Final};
use crate::fault::Fault;
use crate::message::Message;
use crate::mirror;
use crate::plan::{Endpoint, Scope};
use crate::seal::Sealer;
use crate::session::Session;
use crate::task::wait::Wait;
use crate::task::words::{self, Status, TTL};
use crate::task::{self, Attendant, Creation, Home, Named, Naming, Payload, Then};
use crate::upstream::{Link, Outgoing, Upstream, Want, whole};

/// Time for a server that says that a task has ended to say how.
const PAYLOAD_PATIENCE: Duration = Duration::from_secs(10);
/// Time for a server that says that it needs something to say what.
const QUESTION_PATIENCE: Duration = Duration::from_secs(2);
/// How often a task is looked at after it was cancelled, and the pause between: a modern server takes note of it and sees.
const CANCEL_LOOKS: u32 = 10;
const CANCEL_PAUSE: Duration = Duration::from_millis(100);

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
    Ok(Some(answered(asked, link, exchange, Home::Anywhere, then)))
}

/// A call across eras: how it is made at a session server, and what becomes of its answer. `None` if it has nothing to do
/// with tasks.
pub(super) async fn at_session_server(
    asked: &Request<'_>,
    link: &Arc<Link>,
    rename: Option<&Rename>,
) -> Result<Option<Creation>, Fault> {
    let message = asked.message;
    if message.method() != Method::ToolsCall || !link.greeting.tasks {
        return Ok(None);
    }
    let declares = words::declares_tasks(message);
    let then = match (support_of(link, message, rename).await, declares) {
        (Some(_), true) => Then::Tell { session: None },
        (Some(TaskSupport::Required), false) => Then::Fetch {
            client_id: message
                .envelope
                .id
                .map(|at| message.slice(at))
                .unwrap_or_default(),
            session: None,
        },
        _ => return Ok(None),
    };
    let home = Home::Link {
        number: link.number,
        declared: Declared::of(message),
    };
    Ok(Some(creation(asked, link, home, then)))
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

/// What a message says in passing of a task (`related-task`), with the server's own id. `None` if that is nothing.
pub(super) fn with_own_ids(
    endpoint: &Endpoint,
    sealer: &Sealer,
    message: &Message,
) -> Result<Option<Message>, Fault> {
    let open = |handle: &str| task::open(sealer, &endpoint.path, handle);
    let Some(bytes) = words::with_own_ids(message, open)? else {
        return Ok(None);
    };
    let limits = axiom_protocol::envelope::Limits {
        bytes_max: usize::MAX,
        ..Default::default()
    };
    Message::scan(bytes, &limits).map(Some).map_err(Fault::Unreadable)
}

/// A request about tasks.
pub(super) async fn request(asked: &Request<'_>) -> Result<Reply, Fault> {
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
        (Caller::Legacy(session), Era::Modern) => modern_task(asked, &link, session, &named).await,
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
async fn carried(
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
        })
        .await?;
    let answer = exchange.finish().await?;
    let limits = link.limits();
    let bytes = answer.collect(limits.bytes_max, &link.upstream.name).await?;
    Message::scan(bytes, &limits).map_err(|error| link.upstream.protocol_fault(error.to_string()))
}

/// A server's error, in the words of the client's era.
fn refusal(answer: &Message, asked: &Request<'_>) -> Reply {
    let bytes = bridge::error_across(answer, asked.message.method(), asked.caller.era());
    Reply::Now(Final {
        is_result: false,
        ..Final::whole(Bytes::from(bytes))
    })
}

/// A client with a session asks about a modern server's task.
async fn modern_task(
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

/// A modern client asks about a session server's task.
struct SessionTask<'a> {
    asked: &'a Request<'a>,
    link: Arc<Link>,
    named: Named,
    declared: Declared,
}

impl SessionTask<'_> {
    /// `number` is that of the conversation in which the task was begun.
    async fn reply(self, number: u64) -> Result<Reply, Fault> {
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
        let attendant = Attendant::of(&self.link, &self.named.id, ttl, self.declared)?;
        let naming =
            Naming::new(&self.link, &self.asked.endpoint.path, self.named.home).knowing(&self.named, message);
        let token = naming.token(&self.named.id);
        let mut set: Vec<(&str, &[u8])> = vec![("resultType", b"\"complete\"")];
        let payload = match status {
            Status::Completed | Status::Failed => attendant.payload(PAYLOAD_PATIENCE).await,
            Status::Working | Status::InputRequired | Status::Cancelled => None,
        };
        let patience = match status {
            Status::InputRequired => QUESTION_PATIENCE,
            _ => Duration::ZERO,
        };
        let open = attendant.questions(patience).await;
        let requests = input_requests(&open);
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
                Attendant::of(&self.link, &self.named.id, None, self.declared)?
            }
            None => return Err(self.link.task_lost()),
        };
        attendant.answer(&self.link, self.asked.message).await?;
        Ok(self.acknowledged())
    }

    async fn cancel(&self, number: u64) -> Result<Reply, Fault> {
        let answer = self.carried().await?;
        if answer.envelope.result.is_some() {
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
    let looks = handles.iter().map(|handle| listed(asked, session, handle));
    let tasks: Vec<Vec<u8>> = join_all(looks).await.into_iter().flatten().collect();
    let result = [b"{\"tasks\":[", &tasks.join(&b","[..])[..], b"]}"].concat();
    Ok(Reply::Now(Final::whole(Bytes::from(reply::result(
        message.id().unwrap_or(b"null"),
        &result,
    )))))
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
    let task = answer.envelope.result?;
    let mut token = Vec::new();
    push_quoted(&mut token, handle);
    Some(words::legacy_task(&answer.bytes, task, &token))
}
