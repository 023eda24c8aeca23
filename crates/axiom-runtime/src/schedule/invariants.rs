//! What is true of a scheduler after each step: everything that is held is held by a task, and each task holds it once.
//!
//! It is worked out anew from the tasks alone, and then compared with what the scheduler keeps count of.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::fair::Line;
use super::tenants::{Account, GroupId, TenantId};
use super::{BackendId, BreakerState, Class, Job, Scheduler, State, Task, Ticket, Wait, WhenBroken};

/// What is not as it must be.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("{0}")]
pub struct Broken(String);

/// What the tasks of one owner add up to.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
struct Sum {
    queued: usize,
    queued_bytes: u64,
    running: usize,
}

impl<T> Scheduler<T> {
    /// Takes time in proportion to everything: for tests and for a look now and then.
    pub fn check_invariants(&self) -> Result<(), Broken> {
        self.check_room()?;
        self.check_waiting()?;
        self.check_backends()?;
        self.check_owners()?;
        self.check_order()
    }

    fn check_room(&self) -> Result<(), Broken> {
        let running = || self.tasks.values().filter(|task| task.state.wait().is_none());
        let bytes: u128 = running().map(|task| u128::from(task.memory_bytes)).sum();
        same("running tasks", self.room.used_tasks, running().count())?;
        same("used memory", self.room.used_bytes, bytes)?;
        let holder = self.room.hold.map(|hold| hold.ticket);
        let waits = holder.is_none_or(|ticket| self.queued().any(|(other, ..)| other == ticket));
        same("the hold is for a task that waits", waits, true)
    }

    fn check_waiting(&self) -> Result<(), Broken> {
        let waiting = &self.waiting;
        same("queued tasks", waiting.tasks, self.queued().count())?;
        let bytes: u64 = self.queued().map(|(_, _, job, _)| job.queued_bytes).sum();
        same("queued bytes", waiting.bytes, bytes)?;
        let deadlines = self
            .queued()
            .filter_map(|(ticket, _, job, _)| Some((job.deadline?, ticket)));
        same("deadlines", &waiting.deadlines, &deadlines.collect())?;
        let by_memory = self
            .queued()
            .map(|(ticket, task, ..)| (task.memory_bytes, ticket));
        same("by memory", &waiting.by_memory, &by_memory.collect())?;
        let resting = self
            .queued()
            .filter_map(|(ticket, _, _, wait)| Some((wait.rests_until?, ticket)));
        same("resting", &waiting.resting, &resting.collect())?;
        let impatient = self
            .queued()
            .filter(|(_, _, job, _)| job.when_broken == WhenBroken::Refuse);
        let impatient = impatient.map(|(ticket, task, ..)| (task.line.backend, ticket));
        same("impatient", &waiting.impatient, &impatient.collect())?;
        let since: usize = Class::ALL.iter().map(|class| waiting.since[*class].len()).sum();
        same("queued by class", since, waiting.tasks)
    }

    fn check_backends(&self) -> Result<(), Broken> {
        let mut counts: HashMap<BackendId, (usize, usize)> = HashMap::new();
        for task in self.tasks.values() {
            let (starting, running) = counts.entry(task.line.backend).or_default();
            *starting += usize::from(matches!(task.state, State::Placed { .. }));
            *running += usize::from(task.state.wait().is_none());
        }
        for backend in self.backends.iter() {
            let id = self.backends.by_name(&backend.name);
            let expected = id.and_then(|id| counts.get(&id)).copied().unwrap_or_default();
            same(&backend.name, (backend.starting, backend.running), expected)?;
            if let BreakerState::HalfOpen { on_trial, .. } = backend.breaker.state() {
                let here = self.tasks.values().filter(|task| Some(task.line.backend) == id);
                let counts = here.filter(
                    |task| matches!(task.state, State::Placed { era, .. } if backend.breaker.is_now(era)),
                );
                same("tasks on trial", on_trial, counts.count())?;
            }
        }
        Ok(())
    }

    fn check_owners(&self) -> Result<(), Broken> {
        let mut tenants: HashMap<TenantId, Sum> = HashMap::new();
        let mut groups: HashMap<GroupId, Sum> = HashMap::new();
        for task in self.tasks.values() {
            let group = self.fair.tenants.tenant(task.tenant).group;
            for sum in [
                tenants.entry(task.tenant).or_default(),
                groups.entry(group).or_default(),
            ] {
                sum.add(task);
            }
        }
        for (id, tenant) in &self.fair.tenants.tenants {
            let expected = tenants.get(id).cloned().unwrap_or_default();
            same("a tenant's tasks", Sum::of(&tenant.account), expected)?;
        }
        for (id, group) in &self.fair.tenants.groups {
            let expected = groups.get(id).cloned().unwrap_or_default();
            same("a group's tasks", Sum::of(&group.account), expected)?;
            let members = self
                .fair
                .tenants
                .tenants
                .values()
                .filter(|tenant| tenant.group == *id);
            same(&group.name, group.tenants, members.count())?;
        }
        let without = self
            .fair
            .tenants
            .tenants
            .keys()
            .filter(|id| !tenants.contains_key(id));
        same(
            "tenants without a task",
            self.fair.tenants.idle.len(),
            without.count(),
        )?;
        let few = self.fair.tenants.idle.len() <= self.fair.tenants.idle_max;
        same("few are remembered without a task", few, true)
    }

    fn check_order(&self) -> Result<(), Broken> {
        let tasks = self
            .queued()
            .map(|(ticket, task, ..)| (task.tenant, task.line, ticket));
        same("tasks in line", &self.fair.tasks, &tasks.collect())?;
        // Between two calls, a line stands aside if its first task rests, and for no other reason.
        let aside = self.queued().filter(|(.., wait)| wait.rests_until.is_some());
        let aside = aside.map(|(_, task, ..)| (task.tenant, task.line)).collect();
        same("lines aside", &self.fair.aside, &aside)?;

        let lines: BTreeSet<(TenantId, Line)> =
            self.fair.tasks.iter().map(|(id, line, _)| (*id, *line)).collect();
        let ready = lines.difference(&aside).filter_map(|(id, line)| {
            let tenant = self.fair.tenants.tenant(*id);
            let entry = (tenant.group, *line, tenant.account.tags[line.class], *id);
            tenant.account.may_run().then_some(entry)
        });
        let ready = ready.collect();
        same("ready tenants", &self.fair.ready_tenants, &ready)?;

        let mut lines: BTreeMap<(GroupId, Line), usize> = BTreeMap::new();
        for (group, line, ..) in &ready {
            *lines.entry((*group, *line)).or_default() += 1;
        }
        let groups = lines.keys().filter_map(|(id, line)| {
            let account = &self.fair.tenants.group(*id).account;
            account
                .may_run()
                .then_some((*line, account.tags[line.class], *id))
        });
        same("ready groups", &self.fair.ready_groups, &groups.collect())?;
        let counted = self.fair.tenants.groups.iter().flat_map(|(id, group)| {
            let lines = group.account.lines.iter();
            lines.map(|(line, count)| ((*id, *line), *count))
        });
        same("ready tenants by group", &counted.collect(), &lines)
    }

    fn queued(&self) -> impl Iterator<Item = (Ticket, &Task<T>, &Job<T>, &Wait)> {
        self.tasks.iter().filter_map(|(ticket, task)| match &task.state {
            State::Queued { job, wait } => Some((*ticket, task, &**job, wait)),
            State::Placed { .. } | State::Started { .. } => None,
        })
    }
}

impl Sum {
    fn of(account: &Account) -> Sum {
        Sum {
            queued: account.queued,
            queued_bytes: account.queued_bytes,
            running: account.running,
        }
    }

    fn add<T>(&mut self, task: &Task<T>) {
        match &task.state {
            State::Queued { job, .. } => {
                self.queued += 1;
                self.queued_bytes += job.queued_bytes;
            }
            State::Placed { .. } | State::Started { .. } => self.running += 1,
        }
    }
}

fn same<V: PartialEq + std::fmt::Debug>(what: &str, is: V, expected: V) -> Result<(), Broken> {
    if is == expected {
        return Ok(());
    }
    Err(Broken(format!(
        "{what}: {is:?}, and by the tasks it is {expected:?}"
    )))
}
