//! Operations per second with 100,000 tasks of 10,000 tenants waiting. It says, and judges nothing:
//! `cargo test --release -p axiom-runtime -- --ignored --nocapture operations_per_second`

use std::time::Instant;

use super::*;

const TASKS: u64 = 100_000;
const TENANTS: u64 = 10_000;

#[test]
#[ignore = "it measures, and a machine with other work says nothing"]
#[expect(
    clippy::disallowed_methods,
    reason = "the time that passes is what is asked for"
)]
fn operations_per_second() {
    let mut options = options();
    options.budget.tasks = 1000;
    (options.idle_tenants_max, options.tenant.running_max) = (1000, 4);
    let mut scheduler = Scheduler::new(options).unwrap();
    let now = |number: u64| Duration::from_micros(number);

    let began = Instant::now();
    for number in 0..TASKS {
        let tenant = number * 7919 % TENANTS;
        let owner = Owner::within(&(tenant % 500).to_string(), &tenant.to_string());
        let class = Class::ALL[usize::try_from(number % 4).unwrap()];
        scheduler.submit(now(number), job(owner, class, number)).unwrap();
    }
    say("submit", TASKS, began);

    let began = Instant::now();
    let mut cycles = 0;
    for round in 0..50 {
        let at = now(TASKS + round);
        for placed in scheduler.next(at, Pressure::default()).placed {
            scheduler.started(at, placed.lease, now(10)).unwrap();
            scheduler.ended(at, placed.lease, Outcome::Done).unwrap();
            cycles += 1;
        }
    }
    say("next, started, ended", cycles, began);

    let began = Instant::now();
    let left = (1..=TASKS)
        .filter(|ticket| matches!(scheduler.cancel(now(0), Ticket(*ticket)), Cancelled::Queued(_)));
    say("cancel", u64::try_from(left.count()).unwrap(), began);
    scheduler.check_invariants().unwrap();
}

fn say(what: &str, count: u64, began: Instant) {
    let each = began.elapsed() / u32::try_from(count).unwrap().max(1);
    println!("{what}: {count} times, {each:?} each");
}
