//! What goes in comes out, in order, also after the log was closed and opened again.

use std::sync::Arc;

use axiom_events::disk::Machine;
use axiom_events::verify::verify;
use axiom_events::{Append, Batch, Event, Expected, Level, Log, Next, Options, Reader};

fn event<'a>(stream: &'a str, body: &'a str) -> Event<'a> {
    Event {
        time: 1,
        tenant: "t",
        stream,
        kind: "test",
        level: Level::Info,
        body: body.as_bytes(),
        ..Event::default()
    }
}

fn append(events: &[Event<'_>]) -> Append {
    let mut batch = Batch::new();
    for event in events {
        batch.push(event).expect("it keeps to the limits");
    }
    Append {
        batch,
        ..Append::default()
    }
}

fn all(reader: &Reader) -> Vec<(u64, u64, String, String)> {
    let mut events = Vec::new();
    let mut offset = 0;
    loop {
        match reader.at(offset).expect("the disk is well") {
            Next::Block(block) => {
                events.extend(block.events().map(|recorded| {
                    (
                        recorded.offset,
                        recorded.version,
                        recorded.event.stream.to_owned(),
                        String::from_utf8_lossy(recorded.event.body).into_owned(),
                    )
                }));
                offset = block.offsets().end;
            }
            Next::Gap(gap) => panic!("a gap at {gap:?}"),
            Next::End => return events,
        }
    }
}

#[tokio::test]
async fn events_come_back_in_order_with_their_versions() {
    let folder = tempfile::tempdir().unwrap();
    let open = || Log::open(Options::new(folder.path()), Arc::new(Machine)).unwrap();
    let log = open();
    let one = log
        .append(append(&[event("a", "1"), event("b", "2")]))
        .await
        .unwrap();
    assert_eq!((one.first_offset, one.count), (0, 2));
    let mut second = append(&[event("a", "3")]);
    second.expected = vec![
        ("a".to_owned(), Expected::Exact(0)),
        ("c".to_owned(), Expected::NoStream),
    ];
    log.append(second).await.unwrap();
    let expected = [(0, 0, "a", "1"), (1, 0, "b", "2"), (2, 1, "a", "3")]
        .map(|(offset, version, stream, body)| (offset, version, stream.to_owned(), body.to_owned()));
    assert_eq!(all(&log.reader()), expected);
    log.close();

    let log = open();
    assert_eq!(all(&log.reader()), expected);
    let mut stale = append(&[event("a", "4")]);
    stale.expected = vec![("a".to_owned(), Expected::Exact(0))];
    let refused = log.append(stale).await.unwrap_err();
    assert_eq!(
        refused.to_string(),
        "stream \"a\" is at version 1, the append expects version 0"
    );
    let next = log.append(append(&[event("a", "4")])).await.unwrap();
    assert_eq!(next.first_offset, 3);
    assert_eq!(Reader::open(Arc::new(Machine), folder.path()).unwrap().end(), 4);
    log.close();
    let verdict = verify(&Machine, folder.path()).unwrap();
    assert!(verdict.is_sound(), "{verdict:?}");
    assert_eq!((verdict.events, verdict.segments.len()), (4, 2));
}
