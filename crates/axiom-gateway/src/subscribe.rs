//! What clients ask to be told: subscriptions of both eras, and log levels.

use std::collections::HashSet;
use std::sync::Arc;

use axiom_core::mailbox::{Letters, mailbox};
use axiom_core::{Task, spawn};
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
use crate::upstream::{Link, Outgoing, Upstream, Want};

/// News that wait for one slow subscriber; of more, the oldest are dropped.
const NEWS_MAX: usize = 256;
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
}

/// Opens `subscriptions/listen` on an endpoint of several servers.
pub(crate) async fn listen(
    gateway: &Arc<Gateway>,
    endpoint: &Arc<Endpoint>,
    message: &Message,
) -> Result<Subscription, Fault> {
    let mut wants = wants_of(message)?;
    let mut watchers = Vec::new();
    let mut honoured = Vec::new();
    for uri in std::mem::take(&mut wants.uris) {
        if let Some(watcher) = watch(endpoint, &uri).await {
            watchers.extend(watcher);
            honoured.push(uri);
        }
    }
    wants.uris = honoured;
    let (mailbox, letters) = mailbox(NEWS_MAX);
    let listener = Listener {
        endpoint: endpoint.path.clone(),
        wants: wants.clone(),
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
        acknowledged: wants,
        begun: false,
        letters,
        key,
        hub,
        watchers,
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

/// Makes the server that has `uri` tell us of its changes. `None` if no server is known to have it.
async fn watch(endpoint: &Arc<Endpoint>, uri: &str) -> Option<Option<Task>> {
    let want = Want::plain(Revision::MODERN);
    let mut params = b"{\"uri\":".to_vec();
    push_quoted(&mut params, uri);
    params.push(b'}');
    let question = Bytes::from(reply::request(b"1", "resources/read", &params));
    let message = Message::scan(question, &axiom_protocol::envelope::Limits::default()).ok()?;
    let Ok(Route::Server { upstream, .. }) = route::find(endpoint, &want, &message).await else {
        return None;
    };
    let link = upstream.link(&want).await.ok()?;
    match link.era() {
        Era::Legacy => {
            let answer = link.request("resources/subscribe", &params).await.ok()?;
            answer.envelope.result.map(|_| None)
        }
        Era::Modern => Some(Some(spawn("watch resource", follow(link, uri.to_owned())))),
    }
}

/// Follows one resource of a modern server for as long as the subscription lives.
async fn follow(link: Arc<Link>, uri: String) {
    let mut filter = b"{\"resourceSubscriptions\":[".to_vec();
    push_quoted(&mut filter, &uri);
    filter.extend_from_slice(b"]}");
    let params = bridge::modern_params_with(&[("notifications", &filter)]);
    let bytes = Bytes::from(reply::request(
        b"\"axiom-watch\"",
        "subscriptions/listen",
        &params,
    ));
    let Ok(message) = Message::scan(bytes, &link.limits()) else {
        return;
    };
    let headers = bridge::modern_headers(&message, None);
    let outgoing = Outgoing {
        message: &message,
        edits: Vec::new(),
        headers,
        session: None,
    };
    let Ok(mut exchange) = link.call(outgoing).await else {
        return;
    };
    exchange.wait_forever();
    while let Step::Notice(bytes) = exchange.next().await {
        if let Ok(message) = Message::scan(bytes, &link.limits()) {
            link.deliver(&message);
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
        let mut result = b"{\"resultType\":\"complete\",".to_vec();
        self.push_meta(&mut result);
        result.push(b'}');
        reply::result(&self.id, &result)
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
        out.extend_from_slice(b"\"_meta\":{\"io.modelcontextprotocol/subscriptionId\":");
        out.extend_from_slice(&self.id);
        out.push(b'}');
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.stop_listening(self.key);
        for watcher in &self.watchers {
            watcher.abort();
        }
    }
}

/// A legacy client's (un)subscription on a link: counted, so that a shared server is told once. `Some` is the answer
/// where the server need not be asked.
pub(crate) fn shared(link: &Arc<Link>, caller: &Caller, message: &Message) -> Result<Option<Reply>, Fault> {
    let Some(session) = caller.session() else {
        return Ok(None);
    };
    let id = message.id().unwrap_or(b"null");
    let uri = message.text(message.envelope.param.uri);
    let must_ask = match (message.method(), &uri) {
        (Method::ResourcesSubscribe, Some(uri)) => {
            session.with(|state| state.subscriptions.insert(uri.to_string()));
            link.subscribe(session, uri)
        }
        (Method::ResourcesUnsubscribe, Some(uri)) => {
            session.with(|state| state.subscriptions.remove(&**uri));
            link.unsubscribe(session, uri)
        }
        (Method::SetLevel, _) => {
            note_level(caller, message);
            true
        }
        _ => return Ok(None),
    };
    Ok(if must_ask { None } else { Some(now(id, b"{}")) })
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
