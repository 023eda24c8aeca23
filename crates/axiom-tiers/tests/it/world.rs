//! A log with its tiers, and everything that can be asked of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axiom_events::archive::Missing;
use axiom_events::disk::{Disk, Machine};
use axiom_events::find::{By, Group};
use axiom_events::{
    Append, Batch, Count, Event, EventId, Format, Level, Log, Next, Reader, Sealed, Totals, TraceId,
};
use axiom_tiers::file::EventsHash;
use axiom_tiers::manifest::Object;
use axiom_tiers::workshop::WorkError;
use axiom_tiers::{Deletion, Limits, Retention, Service, Shelves, Store, Workshop};

use crate::sim::Random;

pub(crate) const SECOND: i64 = 1_000_000_000;
pub(crate) const HOUR: i64 = 3600 * SECOND;
/// Of the first event. A full hour long ago, so that everything may be over.
pub(crate) const START: i64 = HOUR * 472_222;
pub(crate) const TENANTS: [&str; 3] = ["acme", "globex", "initech"];
pub(crate) const STREAMS: [&str; 4] = ["orders", "gateway.files", "gateway", "a"];
pub(crate) const TASKS: usize = 12;
/// Longer than anything takes that a test waits for.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// Events of one append.
const APPEND: u64 = 20;

/// An open log and its tiers.
pub(crate) struct World {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) folder: PathBuf,
    pub(crate) log: Log,
    pub(crate) workshop: Arc<Workshop>,
}

/// Some are numbers, which the log keeps in another way than names.
pub(crate) fn task(number: usize) -> String {
    match number {
        0 => String::new(),
        odd if odd % 2 == 1 => format!("{odd:032x}"),
        even => format!("task-{even}"),
    }
}

/// Every seventh event has a task of its own.
fn own_or(number: u64, task: String) -> String {
    match number % 7 {
        0 => format!("{:032x}", u128::from(number + 1) << 64),
        _ => task,
    }
}

/// The event with this number: always the same one.
pub(crate) fn with_event<T>(number: u64, look: impl FnOnce(&Event<'_>) -> T) -> T {
    let mut random = Random::new(number + 1);
    let length = random.below(300);
    let mut body = format!("event {number} ").into_bytes();
    body.extend(random.bytes(length));
    let event = Event {
        time: START + i64::try_from(number).expect("a small number") * 2 * SECOND,
        tenant: TENANTS[random.below(TENANTS.len())],
        stream: STREAMS[random.below(STREAMS.len())],
        task: &own_or(number, task(random.below(TASKS))),
        kind: ["call", "line", "state"][random.below(3)],
        level: Level::ALL[random.below(6)],
        trace: (random.below(3) == 0).then(|| TraceId(u128::from(number).to_be_bytes())),
        id: (random.below(3) > 0).then_some(EventId(u128::from(number))),
        format: Format::ALL[random.below(3)],
        body: &body,
    };
    look(&event)
}

impl World {
    pub(crate) fn on(disk: Arc<dyn Disk>, folder: &Path, store: Option<Arc<Store>>) -> World {
        World::try_on(disk, folder, store).expect("it opens")
    }

    pub(crate) fn try_on(
        disk: Arc<dyn Disk>,
        folder: &Path,
        store: Option<Arc<Store>>,
    ) -> Result<World, Box<dyn std::error::Error>> {
        let workshop = Arc::new(Workshop::open(Arc::clone(&disk), folder, 0, store)?);
        let mut options = axiom_events::Options::new(folder);
        options.segment_bytes = 16 << 10;
        options.archive = Some(workshop.shelves());
        let log = Log::open(options, Arc::clone(&disk))?;
        Ok(World {
            disk,
            folder: folder.to_owned(),
            log,
            workshop,
        })
    }

    pub(crate) fn new(folder: &Path) -> World {
        World::on(Arc::new(Machine), folder, None)
    }

    /// As it is after the process ended and began again.
    pub(crate) fn again(self) -> World {
        let World {
            disk,
            folder,
            log,
            workshop,
        } = self;
        let store = workshop.store().cloned();
        log.close();
        drop((log, workshop));
        World::on(disk, &folder, store)
    }

    /// Appends events with these numbers.
    pub(crate) fn append(&self, numbers: Range<u64>) {
        self.try_append(numbers).expect("it is recorded");
    }

    pub(crate) fn try_append(&self, numbers: Range<u64>) -> Result<(), axiom_events::AppendError> {
        let mut at = numbers.start;
        while at < numbers.end {
            let end = numbers.end.min(at + APPEND);
            let mut batch = Batch::new();
            for number in at..end {
                with_event(number, |event| batch.push(event)).expect("it keeps to the limits");
            }
            let append = Append {
                batch,
                ..Append::default()
            };
            block_on(self.log.append(append))?;
            at = end;
        }
        Ok(())
    }

    pub(crate) fn sealed(&self) -> Vec<Sealed> {
        self.log.sealed().expect("it can be read")
    }

    /// Seals the oldest `count` segments into one file.
    pub(crate) fn seal(&self, count: usize) -> Result<Option<Object>, WorkError> {
        let sealed = self.sealed();
        self.workshop.seal(&self.log, &sealed[..count.min(sealed.len())])
    }

    pub(crate) fn objects(&self) -> Vec<Object> {
        self.workshop.manifest().now().objects.clone()
    }

    /// Ends the newest segment and waits for it; then seals all of them into one file.
    pub(crate) fn seal_all(&self) {
        self.log.end_segment(i64::MAX);
        let end = self.log.reader().end();
        wait_until("the newest segment has ended", || {
            self.sealed().last().is_some_and(|last| last.offsets.end == end)
        });
        self.seal(usize::MAX).expect("it is sealed");
    }

    /// Does what is due, again and again without much of a pause.
    pub(crate) fn service(&self, retention: Retention) -> Service {
        let options = axiom_tiers::service::Options {
            retention,
            pause: Duration::from_millis(5),
            pause_after_failure: Duration::from_millis(5),
        };
        Service::start(Arc::clone(&self.workshop), self.log.clone(), options).expect("it starts")
    }

    /// What another process would see.
    pub(crate) fn beside(&self) -> Reader {
        let shelves = Shelves::open(&self.folder, self.workshop.store().cloned()).expect("it can be read");
        Reader::open_with(Arc::new(Machine), &self.folder, Arc::new(shelves)).expect("it can be read")
    }
}

/// A shard's folder as somebody sees it who may not write there, and so cannot pin what is read: also for root.
pub(crate) fn unwritable(folder: &Path, view: &Path) {
    let link = |to: &Path, name: &std::ffi::OsStr| {
        std::os::unix::fs::symlink(to, view.join(name)).expect("the disk is well");
    };
    for entry in fs_err::read_dir(folder).expect("it is there") {
        let entry = entry.expect("it can be read");
        if entry.file_name() != "pins" {
            link(&entry.path(), &entry.file_name());
        }
    }
    // Nobody makes files there.
    link(Path::new("/proc"), "pins".as_ref());
}

/// Nothing becomes warm, and what is warm is kept for so long.
pub(crate) fn kept_for(age: Duration) -> Retention {
    Retention {
        hot: Limits::default(),
        delete: Deletion {
            age: Some(age),
            ..Deletion::default()
        },
        ..Retention::default()
    }
}

pub(crate) fn wait_until(what: &str, is_so: impl Fn() -> bool) {
    let since = axiom_core::time::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime")
        .block_on(future)
}

/// All events in order, as far as they are there.
#[derive(Debug, PartialEq, Eq, Clone, Default)]
pub(crate) struct All {
    pub(crate) count: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) gaps: Vec<(Range<u64>, Missing)>,
}

pub(crate) fn all(reader: &Reader) -> All {
    let mut all = All::default();
    let mut hash = EventsHash::new();
    let mut at = 0;
    let mut before = None;
    loop {
        match reader.at(at).expect("it can be read") {
            Next::Block(block) => {
                for recorded in block.events().filter(|recorded| recorded.offset >= at) {
                    assert!(before < Some(recorded.offset), "no event twice, and in order");
                    before = Some(recorded.offset);
                    hash.push(&recorded);
                    all.count += 1;
                }
                at = block.offsets().end;
            }
            Next::Gap(gap) => {
                let why = reader.why_missing(&gap).expect("it can be read");
                at = gap.end;
                all.gaps.push((gap, why));
            }
            Next::End => break,
        }
    }
    all.hash = hash.finish();
    all
}

/// What [`all`] should say of so many events.
pub(crate) fn expected(events: u64) -> All {
    expected_of(events, |_, _| true)
}

/// Of those that are left.
pub(crate) fn expected_of(events: u64, is_left: impl Fn(u64, &Event<'_>) -> bool) -> All {
    let mut count = 0;
    let mut hash = EventsHash::new();
    let mut versions: BTreeMap<String, u64> = BTreeMap::new();
    for offset in 0..events {
        with_event(offset, |event| {
            let next = versions.entry(event.stream.to_owned()).or_default();
            if is_left(offset, event) {
                count += 1;
                hash.push(&axiom_events::Recorded {
                    offset,
                    version: *next,
                    event: *event,
                });
            }
            *next += 1;
        });
    }
    All {
        count,
        hash: hash.finish(),
        gaps: Vec::new(),
    }
}

/// Versions and offsets of a stream's events that are left of so many.
pub(crate) fn versions_of(
    events: u64,
    stream: &str,
    is_left: impl Fn(u64, &Event<'_>) -> bool,
) -> Vec<(u64, u64)> {
    let mut next = 0;
    let mut left = Vec::new();
    for offset in 0..events {
        with_event(offset, |event| {
            if event.stream == stream {
                if is_left(offset, event) {
                    left.push((next, offset));
                }
                next += 1;
            }
        });
    }
    left
}

/// Offsets of what was found, and a totals query's groups.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Answers {
    found: Vec<Vec<u64>>,
    totals: Vec<Vec<(Group, Count)>>,
}

/// Many questions of all sorts.
pub(crate) fn ask(reader: &Reader, seed: u64) -> Answers {
    let mut random = Random::new(seed);
    let mut found = Vec::new();
    let end = usize::try_from(reader.end()).expect("a small log");
    for n in 0..TASKS {
        let task = task(n);
        let count = random.below(200);
        found.push(reader.task_tail(&task, count).expect("it can be read"));
        let from = random.below(end) as u64;
        let offsets = from..from + random.below(end) as u64;
        found.push(reader.task_range(&task, offsets, count).expect("it can be read"));
    }
    for stream in STREAMS.into_iter().chain(["never"]) {
        let last = reader.last_version(stream).expect("it can be read");
        let version = random.below(end / 3) as u64;
        let count = random.below(300);
        found.push(reader.stream(stream, version, count).expect("it can be read"));
        found.push(
            reader
                .stream_backward(stream, version, count)
                .expect("it can be read"),
        );
        found.push(
            reader
                .stream_backward(stream, last.map_or(0, |last| last + 1), count)
                .expect("it can be read"),
        );
        found.push(reader.stream(stream, 0, usize::MAX).expect("it can be read"));
        assert_eq!(
            found.last().map_or(0, Vec::len) as u64,
            last.map_or(0, |last| last + 1)
        );
    }
    for _ in 0..20 {
        let offset = random.below(end) as u64;
        found.push(
            reader
                .event(offset)
                .expect("it can be read")
                .into_iter()
                .collect(),
        );
    }
    let start = START;
    let totals = [
        Totals::default(),
        Totals {
            by: By {
                tenant: true,
                kind: true,
                level: true,
                ..By::default()
            },
            ..Totals::default()
        },
        Totals {
            times: start..start + HOUR,
            by: By {
                task: true,
                ..By::default()
            },
            ..Totals::default()
        },
        Totals {
            times: start + 60 * SECOND..start + 1800 * SECOND,
            tenant: Some("acme"),
            by: By {
                time: 60 * SECOND,
                ..By::default()
            },
            ..Totals::default()
        },
    ];
    let offsets = |hits: Vec<axiom_events::Hit>| {
        hits.iter()
            .map(|hit| {
                let recorded = hit.recorded();
                with_event(recorded.offset, |event| assert_eq!(*event, recorded.event));
                recorded.offset
            })
            .collect()
    };
    Answers {
        found: found.into_iter().map(offsets).collect(),
        totals: totals
            .iter()
            .map(|totals| reader.totals(totals).expect("it can be counted"))
            .collect(),
    }
}
