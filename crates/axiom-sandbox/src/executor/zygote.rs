//! A job of a zygote: Python that runs already forks itself for it. What is said to the zygote, and by it, stands in `zygote.py`;
//! who starts zygotes and ends them is the [pool](crate::pool).
//!
//! The job is no child of ours but the zygote's, which ends what the job leaves behind, and the job if we are killed. What holds
//! a zygote and its jobs apart is what holds processes of one user apart: nothing. Jobs that kill their zygote end as broken, with
//! what they have started, since all of it is below the zygote's own shim.

use std::io::{self, IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::net::sockopt::{Timeout, set_socket_passcred, set_socket_timeout};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketAddrUnix, SocketFlags, SocketType, connect, recvmsg,
    sendmsg, shutdown, socket_with,
};
use rustix::process::{Pid, Signal, pidfd_send_signal};

use crate::exit::How;
use crate::spawner::NotStarted;
use crate::spawner::walls::Ground;
use crate::spec::{self, Spec};

use super::{Executor, Held, Slot, tree};

/// A zygote forks and answers: some milliseconds, unless the machine is very busy.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// A packet says a few words, or why something failed.
const PACKET_BYTES_MAX: usize = 4096;
/// For whom a zygote is too much trouble.
const HINT: &str = "the executor `process` starts a Python of its own";

#[derive(Debug)]
pub(crate) struct Zygote<'a> {
    pub(super) pool: &'a spec::Zygote,
}

/// A zygote that is connected.
struct Connected<'a> {
    spec: &'a Spec,
    link: OwnedFd,
}

#[derive(Debug)]
struct Forked {
    link: OwnedFd,
    zygote: Pid,
    job: Pid,
    pidfd: OwnedFd,
}

/// What a zygote or a job says.
#[derive(Debug, PartialEq, Eq)]
enum Said {
    Forked,
    Started,
    Failed(String),
    Ended(How),
    /// What nobody understands.
    Garbled(String),
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
        let (mut zygote, mut job) = (None, None);
        // Which of them comes first is theirs to settle.
        while zygote.is_none() || job.is_none() {
            let Packet { said, from, fd } = self.hear()?;
            match (said, fd) {
                (Said::Forked, Some(pidfd)) => zygote = Some((from, pidfd)),
                (Said::Started, _) => job = Some(from),
                (Said::Failed(why), _) => return Err(refused(&why)),
                (said, _) => return Err(refused(&format_args!("it says {said:?}"))),
            }
        }
        let ((zygote, pidfd), job) = zygote.zip(job).expect("both were waited for");
        Ok(Box::new(Forked {
            link: self.link,
            zygote,
            job,
            pidfd,
        }))
    }
}

impl Connected<'_> {
    fn send(&self, stdio: &[OwnedFd; 3]) -> io::Result<()> {
        // More than a packet can be.
        let mut file = std::fs::File::from(memfd_create("job", MemfdFlags::CLOEXEC)?);
        file.write_all(&job(self.spec))?;
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
            Ok(Some(packet)) => Ok(packet),
            Ok(None) => Err(refused(&"it has ended")),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                Err(refused(&format_args!("no answer within {ANSWER_TIME:?}")))
            }
            Err(error) => Err(refused(&error)),
        }
    }
}

/// Its folder, its arguments and its environment: texts, each with a NUL behind it, which none has in it.
fn job(spec: &Spec) -> Vec<u8> {
    let mut texts = spec.folder.as_os_str().as_bytes().to_vec();
    texts.push(0);
    let count = spec.argv.len().to_string();
    let arguments = spec.argv.iter().cloned();
    let variables = spec.env.iter().map(|(name, value)| format!("{name}={value}"));
    for text in std::iter::once(count).chain(arguments).chain(variables) {
        texts.extend_from_slice(text.as_bytes());
        texts.push(0);
    }
    texts
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

impl Said {
    fn read(bytes: &[u8]) -> Said {
        let text = String::from_utf8_lossy(bytes);
        let (word, rest) = text.split_once(' ').unwrap_or((&text, ""));
        match (word, rest.parse()) {
            ("forked", _) => Said::Forked,
            ("started", _) => Said::Started,
            ("failed", _) => Said::Failed(rest.to_owned()),
            ("code", Ok(code)) => Said::Ended(How::Code(code)),
            ("signal", Ok(signal)) => Said::Ended(How::Signal(signal)),
            _ => Said::Garbled(text.into_owned()),
        }
    }
}

/// `None` if there will be none.
fn hear(link: &OwnedFd, flags: RecvFlags) -> io::Result<Option<Packet>> {
    let mut bytes = [0; PACKET_BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1), ScmCredentials(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let count = loop {
        match recvmsg(
            link,
            &mut [IoSliceMut::new(&mut bytes)],
            &mut ancillary,
            flags | RecvFlags::CMSG_CLOEXEC,
        ) {
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
    let said = Said::read(&bytes[..count]);
    Ok(Some(Packet { said, from, fd }))
}

impl Held for Forked {
    fn pid(&self) -> Pid {
        self.job
    }

    fn ending(&self) -> BorrowedFd<'_> {
        self.link.as_fd()
    }

    fn ended(&mut self, _: &Spec) -> io::Result<Option<How>> {
        let why = match hear(&self.link, RecvFlags::DONTWAIT) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Ok(Some(packet)) => match packet.said {
                Said::Ended(how) if packet.from == self.zygote => return Ok(Some(how)),
                said => format!("its zygote says what was not asked: {said:?}"),
            },
            Ok(None) => "its zygote was ended before it".to_owned(),
            Err(error) => format!("its zygote cannot be heard: {error}"),
        };
        // Nobody else does, it may be.
        pidfd_send_signal(&self.pidfd, Signal::KILL).ok();
        tree::kill_below(&[self.job]);
        Ok(Some(How::Broken { why }))
    }

    /// What it has started comes to the zygote, which ends it before it tells of the end. One that is stopped itself does not;
    /// then that is all that can be done.
    fn kill(&mut self) {
        pidfd_send_signal(&self.pidfd, Signal::KILL).ok();
        let mut told = [PollFd::new(&self.link, PollFlags::IN)];
        let wait = Timespec::try_from(ANSWER_TIME).unwrap_or_default();
        if !matches!(poll(&mut told, Some(&wait)), Ok(1..)) {
            shutdown(&self.link, Shutdown::Both).ok();
        }
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        // It has a session of its own.
        rustix::process::kill_process_group(self.job, signal)
            .map_err(|error| format!("its processes take no signal: {error}"))
    }

    /// Each process is stopped, which they can see.
    fn freeze(&mut self, freeze: bool) -> Result<(), String> {
        let signal = if freeze { Signal::STOP } else { Signal::CONT };
        pidfd_send_signal(&self.pidfd, signal)
            .map_err(|error| format!("its processes take no signal: {error}"))?;
        tree::signal_below(&[self.job], signal);
        Ok(())
    }

    /// The zygote has told of the end only when nothing was left.
    fn clear(&mut self, _: bool) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_understood() {
        let check = |text: &str, expected: Said| assert_eq!(Said::read(text.as_bytes()), expected);
        check("forked", Said::Forked);
        check("started", Said::Started);
        check("failed no folder", Said::Failed("no folder".to_owned()));
        check("code 3", Said::Ended(How::Code(3)));
        check("signal 9", Said::Ended(How::Signal(9)));
        for garbled in ["", "code", "code x", "coded 3"] {
            check(garbled, Said::Garbled(garbled.to_owned()));
        }
    }
}
