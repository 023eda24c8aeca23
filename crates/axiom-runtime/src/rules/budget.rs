//! How often a rule may act on a task. It is what ends every loop that nobody thought of.

use std::collections::VecDeque;
use std::time::Duration;

/// What one rule may do to one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    /// Actions within any time of this length, 1 to [`ACTIONS_MAX`].
    pub actions_max: u32,
    pub window: Duration,
    /// From one action to the next, at least.
    pub cool_down: Duration,
    /// Actions in the task's whole life, at least 1.
    pub total_max: u32,
}

/// Each action in the window is remembered, in 16 bytes.
pub(super) const ACTIONS_MAX: u32 = 100;

/// What all rules together may do to one task. A kill does not count: it ends the task, and with it whatever went wrong.
pub const TASK_BUDGET: Budget = Budget {
    actions_max: 60,
    window: Duration::from_secs(600),
    cool_down: Duration::ZERO,
    total_max: 1000,
};

impl Default for Budget {
    /// For a person who looks in now and then.
    fn default() -> Budget {
        Budget {
            actions_max: 3,
            window: Duration::from_secs(600),
            cool_down: Duration::from_secs(10),
            total_max: 20,
        }
    }
}

/// Why there is nothing left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UsedUp {
    #[error("it has acted {actions} times within {window:?}")]
    Window { actions: u32, window: Duration },
    #[error("it has acted {actions} times, and may not more often")]
    Total { actions: u32 },
    #[error("all rules together have acted {actions} times within {window:?}")]
    Task { actions: u32, window: Duration },
    #[error("all rules together have acted {actions} times, and may not more often")]
    TaskTotal { actions: u32 },
}

/// What was spent of a budget.
#[derive(Debug, Clone)]
pub(super) struct Spending {
    budget: Budget,
    /// The last actions, `actions_max` at most.
    recent: VecDeque<Duration>,
    total: u32,
    is_told: bool,
}

/// Whether there may be one more action.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Free,
    /// Not before this time.
    Cooling(Duration),
    /// Not before this time, if ever. `why` is told the first time.
    Spent {
        until: Option<Duration>,
        why: Option<UsedUp>,
    },
}

impl Spending {
    pub(super) fn new(budget: Budget) -> Spending {
        Spending {
            budget,
            recent: VecDeque::new(),
            total: 0,
            is_told: false,
        }
    }

    /// Changes nothing but that a reason is given once until the next action.
    pub(super) fn look(&mut self, now: Duration) -> Verdict {
        let Budget {
            actions_max,
            window,
            cool_down,
            total_max,
        } = self.budget;
        if self.total >= total_max {
            return self.spent(None, UsedUp::Total { actions: total_max });
        }
        let is_full = self.recent.len() >= actions_max as usize;
        if let Some(oldest) = self.recent.front().filter(|_| is_full)
            && now < oldest.saturating_add(window)
        {
            let until = oldest.saturating_add(window);
            let why = UsedUp::Window {
                actions: actions_max,
                window,
            };
            return self.spent(Some(until), why);
        }
        match self.recent.back() {
            Some(last) if now < last.saturating_add(cool_down) => {
                Verdict::Cooling(last.saturating_add(cool_down))
            }
            _ => Verdict::Free,
        }
    }

    fn spent(&mut self, until: Option<Duration>, why: UsedUp) -> Verdict {
        let why = (!self.is_told).then_some(why);
        self.is_told = true;
        Verdict::Spent { until, why }
    }

    pub(super) fn spend(&mut self, now: Duration) {
        if self.recent.len() >= self.budget.actions_max as usize {
            self.recent.pop_front();
        }
        self.recent.push_back(now);
        self.total += 1;
        self.is_told = false;
    }
}

impl UsedUp {
    /// The same of the budget of all rules.
    pub(super) fn of_task(self) -> UsedUp {
        match self {
            UsedUp::Window { actions, window } => UsedUp::Task { actions, window },
            UsedUp::Total { actions } => UsedUp::TaskTotal { actions },
            other => other,
        }
    }
}
