//! What clients ask to be told: subscriptions of both eras, and log levels.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axiom_core::mailbox::{Letters, Mailbox, mailbox};
use axiom_core::{Task, spawn, time};
use axiom_protocol::method::Method;
use axiom_protocol::reply;
use axiom_protocol::revision::{Era, Revision};
use axiom_protocol::text::push_quoted;
use axiom_protocol::walk;
use bytes::Bytes;

use crate::bridge;
use crate::exchange::Step;
use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::hub::{Hub, Listener, News, Wants};
use crate::message::Message;
use crate::phase::{Caller, Reply, now};
use crate::plan::{Endpoint, Scope};
use crate::route::{self, Route};
use crate::session::SessionId;
use crate::upstream::{Link, Outgoing, Upstream, Want};

/// News that wait for one slow subscriber; of more, the oldest are dropped.
const NEWS_MAX: usize = 256;
/// Pause before a broken upstream subscription is opened again.
const FOLLOW_PAUSE: Duration = Duration::from_secs(5);
/// Resources in one subscription.
const URIS_MAX: usize = 1_024;

/// A modern client's stream of news from several servers.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The client's request id, which is the subscription's id too.
    id: Bytes,
    acknowledged: Wants,
    begun: bool,
    letters: Letters<News>,
    key: u64,
    hub: Arc<Hub>,
    watchers: Vec<Task>,
    /// Held for their `Drop`.
    _shares: Vec<Share>,
}

/// Opens `subscriptions/listen` on an endpoint of several servers.
pub(crate) async fn listen(
    gateway: &Arc<Gateway>,
    endpoint: &Arc<Endpoint>,
    message: &Message,
) -> Result<Subscription, Fault> {
    let acknowledged = wants_of(message)?;
    let (mailbox, letters) = mailbox(NEWS_MAX);
    let mut wants = acknowledged.clone();
    let subscriber = u128::from_be_bytes(gateway.sealer.random_id());
    let watched = watch_all(endpoint, &acknowledged.uris, &mailbox, subscriber).await;
    let acknowledged = Wants {
        uris: watched.uris,
        ..acknowledged
    };
    wants.uris = watched.through_hub;
    let listener = Listener {
        endpoint: endpoint.path.clone(),
        wants,
        mailbox,
    };
    let key = gateway.hub.listen(listener);
    let id = message
        .envelope
        .id
        .map(|id| message.slice(id))
        .unwrap_or_default();
    let hub = Arc::clone(&gateway.hub);
    Ok(Subscription {
        id,
        acknowledged,
        begun: false,
        letters,
        key,
        hub,
        watchers: watched.watchers,
        _shares: watched.shares,
    })
}

fn wants_of(message: &Message) -> Result<Wants, Fault> {
    let missing =
        || Fault::InvalidParams("subscriptions/listen needs params.notifications, an object".to_owned());
    let filter = message.envelope.param.notifications.ok_or_else(missing)?;
    let raw = &message.bytes;
    if !filter.of(raw).starts_with(b"{") {
        return Err(missing());
    }
    let flag = |key: &str| walk::get(raw, filter, key).is_some_and(|value| value.of(raw) == b"true");
    let uris: HashSet<String> = walk::get(raw, filter, "resourceSubscriptions")
        .filter(|list| list.of(raw).starts_with(b"["))
        .map(|list| {
            walk::elements(raw, list)
                .filter_map(|at| message.text(Some(at)).map(|uri| uri.into_owned()))
                .collect()
        })
        .unwrap_or_default();
    if uris.len() > URIS_MAX {
        return Err(Fault::InvalidParams(format!(
            "more than {URIS_MAX} resources in one subscription"
        )));
    }
    let mut uris: Vec<String> = uris.into_iter().collect();
    uris.sort_unstable();
    Ok(Wants {
        tools: flag("toolsListChanged"),
        prompts: flag("promptsListChanged"),
        resources: flag("resourcesListChanged"),
        uris,
    })
}

/// The resources of a subscription that some server tells us of.
#[derive(Default)]
struct Watched {
    uris: Vec<String>,
    /// Those whose news come by the hub, with everybody else's: a legacy server tells each connection once.
    through_hub: Vec<String>,
    watchers: Vec<Task>,
    shares: Vec<Share>,
}

/// A share in a legacy server's subscription to `uri`, which other clients may have too. Dropping it gives it up.
#[derive(Debug)]
struct Share {
    upstream: Arc<Upstream>,
    subscriber: SessionId,
    uri: String,
}

impl Drop for Share {
    fn drop(&mut self) {
        // Another link than at first, perhaps; it has taken the subscriptions over.
        let Some(link) = self.upstream.live_link(&Want::plain(Revision::LATEST_LEGACY)) else {
            return;
        };
        if link.unsubscribe(self.subscriber, &self.uri) {
            let params = serde_json::json!({ "uri": self.uri }).to_string();
            drop(spawn("unsubscribe", async move {
                if let Err(fault) = link.request("resources/unsubscribe", params.as_bytes()).await {
                    tracing::debug!(server = %link.upstream.name, %fault, "a server could not be unsubscribed from");
                }
            }));
        }
    }
}

/// Makes the servers that have `uris` tell us of their changes: one subscription for each server.
async fn watch_all(
    endpoint: &Arc<Endpoint>,
    uris: &[String],
    mailbox: &Mailbox<News>,
    subscriber: SessionId,
) -> Watched {
    let want = Want::plain(Revision::MODERN);
    let mut by_server: BTreeMap<Arc<str>, (Arc<Upstream>, Vec<String>)> = BTreeMap::new();
    for uri in uris {
        if let Some(upstream) = owner_of(endpoint, &want, uri).await {
            let of_server = by_server
                .entry(Arc::clone(&upstream.name))
                .or_insert_with(|| (upstream, Vec::new()));
            of_server.1.push(uri.clone());
        }
    }
    let mut watched = Watched::default();
    for (upstream, uris) in by_server.into_values() {
        // A server that is down tells nothing; what it would have told is not acknowledged.
        let Ok(link) = upstream.link(&want).await else {
            continue;
        };
        if link.era() == Era::Modern {
            watched.uris.extend(uris.iter().cloned());
            let following = follow(link, uris, mailbox.clone());
            watched.watchers.push(spawn("watch resources", following));
            continue;
        }
        for uri in uris {
            if link.has_subscribers(&uri) || is_subscribed(&link, &uri).await {
                link.subscribe(subscriber, &uri);
                watched.shares.push(Share {
                    upstream: Arc::clone(&upstream),
                    subscriber,
                    uri: uri.clone(),
                });
                watched.through_hub.push(uri.clone());
                watched.uris.push(uri);
            }
        }
    }
    watched
}

/// Asks a legacy server for news of `uri`; true if it agreed.
async fn is_subscribed(link: &Arc<Link>, uri: &str) -> bool {
    let params = serde_json::json!({ "uri": uri }).to_string();
    let asked = link.request("resources/subscribe", params.as_bytes()).await;
    asked.is_ok_and(|answer| answer.envelope.result.is_some())
}

async fn owner_of(endpoint: &Arc<Endpoint>, want: &Want, uri: &str) -> Option<Arc<Upstream>> {
    let params = serde_json::json!({ "uri": uri }).to_string();
    let question = Bytes::from(reply::request(b"1", "resources/read", params.as_bytes()));
    let message = Message::scan(question, &axiom_protocol::envelope::Limits::default()).ok()?;
    match route::find(endpoint, want, &message).await {
        Ok(Route::Server { upstream, .. }) => Some(upstream),
        Ok(_) | Err(_) => None,
    }
}

/// Follows resources of one modern server for as long as the subscription lives.
async fn follow(link: Arc<Link>, uris: Vec<String>, mailbox: Mailbox<News>) {
    let filter = serde_json::json!({ "resourceSubscriptions": uris }).to_string();
    let params = bridge::modern_params_with(&[("notifications", filter.as_bytes())]);
    let request = reply::request(b"\"axiom-watch\"", "subscriptions/listen", &params);
    let Ok(message) = Message::scan(Bytes::from(request), &link.limits()) else {
        return;
    };
    while !link.is_down() {
        let outgoing = Outgoing {
            message: &message,
            edits: Vec::new(),
            headers: bridge::modern_headers(&message, None),
            session: None,
            takes_questions: false,
        };
        if let Ok(mut exchange) = link.call(outgoing).await {
            exchange.wait_forever();
            while let Step::Notice(bytes) = exchange.next().await {
                if let Ok(notice) = Message::scan(bytes, &link.limits())
                    && notice.method() == Method::ResourceUpdated
                {
                    let uri = notice.text(notice.envelope.param.uri).map(|uri| uri.into_owned());
                    let method = Method::ResourceUpdated.as_str();
                    // A subscriber who left aborts this task.
                    let _left = mailbox.post_lossy(News { method, uri }).is_err();
                }
            }
        }
        time::sleep(FOLLOW_PAUSE).await;
        for uri in &uris {
            // What was missed meanwhile is not known: each may have changed.
            let method = Method::ResourceUpdated.as_str();
            let uri = Some(uri.clone());
            let _left = mailbox.post_lossy(News { method, uri }).is_err();
        }
    }
}

impl Subscription {
    /// The next message for the client.
    ///
    /// # Cancel safety
    /// Safe: news stay queued.
    pub(crate) async fn next(&mut self) -> Vec<u8> {
        if !self.begun {
            self.begun = true;
            return self.acknowledgement();
        }
        let news = self.letters.next().await;
        let mut params = b"{".to_vec();
        if let Some(uri) = &news.uri {
            params.extend_from_slice(b"\"uri\":");
            push_quoted(&mut params, uri);
            params.push(b',');
        }
        self.push_meta(&mut params);
        params.push(b'}');
        reply::notification(news.method, &params)
    }

    /// The graceful end: the result of the request that opened the stream.
    pub(crate) fn goodbye(&self) -> Vec<u8> {
        goodbye(&self.id)
    }

    fn acknowledgement(&self) -> Vec<u8> {
        let mut params = b"{".to_vec();
        self.push_meta(&mut params);
        let wants = &self.acknowledged;
        let mut fields: Vec<String> = [
            (wants.tools, "toolsListChanged"),
            (wants.prompts, "promptsListChanged"),
            (wants.resources, "resourcesListChanged"),
        ]
        .into_iter()
        .filter(|(wanted, _)| *wanted)
        .map(|(_, field)| format!("\"{field}\":true"))
        .collect();
        if !wants.uris.is_empty() {
            fields.push(format!(
                "\"resourceSubscriptions\":{}",
                serde_json::Value::from(wants.uris.clone())
            ));
        }
        params.extend_from_slice(format!(",\"notifications\":{{{}}}}}", fields.join(",")).as_bytes());
        reply::notification("notifications/subscriptions/acknowledged", &params)
    }

    fn push_meta(&self, out: &mut Vec<u8>) {
        push_meta(out, &self.id);
    }
}

/// The graceful end of the subscription that request `id` opened.
pub(crate) fn goodbye(id: &[u8]) -> Vec<u8> {
    let mut result = b"{\"resultType\":\"complete\",".to_vec();
    push_meta(&mut result, id);
    result.push(b'}');
    reply::result(id, &result)
}

fn push_meta(out: &mut Vec<u8>, id: &[u8]) {
    out.extend_from_slice(b"\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":");
    out.extend_from_slice(id);
    out.push(b'}');
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.stop_listening(self.key);
        for watcher in &self.watchers {
            watcher.abort();
        }
    }
}

/// The methods that [`shared`] has a say in.
pub(crate) fn may_be_shared(method: Method) -> bool {
    matches!(
        method,
        Method::ResourcesSubscribe | Method::ResourcesUnsubscribe | Method::SetLevel
    )
}

/// A legacy client's (un)subscription on a link: counted, so that a shared server is told once, and noted only when the
/// server agreed. `None` if the message is something else and goes on as usual.
pub(crate) async fn shared(
    link: &Arc<Link>,
    caller: &Caller,
    message: &Message,
) -> Result<Option<Reply>, Fault> {
    let (Some(session), Some(uri)) = (caller.session(), message.text(message.envelope.param.uri)) else {
        if message.method() == Method::SetLevel {
            note_level(caller, message);
        }
        return Ok(None);
    };
    let id = message.id().unwrap_or(b"null");
    let is_asked = match message.method() {
        Method::ResourcesSubscribe => link.has_subscribers(&uri),
        Method::ResourcesUnsubscribe => !link.unsubscribe(session.id, &uri),
        _ => return Ok(None),
    };
    let reply = if is_asked {
        now(id, b"{}")
    } else {
        let outgoing = Outgoing {
            message,
            edits: Vec::new(),
            headers: Vec::new(),
            session: Some(session),
            takes_questions: false,
        };
        let answer = link.call(outgoing).await?.finish().await?;
        if !answer.is_result {
            return Ok(Some(Reply::Now(answer)));
        }
        Reply::Now(answer)
    };
    if message.method() == Method::ResourcesSubscribe {
        link.subscribe(session.id, &uri);
        session.with(|state| state.subscriptions.insert(uri.into_owned()));
    } else {
        session.with(|state| state.subscriptions.remove(&*uri));
    }
    Ok(Some(reply))
}

fn note_level(caller: &Caller, message: &Message) {
    if let (Some(session), Some(level)) = (caller.session(), message.text(message.envelope.param.level)) {
        session.with(|state| state.log_level = Some(level.into_owned()));
    }
}

/// `logging/setLevel` on an endpoint of several servers: each that logs is told, those not yet up when they come up.
pub(crate) fn set_level(endpoint: &Endpoint, caller: &Caller, message: &Message) {
    note_level(caller, message);
    let Scope::Group(group) = &endpoint.scope else {
        return;
    };
    let want = caller.want();
    let params = Bytes::copy_from_slice(message.raw(message.envelope.params).unwrap_or(b"{}"));
    for link in group
        .members
        .iter()
        .filter_map(|member: &Arc<Upstream>| member.live_link(&want))
    {
        if link.era() == Era::Legacy && link.greeting.has("logging") {
            tell_level(link, params.clone());
        }
    }
}

/// Tells a server the level that its session's client has asked for.
pub(crate) fn tell_level(link: Arc<Link>, params: Bytes) {
    drop(spawn("set log level", async move {
        if let Err(fault) = link.request("logging/setLevel", &params).await {
            tracing::debug!(server = %link.upstream.name, %fault, "the log level could not be set");
        }
    }));
}
