//! What clients ask to be told: subscriptions of both eras, and log levels.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use axiom_protocol::reply;
use axiom_protocol::revision::{Era, Revision};
use axiom_protocol::text::push_quoted;
use axiom_protocol::walk;
use bytes::Bytes;

use crate::fault::Fault;
use crate::gateway::Gateway;
use crate::hub::{Hub, Inbox, Listener, Wants};
use crate::message::Message;
use crate::plan::{Endpoint, Scope};
use crate::route::{self, Route};
use crate::upstream::{Link, Reader, Share, Upstream, Want};

use tasks::TaskNews;
pub(crate) use wishes::{may_be_shared, set_level, shared, tell_level};

mod tasks;
mod wishes;

/// Resources in one subscription.
const URIS_MAX: usize = 1_024;

/// A modern client's stream of news that the gateway puts together: from several servers, or from one that speaks with
/// sessions.
#[derive(Debug)]
pub(crate) struct Subscription {
    /// The client's request id, which is the subscription's id too.
    id: Bytes,
    acknowledged: Wants,
    begun: bool,
    inbox: Arc<Inbox>,
    key: u64,
    hub: Arc<Hub>,
    /// Held for their `Drop`.
    shares: Vec<Share>,
    /// What servers tell of tasks.
    tasks: Vec<TaskNews>,
}

/// Opens `subscriptions/listen`. `None` on an endpoint of one server that answers it itself.
pub(crate) async fn listen(
    gateway: &Arc<Gateway>,
    endpoint: &Arc<Endpoint>,
    message: &Message,
) -> Result<Option<Subscription>, Fault> {
    let only = match &endpoint.scope {
        Scope::Group(_) => None,
        Scope::One(upstream) => {
            let link = upstream.link(&Want::plain(Revision::MODERN)).await?;
            if link.era() == Era::Modern {
                return Ok(None);
            }
            Some(link)
        }
    };
    let mut wants = wants_of(message)?;
    if let Some(link) = &only {
        wants.keep_offered(link);
    }
    let tasks = tasks::follow(&gateway.sealer, endpoint, message).await?;
    // It listens before any server is asked for what it shares with others, so that nothing falls in between.
    let inbox = Arc::new(Inbox::default());
    let key = gateway.hub.listen(Listener {
        endpoint: endpoint.path.to_string(),
        wants: wants.clone(),
        inbox: Arc::clone(&inbox),
    });
    let mut subscription = Subscription {
        id: message
            .envelope
            .id
            .map(|id| message.slice(id))
            .unwrap_or_default(),
        acknowledged: wants.clone(),
        begun: false,
        inbox,
        key,
        hub: Arc::clone(&gateway.hub),
        shares: Vec::new(),
        tasks,
    };
    let reader = Reader::Stream(key);
    subscription.shares = match only {
        Some(link) => {
            link.standing_settled().await;
            vec![link.upstream.watch(&link, reader, wants.uris).await?]
        }
        None => watch_all(endpoint, &wants.uris, reader).await,
    };
    let shares = &subscription.shares;
    let mut uris: Vec<String> = shares.iter().flat_map(|share| share.uris.clone()).collect();
    uris.sort_unstable();
    gateway.hub.narrow(key, &uris);
    subscription.acknowledged.uris = uris;
    Ok(Some(subscription))
}

impl Wants {
    /// Drops what the server behind `link` does not offer.
    fn keep_offered(&mut self, link: &Link) {
        self.tools &= link.greeting.announces("tools");
        self.prompts &= link.greeting.announces("prompts");
        self.resources &= link.greeting.announces("resources");
        if !link.greeting.tells_of_resources() {
            self.uris.clear();
        }
    }
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

/// Makes the servers that have `uris` tell of their changes.
async fn watch_all(endpoint: &Arc<Endpoint>, uris: &[String], reader: Reader) -> Vec<Share> {
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
    let mut shares = Vec::new();
    for (upstream, uris) in by_server.into_values() {
        // A server that is down tells nothing; what it would have told is not acknowledged.
        let Ok(link) = upstream.link(&want).await else {
            continue;
        };
        if !link.greeting.tells_of_resources() {
            continue;
        }
        match upstream.watch(&link, reader, uris).await {
            Ok(share) => shares.push(share),
            Err(fault) => tracing::info!(server = %upstream.name, %fault, "left out of a subscription"),
        }
    }
    shares
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

impl Subscription {
    /// The next message for the client, and whether it is the last one.
    ///
    /// # Cancel safety
    /// Safe: news stay queued.
    pub(crate) async fn next(&mut self) -> (Vec<u8>, bool) {
        if !self.begun {
            self.begun = true;
            return (self.acknowledgement(), false);
        }
        let news = tokio::select! {
            biased;
            // cancel-safe: news stay queued
            news = self.inbox.next() => news,
            // cancel-safe: see `tasks::next`
            told = tasks::next(&mut self.tasks) => {
                // Where one server tells nothing more, the client may ask anew.
                return told.map_or_else(|| (self.goodbye(), true), |told| (told.to_vec(), false));
            }
        };
        let Some(news) = news else {
            return (self.goodbye(), true);
        };
        let mut params = b"{".to_vec();
        if let Some(uri) = &news.uri {
            params.extend_from_slice(b"\"uri\":");
            push_quoted(&mut params, uri);
            params.push(b',');
        }
        self.push_meta(&mut params);
        params.push(b'}');
        (reply::notification(news.method, &params), false)
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
        fields.extend(Some(tasks::acknowledged(&self.tasks)).filter(|tasks| !tasks.is_empty()));
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
    }
}
