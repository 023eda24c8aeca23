//! One process for each task, between the task and whoever watches it. It outlives them: what a task puts out while nobody is
//! there is in a file, and its end is in another.
//!
//! A shim is a fork of the [spawner](crate::spawner), so a thousand of them share nearly all of their memory. It has one thread,
//! and waits in one place: for output, for room in the command's input, for the command's end, for clients, for the time.
//!
//! In the task's folder there are:
//!
//! ```text
//! spec.json     what the task was to be; there before the shim
//! output        what it has put out: see output
//! socket        where the shim listens: see wire; nobody does after the end
//! exit.json     how it ended: see exit; there at the end, and nothing changes after it
//! claimed       only where it was never started and never will be: see handle::claim
//! ```

use std::io;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use axiom_core::time;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use crate::executor::Held;
use crate::exit::{Exit, How};
use crate::output::{PAYLOAD_BYTES_MAX, Source, Writer};
use crate::spec::Spec;
use crate::wire::{Reply, Request, Status};

use clients::{Clients, Said};
use input::{First, Input};

mod clients;
mod input;

pub(crate) const SPEC: &str = "spec.json";
pub(crate) const OUTPUT: &str = "output";
pub(crate) const SOCKET: &str = "socket";
pub(crate) const EXIT: &str = "exit.json";

/// A disk that took no output is tried again after this.
const DISK_PAUSE: Duration = Duration::from_secs(1);
/// How long what is left of a task may hold its pipes open after its command has ended and everything was killed.
const DRAIN_TIME: Duration = Duration::from_secs(2);
/// How long all else may wait for the end of what was just killed. It comes within a millisecond, and a thousand tasks that are
/// killed at once come to theirs sooner if none of them is woken in between.
const KILL_TIME: Duration = Duration::from_millis(100);
/// What a killed task had to itself (a network, mounts) and the shim stay for so long after its end was told. Many are killed at once,
/// and what the kernel does to take one apart would come before the ends of others.
const RUIN_TIME: Duration = Duration::from_millis(300);
/// Output read from one pipe before the others have their turn.
const READS_AT_ONCE: usize = 4;

/// A command that runs.
#[derive(Debug)]
pub(crate) struct Started {
    /// What it reads; `None` if it reads nothing.
    pub input: Option<OwnedFd>,
    pub outputs: Vec<(Source, OwnedFd)>,
    /// The master's end of its terminal, if it has one.
    pub terminal: Option<OwnedFd>,
    pub held: Box<dyn Held>,
}

#[derive(Debug)]
struct Shim {
    spec: Spec,
    command: Command,
    outputs: Vec<Output>,
    input: Input,
    first: First,
    file: Writer,
    /// Output up to this byte of the file is kept elsewhere.
    taken: u64,
    disk: Disk,
    clients: Clients,
    /// Since when nobody has been attached.
    alone_since: Option<time::Instant>,
    /// Why it is being killed.
    end: Option<How>,
    is_frozen: bool,
}

#[derive(Debug)]
struct Command {
    held: Box<dyn Held>,
    terminal: Option<OwnedFd>,
    /// When it was started, nanoseconds since 1970.
    started: i64,
    began: time::Instant,
    /// How it ended, and when.
    ended: Option<(How, i64, time::Instant)>,
}

#[derive(Debug)]
struct Output {
    source: Source,
    fd: OwnedFd,
    /// What the disk did not take.
    left: Vec<u8>,
    is_open: bool,
}

#[derive(Debug, Default)]
struct Disk {
    error: Option<String>,
    again: Option<time::Instant>,
}

/// What somebody waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    Output(usize),
    Input,
    Command,
    Listener,
    Client(usize),
}

/// Runs a task's command to its end, in the task's folder, and leaves its [`Exit`] there. Blocks until then.
///
/// # Errors
/// When the folder takes no files. The command was killed, if it was started at all.
pub(crate) fn run(
    folder: &Path,
    spec: Spec,
    file: Writer,
    listener: UnixListener,
    started: Started,
) -> io::Result<Exit> {
    let mut shim = Shim::new(spec, file, listener, started)?;
    while !shim.is_over() {
        shim.turn()?;
    }
    let exit = shim.exit();
    // A full disk is waited for: how a task ended is not lost either.
    while let Err(error) = exit.write(&folder.join(EXIT)) {
        if !matches!(
            error.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            return Err(error);
        }
        std::thread::park_timeout(DISK_PAUSE);
    }
    shim.clients.tell_end(&exit);
    // Whoever comes now finds the end in the folder. The name of the socket stays there: ext4 looks at each file that was removed
    // of late before it makes another, and so a thousand ends would make each other slow.
    let Shim { clients, command, .. } = shim;
    drop(clients);
    if matches!(exit.how, How::Killed { .. }) {
        // With what is held of it, so that the kernel does not take that apart yet.
        std::thread::park_timeout(RUIN_TIME);
    }
    drop(command);
    Ok(exit)
}

impl Shim {
    fn new(spec: Spec, file: Writer, listener: UnixListener, started: Started) -> io::Result<Shim> {
        let Started {
            input,
            outputs,
            terminal,
            held,
        } = started;
        for (_, fd) in &outputs {
            rustix::io::ioctl_fionbio(fd, true)?;
        }
        let outputs = outputs.into_iter().map(|(source, fd)| Output {
            source,
            fd,
            left: Vec::new(),
            is_open: true,
        });
        Ok(Shim {
            spec,
            outputs: outputs.collect(),
            input: Input::new(input, terminal.is_some())?,
            first: First::default(),
            command: Command {
                held,
                terminal,
                started: time::unix_nanos(),
                began: time::now(),
                ended: None,
            },
            taken: file.end(),
            file,
            disk: Disk::default(),
            clients: Clients::new(listener)?,
            alone_since: Some(time::now()),
            end: None,
            is_frozen: false,
        })
    }

    /// The command has ended, everything that it left behind too, and all that they put out is in the file.
    fn is_over(&self) -> bool {
        let Some((_, _, since)) = &self.command.ended else {
            return false;
        };
        let has_output = self.outputs.iter().any(|output| output.is_open);
        // A full disk is waited for: what was put out is not lost for want of patience.
        !has_output || (since.elapsed() >= DRAIN_TIME && self.disk.error.is_none())
    }

    /// Waits until something happens, and does what it asks for.
    fn turn(&mut self) -> io::Result<()> {
        for ready in self.wait()? {
            match ready {
                Wait::Output(nth) => self.read(nth),
                Wait::Input => self.input.write(),
                Wait::Command => self.reap()?,
                Wait::Listener => self.clients.accept(self.file.end()),
                Wait::Client(nth) => self.hear(nth),
            }
        }
        self.clients.tell_read(self.input.gone());
        self.clients.drop_gone();
        self.alone_since = match self.clients.is_empty() {
            true => self.alone_since.or_else(|| Some(time::now())),
            false => None,
        };
        if self.disk.again.is_some_and(|again| again <= time::now()) {
            self.disk.again = None;
            (0..self.outputs.len()).for_each(|nth| self.keep(nth));
        }
        self.watch_limits();
        Ok(())
    }

    fn wait(&self) -> io::Result<Vec<Wait>> {
        let mut waits: Vec<(Wait, BorrowedFd<'_>, PollFlags)> = Vec::new();
        if !self.is_held() && self.disk.error.is_none() {
            let outputs = self
                .outputs
                .iter()
                .enumerate()
                .filter(|(_, output)| output.is_open);
            waits.extend(outputs.map(|(nth, output)| (Wait::Output(nth), output.fd.as_fd(), PollFlags::IN)));
        }
        if let Some(fd) = self.input.wanting() {
            waits.push((Wait::Input, fd, PollFlags::OUT));
        }
        if self.command.ended.is_none() {
            waits.push((Wait::Command, self.command.held.ending(), PollFlags::IN));
        }
        if let Some(fd) = self.clients.listening() {
            waits.push((Wait::Listener, fd, PollFlags::IN));
        }
        let clients = self.clients.waiting();
        waits.extend(clients.map(|(nth, fd, flags)| (Wait::Client(nth), fd, flags)));
        let mut fds: Vec<PollFd<'_>> = waits
            .iter()
            .map(|(_, fd, flags)| PollFd::from_borrowed_fd(*fd, *flags))
            .collect();
        let until = self.until().map(|until| {
            let left = until.saturating_duration_since(time::now());
            // A moment later rather than a moment before.
            Timespec::try_from(left + Duration::from_millis(1)).unwrap_or_default()
        });
        match poll(&mut fds, until.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = waits.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
        Ok(ready.map(|((wait, _, _), _)| *wait).collect())
    }

    /// When something is due.
    fn until(&self) -> Option<time::Instant> {
        let runs = self.end.is_none() && self.command.ended.is_none();
        let limits = &self.spec.limits;
        let wall = limits.wall.filter(|_| runs);
        let alone = self.alone_since.filter(|_| runs).zip(limits.unattended);
        let drained = self
            .command
            .ended
            .as_ref()
            // What waits for a disk waits for as long as that takes.
            .filter(|_| self.disk.error.is_none())
            .map(|(_, _, since)| *since + DRAIN_TIME);
        [
            wall.map(|wall| self.command.began + wall),
            alone.map(|(since, limit)| since + limit),
            drained,
            self.disk.again,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Nobody takes the output, and there is no more room for it.
    fn is_held(&self) -> bool {
        // What an ended command has left in its pipes is little.
        self.command.ended.is_none() && self.file.end() - self.taken > self.spec.spool_bytes
    }

    fn read(&mut self, nth: usize) {
        for _ in 0..READS_AT_ONCE {
            let output = &mut self.outputs[nth];
            if !output.is_open {
                return;
            }
            // Not cleared before: in a fork each page that is touched has to be made.
            output.left.reserve(PAYLOAD_BYTES_MAX);
            match rustix::io::read(&output.fd, spare_capacity(&mut output.left)) {
                Ok(0) => output.is_open = false,
                Ok(count) => {
                    self.keep(nth);
                    if count >= PAYLOAD_BYTES_MAX && !self.is_held() && self.disk.error.is_none() {
                        continue;
                    }
                }
                Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => {}
                // A terminal whose last process has closed it says EIO.
                Err(_) => output.is_open = false,
            }
            break;
        }
    }

    /// Puts what was read into the file.
    fn keep(&mut self, nth: usize) {
        let Output { source, left, .. } = &mut self.outputs[nth];
        if left.is_empty() {
            return;
        }
        match self.file.append(*source, time::unix_nanos(), left) {
            Ok(()) => {
                *left = Vec::new();
                self.disk.error = None;
            }
            Err(short) => {
                left.drain(..short.written);
                self.disk.error = Some(short.error.to_string());
                self.disk.again = Some(time::now() + DISK_PAUSE);
            }
        }
        self.clients.tell_grown(self.file.end());
    }

    fn watch_limits(&mut self) {
        if self.end.is_some() || self.command.ended.is_some() {
            return;
        }
        let limits = &self.spec.limits;
        let reached = |limit: &str, value: String| How::Limit {
            limit: limit.to_owned(),
            value,
        };
        if let Some(wall) = limits.wall
            && self.command.began.elapsed() >= wall
        {
            self.kill(reached("wall", format!("{wall:?}")));
        } else if let Some((since, limit)) = self.alone_since.zip(limits.unattended)
            && since.elapsed() >= limit
        {
            self.kill(reached("unattended", format!("{limit:?}")));
        } else if let Some(bytes) = limits.output_bytes
            && self.file.payload() > bytes
        {
            self.kill(reached("output_bytes", format!("{bytes} B")));
        }
    }

    /// Ends everything that the task has started.
    fn kill(&mut self, why: How) {
        if self.end.is_none() && self.command.ended.is_none() {
            self.end = Some(why);
            self.command.held.kill();
            // Its pipes close one by one before it is gone. If that takes longer, the usual wait hears of it.
            let mut ending = [PollFd::from_borrowed_fd(
                self.command.held.ending(),
                PollFlags::IN,
            )];
            let within = Timespec::try_from(KILL_TIME).unwrap_or_default();
            poll(&mut ending, Some(&within)).ok();
        }
    }

    /// The command has ended: what it left behind ends with it.
    fn reap(&mut self) -> io::Result<()> {
        let Some(how) = self.command.held.ended(&self.spec)? else {
            return Ok(());
        };
        let how = self.end.take().unwrap_or(how);
        let is_well = how == How::Code(0);
        self.command.ended = Some((how, time::unix_nanos(), time::now()));
        self.input.close();
        self.command.held.clear(is_well);
        // What is left in the pipes, and that they are closed: seldom is there anybody who still holds them.
        if self.disk.error.is_none() {
            (0..self.outputs.len()).for_each(|nth| self.read(nth));
        }
        Ok(())
    }

    fn hear(&mut self, nth: usize) {
        for said in self.clients.read(nth) {
            match said {
                Said::Input(bytes) => {
                    self.put(nth, &bytes);
                    self.clients.note_input(nth, self.input.put_in(), bytes.len());
                }
                Said::Request(Request::FirstInput { bytes, ends }) => {
                    self.clients.begin_first(nth, bytes);
                    self.first.declare(bytes, ends);
                    self.end_first();
                    self.clients.answer(nth, &Reply::Done);
                }
                Said::Request(request) => {
                    let reply = self.answer(request);
                    self.clients.answer(nth, &reply);
                }
            }
        }
    }

    /// Puts in what was not put in before.
    fn put(&mut self, nth: usize, bytes: &[u8]) {
        let (count, begin) = self.clients.first(nth, bytes.len());
        let (first, more) = bytes.split_at(count);
        self.input.put(self.first.new_of(begin, first));
        self.end_first();
        self.input.put(more);
    }

    fn end_first(&mut self) {
        if self.first.ends_now() {
            self.input.end();
        }
    }

    fn answer(&mut self, request: Request) -> Reply {
        let done = match request {
            // Of a client that is known: see `hear`.
            Request::FirstInput { .. } => Ok(()),
            Request::EndInput => {
                self.input.end();
                Ok(())
            }
            Request::Signal(number) => self.signal(number),
            Request::Resize(size) => self.resize(size),
            Request::Freeze => self.freeze(true),
            Request::Thaw => self.freeze(false),
            Request::Kill { why } => {
                self.kill(How::Killed { why });
                Ok(())
            }
            Request::Taken(end) => {
                self.taken = self.taken.max(end.min(self.file.end()));
                Ok(())
            }
            Request::Status => return Reply::Status(self.status()),
        };
        match done {
            Ok(()) => Reply::Done,
            Err(why) => Reply::Refused { why },
        }
    }

    fn signal(&self, number: i32) -> Result<(), String> {
        let signal = Signal::from_named_raw(number).ok_or_else(|| format!("there is no signal {number}"))?;
        if self.command.ended.is_some() {
            return Err("its command has ended".to_owned());
        }
        self.command.held.signal(signal)
    }

    fn resize(&self, size: crate::spec::Size) -> Result<(), String> {
        let terminal = self.command.terminal.as_ref().ok_or("it has no terminal")?;
        let size = rustix::termios::Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(terminal, size)
            .map_err(|error| format!("its terminal takes no size: {error}"))
    }

    fn freeze(&mut self, freeze: bool) -> Result<(), String> {
        if self.command.ended.is_some() {
            return Err("its command has ended".to_owned());
        }
        self.command.held.freeze(freeze)?;
        self.is_frozen = freeze;
        Ok(())
    }

    fn status(&self) -> Status {
        Status {
            pid: self.command.held.pid().as_raw_pid(),
            started: self.command.started,
            output_bytes: self.file.end(),
            spooled_bytes: self.file.end() - self.taken,
            input_bytes: self.input.len(),
            is_frozen: self.is_frozen,
            is_held: self.is_held(),
            disk_error: self.disk.error.clone(),
        }
    }

    fn exit(&self) -> Exit {
        let (how, ended) = match &self.command.ended {
            Some((how, ended, _)) => (how.clone(), *ended),
            None => unreachable!("only what has ended is over"),
        };
        Exit {
            how,
            started: self.command.started,
            ended,
            output_bytes: self.file.payload(),
            output_frames: self.file.seq(),
        }
    }
}

#[cfg(test)]
mod tests;
