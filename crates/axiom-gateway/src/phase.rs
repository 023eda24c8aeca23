//! The one place with the whole control flow: what happens to a client's message, phase by phase.

use std::sync::Arc;

use axiom_core::spawn;
use axiom_protocol::envelope::Kind;
use axiom_protocol::method::Method;
use axiom_protocol::reply;
use axiom_protocol::revision::{Era, Revision};
use axiom_protocol::rewrite::{Edit, object_with};
use bytes::Bytes;

use crate::bridge;
use crate::call::Call;
use crate::exchange::{Exchange, Final};
use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::greet;
use crate::level;
use crate::message::Message;
use crate::mirror::{self, Mirrored};
use crate::plan::{Endpoint, Scope};
use crate::record::Record;
use crate::route::{self, Route};
use crate::session::{Answer, Asked, Session};
use crate::subscribe::{self, Subscription};
use crate::upstream::{Link, Outgoing, Upstream, Want, whole};

mod across;
mod tasks;

/// A request on its way to a server.
#[derive(Debug, Clone, Copy)]
struct Request<'a> {
    gateway: &'a Arc<Gateway>,
    endpoint: &'a Arc<Endpoint>,
    caller: &'a Caller,
    want: &'a Want,
    message: &'a Message,
}

/// Who sends a message, as far as it is known when it arrives.
#[derive(Debug, Clone)]
pub(crate) enum Caller {
    /// 2026-07-28: the request says everything itself.
    Modern {
        /// Its mirrored headers; `None` on a transport without headers.
        mirrored: Option<Mirrored>,
    },
    Legacy(Arc<Session>),
}

/// What a request comes to.
#[derive(Debug)]
pub(crate) enum Reply {
    /// Answered here.
    Now(Final),
    /// On its way at a server.
    Call(Box<Call>),
    /// A stream of news (`subscriptions/listen`) that is put together here.
    Subscription(Subscription),
}

impl Caller {
    pub(crate) fn era(&self) -> Era {
        match self {
            Caller::Modern { .. } => Era::Modern,
            Caller::Legacy(_) => Era::Legacy,
        }
    }

    pub(crate) fn revision(&self) -> Revision {
        self.session()
            .map_or(Revision::MODERN, |session| session.revision())
    }

    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        match self {
            Caller::Modern { .. } => None,
            Caller::Legacy(session) => Some(session),
        }
    }

    pub(crate) fn want(&self) -> Want {
        match self {
            Caller::Modern { .. } => Want::plain(Revision::MODERN),
            Caller::Legacy(session) => Want::of_session(session),
        }
    }
}

/// A request of an established client.
///
/// The future is one of a call's, and a call's future is kept small: it is moved and, with hundreds of calls in flight,
/// falls out of the processor's caches. So everything that is not on the way of a plain call is boxed.
pub(crate) async fn request(
    gateway: &Arc<Gateway>,
    endpoint: &Arc<Endpoint>,
    caller: &Caller,
    message: &Message,
    mut record: Record,
) -> Result<Reply, Fault> {
    record.by(caller);
    let mut outcome = in_force(gateway, endpoint, caller, message).await;
    match &mut outcome {
        Ok(Reply::Now(answer)) => record.answered(answer),
        Ok(Reply::Call(call)) if call.is_subscription() => record.listening(),
        Ok(Reply::Call(call)) => call.recorded_in(record),
        Ok(Reply::Subscription(_)) => record.listening(),
        Err(fault) => record.failed(fault),
    }
    outcome
}

async fn in_force(
    gateway: &Arc<Gateway>,
    endpoint: &Arc<Endpoint>,
    caller: &Caller,
    message: &Message,
) -> Result<Reply, Fault> {
    let outcome = attempt(gateway, endpoint, caller, message).await;
    // The configuration was reloaded while the request was on its way to a server of before. It has not reached one.
    if let Err(Fault::Unavailable { .. }) = &outcome
        && let Some(current) = gateway.plan().endpoint(&endpoint.path).cloned()
        && !Arc::ptr_eq(&current, endpoint)
    {
        return Box::pin(attempt(gateway, &current, caller, message)).await;
    }
    outcome
}

async fn attempt(
    gateway: &Arc<Gateway>,
    endpoint: &Arc<Endpoint>,
    caller: &Caller,
    message: &Message,
) -> Result<Reply, Fault> {
    let id = message.id().unwrap_or(b"null");
    tracing::debug!(
        endpoint = &*endpoint.path,
        method = %message.method_text(),
        session = caller.session().map(|session| session.short()),
        "request"
    );
    if gateway.is_draining() {
        return Err(Fault::ShuttingDown);
    }
    match (caller.era(), message.method()) {
        (Era::Legacy, Method::Ping) => return Ok(now(id, b"{}")),
        // In a batch, or again: the session has begun.
        (Era::Legacy, Method::Initialize) => {
            return Err(Fault::InvalidRequest(
                "this session is initialized already".to_owned(),
            ));
        }
        (Era::Modern, Method::Initialize | Method::Ping | Method::SetLevel)
        | (Era::Modern, Method::ResourcesSubscribe | Method::ResourcesUnsubscribe) => {
            return Err(Fault::UnknownMethod {
                method: message.method_text().into_owned(),
            });
        }
        (Era::Modern, Method::Discover) => return Box::pin(greet::discover(endpoint, caller, message)).await,
        (Era::Modern, Method::SubscriptionsListen) => {
            if let Some(subscription) = Box::pin(subscribe::listen(gateway, endpoint, message)).await? {
                return Ok(Reply::Subscription(subscription));
            }
        }
        _ => {}
    }
    let want = caller.want();
    let asked = Request {
        gateway,
        endpoint,
        caller,
        want: &want,
        message,
    };
    if message.method().is_about_a_task() || message.method() == Method::TasksList {
        return Box::pin(tasks::request(&asked)).await;
    }
    match route::find(endpoint, &want, message).await? {
        Route::Server { upstream, rename } if message.envelope.in_meta.related_task.is_some() => {
            Box::pin(tasks::within(&asked, &upstream, rename)).await
        }
        Route::Server { upstream, rename } => call(&asked, &upstream, rename).await,
        Route::FirstOf(upstreams) => Box::pin(first_of(&asked, &upstreams)).await,
        Route::List(kind) => {
            let Scope::Group(group) = &endpoint.scope else {
                return Err(Fault::UnknownMethod {
                    method: message.method_text().into_owned(),
                });
            };
            let merged = group.list(&want, kind).await;
            let cursor = message.text(message.envelope.param.cursor);
            let result = merged.result(cursor.as_deref(), caller.era() == Era::Modern, &gateway.sealer)?;
            Ok(now_bytes(id, result))
        }
        Route::Everybody => {
            subscribe::set_level(endpoint, caller, message)?;
            Ok(now(id, b"{}"))
        }
    }
}

/// Calls one server: find a link, make the message fit it, put it on the wire.
async fn call(asked: &Request<'_>, upstream: &Arc<Upstream>, rename: Option<Rename>) -> Result<Reply, Fault> {
    let Request {
        caller,
        want,
        message,
        ..
    } = *asked;
    let link = match upstream.link_at_hand(want) {
        Some(link) => link,
        None => Box::pin(upstream.link(want)).await?,
    };
    if subscribe::may_be_shared(message.method())
        && let Some(reply) = Box::pin(subscribe::shared(&link, caller, message)).await?
    {
        return Ok(reply);
    }
    if link.era() != caller.era() {
        return Box::pin(across::call(asked, link, rename.as_ref())).await;
    }
    if tasks::may_concern(&link, caller, message)
        && let Some(reply) = Box::pin(tasks::call(asked, &link, rename.as_ref())).await?
    {
        return Ok(reply);
    }
    let mut exchange = send(&link, caller, message, rename.as_ref()).await?;
    if message.method() == Method::SubscriptionsListen {
        exchange.wait_forever();
    }
    let (method, client) = (message.method(), caller.revision());
    Ok(Reply::Call(Box::new(
        if level::concerns(method, client, link.revision) {
            Call::levelled(exchange, method, client)
        } else {
            Call::straight(exchange, method)
        },
    )))
}

/// Within an era a message goes as it came, but for the name.
async fn send(
    link: &Arc<Link>,
    caller: &Caller,
    message: &Message,
    rename: Option<&Rename>,
) -> Result<Exchange, Fault> {
    let mut quoted = Vec::new();
    let edits = rename_edit(rename, &mut quoted);
    let headers = match caller {
        Caller::Modern { mirrored } => {
            let name = rename.map(|(_, name)| name.as_str());
            mirror::headers(link, message, name, mirrored.as_ref()).await?
        }
        Caller::Legacy(_) => {
            if bridge::may_ask(message.method()) || message.method() == Method::TasksResult {
                link.hears_questions().await;
            }
            Vec::new()
        }
    };
    link.call(Outgoing {
        message,
        edits,
        headers,
        session: caller.session(),
        takes_questions: false,
        is_ours: false,
    })
    .await
}

/// The name by which the server knows what is called, and where the message says it.
type Rename = (axiom_protocol::span::Span, String);

fn rename_edit<'a>(rename: Option<&Rename>, quoted: &'a mut Vec<u8>) -> Vec<Edit<'a>> {
    let Some((at, name)) = rename else {
        return Vec::new();
    };
    axiom_protocol::text::push_quoted(quoted, name);
    // Room for the id and the progress token, which follow.
    let mut edits = Vec::with_capacity(3);
    edits.push(Edit {
        at: *at,
        with: quoted,
    });
    edits
}

/// Asks servers in turn until one does not say "not found".
async fn first_of(asked: &Request<'_>, upstreams: &[Arc<Upstream>]) -> Result<Reply, Fault> {
    let mut last = None;
    let mut fault = None;
    for upstream in upstreams {
        let reply = match tasks::within(asked, upstream, None).await {
            Ok(Reply::Call(call)) => *call,
            Ok(other) => return Ok(other),
            Err(error) => {
                fault = Some(error);
                continue;
            }
        };
        match reply.finish().await {
            Ok(answer) if answer.is_result => return Ok(Reply::Now(answer)),
            Ok(answer) => last = Some(answer),
            Err(error) => fault = Some(error),
        }
    }
    match (last, fault) {
        // One that could not be asked may be the one that knows.
        (_, Some(fault)) => Err(fault),
        (Some(answer), None) => Ok(Reply::Now(answer)),
        (None, None) => Err(Fault::InvalidParams("no server knows it".to_owned())),
    }
}

/// A notification of a client. Nothing is answered; what cannot be delivered is logged.
///
/// Nothing is waited for: one server that takes nothing must not hold up a client's other messages. Returns false for
/// the cancellation of a call that is not on the wire (yet).
pub(crate) fn notification(endpoint: &Endpoint, caller: &Caller, message: &Message) -> bool {
    let Some(session) = caller.session() else {
        if message.method() == Method::Other {
            pass_on(endpoint, message);
        }
        return false;
    };
    match message.method() {
        Method::Cancelled => {
            let id = message.envelope.param.request_id.map(|at| message.slice(at));
            let call = id.and_then(|id| session.with(|state| state.calls.get(&id).cloned()));
            let Some(call) = call else {
                return false;
            };
            call.cancel(Some("the client cancelled it"));
        }
        Method::Initialized => {}
        // For the servers that have a link of this session's own; on a shared one it would speak for others too.
        _ => {
            for link in own_links(endpoint, session) {
                let own_ids = link.with_own_ids(session, message);
                link.send_later(own_ids.as_ref().unwrap_or(message).bytes.clone());
            }
        }
    }
    true
}

/// A modern client's notification that the gateway has no rule for: client and server have agreed on something, so it goes
/// there as it is. Where there are several servers nobody can tell whose it is, and an older one would not know it.
fn pass_on(endpoint: &Endpoint, message: &Message) {
    let Scope::One(upstream) = &endpoint.scope else {
        tracing::debug!(endpoint = &*endpoint.path, method = %message.method_text(),
            "a notification for no server in particular was dropped");
        return;
    };
    let (upstream, bytes) = (Arc::clone(upstream), message.bytes.clone());
    drop(spawn("pass on a notification", async move {
        let sent = match upstream.link(&Want::plain(Revision::MODERN)).await {
            Ok(link) if link.era() == Era::Modern => link.send(bytes).await,
            Ok(_) => Err(upstream.protocol_fault("it would not know a notification of 2026-07-28")),
            Err(fault) => Err(fault),
        };
        if let Err(fault) = sent {
            tracing::debug!(server = %upstream.name, %fault, "a notification could not be delivered");
        }
    }));
}

fn own_links(endpoint: &Endpoint, session: &Arc<Session>) -> Vec<Arc<Link>> {
    if !session.interactive {
        return Vec::new();
    }
    let want = Want::of_session(session);
    let upstreams: &[Arc<Upstream>] = match &endpoint.scope {
        Scope::One(upstream) => std::slice::from_ref(upstream),
        Scope::Group(group) => &group.members,
    };
    upstreams
        .iter()
        .filter_map(|upstream| upstream.live_link(&want))
        .collect()
}

/// A client's answer to a server's question.
pub(crate) fn answer(session: &Session, message: &Message) -> Result<(), Fault> {
    debug_assert!(matches!(message.kind(), Kind::Response | Kind::Error));
    let asked = message
        .id()
        .and_then(|id| std::str::from_utf8(id).ok()?.parse().ok())
        .and_then(|id| session.answered(id))
        .ok_or_else(|| Fault::InvalidRequest("an answer to no open question".to_owned()))?;
    match asked {
        Asked::ByServer { link, upstream_id } => {
            let own_ids = link.with_own_ids(session, message);
            let message = own_ids.as_ref().unwrap_or(message);
            let bytes = match message.envelope.id {
                Some(at) => message.with(&mut [Edit {
                    at,
                    with: &upstream_id,
                }]),
                None => message.bytes.clone(),
            };
            link.send_later(bytes);
        }
        Asked::ForCall { key, answers } => {
            let message = message.clone();
            // The call may have ended just now.
            let _ended = answers.post(Answer { key, message }).is_err();
        }
    }
    Ok(())
}

/// An answer made here.
pub(crate) fn now(id: &[u8], result: &[u8]) -> Reply {
    Reply::Now(Final::whole(Bytes::from(reply::result(id, result))))
}

/// Like [`now`], without copying a long result.
fn now_bytes(id: &[u8], result: Bytes) -> Reply {
    let mut head = Vec::with_capacity(id.len() + 36);
    head.extend_from_slice(b"{\"jsonrpc\":\"2.0\",\"id\":");
    head.extend_from_slice(id);
    head.extend_from_slice(b",\"result\":");
    let mut answer = Final::whole(Bytes::from(head));
    answer.parts.push_back(result);
    answer.parts.push_back(Bytes::from_static(b"}"));
    Reply::Now(answer)
}

/// `object` with one field set, as a result to answer with.
pub(crate) fn with_field(object: &[u8], name: &str, value: &[u8]) -> Vec<u8> {
    object_with(object, whole(object), &[(name, value)], &[])
}
