//! What somebody sees who reads a segment while it is written, for every moment at which the file may become another one
//! under the read: nothing is damaged, and nothing is missing that was there before.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axiom_events::disk::{Access, Disk, File};
use axiom_events::verify::verify;
use axiom_events::{Append, Event, Log, Options, Reader};

use crate::history::{FOLDER, block_on, read_all};
use crate::sim::{Random, Sim};

const RESERVED_BYTES: usize = 8 << 10;
const SEAL_BYTES: usize = 128;
const BLOCKS: usize = 4;

/// A segment as it is at one moment, and how many blocks of it are whole.
#[derive(Debug, Clone)]
struct Moment {
    bytes: Vec<u8>,
    blocks: usize,
}

/// A disk with one segment, which is at one moment until it was asked so often, and then at another one.
#[derive(Debug, Clone)]
struct Changing {
    path: PathBuf,
    before: Arc<Moment>,
    after: Arc<Moment>,
    /// Questions until then.
    left: Arc<AtomicUsize>,
}

impl Changing {
    fn look(&self) -> Arc<Moment> {
        let is_over = |left: usize| left.checked_sub(1);
        let left = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, is_over);
        Arc::clone(if left.is_ok() { &self.before } else { &self.after })
    }

    fn has_changed(&self) -> bool {
        self.left.load(Ordering::Relaxed) == 0
    }
}

fn refused<T>() -> io::Result<T> {
    Err(io::ErrorKind::Unsupported.into())
}

impl Disk for Changing {
    fn create_folder(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn files(&self, _: &Path) -> io::Result<Vec<String>> {
        let name = self.path.file_name().and_then(|name| name.to_str());
        Ok(vec![name.expect("it has one").to_owned()])
    }

    fn create(&self, _: &Path, _: u64) -> io::Result<Box<dyn File>> {
        refused()
    }

    fn open(&self, _: &Path, _: Access) -> io::Result<Box<dyn File>> {
        Ok(Box::new(self.clone()))
    }

    fn lock(&self, _: &Path) -> io::Result<Box<dyn Any + Send + Sync>> {
        refused()
    }

    fn rename(&self, _: &Path, _: &Path) -> io::Result<()> {
        refused()
    }

    fn remove(&self, _: &Path) -> io::Result<()> {
        refused()
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        refused()
    }
}

impl File for Changing {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        let moment = self.look();
        let at = usize::try_from(at).expect("a small file");
        let there = moment.bytes.get(at..).unwrap_or_default();
        let filled = buffer.len().min(there.len());
        buffer[..filled].copy_from_slice(&there[..filled]);
        Ok(filled)
    }

    fn write_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        refused()
    }

    fn sync(&self) -> io::Result<()> {
        refused()
    }

    fn bytes(&self) -> io::Result<u64> {
        Ok(self.look().bytes.len() as u64)
    }

    fn set_bytes(&self, _: u64) -> io::Result<()> {
        refused()
    }
}

/// A segment with some blocks, sealed, and its path.
fn sealed() -> (PathBuf, Vec<u8>) {
    let sim = Sim::new(1);
    let mut options = Options::new(FOLDER);
    options.segment_bytes = RESERVED_BYTES as u64;
    let log = Log::open(options, sim.arc()).expect("it opens");
    let mut random = Random::new(1);
    for _ in 0..BLOCKS {
        let mut append = Append::default();
        let event = Event {
            stream: "s",
            kind: "test",
            body: &random.bytes(200),
            ..Event::default()
        };
        append.batch.push(&event).expect("it keeps to the limits");
        block_on(log.append(append)).expect("it is recorded");
    }
    log.close();
    let files: BTreeMap<PathBuf, Vec<u8>> = sim.contents();
    let mut segments = files
        .into_iter()
        .filter(|(path, _)| path.extension().is_some_and(|extension| extension == "seg"));
    segments.next().expect("there is one")
}

/// Everything that the file is on its way to being sealed, in order: each block half written and whole, then the seal.
fn moments(sealed: &[u8]) -> Vec<Moment> {
    let mut ends: Vec<usize> = memchr::memmem::find_iter(sealed, b"AXB\x01").collect();
    ends.push(sealed.len() - SEAL_BYTES);
    assert_eq!(ends.len(), BLOCKS + 1, "nothing else looks like a block");
    ends.push(sealed.len());
    let written = |until: usize| {
        let mut bytes = sealed[..until].to_vec();
        bytes.resize(RESERVED_BYTES, 0);
        bytes
    };
    let mut moments = vec![Moment {
        bytes: written(ends[0]),
        blocks: 0,
    }];
    for (blocks, piece) in ends.windows(2).enumerate() {
        let half = Moment {
            bytes: written((piece[0] + piece[1]) / 2),
            blocks: blocks.min(BLOCKS),
        };
        let whole = Moment {
            bytes: written(piece[1]),
            blocks: (blocks + 1).min(BLOCKS),
        };
        moments.extend([half, whole]);
    }
    // What was reserved is cut off.
    moments.push(Moment {
        bytes: sealed.to_vec(),
        blocks: BLOCKS,
    });
    moments
}

/// Does something with a disk that changes after the first question, then after the second, until it does not change any
/// more; says how often it did.
fn at_every_question(before: &Moment, after: &Moment, path: &Path, look: impl Fn(&Changing, &str)) -> usize {
    for left in 0.. {
        let disk = Changing {
            path: path.to_owned(),
            before: Arc::new(before.clone()),
            after: Arc::new(after.clone()),
            left: Arc::new(AtomicUsize::new(left)),
        };
        look(
            &disk,
            &format!("from {} to {} blocks, after {left}", before.blocks, after.blocks),
        );
        if !disk.has_changed() {
            return left;
        }
    }
    unreachable!("nobody asks for ever")
}

/// All that is there is sound, and as many events as there were blocks.
fn read(reader: &Reader, blocks: usize, when: &str) {
    let found = read_all(reader);
    assert!(found.gaps.is_empty(), "{when}: {:?}", found.gaps);
    assert!(
        found.events.len() >= blocks,
        "{when}: {} events",
        found.events.len()
    );
}

#[test]
fn whenever_a_segment_changes_under_its_reader_it_is_sound() {
    let (path, sealed) = sealed();
    let moments = moments(&sealed);
    let folder = Path::new(FOLDER);
    let open = |disk: &Changing| Reader::open(Arc::new(disk.clone()), folder).expect("it can be read");
    let mut changes = 0;
    for (n, before) in moments.iter().enumerate() {
        for after in &moments[n..] {
            changes += at_every_question(before, after, &path, |disk, when| {
                let verdict = verify(disk, folder).expect("it can be read");
                assert!(verdict.is_sound(), "{when}: {verdict:#?}");
                assert!(
                    verdict.blocks >= before.blocks as u64,
                    "{when}: {} blocks",
                    verdict.blocks
                );
            });
            changes += at_every_question(before, after, &path, |disk, when| {
                read(&open(disk), before.blocks, when);
            });
            // Who has read it, and looks again while it changes; and once more when it has.
            changes += at_every_question(before, after, &path, |disk, when| {
                let left = disk.left.swap(usize::MAX, Ordering::Relaxed);
                let reader = open(disk);
                read(&reader, before.blocks, when);
                disk.left.store(left, Ordering::Relaxed);
                reader.refresh().expect("it can be read");
                read(&reader, before.blocks, when);
                if disk.has_changed() {
                    reader.refresh().expect("it can be read");
                    read(&reader, after.blocks, when);
                }
            });
        }
    }
    assert!(changes > 500, "{changes} changes under a read");
}
