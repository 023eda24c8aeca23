//! Room on the machine: the budget of memory and of running tasks, and what becomes of a task too large for what is left.
//!
//! A task that is next in order and does not fit would wait for ever if smaller ones took each piece of memory that comes
//! free; and if it held up all others until it fits, tasks that run for days would hold them up for days. So:
//!
//! 1. At first smaller ones may go by, `bypass_max` of them.
//! 2. Then nothing behind it is placed, and memory gathers: a *hold*, of the length `hold` at first.
//! 3. If it does not fit by the end of it, the hold was in vain, and for as long again the task stands aside. Then it is next
//!    again, with no passes, and its next hold is twice as long, up to `hold_max`.
//!
//! So a machine whose tasks are short is never held up for long, and for one whose tasks end within some time below `hold_max`
//! there comes a hold that lasts as long. All the while others have half of the time at least. Holds are for the task that is
//! first in order: a higher class still goes before it, until its own class is due.
//!
//! Behind the first one, `look_max` tasks at most are tried at a time. All of them but the first then stand aside for `rest`,
//! so that the next look is at others: however many do not fit, one that does is found, and no look takes long.

use std::time::Duration;

use super::waiting::Wait;
use super::{Budget, Ticket};

/// The treatment of tasks that do not fit in just now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LargeTasks {
    /// Tasks behind it that may go by before a hold.
    pub bypass_max: u32,
    /// The first hold. Short, for a person may have to wait behind it.
    pub hold: Duration,
    /// Longer than most tasks run, and shorter than anybody wants to see a machine half idle.
    pub hold_max: Duration,
    /// Tasks that do not fit, at one look.
    pub look_max: usize,
    pub rest: Duration,
}

impl Default for LargeTasks {
    fn default() -> LargeTasks {
        LargeTasks {
            bypass_max: 16,
            hold: Duration::from_secs(5),
            hold_max: Duration::from_secs(640),
            look_max: 16,
            rest: Duration::from_secs(1),
        }
    }
}

#[derive(Debug)]
pub(super) struct Room {
    pub(super) budget: Budget,
    pub(super) large: LargeTasks,
    /// Wide enough for whatever adopted tasks say.
    pub(super) used_bytes: u128,
    pub(super) used_tasks: usize,
    pub(super) hold: Option<Hold>,
}

/// Memory gathers for one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) ticket: Ticket,
    pub(super) until: Duration,
}

/// What to do with the task that is next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Place,
    /// Others may go by.
    Pass,
    /// Place nothing behind it.
    Hold,
    /// It had its hold, in vain. Until then it stands aside.
    Rest {
        until: Duration,
    },
}

impl Room {
    pub(super) fn new(budget: Budget, large: LargeTasks) -> Room {
        Room {
            budget,
            large,
            used_bytes: 0,
            used_tasks: 0,
            hold: None,
        }
    }

    /// Whether there may be one more task, as far as their number goes.
    pub(super) fn has_place(&self) -> bool {
        self.used_tasks < self.budget.tasks
    }

    pub(super) fn has_memory(&self, memory_bytes: u64) -> bool {
        let free = u128::from(self.budget.memory_bytes).saturating_sub(self.used_bytes);
        u128::from(memory_bytes) <= free
    }

    pub(super) fn fit(&mut self, now: Duration, ticket: Ticket, memory_bytes: u64, wait: Wait) -> Fit {
        if self.has_memory(memory_bytes) {
            return Fit::Place;
        }
        if wait.passed < self.large.bypass_max {
            return Fit::Pass;
        }
        let doubled = 1u32.checked_shl(wait.holds).unwrap_or(u32::MAX);
        let length = self.large.hold.saturating_mul(doubled).min(self.large.hold_max);
        let until = now.saturating_add(length);
        match self.hold {
            Some(hold) if hold.ticket == ticket && hold.until <= now => {
                self.hold = None;
                Fit::Rest { until }
            }
            Some(hold) if hold.ticket == ticket => Fit::Hold,
            _ => {
                self.hold = Some(Hold { ticket, until });
                Fit::Hold
            }
        }
    }

    pub(super) fn take(&mut self, memory_bytes: u64) {
        self.used_bytes += u128::from(memory_bytes);
        self.used_tasks += 1;
    }

    pub(super) fn give_back(&mut self, memory_bytes: u64) {
        self.used_bytes -= u128::from(memory_bytes);
        self.used_tasks -= 1;
    }

    /// A hold may be over without the task being first any more: then it was not held up by the others.
    pub(super) fn end_hold(&mut self, now: Duration) {
        self.hold = self.hold.filter(|hold| hold.until > now);
    }

    /// The task waits no more.
    pub(super) fn forget(&mut self, ticket: Ticket) {
        self.hold = self.hold.filter(|hold| hold.ticket != ticket);
    }
}
