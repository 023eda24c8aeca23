//! What producers handed over and were told, and whether a log agrees with it.
//!
//! Every event has a number of its own at the front of its body, so that each one is known wherever it turns up.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use axiom_events::disk::{Disk, Machine};
use axiom_events::{
    Ack, Append, AppendError, Appended, Batch, Event, EventId, Format, Level, Log, Next, Options, Reader,
    TraceId,
};

use crate::sim::{Random, Sim};

pub(crate) const FOLDER: &str = "/log";
const STREAMS: [&str; 4] = ["a", "b", "c", "d"];

/// An event as a reader gave it, to keep.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Own {
    pub(crate) offset: u64,
    pub(crate) version: u64,
    pub(crate) time: i64,
    pub(crate) tenant: String,
    pub(crate) stream: String,
    pub(crate) task: String,
    pub(crate) kind: String,
    pub(crate) level: Level,
    pub(crate) trace: Option<TraceId>,
    pub(crate) id: Option<EventId>,
    pub(crate) format: Format,
    pub(crate) body: Vec<u8>,
}

/// Everything that is there, and the ranges that are not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Found {
    pub(crate) events: Vec<Own>,
    pub(crate) gaps: Vec<Range<u64>>,
}

/// What became of an event, as far as its producer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It must be at this offset.
    Kept(u64),
    /// It was accepted, without a promise that it outlives the machine.
    Accepted,
    /// Its producer was told that it was not recorded.
    Refused,
    /// Nobody can say: the power went off before the answer.
    Open,
}

/// What was handed over so far.
#[derive(Debug)]
pub(crate) struct History {
    random: Random,
    fates: Vec<Fate>,
    bodies: Vec<Vec<u8>>,
    /// As they were handed over, and the numbers of their events.
    batches: Vec<(Range<usize>, Batch)>,
}

impl Own {
    pub(crate) fn number(&self) -> Option<usize> {
        let number = self.body.first_chunk::<8>()?;
        (self.kind == "test").then(|| usize::try_from(u64::from_le_bytes(*number)).expect("it is small"))
    }
}

/// A log on a simulated disk, of which a segment has room for a few appends.
pub(crate) fn open(sim: &Sim) -> Log {
    let mut options = Options::new(FOLDER);
    options.segment_bytes = 6 << 10;
    options.linger = Duration::ZERO;
    Log::open(options, sim.arc()).unwrap_or_else(|error| panic!("it does not open: {error}"))
}

/// Reads forward over everything; each block must go on where the one before it ended.
pub(crate) fn read_all(reader: &Reader) -> Found {
    let mut found = Found {
        events: Vec::new(),
        gaps: Vec::new(),
    };
    let mut offset = reader.first();
    // It may move meanwhile.
    let end = reader.end();
    loop {
        match reader.at(offset).unwrap_or_else(|error| panic!("{error}")) {
            Next::Block(block) => {
                assert!(block.offsets().contains(&offset), "another block than {offset}'s");
                let events = block.events().filter(|recorded| recorded.offset >= offset);
                found.events.extend(events.map(|recorded| {
                    let event = recorded.event;
                    Own {
                        offset: recorded.offset,
                        version: recorded.version,
                        time: event.time,
                        tenant: event.tenant.to_owned(),
                        stream: event.stream.to_owned(),
                        task: event.task.to_owned(),
                        kind: event.kind.to_owned(),
                        level: event.level,
                        trace: event.trace,
                        id: event.id,
                        format: event.format,
                        body: event.body.to_vec(),
                    }
                }));
                offset = block.offsets().end;
            }
            Next::Gap(gap) => {
                assert!(gap.start == offset && gap.end > offset, "{gap:?} at {offset}");
                offset = gap.end;
                found.gaps.push(gap);
            }
            Next::End => {
                assert!(offset >= end, "the end comes at {offset}, before {end}");
                return found;
            }
        }
    }
}

/// Runs a future to its end; one that does not end is a failure, not a test that hangs.
pub(crate) fn block_on<T>(what: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let limited = async { axiom_core::time::timeout(Duration::from_secs(30), what).await };
    let outcome = runtime.expect("a runtime").block_on(limited);
    outcome.expect("it does not come to an end")
}

impl History {
    pub(crate) fn new(seed: u64) -> History {
        History {
            random: Random::new(seed),
            fates: Vec::new(),
            bodies: Vec::new(),
            batches: Vec::new(),
        }
    }

    /// A batch of new events, and the number of the first.
    fn batch(&mut self) -> (Batch, usize) {
        let first = self.fates.len();
        let mut batch = Batch::new();
        let has_ids = self.random.below(3) > 0;
        for _ in 0..=self.random.below(4) {
            let number = self.fates.len() as u64;
            let mut body = number.to_le_bytes().to_vec();
            let bytes = self.random.below(500);
            body.extend(self.random.bytes(bytes));
            let event = Event {
                time: self.random.next().cast_signed(),
                stream: STREAMS[self.random.below(STREAMS.len())],
                kind: "test",
                id: has_ids.then_some(EventId(number.into())),
                body: &body,
                ..Event::default()
            };
            batch.push(&event).expect("it keeps to the limits");
            self.fates.push(Fate::Open);
            self.bodies.push(body);
        }
        self.batches.push((first..self.fates.len(), batch.clone()));
        (batch, first)
    }

    /// Some producers at once, each of which appends once; some do not wait.
    pub(crate) fn round(&mut self, log: &Log) {
        block_on(async {
            let mut waiting = Vec::new();
            for _ in 0..4 {
                let (batch, first) = self.batch();
                let range = first..first + batch.len();
                let ack = [Ack::Memory, Ack::Group, Ack::Each][self.random.below(3)];
                if self.random.below(3) == 0 {
                    log.post(batch).expect("the queue has room");
                    self.fates[range].fill(Fate::Accepted);
                    continue;
                }
                let append = Append {
                    batch,
                    ack,
                    ..Append::default()
                };
                let log = log.clone();
                let appended = axiom_core::spawn("producer", async move { log.append(append).await });
                waiting.push((range, ack, appended));
            }
            for (range, ack, appended) in waiting {
                let outcome = appended.join().await.expect("no panic");
                self.told(range, ack, &outcome);
            }
        });
    }

    fn told(&mut self, range: Range<usize>, ack: Ack, outcome: &Result<Appended, AppendError>) {
        let count = range.len();
        for (fate, nth) in self.fates[range].iter_mut().zip(0..) {
            *fate = match outcome {
                Ok(appended) => {
                    assert_eq!(appended.count as usize, count);
                    match ack {
                        Ack::Memory => Fate::Accepted,
                        Ack::Group | Ack::Each => Fate::Kept(appended.first_offset + nth),
                    }
                }
                Err(AppendError::Disk { .. }) => Fate::Refused,
                Err(other) => panic!("refused without a reason: {other}"),
            };
        }
    }

    /// An append that must succeed.
    pub(crate) fn must_append(&mut self, log: &Log) {
        let (batch, first) = self.batch();
        let range = first..first + batch.len();
        let append = Append {
            batch,
            ..Append::default()
        };
        let appended = block_on(log.append(append)).unwrap_or_else(|error| panic!("{error}"));
        self.told(range, Ack::Group, &Ok(appended));
    }

    /// Producers that do not know, or know that it failed, hand in the same again. What has no ids is recorded whatever
    /// was before, so it is left alone where nobody knows.
    pub(crate) fn repeat(&mut self, log: &Log, found: &Found) {
        let there: Vec<usize> = found.events.iter().filter_map(Own::number).collect();
        for (range, batch) in self.batches.clone() {
            let is = |fate| self.fates[range.clone()].iter().all(|found| *found == fate);
            let has_ids = batch.events().all(|event| event.id.is_some());
            let is_repeated = is(Fate::Refused) || (is(Fate::Open) && has_ids);
            if !is_repeated {
                continue;
            }
            let append = Append {
                batch,
                ..Append::default()
            };
            let appended = block_on(log.append(append)).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(appended.is_repeated, there.contains(&range.start), "{range:?}");
            self.told(range, Ack::Group, &Ok(appended));
        }
    }

    /// The power went off: what was not promised, and what failed since, may be there or not.
    pub(crate) fn machine_died(&mut self) {
        for fate in &mut self.fates {
            if matches!(fate, Fate::Accepted | Fate::Refused) {
                *fate = Fate::Open;
            }
        }
    }

    /// Nothing is there twice or changed, what was promised is there, what was refused is not.
    pub(crate) fn check(&self, found: &Found) {
        let mut places = HashMap::new();
        for own in &found.events {
            let Some(number) = own.number() else { continue };
            assert_eq!(own.body, self.bodies[number], "event {number} has changed");
            if let Some(other) = places.insert(number, own.offset) {
                panic!("event {number} is at {other} and at {}", own.offset);
            }
        }
        for (number, fate) in self.fates.iter().enumerate() {
            let place = places.get(&number);
            match fate {
                Fate::Kept(offset) => assert_eq!(place, Some(offset), "event {number} was promised"),
                Fate::Refused => assert_eq!(place, None, "event {number} was refused"),
                Fate::Accepted | Fate::Open => {}
            }
        }
        if found.gaps.is_empty() {
            versions_are_dense(&found.events);
        }
    }

    /// Events that were accepted and are not there are counted, each once, by the log's own events.
    pub(crate) fn check_lost(&self, found: &Found) {
        let there: Vec<usize> = found.events.iter().filter_map(Own::number).collect();
        let fates = self.fates.iter().enumerate();
        let is_lost = |(number, fate): &(usize, &Fate)| **fate == Fate::Accepted && !there.contains(number);
        let lost = fates.filter(is_lost).count();
        let gaps = found
            .events
            .iter()
            .filter(|own| own.kind == axiom_events::writer::GAP_KIND);
        let told: usize = gaps.map(|gap| lost_in(&gap.body)).sum();
        assert_eq!(
            told, lost,
            "events that the gap events count, and events that are missing"
        );
    }

    /// How many events were refused.
    pub(crate) fn refused(&self) -> usize {
        let is_refused = |fate: &&Fate| **fate == Fate::Refused;
        self.fates.iter().filter(is_refused).count()
    }

    /// Offsets of what was promised.
    pub(crate) fn promised(&self) -> impl Iterator<Item = u64> {
        self.fates.iter().filter_map(|fate| match fate {
            Fate::Kept(offset) => Some(*offset),
            _ => None,
        })
    }
}

fn versions_are_dense(events: &[Own]) {
    let mut next: HashMap<&str, u64> = HashMap::new();
    for own in events {
        let next = next.entry(&own.stream).or_default();
        assert_eq!(own.version, *next, "{own:?}");
        *next += 1;
    }
}

/// What a gap event says.
fn lost_in(body: &[u8]) -> usize {
    let text = std::str::from_utf8(body).expect("a gap event is text");
    let (_, behind) = text.split_once("{\"lost\":").expect("it begins with the number");
    let digits = behind.split(',').next().expect("split gives one at least");
    digits.parse().expect("a number")
}

/// The same, for a disk that is not simulated.
pub(crate) fn machine() -> Arc<dyn Disk> {
    Arc::new(Machine)
}
