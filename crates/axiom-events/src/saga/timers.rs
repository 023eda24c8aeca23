//! Times that sagas have set: a projection knows which have not passed, and an alarm records those that have.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use axiom_core::{Draining, time};

use crate::append::{Append, AppendError};
use crate::block::varint;
use crate::clock::Clock;
use crate::event::{Event, Format, Level, Recorded};
use crate::follow::Filter;
use crate::line::{Line, Said};
use crate::log::Log;
use crate::projection::{Emit, Projected, Projection, ProjectionError};

use super::instance::{put, take_text};
use super::{SagaError, TIMEOUT_KIND, TIMER_CANCELLED_KIND, TIMER_KIND, id_of, timers_of};

/// A wall clock may jump: it is looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_secs(10);
/// How long a disk that failed is left alone.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Times that one append says have passed.
const PASSED_MAX: usize = 1000;
/// How long the projection may take to see what was recorded. It is asked again in any case.
const PATIENCE: Duration = Duration::from_secs(5);

/// The times that have not passed, by instance and name.
#[derive(Debug)]
pub(super) struct Timers {
    name: String,
    stream: String,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Pending(BTreeMap<(String, String), Time>);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Time {
    /// Nanoseconds since 1970.
    due: i64,
    number: u64,
}

/// Records times that have passed.
#[derive(Debug)]
pub(super) struct Alarm {
    log: Log,
    name: String,
    times: Projected<Timers>,
    clock: Clock,
}

impl Timers {
    pub(super) fn of(saga: &str) -> Timers {
        Timers {
            // Whatever follows `saga-` may be the name of another saga.
            name: format!("sagatimers-{saga}"),
            stream: timers_of(saga),
        }
    }
}

impl Projection for Timers {
    type State = Pending;

    fn name(&self) -> &str {
        &self.name
    }

    fn version(&self) -> u32 {
        1
    }

    fn filter(&self) -> Filter {
        Filter {
            stream_prefix: self.stream.clone(),
            ..Filter::default()
        }
    }

    fn partition<'a>(&self, recorded: &Recorded<'a>) -> Option<Cow<'a, str>> {
        (recorded.event.stream == self.stream).then_some(Cow::Borrowed("pending"))
    }

    fn apply(&self, state: &mut Pending, recorded: &Recorded<'_>, _emit: &mut Emit) {
        let event = &recorded.event;
        let said = Said::of(event.body);
        let name = said.and_then(|said| said.text("name"));
        let number = said.and_then(|said| said.number("number"));
        let (Some(said), Some(name), Some(number)) = (said, name, number) else {
            return;
        };
        let key = (event.task.to_owned(), name);
        match event.kind {
            TIMER_KIND => {
                let within = said
                    .number("within_ns")
                    .and_then(|within| i64::try_from(within).ok());
                let due = event.time.saturating_add(within.unwrap_or(i64::MAX));
                state.0.insert(key, Time { due, number });
            }
            TIMER_CANCELLED_KIND | TIMEOUT_KIND
                if state.0.get(&key).is_some_and(|time| time.number == number) =>
            {
                state.0.remove(&key);
            }
            _ => {}
        }
    }

    fn save(&self, state: &Pending) -> Vec<u8> {
        let mut out = Vec::new();
        for ((instance, name), time) in &state.0 {
            put(&mut out, instance.as_bytes());
            put(&mut out, name.as_bytes());
            varint::push_signed(&mut out, time.due);
            varint::push(&mut out, time.number);
        }
        out
    }

    fn load(&self, mut bytes: &[u8]) -> Option<Pending> {
        let mut pending = Pending::default();
        while !bytes.is_empty() {
            let key = (take_text(&mut bytes)?, take_text(&mut bytes)?);
            let due = varint::take_signed(&mut bytes)?;
            let number = varint::take(&mut bytes)?;
            pending.0.insert(key, Time { due, number });
        }
        Some(pending)
    }
}

impl Alarm {
    pub(super) fn new(log: Log, name: String, times: Projected<Timers>, clock: Clock) -> Alarm {
        Alarm {
            log,
            name,
            times,
            clock,
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Records each time when it has passed, until a drain is asked for or the projection ends.
    pub(super) async fn run(self, mut draining: Draining) -> Result<(), SagaError> {
        // What passed before it began was recorded by an earlier life, perhaps: that is to be seen first.
        let mut position = self.log.reader().end();
        loop {
            let seen = tokio::select! {
                // cancel-safe: both only wait.
                () = draining.asked() => return Ok(()),
                seen = self.times.at_least(position, PATIENCE) => seen,
            };
            match seen {
                Ok(()) => {}
                Err(not_yet) if not_yet.is_closed => return Ok(()),
                Err(_) => continue,
            }
            let (pending, as_of) = match self.times.state("pending").await {
                Ok(pending) => pending,
                Err(ProjectionError::Read(error)) => {
                    tracing::warn!(saga = self.name, %error, "times that may have passed cannot be read; trying again");
                    time::sleep(RETRY_PAUSE).await;
                    continue;
                }
                Err(source) => {
                    let name = self.name.clone();
                    return Err(SagaError::Projection { name, source });
                }
            };
            let now = self.clock.now();
            let passed = pending.passed(&self.name, now);
            if passed.batch.is_empty() {
                let wait = pending.wait(now);
                tokio::select! {
                    // cancel-safe: all of them only wait.
                    () = draining.asked() => return Ok(()),
                    () = time::sleep(wait) => {}
                    // Something came that may have set a time.
                    _ = self.times.at_least(as_of + 1, LOOK_AGAIN) => {}
                }
                if self.times.at().is_closed {
                    return Ok(());
                }
                position = as_of;
                continue;
            }
            match self.log.append(passed).await {
                Ok(appended) => position = appended.position(),
                Err(AppendError::Closed) => return Ok(()),
                // Another life has recorded some of them meanwhile: they are seen in a moment.
                Err(AppendError::PartlyKnown) => position = self.log.reader().end(),
                Err(AppendError::Disk { reason }) => {
                    tracing::warn!(saga = self.name, %reason, "a time that has passed cannot be recorded; trying again");
                    time::sleep(RETRY_PAUSE).await;
                }
                Err(source) => {
                    let name = self.name.clone();
                    return Err(SagaError::Timeout { name, source });
                }
            }
        }
    }
}

impl Pending {
    /// Events that say which times have passed. Each has an id, so that none is recorded twice.
    fn passed(&self, saga: &str, now: i64) -> Append {
        let mut append = Append::default();
        let stream = timers_of(saga);
        let passed = self.0.iter().filter(|(_, time)| time.due <= now);
        for ((instance, name), time) in passed.take(PASSED_MAX) {
            let number = time.number.to_be_bytes();
            let due = time.due.to_be_bytes();
            let parts: [&[u8]; 6] = [
                b"timeout",
                saga.as_bytes(),
                instance.as_bytes(),
                name.as_bytes(),
                &number,
                &due,
            ];
            let line = Line::default().with("name", name).with("number", time.number);
            let event = Event {
                time: now,
                stream: &stream,
                task: instance,
                kind: TIMEOUT_KIND,
                level: Level::Debug,
                id: Some(id_of(&parts)),
                format: Format::Text,
                body: line.bytes(),
                ..Event::default()
            };
            append
                .batch
                .push(&event)
                .expect("the names come from an event that the log took");
        }
        append
    }

    /// How long until the next one passes, or is to be looked for again.
    fn wait(&self, now: i64) -> Duration {
        let next = self.0.values().map(|time| time.due).min();
        let wait = next.map(|due| u64::try_from(due.saturating_sub(now)).unwrap_or(0));
        wait.map_or(LOOK_AGAIN, |nanos| Duration::from_nanos(nanos).min(LOOK_AGAIN))
    }
}
