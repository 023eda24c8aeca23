#![allow(clippy::unwrap_used, reason = "a test says so by failing")]

use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;

use super::*;

fn rate(text: &str) -> Rate {
    text.parse().unwrap()
}

#[test]
fn a_burst_is_let_through_once_in_a_span() {
    let limiter = Limiter::new(rate("3/s"));
    let at = Duration::from_millis;
    for _ in 0..3 {
        limiter.take("a", at(100)).unwrap();
    }
    let refused = limiter.take("a", at(100)).unwrap_err();
    // 100 ms is in the slice that begins at 62.5; it counts for a span and a slice from there.
    assert_eq!(refused.after, Duration::from_micros(62_500 + 1_062_500) - at(100));
    limiter.take("b", at(100)).unwrap();
    limiter
        .take("a", at(100) + refused.after - Duration::from_nanos(1))
        .unwrap_err();
    limiter.take("a", at(100) + refused.after).unwrap();
    assert!(refused.to_string().starts_with("more than 3/s; in "), "{refused}");
}

#[test]
fn sixty_four_threads_get_exactly_what_there_is() {
    let limiter = Limiter::new(rate("1000/h"));
    let taken = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for thread in 0..64_u32 {
            let (limiter, taken) = (&limiter, &taken);
            scope.spawn(move || {
                for n in 0..200 {
                    // Their clocks differ.
                    let now = Duration::from_millis(u64::from(n * 7 + thread % 5));
                    if limiter.take("tool", now).is_ok() {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    assert_eq!(taken.into_inner(), 1000);
}

#[test]
fn keys_that_come_no_more_are_forgotten() {
    let limiter = Limiter::new(rate("5/s"));
    for n in 0..100_000_u64 {
        limiter.take(&n, Duration::from_millis(n)).unwrap();
    }
    // Those of the last two spans, and what each shard has not come to yet.
    assert!(limiter.len() < 2_200, "{}", limiter.len());
    // One that goes on is not.
    let busy = |now: u64| limiter.take("busy", Duration::from_millis(now));
    let refused = (100_000..110_000).filter(|now| busy(*now).is_err()).count();
    assert!(refused > 9_900, "{refused}");
    // And one that comes and goes is noted once.
    for n in 0..1000 {
        let now = Duration::from_millis(200_000 + n * 1_500);
        limiter.take("seldom", now).unwrap();
        let noted = limiter
            .shards
            .iter()
            .map(|shard| shard.lock().unwrap().begun.len());
        assert_eq!(noted.sum::<usize>(), limiter.len());
    }
}

proptest! {
    /// Against a list of all that was let through: never too many in any span, and nothing is refused while a span and a slice have room.
    #[test]
    fn never_more_in_any_span_and_never_refused_without_need(
        count in 1_u32..20,
        span_s in 1_u32..5,
        steps in prop::collection::vec(0_u64..400, 1..400),
    ) {
        let rate = Rate::new(count, span_s).unwrap();
        let mut window = Window::new(rate);
        let slice = rate.span() / 16;
        let mut taken: Vec<Duration> = Vec::new();
        let mut now = Duration::ZERO;
        for step in steps {
            now += Duration::from_millis(step);
            let within = |span: Duration| taken.iter().filter(|at| **at + span > now).count();
            let (exact, most) = (within(rate.span()), within(rate.span() + slice));
            match window.take(now) {
                Ok(()) => {
                    prop_assert!(exact < rate.count() as usize);
                    taken.push(now);
                }
                Err(after) => {
                    prop_assert!(most >= rate.count() as usize);
                    prop_assert!(after > Duration::ZERO && after <= rate.span() + slice);
                    let mut later = window.clone();
                    prop_assert!(later.take(now + after - Duration::from_nanos(1)).is_err());
                    prop_assert!(later.take(now + after).is_ok());
                }
            }
        }
    }
}
