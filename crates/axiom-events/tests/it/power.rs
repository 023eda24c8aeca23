//! The power fails at some moment: what was acknowledged as being on the disk is there when it comes back.

use std::path::Path;

use axiom_events::verify::verify;

use crate::history::{FOLDER, History, open, read_all};
use crate::sim::{EIO, Fault, Random, Sim};

const SEEDS: u64 = 300;
/// Times that the power fails with each seed.
const LIVES: usize = 4;

fn lives(seed: u64, has_faults: bool) {
    let mut random = Random::new(seed);
    let sim = Sim::new(seed);
    let mut history = History::new(seed);
    for life in 0..LIVES {
        let log = open(&sim);
        // The opening, too, may be cut short: the power of the next life is counted from here.
        sim.power_fails_in(random.below(60) as u64);
        if has_faults {
            sim.fail(Fault {
                op: None,
                after: random.below(50) as u64,
                times: 1 + random.below(4) as u64,
                errno: EIO,
            });
        }
        let rounds = random.below(8);
        for _ in 0..rounds {
            history.round(&log);
        }
        sim.power_fails_in(0);
        log.close();
        drop(log);
        sim.heal();
        sim.power_comes_back(random.next());
        history.machine_died();

        let promised: Vec<u64> = history.promised().collect();
        let verdict = verify(&sim, Path::new(FOLDER)).expect("it can be read");
        for damage in &verdict.damage {
            let lost: Vec<&u64> = promised
                .iter()
                .filter(|offset| damage.offsets.contains(offset))
                .collect();
            assert!(lost.is_empty(), "life {life}: {lost:?} were promised; {damage:?}");
        }
        if random.below(2) == 0 {
            // The power fails again while the log is put in order.
            sim.power_fails_in(random.below(12) as u64);
            if let Ok(log) = axiom_events::Log::open(axiom_events::Options::new(FOLDER), sim.arc()) {
                log.close();
            }
            sim.power_comes_back(random.next());
        }
        let log = open(&sim);
        let found = read_all(&log.reader());
        history.check(&found);
        history.repeat(&log, &found);
        history.must_append(&log);
        history.check(&read_all(&log.reader()));
        log.close();
    }
}

fn many_lives(has_faults: bool) {
    for seed in 0..SEEDS {
        let outcome = std::panic::catch_unwind(|| lives(seed, has_faults));
        assert!(outcome.is_ok(), "seed {seed}; see above");
    }
}

#[test]
fn what_was_acknowledged_outlives_the_power() {
    many_lives(false);
}

#[test]
fn what_was_acknowledged_outlives_a_disk_that_fails_and_then_loses_power() {
    many_lives(true);
}
