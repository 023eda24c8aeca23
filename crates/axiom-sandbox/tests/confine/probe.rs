//! The task's side: system calls that it should not get, each with what came of it.

#![allow(
    unsafe_code,
    reason = "it tries calls that no safe function makes, to see them refused"
)]

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixStream};
use std::process::ExitCode;

/// Calls by number with arguments that do no harm if they are let through.
#[rustfmt::skip]
const CALLS: &[(&str, i64, [i64; 6])] = &[
    ("mount", libc::SYS_mount, [0; 6]),
    ("umount2", libc::SYS_umount2, [0; 6]),
    ("pivot_root", libc::SYS_pivot_root, [0; 6]),
    ("chroot", libc::SYS_chroot, [0; 6]),
    ("open_tree", libc::SYS_open_tree, [-1, 0, 0, 0, 0, 0]),
    ("fsopen", libc::SYS_fsopen, [0; 6]),
    ("setns", libc::SYS_setns, [-1, 0, 0, 0, 0, 0]),
    ("unshare user", libc::SYS_unshare, [0x1000_0000, 0, 0, 0, 0, 0]),
    ("unshare time", libc::SYS_unshare, [0x80, 0, 0, 0, 0, 0]),
    ("unshare files", libc::SYS_unshare, [libc::CLONE_FILES as i64, 0, 0, 0, 0, 0]),
    ("clone user", libc::SYS_clone, [0x1000_0000 | libc::SIGCHLD as i64, 0, 0, 0, 0, 0]),
    ("clone3", libc::SYS_clone3, [0; 6]),
    ("ptrace traceme", libc::SYS_ptrace, [0; 6]),
    ("ptrace seize init", libc::SYS_ptrace, [0x4206, 1, 0, 0, 0, 0]),
    ("process_vm_readv", libc::SYS_process_vm_readv, [1, 0, 0, 0, 0, 0]),
    ("pidfd_getfd", libc::SYS_pidfd_getfd, [-1, 0, 0, 0, 0, 0]),
    ("bpf", libc::SYS_bpf, [0; 6]),
    ("perf_event_open", libc::SYS_perf_event_open, [0; 6]),
    ("keyctl", libc::SYS_keyctl, [0; 6]),
    ("add_key", libc::SYS_add_key, [0; 6]),
    ("init_module", libc::SYS_init_module, [0; 6]),
    ("kexec_load", libc::SYS_kexec_load, [0; 6]),
    ("reboot", libc::SYS_reboot, [0; 6]),
    ("swapon", libc::SYS_swapon, [0; 6]),
    ("userfaultfd", libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0]),
    ("io_uring_setup", libc::SYS_io_uring_setup, [1, 0, 0, 0, 0, 0]),
    ("open_by_handle_at", libc::SYS_open_by_handle_at, [-1, 0, 0, 0, 0, 0]),
    ("acct", libc::SYS_acct, [0; 6]),
    ("quotactl", libc::SYS_quotactl, [0; 6]),
    ("settimeofday", libc::SYS_settimeofday, [0; 6]),
    ("personality without randomness", libc::SYS_personality, [0x004_0000, 0, 0, 0, 0, 0]),
    ("personality asked", libc::SYS_personality, [0xffff_ffff, 0, 0, 0, 0, 0]),
    ("ioctl tiocsti", libc::SYS_ioctl, [0, 0x5412, 0, 0, 0, 0]),
    ("ioctl tiocsti with high bits", libc::SYS_ioctl, [0, 0x1_0000_5412, 0, 0, 0, 0]),
    ("ioctl tioclinux", libc::SYS_ioctl, [0, 0x541c, 0, 0, 0, 0]),
    ("socket unix", libc::SYS_socket, [1, 1, 0, 0, 0, 0]),
    ("socket tcp", libc::SYS_socket, [2, 1, 0, 0, 0, 0]),
    ("socket udp over ipv6", libc::SYS_socket, [10, 2 | libc::SOCK_CLOEXEC as i64, 0, 0, 0, 0]),
    ("socket routes", libc::SYS_socket, [16, 3, 0, 0, 0, 0]),
    ("socket audit", libc::SYS_socket, [16, 3, 9, 0, 0, 0]),
    ("socket raw", libc::SYS_socket, [2, 3 | libc::SOCK_CLOEXEC as i64, 1, 0, 0, 0]),
    ("socket packet", libc::SYS_socket, [17, 3, 0, 0, 0, 0]),
    ("socket vsock", libc::SYS_socket, [40, 1, 0, 0, 0, 0]),
    ("socket alg", libc::SYS_socket, [38, 5, 0, 0, 0, 0]),
    ("socketpair", libc::SYS_socketpair, [1, 1, 0, 0, 0, 0]),
];

pub(crate) fn run(name: &str) -> ExitCode {
    match name {
        "calls" => {
            for (name, number, arguments) in CALLS {
                println!("{name}: {}", call(*number, *arguments));
            }
        }
        "another table" => println!("{}", call(0x4000_0000 | libc::SYS_getpid, [0; 6])),
        "loopback" => talk_to_itself(),
        "init" => {
            let read = ["/proc/1/environ", "/proc/1/exe", "/proc/1/mem"]
                .map(|path| std::fs::File::open(path).is_ok());
            println!("{read:?}");
        }
        other => match other.split_once(' ') {
            Some(("tcp", address)) => println!("{}", TcpStream::connect(address).is_ok()),
            Some(("abstract", name)) => {
                let address = SocketAddr::from_abstract_name(name).unwrap();
                println!("{}", UnixStream::connect_addr(&address).is_ok());
            }
            _ => panic!("no probe {other}"),
        },
    }
    ExitCode::SUCCESS
}

fn call(number: i64, [a, b, c, d, e, f]: [i64; 6]) -> String {
    // SAFETY: all pointers among the arguments are null, so that a call that is let through fails or does nothing here.
    let result = unsafe { libc::syscall(number, a, b, c, d, e, f) };
    if result >= 0 {
        return "ok".to_owned();
    }
    let error = std::io::Error::last_os_error();
    match error.raw_os_error() {
        Some(libc::EPERM) => "denied".to_owned(),
        Some(libc::ENOSYS) => "unknown".to_owned(),
        Some(libc::EFAULT) => "bad address".to_owned(),
        _ => error.to_string(),
    }
}

fn talk_to_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    client.write_all(b"hello").unwrap();
    drop(client);
    let mut text = String::new();
    listener.accept().unwrap().0.read_to_string(&mut text).unwrap();
    println!("{text}");
}
