//! Into the queue and out of it: taken in or refused, cancelled, and passed by what is smaller.

use std::sync::Arc;
use std::time::Duration;

use super::room::Fit;
use super::waiting::Wait;
use super::{
    BackendId, Cancelled, Job, Lease, Line, Refused, Scheduler, State, Task, TenantId, Ticket, WhenBroken,
    Why,
};

impl<T> Scheduler<T> {
    /// Takes a task into the queue, or gives it back with the reason.
    pub fn submit(&mut self, now: Duration, job: Job<T>) -> Result<Ticket, Refused<T>> {
        self.advance(now);
        let job = Box::new(job);
        match self.admit(&job) {
            Ok(backend) => {
                let ticket = self.new_ticket();
                self.enter(ticket, backend, job);
                Ok(ticket)
            }
            Err(why) => Err(Refused { job, why }),
        }
    }

    /// Ends a task that waits. One that runs is not ended by this: its lease comes back so that the caller can stop it, as often
    /// as it is asked for, and nothing is free before `ended`.
    pub fn cancel(&mut self, now: Duration, ticket: Ticket) -> Cancelled<T> {
        self.advance(now);
        let Some(task) = self.tasks.get_mut(&ticket) else {
            return Cancelled::Unknown;
        };
        match task.state {
            State::Placed { attempt, .. } | State::Started { attempt, .. } => {
                task.is_cancelled = true;
                Cancelled::Running(Lease { ticket, attempt })
            }
            State::Queued { .. } => {
                let job = self.remove_queued(ticket);
                job.map_or(Cancelled::Unknown, Cancelled::Queued)
            }
        }
    }

    /// Whether a task may wait, and where.
    pub(super) fn admit(&self, job: &Job<T>) -> Result<BackendId, Why> {
        let Some(backend) = self.backends.by_name(&job.backend) else {
            return Err(Why::UnknownBackend {
                backend: Arc::clone(&job.backend),
            });
        };
        let budget_bytes = self.room.budget.memory_bytes;
        if job.memory_bytes > budget_bytes {
            return Err(Why::TooLarge {
                memory_bytes: job.memory_bytes,
                budget_bytes,
            });
        }
        if job.deadline.is_some_and(|deadline| deadline <= self.now) {
            return Err(Why::DeadlinePassed);
        }
        if job.when_broken == WhenBroken::Refuse
            && let Some(why) = self.backends.broken(backend, self.now)
        {
            return Err(why);
        }
        let retry = self.pace.retry();
        self.fair.tenants.room_for(&job.owner, job.queued_bytes, retry)?;
        self.waiting.room_for(job.queued_bytes, retry)?;
        Ok(backend)
    }

    pub(super) fn enter(&mut self, ticket: Ticket, backend: BackendId, job: Box<Job<T>>) {
        let tenant = self.fair.tenants.join(&job.owner);
        let line = Line {
            class: job.class,
            backend,
        };
        self.waiting.enter(ticket, line, &job, self.now);
        self.fair.enter(tenant, line, ticket, job.queued_bytes);
        let wait = Wait {
            since: self.now,
            passed: 0,
            holds: 0,
            rests_until: None,
        };
        let task = Task {
            tenant,
            line,
            memory_bytes: job.memory_bytes,
            is_cancelled: false,
            state: State::Queued { job, wait },
        };
        self.tasks.insert(ticket, task);
    }

    pub(super) fn new_ticket(&mut self) -> Ticket {
        let ticket = Ticket(self.next_ticket);
        self.next_ticket += 1;
        ticket
    }

    /// A task that waits is no more.
    pub(super) fn remove_queued(&mut self, ticket: Ticket) -> Option<Box<Job<T>>> {
        let (tenant, _, job) = self.take_out(ticket)?;
        self.fair.tenants.settle(tenant);
        Some(job)
    }

    /// Takes a task that waits out of everything. Its tenant has a task less, or runs it from now on: that is for the caller.
    pub(super) fn take_out(&mut self, ticket: Ticket) -> Option<(TenantId, Line, Box<Job<T>>)> {
        self.tasks.get(&ticket)?.state.wait()?;
        let Task {
            tenant, line, state, ..
        } = self.tasks.remove(&ticket)?;
        let State::Queued { job, wait } = state else {
            return None;
        };
        self.waiting.leave(ticket, line, &job, wait);
        self.fair.leave(tenant, line, ticket, job.queued_bytes);
        if wait.rests_until.is_some() {
            self.fair.set_aside(tenant, line, false);
        }
        self.room.forget(ticket);
        Some((tenant, line, job))
    }

    /// Whether the task that is next fits in.
    pub(super) fn fit(&mut self, ticket: Ticket) -> Fit {
        let task = self.tasks.get(&ticket).expect("what is in line is a task");
        let wait = task.state.wait().expect("what is in line waits");
        self.room.fit(self.now, ticket, task.memory_bytes, *wait)
    }

    /// Whether anything that waits would fit in: if not, there is nothing to look for.
    pub(super) fn some_would_fit(&self) -> bool {
        let smallest = self.waiting.by_memory.first();
        smallest.is_some_and(|(memory_bytes, _)| self.room.has_memory(*memory_bytes))
    }

    /// Others may go by, in this look.
    pub(super) fn let_pass(&mut self, ticket: Ticket) {
        if let Some(task) = self.tasks.get(&ticket) {
            self.fair.set_aside(task.tenant, task.line, true);
        }
    }

    pub(super) fn bring_back(&mut self, ticket: Ticket) {
        if let Some(task) = self.tasks.get(&ticket)
            && task.state.wait().is_some_and(|wait| wait.rests_until.is_none())
        {
            self.fair.set_aside(task.tenant, task.line, false);
        }
    }

    /// One more went by. Whoever let enough pass is back in line at once.
    pub(super) fn count_pass(&mut self, passed_by: &[Ticket]) {
        for ticket in passed_by {
            let Some(wait) = self.tasks.get_mut(ticket).and_then(|task| task.state.wait_mut()) else {
                continue;
            };
            wait.passed = wait.passed.saturating_add(1);
            if wait.passed >= self.room.large.bypass_max {
                self.bring_back(*ticket);
            }
        }
    }

    /// All but the first stand aside for a while, so that the next look is at others.
    pub(super) fn cut_short(&mut self, passed_by: &[Ticket]) {
        let until = self.now.saturating_add(self.room.large.rest);
        for ticket in passed_by.iter().skip(1) {
            self.set_rest(*ticket, until);
        }
        self.look_again = passed_by.len() > 1;
    }

    /// The task had its hold, in vain.
    pub(super) fn rest(&mut self, ticket: Ticket, until: Duration) {
        self.set_rest(ticket, until);
        if let Some(wait) = self.tasks.get_mut(&ticket).and_then(|task| task.state.wait_mut()) {
            wait.passed = 0;
            wait.holds = wait.holds.saturating_add(1);
        }
    }

    pub(super) fn end_rests(&mut self) {
        while let Some(ticket) = self.waiting.rested(self.now) {
            self.waiting.resting.pop_first();
            if let Some(wait) = self.tasks.get_mut(&ticket).and_then(|task| task.state.wait_mut()) {
                wait.rests_until = None;
            }
            self.bring_back(ticket);
        }
    }

    fn set_rest(&mut self, ticket: Ticket, until: Duration) {
        let Some(task) = self.tasks.get_mut(&ticket) else {
            return;
        };
        if let Some(wait) = task.state.wait_mut() {
            wait.rests_until = Some(until);
            self.waiting.resting.insert((until, ticket));
            self.fair.set_aside(task.tenant, task.line, true);
        }
    }
}

impl<T> State<T> {
    pub(super) fn wait(&self) -> Option<&Wait> {
        match self {
            State::Queued { wait, .. } => Some(wait),
            State::Placed { .. } | State::Started { .. } => None,
        }
    }

    fn wait_mut(&mut self) -> Option<&mut Wait> {
        match self {
            State::Queued { wait, .. } => Some(wait),
            State::Placed { .. } | State::Started { .. } => None,
        }
    }
}
