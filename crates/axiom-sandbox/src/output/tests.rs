//! Output is read as it was written, while it is written and after; what was damaged is never read.

use proptest::prelude::*;

use super::*;

fn source() -> impl Strategy<Value = Source> {
    prop::sample::select(vec![Source::Stdout, Source::Stderr, Source::Terminal])
}

type Piece = (Source, i64, Vec<u8>);

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let bytes = prop_oneof![
        8 => prop::collection::vec(any::<u8>(), 1..40),
        1 => prop::collection::vec(any::<u8>(), PAYLOAD_BYTES_MAX - 1..PAYLOAD_BYTES_MAX + 2),
    ];
    prop::collection::vec((source(), any::<i64>(), bytes), 0..12)
}

/// As frames: what is too long for one is several.
fn frames(pieces: &[Piece]) -> Vec<Piece> {
    let frames = pieces.iter().flat_map(|(source, time, bytes)| {
        let chunks = bytes.chunks(PAYLOAD_BYTES_MAX);
        chunks.map(|chunk| (*source, *time, chunk.to_vec()))
    });
    frames.collect()
}

/// All frames, and how it ended.
fn read(reader: &mut Reader, is_over: bool) -> (Vec<Piece>, Option<u64>) {
    let mut found = Vec::new();
    loop {
        let seq = reader.seq();
        match reader.next(is_over).expect("the disk reads") {
            Next::Frame(frame) => {
                assert_eq!(frame.seq, seq);
                found.push((frame.source, frame.time, frame.bytes.to_vec()));
            }
            Next::End => return (found, None),
            Next::Damaged { at, .. } => return (found, Some(at)),
        }
    }
}

fn write(path: &Path, pieces: &[Piece]) {
    let mut writer = Writer::create(path).unwrap();
    for (source, time, bytes) in pieces {
        writer.append(*source, *time, bytes).unwrap();
    }
    assert_eq!(writer.end(), std::fs::metadata(path).unwrap().len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Cut anywhere, as by a writer at work or one that died: the whole frames are there, and no more.
    #[test]
    fn whole_frames_are_read(pieces in pieces(), cut in any::<prop::sample::Index>(), is_over in any::<bool>()) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        write(&path, &pieces);
        let expected = frames(&pieces);
        let whole = std::fs::read(&path).unwrap();
        let (found, damage) = read(&mut Reader::open(&path).unwrap(), is_over);
        prop_assert_eq!((&found, damage), (&expected, None));

        let cut = 8 + cut.index(whole.len() - 7);
        let growing = folder.path().join("growing");
        std::fs::write(&growing, &whole[..cut]).unwrap();
        let mut reader = Reader::open(&growing).unwrap();
        let (mut found, damage) = read(&mut reader, is_over);
        prop_assert_eq!(&found[..], &expected[..found.len()]);
        let is_at_an_end = reader.position() == cut as u64;
        prop_assert_eq!(damage, (is_over && !is_at_an_end).then(|| reader.position()));
        // A reader that had come to the end goes on where it was.
        if !is_over {
            std::fs::write(&growing, &whole).unwrap();
            found.extend(read(&mut reader, true).0);
            prop_assert_eq!(found, expected);
        }
    }

    /// A byte that changed: what was before it is read, it is found, and nothing wrong is read.
    #[test]
    fn damage_is_found(pieces in pieces(), at in any::<prop::sample::Index>(), flip in 1..=255u8) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        write(&path, &pieces);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        std::fs::write(&path, &bytes).unwrap();
        match Reader::open(&path) {
            Err(error) => prop_assert!(at < 8, "{error}"),
            Ok(mut reader) => {
                let expected = frames(&pieces);
                let (found, damage) = read(&mut reader, true);
                prop_assert_eq!(&found[..], &expected[..found.len()]);
                prop_assert!(found.len() < expected.len());
                prop_assert!(damage.is_some_and(|begin| begin <= at as u64));
            }
        }
    }

    #[test]
    fn any_bytes_are_harmless(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        std::fs::write(&path, [&MAGIC[..], &bytes].concat()).unwrap();
        let (found, _) = read(&mut Reader::open(&path).unwrap(), true);
        prop_assert_eq!(found, vec![]);
    }
}

#[test]
fn what_does_not_fit_on_the_disk_leaves_no_trace() {
    // This file takes nothing at all.
    let mut writer = Writer {
        file: std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap(),
        end: 8,
        seq: 0,
        payload: 0,
        frame: Vec::new(),
    };
    let short = writer.append(Source::Stdout, 0, b"some").unwrap_err();
    assert_eq!(short.written, 0);
    assert_eq!(short.error.kind(), io::ErrorKind::StorageFull);
    assert_eq!((writer.end(), writer.seq), (8, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// From near the end the same frames are read as from the beginning, the last ones of them, whatever is half written.
    #[test]
    fn near_the_end_are_the_last_frames(many in prop::collection::vec(pieces(), 1..6), bytes in 0u64..400_000, cut in 0usize..50) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("output");
        let pieces: Vec<Piece> = many.concat();
        write(&path, &pieces);
        let len = std::fs::metadata(&path).unwrap().len();
        let cut = len - (cut as u64).min(len - MAGIC.len() as u64);
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap();
        let all = read(&mut Reader::open(&path).unwrap(), false).0;
        let mut reader = Reader::open_near_end(&path, bytes).unwrap();
        let (first, position) = (usize::try_from(reader.seq()).unwrap(), reader.position());
        prop_assert!(first <= all.len());
        prop_assert_eq!(&read(&mut reader, false).0, &all[first..]);
        // Not more than was asked for, and not much less.
        let largest = (PAYLOAD_BYTES_MAX + HEAD_BYTES) as u64;
        let asked = bytes.max(2 * largest);
        prop_assert!(cut - position <= asked);
        prop_assert!(cut - position >= asked.min(cut - MAGIC.len() as u64).saturating_sub(largest));
    }
}
