//! What the caller reports about tasks that have a place: started, ended, put back into the queue, found running.

use std::sync::Arc;
use std::time::Duration;

use super::{Job, Lease, Line, Outcome, PutBackError, Refused, Scheduler, Stale, State, Ticket, Why};

impl<T> Scheduler<T> {
    /// The task runs; its start took so long.
    pub fn started(&mut self, now: Duration, lease: Lease, took: Duration) -> Result<(), Stale> {
        self.advance(now);
        self.check(lease)?;
        let task = self.tasks.get_mut(&lease.ticket).ok_or(gone(lease))?;
        let State::Placed { attempt, era, at } = task.state else {
            return Err(Stale::StartedBefore { ticket: lease.ticket });
        };
        task.state = State::Started { attempt, era };
        let backend = task.line.backend;
        self.backends.started(backend, self.now, era, at, took);
        Ok(())
    }

    /// The attempt is over, and all that it held is free again. Without `started` before, too.
    pub fn ended(&mut self, now: Duration, lease: Lease, outcome: Outcome) -> Result<(), Stale> {
        self.advance(now);
        self.check(lease)?;
        let task = self.tasks.remove(&lease.ticket).ok_or(gone(lease))?;
        let (backend, cancelled) = (task.line.backend, task.is_cancelled);
        match task.state {
            State::Placed { era, at, .. } => {
                let good = match outcome {
                    Outcome::Done => Some(true),
                    // Whoever stops a task may break its start; the backend is not to blame.
                    Outcome::BackendFailed if !cancelled => Some(false),
                    Outcome::BackendFailed | Outcome::Stopped => None,
                };
                self.backends.ended_before_start(backend, self.now, era, at, good);
            }
            State::Started { era, .. } => {
                let lost = outcome == Outcome::BackendFailed && !cancelled;
                self.backends.ended(backend, self.now, era, lost);
            }
            State::Queued { .. } => unreachable!("a lease was checked to be of a task that has a place"),
        }
        self.room.give_back(task.memory_bytes);
        self.fair.end(task.tenant);
        Ok(())
    }

    /// Ends the attempt and lets the same task wait once more, before the later ones of its tenant: the next attempt has a
    /// higher number. For what could not be started just now; what is to pause first is better submitted again later.
    pub fn put_back(
        &mut self,
        now: Duration,
        lease: Lease,
        outcome: Outcome,
        job: Box<Job<T>>,
    ) -> Result<(), PutBackError<T>> {
        if let Err(stale) = self.ended(now, lease, outcome) {
            return Err(PutBackError::Stale { job, stale });
        }
        match self.admit(&job) {
            Ok(backend) => {
                self.enter(lease.ticket, backend, job);
                Ok(())
            }
            Err(why) => Err(PutBackError::Refused { job, why }),
        }
    }

    /// A task that was found running, left by an earlier scheduler. It has its place whatever the limits say.
    pub fn adopt(&mut self, now: Duration, job: Job<T>) -> Result<Lease, Refused<T>> {
        self.advance(now);
        let Some(backend) = self.backends.by_name(&job.backend) else {
            let why = Why::UnknownBackend {
                backend: Arc::clone(&job.backend),
            };
            let job = Box::new(job);
            return Err(Refused { job, why });
        };
        let (ticket, attempt) = (self.new_ticket(), self.new_attempt());
        let tenant = self.fair.tenants.join(&job.owner);
        let line = Line {
            class: job.class,
            backend,
        };
        let era = self.backends.adopted(backend);
        self.run(
            ticket,
            tenant,
            line,
            job.memory_bytes,
            State::Started { attempt, era },
        );
        Ok(Lease { ticket, attempt })
    }

    /// What a task is doing, for one who has only its ticket.
    pub fn lease(&self, ticket: Ticket) -> Option<Lease> {
        let attempt = self.tasks.get(&ticket)?.state.attempt()?;
        Some(Lease { ticket, attempt })
    }

    fn check(&self, lease: Lease) -> Result<(), Stale> {
        let Lease { ticket, attempt } = lease;
        let task = self.tasks.get(&ticket).ok_or(gone(lease))?;
        match task.state.attempt() {
            None => Err(Stale::WaitsAgain { ticket, attempt }),
            Some(present) if present != attempt => Err(Stale::OtherAttempt {
                ticket,
                attempt,
                present,
            }),
            Some(_) => Ok(()),
        }
    }
}

impl<T> State<T> {
    pub(super) fn attempt(&self) -> Option<u64> {
        match self {
            State::Queued { .. } => None,
            State::Placed { attempt, .. } | State::Started { attempt, .. } => Some(*attempt),
        }
    }
}

fn gone(lease: Lease) -> Stale {
    Stale::Gone { ticket: lease.ticket }
}
