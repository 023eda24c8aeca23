//! A log of many segments has few of them open, and what happens to closed ones is noticed.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axiom_events::disk::{Access, Disk, File, Machine};
use axiom_events::verify::verify;
use axiom_events::{Append, Event, Log, Next, Options, Reader};

use crate::history::{block_on, machine, read_all};

/// More than stay open, and a few for the writer, a sync and an index.
const OPEN_MAX: usize = 64 + 6;
const SEGMENTS: usize = 300;

/// The machine's disk, and how many of its files are open.
#[derive(Debug, Clone, Default)]
struct Counting {
    open: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

#[derive(Debug)]
struct Counted {
    file: Box<dyn File>,
    open: Arc<AtomicUsize>,
}

impl Counting {
    fn count(&self, file: Box<dyn File>) -> Box<dyn File> {
        let open = self.open.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(open, Ordering::SeqCst);
        Box::new(Counted {
            file,
            open: Arc::clone(&self.open),
        })
    }

    fn most(&self) -> usize {
        self.most.load(Ordering::SeqCst)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Disk for Counting {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        Machine.create_folder(folder)
    }

    fn files(&self, folder: &Path) -> io::Result<Vec<String>> {
        Machine.files(folder)
    }

    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn File>> {
        Ok(self.count(Machine.create(path, bytes)?))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        Ok(self.count(Machine.open(path, access)?))
    }

    fn lock(&self, folder: &Path) -> io::Result<Box<dyn std::any::Any + Send + Sync>> {
        Machine.lock(folder)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        Machine.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        Machine.remove(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        Machine.sync_folder(folder)
    }
}

impl File for Counted {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync()
    }

    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.file.set_bytes(bytes)
    }
}

/// One event in each segment.
fn fill(log: &Log, segments: usize) {
    for n in 0..segments {
        let mut append = Append::default();
        let body = vec![u8::try_from(n % 251).expect("it is small"); 3000];
        let event = Event {
            stream: "s",
            task: "t",
            kind: "test",
            body: &body,
            ..Event::default()
        };
        append.batch.push(&event).expect("it keeps to the limits");
        block_on(log.append(append)).expect("it is recorded");
    }
}

fn options(folder: &Path) -> Options {
    let mut options = Options::new(folder);
    options.segment_bytes = 512;
    options
}

fn segments(folder: &Path) -> Vec<String> {
    let mut names = Machine.files(folder).expect("it is there");
    names.retain(|name| name.ends_with(".seg"));
    names.sort_unstable();
    names
}

#[test]
fn hundreds_of_segments_take_few_descriptors() {
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Counting::default();
    let log = Log::open(options(folder.path()), Arc::new(disk.clone())).expect("it opens");
    fill(&log, SEGMENTS);
    assert_eq!(segments(folder.path()).len(), SEGMENTS);
    // Forwards, and each task's events by the index: both go through all files.
    let found = read_all(&log.reader());
    assert_eq!((found.events.len(), found.gaps.len()), (SEGMENTS, 0));
    assert_eq!(
        log.reader().task_tail("t", SEGMENTS).expect("it reads").len(),
        SEGMENTS
    );
    log.close();
    drop(log);
    let log = Log::open(options(folder.path()), Arc::new(disk.clone())).expect("it opens again");
    fill(&log, 1);
    log.close();
    drop(log);
    let beside = Reader::open(Arc::new(disk.clone()), folder.path()).expect("it opens");
    assert_eq!(read_all(&beside).events.len(), SEGMENTS + 1);
    drop(beside);
    let verdict = verify(&disk, folder.path()).expect("it can be read");
    assert!(verdict.is_sound(), "{verdict:#?}");
    assert!((64..=OPEN_MAX).contains(&disk.most()), "{} at once", disk.most());
    assert_eq!(disk.open.load(Ordering::SeqCst), 0, "all are closed in the end");
}

/// Files that were closed to make room and that are gone when they are wanted again.
#[test]
fn segments_that_are_gone_are_a_gap() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = Log::open(options(folder.path()), machine()).expect("it opens");
    fill(&log, 100);
    log.close();
    let reader = Reader::open(machine(), folder.path()).expect("it opens");
    assert_eq!(read_all(&reader).events.len(), 100);
    let names = segments(folder.path());
    for name in names.iter().take(20).chain(&names[30..32]) {
        Machine.remove(&folder.path().join(name)).expect("it was there");
    }
    // One that has unpacked nothing, and learns of what is gone as it reads.
    let reader = Reader::open(machine(), folder.path()).expect("it opens");
    for name in &names[40..50] {
        Machine.remove(&folder.path().join(name)).expect("it was there");
    }
    assert_eq!(reader.first(), 20);
    let found = read_all(&reader);
    // Each file is found to be gone when its turn comes.
    let lost: Vec<u64> = found.gaps.iter().cloned().flatten().collect();
    assert_eq!(lost, (30..32).chain(40..50).collect::<Vec<u64>>());
    assert_eq!(found.events.len(), 100 - 20 - 2 - 10);
    assert_eq!(reader.task_tail("t", 100).expect("it reads").len(), 68);
    reader.refresh().expect("it reads");
    for name in &names[20..30] {
        Machine.remove(&folder.path().join(name)).expect("it was there");
    }
    reader.refresh().expect("it reads");
    assert_eq!(reader.first(), 32);
}

/// A writer may take a segment back that nobody was promised, and begin another one with the same name.
#[test]
fn a_segment_that_was_begun_anew_is_read_anew() {
    let (old, new) = (tempfile::tempdir(), tempfile::tempdir());
    let (old, new) = (old.expect("a folder"), new.expect("a folder"));
    for (folder, events) in [(&old, 1), (&new, 3)] {
        let log = Log::open(Options::new(folder.path()), machine()).expect("it opens");
        fill(&log, events);
        log.close();
    }
    let reader = Reader::open(machine(), old.path()).expect("it opens");
    assert_eq!(read_all(&reader).events.len(), 1);
    let name = &segments(new.path())[0];
    Machine
        .rename(&new.path().join(name), &old.path().join(name))
        .expect("both are there");
    // The first look sees that the one it knew is gone, the next one what there is instead.
    reader.refresh().expect("it reads");
    reader.refresh().expect("it reads");
    assert_eq!(reader.end(), 3);
    assert!(matches!(reader.at(2).expect("it reads"), Next::Block(_)));
}
