//! What the scheduler takes for a task, with 100,000 tasks of 10,000 tenants waiting.
//!
//! ```sh
//! cargo run --release -p axiom-runtime --example schedule
//! ```

#![allow(clippy::print_stdout, reason = "it is a program that prints what it measured")]

use std::error::Error;
use std::num::NonZeroU32;
use std::time::Duration;

use axiom_core::time::{self, Instant};
use axiom_runtime::schedule::{
    BackendOptions, Budget, Cancelled, Class, Job, Options, Outcome, Owner, Pressure, QueueLimits, Scheduler,
    Share, StartLimits, WhenBroken,
};

const TASKS: u32 = 100_000;
const TENANTS: u32 = 10_000;
const GROUPS: u32 = 500;
const RUNNING_MAX: usize = 1000;
const ROUNDS: u32 = 50;

fn main() -> Result<(), Box<dyn Error>> {
    let mut scheduler = Scheduler::new(options())?;
    let now = |number: u32| Duration::from_micros(u64::from(number));

    let began = time::now();
    let mut tickets = Vec::new();
    for number in 0..TASKS {
        let job = job(number);
        tickets.push(
            scheduler
                .submit(now(number), job)
                .map_err(|refused| refused.why)?,
        );
    }
    say("submit", TASKS, began);

    let began = time::now();
    let mut cycles = 0;
    for round in 0..ROUNDS {
        let at = now(TASKS + round);
        for placed in scheduler.next(at, Pressure::default()).placed {
            scheduler.started(at, placed.lease, now(10))?;
            scheduler.ended(at, placed.lease, Outcome::Done)?;
            cycles += 1;
        }
    }
    say("next, started and ended", cycles, began);

    let began = time::now();
    let mut cancelled = 0;
    for ticket in tickets {
        cancelled += u32::from(matches!(
            scheduler.cancel(now(TASKS), ticket),
            Cancelled::Queued(_)
        ));
    }
    say("cancel", cancelled, began);
    Ok(())
}

/// One of some tenant's, in one of the four classes.
fn job(number: u32) -> Job<u32> {
    let tenant = number % TENANTS;
    let owner = Owner::within(&(tenant % GROUPS).to_string(), &tenant.to_string());
    let class = Class::ALL[number as usize % Class::ALL.len()];
    Job {
        owner,
        class,
        backend: "sandbox".into(),
        memory_bytes: 1 << 30,
        queued_bytes: 1,
        cost: NonZeroU32::MIN,
        deadline: None,
        when_broken: WhenBroken::Wait,
        work: number,
    }
}

/// Nothing is in the way but how many may run.
fn options() -> Options {
    let share = Share {
        queued_max: usize::MAX,
        queued_bytes_max: u64::MAX,
        ..Share::default()
    };
    Options {
        budget: Budget {
            memory_bytes: 1 << 50,
            tasks: RUNNING_MAX,
        },
        queue: QueueLimits {
            tasks_max: 1 << 20,
            bytes_max: u64::MAX,
        },
        group: Share {
            running_max: usize::MAX,
            ..share
        },
        tenant: Share {
            running_max: 4,
            ..share
        },
        idle_tenants_max: 1000,
        backends: vec![BackendOptions {
            running_max: 1 << 20,
            starts: StartLimits {
                at_first: 1 << 20,
                min: 1 << 20,
                max: 1 << 20,
                ..StartLimits::default()
            },
            ..BackendOptions::new("sandbox")
        }],
        ..Options::default()
    }
}

fn say(what: &str, count: u32, began: Instant) {
    let each = began.elapsed() / count.max(1);
    println!("{what}: {count} times, {each:?} each");
}
