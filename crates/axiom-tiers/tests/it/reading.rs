//! Whoever reads gets the same answers, wherever the events are by now.

use axiom_events::archive::Missing;
use axiom_events::{Append, Batch, Event, EventId, Expected, Next};

use crate::world::{World, all, ask, block_on, expected};

const EVENTS: u64 = 2000;

/// Five files, two of them merged, and a few segments that are still hot.
fn in_tiers(world: &World) {
    for _ in 0..5 {
        world
            .seal(3)
            .expect("it is sealed")
            .expect("there is something to seal");
        world.workshop.reclaim(&world.log).expect("it is deleted");
    }
    let objects = world.objects();
    world
        .workshop
        .rewrite(&objects[1..3], |_| true, &[], "merged")
        .expect("they are merged");
    world.workshop.reclaim(&world.log).expect("it is deleted");
    assert!(!world.sealed().is_empty(), "some are still hot");
}

#[test]
fn answers_are_the_same_before_and_after() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.append(0..EVENTS);
    let hot = world.log.reader();
    assert_eq!(all(&hot), expected(EVENTS));
    let answers = ask(&hot, 1);

    in_tiers(&world);
    assert_eq!(world.objects().len(), 4);
    let reader = world.log.reader();
    assert_eq!(all(&reader), expected(EVENTS));
    assert_eq!(ask(&reader, 1), answers);
    assert_eq!(reader.first(), 0);

    let beside = world.beside();
    assert_eq!(all(&beside), expected(EVENTS));
    assert_eq!(ask(&beside, 1), answers);

    let world = world.again();
    assert_eq!(all(&world.log.reader()), expected(EVENTS));
    assert_eq!(ask(&world.log.reader(), 1), answers);
    world.append(EVENTS..EVENTS + 100);
    assert_eq!(all(&world.log.reader()), expected(EVENTS + 100));
    world.log.close();
}

#[test]
fn summaries_that_are_gone_are_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.append(0..EVENTS);
    let answers = ask(&world.log.reader(), 2);
    in_tiers(&world);
    let warm = folder.path().join("warm");
    for entry in fs_err::read_dir(&warm).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "idx") {
            fs_err::remove_file(path).unwrap();
        }
    }
    assert_eq!(ask(&world.beside(), 2), answers);
    world.log.close();
}

#[test]
fn the_disk_has_only_what_is_needed() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.append(0..EVENTS);
    let segments_before = world.sealed().len();
    in_tiers(&world);
    let files = |folder: &std::path::Path, ending: &str| {
        let names = fs_err::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name());
        let names = names.map(|name| name.into_string().unwrap());
        names.filter(|name| name.ends_with(ending)).count()
    };
    assert_eq!(files(folder.path(), ".seg"), segments_before - 15 + 1);
    let warm = folder.path().join("warm");
    assert_eq!((files(&warm, ".parquet"), files(&warm, ".idx")), (4, 4));
    assert_eq!(files(&warm, ".tmp"), 0);
    world.log.close();
}

#[test]
fn streams_and_ids_go_on_where_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.append(0..EVENTS);
    in_tiers(&world);
    world.log.close();
    // Even where no checkpoint says how the streams were.
    for entry in fs_err::read_dir(folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "streams") {
            fs_err::remove_file(path).unwrap();
        }
    }
    let last = world.log.reader().last_version("orders").unwrap().unwrap();
    let world = world.again();
    let append = |id: u128, expected| {
        let mut batch = Batch::new();
        let event = Event {
            stream: "orders",
            kind: "test",
            id: Some(EventId(id)),
            ..Event::default()
        };
        batch.push(&event).unwrap();
        let append = Append {
            batch,
            expected: vec![("orders".to_owned(), expected)],
            ..Append::default()
        };
        block_on(world.log.append(append))
    };
    append(1 << 100, Expected::Exact(last - 1)).expect_err("it is further");
    append(1 << 100, Expected::Exact(last)).expect("it is there");
    // The id of an event that was sealed long ago.
    let old = world.log.reader().stream("orders", 0, usize::MAX).unwrap();
    let old = old
        .iter()
        .find_map(|hit| hit.recorded().event.id.map(|id| (hit.recorded().offset, id)));
    let (offset, EventId(id)) = old.unwrap();
    let repeated = append(id, Expected::Any).expect("it is known");
    assert!(repeated.is_repeated);
    assert_eq!(repeated.first_offset, offset);
    world.log.close();
}

#[test]
fn a_reader_in_another_process_keeps_what_it_shows() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.append(0..EVENTS);
    let beside = world.beside();
    let hot = |world: &World| {
        let names = fs_err::read_dir(&world.folder).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.ends_with(".seg")).count()
    };
    let before = hot(&world);
    in_tiers(&world);
    assert_eq!(hot(&world), before, "somebody may read them");
    assert_eq!(all(&beside), expected(EVENTS));
    beside.refresh().unwrap();
    assert_eq!(all(&beside), expected(EVENTS));
    world.workshop.reclaim(&world.log).unwrap();
    assert_eq!(hot(&world), before - 15);
    assert_eq!(all(&beside), expected(EVENTS));
    drop(beside);
    world.log.close();
}

#[test]
fn a_subscription_goes_through_all_tiers() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.append(0..EVENTS);
    in_tiers(&world);
    world.log.close();
    let reader = world.log.reader();
    let count = block_on(async {
        let mut follow = reader.follow(0, axiom_events::Filter::default());
        let mut count = 0;
        while let Some(delivery) = follow.next().await.unwrap() {
            match delivery {
                axiom_events::Delivery::Events(events) => count += events.events().count() as u64,
                axiom_events::Delivery::Gap(gap) => panic!("a gap {gap:?}"),
            }
        }
        count
    });
    assert_eq!(count, EVENTS);
}

#[test]
fn damaged_events_stay_a_gap_and_their_bytes_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.append(0..EVENTS);
    let damaged = world.sealed()[1].clone();
    world.log.close();
    let mut bytes = fs_err::read(&damaged.path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs_err::write(&damaged.path, &bytes).unwrap();

    let world = world.again();
    let before = all(&world.log.reader());
    assert_eq!(before.gaps.len(), 1);
    in_tiers(&world);
    assert_eq!(all(&world.log.reader()), before);
    let (gap, why) = &before.gaps[0];
    assert_eq!(*why, Missing::Lost);
    let Next::Gap(found) = world.log.reader().at(gap.start).unwrap() else {
        panic!("it is lost");
    };
    assert_eq!(found, *gap);
    let name = damaged.path.file_name().unwrap().to_str().unwrap();
    let kept = fs_err::read(folder.path().join(format!("damaged-{name}.bin"))).unwrap();
    assert_eq!(kept, bytes);
    world.log.close();
}

#[test]
fn a_warm_file_that_is_gone_or_damaged_is_a_gap_that_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.append(0..EVENTS);
    in_tiers(&world);
    let object = world.objects()[1].clone();
    let path = folder.path().join("warm").join(&object.location);
    let bytes = fs_err::read(&path).unwrap();
    let with_gap = |world: &World| {
        let found = all(&world.beside());
        assert_eq!(found.gaps, [(object.offsets.clone(), Missing::Lost)]);
        assert_eq!(found.count, EVENTS - object.rows);
        world
            .beside()
            .task_tail("task-2", usize::MAX)
            .expect_err("an answer would not be whole");
    };
    fs_err::remove_file(&path).unwrap();
    with_gap(&world);
    let mut flipped = bytes.clone();
    let at = flipped.len() / 3;
    flipped[at] ^= 1;
    fs_err::write(&path, &flipped).unwrap();
    with_gap(&world);
    fs_err::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    with_gap(&world);
    fs_err::write(&path, &bytes).unwrap();
    assert_eq!(all(&world.beside()), expected(EVENTS));
    world.log.close();
}

#[test]
fn a_file_whose_record_was_lost_is_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.append(0..EVENTS);
    let manifest = folder.path().join("manifest");
    world.seal(3).unwrap().unwrap();
    let earlier = fs_err::read(&manifest).unwrap();
    world.seal(3).unwrap().unwrap();
    world.workshop.reclaim(&world.log).unwrap();
    let objects = world.objects();
    world.log.close();
    // The hot segments are gone, and so is the record of where their events are.
    fs_err::write(&manifest, &earlier).unwrap();
    let world = world.again();
    world.workshop.tidy(&world.log).unwrap();
    assert_eq!(all(&world.log.reader()), expected(EVENTS));
    let found = world.objects();
    assert_eq!(found[1].events_hash, objects[1].events_hash);
    assert_eq!(found[1].bytes_hash, objects[1].bytes_hash);
    world.log.close();
}
