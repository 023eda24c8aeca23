//! The scheduler: which tasks wait, which may start now, and what each of them holds until it has ended.
//!
//! It is pure. It has no clock, no threads and no I/O: time is a `Duration` since a start that the caller chose, and comes in
//! with each call. Whoever drives it calls [`Scheduler::next`] after each change and at [`Scheduler::wake_at`], starts what is
//! placed, tells the owners of what is dropped, and reports how it went. Time that goes backwards counts as standing still.
//!
//! ```text
//!  submit --> queued --next--> placed --started--> started --ended--> gone
//!               |  ^             |                    |
//!               |  +--put_back---+--------------------+        cancel: of a queued task, gone at once;
//!               +--> dropped (deadline, budget, breaker)               of the others, stop it and report `ended`
//! ```
//!
//! A placed task holds a place, its memory, a place of its tenant, of its group and of its backend, and while it is starting
//! one of its backend's starts. All of it comes back with `ended` or `put_back`, once: a report about an attempt that is over
//! changes nothing, and says so. There is no time limit on a lease, for a place that is given away while somebody still sits
//! on it is worse than one that is lost.
//!
//! ```
//! use std::{num::NonZeroU32, time::Duration};
//! use axiom_runtime::schedule::*;
//!
//! let now = Duration::ZERO;
//! let backends = vec![BackendOptions::new("sandbox")];
//! let mut scheduler = Scheduler::new(Options { backends, ..Options::default() }).unwrap();
//! let ticket = scheduler.submit(now, Job {
//!     owner: Owner::within("acme", "session-1"),
//!     class: Class::Critical,
//!     backend: "sandbox".into(),
//!     memory_bytes: 512 << 20,
//!     queued_bytes: 4,
//!     cost: NonZeroU32::MIN,
//!     deadline: None,
//!     when_broken: WhenBroken::Wait,
//!     work: "make",
//! }).unwrap();
//! let next = scheduler.next(now, Pressure::default());
//! let lease = next.placed[0].lease;
//! assert_eq!((lease.ticket, next.placed[0].job.work), (ticket, "make"));
//! scheduler.started(now, lease, Duration::from_millis(1)).unwrap();
//! scheduler.ended(now, lease, Outcome::Done).unwrap();
//! // Nothing is held any more, and nothing more to be given back.
//! assert_eq!(scheduler.ended(now, lease, Outcome::Done), Err(Stale::Gone { ticket }));
//! ```
//!
//! # Who is next
//!
//! 1. What can start no more, or does not want to, is dropped: see `waiting`.
//! 2. Classes go by rank, unless a lower one is due: `aging`. The machine's pressure shuts out the lower ones: `gate`.
//!    While nothing runs at all it shuts out nobody, for then the pressure is not ours and waiting would not lower it.
//! 3. Within a class it goes by fair queueing, of groups and of their tenants: `fair`.
//! 4. The backend must have a place: `backend`, `breaker`, `starts`.
//! 5. The task must fit in: `room`.
//!
//! # How long it may take
//!
//! Nothing starves that could run. In a class, with equal weights and costs, the `k`th task of a group has its turn after `k`
//! tasks of each other group at most; and before each task of the class at most `passes + 2` of other classes have theirs,
//! once its oldest has waited `age`. So with `n` groups in its class, it is placed within `k * n * (passes + 3)` placements.
//! Not counted in this are waits for the task's own caps, its backend and its room, whose own bounds their modules say, and a
//! gate that pressure keeps shut, which has none: that is what deadlines are for.
//!
//! Each operation takes logarithmic time in what waits, and no longer with many backends than with [`BACKENDS_MAX`]; `next`
//! takes as long for each task that it returns or that does not fit.

mod aging;
mod backend;
mod breaker;
mod class;
mod fair;
mod gate;
mod invariants;
mod job;
mod options;
mod queue;
mod refusal;
mod report;
mod room;
mod snapshot;
mod starts;
mod tenants;
mod waiting;

use std::collections::HashMap;
use std::time::Duration;

pub use self::aging::Patience;
pub use self::backend::{BACKENDS_MAX, BackendOptions};
pub use self::breaker::{BreakerOptions, BreakerState};
pub use self::class::{Class, PerClass};
pub use self::gate::{GateOptions, Pressure};
pub use self::invariants::Broken;
pub use self::job::{Cancelled, Dropped, Job, Lease, Next, Outcome, Owner, Placed, Ticket, WhenBroken};
pub use self::options::{Budget, Options, QueueLimits, Share};
pub use self::refusal::{BadOptions, PutBackError, Refused, Retry, Stale, Whose, Why};
pub use self::room::LargeTasks;
pub use self::snapshot::{BackendUse, Snapshot, TenantUse};
pub use self::starts::StartLimits;

use self::aging::Aging;
use self::backend::{BackendId, Backends};
use self::breaker::Era;
use self::fair::{Fair, Line};
use self::gate::Gate;
use self::room::{Fit, Room};
use self::tenants::{TenantId, Tenants};
use self::waiting::{Wait, Waiting};

/// See the [module](self).
#[derive(Debug)]
pub struct Scheduler<T> {
    now: Duration,
    tasks: HashMap<Ticket, Task<T>>,
    waiting: Waiting,
    fair: Fair,
    aging: Aging,
    gate: Gate,
    room: Room,
    backends: Backends,
    /// A look was cut short: there may be more to place without anything changing.
    look_again: bool,
    next_ticket: u64,
    next_attempt: u64,
    pace: Pace,
}

#[derive(Debug)]
struct Task<T> {
    tenant: TenantId,
    line: Line,
    memory_bytes: u64,
    /// Somebody asked for its end.
    is_cancelled: bool,
    state: State<T>,
}

#[derive(Debug)]
enum State<T> {
    Queued { job: Box<Job<T>>, wait: Wait },
    Placed { attempt: u64, era: Era, at: Duration },
    Started { attempt: u64, era: Era },
}

/// How often a place in the queue comes free.
#[derive(Debug)]
struct Pace {
    last: Duration,
    /// Between two placements, on average over some.
    interval: Duration,
}

/// The pressure changes without anybody telling us. The kernel works it out every two seconds.
const LOOK_AT_PRESSURE: Duration = Duration::from_secs(2);

/// A look at one task only would never get past the first.
const LOOK_MIN: usize = 2;

impl<T> Scheduler<T> {
    pub fn new(options: Options) -> Result<Scheduler<T>, BadOptions> {
        let tenants = Tenants::new(options.group, options.tenant, options.idle_tenants_max);
        Ok(Scheduler {
            now: Duration::ZERO,
            tasks: HashMap::new(),
            waiting: Waiting::new(options.queue),
            fair: Fair::new(tenants),
            aging: Aging::new(options.patience),
            gate: Gate::new(options.gate),
            room: Room::new(options.budget, options.large),
            backends: Backends::new(options.backends, options.seed)?,
            look_again: false,
            next_ticket: 1,
            next_attempt: options.first_attempt,
            pace: Pace::new(),
        })
    }

    /// What is to be done now: tasks to start, and tasks that will not be started.
    pub fn next(&mut self, now: Duration, pressure: Pressure) -> Next<T> {
        self.advance(now);
        self.gate.measure(pressure);
        let dropped = self.drop_hopeless();
        self.end_rests();
        let placed = self.place_all();
        self.room.end_hold(self.now);
        Next { placed, dropped }
    }

    /// When `next` may have something to say though nothing was reported: a deadline, the end of a breaker's pause or of a
    /// hold, a look at the pressure. `None` if only a report can change anything.
    pub fn wake_at(&self) -> Option<Duration> {
        let deadline = self.waiting.deadlines.first().map(|(deadline, _)| *deadline);
        let rest = self.waiting.resting.first().map(|(until, _)| *until);
        let hold = self.room.hold.map(|hold| hold.until);
        let something_waits = self.waiting.tasks > 0;
        let pause = self
            .backends
            .open()
            .map(|(_, until)| until)
            .min()
            .filter(|_| something_waits);
        let gate =
            (something_waits && !self.gate.is_open()).then(|| self.now.saturating_add(LOOK_AT_PRESSURE));
        let more = self.look_again.then_some(self.now);
        [deadline, rest, hold, pause, gate, more]
            .into_iter()
            .flatten()
            .min()
    }

    /// Changes what all may have together. What runs goes on, also above the budget; what waits and needs more than the new
    /// budget is dropped by `next`.
    pub fn set_budget(&mut self, budget: Budget) {
        self.room.budget = budget;
    }

    /// Says what this group may have, now and from now on. It is remembered for good: for what somebody configured, not for
    /// each name that comes along.
    pub fn set_group_share(&mut self, group: &str, share: Share) {
        self.fair.tenants.set_group_share(group, share);
        if let Some(id) = self.fair.tenants.group_id(group) {
            self.fair.list_all_of_group(id);
        }
    }

    /// Says what this tenant may have, now and from now on, and for good as well.
    pub fn set_tenant_share(&mut self, owner: &Owner, share: Share) {
        self.fair.tenants.set_tenant_share(owner, share);
        if let Some(id) = self.fair.tenants.tenant_id(owner) {
            self.fair.list(id);
        }
    }

    fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
        self.backends.advance(self.now);
    }

    fn drop_hopeless(&mut self) -> Vec<Dropped<T>> {
        let mut dropped = Vec::new();
        while let Some((ticket, why)) = self.hopeless() {
            let Some(job) = self.remove_queued(ticket) else {
                break;
            };
            dropped.push(Dropped { ticket, job, why });
        }
        dropped
    }

    /// A task that will not be started.
    fn hopeless(&self) -> Option<(Ticket, Why)> {
        if let Some(ticket) = self.waiting.overdue(self.now) {
            return Some((ticket, Why::DeadlinePassed));
        }
        let budget_bytes = self.room.budget.memory_bytes;
        if let Some((memory_bytes, ticket)) = self.waiting.larger_than(budget_bytes) {
            let why = Why::TooLarge {
                memory_bytes,
                budget_bytes,
            };
            return Some((ticket, why));
        }
        self.backends.open().find_map(|(backend, _)| {
            let ticket = self.waiting.impatient_at(backend)?;
            Some((ticket, self.backends.broken(backend, self.now)?))
        })
    }

    fn place_all(&mut self) -> Vec<Placed<T>> {
        let mut placed = Vec::new();
        let mut passed_by = Vec::new();
        self.look_again = false;
        while self.room.has_place() {
            let Some(ticket) = self.first() else { break };
            match self.fit(ticket) {
                Fit::Place => {
                    placed.extend(self.place(ticket));
                    self.count_pass(&passed_by);
                }
                Fit::Hold => break,
                Fit::Rest { until } => self.rest(ticket, until),
                Fit::Pass => {
                    self.let_pass(ticket);
                    passed_by.push(ticket);
                    if !self.some_would_fit() {
                        break;
                    }
                    if passed_by.len() >= self.room.large.look_max.max(LOOK_MIN) {
                        self.cut_short(&passed_by);
                        break;
                    }
                }
            }
        }
        for ticket in passed_by {
            self.bring_back(ticket);
        }
        placed
    }

    /// The task that is next, whether it fits or not.
    fn first(&self) -> Option<Ticket> {
        let backends: Vec<BackendId> = self.backends.with_a_place().collect();
        let idle = self.room.used_tasks == 0;
        let mut classes = self.aging.order(self.waiting.waited(self.now));
        classes.find_map(|class| {
            let may_pass = idle || self.gate.lets(class);
            may_pass.then(|| self.fair.first(class, &backends)).flatten()
        })
    }

    fn place(&mut self, ticket: Ticket) -> Option<Placed<T>> {
        let (tenant, line, job) = self.take_out(ticket)?;
        let attempt = self.new_attempt();
        let state = State::Placed {
            attempt,
            era: self.backends.placed(line.backend),
            at: self.now,
        };
        self.fair.served(tenant, line.class, job.cost);
        self.run(ticket, tenant, line, job.memory_bytes, state);
        self.aging.placed(line.class, self.waiting.waited(self.now));
        self.pace.placed(self.now);
        let lease = Lease { ticket, attempt };
        Some(Placed { lease, job })
    }

    /// The task holds a place and its memory from now on.
    fn run(&mut self, ticket: Ticket, tenant: TenantId, line: Line, memory_bytes: u64, state: State<T>) {
        self.room.take(memory_bytes);
        self.fair.run(tenant);
        let task = Task {
            tenant,
            line,
            memory_bytes,
            is_cancelled: false,
            state,
        };
        self.tasks.insert(ticket, task);
    }

    fn new_attempt(&mut self) -> u64 {
        let attempt = self.next_attempt;
        self.next_attempt += 1;
        attempt
    }
}

impl Pace {
    fn new() -> Pace {
        Pace {
            last: Duration::ZERO,
            interval: Duration::from_secs(1),
        }
    }

    fn placed(&mut self, now: Duration) {
        let interval = now.saturating_sub(self.last);
        self.interval = (self.interval.saturating_mul(7).saturating_add(interval)) / 8;
        self.last = now;
    }

    /// When one who found the queue full may try again: not at once, and not in an hour, whatever the past was like.
    fn retry(&self) -> Retry {
        Retry::After(
            self.interval
                .clamp(Duration::from_millis(100), Duration::from_secs(60)),
        )
    }
}

#[cfg(test)]
mod tests;
