//! What a log costs while its disk, its producers or its readers do what they like.

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use axiom_events::append::APPEND_BYTES_MAX;
use axiom_events::event::{BODY_BYTES_MAX, NAME_BYTES_MAX};
use axiom_events::{Append, AppendError, Batch, Event, Log, Next, Options};

use crate::history::{FOLDER, Own, block_on, read_all};
use crate::sim::Sim;

const QUEUE_BYTES: usize = 64 << 10;

fn open(sim: &Sim) -> Log {
    let mut options = Options::new(FOLDER);
    options.queue_bytes = QUEUE_BYTES;
    Log::open(options, sim.arc()).expect("it opens")
}

fn of(body: &[u8]) -> Append {
    let mut batch = Batch::new();
    let event = Event {
        stream: "s",
        kind: "test",
        body,
        ..Event::default()
    };
    batch.push(&event).expect("it keeps to the limits");
    Append {
        batch,
        ..Append::default()
    }
}

/// Polls once: nobody wakes it.
fn is_ready<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
    matches!(
        future.poll(&mut Context::from_waker(Waker::noop())),
        Poll::Ready(_)
    )
}

/// Posts until the queue is full; says how many, and their bytes.
fn fill(log: &Log) -> (usize, usize) {
    let (mut count, mut bytes) = (0, 0);
    loop {
        let batch = of(&[7; 700]).batch;
        let size = batch.bytes();
        match log.post(batch) {
            Ok(()) => (count, bytes) = (count + 1, bytes + size),
            Err(full) => {
                assert_eq!(
                    full.0.events().next().map(|event| event.body),
                    Some([7; 700].as_slice())
                );
                return (count, bytes);
            }
        }
    }
}

#[test]
fn a_stalled_disk_holds_producers_at_the_bound() {
    let sim = Sim::new(1);
    let log = open(&sim);
    block_on(log.append(of(b"first"))).expect("it is recorded");
    sim.hold_syncs();
    let (mut count, mut bytes) = fill(&log);
    sim.wait_for_held();
    // Whatever the writer takes out of the queue takes its room until it is on the disk.
    for _ in 0..1000 {
        let (more, more_bytes) = fill(&log);
        (count, bytes) = (count + more, bytes + more_bytes);
    }
    assert!(bytes <= QUEUE_BYTES, "{bytes} B were taken");
    assert!(bytes > QUEUE_BYTES / 2, "{bytes} B were taken");
    let mut waiting = pin!(log.append(of(b"waits")));
    assert!(!is_ready(waiting.as_mut()));
    sim.let_go();
    let appended = block_on(waiting).expect("it is recorded");
    assert_eq!(appended.first_offset, 1 + count as u64);
    assert_eq!(read_all(&log.reader()).events.len(), count + 2);
    log.close();
}

#[test]
fn what_is_larger_than_the_queue_goes_through_alone() {
    let sim = Sim::new(1);
    let log = open(&sim);
    for n in 0..5usize {
        let body = vec![u8::try_from(n).expect("small"); 10 * QUEUE_BYTES];
        let appended = block_on(log.append(of(&body))).expect("it is recorded");
        assert_eq!(appended.first_offset, n as u64);
    }
    log.close();
}

#[test]
fn a_reader_that_hangs_on_the_disk_keeps_nobody_waiting() {
    let sim = Sim::new(1);
    let log = open(&sim);
    block_on(log.append(of(b"0"))).expect("it is recorded");
    sim.hold_reads();
    let reader = log.reader();
    let hanging = axiom_core::spawn::thread("reader", move || matches!(reader.at(0), Ok(Next::Block(_))));
    sim.wait_for_held();
    for _ in 0..3 {
        block_on(log.append(of(b"goes on"))).expect("it is recorded");
    }
    sim.let_go();
    assert!(hanging.expect("a thread").join().expect("no panic"));
    log.close();
}

#[test]
fn the_largest_and_the_smallest_come_back() {
    let sim = Sim::new(1);
    let mut options = Options::new(FOLDER);
    // The smallest that can be asked for: every block gets a segment of its own.
    (options.segment_bytes, options.queue_bytes) = (0, 0);
    let open = || Log::open(options.clone(), sim.arc()).expect("it opens");
    let name = "n".repeat(NAME_BYTES_MAX);
    let large = crate::sim::Random::new(3).bytes(BODY_BYTES_MAX);
    let (tenant, stream, task, kind) = (&*name, &*name, &*name, &*name);
    let named = Event {
        tenant,
        stream,
        task,
        kind,
        ..Event::default()
    };
    let events = [
        Event {
            time: i64::MIN,
            ..named
        },
        Event {
            time: i64::MAX,
            ..named
        },
        Event {
            time: i64::MIN,
            body: &large,
            ..named
        },
        Event {
            time: 0,
            body: b"",
            tenant: "",
            task: "",
            ..named
        },
        Event {
            time: -1,
            body: &large[1..BODY_BYTES_MAX - 4096],
            ..named
        },
    ];
    let mut append = Append::default();
    for event in &events {
        append.batch.push(event).expect("it keeps to the limits");
    }
    assert!(append.batch.bytes() <= APPEND_BYTES_MAX && append.batch.bytes() > APPEND_BYTES_MAX - 8192);
    let log = open();
    block_on(log.append(Append::default())).expect("nothing is an append, too");
    block_on(log.append(append)).expect("it is recorded");
    let check = |log: &Log| {
        let found = read_all(&log.reader());
        let came: Vec<(i64, &str, usize)> = found.events.iter().map(of_own).collect();
        let went: Vec<(i64, &str, usize)> = events
            .iter()
            .map(|event| (event.time, event.tenant, event.body.len()))
            .collect();
        assert_eq!(came, went);
        assert_eq!(found.events[2].body, large);
    };
    check(&log);
    log.close();
    let log = open();
    check(&log);
    let mut append = of(&large);
    for _ in 0..2 {
        append.batch.push(&events[2]).expect("it keeps to the limits");
    }
    let bytes = append.batch.bytes();
    assert!(log.post(append.batch.clone()).is_err());
    match block_on(log.append(append)) {
        Err(AppendError::TooLarge { bytes: told }) => assert_eq!(told, bytes),
        other => panic!("{other:?}"),
    }
    log.close();
}

fn of_own(own: &Own) -> (i64, &str, usize) {
    (own.time, &own.tenant, own.body.len())
}
