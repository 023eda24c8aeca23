//! The bounds that the modules state: nobody starves, shares are fair, a large task gets its room.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

proptest! {
    /// `aging`: no class is passed by more than `passes + 2` tasks of others once its oldest has waited `age`.
    #[test]
    fn no_class_starves(
        passes in prop::array::uniform4(0..9u32),
        ages in prop::array::uniform4(0..5u64),
        rounds in proptest::collection::vec((0..4usize, 0..4u64, proptest::collection::vec(0..4usize, 0..6)), 1..150),
    ) {
        let mut options = options();
        options.budget.tasks = 4;
        for ((class, passes), age) in Class::ALL.into_iter().zip(passes).zip(ages) {
            options.patience[class] = Patience { passes, age: secs(age) };
        }
        let mut scheduler = Scheduler::new(options).unwrap();
        let mut waiting: [BTreeSet<(u64, Ticket)>; 4] = Default::default();
        let mut passed = [0; 4];
        let mut running: Vec<Lease> = Vec::new();
        let mut now = 0;
        for (ends, wait, submitted) in rounds {
            now += wait;
            for class in submitted {
                let ticket = scheduler.submit(secs(now), job(Owner::alone("ann"), Class::ALL[class], class)).unwrap();
                waiting[class].insert((now, ticket));
            }
            for lease in running.drain(..ends.min(running.len())) {
                scheduler.ended(secs(now), lease, Outcome::Done).unwrap();
            }
            for placed in scheduler.next(secs(now), Pressure::default()).placed {
                let own = placed.job.work;
                waiting[own].retain(|(_, ticket)| *ticket != placed.lease.ticket);
                running.push(placed.lease);
                for class in 0..4 {
                    let aged = waiting[class].first().is_some_and(|(since, _)| now - since >= ages[class]);
                    passed[class] = if class == own || !aged { 0 } else { passed[class] + 1 };
                    // The highest class is never passed but by those that are due.
                    let bound = if class == 0 { 3 } else { passes[class].max(3) + 2 };
                    prop_assert!(passed[class] <= bound, "{} by {}", Class::ALL[class], passed[class]);
                }
            }
        }
    }

    /// All together: the `k`th of a group is placed within `k * n * (passes + 3)`, however much there is of everything else.
    #[test]
    fn no_task_starves(
        class in 0..4usize, kth in 1..5u32, groups in 1..6u32, passes in 0..8u32, slots in 1..4usize, warm in 0..50,
    ) {
        let mut options = options();
        options.budget.tasks = slots;
        for class in Class::ALL {
            options.patience[class] = Patience { passes, age: secs(0) };
        }
        let mut scheduler = Scheduler::new(options).unwrap();
        let flood = |scheduler: &mut Scheduler<u32>, group: u32, class: Class| {
            scheduler.submit(secs(0), job(Owner::alone(&group.to_string()), class, 0)).unwrap();
        };
        for (group, class) in (1..groups).flat_map(|group| Class::ALL.map(|class| (group, class))) {
            (0..=slots).for_each(|_| flood(&mut scheduler, group, class));
        }
        // Somebody is there who never lets the other classes be empty.
        Class::ALL.iter().filter(|other| **other != Class::ALL[class]).for_each(|other| {
            (0..=slots).for_each(|_| flood(&mut scheduler, 99, *other));
        });
        let mut placed_since = None;
        for round in 0..2000 {
            if round == warm {
                (1..=kth).for_each(|number| {
                    scheduler.submit(secs(0), job(Owner::alone("late"), Class::ALL[class], number)).unwrap();
                });
                placed_since = Some(0);
            }
            for placed in scheduler.next(secs(0), Pressure::default()).placed {
                scheduler.ended(secs(0), placed.lease, Outcome::Done).unwrap();
                placed_since = placed_since.map(|count| count + 1);
                if placed.job.work == kth {
                    let bound = kth * groups * (passes.max(3) + 3);
                    prop_assert!(placed_since.unwrap() <= bound, "{placed_since:?} of {bound}");
                    return Ok(());
                }
                if placed.job.work == 0 {
                    scheduler.submit(secs(0), *placed.job).unwrap();
                }
            }
        }
        prop_assert!(false, "it was never placed");
    }

    /// `fair`: two that always wait differ by one task's service of each at most, over any span. Here two tenants of one group,
    /// two groups, and a group of two against a lone one; others come and go.
    #[test]
    fn shares_are_fair(
        weights in prop::array::uniform4(1..8u32),
        group_weight in 1..8u32,
        costs in proptest::collection::vec(1..10u32, 1..20),
        others in proptest::collection::vec((0..5u8, 1..10u32), 0..60),
        slots in 1..5usize,
    ) {
        let owners = [Owner::within("acme", "1"), Owner::within("acme", "2"), Owner::alone("bob"), Owner::alone("cat")];
        let mut world = options();
        world.budget.tasks = slots;
        let weight = |weight: u32| Share { weight: NonZeroU32::new(weight).unwrap(), ..options().group };
        let mut scheduler = Scheduler::new(world).unwrap();
        scheduler.set_tenant_share(&owners[0], weight(weights[0]));
        scheduler.set_tenant_share(&owners[1], weight(weights[1]));
        scheduler.set_group_share("acme", weight(group_weight));
        scheduler.set_group_share("bob", weight(weights[2]));
        scheduler.set_group_share("cat", weight(weights[3]));

        let mut costs = costs.into_iter().cycle();
        let mut submit = |scheduler: &mut Scheduler<usize>, who: usize, owner: &Owner, cost: Option<u32>| {
            let cost = NonZeroU32::new(cost.or_else(|| costs.next()).unwrap()).unwrap();
            scheduler.submit(secs(0), Job { cost, ..job(owner.clone(), Class::Normal, who) }).unwrap();
        };
        for (who, owner) in owners.iter().enumerate() {
            // More than there are places: they always wait.
            (0..=slots).for_each(|_| submit(&mut scheduler, who, owner, None));
        }
        // One each: normalised service of the one less that of the other, its span, and the bound.
        let [a, b, c, d] = weights.map(f64::from);
        let mut pairs = [
            Pair::new([(0, a)].into(), [(1, b)].into()),
            Pair::new([(2, c)].into(), [(3, d)].into()),
            Pair::new([(0, f64::from(group_weight)), (1, f64::from(group_weight))].into(), [(2, c)].into()),
        ];
        let mut others = others.into_iter();
        for _ in 0..300 {
            if let Some((name, cost)) = others.next() {
                submit(&mut scheduler, 9, &Owner::alone(&name.to_string()), Some(cost));
            }
            for placed in scheduler.next(secs(0), Pressure::default()).placed {
                for pair in &mut pairs {
                    pair.served(placed.job.work, f64::from(placed.job.cost.get()));
                    prop_assert!(pair.highest - pair.lowest <= pair.bound() + 1e-6, "{pair:?}");
                }
                if let Some(owner) = owners.get(placed.job.work) {
                    submit(&mut scheduler, placed.job.work, owner, None);
                }
                scheduler.ended(secs(0), placed.lease, Outcome::Done).unwrap();
            }
        }
    }

    /// `room`: of the small ones behind a large one that is first, `bypass_max` go by; and when all end within `hold`, it has
    /// its room before that is over.
    #[test]
    fn a_large_task_gets_its_room(
        bypass_max in 0..6u32,
        big in 2..11u64,
        small in proptest::collection::vec((1..4u64, 1..30u64), 1..40),
    ) {
        let mut options = options();
        options.budget.memory_bytes = 10 * GIB;
        options.large = LargeTasks { bypass_max, hold: secs(30), ..LargeTasks::default() };
        let mut scheduler = Scheduler::new(options).unwrap();
        let mut small = small.into_iter().cycle();
        let mut submit = |scheduler: &mut Scheduler<u64>, now: u64| {
            let (gib, runs) = small.next().unwrap();
            let memory_bytes = gib * GIB;
            scheduler.submit(secs(now), Job { memory_bytes, ..job(Owner::alone("many"), Class::Normal, runs) }).unwrap();
        };
        let mut running: Vec<(u64, Lease)> = Vec::new();
        let (mut by, mut held_since, mut since) = (0, None, None);
        for now in 0..400 {
            running.retain(|(ends, lease)| {
                *ends > now || scheduler.ended(secs(now), *lease, Outcome::Done).is_err()
            });
            (0..4).for_each(|_| submit(&mut scheduler, now));
            if now == 20 {
                let memory_bytes = big * GIB;
                let large = Job { memory_bytes, ..job(Owner::alone("big"), Class::Normal, 0) };
                let ticket = scheduler.submit(secs(now), large).unwrap();
                since = Some(ticket);
            }
            for placed in scheduler.next(secs(now), Pressure::default()).placed {
                if placed.job.work == 0 {
                    prop_assert!(by <= bypass_max, "{by} went by");
                    prop_assert!(held_since.is_none_or(|held| now - held <= 30), "{held_since:?} to {now}");
                    return Ok(());
                }
                by += u32::from(since.is_some());
                running.push((now + placed.job.work, placed.lease));
            }
            let holds = since.is_some() && scheduler.snapshot(0).hold_for == since;
            held_since = held_since.or(holds.then_some(now));
        }
        prop_assert!(false, "it never had its room");
    }
}

/// Two that are always waiting.
#[derive(Debug)]
struct Pair {
    one: BTreeMap<usize, f64>,
    other: BTreeMap<usize, f64>,
    /// The largest task of each, by its weight.
    largest: [f64; 2],
    ahead: f64,
    highest: f64,
    lowest: f64,
}

impl Pair {
    fn new(one: BTreeMap<usize, f64>, other: BTreeMap<usize, f64>) -> Pair {
        Pair {
            one,
            other,
            largest: [0.0; 2],
            ahead: 0.0,
            highest: 0.0,
            lowest: 0.0,
        }
    }

    fn served(&mut self, who: usize, cost: f64) {
        if let Some(weight) = self.one.get(&who) {
            self.ahead += cost / weight;
            self.largest[0] = self.largest[0].max(cost / weight);
        }
        if let Some(weight) = self.other.get(&who) {
            self.ahead -= cost / weight;
            self.largest[1] = self.largest[1].max(cost / weight);
        }
        (self.highest, self.lowest) = (self.highest.max(self.ahead), self.lowest.min(self.ahead));
    }

    fn bound(&self) -> f64 {
        self.largest[0] + self.largest[1]
    }
}
