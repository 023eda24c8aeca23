//! The worked example, killed and started again, and its times in paused time.

#[path = "../../examples/booking.rs"]
#[allow(
    dead_code,
    unreachable_pub,
    reason = "it is a program of its own; what it is made of is tested here"
)]
mod booking;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use axiom_core::{drain, spawn};
use axiom_events::group::group;
use axiom_events::saga::{TIMER_KIND, saga};
use axiom_events::{Clock, Log, Options, Reader, SagaStatus};

use crate::history::{machine, read_all};

/// How long a place may take: longer than a life of the program, so that what is killed is not late.
const PATIENCE_MS: &str = "4000";

fn program() -> PathBuf {
    let test = std::env::current_exe().expect("we run");
    let built = test
        .parent()
        .and_then(Path::parent)
        .expect("tests are built in a folder of a folder");
    built.join("examples").join("booking")
}

/// Lets it live until it has said so many lines; true if it came to its end by itself.
fn live(folder: &Path, lines: usize) -> bool {
    let mut child = Command::new(program())
        .arg(folder)
        .arg(PATIENCE_MS)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it is built with the tests");
    let out = BufReader::new(child.stdout.take().expect("it is ours"));
    for line in out.lines().take(lines) {
        if line.expect("it can be read").contains("all trips have ended") {
            let left = child.wait_with_output().expect("it has ended");
            assert!(left.status.success(), "{}", String::from_utf8_lossy(&left.stderr));
            return true;
        }
    }
    // SIGKILL.
    child.kill().expect("it lives, or has just ended");
    let left = child.wait_with_output().expect("it has ended");
    assert_ne!(
        left.status.code(),
        Some(1),
        "{}",
        String::from_utf8_lossy(&left.stderr)
    );
    false
}

/// What happened to each trip, in order, without what the log says of times.
fn stories(reader: &Reader) -> BTreeMap<String, String> {
    let mut stories: BTreeMap<String, String> = BTreeMap::new();
    for own in read_all(reader).events {
        if own.stream.starts_with('$') || own.kind.starts_with("axiom.saga.time") {
            continue;
        }
        let story = stories.entry(own.task).or_default();
        let place = own.stream.trim_end_matches(".commands");
        let what = own.kind.rsplit('.').next().unwrap_or_default();
        if !story.is_empty() {
            story.push_str(", ");
        }
        story.push_str(&format!("{place} {what}"));
    }
    stories
}

const FOUND: &str = "flights book, flights booked, hotels book, hotels booked, cars book";
const UNDONE: &str =
    "hotels cancel, hotels cancelled, flights cancel, flights cancelled, saga.trip compensated";

fn expected() -> BTreeMap<String, String> {
    [
        (
            "sea",
            format!("trips requested, {FOUND}, cars booked, saga.trip completed"),
        ),
        (
            "no-car",
            format!("trips requested, {FOUND}, cars refused, saga.trip failed, {UNDONE}"),
        ),
        (
            "slow-car",
            format!("trips requested, {FOUND}, saga.trip failed, {UNDONE}"),
        ),
    ]
    .map(|(trip, story)| (trip.to_owned(), story))
    .into()
}

#[test]
fn trips_are_seen_through_over_any_number_of_deaths() {
    let folder = tempfile::tempdir().unwrap();
    let mut deaths = 0;
    // Each life sees what was before it, and a little more.
    for lines in (1..).step_by(5) {
        if live(folder.path(), lines) {
            break;
        }
        deaths += 1;
        assert!(deaths < 100, "it never comes to its end");
    }
    assert!(deaths > 3, "{deaths}");
    let reader = Reader::open(machine(), folder.path()).unwrap();
    assert_eq!(stories(&reader), expected());
    // Once more, and nothing happens any more.
    let end = reader.end();
    assert!(live(folder.path(), 1000));
    reader.refresh().unwrap();
    let after = reader.all(end, 1000).unwrap();
    let new = after
        .hits
        .iter()
        .filter(|hit| !hit.recorded().event.stream.starts_with('$'));
    assert_eq!(new.count(), 0);
}

/// Looks whenever something has come.
async fn until(reader: &Reader, is_so: impl Fn() -> bool) {
    let mut end = reader.watch_end();
    loop {
        end.mark_unchanged();
        if is_so() {
            return;
        }
        end.changed().await.expect("the log is open");
    }
}

struct Life {
    log: Log,
    drain: drain::Drain,
    trips: axiom_events::Sagas<booking::Trip>,
}

async fn begin(folder: &Path, clock: Clock) -> Life {
    let log = Log::open(Options::new(folder), machine()).expect("it opens");
    let patience = Duration::from_secs(3600);
    let (runner, trips) = saga(&log, booking::Trip { patience }, clock);
    let (drain, draining) = drain::drain();
    drop(spawn("trips", runner.run(draining.clone())));
    let (runner, workers) = group(&log, booking::workers()).expect("it is a good name");
    drop(spawn("workers", runner.run(draining)));
    let consumer = workers.subscribe().await.expect("it is open");
    drop(spawn("worker", booking::work(log.clone(), consumer)));
    Life { log, drain, trips }
}

impl Life {
    async fn end(self) {
        self.drain.finish(Duration::from_secs(20)).await;
        let log = self.log;
        spawn::blocking(move || log.close()).join().await;
    }
}

#[tokio::test]
async fn a_time_passes_whoever_lives() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::runtime(1_000_000_000);
    let life = begin(folder.path(), clock).await;
    booking::request(&life.log, &["slow-car"]).await.unwrap();
    // The third time that is set is the one for the car.
    let reader = life.log.reader();
    let set = || {
        let events = read_all(&reader).events;
        events.iter().filter(|own| own.kind == TIMER_KIND).count()
    };
    until(&reader, || set() == 3).await;
    life.end().await;

    let life = begin(folder.path(), clock).await;
    let (trips, reader) = (life.trips.clone(), life.log.reader());
    // What the first life left may still have to be taken in.
    let seen = trips
        .instance_at_least("slow-car", reader.end(), Duration::from_secs(20))
        .await;
    let seen = seen.unwrap();
    assert_eq!((seen.status, seen.state), (SagaStatus::Running, 2));
    let began = clock.now();
    tokio::time::pause();
    let ended = || stories(&reader)["slow-car"].ends_with("compensated");
    until(&reader, ended).await;
    let passed = Duration::from_nanos(u64::try_from(clock.now() - began).unwrap());
    assert!(passed > Duration::from_secs(3500), "{passed:?}");
    tokio::time::resume();
    assert_eq!(stories(&reader)["slow-car"], expected()["slow-car"]);
    let seen = trips
        .instance_at_least("slow-car", reader.end(), Duration::from_secs(20))
        .await;
    let seen = seen.unwrap();
    assert_eq!(seen.status, SagaStatus::Compensated);
    assert_eq!(seen.reason.as_deref(), Some("there was no answer in time"));
    life.end().await;
}
