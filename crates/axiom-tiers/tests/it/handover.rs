//! Every order in which sealing, merging, retention, deletion, a reader in another process and a crash can meet: what is in a
//! manifest is on the disk, for whoever has read it. The manifest's own rules are the real ones.

use std::collections::BTreeSet;

use axiom_tiers::manifest::pins::Floor;
use axiom_tiers::manifest::{Change, Object, Record, State, Tier};
use stateright::{Checker as _, HasDiscoveries, Model, Property};

/// Segments that may be sealed, of one event each. One more is being written.
const SEGMENTS: u64 = 3;

/// What may be done wrong, to see that it would be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    None,
    /// Segments and files are deleted when the record says so, whoever reads them.
    NobodyPins,
    /// A reader reads the manifest first and pins it then.
    ReadsBeforeItPins,
    /// The segments are deleted before the record that names the file.
    DeletesBeforeItRecords,
    /// The record is written before the file is synced.
    RecordsBeforeItSyncs,
    /// After a crash every file that no object has is deleted, those too that a reader may have.
    TidiesTooMuch,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    manifest: State,
    /// First offsets of segments on the disk.
    hot: BTreeSet<u64>,
    /// Files on the disk, and one that a crash may take away.
    files: BTreeSet<String>,
    unsynced: Option<String>,
    worker: Worker,
    reader: Reader,
    /// A crash was not tidied up yet.
    is_untidy: bool,
    crashes: u8,
    merges: u8,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Worker {
    Idle,
    /// It makes this file in the place of these objects, or of the first hot segment.
    Making {
        object: Object,
        removed: Vec<String>,
        stage: Stage,
    },
    /// It has seen who reads what.
    Reclaiming(u64, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Written,
    Synced,
    Verified,
}

/// In another process: a crash does not touch it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Reader {
    Gone,
    /// It has a pin that pins everything, and read nothing yet.
    Pinning,
    /// It has read and not pinned (a flaw).
    Unpinned(Box<State>),
    Reading(Box<State>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Seal,
    Merge,
    Sync,
    Verify,
    Record,
    Retire,
    LookAtPins,
    DeleteSegments,
    DeleteFile(String),
    RecordDeletion,
    Pin,
    Read,
    Leave,
    Crash { loses_file: bool },
    Tidy,
}

struct Handover {
    flaw: Flaw,
}

fn object(name: String, offsets: std::ops::Range<u64>) -> Object {
    Object {
        tier: Tier::Warm,
        location: name,
        rows: offsets.end - offsets.start,
        offsets,
        bytes: 1,
        time_min: 0,
        time_max: 0,
        events_hash: [0; 32],
        bytes_hash: [0; 32],
        began: 0,
        hot_bytes: 0,
        lost: Vec::new(),
    }
}

impl World {
    /// The state after a change, or nothing if the manifest's rules forbid it.
    fn after(&self, change: Change) -> Option<State> {
        let record = Record {
            sequence: self.manifest.sequence + 1,
            at: 0,
            by: String::new(),
            change,
        };
        self.manifest.clone().after(&record).ok()
    }

    fn floor(&self) -> Floor {
        let now = Floor::of(&self.manifest);
        match &self.reader {
            Reader::Gone | Reader::Unpinned(_) => now,
            Reader::Pinning => Floor {
                sequence: 0,
                hot_from: 0,
            },
            Reader::Reading(state) => now.lower(Floor::of(state)),
        }
    }

    /// Whether everything that a state shows is on the disk.
    fn has_all_of(&self, state: &State) -> bool {
        let is_there = |object: &Object| {
            self.files.contains(&object.location) || self.unsynced.as_ref() == Some(&object.location)
        };
        state.objects.iter().all(is_there)
            && (state.hot_from..=SEGMENTS).all(|first| self.hot.contains(&first))
    }

    fn orphans(&self, flaw: Flaw) -> Vec<String> {
        let is_known = |name: &String| match flaw {
            Flaw::TidiesTooMuch => self
                .manifest
                .objects
                .iter()
                .any(|object| object.location == *name),
            _ => self.manifest.is_known(name),
        };
        self.files
            .iter()
            .filter(|name| !is_known(name))
            .cloned()
            .collect()
    }
}

impl Model for Handover {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World {
            manifest: State::new(0),
            hot: (0..=SEGMENTS).collect(),
            files: BTreeSet::new(),
            unsynced: None,
            worker: Worker::Idle,
            reader: Reader::Gone,
            is_untidy: false,
            crashes: 0,
            merges: 0,
        }]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        match &world.worker {
            Worker::Idle if world.is_untidy => actions.push(Action::Tidy),
            Worker::Idle => {
                if world.manifest.hot_from < SEGMENTS {
                    actions.push(Action::Seal);
                }
                if world.manifest.objects.len() > 1 && world.merges < 2 {
                    actions.push(Action::Merge);
                }
                actions.push(Action::LookAtPins);
            }
            Worker::Making { stage, .. } => actions.push(match stage {
                Stage::Written if self.flaw == Flaw::RecordsBeforeItSyncs => Action::Record,
                Stage::Written => Action::Sync,
                Stage::Synced => Action::Verify,
                Stage::Verified => Action::Record,
            }),
            Worker::Reclaiming(sequence, hot_from) => {
                if world.hot.iter().any(|first| first < hot_from) {
                    actions.push(Action::DeleteSegments);
                }
                let free = world
                    .manifest
                    .garbage
                    .iter()
                    .filter(|garbage| garbage.since <= *sequence);
                let there = free.filter(|garbage| world.files.contains(&garbage.location));
                actions.extend(there.map(|garbage| Action::DeleteFile(garbage.location.clone())));
                actions.push(Action::RecordDeletion);
            }
        }
        // Retention may come at any moment: it is another process that changes the manifest.
        if world.manifest.objects.len() > 1 {
            actions.push(Action::Retire);
        }
        match world.reader {
            Reader::Gone => actions.push(Action::Pin),
            Reader::Pinning | Reader::Unpinned(_) => actions.push(Action::Read),
            Reader::Reading(_) => actions.push(Action::Leave),
        }
        if world.crashes < 2 {
            actions.push(Action::Crash { loses_file: false });
            if world.unsynced.is_some() {
                actions.push(Action::Crash { loses_file: true });
            }
        }
    }

    fn next_state(&self, before: &World, action: Action) -> Option<World> {
        let mut world = before.clone();
        match action {
            Action::Seal => {
                let first = world.manifest.hot_from;
                let made = object(format!("{first}"), first..first + 1);
                world.make(made, Vec::new());
                if self.flaw == Flaw::DeletesBeforeItRecords {
                    world.hot.remove(&first);
                }
            }
            Action::Merge => {
                let [first, second, ..] = world.manifest.objects.as_slice() else {
                    return None;
                };
                let removed = vec![first.location.clone(), second.location.clone()];
                let offsets = first.offsets.start..second.offsets.end;
                let rows = first.rows + second.rows;
                let mut made = object(removed.join("+"), offsets);
                made.rows = rows;
                world.merges += 1;
                world.make(made, removed);
            }
            Action::Sync => {
                world.files.extend(world.unsynced.take());
                world.set_stage(Stage::Synced);
            }
            Action::Verify => world.set_stage(Stage::Verified),
            Action::Record => {
                let Worker::Making { object, removed, .. } = world.worker.clone() else {
                    return None;
                };
                let name = object.location.clone();
                let change = if removed.is_empty() {
                    Change::Seal(Box::new(object))
                } else {
                    let (added, why) = (vec![object], String::new());
                    Change::Replace {
                        removed,
                        added,
                        retired: 0,
                        why,
                    }
                };
                match world.after(change) {
                    Some(state) => world.manifest = state,
                    // What it was made of is not there any more.
                    None => {
                        world.files.remove(&name);
                        world.unsynced = None;
                    }
                }
                world.worker = Worker::Idle;
            }
            Action::Retire => {
                let first = world.manifest.objects.first()?.location.clone();
                let (added, why) = (Vec::new(), String::new());
                let removed = vec![first];
                world.manifest = world.after(Change::Replace {
                    removed,
                    added,
                    retired: 1,
                    why,
                })?;
            }
            Action::LookAtPins => {
                let floor = match self.flaw {
                    Flaw::NobodyPins => Floor::of(&world.manifest),
                    _ => world.floor(),
                };
                world.worker = Worker::Reclaiming(floor.sequence, floor.hot_from);
            }
            Action::DeleteSegments => {
                let Worker::Reclaiming(_, hot_from) = world.worker else {
                    return None;
                };
                world.hot.retain(|first| *first >= hot_from);
            }
            Action::DeleteFile(name) => {
                world.files.remove(&name);
            }
            Action::RecordDeletion => {
                let gone = world
                    .manifest
                    .garbage
                    .iter()
                    .filter(|garbage| !world.files.contains(&garbage.location));
                let locations: Vec<String> = gone.map(|garbage| garbage.location.clone()).collect();
                if !locations.is_empty() {
                    world.manifest = world.after(Change::Reclaim { locations })?;
                }
                world.worker = Worker::Idle;
            }
            Action::Pin => {
                world.reader = match self.flaw {
                    Flaw::ReadsBeforeItPins => Reader::Unpinned(Box::new(world.manifest.clone())),
                    _ => Reader::Pinning,
                }
            }
            Action::Read => {
                world.reader = match world.reader {
                    Reader::Unpinned(state) => Reader::Reading(state),
                    _ => Reader::Reading(Box::new(world.manifest.clone())),
                }
            }
            Action::Leave => world.reader = Reader::Gone,
            Action::Crash { loses_file } => {
                let unsynced = world.unsynced.take();
                if !loses_file {
                    world.files.extend(unsynced);
                }
                world.worker = Worker::Idle;
                world.is_untidy = true;
                world.crashes += 1;
            }
            Action::Tidy => {
                for orphan in world.orphans(self.flaw) {
                    world.files.remove(&orphan);
                }
                world.is_untidy = false;
            }
        }
        (world != *before).then_some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("what the manifest says is on the disk", |_, world: &World| {
                world.has_all_of(&world.manifest)
            }),
            Property::always(
                "what a reader was shown is on the disk",
                |_, world: &World| match &world.reader {
                    Reader::Gone | Reader::Pinning | Reader::Unpinned(_) => true,
                    Reader::Reading(state) => world.has_all_of(state),
                },
            ),
            Property::sometimes("all of it becomes one file", |_, world: &World| {
                world.files.len() == 1
                    && world.manifest.objects.len() == 1
                    && world.manifest.objects[0].rows == SEGMENTS
                    && world.hot.len() == 1
                    && world.manifest.garbage.is_empty()
            }),
            Property::sometimes("a merge finds that retention was faster", |_, world: &World| {
                let Worker::Making { removed, stage, .. } = &world.worker else {
                    return false;
                };
                let is_there = |name: &String| {
                    world
                        .manifest
                        .objects
                        .iter()
                        .any(|object| object.location == *name)
                };
                *stage == Stage::Verified && !removed.iter().all(is_there)
            }),
        ]
    }
}

impl World {
    fn make(&mut self, object: Object, removed: Vec<String>) {
        self.unsynced = Some(object.location.clone());
        self.worker = Worker::Making {
            object,
            removed,
            stage: Stage::Written,
        };
    }

    fn set_stage(&mut self, to: Stage) {
        if let Worker::Making { stage, .. } = &mut self.worker {
            *stage = to;
        }
    }
}

/// Names of what does not hold.
fn broken(flaw: Flaw) -> Vec<&'static str> {
    let checker = Handover { flaw }.checker().threads(2);
    let checker = match flaw {
        Flaw::None => checker,
        _ => checker.finish_when(HasDiscoveries::AnyFailures),
    };
    let checker = checker.spawn_bfs().join();
    let found = checker.discoveries();
    let is_broken =
        |name: &&'static str| checker.discovery_classification(name).to_string() == "counterexample";
    let mut broken: Vec<&'static str> = found.keys().copied().filter(|name| is_broken(name)).collect();
    broken.sort_unstable();
    if flaw == Flaw::None {
        checker.assert_properties();
        println!("{} states", checker.unique_state_count());
    }
    broken
}

const READER: &str = "what a reader was shown is on the disk";
const MANIFEST: &str = "what the manifest says is on the disk";

#[test]
fn whatever_happens_when_what_is_shown_is_there() {
    assert_eq!(broken(Flaw::None), Vec::<&str>::new());
}

#[test]
fn what_would_be_wrong_is_found() {
    assert!(broken(Flaw::NobodyPins).contains(&READER));
    assert!(broken(Flaw::ReadsBeforeItPins).contains(&READER));
    assert!(broken(Flaw::DeletesBeforeItRecords).contains(&MANIFEST));
    assert!(broken(Flaw::RecordsBeforeItSyncs).contains(&MANIFEST));
    assert!(broken(Flaw::TidiesTooMuch).contains(&READER));
}
