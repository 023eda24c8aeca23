//! The calls that the compiler cannot vouch for: forking, and what is done between a fork and an exec.
#![allow(unsafe_code, reason = "each block says why it may")]

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::{Pid, Signal};

/// On which side of a fork we are.
#[derive(Debug)]
pub(crate) enum Forked {
    Parent(Pid),
    Child,
}

/// Makes a copy of this process.
///
/// # Errors
/// When there is no room for one, or this process has other threads: the copy would have their locks without them.
pub(crate) fn fork() -> io::Result<Forked> {
    let threads = fs_err::read_dir("/proc/self/task")?.count();
    if threads != 1 {
        return Err(io::Error::other(format!(
            "a process with {threads} threads is not forked"
        )));
    }
    // SAFETY: this is the only thread, so no lock is held by one that the copy does not have, and the copy may do whatever
    // we may.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Forked::Child),
        pid => Ok(Forked::Parent(
            Pid::from_raw(pid).expect("a child's pid is positive"),
        )),
    }
}

/// Ends a fork of ours, and nothing of what we would do at our own end.
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: it does not return, and runs nothing.
    unsafe { libc::_exit(code) }
}

/// What becomes of a signal.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Disposition {
    Default,
    Ignore,
}

pub(crate) fn dispose(signals: &[Signal], disposition: Disposition) {
    let handler = match disposition {
        Disposition::Default => libc::SIG_DFL,
        Disposition::Ignore => libc::SIG_IGN,
    };
    for signal in signals {
        // SAFETY: neither of these runs code of ours.
        unsafe { libc::signal(signal.as_raw(), handler) };
    }
}

/// How a command stands to us.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// Its standard input is the terminal of a session of its own; else it has only a process group of its own.
    pub has_terminal: bool,
}

/// Has the command end when we do, and have its own session or group.
pub(crate) fn stand(command: &mut Command, standing: Standing) {
    let before_exec = move || {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
        if standing.has_terminal {
            rustix::process::setsid()?;
            rustix::process::ioctl_tiocsctty(rustix::stdio::stdin())?;
        } else {
            rustix::process::setpgid(None, None)?;
        }
        // What we ignore it should not.
        dispose(&IGNORED, Disposition::Default);
        Ok(())
    };
    // SAFETY: these are system calls and nothing else: no memory is taken, no lock.
    unsafe { command.pre_exec(before_exec) };
}

/// What a shim does not end by.
pub(crate) const IGNORED: [Signal; 5] = [Signal::HUP, Signal::INT, Signal::PIPE, Signal::QUIT, Signal::TERM];
