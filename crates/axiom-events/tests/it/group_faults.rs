//! Groups that are asked to end, that begin with less than they had, and that stand on a disk that fails.

use std::time::Duration;

use axiom_core::{spawn, time};
use axiom_events::{Append, Delivery, Event, Filter, GroupError, GroupOptions, Late, ReadError};

use crate::groups::{
    PATIENCE, Running, append, consumers, next, next_if_any, nothing_happens, options, start, with_group,
};
use crate::history::open;
use crate::sim::{EIO, Fault, Op, PANIC, Sim};

/// It has read everything, its own checkpoint included, and waits.
async fn settled_down(running: &Running) {
    while running.status().behind > 0 {
        nothing_happens().await;
    }
}

/// Two messages are given up in one moment, and nobody else has anything to say for ten minutes.
#[tokio::test]
async fn what_is_given_up_together_is_parked_in_time() {
    let once = GroupOptions {
        attempts_max: 1,
        checkpoint_pause: Duration::from_millis(10),
        ..options()
    };
    let (log, running) = with_group(once, &["t"; 2]).await;
    let mut consumer = running.group.subscribe().await.unwrap();
    let held = [next(&mut consumer).await, next(&mut consumer).await];
    settled_down(&running).await;
    drop(consumer);
    let parked = Filter {
        stream_prefix: "$group.work.parked".to_owned(),
        ..Filter::default()
    };
    let mut follow = log.reader().follow(0, parked);
    let parked = time::timeout(PATIENCE, follow.next()).await.expect("it is soon");
    let Ok(Some(Delivery::Events(parked))) = parked else {
        panic!("{parked:?}");
    };
    assert_eq!(parked.events().count(), 2);
    drop(held);
    running.end().await.unwrap();
}

#[tokio::test]
async fn a_group_goes_on_with_a_smaller_buffer() {
    let (log, running) = with_group(options(), &["t"; 40]).await;
    let [mut slow, mut quick] = consumers(&running).await.unwrap();
    let held = next(&mut slow).await;
    for _ in 1..16 {
        next(&mut quick).await.ack().unwrap();
    }
    running.end().await.unwrap();
    drop(held);
    let smaller = GroupOptions {
        buffer_max: 4,
        ..options()
    };
    let running = start(&log, smaller);
    let mut consumer = running.group.subscribe().await.unwrap();
    for offset in std::iter::once(0).chain(16..40) {
        let message = next(&mut consumer).await;
        assert_eq!(message.recorded().offset, offset);
        message.ack().unwrap();
    }
    running.end().await.unwrap();
}

#[tokio::test]
async fn what_comes_after_the_last_checkpoint_is_late() {
    let sim = Sim::new(1);
    let log = open(&sim);
    append(&log, &["t", "t"]).await;
    let running = start(&log, options());
    let mut consumer = running.group.subscribe().await.unwrap();
    let held = next(&mut consumer).await;
    sim.hold_syncs();
    let ending = spawn("end", running.end());
    let held_sync = sim.clone();
    spawn::blocking(move || held_sync.wait_for_held()).join().await;
    assert_eq!(held.ack(), Err(Late { offset: 0 }));
    assert!(next_if_any(&mut consumer).await.is_none(), "nothing is given out");
    sim.let_go();
    ending.join().await.expect("no panic").unwrap();
    assert!(consumer.next().await.unwrap().is_none(), "it has ended in order");

    let running = start(&log, options());
    let mut consumer = running.group.subscribe().await.unwrap();
    for attempt in [(0, 2), (1, 1)] {
        let message = next(&mut consumer).await;
        assert_eq!((message.recorded().offset, message.attempt()), attempt);
        message.ack().unwrap();
    }
    running.end().await.unwrap();
}

#[tokio::test]
async fn whoever_asks_for_the_last_checkpoint_is_told_that_it_was_made() {
    let (_log, running) = with_group(options(), &["t"]).await;
    let mut consumer = running.group.subscribe().await.unwrap();
    next(&mut consumer).await.ack().unwrap();
    let Running { group, drain, task } = running;
    let (saved, is_done) = tokio::join!(group.checkpoint(), drain.finish(PATIENCE));
    assert!(is_done);
    saved.unwrap();
    task.join().await.expect("no panic").unwrap();
    assert!(matches!(group.checkpoint().await, Err(GroupError::Ended { .. })));
}

/// Reading the checkpoint, what is parked, or the log: each of it fails once.
#[tokio::test]
async fn a_disk_that_fails_for_a_while_does_not_end_it() {
    let sim = Sim::new(1);
    let log = open(&sim);
    append(&log, &["t"; 3]).await;
    let running = start(&log, options());
    let mut consumer = running.group.subscribe().await.unwrap();
    for _ in 0..3 {
        next(&mut consumer).await.park("for later").unwrap();
    }
    running.end().await.unwrap();
    spawn::blocking(move || log.close()).join().await;
    let files = sim.contents();
    let lives = (0..10).map(|after| {
        let sim = Sim::holding(&files);
        spawn("life", async move {
            let log = open(&sim);
            let (op, times, errno) = (Some(Op::Read), 1, EIO);
            sim.fail(Fault {
                op,
                after,
                times,
                errno,
            });
            let running = start(&log, options());
            let mut consumer = running.group.subscribe().await.expect("it is open");
            assert_eq!(running.group.replay_parked().await.expect("it goes on"), 3);
            for offset in 0..3 {
                let message = next(&mut consumer).await;
                assert_eq!(message.recorded().offset, offset);
                message.ack().expect("it was quick");
            }
            running.end().await.expect("the disk is well again");
            spawn::blocking(move || log.close()).join().await;
        })
    });
    for life in lives.collect::<Vec<_>>() {
        life.join().await.expect("see above");
    }
}

#[tokio::test]
async fn a_message_whose_reading_panics_is_not_settled() {
    let sim = Sim::new(1);
    let log = open(&sim);
    append(&log, &["t"]).await;
    // So much pushes out what a reader has unpacked.
    for _ in 0..40 {
        let mut noise = Append::default();
        let event = Event {
            stream: "noise",
            kind: "noise",
            body: &[7; 1 << 20],
            ..Event::default()
        };
        noise.batch.push(&event).unwrap();
        log.append(noise).await.unwrap();
    }
    let running = start(&log, options());
    let mut consumer = running.group.subscribe().await.unwrap();
    settled_down(&running).await;
    let (op, after, times, errno) = (Some(Op::Read), 0, 1, PANIC);
    sim.fail(Fault {
        op,
        after,
        times,
        errno,
    });
    let Err(failed) = consumer.next().await else {
        panic!("it was read");
    };
    assert!(
        matches!(failed, GroupError::Read(ReadError::Panicked)),
        "{failed}"
    );
    let message = next(&mut consumer).await;
    assert_eq!((message.recorded().offset, message.attempt()), (0, 1));
    message.ack().unwrap();
    assert_eq!(running.status().lost_total, 0);
    running.end().await.unwrap();
}
