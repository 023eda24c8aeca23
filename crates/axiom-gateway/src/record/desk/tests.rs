//! What becomes of events for which the log has no room when the gateway ends.

use std::io;
use std::path::Path;
use std::sync::Condvar;

use axiom_events::disk::{Access, Disk, File, Machine};
use axiom_events::{Next, writer::GAP_KIND};

use super::*;
use crate::record::members::Members;

/// The machine's disk, on which nothing gets durable while it is held up.
#[derive(Debug, Clone, Default)]
struct Slow(Arc<Gate>);

#[derive(Debug, Default)]
struct Gate {
    is_shut: Mutex<bool>,
    opened: Condvar,
}

#[derive(Debug)]
struct SlowFile {
    file: Box<dyn File>,
    gate: Arc<Gate>,
}

impl Slow {
    fn shut(&self) {
        *self.0.is_shut.lock().expect("nobody panics") = true;
    }

    fn open(&self) {
        *self.0.is_shut.lock().expect("nobody panics") = false;
        self.0.opened.notify_all();
    }

    fn slowed(&self, file: Box<dyn File>) -> Box<dyn File> {
        let gate = Arc::clone(&self.0);
        Box::new(SlowFile { file, gate })
    }
}

impl Disk for Slow {
    fn create_folder(&self, folder: &Path) -> io::Result<()> {
        Machine.create_folder(folder)
    }

    fn files(&self, folder: &Path) -> io::Result<Vec<String>> {
        Machine.files(folder)
    }

    fn create(&self, path: &Path, bytes: u64) -> io::Result<Box<dyn File>> {
        Machine.create(path, bytes).map(|file| self.slowed(file))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        Machine.open(path, access).map(|file| self.slowed(file))
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

impl File for SlowFile {
    fn read_at(&self, buffer: &mut [u8], at: u64) -> io::Result<usize> {
        self.file.read_at(buffer, at)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.file.write_at(bytes, at)
    }

    fn sync(&self) -> io::Result<()> {
        let is_shut = self.gate.is_shut.lock().expect("nobody panics");
        let opened = self.gate.opened.wait_while(is_shut, |is_shut| *is_shut);
        drop(opened.expect("nobody panics"));
        self.file.sync()
    }

    fn bytes(&self) -> io::Result<u64> {
        self.file.bytes()
    }

    fn set_bytes(&self, bytes: u64) -> io::Result<()> {
        self.file.set_bytes(bytes)
    }
}

/// A log whose queue is full, as long as its disk is held up.
fn full_log(folder: &Path, disk: &Slow) -> Log {
    let mut options = axiom_events::Options::new(folder);
    options.queue_bytes = 64 << 10;
    let log = Log::open(options, Arc::new(disk.clone())).expect("it opens");
    disk.shut();
    for bytes in [8 << 10, 16] {
        loop {
            let body = vec![b'x'; bytes];
            let mut batch = Batch::new();
            let event = Event {
                stream: "before",
                kind: "test",
                body: &body,
                ..Event::default()
            };
            batch.push(&event).expect("it keeps to the limits");
            if log.post(batch).is_err() {
                break;
            }
        }
    }
    log
}

fn put(desk: &Arc<Desk>, number: u64, bytes: usize) {
    desk.put("gateway.config", Level::Info, None, |body| {
        let mut members = Members::of(body);
        members.number("number", number);
        members.text("filler", &"x".repeat(bytes), bytes);
        members.close();
    });
}

/// Closes while the log takes nothing, and lets the disk go on only then.
fn close(recorder: Recorder, disk: &Slow) {
    let closing = std::thread::spawn(move || recorder.close());
    for _ in 0..5 {
        std::thread::park_timeout(Duration::from_millis(10));
    }
    assert!(!closing.is_finished(), "it waits for the disk");
    disk.open();
    closing.join().expect("it does not panic");
}

/// How many of the gateway's events were recorded, and what is said to be missing.
fn recorded(folder: &Path) -> (usize, Vec<String>) {
    let reader = Reader::open(Arc::new(Machine), folder).expect("it can be read");
    let (mut count, mut gaps, mut at) = (0, Vec::new(), 0);
    while let Next::Block(block) = reader.at(at).expect("it can be read") {
        for recorded in block.events() {
            count += usize::from(recorded.event.stream == STREAM);
            if recorded.event.kind == GAP_KIND {
                gaps.push(String::from_utf8_lossy(recorded.event.body).into_owned());
            }
        }
        at = block.offsets().end;
    }
    (count, gaps)
}

#[test]
fn what_is_on_a_desk_at_the_end_waits_for_room_in_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Slow::default();
    // Nobody runs it: what is put on a desk stays there.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _inside = runtime.enter();
    let log = full_log(folder.path(), &disk);
    let recorder = Recorder::new(Some(log), &Options::default(), None);
    let desk = recorder.desk().unwrap();
    for number in 0..100 {
        put(&desk, number, 10);
    }
    close(recorder, &disk);
    assert_eq!(recorded(folder.path()), (100, Vec::new()));
}

#[test]
fn the_log_is_told_at_the_end_what_it_did_not_take_and_why() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Slow::default();
    let log = full_log(folder.path(), &disk);
    // Without a runtime nobody comes a second time: the first event is refused, the others wait on the desk.
    let recorder = Recorder::new(Some(log), &Options::default(), None);
    let desk = recorder.desk().unwrap();
    for number in 0..7 {
        put(&desk, number, 10);
    }
    put(&desk, 7, axiom_events::event::BODY_BYTES_MAX);
    close(recorder, &disk);
    let gaps = [
        r#"{"lost":1,"reason":"the log's queue was full"}"#,
        r#"{"lost":1,"reason":"they did not keep to the limits of an event"}"#,
    ];
    assert_eq!(recorded(folder.path()), (6, gaps.map(str::to_owned).to_vec()));
}
