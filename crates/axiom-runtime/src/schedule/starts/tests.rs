use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// A backend that starts `knee` at once as fast as one, and makes them wait for each other above it.
struct Backend {
    knee: u32,
    one: Duration,
    now: Duration,
    /// When each that is starting will be done, and when it began.
    starting: BTreeSet<(Duration, Duration, u32)>,
}

impl Backend {
    fn new(knee: u32, one: Duration) -> Backend {
        Backend {
            knee,
            one,
            now: Duration::ZERO,
            starting: BTreeSet::new(),
        }
    }

    /// As many as may start do, up to `wanted`; then the next one is done. Says the limit afterwards.
    fn step(&mut self, starts: &mut Starts, wanted: u32, number: u32) -> u32 {
        while self.starting.len() < starts.limit().min(wanted) as usize {
            let at_once = u32::try_from(self.starting.len()).unwrap() + 1;
            let took = self.one * at_once.max(self.knee) / self.knee;
            let id = number * 1000 + at_once;
            self.starting.insert((self.now + took, self.now, id));
            starts.placed(self.starting.len());
        }
        let (done, began, _) = self.starting.pop_first().unwrap();
        self.now = self.now.max(done);
        starts.succeeded(self.now, began, done - began);
        starts.limit()
    }

    /// The limits while it measures nothing, after `settle` starts.
    fn settled(&mut self, starts: &mut Starts, settle: u32) -> (u32, u32) {
        for number in 0..settle {
            self.step(starts, u32::MAX, number);
        }
        let mut seen = (u32::MAX, 0);
        for number in 0..4000 {
            let limit = self.step(starts, u32::MAX, number);
            if starts.probing.is_none() {
                seen = (seen.0.min(limit), seen.1.max(limit));
            }
        }
        seen
    }
}

/// Where the limit may be for this knee: the module says so.
fn expected(knee: u32) -> std::ops::RangeInclusive<u32> {
    let most = (knee + 3) * 16 / 13;
    let (below, above) = (1 + knee / 16, 2 * (1 + most / 16));
    knee.saturating_sub(below).max(1)..=most + above
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn settles_at_the_knee(knee in 1u32..150, one_ms in 1u64..1000, at_first in 1u32..256) {
        let mut starts = Starts::new(StartLimits { at_first, ..StartLimits::default() });
        let mut backend = Backend::new(knee, Duration::from_millis(one_ms));
        let (lowest, highest) = backend.settled(&mut starts, 12_000);
        let expected = expected(knee);
        prop_assert!(expected.contains(&lowest) && expected.contains(&highest), "{lowest} to {highest}, not {expected:?}");
    }

    #[test]
    fn follows_a_knee_that_moves(before in 1u32..100, after in 1u32..100, slower in 1u32..5) {
        let mut starts = Starts::new(StartLimits::default());
        let mut backend = Backend::new(before, Duration::from_millis(20));
        backend.settled(&mut starts, 4000);
        (backend.knee, backend.one) = (after, backend.one * slower);
        let (lowest, highest) = backend.settled(&mut starts, 12_000);
        let expected = expected(after);
        prop_assert!(expected.contains(&lowest) && expected.contains(&highest), "{lowest} to {highest}, not {expected:?}");
    }

    #[test]
    fn stays_within_its_bounds(
        reports in proptest::collection::vec((any::<bool>(), 0u64..10_000, 0usize..500), 0..2000),
        min in 0u32..20, max in 0u32..300, at_first in 0u32..400, window in 0u32..20, windows_to_probe in 0u32..9,
    ) {
        let mut starts = Starts::new(StartLimits { at_first, min, max, window, windows_to_probe });
        for (number, (good, took, at_once)) in (0..).zip(reports) {
            let now = Duration::from_millis(number);
            starts.placed(at_once);
            if good {
                starts.succeeded(now, now, Duration::from_millis(took));
            } else {
                starts.failed(now, now);
            }
            prop_assert!((min.max(1)..=max.max(min.max(1))).contains(&starts.limit()), "{}", starts.limit());
        }
    }
}

#[test]
fn a_limit_that_nobody_needs_does_not_grow() {
    let mut starts = Starts::new(StartLimits::default());
    let mut backend = Backend::new(100, Duration::from_millis(10));
    let limits: BTreeSet<u32> = (0..2000)
        .map(|number| backend.step(&mut starts, 3, number))
        .collect();
    // But for the windows that measure the floor.
    assert_eq!(limits, BTreeSet::from([2, 8]));
}

#[test]
fn failures_shrink_it() {
    let mut starts = Starts::new(StartLimits {
        at_first: 100,
        window: 10,
        ..StartLimits::default()
    });
    let mut limits = Vec::new();
    for second in 0..30 {
        let now = Duration::from_secs(second);
        starts.failed(now, now);
        limits.push(starts.limit());
    }
    limits.dedup();
    assert_eq!(limits, [100, 75, 56, 42]);
}
