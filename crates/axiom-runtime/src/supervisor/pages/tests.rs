//! Pages are the same with an index as without one, and cost less.

use std::path::Path;

use axiom_sandbox::output::Writer;
use proptest::prelude::*;

use super::index::Counter;
use super::*;

const LINE_BYTES_MAX: usize = 64 << 10;

type Piece = (Source, Vec<u8>);

/// An attempt's folder with this output, and what its watcher has counted.
fn attempt(folder: &Path, pieces: &[Piece], apart: u64, line_bytes_max: usize) -> Arc<Index> {
    std::fs::create_dir_all(folder).unwrap();
    let mut writer = Writer::create(&folder.join(OUTPUT)).unwrap();
    let index = Arc::<Index>::default();
    let mut counter = Counter::apart(line_bytes_max, apart);
    for (source, bytes) in pieces {
        writer.append(*source, 7, bytes).unwrap();
        let stream = match source {
            Source::Stderr => Stream::Stderr,
            _ => Stream::Stdout,
        };
        counter.frame(stream, (7, bytes), (writer.end(), writer.seq()), &index);
    }
    counter.finish(&index);
    index
}

fn output(attempts: &[(PathBuf, Arc<Index>)], line_bytes_max: usize, has_ended: bool) -> Output {
    Output {
        attempts: attempts
            .iter()
            .map(|(folder, index)| Attempt {
                output: folder.join(OUTPUT),
                index: Arc::clone(index),
            })
            .collect(),
        line_bytes_max,
        has_ended,
        read_bytes: 0,
    }
}

fn pieces() -> impl Strategy<Value = Vec<Piece>> {
    let source = prop::sample::select(vec![Source::Stdout, Source::Stderr]);
    let text = "[ab\\r\\n\u{e9}]{1,12}";
    let piece = (source, text).prop_map(|(source, text)| (source, text.into_bytes()));
    prop::collection::vec(piece, 0..60)
}

proptest! {
    #[test]
    fn a_page_from_a_mark_is_the_page_from_the_beginning(
        attempts in prop::collection::vec(pieces(), 1..4),
        from in 0..80_u64,
        lines_max in 1..20_usize,
        last in 0..30_usize,
        has_ended in any::<bool>(),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let attempts: Vec<_> = attempts
            .iter()
            .enumerate()
            .map(|(nth, pieces)| {
                let folder = dir.path().join(nth.to_string());
                // Pieces are cut into lines of 64 bytes at most: the shortest limit there is.
                let index = attempt(&folder, pieces, 100, 64);
                (folder, index)
            })
            .collect();
        let plain: Vec<_> = attempts
            .iter()
            .map(|(folder, _)| (folder.clone(), Arc::<Index>::default()))
            .collect();
        for from in [From::Line(from), From::Last(last)] {
            let expected = output(&plain, 64, has_ended).page(from, lines_max).unwrap();
            let found = output(&attempts, 64, has_ended).page(from, lines_max).unwrap();
            prop_assert_eq!(found, expected, "{:?}", from);
        }
        // And as those find it who come later.
        for (folder, index) in &attempts {
            index.write(folder, true).unwrap();
            let read = Index::read(folder);
            prop_assert_eq!(read.lines(), index.lines());
            prop_assert_eq!(read.before(from), index.before(from));
        }
    }
}

/// Forty mebibytes in two attempts, with a prompt that has no end before all of it: a page anywhere costs less than one of them.
#[test]
fn a_page_costs_the_page_and_not_the_output() {
    const MIB: u64 = 1 << 20;
    let dir = tempfile::tempdir().unwrap();
    let mut number = 0_u64;
    let mut attempts = Vec::new();
    for nth in 0..2 {
        let mut pieces = vec![(Source::Stderr, b"a prompt: ".to_vec())];
        for _ in 0..320 {
            let mut frame = Vec::new();
            while frame.len() < 63 << 10 {
                frame.extend_from_slice(format!("a line as tasks write them, number {number}\n").as_bytes());
                number += 1;
            }
            pieces.push((Source::Stdout, frame));
        }
        let folder = dir.path().join(nth.to_string());
        let index = attempt(&folder, &pieces, index::APART_BYTES, LINE_BYTES_MAX);
        attempts.push((folder, index));
        // Its prompt is a line of its own, at its end.
        number += 1;
    }
    let all = number;
    let folders: Vec<PathBuf> = attempts.iter().map(|(folder, _)| folder.clone()).collect();
    let size: u64 = folders
        .iter()
        .map(|folder| std::fs::metadata(folder.join(OUTPUT)).unwrap().len())
        .sum();
    assert!(size > 39 * MIB, "{size}");
    for (folder, index) in &attempts {
        index.write(folder, false).unwrap();
    }
    let looks = [
        From::Line(0),
        From::Line(all / 3),
        From::Line(all / 3 * 2),
        From::Line(all - 5),
        From::Line(all + 5),
        From::Last(0),
        From::Last(1),
        From::Last(100),
    ];
    for from in looks {
        // By the indices that lie beside the output.
        let mut output = Output::new(&folders, None, LINE_BYTES_MAX, true);
        let page = output.page(from, 100).unwrap();
        match from {
            From::Line(first) if first < all => {
                assert_eq!(page.lines[0].number, first);
                // One prompt, of the first attempt, comes before those of the second.
                let shown = page.lines[0].text.rsplit(' ').next().unwrap();
                assert!(
                    first == all - 1 || shown == first.to_string(),
                    "{first}: {:?}",
                    page.lines[0]
                );
            }
            From::Line(_) => assert_eq!((page.lines.len(), page.next, page.is_end), (0, all, true)),
            From::Last(count) => {
                assert_eq!((page.lines.len(), page.next, page.is_end), (count, all, true));
            }
        }
        assert!(output.read_bytes <= MIB, "{from:?}: {} B", output.read_bytes);
    }
    // Without them it is all read.
    let mut output = output(
        &[
            (folders[0].clone(), Arc::default()),
            (folders[1].clone(), Arc::default()),
        ],
        LINE_BYTES_MAX,
        true,
    );
    output.page(From::Last(1), 1).unwrap();
    assert!(output.read_bytes > 39 * MIB);
}
