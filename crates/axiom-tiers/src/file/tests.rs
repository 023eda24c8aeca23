use std::ops::Range;
use std::sync::Arc;

use arrow_array::Array as _;
use axiom_events::event::{BODY_BYTES_MAX, NAME_BYTES_MAX};
use axiom_events::{Event, EventId, Format, Level, Recorded, TraceId};
use bytes::Bytes;
use proptest::prelude::*;

use super::*;

/// A recorded event that owns its parts.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Made {
    offset: u64,
    version: u64,
    time: i64,
    names: [String; 4],
    level: Level,
    trace: Option<TraceId>,
    id: Option<EventId>,
    format: Format,
    body: Vec<u8>,
}

impl Made {
    fn recorded(&self) -> Recorded<'_> {
        let [tenant, stream, task, kind] = &self.names;
        Recorded {
            offset: self.offset,
            version: self.version,
            event: Event {
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
            },
        }
    }

    fn of(recorded: &Recorded<'_>) -> Made {
        let event = &recorded.event;
        Made {
            offset: recorded.offset,
            version: recorded.version,
            time: event.time,
            names: [event.tenant, event.stream, event.task, event.kind].map(str::to_owned),
            level: event.level,
            trace: event.trace,
            id: event.id,
            format: event.format,
            body: event.body.to_vec(),
        }
    }
}

fn made() -> impl Strategy<Value = Made> {
    let time = prop_oneof![Just(i64::MIN), Just(i64::MAX), -5..5i64, any::<i64>()];
    let name = || prop_oneof![4 => "[ab]", 1 => Just("ü".repeat(NAME_BYTES_MAX / 2)), 1 => "[a-z]{0,9}"];
    let names = [name(), name(), name(), name()];
    let trace = proptest::option::of((0..2u8).prop_map(|byte| TraceId([byte; 16])));
    let id = proptest::option::of(any::<u128>().prop_map(EventId));
    let body = prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..40),
        "[a-c0-9 =:./\\-]{0,40}".prop_map(String::into_bytes),
    ];
    let level = (0..6usize).prop_map(|level| Level::ALL[level]);
    let format = (0..3usize).prop_map(|format| Format::ALL[format]);
    (time, names, level, trace, id, format, body).prop_map(|(time, names, level, trace, id, format, body)| {
        Made {
            offset: 0,
            version: 0,
            time,
            names,
            level,
            trace,
            id,
            format,
            body,
        }
    })
}

/// As a log numbers them: offsets ascend, here with gaps, and each stream counts its versions.
fn numbered(first: u64, events: Vec<(Made, u64)>) -> Vec<Made> {
    let mut versions = std::collections::HashMap::new();
    let mut offset = first;
    let number = |(mut made, gap): (Made, u64)| {
        let version = versions.entry(made.names[1].clone()).or_insert(0);
        made.version = *version;
        *version += 1;
        made.offset = offset + gap;
        offset = made.offset + 1;
        made
    };
    events.into_iter().map(number).collect()
}

fn log() -> impl Strategy<Value = Vec<Made>> {
    let gap = prop_oneof![9 => Just(0), 1 => 1..1000u64];
    let first = prop_oneof![Just(0), Just(u64::MAX / 2 - 1), 0..1_000_000u64];
    let events = proptest::collection::vec((made(), gap), 0..60);
    (first, events).prop_map(|(first, events)| numbered(first, events))
}

/// Row groups of at most `group` rows, so that a few events make several.
fn written(events: &[Made], group: usize) -> (Bytes, Written) {
    let mut writer = Writer::new(Vec::new(), 7, &WriteOptions::default()).unwrap();
    for (number, made) in events.iter().enumerate() {
        writer.push(&made.recorded()).unwrap();
        if (number + 1) % group == 0 {
            writer.write_group().unwrap();
        }
    }
    let (bytes, written) = writer.finish().unwrap();
    (Bytes::from(bytes), written)
}

fn opened(bytes: &Bytes) -> File {
    File::open(Arc::new(bytes.clone())).unwrap()
}

fn all(events: &Events) -> Vec<Made> {
    events.iter().map(|recorded| Made::of(&recorded)).collect()
}

fn everything(file: &File) -> Vec<Made> {
    (0..file.groups().len())
        .flat_map(|index| all(&file.group(index).unwrap()))
        .collect()
}

fn event(offset: u64, task: &str, body: &[u8]) -> Made {
    Made {
        offset,
        version: offset,
        time: 1_700_000_000_000_000_000,
        names: ["default", "s", task, "k"].map(str::to_owned),
        level: Level::Info,
        trace: None,
        id: None,
        format: Format::Text,
        body: body.to_vec(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_written_is_read(events in log(), group in 1..40usize) {
        let (bytes, written) = written(&events, group);
        let file = opened(&bytes);
        prop_assert_eq!(everything(&file), events.clone());
        file.verify().unwrap();
        prop_assert_eq!(file.shard(), 7);
        prop_assert_eq!(file.rows(), events.len() as u64);
        prop_assert_eq!(written.rows, events.len() as u64);
        prop_assert_eq!(written.bytes, bytes.len() as u64);
        prop_assert_eq!(file.offsets(), written.offsets.clone());
        prop_assert_eq!(file.events_hash(), written.events_hash);
        let times = || events.iter().map(|made| made.time);
        prop_assert_eq!(written.time_min, times().min().unwrap_or_default());
        prop_assert_eq!(written.time_max, times().max().unwrap_or_default());
        for (index, group) in file.groups().iter().enumerate() {
            let read = all(&file.group(index).unwrap());
            prop_assert_eq!(group.offsets.start, read[0].offset);
            prop_assert_eq!(group.offsets.end, read[read.len() - 1].offset + 1);
            prop_assert_eq!(group.rows, read.len() as u64);
            prop_assert_eq!(group.time_min, read.iter().map(|made| made.time).min().unwrap());
            prop_assert_eq!(group.time_max, read.iter().map(|made| made.time).max().unwrap());
        }
    }

    #[test]
    fn a_task_and_a_stream_are_found_as_in_a_vec(
        events in log(),
        group in 1..40usize,
        name in "[ab]",
        from in 0..40usize,
        len in 0..40u64,
        count_max in 0..20usize,
    ) {
        let (bytes, _) = written(&events, group);
        let file = opened(&bytes);
        let start = events.get(from).map_or(0, |made| made.offset);
        let offsets = start..start.saturating_add(len);
        let versions = from as u64..from as u64 + len;
        for order in [Order::Ascending, Order::Descending] {
            let found = file.task(&name, offsets.clone(), count_max, order).unwrap();
            let is_wanted = |made: &Made| made.names[2] == name && offsets.contains(&made.offset);
            prop_assert_eq!(all(&found), expected(&events, is_wanted, count_max, order));

            let found = file.stream(&name, versions.clone(), count_max, order).unwrap();
            let is_wanted = |made: &Made| made.names[1] == name && versions.contains(&made.version);
            prop_assert_eq!(all(&found), expected(&events, is_wanted, count_max, order));
        }
    }
}

fn expected(events: &[Made], is_wanted: impl Fn(&Made) -> bool, count_max: usize, order: Order) -> Vec<Made> {
    let mut wanted: Vec<Made> = events.iter().filter(|made| is_wanted(made)).cloned().collect();
    if order == Order::Descending {
        wanted.reverse();
    }
    wanted.truncate(count_max);
    wanted
}

#[test]
fn a_row_group_ends_at_its_limits() {
    let many: Vec<Made> = (0..300_000)
        .map(|n| event(n, if n % 3 == 0 { "b" } else { "a" }, b"x"))
        .collect();
    let (bytes, _) = written(&many, usize::MAX);
    let file = opened(&bytes);
    let ranges: Vec<Range<u64>> = file.groups().iter().map(|group| group.offsets.clone()).collect();
    assert_eq!(ranges, [0..131_072, 131_072..262_144, 262_144..300_000]);
    let found = file.task("b", 131_000..131_100, 1000, Order::Ascending).unwrap();
    let offsets: Vec<u64> = found.iter().map(|recorded| recorded.offset).collect();
    assert_eq!(
        offsets,
        (131_000..131_100).filter(|n| n % 3 == 0).collect::<Vec<u64>>()
    );

    let large = vec![b'x'; BODY_BYTES_MAX];
    let large: Vec<Made> = (0..10).map(|n| event(n, "a", &large)).collect();
    let (bytes, _) = written(&large, usize::MAX);
    let file = opened(&bytes);
    let rows: Vec<u64> = file.groups().iter().map(|group| group.rows).collect();
    assert_eq!(rows, [8, 2]);
    file.verify().unwrap();
}

#[test]
fn a_file_without_events_is_a_file() {
    let options = WriteOptions {
        offsets: Some(5..9),
        ..WriteOptions::default()
    };
    let (bytes, written) = Writer::new(Vec::new(), 0, &options).unwrap().finish().unwrap();
    assert_eq!((written.rows, written.offsets), (0, 5..9));
    let file = opened(&Bytes::from(bytes));
    assert_eq!((file.offsets(), file.rows(), file.groups().len()), (5..9, 0, 0));
    file.verify().unwrap();
}

#[test]
fn only_what_comes_next_and_belongs_there_is_taken() {
    let options = WriteOptions {
        offsets: Some(5..9),
        ..WriteOptions::default()
    };
    let mut writer = Writer::new(Vec::new(), 0, &options).unwrap();
    let mut push = |offset| {
        writer
            .push(&event(offset, "a", b"").recorded())
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        push(4),
        Err("event 4 is not one of 5 to 9, which the file is for".to_owned())
    );
    assert_eq!(push(6), Ok(()));
    assert_eq!(push(6), Err("event 6 does not come after event 6".to_owned()));
    assert_eq!(
        push(9),
        Err("event 9 is not one of 5 to 9, which the file is for".to_owned())
    );
    let (bytes, _) = writer.finish().unwrap();
    let offsets: Vec<u64> = everything(&opened(&Bytes::from(bytes)))
        .iter()
        .map(|made| made.offset)
        .collect();
    assert_eq!(offsets, [6]);
}

/// Numbers that are the same each time.
fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).expect("it has 31 bits") % below
    }
}

/// What disks, cables and people do to a file, and how it is called.
fn mutated(random: &mut impl FnMut(usize) -> usize, sound: &[u8]) -> (String, Vec<u8>) {
    let mut bytes = sound.to_vec();
    let at = random(bytes.len());
    let what = match random(20) {
        0..=11 => {
            bytes[at] ^= 1 << random(8);
            format!("a bit of byte {at} flipped")
        }
        12 | 13 => {
            bytes.truncate(at);
            format!("torn at {at}")
        }
        14 | 15 => {
            bytes[at..].fill(0);
            format!("zeros from {at} on")
        }
        16 => {
            let end = at + random(bytes.len() - at) + 1;
            bytes.drain(at..end);
            format!("bytes {at} to {end} taken out")
        }
        17 => {
            let end = (at + 1 + random(4_096)).min(bytes.len());
            bytes[at..end].fill_with(|| u8::try_from(random(256)).expect("it is below 256"));
            format!("noise from {at} to {end}")
        }
        number => {
            // Sectors of a disk, or our own blocks.
            let size = if number == 18 { 4_096 } else { 64 << 10 };
            let count = bytes.len() / size;
            let one = random(count);
            let other = (one + 1 + random(count - 1)) % count;
            let (low, high) = (one.min(other) * size, one.max(other) * size);
            let (left, right) = bytes.split_at_mut(high);
            left[low..low + size].swap_with_slice(&mut right[..size]);
            format!("pieces {one} and {other} of {size} B swapped")
        }
    };
    (what, bytes)
}

/// A change anywhere is noticed when the file is opened or, at the latest, where the changed bytes are used.
#[test]
fn no_change_goes_unnoticed() {
    let word = |n: u64| blake3::hash(&n.to_le_bytes()).as_bytes().repeat(2);
    let events: Vec<Made> = (0..6_000u64)
        .map(|n| event(n, &format!("task {}", n % 7), &word(n)[..40]))
        .collect();
    let (bytes, _) = written(&events, 2_500);
    assert!(
        bytes.len() > 3 * (64 << 10),
        "it has several blocks and is {} B",
        bytes.len()
    );
    let read = |bytes: Vec<u8>| -> Result<Vec<Events>, FileError> {
        let file = File::open(Arc::new(Bytes::from(bytes)))?;
        (0..file.groups().len()).map(|index| file.group(index)).collect()
    };
    let sound = read(bytes.to_vec()).unwrap();
    assert_eq!(sound.iter().flat_map(all).collect::<Vec<_>>(), events);
    let mut random = numbers(1);
    let mut changes = 0;
    while changes < 2_000 {
        let (what, changed) = mutated(&mut random, &bytes);
        if changed == bytes {
            continue;
        }
        changes += 1;
        assert!(
            read(changed).is_err(),
            "change {changes} of {} B: {what}",
            bytes.len()
        );
    }
    for len in [0, 1, 8, 11, 12, bytes.len() / 2, bytes.len() - 1] {
        assert!(read(bytes[..len].to_vec()).is_err(), "cut to {len}");
    }
    let mut swapped = bytes.to_vec();
    let (left, right) = swapped.split_at_mut(bytes.len() / 2);
    left[..100].swap_with_slice(&mut right[..100]);
    assert!(matches!(read(swapped), Err(FileError::Damaged { .. })));
}

/// Every bit of the tail's own checksum counts, and names that look like it mislead nobody.
#[test]
fn the_tail_is_found_among_names_that_look_like_it() {
    let name = format!("axiom.tail\x18\x18{}", "0".repeat(24));
    let mut events: Vec<Made> = (0..3).map(|n| event(n, &name, b"x")).collect();
    events
        .iter_mut()
        .for_each(|made| made.names = [&name; 4].map(Clone::clone));
    let (bytes, _) = written(&events, usize::MAX);
    assert_eq!(everything(&opened(&bytes)), events);
    let at = memchr::memmem::rfind(&bytes, b"axiom.tail\x18\x18").unwrap();
    for bit in 0..(12 + 24) * 8 {
        let mut changed = bytes.to_vec();
        changed[at + bit / 8] ^= 1 << (bit % 8);
        let opened = File::open(Arc::new(Bytes::from(changed)));
        assert!(matches!(opened, Err(FileError::Tail { .. })), "bit {bit}");
    }
}

/// A task's events do not cost what the whole file costs.
#[test]
fn little_is_read_for_a_task() {
    #[derive(Debug)]
    struct Counting(Bytes, std::sync::atomic::AtomicU64);
    impl Source for Counting {
        fn bytes(&self) -> u64 {
            self.0.bytes()
        }
        fn read(&self, range: Range<u64>) -> std::io::Result<Bytes> {
            let len = range.end - range.start;
            self.1.fetch_add(len, std::sync::atomic::Ordering::Relaxed);
            self.0.read(range)
        }
    }
    let mut random = 1u64;
    let mut body = move || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let word = blake3::hash(&random.to_le_bytes());
        word.as_bytes().repeat(2)
    };
    let events: Vec<Made> = (0..200_000u64)
        .map(|n| event(n, &format!("task {:03}", n % 500), &body()[..48]))
        .collect();
    let (bytes, _) = written(&events, usize::MAX);
    let source = Arc::new(Counting(bytes.clone(), 0.into()));
    let file = File::open(Arc::clone(&source) as Arc<dyn Source>).unwrap();
    source.1.store(0, std::sync::atomic::Ordering::Relaxed);
    let found = file
        .task("task 123", 0..u64::MAX, 100, Order::Descending)
        .unwrap();
    let read = source.1.load(std::sync::atomic::Ordering::Relaxed);
    assert_eq!(found.len(), 100);
    assert!(
        read < bytes.len() as u64 / 5,
        "{read} of {} B were read",
        bytes.len()
    );
    source.1.store(0, std::sync::atomic::Ordering::Relaxed);
    assert!(
        file.task("task 1234", 0..u64::MAX, 100, Order::Ascending)
            .unwrap()
            .is_empty()
    );
    let read = source.1.load(std::sync::atomic::Ordering::Relaxed);
    assert!(
        read < bytes.len() as u64 / 20,
        "{read} of {} B were read for nothing",
        bytes.len()
    );
}

/// Lines as programs print them: some come often with new values, some with old ones, some once.
fn lines() -> Vec<Vec<u8>> {
    let line = |n: u64| match n % 4 {
        0 => format!(
            "read {} B of {:016x}",
            n * n,
            n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
        )
        .into_bytes(),
        1 => format!("worker {} is idle", n % 3).into_bytes(),
        2 => format!("{}: {}", "some words".repeat(usize::try_from(n % 9).unwrap()), n).into_bytes(),
        _ => vec![b'\x11', b'\xff', u8::try_from(n % 256).unwrap()],
    };
    (0..2000).map(line).collect()
}

fn batches(bytes: &Bytes) -> Vec<arrow_array::RecordBatch> {
    let reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(bytes.clone()).unwrap();
    reader.build().unwrap().map(Result::unwrap).collect()
}

#[test]
fn a_body_is_split_where_its_values_are_new() {
    let events: Vec<Made> = lines()
        .iter()
        .zip(0..)
        .map(|(line, n)| event(n, "t", line))
        .collect();
    let (bytes, _) = written(&events, usize::MAX);
    let batches = batches(&bytes);
    let mut split = [0; 4];
    let mut row = 0;
    for batch in &batches {
        let templates = batch.column_by_name("body_template").unwrap();
        let bodies = bodies(batch).unwrap();
        for at in 0..batch.num_rows() {
            split[row % 4] += usize::from(templates.is_valid(at));
            assert_eq!(bodies.value(at), events[row].body);
            row += 1;
        }
    }
    // Of the third kind each of nine templates comes 55 times. Two hashes of the first happen to have no letters.
    assert_eq!(split, [498, 0, 500, 0]);
}

/// Engines have their own taste in Arrow's types.
#[test]
fn bodies_are_understood_in_all_of_arrows_types() {
    use arrow_array::cast::AsArray as _;
    use arrow_array::{
        ArrayRef, BinaryViewArray, LargeBinaryArray, LargeStringArray, RecordBatch, StringViewArray,
    };
    let events: Vec<Made> = lines()
        .iter()
        .zip(0..)
        .map(|(line, n)| event(n, "t", line))
        .collect();
    let (bytes, _) = written(&events, usize::MAX);
    for batch in batches(&bytes) {
        let expected = bodies(&batch).unwrap();
        let texts = batch
            .column_by_name("body_template")
            .unwrap()
            .as_string::<i32>()
            .clone();
        let blobs = batch.column_by_name("body").unwrap().as_binary::<i32>().clone();
        let variants: [(ArrayRef, ArrayRef); 2] = [
            (
                Arc::new(StringViewArray::from_iter(texts.iter())),
                Arc::new(BinaryViewArray::from_iter(blobs.iter())),
            ),
            (
                Arc::new(LargeStringArray::from_iter(texts.iter())),
                Arc::new(LargeBinaryArray::from_iter(blobs.iter())),
            ),
        ];
        for (texts, blobs) in variants {
            let columns = [
                ("body", blobs),
                ("body_template", texts),
                (
                    "body_ints",
                    Arc::clone(batch.column_by_name("body_ints").unwrap()),
                ),
                (
                    "body_words",
                    Arc::clone(batch.column_by_name("body_words").unwrap()),
                ),
            ];
            assert_eq!(
                bodies(&RecordBatch::try_from_iter(columns).unwrap()).unwrap(),
                expected
            );
        }
        // A part of a batch is a batch.
        let part = batch.slice(3, 10);
        assert_eq!(bodies(&part).unwrap(), expected.slice(3, 10));
    }
}

#[test]
fn columns_that_are_not_ours_are_refused() {
    let events: Vec<Made> = lines()
        .iter()
        .zip(0..)
        .map(|(line, n)| event(n, "t", line))
        .collect();
    let (bytes, _) = written(&events, usize::MAX);
    let batch = batches(&bytes).remove(0);
    for name in BODY_COLUMNS {
        let kept = batch
            .schema()
            .fields()
            .iter()
            .position(|field| field.name() == name)
            .unwrap();
        let others: Vec<usize> = (0..batch.num_columns())
            .filter(|column| *column != kept)
            .collect();
        let error = bodies(&batch.project(&others).unwrap()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("column {name} is not as Axiom writes it")
        );
    }
}
