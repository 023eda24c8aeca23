//! What is kept how long, whose it is, and what is held nevertheless.

use std::time::Duration;

use axiom_events::archive::Missing;
use axiom_events::find::By;
use axiom_events::{Append, Batch, Event, Next, Totals};
use axiom_tiers::manifest::{Change, Hold};
use axiom_tiers::tell::RETIRED_KIND;
use axiom_tiers::{Deletion, Limits, Retention, Service};

use crate::world::{
    All, START, STREAMS, World, all, block_on, expected, expected_of, kept_for, versions_of, wait_until,
};

const EVENTS: u64 = 1500;
pub(crate) const DAY: Duration = Duration::from_secs(86_400);

/// Everything but the newest segments is warm, in two files.
pub(crate) fn warm(folder: &std::path::Path) -> World {
    let world = World::new(folder);
    world.append(0..EVENTS);
    for _ in 0..2 {
        world.seal(5).expect("it is sealed").expect("there is something");
    }
    world
}

/// What deletes events of this tenant, and of no other.
fn delete_of(tenants: &[&str]) -> Retention {
    let tenants = tenants.iter().map(|tenant| ((*tenant).to_owned(), DAY));
    Retention {
        delete: Deletion {
            tenants: tenants.collect(),
            ..Deletion::default()
        },
        hot: Limits::default(),
        ..Retention::default()
    }
}

/// Until the service has looked at everything at least once more, and done what there was to do.
pub(crate) fn look_once_more(world: &World, retention: &Retention, service: &Service) {
    for _ in 0..2 {
        let hot_from = world.workshop.manifest().now().hot_from;
        let next = world.log.reader().end();
        world.append(next..next + 200);
        service.apply(Retention {
            hot: Limits {
                age: None,
                bytes: Some(0),
            },
            ..retention.clone()
        });
        // Sealing comes first in each look: the second time everything of the first look is done.
        wait_until("something more is sealed", || {
            world
                .workshop
                .manifest()
                .refresh()
                .expect("it can be read")
                .hot_from
                > hot_from
        });
    }
    service.apply(retention.clone());
}

/// Of the first events, without what the tiers themselves have recorded.
fn first(world: &World, events: u64) -> All {
    let reader = world.beside();
    let mut hash = axiom_tiers::file::EventsHash::new();
    let mut found = All::default();
    let mut at = 0;
    while at < events {
        match reader.at(at).expect("it can be read") {
            Next::Block(block) => {
                for recorded in block
                    .events()
                    .filter(|recorded| (at..events).contains(&recorded.offset))
                {
                    hash.push(&recorded);
                    found.count += 1;
                }
                at = block.offsets().end;
            }
            Next::Gap(gap) => {
                let why = reader.why_missing(&gap).expect("it can be read");
                at = gap.end;
                found.gaps.push((gap, why));
            }
            Next::End => panic!("the log ends at {at}"),
        }
    }
    found.hash = hash.finish();
    found
}

fn of_tenant(world: &World, tenant: &str) -> u64 {
    let totals = Totals {
        tenant: Some(tenant),
        by: By::default(),
        ..Totals::default()
    };
    let counts = world.beside().totals(&totals).expect("it can be counted");
    counts.iter().map(|(_, count)| count.events).sum()
}

fn hold(world: &World, hold: Hold) -> u64 {
    let mut id = 0;
    let add = |state: &axiom_tiers::manifest::State| {
        id = state.next_hold;
        Some(Change::Hold(Hold { id, ..hold }))
    };
    world
        .workshop
        .manifest()
        .change("somebody", add)
        .expect("it is held");
    id
}

#[test]
fn nothing_is_deleted_unless_somebody_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let world = warm(folder.path());
    // All of it is years old.
    let service = world.service(Retention::default());
    wait_until("everything that may be is merged", || {
        world.objects().len() == 1 || world.objects().len() == 2
    });
    service.stop();
    assert_eq!(all(&world.beside()), expected(EVENTS));
    world.log.close();
}

#[test]
fn a_limit_of_a_tier_deletes_nothing_where_there_is_no_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let world = warm(folder.path());
    let service = world.service(Retention::default());
    // As somebody's configuration says who has just written down an object store, which comes with the next start.
    let retention = Retention {
        warm: Limits {
            age: Some(DAY),
            bytes: Some(1),
        },
        hot: Limits::default(),
        ..Retention::default()
    };
    service.apply(retention.clone());
    look_once_more(&world, &retention, &service);
    service.stop();
    assert_eq!(first(&world, EVENTS), expected(EVENTS));
    world.log.close();
}

#[test]
fn what_is_too_old_goes_as_a_whole_and_is_said_to_be_retired() {
    let folder = tempfile::tempdir().unwrap();
    let world = warm(folder.path());
    let hot_from = world.workshop.manifest().now().hot_from;
    let service = world.service(kept_for(DAY));
    wait_until("all warm files are gone", || world.objects().is_empty());
    wait_until("their bytes are gone", || {
        world.workshop.manifest().refresh().unwrap().garbage.is_empty()
    });
    wait_until("the log says so", || {
        let hits = world.log.reader().stream("axiom.log", 0, 10).unwrap();
        let gone = hits
            .iter()
            .filter(|hit| hit.recorded().event.kind == RETIRED_KIND);
        gone.count() == 2
    });
    service.stop();
    let found = first(&world, EVENTS);
    assert_eq!(found.gaps, [(0..hot_from, Missing::Retired)]);
    assert_eq!(found.count, EVENTS - hot_from);
    assert_eq!(world.beside().first(), hot_from);
    let warm = fs_err::read_dir(folder.path().join("warm")).unwrap().count();
    assert_eq!(warm, 0);
    world.log.close();
}

#[test]
fn a_tenants_events_go_out_of_files_that_others_share() {
    let folder = tempfile::tempdir().unwrap();
    let world = warm(folder.path());
    let hot_from = world.workshop.manifest().now().hot_from;
    let others = of_tenant(&world, "globex");
    let retention = Retention {
        delete: Deletion {
            tenants: [("acme".to_owned(), DAY)].into(),
            ..Deletion::default()
        },
        hot: Limits::default(),
        ..Retention::default()
    };
    let service = world.service(retention);
    let left = expected_of(EVENTS, |offset, event| {
        offset >= hot_from || event.tenant != "acme"
    });
    wait_until("they are gone", || first(&world, EVENTS).count == left.count);
    service.stop();
    let found = first(&world, EVENTS);
    assert_eq!((found.count, found.hash), (left.count, left.hash));
    assert!(found.gaps.iter().all(|(_, why)| *why == Missing::Retired));
    assert_eq!(of_tenant(&world, "globex"), others);
    let hot_of_acme = expected_of(EVENTS, |offset, event| {
        offset >= hot_from && event.tenant == "acme"
    })
    .count;
    assert_eq!(of_tenant(&world, "acme"), hot_of_acme, "and out of the totals");
    // Of each stream there are holes now, and it has the others from any version on.
    for stream in STREAMS {
        let left = versions_of(EVENTS, stream, |offset, event| {
            offset >= hot_from || event.tenant != "acme"
        });
        let last = left.last().expect("not all of it is acme's").0;
        for from in (0..=last).step_by(7).chain([last, last + 1]) {
            let found = world.beside().stream(stream, from, usize::MAX).unwrap();
            let wanted = left.iter().filter(|(version, _)| *version >= from);
            let found = found.iter().map(|hit| {
                let recorded = hit.recorded();
                (recorded.version, recorded.offset)
            });
            assert!(found.eq(wanted.copied()), "{stream} from {from}");
        }
    }
    assert_eq!(
        world.objects().iter().map(|object| object.rows).sum::<u64>(),
        left.count - (EVENTS - hot_from)
    );
    world.log.close();
}

#[test]
fn a_tenant_may_be_kept_for_longer_than_others() {
    let folder = tempfile::tempdir().unwrap();
    let world = warm(folder.path());
    let hot_from = world.workshop.manifest().now().hot_from;
    let retention = Retention {
        delete: Deletion {
            age: Some(DAY),
            tenants: [("acme".to_owned(), DAY * 9000)].into(),
            bytes: None,
        },
        ..kept_for(DAY)
    };
    let service = world.service(retention);
    let left = expected_of(EVENTS, |offset, event| {
        offset >= hot_from || event.tenant == "acme"
    });
    wait_until("the others are gone", || {
        first(&world, EVENTS).count == left.count
    });
    service.stop();
    assert_eq!(first(&world, EVENTS).hash, left.hash);
    world.log.close();
}

#[test]
fn what_is_held_stays_until_it_is_held_no_longer() {
    let folder = tempfile::tempdir().unwrap();
    let world = warm(folder.path());
    let hot_from = world.workshop.manifest().now().hot_from;
    let id = hold(
        &world,
        Hold {
            tenant: Some("acme".to_owned()),
            stream: Some("orders".to_owned()),
            reason: "a dispute".to_owned(),
            ..Hold::default()
        },
    );
    // The newest one is another one, and stays.
    hold(
        &world,
        Hold {
            tenant: Some("nobody".to_owned()),
            ..Hold::default()
        },
    );
    let service = world.service(kept_for(DAY));
    let held = expected_of(EVENTS, |offset, event| {
        offset >= hot_from || (event.tenant == "acme" && event.stream == "orders")
    });
    wait_until("the others are gone", || {
        first(&world, EVENTS).count == held.count
    });
    assert_eq!(first(&world, EVENTS).hash, held.hash);
    let sequence = world.workshop.manifest().refresh().unwrap().sequence;
    world
        .workshop
        .manifest()
        .change("somebody", |_| Some(Change::Release { id }))
        .unwrap();
    assert!(world.workshop.manifest().now().sequence > sequence);
    wait_until("the rest is gone", || world.objects().is_empty());
    service.stop();
    assert_eq!(first(&world, EVENTS).count, EVENTS - hot_from);
    world.log.close();
}

/// Nothing is appended any more: what is in the newest segment becomes warm, and is deleted, all the same.
#[test]
fn a_quiet_logs_newest_events_grow_old_too() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.append(0..EVENTS);
    let is_old = |log_end: u64| world.workshop.manifest().now().hot_from >= log_end;
    let at_once = Limits {
        age: Some(Duration::ZERO),
        bytes: None,
    };
    let mut retention = Retention {
        hot: at_once,
        ..Retention::default()
    };
    let service = world.service(retention.clone());
    wait_until("all of it is warm", || is_old(EVENTS));
    wait_until("one segment is left, and nothing is in it", || {
        let names = fs_err::read_dir(folder.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let segments: Vec<String> = names.filter(|name| name.ends_with(".seg")).collect();
        segments == [format!("{EVENTS:020}.seg")]
    });
    assert_eq!(all(&world.beside()), expected(EVENTS));
    retention.delete.age = Some(DAY);
    service.apply(retention);
    wait_until("all of it is gone, and the log has said so", || {
        world
            .objects()
            .first()
            .is_some_and(|first| first.offsets.start >= EVENTS)
    });
    service.stop();
    let found = first(&world, EVENTS);
    assert_eq!(found.gaps, [(0..EVENTS, Missing::Retired)]);
    let world = world.again();
    world.append(EVENTS..EVENTS + 20);
    assert_eq!(
        world.log.reader().last_version("orders").unwrap(),
        world.beside().last_version("orders").unwrap()
    );
    world.log.close();
}

#[test]
fn what_is_over_goes_when_it_is_over_whatever_is_held_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = warm(folder.path());
    let hot_from = world.workshop.manifest().now().hot_from;
    let of = |tenant: &str, stream: &str| Hold {
        tenant: Some(tenant.to_owned()),
        stream: Some(stream.to_owned()),
        reason: "a dispute".to_owned(),
        ..Hold::default()
    };
    let orders = hold(&world, of("acme", "orders"));
    let files = hold(&world, of("acme", "gateway.files"));
    assert!(orders < files);
    let left = |tenants: &[&str], streams: &[&str]| {
        let of_others = |offset, event: &axiom_events::Event<'_>| {
            let is_held = event.tenant == "acme" && streams.contains(&event.stream);
            offset >= hot_from || !tenants.contains(&event.tenant) || is_held
        };
        let left = expected_of(EVENTS, of_others);
        (left.count, left.hash)
    };
    let is_left = |what: &str, tenants: &[&str], streams: &[&str]| {
        let left = left(tenants, streams);
        wait_until(what, || first(&world, EVENTS).count == left.0);
        assert_eq!(first(&world, EVENTS).hash, left.1, "{what}");
    };
    // One tenant after the other is over; what is held is another one's.
    let service = world.service(delete_of(&["globex"]));
    is_left("globex is gone", &["globex"], &[]);
    service.apply(delete_of(&["globex", "initech"]));
    is_left("initech is gone", &["globex", "initech"], &[]);
    let all = ["globex", "initech", "acme"];
    service.apply(delete_of(&all));
    is_left("what nobody holds is gone", &all, &["orders", "gateway.files"]);
    // The older hold goes, the newer one stays.
    let release = |id| {
        let released = world
            .workshop
            .manifest()
            .change("somebody", |_| Some(Change::Release { id }));
        released.expect("it is written");
    };
    release(orders);
    is_left("what the first hold kept is gone", &all, &["gateway.files"]);
    release(files);
    is_left("all of it is gone", &all, &[]);
    service.stop();
    world.log.close();
}

#[test]
fn too_many_bytes_take_the_oldest_file() {
    let folder = tempfile::tempdir().unwrap();
    let world = warm(folder.path());
    let objects = world.objects();
    let retention = Retention {
        delete: Deletion {
            bytes: Some(objects[1].bytes),
            ..Deletion::default()
        },
        hot: Limits::default(),
        ..Retention::default()
    };
    let service = world.service(retention);
    wait_until("the first is gone", || world.objects().len() == 1);
    service.stop();
    assert_eq!(world.objects(), objects[1..]);
    assert_eq!(first(&world, EVENTS).count, EVENTS - objects[0].rows);
    world.log.close();
}

/// One event in each of these streams, as old as the others.
fn append_state(world: &World, streams: &[&str]) {
    let mut batch = Batch::new();
    for stream in streams {
        let event = Event {
            time: START,
            stream,
            kind: "state",
            body: stream.as_bytes(),
            ..Event::default()
        };
        batch.push(&event).expect("it keeps to the limits");
    }
    let append = Append {
        batch,
        ..Append::default()
    };
    block_on(world.log.append(append)).expect("it is recorded");
}

/// A stream's versions that are there.
fn versions(world: &World, stream: &str) -> Vec<u64> {
    let hits = world
        .beside()
        .stream(stream, 0, usize::MAX)
        .expect("it can be read");
    hits.iter().map(|hit| hit.recorded().version).collect()
}

/// State that changed long ago is as good as any other.
#[test]
fn the_newest_event_of_a_stream_of_state_outlives_retention() {
    for delete in [
        Deletion {
            age: Some(DAY),
            ..Deletion::default()
        },
        Deletion {
            bytes: Some(1),
            ..Deletion::default()
        },
    ] {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(folder.path());
        append_state(&world, &["$a", "$a", "$a.part", "$b", "plain"]);
        world.append(0..EVENTS);
        world.seal(5).unwrap().unwrap();
        // One of them goes on, in another file and in the log itself.
        append_state(&world, &["$b", "$c"]);
        world.append(EVENTS..2 * EVENTS);
        world.seal(usize::MAX).unwrap().unwrap();
        append_state(&world, &["$c"]);
        let retention = Retention {
            delete,
            hot: Limits::default(),
            ..Retention::default()
        };
        let service = world.service(retention);
        wait_until("everything else is gone", || {
            let objects = world.objects();
            objects.iter().map(|object| object.rows).sum::<u64>() == 3
        });
        service.stop();
        let left = ["$a", "$a.part", "$b", "$c", "plain"].map(|stream| versions(&world, stream));
        assert_eq!(left, [vec![1], vec![0], vec![1], vec![1], vec![]]);
        // The next start knows them, and goes on behind them.
        let world = world.again();
        append_state(&world, &["$a", "$b"]);
        assert_eq!(versions(&world, "$a"), [1, 2]);
        assert_eq!(versions(&world, "$b"), [1, 2]);
        world.log.close();
    }
}

#[test]
fn a_hold_that_comes_while_events_are_being_deleted_is_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let world = warm(folder.path());
    let before = world.objects();
    // Decided when nothing was held.
    hold(&world, Hold::default());
    let dropped = world.workshop.drop_whole(&before[..1], &[], "test");
    assert!(
        matches!(dropped, Err(axiom_tiers::workshop::WorkError::Held)),
        "{dropped:?}"
    );
    let thinned = world.workshop.rewrite(
        &before[..1],
        |recorded| recorded.event.tenant != "acme",
        &[],
        "test",
    );
    assert!(
        matches!(thinned, Err(axiom_tiers::workshop::WorkError::Held)),
        "{thinned:?}"
    );
    assert_eq!(world.objects(), before);
    assert_eq!(all(&world.beside()), expected(EVENTS));
    world.workshop.tidy(&world.log).unwrap();
    let warm = fs_err::read_dir(folder.path().join("warm")).unwrap();
    let warm = warm.filter(|entry| entry.as_ref().unwrap().path().extension().unwrap() == "parquet");
    assert_eq!(warm.count(), before.len(), "what was made in vain is gone");
    world.log.close();
}
