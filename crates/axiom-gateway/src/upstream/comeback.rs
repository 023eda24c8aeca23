//! A link that ended by itself: what it leaves behind, who opens the next one, and what clients are told then.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axiom_core::{spawn, time};
use axiom_protocol::revision::Era;

use super::desk::{DESK, tell};
use super::link::{Link, Subscriptions};
use super::{LinkKey, Upstream, Want};
use crate::catalog::ListKind;
use crate::session::SessionId;

/// What links of one server have left behind.
#[derive(Debug, Default)]
pub(super) struct Remains {
    /// What was subscribed on them, for the ones that take their place.
    subscriptions: Mutex<HashMap<LinkKey, Subscriptions>>,
    /// Whose news may have been missed: a session's with a link of its own, or (`None`) everybody's.
    missed: Mutex<HashSet<Option<SessionId>>>,
    /// Links in a row that ended soon after they began.
    short_lived: AtomicU32,
}

/// A link that lived this long was a real one.
const LASTED_MIN: Duration = Duration::from_secs(30);
/// Time for a new link to take over what was subscribed. Its first call waits so long.
const SUBSCRIBE_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause before a lost link is opened again; doubles while links end soon, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(250);
const PAUSE_MAX: Duration = Duration::from_secs(60);

impl Upstream {
    /// Keeps what was subscribed on a link that is gone.
    pub(super) fn keep_subscriptions(&self, link: &Link) {
        let subscriptions = std::mem::take(&mut *lock(&link.subscriptions));
        if !subscriptions.is_empty() {
            lock(&self.remains.subscriptions).insert(link.key(), subscriptions);
            lock(&self.remains.missed).insert(link.private_to);
        }
    }

    /// This server took the place of one whose configuration changed: who was subscribed there is subscribed here. Called
    /// before anybody can have a link of it.
    pub(crate) fn take_over(&self, before: &Upstream) {
        self.desk.take_over(&before.desk);
        let mut subscriptions = lock(&before.remains.subscriptions).clone();
        for link in before.live_links() {
            subscriptions.insert(link.key(), lock(&link.subscriptions).clone());
        }
        for of_link in subscriptions.values_mut() {
            of_link.retain(|_, subscribers| {
                // What is on order at the desk is asked for anew.
                subscribers.remove(&DESK);
                !subscribers.is_empty()
            });
        }
        subscriptions.retain(|_, of_link| !of_link.is_empty());
        let mut missed = lock(&self.remains.missed);
        missed.extend(subscriptions.keys().map(LinkKey::owner));
        missed.extend(self.desk.has_readers().then_some(None));
        *lock(&self.remains.subscriptions) = subscriptions;
    }

    /// Opens a link in place of each of `gone`, the links of the server before, on which somebody was subscribed.
    pub(crate) fn open_again(self: &Arc<Self>, gone: Vec<Arc<Link>>) {
        for link in gone {
            if lock(&self.remains.subscriptions).contains_key(&link.key()) {
                let coming = come_back(Arc::clone(self), link, Duration::ZERO);
                drop(spawn::spawn_on(&self.runtime, "come back", coming));
            }
        }
    }

    /// A link has ended although we had not done with it. If somebody listens, another one is opened at once.
    pub(super) fn lost(self: &Arc<Self>, link: &Arc<Link>) {
        if self.is_stopped() {
            return;
        }
        if link.era() == Era::Modern {
            self.desk.broken();
        }
        lock(&self.remains.missed).insert(link.private_to);
        let lived_long = link.begun.elapsed() >= LASTED_MIN;
        let in_a_row = if lived_long {
            self.remains.short_lived.store(0, Ordering::Relaxed);
            0
        } else {
            self.remains.short_lived.fetch_add(1, Ordering::Relaxed)
        };
        let pause = PAUSE.saturating_mul(1 << in_a_row.min(10)).min(PAUSE_MAX);
        drop(spawn::spawn_on(
            &self.runtime,
            "come back",
            come_back(Arc::clone(self), Arc::clone(link), pause),
        ));
    }

    /// True if somebody listens to what would be told on a link like `lost`.
    fn is_awaited(&self, lost: &Link) -> bool {
        let has_subscribers = lock(&self.remains.subscriptions).contains_key(&lost.key());
        let tells = has_subscribers || self.desk.has_readers() || lost.greeting.announces_any();
        tells
            && match lost.private_to {
                Some(_) => lost.owner().is_some_and(|session| session.is_attached()),
                None => self.hub.is_heard(&self.name),
            }
    }

    /// Hands a new link what was subscribed on the one before it. True if there was one, so that news may have been
    /// missed. Called before anybody else has the link.
    pub(super) fn inherit(&self, link: &Link) -> bool {
        if let Some(subscriptions) = lock(&self.remains.subscriptions).remove(&link.key()) {
            *lock(&link.subscriptions) = subscriptions;
        }
        lock(&self.remains.missed).remove(&link.private_to)
    }

    /// Asks a new link for what it inherited and for what is on order. Clients believe that they are subscribed still.
    pub(super) async fn subscribe_again(&self, link: &Arc<Link>) {
        let asking = async {
            let inherited: Vec<String> = lock(&link.subscriptions).keys().cloned().collect();
            for uri in inherited {
                if !tell(link, "resources/subscribe", &uri).await {
                    tracing::warn!(server = %self.name, uri, "a subscription was lost");
                }
            }
            self.order_all(link).await;
        };
        if time::timeout(SUBSCRIBE_TIMEOUT, asking).await.is_err() {
            tracing::warn!(server = %self.name, "subscriptions were lost: the server did not take them in time");
        }
    }

    /// Forgets what no session will ask for any more.
    pub(super) fn sweep_remains(&self) {
        let is_alive = |id: SessionId| id == DESK || self.hub.is_alive(id);
        lock(&self.remains.missed).retain(|owner| owner.is_none_or(is_alive));
        lock(&self.remains.subscriptions).retain(|key, _| match key {
            LinkKey::Legacy {
                owner: Some(owner), ..
            } => is_alive(*owner),
            LinkKey::Legacy { owner: None, .. } | LinkKey::Modern => true,
            LinkKey::Apart(_) => false,
        });
        for link in self.live_links() {
            for subscribers in lock(&link.subscriptions).values_mut() {
                subscribers.retain(|id| is_alive(*id));
            }
        }
        self.desk.sweep(&is_alive);
    }
}

/// Opens another link in place of `lost`, for as long as somebody listens.
async fn come_back(upstream: Arc<Upstream>, lost: Arc<Link>, mut pause: Duration) {
    loop {
        time::sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
        if upstream.is_stopped() || !upstream.is_awaited(&lost) {
            return;
        }
        // Made anew each time: the wait must not keep a session alive.
        let Some(want) = want_of(&lost) else { return };
        if upstream.link(&want).await.is_ok() {
            return;
        }
    }
}

/// What the clients of this link want. `None` if it was a session's own, and the session is no more.
fn want_of(link: &Link) -> Option<Want> {
    let owner = link.owner();
    (owner.is_some() == link.private_to.is_some()).then(|| Want {
        revision: link.revision,
        capabilities: link.capabilities.clone(),
        class: link.class,
        owner,
    })
}

/// Something may have changed while this server was not heard: everybody who would have been told looks again.
pub(super) fn changed_meanwhile(link: &Arc<Link>) {
    for kind in ListKind::ALL {
        link.upstream.catalogs.invalidate(kind);
    }
    let mut uris: Vec<String> = lock(&link.subscriptions).keys().cloned().collect();
    if link.private_to.is_none() {
        uris.extend(link.upstream.desk.orders().1);
    }
    uris.sort_unstable();
    uris.dedup();
    link.upstream.hub.missed(link, &uris);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No critical section leaves a map half-changed.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
