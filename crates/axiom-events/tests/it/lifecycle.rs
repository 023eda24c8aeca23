//! Producers that go away, logs that close, and folders that are taken.

use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use axiom_events::disk::Disk;
use axiom_events::{Append, AppendError, Batch, Event, EventId, Log, OpenError, Options};

use crate::history::{FOLDER, block_on, machine, read_all};
use crate::sim::Sim;

fn of(body: &[u8], id: Option<u128>) -> Append {
    let mut append = Append::default();
    let event = Event {
        stream: "s",
        kind: "test",
        id: id.map(EventId),
        body,
        ..Event::default()
    };
    append.batch.push(&event).expect("it keeps to the limits");
    append
}

fn open(sim: &Sim) -> Log {
    let mut options = Options::new(FOLDER);
    options.queue_bytes = 8 << 10;
    Log::open(options, sim.arc()).expect("it opens")
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) {
    let poll = future.poll(&mut Context::from_waker(Waker::noop()));
    assert!(poll.is_pending());
}

fn bodies(log: &Log) -> Vec<String> {
    let events = read_all(&log.reader()).events;
    let text = |body: Vec<u8>| String::from_utf8(body).expect("it is text");
    events.into_iter().map(|own| text(own.body)).collect()
}

#[test]
fn an_append_that_is_dropped_while_it_waits_for_room_is_not_recorded() {
    let sim = Sim::new(1);
    let log = open(&sim);
    sim.hold_syncs();
    let large = [b'x'; 6 << 10];
    {
        let mut has_room = pin!(log.append(of(b"has room", None)));
        poll(has_room.as_mut());
        // Its head start: it is submitted, and may be recorded although nobody waits for it any more.
        sim.wait_for_held();
        let mut takes_the_rest = pin!(log.append(of(&large, None)));
        poll(takes_the_rest.as_mut());
        let mut waits = pin!(log.append(of(&large, None)));
        poll(waits.as_mut());
    }
    sim.let_go();
    let last = block_on(log.append(of(b"last", None))).expect("it is recorded");
    assert_eq!(last.first_offset, 2);
    let sizes: Vec<usize> = bodies(&log).iter().map(String::len).collect();
    assert_eq!(sizes, [8, large.len(), 4]);
    // All its room is given back: as much as before fits.
    block_on(log.append(of(&[b'y'; 8 << 10], None))).expect("it is recorded");
    log.close();
}

#[test]
fn closing_writes_what_is_in_the_queue_and_refuses_who_waits_for_room() {
    let sim = Sim::new(1);
    let log = open(&sim);
    sim.hold_syncs();
    let mut first = pin!(log.append(of(b"first", None)));
    poll(first.as_mut());
    sim.wait_for_held();
    let large = [b'x'; 6 << 10];
    let mut queued = pin!(log.append(of(&large, None)));
    poll(queued.as_mut());
    let mut waits = pin!(log.append(of(&large, None)));
    poll(waits.as_mut());
    let closing = {
        let log = log.clone();
        axiom_core::spawn::thread("closing", move || log.close()).expect("a thread")
    };
    let refused = block_on(waits);
    assert!(matches!(refused, Err(AppendError::Closed)), "{refused:?}");
    let refused = block_on(log.append(of(b"late", None)));
    assert!(matches!(refused, Err(AppendError::Closed)), "{refused:?}");
    let late = log.post(of(b"late", None).batch).expect_err("it is closed");
    assert_eq!(late.0.len(), 1);
    sim.let_go();
    closing.join().expect("no panic");
    assert_eq!(block_on(first).expect("it is recorded").first_offset, 0);
    assert_eq!(block_on(queued).expect("it is recorded").first_offset, 1);
    log.close();
    let log = open(&sim);
    assert_eq!(bodies(&log).len(), 2);
    log.close();
}

#[test]
fn a_log_that_is_dropped_still_writes_what_it_was_given() {
    let sim = Sim::new(1);
    let log = open(&sim);
    let clone = log.clone();
    drop(log);
    for n in 0..3 {
        clone
            .post(of(format!("{n}").as_bytes(), None).batch)
            .expect("there is room");
    }
    drop(clone);
    // Its threads are done when the folder is free.
    let lock = loop {
        match Disk::lock(&sim, FOLDER.as_ref()) {
            Ok(lock) => break lock,
            Err(_) => std::thread::yield_now(),
        }
    };
    drop(lock);
    let log = open(&sim);
    assert_eq!(bodies(&log), ["0", "1", "2"]);
    log.close();
}

#[test]
fn a_folder_has_one_writer_and_one_number() {
    let folder = tempfile::tempdir().expect("a folder");
    let open = |shard| {
        let mut options = Options::new(folder.path());
        options.shard = shard;
        Log::open(options, machine())
    };
    let log = open(3).expect("it opens");
    block_on(log.append(of(b"one", None))).expect("it is recorded");
    let taken = open(3).expect_err("it is taken");
    assert!(matches!(taken, OpenError::Locked { .. }));
    let text = taken
        .to_string()
        .replace(&folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(text, @"FOLDER is taken: another process writes to this log, or has not finished");
    log.close();
    let other = open(4).expect_err("it has another number");
    let text = other
        .to_string()
        .replace(&folder.path().display().to_string(), "FOLDER");
    insta::assert_snapshot!(text, @"FOLDER is the log of shard 3, not 4");
    let log = open(3).expect("it opens");
    assert_eq!(bodies(&log), ["one"]);
    log.close();
}

#[test]
fn a_folder_that_may_not_be_written_is_not_called_taken() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("file");
    fs_err::write(&file, "").expect("it is written");
    let refused = Log::open(Options::new(file.join("log")), machine()).expect_err("a file is no folder");
    assert!(matches!(refused, OpenError::Disk { .. }), "{refused}");
    fs_err::create_dir(folder.path().join("lock")).expect("it is made");
    let refused = Log::open(Options::new(folder.path()), machine()).expect_err("a folder is no lock");
    assert!(matches!(refused, OpenError::Disk { .. }), "{refused}");
}

/// The first time is not on the disk yet when it comes the second time.
#[test]
fn what_is_repeated_is_acknowledged_when_the_first_is_on_the_disk() {
    let sim = Sim::new(1);
    let log = open(&sim);
    sim.hold_syncs();
    let mut first = pin!(log.append(of(b"first", Some(1))));
    poll(first.as_mut());
    sim.wait_for_held();
    let mut again = pin!(log.append(of(b"again", Some(1))));
    poll(again.as_mut());
    let hurried = async { axiom_core::time::timeout(Duration::ZERO, again.as_mut()).await };
    assert!(block_on(hurried).is_err(), "it is not on the disk yet");
    sim.let_go();
    let again = block_on(again).expect("it is there");
    assert!(again.is_repeated && again.first_offset == 0);
    assert!(!block_on(first).expect("it is recorded").is_repeated);
    assert_eq!(bodies(&log), ["first"]);
    log.close();
}

/// Of what is posted, nobody hears; so what is not recorded of it is told by the log.
#[test]
fn a_posted_batch_that_is_partly_known_is_counted() {
    let sim = Sim::new(1);
    let log = open(&sim);
    block_on(log.append(of(b"first", Some(1)))).expect("it is recorded");
    let mut batch = Batch::new();
    for id in [1, 2] {
        let event = Event {
            stream: "s",
            kind: "test",
            id: Some(EventId(id)),
            ..Event::default()
        };
        batch.push(&event).expect("it keeps to the limits");
    }
    log.post(batch).expect("there is room");
    log.close();
    let log = open(&sim);
    let texts = bodies(&log);
    assert_eq!(texts[0], "first");
    assert_eq!(
        texts[1..],
        [
            "{\"lost\":2,\"reason\":\"some of the append's events were recorded before, or two have the same id, and others are new\"}"
        ]
    );
    log.close();
}
