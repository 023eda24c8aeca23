//! What is hard to bring about from outside: what happens between a read and its return, and what an earlier life left.

use super::*;

fn options(buffer_max: usize) -> GroupOptions {
    GroupOptions {
        buffer_max,
        ..GroupOptions::new("work")
    }
}

fn parked(from: u64, replay_to: u64, next: u64) -> Snapshot {
    Snapshot {
        position: 100,
        parked: Parked {
            from,
            replay_to,
            next,
        },
        ..Snapshot::default()
    }
}

fn waiting(ledger: &Ledger) -> Vec<u64> {
    ledger.waiting.iter().copied().collect()
}

#[test]
fn what_is_discarded_while_it_is_read_stays_away() {
    let mut ledger = Ledger::new(&options(16), &parked(0, 0, 10), &[]);
    assert_eq!(ledger.replay_all(), 10);
    // The first five were read, and are discarded before they are taken in.
    assert_eq!(ledger.discard(5), 5);
    ledger.lose_parked(0);
    for version in 0..5 {
        ledger.replay(version, Some((version, 0)));
    }
    assert_eq!(waiting(&ledger), [0u64; 0]);
    assert_eq!((ledger.parked.from, ledger.parked.count()), (5, 5));
    for version in 5..10 {
        ledger.replay(version, Some((version, 0)));
    }
    assert_eq!(waiting(&ledger), [5, 6, 7, 8, 9]);
    assert_eq!(
        (ledger.parked.from, ledger.parked.count(), ledger.totals.lost),
        (10, 0, 0)
    );
    assert_eq!(ledger.discard(5), 0);
}

#[test]
fn parked_messages_that_cannot_be_read_are_lost_and_counted_once() {
    let mut ledger = Ledger::new(&options(16), &parked(2, 9, 10), &[]);
    // 2, 4 and 5 are damaged, 7 is there and its event is not.
    for version in [3, 6, 7, 8, 9] {
        ledger.replay(version, (version != 7).then_some((version, 0)));
    }
    assert_eq!(waiting(&ledger), [3, 6, 8], "the last one was not asked for");
    assert_eq!((ledger.parked.from, ledger.totals.lost), (9, 4));
}

#[test]
fn what_is_given_out_again_is_not_settled() {
    let mut ledger = Ledger::new(&options(16), &parked(0, 0, 10), &[]);
    ledger.replay_all();
    for version in 0..10 {
        ledger.replay(version, Some((version, 0)));
    }
    assert_eq!(ledger.unsaved(), 0);
}

#[test]
fn a_buffer_that_is_smaller_than_what_was_settled_has_room_for_one() {
    let snapshot = Snapshot {
        position: 0,
        done: (1..16).collect(),
        ..Snapshot::default()
    };
    let mut ledger = Ledger::new(&options(4), &snapshot, &[]);
    assert_eq!(ledger.room(), 1);
    ledger.take(0, 0, 0);
    assert_eq!(ledger.room(), 0);
    ledger.done(0);
    for offset in 1..16 {
        // What is settled and was not read again takes the rest.
        let room = usize::try_from(offset).unwrap().saturating_sub(12).max(1);
        assert_eq!(ledger.room(), room, "at {offset}");
        ledger.take(offset, 0, 0);
    }
    assert_eq!((ledger.room(), ledger.read_to()), (4, 16));
}
