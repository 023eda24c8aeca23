//! Events in an object store that is a folder: moved there, read from there, and what happens when it is not as it was.

use std::path::Path;
use std::sync::Arc;

use axiom_events::archive::Missing;
use axiom_tiers::manifest::{Object, Tier};
use axiom_tiers::{Deletion, Limits, Retention, Store, StoreOptions};

use crate::retention;
use crate::world::{World, all, ask, expected};

const EVENTS: u64 = 1500;

pub(crate) fn store(folder: &Path) -> Arc<Store> {
    let options = StoreOptions {
        url: format!("file://{}", folder.display()),
        ..StoreOptions::default()
    };
    Arc::new(Store::open(&options).expect("it is a store"))
}

/// Two cold objects, a warm file and some hot segments.
pub(crate) fn cold(folder: &Path, store: Arc<Store>) -> World {
    let world = World::on(Arc::new(axiom_events::disk::Machine), folder, Some(store));
    world.append(0..EVENTS);
    for _ in 0..3 {
        world.seal(3).expect("it is sealed").expect("there is something");
    }
    for object in &world.objects()[..2] {
        world.workshop.place(object).expect("it is moved");
    }
    world
        .workshop
        .reclaim(&world.log)
        .expect("what is left over is deleted");
    world
}

fn tiers(world: &World) -> Vec<Tier> {
    world.objects().iter().map(|object| object.tier).collect()
}

/// The file of a cold object.
fn file_of(world: &World, index: usize) -> std::path::PathBuf {
    let location = world.objects()[index].location.clone();
    location.strip_prefix("file://").expect("it is a file").into()
}

#[test]
fn what_was_moved_is_read_from_there() {
    let (folder, objects) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = cold(folder.path(), store(objects.path()));
    assert_eq!(tiers(&world), [Tier::Cold, Tier::Cold, Tier::Warm]);
    assert_eq!(all(&world.log.reader()), expected(EVENTS));
    let answers = ask(&world.log.reader(), 3);
    assert_eq!(ask(&world.beside(), 3), answers);
    let warm = fs_err::read_dir(folder.path().join("warm")).unwrap();
    let warm = warm.filter(|entry| entry.as_ref().unwrap().path().extension().unwrap() == "parquet");
    assert_eq!(warm.count(), 1, "local files that were moved are gone");
    let world = world.again();
    assert_eq!(all(&world.log.reader()), expected(EVENTS));
    world.log.close();
}

#[test]
fn cold_events_can_be_thinned_and_deleted_there() {
    let (folder, objects) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = cold(folder.path(), store(objects.path()));
    let first = world.objects()[0].clone();
    let old = file_of(&world, 0);
    let is_left = |tenant: &str| tenant != "acme";
    let rewritten = world
        .workshop
        .rewrite(
            std::slice::from_ref(&first),
            |recorded| is_left(recorded.event.tenant),
            &[],
            "test",
        )
        .expect("it is rewritten");
    assert!(rewritten.retired > 0);
    world.workshop.reclaim(&world.log).unwrap();
    assert!(!old.exists(), "the old object is deleted");
    assert_eq!(tiers(&world), [Tier::Cold, Tier::Cold, Tier::Warm]);
    let left = crate::world::expected_of(EVENTS, |offset, event| {
        !first.offsets.contains(&offset) || is_left(event.tenant)
    });
    let found = all(&world.beside());
    assert_eq!((found.count, found.hash), (left.count, left.hash));
    let gone = world
        .workshop
        .drop_whole(&world.objects()[..2], &[], "test")
        .unwrap();
    assert!(gone > 0);
    world.workshop.reclaim(&world.log).unwrap();
    let shard = objects.path().join("shard-00000");
    assert_eq!(fs_err::read_dir(shard).unwrap().count(), 0);
    world.log.close();
}

/// What another process counts, which has only the summaries on the disk to go by.
fn count_of(world: &World, tenant: &str) -> u64 {
    let totals = axiom_events::Totals {
        tenant: Some(tenant),
        ..axiom_events::Totals::default()
    };
    let counts = world.beside().totals(&totals).expect("it can be counted");
    counts.iter().map(|(_, count)| count.events).sum()
}

#[test]
fn what_was_thinned_twice_is_counted_as_it_is() {
    let (folder, objects) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = cold(folder.path(), store(objects.path()));
    let first = world.objects()[0].offsets.clone();
    for (times, gone) in [&["acme"][..], &["acme", "globex"]].into_iter().enumerate() {
        let is_kept = |tenant: &str| !gone.contains(&tenant);
        world
            .workshop
            .rewrite(
                &world.objects()[..1],
                |recorded| is_kept(recorded.event.tenant),
                &[],
                "test",
            )
            .expect("it is rewritten");
        world.workshop.reclaim(&world.log).unwrap();
        for tenant in crate::world::TENANTS {
            let left = crate::world::expected_of(EVENTS, |offset, event| {
                event.tenant == tenant && (!first.contains(&offset) || is_kept(tenant))
            });
            assert_eq!(count_of(&world, tenant), left.count, "{tenant}, {times}");
        }
    }
    world.log.close();
}

#[test]
fn an_object_that_is_gone_or_damaged_is_a_gap_that_says_what_to_do() {
    let (folder, objects) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = cold(folder.path(), store(objects.path()));
    let object = world.objects()[1].clone();
    let path = file_of(&world, 1);
    let bytes = fs_err::read(&path).unwrap();
    // Another store object each time: nothing is remembered of what was read before.
    let world = World {
        workshop: world.workshop,
        ..world
    };
    let gaps = |path: &Path| {
        let shelves = axiom_tiers::Shelves::open(path, Some(store(objects.path()))).unwrap();
        let proofs = shelves.prove();
        let reader =
            axiom_events::Reader::open_with(Arc::new(axiom_events::disk::Machine), path, Arc::new(shelves));
        let told: Vec<String> = proofs
            .iter()
            .filter_map(|proof| proof.outcome.as_ref().err().map(ToString::to_string))
            .collect();
        (all(&reader.unwrap()).gaps, told)
    };
    let gap = [(object.offsets.clone(), Missing::Lost)];
    fs_err::remove_file(&path).unwrap();
    let (found, told) = gaps(folder.path());
    assert_eq!(found, gap);
    assert!(
        told[0].contains("is gone") && told[0].contains("restore it from a backup"),
        "{told:?}"
    );

    let mut flipped = bytes.clone();
    let at = flipped.len() / 2;
    flipped[at] ^= 4;
    fs_err::write(&path, &flipped).unwrap();
    let (found, told) = gaps(folder.path());
    assert_eq!(found, gap);
    assert!(
        told[0].contains("is damaged") && told[0].contains("restore it from a backup"),
        "{told:?}"
    );

    fs_err::write(&path, &bytes).unwrap();
    assert_eq!(gaps(folder.path()), (Vec::new(), Vec::new()));
    world.log.close();
}

#[test]
fn without_a_store_cold_events_are_an_error_and_no_gap() {
    let (folder, objects) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let world = cold(folder.path(), store(objects.path()));
    world.log.close();
    let shelves = axiom_tiers::Shelves::open(folder.path(), None).unwrap();
    let reader = axiom_events::Reader::open_with(
        Arc::new(axiom_events::disk::Machine),
        folder.path(),
        Arc::new(shelves),
    )
    .unwrap();
    let error = reader.at(0).unwrap_err().to_string();
    assert!(error.contains("set `events.store`"), "{error}");
}

#[test]
fn the_local_file_stays_until_the_cold_one_is_proven() {
    let (folder, objects) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let store = store(objects.path());
    let world = World::on(
        Arc::new(axiom_events::disk::Machine),
        folder.path(),
        Some(Arc::clone(&store)),
    );
    world.append(0..EVENTS);
    let object = world.seal(4).unwrap().unwrap();
    // Something else has the object's name: somebody else's bytes.
    let location = store.location(0, &object.offsets, &object.bytes_hash);
    let path: std::path::PathBuf = location.strip_prefix("file://").unwrap().into();
    fs_err::create_dir_all(path.parent().unwrap()).unwrap();
    fs_err::write(&path, b"something else").unwrap();
    let error = world.workshop.place(&object).unwrap_err().to_string();
    assert!(error.contains("does not read back"), "{error}");
    assert_eq!(tiers(&world), [Tier::Warm]);
    assert_eq!(all(&world.log.reader()), expected(EVENTS));
    // What was begun is garbage, and the next try succeeds.
    world.workshop.reclaim(&world.log).unwrap();
    assert!(!path.exists());
    world.workshop.place(&object).unwrap();
    assert_eq!(tiers(&world), [Tier::Cold]);
    assert_eq!(all(&world.log.reader()), expected(EVENTS));
    world.log.close();
}

#[test]
fn addresses_that_are_none_are_refused_with_a_reason() {
    let refused = |url: &str, endpoint: Option<&str>| {
        let options = StoreOptions {
            url: url.to_owned(),
            endpoint: endpoint.map(str::to_owned),
            ..StoreOptions::default()
        };
        Store::open(&options).unwrap_err().to_string()
    };
    assert!(refused("gs://bucket", None).contains("must begin with s3://"));
    assert!(refused("nonsense", None).contains("is no address"));
    let open = refused("s3://bucket", Some("http://store.example:9000"));
    assert!(open.contains("in the open"), "{open}");
    assert!(refused("s3://bucket", Some("nonsense")).contains("no URL"));
}

#[test]
fn cold_events_stay_while_their_store_is_not_configured() {
    let by_age = Deletion {
        age: Some(retention::DAY),
        ..Deletion::default()
    };
    let by_bytes = Deletion {
        bytes: Some(1),
        ..Deletion::default()
    };
    let another = tempfile::tempdir().unwrap();
    for delete in [by_age, by_bytes] {
        for configured in [None, Some(store(another.path()))] {
            let retention = Retention {
                delete: delete.clone(),
                hot: Limits::default(),
                ..Retention::default()
            };
            stay(&retention, configured);
        }
    }
}

/// Cold events by this retention, while another store or none is configured, and when theirs is again.
fn stay(retention: &Retention, configured: Option<Arc<Store>>) {
    let (folder, objects) = (
        tempfile::tempdir().expect("there is room"),
        tempfile::tempdir().expect("there is room"),
    );
    let disk = Arc::new(axiom_events::disk::Machine);
    let theirs = store(objects.path());
    let world = cold(folder.path(), Arc::clone(&theirs));
    let cold: Vec<Object> = world.objects()[..2].to_vec();
    world.log.close();
    drop(world);

    let world = World::on(Arc::clone(&disk) as _, folder.path(), configured);
    let service = world.service(retention.clone());
    // What is warm is deleted, though it comes behind them.
    crate::world::wait_until("only what is out of reach is left", || world.objects() == cold);
    retention::look_once_more(&world, retention, &service);
    service.stop();
    assert_eq!(world.objects()[..2], cold);
    let garbage = world.workshop.manifest().now().garbage.clone();
    assert!(
        garbage.iter().all(|garbage| garbage.tier == Tier::Warm),
        "none waits for being deleted: {garbage:?}"
    );
    world.log.close();
    drop(world);

    let world = World::on(disk, folder.path(), Some(theirs));
    let service = world.service(retention.clone());
    crate::world::wait_until("they are deleted there, as was said", || {
        let there = fs_err::read_dir(objects.path().join("shard-00000"));
        there.expect("it is there").count() == 0
    });
    service.stop();
    world.log.close();
}
