//! Any bytes as an event stream: no panic, no event above the limit, and the same events however the stream is cut.
//!
//! The first byte is the limit, and the second one says how long the pieces are.
#![no_main]

use axiom_transport::sse::{Decoder, Event, SseError};
use bytes::Bytes;
use libfuzzer_sys::fuzz_target;

/// Room for a field's name and a byte order mark beside the limit.
const ROOM_BYTES: usize = 16;

fuzz_target!(|raw: &[u8]| {
    let [limit, cut, stream @ ..] = raw else {
        return;
    };
    let bytes_max = usize::from(*limit);
    let whole = decode(stream, bytes_max, stream.len().max(1));
    for event in &whole.0 {
        assert!(event.data.len() <= bytes_max + ROOM_BYTES);
    }
    for piece in [1, usize::from(*cut).max(1)] {
        assert_eq!(decode(stream, bytes_max, piece), whole);
    }
});

/// The events, the last event id, and how it ended.
type Decoded = (Vec<Event>, Option<Bytes>, Result<(), SseError>);

fn decode(stream: &[u8], bytes_max: usize, piece: usize) -> Decoded {
    let mut decoder = Decoder::new(bytes_max);
    let mut events = Vec::new();
    for piece in stream.chunks(piece) {
        decoder.feed(Bytes::copy_from_slice(piece));
        loop {
            match decoder.next() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, decoder.last_event_id().cloned(), Err(error)),
            }
        }
    }
    (events, decoder.last_event_id().cloned(), Ok(()))
}
