//! Runs a group: reads ahead, takes back what is held for too long, makes checkpoints.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::time::Instant;
use axiom_core::{Draining, spawn, time};

use crate::append::AppendError;
use crate::follow::{Delivered, Delivery, Follow, Passed};
use crate::log::Log;
use crate::segment::ReadError;

use super::ledger::{Ledger, Snapshot};
use super::store::ParkedKey;
use super::{Ended, GroupError, Shared, key_of};

/// Pause before a disk that failed is asked again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Parked messages that are read at once.
const REPLAY_MESSAGES: usize = 256;
/// Events without a message after which a checkpoint is made all the same: so many are read again after a restart.
const IDLE_EVENTS: u64 = 1 << 20;

/// Keeps a group going while it runs.
#[derive(Debug)]
pub struct GroupRunner {
    log: Log,
    shared: Arc<Shared>,
}

/// What the runner has in hand.
#[derive(Debug)]
struct Running {
    follow: Follow,
    /// The version of the last checkpoint.
    last: Option<u64>,
    /// Messages that were read and found no room: from the one at this place on.
    backlog: Option<(Arc<Delivered>, usize)>,
    /// Attempts from an earlier life.
    tries: HashMap<u64, u32>,
    /// How far was read at the last checkpoint, and when the first message was settled that it does not have.
    saved_read_to: u64,
    unsaved_since: Option<Instant>,
    /// Not before then is the disk asked again.
    not_before: Option<Instant>,
}

/// What is to be done next.
#[derive(Debug, PartialEq, Eq)]
enum Todo {
    Checkpoint,
    Replay(u64, usize),
    /// Nothing until then; and read on, if there is room.
    Wait {
        until: Option<Instant>,
        reads: bool,
    },
}

impl GroupRunner {
    pub(super) fn new(log: Log, shared: Arc<Shared>) -> GroupRunner {
        GroupRunner { log, shared }
    }

    /// Opens the group and gives out messages until a drain is asked for or the log is closed. Then it makes a last
    /// checkpoint, and consumers get no more. A disk that fails is asked again every second, for as long as it runs.
    ///
    /// # Errors
    /// See [`GroupError`]. What the last checkpoint says stays, and a new runner goes on from there.
    ///
    /// # Cancel safety
    /// Dropped, it is as after a crash: what was settled since the last checkpoint comes again. Dropped while it writes one,
    /// that may still come into the log after the next runner has opened the group, which then ends with
    /// [`GroupError::Taken`]: the one after it goes on.
    pub async fn run(self, mut draining: Draining) -> Result<(), GroupError> {
        let shared = Arc::clone(&self.shared);
        // Also when it is dropped: nobody must wait for it then.
        let mut closing = Closing {
            shared: Arc::clone(&shared),
            ended: Ended::Failed("its runner was dropped".into()),
        };
        let outcome = self.go_on(&mut draining).await;
        closing.ended = match &outcome {
            Ok(()) => Ended::InOrder,
            Err(error) => {
                tracing::error!(group = shared.options.name, %error, "a subscription group has ended");
                Ended::Failed(error.to_string().into())
            }
        };
        outcome
    }

    async fn go_on(&self, draining: &mut Draining) -> Result<(), GroupError> {
        let Some(mut running) = self.open(draining).await? else {
            return Ok(());
        };
        loop {
            if draining.is_asked() {
                return self.checkpoint(&mut running, true).await.map(|_| ());
            }
            match self.next(&mut running) {
                Todo::Checkpoint if !self.checkpoint(&mut running, false).await? => return Ok(()),
                Todo::Checkpoint => {}
                Todo::Replay(from, count_max) => {
                    if let Err(error) = self.replay(from, count_max).await {
                        let group = &self.shared.options.name;
                        tracing::warn!(group, %error, "a subscription group cannot read what is parked; trying again");
                        running.pause();
                    }
                }
                Todo::Wait { until, reads } => {
                    tokio::select! {
                        // cancel-safe: it only waits.
                        () = draining.asked() => {}
                        // cancel-safe: a notification that was not taken stays.
                        () = self.shared.changed.notified() => {}
                        // cancel-safe: a timer.
                        () = wait_until(until) => {}
                        // cancel-safe: see `Follow::next`.
                        passed = running.follow.step(), if reads => match passed {
                            Ok(Some(passed)) => self.take(&mut running, passed),
                            // The log was closed, and with it the way to write a checkpoint.
                            Ok(None) => return Ok(()),
                            Err(error) => {
                                let group = &self.shared.options.name;
                                tracing::warn!(group, %error, "a subscription group cannot read on; trying again");
                                running.pause();
                            }
                        },
                    }
                }
            }
        }
    }

    /// Opens the group as soon as the disk lets it; `None` when a drain was asked for before that.
    async fn open(&self, draining: &mut Draining) -> Result<Option<Running>, GroupError> {
        loop {
            let error = match self.try_to_open().await {
                Err(error) if error.is_of_disk() => error,
                outcome => return outcome.map(Some),
            };
            let group = &self.shared.options.name;
            tracing::warn!(group, %error, "a subscription group cannot be opened; trying again");
            tokio::select! {
                // cancel-safe: both only wait.
                () = draining.asked() => return Ok(None),
                () = time::sleep(RETRY_PAUSE) => {}
            }
        }
    }

    /// Reads what the log knows of the group, and writes that it has a new owner.
    async fn try_to_open(&self) -> Result<Running, GroupError> {
        let shared = Arc::clone(&self.shared);
        let loading = spawn::blocking(move || shared.store.load(&shared.options)).join();
        let loaded = loading.await.unwrap_or(Err(ReadError::Panicked.into()));
        let (snapshot, last, keys) = loaded?;
        let last = self.write(&snapshot, last, None).await?;
        let options = &self.shared.options;
        let position = snapshot.position;
        let follow = self.shared.store.reader.follow(position, options.filter.clone());
        {
            let mut inner = self.shared.lock();
            inner.ledger = Some(Ledger::new(options, &snapshot, &keys));
            for early in std::mem::take(&mut inner.early) {
                early.notify_one();
            }
        }
        Ok(Running {
            follow,
            last,
            backlog: None,
            tries: snapshot.tries.iter().copied().collect(),
            saved_read_to: position,
            unsaved_since: None,
            not_before: None,
        })
    }

    fn next(&self, running: &mut Running) -> Todo {
        let options = &self.shared.options;
        let now = time::now();
        let mut inner = self.shared.lock();
        inner.ledger.as_mut().expect("it is open").expire(now);
        self.feed(running, inner.ledger.as_mut().expect("it is open"));
        self.shared.dispatch(&mut inner);
        let is_asked = inner.asked > self.shared.saved.borrow().requests;
        let ledger = inner.ledger.as_ref().expect("it is open");
        if ledger.unsaved() > 0 {
            running.unsaved_since.get_or_insert(now);
        }
        let due = running
            .unsaved_since
            .map(|since| since + options.checkpoint_pause);
        let is_due = due.is_some_and(|due| due <= now)
            || ledger.unsaved() >= options.checkpoint_messages
            || ledger.is_stuck()
            || ledger.read_to() - running.saved_read_to >= IDLE_EVENTS;
        let pause = running.not_before.filter(|not_before| *not_before > now);
        if pause.is_none() && (is_asked || is_due) {
            return Todo::Checkpoint;
        }
        let room = ledger.room();
        let parked = ledger.parked;
        if pause.is_none() && room > 0 && parked.from < parked.replay_to {
            return Todo::Replay(parked.from, room.min(REPLAY_MESSAGES));
        }
        let until = [pause.or(due), ledger.wake_at(now)].into_iter().flatten().min();
        let reads = pause.is_none() && running.backlog.is_none() && room > 0;
        inner.is_full = running.backlog.is_some() || room == 0;
        inner.saves_soon = due.is_some();
        inner.wakes_at = until;
        Todo::Wait { until, reads }
    }

    /// Takes in what was read, as far as there is room.
    fn feed(&self, running: &mut Running, ledger: &mut Ledger) {
        let Some((delivered, mut place)) = running.backlog.take() else {
            return;
        };
        let options = &self.shared.options;
        let offsets = delivered.offsets();
        while let Some(offset) = offsets.get(place) {
            if ledger.room() == 0 {
                running.backlog = Some((delivered, place));
                return;
            }
            place += 1;
            let Some(recorded) = delivered.event(*offset) else {
                continue;
            };
            if recorded.event.stream.starts_with('$') && !options.filter.stream_prefix.starts_with('$') {
                continue;
            }
            let attempts = running.tries.remove(offset).unwrap_or(0);
            ledger.take(*offset, key_of(options.strategy, &recorded.event), attempts);
        }
        ledger.pass(delivered.end());
    }

    fn take(&self, running: &mut Running, passed: Passed) {
        match passed {
            Passed::Delivery(Delivery::Events(delivered)) => {
                running.backlog = Some((Arc::new(delivered), 0));
            }
            Passed::Delivery(Delivery::Gap(gap)) => {
                let group = &self.shared.options.name;
                let lost = gap.end - gap.start;
                tracing::warn!(
                    group,
                    from_offset = gap.start,
                    lost,
                    "events cannot be read; a subscription group goes on without them"
                );
                if let Some(ledger) = &mut self.shared.lock().ledger {
                    ledger.totals.lost += lost;
                    ledger.pass(gap.end);
                }
            }
            Passed::Unwanted => {
                if let Some(ledger) = &mut self.shared.lock().ledger {
                    ledger.pass(running.follow.position());
                }
            }
        }
    }

    /// Takes in parked messages that are to be given out again.
    async fn replay(&self, from: u64, count_max: usize) -> Result<(), ReadError> {
        let store = self.shared.store.clone();
        let strategy = self.shared.options.strategy;
        let reading = spawn::blocking(move || store.parked_keys(from, count_max, strategy)).join();
        let parked = reading.await.unwrap_or(Err(ReadError::Panicked))?;
        let mut inner = self.shared.lock();
        let ledger = inner.ledger.as_mut().expect("it is open");
        let until = ledger.parked.replay_to;
        let first = parked.first().map_or(until, |parked| parked.version.min(until));
        ledger.lose_parked(first);
        for ParkedKey { version, offset, key } in parked {
            if key.is_none() {
                let group = &self.shared.options.name;
                tracing::warn!(group, offset, "a parked message cannot be read any more");
            }
            ledger.replay(version, key.map(|key| (offset, key)));
        }
        self.shared.dispatch(&mut inner);
        Ok(())
    }

    /// False when the log was closed: what is not in it comes again.
    async fn checkpoint(&self, running: &mut Running, is_last: bool) -> Result<bool, GroupError> {
        let (snapshot, read_to, asked) = {
            let mut inner = self.shared.lock();
            inner.is_closing = is_last;
            let ledger = inner.ledger.as_mut().expect("it is open");
            if is_last {
                ledger.close();
            }
            (ledger.snapshot(), ledger.read_to(), inner.asked)
        };
        running.unsaved_since = None;
        match self.write(&snapshot, running.last, Some(&running.tries)).await {
            Ok(last) => {
                running.last = last;
                running.saved_read_to = read_to;
                running.not_before = None;
            }
            Err(GroupError::Append {
                source: AppendError::Closed,
                ..
            }) => return Ok(false),
            Err(error) if !is_last && error.is_of_disk() => {
                let group = &self.shared.options.name;
                tracing::warn!(group, %error, "a subscription group cannot write a checkpoint; trying again");
                running.pause();
                return Ok(true);
            }
            Err(error) => return Err(error),
        }
        let mut inner = self.shared.lock();
        if let Some(ledger) = &mut inner.ledger {
            ledger.saved(&snapshot);
        }
        self.shared.dispatch(&mut inner);
        drop(inner);
        self.shared.saved.send_modify(|saved| saved.requests = asked);
        Ok(true)
    }

    /// Writes a checkpoint; gives its version.
    async fn write(
        &self,
        snapshot: &Snapshot,
        last: Option<u64>,
        earlier: Option<&HashMap<u64, u32>>,
    ) -> Result<Option<u64>, GroupError> {
        let name = self.shared.options.name.clone();
        let mut snapshot = snapshot.clone();
        // Attempts of messages that were not read again yet.
        let earlier = earlier.into_iter().flatten();
        snapshot
            .tries
            .extend(earlier.map(|(offset, attempts)| (*offset, *attempts)));
        let (store, time) = (self.shared.store.clone(), self.shared.options.clock.now());
        let making = spawn::blocking(move || store.append(&snapshot, last, time)).join();
        let append = making.await.unwrap_or(Err(ReadError::Panicked))?;
        match self.log.append(append).await {
            Ok(_) => Ok(Some(last.map_or(0, |last| last + 1))),
            Err(AppendError::Conflict(source)) => Err(GroupError::Taken { name, source }),
            Err(source) => Err(GroupError::Append { name, source }),
        }
    }
}

impl Running {
    /// The disk is left alone for a while.
    fn pause(&mut self) {
        self.not_before = Some(time::now() + RETRY_PAUSE);
    }
}

async fn wait_until(until: Option<Instant>) {
    match until {
        Some(until) => time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

/// Tells everybody that the group has ended.
struct Closing {
    shared: Arc<Shared>,
    ended: Ended,
}

impl Drop for Closing {
    fn drop(&mut self) {
        let mut inner = self.shared.lock();
        inner.ended = Some(self.ended.clone());
        let early = std::mem::take(&mut inner.early);
        for woken in inner.wakers.iter().map(|(_, woken)| woken).chain(&early) {
            woken.notify_one();
        }
        drop(inner);
        self.shared.saved.send_modify(|saved| saved.is_last = true);
    }
}
