//! Measures several cases side by side: A B C A B C ..., so that what disturbs the machine disturbs all alike.

use anyhow::Context;

use crate::{
    load::{self, Plan},
    measured::{Figures, median},
};

/// One line of a comparison.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    pub(crate) label: &'static str,
    pub(crate) plan: Plan,
}

/// What a case showed in each round.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) label: &'static str,
    pub(crate) rounds: Vec<Figures>,
}

impl Outcome {
    pub(crate) fn medians(&self) -> Figures {
        Figures::medians(&self.rounds)
    }
}

/// # Errors
/// A case could not be measured.
pub(crate) fn run(cases: &[Case], rounds: usize) -> anyhow::Result<Vec<Outcome>> {
    let mut outcomes: Vec<Outcome> = cases
        .iter()
        .map(|case| Outcome {
            label: case.label,
            rounds: Vec::new(),
        })
        .collect();
    for _ in 0..rounds {
        for (case, outcome) in cases.iter().zip(&mut outcomes) {
            let measured =
                load::run(&case.plan).with_context(|| format!("failed to measure {}", case.label))?;
            outcome.rounds.push(Figures::of(&measured));
        }
    }
    Ok(outcomes)
}

/// Combines a figure of two cases round by round and takes the median: both saw the same machine within a round.
pub(crate) fn against(
    left: &Outcome,
    right: &Outcome,
    figure: fn(&Figures) -> f64,
    combine: fn(f64, f64) -> f64,
) -> f64 {
    let pairs = left.rounds.iter().zip(&right.rounds);
    median(pairs.map(|(left, right)| combine(figure(left), figure(right))))
}

pub(crate) fn ratio(left: &Outcome, right: &Outcome, figure: fn(&Figures) -> f64) -> f64 {
    against(left, right, figure, |left, right| left / right)
}

/// The outcome of the case with this label.
///
/// # Panics
/// There is no such case: the caller made the cases.
pub(crate) fn named<'a>(outcomes: &'a [Outcome], label: &str) -> &'a Outcome {
    outcomes
        .iter()
        .find(|outcome| outcome.label == label)
        .expect("the caller made this case")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_taken_within_a_round() {
        let outcome = |label, values: [f64; 3]| Outcome {
            label,
            rounds: values
                .map(|value| Figures {
                    cpu_us_per_request: value,
                    ..Figures::default()
                })
                .to_vec(),
        };
        // The machine was three times slower in the last round, for both.
        let outcomes = [outcome("a", [20.0, 22.0, 60.0]), outcome("b", [10.0, 10.0, 30.0])];
        let ratio = ratio(named(&outcomes, "a"), named(&outcomes, "b"), |figures| {
            figures.cpu_us_per_request
        });
        assert!((ratio - 2.0).abs() < 1e-9);
    }
}
