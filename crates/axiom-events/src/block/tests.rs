use proptest::prelude::*;

use super::*;
use crate::batch::Batch;
use crate::block::columns::Builder;
use crate::event::{BODY_BYTES_MAX, Event, EventId, Format, Level, NAME_BYTES_MAX, TraceId};
use crate::follow::Filter;
use crate::form::{self, Filling};
use crate::task_id;

const PLACE: Place = Place {
    shard: 7,
    first_offset: 1000,
    before: Hash([1; 32]),
    durable: 900,
};

/// An event that owns its parts, and its version.
#[derive(Debug, Clone)]
struct Made {
    time: i64,
    names: [String; 4],
    level: Level,
    format: Format,
    trace: Option<TraceId>,
    id: Option<EventId>,
    body: Vec<u8>,
    version: u64,
    /// In place of that body: the place of a form, and what stands in its blanks.
    filled: Option<(usize, [u64; 2])>,
}

/// Forms with two blanks.
fn forms() -> [String; 3] {
    let (number, hex) = (form::NUMBER, form::HEX);
    [
        format!("{{\"a\":{number},\"b\":\"{hex}\"}}"),
        format!("{hex}{number}"),
        format!("\u{fc}{number} of {number}, {}", "long ".repeat(700)),
    ]
}

impl Made {
    fn event(&self) -> Event<'_> {
        let [tenant, stream, task, kind] = &self.names;
        Event {
            time: self.time,
            tenant,
            stream,
            task,
            kind,
            level: self.level,
            trace: self.trace,
            id: self.id,
            format: self.format,
            body: &self.body,
        }
    }

    /// With the form filled in as its body, where that can be.
    fn filled(mut self) -> Made {
        let task = &self.names[2];
        if self.id.is_some() || !(task.is_empty() || task_id::read(task).is_some()) {
            self.filled = None;
        }
        if let Some((form, [one, two])) = self.filled {
            self.body = match form {
                0 => format!("{{\"a\":{one},\"b\":\"{two:016x}\"}}"),
                1 => format!("{one:016x}{two}"),
                _ => format!("\u{fc}{one} of {two}, {}", "long ".repeat(700)),
            }
            .into_bytes();
        }
        self
    }

    fn push_to(&self, batch: &mut Batch) {
        let Some((form, values)) = self.filled else {
            return batch.push(&self.event()).unwrap();
        };
        let body = forms()[form].clone().into_bytes();
        let form = batch.form(
            &Event {
                body: &body,
                ..self.event()
            },
            2,
        );
        let filling = Filling {
            time: self.time,
            task_id: task_id::read(&self.names[2]),
            trace: self.trace,
            values: &values,
        };
        assert!(batch.push_filled(form.expect("it is a form"), &filling));
    }
}

fn made() -> impl Strategy<Value = Made> {
    let time = prop_oneof![Just(i64::MIN), Just(i64::MAX), -5..5i64, any::<i64>()];
    let name = |may_be_empty: bool| {
        prop_oneof![
            4 => "[ab]",
            1 => Just("ü".repeat(NAME_BYTES_MAX / 2)),
            1 => if may_be_empty { Just(String::new()).boxed() } else { "[a-z]{1,9}".boxed() },
        ]
    };
    let number = prop_oneof![Just(0), Just(u128::MAX), 7..9u128, any::<u128>()];
    let task = prop_oneof![name(true), number.prop_map(|id| format!("{id:032x}"))];
    let names = [
        name(true).boxed(),
        name(false).boxed(),
        task.boxed(),
        name(false).boxed(),
    ];
    let trace = prop_oneof![
        (0..2u8).prop_map(|byte| [byte; 16]),
        (7..9u128).prop_map(u128::to_be_bytes)
    ];
    let trace = proptest::option::of(trace.prop_map(TraceId));
    let version = prop_oneof![0..9u64, Just(u64::MAX), any::<u64>()];
    let body = proptest::collection::vec(any::<u8>(), 0..40);
    let level = (0..6usize).prop_map(|level| Level::ALL[level]);
    let format = (0..3usize).prop_map(|format| Format::ALL[format]);
    let id = proptest::option::of(any::<u128>().prop_map(EventId));
    let values = (prop_oneof![0..3u64, any::<u64>()], any::<u64>()).prop_map(<[u64; 2]>::from);
    let filled = proptest::option::of((0..3usize, values));
    let made = (time, names, level, format, trace, id, body, version, filled);
    made.prop_map(|(time, names, level, format, trace, id, body, version, filled)| {
        let made = Made {
            time,
            names,
            level,
            format,
            trace,
            id,
            body,
            version,
            filled,
        };
        made.filled()
    })
}

fn encode(made: &[Made]) -> Vec<u8> {
    let mut builder = Builder::default();
    for made in made {
        let mut batch = Batch::new();
        made.push_to(&mut batch);
        builder.add(&batch, &[made.version]);
    }
    let mut bytes = Vec::new();
    Encoder::new().unwrap().encode(&builder, PLACE, &mut bytes);
    bytes
}

#[test]
fn a_batch_gives_back_what_was_put_into_it() {
    let made = |names: [&str; 4], trace| Made {
        time: 1,
        names: names.map(str::to_owned),
        level: Level::Info,
        format: Format::Text,
        trace,
        id: Some(EventId(5)),
        body: b"body".to_vec(),
        version: 0,
        filled: None,
    };
    let made = [
        made(["t", "s", "00000000000000000000000000000001", "k"], None),
        made(["t", "s", "plain", "k"], Some(TraceId([1; 16]))),
        made(["t", "s", "ffffffffffffffffffffffffffffffff", "k"], None),
    ];
    let mut batch = Batch::new();
    for one in &made {
        batch.push(&one.event()).unwrap();
        // Its names are kept for the next look, not for the next event.
        assert_eq!(batch.events().last(), Some(one.event()));
    }
    assert!(batch.events().eq(made.iter().map(Made::event)));
    batch.clear();
    assert_eq!(batch.events().next(), None);
}

/// A sound block of these columns, whatever they are.
fn plain_block(columns: &[u8], count: u32) -> Vec<u8> {
    let mut bytes = vec![0; HEAD_BYTES];
    let head = Head {
        shard: 7,
        codec: Codec::Plain,
        count,
        first_offset: 1000,
        time_min: 0,
        time_max: 0,
        columns_bytes: length(columns.len()),
        stored_bytes: length(columns.len()),
        before: Hash::default(),
        durable: 0,
        mask: [0; 4],
        crc: 0,
    };
    head.write(&mut bytes);
    bytes.extend_from_slice(columns);
    fix(&mut bytes);
    bytes
}

/// Gives bytes the checksum that they should have, so that what is behind it is reached.
fn fix(bytes: &mut [u8]) {
    let crc = crc32c::crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&crc.to_le_bytes());
}

/// Whatever is decoded can be read from one end to the other, and takes no more memory than the limits allow.
fn hold(bytes: &[u8]) {
    let mut room = Vec::new();
    let Ok(block) = Block::decode(bytes) else {
        Block::pick(bytes, Column::Task, "", &mut room).unwrap_err();
        return;
    };
    let mut offset = block.offsets().start;
    for recorded in block.events() {
        assert_eq!(recorded.offset, offset);
        assert_eq!(block.event(offset), Some(recorded));
        assert!(recorded.event.body.len() <= BODY_BYTES_MAX);
        offset += 1;
    }
    assert_eq!(offset, block.offsets().end);
    let first = block.events().next().expect("there is one");
    for (column, name) in [
        (Column::Task, first.event.task),
        (Column::Stream, first.event.stream),
        (Column::Task, "none has this name"),
    ] {
        let picked = Block::pick(bytes, column, name, &mut room).expect("it is a block");
        assert_eq!(picked.offsets(), block.offsets());
        let is_of = |recorded: &Recorded<'_>| match column {
            Column::Task => recorded.event.task == name,
            Column::Stream => recorded.event.stream == name,
        };
        assert!(picked.events().eq(block.events().filter(is_of)));
        assert_eq!(picked.offsets_of(column, name), block.offsets_of(column, name));
    }
    let (names, briefs) = block.briefs();
    for brief in briefs {
        assert!((brief.kind.max(brief.stream) as usize) < names.len());
    }
    let mut index = crate::index::Index::default();
    index.add(&crate::digest::Digest::of(&block));
    assert!(block.bytes_in_memory() < 2 * COLUMNS_BYTES_MAX + 256 * EVENTS_MAX as usize);
}

fn section(id: u8, bytes: &[u8]) -> Vec<u8> {
    let mut section = vec![id];
    section.extend_from_slice(&length(bytes.len()).to_le_bytes());
    section.extend_from_slice(bytes);
    section
}

proptest! {
    #[test]
    fn what_was_encoded_is_decoded(made in proptest::collection::vec(made(), 1..40)) {
        let bytes = encode(&made);
        let block = Block::decode(&bytes).unwrap();
        prop_assert_eq!(block.offsets(), 1000..1000 + made.len() as u64);
        hold(&bytes);
        for (recorded, one) in block.events().zip(&made) {
            prop_assert_eq!(recorded.event, one.event());
            prop_assert_eq!(recorded.version, one.version);
            let task = one.event().task;
            let of_task = (1000..).zip(&made).filter(|(_, other)| other.event().task == task);
            let of_task: Vec<u64> = of_task.map(|(offset, _)| offset).collect();
            prop_assert_eq!(block.offsets_of(Column::Task, task), of_task);
        }
    }

    #[test]
    fn forms_are_read_like_what_they_would_have_been(made in proptest::collection::vec(made(), 1..20)) {
        let mut batch = Batch::new();
        for one in &made {
            one.push_to(&mut batch);
        }
        prop_assert!(batch.events().eq(made.iter().map(Made::event)));
        let mut builder = Builder::default();
        let versions: Vec<u64> = made.iter().map(|one| one.version).collect();
        builder.add(&batch, &versions);
        let mut bytes = Vec::new();
        Encoder::new().unwrap().encode(&builder, PLACE, &mut bytes);
        let block = Block::decode(&bytes).unwrap();
        prop_assert!(block.events().map(|recorded| recorded.event).eq(batch.events()));
        hold(&bytes);
        let (made, read) = (builder.digest(1000), crate::digest::Digest::of(&block));
        prop_assert_eq!((made.by_second, made.by_hour, made.alone), (read.by_second, read.by_hour, read.alone));
    }

    #[test]
    fn a_filter_finds_what_it_wants(
        made in proptest::collection::vec(made(), 1..20),
        tenant in proptest::option::of("[ab]"),
        prefixes in ("[ab]?", "[ab]?"),
        task in proptest::option::of(any::<prop::sample::Index>()),
        level_min in proptest::option::of((0..6usize).prop_map(|level| Level::ALL[level])),
        from in 995..1020u64,
    ) {
        let filter = Filter {
            tenant,
            stream_prefix: prefixes.0,
            kind_prefix: prefixes.1,
            task: task.map(|task| task.get(&made).names[2].clone()),
            level_min,
        };
        let block = Block::decode(&encode(&made)).unwrap();
        let wanted = block.events().filter(|recorded| recorded.offset >= from && filter.wants(recorded));
        let wanted: Vec<u64> = wanted.map(|recorded| recorded.offset).collect();
        prop_assert_eq!(block.wanted(&filter, from), wanted);
    }

    #[test]
    fn one_byte_that_changed_is_found(
        made in proptest::collection::vec(made(), 1..10),
        at in any::<prop::sample::Index>(),
        by in 1..=255u8,
    ) {
        let mut bytes = encode(&made);
        let at = at.index(bytes.len());
        bytes[at] ^= by;
        prop_assert!(Block::decode(&bytes).is_err());
    }

    #[test]
    fn a_block_that_is_cut_is_found(
        made in proptest::collection::vec(made(), 1..10),
        end in any::<prop::sample::Index>(),
    ) {
        let bytes = encode(&made);
        prop_assert!(Block::decode(&bytes[..end.index(bytes.len())]).is_err());
    }

    #[test]
    fn any_bytes_with_a_good_checksum_are_harmless(mut bytes in proptest::collection::vec(any::<u8>(), 96..400)) {
        hold(&bytes);
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[10] &= 1;
        // What is there and what the head says agree, or else nothing behind it is reached.
        let stored = length(bytes.len() - HEAD_BYTES);
        bytes[40..48].copy_from_slice(&[stored.to_le_bytes(), stored.to_le_bytes()].concat());
        bytes[14..16].fill(0);
        bytes[80..88].fill(0);
        fix(&mut bytes);
        hold(&bytes);
    }

    #[test]
    fn changed_columns_with_a_good_checksum_are_harmless(
        made in proptest::collection::vec(made(), 1..10),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in proptest::option::of(any::<prop::sample::Index>()),
    ) {
        let mut builder = Builder::default();
        for made in &made {
            let mut batch = Batch::new();
            made.push_to(&mut batch);
            builder.add(&batch, &[made.version]);
        }
        let mut columns = Vec::new();
        builder.encode(&mut columns);
        columns.extend_from_slice(builder.bodies());
        for (at, byte) in changes {
            let at = at.index(columns.len());
            columns[at] = byte;
        }
        if let Some(cut) = cut {
            columns.truncate(cut.index(columns.len()));
        }
        hold(&plain_block(&columns, builder.count()));
        hold(&plain_block(&columns, builder.count() + 1));
    }

    #[test]
    fn a_changed_head_with_a_good_checksum_is_harmless(
        made in proptest::collection::vec(made(), 1..10),
        at in 8..HEAD_BYTES,
        byte in any::<u8>(),
    ) {
        let mut bytes = encode(&made);
        bytes[at] = byte;
        fix(&mut bytes);
        hold(&bytes);
    }

    #[test]
    fn sections_of_any_content_are_harmless(
        contents in proptest::collection::vec(proptest::collection::vec(0..5u8, 0..12), 16),
        count in 0..12u32,
    ) {
        let sections = contents.iter().zip(1..).map(|(content, id)| section(id, content));
        hold(&plain_block(&sections.collect::<Vec<_>>().concat(), count));
    }
}

/// A few kilobytes that unpack to as much as a block may have, and ask for a row for each byte of it.
#[test]
fn a_small_block_cannot_ask_for_much_memory() {
    let count = 16 << 20;
    let mut columns = section(2, &vec![0; count]);
    columns.extend(section(1, &[]));
    let bytes = plain_block(&columns, length(count));
    let refused = Block::decode(&bytes).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "its head is not valid: more than 262,144 events"
    );

    let mut names = Vec::new();
    varint::push(&mut names, 16 << 20);
    names.resize(names.len() + (16 << 20), 0);
    let mut columns = section(2, &[0]);
    columns.extend(section(1, &names));
    let refused = Block::decode(&plain_block(&columns, 1)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "its columns are not valid: more names than its events have"
    );
}

/// What fits into an append fits into a block.
#[test]
fn the_longest_append_of_the_smallest_events_is_a_block() {
    let mut batch = Batch::new();
    let event = Event {
        stream: "s",
        kind: "k",
        ..Event::default()
    };
    while batch.bytes() < crate::append::APPEND_BYTES_MAX {
        batch.push(&event).unwrap();
    }
    assert!(batch.len() < EVENTS_MAX as usize, "{} events", batch.len());
}

#[test]
fn a_body_cannot_pass_for_a_block() {
    let made = |body| Made {
        time: 0,
        names: ["", "s", "", "k"].map(str::to_owned),
        level: Level::Info,
        format: Format::Binary,
        trace: None,
        id: None,
        body,
        version: 0,
        filled: None,
    };
    let mut random = 1u64;
    let mut noise = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        random.to_le_bytes()[7]
    };
    let forged = encode(&[made(b"forged".to_vec())]);
    // Too random to be compressed, so that it is stored as it is.
    let noise: Vec<u8> = (0..5000).map(|_| noise()).collect();
    let body = [noise.as_slice(), &forged, &noise, &MAGIC, &MAGIC].concat();
    let whole = made(body);
    let bytes = encode(std::slice::from_ref(&whole));
    assert_eq!(memchr::memmem::find(&bytes[4..], &MAGIC), None);
    let block = Block::decode(&bytes).unwrap();
    assert_eq!(block.events().next().unwrap().event, whole.event());
}

/// Bodies of several frames, some of them larger than one.
#[test]
fn events_are_picked_out_of_any_frame() {
    let mut batch = Batch::new();
    for number in 0..3000u32 {
        let mut body = format!("line {number} of {}", number.wrapping_mul(2_654_435_761));
        if number % 500 == 7 {
            body = body.repeat(5000);
        }
        let event = Event {
            stream: ["s", "t"][number as usize % 2],
            task: &format!("task-{}", number % 41),
            kind: "k",
            body: body.as_bytes(),
            ..Event::default()
        };
        batch.push(&event).unwrap();
    }
    let mut builder = Builder::default();
    builder.add(&batch, &(0..3000).collect::<Vec<u64>>());
    let mut bytes = Vec::new();
    Encoder::new().unwrap().encode(&builder, PLACE, &mut bytes);
    let head = Head::read(&bytes).unwrap();
    let stored = head.stored(&bytes);
    let mut frames = Frames::find(&stored, head.columns_bytes as usize).unwrap();
    assert!(frames.first_bytes() < frames::FRAME_BYTES);
    let bodies = builder.bodies().len();
    assert_eq!(head.columns_bytes as usize, frames.first_bytes() + bodies);
    let mut room = vec![0; head.columns_bytes as usize];
    let last = room.len() - 1;
    frames.unpack(&(last..last + 1), &mut room).unwrap();
    let (untouched, unpacked) =
        room.split_at(frames.first_bytes() + bodies / frames::FRAME_BYTES * frames::FRAME_BYTES);
    assert!(untouched.iter().all(|byte| *byte == 0), "one frame was asked for");
    assert_eq!(unpacked, &builder.bodies()[bodies - unpacked.len()..]);
    assert!(Frames::find(&stored, head.columns_bytes as usize + 1).is_none());
    assert!(Frames::find(&stored[1..], head.columns_bytes as usize).is_none());
    let block = Block::decode(&bytes).unwrap();
    assert!(block.events().map(|recorded| recorded.event).eq(batch.events()));
    hold(&bytes);
    for task in 0..41 {
        let task = format!("task-{task}");
        let picked = Block::pick(&bytes, Column::Task, &task, &mut room).unwrap();
        assert!(
            picked
                .events()
                .eq(block.events().filter(|recorded| recorded.event.task == task))
        );
    }
}
