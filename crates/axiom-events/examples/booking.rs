//! A saga at work: a trip is a flight, a hotel and a car, each booked by somebody else. Where one of them cannot be had, what
//! was booked is cancelled, last things first.
//!
//! ```sh
//! cargo run -p axiom-events --example booking -- /tmp/trips
//! ```
//!
//! It can be killed at any moment and started again with the same folder: it goes on where it was, and nothing is booked or
//! cancelled twice. It ends when all three trips have.
//!
//! - `sea` finds everything.
//! - `no-car` is refused a car.
//! - `slow-car` gets no answer about its car, and gives up after a while.
#![allow(clippy::print_stdout, reason = "an example tells what happens")]

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::{drain, spawn};
use axiom_events::disk::Machine;
use axiom_events::group::group;
use axiom_events::saga::{COMPENSATED_KIND, COMPLETED_KIND, answer_id, id_of, saga};
use axiom_events::{
    Append, Clock, Command, Consumer, Correlation, Delivery, Event, Filter, GroupOptions, Log, Options,
    Recorded, Saga, Steps, Strategy,
};

/// An example needs no more of an error than its words.
type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Where a trip's things are booked, in this order.
const PLACES: [&str; 3] = ["flights", "hotels", "cars"];
pub const TRIPS: [&str; 3] = ["sea", "no-car", "slow-car"];

const REQUESTED: &str = "trip.requested";
const BOOK: &str = "booking.book";
const CANCEL: &str = "booking.cancel";
const BOOKED: &str = "answer.booked";
const REFUSED: &str = "answer.refused";
const CANCELLED: &str = "answer.cancelled";

/// Sees trips through.
#[derive(Debug)]
pub struct Trip {
    /// How long a place may take for its answer.
    pub patience: Duration,
}

impl Trip {
    /// Tells a place to book, and is not going to wait for ever.
    fn book(&self, place: &str, steps: &mut Steps<'_>) {
        steps.send(&Command::json(format!("{place}.commands"), BOOK, "{}"));
        steps.set_timeout("answer", self.patience);
    }
}

impl Saga for Trip {
    /// How many things are booked.
    type State = u8;

    fn name(&self) -> &str {
        "trip"
    }

    fn version(&self) -> u32 {
        1
    }

    fn filter(&self) -> Filter {
        Filter::default()
    }

    fn instance<'a>(&self, recorded: &Recorded<'a>) -> Option<Cow<'a, str>> {
        let event = &recorded.event;
        let is_ours = event.kind == REQUESTED || event.kind.starts_with("answer.");
        is_ours.then_some(Cow::Borrowed(event.task))
    }

    fn handle(&self, booked: &mut u8, recorded: &Recorded<'_>, steps: &mut Steps<'_>) {
        let event = &recorded.event;
        match event.kind {
            REQUESTED => self.book(PLACES[0], steps),
            BOOKED => {
                // Also when the trip has failed meanwhile: then it is cancelled in its turn.
                steps.undo_with(Command::json(format!("{}.commands", event.stream), CANCEL, "{}"));
                steps.cancel_timeout("answer");
                *booked += 1;
                match PLACES.get(usize::from(*booked)) {
                    Some(place) => self.book(place, steps),
                    None => steps.complete(),
                }
            }
            REFUSED => steps.fail("there was none left"),
            CANCELLED => steps.undone(),
            _ => {}
        }
    }

    fn timeout(&self, _booked: &mut u8, _name: &str, steps: &mut Steps<'_>) {
        steps.fail("there was no answer in time");
    }

    fn save(&self, booked: &u8) -> Vec<u8> {
        vec![*booked]
    }

    fn load(&self, bytes: &[u8]) -> Option<u8> {
        bytes.first().copied()
    }
}

/// Somebody who does what flights, hotels and cars are told.
pub async fn work(log: Log, mut consumer: Consumer) -> Outcome {
    while let Some(message) = consumer.next().await? {
        let recorded = message.recorded();
        let command = &recorded.event;
        let place = command.stream.trim_end_matches(".commands");
        let kind = match (command.kind, place, command.task) {
            (BOOK, "cars", "no-car") => Some(REFUSED),
            // It is lost somewhere.
            (BOOK, "cars", "slow-car") => None,
            (BOOK, ..) => Some(BOOKED),
            _ => Some(CANCELLED),
        };
        if let Some(kind) = kind {
            let answer = Event {
                time: Clock::Wall.now(),
                stream: place,
                task: command.task,
                kind,
                // Whoever gets the same command again gives the same answer, and the log has it once.
                id: Some(answer_id(&recorded)),
                body: b"",
                ..Event::default()
            };
            record(&log, &[answer]).await?;
        }
        // Late, somebody else has it by now, and gives the same answer.
        let _late = message.ack().is_err();
    }
    Ok(())
}

async fn record(log: &Log, events: &[Event<'_>]) -> Outcome {
    let mut append = Append::default();
    for event in events {
        append.batch.push(event)?;
    }
    log.append(append).await?;
    Ok(())
}

/// Asks for trips, once however often it is called.
pub async fn request(log: &Log, trips: &[&str]) -> Outcome {
    for trip in trips {
        let event = Event {
            time: Clock::Wall.now(),
            stream: "trips",
            task: trip,
            kind: REQUESTED,
            id: Some(id_of(&[b"trip", trip.as_bytes()])),
            ..Event::default()
        };
        record(log, &[event]).await?;
    }
    Ok(())
}

/// The workers' group: what belongs to a trip is done by one of them, in order.
pub fn workers() -> GroupOptions {
    GroupOptions {
        filter: Filter {
            kind_prefix: "booking.".to_owned(),
            ..Filter::default()
        },
        strategy: Strategy::Pinned(Correlation::Task),
        ..GroupOptions::new("workers")
    }
}

/// Sees the trips through, and says what happens.
pub async fn run(folder: &Path, patience: Duration) -> Outcome {
    let mut options = Options::new(folder);
    // Three trips are few events.
    options.segment_bytes = 1 << 20;
    let log = Log::open(options, Arc::new(Machine))?;
    request(&log, &TRIPS).await?;
    let (stop, stopping) = drain::drain();
    let (trips, _) = saga(&log, Trip { patience }, Clock::Wall);
    let trips = spawn("trips", trips.run(stopping.clone()));
    let (runner, group) = group(&log, workers())?;
    let runner = spawn("workers", runner.run(stopping));
    for _ in 0..2 {
        drop(spawn("worker", work(log.clone(), group.subscribe().await?)));
    }
    let mut follow = log.reader().follow(0, Filter::default());
    let mut left = BTreeSet::from(TRIPS.map(str::to_owned));
    while !left.is_empty() {
        let Some(Delivery::Events(delivered)) = follow.next().await? else {
            break;
        };
        for recorded in delivered
            .events()
            .filter(|recorded| !recorded.event.stream.starts_with('$'))
        {
            let event = &recorded.event;
            say(&format!("{:<10} {:<20} {}", event.task, event.stream, event.kind))?;
            if matches!(event.kind, COMPLETED_KIND | COMPENSATED_KIND) {
                left.remove(event.task);
            }
        }
    }
    stop.finish(Duration::from_secs(10)).await;
    if let Some(ended) = trips.join().await {
        ended?;
    }
    if let Some(ended) = runner.join().await {
        ended?;
    }
    let closing = spawn::blocking(move || log.close());
    closing.join().await;
    say("all trips have ended")
}

fn say(line: &str) -> Outcome {
    let mut out = std::io::stdout().lock();
    writeln!(out, "> {line}")?;
    Ok(out.flush()?)
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments
        .next()
        .ok_or("name a folder for the events, like /tmp/trips")?;
    let patience = arguments.next().map_or(Ok(500), |millis| millis.parse())?;
    run(Path::new(&folder), Duration::from_millis(patience)).await
}
