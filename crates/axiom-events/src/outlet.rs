//! A producer's way to the log: what happens to its events when the log takes no more of them.
//!
//! [`Log::post`] gives a batch back when its queue is full, and somebody must decide then. An [`Outlet`] does, by the stream's
//! name:
//!
//! | [`WhenFull`] | the producer | its events |
//! |---|---|---|
//! | `Block` | waits: [`Outlet::push`] refuses, [`Outlet::ready`] says when to go on | are all recorded |
//! | `Sample` | goes on | everything is skipped and counted that may be, see [`sample`](crate::sample); the rest is recorded |
//! | `Spill` | goes on | wait in a file of a fixed size, and are recorded in order |
//!
//! Where that does not suffice, because too much must be kept or the file is full, events are dropped; how many is counted, and
//! an event of kind [`axiom.gap`](crate::writer::GAP_KIND) says so in their place as soon as the log takes one. So what was
//! pushed is recorded, counted, or missing by name; and an outlet never holds more than its bounds say, see [`Outlet::bytes`].
//!
//! Events of one stream stay in order, except that what an error brings along stands before it. Events of streams with different
//! rules may change places.

mod spill;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::time::{self, Instant};

use crate::append::{AppendError, Full};
use crate::batch::Batch;
use crate::disk::Disk;
use crate::event::{Event, Unfit};
use crate::gap::gap;
use crate::log::Log;
use crate::sample::{Fate, Policy, Sampler};
use spill::Spill;

/// Events and bytes at which a batch is handed over at once. A block has 8,192 events; smaller batches share one.
const POST_EVENTS: usize = 1024;
const POST_BYTES: usize = 256 << 10;
/// Bytes that may wait where they cannot be skipped and nobody waits for them. More are dropped.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// How often it is told what was skipped.
const TELL_PAUSE: Duration = Duration::from_secs(1);

/// What is to be done when the log takes no more events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WhenFull {
    /// The producer waits.
    Block,
    /// Whatever may be skipped is skipped.
    Sample,
    /// Events wait in this file, of so many bytes. One outlet writes to it; what a process has left there that is gone is
    /// recorded by the next one that opens it.
    Spill { path: PathBuf, bytes_max: u64 },
}

/// What holds for the streams with a name that begins like this.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    pub streams: String,
    pub when_full: WhenFull,
}

/// Why an event was not taken; nothing has changed.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PushError {
    #[error(transparent)]
    Unfit(#[from] Unfit),
    #[error("the event log takes no more events at the moment; wait until the outlet is ready")]
    Full,
}

/// Why there is no outlet.
#[derive(Debug, thiserror::Error)]
#[error("failed to open the spill file {}: {source}", path.display())]
pub struct OpenError {
    path: PathBuf,
    source: io::Error,
}

/// One producer's. When it is dropped it hands over what the log takes at once, and logs how many events that leaves behind;
/// [`Outlet::finish`] waits.
#[derive(Debug)]
pub struct Outlet {
    log: Log,
    sampler: Sampler,
    /// By the length of their streams' names, longest first; the last one is for all streams.
    lanes: Vec<Lane>,
    told: Instant,
}

/// Streams with the same rule.
#[derive(Debug)]
struct Lane {
    streams: String,
    way: Way,
    batch: Batch,
    /// The log did not take the last batch.
    is_full: bool,
    /// Bytes of the batch at which it is handed over.
    post_bytes: usize,
    /// Events that were dropped, until the log has been told.
    lost: u64,
    lost_reason: String,
}

#[derive(Debug)]
enum Way {
    Block,
    Sample,
    Spill(Box<Spill>),
}

impl Outlet {
    /// The rule with the longest name that fits decides; where none fits, `Block`. Blocks on the disk where there is something
    /// in a spill file.
    ///
    /// # Errors
    /// When a spill file is there and cannot be opened.
    pub fn open(
        log: Log,
        policy: Policy,
        rules: Vec<Rule>,
        disk: &Arc<dyn Disk>,
    ) -> Result<Outlet, OpenError> {
        let mut lanes = Vec::with_capacity(rules.len() + 1);
        for rule in rules {
            let way = match rule.when_full {
                WhenFull::Block => Way::Block,
                WhenFull::Sample => Way::Sample,
                WhenFull::Spill { path, bytes_max } => {
                    let spill = Spill::open(Arc::clone(disk), path.clone(), bytes_max);
                    Way::Spill(Box::new(spill.map_err(|source| OpenError { path, source })?))
                }
            };
            lanes.push(Lane::new(rule.streams, way));
        }
        lanes.push(Lane::new(String::new(), Way::Block));
        lanes.sort_by_key(|lane| std::cmp::Reverse(lane.streams.len()));
        Ok(Outlet {
            log,
            sampler: Sampler::new(policy),
            lanes,
            told: time::now(),
        })
    }

    /// Takes an event, to be handed over with others. Blocks on the disk where a stream's events are spilled, and never on the
    /// log.
    ///
    /// # Errors
    /// When the event exceeds a limit, or the log is full and the stream's rule is to wait: then push it again when
    /// [`Outlet::ready`] returns.
    pub fn push(&mut self, event: &Event<'_>) -> Result<Fate, PushError> {
        let fits = |lane: &Lane| event.stream.starts_with(&lane.streams);
        let at = self.lanes.iter().position(fits).unwrap_or(self.lanes.len() - 1);
        let Outlet {
            log, sampler, lanes, ..
        } = self;
        let lane = &mut lanes[at];
        if lane.is_due() {
            lane.post(log, sampler);
            if lane.is_due() && matches!(lane.way, Way::Block) {
                return Err(PushError::Full);
            }
        }
        sampler.press(lane.is_full && matches!(lane.way, Way::Sample));
        Ok(sampler.push(&mut lane.batch, event)?)
    }

    /// Hands over what the log takes, and tells once a second what was skipped. To be called every few milliseconds. True if
    /// nothing is left that waits for the log. Blocks on the disk where events are spilled.
    pub fn post(&mut self) -> bool {
        let Outlet {
            log, sampler, lanes, ..
        } = self;
        let all = lanes.last_mut().expect("there is one for all streams");
        if !all.is_full && self.told.elapsed() >= TELL_PAUSE {
            // What does not fit into this batch comes with the next one.
            if sampler.tell(&mut all.batch) {
                self.told = time::now();
            }
        }
        let mut is_done = true;
        for lane in lanes {
            is_done &= lane.post(log, sampler);
        }
        is_done
    }

    /// Waits until the log has taken what streams have left that wait for it: then they can go on.
    ///
    /// # Errors
    /// When the log is closed.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn ready(&mut self) -> Result<(), AppendError> {
        for lane in &mut self.lanes {
            if lane.is_full && matches!(lane.way, Way::Block) {
                self.log.feed(&mut lane.batch).await?;
                lane.is_taken();
            }
        }
        Ok(())
    }

    /// Tells everything that was skipped, and waits until the log has taken all that there is.
    ///
    /// # Errors
    /// When the log is closed.
    ///
    /// # Cancel safety
    /// Nothing is lost.
    pub async fn finish(&mut self) -> Result<(), AppendError> {
        for lane in &mut self.lanes {
            lane.finish(&self.log, &mut self.sampler).await?;
        }
        let all = self.lanes.last_mut().expect("there is one for all streams");
        loop {
            let is_done = self.sampler.finish(&mut all.batch);
            self.log.feed(&mut all.batch).await?;
            if is_done {
                return Ok(());
            }
        }
    }

    /// What it holds in memory: at most what the policy allows its sampler; and for each rule a batch of 1.25 MiB, and an event,
    /// and what that may bring along. A rule that spills has taken some four times its batch beside, after its first spill.
    pub fn bytes(&self) -> usize {
        self.sampler.bytes() + self.lanes.iter().map(|lane| lane.batch.bytes()).sum::<usize>()
    }
}

impl Lane {
    fn new(streams: String, way: Way) -> Lane {
        Lane {
            streams,
            way,
            batch: Batch::new(),
            is_full: false,
            post_bytes: POST_BYTES,
            lost: 0,
            lost_reason: String::new(),
        }
    }

    /// Whether the batch is worth handing over.
    fn is_due(&self) -> bool {
        self.batch.bytes() >= self.post_bytes || (self.batch.len() >= POST_EVENTS && !self.is_full)
    }

    /// The log takes events.
    fn is_taken(&mut self) {
        self.is_full = false;
        self.post_bytes = POST_BYTES;
    }

    /// Hands over what the log takes. True if nothing is left.
    fn post(&mut self, log: &Log, sampler: &mut Sampler) -> bool {
        if !self.empty_spill(log, sampler) {
            return false;
        }
        if self.lost > 0 {
            if log.post(self.gap()).is_err() {
                self.is_refused(sampler);
                return false;
            }
            self.lost = 0;
        }
        if self.batch.is_empty() {
            if self.is_full && log.has_room(POST_BYTES) {
                self.is_taken();
            }
            return true;
        }
        match log.post(std::mem::take(&mut self.batch)) {
            Ok(()) => {
                self.is_taken();
                true
            }
            Err(Full(batch)) => {
                self.batch = *batch;
                self.is_refused(sampler);
                false
            }
        }
    }

    /// The log did not take the batch.
    fn is_refused(&mut self, sampler: &mut Sampler) {
        self.is_full = true;
        match &self.way {
            Way::Block => {}
            Way::Sample => {
                let lost = sampler.reduce(&mut self.batch);
                self.miss(lost, "the log's queue was full");
                if self.batch.bytes() > WAITING_BYTES_MAX {
                    self.drop_batch(sampler, "the log's queue was full");
                }
                // Not again before there is as much more.
                self.post_bytes = self.batch.bytes() + POST_BYTES;
            }
            Way::Spill(_) => self.spill(sampler),
        }
    }

    /// Puts the batch into the spill file, behind the others.
    fn spill(&mut self, sampler: &mut Sampler) {
        let Way::Spill(spill) = &mut self.way else { return };
        if self.batch.is_empty() {
            return;
        }
        // What is missing is missing here, between those before and those to come.
        if self.lost > 0 {
            let told = gap("", self.lost, &reason(&self.lost_reason, &self.streams));
            if spill.put(&told).is_ok() {
                self.lost = 0;
            }
        }
        let put = match self.lost {
            0 => spill.put(&self.batch),
            _ => Err(spill::SpillError::Full),
        };
        match put {
            Ok(()) => self.batch.clear(),
            Err(error) => self.drop_batch(sampler, &format!("the log's queue was full; {error}")),
        }
    }

    /// Hands over what is in the spill file, if there is one. False if something is left there; then the batch is, too.
    fn empty_spill(&mut self, log: &Log, sampler: &mut Sampler) -> bool {
        loop {
            let Way::Spill(spill) = &mut self.way else {
                return true;
            };
            match spill.first() {
                Ok(None) => return true,
                Ok(Some((batch, bytes))) => {
                    let events = batch.len() as u64;
                    if let Err(Full(batch)) = log.post(batch) {
                        spill.keep_first((*batch, bytes));
                        self.is_full = true;
                        self.spill(sampler);
                        return false;
                    }
                    spill.taken(events, bytes);
                }
                Err((lost, error)) => {
                    self.miss(lost, &error.to_string());
                    return true;
                }
            }
        }
    }

    async fn finish(&mut self, log: &Log, sampler: &mut Sampler) -> Result<(), AppendError> {
        while let Way::Spill(spill) = &mut self.way {
            match spill.first() {
                Ok(None) => break,
                Ok(Some((mut batch, bytes))) => {
                    let events = batch.len() as u64;
                    log.feed(&mut batch).await?;
                    spill.taken(events, bytes);
                }
                Err((lost, error)) => self.miss(lost, &error.to_string()),
            }
        }
        if self.lost > 0 {
            log.feed(&mut self.gap()).await?;
            self.lost = 0;
        }
        if !self.batch.is_empty() {
            log.feed(&mut self.batch).await?;
        }
        sampler.press(false);
        self.is_taken();
        Ok(())
    }

    fn spilled(&self) -> u64 {
        match &self.way {
            Way::Spill(spill) => spill.len(),
            Way::Block | Way::Sample => 0,
        }
    }

    fn drop_batch(&mut self, sampler: &mut Sampler, reason: &str) {
        let lost = sampler.give_up(&self.batch);
        self.batch.clear();
        self.miss(lost, reason);
    }

    fn miss(&mut self, lost: u64, reason: &str) {
        if lost == 0 {
            return;
        }
        if self.lost == 0 {
            tracing::warn!(streams = %self.streams, reason, "the event log takes no more events; some are missing");
        }
        self.lost += lost;
        reason.clone_into(&mut self.lost_reason);
    }

    fn gap(&self) -> Batch {
        gap("", self.lost, &reason(&self.lost_reason, &self.streams))
    }
}

/// Why events are missing, and of which streams.
fn reason(reason: &str, streams: &str) -> String {
    match streams {
        "" => reason.to_owned(),
        streams => format!("{reason} (streams {streams}*)"),
    }
}

impl Drop for Outlet {
    fn drop(&mut self) {
        let all = self.lanes.last_mut().expect("there is one for all streams");
        self.sampler.finish(&mut all.batch);
        if !self.post() || self.sampler.has_untold() {
            let left: usize = self.lanes.iter().map(|lane| lane.batch.len()).sum();
            let lost: u64 = self.lanes.iter().map(|lane| lane.lost).sum();
            let spilled: u64 = self.lanes.iter().map(Lane::spilled).sum();
            let has_untold = self.sampler.has_untold();
            tracing::error!(
                left,
                lost,
                spilled,
                has_untold,
                "an outlet ended before the event log took all events; what is spilled is recorded when it is opened again"
            );
        }
    }
}
