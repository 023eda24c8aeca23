//! Promises that need no load: what a named test proves, and what a fresh clone takes.

use std::time::Duration;

use super::measured::{Measured, Verdict};
use crate::{cold, test};

/// One promise and how it is measured.
pub(crate) struct Promise {
    pub(crate) id: &'static str,
    how: How,
}

enum How {
    /// The tests whose names hold `filter` pass: then `value` holds.
    Tested {
        filter: &'static str,
        value: u32,
        unit: &'static str,
    },
    /// The same, of tests that do each thing as often as this variable says.
    Repeated {
        filter: &'static str,
        variable: &'static str,
        times: &'static str,
        unit: &'static str,
    },
    /// Minutes that something takes in a fresh clone, and how many it may.
    Timed {
        what: fn() -> anyhow::Result<Duration>,
        limit: Duration,
    },
}

pub(crate) const PROMISES: [Promise; 14] = [
    tested(
        "C1",
        "conformance::modern_through_the_gateway",
        37,
        "of 37 scored",
    ),
    tested(
        "C2",
        "conformance::legacy_through_the_gateway",
        30,
        "of 30 scored",
    ),
    tested("C3", "conformance::modern_to_a_legacy", 36, "of 37 scored"),
    tested("C4", "conformance::legacy_to_a_modern", 30, "of 30 scored"),
    tested(
        "C5",
        "conformance::client_side::modern_client",
        11,
        "of 11 scored without the client's own OAuth",
    ),
    tested("E6-memory", "memory::", 48, "MiB at most"),
    tested("E6-gateway", "stalled::", 128, "MiB at most"),
    tested("T1", "a_thousand_children_leave_nothing_behind", 0, "processes"),
    tested("T2", "same_ids::five_hundred", 0, "wrong answers"),
    tested(
        "T3",
        "replicas::a_parked_call_is_continued_through_another_replica",
        1,
        "run of the tool",
    ),
    tested(
        "T4",
        "lifetimes::ten_thousand_abandoned_sessions",
        0,
        "sessions left at the server",
    ),
    Promise {
        id: "R6",
        how: How::Repeated {
            filter: "abuse::",
            variable: "AXIOM_ABUSE_TIMES",
            times: "20",
            unit: "got out",
        },
    },
    Promise {
        id: "B1",
        how: How::Timed {
            what: cold::first_answer,
            limit: cold::ANSWER_LIMIT,
        },
    },
    Promise {
        id: "B2",
        how: How::Timed {
            what: cold::every_check,
            limit: cold::CHECKS_LIMIT,
        },
    },
];

const fn tested(id: &'static str, filter: &'static str, value: u32, unit: &'static str) -> Promise {
    Promise {
        id,
        how: How::Tested { filter, value, unit },
    }
}

impl Promise {
    pub(crate) fn measure(&self) -> anyhow::Result<Measured> {
        let verdict = |met| if met { Verdict::Goal } else { Verdict::Missed };
        let id = self.id.to_owned();
        Ok(match &self.how {
            How::Tested { filter, value, unit } => {
                // A filter that matches no test fails too.
                let outcome = test::run(vec![(*filter).to_owned()]);
                let value = if outcome.is_ok() {
                    (*value).into()
                } else {
                    "the test fails".into()
                };
                let detail = format!("test {filter}");
                Measured {
                    id,
                    value,
                    unit: (*unit).to_owned(),
                    verdict: verdict(outcome.is_ok()),
                    detail,
                }
            }
            How::Repeated {
                filter,
                variable,
                times,
                unit,
            } => {
                let outcome = test::run_with(vec![(*filter).to_owned()], &[(variable, times)]);
                let value = if outcome.is_ok() {
                    0.into()
                } else {
                    "the test fails".into()
                };
                Measured {
                    id,
                    value,
                    unit: (*unit).to_owned(),
                    verdict: verdict(outcome.is_ok()),
                    detail: format!("test {filter}, each case {times} times"),
                }
            }
            How::Timed { what, limit } => {
                let took = what()?;
                let value = (took.as_secs_f64() / 60.0).into();
                let cores = std::thread::available_parallelism().map_or(1, usize::from);
                let detail = format!("on {cores} cores");
                Measured {
                    id,
                    value,
                    unit: "min".to_owned(),
                    verdict: verdict(took <= *limit),
                    detail,
                }
            }
        })
    }
}
