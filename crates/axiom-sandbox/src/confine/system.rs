//! What every task's root has of the machine: its programs, read-only, a few devices, and a `/proc` of its own.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fs_err as fs;

use super::ConfineError;
use super::actions::{Action, List, fault};
use super::error::Step;
use super::mounts::{EMPTY, NULL};
use super::raw::{MOUNT_NODEV, MOUNT_NOEXEC, MOUNT_NOSUID, MOUNT_READ_ONLY};
use super::template::Template;
use super::view::{SHM, TMP};

/// The machine's part of a root, read once for all tasks: looking at each path again would cost as much as a fork.
#[derive(Debug, Clone)]
pub struct System {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    /// The same for all tasks.
    shared: Vec<Action>,
    /// Of the kernel, for each task anew.
    fresh: Vec<Action>,
    /// For tasks that are the machine's root, if without its capabilities.
    against_root: Vec<Action>,
    /// What `shared` makes, if it was laid out.
    template: Mutex<Option<Arc<Template>>>,
    /// How often that was made.
    templates: AtomicU64,
}

const FOLDERS: [&str; 7] = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32"];

/// What programs look for in `/etc`. Not all of `ssl`: private keys lie there too.
#[rustfmt::skip]
const ETC: [&str; 17] = [
    "alternatives", "group", "hosts", "ld.so.cache", "localtime", "mime.types", "nsswitch.conf", "os-release", "passwd",
    "pki/ca-trust", "pki/tls/certs", "protocols", "resolv.conf", "services", "ssl/certs", "ssl/openssl.cnf", "timezone",
];

const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

const DEVICE_LINKS: [(&str, &str); 5] = [
    ("pts/ptmx", "/dev/ptmx"),
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Parts of `/proc` that tell anyone about the machine, and no task needs.
#[rustfmt::skip]
const PROC_HIDDEN: [&str; 7] = ["acpi", "asound", "interrupts", "keys", "latency_stats", "sched_debug", "scsi"];

/// Parts that only root may read: hidden from a task only if it is root, since each mask costs a mount.
const PROC_HIDDEN_FROM_ROOT: [&str; 3] = ["kallsyms", "kcore", "timer_list"];

/// Parts that steer the machine, and that only root may write; see above.
const PROC_READ_ONLY: [&str; 5] = ["bus", "fs", "irq", "sys", "sysrq-trigger"];

/// The folders and files of the machine that [`System::standard`] has.
pub(crate) fn standard_paths() -> impl Iterator<Item = PathBuf> {
    let folders = FOLDERS.iter().map(PathBuf::from);
    folders.chain(ETC.iter().map(|name| Path::new("/etc").join(name)))
}

/// The parts of `/proc` that no task sees, and those that none may change, where tasks are root.
pub(crate) fn proc_hidden() -> impl Iterator<Item = PathBuf> {
    in_proc(&PROC_HIDDEN).chain(in_proc(&PROC_HIDDEN_FROM_ROOT))
}

pub(crate) fn proc_read_only() -> impl Iterator<Item = PathBuf> {
    in_proc(&PROC_READ_ONLY)
}

impl System {
    /// The machine's programs and libraries, what they look for in `/etc`, and nothing else.
    pub fn standard() -> Result<Self, ConfineError> {
        Self::of(standard_paths())
    }

    /// These folders and files of the machine at their own place, read-only. Links to folders stay links; what is not there
    /// is left out.
    pub fn of(paths: impl IntoIterator<Item = PathBuf>) -> Result<Self, ConfineError> {
        let mut list = List::default();
        paths.into_iter().try_for_each(|path| add(&mut list, &path))?;
        devices(&mut list)?;
        list.folder(Path::new("/proc"))?;
        list.folder(Path::new(TMP))?;
        let mut fresh = List::default();
        let options = "newinstance,ptmxmode=0666,mode=620";
        fresh.mount("devpts", "/dev/pts", options, Step::MountDevpts)?;
        // 2 and not "invisible": kernels before 5.8 know only the number.
        fresh.mount("proc", "/proc", "hidepid=2", Step::MountProc)?;
        hide(&mut fresh, &PROC_HIDDEN)?;
        let mut against_root = List::default();
        hide(&mut against_root, &PROC_HIDDEN_FROM_ROOT)?;
        for path in in_proc(&PROC_READ_ONLY) {
            against_root.mask(&path, &path)?;
        }
        let parts = Parts {
            shared: list.actions,
            fresh: fresh.actions,
            against_root: against_root.actions,
            template: Mutex::new(None),
            templates: AtomicU64::new(0),
        };
        Ok(System {
            parts: Arc::new(parts),
        })
    }

    /// Mounts what is the same for all tasks, once, in a namespace that no process is in: a task's root then begins as a copy of
    /// it, for half the price. Without it each root is made from the machine's own, with the same result.
    ///
    /// To be called again before later starts: what was replaced since (`/etc/resolv.conf`, say), or mounted, makes it anew. Tasks
    /// that run keep what they began with. Takes a millisecond if there is something to do; needs a process with a single thread.
    ///
    /// # Errors
    /// When this process may not mount, as without root. What was laid out before is given up then.
    pub fn lay_out(&self) -> Result<(), ConfineError> {
        let mut template = self.template_lock();
        if template.as_ref().is_some_and(|template| template.is_current()) {
            return Ok(());
        }
        *template = None;
        *template = Some(Arc::new(Template::make(&self.parts.shared)?));
        self.parts.templates.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Which one is laid out, counted from 1: what was made of another one may show what is no more. `None` if none is.
    pub fn edition(&self) -> Option<u64> {
        let template = self.template_lock();
        let edition = self.parts.templates.load(Ordering::Relaxed);
        template.is_some().then_some(edition)
    }

    pub(super) fn template(&self) -> Option<Arc<Template>> {
        self.template_lock().clone()
    }

    fn template_lock(&self) -> MutexGuard<'_, Option<Arc<Template>>> {
        // One that panicked while it held this has left a whole template or none.
        self.parts.template.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn shared(&self) -> &[Action] {
        &self.parts.shared
    }

    pub(super) fn fresh(&self) -> &[Action] {
        &self.parts.fresh
    }

    pub(super) fn actions_against_root(&self) -> &[Action] {
        &self.parts.against_root
    }
}

fn add(list: &mut List, path: &Path) -> Result<(), ConfineError> {
    let Ok(metadata) = fs::symlink_metadata(path) else {
        return Ok(());
    };
    if !path.exists() {
        return Ok(());
    }
    // A folder's link (`/bin`) is copied, because what it names is part of the view too. A file's link (`/etc/localtime`)
    // may name what is not, so the file itself is bound.
    if metadata.is_symlink() && path.is_dir() {
        let target = fs::read_link(path).map_err(|error| fault(Step::MakeEntry, &error, path))?;
        return list.link(&target, path);
    }
    list.bind(path, path, MOUNT_READ_ONLY | MOUNT_NOSUID | MOUNT_NODEV)
}

fn devices(list: &mut List) -> Result<(), ConfineError> {
    for name in DEVICES {
        let path = Path::new("/dev").join(name);
        let is_device = fs::metadata(&path).is_ok_and(|found| found.file_type().is_char_device());
        if is_device {
            // Read-only is about the node: its mode and owner. The device is written all the same.
            list.bind(&path, &path, MOUNT_READ_ONLY | MOUNT_NOSUID | MOUNT_NOEXEC)?;
        }
    }
    for (target, path) in DEVICE_LINKS {
        list.link(Path::new(target), Path::new(path))?;
    }
    list.folder(Path::new("/dev/pts"))?;
    list.folder(Path::new(SHM))
}

fn hide(list: &mut List, names: &[&str]) -> Result<(), ConfineError> {
    for path in in_proc(names) {
        let cover = if path.is_dir() {
            EMPTY.as_bytes()
        } else {
            NULL.to_bytes()
        };
        list.mask(Path::new(OsStr::from_bytes(cover)), &path)?;
    }
    Ok(())
}

fn in_proc(names: &[&str]) -> impl Iterator<Item = PathBuf> {
    let paths = names.iter().map(|name| Path::new("/proc").join(name));
    paths.filter(|path| path.exists())
}
