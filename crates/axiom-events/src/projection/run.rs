//! Runs a projection: follows the log, takes in what comes, commits.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::watch;
use axiom_core::{Draining, spawn, time};

use crate::append::AppendError;
use crate::follow::{Delivery, Passed};
use crate::log::Log;
use crate::lost::lost_until;
use crate::segment::ReadError;
use crate::segments::End;

use super::machine::Machine;
use super::{Projection, ProjectionError, ProjectionOptions, Shared};

/// Pause before a disk that failed is asked again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Keeps a projection up to date while it runs.
#[derive(Debug)]
pub struct Runner<P: Projection> {
    log: Log,
    shared: Arc<Shared<P>>,
    options: ProjectionOptions,
}

/// When what was taken in must be committed.
#[derive(Debug, Clone, Copy)]
struct Due(Option<time::Instant>);

impl<P: Projection> Runner<P> {
    pub(super) fn new(log: Log, shared: Arc<Shared<P>>, options: ProjectionOptions) -> Runner<P> {
        Runner { log, shared, options }
    }

    /// Follows the log until a drain is asked for or the log is closed; commits before it returns, if the log still takes it.
    /// A disk that fails is asked again every second, for as long as it runs.
    ///
    /// # Errors
    /// See [`ProjectionError`]. What was committed stays, and a new runner goes on from there.
    ///
    /// # Cancel safety
    /// Dropped, what was not committed is done again by the next runner, and none of it was emitted. Dropped in the middle of a
    /// commit, that may still come into the log after the next runner has begun, which then ends with
    /// [`ProjectionError::Taken`]: the one after it goes on.
    pub async fn run(self, mut draining: Draining) -> Result<(), ProjectionError> {
        let shared = Arc::clone(&self.shared);
        // Also when it is dropped: nobody must wait for it then.
        let _closing = Closing(Arc::clone(&shared));
        let outcome = self.follow(&mut draining).await;
        if let Err(error) = &outcome {
            tracing::error!(projection = shared.store.projection.name(), %error, "a projection has ended");
        }
        outcome
    }

    async fn follow(self, draining: &mut Draining) -> Result<(), ProjectionError> {
        let Some(mut machine) = self.open(draining).await? else {
            return Ok(());
        };
        if machine.needs_beginning() {
            let Some(begun) = self.commit(machine, draining).await? else {
                return Ok(());
            };
            machine = begun;
        }
        let mut follow = self.log.reader().follow(machine.position(), machine.filter());
        let mut due = Due(None);
        let mut rest = Due(None);
        let mut wanted = self.shared.wanted.subscribe();
        let mut end = self.log.reader().watch_end();
        loop {
            if let Some(position) = machine.again_from() {
                follow = self.log.reader().follow(position, machine.filter());
                rest = Due(None);
            }
            let position = follow.position();
            let rests = rest.0.is_some_and(|until| until > time::now())
                && *wanted.borrow() <= position
                && !end.borrow().is_closed;
            let passed = tokio::select! {
                biased;
                // cancel-safe: it only waits.
                () = draining.asked() => {
                    if machine.has_changed() {
                        self.commit(machine, draining).await?;
                    }
                    return Ok(());
                }
                // cancel-safe: a timer.
                () = due.wait() => {
                    let Some(committed) = self.commit(machine, draining).await? else {
                        return Ok(());
                    };
                    machine = committed;
                    due = Due(None);
                    continue;
                }
                // cancel-safe: all three only wait.
                () = further(&mut wanted, position), if rests => continue,
                () = closed(&mut end), if rests => continue,
                () = rest.wait(), if rests => continue,
                // cancel-safe: see `Follow::next`.
                passed = follow.step(), if !rests => passed,
            };
            match passed {
                Ok(Some(Passed::Delivery(Delivery::Events(delivered)))) => {
                    let delivered = Arc::new(delivered);
                    loop {
                        let (again, is_done) = self.take(machine, &delivered, draining).await?;
                        machine = again;
                        if is_done {
                            break;
                        }
                        let Some(committed) = self.commit(machine, draining).await? else {
                            return Ok(());
                        };
                        machine = committed;
                        if machine.has_gone_back() {
                            break;
                        }
                    }
                }
                Ok(Some(Passed::Delivery(Delivery::Gap(gap)))) => machine = self.miss(machine, gap).await?,
                Ok(Some(Passed::Unwanted)) => machine.pass(follow.position()),
                // The log was closed, and with it the way to commit anything.
                Ok(None) => return Ok(()),
                Err(error) => self.rest(&error, draining).await,
            }
            let pause = self.options.commit_pause;
            let is_at_end = follow.position() >= self.log.reader().end();
            if is_at_end && !self.options.pace.is_zero() {
                rest = Due(Some(time::now() + self.options.pace));
            }
            if machine.must_commit() || (pause.is_zero() && is_at_end && machine.has_changed()) {
                let Some(committed) = self.commit(machine, draining).await? else {
                    return Ok(());
                };
                machine = committed;
                due = Due(None);
            } else if machine.has_changed() && !pause.is_zero() && due.0.is_none() {
                due = Due(Some(time::now() + pause));
            }
        }
    }

    /// Reads how far it is as soon as the disk lets it; `None` when a drain was asked for before that.
    async fn open(&self, draining: &mut Draining) -> Result<Option<Machine<P>>, ProjectionError> {
        loop {
            let (shared, options) = (Arc::clone(&self.shared), self.options.clone());
            let opening = spawn::blocking(move || Machine::open(shared, options)).join();
            match opening.await.ok_or_else(|| self.panicked(0))? {
                Err(ProjectionError::Read(error)) => self.rest(&error, draining).await,
                outcome => return outcome.map(Some),
            }
            if draining.is_asked() {
                return Ok(None);
            }
        }
    }

    /// Takes in events where nobody else waits. Those that needed a state that the disk does not give are still to come; when
    /// a drain is asked for meanwhile they are left out.
    async fn take(
        &self,
        mut machine: Machine<P>,
        delivered: &Arc<crate::follow::Delivered>,
        draining: &mut Draining,
    ) -> Result<(Machine<P>, bool), ProjectionError> {
        loop {
            let position = machine.position();
            let delivered = Arc::clone(delivered);
            let taking = spawn::blocking(move || {
                let outcome = machine.take(&delivered);
                (machine, outcome)
            });
            let Some((kept, outcome)) = taking.join().await else {
                Machine::forget(&self.shared);
                return Err(self.panicked(position));
            };
            machine = kept;
            match outcome {
                Ok(is_done) => return Ok((machine, is_done)),
                Err(ProjectionError::Read(error)) => self.rest(&error, draining).await,
                Err(error) => return Err(error),
            }
            if draining.is_asked() {
                return Ok((machine, true));
            }
        }
    }

    /// The disk does not give what is needed: it is left alone for a while.
    async fn rest(&self, error: &ReadError, draining: &mut Draining) {
        let projection = self.shared.store.projection.name();
        tracing::warn!(projection, %error, "a projection cannot read on; trying again");
        tokio::select! {
            // cancel-safe: both only wait.
            () = time::sleep(RETRY_PAUSE) => {}
            () = draining.asked() => {}
        }
    }

    /// Goes on over events that are not there, as [`Self::take`].
    async fn miss(&self, mut machine: Machine<P>, gap: Range<u64>) -> Result<Machine<P>, ProjectionError> {
        let position = machine.position();
        let missing = spawn::blocking(move || {
            machine.miss(&gap);
            machine
        });
        missing.join().await.ok_or_else(|| self.panicked(position))
    }

    /// What is too large for one commit is taken in again, in smaller parts: [`Machine::again_from`]. `None` when the log was
    /// closed: what was not committed is done again by the next runner.
    async fn commit(
        &self,
        mut machine: Machine<P>,
        draining: &mut Draining,
    ) -> Result<Option<Machine<P>>, ProjectionError> {
        let name = || self.shared.store.projection.name().to_owned();
        loop {
            let position = machine.position();
            let saving = spawn::blocking(move || {
                let commit = machine.commit()?;
                Ok((machine, commit))
            });
            let saved: Option<Result<_, ProjectionError>> = saving.join().await;
            let (kept, mut commit) = saved.ok_or_else(|| self.panicked(position))??;
            machine = kept;
            let append = std::mem::take(&mut commit.append);
            match self.log.append(append).await {
                Ok(appended) => {
                    machine.committed(&commit, appended.position());
                    return Ok(Some(machine));
                }
                Err(AppendError::Conflict(source)) => {
                    let read = machine.last();
                    match lost_until(&self.log, &source, read).await {
                        // With its states and what it emitted: a commit is in one block. So it is made again.
                        Some(last) => machine.go_on_behind(last),
                        None => return Err(ProjectionError::Taken { name: name(), source }),
                    }
                }
                Err(AppendError::Closed) => return Ok(None),
                Err(AppendError::TooLarge { bytes }) if machine.go_back() => {
                    let projection = self.shared.store.projection.name();
                    tracing::info!(
                        projection,
                        bytes,
                        "a projection's states are too large for one commit; making smaller ones"
                    );
                    return Ok(Some(machine));
                }
                Err(AppendError::Disk { reason }) if !draining.is_asked() => {
                    let projection = self.shared.store.projection.name();
                    tracing::warn!(projection, %reason, "a projection cannot commit; trying again");
                    tokio::select! {
                        // cancel-safe: both only wait.
                        () = time::sleep(RETRY_PAUSE) => {}
                        () = draining.asked() => {}
                    }
                }
                Err(source) => return Err(ProjectionError::Append { name: name(), source }),
            }
        }
    }

    fn panicked(&self, position: u64) -> ProjectionError {
        ProjectionError::Panicked {
            name: self.shared.store.projection.name().to_owned(),
            position,
        }
    }
}

/// Waits until somebody waits for more than this position.
async fn further(wanted: &mut watch::Receiver<u64>, position: u64) {
    // The sender lives as long as we do.
    let _gone = wanted.wait_for(|wanted| *wanted > position).await.is_err();
}

/// Waits until the log is closed.
async fn closed(end: &mut watch::Receiver<End>) {
    // The sender lives as long as the log's reader, which we have.
    let _gone = end.wait_for(|end| end.is_closed).await.is_err();
}

impl Due {
    async fn wait(self) {
        match self.0 {
            Some(at) => time::sleep_until(at).await,
            None => std::future::pending().await,
        }
    }
}

/// Tells those who wait for a projection that it has ended.
struct Closing<P: Projection>(Arc<Shared<P>>);

impl<P: Projection> Drop for Closing<P> {
    fn drop(&mut self) {
        self.0.at.send_modify(|at| at.is_closed = true);
    }
}
