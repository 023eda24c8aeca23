//! Sagas: what takes several steps at several places, each of which may fail, and is undone where it cannot be finished.
//!
//! A [`Saga`] hears of events and sends *commands*, which are events, too: workers take them from their streams, for example
//! as a [group](crate::group), do what they say, and record how it went. Each thing that a saga sees through, a trip, an
//! order, is an *instance* with a state of its own. With every step that was done the saga notes how it is undone
//! ([`Steps::undo_with`]). When it fails ([`Steps::fail`]), these commands are sent in reverse order, each when the one before
//! was confirmed ([`Steps::undone`]). A time by which something must have happened is an event in the log
//! ([`Steps::set_timeout`]), so it passes whether the process lives or not.
//!
//! # What is promised
//!
//! It is built on [`projection`](crate::projection)s: the new state of an instance, the commands that follow and the position
//! in the log are one append. So each event is handled once, and each command is sent once, whatever ends the process and
//! when. A command has an id that is made of the saga's name and version, the instance and a number ([`id_of`]); a worker
//! that may get it twice records its answer under an id that is made of the command's ([`answer_id`]), and the log has the
//! answer once.
//!
//! # In the log
//!
//! | stream | kind | body |
//! |---|---|---|
//! | `saga.<name>` | `axiom.saga.completed`, `failed`, `compensated`, `stuck` | `reason=…`; the instance is the event's task |
//! | `saga.<name>.timers` | `axiom.saga.timer`, `axiom.saga.timer.cancelled`, `axiom.saga.timeout` | `name=… number=… within_ns=…` |
//! | `$projection.saga-<name>…` | | states of the instances, and how far it is |
//! | `$projection.sagatimers-<name>…` | | the times that have not passed |
//!
//! A timeout is due when the time that its `axiom.saga.timer` has is so long ago. Pending ones are held in memory and in one
//! state, some 100 bytes each: 50,000 at most.
//!
//! # When its code changes
//!
//! Another version is rebuilt from the log's first event and is silent about the past, as every projection is. Where an
//! instance is under way, the new version must come to the same commands and timeouts as the old one did.

mod instance;
mod timers;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use axiom_core::Draining;

use crate::clock::Clock;
use crate::event::{Event, EventId, Format, Level, Recorded};
use crate::follow::Filter;
use crate::line::Line;
use crate::log::Log;
use crate::projection::{Projected, ProjectionError, ProjectionOptions, Runner, StateError, projection};

use instance::{Instance, Machinery, Order};
use timers::Timers;

/// The kinds of events in which a saga tells how an instance ended.
pub const COMPLETED_KIND: &str = "axiom.saga.completed";
pub const FAILED_KIND: &str = "axiom.saga.failed";
pub const COMPENSATED_KIND: &str = "axiom.saga.compensated";
pub const STUCK_KIND: &str = "axiom.saga.stuck";
/// A time was set, taken back, or has passed.
pub const TIMER_KIND: &str = "axiom.saga.timer";
pub const TIMER_CANCELLED_KIND: &str = "axiom.saga.timer.cancelled";
pub const TIMEOUT_KIND: &str = "axiom.saga.timeout";

/// Bytes that a saga's name may have.
pub const NAME_BYTES_MAX: usize = 50;

/// What is seen through, step by step. As of a projection, the same events must lead to the same steps.
pub trait Saga: fmt::Debug + Send + Sync + 'static {
    /// What it knows of one instance, beside what [`Steps`] keeps.
    type State: Default + Clone + fmt::Debug + Send + Sync + 'static;

    /// Part of the names of its streams: at most 50 bytes, and no full stop.
    fn name(&self) -> &str;

    /// To be raised whenever other steps or other states would come of the same events.
    fn version(&self) -> u32;

    /// Which events it hears of.
    fn filter(&self) -> Filter;

    /// The instance that an event is about; `None` if it is about none. At most 255 bytes.
    fn instance<'a>(&self, recorded: &Recorded<'a>) -> Option<Cow<'a, str>>;

    /// What follows from an event. It is called for instances that have ended, too: what was confirmed too late may have to be
    /// undone.
    fn handle(&self, state: &mut Self::State, recorded: &Recorded<'_>, steps: &mut Steps<'_>);

    /// What follows when a time that was set has passed.
    fn timeout(&self, state: &mut Self::State, name: &str, steps: &mut Steps<'_>);

    /// A state as bytes.
    fn save(&self, state: &Self::State) -> Vec<u8>;

    /// The state that [`Saga::save`] made these bytes of; `None` if they are no such thing.
    fn load(&self, bytes: &[u8]) -> Option<Self::State>;
}

/// Something that somebody is told to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Where whoever does it looks for it.
    pub stream: String,
    pub kind: String,
    pub body: Vec<u8>,
    pub format: Format,
}

/// How an instance is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SagaStatus {
    #[default]
    Running,
    Completed,
    /// It failed, and what was done is being undone.
    Compensating,
    /// It failed, and everything that was done is undone.
    Compensated,
    /// It failed, and something cannot be undone: a person must act.
    Stuck,
}

/// What an instance does next. Everything it is told comes into the log together with the instance's new state.
#[derive(Debug)]
pub struct Steps<'a> {
    order: Order<'a>,
}

/// An instance, as somebody looks at it.
#[derive(Debug, Clone)]
pub struct Seen<S> {
    pub status: SagaStatus,
    /// Why it failed or is stuck.
    pub reason: Option<String>,
    pub state: S,
    /// All events before it count.
    pub position: u64,
}

/// Runs a saga.
#[derive(Debug)]
pub struct SagaRunner<S: Saga> {
    instances: Runner<Machinery<S>>,
    timers: Runner<Timers>,
    alarm: timers::Alarm,
}

/// Looks at a saga's instances. Cheap to clone.
#[derive(Debug)]
pub struct Sagas<S: Saga> {
    instances: Projected<Machinery<S>>,
}

/// Why a saga cannot go on. What it had committed stays.
#[derive(Debug, thiserror::Error)]
pub enum SagaError {
    #[error("saga {name:?}: {source}")]
    Projection { name: String, source: ProjectionError },
    #[error("saga {name:?} cannot record that a time has passed: {source}")]
    Timeout {
        name: String,
        source: crate::append::AppendError,
    },
}

/// Makes a saga of a log. It does nothing until the [`SagaRunner`] runs. `clock` gives its events their time, and says when
/// times have passed.
pub fn saga<S: Saga>(log: &Log, saga: S, clock: Clock) -> (SagaRunner<S>, Sagas<S>) {
    let options = ProjectionOptions {
        clock,
        ..ProjectionOptions::default()
    };
    let name = saga.name().to_owned();
    let (instances, projected) = projection(log, Machinery::of(saga), options.clone());
    let (timers, times) = projection(log, Timers::of(&name), options);
    let alarm = timers::Alarm::new(log.clone(), name, times, clock);
    let runner = SagaRunner {
        instances,
        timers,
        alarm,
    };
    let sagas = Sagas { instances: projected };
    (runner, sagas)
}

/// The id of something that is made of other things: the same parts give the same id.
pub fn id_of(parts: &[&[u8]]) -> EventId {
    let mut hasher = blake3::Hasher::new();
    for part in parts {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let hash = hasher.finalize();
    let first = hash.as_bytes().first_chunk::<16>().expect("a hash has 32 bytes");
    EventId(u128::from_be_bytes(*first))
}

/// The id for the answer to a command. However often a worker gets the command, the log has the answer once, as long as the
/// worker comes again before 262,144 other events have.
pub fn answer_id(command: &Recorded<'_>) -> EventId {
    match command.event.id {
        Some(EventId(id)) => id_of(&[b"answer", &id.to_be_bytes()]),
        None => id_of(&[b"answer to", &command.offset.to_be_bytes()]),
    }
}

impl Command {
    /// A command in JSON.
    pub fn json(stream: impl Into<String>, kind: impl Into<String>, body: impl Into<Vec<u8>>) -> Command {
        Command {
            stream: stream.into(),
            kind: kind.into(),
            body: body.into(),
            format: Format::Json,
        }
    }
}

impl<S: Saga> SagaRunner<S> {
    /// Handles events until a drain is asked for or the log is closed.
    ///
    /// # Errors
    /// See [`SagaError`]. What was committed stays, and a new runner goes on from there.
    ///
    /// # Cancel safety
    /// As [`Runner::run`]: what was not committed is done again by the next runner, and none of it was sent.
    pub async fn run(self, draining: Draining) -> Result<(), SagaError> {
        let name = self.alarm.name().to_owned();
        let failed = |source| SagaError::Projection {
            name: name.clone(),
            source,
        };
        let instances = async { self.instances.run(draining.clone()).await.map_err(failed) };
        let timers = async { self.timers.run(draining.clone()).await.map_err(failed) };
        let alarm = self.alarm.run(draining.clone());
        // Where one fails the others are dropped, which they may be.
        tokio::try_join!(Box::pin(instances), Box::pin(timers), Box::pin(alarm)).map(|_| ())
    }
}

impl<S: Saga> Sagas<S> {
    /// How an instance is.
    ///
    /// # Errors
    /// When it must be read and cannot be.
    ///
    /// # Cancel safety
    /// It only reads.
    pub async fn instance(&self, instance: &str) -> Result<Seen<S::State>, ProjectionError> {
        let (found, position) = self.instances.state(instance).await?;
        Ok(found.seen(position))
    }

    /// How an instance is when every event before `position` was handled. Waits `patience` long at most.
    ///
    /// # Errors
    /// When it does not come so far in time or has ended, and as [`Sagas::instance`].
    ///
    /// # Cancel safety
    /// It only waits and reads.
    pub async fn instance_at_least(
        &self,
        instance: &str,
        position: u64,
        patience: Duration,
    ) -> Result<Seen<S::State>, StateError> {
        let (found, position) = self
            .instances
            .state_at_least(instance, position, patience)
            .await?;
        Ok(found.seen(position))
    }
}

impl Steps<'_> {
    pub fn status(&self) -> SagaStatus {
        self.order.core.status
    }

    /// Sends a command. The event has the instance as its task and an id of its own.
    pub fn send(&mut self, command: &Command) {
        self.order.send(command);
    }

    /// Notes how what was just done is undone. Where the instance has failed already, it is undone in its turn.
    pub fn undo_with(&mut self, command: Command) {
        self.order.core.undo.push(command);
        if self.status() == SagaStatus::Compensated {
            self.order.core.status = SagaStatus::Compensating;
            self.order.undo_next();
        }
    }

    /// It cannot be finished: what was done is undone, last things first. Does nothing where it has ended or failed before.
    pub fn fail(&mut self, reason: &str) {
        if self.status() != SagaStatus::Running {
            return;
        }
        self.order.core.reason = Some(reason.to_owned());
        self.order.core.status = SagaStatus::Compensating;
        self.order.tell(FAILED_KIND, Level::Warn);
        self.order.undo_next();
    }

    /// What was to be undone is undone: the next thing is. Does nothing where nothing is being undone.
    pub fn undone(&mut self) {
        if self.status() == SagaStatus::Compensating && self.order.core.undoing.take().is_some() {
            self.order.undo_next();
        }
    }

    /// What was to be undone was not: whoever does it is told again, with another id.
    pub fn undo_again(&mut self) {
        if let Some(command) = self.order.core.undoing.clone() {
            self.order.send(&command);
        }
    }

    /// What was to be undone cannot be: nothing more happens by itself, and an event of level critical says so.
    pub fn stuck(&mut self, reason: &str) {
        self.order.core.reason = Some(reason.to_owned());
        self.order.core.status = SagaStatus::Stuck;
        self.order.tell(STUCK_KIND, Level::Critical);
    }

    /// Everything is done. Times that were set do not pass any more. Does nothing where it has failed.
    pub fn complete(&mut self) {
        if self.status() != SagaStatus::Running {
            return;
        }
        let names: Vec<String> = self.order.core.timers.keys().cloned().collect();
        for name in names {
            self.cancel_timeout(&name);
        }
        self.order.core.status = SagaStatus::Completed;
        self.order.core.undo.clear();
        self.order.tell(COMPLETED_KIND, Level::Info);
    }

    /// After so long [`Saga::timeout`] is called with this name, unless it is set again or taken back before.
    pub fn set_timeout(&mut self, name: &str, within: Duration) {
        let number = self.order.next_number();
        self.order.core.timers.insert(name.to_owned(), number);
        let line = Line::default()
            .with("name", name)
            .with("number", number)
            .with("within_ns", within.as_nanos());
        self.order.timer(TIMER_KIND, &line);
    }

    /// Takes a time back that was set.
    pub fn cancel_timeout(&mut self, name: &str) {
        if let Some(number) = self.order.core.timers.remove(name) {
            let line = Line::default().with("name", name).with("number", number);
            self.order.timer(TIMER_CANCELLED_KIND, &line);
        }
    }

    /// Records anything else that follows.
    pub fn event(&mut self, event: &Event<'_>) {
        self.order.emit.event(event);
    }
}

impl<S> Instance<S> {
    fn seen(self, position: u64) -> Seen<S> {
        Seen {
            status: self.core.status,
            reason: self.core.reason,
            state: self.state,
            position,
        }
    }
}

impl<S: Saga> Clone for Sagas<S> {
    fn clone(&self) -> Sagas<S> {
        Sagas {
            instances: self.instances.clone(),
        }
    }
}

fn stream_of(name: &str) -> String {
    format!("saga.{name}")
}

fn timers_of(name: &str) -> String {
    format!("saga.{name}.timers")
}
