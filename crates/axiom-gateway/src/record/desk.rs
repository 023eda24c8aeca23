//! Where events are put: a desk for each thread, emptied into the log some twenty times a second.
//!
//! Nothing on a call's way waits for another thread: what is locked here is locked by the desk's own thread, and for a
//! moment by whoever empties it. That is the gateway's first thread, which serves no calls: a timer on each of those that do
//! costs more than it seems, as does every block and every sync of the disk. A log that takes nothing more is no reason to hold up calls: what it refuses is
//! counted, and an event of kind `axiom.gap` tells how many are missing as soon as there is room for one.

use std::borrow::Cow;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use axiom_core::{spawn, time};
use axiom_events::sample::{Policy, Sampler};
use axiom_events::{Batch, Event, Filling, Format, Full, Level, Log, Reader, TraceId, event::Unfit, gap};
use tokio::runtime::Handle;

use crate::options::{Bodies, Options};

use super::forms::Forms;
use super::known::{Ended, Known};
use super::secrets::Policy as Secrecy;
use super::subject::Subjects;

/// Whose events these are, as long as clients are not asked who they are.
const TENANT: &str = "default";
/// What a call's event is.
pub(super) const CALL_KIND: &str = "gateway.call";
/// The stream of what concerns no server.
const STREAM: &str = "gateway";

/// How long an event waits on its desk. Long enough that what a block costs is shared by many, short enough for somebody
/// who watches.
const POST_PAUSE: Duration = Duration::from_millis(50);
/// Events and bytes at which a desk is emptied at once. A desk of a busy gateway does not come to half of it in a pause.
const POST_EVENTS: usize = 4096;
const POST_BYTES: usize = 1 << 20;
/// How long the log may take at the end to make room for what is still on the desks, in all.
const CLOSE_PAUSE: Duration = Duration::from_millis(20);
const CLOSE_PAUSES: u32 = 500;
/// Pause before a desk is visited again: because the log has yet to be told what is missing from it, or what was skipped.
const LATE_PAUSE: Duration = Duration::from_secs(1);
/// The kinds of what is recorded of the gateway itself. Where none of them is sampled there is no sampler.
const KINDS: [&str; 4] = [CALL_KIND, "gateway.server", "gateway.session", "gateway.config"];
/// Every call is a task of its own: they are sampled as if they were one.
const SAMPLED_AS: &str = "";

/// Where what happens is recorded. Clones record in the same log; without a log it records nothing and costs nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recorder {
    book: Option<Arc<Book>>,
}

#[derive(Debug)]
struct Book {
    log: Log,
    /// Tells this run of the gateway from others: half of each call's id.
    run: u64,
    /// Looked at for each call; the rest of the policy only where bodies are recorded.
    bodies: AtomicU8,
    policy: ArcSwap<Secrecy>,
    /// How desks sample, if there is something to sample.
    sample: Option<Policy>,
    desks: Mutex<Vec<Arc<Desk>>>,
    rounds: Arc<Rounds>,
}

/// Who empties the desks.
#[derive(Debug)]
struct Rounds {
    log: Log,
    /// Where the recorder was made. Without a runtime each event is handed over at once.
    home: Option<Handle>,
    /// Desks with something on them that nobody has come for yet.
    waiting: Mutex<Vec<Arc<Desk>>>,
}

/// One thread's.
#[derive(Debug)]
pub(super) struct Desk {
    rounds: Arc<Rounds>,
    run: u64,
    /// The next call's number; the desk's own number stands in front.
    next: AtomicU64,
    drawer: Mutex<Drawer>,
}

#[derive(Debug, Default)]
struct Drawer {
    batch: Batch,
    /// Forms of calls. Those of a batch that was handed over are made again.
    forms: Forms,
    clock: Option<Clock>,
    /// Memory for a name that is put together, and for a body.
    stream: String,
    text: Vec<u8>,
    missing: Missing,
    /// Somebody comes to empty it.
    is_expected: bool,
    sampling: Option<Box<Sampling>>,
    /// Somebody comes to it again and again, until everything is told.
    is_late: bool,
}

/// The wall clock, as it was at a moment of the other one, from which it is known until the desk is emptied: each look at a clock
/// costs.
#[derive(Debug, Clone, Copy)]
struct Clock {
    at: time::Instant,
    unix: i64,
}

/// Events that the log does not have, as long as it has not been told.
#[derive(Debug, Default)]
struct Missing {
    /// It took no more.
    refused: u64,
    /// They did not keep to the limits of an event.
    unfit: u64,
}

/// How often the log is still waited for when everything ends.
#[derive(Debug)]
struct Patience {
    pauses_left: u32,
}

#[derive(Debug)]
struct Sampling {
    sampler: Sampler,
    /// When it told last what it skipped.
    told: time::Instant,
    /// Memory for a body: whether it is kept depends on it.
    body: Vec<u8>,
}

/// What a thread has of its own.
#[derive(Debug)]
struct Here {
    desk: Arc<Desk>,
    subjects: Subjects,
}

thread_local! {
    static HERE: RefCell<Option<Here>> = const { RefCell::new(None) };
}

impl Recorder {
    pub(crate) fn new(log: Option<Log>, options: &Options, sample: Option<&Policy>) -> Recorder {
        let is_sampled = |policy: &&Policy| KINDS.iter().any(|kind| policy.samples_kind(kind));
        let sample = sample.filter(is_sampled).cloned();
        let book = log.map(|log| {
            let rounds = Arc::new(Rounds {
                log: log.clone(),
                home: Handle::try_current().ok(),
                waiting: Mutex::default(),
            });
            Arc::new(Book {
                rounds,
                log,
                run: run(),
                bodies: AtomicU8::new(bodies(options) as u8),
                policy: ArcSwap::from_pointee(Secrecy::of(options, None)),
                sample,
                desks: Mutex::default(),
            })
        });
        Recorder { book }
    }

    /// From now on bodies are recorded by the policy of these options.
    pub(crate) fn apply(&self, options: &Options) {
        if let Some(book) = &self.book {
            let policy = Secrecy::of(options, Some(&book.policy.load()));
            book.policy.store(Arc::new(policy));
            book.bodies.store(bodies(options) as u8, Ordering::Release);
        }
    }

    /// How bodies are recorded; `None` where they are not.
    pub(super) fn bodies(&self) -> Option<Arc<Secrecy>> {
        let book = self.book.as_ref()?;
        let is_off = book.bodies.load(Ordering::Acquire) == Bodies::Off as u8;
        (!is_off).then(|| book.policy.load_full())
    }

    /// A text that is recorded in any case, without what may be a secret.
    pub(super) fn masked<'t>(&self, text: &'t str) -> Cow<'t, str> {
        match &self.book {
            Some(book) => book.policy.load().masked(text),
            None => Cow::Borrowed(text),
        }
    }

    /// Reads what was recorded; `None` where nothing is.
    pub(crate) fn reader(&self) -> Option<Reader> {
        self.book.as_ref().map(|book| book.log.reader())
    }

    /// Whether anything is recorded.
    pub(super) fn is_on(&self) -> bool {
        self.book.is_some()
    }

    /// This thread's desk; `None` where nothing is recorded.
    pub(super) fn desk(&self) -> Option<Arc<Desk>> {
        self.here(|desk, _| Arc::clone(desk))
    }

    /// Looks at this thread's desk and at the subjects that it knows; `None` where nothing is recorded.
    pub(super) fn here<T>(&self, look: impl FnOnce(&Arc<Desk>, &mut Subjects) -> T) -> Option<T> {
        let book = self.book.as_ref()?;
        let mut look = Some(look);
        let mut look = |here: &mut Here| look.take().map(|look| look(&here.desk, &mut here.subjects));
        let found = HERE.try_with(|here| {
            let mut here = here.borrow_mut();
            if here.as_ref().is_none_or(|here| here.desk.run != book.run) {
                *here = Some(book.new_here());
            }
            here.as_mut().and_then(&mut look)
        });
        // The thread is ending.
        found.unwrap_or_else(|_| look(&mut book.new_here()))
    }

    /// Writes down everything and closes the log. What happens later is not recorded. Blocks: on the disk, and some seconds on
    /// a log that takes nothing more.
    pub(crate) fn close(&self) {
        let Some(book) = &self.book else { return };
        let desks = book.desks().clone();
        let mut patience = Patience {
            pauses_left: CLOSE_PAUSES,
        };
        let untold: u64 = desks.iter().map(|desk| desk.finish(&mut patience)).sum();
        if untold > 0 {
            tracing::error!(
                lost = untold,
                "the event log took no more events at the end: these are missing, and it does not say so"
            );
        }
        book.log.close();
    }
}

fn bodies(options: &Options) -> Bodies {
    let events = options.events.as_ref();
    events.map_or(Bodies::Off, |events| events.bodies)
}

impl Book {
    fn new_here(&self) -> Here {
        Here {
            desk: self.new_desk(),
            subjects: Subjects::default(),
        }
    }

    fn new_desk(&self) -> Arc<Desk> {
        let mut desks = self.desks();
        let number = desks.len() as u64;
        let sampling = self.sample.as_ref().map(|policy| {
            Box::new(Sampling {
                sampler: Sampler::new(policy.clone()),
                told: time::now(),
                body: Vec::new(),
            })
        });
        let desk = Arc::new(Desk {
            rounds: Arc::clone(&self.rounds),
            run: self.run,
            next: AtomicU64::new(number << 48),
            drawer: Mutex::new(Drawer {
                sampling,
                ..Drawer::default()
            }),
        });
        desks.push(Arc::clone(&desk));
        desk
    }

    fn desks(&self) -> MutexGuard<'_, Vec<Arc<Desk>>> {
        self.desks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Desk {
    /// A fresh call's id, also good as a trace id.
    pub(super) fn next_call(&self) -> u128 {
        u128::from(self.run) << 64 | u128::from(self.next.fetch_add(1, Ordering::Relaxed))
    }

    /// Puts an event down, whose body `write` appends to what it is given. An event without a server is the gateway's own.
    pub(super) fn put(
        self: &Arc<Self>,
        kind: &str,
        level: Level,
        server: Option<&str>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        let mut drawer = self.lock();
        let head = Event {
            time: time::unix_nanos(),
            kind,
            level,
            ..Event::default()
        };
        drawer.put(head, None, server, write);
        self.was_put(drawer);
    }

    /// Puts a call's event down. Its task is the call's id; it ended just now.
    pub(super) fn put_call(
        self: &Arc<Self>,
        known: &Known,
        ended: Ended,
        (id, trace): (u128, TraceId),
        now: time::Instant,
    ) {
        let mut drawer = self.lock();
        let head = Event {
            time: drawer.unix_nanos(now),
            kind: CALL_KIND,
            level: ended.outcome.level(),
            trace: Some(trace),
            ..Event::default()
        };
        if !drawer.fill(head, id, known, ended) {
            let write = |body: &mut Vec<u8>| known.write(ended, body);
            drawer.put(head, Some(id), known.server(), write);
        }
        self.was_put(drawer);
    }

    /// Sees to it that what was put down gets to the log.
    fn was_put(self: &Arc<Self>, mut drawer: MutexGuard<'_, Drawer>) {
        let is_full = drawer.batch.len() >= POST_EVENTS || drawer.batch.bytes() >= POST_BYTES;
        let is_expected = std::mem::replace(&mut drawer.is_expected, true);
        drop(drawer);
        if is_full {
            self.post();
        }
        if !is_expected {
            self.rounds.come_to(self);
        }
    }

    /// Hands everything over to the log.
    fn post(&self) {
        self.lock().hand_over(&self.rounds.log);
    }

    /// Hands everything over to the log, and what comes next waits for another visit. False if the log has yet to be told
    /// that events are missing, or what was skipped: then this desk is still to be visited. Where `is_again` is true it was
    /// visited before for that reason; a second round does not take it over.
    fn visit(&self, is_again: bool) -> bool {
        let mut drawer = self.lock();
        drawer.tell_skipped();
        drawer.hand_over(&self.rounds.log);
        drawer.is_expected = drawer.missing.events() > 0;
        if drawer.is_late && !is_again {
            return true;
        }
        let has_untold = |sampling: &Sampling| sampling.sampler.has_untold();
        drawer.is_late = drawer.is_expected || drawer.sampling.as_deref().is_some_and(has_untold);
        !drawer.is_late
    }

    /// Hands everything over to the log, what was skipped as well, and waits for room there as long as there is patience. Says
    /// how many events are missing all the same, of which the log has not been told.
    fn finish(&self, patience: &mut Patience) -> u64 {
        let log = &self.rounds.log;
        loop {
            let mut drawer = self.lock();
            let Drawer { sampling, batch, .. } = &mut *drawer;
            // False if the batch became full.
            let is_all = sampling
                .as_mut()
                .is_none_or(|sampling| sampling.sampler.finish(batch));
            // Whoever comes to this desk meanwhile gives up what he finds on it and the log does not take.
            let batch = std::mem::take(batch);
            drop(drawer);
            let refused = patience.post(log, batch).err();
            if let Some(Full(batch)) = &refused {
                self.lock().give_up(batch);
            }
            if is_all || refused.is_some() {
                break;
            }
        }
        let mut missing = std::mem::take(&mut self.lock().missing);
        missing.tell(|gap| patience.post(log, gap).is_ok());
        missing.events()
    }

    fn lock(&self) -> MutexGuard<'_, Drawer> {
        self.drawer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drawer {
    /// Puts an event down as a form and its numbers. False if it has to be put down whole: it has more of its own than numbers, or
    /// whether it is kept depends on what it says.
    fn fill(&mut self, head: Event<'_>, id: u128, known: &Known, ended: Ended) -> bool {
        let Some(common) = known.common(ended).filter(|_| self.sampling.is_none()) else {
            return false;
        };
        let values = known.values(ended);
        let filling = Filling {
            time: head.time,
            task_id: Some(id),
            trace: head.trace,
            values: values.all(),
        };
        let form = self.forms.get(&known.subject, &common);
        if form.is_some_and(|form| self.batch.push_filled(form, &filling)) {
            return true;
        }
        self.text.clear();
        known.write_form(ended, &mut self.text);
        name_stream(&mut self.stream, known.server());
        let event = Event {
            tenant: TENANT,
            stream: &self.stream,
            format: Format::Json,
            body: &self.text,
            ..head
        };
        let Some(form) = self.batch.form(&event, values.all().len()) else {
            return false;
        };
        self.forms.keep(&known.subject, common, form);
        self.batch.push_filled(form, &filling)
    }

    fn put(
        &mut self,
        head: Event<'_>,
        task: Option<u128>,
        server: Option<&str>,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        name_stream(&mut self.stream, server);
        let event = Event {
            tenant: TENANT,
            stream: &self.stream,
            format: Format::Json,
            ..head
        };
        let batch = &mut self.batch;
        let pushed = match &mut self.sampling {
            None => batch.push_written(&event, task, write),
            Some(sampling) => sampling.push(batch, event, task, write),
        };
        if let Err(unfit) = pushed {
            tracing::error!(%unfit, "an event is missing from the log");
            self.missing.unfit += 1;
        }
    }

    /// Nanoseconds since 1970, now.
    fn unix_nanos(&mut self, now: time::Instant) -> i64 {
        let clock = self.clock.filter(|_| !self.batch.is_empty());
        let Clock { at, unix } = *self.clock.insert(clock.unwrap_or_else(|| Clock {
            at: now,
            unix: time::unix_nanos(),
        }));
        let since = now.saturating_duration_since(at).as_nanos();
        unix.saturating_add(i64::try_from(since).unwrap_or(i64::MAX))
    }

    /// Once a second.
    fn tell_skipped(&mut self) {
        let Some(sampling) = &mut self.sampling else {
            return;
        };
        // What does not fit into this batch comes with the next one.
        if sampling.told.elapsed() >= LATE_PAUSE && sampling.sampler.tell(&mut self.batch) {
            sampling.told = time::now();
        }
    }

    /// Hands everything over to the log. What it does not take is given up and counted.
    fn hand_over(&mut self, log: &Log) {
        self.missing.tell(|gap| log.post(gap).is_ok());
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.batch, log.spare_batch());
        if let Err(Full(mut batch)) = log.post(batch) {
            self.give_up(&batch);
            batch.clear();
            self.batch = *batch;
        }
    }

    fn give_up(&mut self, batch: &Batch) {
        if self.missing.refused == 0 {
            tracing::warn!("the event log takes no more events; calls go on without being recorded");
        }
        self.missing.refused += match &mut self.sampling {
            None => batch.len() as u64,
            Some(sampling) => sampling.sampler.give_up(batch),
        };
    }
}

impl Sampling {
    fn push(
        &mut self,
        batch: &mut Batch,
        event: Event<'_>,
        task: Option<u128>,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Result<(), Unfit> {
        self.body.clear();
        write(&mut self.body);
        let task = task.map(|id| format!("{id:032x}"));
        let event = Event {
            task: task.as_deref().unwrap_or_default(),
            body: &self.body,
            ..event
        };
        self.sampler.push_as(batch, &event, SAMPLED_AS).map(drop)
    }
}

impl Missing {
    fn events(&self) -> u64 {
        self.refused + self.unfit
    }

    /// Tells the log, if `post` gets it there: for each reason how many.
    fn tell(&mut self, mut post: impl FnMut(Batch) -> bool) {
        let reasons = [
            (&mut self.refused, "the log's queue was full"),
            (&mut self.unfit, "they did not keep to the limits of an event"),
        ];
        for (lost, reason) in reasons {
            if *lost > 0 && post(gap(TENANT, *lost, reason)) {
                *lost = 0;
            }
        }
    }
}

impl Patience {
    /// Hands a batch over to the log, and waits for room there. Blocks.
    fn post(&mut self, log: &Log, mut batch: Batch) -> Result<(), Full> {
        while !batch.is_empty() {
            let Err(refused) = log.post(batch) else { break };
            let is_closed = log.reader().watch_end().borrow().is_closed;
            if self.pauses_left == 0 || is_closed {
                return Err(refused);
            }
            self.pauses_left -= 1;
            std::thread::park_timeout(CLOSE_PAUSE);
            batch = *refused.0;
        }
        Ok(())
    }
}

impl Rounds {
    /// Sees to it that somebody comes to this desk.
    fn come_to(self: &Arc<Self>, desk: &Arc<Desk>) {
        let mut waiting = self.waiting();
        let is_first = waiting.is_empty();
        waiting.push(Arc::clone(desk));
        drop(waiting);
        if !is_first {
            return;
        }
        let round = Round {
            rounds: Arc::clone(self),
            late: Vec::new(),
            is_over: false,
        };
        // Without a runtime, or with one that is ending, the round is dropped at once, which is when it is made.
        if let Some(home) = &self.home {
            drop(spawn::spawn_on(home, "record events", round.make()));
        }
    }

    fn waiting(&self) -> MutexGuard<'_, Vec<Arc<Desk>>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One visit to each desk that waits, which is made when it is over, however it ends.
struct Round {
    rounds: Arc<Rounds>,
    /// Desks with something that the log did not take.
    late: Vec<Arc<Desk>>,
    is_over: bool,
}

impl Round {
    async fn make(mut self) {
        time::sleep(POST_PAUSE).await;
        self.visit();
        while !self.late.is_empty() {
            time::sleep(LATE_PAUSE).await;
            self.late.retain(|desk| !desk.visit(true));
        }
        self.is_over = true;
    }

    fn visit(&mut self) {
        let waiting = std::mem::take(&mut *self.rounds.waiting());
        self.late.retain(|desk| !desk.visit(true));
        self.late
            .extend(waiting.into_iter().filter(|desk| !desk.visit(false)));
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        if !self.is_over {
            self.visit();
        }
    }
}

/// The stream of what concerns this server.
fn name_stream(stream: &mut String, server: Option<&str>) {
    stream.clear();
    stream.push_str(STREAM);
    if let Some(server) = server {
        stream.push('.');
        stream.push_str(server);
    }
}

/// A number for this run of the gateway: seconds, so that ids ascend, and chance, so that no two runs share one.
fn run() -> u64 {
    use std::hash::BuildHasher as _;
    let chance = std::hash::RandomState::new().hash_one(time::unix_nanos());
    time::unix_seconds() << 32 | (chance >> 32)
}

#[cfg(test)]
mod tests;
