//! What a person sees who asks what is going on.

use std::sync::Arc;
use std::time::Duration;

use super::{BreakerState, Budget, Class, Owner, PerClass, Scheduler, State, Ticket};

/// All of it at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    pub at: Duration,
    pub budget: Budget,
    pub used_memory_bytes: u128,
    pub queued_bytes: u64,
    pub queued: PerClass<usize>,
    /// How long the oldest of each class has waited.
    pub waited: PerClass<Option<Duration>>,
    /// Classes that the machine's pressure shuts out.
    pub shut_out: PerClass<bool>,
    /// Those with a place that nobody has reported as started.
    pub starting: usize,
    pub started: usize,
    /// Those of them that somebody wants to end.
    pub stopping: usize,
    /// Memory gathers for this task, and nothing behind it is placed.
    pub hold_for: Option<Ticket>,
    pub backends: Vec<BackendUse>,
    /// Those with the most running, then with the most waiting.
    pub tenants: Vec<TenantUse>,
    /// Tenants with a task.
    pub tenants_active: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendUse {
    pub name: Arc<str>,
    pub breaker: BreakerState,
    pub starting: usize,
    /// How many may be starting at once.
    pub starting_max: u32,
    /// Those that are starting are among them.
    pub running: usize,
    pub running_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantUse {
    pub owner: Owner,
    pub running: usize,
    pub queued: usize,
    pub queued_bytes: u64,
}

impl<T> Scheduler<T> {
    /// Takes time in proportion to all tasks and tenants: for people, not for each step. Names so many tenants at most.
    pub fn snapshot(&self, tenants_max: usize) -> Snapshot {
        let (mut queued, mut shut_out) = (PerClass::default(), PerClass::default());
        for class in Class::ALL {
            queued[class] = self.waiting.since[class].len();
            shut_out[class] = !self.gate.lets(class);
        }
        let is_started = |state: &State<T>| matches!(state, State::Started { .. });
        let count =
            |which: &dyn Fn(&super::Task<T>) -> bool| self.tasks.values().filter(|task| which(task)).count();
        let tenants = self.tenants_by_use();
        Snapshot {
            at: self.now,
            budget: self.room.budget,
            used_memory_bytes: self.room.used_bytes,
            queued_bytes: self.waiting.bytes,
            queued,
            waited: self.waiting.waited(self.now),
            shut_out,
            starting: self.backends.iter().map(|backend| backend.starting).sum(),
            started: count(&|task| is_started(&task.state)),
            stopping: count(&|task| task.is_cancelled),
            hold_for: self.room.hold.map(|hold| hold.ticket),
            backends: self.backend_uses(),
            tenants_active: tenants.len(),
            tenants: tenants.into_iter().take(tenants_max).collect(),
        }
    }

    fn backend_uses(&self) -> Vec<BackendUse> {
        let uses = self.backends.iter().map(|backend| BackendUse {
            name: Arc::clone(&backend.name),
            breaker: backend.breaker.state(),
            starting: backend.starting,
            starting_max: backend.starts.limit(),
            running: backend.running,
            running_max: backend.running_max,
        });
        uses.collect()
    }

    fn tenants_by_use(&self) -> Vec<TenantUse> {
        let all = self.fair.tenants.tenants.values().map(|tenant| TenantUse {
            owner: tenant.owner.clone(),
            running: tenant.account.running,
            queued: tenant.account.queued,
            queued_bytes: tenant.account.queued_bytes,
        });
        let mut active: Vec<TenantUse> = all.filter(|tenant| tenant.running + tenant.queued > 0).collect();
        active.sort_by(|one, other| {
            let by_use = (other.running, other.queued).cmp(&(one.running, one.queued));
            let by_name =
                || (&one.owner.group, &one.owner.tenant).cmp(&(&other.owner.group, &other.owner.tenant));
            by_use.then_with(by_name)
        });
        active
    }
}
