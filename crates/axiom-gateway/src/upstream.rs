//! One configured server: its connections, what it is known to speak, its lists.
//!
//! A *link* is one live conversation. Who shares one follows from what the protocol binds to it:
//! a modern server keeps no state per conversation, so everybody shares one; a legacy server binds revision and
//! capabilities at `initialize`, so clients that declare the same share one; a client that can be asked something
//! (roots, sampling, elicitation) gets its own, because the answers are its own.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use axiom_core::channel::watch;
use axiom_core::{spawn, time};
use axiom_protocol::revision::{Era, Revision};
use axiom_transport::http_client::Target;
use bytes::Bytes;
use tokio::runtime::Handle;

use crate::catalog::Catalogs;
use crate::fault::Fault;
use crate::hub::Hub;
use crate::options::{Endpoint, Limits, ServerOptions};
use crate::record::{Recorder, ServerState};
use crate::seal::Sealer;
use crate::session::{Audience, Class, Session, SessionId, class_of};

pub(crate) use asides::Aside;
use comeback::Remains;
use desk::Desk;
pub(crate) use desk::{Reader, Share};
pub(crate) use link::{Link, Outgoing, whole};

mod asides;
mod comeback;
mod desk;
mod duplex;
mod handshake;
mod inbound;
mod link;
mod listen;
mod stale;
mod wire;

/// One server behind the gateway.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub name: Arc<str>,
    pub options: ServerOptions,
    pub limits: Limits,
    pub tally: Tally,
    pub catalogs: Catalogs,
    pub(crate) hub: Arc<Hub>,
    pub(super) recorder: Recorder,
    /// True once it was up.
    was_up: AtomicBool,
    pub(crate) sealer: Arc<Sealer>,
    /// Where links live: they outlast the request that opened them.
    runtime: Handle,
    /// Where the server is, on HTTP. One for all links, so that they share idle connections: those of a link's own would
    /// outlive it by a minute, and with many short sessions no descriptor would be left.
    target: OnceLock<Target>,
    links: Mutex<HashMap<LinkKey, Slot>>,
    speaks: Mutex<Speaks>,
    last_error: Mutex<Option<String>>,
    /// True while somebody waits in the background for the server to come up.
    pub(crate) comeback: AtomicBool,
    /// Set for good when the server is removed or the gateway ends.
    stopped: AtomicBool,
    /// Links that were set apart so far.
    apart: AtomicU64,
    /// What clients want to hear of its resources.
    pub(crate) desk: Desk,
    remains: Remains,
}

/// What a client needs from a server.
#[derive(Debug, Clone)]
pub(crate) struct Want {
    pub revision: Revision,
    pub capabilities: Bytes,
    pub class: Class,
    /// The session that must have the link for itself.
    pub owner: Option<Arc<Session>>,
}

/// Counters, monotonic since the server was configured.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub calls: AtomicU64,
    pub faults: AtomicU64,
    pub in_flight: AtomicU64,
    /// Calls that wait for their clients; a part of those in flight.
    pub parked: AtomicU64,
}

/// Eras a server is known to speak. `None` is "not tried, or the trial was inconclusive".
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Speaks {
    pub legacy: Option<bool>,
    pub modern: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum LinkKey {
    Modern,
    Legacy {
        class: Class,
        owner: Option<SessionId>,
    },
    /// One that takes no new calls; numbered.
    Apart(u64),
}

impl LinkKey {
    /// The session that has the link for itself.
    fn owner(&self) -> Option<SessionId> {
        match self {
            LinkKey::Legacy { owner, .. } => *owner,
            LinkKey::Modern | LinkKey::Apart(_) => None,
        }
    }
}

/// A connection attempt under way: its result, once there is one.
type Attempt = watch::Receiver<Option<Result<Arc<Link>, Fault>>>;

/// What there is for a want.
enum Found {
    Link(Arc<Link>),
    Attempt(Attempt),
}

/// A place for one link. All who want the same link wait for the same attempt.
#[derive(Debug)]
enum Slot {
    Connecting(Attempt),
    Up(Arc<Link>),
    /// The last attempt failed; until `retry_at` everybody gets its fault at once.
    Down {
        fault: Fault,
        attempts: u32,
        retry_at: time::Instant,
    },
}

/// First pause after a failed connection attempt; doubles up to [`RETRY_PAUSE_MAX`].
const RETRY_PAUSE: Duration = Duration::from_millis(250);
const RETRY_PAUSE_MAX: Duration = Duration::from_secs(5);
/// A link that was handed out this lately may not have got its call yet, so it does not make room for another. Longer
/// than a task waits for its turn; at the default limit it lets in five thousand new clients a second.
const ROOM_IDLE_MIN: Duration = Duration::from_millis(50);

/// A link that was set apart ends this long after its last call: what was said last may be on its way.
const APART_GRACE: Duration = Duration::from_secs(3);
/// A session that is gone may come back by its id, and ask for its tasks. They are kept this long for it.
const TASK_GRACE: Duration = Duration::from_secs(3_600);

impl Want {
    /// What a session wants: its own link if it can be asked something, else one for its class.
    pub(crate) fn of_session(session: &Arc<Session>) -> Want {
        Want {
            revision: session.hello.revision,
            capabilities: session.hello.capabilities.clone(),
            class: session.class,
            owner: session.interactive.then(|| Arc::clone(session)),
        }
    }

    /// What a modern client that declares `capabilities` wants of a session server: shared by all that declare the same.
    pub(crate) fn declaring(capabilities: Bytes) -> Want {
        let revision = Revision::LATEST_LEGACY;
        Want {
            revision,
            class: class_of(revision, &capabilities),
            capabilities,
            owner: None,
        }
    }

    /// What the gateway wants for itself, and for clients of the other era: no capabilities, shared by all.
    pub(crate) fn plain(revision: Revision) -> Want {
        let capabilities = Bytes::from_static(b"{}");
        let class = class_of(revision, &capabilities);
        Want {
            revision,
            capabilities,
            class,
            owner: None,
        }
    }

    /// Who sees the same lists as this one.
    pub(crate) fn audience(&self) -> Audience {
        (self.class, self.owner.as_ref().map(|session| session.id))
    }

    fn key(&self) -> LinkKey {
        match self.revision.era() {
            Era::Modern => LinkKey::Modern,
            Era::Legacy => LinkKey::Legacy {
                class: self.class,
                owner: self.owner.as_ref().map(|session| session.id),
            },
        }
    }
}

impl Upstream {
    pub(crate) fn new(
        name: &str,
        options: ServerOptions,
        limits: Limits,
        hub: Arc<Hub>,
        recorder: Recorder,
        sealer: Arc<Sealer>,
        runtime: Handle,
    ) -> Arc<Upstream> {
        Arc::new(Upstream {
            name: name.into(),
            options,
            limits,
            tally: Tally::default(),
            catalogs: Catalogs::default(),
            hub,
            recorder,
            was_up: AtomicBool::new(false),
            sealer,
            runtime,
            target: OnceLock::new(),
            links: Mutex::default(),
            speaks: Mutex::default(),
            last_error: Mutex::default(),
            comeback: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
            apart: AtomicU64::new(0),
            desk: Desk::default(),
            remains: Remains::default(),
        })
    }

    /// A link for `want`, of the era that the client speaks if the server does, else of the other one.
    ///
    /// See [`link_at_hand`](Upstream::link_at_hand) for the way that waits for nothing.
    pub(crate) async fn link(self: &Arc<Self>, want: &Want) -> Result<Arc<Link>, Fault> {
        let speaks = self.speaks();
        match want.revision.era() {
            Era::Modern if speaks.modern != Some(false) => match self.link_exactly(want).await {
                // Inconclusive or refused: what is known by now decides.
                Err(fault) if self.speaks().modern == Some(true) => Err(fault),
                Err(_) => {
                    let link = self.link_exactly(&Want::plain(Revision::LATEST_LEGACY)).await?;
                    // It did not say so, but it takes what a legacy client says: it need not be probed again. On HTTP it
                    // was not itself that said nothing, perhaps, and asking again costs little.
                    let is_http = matches!(self.options.endpoint, Endpoint::Http { .. });
                    if link.era() == Era::Legacy && !is_http && self.speaks().modern.is_none() {
                        self.learn(Era::Modern, false);
                    }
                    Ok(link)
                }
                up => up,
            },
            Era::Modern => self.link_exactly(&Want::plain(Revision::LATEST_LEGACY)).await,
            Era::Legacy if speaks.legacy != Some(false) => match self.link_exactly(want).await {
                Err(fault) if self.speaks().legacy == Some(false) => self
                    .link_exactly(&Want::plain(Revision::MODERN))
                    .await
                    .map_err(|_| fault),
                up => up,
            },
            Era::Legacy => self.link_exactly(&Want::plain(Revision::MODERN)).await,
        }
    }

    /// The live link for exactly this want, if there is one. Never waits.
    pub(crate) fn live_link(&self, want: &Want) -> Option<Arc<Link>> {
        match self.lock_links().get(&want.key()) {
            Some(Slot::Up(link)) if !link.is_down() => Some(Arc::clone(link)),
            _ => None,
        }
    }

    async fn link_exactly(self: &Arc<Self>, want: &Want) -> Result<Arc<Link>, Fault> {
        let mut attempt = match self.link_or_attempt(want)? {
            Found::Link(link) => return Ok(link),
            Found::Attempt(attempt) => attempt,
        };
        // cancel-safe: the attempt runs in a task of its own; a dropped waiter changes nothing
        let up = attempt
            .wait_for(Option::is_some)
            .await
            .map(|result| result.clone());
        match up {
            Ok(Some(result)) => result,
            Ok(None) | Err(_) => Err(self.unavailable("the connection attempt was given up")),
        }
    }

    /// The link that [`link`](Upstream::link) would give, if that is known and up.
    pub(crate) fn link_at_hand(self: &Arc<Self>, want: &Want) -> Option<Arc<Link>> {
        let speaks = self.speaks();
        let asked = match want.revision.era() {
            Era::Modern => speaks.modern,
            Era::Legacy => speaks.legacy,
        };
        let links = self.lock_links();
        match links.get(&want.key()) {
            Some(Slot::Up(link)) if asked != Some(false) && !link.is_down() && !self.is_stopped() => {
                if let Some(owner) = &want.owner {
                    link.meet_owner(owner);
                }
                Some(Arc::clone(link))
            }
            _ => None,
        }
    }

    /// The link, or the attempt to wait for; starts one if there is none.
    fn link_or_attempt(self: &Arc<Self>, want: &Want) -> Result<Found, Fault> {
        let key = want.key();
        if self.is_stopped() {
            return Err(self.unavailable("it was removed from the configuration"));
        }
        let mut links = self.lock_links();
        let mut attempts = 0;
        match links.get(&key) {
            Some(Slot::Up(link)) if !link.is_down() => {
                if let Some(owner) = &want.owner {
                    link.meet_owner(owner);
                }
                return Ok(Found::Link(Arc::clone(link)));
            }
            // An attempt that panicked has closed its channel without a result: begin anew.
            Some(Slot::Connecting(attempt))
                if attempt.has_changed().is_ok() || attempt.borrow().is_some() =>
            {
                return Ok(Found::Attempt(attempt.clone()));
            }
            Some(Slot::Down { fault, retry_at, .. }) if time::now() < *retry_at => return Err(fault.clone()),
            Some(Slot::Down { attempts: failed, .. }) => attempts = *failed,
            Some(Slot::Up(_) | Slot::Connecting(_)) | None => {}
        }
        let up = links
            .values()
            .filter(|slot| !matches!(slot, Slot::Down { .. }))
            .count();
        let mut leaving = None;
        if up >= self.options.links_max {
            let link = longest_idle(&links).ok_or_else(|| Fault::Busy {
                server: self.name.to_string(),
                links_max: self.options.links_max,
            })?;
            links.remove(&link.key());
            leaving = Some(link);
        }
        let (tx, rx) = watch::channel(None);
        links.insert(key.clone(), Slot::Connecting(rx.clone()));
        drop(links);
        if let Some(link) = leaving {
            let idle_ms = u64::try_from(link.idle().as_millis()).unwrap_or(u64::MAX);
            tracing::debug!(server = %self.name, idle_ms, "an idle connection makes room for another client");
            link.stop("another client needed its place");
        }
        let upstream = Arc::clone(self);
        let want = want.clone();
        drop(spawn::spawn_on(&self.runtime, "connect", async move {
            let result = upstream.connect_in_time(&want).await;
            upstream.settle(key, attempts, &result);
            tx.send_replace(Some(result));
        }));
        Ok(Found::Attempt(rx))
    }

    fn target(&self, url: &str, headers: &BTreeMap<String, String>) -> Result<Target, Fault> {
        if let Some(target) = self.target.get() {
            return Ok(target.clone());
        }
        let target = Target::parse(url, headers).map_err(|error| self.unavailable(&error.to_string()))?;
        Ok(self.target.get_or_init(|| target).clone())
    }

    async fn connect_in_time(self: &Arc<Self>, want: &Want) -> Result<Arc<Link>, Fault> {
        match time::timeout(self.options.start_timeout, handshake::connect(self, want)).await {
            Ok(result) => result,
            Err(_) => Err(self.unavailable(&format!(
                "no answer within {} s of starting it\nhint: raise start_timeout if it needs longer",
                self.options.start_timeout.as_secs()
            ))),
        }
    }

    fn settle(&self, key: LinkKey, failed_before: u32, result: &Result<Arc<Link>, Fault>) {
        let slot = match result {
            Ok(link) => {
                tracing::info!(server = %self.name, revision = link.revision.as_str(), "server is up");
                self.note_error(None);
                let state = match self.was_up.swap(true, Ordering::Relaxed) && self.live_links().is_empty() {
                    true => ServerState::Restarted,
                    false => ServerState::Up,
                };
                self.recorder.server_up(link, state);
                Slot::Up(Arc::clone(link))
            }
            Err(fault) => {
                let attempts = failed_before + 1;
                let pause = RETRY_PAUSE
                    .saturating_mul(1 << attempts.min(10))
                    .min(RETRY_PAUSE_MAX);
                tracing::warn!(server = %self.name, %fault, attempts, "server is not available");
                self.note_error(Some(fault.to_string()));
                let is_private = matches!(key, LinkKey::Legacy { owner: Some(_), .. });
                self.recorder
                    .server_down(&self.name, &fault.to_string(), is_private);
                Slot::Down {
                    fault: fault.clone(),
                    attempts,
                    retry_at: time::now() + pause,
                }
            }
        };
        let mut links = self.lock_links();
        if self.is_stopped() {
            // Removed while it was connecting: nobody will use it, and nobody else would end it.
            drop(links);
            if let Ok(link) = result {
                link.stop("the server was removed from the configuration");
            }
            return;
        }
        if result.is_err() {
            self.doubt(&key);
        }
        links.insert(key, slot);
    }

    /// A verdict is doubted when the server no longer lives up to it: it may have been replaced by another version.
    fn doubt(&self, key: &LinkKey) {
        let mut known = self.speaks.lock().unwrap_or_else(PoisonError::into_inner);
        match key {
            LinkKey::Modern => {
                known.modern = known.modern.filter(|speaks| !speaks);
                known.legacy = known.legacy.filter(|speaks| *speaks);
            }
            LinkKey::Legacy { .. } | LinkKey::Apart(_) => {
                known.modern = known.modern.filter(|speaks| *speaks);
            }
        }
    }

    /// Leaves a link to the calls that are on it; it ends after them. New calls open another one.
    pub(crate) fn set_apart(&self, link: &Arc<Link>) {
        let mut links = self.lock_links();
        let key = link.key();
        if !matches!(links.get(&key), Some(Slot::Up(up)) if Arc::ptr_eq(up, link)) {
            return;
        }
        let number = self.apart.fetch_add(1, Ordering::Relaxed);
        if link.apart.set(number).is_ok()
            && let Some(slot) = links.remove(&key)
        {
            links.insert(LinkKey::Apart(number), slot);
        }
    }

    /// Takes a link out of use. New calls open another one.
    pub(crate) fn retire(&self, link: &Link) {
        self.lock_links()
            .retain(|_, slot| !matches!(slot, Slot::Up(up) if std::ptr::eq(Arc::as_ptr(up), link)));
    }

    /// Stops links that nobody needs: private ones whose session is gone or long idle, and shared ones of a kind of
    /// client that has not been seen for long. The plain one stays, for lists and for news.
    pub(crate) fn sweep(&self) {
        for link in self.live_links() {
            link.tasks.sweep();
        }
        let idle: Vec<Arc<Link>> = self
            .live_links()
            .into_iter()
            .filter(|link| self.is_abandoned(link))
            .collect();
        for link in idle {
            tracing::info!(server = %self.name, "closing an idle connection");
            self.retire(&link);
            link.stop("idle");
        }
        self.sweep_remains();
        let now = time::now();
        self.lock_links().retain(
            |_, slot| !matches!(slot, Slot::Down { retry_at, .. } if *retry_at + RETRY_PAUSE_MAX < now),
        );
    }

    fn is_abandoned(&self, link: &Link) -> bool {
        let idle_max = self.options.idle_timeout;
        if link.tasks.is_any() && (!link.is_forlorn() || link.idle() <= TASK_GRACE) {
            return false;
        }
        if link.is_apart() {
            return !link.is_busy() && link.idle() > APART_GRACE;
        }
        if link.is_busy() || link.idle() <= idle_max || link.era() == Era::Modern {
            return false;
        }
        match link.private_to {
            Some(_) => link
                .owner()
                .is_none_or(|session| !session.is_attached() && session.idle() > idle_max),
            None => !link.is_plain() && link.has_no_subscribers(),
        }
    }

    /// Stops every link. Calls in flight end with a fault that gives `reason`.
    pub(crate) fn stop(&self, reason: &str) -> Vec<Arc<Link>> {
        self.stopped.store(true, Ordering::Release);
        let links = self.live_links();
        self.lock_links().clear();
        for link in &links {
            link.stop(reason);
        }
        self.hub.dismiss(&self.desk.streams());
        links
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Acquire)
    }

    pub(crate) fn live_links(&self) -> Vec<Arc<Link>> {
        self.lock_links()
            .values()
            .filter_map(|slot| match slot {
                Slot::Up(link) if !link.is_down() => Some(Arc::clone(link)),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn is_connecting(&self) -> bool {
        self.lock_links()
            .values()
            .any(|slot| matches!(slot, Slot::Connecting(_)))
    }

    pub(crate) fn speaks(&self) -> Speaks {
        *self.speaks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a conclusive trial.
    fn learn(&self, era: Era, speaks: bool) {
        let mut known = self.speaks.lock().unwrap_or_else(PoisonError::into_inner);
        match era {
            Era::Legacy => known.legacy = Some(speaks),
            Era::Modern => known.modern = Some(speaks),
        }
    }

    pub(crate) fn last_error(&self) -> Option<String> {
        self.last_error
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    pub(crate) fn note_error(&self, error: Option<String>) {
        *self.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }

    pub(crate) fn unavailable(&self, reason: &str) -> Fault {
        Fault::Unavailable {
            server: self.name.to_string(),
            reason: reason.to_owned(),
        }
    }

    pub(crate) fn protocol_fault(&self, reason: impl Into<String>) -> Fault {
        Fault::Protocol {
            server: self.name.to_string(),
            reason: reason.into(),
        }
    }

    fn lock_links(&self) -> MutexGuard<'_, HashMap<LinkKey, Slot>> {
        // No critical section leaves the map half-changed.
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The link that is missed least when there is no room: of a client that is not there, and longest without a call. One
/// with tasks goes only if there is no other, and its session is gone.
fn longest_idle(links: &HashMap<LinkKey, Slot>) -> Option<Arc<Link>> {
    let idle = links
        .values()
        .filter_map(|slot| match slot {
            Slot::Up(link) if link.private_to.is_some() => Some(link),
            _ => None,
        })
        .filter(|link| !link.is_busy() && link.idle() >= ROOM_IDLE_MIN)
        .filter(|link| link.owner().is_none_or(|session| !session.is_attached()));
    let (with_tasks, without): (Vec<_>, Vec<_>) = idle.partition(|link| link.tasks.is_any());
    let longest = |links: Vec<&Arc<Link>>| links.into_iter().max_by_key(|link| link.idle()).cloned();
    longest(without).or_else(|| {
        let forlorn = with_tasks.into_iter().filter(|link| link.is_forlorn());
        longest(forlorn.collect())
    })
}

impl Tally {
    pub(crate) fn parked(&self) {
        self.parked.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn unparked(&self) {
        self.parked.fetch_sub(1, Ordering::Relaxed);
    }

    pub(crate) fn begin(&self) {
        self.calls.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn end(&self, fault: bool) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        if fault {
            self.faults.fetch_add(1, Ordering::Relaxed);
        }
    }
}
