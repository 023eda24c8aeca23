//! A job of a zygote: Python that runs already forks itself for it. What is said to the zygote, and by it, stands in `zygote.py`;
//! who starts zygotes and ends them is the [pool](crate::pool).
//!
//! The job is no child of ours but of its *keeper*, a fork of the zygote that is there for this job alone. What the job starts and
//! leaves behind becomes the keeper's, so all of it is found below the keeper, and the keeper ends it if we are killed. What holds
//! zygote and jobs apart is what holds processes of one user apart: nothing. A job that kills its keeper ends as broken; what it
//! has left behind then ends with the zygote.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::fs::{MemfdFlags, SeekFrom, memfd_create, seek};
use rustix::net::sockopt::{Timeout, set_socket_passcred, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg, sendmsg,
    socket_with,
};
use rustix::process::{Pid, Signal, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use crate::exit::How;
use crate::spawner::NotStarted;
use crate::spawner::walls::Ground;
use crate::spec::{self, Spec};

use super::{Executor, Held, Slot, tree};

/// A zygote forks twice and answers: some milliseconds, unless the machine is very busy.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// A packet says a few words, or why something failed.
const PACKET_BYTES_MAX: usize = 4096;
/// For whom a zygote is too much trouble.
const HINT: &str = "the executor `process` starts a Python of its own";

#[derive(Debug)]
pub(crate) struct Zygote<'a> {
    pub(super) pool: &'a spec::Zygote,
}

/// A zygote that is connected, and has a keeper for us.
struct Connected<'a> {
    spec: &'a Spec,
    link: OwnedFd,
}

#[derive(Debug)]
struct Kept {
    link: OwnedFd,
    job: Pid,
    pidfd: OwnedFd,
    keeper: Pid,
    /// There may be processes that the job has left.
    left: bool,
}

/// What a job is, for the zygote.
#[derive(Debug, Serialize)]
struct Job<'a> {
    argv: &'a [String],
    env: &'a std::collections::BTreeMap<String, String>,
    folder: &'a std::path::Path,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Said {
    kept: bool,
    started: bool,
    failed: Option<String>,
    ended: Option<Ended>,
    left: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Ended {
    Code(i32),
    Signal(i32),
}

impl Executor for Zygote<'_> {
    fn prepare<'a>(&self, spec: &'a Spec, _: &'a Ground) -> Result<Box<dyn Slot + 'a>, NotStarted> {
        let link = self.connect().map_err(|error| {
            let socket = self.pool.socket.display();
            NotStarted::new(format!("no zygote takes jobs at {socket}: {error}"))
                .hint("has it ended? A pool starts another one for the next job")
        })?;
        Ok(Box::new(Connected { spec, link }))
    }
}

impl Zygote<'_> {
    fn connect(&self) -> io::Result<OwnedFd> {
        let (Some(folder), Some(name)) = (self.pool.socket.parent(), self.pool.socket.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        // By way of the folder's descriptor: the path of a socket has 107 bytes at most.
        let folder = fs_err::File::open(folder)?;
        let path = std::path::Path::new("/proc/self/fd")
            .join(folder.as_raw_fd().to_string())
            .join(name);
        let link = socket_with(
            AddressFamily::UNIX,
            SocketType::SEQPACKET,
            SocketFlags::CLOEXEC,
            None,
        )?;
        set_socket_timeout(&link, Timeout::Recv, Some(ANSWER_TIME))?;
        set_socket_timeout(&link, Timeout::Send, Some(ANSWER_TIME))?;
        // Each packet says who has sent it, by the number that the process has here.
        set_socket_passcred(&link, true)?;
        connect(&link, &SocketAddrUnix::new(path)?)?;
        Ok(link)
    }
}

impl Slot for Connected<'_> {
    fn start(self: Box<Self>, stdio: [OwnedFd; 3]) -> Result<Box<dyn Held>, NotStarted> {
        self.send(&stdio).map_err(|error| refused(&error))?;
        // The job keeps its ends as long as it lives; ours have to go, or the output never ends.
        drop(stdio);
        let (mut keeper, mut job) = (None, None);
        // Which of them comes first is theirs to settle.
        while keeper.is_none() || job.is_none() {
            match self.hear()? {
                Packet {
                    said: Said { kept: true, .. },
                    from,
                    fd: Some(pidfd),
                } => keeper = Some((from, pidfd)),
                Packet {
                    said: Said { started: true, .. },
                    from,
                    ..
                } => job = Some(from),
                Packet { said, .. } => return Err(refused(&format!("it says {said:?}"))),
            }
        }
        let ((keeper, pidfd), job) = keeper.zip(job).expect("both were waited for");
        Ok(Box::new(Kept {
            link: self.link,
            job,
            pidfd,
            keeper,
            left: true,
        }))
    }
}

impl Connected<'_> {
    fn send(&self, stdio: &[OwnedFd; 3]) -> io::Result<()> {
        let job = Job {
            argv: &self.spec.argv,
            env: &self.spec.env,
            folder: &self.spec.folder,
        };
        // More than a packet can be.
        let file = memfd_create("job", MemfdFlags::CLOEXEC)?;
        let mut file = std::fs::File::from(file);
        serde_json::to_writer(&mut file, &job)?;
        seek(&file, SeekFrom::Start(0))?;
        let [stdin, stdout, stderr] = stdio;
        let fds = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd(), file.as_fd()];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fits = ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        debug_assert!(fits, "there is space for four");
        sendmsg(
            &self.link,
            &[IoSlice::new(b"job")],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )?;
        Ok(())
    }

    /// What it says next of the job that it is to start.
    fn hear(&self) -> Result<Packet, NotStarted> {
        match hear(&self.link, RecvFlags::empty()) {
            Ok(Some(packet)) => match packet.said.failed {
                Some(why) => Err(refused(&why)),
                None => Ok(packet),
            },
            Ok(None) => Err(refused(&"it has ended")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(refused(&format_args!("no answer within {ANSWER_TIME:?}")))
            }
            Err(error) => Err(refused(&error)),
        }
    }
}

fn refused(why: &dyn std::fmt::Display) -> NotStarted {
    NotStarted::new(format!("its zygote does not start it: {why}")).hint(HINT)
}

/// What was said, by which process, and the descriptor that came with it.
#[derive(Debug)]
struct Packet {
    said: Said,
    from: Pid,
    fd: Option<OwnedFd>,
}

/// `None` if there will be none.
fn hear(link: &OwnedFd, flags: RecvFlags) -> io::Result<Option<Packet>> {
    let mut bytes = [0; PACKET_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let count = loop {
        match recvmsg(link, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags | RecvFlags::CMSG_CLOEXEC) {
            Ok(message) => break message.bytes,
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::CONNRESET) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    };
    if count == 0 {
        return Ok(None);
    }
    let (mut from, mut fd) = (None, None);
    for message in ancillary.drain() {
        match message {
            RecvAncillaryMessage::ScmCredentials(sender) => from = Some(sender.pid),
            RecvAncillaryMessage::ScmRights(mut fds) => fd = fds.next(),
            _ => {}
        }
    }
    let from = from.ok_or_else(|| io::Error::other("a packet of nobody"))?;
    let said = serde_json::from_slice(&bytes[..count])?;
    Ok(Some(Packet { said, from, fd }))
}

impl Held for Kept {
    fn pid(&self) -> Pid {
        self.job
    }

    fn ending(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    fn ended(&mut self, _: &Spec) -> io::Result<Option<How>> {
        let said = match hear(&self.link, RecvFlags::DONTWAIT) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            said => said,
        };
        let why = match said {
            Ok(Some(Packet {
                said:
                    Said {
                        ended: Some(ended),
                        left,
                        ..
                    },
                from,
                ..
            })) if from == self.keeper => {
                self.left = left;
                return Ok(Some(match ended {
                    Ended::Code(code) => How::Code(code),
                    Ended::Signal(signal) => How::Signal(signal),
                }));
            }
            Ok(Some(packet)) => format!("its zygote says what was not asked: {:?}", packet.said),
            Ok(None) => "its zygote was ended before it".to_owned(),
            Err(error) => format!("its zygote cannot be heard: {error}"),
        };
        self.kill();
        Ok(Some(How::Broken { why }))
    }

    fn kill(&mut self) {
        pidfd_send_signal(&self.pidfd, Signal::KILL).ok();
        tree::kill_below(&[self.keeper, self.job]);
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        // It has a session of its own.
        rustix::process::kill_process_group(self.job, signal)
            .map_err(|error| format!("its processes take no signal: {error}"))
    }

    /// Each process is stopped, which they can see. The keeper is not.
    fn freeze(&mut self, freeze: bool) -> Result<(), String> {
        let signal = if freeze { Signal::STOP } else { Signal::CONT };
        tree::signal_below(&[self.keeper], signal);
        Ok(())
    }

    fn clear(&mut self, _: bool) {
        if self.left {
            tree::kill_below(&[self.keeper]);
        }
        // Whatever is left then is left to the keeper, which ends when it hears this.
        rustix::net::shutdown(&self.link, rustix::net::Shutdown::Both).ok();
    }
}
