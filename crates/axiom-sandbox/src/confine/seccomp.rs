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
//! Calls that are denied whatever their arguments are searched for in a tree. In a row, as `seccompiler` would put them, they
//! cost more than all other walls but the root: when a filter is laid on, the kernel runs it once for every call that there
//! is, to remember those that are always allowed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

use rustix::io::Errno;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

use super::ConfineError;
use super::error::Step;

/// Which calls are denied.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Profile {
    /// For any program.
    Ordinary,
    /// For work without any socket, not even one to its own children: pure computation.
    Compute,
}

static ORDINARY: LazyLock<Result<BpfProgram, seccompiler::BackendError>> =
    LazyLock::new(|| compile(Profile::Ordinary));
static COMPUTE: LazyLock<Result<BpfProgram, seccompiler::BackendError>> =
    LazyLock::new(|| compile(Profile::Compute));

/// The profile's program. It is made once, before any start.
pub(super) fn program(profile: Profile) -> Result<&'static [sock_filter], ConfineError> {
    let program = match profile {
        Profile::Ordinary => &*ORDINARY,
        Profile::Compute => &*COMPUTE,
    };
    match program {
        Ok(program) => Ok(program),
        Err(_) => Err(ConfineError::new(Step::Seccomp, Errno::NOTSUP)),
    }
}

fn compile(profile: Profile) -> Result<BpfProgram, seccompiler::BackendError> {
    let mut denied: BTreeSet<i64> = COMMON.iter().chain(&OLD).copied().collect();
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    if profile == Profile::Compute {
        denied.extend([libc::SYS_socket, libc::SYS_socketpair]);
    } else {
        rules.insert(libc::SYS_socket, socket_rules()?);
    }
    rules.insert(libc::SYS_clone, namespace_rules(&NAMESPACES)?);
    let with_time: Vec<u64> = NAMESPACES.iter().copied().chain([NEW_TIME]).collect();
    rules.insert(libc::SYS_unshare, namespace_rules(&with_time)?);
    rules.insert(libc::SYS_ioctl, ioctl_rules()?);
    rules.insert(libc::SYS_personality, personality_rules()?);
    let denial = SeccompAction::Errno(Errno::PERM.raw_os_error().unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, denial, ARCHITECTURE)?;
    let by_arguments: BpfProgram = filter.try_into()?;
    let number = |number: i64| u32::try_from(number).expect("a call's number is small");
    let denied: Vec<u32> = denied.into_iter().map(number).collect();
    Ok([in_front(), search(&denied), by_arguments].concat())
}

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: TargetArch = TargetArch::x86_64;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: TargetArch = TargetArch::aarch64;

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
const NAMESPACES: [u64; 7] = [
    0x0002_0000,
    0x0200_0000,
    0x0400_0000,
    0x0800_0000,
    0x1000_0000,
    0x2000_0000,
    0x4000_0000,
];
/// The same bit is part of the exit signal in `clone`.
const NEW_TIME: u64 = 0x80;

fn namespace_rules(flags: &[u64]) -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let is_set = |flag: &u64| SeccompRule::new(vec![argument(0, SeccompCmpOp::MaskedEq(*flag), *flag)?]);
    flags.iter().map(is_set).collect()
}

/// Unix, IPv4, IPv6 and the kernel's routing table; and of those nothing below TCP and UDP.
fn socket_rules() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    const FAMILY: u8 = 0;
    const KIND: u8 = 1;
    const PROTOCOL: u8 = 2;
    /// The rest of the argument is flags.
    const KIND_MASK: u64 = 0xf;
    const RAW: u64 = 3;
    const PACKET: u64 = 10;
    const NETLINK: u64 = 16;
    const ROUTE: u64 = 0;
    let [unix, ipv4, ipv6] = [1, 2, 10];
    let is_not = |family| argument(FAMILY, SeccompCmpOp::Ne, family);
    let is_kind = |kind| argument(KIND, SeccompCmpOp::MaskedEq(KIND_MASK), kind);
    Ok(vec![
        SeccompRule::new(vec![
            is_not(unix)?,
            is_not(ipv4)?,
            is_not(ipv6)?,
            is_not(NETLINK)?,
        ])?,
        SeccompRule::new(vec![
            argument(FAMILY, SeccompCmpOp::Eq, NETLINK)?,
            argument(PROTOCOL, SeccompCmpOp::Ne, ROUTE)?,
        ])?,
        SeccompRule::new(vec![is_not(NETLINK)?, is_not(unix)?, is_kind(RAW)?])?,
        SeccompRule::new(vec![is_not(NETLINK)?, is_kind(PACKET)?])?,
    ])
}

/// Typing into a terminal on behalf of whoever reads it.
fn ioctl_rules() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    const TIOCSTI: u64 = 0x5412;
    const TIOCLINUX: u64 = 0x541c;
    let is = |request| SeccompRule::new(vec![argument(1, SeccompCmpOp::Eq, request)?]);
    [TIOCSTI, TIOCLINUX].into_iter().map(is).collect()
}

/// Linux as it is, or as it was, of 32 or 64 bits; or the question which one it is.
fn personality_rules() -> Result<Vec<SeccompRule>, seccompiler::BackendError> {
    let ordinary = [0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];
    let others = ordinary.map(|value| argument(0, SeccompCmpOp::Ne, value));
    Ok(vec![SeccompRule::new(
        others.into_iter().collect::<Result<_, _>>()?,
    )?])
}

/// The kernel takes 32 bits of these arguments, so the filter looks at no more: the others could be anything.
fn argument(
    index: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(index, SeccompCmpArgLen::Dword, operator, value)
}

// Instructions of the kernel's filter machine, and what a filter answers.
const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
const KILL_PROCESS: u32 = 0x8000_0000;
const FAIL_WITH: u32 = 0x0005_0000;

fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

fn fail_with(errno: Errno) -> sock_filter {
    instruction(RETURN, 0, 0, FAIL_WITH | errno.raw_os_error().unsigned_abs())
}

/// What stands in front of the list; see above. It leaves the call's number loaded.
fn in_front() -> Vec<sock_filter> {
    const NUMBER_AT: u32 = 0;
    const ARCHITECTURE_AT: u32 = 4;
    #[cfg(target_arch = "x86_64")]
    const ARCHITECTURE_OURS: u32 = 0xc000_003e;
    #[cfg(target_arch = "aarch64")]
    const ARCHITECTURE_OURS: u32 = 0xc000_00b7;
    /// Numbers of x32 have this bit; on other architectures no call has.
    const X32: u32 = 0x4000_0000;
    const CLONE3: u32 = 435;
    vec![
        instruction(LOAD, 0, 0, ARCHITECTURE_AT),
        instruction(JUMP_IF_EQUAL, 1, 0, ARCHITECTURE_OURS),
        instruction(RETURN, 0, 0, KILL_PROCESS),
        instruction(LOAD, 0, 0, NUMBER_AT),
        instruction(JUMP_IF_AT_LEAST, 0, 1, X32),
        instruction(RETURN, 0, 0, KILL_PROCESS),
        instruction(JUMP_IF_EQUAL, 0, 1, CLONE3),
        fail_with(Errno::NOSYS),
    ]
}

/// Denies these numbers, which are sorted; goes on behind its end with any other.
fn search(numbers: &[u32]) -> Vec<sock_filter> {
    const IN_A_ROW: usize = 3;
    let (lower, upper) = numbers.split_at(numbers.len() / 2);
    let split = match upper.first() {
        Some(first) if numbers.len() > IN_A_ROW => *first,
        _ => {
            let one = |number: &u32| [instruction(JUMP_IF_EQUAL, 0, 1, *number), fail_with(Errno::PERM)];
            return numbers.iter().flat_map(one).collect();
        }
    };
    let (lower, upper) = (search(lower), search(upper));
    let over = |code: &[sock_filter]| u32::try_from(code.len()).expect("a filter is short");
    let over_lower = u8::try_from(lower.len() + 1).expect("half of the list is less than 255 instructions");
    let head = instruction(JUMP_IF_AT_LEAST, over_lower, 0, split);
    let past_upper = instruction(JUMP, 0, 0, over(&upper));
    [vec![head], lower, vec![past_upper], upper].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_profiles_fit_into_the_kernel() {
        for profile in [Profile::Ordinary, Profile::Compute] {
            let program = program(profile).unwrap();
            assert!(
                (100..4096).contains(&program.len()),
                "{} instructions",
                program.len()
            );
        }
    }
    /// Runs the search alone, as the kernel would.
    fn is_denied(program: &[sock_filter], number: u32) -> bool {
        let mut at = 0;
        while let Some(next) = program.get(at) {
            let jump = |taken| usize::from(if taken { next.jt } else { next.jf });
            at += 1 + match next.code {
                RETURN => return true,
                JUMP => usize::try_from(next.k).unwrap(),
                JUMP_IF_EQUAL => jump(number == next.k),
                JUMP_IF_AT_LEAST => jump(number >= next.k),
                other => panic!("no code {other}"),
            };
        }
        assert_eq!(at, program.len());
        false
    }

    proptest::proptest! {
        #[test]
        fn the_search_finds_what_is_listed(listed in proptest::collection::btree_set(0..200_u32, 0..80)) {
            let program = search(&listed.iter().copied().collect::<Vec<u32>>());
            for number in 0..200 {
                proptest::prop_assert_eq!(is_denied(&program, number), listed.contains(&number));
            }
        }
    }
}
