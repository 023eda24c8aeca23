//! One file is spoilt, or dated to come: the others go their way.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axiom_events::disk::Machine;
use axiom_events::{Append, Batch, Event};
use axiom_tiers::manifest::{Change, Object, Tier};
use axiom_tiers::{Deletion, Limits, Retention};

use crate::cold::store;
use crate::retention::{DAY, look_once_more};
use crate::world::{HOUR, World, block_on, wait_until};

const EVENTS: u64 = 1500;

/// Four warm files and some hot segments.
fn warm(folder: &Path, objects: &Path) -> World {
    let world = World::on(std::sync::Arc::new(Machine), folder, Some(store(objects)));
    world.append(0..EVENTS);
    seal(&world);
    world
}

fn seal(world: &World) {
    for _ in 0..4 {
        world.seal(2).expect("it is sealed").expect("there is something");
    }
    world.workshop.reclaim(&world.log).expect("it is deleted");
}

fn path_of(world: &World, object: &Object) -> PathBuf {
    world.folder.join("warm").join(&object.location)
}

/// A byte of a file is another one than was written.
fn spoil(path: &Path) {
    let mut bytes = fs_err::read(path).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(path, bytes).expect("it is written");
}

fn tiers(world: &World) -> Vec<Tier> {
    world.objects().iter().map(|object| object.tier).collect()
}

/// Uploaded objects.
fn uploaded(objects: &Path) -> usize {
    fs_err::read_dir(objects.join("shard-00000")).map_or(0, Iterator::count)
}

fn only_warm(limits: Limits) -> Retention {
    Retention {
        warm: limits,
        hot: Limits::default(),
        ..Retention::default()
    }
}

#[test]
fn a_spoilt_file_is_not_uploaded_and_the_others_are() {
    for limits in [
        Limits {
            age: Some(DAY),
            bytes: None,
        },
        Limits {
            age: None,
            bytes: Some(1),
        },
    ] {
        let (folder, objects) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let world = warm(folder.path(), objects.path());
        spoil(&path_of(&world, &world.objects()[0]));
        let retention = only_warm(limits);
        let service = world.service(retention.clone());
        wait_until("the others are cold", || tiers(&world)[1..4] == [Tier::Cold; 3]);
        look_once_more(&world, &retention, &service);
        service.stop();
        assert_eq!(tiers(&world)[0], Tier::Warm);
        let colds = tiers(&world).iter().filter(|tier| **tier == Tier::Cold).count();
        assert_eq!(uploaded(objects.path()), colds);
        world.log.close();
    }
}

/// The files as they would be if the log had begun them hours ago.
fn made_hours_ago(world: &World) {
    let now = axiom_core::time::unix_nanos();
    for (place, object) in world.objects().into_iter().enumerate() {
        let hours = if place < 2 { 49 } else { 25 };
        let aged = Object {
            location: format!("aged-{place}.parquet"),
            began: (now / HOUR - hours) * HOUR,
            ..object.clone()
        };
        fs_err::copy(path_of(world, &object), path_of(world, &aged)).expect("the disk is well");
        let change = Change::Replace {
            removed: vec![object.location],
            added: vec![aged],
            retired: 0,
            why: "a test".to_owned(),
        };
        let changed = world.workshop.manifest().change("a test", |_| Some(change));
        changed.expect("it is written");
    }
}

#[test]
fn a_spoilt_file_is_not_merged_and_the_others_are() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.append(0..EVENTS);
    seal(&world);
    made_hours_ago(&world);
    let offsets: Vec<_> = world.objects().into_iter().map(|object| object.offsets).collect();
    spoil(&path_of(&world, &world.objects()[1]));
    let retention = only_warm(Limits::default());
    let service = world.service(retention);
    wait_until("the last two are one", || world.objects().len() == 3);
    service.stop();
    let merged = world.objects().pop().unwrap().offsets;
    assert_eq!(merged, offsets[2].start..offsets[3].end);
    world.log.close();
}

#[test]
fn a_spoilt_file_does_not_keep_a_tenants_events_in_the_others() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.append(0..EVENTS);
    seal(&world);
    let before = world.objects();
    spoil(&path_of(&world, &before[0]));
    // Nothing says who is in the second one, and it cannot be read.
    spoil(&path_of(&world, &before[1]));
    let index = path_of(&world, &before[1]).with_extension("idx");
    fs_err::remove_file(index).unwrap();
    let retention = Retention {
        delete: Deletion {
            tenants: [("acme".to_owned(), DAY)].into(),
            ..Deletion::default()
        },
        hot: Limits::default(),
        ..Retention::default()
    };
    let service = world.service(retention);
    wait_until("the others have fewer", || {
        let objects = world.objects();
        objects[2].rows < before[2].rows && objects[3].rows < before[3].rows
    });
    assert_eq!(world.objects()[..2], before[..2]);
    // When everybody's are over it is deleted without being read.
    service.apply(Retention {
        delete: Deletion {
            age: Some(DAY),
            ..Deletion::default()
        },
        hot: Limits::default(),
        ..Retention::default()
    });
    wait_until("all of them are gone", || world.objects().is_empty());
    service.stop();
    world.log.close();
}

#[test]
fn one_event_that_is_dated_to_come_holds_up_nothing() {
    let (folder, objects) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = World::on(
        std::sync::Arc::new(Machine),
        folder.path(),
        Some(store(objects.path())),
    );
    let mut batch = Batch::new();
    let event = Event {
        time: axiom_core::time::unix_nanos() + 100_000 * HOUR,
        stream: "orders",
        kind: "test",
        ..Event::default()
    };
    batch.push(&event).unwrap();
    let append = Append {
        batch,
        ..Append::default()
    };
    block_on(world.log.append(append)).unwrap();
    world.append(1..EVENTS);
    seal(&world);
    let moment = Duration::from_millis(1);
    let service = world.service(only_warm(Limits {
        age: Some(moment),
        bytes: None,
    }));
    wait_until("the first is cold", || tiers(&world)[..4] == [Tier::Cold; 4]);
    service.apply(Retention {
        delete: Deletion {
            age: Some(moment),
            ..Deletion::default()
        },
        hot: Limits::default(),
        ..Retention::default()
    });
    wait_until("all of them are gone", || world.objects().is_empty());
    service.stop();
    world.log.close();
}
