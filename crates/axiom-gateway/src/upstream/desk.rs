//! What clients want to hear of one server's resources. However many want it, the server is asked once: a modern one in
//! its one `subscriptions/listen`, a legacy one by `resources/subscribe` on each conversation that clients share.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axiom_core::channel::watch;
use axiom_core::{spawn, time};
use axiom_protocol::revision::Era;

use super::Upstream;
use super::link::Link;
use crate::fault::Fault;
use crate::session::SessionId;

/// Who wants to hear of which resource, and what the server has promised.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    orders: Mutex<Orders>,
    /// The version of the orders, for whoever passes them on to the server.
    changes: watch::Sender<u64>,
    promised: watch::Sender<Promised>,
}

/// Somebody who wants to hear of resources.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Reader {
    /// A legacy client of a modern server.
    Session(SessionId),
    /// A modern client's stream, by its key at the hub.
    Stream(u64),
}

#[derive(Debug, Default)]
struct Orders {
    /// Counts changes of the set of resources. Zero before the first one.
    version: u64,
    /// By uri; none of the sets is empty.
    readers: BTreeMap<String, HashSet<Reader>>,
    /// Streams that live on this server alone, whatever they want to hear.
    streams: HashSet<u64>,
}

/// What a modern server acknowledged last.
#[derive(Debug, Clone, Default)]
struct Promised {
    /// Of the orders that it was asked for; zero while no stream is open.
    version: u64,
    uris: Arc<BTreeSet<String>>,
}

/// A reader's orders. Dropping it gives them up.
#[derive(Debug)]
pub(crate) struct Share {
    upstream: Arc<Upstream>,
    reader: Reader,
    pub uris: Vec<String>,
}

/// In a legacy link's subscriptions: all readers of the desk together. Sessions have random ids, never this one.
pub(crate) const DESK: SessionId = 0;
/// Resources of one server that are watched at once. They travel in one message each time the set changes.
const URIS_MAX: usize = 16_384;
/// Time for a server to agree to a subscription. Its client waits so long.
const PROMISE_TIMEOUT: Duration = Duration::from_secs(10);

impl Desk {
    /// The version of the orders, which changes with the set of resources.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// All resources that somebody wants to hear of, and the version of this set.
    pub(super) fn orders(&self) -> (u64, BTreeSet<String>) {
        let orders = self.lock();
        (orders.version, orders.readers.keys().cloned().collect())
    }

    /// The server has acknowledged these resources when it was asked for that version's.
    pub(super) fn promise(&self, version: u64, uris: BTreeSet<String>) {
        let uris = Arc::new(uris);
        self.promised.send_replace(Promised { version, uris });
    }

    /// The server tells of nothing until it promises again.
    pub(super) fn broken(&self) {
        self.promised.send_replace(Promised::default());
    }

    /// True if somebody wants to hear of any resource.
    pub(crate) fn has_readers(&self) -> bool {
        !self.lock().readers.is_empty()
    }

    /// Sessions that want to hear of `uri`.
    pub(crate) fn sessions_of(&self, uri: &str) -> Vec<SessionId> {
        let orders = self.lock();
        let readers = orders.readers.get(uri).into_iter().flatten();
        readers
            .filter_map(|reader| match reader {
                Reader::Session(id) => Some(*id),
                Reader::Stream(_) => None,
            })
            .collect()
    }

    /// Notes what sessions want at a server that this one takes the place of. Streams end with that one.
    pub(super) fn take_over(&self, before: &Desk) {
        let readers = before.lock().readers.clone();
        let mut orders = self.lock();
        for (uri, mut readers) in readers {
            readers.retain(|reader| matches!(reader, Reader::Session(_)));
            if !readers.is_empty() {
                orders.readers.insert(uri, readers);
            }
        }
        if !orders.readers.is_empty() {
            self.note_change(&mut orders);
        }
    }

    /// Streams that end when this server is gone for good.
    pub(super) fn streams(&self) -> Vec<u64> {
        self.lock().streams.iter().copied().collect()
    }

    /// Gives up what sessions want that are no more.
    pub(super) fn sweep(&self, is_alive: &dyn Fn(SessionId) -> bool) {
        let readers: HashSet<Reader> = self.lock().readers.values().flatten().copied().collect();
        for reader in readers {
            if let Reader::Session(id) = reader
                && !is_alive(id)
            {
                self.cancel(reader, None);
            }
        }
    }

    /// Notes what `reader` wants; gives the version that holds it.
    fn order(&self, reader: Reader, uris: &[String]) -> Result<u64, Fault> {
        let mut orders = self.lock();
        if orders.readers.len() + uris.len() > URIS_MAX {
            return Err(Fault::InvalidParams(format!(
                "more than {URIS_MAX} resources of this server are subscribed to"
            )));
        }
        if let Reader::Stream(key) = reader {
            orders.streams.insert(key);
        }
        let before = orders.readers.len();
        for uri in uris {
            orders.readers.entry(uri.clone()).or_default().insert(reader);
        }
        if orders.readers.len() != before {
            self.note_change(&mut orders);
        }
        Ok(orders.version)
    }

    /// Strikes out what `reader` wants: these resources, or all. Gives those that nobody wants any more.
    fn cancel(&self, reader: Reader, uris: Option<&[String]>) -> Vec<String> {
        let mut orders = self.lock();
        let is_meant = |uri: &String| uris.is_none_or(|uris| uris.contains(uri));
        let mut gone = Vec::new();
        orders.readers.retain(|uri, readers| {
            if is_meant(uri) {
                readers.remove(&reader);
            }
            if readers.is_empty() {
                gone.push(uri.clone());
            }
            !readers.is_empty()
        });
        if !gone.is_empty() {
            self.note_change(&mut orders);
        }
        gone
    }

    fn note_change(&self, orders: &mut Orders) {
        orders.version += 1;
        self.changes.send_replace(orders.version);
    }

    fn wants(&self, uri: &str) -> bool {
        self.lock().readers.contains_key(uri)
    }

    /// What the server has promised of the orders of `version` or later.
    async fn promised(&self, version: u64) -> Arc<BTreeSet<String>> {
        let mut promised = self.promised.subscribe();
        let made = promised.wait_for(|promised| promised.version >= version).await;
        // The sender lives as long as this desk.
        made.map(|promised| Arc::clone(&promised.uris))
            .unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, Orders> {
        // No critical section leaves the orders half-changed.
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Upstream {
    /// Makes the server tell `reader` of these resources, as far as the server agrees: the share says which.
    ///
    /// # Cancel safety
    /// Safe: whoever gives up the wait gives up the order.
    pub(crate) async fn watch(
        self: &Arc<Self>,
        link: &Arc<Link>,
        reader: Reader,
        uris: Vec<String>,
    ) -> Result<Share, Fault> {
        let version = self.desk.order(reader, &uris)?;
        let mut share = Share {
            upstream: Arc::clone(self),
            reader,
            uris,
        };
        if share.uris.is_empty() {
            return Ok(share);
        }
        let promised = match link.era() {
            Era::Modern => time::timeout(PROMISE_TIMEOUT, self.desk.promised(version))
                .await
                .map_err(|_| self.unavailable("it did not acknowledge subscriptions/listen in time"))?,
            Era::Legacy => {
                for other in self.shared_legacy_links() {
                    if !Arc::ptr_eq(&other, link) {
                        self.reconcile_later(other, share.uris.clone());
                    }
                }
                let mut agreed = BTreeSet::new();
                for uri in &share.uris {
                    if reconcile(link, uri).await {
                        agreed.insert(uri.clone());
                    }
                }
                link.standing_settled().await;
                Arc::new(agreed)
            }
        };
        let (kept, refused): (Vec<String>, Vec<String>) =
            share.uris.drain(..).partition(|uri| promised.contains(uri));
        share.uris = kept;
        self.desk.cancel(reader, Some(&refused));
        Ok(share)
    }

    /// `reader` no longer wants to hear of these resources, or of anything. The last one who leaves shrinks what the
    /// server is asked for.
    pub(crate) fn unwatch(self: &Arc<Self>, reader: Reader, uris: Option<&[String]>) {
        let gone = self.desk.cancel(reader, uris);
        if !gone.is_empty() {
            for link in self.shared_legacy_links() {
                self.reconcile_later(link, gone.clone());
            }
        }
    }

    fn shared_legacy_links(&self) -> Vec<Arc<Link>> {
        let mut links = self.live_links();
        links.retain(|link| link.era() == Era::Legacy && link.private_to.is_none());
        links
    }

    fn reconcile_later(&self, link: Arc<Link>, uris: Vec<String>) {
        drop(spawn::spawn_on(
            &self.runtime,
            "subscribe at server",
            async move {
                for uri in uris {
                    reconcile(&link, &uri).await;
                }
            },
        ));
    }

    /// Tells a new conversation of everything that is on order. A modern server hears of it in its subscription.
    pub(super) async fn order_all(&self, link: &Arc<Link>) {
        if self.speaks().modern == Some(true) || link.private_to.is_some() {
            return;
        }
        for uri in self.desk.orders().1 {
            reconcile(link, &uri).await;
        }
    }
}

/// Brings what a legacy server was told of `uri` in line with the orders. True if it tells of it from now on.
async fn reconcile(link: &Arc<Link>, uri: &str) -> bool {
    // One at a time, so that the server hears of the last wish last.
    let _turn = link.telling.lock().await;
    let desk = &link.upstream.desk;
    match (desk.wants(uri), link.is_subscribed(DESK, uri)) {
        (true, false) => {
            let is_told = link.has_subscribers(uri);
            link.subscribe(DESK, uri);
            let agreed = is_told || tell(link, "resources/subscribe", uri).await;
            if !agreed {
                link.unsubscribe(DESK, uri);
            }
            agreed
        }
        (false, true) => {
            if link.unsubscribe(DESK, uri) {
                tell(link, "resources/unsubscribe", uri).await;
            }
            false
        }
        (is_told, _) => is_told,
    }
}

/// True if the server agreed.
pub(super) async fn tell(link: &Arc<Link>, method: &str, uri: &str) -> bool {
    let params = serde_json::json!({ "uri": uri }).to_string();
    let told = time::timeout(PROMISE_TIMEOUT, link.request(method, params.as_bytes())).await;
    let agreed = matches!(&told, Ok(Ok(answer)) if answer.envelope.result.is_some());
    if !agreed {
        tracing::info!(server = %link.upstream.name, method, uri, "a server did not agree");
    }
    agreed
}

impl Share {
    /// From now on the session's own end or `resources/unsubscribe` gives the orders up.
    pub(crate) fn leave_to_session(mut self) {
        self.uris.clear();
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        if let Reader::Stream(key) = self.reader {
            self.upstream.desk.lock().streams.remove(&key);
        }
        if !self.uris.is_empty() {
            self.upstream.unwatch(self.reader, Some(&self.uris));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uris(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    /// Against a plain list of (reader, uri), over random orders and cancellations.
    #[test]
    fn the_orders_are_the_union_of_what_readers_want() {
        let (desk, mut model) = (Desk::default(), BTreeSet::new());
        let mut random: u64 = 0x2545_F491_4F6C_DD1D;
        for step in 0..2_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            let reader = random % 5;
            let uri = format!("r://{}", (random >> 8) % 7);
            let key = if reader.is_multiple_of(2) {
                Reader::Session(u128::from(reader))
            } else {
                Reader::Stream(reader)
            };
            let before = desk.orders();
            match (random >> 16) % 3 {
                0 => {
                    desk.cancel(key, Some(std::slice::from_ref(&uri)));
                    model.remove(&(reader, uri));
                }
                1 if (random >> 20).is_multiple_of(9) => {
                    desk.cancel(key, None);
                    model.retain(|(known, _)| *known != reader);
                }
                _ => {
                    desk.order(key, std::slice::from_ref(&uri)).unwrap();
                    model.insert((reader, uri));
                }
            }
            let wanted: BTreeSet<String> = model.iter().map(|(_, uri)| uri.clone()).collect();
            let (version, union) = desk.orders();
            assert_eq!(union, wanted, "step {step}");
            // The server is bothered only when there is something to say.
            assert_eq!(version != before.0, union != before.1, "step {step}");
            for uri in &wanted {
                let mut sessions = desk.sessions_of(uri);
                sessions.sort_unstable();
                let of_model = model
                    .iter()
                    .filter(|(reader, at)| at == uri && reader.is_multiple_of(2));
                let of_model: Vec<SessionId> = of_model.map(|(reader, _)| u128::from(*reader)).collect();
                assert_eq!(sessions, of_model, "step {step}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_promise_counts_once_it_is_as_new_as_the_order() {
        let desk = Desk::default();
        let first = desk.order(Reader::Stream(1), &uris(&["r://a"])).unwrap();
        desk.promise(first, BTreeSet::from(["r://a".to_owned()]));
        let second = desk.order(Reader::Stream(2), &uris(&["r://a", "r://b"])).unwrap();
        let early = time::timeout(Duration::from_secs(1), desk.promised(second)).await;
        assert!(early.is_err(), "what was promised before says nothing of r://b");
        desk.promise(second, BTreeSet::from(["r://a".to_owned()]));
        assert!(
            !desk.promised(second).await.contains("r://b"),
            "the server refused it"
        );
        // Who comes later with what is there already need not wait.
        let third = desk.order(Reader::Stream(3), &uris(&["r://a"])).unwrap();
        assert!(desk.promised(third).await.contains("r://a"));
        desk.broken();
        let lost = time::timeout(Duration::from_secs(1), desk.promised(third)).await;
        assert!(lost.is_err(), "nothing is promised while no stream is open");
    }

    #[test]
    fn sessions_that_are_no_more_want_nothing() {
        let desk = Desk::default();
        for id in [7, 8] {
            desk.order(Reader::Session(id), &uris(&[&format!("r://{id}")]))
                .unwrap();
        }
        desk.sweep(&|id| id == 7);
        assert_eq!(desk.orders().1, BTreeSet::from(["r://7".to_owned()]));
    }
}
