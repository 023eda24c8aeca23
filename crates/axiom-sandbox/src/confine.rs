//! Starts a [`Command`] that sees, reaches and may do only what its [`Plan`] says.
//!
//! The walls stand one behind the other, so that a gap in one is not a way out: namespaces (no other processes, no network,
//! no mounts), a root of its own with the machine's programs read-only, no capabilities, Landlock, and a filter of system
//! calls. What the machine cannot give is an error that names the step; nothing is left out in silence.
//!
//! The walls may also stand before there is a command, which then starts at once: see [`park`].
//!
//! Call [`spawn`] and [`park`] from a process with a single thread: the child goes on from a copy of it. See `raw.rs` for why, and for
//! what the child does and does not do until it becomes the command.

mod actions;
mod child;
mod error;
mod init;
mod landlock;
mod mounts;
mod plan;
mod prepared;
mod program;
mod raw;
mod seccomp;
mod slot;
mod system;
mod template;
mod view;

use std::ffi::{CString, OsStr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;

use fs_err as fs;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions};

pub use error::{ConfineError, ExecFault, Step};
pub use landlock::{Landlock, TcpPorts, TreeAccess, landlock_version};
pub use plan::{Cgroup, Command, Identity, Namespaces, Network, Plan, Rlimits};
pub use seccomp::Profile;
pub use slot::Slot;
pub use system::System;
pub use view::{Mount, RootView};

pub(crate) use system::{proc_hidden, proc_read_only, standard_paths};

use child::Behind;
use error::{Fault, RECORD_BYTES};
use prepared::Prepared;
use program::Words;
use raw::Forked;
use slot::{READY, Told};

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

/// Starts a command behind the walls of a plan.
///
/// When this returns, the command itself runs: every step before it has succeeded. A fault ends the child and is told, with
/// its step. A child that is killed on its way (by its cgroup's memory limit, say) counts as started, and its end tells.
///
/// The calling process must have a single thread. It waits, blocked, until the command runs, which takes a few milliseconds;
/// its signals wait while it forks.
pub fn spawn(plan: &Plan, command: &Command) -> Result<Child, ConfineError> {
    let words = Words::of(command)?;
    let program = words.program(command);
    let prepared = Prepared::new(plan)?;
    let behind = Behind::Command {
        stdio: &command.stdio,
        program: &program,
    };
    let pipe = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| ConfineError::new(Step::Prepare, errno))?;
    let (child, reports) = start(&prepared, behind, pipe)?;
    match report(&reports) {
        None => Ok(child),
        Some(fault) => {
            // Its end is known already; this only takes it off the list of processes.
            child.wait().ok();
            Err(words.explain(command, prepared.explain(fault)))
        }
    }
}

/// Puts up the walls of a plan, with a process behind them that waits for its command.
///
/// Needs a system that is [laid out](System::lay_out), since that one knows what was mounted or replaced meanwhile: whoever lays it out
/// again, and finds that it had to be made anew, has no use for the slots from before. As with [`spawn`], the calling process
/// must have a single thread, and waits.
///
/// # Errors
/// As [`spawn`], but for those about the command.
pub fn park(plan: &Plan) -> Result<Slot, ConfineError> {
    let prepared = Prepared::new(plan)?;
    if !plan.namespaces.pid {
        return Err(ConfineError::plan(
            "only a task with a namespace for its processes has one that can wait for it",
        ));
    }
    let failed = |errno| ConfineError::new(Step::Prepare, errno);
    let bound = prepared.bound();
    let bound = bound.ok_or(ConfineError::plan(
        "only a root that begins as a copy can wait for a task",
    ))?;
    let bound = bound.map_err(failed)?;
    let mut told = Told::new();
    let line = slot::line().map_err(failed)?;
    let (child, line) = start(&prepared, Behind::Later(&mut told), line)?;
    let mut said = [0; RECORD_BYTES];
    let fault = loop {
        match rustix::io::read(&line, &mut said[..]) {
            Err(Errno::INTR) => continue,
            Ok(1) if said.first() == Some(&READY) => return Ok(Slot::new(child, line, bound)),
            Ok(RECORD_BYTES) => break Fault::from_record(said),
            // It was killed on its way.
            Ok(_) | Err(_) => break None,
        }
    };
    child.wait().ok();
    Err(
        fault.map_or(ConfineError::new(Step::Start, Errno::CHILD), |fault| {
            prepared.explain(fault)
        }),
    )
}

/// The network, the mounts and the IPC of a process; none that the kernel does not give, which needs Linux 6.11.
pub(crate) fn namespaces_of(process: impl AsFd) -> Vec<OwnedFd> {
    let kinds = [raw::PROCESS_NETWORK, raw::PROCESS_MOUNTS, raw::PROCESS_IPC];
    let opened = kinds
        .into_iter()
        .map(|kind| raw::namespace_of(process.as_fd(), kind));
    opened.filter_map(Result::ok).collect()
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

/// Gives the child and our end of the line on which it reports, of which the other end is given to it.
fn start(
    prepared: &Prepared<'_>,
    behind: Behind<'_>,
    (ours, theirs): (OwnedFd, OwnedFd),
) -> Result<(Child, OwnedFd), ConfineError> {
    let failed = |errno| ConfineError::new(Step::Prepare, errno);
    let theirs = rustix::io::fcntl_dupfd_cloexec(&theirs, child::HIGH_FD).map_err(failed)?;
    // One byte when the ids are mapped: read by the child, written by the parent. Only with a user namespace.
    let ids_mapped = match prepared.plan.identity {
        Identity::Mapped { .. } => Some(pipe_with(PipeFlags::CLOEXEC).map_err(failed)?),
        _ => None,
    };
    let signals = raw::block_signals().map_err(|errno| ConfineError::new(Step::Start, errno))?;
    let started = fork(prepared, behind, theirs, ids_mapped);
    raw::restore_signals(&signals).map_err(|errno| ConfineError::new(Step::Start, errno))?;
    Ok((started?, ours))
}

fn fork(
    prepared: &Prepared<'_>,
    behind: Behind<'_>,
    reports: OwnedFd,
    ids_mapped: Option<(OwnedFd, OwnedFd)>,
) -> Result<Child, ConfineError> {
    let cgroup = match &prepared.plan.cgroup {
        Cgroup::V2(folder) => Some(folder.as_fd()),
        Cgroup::Inherited | Cgroup::V1(_) => None,
    };
    let (pid, pidfd) = match raw::clone_process(prepared.namespaces, cgroup) {
        Err(errno) => return Err(ConfineError::new(Step::Start, errno)),
        Ok(Forked::Child) => {
            // The parent's end goes, or the child would wait for itself.
            let ids_mapped = ids_mapped.map(|(ids_mapped, _)| ids_mapped);
            child::run(prepared, behind, reports.as_fd(), ids_mapped)
        }
        Ok(Forked::Parent { pid, pidfd }) => (pid, pidfd),
    };
    let child = Child { pid, pidfd };
    if let Some((_, ids_mapped)) = ids_mapped {
        let mapped = map_ids(prepared.plan, pid, ids_mapped.as_fd());
        drop(ids_mapped);
        if let Err(error) = mapped {
            child.wait().ok();
            return Err(error);
        }
    }
    Ok(child)
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

/// Device and number.
type FileId = (u64, u64);

/// A path, or another text, as the kernel takes it.
fn kernel_path(path: impl AsRef<OsStr>) -> Result<CString, ConfineError> {
    let bytes = path.as_ref().as_bytes();
    CString::new(bytes).map_err(|_| ConfineError::plan("a path or an option has no zero byte"))
}
