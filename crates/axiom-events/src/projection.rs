//! Projections: what the log's events come to, kept up to date, and events that follow from them.
//!
//! A [`Projection`] sums events up into states, one for each *partition* (a stream, a tenant, a task: what it says), and may
//! emit events of its own. A [`Runner`] follows the log for it and, now and then, commits: the states that have changed, what
//! was emitted and the position come into the log in **one** append, whole or not at all, on the condition that nobody else
//! has committed since. So each event has its effect exactly once, whatever ends the process and when: what was not
//! committed is done again, and none of it was to be seen. Of two runners of the same projection one goes on, and the other
//! ends with [`ProjectionError::Taken`] at its next commit.
//!
//! # In the log
//!
//! | stream | kind | body |
//! |---|---|---|
//! | `$projection.<name>` | `axiom.projection.checkpoint` | `version=1 position=4711 began=12 silent_until=0 lost=0` |
//! | `$projection.<name>.<partition>` | `axiom.projection.state` | what [`Projection::save`] gave |
//!
//! In a checkpoint `position` is the offset after the last event that counts, `began` the offset of the checkpoint with which
//! this version of the projection began (that one does not name it), and `lost` how many events could not be read. A state
//! from before `began` is another version's. A partition whose name is too long has `#` and its BLAKE3 hash in its stream's
//! name instead. Restarting reads the last checkpoint and then, of each partition that is needed, the last state.
//!
//! # When its code changes
//!
//! A projection with another [`version`](Projection::version) than the log knows is rebuilt from the log's first event. Up to
//! the position that the other version had come to (`silent_until`) it emits nothing: that has been emitted.
//!
//! # What it does not see
//!
//! Streams whose names begin with `$` are of things like this one, and are passed over unless the filter's stream prefix
//! begins with `$`, too. What a projection emits into other streams it does see, if its filter wants it.

mod machine;
mod run;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axiom_core::channel::watch;
use axiom_core::spawn;

use crate::append::AppendError;
use crate::at_least::{self, NotYet, Reached};
use crate::batch::Batch;
use crate::clock::Clock;
use crate::event::{Event, Recorded, Unfit};
use crate::follow::Filter;
use crate::log::Log;
use crate::read::Reader;
use crate::segment::ReadError;
use crate::streams::Conflict;

use machine::{Machine, Store};

pub use run::Runner;

/// The kind of an event that says how far a projection is.
pub const CHECKPOINT_KIND: &str = "axiom.projection.checkpoint";
/// The kind of an event that is the state of a partition.
pub const STATE_KIND: &str = "axiom.projection.state";

/// Bytes that a projection's name may have.
pub const NAME_BYTES_MAX: usize = 64;

/// How events are summed up. The same events in the same order must give the same states and emit the same events: no clock,
/// no chance, nothing from outside.
pub trait Projection: fmt::Debug + Send + Sync + 'static {
    /// What a partition's events come to. Before the first of them it is the default.
    type State: Default + Clone + fmt::Debug + Send + Sync + 'static;

    /// Part of the names of its streams: at most 64 bytes, and no full stop. No two projections of a log have the same.
    fn name(&self) -> &str;

    /// To be raised whenever other states or other bytes would come of the same events.
    fn version(&self) -> u32;

    /// Which events it is about.
    fn filter(&self) -> Filter {
        Filter::default()
    }

    /// The partition that an event belongs to; `None` if it is about none.
    fn partition<'a>(&self, recorded: &Recorded<'a>) -> Option<Cow<'a, str>>;

    /// What an event changes, and what follows from it.
    fn apply(&self, state: &mut Self::State, recorded: &Recorded<'_>, emit: &mut Emit);

    /// A state as bytes, at most 8 MiB.
    fn save(&self, state: &Self::State) -> Vec<u8>;

    /// The state that [`Projection::save`] made these bytes of; `None` if they are no such thing.
    fn load(&self, bytes: &[u8]) -> Option<Self::State>;
}

/// Where a projection puts the events that it emits.
#[derive(Debug, Default)]
pub struct Emit {
    batch: Batch,
    refused: Option<Unfit>,
    is_silent: bool,
    now: i64,
}

/// How a projection runs.
#[derive(Debug, Clone)]
pub struct ProjectionOptions {
    /// Events after which it commits.
    pub commit_events: u64,
    /// How long an event's effect may wait for its commit. Zero: until nothing more is there to be read at once. What is
    /// emitted comes into the log with the commit; states can be read before.
    pub commit_pause: Duration,
    /// How long it leaves the log alone when it has come to its end, unless somebody waits for a position. Events that come
    /// in ones and twos are then read together, which is cheaper by far.
    pub pace: Duration,
    /// Partitions that one commit may have. Where their states together, with what was emitted, do not fit into an append of
    /// 16 MiB, they are fewer.
    pub commit_partitions: usize,
    /// Partitions whose states are kept in memory; others are read from the log when they are needed.
    pub partitions_max: usize,
    /// Gives emitted events their time.
    pub clock: Clock,
}

impl Default for ProjectionOptions {
    fn default() -> ProjectionOptions {
        ProjectionOptions {
            commit_events: 8192,
            commit_pause: Duration::ZERO,
            pace: Duration::ZERO,
            commit_partitions: 512,
            partitions_max: 4096,
            clock: Clock::Wall,
        }
    }
}

/// Reads the states of a projection that runs. Cheap to clone.
#[derive(Debug)]
pub struct Projected<P: Projection> {
    shared: Arc<Shared<P>>,
}

/// What a runner and those who read its states share.
#[derive(Debug)]
struct Shared<P: Projection> {
    store: Store<P>,
    states: Mutex<States<P::State>>,
    at: watch::Sender<At>,
    /// The furthest position that somebody has waited for.
    wanted: watch::Sender<u64>,
}

/// How far a projection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct At {
    /// The offset after the last event that its states have in them. It goes back to what is committed where the states turn out
    /// to be too large for one commit.
    pub position: u64,
    /// The same, of what is committed.
    pub committed: u64,
    /// Events that could not be read, and are missing from its states. What was retired before it came to it is none of them.
    pub lost: u64,
    /// It has ended.
    pub is_closed: bool,
}

#[derive(Debug)]
struct States<S> {
    held: BTreeMap<Arc<str>, Held<S>>,
    /// Raised with every use.
    clock: u64,
    /// Where in the log the states are that this runner, or one before it, has committed: from where this version of the
    /// projection began up to the last commit that it knows of. What another runner commits meanwhile has events in it
    /// that this one is yet to count.
    kept: Range<u64>,
}

#[derive(Debug)]
struct Held<S> {
    state: S,
    used: u64,
    /// It has changed since the last commit.
    is_dirty: bool,
}

/// Why a projection cannot go on. What it had committed stays.
#[derive(Debug, thiserror::Error)]
pub enum ProjectionError {
    #[error(
        "{name:?} is no name for a projection: it must have 1 to {NAME_BYTES_MAX} bytes and no full stop"
    )]
    Name { name: String },
    #[error("projection {name:?} is taken: another runner has committed since; only one may run")]
    Taken { name: String, source: Conflict },
    #[error(
        "projection {name:?} does not understand its own state of partition {partition:?} at offset {offset}\nhint: raise its version, so that it is rebuilt"
    )]
    State {
        name: String,
        partition: String,
        offset: u64,
    },
    #[error("projection {name:?} says something about event {offset} that the log cannot take: {source}")]
    Unfit {
        name: String,
        offset: u64,
        source: Unfit,
    },
    #[error("projection {name:?} panicked at or behind event {position}; nothing of that is committed")]
    Panicked { name: String, position: u64 },
    #[error("projection {name:?} cannot commit: {source}")]
    Append { name: String, source: AppendError },
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Why a state cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    #[error(transparent)]
    NotYet(#[from] NotYet),
    #[error(transparent)]
    Projection(#[from] ProjectionError),
}

/// Makes a projection of a log. It does nothing until the [`Runner`] runs.
pub fn projection<P: Projection>(
    log: &Log,
    projection: P,
    options: ProjectionOptions,
) -> (Runner<P>, Projected<P>) {
    let shared = Arc::new(Shared::new(log.reader(), projection));
    let runner = Runner::new(log.clone(), Arc::clone(&shared), options);
    (runner, Projected { shared })
}

/// The states of a projection as of the end of what `reader` sees, whether it runs or not: from what it committed last, and
/// the events since. Changes nothing. Blocks on the disk, for as long as those events take, and holds every state that they
/// change in memory.
///
/// # Errors
/// When the disk does not give what is needed, or the projection does not understand its own state.
pub fn view<P: Projection>(reader: &Reader, projection: P) -> Result<Projected<P>, ProjectionError> {
    let shared = Arc::new(Shared::new(reader.clone(), projection));
    let mut machine = Machine::open(Arc::clone(&shared), ProjectionOptions::default())?;
    machine.catch_up()?;
    Ok(Projected { shared })
}

impl Emit {
    /// What was emitted and is not committed.
    #[cfg(test)]
    pub(crate) fn batch(&self) -> &Batch {
        &self.batch
    }

    /// Emits an event: it comes into the log with the next commit. Without a time it gets that of the runner's clock.
    ///
    /// One that exceeds a limit of the log is not emitted, and ends the runner with [`ProjectionError::Unfit`] before it
    /// commits: it is a defect of the projection.
    pub fn event(&mut self, event: &Event<'_>) {
        if self.is_silent {
            return;
        }
        let time = if event.time == 0 { self.now } else { event.time };
        let pushed = self.batch.push(&Event { time, ..*event });
        if let Err(unfit) = pushed {
            self.refused.get_or_insert(unfit);
        }
    }
}

impl<P: Projection> Projected<P> {
    /// How far it is.
    pub fn at(&self) -> At {
        *self.shared.at.borrow()
    }

    /// The state of a partition, and the position that it is as of: all events before it count, and maybe some behind it.
    ///
    /// # Errors
    /// When it must be read and the disk does not give it, or the projection does not understand it.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn state(&self, partition: &str) -> Result<(P::State, u64), ProjectionError> {
        let (held, position) = self.shared.held(partition);
        if let Some(state) = held {
            return Ok((state, position));
        }
        let shared = Arc::clone(&self.shared);
        let owned = partition.to_owned();
        let reading = spawn::blocking(move || shared.stored(&owned)).join();
        let read = reading.await.ok_or_else(|| ProjectionError::Panicked {
            name: self.shared.store.projection.name().to_owned(),
            position,
        })?;
        Ok((read?.unwrap_or_default(), position))
    }

    /// The state of a partition in which every event before `position` counts: after an append,
    /// [`Appended::position`](crate::Appended::position). Waits `patience` long at most.
    ///
    /// # Errors
    /// When the projection does not come so far in time or has ended, and as [`Projected::state`].
    ///
    /// # Cancel safety
    /// It only waits and reads.
    pub async fn state_at_least(
        &self,
        partition: &str,
        position: u64,
        patience: Duration,
    ) -> Result<(P::State, u64), StateError> {
        self.at_least(position, patience).await?;
        Ok(self.state(partition).await?)
    }

    /// Waits until every event before `position` counts, `patience` long at most.
    ///
    /// # Errors
    /// When the projection does not come so far in time, or has ended.
    ///
    /// # Cancel safety
    /// It only waits.
    pub async fn at_least(&self, position: u64, patience: Duration) -> Result<(), NotYet> {
        let who = format!("projection {:?}", self.shared.store.projection.name());
        self.shared.wanted.send_if_modified(|wanted| {
            let is_further = position > *wanted;
            *wanted = position.max(*wanted);
            is_further
        });
        at_least::wait(&who, self.shared.at.subscribe(), position, patience).await
    }

    /// The projection itself.
    pub fn projection(&self) -> &P {
        &self.shared.store.projection
    }
}

impl<P: Projection> Clone for Projected<P> {
    fn clone(&self) -> Projected<P> {
        Projected {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<P: Projection> Shared<P> {
    fn new(reader: Reader, projection: P) -> Shared<P> {
        Shared {
            store: Store { reader, projection },
            states: Mutex::new(States {
                held: BTreeMap::new(),
                clock: 0,
                kept: 0..0,
            }),
            at: watch::Sender::new(At::default()),
            wanted: watch::Sender::new(0),
        }
    }

    fn states(&self) -> MutexGuard<'_, States<P::State>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of a partition, if it is in memory, and a position that it is no older than.
    fn held(&self, partition: &str) -> (Option<P::State>, u64) {
        let states = self.states();
        let held = states.held.get(partition).map(|held| held.state.clone());
        (held, self.at.borrow().position)
    }

    /// The state of a partition that is not in memory. What is not in memory has no changes that are not committed.
    fn stored(&self, partition: &str) -> Result<Option<P::State>, ProjectionError> {
        let kept = self.states().kept.clone();
        self.store.state(partition, kept)
    }
}

impl Reached for At {
    fn position(&self) -> u64 {
        self.position
    }

    fn is_closed(&self) -> bool {
        self.is_closed
    }
}
