//! Schedules at random, with everything tight: whatever happens in whatever order, each place and each byte comes back, no
//! task is lost or told twice, and nothing starts late.

mod steps;

use proptest::prelude::*;

use self::steps::{Step, steps, tight_options};
use super::*;

/// What a task is doing, as far as anybody outside was told.
#[derive(Debug, PartialEq)]
enum Known {
    Queued,
    Running(Lease, Option<Box<Job<u64>>>),
    Gone,
}

struct Schedule {
    scheduler: Scheduler<u64>,
    now: Duration,
    known: BTreeMap<Ticket, Known>,
    over: Vec<Lease>,
    attempts: u64,
}

impl Schedule {
    fn new() -> Schedule {
        Schedule {
            scheduler: Scheduler::new(tight_options()).unwrap(),
            now: Duration::ZERO,
            known: BTreeMap::new(),
            over: Vec::new(),
            attempts: 0,
        }
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Next(pressure) => self.next(pressure),
            Step::Started(which, took_ms) => {
                if let Some((_, lease)) = self.running(which) {
                    let took = Duration::from_millis(took_ms);
                    let twice = self.scheduler.started(self.now, lease, took).is_err();
                    let again = self.scheduler.started(self.now, lease, took);
                    assert_eq!(
                        again,
                        Err(Stale::StartedBefore { ticket: lease.ticket }),
                        "{twice}"
                    );
                }
            }
            Step::Ended(which, outcome) => {
                if let Some((ticket, lease)) = self.running(which) {
                    self.scheduler.ended(self.now, lease, outcome).unwrap();
                    self.over(ticket, lease);
                }
            }
            Step::PutBack(which, outcome) => self.put_back(which, outcome),
            Step::Cancel(which) => self.cancel(which),
            Step::Late(which) if !self.over.is_empty() => {
                let lease = self.over[which % self.over.len()];
                // Time passes with any call; nothing else may change.
                assert_eq!(self.scheduler.cancel(self.now, Ticket(0)), Cancelled::Unknown);
                let before = self.scheduler.snapshot(9);
                self.scheduler.ended(self.now, lease, Outcome::Done).unwrap_err();
                self.scheduler.started(self.now, lease, self.now).unwrap_err();
                assert_eq!(before, self.scheduler.snapshot(9));
            }
            Step::Late(_) => {}
            Step::Wait(ms) => self.now += Duration::from_millis(ms),
            Step::Idle(pressure) => self.idle(pressure),
            Step::Budget(memory_bytes, tasks) => self.scheduler.set_budget(Budget { memory_bytes, tasks }),
            Step::Adopt(memory_bytes) => {
                let adopted = Job {
                    memory_bytes,
                    ..job(Owner::alone("0"), Class::High, 0)
                };
                let lease = self.scheduler.adopt(self.now, adopted).unwrap();
                self.attempts = lease.attempt;
                self.known.insert(lease.ticket, Known::Running(lease, None));
            }
            Step::TenantMax(group, running_max) => {
                let share = Share {
                    running_max,
                    ..tight_options().tenant
                };
                self.scheduler
                    .set_tenant_share(&Owner::within(&group.to_string(), "0"), share);
                self.scheduler.set_group_share(
                    &group.to_string(),
                    Share {
                        running_max: 3 - running_max,
                        ..share
                    },
                );
            }
            submit @ Step::Submit { .. } => self.submit(submit),
        }
        self.scheduler.check_invariants().unwrap();
    }

    fn submit(&mut self, step: Step) {
        let Step::Submit {
            owner,
            class,
            backend,
            memory,
            bytes,
            cost,
            deadline_ms,
            refuse,
        } = step
        else {
            return;
        };
        let job = Job {
            owner: Owner::within(&owner.0.to_string(), &owner.1.to_string()),
            class: Class::ALL[class],
            backend: ["sandbox", "oci"][backend].into(),
            memory_bytes: memory,
            queued_bytes: bytes,
            cost: NonZeroU32::new(cost).unwrap(),
            deadline: deadline_ms.map(|ms| self.now + Duration::from_millis(ms)),
            when_broken: if refuse {
                WhenBroken::Refuse
            } else {
                WhenBroken::Wait
            },
            work: 7,
        };
        match self.scheduler.submit(self.now, job.clone()) {
            Ok(ticket) => assert_eq!(self.known.insert(ticket, Known::Queued), None),
            Err(refused) => assert_eq!(*refused.job, job),
        }
    }

    /// Once, and again for as long as it asks for that at once.
    fn next(&mut self, percent: f64) {
        let pressure = Pressure {
            memory_some_avg10: percent,
            cpu_some_avg10: 0.0,
        };
        for _ in 0..20 {
            let next = self.scheduler.next(self.now, pressure);
            for dropped in next.dropped {
                assert_eq!(
                    self.known.insert(dropped.ticket, Known::Gone),
                    Some(Known::Queued)
                );
            }
            // What needs nothing fits into a budget that is overdrawn, too.
            let some = next.placed.iter().any(|placed| placed.job.memory_bytes > 0);
            for placed in next.placed {
                assert!(
                    placed.job.deadline.is_none_or(|deadline| self.now < deadline),
                    "late"
                );
                assert!(placed.lease.attempt > self.attempts, "fencing numbers only grow");
                self.attempts = placed.lease.attempt;
                let running = Known::Running(placed.lease, Some(placed.job));
                assert_eq!(
                    self.known.insert(placed.lease.ticket, running),
                    Some(Known::Queued)
                );
            }
            let seen = self.scheduler.snapshot(9);
            if some {
                assert!(
                    seen.used_memory_bytes <= u128::from(seen.budget.memory_bytes),
                    "too much"
                );
                assert!(seen.starting + seen.started <= seen.budget.tasks, "too many");
            }
            self.scheduler.check_invariants().unwrap();
            if self.scheduler.wake_at().is_none_or(|at| at > self.now) {
                return;
            }
        }
        panic!("it wants to be called for ever");
    }

    /// It sleeps for as long as it said, and had nothing to say in between.
    fn idle(&mut self, percent: f64) {
        self.next(percent);
        let never = self.now + secs(3600);
        let wake_at = self.scheduler.wake_at().unwrap_or(never);
        self.now = self.now.max(wake_at - Duration::from_nanos(1));
        let pressure = Pressure {
            memory_some_avg10: percent,
            cpu_some_avg10: 0.0,
        };
        let next = self.scheduler.next(self.now, pressure);
        assert_eq!((next.placed, next.dropped), (vec![], vec![]));
    }

    fn put_back(&mut self, which: usize, outcome: Outcome) {
        let Some((ticket, lease)) = self.running(which) else {
            return;
        };
        let Some(Known::Running(_, Some(job))) = self.known.remove(&ticket) else {
            return self.end_adopted(lease);
        };
        self.over(ticket, lease);
        match self.scheduler.put_back(self.now, lease, outcome, job) {
            Ok(()) => drop(self.known.insert(ticket, Known::Queued)),
            Err(PutBackError::Refused { .. }) => {}
            Err(PutBackError::Stale { stale, .. }) => panic!("{stale}"),
        }
    }

    fn end_adopted(&mut self, lease: Lease) {
        self.scheduler.ended(self.now, lease, Outcome::Done).unwrap();
        self.over(lease.ticket, lease);
    }

    fn cancel(&mut self, which: usize) {
        if self.known.is_empty() {
            return;
        }
        let at = which % self.known.len();
        let (ticket, known) = self.known.iter_mut().nth(at).unwrap();
        match (self.scheduler.cancel(self.now, *ticket), &known) {
            (Cancelled::Queued(_), Known::Queued) => *known = Known::Gone,
            (Cancelled::Running(lease), Known::Running(known, _)) => assert_eq!(lease, *known),
            (Cancelled::Unknown, Known::Gone) => {}
            (cancelled, known) => panic!("{cancelled:?}, and it was {known:?}"),
        }
    }

    fn running(&self, which: usize) -> Option<(Ticket, Lease)> {
        let running = self.known.iter().filter_map(|(ticket, known)| match known {
            Known::Running(lease, _) => Some((*ticket, *lease)),
            Known::Queued | Known::Gone => None,
        });
        let running: Vec<_> = running.collect();
        running.get(which.checked_rem(running.len())?).copied()
    }

    fn over(&mut self, ticket: Ticket, lease: Lease) {
        self.known.insert(ticket, Known::Gone);
        self.over.push(lease);
    }

    /// Lets everything come to its end, and looks for what was not given back.
    fn finish(mut self) {
        self.scheduler.set_budget(tight_options().budget);
        for group in ["0", "1"] {
            self.scheduler.set_group_share(group, tight_options().group);
            self.scheduler
                .set_tenant_share(&Owner::within(group, "0"), tight_options().tenant);
        }
        for _ in 0..300 {
            self.next(0.0);
            if self.known.values().all(|known| *known == Known::Gone) && self.scheduler.wake_at().is_none() {
                break;
            }
            while let Some((ticket, lease)) = self.running(0) {
                self.scheduler.ended(self.now, lease, Outcome::Done).unwrap();
                self.over(ticket, lease);
            }
            if let Some(at) = self.scheduler.wake_at() {
                self.now = self.now.max(at);
            }
        }
        let left: Vec<_> = self
            .known
            .iter()
            .filter(|(_, known)| **known != Known::Gone)
            .collect();
        assert!(left.is_empty(), "{left:?}");
        let seen = self.scheduler.snapshot(9);
        let used = (
            seen.used_memory_bytes,
            seen.queued_bytes,
            seen.queued,
            seen.starting,
            seen.started,
        );
        assert_eq!(used, (0, 0, PerClass::default(), 0, 0));
        assert_eq!(
            (seen.tenants_active, seen.hold_for, self.scheduler.wake_at()),
            (0, None, None)
        );
        assert!(
            seen.backends
                .iter()
                .all(|backend| (backend.running, backend.starting) == (0, 0))
        );
        self.scheduler.check_invariants().unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn everything_comes_back(steps in steps()) {
        let mut schedule = Schedule::new();
        for step in steps {
            schedule.run(step);
        }
        schedule.finish();
    }
}
