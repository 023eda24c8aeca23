//! What a server sends on its own account: changes, log lines, and questions to a client.

use std::sync::{Arc, PoisonError};

use axiom_protocol::codes;
use axiom_protocol::envelope::Limits;
use axiom_protocol::method::Method;
use axiom_protocol::reply;
use axiom_protocol::rewrite::Edit;
use bytes::Bytes;

use super::Upstream;
use super::link::Link;
use crate::catalog::ListKind;
use crate::message::Message;
use crate::session::{Asked, Session, SessionId};
use crate::task::{self, Naming, words};

impl Upstream {
    /// What a client says at `endpoint`, with the server's own task id in place of a handle; `None` if it names no task of
    /// this server's. It may be one of the client's own then, and another server's id is nothing for this one.
    pub(crate) fn with_own_ids(&self, endpoint: &str, message: &Message) -> Option<Message> {
        let open = |handle: &str| {
            let named = task::open(&self.sealer, endpoint, handle).ok()?;
            (*named.server == *self.name).then_some(named)
        };
        let bytes = words::with_own_ids(message, open)?;
        // It was within the limits when it came.
        let limits = Limits {
            bytes_max: usize::MAX,
            ..Default::default()
        };
        Message::scan(bytes, &limits).ok()
    }
}

impl Link {
    /// Draws the consequences of a notification for the gateway itself: a changed list is no longer served.
    pub(crate) fn observe(&self, message: &Message) {
        for kind in ListKind::changed_by(message.method()) {
            self.upstream.catalogs.invalidate(*kind);
        }
    }

    /// Passes a notification that belongs to no call to everybody it concerns.
    pub(crate) fn deliver(self: &Arc<Self>, message: &Message) {
        match message.method() {
            Method::ToolsListChanged
            | Method::PromptsListChanged
            | Method::ResourcesListChanged
            | Method::ResourceUpdated => self.upstream.hub.changed(self, message),
            Method::Cancelled => self.question_withdrawn(message),
            // For a call that has ended: its token is ours, and may mean another call to the client. A task goes on.
            Method::Progress => {
                if let Some((session, notice)) = self.tokens.restore(message) {
                    session.send(&notice, self.upstream.limits.replay_bytes_max);
                }
            }
            _ => match self.owner() {
                Some(owner) => {
                    let bytes = self.with_handles(&owner, message);
                    owner.send(&bytes, self.upstream.limits.replay_bytes_max);
                }
                None => {
                    tracing::debug!(server = %self.upstream.name, method = %message.method_text(),
                        "a notification for nobody in particular was dropped");
                }
            },
        }
    }

    /// A server's question for `session`'s client: the message to pass on, under an id of the session. `None` if it
    /// was answered here.
    pub(crate) fn question(
        self: &Arc<Self>,
        message: &Message,
        session: Option<&Arc<Session>>,
    ) -> Option<Bytes> {
        let id = message.id()?;
        if self.is_ping(message) {
            return None;
        }
        let Some(session) = session else {
            self.refuse(
                id,
                "no client to ask: the request belongs to no call of a client that can answer",
            );
            return None;
        };
        let levelled = match self.levelled(message, session.revision()) {
            Ok(levelled) => levelled,
            Err(unaskable) => {
                self.refuse_as(codes::INVALID_PARAMS, id, &unaskable.to_string());
                return None;
            }
        };
        let asked = Asked::ByServer {
            link: Arc::clone(self),
            upstream_id: Bytes::copy_from_slice(id),
        };
        let Some(key) = session.ask(asked) else {
            self.refuse(id, "too many questions to this client are open");
            return None;
        };
        let key = key.to_string();
        let message = levelled.as_ref().unwrap_or(message);
        let handles = Message::scan(self.with_handles(session, message), &self.limits()).ok();
        let message = handles.as_ref().unwrap_or(message);
        let at = message.envelope.id?;
        Some(message.with(&mut [Edit {
            at,
            with: key.as_bytes(),
        }]))
    }

    /// What the server says, with handles in place of its own task ids.
    pub(crate) fn with_handles(&self, session: &Session, message: &Message) -> Bytes {
        if !self.greeting.tasks {
            return message.bytes.clone();
        }
        words::with_handles(message, Method::None, &Naming::of_session(self, session))
    }

    /// What the client answers, with the server's own task ids in place of handles; `None` if it names no task of the
    /// server's.
    pub(crate) fn with_own_ids(&self, session: &Session, message: &Message) -> Option<Message> {
        if !self.greeting.tasks {
            return None;
        }
        self.upstream.with_own_ids(&session.hello.endpoint, message)
    }

    /// Answers a server that only wants to know whether somebody is there; false for any other question.
    pub(crate) fn is_ping(self: &Arc<Self>, message: &Message) -> bool {
        let is_ping = message.method() == Method::Ping;
        if let (true, Some(id)) = (is_ping, message.id()) {
            self.send_later(Bytes::from(reply::result(id, b"{}")));
        }
        is_ping
    }

    /// A question outside of any call: for the session that owns the link.
    pub(crate) fn question_to_owner(self: &Arc<Self>, message: &Message) {
        let owner = self.owner();
        if let Some(question) = self.question(message, owner.as_ref())
            && let Some(owner) = owner
        {
            owner.send(&question, self.upstream.limits.replay_bytes_max);
        }
    }

    /// The server no longer wants its question answered.
    fn question_withdrawn(self: &Arc<Self>, message: &Message) {
        let (Some(owner), Some(at)) = (self.owner(), message.envelope.param.request_id) else {
            return;
        };
        let upstream_id = at.of(&message.bytes);
        let key = owner.with(|state| {
            let key = state
                .asked
                .iter()
                .find(|(_, asked)| {
                    matches!(asked, Asked::ByServer { link, upstream_id: waiting }
                        if Arc::ptr_eq(link, self) && waiting == upstream_id)
                })
                .map(|(key, _)| *key)?;
            state.asked.remove(&key);
            Some(key)
        });
        if let Some(key) = key {
            let key = key.to_string();
            let bytes = message.with(&mut [Edit {
                at,
                with: key.as_bytes(),
            }]);
            owner.send(&bytes, self.upstream.limits.replay_bytes_max);
        }
    }

    /// True if the server has been told already that somebody wants to hear of `uri`.
    pub(crate) fn has_subscribers(&self, uri: &str) -> bool {
        self.subscriptions
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .contains_key(uri)
    }

    /// Notes that `subscriber` wants to hear of `uri`, which the server knows by now.
    pub(crate) fn subscribe(&self, subscriber: SessionId, uri: &str) {
        let mut subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        subscriptions
            .entry(uri.to_owned())
            .or_default()
            .insert(subscriber);
    }

    /// The session has ended.
    pub(crate) fn unsubscribe_all(&self, session: &Session) {
        let mut subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        // The server goes on telling us until somebody unsubscribes in so many words; that costs little.
        for subscribers in subscriptions.values_mut() {
            subscribers.remove(&session.id);
        }
    }

    /// True if the server must be told, because nobody wants to hear of `uri` any more.
    pub(crate) fn unsubscribe(&self, subscriber: SessionId, uri: &str) -> bool {
        let mut subscriptions = self.subscriptions.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(subscribers) = subscriptions.get_mut(uri) else {
            return true;
        };
        subscribers.remove(&subscriber);
        let nobody = subscribers.is_empty();
        if nobody {
            subscriptions.remove(uri);
        }
        nobody
    }
}
