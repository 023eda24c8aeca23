//! The order against a list that is searched from one end to the other.

use proptest::prelude::*;

use super::*;

const GROUPS: usize = 3;
const TENANTS: usize = 3;
const RUNNING_MAX: [usize; 2] = [usize::MAX, 2];

#[derive(Debug, Clone)]
enum Step {
    Submit(Item),
    Next,
    /// The one that comes at this place among those that there are.
    End(usize),
    Cancel(usize),
    Wait(u64),
}

#[derive(Debug, Clone)]
struct Item {
    ticket: u64,
    since: u64,
    group: usize,
    tenant: usize,
    class: usize,
    backend: usize,
    cost: u32,
}

#[derive(Debug, Clone)]
struct Limits {
    slots: usize,
    group_max: usize,
    tenant_max: usize,
    group_weights: [u32; GROUPS],
    tenant_weights: [u32; TENANTS],
    passes: u32,
    age: u64,
}

#[derive(Debug)]
struct Model {
    limits: Limits,
    queued: Vec<Item>,
    running: Vec<Item>,
    /// Groups and tenants in the order in which they came.
    groups: Vec<usize>,
    tenants: Vec<(usize, usize)>,
    group_tags: [[u128; GROUPS]; 4],
    tenant_tags: [[[u128; TENANTS]; GROUPS]; 4],
    clock: [u128; 4],
    group_clocks: [[u128; GROUPS]; 4],
    passed: [u32; 4],
}

impl Model {
    fn submit(&mut self, item: Item) {
        if !self.groups.contains(&item.group) {
            self.groups.push(item.group);
        }
        let tenant = (item.group, item.tenant);
        if !self.tenants.contains(&tenant) {
            self.tenants.push(tenant);
        }
        self.queued.push(item);
    }

    fn next(&mut self, now: u64) -> Vec<u64> {
        let mut placed = Vec::new();
        while self.running.len() < self.limits.slots
            && let Some(at) = self.choose(now)
        {
            let item = self.queued.remove(at);
            placed.push(item.ticket);
            self.place(item);
        }
        placed
    }

    fn choose(&self, now: u64) -> Option<usize> {
        let is_due = |class: usize| {
            let oldest = self
                .queued
                .iter()
                .filter(|item| item.class == class)
                .map(|item| item.since)
                .min();
            let aged = oldest.is_some_and(|since| now - since >= self.limits.age);
            class != 0 && aged && self.passed[class] >= self.limits.passes.max(3)
        };
        let mut classes = [0, 1, 2, 3];
        classes.sort_by_key(|class| !is_due(*class));
        classes.into_iter().find_map(|class| {
            let items = self
                .queued
                .iter()
                .enumerate()
                .filter(|(_, item)| item.class == class);
            let ready = items.filter(|(_, item)| self.may_run(item));
            ready.min_by_key(|(_, item)| self.key(item)).map(|(at, _)| at)
        })
    }

    fn may_run(&self, item: &Item) -> bool {
        let running = |which: &dyn Fn(&&Item) -> bool| self.running.iter().filter(which).count();
        running(&|other| other.group == item.group) < self.limits.group_max
            && running(&|other| (other.group, other.tenant) == (item.group, item.tenant))
                < self.limits.tenant_max
            && running(&|other| other.backend == item.backend) < RUNNING_MAX[item.backend]
    }

    fn key(&self, item: &Item) -> (u128, usize, u128, usize, u64) {
        let tenant = (item.group, item.tenant);
        (
            self.group_tags[item.class][item.group],
            self.groups.iter().position(|group| *group == item.group).unwrap(),
            self.tenant_tags[item.class][item.group][item.tenant],
            self.tenants.iter().position(|other| *other == tenant).unwrap(),
            item.ticket,
        )
    }

    fn place(&mut self, item: Item) {
        let service = |weight: u32| (u128::from(item.cost) << 32).div_ceil(u128::from(weight));
        let start = self.group_tags[item.class][item.group].max(self.clock[item.class]);
        self.clock[item.class] = start;
        self.group_tags[item.class][item.group] = start + service(self.limits.group_weights[item.group]);
        let clock = &mut self.group_clocks[item.class][item.group];
        let tag = &mut self.tenant_tags[item.class][item.group][item.tenant];
        *clock = (*tag).max(*clock);
        *tag = *clock + service(self.limits.tenant_weights[item.tenant]);
        for class in 0..4 {
            let waits = class != item.class && self.queued.iter().any(|other| other.class == class);
            self.passed[class] = if waits { self.passed[class] + 1 } else { 0 };
        }
        self.running.push(item);
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let item = (0..GROUPS, 0..TENANTS, 0..4usize, 0..2usize, 1..5u32);
    let submit = item.prop_map(|(group, tenant, class, backend, cost)| {
        Step::Submit(Item {
            ticket: 0,
            since: 0,
            group,
            tenant,
            class,
            backend,
            cost,
        })
    });
    let step = prop_oneof![
        6 => submit,
        2 => Just(Step::Next),
        4 => any::<usize>().prop_map(Step::End),
        1 => any::<usize>().prop_map(Step::Cancel),
        1 => (0..3u64).prop_map(Step::Wait),
    ];
    proptest::collection::vec(step, 0..120)
}

fn limits() -> impl Strategy<Value = Limits> {
    let weights = (prop::array::uniform3(1..4u32), prop::array::uniform3(1..4u32));
    (1..6usize, 1..5usize, 1..4usize, weights, 0..7u32, 0..4u64).prop_map(
        |(slots, group_max, tenant_max, (group_weights, tenant_weights), passes, age)| Limits {
            slots,
            group_max,
            tenant_max,
            group_weights,
            tenant_weights,
            passes,
            age,
        },
    )
}

fn scheduler_with(limits: &Limits) -> Scheduler<()> {
    let mut options = options();
    options.budget.tasks = limits.slots;
    options.backends[1].running_max = RUNNING_MAX[1];
    for class in Class::ALL {
        options.patience[class] = Patience {
            passes: limits.passes,
            age: secs(limits.age),
        };
    }
    let mut scheduler = Scheduler::new(options.clone()).unwrap();
    for (group, weight) in limits.group_weights.into_iter().enumerate() {
        let share = Share {
            weight: NonZeroU32::new(weight).unwrap(),
            running_max: limits.group_max,
            ..options.group
        };
        scheduler.set_group_share(&group.to_string(), share);
        for (tenant, weight) in limits.tenant_weights.into_iter().enumerate() {
            let share = Share {
                weight: NonZeroU32::new(weight).unwrap(),
                running_max: limits.tenant_max,
                ..options.tenant
            };
            scheduler.set_tenant_share(&owner(group, tenant), share);
        }
    }
    scheduler
}

fn owner(group: usize, tenant: usize) -> Owner {
    Owner::within(&group.to_string(), &tenant.to_string())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn places_in_the_order_of_a_searched_list(limits in limits(), steps in steps()) {
        let mut scheduler = scheduler_with(&limits);
        let mut model = Model {
            limits,
            queued: Vec::new(),
            running: Vec::new(),
            groups: Vec::new(),
            tenants: Vec::new(),
            group_tags: Default::default(),
            tenant_tags: Default::default(),
            clock: Default::default(),
            group_clocks: Default::default(),
            passed: Default::default(),
        };
        let mut now = 0;
        for step in steps {
            match step {
                Step::Submit(item) => {
                    let mut job = job(owner(item.group, item.tenant), Class::ALL[item.class], ());
                    job.backend = ["sandbox", "oci"][item.backend].into();
                    job.cost = NonZeroU32::new(item.cost).unwrap();
                    let ticket = scheduler.submit(secs(now), job).unwrap().0;
                    model.submit(Item { ticket, since: now, ..item });
                }
                Step::Next => {
                    let placed = scheduler.next(secs(now), Pressure::default()).placed;
                    let placed: Vec<u64> = placed.iter().map(|placed| placed.lease.ticket.0).collect();
                    prop_assert_eq!(placed, model.next(now));
                }
                Step::End(at) if !model.running.is_empty() => {
                    let item = model.running.remove(at % model.running.len());
                    let lease = scheduler.lease(Ticket(item.ticket)).unwrap();
                    scheduler.ended(secs(now), lease, Outcome::Done).unwrap();
                }
                Step::Cancel(at) if !model.queued.is_empty() => {
                    let item = model.queued.remove(at % model.queued.len());
                    let is_queued = matches!(scheduler.cancel(secs(now), Ticket(item.ticket)), Cancelled::Queued(_));
                    prop_assert!(is_queued);
                }
                Step::Wait(more) => now += more,
                Step::End(_) | Step::Cancel(_) => {}
            }
            scheduler.check_invariants().unwrap();
        }
    }
}
