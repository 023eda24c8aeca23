//! The system calls that a task does not get, as a program that the kernel runs before each call.
//!
//! A list of denials, as container runtimes have it, and not of permissions: a task may be any program, and a new version
//! of a C library must not break it. What is denied is what reaches beyond the other walls, and old or young parts of the
//! kernel with a record of faults. A denied call fails with `EPERM`, as it would for want of a capability.
//!
//! Two things stand in front of the list:
//! - a call by another architecture's table (32 bits on x86-64, or its x32 numbers) ends the process: the list would be
//!   read against the wrong numbers;
//! - `clone3` is answered with `ENOSYS`, since its flags lie in memory where no filter looks; libraries then use `clone`.
//!
//! Calls that are denied whatever their arguments are searched for in a tree, and all that is denied ends in one place. Each
//! start pays for each instruction, since the kernel checks and translates the filter anew when it is laid on; and it runs it
//! once for every call that there is, to remember those that are always allowed. As `seccompiler` puts it, the same filter has
//! three times the instructions and cost a tenth of a start. It is what the tests compare with.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use libc::sock_filter;
use rustix::io::Errno;

use super::ConfineError;
use super::error::Step;
use assembly::{
    ALLOW, ARCHITECTURE_AT, Assembly, FAIL_WITH, JUMP_IF_ANY_BIT, JUMP_IF_AT_LEAST, JUMP_IF_EQUAL,
    KILL_PROCESS, Label, NUMBER_AT, Unreachable, argument_at,
};

mod assembly;

/// Which calls are denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// For any program.
    Ordinary,
    /// For work without any socket, not even one to its own children: pure computation.
    Compute,
}

static ORDINARY: LazyLock<Result<Vec<sock_filter>, Unreachable>> =
    LazyLock::new(|| compile(Profile::Ordinary));
static COMPUTE: LazyLock<Result<Vec<sock_filter>, Unreachable>> = LazyLock::new(|| compile(Profile::Compute));

/// The profile's program. It is made once, before any start.
pub(super) fn program(profile: Profile) -> Result<&'static [sock_filter], ConfineError> {
    let program = match profile {
        Profile::Ordinary => &*ORDINARY,
        Profile::Compute => &*COMPUTE,
    };
    match program {
        Ok(program) => Ok(program),
        Err(Unreachable) => Err(ConfineError::new(Step::Seccomp, Errno::NOTSUP)),
    }
}

fn compile(profile: Profile) -> Result<Vec<sock_filter>, Unreachable> {
    let mut denied: BTreeSet<i64> = COMMON.iter().chain(&OLD).copied().collect();
    if profile == Profile::Compute {
        denied.extend([libc::SYS_socket, libc::SYS_socketpair]);
    }
    let denied: Vec<u32> = denied.into_iter().map(number).collect();
    let mut program = Assembly::default();
    in_front(&mut program);
    search(&mut program, &denied, Label::Arguments);
    program.mark(Label::Arguments);
    by_arguments(&mut program, profile);
    program.mark(Label::Allow);
    program.end(ALLOW);
    program.mark(Label::Deny);
    program.end(FAIL_WITH | Errno::PERM.raw_os_error().unsigned_abs());
    program.link()
}

fn number(call: i64) -> u32 {
    u32::try_from(call).expect("a call's number is small")
}

/// On both architectures, denied whatever the arguments.
#[rustfmt::skip]
const COMMON: [i64; 57] = [
    // What is mounted, and where.
    libc::SYS_mount, libc::SYS_umount2, libc::SYS_pivot_root, libc::SYS_chroot, libc::SYS_open_tree,
    libc::SYS_move_mount, libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick,
    libc::SYS_mount_setattr, OPEN_TREE_ATTR, libc::SYS_setns,
    // Other processes' memory and files.
    libc::SYS_ptrace, libc::SYS_process_vm_readv, libc::SYS_process_vm_writev, libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd, libc::SYS_kcmp,
    // Programs in the kernel, and a look into it.
    libc::SYS_bpf, libc::SYS_perf_event_open, libc::SYS_syslog, libc::SYS_fanotify_init, libc::SYS_lookup_dcookie,
    // Keys, which no namespace keeps apart.
    libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key,
    // The kernel itself.
    libc::SYS_kexec_load, KEXEC_FILE_LOAD, libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module,
    libc::SYS_reboot, libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_vhangup,
    // Often used to break out of the kernel's own bounds.
    libc::SYS_userfaultfd, libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register,
    libc::SYS_memfd_secret, libc::SYS_remap_file_pages, libc::SYS_nfsservctl,
    // A file by its number, past every folder on the way.
    libc::SYS_open_by_handle_at, libc::SYS_name_to_handle_at,
    // Accounts and quotas.
    libc::SYS_quotactl, libc::SYS_quotactl_fd, libc::SYS_acct,
    // The machine's clock and names.
    libc::SYS_settimeofday, libc::SYS_clock_settime, libc::SYS_clock_adjtime, libc::SYS_adjtimex,
    libc::SYS_sethostname, libc::SYS_setdomainname,
    // Where other tasks' memory lies.
    libc::SYS_migrate_pages, libc::SYS_move_pages, libc::SYS_mbind,
];

#[cfg(target_arch = "x86_64")]
#[rustfmt::skip]
const OLD: [i64; 7] = [
    libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_uselib, libc::SYS_ustat, libc::SYS_sysfs, libc::SYS__sysctl,
    libc::SYS_modify_ldt,
];
#[cfg(target_arch = "aarch64")]
const OLD: [i64; 0] = [];

/// Younger than the table of the `libc` crate; the same on both architectures.
const OPEN_TREE_ATTR: i64 = 467;
#[cfg(target_arch = "x86_64")]
const KEXEC_FILE_LOAD: i64 = 320;
#[cfg(target_arch = "aarch64")]
const KEXEC_FILE_LOAD: i64 = 294;

/// Mounts, cgroups, host name, IPC, users, processes, network.
const NAMESPACES: [u32; 7] = [
    0x0002_0000,
    0x0200_0000,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
];
/// The same bit is part of the exit signal in `clone`.
const NEW_TIME: u32 = 0x80;

/// What stands in front of the list; see above. It leaves the call's number loaded.
fn in_front(program: &mut Assembly) {
    #[cfg(target_arch = "x86_64")]
    const ARCHITECTURE_OURS: u32 = 0xc000_003e;
    #[cfg(target_arch = "aarch64")]
    const ARCHITECTURE_OURS: u32 = 0xc000_00b7;
    /// Numbers of x32 have this bit; on other architectures no call has.
    const X32: u32 = 0x4000_0000;
    const CLONE3: u32 = 435;
    program.load(ARCHITECTURE_AT);
    program.when(JUMP_IF_EQUAL, ARCHITECTURE_OURS, Label::Next, Label::Kill);
    program.load(NUMBER_AT);
    program.when(JUMP_IF_AT_LEAST, X32, Label::Kill, Label::Next);
    program.when(JUMP_IF_EQUAL, CLONE3, Label::Next, Label::List);
    program.end(FAIL_WITH | Errno::NOSYS.raw_os_error().unsigned_abs());
    program.mark(Label::Kill);
    program.end(KILL_PROCESS);
    program.mark(Label::List);
}

/// Denies these numbers, which are sorted; goes on at `otherwise` with any other.
fn search(program: &mut Assembly, numbers: &[u32], otherwise: Label) {
    const IN_A_ROW: usize = 3;
    let (lower, upper) = numbers.split_at(numbers.len() / 2);
    match upper.first() {
        Some(first) if numbers.len() > IN_A_ROW => {
            program.when(JUMP_IF_AT_LEAST, *first, Label::Upper(*first), Label::Next);
            search(program, lower, otherwise);
            program.mark(Label::Upper(*first));
            search(program, upper, otherwise);
        }
        _ => {
            for (left, number) in (0..numbers.len()).rev().zip(numbers) {
                let no = if left == 0 { otherwise } else { Label::Next };
                program.when(JUMP_IF_EQUAL, *number, Label::Deny, no);
            }
        }
    }
}

/// The calls that are denied for some of their arguments. The kernel takes 32 bits of each of these, so the filter looks at no
/// more: the others could be anything.
fn by_arguments(program: &mut Assembly, profile: Profile) {
    let namespaces: u32 = NAMESPACES.iter().sum();
    let is = |program: &mut Assembly, call, then| {
        program.when(JUMP_IF_EQUAL, number(call), then, Label::Next);
    };
    if profile != Profile::Compute {
        is(program, libc::SYS_socket, Label::Socket);
    }
    is(program, libc::SYS_clone, Label::Clone);
    is(program, libc::SYS_unshare, Label::Unshare);
    is(program, libc::SYS_ioctl, Label::Ioctl);
    program.when(
        JUMP_IF_EQUAL,
        number(libc::SYS_personality),
        Label::Personality,
        Label::Allow,
    );

    program.mark(Label::Clone);
    program.load(argument_at(0));
    program.when(JUMP_IF_ANY_BIT, namespaces, Label::Deny, Label::Allow);
    program.mark(Label::Unshare);
    program.load(argument_at(0));
    program.when(JUMP_IF_ANY_BIT, namespaces | NEW_TIME, Label::Deny, Label::Allow);
    ioctl(program);
    personality(program);
    if profile != Profile::Compute {
        socket(program);
    }
}

/// Typing into a terminal on behalf of whoever reads it.
fn ioctl(program: &mut Assembly) {
    const TIOCSTI: u32 = 0x5412;
    const TIOCLINUX: u32 = 0x541c;
    program.mark(Label::Ioctl);
    program.load(argument_at(1));
    program.when(JUMP_IF_EQUAL, TIOCSTI, Label::Deny, Label::Next);
    program.when(JUMP_IF_EQUAL, TIOCLINUX, Label::Deny, Label::Allow);
}

/// Linux as it is, or as it was, of 32 or 64 bits; or the question which one it is.
fn personality(program: &mut Assembly) {
    program.mark(Label::Personality);
    program.load(argument_at(0));
    for ordinary in [0, 0x8, 0x2_0000, 0x2_0008] {
        program.when(JUMP_IF_EQUAL, ordinary, Label::Allow, Label::Next);
    }
    program.when(JUMP_IF_EQUAL, 0xffff_ffff, Label::Allow, Label::Deny);
}

/// Unix, IPv4, IPv6 and the kernel's routing table; and of those nothing below TCP and UDP.
fn socket(program: &mut Assembly) {
    const FAMILY: u32 = 0;
    const KIND: u32 = 1;
    const PROTOCOL: u32 = 2;
    /// The rest of the argument is flags.
    const KIND_MASK: u32 = 0xf;
    const RAW: u32 = 3;
    const PACKET: u32 = 10;
    const NETLINK: u32 = 16;
    const ROUTE: u32 = 0;
    let [unix, ipv4, ipv6] = [1, 2, 10];
    program.mark(Label::Socket);
    program.load(argument_at(FAMILY));
    program.when(JUMP_IF_EQUAL, unix, Label::UnixSocket, Label::Next);
    program.when(JUMP_IF_EQUAL, ipv4, Label::InternetSocket, Label::Next);
    program.when(JUMP_IF_EQUAL, ipv6, Label::InternetSocket, Label::Next);
    program.when(JUMP_IF_EQUAL, NETLINK, Label::Next, Label::Deny);
    program.load(argument_at(PROTOCOL));
    program.when(JUMP_IF_EQUAL, ROUTE, Label::Allow, Label::Deny);
    program.mark(Label::InternetSocket);
    program.load(argument_at(KIND));
    program.and(KIND_MASK);
    program.when(JUMP_IF_EQUAL, RAW, Label::Deny, Label::Next);
    program.when(JUMP_IF_EQUAL, PACKET, Label::Deny, Label::Allow);
    program.mark(Label::UnixSocket);
    program.load(argument_at(KIND));
    program.and(KIND_MASK);
    program.when(JUMP_IF_EQUAL, PACKET, Label::Deny, Label::Allow);
}

#[cfg(test)]
mod tests;
