//! One request to a worker: a process that has started already, is a task itself, and answers one request at a time.
//!
//! Who has a worker holds a lock on the file `lease` in its folder, so no two tasks talk to one at once. While a request is under way
//! there is a file `busy` beside it; a worker that has it and no holder was left in the middle of an answer. Such a one is ended, and so is
//! every worker whose task did not end well: what it would say next is nobody's answer.
//!
//! The request and its answer are carried by a small process between the worker's shim and the task's own pipes, a fork of the task's
//! shim. So output, limits and the kill are as for any command.

use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{FlockOperation, MemfdFlags, flock, memfd_create};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open};

use crate::exit::How;
use crate::output::{Next, Reader, Source};
use crate::raw::{self, Forked};
use crate::shim::{OUTPUT, SOCKET};
use crate::spawner::NotStarted;
use crate::spawner::walls::Ground;
use crate::spec::{self, Protocol, Spec};
use crate::wait;
use crate::wire::{Message, Reply, Request};

use super::process::reaped;
use super::{Executor, Held, Slot};

use answer::{Answer, Line};

mod answer;

pub(crate) const LEASE: &str = "lease";
pub(crate) const BUSY: &str = "busy";

/// The code of a relay that has said why in its note; of those that a program may end with, only ours does with this one.
const BROKEN: i32 = 70;
/// A shim ends its task within milliseconds.
const END_TIME: Duration = Duration::from_secs(5);
/// The relay of a shim that was killed holds the lock for a moment longer.
const LEASE_TIME: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 16 << 10;
const HINT: &str = "a pool has another worker for the next task";

#[derive(Debug)]
pub(crate) struct Worker<'a> {
    pub(super) settings: &'a spec::Worker,
}

/// A worker that is ours.
struct Leased<'a> {
    spec: &'a Spec,
    protocol: Protocol,
    worker: Mine,
    line: UnixStream,
    reader: Reader,
}

#[derive(Debug)]
struct Mine {
    folder: PathBuf,
    /// Locked.
    lease: File,
}

/// A request under way.
#[derive(Debug)]
struct Asked {
    relay: Pid,
    pidfd: OwnedFd,
    worker: Mine,
    /// Where the relay says why it failed.
    note: File,
}

impl Executor for Worker<'_> {
    fn prepare<'a>(&self, spec: &'a Spec, _: &'a Ground) -> Result<Box<dyn Slot + 'a>, NotStarted> {
        let folder = &self.settings.folder;
        let gone = |error: io::Error| {
            NotStarted::new(format!("there is no worker at {}: {error}", folder.display())).hint(HINT)
        };
        let lease = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join(LEASE))
            .map_err(gone)?;
        let locked = wait::until(LEASE_TIME, || {
            match flock(&lease, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => Ok(true),
                Err(Errno::WOULDBLOCK) => Ok(false),
                Err(error) => Err(gone(error.into())),
            }
        });
        if !locked? {
            let why = format!("the worker at {} has another task", folder.display());
            return Err(NotStarted::new(why).hint(HINT));
        }
        let worker = Mine {
            folder: folder.clone(),
            lease,
        };
        if folder.join(BUSY).exists() {
            worker.end("it was left in the middle of an answer");
            let why = format!(
                "the worker at {} was left in the middle of an answer",
                folder.display()
            );
            return Err(NotStarted::new(why).hint(HINT));
        }
        let line = connect(folder).map_err(gone)?;
        let mut reader = Reader::open(&folder.join(OUTPUT)).map_err(gone)?;
        // What it has said to others.
        while let Next::Frame(_) = reader.next(false).map_err(gone)? {}
        fs_err::write(folder.join(BUSY), "").map_err(gone)?;
        Ok(Box::new(Leased {
            spec,
            protocol: self.settings.protocol,
            worker,
            line,
            reader,
        }))
    }
}

impl Slot for Leased<'_> {
    fn start(self: Box<Self>, stdio: [OwnedFd; 3]) -> Result<Box<dyn Held>, NotStarted> {
        let no_relay = |error: io::Error| NotStarted::new(format!("nothing carries its request: {error}"));
        let note = memfd_create("note", MemfdFlags::CLOEXEC).map_err(|error| no_relay(error.into()))?;
        let note = File::from(note);
        let spec = self.spec;
        let request = spec.argv.first().map_or("", String::as_str);
        let this = rustix::process::getpid();
        match raw::fork().map_err(no_relay)? {
            Forked::Parent(relay) => Ok(Box::new(Asked {
                relay,
                pidfd: pidfd_open(relay, PidfdFlags::empty()).map_err(|error| no_relay(error.into()))?,
                worker: self.worker,
                note,
            })),
            Forked::Child => {
                let Leased {
                    protocol,
                    line,
                    reader,
                    ..
                } = *self;
                let relay = Relay { line, reader };
                raw::exit(relay.run(request, protocol, stdio, &note, this))
            }
        }
    }
}

/// The process between.
struct Relay {
    line: UnixStream,
    reader: Reader,
}

impl Relay {
    fn run(
        mut self,
        request: &str,
        protocol: Protocol,
        stdio: [OwnedFd; 3],
        mut note: &File,
        shim: Pid,
    ) -> i32 {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).ok();
        rustix::process::setpgid(None, None).ok();
        if rustix::process::getppid() != Some(shim) {
            return BROKEN;
        }
        match self.ask(request, protocol, stdio) {
            Ok(()) => 0,
            Err(why) => {
                note.write_all(why.as_bytes()).ok();
                BROKEN
            }
        }
    }

    fn ask(&mut self, request: &str, protocol: Protocol, stdio: [OwnedFd; 3]) -> Result<(), String> {
        let [_, stdout, stderr] = stdio;
        let (mut stdout, mut stderr) = (File::from(stdout), File::from(stderr));
        let unheard = |error: io::Error| format!("its worker cannot be talked to: {error}");
        let mut answer = Answer::new(protocol);
        let mut bytes = Vec::new();
        Message::Input(answer.request(request).into_bytes()).push(&mut bytes);
        self.line.write_all(&bytes).map_err(unheard)?;
        let mut heard = Vec::new();
        let mut end = None;
        loop {
            while let Next::Frame(frame) = self.reader.next(end.is_some()).map_err(unheard)? {
                if frame.source == Source::Stderr {
                    stderr.write_all(frame.bytes).map_err(unheard)?;
                    continue;
                }
                answer.take(frame.bytes);
            }
            while let Some(line) = answer.next()? {
                match line {
                    Line::Said(line) => stdout.write_all(line.as_bytes()).map_err(unheard)?,
                    Line::End => {
                        // It may forget that, and say as much again.
                        let mut bytes = Vec::new();
                        Message::Request(Request::Taken(self.reader.position())).push(&mut bytes);
                        return self.line.write_all(&bytes).map_err(unheard);
                    }
                }
            }
            if let Some(end) = end {
                return Err(format!("its worker ended before it had answered: {end}"));
            }
            end = self.listen(&mut heard).map_err(unheard)?;
        }
    }

    /// Waits for news. Gives the worker's end, if that is what they are.
    fn listen(&mut self, heard: &mut Vec<u8>) -> io::Result<Option<String>> {
        let mut buffer = [0; READ_BYTES];
        let count = self.line.read(&mut buffer)?;
        if count == 0 {
            return Ok(Some("its shim was killed".to_owned()));
        }
        heard.extend_from_slice(&buffer[..count]);
        while let Some((message, took)) = Message::read(heard).map_err(io::Error::other)? {
            heard.drain(..took);
            if let Message::Reply(Reply::Ended(exit)) = message {
                return Ok(Some(format!("{:?}", exit.how)));
            }
        }
        Ok(None)
    }
}

/// By way of the folder's descriptor: the path of a socket has 107 bytes at most.
fn connect(folder: &Path) -> io::Result<UnixStream> {
    let folder = fs_err::File::open(folder)?;
    UnixStream::connect(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd()))
}

impl Mine {
    /// Ends it with all that it has started, and waits for that; not for ever.
    fn end(&self, why: &str) {
        let ended = connect(&self.folder).and_then(|mut line| {
            line.set_read_timeout(Some(END_TIME))?;
            let mut bytes = Vec::new();
            Message::Request(Request::Kill { why: why.to_owned() }).push(&mut bytes);
            line.write_all(&bytes)?;
            line.read_to_end(&mut Vec::new())
        });
        if let Err(error) = ended {
            tracing::warn!(%error, worker = %self.folder.display(), "a worker was not seen to its end");
        }
    }
}

impl Held for Asked {
    fn pid(&self) -> Pid {
        self.relay
    }

    fn ending(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn ended(&mut self, _: &Spec) -> io::Result<Option<How>> {
        let how = reaped(self.relay)?;
        if how != Some(How::Code(BROKEN)) {
            return Ok(how);
        }
        let mut why = vec![0; READ_BYTES];
        let count = rustix::io::pread(&self.note, &mut why[..], 0)?;
        why.truncate(count);
        Ok(Some(How::Broken {
            why: String::from_utf8_lossy(&why).into_owned(),
        }))
    }

    fn kill(&mut self) {
        rustix::process::kill_process(self.relay, Signal::KILL).ok();
    }

    fn signal(&self, _: Signal) -> Result<(), String> {
        Err("it is a request to a worker, which others need: it can only be killed".to_owned())
    }

    fn freeze(&mut self, _: bool) -> Result<(), String> {
        Err("it is a request to a worker, which others need: it can only be killed".to_owned())
    }

    fn clear(&mut self, is_well: bool) {
        // What it says from now on would be taken for another's answer.
        if !is_well || fs_err::remove_file(self.worker.folder.join(BUSY)).is_err() {
            self.worker.end("a task of it did not end well");
        }
        // Before anybody hears of the end and asks it again.
        flock(&self.worker.lease, FlockOperation::Unlock).ok();
    }
}
