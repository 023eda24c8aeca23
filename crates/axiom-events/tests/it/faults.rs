//! Every operation of the disk fails once, in turn, in every way: producers hear of it, nothing acknowledged is lost, what
//! was only accepted is counted, and the log goes on when the disk does.

use std::path::Path;

use axiom_events::verify::verify;
use axiom_events::{Log, Next, Options};

use crate::history::{FOLDER, History, open, read_all};
use crate::sim::{EIO, ENOSPC, EROFS, Fault, Op, Sim};

const ROUNDS: usize = 4;

/// Operations of a run in which nothing fails.
fn ops_of_a_sound_run(seed: u64) -> u64 {
    let sim = Sim::new(seed);
    run(&sim, seed, None);
    sim.ops()
}

/// Appends while something fails and after it has healed, then opens the log again.
fn run(sim: &Sim, seed: u64, fault: Option<Fault>) {
    let mut history = History::new(seed);
    let log = open(sim);
    if let Some(fault) = fault {
        sim.fail(fault);
    }
    for _ in 0..ROUNDS {
        history.round(&log);
    }
    sim.heal();
    history.must_append(&log);
    let live = read_all(&log.reader());
    history.check(&live);
    history.check_lost(&live);
    history.repeat(&log, &live);
    for _ in 0..2 {
        history.round(&log);
    }
    log.close();

    let log = open(sim);
    let again = read_all(&log.reader());
    assert!(log.report().damage.is_empty(), "{:?}", log.report());
    history.check(&again);
    history.check_lost(&again);
    history.must_append(&log);
    log.close();
    let verdict = verify(sim, Path::new(FOLDER)).expect("it can be read");
    assert!(verdict.is_sound(), "{verdict:#?}");
}

fn every_operation_in_turn(times: u64, errno: i32) {
    let ops = ops_of_a_sound_run(7);
    assert!(ops > 40, "a run of {ops} operations");
    for after in 0..ops {
        let fault = Fault {
            op: None,
            after,
            times,
            errno,
        };
        let outcome = std::panic::catch_unwind(|| run(&Sim::new(after), 7, Some(fault)));
        assert!(outcome.is_ok(), "operation {after} of {ops}; see above");
    }
}

#[test]
fn one_operation_fails() {
    every_operation_in_turn(1, EIO);
}

#[test]
fn three_operations_in_a_row_fail() {
    every_operation_in_turn(3, ENOSPC);
}

#[test]
fn everything_fails_until_it_is_healed() {
    every_operation_in_turn(u64::MAX, EROFS);
}

#[test]
fn one_kind_of_operation_fails_for_a_while() {
    let kinds = [
        Op::Create,
        Op::Write,
        Op::Sync,
        Op::Rename,
        Op::SetBytes,
        Op::Remove,
        Op::SyncFolder,
    ];
    for op in kinds {
        for (after, times) in [(0, 1), (0, 2), (1, 1), (1, 5), (3, 2), (4, u64::MAX)] {
            let (op, errno) = (Some(op), EIO);
            let fault = Fault {
                op,
                after,
                times,
                errno,
            };
            let outcome = std::panic::catch_unwind(|| run(&Sim::new(after), 11, Some(fault)));
            assert!(outcome.is_ok(), "{fault:?}; see above");
        }
    }
}

/// What was refused does not turn up when the log is opened again, even if nothing was written after the failure.
#[test]
fn what_was_refused_stays_away_after_close() {
    let ops = ops_of_a_sound_run(5);
    for after in 0..ops {
        let sim = Sim::new(after);
        let mut history = History::new(5);
        let log = open(&sim);
        let fault = Fault {
            op: None,
            after,
            times: u64::MAX,
            errno: EIO,
        };
        sim.fail(fault);
        for _ in 0..2 {
            history.round(&log);
        }
        sim.heal();
        log.close();
        let log = open(&sim);
        let found = read_all(&log.reader());
        history.check(&found);
        history.check_lost(&found);
        history.repeat(&log, &found);
        history.check(&read_all(&log.reader()));
        log.close();
    }
}

/// Nothing can be done about a disk that fails while a log is opened, but the next opening must not find less.
#[test]
fn opening_fails_at_every_operation_and_then_succeeds() {
    let mut history = History::new(3);
    let sim = Sim::new(3);
    let log = open(&sim);
    for _ in 0..3 {
        history.round(&log);
    }
    sim.power_fails_in(0);
    log.close();
    sim.power_comes_back(9);
    history.machine_died();
    let files = sim.contents();
    for after in 0..40 {
        let sim = Sim::holding(&files);
        let fault = Fault {
            op: None,
            after,
            times: 1,
            errno: EIO,
        };
        sim.fail(fault);
        if let Ok(log) = Log::open(Options::new(FOLDER), sim.arc()) {
            log.close();
        }
        sim.heal();
        let log = open(&sim);
        history.check(&read_all(&log.reader()));
        log.close();
    }
}

/// What cannot be read now is not taken for damage: nothing is changed on account of it, and later it is all there.
#[test]
fn reading_fails_at_every_place_and_then_succeeds() {
    let mut history = History::new(4);
    let sim = Sim::new(4);
    let log = open(&sim);
    for _ in 0..6 {
        history.round(&log);
    }
    sim.power_fails_in(0);
    log.close();
    sim.power_comes_back(2);
    history.machine_died();
    let files = sim.contents();
    let mut failures = 0;
    for after in 0..200 {
        let sim = Sim::holding(&files);
        let fault = Fault {
            op: Some(Op::Read),
            after,
            times: 1,
            errno: EIO,
        };
        sim.fail(fault);
        let opened = Log::open(Options::new(FOLDER), sim.arc());
        let log = opened.unwrap_or_else(|error| {
            assert!(error.to_string().contains("os error 5"), "{error}");
            failures += 1;
            open(&sim)
        });
        let reader = log.reader();
        let mut offset = reader.first();
        while offset < reader.end() {
            match reader.at(offset) {
                Ok(Next::Block(block)) => offset = block.offsets().end,
                Ok(Next::Gap(gap)) => offset = gap.end,
                Ok(Next::End) => break,
                Err(error) => {
                    assert!(error.to_string().contains("os error 5"), "{error}");
                    failures += 1;
                }
            }
        }
        history.check(&read_all(&reader));
        log.close();
    }
    assert!(failures > 100, "{failures} reads failed");
}
