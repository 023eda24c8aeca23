//! Does what is due, one thing after the other, on a thread that gives way to all others.
//!
//! It holds one row group in memory twice at most, which is some 200 MB where bodies are large and some 50 MB elsewhere, 64 MB
//! of summaries and, with an object store, 64 MB of what was read from there.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axiom_events::{Append, AppendError, Log};

use crate::manifest::{Object, State};
use crate::plan::{self, Retention, Verdict};
use crate::standing::Standing;
use crate::store::StoreError;
use crate::tell::{self, RETIRED_KIND};
use crate::workshop::{WorkError, Workshop};
use notes::{Failures, Held};

mod notes;

/// What the service is told.
#[derive(Debug, Clone)]
pub struct Options {
    pub retention: Retention,
    /// Between two looks at what is due.
    pub pause: Duration,
    /// After something failed. What failed is tried again, and said once.
    pub pause_after_failure: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            retention: Retention::default(),
            pause: Duration::from_secs(5),
            pause_after_failure: Duration::from_secs(60),
        }
    }
}

/// The thread that moves events between tiers.
#[derive(Debug)]
pub struct Service {
    shared: Arc<Shared>,
    /// Closed when the thread has ended.
    ended: Mutex<Receiver<()>>,
}

/// How long [`Service::stop`] waits. An upload that does not end is left to itself: nothing relies on it yet.
const STOP_WAIT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Shared {
    workshop: Arc<Workshop>,
    log: Log,
    orders: Mutex<Orders>,
    changed: Condvar,
}

#[derive(Debug)]
struct Orders {
    options: Options,
    is_stopped: bool,
}

/// What remains between two looks.
#[derive(Debug, Default)]
struct Notes {
    held: Held,
    /// What failed with which objects, in each kind of work: the others are not held up by them.
    merging: Failures,
    placing: Failures,
    retiring: Failures,
    /// The last failure, so that it is told once.
    failure: Option<String>,
    is_tidy: bool,
}

impl Service {
    /// # Errors
    /// When the system gives us no thread.
    pub fn start(workshop: Arc<Workshop>, log: Log, options: Options) -> io::Result<Service> {
        tell(&options.retention, &workshop);
        let shared = Arc::new(Shared {
            workshop,
            log,
            orders: Mutex::new(Orders {
                options,
                is_stopped: false,
            }),
            changed: Condvar::new(),
        });
        let worker = Arc::clone(&shared);
        let (running, ended) = sync_channel(0);
        axiom_core::spawn::thread("events tiers", move || {
            let _running = running;
            worker.run();
        })?;
        Ok(Service {
            shared,
            ended: Mutex::new(ended),
        })
    }

    /// From now on this retention holds.
    pub fn apply(&self, retention: Retention) {
        let mut orders = self.shared.lock();
        if orders.options.retention == retention {
            return;
        }
        tell(&retention, &self.shared.workshop);
        orders.options.retention = retention;
        drop(orders);
        self.shared.changed.notify_all();
    }

    /// Ends what is being done, which leaves everything as it was before, and waits for it, some seconds at most. Blocks.
    pub fn stop(&self) {
        self.ask_to_stop();
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        if ended.recv_timeout(STOP_WAIT) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!(
                "events were still being moved; the next start begins again what was not finished"
            );
        }
    }

    fn ask_to_stop(&self) {
        self.shared.lock().is_stopped = true;
        self.shared.workshop.stop();
        self.shared.changed.notify_all();
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}

/// Whoever lets events be deleted reads it in the log, and so does whoever waits for them to be moved or deleted in vain.
fn tell(retention: &Retention, workshop: &Workshop) {
    let Retention { warm, delete, .. } = retention;
    if *delete != plan::Deletion::default() {
        tracing::info!(
            age_s = delete.age.map(|age| age.as_secs()),
            bytes = delete.bytes,
            tenants = delete.tenants.len(),
            "events that are older, or more, are deleted"
        );
    }
    if workshop.store().is_none() && *warm != plan::Limits::default() {
        tracing::warn!(
            "there is no `events.store`: what is older, or more, than `events.retention.warm` says stays here"
        );
    }
    let state = workshop.manifest().now();
    let away = state
        .objects
        .iter()
        .filter(|object| !workshop.is_in_reach(object));
    let away = away.count();
    if away > 0 {
        tracing::warn!(
            objects = away,
            "cold events are in an object store that `events.store` does not name: they are neither read nor deleted"
        );
    }
}

/// One piece of what is due. False if there was none.
type Work = fn(&Shared, &Retention, &mut Notes) -> Result<bool, WorkError>;

impl Shared {
    fn run(&self) {
        give_way();
        let mut notes = Notes::default();
        loop {
            let Some(options) = self.options() else { return };
            notes.wait_at_first(options.pause_after_failure);
            let pause = match self.all_that_is_due(&options.retention, &mut notes) {
                Ok(()) => {
                    if notes.failure.take().is_some() {
                        tracing::info!("events change tiers again");
                    }
                    options.pause
                }
                Err(WorkError::Stopped) => return,
                Err(error) => {
                    let text = error.to_string();
                    if notes.failure.as_ref() != Some(&text) {
                        tracing::warn!(%error, "events stay in their tier for now; it is tried again");
                    }
                    notes.failure = Some(text);
                    options.pause_after_failure
                }
            };
            let orders = self.lock();
            if orders.is_stopped {
                return;
            }
            let waited = self.changed.wait_timeout(orders, pause);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    fn options(&self) -> Option<Options> {
        let orders = self.lock();
        (!orders.is_stopped).then(|| orders.options.clone())
    }

    /// One kind of work that fails does not keep the others from being done.
    fn all_that_is_due(&self, retention: &Retention, notes: &mut Notes) -> Result<(), WorkError> {
        let mut outcome = Ok(());
        if !notes.is_tidy {
            self.workshop.tidy(&self.log)?;
            notes.is_tidy = true;
        }
        let works: [Work; 6] = [
            Shared::tell,
            Shared::seal,
            Shared::retire,
            Shared::merge,
            Shared::place,
            Shared::reclaim,
        ];
        for work in works {
            loop {
                match work(self, retention, notes) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(WorkError::Stopped) => return Err(WorkError::Stopped),
                    // With the next look, when what was made in vain is removed.
                    Err(WorkError::Held) => {
                        notes.is_tidy = false;
                        break;
                    }
                    Err(error) => {
                        outcome = outcome.and(Err(error));
                        // It may have left a file that nothing needs.
                        notes.is_tidy = false;
                        break;
                    }
                }
            }
        }
        outcome
    }

    /// Each of these does one thing, and says whether there was one to do.
    fn seal(&self, retention: &Retention, _: &mut Notes) -> Result<bool, WorkError> {
        let now = axiom_core::time::unix_nanos();
        if let Some(age) = retention.segment_age() {
            // Where nothing is recorded any more, no append does it.
            self.log.end_segment(plan::before(now, age));
        }
        let sealed = self.log.sealed()?;
        let count = plan::to_seal(&sealed, retention.hot, now);
        let Some(object) = self.workshop.seal(&self.log, &sealed[..count])? else {
            return Ok(false);
        };
        let Object {
            rows,
            bytes,
            hot_bytes,
            location,
            ..
        } = object;
        tracing::debug!(%location, rows, hot_bytes, bytes, "events became warm");
        // What cannot be deleted now is told where only that is done, and is no reason to seal nothing more.
        if let Err(error) = self.reclaim(retention, &mut Notes::default()) {
            tracing::debug!(%error, "not everything was deleted that nobody reads any more");
        }
        Ok(true)
    }

    fn merge(&self, _: &Retention, notes: &mut Notes) -> Result<bool, WorkError> {
        let state = self.workshop.manifest().now();
        let is_spared = |object: &Object| notes.merging.is_waiting(object);
        let Some(run) = plan::to_merge(&state.objects, is_spared, axiom_core::time::unix_nanos()) else {
            return Ok(false);
        };
        let objects = state.objects[run].to_vec();
        drop(state);
        let merged = match self.workshop.rewrite(&objects, |_| true, &[], "merged") {
            Ok(merged) => merged,
            Err(error) => match objects.iter().find(|object| error.is_about(object)) {
                // The others may do without it.
                Some(object) => {
                    notes.merging.wait(object, &error);
                    notes.is_tidy = false;
                    return Ok(true);
                }
                None => return Err(error),
            },
        };
        let location = merged.added.map(|object| object.location);
        tracing::debug!(files = objects.len(), into = location, "warm files were merged");
        Ok(true)
    }

    fn place(&self, retention: &Retention, notes: &mut Notes) -> Result<bool, WorkError> {
        if self.workshop.store().is_none() {
            return Ok(false);
        }
        let state = self.workshop.manifest().now();
        let due = plan::to_place(&state.objects, retention.warm, axiom_core::time::unix_nanos());
        let Some(object) = notes.placing.line_up(due).into_iter().next().cloned() else {
            return Ok(false);
        };
        drop(state);
        match self.workshop.place(&object) {
            Ok(cold) => {
                tracing::debug!(from = %object.location, to = %cold.location, "events became cold");
                Ok(true)
            }
            Err(error) if error.is_about(&object) => {
                notes.placing.wait(&object, &error);
                Ok(true)
            }
            Err(error) => {
                match error {
                    // It costs an upload each time.
                    WorkError::Store(StoreError::Different { .. }) => notes.placing.wait(&object, &error),
                    _ => notes.placing.postpone(&object),
                }
                Err(error)
            }
        }
    }

    fn retire(&self, retention: &Retention, notes: &mut Notes) -> Result<bool, WorkError> {
        let state = self.workshop.manifest().refresh()?;
        notes.forget_all_but(&state.objects);
        let is_in_reach = |object: &Object| self.workshop.is_in_reach(object);
        let too_much = plan::too_much(&state.objects, &retention.delete, is_in_reach);
        let objects = state.objects.iter().enumerate();
        let objects = objects.filter(|(_, object)| is_in_reach(object)).collect();
        let mut outcome = Ok(false);
        let mut failed_in = Vec::new();
        for (place, object) in notes.retiring.line_up_by(objects, |(_, object)| *object) {
            if failed_in.contains(&object.tier) {
                continue;
            }
            match self.retire_one(&state, place, too_much.contains(&place), retention, notes) {
                Ok(false) => {}
                Ok(true) => return Ok(true),
                Err(error) if error.is_about(object) => {
                    notes.retiring.wait(object, &error);
                    notes.is_tidy = false;
                }
                // They would have to be decided anew.
                Err(error @ (WorkError::Stopped | WorkError::Held | WorkError::Manifest(_))) => {
                    return Err(error);
                }
                Err(error) => {
                    notes.retiring.postpone(object);
                    failed_in.push(object.tier);
                    outcome = outcome.and(Err(error));
                }
            }
        }
        outcome
    }

    /// False if nothing in it is over, or everything that is over is held.
    fn retire_one(
        &self,
        state: &State,
        place: usize,
        is_too_much: bool,
        retention: &Retention,
        notes: &mut Notes,
    ) -> Result<bool, WorkError> {
        let object = &state.objects[place];
        let (verdict, why) = if is_too_much {
            (Verdict::Drop, "there were more bytes than are kept")
        } else {
            let now = axiom_core::time::unix_nanos();
            let verdict = match plan::by_age(&state.objects, place, &retention.delete, now) {
                Some(verdict) => verdict,
                None => {
                    let summary = self.workshop.shelves().summary_of(object)?;
                    plan::by_age_of(&state.objects, place, &summary, &retention.delete, now)
                }
            };
            (verdict, "they were kept as long as they are kept")
        };
        let holds = &state.holds;
        if verdict == Verdict::Keep || notes.held.has(object, holds, &verdict) {
            return Ok(false);
        }
        let is_over = |tenant: &str| match &verdict {
            Verdict::Keep => false,
            Verdict::Drop => true,
            Verdict::Thin(tenants) => tenants.contains(tenant),
        };
        let summary = match self.workshop.shelves().summary_of(object) {
            // Whatever is in it is lost already, and nobody asks that it be kept.
            Err(error) if error.is_final() && verdict == Verdict::Drop && holds.is_empty() => Arc::default(),
            summary => summary?,
        };
        let standing = match Standing::of(object, &summary, &self.log.reader().apart()) {
            Ok(standing) => standing,
            Err(error) => {
                notes.retiring.wait(object, &error.into());
                return Ok(false);
            }
        };
        if standing.is_all_of(object) {
            notes.held.add(object, verdict);
            return Ok(false);
        }
        let must_look = !standing.is_empty() || plan::may_be_held(holds, object, &summary);
        let retired = if verdict == Verdict::Drop && !must_look {
            self.workshop
                .drop_whole(std::slice::from_ref(object), holds, why)?
        } else {
            let rewritten = self.workshop.rewrite(
                std::slice::from_ref(object),
                |recorded| {
                    !is_over(recorded.event.tenant)
                        || standing.has(recorded)
                        || plan::is_held(holds, recorded)
                },
                holds,
                why,
            )?;
            rewritten.retired
        };
        if retired == 0 {
            notes.held.add(object, verdict);
            return Ok(false);
        }
        tracing::info!(events = retired, from = %object.location, why, "events were retired");
        // Otherwise a log to which nothing else comes would go on telling of what it told.
        if !summary.is_all(RETIRED_KIND) && self.log.post(tell::retired(object, retired, why)).is_err() {
            tracing::warn!("the log is full: it does not say that events were retired, the manifest does");
        }
        Ok(true)
    }

    /// Says in the log who held what, and who let it go. The manifest forgets it only then, so each is told, and by its id once.
    fn tell(&self, _: &Retention, _: &mut Notes) -> Result<bool, WorkError> {
        let state = self.workshop.manifest().refresh()?;
        let Some(last) = state.untold.last().map(|untold| untold.sequence) else {
            return Ok(false);
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .map_err(WorkError::Runtime)?;
        for untold in &state.untold {
            let append = Append {
                batch: tell::hold(state.shard, untold),
                ..Append::default()
            };
            match runtime.block_on(self.log.append(append)) {
                Ok(_) => {}
                Err(AppendError::Closed) => return Err(WorkError::Stopped),
                Err(error) => return Err(error.into()),
            }
        }
        drop(state);
        self.workshop.told(last)?;
        Ok(true)
    }

    fn reclaim(&self, _: &Retention, _: &mut Notes) -> Result<bool, WorkError> {
        let (bytes, files) = self.workshop.reclaim(&self.log)?;
        if bytes > 0 || files > 0 {
            tracing::debug!(
                segment_bytes = bytes,
                files,
                "what nobody reads any more was deleted"
            );
        }
        Ok(false)
    }

    fn lock(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Lets every other thread go first.
fn give_way() {
    // On Linux this is the thread's own, not the process's.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, 19) {
        tracing::debug!(%error, "events change tiers at the usual priority");
    }
}
