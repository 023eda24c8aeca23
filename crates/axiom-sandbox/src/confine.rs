//! Starts a command that sees, reaches and may do only what its [`Plan`] says.
//!
//! The walls stand one behind the other, so that a gap in one is not a way out: namespaces (no other processes, no network,
//! no mounts), a root of its own with the machine's programs read-only, no capabilities, Landlock, and a filter of system
//! calls. What the machine cannot give is an error that names the step; nothing is left out in silence.
//!
//! Call [`spawn`] from a process with a single thread: the child goes on from a copy of it. See `raw.rs` for why, and for
//! what the child does and does not do until it becomes the command.

mod actions;
mod child;
mod error;
mod init;
mod landlock;
mod mounts;
mod plan;
mod prepared;
mod raw;
mod seccomp;
mod system;
mod template;
mod view;

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use fs_err as fs;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions};

pub use error::{ConfineError, ExecFault, Step};
pub use landlock::{Landlock, TcpPorts, TreeAccess, landlock_version};
pub use plan::{Cgroup, Identity, Namespaces, Network, Plan, Rlimits};
pub use seccomp::Profile;
pub use system::System;
pub use view::{Mount, RootView};

pub(crate) use system::{proc_hidden, proc_read_only, standard_paths};

use error::{Fault, RECORD_BYTES};
use prepared::Prepared;
use raw::Forked;

/// A confined command that runs, or has ended and waits to be buried.
///
/// With a `pid` namespace the process is the task's init: it ends with the command's own status, or 128 and the number of
/// the signal that ended it, after all of the task's processes are gone. Signals sent to it reach the command.
#[derive(Debug)]
pub struct Child {
    pub pid: Pid,
    /// Readable once it has ended; never another process, as `pid` could be.
    pub pidfd: OwnedFd,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Code(i32),
    Signal(i32),
}

/// Starts the plan's command.
///
/// When this returns, the command itself runs: every step before it has succeeded. A fault ends the child and is told, with
/// its step. A child that is killed on its way (by its cgroup's memory limit, say) counts as started, and its end tells.
///
/// The calling process must have a single thread. It waits, blocked, until the command runs, which takes a few milliseconds;
/// its signals wait while it forks.
pub fn spawn(plan: &Plan) -> Result<Child, ConfineError> {
    let prepared = Prepared::new(plan)?;
    let pipes = Pipes::new(plan)?;
    let signals = raw::block_signals().map_err(|errno| ConfineError::new(Step::Start, errno))?;
    let started = start(&prepared, pipes);
    raw::restore_signals(&signals).map_err(|errno| ConfineError::new(Step::Start, errno))?;
    let (child, reports) = started?;
    match report(&reports) {
        None => Ok(child),
        Some(fault) => {
            // Its end is known already; this only takes it off the list of processes.
            child.wait().ok();
            Err(prepared.explain(fault))
        }
    }
}

impl Child {
    /// Blocks until it has ended. For tests and small tools: a supervisor watches the `pidfd`.
    pub fn wait(&self) -> Result<Exit, Errno> {
        loop {
            match rustix::process::waitpid(Some(self.pid), WaitOptions::empty()) {
                Ok(Some((_, status))) => {
                    return Ok(match (status.exit_status(), status.terminating_signal()) {
                        (Some(code), _) => Exit::Code(code),
                        (None, signal) => Exit::Signal(signal.unwrap_or_default()),
                    });
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
}

/// Between parent and child, until the command runs.
#[derive(Debug)]
struct Pipes {
    /// The child's fault, or nothing: exec closes it.
    reports: OwnedFd,
    reports_of_child: OwnedFd,
    /// One byte when the ids are mapped: read by the child, written by the parent. Only with a user namespace.
    ids_mapped: Option<(OwnedFd, OwnedFd)>,
}

impl Pipes {
    fn new(plan: &Plan) -> Result<Self, ConfineError> {
        let failed = |errno| ConfineError::new(Step::Prepare, errno);
        let (reports, writer) = pipe_with(PipeFlags::CLOEXEC).map_err(failed)?;
        let reports_of_child = rustix::io::fcntl_dupfd_cloexec(&writer, child::HIGH_FD).map_err(failed)?;
        let ids_mapped = match plan.identity {
            Identity::Mapped { .. } => Some(pipe_with(PipeFlags::CLOEXEC).map_err(failed)?),
            _ => None,
        };
        Ok(Pipes {
            reports,
            reports_of_child,
            ids_mapped,
        })
    }
}

/// Gives the child and the pipe on which it reports.
fn start(prepared: &Prepared<'_>, pipes: Pipes) -> Result<(Child, OwnedFd), ConfineError> {
    let cgroup = match &prepared.plan.cgroup {
        Cgroup::V2(folder) => Some(folder.as_fd()),
        Cgroup::Inherited | Cgroup::V1(_) => None,
    };
    let (pid, pidfd) = match raw::clone_process(prepared.namespaces, cgroup) {
        Err(errno) => return Err(ConfineError::new(Step::Start, errno)),
        Ok(Forked::Child) => {
            // The parent's end goes, or the child would wait for itself.
            let ids_mapped = pipes.ids_mapped.map(|(ids_mapped, _)| ids_mapped);
            child::run(prepared, pipes.reports_of_child.as_fd(), ids_mapped)
        }
        Ok(Forked::Parent { pid, pidfd }) => (pid, pidfd),
    };
    let child = Child { pid, pidfd };
    if let Some((_, ids_mapped)) = pipes.ids_mapped {
        let mapped = map_ids(prepared.plan, pid, ids_mapped.as_fd());
        drop(ids_mapped);
        if let Err(error) = mapped {
            child.wait().ok();
            return Err(error);
        }
    }
    Ok((child, pipes.reports))
}

/// Blocks until the child has become the command or reports why not.
fn report(reports: &OwnedFd) -> Option<Fault> {
    let mut record = [0; RECORD_BYTES];
    loop {
        return match rustix::io::read(reports, &mut record[..]) {
            Err(Errno::INTR) => continue,
            // Records of this size are written whole or not at all.
            Ok(RECORD_BYTES) => Fault::from_record(record),
            Ok(_) | Err(_) => None,
        };
    }
}

/// Says which ids of the machine stand behind those of the child's user namespace, and lets it go on.
fn map_ids(plan: &Plan, pid: Pid, ids_mapped: BorrowedFd<'_>) -> Result<(), ConfineError> {
    let Identity::Mapped {
        inside_uid,
        inside_gid,
        outside_uid,
        outside_gid,
    } = plan.identity
    else {
        return Ok(());
    };
    let proc = format!("/proc/{}", pid.as_raw_pid());
    let write = |file: &str, text: String| {
        let failed =
            |error| ConfineError::new(Step::MapIds, Errno::from_io_error(&error).unwrap_or(Errno::IO));
        fs::write(format!("{proc}/{file}"), text).map_err(failed)
    };
    write("uid_map", format!("{inside_uid} {outside_uid} 1"))?;
    if !rustix::process::geteuid().is_root() {
        // Who is not root may map a group only if its child can then drop none.
        write("setgroups", "deny".to_owned())?;
    }
    write("gid_map", format!("{inside_gid} {outside_gid} 1"))?;
    rustix::io::write(ids_mapped, b"1").map_err(|errno| ConfineError::new(Step::MapIds, errno))?;
    Ok(())
}

/// A path, or another text, as the kernel takes it.
fn kernel_path(path: impl AsRef<OsStr>) -> Result<CString, ConfineError> {
    let bytes = path.as_ref().as_bytes();
    CString::new(bytes).map_err(|_| ConfineError::plan("a path or an option has no zero byte"))
}
