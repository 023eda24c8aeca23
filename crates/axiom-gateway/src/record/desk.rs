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
use axiom_events::writer::{GAP_KIND, LOG_STREAM};
use axiom_events::{Batch, Event, Format, Full, Level, Log, TraceId};
use axiom_protocol::text::push_quoted;
use tokio::runtime::Handle;

use crate::options::{Bodies, Options};

use super::secrets::Policy;

/// Whose events these are, as long as clients are not asked who they are.
const TENANT: &str = "default";
/// What a call's event is.
const CALL_KIND: &str = "gateway.call";
/// The stream of what concerns no server.
const STREAM: &str = "gateway";

/// How long an event waits on its desk. Long enough that what a block costs is shared by many, short enough for somebody
/// who watches.
const POST_PAUSE: Duration = Duration::from_millis(50);
/// Events and bytes at which a desk is emptied at once. A desk of a busy gateway does not come to half of it in a pause.
const POST_EVENTS: usize = 4096;
const POST_BYTES: usize = 1 << 20;
/// What a member of an object has beside its key and its value, and most values.
const ROOM_BYTES: usize = 48;
/// Pause before a log that was full is told again what is missing from it.
const GAP_PAUSE: Duration = Duration::from_secs(1);

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
    policy: ArcSwap<Policy>,
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
    /// Memory for names that are put together.
    stream: String,
    task: String,
    /// Events that the log did not take.
    lost: u64,
    /// Somebody comes to empty it.
    is_expected: bool,
}

thread_local! {
    static HERE: RefCell<Option<Arc<Desk>>> = const { RefCell::new(None) };
}

impl Recorder {
    pub(crate) fn new(log: Option<Log>, options: &Options) -> Recorder {
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
                policy: ArcSwap::from_pointee(Policy::of(options, None)),
                desks: Mutex::default(),
            })
        });
        Recorder { book }
    }

    /// From now on bodies are recorded by the policy of these options.
    pub(crate) fn apply(&self, options: &Options) {
        if let Some(book) = &self.book {
            let policy = Policy::of(options, Some(&book.policy.load()));
            book.policy.store(Arc::new(policy));
            book.bodies.store(bodies(options) as u8, Ordering::Release);
        }
    }

    /// How bodies are recorded; `None` where they are not.
    pub(super) fn bodies(&self) -> Option<Arc<Policy>> {
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

    /// This thread's desk; `None` where nothing is recorded.
    pub(super) fn desk(&self) -> Option<Arc<Desk>> {
        let book = self.book.as_ref()?;
        let found = HERE.try_with(|here| {
            let mut here = here.borrow_mut();
            let desk = match here.take() {
                Some(desk) if desk.run == book.run => desk,
                _ => book.new_desk(),
            };
            Arc::clone(here.insert(desk))
        });
        // The thread is ending.
        Some(found.unwrap_or_else(|_| book.new_desk()))
    }

    /// Writes down everything and closes the log. What happens later is not recorded. Blocks on the disk.
    pub(crate) fn close(&self) {
        let Some(book) = &self.book else { return };
        for desk in book.desks().iter() {
            desk.post();
        }
        book.log.close();
    }
}

fn bodies(options: &Options) -> Bodies {
    let events = options.events.as_ref();
    events.map_or(Bodies::Off, |events| events.bodies)
}

impl Book {
    fn new_desk(&self) -> Arc<Desk> {
        let mut desks = self.desks();
        let number = desks.len() as u64;
        let desk = Arc::new(Desk {
            rounds: Arc::clone(&self.rounds),
            run: self.run,
            next: AtomicU64::new(number << 48),
            drawer: Mutex::default(),
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

    pub(super) fn put_call(self: &Arc<Self>, id: u128, trace: TraceId, level: Level, draft: Draft) {
        self.put(Some(id), Some(trace), CALL_KIND, level, draft);
    }

    pub(super) fn put_state(self: &Arc<Self>, kind: &str, level: Level, draft: Draft) {
        self.put(None, None, kind, level, draft);
    }

    fn put(
        self: &Arc<Self>,
        call: Option<u128>,
        trace: Option<TraceId>,
        kind: &str,
        level: Level,
        mut draft: Draft,
    ) {
        draft.close();
        let mut drawer = self.lock();
        let Drawer {
            batch,
            stream,
            task,
            lost,
            ..
        } = &mut *drawer;
        stream.clear();
        stream.push_str(STREAM);
        if let Some(server) = draft.server_name() {
            stream.push('.');
            stream.push_str(server);
        }
        task.clear();
        if let Some(id) = call {
            push_hex(task, &id.to_be_bytes());
        }
        let event = Event {
            time: time::unix_nanos(),
            tenant: TENANT,
            stream,
            task,
            kind,
            level,
            trace,
            id: None,
            format: Format::Json,
            body: &draft.json,
        };
        if let Err(unfit) = batch.push(&event) {
            tracing::error!(%unfit, "an event is missing from the log");
            *lost += 1;
        }
        let is_full = batch.len() >= POST_EVENTS || batch.bytes() >= POST_BYTES;
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
    /// that events are missing: then this desk is still to be visited.
    fn visit(&self) -> bool {
        let mut drawer = self.lock();
        drawer.hand_over(&self.rounds.log);
        drawer.is_expected = drawer.lost > 0;
        !drawer.is_expected
    }

    fn lock(&self) -> MutexGuard<'_, Drawer> {
        self.drawer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drawer {
    fn hand_over(&mut self, log: &Log) {
        if self.lost > 0 && log.post(gap(self.lost)).is_ok() {
            self.lost = 0;
        }
        if self.batch.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.batch, log.spare_batch());
        if let Err(Full(mut batch)) = log.post(batch) {
            if self.lost == 0 {
                tracing::warn!("the event log takes no more events; calls go on without being recorded");
            }
            self.lost += batch.len() as u64;
            batch.clear();
            self.batch = batch;
        }
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
            time::sleep(GAP_PAUSE).await;
            self.late.retain(|desk| !desk.visit());
        }
        self.is_over = true;
    }

    fn visit(&mut self) {
        let waiting = std::mem::take(&mut *self.rounds.waiting());
        self.late.extend(waiting);
        self.late.retain(|desk| !desk.visit());
    }
}

impl Drop for Round {
    fn drop(&mut self) {
        if !self.is_over {
            self.visit();
        }
    }
}

fn gap(lost: u64) -> Batch {
    let body = format!("{{\"lost\":{lost},\"reason\":\"the log's queue was full\"}}");
    let mut batch = Batch::new();
    let event = Event {
        time: time::unix_nanos(),
        tenant: TENANT,
        stream: LOG_STREAM,
        kind: GAP_KIND,
        level: Level::Error,
        format: Format::Json,
        body: body.as_bytes(),
        ..Event::default()
    };
    batch.push(&event).expect("the gap event keeps to the limits");
    batch
}

/// A number for this run of the gateway: seconds, so that ids ascend, and chance, so that no two runs share one.
fn run() -> u64 {
    use std::hash::BuildHasher as _;
    let chance = std::hash::RandomState::new().hash_one(time::unix_nanos());
    time::unix_seconds() << 32 | (chance >> 32)
}

/// A JSON object on its way to be an event's body.
#[derive(Debug)]
pub(super) struct Draft {
    json: Vec<u8>,
    /// Where the server's name stands.
    server: Option<(usize, usize)>,
}

impl Draft {
    pub(super) fn new() -> Draft {
        Draft {
            json: Vec::with_capacity(384),
            server: None,
        }
    }

    /// The first one's comma becomes the object's brace.
    fn key(&mut self, key: &str) {
        self.json.reserve(key.len() + ROOM_BYTES);
        self.json.extend_from_slice(b",\"");
        self.json.extend_from_slice(key.as_bytes());
        self.json.extend_from_slice(b"\":");
    }

    /// Nothing comes any more.
    fn close(&mut self) {
        match self.json.first_mut() {
            Some(comma) => *comma = b'{',
            None => self.json.push(b'{'),
        }
        self.json.push(b'}');
    }

    /// A value that is JSON.
    pub(super) fn raw(&mut self, key: &str, json: &[u8]) {
        self.key(key);
        self.json.extend_from_slice(json);
    }

    /// Any text, at most `bytes_max` bytes of it.
    pub(super) fn text(&mut self, key: &str, text: &str, bytes_max: usize) {
        self.key(key);
        push_quoted(&mut self.json, cut(text, bytes_max));
    }

    /// A text that needs no escapes.
    pub(super) fn word(&mut self, key: &str, word: &str) {
        self.key(key);
        self.json.push(b'"');
        self.json.extend_from_slice(word.as_bytes());
        self.json.push(b'"');
    }

    pub(super) fn number(&mut self, key: &str, number: u64) {
        self.raw(key, itoa::Buffer::new().format(number).as_bytes());
    }

    pub(super) fn signed(&mut self, key: &str, number: i64) {
        self.raw(key, itoa::Buffer::new().format(number).as_bytes());
    }

    pub(super) fn hex(&mut self, key: &str, number: u64) {
        let mut digits = String::with_capacity(16);
        push_hex(&mut digits, &number.to_be_bytes());
        self.word(key, &digits);
    }

    /// The server that the event is about. The first one that is named stays.
    pub(super) fn server(&mut self, name: &str) {
        if self.server.is_some() {
            return;
        }
        self.word("server", name);
        let end = self.json.len() - 1;
        self.server = Some((end - name.len(), end));
    }

    fn server_name(&self) -> Option<&str> {
        let (from, to) = self.server?;
        std::str::from_utf8(self.json.get(from..to)?).ok()
    }
}

fn push_hex(out: &mut String, bytes: &[u8]) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.push(char::from(HEX[usize::from(byte >> 4)]));
        out.push(char::from(HEX[usize::from(byte & 15)]));
    }
}

/// The first `bytes_max` bytes of a text, or fewer where that would cut a character.
pub(super) fn cut(text: &str, bytes_max: usize) -> &str {
    let mut end = text.len().min(bytes_max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.get(..end).unwrap_or_default()
}
