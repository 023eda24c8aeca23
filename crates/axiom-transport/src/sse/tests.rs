use proptest::prelude::*;

use super::*;

/// Decodes `stream` fed in pieces that end at `cuts`.
fn decode(stream: &[u8], cuts: &[usize]) -> Vec<Event> {
    let stream = Bytes::copy_from_slice(stream);
    let mut decoder = Decoder::new(1 << 20);
    let mut events = Vec::new();
    let mut start = 0;
    for cut in cuts.iter().copied().chain([stream.len()]) {
        decoder.feed(stream.slice(start..cut));
        start = cut;
        while let Some(event) = decoder.next().unwrap() {
            events.push(event);
        }
    }
    events
}

/// The same within a limit that may be missed. What waits for its end never exceeds the limit and its room.
fn decode_within(
    stream: &[u8],
    cuts: &[usize],
    bytes_max: usize,
) -> (Vec<Event>, Option<Bytes>, Option<SseError>) {
    let mut decoder = Decoder::new(bytes_max);
    let mut events = Vec::new();
    let mut start = 0;
    for cut in cuts.iter().copied().chain([stream.len()]) {
        decoder.feed(Bytes::copy_from_slice(&stream[start..cut]));
        start = cut;
        loop {
            match decoder.next() {
                Ok(Some(event)) => events.push(event),
                Ok(None) => break,
                Err(error) => return (events, decoder.last_event_id, Some(error)),
            }
        }
        let waiting = match &decoder.pending.data {
            Some(Data::Lines(lines)) => lines.len(),
            Some(Data::Line(line)) => line.len(),
            None => 0,
        };
        assert!(waiting <= bytes_max + 16 && decoder.carry.len() <= bytes_max + 16);
    }
    (events, decoder.last_event_id, None)
}

/// One line per event: `event|id|data|retry`, `-` for what is missing.
#[track_caller]
fn check(stream: &str, expected: &[&str]) {
    let text = |part: &Option<Bytes>| {
        part.as_ref()
            .map_or("-".into(), |part| format!("{:?}", utf8(part)))
    };
    let shown: Vec<String> = decode(stream.as_bytes(), &[])
        .iter()
        .map(|event| {
            let retry = event
                .retry
                .map_or("-".into(), |retry| retry.as_millis().to_string());
            format!(
                "{}|{}|{:?}|{retry}",
                text(&event.event),
                text(&event.id),
                utf8(&event.data)
            )
        })
        .collect();
    assert_eq!(shown, expected);
}

fn utf8(bytes: &Bytes) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

#[test]
fn fields_and_line_ends() {
    check("data: a\n\n", &[r#"-|-|"a"|-"#]);
    check("data:a\r\rdata:  b\r\n\r\n", &[r#"-|-|"a"|-"#, r#"-|-|" b"|-"#]);
    check(
        "event: message\nid: 7\nretry: 1500\ndata: x\n\n",
        &[r#""message"|"7"|"x"|1500"#],
    );
    check("data: a\ndata\ndata: c\n\n", &[r#"-|-|"a\n\nc"|-"#]);
    check("event:\ndata: default type\n\n", &[r#"-|-|"default type"|-"#]);
}

#[test]
fn what_the_format_ignores() {
    check(": ping\n\n:\ndata: a\n\n", &[r#"-|-|"a"|-"#]);
    check(
        "colour: red\ndata: a\nretry: soon\nid: no\0null\n\n",
        &[r#"-|-|"a"|-"#],
    );
    check("event: lonely\n\ndata: a\n\n", &[r#"-|-|"a"|-"#]);
    check("data: cut off by the end of the stream\n", &[]);
    check("\u{feff}data: a\n\n", &[r#"-|-|"a"|-"#]);
    check(
        "\u{feff}\u{feff}data: the second mark is part of the name\n\n",
        &[],
    );
}

#[test]
fn a_priming_event_has_an_id_and_no_data() {
    check("id: 3_0\nretry: 500\ndata:\n\n", &[r#"-|"3_0"|""|500"#]);
}

#[test]
fn the_last_id_counts_even_without_data() {
    let mut decoder = Decoder::new(100);
    decoder.feed(Bytes::from_static(b"id: 1\n\nid: 2\ndata: a"));
    assert_eq!(decoder.next(), Ok(None));
    assert_eq!(
        decoder.last_event_id().map(utf8),
        Some("1"),
        "the second event is not complete"
    );
}

#[test]
fn one_line_in_one_chunk_is_not_copied() {
    let chunk = Bytes::from_static(b"event: message\ndata: {\"jsonrpc\":\"2.0\"}\n\n");
    let range = chunk.as_ptr_range();
    let mut decoder = Decoder::new(100);
    decoder.feed(chunk);
    let event = decoder.next().unwrap().unwrap();
    assert!(range.contains(&event.data.as_ptr()));
}

#[test]
fn limits() {
    let too_large = Err(SseError::TooLarge { bytes_max: 100 });
    for stream in [
        "data: ".to_owned() + &"x".repeat(200),
        "data: xxxxxxxxx\n".repeat(20),
    ] {
        let mut decoder = Decoder::new(100);
        decoder.feed(Bytes::from(stream));
        assert_eq!(decoder.next(), too_large);
    }
    let mut decoder = Decoder::new(100);
    decoder.feed(Bytes::from(format!("data: {}\n\n", "x".repeat(100))));
    assert_eq!(decoder.next().unwrap().unwrap().data.len(), 100);
}

proptest! {
    #[test]
    fn every_chunking_gives_the_same_events(
        lines in prop::collection::vec("(data|id|event|retry|:|\u{feff})?:? ?[a-z0-9é]{0,6}(\n|\r|\r\n|\n\n|\r\r|\r\n\r\n)", 0..30),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let stream = lines.concat().into_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let every_byte: Vec<usize> = (0..stream.len()).collect();
        let whole = decode(&stream, &[]);
        prop_assert_eq!(&decode(&stream, &cuts), &whole);
        prop_assert_eq!(&decode(&stream, &every_byte), &whole);
    }

    /// Also what is no event stream, and where the limit is: the same events come first, and the same error ends it.
    #[test]
    fn every_chunking_of_any_bytes_ends_the_same(
        tokens in prop::collection::vec(
            prop::sample::select(vec!["data", "id", "event", "retry", ":", " ", "\r", "\n", "\r\n", "\u{feff}", "\0", "0", "x"]),
            0..60,
        ),
        bytes_max in 0..40_usize,
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let stream = tokens.concat().into_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        let every_byte: Vec<usize> = (0..stream.len()).collect();
        let whole = decode_within(&stream, &[], bytes_max);
        prop_assert_eq!(&decode_within(&stream, &cuts, bytes_max), &whole);
        prop_assert_eq!(&decode_within(&stream, &every_byte, bytes_max), &whole);
    }

    #[test]
    fn what_is_encoded_decodes(
        data in "[a-z\n\r]{0,40}",
        id in prop::option::of("[a-z0-9_]{1,8}"),
        event in prop::option::of("[a-z]{1,8}"),
    ) {
        let mut stream = Vec::new();
        encode(&mut stream, event.as_deref(), id.as_deref(), data.as_bytes());
        let events = decode(&stream, &[]);
        let expected = Event {
            id: id.map(Bytes::from),
            event: event.map(Bytes::from),
            data: Bytes::from(data.replace("\r\n", "\n").replace('\r', "\n")),
            retry: None,
        };
        prop_assert_eq!(events, vec![expected]);
    }
}
