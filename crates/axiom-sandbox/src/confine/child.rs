//! What the child does between clone and exec, in order. The rules of that stretch stand in `raw.rs`.
//!
//! Its command is known, or will be told it when its walls stand: see `slot.rs`.
//!
//! First what needs privileges (cgroup, mounts, limits), then the privileges go, then what needs none and forbids the most:
//! Landlock, and last the filter of system calls.

use std::convert::Infallible;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::{Access, AtFlags, CWD, Mode};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::error::{At as _, Fault, Step};
use super::plan::{Cgroup, Identity, Network, Plan};
use super::prepared::{Beginning, Prepared};
use super::program::Program;
use super::slot::Told;
use super::{init, mounts, raw, template};

/// Below it stand stdin, stdout, stderr and the pipe; above it what is moved there.
pub(super) const HIGH_FD: RawFd = 10;
pub(super) const REPORTS_FD: RawFd = 3;
const FAILED: i32 = 1;

/// Who is behind the walls.
#[derive(Debug)]
pub(super) enum Behind<'a> {
    Command {
        stdio: &'a [OwnedFd; 3],
        program: &'a Program<'a>,
    },
    /// Nobody yet: a command will be told at the pipe, which is a socket then, and put here.
    Later(&'a mut Told),
}

/// The child's whole life. `reports` is at [`HIGH_FD`] or above; `ids_mapped` says when the parent has mapped the ids.
pub(super) fn run(
    prepared: &Prepared<'_>,
    behind: Behind<'_>,
    mut reports: BorrowedFd<'_>,
    ids_mapped: Option<OwnedFd>,
) -> ! {
    let _exit_on_unwind = raw::ExitOnUnwind;
    let fault = match confine(prepared, behind, &mut reports, ids_mapped) {
        Ok(never) => match never {},
        Err(fault) => fault,
    };
    raw::exit(fail(reports, fault))
}

/// Tells the parent, and gives the status to end with.
pub(super) fn fail(reports: BorrowedFd<'_>, fault: Fault) -> i32 {
    // If even that fails there is nobody to tell: the parent sees a child that ended before its program.
    rustix::io::write(reports, &fault.to_record()).ok();
    FAILED
}

fn confine(
    prepared: &Prepared<'_>,
    behind: Behind<'_>,
    reports: &mut BorrowedFd<'_>,
    ids_mapped: Option<OwnedFd>,
) -> Result<Infallible, Fault> {
    let plan = prepared.plan;
    raw::reset_dispositions();
    // The parent's must not decide who may enter the root's folders. The task's own is set at the end.
    rustix::process::umask(Mode::empty());
    join_cgroups(plan).at(Step::JoinCgroup)?;
    wait_for_ids(ids_mapped).at(Step::MapIds)?;
    if matches!(plan.identity, Identity::Mapped { .. }) {
        change_user(plan).at(Step::Identity)?;
    }
    if let Behind::Command { stdio, .. } = &behind {
        place(stdio)?;
    }
    raw::duplicate_to(*reports, REPORTS_FD, true).at(Step::CloseFiles)?;
    *reports = raw::descriptor(REPORTS_FD);
    rustix::process::setsid().at(Step::Session)?;
    own_names(plan)?;
    if let Some(root) = &prepared.root {
        match &root.beginning {
            Beginning::Copy(copy) => template::copy_root(root, copy)?,
            Beginning::Empty { base } => mounts::make_root(base, root.actions())?,
        }
    }
    // Only now: the root may have been made of files that the parent opened.
    raw::close_from(REPORTS_FD.unsigned_abs() + 1).at(Step::CloseFiles)?;
    limit(plan)?;
    drop_privileges(plan)?;
    if let Behind::Command { program, .. } = &behind {
        rustix::process::chdir(program.working_folder).at(Step::WorkingFolder)?;
    }
    if plan.no_new_privs {
        rustix::thread::set_no_new_privs(true).at(Step::NoNewPrivileges)?;
    }
    if let Some(rules) = &prepared.landlock {
        rules.apply()?;
    }
    if let Some(filter) = prepared.filter {
        raw::filter_calls(filter).at(Step::Seccomp)?;
    }
    match behind {
        Behind::Command { program, .. } if plan.namespaces.pid => init::run(prepared, program),
        Behind::Command { program, .. } => run_program(program),
        Behind::Later(told) => init::wait(prepared, told),
    }
}

/// The last stretch, in the process that becomes the program.
pub(super) fn run_program(program: &Program<'_>) -> Result<Infallible, Fault> {
    raw::unblock_signals().at(Step::Session)?;
    if program.terminal {
        rustix::process::ioctl_tiocsctty(raw::descriptor(0)).at(Step::Terminal)?;
    }
    let mut fault = Errno::NOENT;
    for path in program.programs.iter() {
        match raw::execute(path, &program.argv, &program.environment) {
            // The kernel says "no such file" of a missing interpreter too.
            Errno::NOENT if rustix::fs::accessat(CWD, path, Access::EXISTS, AtFlags::empty()).is_ok() => {
                return Err(Errno::NOENT).at(Step::ExecInterpreter);
            }
            Errno::NOENT | Errno::NOTDIR => {}
            // As shells do it: a later folder may have one that can be run; if none has, this is what is told.
            Errno::ACCESS => fault = Errno::ACCESS,
            errno => return Err(errno).at(Step::Exec),
        }
    }
    Err(fault).at(Step::Exec)
}

fn join_cgroups(plan: &Plan) -> Result<(), Errno> {
    let Cgroup::V1(hierarchies) = &plan.cgroup else {
        return Ok(());
    };
    for processes in hierarchies {
        // 0 is whoever writes it.
        rustix::io::write(processes, b"0")?;
    }
    Ok(())
}

/// The parent writes a byte when the ids are mapped. If it only closes the pipe, it has failed.
fn wait_for_ids(ids_mapped: Option<OwnedFd>) -> Result<(), Errno> {
    let Some(ids_mapped) = ids_mapped else {
        return Ok(());
    };
    match rustix::io::read(&ids_mapped, &mut [0_u8; 1][..])? {
        0 => Err(Errno::PIPE),
        _ => Ok(()),
    }
}

/// Puts them at the numbers 0, 1 and 2.
pub(super) fn place(stdio: &[OwnedFd; 3]) -> Result<(), Fault> {
    // Out of the way first: one that stands at 1 may be meant for 0.
    let moved = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, HIGH_FD).at(Step::Stdio);
    let [stdin, stdout, stderr] = stdio;
    for (fd, number) in [moved(stdin)?, moved(stdout)?, moved(stderr)?].iter().zip(0..) {
        raw::duplicate_to(fd.as_fd(), number, false).at(Step::Stdio)?;
    }
    Ok(())
}

/// Cgroup, host and network, as this process sees them.
fn own_names(plan: &Plan) -> Result<(), Fault> {
    if plan.namespaces.cgroup {
        // Only now: its root is the cgroup that the process is in.
        raw::new_cgroup_namespace().at(Step::CgroupNamespace)?;
    }
    if let Some(name) = &plan.host_name {
        rustix::system::sethostname(name.to_bytes()).at(Step::HostName)?;
    }
    if plan.network == Network::Loopback {
        loopback_up().at(Step::Loopback)?;
    }
    Ok(())
}

fn loopback_up() -> Result<(), Errno> {
    let socket =
        rustix::net::socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?;
    raw::loopback_up(socket.as_fd())
}

fn limit(plan: &Plan) -> Result<(), Fault> {
    let limits = [
        // A core would be the task's memory on the machine's disk.
        (Resource::Core, Some(0)),
        (Resource::Nofile, plan.rlimits.open_files),
        (Resource::Fsize, plan.rlimits.file_bytes),
    ];
    for (resource, limit) in limits {
        if limit.is_some() {
            let limit = Rlimit {
                current: limit,
                maximum: limit,
            };
            rustix::process::setrlimit(resource, limit).at(Step::Limits)?;
        }
    }
    if plan.nice != 0 {
        rustix::process::setpriority_process(None, plan.nice).at(Step::Priority)?;
    }
    rustix::process::umask(Mode::from_raw_mode(plan.umask));
    Ok(())
}

fn drop_privileges(plan: &Plan) -> Result<(), Fault> {
    bound_capabilities(plan).at(Step::BoundingSet)?;
    if matches!(plan.identity, Identity::Switched { .. }) {
        // Otherwise a change from root to another user takes those that are to be kept.
        rustix::thread::set_keep_capabilities(plan.capabilities_kept != 0).at(Step::Capabilities)?;
        change_user(plan).at(Step::Identity)?;
    }
    drop_capabilities(plan.capabilities_kept).at(Step::Capabilities)
}

/// What no program can give back, whatever its file says.
fn bound_capabilities(plan: &Plan) -> Result<(), Errno> {
    for capability in capabilities(!plan.capabilities_kept) {
        match rustix::thread::remove_capability_from_bounding_set(capability) {
            // The kernel knows no more of them.
            Err(Errno::INVAL) => break,
            // A parent that is not root has none to drop, and without new privileges its child can gain none.
            Err(Errno::PERM) if plan.no_new_privs => break,
            done => done?,
        }
    }
    Ok(())
}

fn drop_capabilities(kept: u64) -> Result<(), Errno> {
    rustix::thread::clear_ambient_capability_set()?;
    let kept_set = CapabilitySet::from_bits_retain(kept);
    let sets = CapabilitySets {
        effective: kept_set,
        permitted: kept_set,
        inheritable: kept_set,
    };
    rustix::thread::set_capabilities(None, sets)?;
    for capability in capabilities(kept) {
        // Survives exec also for a user who is not root.
        rustix::thread::configure_capability_in_ambient_set(capability, true)?;
    }
    Ok(())
}

fn capabilities(bits: u64) -> impl Iterator<Item = CapabilitySet> {
    let each = (0..u64::BITS).map(|number| 1_u64 << number);
    each.filter(move |bit| bits & bit != 0)
        .map(CapabilitySet::from_bits_retain)
}

fn change_user(plan: &Plan) -> Result<(), Errno> {
    let (uid, gid) = match plan.identity {
        Identity::Inherited => return Ok(()),
        Identity::Switched { uid, gid } => (uid, gid),
        Identity::Mapped {
            inside_uid,
            inside_gid,
            ..
        } => (inside_uid, inside_gid),
    };
    let (uid, gid) = (
        rustix::process::Uid::from_raw(uid),
        rustix::process::Gid::from_raw(gid),
    );
    match rustix::thread::set_thread_groups(&[]) {
        // In a user namespace of one who is not root, groups can be neither set nor dropped.
        Err(Errno::PERM) if matches!(plan.identity, Identity::Mapped { .. }) => {}
        done => done?,
    }
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
}
