//! News from servers, to every client they concern.
//!
//! Legacy sessions get them on their standing stream or pipe; a modern client gets what its subscription asked for.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use axiom_protocol::method::Method;
use axiom_protocol::reply;
use bytes::Bytes;
use tokio::sync::Notify;

use crate::message::Message;
use crate::session::{Session, SessionId};
use crate::upstream::Link;

/// Which servers stand behind an endpoint's path.
pub(crate) type Membership = Box<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// Everybody who wants to hear news.
#[derive(Default)]
pub(crate) struct Hub {
    sessions: Mutex<HashMap<SessionId, Weak<Session>>>,
    listeners: Mutex<HashMap<u64, Listener>>,
    next_listener: AtomicU64,
    /// `(endpoint path, server name)` -> does the endpoint show the server?
    membership: RwLock<Option<Membership>>,
    replay_bytes_max: usize,
}

/// A modern client's subscription that is answered here.
#[derive(Debug)]
pub(crate) struct Listener {
    pub endpoint: String,
    pub wants: Wants,
    pub inbox: Arc<Inbox>,
}

/// What a subscription asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Wants {
    pub tools: bool,
    pub prompts: bool,
    pub resources: bool,
    pub uris: Vec<String>,
}

/// One piece of news: the method, and `params` without `_meta` where there are any.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct News {
    pub method: &'static str,
    pub uri: Option<String>,
}

/// News that wait for one subscriber. What waits already is not added again, since "changed" says as much as "changed
/// twice": so there are never more than the subscriber asked for, and none are lost.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    news: VecDeque<News>,
    /// Nothing will follow.
    dismissed: bool,
}

impl Inbox {
    fn put(&self, news: News) {
        let mut waiting = lock(&self.waiting);
        if !waiting.news.contains(&news) {
            waiting.news.push_back(news);
            drop(waiting);
            self.arrived.notify_one();
        }
    }

    fn dismiss(&self) {
        lock(&self.waiting).dismissed = true;
        self.arrived.notify_one();
    }

    /// The next piece of news; `None` when there will be no more.
    ///
    /// # Cancel safety
    /// Safe: news stay until they are returned. There is one reader.
    pub(crate) async fn next(&self) -> Option<News> {
        loop {
            {
                let mut waiting = lock(&self.waiting);
                if let Some(news) = waiting.news.pop_front() {
                    return Some(news);
                }
                if waiting.dismissed {
                    return None;
                }
            }
            self.arrived.notified().await;
        }
    }
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub")
            .field("sessions", &lock(&self.sessions).len())
            .finish()
    }
}

const LIST_CHANGES: [&str; 3] = [
    "notifications/tools/list_changed",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
];

impl Hub {
    pub(crate) fn new(replay_bytes_max: usize) -> Hub {
        Hub {
            replay_bytes_max,
            ..Hub::default()
        }
    }

    pub(crate) fn set_membership(&self, membership: Membership) {
        *self.membership.write().unwrap_or_else(PoisonError::into_inner) = Some(membership);
    }

    /// From now on `session` gets news: it has a way to be reached outside of calls.
    pub(crate) fn join(&self, session: &Arc<Session>) {
        lock(&self.sessions).insert(session.id, Arc::downgrade(session));
    }

    pub(crate) fn leave(&self, session: SessionId) {
        lock(&self.sessions).remove(&session);
    }

    pub(crate) fn listen(&self, listener: Listener) -> u64 {
        let key = self.next_listener.fetch_add(1, Ordering::Relaxed);
        lock(&self.listeners).insert(key, listener);
        key
    }

    /// From now on the listener hears of these resources only.
    pub(crate) fn narrow(&self, key: u64, uris: &[String]) {
        if let Some(listener) = lock(&self.listeners).get_mut(&key) {
            listener.wants.uris = uris.to_vec();
        }
    }

    pub(crate) fn stop_listening(&self, key: u64) {
        lock(&self.listeners).remove(&key);
    }

    /// These listeners' server is gone for good: their streams end in order, and their clients may ask anew.
    pub(crate) fn dismiss(&self, keys: &[u64]) {
        let listeners = lock(&self.listeners);
        for listener in keys.iter().filter_map(|key| listeners.get(key)) {
            listener.inbox.dismiss();
        }
    }

    /// True if somebody would be told at once if `server` had news.
    pub(crate) fn is_heard(&self, server: &str) -> bool {
        let listened = lock(&self.listeners)
            .values()
            .any(|listener| self.shows(&listener.endpoint, server));
        listened
            || self
                .members(&|endpoint| self.shows(endpoint, server))
                .iter()
                .any(|session| session.is_attached())
    }

    /// True while the session is known here: it gets news, or has not ended.
    pub(crate) fn is_alive(&self, session: SessionId) -> bool {
        lock(&self.sessions)
            .get(&session)
            .is_some_and(|session| session.strong_count() > 0)
    }

    /// A server's notification of a change.
    pub(crate) fn changed(&self, link: &Arc<Link>, message: &Message) {
        // A modern notification names a subscription, which means nothing to a legacy client.
        let plain = without_subscription(message);
        if message.method() == Method::ResourceUpdated {
            // One that names no resource says nothing.
            if let Some(uri) = message.text(message.envelope.param.uri) {
                self.resource_changed(link, &uri, &plain);
            }
        } else {
            self.list_changed(link, message.method().as_str(), &plain);
        }
    }

    /// Anything may have changed while `link`'s server was out of hearing: its lists, and these resources.
    pub(crate) fn missed(&self, link: &Arc<Link>, uris: &[String]) {
        for (kind, method) in ["tools", "prompts", "resources"].iter().zip(LIST_CHANGES) {
            if link.greeting.has(kind) {
                self.list_changed(link, method, &reply::notification(method, b"{}"));
            }
        }
        for uri in uris {
            let params = serde_json::json!({ "uri": uri }).to_string();
            let method = Method::ResourceUpdated.as_str();
            self.resource_changed(link, uri, &reply::notification(method, params.as_bytes()));
        }
    }

    fn list_changed(&self, link: &Link, method: &'static str, notification: &[u8]) {
        let shows = |endpoint: &str| self.shows(endpoint, &link.upstream.name);
        for session in self.members(&shows) {
            if link.private_to.is_none_or(|owner| owner == session.id) {
                session.send(notification, self.replay_bytes_max);
            }
        }
        self.tell_listeners(&shows, method, None);
    }

    fn resource_changed(&self, link: &Link, uri: &str, notification: &[u8]) {
        let mut subscribers = link.upstream.desk.sessions_of(uri);
        let of_link = link.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.extend(of_link.get(uri).into_iter().flatten());
        drop(of_link);
        let shows = |endpoint: &str| self.shows(endpoint, &link.upstream.name);
        for session in self.members(&shows) {
            if subscribers.contains(&session.id) {
                session.send(notification, self.replay_bytes_max);
            }
        }
        self.tell_listeners(&shows, Method::ResourceUpdated.as_str(), Some(uri));
    }

    /// All lists that contain `server` may have changed: it came up, or was out of hearing.
    pub(crate) fn lists_changed(&self, server: &str) {
        self.lists_changed_at(&|endpoint| self.shows(endpoint, server));
    }

    /// All lists of these endpoints may have changed.
    pub(crate) fn lists_changed_at(&self, affected: &dyn Fn(&str) -> bool) {
        for session in self.members(affected) {
            for method in LIST_CHANGES {
                session.send(&reply::notification(method, b"{}"), self.replay_bytes_max);
            }
        }
        for method in LIST_CHANGES {
            self.tell_listeners(affected, method, None);
        }
    }

    /// Sessions at the endpoints that `shows` is true for.
    fn members(&self, shows: &dyn Fn(&str) -> bool) -> Vec<Arc<Session>> {
        let mut sessions = lock(&self.sessions);
        sessions.retain(|_, session| session.strong_count() > 0);
        sessions
            .values()
            .filter_map(Weak::upgrade)
            .filter(|session| shows(&session.hello.endpoint))
            .collect()
    }

    fn tell_listeners(&self, shows: &dyn Fn(&str) -> bool, method: &'static str, uri: Option<&str>) {
        for listener in lock(&self.listeners).values() {
            let wanted = match uri {
                Some(uri) => listener.wants.uris.iter().any(|wanted| wanted == uri),
                None => match method {
                    "notifications/tools/list_changed" => listener.wants.tools,
                    "notifications/prompts/list_changed" => listener.wants.prompts,
                    "notifications/resources/list_changed" => listener.wants.resources,
                    _ => false,
                },
            };
            if wanted && shows(&listener.endpoint) {
                let uri = uri.map(str::to_owned);
                listener.inbox.put(News { method, uri });
            }
        }
    }

    fn shows(&self, endpoint: &str, server: &str) -> bool {
        let membership = self.membership.read().unwrap_or_else(PoisonError::into_inner);
        membership.as_ref().is_some_and(|shows| shows(endpoint, server))
    }
}

fn without_subscription(message: &Message) -> Bytes {
    if message.envelope.in_meta.subscription_id.is_none() {
        return message.bytes.clone();
    }
    let (Some(params), Some(meta)) = (
        message.raw(message.envelope.params),
        message.raw(message.envelope.meta),
    ) else {
        return message.bytes.clone();
    };
    let meta = axiom_protocol::rewrite::object_with(
        meta,
        crate::upstream::whole(meta),
        &[],
        &["io.modelcontextprotocol/subscriptionId"],
    );
    let (set, remove): (&[_], &[_]) = if meta == b"{}" {
        (&[], &["_meta"])
    } else {
        (&[("_meta", &meta[..])], &[])
    };
    let params = axiom_protocol::rewrite::object_with(params, crate::upstream::whole(params), set, remove);
    Bytes::from(axiom_protocol::rewrite::object_with(
        &message.bytes,
        message.envelope.object,
        &[("params", &params)],
        &[],
    ))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No critical section leaves a map half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_waits_is_not_added_again_and_nothing_is_lost() {
        let inbox = Inbox::default();
        let news = |n: usize| News {
            method: "notifications/resources/updated",
            uri: Some(format!("r://{n}")),
        };
        for n in [1, 2, 1, 3, 2, 1] {
            inbox.put(news(n));
        }
        assert_eq!(inbox.next().await, Some(news(1)));
        // Told already: this is another change.
        inbox.put(news(1));
        inbox.dismiss();
        for n in [2, 3, 1] {
            assert_eq!(inbox.next().await, Some(news(n)));
        }
        assert_eq!(inbox.next().await, None);
    }
}
