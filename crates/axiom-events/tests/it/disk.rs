//! The log on a disk that is really full, and on one that is really read-only for a while: producers are told, nothing that was
//! acknowledged is lost, and the same log goes on when there is room again.
//!
//! Both take a file system of their own, which is made where this user may make one.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use axiom_events::disk::Machine;
use axiom_events::verify::verify;
use axiom_events::{Log, Options};

use crate::history::{History, machine, read_all};

/// Rounds that do not fit into what room is left.
const ROUNDS: usize = 60;
/// Small, so that a new one is wanted soon.
const SEGMENT_BYTES: u64 = 16 << 10;

/// Something mounted; the one on top is taken away first.
struct Mounted(PathBuf);

impl Mounted {
    /// A file system in memory with so many bytes; `None` if this user may not have one.
    fn small(folder: &Path, bytes: usize) -> Option<Mounted> {
        let size = format!("size={bytes}");
        mount(&["-t", "tmpfs", "-o", &size, "tmpfs"], folder).then(|| Mounted(folder.to_owned()))
    }

    /// The folder over itself, read-only. What is open stays open, and may be written.
    fn read_only(folder: &Path) -> Mounted {
        let shown = folder.display().to_string();
        assert!(
            mount(&["--bind", &shown], folder),
            "a folder can be mounted again"
        );
        let mounted = Mounted(folder.to_owned());
        assert!(
            mount(&["-o", "remount,bind,ro"], folder),
            "it can be made read-only"
        );
        mounted
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status().is_ok();
    }
}

fn mount(arguments: &[&str], folder: &Path) -> bool {
    let mut command = Command::new("mount");
    command.args(arguments).arg(folder);
    command.output().is_ok_and(|output| output.status.success())
}

fn open(folder: &Path) -> Log {
    let mut options = Options::new(folder);
    options.segment_bytes = SEGMENT_BYTES;
    Log::open(options, machine()).expect("it opens")
}

/// Appends before, while and after something is wrong with the disk, and then opens the log again.
fn run(folder: &Path, break_it: impl FnOnce(), heal_it: impl FnOnce()) {
    let mut history = History::new(17);
    let log = open(folder);
    for _ in 0..8 {
        history.round(&log);
    }
    history.check(&read_all(&log.reader()));
    break_it();
    for _ in 0..ROUNDS {
        history.round(&log);
    }
    assert!(history.refused() > 50, "{} were refused", history.refused());
    history.check(&read_all(&log.reader()));
    heal_it();
    history.must_append(&log);
    let live = read_all(&log.reader());
    history.check(&live);
    history.check_lost(&live);
    history.repeat(&log, &live);
    history.round(&log);
    log.close();

    let log = open(folder);
    assert!(log.report().damage.is_empty(), "{:?}", log.report());
    let again = read_all(&log.reader());
    history.check(&again);
    history.check_lost(&again);
    history.must_append(&log);
    log.close();
    let verdict = verify(&Machine, folder).expect("it can be read");
    assert!(verdict.is_sound(), "{verdict:#?}");
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let scratch = tempfile::tempdir().expect("a folder");
    let Some(small) = Mounted::small(scratch.path(), 1 << 20) else {
        return eprintln!("skipped: this user may not mount a file system of its own");
    };
    let filler = small.0.join("filler");
    let fill = || {
        let mut file = File::create(&filler).expect("there is room for a name");
        let page = vec![1; 4 << 10];
        while file.write_all(&page).is_ok() {}
    };
    run(&small.0.join("log"), fill, || {
        std::fs::remove_file(&filler).expect("it is there");
    });
}

#[test]
fn a_read_only_disk_refuses_and_goes_on_when_it_can_be_written() {
    let scratch = tempfile::tempdir().expect("a folder");
    let Some(own) = Mounted::small(scratch.path(), 4 << 20) else {
        return eprintln!("skipped: this user may not mount a file system of its own");
    };
    let folder = own.0.join("log");
    let over = std::cell::RefCell::new(None);
    run(
        &folder,
        || {
            over.replace(Some(Mounted::read_only(&folder)));
            let refused = File::create(folder.join("probe")).map_err(|error| error.kind());
            assert_eq!(refused.err(), Some(std::io::ErrorKind::ReadOnlyFilesystem));
        },
        || drop(over.take()),
    );
}
