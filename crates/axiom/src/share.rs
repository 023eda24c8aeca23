//! Sharing this gateway's events with others by way of Redis, as long as it runs.

use std::time::Duration;

use axiom_core::drain::{self, Drain};
use axiom_core::spawn;
use axiom_events::Log;
use axiom_gateway::options::Options;
use axiom_tiers::redis::{self, Address, Push};

use crate::outcome::{Exit, Failed};

/// How long the last events may take to get to Redis. What does not get there is added by the next start.
const FINISH_MAX: Duration = Duration::from_secs(3);

/// Events on their way to Redis.
#[derive(Debug)]
pub struct Sharing {
    drain: Drain,
}

/// Begins to share what `log` records, if the configuration says so. Redis need not be there.
///
/// # Errors
/// The address of Redis cannot be used.
pub fn share(options: &Options, log: Option<&Log>) -> Result<Option<Sharing>, Failed> {
    let (Some(events), Some(log)) = (&options.events, log) else {
        return Ok(None);
    };
    let Some(shared) = &events.redis else {
        return Ok(None);
    };
    let address =
        Address::parse(&shared.url).map_err(|error| Failed::new(Exit::Failure, error.to_string()))?;
    let options = redis::Options {
        address,
        shard: events.shard,
        keep_bytes: shared.keep_bytes,
        keep_age: shared.keep_age,
    };
    // How it is, the log tells.
    let (push, _states) = Push::new(options, log.reader());
    let (drain, draining) = drain::drain();
    drop(spawn("events to Redis", push.run(draining)));
    Ok(Some(Sharing { drain }))
}

impl Sharing {
    /// Waits until Redis has everything, for a moment. The log must be closed.
    pub async fn finish(self) {
        // If it takes longer, it has said so.
        let _in_time = self.drain.finish(FINISH_MAX).await;
    }
}
