//! What can happen, and options with which it matters.

use proptest::prelude::*;

use crate::schedule::*;

#[derive(Debug, Clone)]
pub(super) enum Step {
    Submit {
        owner: (u8, u8),
        class: usize,
        backend: usize,
        memory: u64,
        bytes: u64,
        cost: u32,
        deadline_ms: Option<u64>,
        refuse: bool,
    },
    Next(f64),
    Started(usize, u64),
    Ended(usize, Outcome),
    PutBack(usize, Outcome),
    Cancel(usize),
    /// A report about a lease that is over.
    Late(usize),
    Wait(u64),
    /// Nothing changes but the time, up to when it wants to be called.
    Idle(f64),
    Budget(u64, usize),
    Adopt(u64),
    TenantMax(u8, usize),
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let place = (0..4usize, 0..2usize, (0..2u8, 0..2u8));
    let size = (0..12u64, 0..30u64, 1..9u32);
    let wishes = (
        proptest::option::weighted(0.3, 1..3000u64),
        proptest::bool::weighted(0.3),
    );
    let submit = (place, size, wishes).prop_map(|(place, size, wishes)| Step::Submit {
        class: place.0,
        backend: place.1,
        owner: place.2,
        memory: size.0,
        bytes: size.1,
        cost: size.2,
        deadline_ms: wishes.0,
        refuse: wishes.1,
    });
    let outcome = || {
        prop_oneof![
            Just(Outcome::Done),
            Just(Outcome::BackendFailed),
            Just(Outcome::Stopped)
        ]
    };
    let step = prop_oneof![
        10 => submit,
        6 => (0.0..30.0f64).prop_map(Step::Next),
        4 => (any::<usize>(), 0..500u64).prop_map(|(which, took)| Step::Started(which, took)),
        6 => (any::<usize>(), outcome()).prop_map(|(which, outcome)| Step::Ended(which, outcome)),
        2 => (any::<usize>(), outcome()).prop_map(|(which, outcome)| Step::PutBack(which, outcome)),
        4 => any::<usize>().prop_map(Step::Cancel),
        1 => any::<usize>().prop_map(Step::Late),
        4 => (0..1500u64).prop_map(Step::Wait),
        2 => (0.0..30.0f64).prop_map(Step::Idle),
        1 => (0..14u64, 0..6usize).prop_map(|(memory, tasks)| Step::Budget(memory, tasks)),
        1 => (0..20u64).prop_map(Step::Adopt),
        1 => (0..2u8, 0..3usize).prop_map(|(group, max)| Step::TenantMax(group, max)),
    ];
    proptest::collection::vec(step, 1..45)
}

pub(super) fn tight_options() -> Options {
    let backend = |name: &str| BackendOptions {
        running_max: 4,
        starts: StartLimits {
            at_first: 2,
            max: 4,
            window: 3,
            windows_to_probe: 3,
            ..StartLimits::default()
        },
        breaker: BreakerOptions {
            recent_max: 3,
            failures_max: 2,
            pause: Duration::from_millis(300),
            ..BreakerOptions::default()
        },
        ..BackendOptions::new(name)
    };
    let share = Share {
        running_max: 3,
        queued_max: 6,
        queued_bytes_max: 60,
        ..Share::default()
    };
    Options {
        budget: Budget {
            memory_bytes: 10,
            tasks: 4,
        },
        queue: QueueLimits {
            tasks_max: 10,
            bytes_max: 100,
        },
        group: share,
        tenant: Share {
            running_max: 2,
            ..share
        },
        idle_tenants_max: 1,
        large: LargeTasks {
            bypass_max: 1,
            hold: Duration::from_millis(300),
            hold_max: Duration::from_millis(700),
            look_max: 2,
            rest: Duration::from_millis(200),
        },
        backends: vec![backend("sandbox"), backend("oci")],
        ..Options::default()
    }
}
