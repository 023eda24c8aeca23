//! The system calls for which there is no safe function, each behind one that is.
//!
//! # Between fork and exec
//! The child of a fork is a copy of the parent's memory with one thread. What another thread held at that moment (the lock
//! of the allocator, of the loader, of a log) stays held for ever. Therefore:
//! - The process that starts others has a single thread. That is the first rule, and the caller's to keep.
//! - The child behaves as if the first rule were broken: from [`clone_process`] to [`execute`] it allocates nothing, takes
//!   no lock, writes no log, and calls nothing but system calls and plain code over memory that was made before. All paths
//!   and lists are C strings in vectors that exist already. `rustix` makes its calls without a C library between, and
//!   paths that are C strings it takes as they are.
//! - The second child, which becomes the program, shares the memory of the first ([`start_program`]), which waits meanwhile.
//!   What is said here holds for it too.
//! - It never returns into the parent's code. Its function ends in [`execute`] or [`exit`], and [`ExitOnUnwind`] stands in
//!   the way of a panic.
//! - `clone3` goes past the C library's `fork`, so that handlers registered there (`pthread_atfork`) do not run, and what
//!   the library remembers of the thread's id is the parent's. Nothing here asks it.
//! - Memory that the child gets is a copy, so it may change it. File descriptors are shared in all but their numbers: it may
//!   close its own, and must leave offsets and flags alone.
//! - Signal handlers of the parent must not run in the child. The parent blocks all signals around the fork
//!   ([`block_signals`]), the child resets every disposition before it unblocks any.

#![allow(
    unsafe_code,
    reason = "processes, filters and Landlock need system calls without a safe function in rustix"
)]

use std::cell::UnsafeCell;
use std::ffi::{CStr, CString, c_char, c_int, c_long, c_void};
use std::io;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, size_of};
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::ptr;

use libc::sock_filter;
use rustix::io::Errno;
use rustix::process::Pid;

/// Flags of `clone3`.
pub(super) const NEW_MOUNT: u64 = 0x0002_0000;
pub(super) const NEW_UTS: u64 = 0x0400_0000;
pub(super) const NEW_IPC: u64 = 0x0800_0000;
pub(super) const NEW_USER: u64 = 0x1000_0000;
pub(super) const NEW_PID: u64 = 0x2000_0000;
pub(super) const NEW_NETWORK: u64 = 0x4000_0000;
const PIDFD: u64 = 0x1000;
const INTO_CGROUP: u64 = 0x2_0000_0000;

/// Attributes of a mount.
pub(super) const MOUNT_READ_ONLY: u64 = 1;
pub(super) const MOUNT_NOSUID: u64 = 2;
pub(super) const MOUNT_NODEV: u64 = 4;
pub(super) const MOUNT_NOEXEC: u64 = 8;

/// C strings as `execve` takes them: pointers, and a null at the end.
#[derive(Debug)]
pub(super) struct Strings<'a> {
    pointers: Vec<*const c_char>,
    /// What the pointers point at.
    strings: PhantomData<&'a CStr>,
}

/// Room for pointers, made before there is anything to point at.
#[derive(Debug, Default)]
pub(super) struct Room(Vec<*const c_char>);

impl Room {
    /// For so many strings. Pages of it that are not touched cost nothing.
    pub(super) fn new(strings_max: usize) -> Self {
        Room(Vec::with_capacity(strings_max + 1))
    }
}

impl<'a> Strings<'a> {
    pub(super) fn new(strings: &'a [CString]) -> Self {
        let room = Room::new(strings.len());
        Strings::within(room, strings.iter().map(CString::as_c_str))
    }

    /// As many of them as there is room for. Nothing is allocated.
    pub(super) fn within(room: Room, strings: impl Iterator<Item = &'a CStr>) -> Self {
        let Room(mut pointers) = room;
        pointers.clear();
        let len_max = pointers.capacity().saturating_sub(1);
        for string in strings.take(len_max) {
            pointers.push(string.as_ptr());
        }
        pointers.push(ptr::null());
        Strings {
            pointers,
            strings: PhantomData,
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &'a CStr> {
        let strings = self.pointers.iter().filter(|pointer| !pointer.is_null());
        // SAFETY: all that are not null were made of a `&'a CStr`, above.
        strings.map(|pointer| unsafe { CStr::from_ptr(*pointer) })
    }
}

/// Where a fork returned.
#[derive(Debug)]
pub(super) enum Forked {
    Child,
    Parent { pid: Pid, pidfd: OwnedFd },
}

#[repr(C)]
#[derive(Debug, Default)]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// A fork whose child has these namespaces of its own and is born in this cgroup.
pub(super) fn clone_process(namespaces: u64, cgroup: Option<BorrowedFd<'_>>) -> Result<Forked, Errno> {
    let mut pidfd: RawFd = -1;
    let mut arguments = CloneArguments {
        flags: PIDFD | namespaces,
        pidfd: (&raw mut pidfd) as u64,
        exit_signal: libc::SIGCHLD as u64,
        ..CloneArguments::default()
    };
    if let Some(cgroup) = cgroup {
        arguments.flags |= INTO_CGROUP;
        arguments.cgroup = cgroup.as_raw_fd() as u64;
    }
    // SAFETY: the arguments live over the call and have the layout and the size that the kernel expects. Without CLONE_VM
    // the child has memory of its own, and no stack is handed over: it goes on here as after fork. What it may do then is
    // said above and kept by its only caller.
    let pid = checked(unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const arguments,
            size_of::<CloneArguments>(),
        )
    })?;
    forked(pid, || {
        // SAFETY: the kernel has just put it there, for the parent alone, and nobody else has it.
        unsafe { OwnedFd::from_raw_fd(pidfd) }
    })
}

fn forked(pid: c_long, pidfd: impl FnOnce() -> OwnedFd) -> Result<Forked, Errno> {
    match c_int::try_from(pid).ok().and_then(Pid::from_raw) {
        Some(pid) => Ok(Forked::Parent { pid, pidfd: pidfd() }),
        None => Ok(Forked::Child),
    }
}

/// Where a process runs that shares its parent's memory. Made before; pages that it does not touch cost nothing.
pub(super) struct Stack(Box<[UnsafeCell<MaybeUninit<u128>>]>);

/// What runs there makes a few system calls; builds without optimisation use some KiB for that.
const STACK_BYTES: usize = 64 << 10;

impl Stack {
    pub(super) fn new() -> Self {
        let words = STACK_BYTES / size_of::<u128>();
        Stack(
            (0..words)
                .map(|_| UnsafeCell::new(MaybeUninit::uninit()))
                .collect(),
        )
    }
}

impl std::fmt::Debug for Stack {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Stack")
    }
}

/// Starts a process that becomes another program: `run` comes back only if it could not, with the status to end with. Until one
/// of both has happened this process waits; then it has its memory for itself again.
///
/// A fork would copy the tables of all memory, only to throw them away. By the old call: the new one is already denied by the
/// filter where this is used.
pub(super) fn start_program(stack: &Stack, run: &dyn Fn() -> c_int) -> Result<Pid, Errno> {
    extern "C" fn start(run: *mut c_void) -> c_int {
        let _exit_on_unwind = ExitOnUnwind;
        // SAFETY: it is what is passed below, by a function that does not return before we have ended or become a program.
        let run = unsafe { *run.cast::<&dyn Fn() -> c_int>() };
        exit(run())
    }
    // SAFETY: it is the end of the stack's own memory.
    let top = unsafe { stack.0.as_ptr().add(stack.0.len()) };
    // SAFETY: the child has a stack of its own, which nobody else uses: this thread, the only one, waits in the kernel until the
    // child has ended or has other memory (CLONE_VFORK), so that nothing is used by two at a time, and all that is borrowed
    // outlives the child's use of it. What the child leaves changed are its stack and errno. It shares no descriptors and no
    // dispositions. It ends in `execve` or `exit` and never returns from `start`.
    let pid = unsafe {
        libc::clone(
            start,
            top.cast_mut().cast(),
            libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD,
            (&raw const run).cast_mut().cast(),
        )
    };
    checked(pid.into())?;
    Pid::from_raw(pid).ok_or(Errno::CHILD)
}

/// Becomes another program. Returns only if that fails.
pub(super) fn execute(program: &CStr, argv: &Strings<'_>, environment: &Strings<'_>) -> Errno {
    // SAFETY: all three are C strings or null-ended lists of them, which their owners keep alive.
    let result = unsafe {
        libc::execve(
            program.as_ptr(),
            argv.pointers.as_ptr(),
            environment.pointers.as_ptr(),
        )
    };
    match checked(result.into()) {
        Err(errno) => errno,
        Ok(_) => Errno::NOEXEC,
    }
}

/// Ends the process at once, with none of the parent's clean-up.
pub(super) fn exit(code: i32) -> ! {
    // SAFETY: it runs no handlers and touches no memory.
    unsafe { libc::_exit(code) }
}

/// Ends the process if it is dropped: a child that unwinds must not come to the parent's code.
#[derive(Debug)]
pub(super) struct ExitOnUnwind;

impl Drop for ExitOnUnwind {
    fn drop(&mut self) {
        exit(101)
    }
}

/// Signals that were blocked before.
#[derive(Debug)]
pub(super) struct SignalMask(u64);

/// All that can be blocked.
const ALL_SIGNALS: u64 = u64::MAX;

/// Blocks all signals and says which ones were blocked before.
pub(super) fn block_signals() -> Result<SignalMask, Errno> {
    set_signal_mask(ALL_SIGNALS).map(SignalMask)
}

pub(super) fn restore_signals(mask: &SignalMask) -> Result<(), Errno> {
    set_signal_mask(mask.0).map(drop)
}

pub(super) fn unblock_signals() -> Result<(), Errno> {
    set_signal_mask(0).map(drop)
}

/// The kernel's own call: the C library's leaves out the signals that it uses itself.
fn set_signal_mask(mask: u64) -> Result<u64, Errno> {
    let mut before = 0_u64;
    // SAFETY: both masks live over the call and have the 8 bytes that are named.
    checked(unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const mask,
            &raw mut before,
            size_of::<u64>(),
        )
    })?;
    Ok(before)
}

/// Signals that were ignored would be ignored in the new program too, as SIGPIPE by every Rust program.
pub(super) fn reset_dispositions() {
    for signal in 1..=libc::SIGRTMAX() {
        // SAFETY: no handler is installed. For the few that have no disposition the call fails, and nothing changes.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
}

/// Waits for the next signal, all of them being blocked.
pub(super) fn next_signal() -> Result<i32, Errno> {
    let set = ALL_SIGNALS;
    // SAFETY: the set lives over the call and has the 8 bytes that are named; the others may be null.
    let signal = checked(unsafe {
        libc::syscall(
            libc::SYS_rt_sigtimedwait,
            &raw const set,
            ptr::null::<u8>(),
            ptr::null::<u8>(),
            size_of::<u64>(),
        )
    })?;
    c_int::try_from(signal).map_err(|_| Errno::RANGE)
}

/// Any signal by its number; one that fails finds nobody, and that is as good.
pub(super) fn send_signal(pid: Pid, signal: i32) {
    // SAFETY: it touches no memory.
    unsafe { libc::kill(pid.as_raw_pid(), signal) };
}

/// This number as a file descriptor, for a child that has just put it there.
pub(super) fn descriptor(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: the child keeps its numbers 0 to 3 open until it becomes another program.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Makes `to` the same file as `from`, which must have another number.
pub(super) fn duplicate_to(from: BorrowedFd<'_>, to: RawFd, close_on_exec: bool) -> Result<(), Errno> {
    let flags = if close_on_exec { libc::O_CLOEXEC } else { 0 };
    // SAFETY: only numbers of this process change, and in the child nobody else uses `to`.
    checked(unsafe { libc::syscall(libc::SYS_dup3, from.as_raw_fd(), to, flags) }).map(drop)
}

/// Closes this descriptor and all with higher numbers.
pub(super) fn close_from(first: u32) -> Result<(), Errno> {
    // SAFETY: only the child calls it, and keeps no owner of a descriptor that it will drop.
    checked(unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 0) }).map(drop)
}

/// Goes into a namespace of mounts, to its root, and makes a copy of it of one's own.
pub(super) fn copy_mounts(namespace: BorrowedFd<'_>) -> Result<(), Errno> {
    // SAFETY: both change what paths mean to this process, and no memory or descriptor.
    checked(unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNS) }.into())?;
    // SAFETY: as above.
    checked(unsafe { libc::unshare(libc::CLONE_NEWNS) }.into()).map(drop)
}

/// Requests of a process's descriptor, since Linux 6.11.
pub(super) const PROCESS_IPC: u64 = 0xff02;
pub(super) const PROCESS_MOUNTS: u64 = 0xff03;
pub(super) const PROCESS_NETWORK: u64 = 0xff04;

/// One of a process's namespaces.
pub(super) fn namespace_of(process: BorrowedFd<'_>, kind: u64) -> Result<OwnedFd, Errno> {
    // SAFETY: these requests have no argument, and change nothing but that a descriptor is opened.
    let namespace = checked(unsafe { libc::ioctl(process.as_raw_fd(), kind as _, 0) }.into())?;
    let namespace = RawFd::try_from(namespace).map_err(|_| Errno::RANGE)?;
    // SAFETY: the kernel has just opened it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(namespace) })
}

pub(super) fn new_cgroup_namespace() -> Result<(), Errno> {
    // SAFETY: this flag changes nothing that memory or descriptors depend on.
    checked(unsafe { libc::unshare(libc::CLONE_NEWCGROUP) }.into()).map(drop)
}

#[repr(C)]
struct MountAttributes {
    set: u64,
    clear: u64,
    propagation: u64,
    user_namespace: u64,
}

/// Adds attributes to a mount, and to those below it where asked, and has nothing that is mounted on it appear elsewhere, or
/// the other way round. It takes no attribute away.
pub(super) fn mount_attributes(mount: BorrowedFd<'_>, attributes: u64, recursive: bool) -> Result<(), Errno> {
    const AT_RECURSIVE: c_int = 0x8000;
    const PRIVATE: u64 = 1 << 18;
    let flags = libc::AT_EMPTY_PATH | if recursive { AT_RECURSIVE } else { 0 };
    let attributes = MountAttributes {
        set: attributes,
        clear: 0,
        propagation: PRIVATE,
        user_namespace: 0,
    };
    // SAFETY: the path is an empty C string, the attributes live over the call and have the size that is named.
    checked(unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const attributes,
            size_of::<MountAttributes>(),
        )
    })
    .map(drop)
}

/// Brings up the loopback interface of this network namespace.
pub(super) fn loopback_up(socket: BorrowedFd<'_>) -> Result<(), Errno> {
    const IFF_UP: i16 = 1;
    // SAFETY: zero bytes are a value of this type, a struct of plain numbers.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (at, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *at = byte.cast_signed() as c_char;
    }
    request.ifr_ifru.ifru_flags = IFF_UP;
    // SAFETY: the request lives over the call, and this one reads its name and its flags, which are set.
    checked(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS as _, &raw mut request) }.into())
        .map(drop)
}

/// Lays the filter on this thread, which is the only one.
pub(super) fn filter_calls(program: &[sock_filter]) -> Result<(), Errno> {
    #[repr(C)]
    struct Program {
        len: u16,
        instructions: *const sock_filter,
    }
    let program = Program {
        len: u16::try_from(program.len()).map_err(|_| Errno::INVAL)?,
        instructions: program.as_ptr(),
    };
    // SAFETY: the kernel copies as many instructions as the slice has, and checks them.
    checked(unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            0,
            &raw const program,
        )
    })
    .map(drop)
}

/// What a Landlock ruleset decides about. A kernel that does not know the last fields takes them if they are zero.
#[repr(C)]
#[derive(Debug)]
pub(super) struct LandlockHandled {
    pub(super) files: u64,
    pub(super) network: u64,
    pub(super) scoped: u64,
}

/// The version of the kernel's interface.
pub(super) fn landlock_version() -> Result<u32, Errno> {
    const ASK_VERSION: u32 = 1;
    // SAFETY: with this flag the attributes are null and no file is opened.
    let version = checked(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::null::<u8>(),
            0_usize,
            ASK_VERSION,
        )
    })?;
    u32::try_from(version).map_err(|_| Errno::RANGE)
}

pub(super) fn landlock_ruleset(handled: &LandlockHandled) -> Result<OwnedFd, Errno> {
    // SAFETY: the attributes live over the call and have the size that is named.
    let ruleset = checked(unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            ptr::from_ref(handled),
            size_of::<LandlockHandled>(),
            0,
        )
    })?;
    let ruleset = RawFd::try_from(ruleset).map_err(|_| Errno::RANGE)?;
    // SAFETY: the kernel has just opened it, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(ruleset) })
}

/// The kernel's struct is packed: 12 bytes.
#[repr(C, packed)]
struct LandlockTree {
    rights: u64,
    tree: RawFd,
}

#[repr(C)]
struct LandlockPort {
    rights: u64,
    port: u64,
}

pub(super) fn landlock_allow_tree(ruleset: impl AsFd, tree: impl AsFd, rights: u64) -> Result<(), Errno> {
    const PATH_BENEATH: c_int = 1;
    let rule = LandlockTree {
        rights,
        tree: tree.as_fd().as_raw_fd(),
    };
    landlock_allow(ruleset.as_fd(), PATH_BENEATH, &rule)
}

pub(super) fn landlock_allow_port(ruleset: impl AsFd, port: u64, rights: u64) -> Result<(), Errno> {
    const PORT: c_int = 2;
    landlock_allow(ruleset.as_fd(), PORT, &LandlockPort { rights, port })
}

fn landlock_allow<R>(ruleset: BorrowedFd<'_>, kind: c_int, rule: &R) -> Result<(), Errno> {
    // SAFETY: the rule is of the struct that belongs to its kind, as the two callers above have it, and lives over the call.
    checked(unsafe {
        libc::syscall(
            libc::SYS_landlock_add_rule,
            ruleset.as_raw_fd(),
            kind,
            ptr::from_ref(rule),
            0,
        )
    })
    .map(drop)
}

pub(super) fn landlock_restrict(ruleset: impl AsFd) -> Result<(), Errno> {
    let ruleset = ruleset.as_fd().as_raw_fd();
    // SAFETY: it touches no memory.
    checked(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset, 0) }).map(drop)
}

fn checked(result: c_long) -> Result<c_long, Errno> {
    if result >= 0 {
        return Ok(result);
    }
    // Reads a number of this thread; no memory is asked for.
    Err(Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO))
}
