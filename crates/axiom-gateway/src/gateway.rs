//! The gateway as a whole: its plan, its sessions, and the housekeeping that runs beside the calls.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axiom_core::{Draining, spawn, time};
use axiom_events::Log;
use axiom_protocol::revision::Revision;
use axiom_transport::child::Child;
use futures_util::future::join_all;
use tokio::runtime::Handle;
use tokio::sync::Notify;

use crate::accept::Annex;
use crate::hub::Hub;
use crate::options::{Endpoint, Options};
use crate::parking::Parking;
use crate::plan::Plan;
use crate::record::Recorder;
use crate::replica::Replicas;
use crate::seal::Sealer;
use crate::session::SessionTable;
use crate::stats::Stats;
use crate::status::{self, Overview, ServerStatus};
use crate::upstream::{Upstream, Want};

/// Many servers behind one endpoint.
pub struct Gateway {
    plan: ArcSwap<Plan>,
    pub(crate) hub: Arc<Hub>,
    pub(crate) sealer: Arc<Sealer>,
    pub(crate) sessions: SessionTable,
    pub(crate) parking: Arc<Parking>,
    pub(crate) replicas: Replicas,
    pub(crate) recorder: Recorder,
    /// `None` where nothing is recorded.
    pub(crate) stats: Option<Stats>,
    runtime: Handle,
    annexes: Mutex<Vec<Arc<dyn Annex>>>,
    draining: AtomicBool,
    drain_begun: Notify,
    /// One reload at a time.
    reloading: Mutex<()>,
}

/// Pause between two rounds of housekeeping.
const SWEEP_PAUSE: Duration = Duration::from_secs(5);

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway")
            .field("servers", &self.plan.load().upstreams.len())
            .finish()
    }
}

impl Gateway {
    /// A gateway over these servers, which records nothing. Nothing is started until a client comes or
    /// [`warm_up`](Gateway::warm_up) is called.
    ///
    /// # Panics
    /// Outside a tokio runtime: the connections to servers live on the one it is made on.
    pub fn new(options: Options) -> Arc<Gateway> {
        Gateway::recording(options, None)
    }

    /// A gateway that records what happens in `log`, which it closes when it is [closed](Gateway::close).
    ///
    /// # Panics
    /// As [`new`](Gateway::new) does.
    pub fn recording(options: Options, log: Option<Log>) -> Arc<Gateway> {
        let stats = log.as_ref().map(Stats::start);
        let sample = options.events.as_ref().map(|events| &events.sample);
        let recorder = Recorder::new(log, &options, sample);
        let runtime = Handle::current();
        let hub = Arc::new(Hub::new(options.limits.replay_bytes_max));
        let sealer = Arc::new(Sealer::new(&options.keys, options.advertise.as_deref()));
        let sessions = SessionTable::new(Arc::clone(&sealer), options.limits.session_ttl);
        let (parked_max, parked_ttl) = (options.limits.parked_max, options.limits.parked_ttl);
        let parking = Arc::new(Parking::new(Arc::clone(&sealer), parked_max, parked_ttl));
        let plan = ArcSwap::from_pointee(Plan::new(options, None, &hub, &recorder, &sealer, &runtime));
        let gateway = Arc::new(Gateway {
            plan,
            hub,
            sealer,
            sessions,
            parking,
            replicas: Replicas::default(),
            recorder,
            stats,
            runtime,
            annexes: Mutex::default(),
            draining: AtomicBool::new(false),
            drain_begun: Notify::new(),
            reloading: Mutex::default(),
        });
        let shown = Arc::downgrade(&gateway);
        gateway.hub.set_membership(Box::new(move |endpoint, server| {
            shown
                .upgrade()
                .is_some_and(|gateway| gateway.plan.load().shows(endpoint, server))
        }));
        drop(spawn("housekeeping", sweep(Arc::downgrade(&gateway))));
        gateway
    }

    /// Lets `annex` answer its paths at this gateway's address. Of two that have the same path the first one answers.
    pub fn annex_to(&self, annex: Arc<dyn Annex>) {
        self.annexes().push(annex);
    }

    /// Who answers at this path, if it is none of the gateway's own.
    pub(crate) fn annex(&self, path: &str) -> Option<Arc<dyn Annex>> {
        self.annexes().iter().find(|annex| annex.has(path)).cloned()
    }

    fn annexes(&self) -> MutexGuard<'_, Vec<Arc<dyn Annex>>> {
        self.annexes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the options. Servers whose options did not change keep their connections; the others end theirs, and
    /// clients are told that the lists changed. What they subscribed to at a server that stays, they are subscribed to still. The listener and the limits of open connections stay as they are.
    pub fn apply(self: &Arc<Self>, options: Options) {
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        self.sealer.apply(&options.keys, options.advertise.as_deref());
        self.sessions.forget_without_key();
        self.recorder.apply(&options);
        let old = self.plan.load_full();
        let new = Arc::new(Plan::new(
            options,
            Some(&old),
            &self.hub,
            &self.recorder,
            &self.sealer,
            &self.runtime,
        ));
        let gone: Vec<_> = old.gone_in(&new).collect();
        let come: Vec<_> = new.gone_in(&old).collect();
        self.recorder.reloaded(&names(&come), &names(&gone));
        let successor = |gone: &Upstream| new.upstreams.get(&*gone.name);
        for gone in &gone {
            if let Some(successor) = successor(gone) {
                successor.take_over(gone);
            }
        }
        self.plan.store(Arc::clone(&new));
        for gone in &gone {
            let links =
                gone.stop("the server was removed from the configuration, or its configuration was changed");
            if let Some(successor) = successor(gone) {
                successor.open_again(links);
            }
        }
        for come in &come {
            self.warm(come);
        }
        // Told once, whatever has changed. Who lost a server was shown it by the old plan.
        let otherwise = new.shows_otherwise_than(&old);
        self.hub.lists_changed_at(&|endpoint| {
            otherwise
                || gone.iter().any(|gone| old.shows(endpoint, &gone.name))
                || come.iter().any(|come| new.shows(endpoint, &come.name))
        });
    }

    /// Connects to every server in the background, so that the first client need not wait and errors show early.
    pub fn warm_up(self: &Arc<Self>) {
        for upstream in self.plan.load().upstreams.values() {
            self.warm(upstream);
        }
    }

    fn warm(self: &Arc<Self>, upstream: &Arc<Upstream>) {
        let upstream = Arc::clone(upstream);
        drop(spawn::spawn_on(&self.runtime, "warm up", async move {
            // On HTTP an answer to one era binds nothing; a process is bound to the era of its first message, and most
            // clients have sessions.
            let first = match upstream.options.endpoint {
                Endpoint::Http { .. } => Revision::MODERN,
                _ => Revision::LATEST_LEGACY,
            };
            let want = Want::plain(first);
            // A failure is kept as the server's last error, where status pages show it.
            let Ok(link) = upstream.link(&want).await else {
                return;
            };
            for kind in crate::catalog::ListKind::ALL {
                if let Err(fault) = upstream.catalogs.get(&link, kind).await {
                    upstream.note_error(Some(fault.to_string()));
                }
            }
        }));
    }

    pub(crate) fn plan(&self) -> arc_swap::Guard<Arc<Plan>> {
        self.plan.load()
    }

    /// The options in force.
    pub fn options(&self) -> Options {
        self.plan.load().options.clone()
    }

    /// How each server is doing.
    pub fn servers(&self) -> Vec<ServerStatus> {
        self.plan.load().upstreams.values().map(status::of).collect()
    }

    /// The same, with what the log knows of each.
    pub(crate) async fn overview(&self) -> Overview {
        let mut servers = self.servers();
        if let Some(stats) = &self.stats {
            let since = stats.since().await;
            for server in &mut servers {
                server.since_ms = since.of(&server.name, server.state);
                server.restarts = since.restarts(&server.name);
                server.last_failure = since.last_failure(&server.name).map(str::to_owned);
            }
        }
        Overview {
            config_file: self.plan.load().options.config_file.clone(),
            servers,
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Relaxed)
    }

    /// From now on new calls are refused; running ones go on.
    pub(crate) fn begin_drain(&self) {
        self.draining.store(true, Ordering::Release);
        self.drain_begun.notify_waiters();
    }

    /// Waits for the drain to begin: streams without an end of their own end then.
    ///
    /// # Cancel safety
    /// Safe: nothing is consumed.
    pub(crate) async fn drain_begun(&self) {
        // Registered before the look at the flag, so that no notification falls in between.
        let begun = self.drain_begun.notified();
        if !self.draining.load(Ordering::Acquire) {
            begun.await;
        }
    }

    /// Ends every connection to a server and waits until its child processes are gone, and until what was recorded is on
    /// the disk.
    pub async fn close(&self) {
        self.begin_drain();
        let mut children: Vec<Child> = Vec::new();
        for upstream in self.plan.load().upstreams.values() {
            for link in upstream.live_links() {
                children.extend(link.take_child());
                link.stop("the gateway is shutting down");
            }
            upstream.stop("the gateway is shutting down");
        }
        join_all(children.into_iter().map(Child::stop)).await;
        if let Some(stats) = &self.stats {
            stats.stop().await;
        }
        let recorder = self.recorder.clone();
        // Waits for the disk.
        let _closed = spawn::blocking(move || recorder.close()).join().await.is_some();
    }
}

fn names<'a>(upstreams: &[&'a Arc<Upstream>]) -> Vec<&'a str> {
    upstreams.iter().map(|upstream| &*upstream.name).collect()
}

async fn sweep(gateway: std::sync::Weak<Gateway>) {
    loop {
        time::sleep(SWEEP_PAUSE).await;
        let Some(gateway) = gateway.upgrade() else { return };
        let plan = gateway.plan.load_full();
        let idle_max = plan
            .options
            .servers
            .values()
            .map(|server| server.idle_timeout)
            .max();
        gateway.sessions.sweep(idle_max.unwrap_or(SWEEP_PAUSE));
        gateway.parking.sweep();
        for upstream in plan.upstreams.values() {
            upstream.sweep();
        }
        plan.sweep();
    }
}

/// Watches for the drain to be asked for and passes it on.
pub(crate) async fn watch_drain(gateway: Arc<Gateway>, mut draining: Draining) {
    draining.asked().await;
    gateway.begin_drain();
}
