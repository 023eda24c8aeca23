//! Walls that stand, with nobody behind them yet: a task's first process that waits for a command at a socket.
//!
//! What it then is told makes it the first process of that command, with the same steps as one that was told before it began. It
//! is told once: behind these walls nobody was before, and nobody will be after.
//!
//! The message, in the machine's own order of bytes; with its first byte come three descriptors, stdin, stdout and stderr:
//!
//! ```text
//!  0  4  bytes after these 20, at most BYTES_MAX
//!  4  4  programs to try
//!  8  4  arguments
//! 12  4  variables
//! 16  4  1 if stdin is to be the controlling terminal, else 0
//! 20     the working folder, the programs, the arguments, the variables, each with a zero byte behind it
//! ```
//!
//! The process says [`READY`] when it waits, and later what a process without a slot says: nothing, or its fault.

use std::ffi::{CStr, CString};
use std::io::{IoSlice, IoSliceMut};
use std::mem::{self, MaybeUninit};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, send, sendmsg, socketpair,
};
use rustix::process::Signal;

use super::error::{At as _, Fault, Step};
use super::plan::Command;
use super::program::{Program, Words};
use super::raw::{Room, Strings};
use super::{Child, ConfineError, FileId, child, report};

/// Said by a process that waits. A fault has another length.
pub(super) const READY: u8 = 1;

/// Of a command with its environment. A larger one starts without a slot; most have some KiB.
const BYTES_MAX: usize = 256 << 10;
/// Of each kind.
const STRINGS_MAX: usize = 4096;
const HEADER_BYTES: usize = 20;

/// A process behind its walls that waits for its command, and ends if this is dropped.
#[derive(Debug)]
pub struct Slot {
    child: Child,
    line: OwnedFd,
    /// What was bound into its root, and which files they were.
    bound: Vec<(PathBuf, FileId)>,
}

/// Where the process puts what it is told; made before the process.
#[derive(Debug)]
pub(super) struct Told {
    bytes: Vec<u8>,
    programs: Room,
    argv: Room,
    environment: Room,
}

impl Told {
    pub(super) fn new() -> Self {
        Told {
            bytes: Vec::with_capacity(BYTES_MAX),
            programs: Room::new(STRINGS_MAX),
            argv: Room::new(STRINGS_MAX),
            environment: Room::new(STRINGS_MAX),
        }
    }
}

/// Our end, and the process's.
pub(super) fn line() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(
        AddressFamily::UNIX,
        SocketType::STREAM,
        SocketFlags::CLOEXEC,
        None,
    )
}

impl Slot {
    pub(super) fn new(child: Child, line: OwnedFd, bound: Vec<(PathBuf, FileId)>) -> Self {
        Slot { child, line, bound }
    }

    /// Its process waits, and each file and folder that was bound is still the one at its path.
    pub fn is_current(&self) -> bool {
        let mut ended = [PollFd::new(&self.child.pidfd, PollFlags::IN)];
        let waits = matches!(poll(&mut ended, Some(&Timespec::default())), Ok(0));
        let mut bound = self.bound.iter();
        let is_there = |(path, id): &(PathBuf, FileId)| {
            let found = rustix::fs::stat(path);
            found.is_ok_and(|found| (found.st_dev, found.st_ino) == *id)
        };
        waits && bound.all(is_there)
    }

    /// Starts a command behind these walls, as [`spawn`](super::spawn) does behind new ones.
    ///
    /// # Errors
    /// At [`Step::HandOver`] nothing of the command has run, and it may be started elsewhere: the slot's process is gone, or the
    /// command is too long for one. All others are the command's.
    pub fn start(self, command: &Command) -> Result<Child, ConfineError> {
        let told = Words::of(command).and_then(|words| {
            let failed = |errno| ConfineError::new(Step::HandOver, errno);
            let message = message(command, &words).map_err(failed)?;
            tell(self.line.as_fd(), &message, &command.stdio).map_err(failed)?;
            Ok(words)
        });
        match told {
            Ok(words) => match report(&self.line) {
                None => Ok(self.child),
                Some(fault) => {
                    // Its end is known already; this only takes it off the list of processes.
                    self.child.wait().ok();
                    Err(words.explain(command, ConfineError::new(fault.step, fault.errno)))
                }
            },
            Err(error) => {
                self.end();
                Err(error)
            }
        }
    }

    /// Ends it, and waits until nothing of it is left.
    pub fn end(self) {
        // One that has ended already is as good.
        rustix::process::pidfd_send_signal(&self.child.pidfd, Signal::KILL).ok();
        self.child.wait().ok();
    }
}

fn message(command: &Command, words: &Words) -> Result<Vec<u8>, Errno> {
    let lists: [&[CString]; 3] = [&words.programs, &command.argv, &command.environment];
    if lists.iter().any(|list| list.len() > STRINGS_MAX) {
        return Err(Errno::TOOBIG);
    }
    let folder = std::slice::from_ref(&words.working_folder);
    let strings = [folder].into_iter().chain(lists).flatten();
    let body: Vec<u8> = strings
        .flat_map(|string| string.as_bytes_with_nul())
        .copied()
        .collect();
    if body.len() > BYTES_MAX {
        return Err(Errno::TOOBIG);
    }
    let [programs, arguments, variables] = lists.map(<[CString]>::len);
    let header = [
        body.len(),
        programs,
        arguments,
        variables,
        usize::from(command.terminal),
    ];
    let numbers = header
        .into_iter()
        .map(|number| u32::try_from(number).unwrap_or(u32::MAX));
    Ok(numbers.flat_map(u32::to_ne_bytes).chain(body).collect())
}

fn tell(line: BorrowedFd<'_>, message: &[u8], stdio: &[OwnedFd; 3]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut with = SendAncillaryBuffer::new(&mut space);
    let stdio = stdio.each_ref().map(OwnedFd::as_fd);
    if !with.push(SendAncillaryMessage::ScmRights(&stdio)) {
        return Err(Errno::NOBUFS);
    }
    let mut sent = sendmsg(line, &[IoSlice::new(message)], &mut with, SendFlags::NOSIGNAL)?;
    while let Some(rest) = message.get(sent..).filter(|rest| !rest.is_empty()) {
        match send(line, rest, SendFlags::NOSIGNAL) {
            Ok(count) => sent += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// In the process: waits until it is told its command, and has that one's stdio and working folder. `None` if nobody wants it.
/// As everywhere between fork and exec nothing is allocated: see `raw.rs`.
pub(super) fn wait<'a>(line: BorrowedFd<'_>, told: &'a mut Told) -> Result<Option<Program<'a>>, Fault> {
    let mut header = [0; HEADER_BYTES];
    let Some(stdio) = hear(line, &mut header).at(Step::HandOver)? else {
        return Ok(None);
    };
    child::place(&stdio)?;
    // Their numbers may be those that were just given away.
    mem::forget(stdio);
    let mut numbers = header.chunks_exact(4).map(|bytes| {
        let number = u32::from_ne_bytes(bytes.try_into().unwrap_or_default());
        usize::try_from(number).unwrap_or(usize::MAX)
    });
    let mut number = || numbers.next().unwrap_or_default();
    let (bytes, programs, arguments, variables, terminal) =
        (number(), number(), number(), number(), number());
    if bytes > BYTES_MAX {
        return Err(Errno::TOOBIG).at(Step::HandOver);
    }
    while told.bytes.len() < bytes {
        match rustix::io::read(line, spare_capacity(&mut told.bytes)) {
            Ok(0) => return Err(Errno::PIPE).at(Step::HandOver),
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno).at(Step::HandOver),
        }
    }
    let strings = told.bytes.split_inclusive(|byte| *byte == 0);
    let mut strings = strings.filter_map(|bytes| CStr::from_bytes_with_nul(bytes).ok());
    let working_folder = strings.next().ok_or(Errno::BADMSG).at(Step::HandOver)?;
    let mut list = |room: &mut Room, len| Strings::within(mem::take(room), strings.by_ref().take(len));
    let program = Program {
        programs: list(&mut told.programs, programs),
        argv: list(&mut told.argv, arguments),
        environment: list(&mut told.environment, variables),
        working_folder,
        terminal: terminal != 0,
    };
    rustix::process::chdir(working_folder).at(Step::WorkingFolder)?;
    Ok(Some(program))
}

/// The header and the descriptors that come with it. `None` if the other end is closed.
fn hear(line: BorrowedFd<'_>, header: &mut [u8; HEADER_BYTES]) -> Result<Option<[OwnedFd; 3]>, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3))];
    let mut with = RecvAncillaryBuffer::new(&mut space);
    let received = loop {
        match recvmsg(
            line,
            &mut [IoSliceMut::new(header)],
            &mut with,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            received => break received?,
        }
    };
    let mut stdio = [const { None }; 3];
    let rights = with.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => Some(rights),
        _ => None,
    });
    for (fd, place) in rights.flatten().zip(&mut stdio) {
        *place = Some(fd);
    }
    match (received.bytes, stdio) {
        (0, _) => Ok(None),
        (HEADER_BYTES, [Some(stdin), Some(stdout), Some(stderr)]) => Ok(Some([stdin, stdout, stderr])),
        _ => Err(Errno::BADMSG),
    }
}
