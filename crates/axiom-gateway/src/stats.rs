//! What the gateway shows of itself, read from what it recorded: how many calls there were and how they went, and since when
//! each server is how it is.
//!
//! It is a projection of the gateway's own events. A subscription feeds it, so nothing here is on a call's way; it begins
//! again where its last commit ended, so a restart changes no number. It commits every five minutes or half a million
//! events, whichever is first, and when the gateway ends: that is what is read again after a crash.

mod call;
mod calls;
mod histogram;
mod report;
mod servers;

use std::borrow::Cow;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use axiom_core::{Draining, drain, spawn, time};
use axiom_events::projection::{projection, view};
use axiom_events::{
    Batch, Emit, Event, Filter, Format, Log, NotYet, Projected, Projection, ProjectionError,
    ProjectionOptions, Reader, Recorded, StateError,
};
use serde::{Deserialize, Serialize};

use calls::Calls;
use servers::Servers;

pub(crate) use servers::Since;

/// Raised whenever other numbers or other bytes would come of the same events.
const VERSION: u32 = 2;
const COMMIT_EVENTS: u64 = 500_000;
const COMMIT_PAUSE: Duration = Duration::from_secs(300);
/// How often what was recorded is looked at. Whoever asks makes it look at once.
const PACE: Duration = Duration::from_secs(1);
/// How long an answer waits for that look. Then it says how far it is behind.
const FRESH_PATIENCE: Duration = Duration::from_millis(500);
/// How long the last commit may take when the gateway ends.
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an answer waits for events that it must have in it.
const PATIENCE: Duration = Duration::from_secs(5);

/// The event that says that a gateway began to record.
const STARTED_KIND: &str = "gateway.started";
const STREAM: &str = "gateway";
const TENANT: &str = "default";

/// The partitions.
const CALLS: &str = "calls";
const SERVERS: &str = "servers";

/// The statistics of a gateway that records.
#[derive(Debug)]
pub(crate) struct Stats {
    projected: Projected<Gathered>,
    reader: Reader,
    drain: Mutex<Option<drain::Drain>>,
}

/// Why there are no statistics to be shown.
#[derive(Debug, thiserror::Error)]
pub enum StatsError {
    #[error(transparent)]
    NotYet(#[from] NotYet),
    #[error("the statistics cannot be read: {0}")]
    Projection(#[from] ProjectionError),
    #[error("the statistics cannot be written as JSON: {0}")]
    Json(#[from] serde_json::Error),
    #[error("reading the events panicked")]
    Panicked,
}

/// How calls and servers are gathered from events.
#[derive(Debug, Clone, Copy, Default)]
struct Gathered;

/// What one partition has come to: in each of them the other half is empty.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    calls: Calls,
    servers: Servers,
}

impl Stats {
    /// Begins to gather what is recorded in this log, and records that this gateway has begun.
    pub(crate) fn start(log: &Log) -> Stats {
        tell_started(log);
        let options = ProjectionOptions {
            commit_events: COMMIT_EVENTS,
            commit_pause: COMMIT_PAUSE,
            pace: PACE,
            ..ProjectionOptions::default()
        };
        let (runner, projected) = projection(log, Gathered, options);
        let (drain, draining) = drain::drain();
        drop(spawn("statistics", run(runner, draining)));
        Stats {
            projected,
            reader: log.reader(),
            drain: Mutex::new(Some(drain)),
        }
    }

    /// What `/api/v1/stats` answers; with everything before `at_least` in it.
    pub(crate) async fn report(&self, at_least: Option<u64>) -> Result<Vec<u8>, StatsError> {
        match at_least {
            Some(position) => self.projected.at_least(position, PATIENCE).await?,
            None => self.look().await,
        }
        report(&self.projected, self.reader.end()).await
    }

    /// Since when each server is how it is; nothing if that cannot be read.
    pub(crate) async fn since(&self) -> Since {
        self.look().await;
        match self.projected.state(SERVERS).await {
            Ok((state, _)) => Since(state.servers),
            Err(error) => {
                tracing::warn!(%error, "since when servers are how they are cannot be read");
                Since::default()
            }
        }
    }

    /// Takes in what was recorded until now, if that is quickly done.
    async fn look(&self) {
        let end = self.reader.end();
        if let Err(not_yet) = self.projected.at_least(end, FRESH_PATIENCE).await {
            tracing::debug!(%not_yet, "the statistics are behind");
        }
    }

    /// Commits what was gathered. To be called before the log is closed.
    pub(crate) async fn stop(&self) {
        let drain = self.drain.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(drain) = drain
            && !drain.finish(STOP_TIMEOUT).await
        {
            tracing::warn!("the statistics were not committed in time; the next start gathers them again");
        }
    }
}

/// The statistics of a log that no gateway writes to, or another process's does. Takes as long as reading what was recorded
/// since the last commit does, where nobody else waits.
///
/// # Errors
/// When the events cannot be read.
pub async fn stats_of(reader: Reader) -> Result<Vec<u8>, StatsError> {
    let end = reader.end();
    let viewing = spawn::blocking(move || view(&reader, Gathered)).join();
    let projected = viewing.await.ok_or(StatsError::Panicked)??;
    report(&projected, end).await
}

async fn report(projected: &Projected<Gathered>, end: u64) -> Result<Vec<u8>, StatsError> {
    let (calls, position) = projected.state(CALLS).await?;
    let (servers, _) = projected.state(SERVERS).await?;
    let as_of = report::AsOf {
        position,
        behind: end.saturating_sub(position),
        lost: projected.at().lost,
        now: time::unix_nanos(),
    };
    Ok(serde_json::to_vec(&report::report(
        &calls.calls,
        &servers.servers,
        as_of,
    ))?)
}

async fn run(runner: axiom_events::Runner<Gathered>, draining: Draining) {
    // Its error was logged, and whoever asks is told that it has ended.
    let _ended = runner.run(draining).await.is_ok();
}

/// Connections to servers do not outlive a gateway: what was up before it began is not up.
fn tell_started(log: &Log) {
    let body = concat!(
        r#"{"state":"started","version":""#,
        env!("CARGO_PKG_VERSION"),
        "\"}"
    );
    let mut batch = Batch::new();
    let event = Event {
        time: time::unix_nanos(),
        tenant: TENANT,
        stream: STREAM,
        kind: STARTED_KIND,
        format: Format::Json,
        body: body.as_bytes(),
        ..Event::default()
    };
    batch.push(&event).expect("it keeps to the limits");
    if log.post(batch).is_err() {
        tracing::warn!("the event log takes no events; that the gateway has begun is not recorded");
    }
}

impl Projection for Gathered {
    type State = State;

    fn name(&self) -> &str {
        "gateway"
    }

    fn version(&self) -> u32 {
        VERSION
    }

    fn filter(&self) -> Filter {
        Filter {
            stream_prefix: STREAM.to_owned(),
            kind_prefix: "gateway.".to_owned(),
            ..Filter::default()
        }
    }

    fn partition<'a>(&self, recorded: &Recorded<'a>) -> Option<Cow<'a, str>> {
        match recorded.event.kind {
            "gateway.call" => Some(Cow::Borrowed(CALLS)),
            "gateway.server" | "gateway.config" | STARTED_KIND => Some(Cow::Borrowed(SERVERS)),
            _ => None,
        }
    }

    fn apply(&self, state: &mut State, recorded: &Recorded<'_>, _emit: &mut Emit) {
        match recorded.event.kind {
            "gateway.call" => state.calls.count(&recorded.event),
            _ => state.servers.note(&recorded.event),
        }
    }

    fn save(&self, state: &State) -> Vec<u8> {
        serde_json::to_vec(state).expect("numbers and texts can be written as JSON")
    }

    fn load(&self, bytes: &[u8]) -> Option<State> {
        serde_json::from_slice(bytes).ok()
    }
}

impl From<StateError> for StatsError {
    fn from(error: StateError) -> StatsError {
        match error {
            StateError::NotYet(error) => StatsError::NotYet(error),
            StateError::Projection(error) => StatsError::Projection(error),
        }
    }
}

#[cfg(test)]
mod tests;
