//! Who reads without a pin is outrun by what is merged, thinned and deleted, and says of nothing that it is lost.

use std::path::Path;
use std::sync::Arc;

use axiom_events::Reader;
use axiom_events::archive::Missing;
use axiom_events::disk::Machine;
use axiom_tiers::Shelves;

use crate::world::{World, all, ask, expected, expected_of, unwritable};

const EVENTS: u64 = 2000;

/// Four warm files and some hot segments.
fn warm(folder: &Path) -> World {
    let world = World::new(folder);
    world.append(0..EVENTS);
    for _ in 0..4 {
        world.seal(3).expect("it is sealed").expect("there is something");
    }
    reclaim(&world);
    world
}

fn reclaim(world: &World) {
    world.workshop.reclaim(&world.log).expect("it is deleted");
    assert_eq!(world.workshop.manifest().now().garbage, [], "nobody has a pin");
}

fn merge(world: &World, places: std::ops::Range<usize>) {
    let objects = world.objects()[places].to_vec();
    world
        .workshop
        .rewrite(&objects, |_| true, &[], "merged")
        .expect("they are merged");
}

fn reader(view: &Path) -> Reader {
    let shelves = Shelves::open(view, None).expect("it can be read");
    Reader::open_with(Arc::new(Machine), view, Arc::new(shelves)).expect("it can be read")
}

#[test]
fn merged_files_are_read_where_they_are_by_now() {
    let (folder, view) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = warm(folder.path());
    let answers = ask(&world.log.reader(), 7);
    unwritable(folder.path(), view.path());
    let (before, beside) = (reader(view.path()), reader(view.path()));
    let proofs = Shelves::open(view.path(), None).unwrap();
    merge(&world, 0..2);
    merge(&world, 1..3);
    reclaim(&world);
    assert_eq!(all(&before), expected(EVENTS));
    assert_eq!(ask(&beside, 7), answers);
    let proofs = proofs.prove();
    assert!(proofs.iter().all(|proof| proof.outcome.is_ok()), "{proofs:?}");
    assert_eq!(proofs.len(), 2);
    world.log.close();
}

#[test]
fn what_was_retired_meanwhile_is_retired_and_not_lost() {
    let (folder, view) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = warm(folder.path());
    unwritable(folder.path(), view.path());
    let reader = reader(view.path());
    let objects = world.objects();
    world.workshop.drop_whole(&objects[..1], &[], "test").unwrap();
    world
        .workshop
        .rewrite(
            &objects[1..2],
            |recorded| recorded.event.tenant == "acme",
            &[],
            "test",
        )
        .unwrap();
    reclaim(&world);
    let found = all(&reader);
    let left = expected_of(EVENTS, |offset, event| {
        !objects[0].offsets.contains(&offset)
            && (!objects[1].offsets.contains(&offset) || event.tenant == "acme")
    });
    assert_eq!((found.count, found.hash), (left.count, left.hash));
    assert!(!found.gaps.is_empty());
    assert!(
        found.gaps.iter().all(|(_, why)| *why == Missing::Retired),
        "{:?}",
        found.gaps
    );
    world.log.close();
}

#[test]
fn a_file_that_should_be_there_is_lost() {
    let (folder, view) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = warm(folder.path());
    unwritable(folder.path(), view.path());
    let reader = reader(view.path());
    let object = world.objects()[1].clone();
    fs_err::remove_file(folder.path().join("warm").join(&object.location)).unwrap();
    assert_eq!(all(&reader).gaps, [(object.offsets, Missing::Lost)]);
    world.log.close();
}

/// Somebody else remembers what a file had. The next file with these events has another name.
#[test]
fn a_name_never_means_another_file() {
    let folder = tempfile::tempdir().unwrap();
    let world = warm(folder.path());
    let shelves = Arc::new(Shelves::open(folder.path(), None).unwrap());
    let reader = Reader::open_with(Arc::new(Machine), folder.path(), Arc::clone(&shelves) as _).unwrap();
    assert_eq!(all(&reader.apart()), expected(EVENTS));
    let offsets = world.objects()[0].offsets.clone();
    let mut names = vec![world.objects()[0].location.clone()];
    let mut gone: Vec<&str> = Vec::new();
    for tenant in ["acme", "globex"] {
        gone.push(tenant);
        let is_left = |tenant: &str| !gone.contains(&tenant);
        world
            .workshop
            .rewrite(
                &world.objects()[..1],
                |recorded| is_left(recorded.event.tenant),
                &[],
                "test",
            )
            .unwrap();
        axiom_events::archive::Archive::refresh(shelves.as_ref()).unwrap();
        reclaim(&world);
        let name = world.objects()[0].location.clone();
        assert!(!names.contains(&name), "{name} of {names:?}");
        names.push(name);
        let left = expected_of(EVENTS, |offset, event| {
            !offsets.contains(&offset) || is_left(event.tenant)
        });
        // A reader that has no block of it in memory, and files that it has opened before.
        let found = all(&reader.apart());
        assert_eq!(
            (found.count, found.hash),
            (left.count, left.hash),
            "without {gone:?}"
        );
    }
    world.log.close();
}
