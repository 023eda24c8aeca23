//! The tasks that wait, by everything that can end their wait but their turn: a deadline, a budget that shrank, an open breaker.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::backend::BackendId;
use super::fair::Line;
use super::{Class, Job, PerClass, QueueLimits, Retry, Ticket, WhenBroken, Whose, Why};

#[derive(Debug)]
pub(super) struct Waiting {
    limits: QueueLimits,
    pub(super) tasks: usize,
    pub(super) bytes: u64,
    /// When each came.
    pub(super) since: PerClass<BTreeSet<(Duration, Ticket)>>,
    pub(super) deadlines: BTreeSet<(Duration, Ticket)>,
    pub(super) by_memory: BTreeSet<(u64, Ticket)>,
    /// Those that do not want to wait for a broken backend.
    pub(super) impatient: BTreeSet<(BackendId, Ticket)>,
    /// Those that stand aside, and until when.
    pub(super) resting: BTreeSet<(Duration, Ticket)>,
}

/// What is known about a task that waits, beside the job itself.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wait {
    pub(super) since: Duration,
    /// Others that went by while it did not fit.
    pub(super) passed: u32,
    /// Holds that were in vain.
    pub(super) holds: u32,
    pub(super) rests_until: Option<Duration>,
}

impl Waiting {
    pub(super) fn new(limits: QueueLimits) -> Waiting {
        Waiting {
            limits,
            tasks: 0,
            bytes: 0,
            since: PerClass::default(),
            deadlines: BTreeSet::new(),
            by_memory: BTreeSet::new(),
            impatient: BTreeSet::new(),
            resting: BTreeSet::new(),
        }
    }

    /// Whether one more of this size may wait.
    pub(super) fn room_for(&self, bytes: u64, retry: Retry) -> Result<(), Why> {
        let QueueLimits { tasks_max, bytes_max } = self.limits;
        has_room(
            Whose::Everybody,
            (self.tasks, tasks_max),
            (self.bytes, bytes_max),
            bytes,
            retry,
        )
    }

    pub(super) fn enter<T>(&mut self, ticket: Ticket, line: Line, job: &Job<T>, since: Duration) {
        self.tasks += 1;
        self.bytes += job.queued_bytes;
        self.since[line.class].insert((since, ticket));
        self.by_memory.insert((job.memory_bytes, ticket));
        if let Some(deadline) = job.deadline {
            self.deadlines.insert((deadline, ticket));
        }
        if job.when_broken == WhenBroken::Refuse {
            self.impatient.insert((line.backend, ticket));
        }
    }

    pub(super) fn leave<T>(&mut self, ticket: Ticket, line: Line, job: &Job<T>, wait: Wait) {
        self.tasks -= 1;
        self.bytes -= job.queued_bytes;
        self.since[line.class].remove(&(wait.since, ticket));
        self.by_memory.remove(&(job.memory_bytes, ticket));
        if let Some(deadline) = job.deadline {
            self.deadlines.remove(&(deadline, ticket));
        }
        self.impatient.remove(&(line.backend, ticket));
        if let Some(until) = wait.rests_until {
            self.resting.remove(&(until, ticket));
        }
    }

    /// How long the oldest of each class has waited.
    pub(super) fn waited(&self, now: Duration) -> PerClass<Option<Duration>> {
        let mut waited = PerClass::default();
        for class in Class::ALL {
            let oldest = self.since[class].first();
            waited[class] = oldest.map(|(since, _)| now.saturating_sub(*since));
        }
        waited
    }

    /// One whose deadline is here.
    pub(super) fn overdue(&self, now: Duration) -> Option<Ticket> {
        let (deadline, ticket) = self.deadlines.first()?;
        (*deadline <= now).then_some(*ticket)
    }

    /// One that needs more than there is altogether.
    pub(super) fn larger_than(&self, memory_bytes: u64) -> Option<(u64, Ticket)> {
        self.by_memory
            .last()
            .copied()
            .filter(|(bytes, _)| *bytes > memory_bytes)
    }

    /// One that does not want to wait for this backend.
    pub(super) fn impatient_at(&self, backend: BackendId) -> Option<Ticket> {
        let from = self.impatient.range((backend, Ticket(0))..).next();
        from.filter(|(other, _)| *other == backend)
            .map(|(_, ticket)| *ticket)
    }

    /// One whose rest is over.
    pub(super) fn rested(&self, now: Duration) -> Option<Ticket> {
        let (until, ticket) = self.resting.first()?;
        (*until <= now).then_some(*ticket)
    }
}

/// Whether one more task of `bytes` fits into a queue that has so many, and so many bytes, of so many at most.
pub(super) fn has_room(
    whose: Whose,
    (tasks, tasks_max): (usize, usize),
    (has_bytes, bytes_max): (u64, u64),
    bytes: u64,
    retry: Retry,
) -> Result<(), Why> {
    if tasks >= tasks_max {
        return Err(Why::QueueFull {
            whose,
            tasks_max,
            retry,
        });
    }
    if has_bytes.checked_add(bytes).is_none_or(|sum| sum > bytes_max) {
        // What is larger than all of the queue will never fit.
        let retry = if bytes > bytes_max { Retry::Never } else { retry };
        return Err(Why::QueueBytesFull {
            whose,
            bytes_max,
            retry,
        });
    }
    Ok(())
}

impl Whose {
    pub(super) fn group(name: &Arc<str>) -> Whose {
        Whose::Group(Arc::clone(name))
    }

    pub(super) fn tenant(name: &Arc<str>) -> Whose {
        Whose::Tenant(Arc::clone(name))
    }
}
