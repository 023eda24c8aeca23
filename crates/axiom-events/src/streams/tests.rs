use super::*;
use crate::event::Event;

fn of(ids: std::ops::Range<u128>) -> Batch {
    let mut batch = Batch::new();
    for id in ids {
        let event = Event {
            stream: "s",
            kind: "k",
            id: Some(EventId(id)),
            ..Event::default()
        };
        batch.push(&event).unwrap();
    }
    batch
}

fn append(streams: &mut Streams, ids: std::ops::Range<u128>, offset: u64) -> Undo {
    let mut undo = Undo::default();
    streams.assign(&of(ids), offset, &mut Vec::new(), &mut undo);
    undo
}

/// An append that failed and was repeated is remembered for as long as any other.
#[test]
fn an_id_that_came_again_after_a_failure_does_not_grow_old_for_two() {
    let mut streams = Streams::default();
    let (one, two) = (append(&mut streams, 1..2, 0), append(&mut streams, 2..3, 1));
    streams.undo(two);
    streams.undo(one);
    assert_eq!(streams.last("s"), None);
    assert_eq!(streams.known(&of(1..2)), Known::No);
    let others = IDS_MAX as u128 - 1;
    append(&mut streams, 1000..1000 + others, 0);
    append(&mut streams, 1..2, 77);
    append(&mut streams, 1_000_000..1_000_000 + others, 0);
    assert_eq!(streams.known(&of(1..2)), Known::Yes(77));
    append(&mut streams, 3..4, 0);
    assert_eq!(streams.known(&of(1..2)), Known::No, "there is a bound");
    assert_eq!(streams.ids.len(), IDS_MAX);
}

#[test]
fn a_stream_does_not_go_back_and_not_beyond_the_last_number() {
    let mut streams = Streams::default();
    streams.set_next("s", 7);
    streams.set_next("s", 3);
    assert_eq!(streams.last("s"), Some(6));
    streams.set_next("s", u64::MAX);
    append(&mut streams, 1..2, 0);
    assert_eq!(streams.last("s"), Some(u64::MAX - 1));
    streams.set_next("t", 0);
    assert_eq!(streams.last("t"), None);
}
