//! Who holds events, and who lets them go, is in the log: each deed once, whoever was there when it was done.

use std::path::Path;
use std::sync::Arc;

use axiom_core::time::unix_nanos;
use axiom_events::disk::Machine;
use axiom_events::{Format, Log};
use axiom_tiers::Retention;
use axiom_tiers::manifest::{Change, Hold, Manifest};
use serde_json::{Value, json};

use crate::sim::{EIO, Fault, Op, Sim};
use crate::world::{World, wait_until};

/// There is no such folder on this machine: nobody has pins in it.
const FOLDER: &str = "/axiom-simulated/shard-00000";

/// Kinds and bodies of what the log says of holds.
fn told(log: &Log) -> Vec<(String, Value)> {
    let hits = log.reader().stream("axiom.log", 0, 100).expect("it can be read");
    hits.iter()
        .map(|hit| {
            let event = hit.recorded().event;
            assert_eq!(event.format, Format::Json);
            let body = serde_json::from_slice(event.body).expect("it is JSON");
            (event.kind.to_owned(), body)
        })
        .collect()
}

fn hold(manifest: &Manifest, by: &str, hold: Hold) -> u64 {
    let mut id = 0;
    let add = |state: &axiom_tiers::manifest::State| {
        id = state.next_hold;
        Some(Change::Hold(Hold {
            id,
            by: by.to_owned(),
            at: unix_nanos(),
            ..hold
        }))
    };
    manifest.change(by, add).expect("it is held");
    id
}

fn release(manifest: &Manifest, by: &str, id: u64) {
    let changed = manifest.change(by, |_| Some(Change::Release { id }));
    changed.expect("it is released");
}

fn nothing_untold(world: &World) -> bool {
    let state = world.workshop.manifest().refresh().expect("it can be read");
    state.untold.is_empty()
}

#[test]
fn who_holds_what_and_why_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new(folder.path());
    world.append(0..20);
    // As another process does it.
    let beside = Manifest::open(Arc::new(Machine), folder.path(), 0).unwrap();
    let service = world.service(Retention::default());
    let case = Hold {
        tenant: Some("acme".to_owned()),
        from: Some(17),
        reason: "case 17".to_owned(),
        ..Hold::default()
    };
    let id = hold(&beside, "ana", case);
    wait_until("the hold is told", || told(&world.log).len() == 1);
    release(&beside, "bo", id);
    wait_until("its end is told", || nothing_untold(&world));
    service.stop();

    // Nobody is there when this is done.
    let all = Hold {
        reason: "an audit".to_owned(),
        ..Hold::default()
    };
    hold(&beside, "cy", all);
    let world = world.again();
    assert_eq!(told(&world.log).len(), 2);
    let service = world.service(Retention::default());
    wait_until("it is told afterwards", || nothing_untold(&world));
    service.stop();
    let world = world.again();
    let service = world.service(Retention::default());
    wait_until("it has looked", || nothing_untold(&world));
    service.stop();
    let expected = [
        (
            "axiom.hold",
            json!({ "hold": 1, "tenant": "acme", "from_ns": 17, "reason": "case 17", "by": "ana" }),
        ),
        (
            "axiom.released",
            json!({ "hold": 1, "tenant": "acme", "from_ns": 17, "reason": "case 17", "by": "bo" }),
        ),
        (
            "axiom.hold",
            json!({ "hold": 2, "reason": "an audit", "by": "cy" }),
        ),
    ];
    let expected = expected.map(|(kind, body)| (kind.to_owned(), body));
    assert_eq!(told(&world.log), expected);
    world.log.close();
}

/// The log has it, and the manifest could not note that: what is told again is the same event.
#[test]
fn what_is_told_again_is_there_once() {
    let sim = Sim::new(1);
    let world = World::on(sim.arc(), Path::new(FOLDER), None);
    world.append(0..20);
    hold(world.workshop.manifest(), "ana", Hold::default());
    // So the manifest is written to, and a segment that is open is not.
    sim.fail(Fault {
        op: Some(Op::Open),
        after: 0,
        times: u64::MAX,
        errno: EIO,
    });
    let service = world.service(Retention::default());
    wait_until("it is in the log", || told(&world.log).len() == 1);
    service.stop();
    assert!(!world.workshop.manifest().now().untold.is_empty());
    sim.heal();
    let world = world.again();
    let service = world.service(Retention::default());
    wait_until("it is noted", || nothing_untold(&world));
    service.stop();
    assert_eq!(told(&world.log).len(), 1);
    world.log.close();
}
