//! Several attempts at the same thing: which one is best.
//!
//! Only the comparison: who runs them, where, and what became of them is not known here.

use std::cmp::{Ordering, Reverse};
use std::time::Duration;

/// What became of one attempt.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Attempt {
    /// Which one, from 1. No two of a race have the same.
    pub number: u32,
    /// The exit code of its command.
    pub exit: u8,
    /// That of the tests, if there are any.
    pub test: Option<u8>,
    pub judged: Judged,
    pub diff: Diff,
    /// How long its command took.
    pub took: Duration,
}

/// What it changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Diff {
    pub files: u64,
    pub lines_added: u64,
    pub lines_removed: u64,
}

/// What somebody thinks of it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Judged {
    /// Nobody was asked.
    #[default]
    No,
    /// More is better. Any number but NaN.
    Score(f64),
    /// Who was asked gave no number.
    Failed,
}

impl Diff {
    /// Lines that were added or removed; of a binary file none.
    pub fn lines(&self) -> u64 {
        self.lines_added.saturating_add(self.lines_removed)
    }

    pub fn is_empty(&self) -> bool {
        self.files == 0
    }
}

impl Attempt {
    /// True if it may win: its tests pass, and its command says that all went well.
    pub fn succeeded(&self) -> bool {
        self.exit == 0 && self.passed() && self.judged != Judged::Failed
    }

    fn passed(&self) -> bool {
        self.test.is_none_or(|code| code == 0)
    }

    /// The better one is less. In this order: its tests pass, its command exits with 0, it has the higher score if somebody judges,
    /// it changed anything at all, it changed fewer lines, then fewer files, it was faster, it has the lower number.
    ///
    /// Total: of two attempts with different numbers one is better, and of three the order does not depend on which two are asked
    /// about first.
    pub fn compare(&self, other: &Attempt) -> Ordering {
        let rank = |attempt: &Attempt| {
            (
                !attempt.passed(),
                attempt.exit != 0,
                Reverse(Score(attempt.judged)),
                attempt.diff.is_empty(),
                attempt.diff.lines(),
                attempt.diff.files,
                attempt.took,
                attempt.number,
            )
        };
        rank(self).cmp(&rank(other))
    }
}

/// The attempts, the best one first.
pub fn rank(attempts: &mut [Attempt]) {
    attempts.sort_by(Attempt::compare);
}

/// The best one, if any succeeded.
pub fn winner(attempts: &[Attempt]) -> Option<&Attempt> {
    attempts
        .iter()
        .filter(|attempt| attempt.succeeded())
        .min_by(|one, other| one.compare(other))
}

/// By its number; none is less than any.
#[derive(Debug, Clone, Copy)]
struct Score(Judged);

impl Score {
    fn key(self) -> f64 {
        match self.0 {
            // Zero is zero, whatever its sign.
            Judged::Score(score) => score + 0.0,
            Judged::No | Judged::Failed => f64::NEG_INFINITY,
        }
    }
}

impl Ord for Score {
    fn cmp(&self, other: &Score) -> Ordering {
        let is_scored = |score: &Score| matches!(score.0, Judged::Score(_));
        let scored = is_scored(self).cmp(&is_scored(other));
        scored.then_with(|| self.key().total_cmp(&other.key()))
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Score) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Score {
    fn eq(&self, other: &Score) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Score {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn attempt(number: u32, change: impl FnOnce(&mut Attempt)) -> Attempt {
        let mut attempt = Attempt {
            number,
            exit: 0,
            test: None,
            judged: Judged::No,
            diff: Diff {
                files: 1,
                lines_added: 10,
                lines_removed: 0,
            },
            took: Duration::from_secs(10),
        };
        change(&mut attempt);
        attempt
    }

    /// The first is better, whichever number it has.
    #[track_caller]
    fn check(better: impl Fn(&mut Attempt), worse: impl Fn(&mut Attempt)) {
        for (one, other) in [(1, 2), (2, 1)] {
            let (better, worse) = (attempt(one, &better), attempt(other, &worse));
            assert_eq!(better.compare(&worse), Ordering::Less);
            assert_eq!(worse.compare(&better), Ordering::Greater);
        }
    }

    #[test]
    fn what_counts_more_comes_first() {
        let lines = |count: u64| move |attempt: &mut Attempt| attempt.diff.lines_added = count;
        check(
            |attempt| (attempt.test, attempt.exit) = (Some(0), 1),
            |attempt| attempt.test = Some(101),
        );
        check(lines(1000), |attempt| attempt.exit = 1);
        check(lines(3), lines(4));
        check(lines(1000), |attempt| attempt.diff = Diff::default());
        check(lines(3), |attempt| {
            (attempt.diff.lines_added, attempt.diff.files) = (3, 2);
        });
        check(|attempt| attempt.took = Duration::from_secs(9), |_| ());
        check(
            |attempt| (attempt.judged, attempt.diff.lines_added) = (Judged::Score(2.0), 99),
            |attempt| attempt.judged = Judged::Score(-3.5),
        );
        check(
            |attempt| attempt.judged = Judged::Score(f64::NEG_INFINITY),
            |attempt| attempt.judged = Judged::Failed,
        );
        // No score makes up for tests that fail.
        check(
            |attempt| attempt.judged = Judged::Score(0.0),
            |attempt| (attempt.judged, attempt.test) = (Judged::Score(9.0), Some(1)),
        );
        assert_eq!(attempt(1, |_| ()).compare(&attempt(2, |_| ())), Ordering::Less);
    }

    #[test]
    fn nobody_wins_who_failed() {
        assert_eq!(winner(&[]), None);
        let failed = [
            attempt(1, |attempt| attempt.exit = 2),
            attempt(2, |attempt| attempt.test = Some(1)),
            attempt(3, |attempt| attempt.judged = Judged::Failed),
        ];
        assert_eq!(winner(&failed), None);
        let good = attempt(4, |attempt| attempt.diff.lines_added = 9999);
        assert_eq!(winner(&[&failed[..], &[good]].concat()), Some(&good));
    }

    fn attempts() -> impl Strategy<Value = Vec<Attempt>> {
        let judged = prop_oneof![
            Just(Judged::No),
            Just(Judged::Failed),
            prop::sample::select(vec![-1.0, -0.0, 0.0, 1.0, f64::INFINITY]).prop_map(Judged::Score),
        ];
        let diff = (0u64..2, 0u64..3, 0u64..3).prop_map(|(files, lines_added, lines_removed)| Diff {
            files,
            lines_added,
            lines_removed,
        });
        let one = (0u8..2, prop::option::of(0u8..2), judged, diff, 0u64..2);
        prop::collection::vec(one, 0..8).prop_map(|attempts| {
            let numbered = attempts.into_iter().zip(1..);
            numbered
                .map(|((exit, test, judged, diff, seconds), number)| Attempt {
                    number,
                    exit,
                    test,
                    judged,
                    diff,
                    took: Duration::from_secs(seconds),
                })
                .collect()
        })
    }

    proptest! {
        #[test]
        fn the_order_is_total(attempts in attempts()) {
            for a in &attempts {
                for b in &attempts {
                    let order = a.compare(b);
                    prop_assert_eq!(order == Ordering::Equal, a.number == b.number);
                    prop_assert_eq!(order, b.compare(a).reverse());
                    for c in &attempts {
                        if order == Ordering::Less && b.compare(c) == Ordering::Less {
                            prop_assert_eq!(a.compare(c), Ordering::Less);
                        }
                    }
                }
            }
        }

        /// Whichever way they come in, the result is the same, and its first is the winner if that one succeeded.
        #[test]
        fn the_order_is_stable(mut attempts in attempts(), other in any::<prop::sample::Index>()) {
            let mut turned = attempts.clone();
            if !turned.is_empty() {
                let by = other.index(turned.len());
                turned.rotate_left(by);
            }
            let best = winner(&turned).copied();
            rank(&mut attempts);
            rank(&mut turned);
            prop_assert_eq!(&attempts, &turned);
            prop_assert_eq!(best, attempts.iter().find(|attempt| attempt.succeeded()).copied());
        }
    }
}
