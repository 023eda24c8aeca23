//! News from servers, to every client they concern.
//!
//! Legacy sessions get them on their standing stream or pipe; a modern client gets what its subscription asked for.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};

use axiom_core::mailbox::Mailbox;
use axiom_protocol::method::Method;
use axiom_protocol::reply;
use bytes::Bytes;

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

/// A modern client's subscription on an endpoint of several servers.
#[derive(Debug)]
pub(crate) struct Listener {
    pub endpoint: String,
    pub wants: Wants,
    pub mailbox: Mailbox<News>,
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
#[derive(Debug, Clone)]
pub(crate) struct News {
    pub method: &'static str,
    pub uri: Option<String>,
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

    pub(crate) fn stop_listening(&self, key: u64) {
        lock(&self.listeners).remove(&key);
    }

    /// A server's notification of a change.
    pub(crate) fn changed(&self, link: &Arc<Link>, message: &Message) {
        let uri = match message.method() {
            Method::ResourceUpdated => message
                .text(message.envelope.param.uri)
                .map(std::borrow::Cow::into_owned),
            _ => None,
        };
        let subscribers = uri.as_ref().map(|uri| {
            let subscriptions = link.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
            subscriptions.get(uri).cloned().unwrap_or_default()
        });
        let server = &link.upstream.name;
        // A modern notification names a subscription, which means nothing to a legacy client.
        let plain = without_subscription(message);
        let shows = |endpoint: &str| self.shows(endpoint, server);
        for session in self.members(&shows) {
            let wanted = match (&subscribers, link.private_to) {
                (Some(subscribers), _) => subscribers.contains(&session.id),
                (None, Some(owner)) => owner == session.id,
                (None, None) => true,
            };
            if wanted {
                session.send(&plain, self.replay_bytes_max);
            }
        }
        self.tell_listeners(&shows, message.method().as_str(), uri.as_deref());
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
                // A listener who is gone is about to be removed.
                let news = News {
                    method,
                    uri: uri.map(str::to_owned),
                };
                let _gone = listener.mailbox.post_lossy(news).is_err();
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
    let params = axiom_protocol::rewrite::object_with(
        params,
        crate::upstream::whole(params),
        &[("_meta", &meta)],
        &[],
    );
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
