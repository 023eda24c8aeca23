//! Subscription groups: several consumers share the events of a log, and the log remembers what became of each.
//!
//! A [`Group`] follows the log from where it was and gives each wanted event, a *message*, to one of its [`Consumer`]s. The
//! consumer says what became of it: done ([`Message::ack`]), to be tried again, to be skipped, or to be *parked*, aside, for
//! people to look at and to be given out again when they say so. A message that nobody answers for in time, or whose
//! consumer goes away, goes to another one; after some attempts it is parked.
//!
//! # What is promised
//!
//! *At least once.* Nothing is forgotten that was not settled. Progress comes into the log as checkpoints, every
//! [`checkpoint_messages`](GroupOptions::checkpoint_messages) settled messages or
//! [`checkpoint_pause`](GroupOptions::checkpoint_pause), whichever is first. After a crash, what was settled since the last
//! checkpoint comes again, and nothing else: no more than twice `checkpoint_messages` and the messages that were in flight,
//! since nothing more is given out before a checkpoint that is so far behind. After [`Group::checkpoint`] has returned,
//! nothing that was settled before comes again. Parking, and the checkpoint that says so, are one append: a parked message is
//! neither lost nor given out as well.
//!
//! *Order* is kept only by [`Strategy::Pinned`]: of one task, or stream, the next message is given out when the one before is
//! settled or parked, also over attempts. With [`Strategy::Single`] and `in_flight_max = 1` it is kept as far as nothing is
//! tried again.
//!
//! *One owner.* Opening a group writes a checkpoint on the condition that nobody else did since it was read, and every
//! checkpoint has that condition. So the newest owner goes on, and the one before it ends with [`GroupError::Taken`] at its
//! next checkpoint; until then both may give out the same messages.
//!
//! Attempts are counted in checkpoints, too: after a crash those since the last one are forgotten.
//!
//! # In the log
//!
//! | stream | kind | body |
//! |---|---|---|
//! | `$group.<name>` | `axiom.group.checkpoint` | `position=… done=… again=… tries=… parked_from=… replay_to=… acked=… …` |
//! | `$group.<name>.parked` | `axiom.group.parked` | `offset=4711 attempts=5 stream=orders reason=…`, and the message's tenant, task and trace |
//!
//! Every message before `position` is settled or parked. `done` are settled ones behind it, as differences to it; `again`
//! those that were parked, are given out again and are not settled, with their attempts; `tries` the attempts of others. In
//! the stream of parked messages those with versions from `parked_from` on are parked, and those before `replay_to` are on
//! their way out again.
//!
//! Streams whose names begin with `$` are passed over unless the filter's stream prefix begins with `$`, too.

mod ledger;
mod run;
mod store;

use std::hash::BuildHasher as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axiom_core::channel::watch;
use axiom_core::time::Instant;
use axiom_core::{spawn, time};
use tokio::sync::Notify;

use crate::append::AppendError;
use crate::clock::Clock;
use crate::event::{Event, Recorded};
use crate::find::Hit;
use crate::follow::Filter;
use crate::log::Log;
use crate::segment::ReadError;
use crate::streams::Conflict;
use crate::temporal::Moment;

use ledger::{Delivery, Ledger, Verdict};
use store::Store;

pub use run::GroupRunner;

/// The kind of an event that says how far a group is.
pub const CHECKPOINT_KIND: &str = "axiom.group.checkpoint";
/// The kind of an event that says that a message was parked, and why.
pub const PARKED_KIND: &str = "axiom.group.parked";

/// Bytes that a group's name may have.
pub const NAME_BYTES_MAX: usize = 64;
/// Consumers that a group may have: each message is offered to them in turn.
pub const CONSUMERS_MAX: usize = 1024;

/// Who gets a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Those who ask, in turn.
    RoundRobin,
    /// The consumer that came first, as long as it is there; then the one that came after it.
    Single,
    /// The same consumer for all messages that have this in common, in their order, one after the other. When consumers come
    /// and go, no more move than must.
    Pinned(Correlation),
}

/// What messages that belong together have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Correlation {
    Task,
    Stream,
}

/// How a group works. All but the name and the strategy may change from one opening to the next; another filter holds for
/// what was not read yet.
#[derive(Debug, Clone)]
pub struct GroupOptions {
    /// Part of the names of its streams: at most 64 bytes, and no full stop.
    pub name: String,
    /// Which events are its messages.
    pub filter: Filter,
    /// Where a group begins that the log does not know yet.
    pub from: Moment,
    pub strategy: Strategy,
    /// Messages that a consumer may have taken and not settled; then it gets no more.
    pub in_flight_max: usize,
    /// Messages that are remembered at once: waiting, in flight, or settled behind one that is not. Then nothing more is
    /// read until the oldest is settled or parked.
    pub buffer_max: usize,
    /// How long a consumer may have a message. Then it goes to another one.
    pub message_timeout: Duration,
    /// How long a message waits that was given back to be tried again.
    pub retry_pause: Duration,
    /// How often a message is given out before it is parked.
    pub attempts_max: u32,
    /// Settled messages after which a checkpoint is made.
    pub checkpoint_messages: u64,
    /// How long a settled message waits for its checkpoint at most.
    pub checkpoint_pause: Duration,
    /// Gives checkpoints and parked messages their time.
    pub clock: Clock,
}

impl GroupOptions {
    pub fn new(name: impl Into<String>) -> GroupOptions {
        GroupOptions {
            name: name.into(),
            filter: Filter::default(),
            from: Moment::Offset(0),
            strategy: Strategy::RoundRobin,
            in_flight_max: 16,
            buffer_max: 1024,
            message_timeout: Duration::from_secs(30),
            retry_pause: Duration::from_secs(1),
            attempts_max: 10,
            checkpoint_messages: 256,
            checkpoint_pause: Duration::from_secs(1),
            clock: Clock::Wall,
        }
    }
}

/// A group that is open. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Group {
    shared: Arc<Shared>,
}

/// One who works on a group's messages. When it is dropped, the messages that it has not settled go to others.
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    id: u64,
    woken: Arc<Notify>,
}

/// An event that a consumer is to work on. Dropped without a word, it is tried again.
#[derive(Debug)]
pub struct Message {
    shared: Arc<Shared>,
    given: Delivery,
    hit: Hit,
    is_settled: bool,
}

/// A message that was put aside.
#[derive(Debug, Clone)]
pub struct ParkedMessage {
    /// Its place among the parked ones.
    pub version: u64,
    /// Nanoseconds since 1970.
    pub parked_at: i64,
    /// Of the event.
    pub offset: u64,
    pub attempts: u64,
    pub reason: String,
    /// `None` if it cannot be read any more.
    pub event: Option<Hit>,
}

/// How a group is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GroupStatus {
    /// The offset from which on nothing was read yet.
    pub read_to: u64,
    /// Events of the log behind that, wanted or not.
    pub behind: u64,
    pub waiting: usize,
    pub in_flight: usize,
    pub consumers: usize,
    /// Settled messages that are in no checkpoint yet.
    pub unsaved: u64,
    /// Messages that are parked now.
    pub parked: u64,
    /// Messages since the group was made.
    pub acked_total: u64,
    pub skipped_total: u64,
    pub parked_total: u64,
    /// Events that could not be read any more.
    pub lost_total: u64,
}

/// The message was held for too long, or its group has ended: somebody else has it or will have it, and what was said of it
/// does not count.
#[derive(Debug, Clone, Copy, thiserror::Error, PartialEq, Eq)]
#[error(
    "message {offset} was held for longer than the group's message_timeout, or the group has ended; it is given out again"
)]
pub struct Late {
    pub offset: u64,
}

/// Why a group cannot be opened, or cannot go on. What its last checkpoint says stays.
#[derive(Debug, thiserror::Error)]
pub enum GroupError {
    #[error("{name:?} is no name for a group: it must have 1 to {NAME_BYTES_MAX} bytes and no full stop")]
    Name { name: String },
    #[error("group {name:?} is taken: it was opened by another owner since; only one may go on")]
    Taken { name: String, source: Conflict },
    #[error(
        "group {name:?} does not understand its own checkpoint at offset {offset}: a newer version wrote it, or none"
    )]
    NotUnderstood { name: String, offset: u64 },
    #[error("group {name:?} cannot write a checkpoint: {source}")]
    Append { name: String, source: AppendError },
    #[error("group {name:?} has {CONSUMERS_MAX} consumers, and takes no more")]
    TooManyConsumers { name: String },
    /// Somebody who waits for it is told so; its runner says why in full.
    #[error("group {name:?} has ended: {why}")]
    Ended { name: String, why: Arc<str> },
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl GroupError {
    /// Whether it is the disk's, which may do better the next time.
    fn is_of_disk(&self) -> bool {
        matches!(
            self,
            GroupError::Read(_)
                | GroupError::Append {
                    source: AppendError::Disk { .. },
                    ..
                }
        )
    }
}

/// What the runner, consumers and whoever asks share.
#[derive(Debug)]
struct Shared {
    store: Store,
    options: GroupOptions,
    inner: Mutex<Inner>,
    /// Something has changed that the runner must see to.
    changed: Notify,
    saved: watch::Sender<Saved>,
}

/// What has become of requests for a checkpoint.
#[derive(Debug, Clone, Copy, Default)]
struct Saved {
    /// How many have been fulfilled.
    requests: u64,
    /// No more will be.
    is_last: bool,
}

#[derive(Debug, Default)]
struct Inner {
    /// `None` before the group is open.
    ledger: Option<Ledger>,
    /// Consumers and how they are woken.
    wakers: Vec<(u64, Arc<Notify>)>,
    /// Those that came before it was open.
    early: Vec<Arc<Notify>>,
    ended: Option<Ended>,
    /// The last checkpoint is being written: what is said from now on would not be in it.
    is_closing: bool,
    /// Requests for a checkpoint so far.
    asked: u64,
    /// The runner knows of something that is settled, and saves it in time.
    saves_soon: bool,
    /// The runner stopped reading because there was no room.
    is_full: bool,
    /// Until then the runner sleeps if nobody wakes it.
    wakes_at: Option<Instant>,
}

#[derive(Debug, Clone)]
enum Ended {
    InOrder,
    Failed(Arc<str>),
}

/// Makes a group of a log. It is not open until the [`GroupRunner`] runs.
///
/// # Errors
/// [`GroupError::Name`].
pub fn group(log: &Log, options: GroupOptions) -> Result<(GroupRunner, Group), GroupError> {
    let name = options.name.clone();
    if name.is_empty() || name.len() > NAME_BYTES_MAX || name.contains('.') {
        return Err(GroupError::Name { name });
    }
    let store = Store {
        reader: log.reader(),
        name,
    };
    let shared = Arc::new(Shared {
        store,
        options,
        inner: Mutex::default(),
        changed: Notify::new(),
        saved: watch::Sender::new(Saved::default()),
    });
    let runner = GroupRunner::new(log.clone(), Arc::clone(&shared));
    Ok((runner, Group { shared }))
}

impl Group {
    /// Adds a consumer. It gets messages as soon as the group is open.
    ///
    /// # Errors
    /// When the group has ended, or has [`CONSUMERS_MAX`] already.
    ///
    /// # Cancel safety
    /// Dropped, there is no consumer.
    pub async fn subscribe(&self) -> Result<Consumer, GroupError> {
        let woken = Arc::new(Notify::new());
        loop {
            {
                let mut inner = self.shared.lock();
                if let Some(ended) = &inner.ended {
                    return Err(self.shared.ended(ended));
                }
                if let Some(ledger) = &mut inner.ledger {
                    if ledger.consumers() >= CONSUMERS_MAX {
                        let name = self.shared.options.name.clone();
                        return Err(GroupError::TooManyConsumers { name });
                    }
                    let id = ledger.join();
                    inner.wakers.push((id, Arc::clone(&woken)));
                    return Ok(Consumer {
                        shared: Arc::clone(&self.shared),
                        id,
                        woken,
                    });
                }
                inner.early.push(Arc::clone(&woken));
            }
            // cancel-safe: it only waits.
            woken.notified().await;
        }
    }

    /// How it is; `None` before it is open.
    pub fn status(&self) -> Option<GroupStatus> {
        let end = self.shared.store.reader.end();
        let inner = self.shared.lock();
        let ledger = inner.ledger.as_ref()?;
        let (in_flight, waiting) = ledger.in_hand();
        Some(GroupStatus {
            read_to: ledger.read_to(),
            behind: end.saturating_sub(ledger.read_to()),
            waiting,
            in_flight,
            consumers: ledger.consumers(),
            unsaved: ledger.unsaved(),
            parked: ledger.parked.count(),
            acked_total: ledger.totals.acked,
            skipped_total: ledger.totals.skipped,
            parked_total: ledger.totals.parked,
            lost_total: ledger.totals.lost,
        })
    }

    /// Messages that are parked now, oldest first, `count_max` at most; those with versions from `from` on.
    ///
    /// # Errors
    /// When the disk does not give them.
    pub async fn parked(&self, from: u64, count_max: usize) -> Result<Vec<ParkedMessage>, GroupError> {
        let first = {
            let inner = self.shared.lock();
            let ledger = inner.ledger.as_ref();
            ledger.map_or(0, |ledger| ledger.parked.from)
        };
        let store = self.shared.store.clone();
        let reading = spawn::blocking(move || store.parked(from.max(first), count_max)).join();
        Ok(reading.await.unwrap_or(Err(ReadError::Panicked))?)
    }

    /// Gives all messages out again that are parked now, oldest first, as if they had never been tried; says how many. What
    /// is parked from now on stays parked. It returns when the log knows of it.
    ///
    /// # Errors
    /// When the group has ended before.
    ///
    /// # Cancel safety
    /// Dropped, it happens or not.
    pub async fn replay_parked(&self) -> Result<u64, GroupError> {
        self.change(Ledger::replay_all).await
    }

    /// Gives up the oldest parked messages for good, `count_max` at most; says how many. It returns when the log knows of it.
    ///
    /// # Errors
    /// When the group has ended before.
    ///
    /// # Cancel safety
    /// Dropped, it happens or not.
    pub async fn discard_parked(&self, count_max: u64) -> Result<u64, GroupError> {
        self.change(|ledger| ledger.discard(count_max)).await
    }

    /// Makes a checkpoint now. When it returns, nothing that was settled before comes again, whatever happens.
    ///
    /// # Errors
    /// When the group has ended before.
    ///
    /// # Cancel safety
    /// Dropped, it happens or not.
    pub async fn checkpoint(&self) -> Result<(), GroupError> {
        self.change(|_| ()).await
    }

    async fn change<T>(&self, change: impl FnOnce(&mut Ledger) -> T) -> Result<T, GroupError> {
        let (changed, asked) = {
            let mut inner = self.shared.lock();
            if let Some(ended) = &inner.ended {
                return Err(self.shared.ended(ended));
            }
            let Some(ledger) = &mut inner.ledger else {
                return Err(self.shared.ended(&Ended::Failed("it is not open yet".into())));
            };
            let changed = change(ledger);
            inner.asked += 1;
            (changed, inner.asked)
        };
        self.shared.changed.notify_one();
        let mut saved = self.shared.saved.subscribe();
        let is_known = |saved: &Saved| saved.requests >= asked || saved.is_last;
        // cancel-safe: it only waits. The sender lives as long as we do.
        let known = saved.wait_for(is_known).await.map(|saved| *saved);
        match known {
            Ok(saved) if saved.requests >= asked => Ok(changed),
            Ok(_) | Err(_) => {
                let inner = self.shared.lock();
                let ended = inner.ended.clone().unwrap_or(Ended::InOrder);
                Err(self.shared.ended(&ended))
            }
        }
    }
}

impl Consumer {
    /// The next message; `None` when the group has ended in order. Waits while there is none, and while this consumer has as
    /// many unsettled ones as it may.
    ///
    /// # Errors
    /// When the group has failed, or the disk does not give the event; then it is given out again.
    ///
    /// # Cancel safety
    /// Dropped, nothing was delivered: the message goes to whoever asks next, and it is no attempt.
    pub async fn next(&mut self) -> Result<Option<Message>, GroupError> {
        let asking = Asking {
            shared: Arc::clone(&self.shared),
            id: self.id,
        };
        loop {
            let given = {
                let mut inner = self.shared.lock();
                match &inner.ended {
                    Some(Ended::InOrder) => return Ok(None),
                    Some(ended) => return Err(self.shared.ended(ended)),
                    None => {}
                }
                let ledger = inner.ledger.as_mut().expect("it was open when we subscribed");
                ledger.ask(self.id);
                self.shared.dispatch(&mut inner);
                inner.ledger.as_ref().and_then(|ledger| ledger.slot(self.id))
            };
            let Some(given) = given else {
                // cancel-safe: it only waits, and a wake-up that comes before is kept.
                self.woken.notified().await;
                continue;
            };
            let read = self.read(given.offset).await?;
            let mut inner = self.shared.lock();
            let Some(ledger) = &mut inner.ledger else {
                continue;
            };
            if !ledger.take_slot(self.id, given) {
                continue;
            }
            let Some(hit) = read else {
                tracing::warn!(
                    group = self.shared.options.name,
                    offset = given.offset,
                    "a message's event cannot be read any more; the group goes on without it"
                );
                ledger.lose(given.offset);
                self.shared.has_settled(&mut inner);
                continue;
            };
            drop(inner);
            drop(asking);
            return Ok(Some(Message {
                shared: Arc::clone(&self.shared),
                given,
                hit,
                is_settled: false,
            }));
        }
    }

    async fn read(&self, offset: u64) -> Result<Option<Hit>, GroupError> {
        let reader = self.shared.store.reader.clone();
        if let Some(hit) = reader.cached(offset) {
            return Ok(Some(hit));
        }
        let reading = spawn::blocking(move || reader.event(offset)).join();
        Ok(reading.await.unwrap_or(Err(ReadError::Panicked))?)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        inner.wakers.retain(|(id, _)| *id != self.id);
        if let Some(ledger) = &mut inner.ledger {
            ledger.leave(self.id, time::now());
            self.shared.has_settled(&mut inner);
        }
    }
}

/// A consumer that waits for a message, for as long as it waits.
struct Asking {
    shared: Arc<Shared>,
    id: u64,
}

impl Drop for Asking {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        if let Some(ledger) = &mut inner.ledger {
            ledger.quiet(self.id);
            self.shared.dispatch(&mut inner);
        }
    }
}

impl Message {
    pub fn recorded(&self) -> Recorded<'_> {
        self.hit.recorded()
    }

    /// Which attempt this is, from 1.
    pub fn attempt(&self) -> u32 {
        self.given.attempt
    }

    /// It is done.
    ///
    /// # Errors
    /// When it was held for too long, or the group has ended: it may come again.
    pub fn ack(self) -> Result<(), Late> {
        self.settle(Verdict::Ack)
    }

    /// It is not to be done.
    ///
    /// # Errors
    /// As [`Message::ack`].
    pub fn skip(self) -> Result<(), Late> {
        self.settle(Verdict::Skip)
    }

    /// It is to be tried again, after [`GroupOptions::retry_pause`]; or parked, if it was tried often enough.
    ///
    /// # Errors
    /// As [`Message::ack`].
    pub fn retry(self, reason: impl Into<String>) -> Result<(), Late> {
        self.settle(Verdict::Retry(reason.into()))
    }

    /// It is to be put aside.
    ///
    /// # Errors
    /// As [`Message::ack`].
    pub fn park(self, reason: impl Into<String>) -> Result<(), Late> {
        self.settle(Verdict::Park(reason.into()))
    }

    fn settle(mut self, verdict: Verdict) -> Result<(), Late> {
        self.is_settled = true;
        self.shared.settle(self.given, verdict)
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        if !self.is_settled {
            let verdict = Verdict::Retry("its consumer dropped it".to_owned());
            // Late, it is with somebody else already.
            let _late = self.shared.settle(self.given, verdict).is_err();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settle(&self, given: Delivery, verdict: Verdict) -> Result<(), Late> {
        let mut inner = self.lock();
        let offset = given.offset;
        if inner.ended.is_some() || inner.is_closing {
            return Err(Late { offset });
        }
        let ledger = inner.ledger.as_mut().ok_or(Late { offset })?;
        ledger.settle(given, verdict, time::now())?;
        self.has_settled(&mut inner);
        Ok(())
    }

    /// Somebody may get a message now, and the runner may have to know.
    fn has_settled(&self, inner: &mut Inner) {
        self.dispatch(inner);
        let Some(ledger) = &inner.ledger else { return };
        let unsaved = ledger.unsaved();
        let is_news = (unsaved > 0 && !inner.saves_soon) || unsaved >= self.options.checkpoint_messages;
        let may_read_on = inner.is_full && (ledger.room() > 0 || ledger.is_stuck());
        if is_news || may_read_on || self.must_wake(inner) {
            self.changed.notify_one();
        }
    }

    /// Gives messages to those who ask.
    fn dispatch(&self, inner: &mut Inner) {
        if inner.is_closing {
            return;
        }
        let Some(ledger) = &mut inner.ledger else { return };
        let now = time::now();
        let given = ledger.dispatch(now);
        for id in &given {
            if let Some((_, woken)) = inner.wakers.iter().find(|(known, _)| known == id) {
                woken.notify_one();
            }
        }
        if !given.is_empty() && self.must_wake(inner) {
            self.changed.notify_one();
        }
    }

    /// Whether there is something to do before the runner wakes up by itself.
    fn must_wake(&self, inner: &Inner) -> bool {
        let Some(ledger) = &inner.ledger else { return false };
        match (ledger.wake_at(time::now()), inner.wakes_at) {
            (Some(needed), Some(planned)) => needed < planned,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }

    fn ended(&self, ended: &Ended) -> GroupError {
        GroupError::Ended {
            name: self.options.name.clone(),
            why: match ended {
                Ended::InOrder => "it was asked to".into(),
                Ended::Failed(why) => Arc::clone(why),
            },
        }
    }
}

/// What an event has in common with others that belong to it.
fn key_of(strategy: Strategy, event: &Event<'_>) -> u64 {
    let name = match strategy {
        Strategy::Pinned(Correlation::Task) => event.task,
        Strategy::Pinned(Correlation::Stream) => event.stream,
        Strategy::RoundRobin | Strategy::Single => return 0,
    };
    foldhash::fast::FixedState::default().hash_one(name)
}
