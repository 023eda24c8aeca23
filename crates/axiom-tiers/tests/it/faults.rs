//! The power fails, or the disk, at every single step of a change of tiers: afterwards every acknowledged event is there, once.

use std::path::Path;
use std::sync::Arc;

use axiom_events::disk::Disk;

use crate::sim::{EIO, ENOSPC, EROFS, Fault, Sim};
use crate::world::{World, all, expected};

/// There is no such folder on this machine: nobody has pins in it.
const FOLDER: &str = "/axiom-simulated/shard-00000";
const EVENTS: u64 = 700;

fn open(sim: &Sim) -> World {
    World::on(sim.arc(), Path::new(FOLDER), None)
}

/// All that can happen to events on one machine. What fails is not tried again here.
fn work(world: &World) -> bool {
    let works = || -> Result<(), axiom_tiers::workshop::WorkError> {
        world.workshop.tidy(&world.log)?;
        world.seal(2)?;
        world.workshop.reclaim(&world.log)?;
        world.seal(2)?;
        world.workshop.reclaim(&world.log)?;
        let objects = world.objects();
        if objects.len() > 1 {
            world.workshop.rewrite(&objects[..2], |_| true, &[], "merged")?;
        }
        world.workshop.reclaim(&world.log)?;
        Ok(())
    };
    works().is_ok()
}

/// A disk with events on it, and how many operations [`work`] takes.
fn prepared() -> (Sim, u64) {
    let sim = Sim::new(1);
    let world = open(&sim);
    world.append(0..EVENTS);
    assert!(world.sealed().len() > 5, "there is enough to do");
    world.log.close();
    drop(world);
    let prepared = Sim::holding(&sim.contents());
    let trial = Sim::holding(&sim.contents());
    let world = open(&trial);
    let before = trial.ops();
    assert!(work(&world), "nothing fails");
    let ops = trial.ops() - before;
    assert_eq!(all(&world.log.reader()), expected(EVENTS));
    world.log.close();
    (prepared, ops)
}

/// Everything is there and goes on.
fn must_be_whole(sim: &Sim, context: &str) {
    let world = open(sim);
    assert_eq!(all(&world.log.reader()), expected(EVENTS), "{context}, at first");
    assert!(work(&world), "{context}: it goes on");
    assert_eq!(
        all(&world.log.reader()),
        expected(EVENTS),
        "{context}, in the end"
    );
    let warm = Path::new(FOLDER).join("warm");
    let names = sim.files(&warm).unwrap();
    let parquet = names.iter().filter(|name| name.ends_with(".parquet")).count();
    let objects = world.objects();
    assert_eq!(parquet, objects.len(), "{context}: {names:?}");
    assert!(
        names.iter().all(|name| !name.ends_with(".tmp")),
        "{context}: {names:?}"
    );
    world.append(EVENTS..EVENTS + 50);
    assert_eq!(
        all(&world.log.reader()),
        expected(EVENTS + 50),
        "{context}, after more"
    );
    world.log.close();
}

#[test]
fn the_power_fails_before_every_step() {
    let (prepared, ops) = prepared();
    assert!(ops > 30, "{ops}");
    let contents = prepared.contents();
    for step in 0..=ops {
        for seed in 0..3 {
            let sim = Sim::holding(&contents);
            let world = open(&sim);
            sim.power_fails_in(step);
            let went_well = work(&world);
            assert_eq!(went_well, step == ops, "step {step} of {ops}");
            sim.power_fails_in(0);
            world.log.close();
            drop(world);
            sim.power_comes_back(seed * 1000 + step);
            must_be_whole(
                &sim,
                &format!("power fails before step {step} of {ops}, seed {seed}"),
            );
        }
    }
}

#[test]
fn the_disk_fails_at_every_step() {
    let (prepared, ops) = prepared();
    let contents = prepared.contents();
    for (errno, times) in [(EIO, 1), (ENOSPC, 3), (EROFS, u64::MAX)] {
        for step in 0..ops {
            let context = format!("error {errno}, {times} times from step {step} of {ops} on");
            let sim = Sim::holding(&contents);
            let world = open(&sim);
            sim.fail(Fault {
                op: None,
                after: step,
                times,
                errno,
            });
            work(&world);
            // While it fails, what was acknowledged is there for whoever reads.
            assert_eq!(all(&world.log.reader()), expected(EVENTS), "{context}, meanwhile");
            sim.heal();
            // It goes on without a restart.
            assert!(work(&world), "{context}: it goes on");
            assert_eq!(all(&world.log.reader()), expected(EVENTS), "{context}, healed");
            world.log.close();
            drop(world);
            if step % 3 == 0 {
                sim.power_comes_back(step);
                must_be_whole(&sim, &context);
            }
        }
    }
}

#[test]
fn no_room_for_a_warm_file_leaves_the_log_as_it_was() {
    let (prepared, _) = prepared();
    let sim = Sim::holding(&prepared.contents());
    let world = open(&sim);
    let segments = world.sealed();
    sim.fail(Fault {
        op: Some(crate::sim::Op::Write),
        after: 0,
        times: u64::MAX,
        errno: ENOSPC,
    });
    let error = world.seal(2).expect_err("there is no room").to_string();
    assert!(
        error.contains("warm/") && error.contains("No space left"),
        "{error}"
    );
    sim.heal();
    assert_eq!(world.sealed(), segments);
    assert_eq!(world.objects(), []);
    let names = sim.files(&Path::new(FOLDER).join("warm")).unwrap();
    assert_eq!(names, Vec::<String>::new(), "the unfinished file is gone");
    let _: Arc<dyn Disk> = sim.arc();
    world.log.close();
}
