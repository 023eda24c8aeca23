//! What readers and verifiers see beside a writer, and when the files change under them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axiom_events::disk::{Access, Disk, Machine};
use axiom_events::verify::verify;
use axiom_events::{Append, AppendError, Event, Filter, Log, Options, Reader, Totals};

use crate::history::{FOLDER, History, block_on, machine, open, read_all};
use crate::sim::{EIO, Fault, Op, PANIC, Random, Sim};

fn of(body: &[u8]) -> Append {
    let mut append = Append::default();
    let event = Event {
        stream: "s",
        kind: "test",
        body,
        ..Event::default()
    };
    append.batch.push(&event).expect("it keeps to the limits");
    append
}

/// Blocks are large, so that many are half written when somebody looks.
#[test]
fn whoever_looks_while_a_log_is_written_finds_it_sound() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = Options::new(folder.path());
    options.segment_bytes = 1 << 20;
    let log = Log::open(options, machine()).expect("it opens");
    let is_done = Arc::new(AtomicBool::new(false));
    let looking = {
        let (folder, is_done) = (folder.path().to_owned(), Arc::clone(&is_done));
        let look = move || {
            let (mut end, mut looks) = (0, 0);
            while !is_done.load(Ordering::Acquire) || looks == 0 {
                let verdict = verify(&Machine, &folder).expect("it can be read");
                assert!(verdict.is_sound(), "{verdict:#?}");
                let found = read_all(&Reader::open(machine(), &folder).expect("it can be read"));
                assert!(found.gaps.is_empty(), "{:?}", found.gaps);
                assert!(found.events.len() >= end, "{} after {end}", found.events.len());
                (end, looks) = (found.events.len(), looks + 1);
            }
        };
        axiom_core::spawn::thread("looking", look).expect("a thread")
    };
    let mut random = Random::new(1);
    for _ in 0..60 {
        let bytes = random.below(300_000);
        block_on(log.append(of(&random.bytes(bytes)))).expect("it is recorded");
    }
    is_done.store(true, Ordering::Release);
    looking.join().expect("see above");
    log.close();
}

/// Who reads beside a writer counts and finds what was written since it began, too.
#[test]
fn whoever_looks_again_counts_what_has_come() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut options = Options::new(folder.path());
    options.segment_bytes = 64 << 10;
    let log = Log::open(options, machine()).expect("it opens");
    let mut random = Random::new(3);
    block_on(log.append(of(b"first"))).expect("it is recorded");
    let beside = Reader::open(machine(), folder.path()).expect("it can be read");
    for _ in 0..60 {
        let bytes = random.below(9_000);
        block_on(log.append(of(&random.bytes(bytes)))).expect("it is recorded");
        beside.refresh().expect("it can be read");
        let own = log.reader();
        assert_eq!(beside.end(), own.end());
        let all = Totals::default();
        assert_eq!(
            beside.totals(&all).expect("it counts"),
            own.totals(&all).expect("it counts")
        );
        let newest = beside.last_version("s").expect("it can be read");
        assert_eq!(newest, Some(own.end() - 1));
    }
    log.close();
}

/// A segment whose sync failed is left behind in order, not only put in order by the next start.
#[test]
fn a_log_that_went_on_in_another_segment_is_sound() {
    for after in 0..6 {
        let sim = Sim::new(after);
        let mut history = History::new(after);
        let log = open(&sim);
        let fault = Fault {
            op: Some(Op::Sync),
            after,
            times: 1,
            errno: EIO,
        };
        sim.fail(fault);
        for _ in 0..3 {
            history.round(&log);
        }
        history.must_append(&log);
        let verdict = verify(&sim, Path::new(FOLDER)).expect("it can be read");
        assert!(verdict.is_sound(), "{verdict:#?}");
        let beside = read_all(&Reader::open(sim.arc(), Path::new(FOLDER)).expect("it can be read"));
        history.check(&beside);
        log.close();
    }
}

/// Whatever kills one of the writer's threads, nobody waits for it.
#[test]
fn producers_hear_of_a_writer_that_has_died() {
    let sim = Sim::new(1);
    let log = open(&sim);
    block_on(log.append(of(b"first"))).expect("it is recorded");
    sim.fail(Fault {
        op: Some(Op::Sync),
        after: 0,
        times: 1,
        errno: PANIC,
    });
    for _ in 0..5 {
        let refused = block_on(log.append(of(b"after")));
        assert!(matches!(refused, Err(AppendError::Closed)), "{refused:?}");
    }
    assert!(log.post(of(b"after").batch).is_err());
    let mut follow = log.reader().follow(1, Filter::default());
    let followed = block_on(follow.next());
    assert!(matches!(followed, Ok(None)), "{followed:?}");
    log.close();
}

/// The newest segment that is there.
fn newest(sim: &Sim) -> std::path::PathBuf {
    let files = sim.contents();
    let mut segments = files
        .keys()
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"));
    segments.next_back().expect("there is one").clone()
}

/// A disk may lose what it had when the log was opened: then there is a gap, and behind it all is as it was.
#[test]
fn damage_that_comes_while_a_log_is_read_is_a_gap() {
    for byte in 0..400 {
        let sim = Sim::new(1);
        let log = open(&sim);
        for n in 0..6u8 {
            block_on(log.append(of(&[n; 40]))).expect("it is recorded");
        }
        let file = sim.open(&newest(&sim), Access::Write).expect("it is there");
        let mut old = [0];
        file.read_at(&mut old, 128 + byte).expect("it can be read");
        file.write_at(&[!old[0]], 128 + byte).expect("it can be written");
        let found = read_all(&log.reader());
        let there: Vec<(u64, u8)> = found.events.iter().map(|own| (own.offset, own.body[0])).collect();
        assert_eq!(there.len(), 5, "byte {byte}");
        for (offset, n) in there {
            assert_eq!(offset, u64::from(n));
        }
        assert_eq!(found.gaps.len(), 1);
        log.close();
    }
}

/// Somebody hands in bodies that look like blocks, and waits for the block around one of them to be damaged.
#[test]
fn a_block_in_a_body_is_never_read() {
    let mut random = Random::new(2);
    // What a forger would want: whole blocks of the same shard, at offsets that are yet to come.
    let sim = Sim::new(1);
    let log = Log::open(Options::new(FOLDER), sim.arc()).expect("it opens");
    for _ in 0..20 {
        let body = [b"forged".as_slice(), &random.bytes(100)].concat();
        block_on(log.append(of(&body))).expect("it is recorded");
    }
    log.close();
    let bytes = sim.contents().remove(&newest(&sim)).expect("it is there");
    let fifth_last = memchr::memmem::rfind_iter(&bytes, b"AXB\x01")
        .nth(4)
        .expect("there are 20");
    let forged = &bytes[fifth_last..bytes.len() - 128];

    let sim = Sim::new(1);
    let log = Log::open(Options::new(FOLDER), sim.arc()).expect("it opens");
    for _ in 0..4 {
        // So much noise is not compressed, and what is in the middle of it stands in the file as it is.
        let body = [random.bytes(140_000).as_slice(), forged, &random.bytes(120_000)].concat();
        block_on(log.append(of(&body))).expect("it is recorded");
    }
    log.close();
    let path = newest(&sim);
    let files = sim.contents();
    let file = &files[&path];
    let is_head = |at: &usize| file[*at..].starts_with(b"AXB\x01");
    let heads: Vec<usize> = (0..file.len()).filter(is_head).collect();
    assert_eq!(heads.len(), 4, "nothing else looks like a block");
    for at in heads {
        let mut damaged = files.clone();
        let file = damaged.get_mut(&path).expect("it is there");
        file[at..at + 512].fill(0);
        let sim = Sim::holding(&damaged);
        let found = read_all(&Reader::open(sim.arc(), Path::new(FOLDER)).expect("it can be read"));
        assert_eq!(found.events.len(), 3);
        assert!(found.events.iter().all(|own| !own.body.starts_with(b"forged")));
        let log = Log::open(Options::new(FOLDER), sim.arc()).expect("it opens");
        assert_eq!(read_all(&log.reader()), found);
        log.close();
    }
}
