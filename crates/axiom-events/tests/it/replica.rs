//! A copy is the same log, whatever happens on the way; what is not the next block of it is refused, and leaves no trace.

use std::path::{Path, PathBuf};

use axiom_events::chain::Reason;
use axiom_events::proof::ProveError;
use axiom_events::replica::ReplicaError;
use axiom_events::verify::verify;
use axiom_events::{Block, Log, OpenError, Options, Piece, Raw, Reader, Replica};

use crate::history::{FOLDER, History, machine, open, read_all};
use crate::sim::{EIO, Fault, Op, Random, Sim};

const COPY: &str = "/copy";

/// A log of some segments, closed, and a reader of it.
fn source(seed: u64, rounds: usize) -> (Sim, Reader) {
    let sim = Sim::new(seed);
    let mut history = History::new(seed);
    let log = open(&sim);
    for _ in 0..rounds {
        history.round(&log);
    }
    history.must_append(&log);
    log.close();
    drop(log);
    let reader = Reader::open(sim.arc(), Path::new(FOLDER)).expect("it can be read");
    (sim, reader)
}

/// Everything of a log from `offset` on, as it would be sent: blocks, and the seal of each segment before the next begins.
fn pieces(reader: &Reader, mut offset: u64) -> Vec<Vec<u8>> {
    let mut pieces = Vec::new();
    while let Raw::Block(block) = reader.raw(offset).expect("it can be read") {
        pieces.extend(reader.seal_before(offset).expect("it can be read").map(Vec::from));
        offset = block.offsets.end;
        pieces.push(block.bytes.into());
    }
    pieces
}

fn take(replica: &mut Replica, piece: &[u8]) -> Result<(), ReplicaError> {
    match Piece::of(piece) {
        Ok(Some(Piece::Seal { .. })) => replica.seal(piece),
        _ => replica.block(piece).map(drop),
    }
}

fn is_seal(piece: &[u8]) -> bool {
    matches!(Piece::of(piece), Ok(Some(Piece::Seal { .. })))
}

/// The reason why a piece is refused.
fn refusal(replica: &mut Replica, piece: &[u8]) -> Reason {
    let next = replica.next();
    match take(replica, piece) {
        Err(ReplicaError::Refused(refused)) => {
            assert_eq!(refused.offset, next.unwrap_or(0), "it names the place");
            assert_eq!(replica.next(), next, "nothing was taken");
            refused.reason
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_copy_reads_and_verifies_like_its_source() {
    let (sim, reader) = source(1, 30);
    let copy = Sim::new(2);
    let mut replica = Replica::open(COPY, copy.arc()).expect("it opens");
    assert_eq!(replica.next(), None);
    for piece in pieces(&reader, 0) {
        take(&mut replica, &piece).expect("it fits");
    }
    replica.sync().expect("the disk is well");
    assert_eq!(replica.next(), Some(reader.end()));
    drop(replica);
    let copied = Reader::open(copy.arc(), Path::new(COPY)).expect("it can be read");
    assert_eq!(read_all(&copied), read_all(&reader));
    let (ours, theirs) = (
        verify(&copy, Path::new(COPY)).expect("it can be read"),
        verify(&sim, Path::new(FOLDER)).expect("it can be read"),
    );
    assert!(ours.is_sound(), "{ours:#?}");
    assert!(ours.segments.len() > 3, "{} segments", ours.segments.len());
    let roots = |verdict: &axiom_events::verify::Verdict| -> Vec<_> {
        let segments = verdict.segments.iter();
        segments
            .map(|segment| (segment.first_offset, segment.root))
            .collect()
    };
    assert_eq!(roots(&ours), roots(&theirs));
}

#[test]
fn every_lie_is_refused_and_the_truth_is_taken_after_it() {
    let (_, reader) = source(3, 30);
    let pieces = pieces(&reader, 0);
    // Another history: the same shard and offsets, other events.
    let (_, other) = source(4, 30);
    let others: Vec<Vec<u8>> = self::pieces(&other, 0);
    let copy = Sim::new(5);
    let mut replica = Replica::open(COPY, copy.arc()).expect("it opens");
    let mut random = Random::new(6);
    for (nth, piece) in pieces.iter().enumerate() {
        let blocks = |pieces: &[Vec<u8>]| -> Vec<Vec<u8>> {
            pieces.iter().filter(|piece| !is_seal(piece)).cloned().collect()
        };
        // A bit anywhere.
        for _ in 0..20 {
            let mut flipped = piece.clone();
            flipped[random.below(piece.len())] ^= 1 << random.below(8);
            assert!(take(&mut replica, &flipped).is_err(), "piece {nth}");
        }
        // Cut short, and something behind it.
        assert!(take(&mut replica, &piece[..piece.len() - 1]).is_err());
        if !is_seal(piece) {
            let longer = [piece.as_slice(), b"x"].concat();
            assert!(matches!(
                refusal(&mut replica, &longer),
                Reason::Trailing { bytes: 1 }
            ));
        }
        if nth > 0 && !is_seal(piece) {
            let before = blocks(&pieces[..nth]);
            let repeated = before.last().expect("the first piece is a block");
            assert!(matches!(refusal(&mut replica, repeated), Reason::Offset { .. }));
            // The one after it: left out, or swapped with it.
            if let Some(later) = blocks(&pieces[nth + 1..]).first() {
                let reason = refusal(&mut replica, later);
                assert!(
                    matches!(reason, Reason::Offset { found, expected } if found > expected),
                    "{reason}"
                );
            }
            // A block of another history that begins with the same offset.
            let next = replica.next().expect("a block was taken");
            if let Ok(Raw::Block(fork)) = other.raw(next)
                && fork.offsets.start == next
            {
                assert!(matches!(refusal(&mut replica, &fork.bytes), Reason::Chain { .. }));
            }
        }
        if is_seal(piece) {
            for seal in others.iter().filter(|piece| is_seal(piece)) {
                assert!(matches!(refusal(&mut replica, seal), Reason::Seal { .. }));
            }
        }
        take(&mut replica, piece).expect("it fits");
        if nth % 7 == 0 {
            drop(replica);
            replica = Replica::open(COPY, copy.arc()).expect("it opens again");
        }
    }
    replica.sync().expect("the disk is well");
    let copied = Reader::open(copy.arc(), Path::new(COPY)).expect("it can be read");
    assert_eq!(read_all(&copied), read_all(&reader));
}

/// Whoever changes a block can compute its checksum anew. The block before it and the one behind it still know.
#[test]
fn a_block_with_a_checksum_of_its_own_is_found_by_the_next() {
    let (_, reader) = source(7, 10);
    let pieces = pieces(&reader, 0);
    let copy = Sim::new(8);
    let mut replica = Replica::open(COPY, copy.arc()).expect("it opens");
    take(&mut replica, &pieces[0]).expect("it fits");
    let resummed = |at: usize| {
        let mut block = pieces[1].clone();
        block[at] ^= 1;
        let crc = crc32c::crc32c(&block[8..]);
        block[4..8].copy_from_slice(&crc.to_le_bytes());
        block
    };
    // Its shard, offset, and hash of the one before.
    assert!(matches!(
        refusal(&mut replica, &resummed(8)),
        Reason::Shard { .. }
    ));
    assert!(matches!(
        refusal(&mut replica, &resummed(17)),
        Reason::Offset { .. }
    ));
    assert!(matches!(
        refusal(&mut replica, &resummed(48)),
        Reason::Chain { .. }
    ));
    // What nothing before it speaks of: its times.
    take(&mut replica, &resummed(24)).expect("nobody can know yet");
    let reason = refusal(&mut replica, &pieces[2]);
    assert!(
        matches!(reason, Reason::Chain { .. } | Reason::Seal { .. }),
        "{reason}"
    );
}

#[test]
fn another_shard_does_not_get_in_and_no_log_goes_on_with_a_copy() {
    let folder = tempfile::tempdir().expect("a folder");
    let (_, reader) = source(9, 3);
    let pieces = pieces(&reader, 0);
    let mut replica = Replica::open(folder.path(), machine()).expect("it opens");
    for piece in &pieces {
        take(&mut replica, piece).expect("it fits");
    }
    let second = Replica::open(folder.path(), machine());
    assert!(matches!(second, Err(ReplicaError::Locked { .. })));
    drop(replica);
    let log = Log::open(Options::new(folder.path()), machine());
    assert!(matches!(log, Err(OpenError::Copy { .. })), "{log:?}");
    let mut options = Options::new(folder.path());
    options.shard = 7;
    assert!(matches!(
        Log::open(options, machine()),
        Err(OpenError::Copy { .. })
    ));

    let own = tempfile::tempdir().expect("a folder");
    let mut history = History::new(10);
    let mut options = Options::new(own.path());
    options.shard = 7;
    let log = Log::open(options, machine()).expect("it opens");
    history.must_append(&log);
    log.close();
    let other = self::pieces(&Reader::open(machine(), own.path()).expect("it can be read"), 0);
    let mut replica = Replica::open(folder.path(), machine()).expect("it opens");
    let reason = refusal(&mut replica, &other[0]);
    assert!(
        matches!(
            reason,
            Reason::Shard {
                found: 7,
                expected: 0
            }
        ),
        "{reason}"
    );
    let onto_a_log = Replica::open(own.path(), machine());
    assert!(matches!(onto_a_log, Err(ReplicaError::Own { .. })));
}

#[test]
fn behind_a_gap_a_copy_goes_on_and_says_what_is_missing() {
    let (_, reader) = source(11, 30);
    let all = pieces(&reader, 0);
    let copy = Sim::new(12);
    let mut replica = Replica::open(COPY, copy.arc()).expect("it opens");
    for piece in &all[..5] {
        take(&mut replica, piece).expect("it fits");
    }
    let from = replica.next().expect("blocks were taken");
    let rest = all[9..]
        .iter()
        .position(|piece| !is_seal(piece))
        .expect("there are more")
        + 9;
    let to = axiom_events::Block::decode(&all[rest])
        .expect("it is one")
        .offsets()
        .start;
    replica.skip(to).expect("the disk is well");
    drop(replica);
    // It was stopped before anything came: it is where it was, and is told again.
    let mut replica = Replica::open(COPY, copy.arc()).expect("it opens");
    assert_eq!(replica.next(), Some(from));
    replica.skip(to).expect("the disk is well");
    for (nth, piece) in all[rest..].iter().enumerate() {
        take(&mut replica, piece).expect("it fits");
        if nth == 2 {
            drop(replica);
            replica = Replica::open(COPY, copy.arc()).expect("it opens again");
        }
    }
    replica.sync().expect("the disk is well");
    let found = read_all(&Reader::open(copy.arc(), Path::new(COPY)).expect("it can be read"));
    assert_eq!(found.gaps, std::slice::from_ref(&(from..to)));
    let verdict = verify(&copy, Path::new(COPY)).expect("it can be read");
    let lost: Vec<_> = verdict
        .damage
        .iter()
        .map(|damage| damage.offsets.clone())
        .collect();
    assert_eq!(lost, std::slice::from_ref(&(from..to)), "{verdict:#?}");
}

/// The power fails, or the disk, before any of the copy's writes; it goes on where it was and ends up the same.
#[test]
fn a_copy_that_is_cut_off_anywhere_goes_on() {
    let (_, reader) = source(13, 12);
    let expected = read_all(&reader);
    for seed in 0..120 {
        let mut random = Random::new(seed);
        let copy = Sim::new(seed);
        let mut synced = 0;
        for _ in 0..6 {
            copy.power_fails_in(1 + random.below(25) as u64);
            let fails = Fault {
                op: [None, Some(Op::Sync), Some(Op::Write)][random.below(3)],
                after: random.below(20) as u64,
                times: 1,
                errno: EIO,
            };
            if random.below(2) == 0 {
                copy.fail(fails);
            }
            if let Ok(mut replica) = Replica::open(COPY, copy.arc()) {
                assert!(replica.next().unwrap_or(0) >= synced, "seed {seed}");
                // After an error it wants again what it may not have.
                for _ in 0..4 {
                    let _failed = copy_all(&reader, &mut replica, &mut random, &mut synced).is_err();
                }
            }
            copy.heal();
            copy.power_comes_back(random.next());
        }
        let mut replica = Replica::open(COPY, copy.arc()).expect("the disk is well");
        assert!(replica.next().unwrap_or(0) >= synced, "seed {seed}");
        if let Err(error) = copy_all(&reader, &mut replica, &mut random, &mut synced) {
            panic!("seed {seed}: {error}");
        }
        let found = read_all(&Reader::open(copy.arc(), Path::new(COPY)).expect("it can be read"));
        let verdict = verify(&copy, Path::new(COPY)).expect("it can be read");
        assert!(verdict.is_sound(), "seed {seed}: {verdict:#?}");
        assert!(
            found == expected,
            "seed {seed}: other events, or {:?}",
            found.gaps
        );
    }
}

fn copy_all(
    reader: &Reader,
    replica: &mut Replica,
    random: &mut Random,
    synced: &mut u64,
) -> Result<(), ReplicaError> {
    for piece in pieces(reader, replica.next().unwrap_or(0)) {
        take(replica, &piece)?;
        if random.below(3) == 0 {
            replica.sync()?;
            *synced = replica.next().unwrap_or(0);
        }
    }
    replica.sync()
}

/// A closed copy of all of these, the path of its newest segment, and what is in that.
fn newest_of_copy(pieces: &[Vec<u8>]) -> (Sim, PathBuf, Vec<u8>) {
    let copy = Sim::new(20);
    let mut replica = Replica::open(COPY, copy.arc()).expect("it opens");
    for piece in pieces {
        take(&mut replica, piece).expect("it fits");
    }
    replica.sync().expect("the disk is well");
    drop(replica);
    let files = copy.contents();
    let mut segments = files
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|end| end == "seg"));
    let (path, bytes) = segments.next_back().expect("there are some");
    (copy, path, bytes)
}

/// The same copy with another newest segment.
fn with_newest(copy: &Sim, path: &Path, bytes: Vec<u8>) -> Sim {
    let mut files = copy.contents();
    files.insert(path.to_owned(), bytes);
    Sim::holding(&files)
}

/// Files whose names begin like this.
fn kept_aside(copy: &Sim, front: &str) -> Vec<Vec<u8>> {
    let files = copy.contents().into_iter();
    let is_aside = |path: &Path| {
        path.file_name()
            .is_some_and(|name| name.to_string_lossy().starts_with(front))
    };
    files
        .filter(|(path, _)| is_aside(path))
        .map(|(_, bytes)| bytes)
        .collect()
}

/// Of all pieces, those that are in the newest segment.
fn of_newest(pieces: &[Vec<u8>]) -> &[Vec<u8>] {
    let seal = pieces.iter().rposition(|piece| is_seal(piece));
    &pieces[seal.map_or(0, |seal| seal + 1)..]
}

fn place(bytes: &[u8], block: &[u8]) -> usize {
    bytes
        .windows(block.len())
        .position(|window| window == block)
        .expect("it is there")
}

#[test]
fn a_copy_throws_no_sound_block_away_when_one_before_it_is_damaged() {
    let (_, reader) = source(21, 30);
    let all = pieces(&reader, 0);
    let blocks = of_newest(&all);
    assert!(blocks.len() > 1, "{} blocks", blocks.len());
    let (copy, path, bytes) = newest_of_copy(&all);
    let mut damaged = bytes.clone();
    damaged[place(&bytes, &blocks[0]) + blocks[0].len() / 2] ^= 1;
    let copy = with_newest(&copy, &path, damaged);
    let mut replica = Replica::open(COPY, copy.arc()).expect("it opens");
    let first = Block::decode(&blocks[0]).expect("it is one").offsets().start;
    assert_eq!(replica.next(), Some(first), "the damaged block is wanted again");
    let [kept] = kept_aside(&copy, "torn-").try_into().expect("one file");
    for block in &blocks[1..] {
        place(&kept, block);
    }
    for piece in blocks {
        take(&mut replica, piece).expect("it fits");
    }
    drop(replica);
    let copied = Reader::open(copy.arc(), Path::new(COPY)).expect("it can be read");
    assert_eq!(read_all(&copied), read_all(&reader));
}

#[test]
fn a_block_that_was_not_finished_is_cut() {
    let (_, reader) = source(22, 30);
    let all = pieces(&reader, 0);
    let (copy, path, bytes) = newest_of_copy(&all);
    let last = all.last().expect("there are some");
    let mut torn = bytes.clone();
    let at = place(&bytes, last);
    torn[at + last.len() / 2..].fill(0);
    let copy = with_newest(&copy, &path, torn);
    let mut replica = Replica::open(COPY, copy.arc()).expect("it opens");
    take(&mut replica, last).expect("it fits");
    assert_eq!(kept_aside(&copy, "torn-"), Vec::<Vec<u8>>::new());
}

#[test]
fn a_copy_with_blocks_of_another_format_is_not_opened_and_stays_as_it_is() {
    let (_, reader) = source(23, 30);
    let all = pieces(&reader, 0);
    let blocks = of_newest(&all);
    let (copy, path, bytes) = newest_of_copy(&all);
    // From a place in the newest segment on everything is of a newer format: the version stands behind three letters.
    let newer = |from: usize| {
        let mut newer = bytes.clone();
        for block in &blocks[from..] {
            newer[place(&bytes, block) + 3] = 2;
        }
        newer
    };
    let mut whole = newer(0);
    whole[7] = 2;
    for (what, bytes) in [("two blocks", newer(blocks.len() - 2)), ("a segment", whole)] {
        let copy = with_newest(&copy, &path, bytes);
        let before = copy.contents();
        let opened = Replica::open(COPY, copy.arc());
        assert!(
            matches!(opened, Err(ReplicaError::TooNew { .. })),
            "{what}: {opened:?}"
        );
        assert_eq!(copy.contents(), before, "{what}");
    }
}

#[test]
fn a_file_in_the_place_of_the_next_segment_is_put_aside() {
    let (_, reader) = source(24, 30);
    let all = pieces(&reader, 0);
    let at = all
        .iter()
        .rposition(|piece| is_seal(piece))
        .expect("there are segments");
    let (copy, path, _) = newest_of_copy(&all);
    let mut files = copy.contents();
    files.insert(path, b"something else".to_vec());
    let copy = Sim::holding(&files);
    let mut replica = Replica::open(COPY, copy.arc()).expect("it opens");
    for piece in &all[at..] {
        take(&mut replica, piece).expect("it fits");
    }
    assert_eq!(kept_aside(&copy, "damaged-"), [b"something else".to_vec()]);
}

#[test]
fn every_event_can_be_proven_and_nothing_else() {
    let (_, reader) = source(14, 20);
    let mut random = Random::new(15);
    for offset in 0..reader.end() {
        let proof = reader.prove(offset).expect("it is there");
        let block = proof.check().expect("it is true");
        assert!(block.offsets().contains(&offset));
        let root = reader.root(proof.segment, proof.count).expect("it can be read");
        assert_eq!(root, Some(proof.root));
        let mut other = proof.clone();
        match random.below(5) {
            0 => other.offset = block.offsets().end,
            1 => other.root.0[random.below(32)] ^= 1,
            2 => {
                let at = random.below(other.block.len());
                other.block[at] ^= 1;
            }
            3 => other.index += 1,
            _ if other.path.is_empty() => other.block.push(0),
            _ => {
                let at = random.below(other.path.len());
                other.path[at].0[0] ^= 1;
            }
        }
        assert!(other.check().is_err(), "{other:?}");
    }
    let absent = reader.prove(reader.end());
    assert!(matches!(absent, Err(ProveError::Absent { .. })), "{absent:?}");
}

#[test]
fn the_front_of_a_stream_says_how_long_its_piece_is() {
    let (_, reader) = source(16, 20);
    let mut seals = 0;
    for piece in pieces(&reader, 0) {
        seals += usize::from(is_seal(&piece));
        let needed = if is_seal(&piece) { 4 } else { 96 };
        for bytes in 0..piece.len().min(200) {
            match Piece::of(&piece[..bytes]).expect("it is one") {
                Some(found) => assert_eq!(found.bytes(), piece.len()),
                None => assert!(bytes < needed, "{bytes} bytes do"),
            }
        }
    }
    assert!(seals > 2);
    for other in [b"<html>".as_slice(), b"AXB\x02", b"AXE\x02", b"AXS"] {
        assert!(Piece::of(other).is_err(), "{other:?}");
    }
}
