//! A subscriber gets what is there and what comes, once, in order, and only what it wants.

use std::sync::Arc;

use axiom_events::disk::Machine;
use axiom_events::{Append, Batch, Delivery, Event, Filter, Follow, Level, Log, Options, ReadError};

use crate::sim::{Fault, Op, PANIC, Sim};

fn open(folder: &std::path::Path) -> Log {
    let mut options = Options::new(folder);
    options.segment_bytes = 4096;
    Log::open(options, Arc::new(Machine)).expect("it opens")
}

async fn append(log: &Log, stream: &str, level: Level, body: &str) {
    let mut batch = Batch::new();
    let event = Event {
        stream,
        kind: "test",
        level,
        body: body.as_bytes(),
        ..Event::default()
    };
    batch.push(&event).expect("it keeps to the limits");
    let append = Append {
        batch,
        ..Append::default()
    };
    log.append(append).await.expect("it is recorded");
}

/// The bodies of the next `count` events.
async fn bodies(follow: &mut Follow, count: usize) -> Vec<String> {
    let mut bodies = Vec::new();
    while bodies.len() < count {
        match follow.next().await.expect("the disk is well") {
            Some(Delivery::Events(delivered)) => bodies.extend(
                delivered
                    .events()
                    .map(|recorded| String::from_utf8_lossy(recorded.event.body).into_owned()),
            ),
            other => panic!("{other:?} after {bodies:?}"),
        }
    }
    bodies
}

#[tokio::test]
async fn what_is_there_and_then_what_comes() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    for n in 0..40 {
        append(&log, "a", Level::Info, &n.to_string()).await;
    }
    let mut follow = log.reader().follow(10, Filter::default());
    let later = axiom_core::spawn("append", {
        let log = log.clone();
        async move {
            for n in 40..60 {
                append(&log, "a", Level::Info, &n.to_string()).await;
            }
        }
    });
    let expected: Vec<String> = (10..60).map(|n: u32| n.to_string()).collect();
    assert_eq!(bodies(&mut follow, 50).await, expected);
    assert_eq!(follow.position(), 60);
    later.join().await.unwrap();
}

#[tokio::test]
async fn only_what_it_wants_and_from_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path());
    for n in 0..30 {
        let stream = ["agent.a", "agent.b", "gateway"][n % 3];
        let level = if n % 2 == 0 { Level::Error } else { Level::Debug };
        append(&log, stream, level, &n.to_string()).await;
    }
    let filter = Filter {
        stream_prefix: "agent.".to_owned(),
        level_min: Some(Level::Warn),
        ..Filter::default()
    };
    let mut follow = log.reader().follow(0, filter.clone());
    assert_eq!(bodies(&mut follow, 3).await, ["0", "4", "6"]);
    let position = follow.position();
    assert_eq!(bodies(&mut follow, 7).await.len(), 7);
    log.close();
    assert!(matches!(follow.next().await, Ok(None)), "the log was closed");
    let log = open(folder.path());
    let mut follow = log.reader().follow(position, filter);
    assert_eq!(bodies(&mut follow, 2).await, ["10", "12"]);
}

#[tokio::test]
async fn a_read_that_panics_is_an_error_and_can_be_tried_again() {
    let sim = Sim::new(1);
    let log = crate::history::open(&sim);
    append(&log, "a", Level::Info, "0").await;
    let (op, after, times, errno) = (Some(Op::Read), 0, 1, PANIC);
    sim.fail(Fault {
        op,
        after,
        times,
        errno,
    });
    let mut follow = log.reader().follow(0, Filter::default());
    let failed = follow.next().await;
    assert!(matches!(failed, Err(ReadError::Panicked)), "{failed:?}");
    assert_eq!(bodies(&mut follow, 1).await, ["0"]);
}
