//! Watches one attempt: its output goes to the multiplexer as fast as that takes it, what is said to it goes in, and when it is
//! over and all of it is recorded, that is its end.

pub(super) mod driven;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axiom_core::time;
use axiom_sandbox::exit::{Exit, How};
use axiom_sandbox::handle::{Attached, End, Event, claim, is_claimed};
use axiom_sandbox::output::Source;
use axiom_sandbox::wire::{self, Reply, Request};
use tokio::sync::oneshot;

use super::Shared;
use super::attempt::Over;
use super::ledger::Stored;
use super::pages::index::{Counter, Index};
use super::steer::{Said, Steer};
use super::table::Progress;
use crate::mux::{Stream, Writer, WriterError};
use crate::order::When;
use crate::schedule::Outcome;
use driven::Driven;

/// Who waits for what becomes of something that was said to a task.
type Answer = oneshot::Sender<Result<(), String>>;

/// What is to be done when a request was answered, or input was put in.
#[derive(Debug)]
enum Waiter {
    Nobody,
    Person(Answer),
    /// Its first input is with its shim: it need not be kept any more.
    Given,
    /// From then on it stands still, or goes on.
    Stands {
        is_frozen: bool,
        answer: Option<Answer>,
    },
}

impl Waiter {
    fn told(self, outcome: Result<(), String>) {
        let answer = match self {
            Waiter::Person(answer) => Some(answer),
            Waiter::Stands { answer, .. } => answer,
            Waiter::Nobody | Waiter::Given => None,
        };
        if let Some(answer) = answer {
            // Whoever asked may have given up.
            answer.send(outcome).ok();
        }
    }
}

/// What goes in, in its order.
enum Put {
    Bytes(Vec<u8>),
    End,
}

/// Why a request is not passed on.
const BUSY: &str = "it has not answered what was asked of it before";

/// Input that waits for a task to read what it has.
const INPUT_BYTES_MAX: usize = 1 << 20;
/// The end of its output file, where a task ended without any.
pub(super) const EXIT: &str = "exit.json";
/// Before a request is said again that a task had no room for.
const AGAIN: Duration = Duration::from_millis(50);
/// Before a task is tried again that could not be reached for want of something of ours.
const REACH_AGAIN: Duration = Duration::from_secs(1);

/// What became of watching a task.
pub(super) enum Watched {
    Over(Over),
    /// The supervisor is being closed. The task goes on.
    Closing,
    /// Nothing of it ever ran, and nothing of it will: whoever was to start it is gone.
    NeverBegun,
}

/// Watches it to its end.
pub(super) async fn run(shared: &Arc<Shared>, id: &Arc<str>, attempt: u32, since: Since) -> Watched {
    let mut closing = shared.closing.subscribe();
    // Apart, so that a task that runs does not hold what only its beginning needs.
    let reaching = Box::pin(reach(shared, id, attempt, since));
    let follower = tokio::select! {
        // The supervisor was closed: the next one reaches it.
        _ = closing.wait_for(|is_closing| *is_closing) => return Watched::Closing,
        reached = reaching => match reached {
            Ok(follower) => follower,
            Err(watched) => return watched,
        },
    };
    tokio::select! {
        // The supervisor was closed: what is not recorded is read again by the next. Not cancel-safe otherwise.
        _ = closing.wait_for(|is_closing| *is_closing) => Watched::Closing,
        over = follow(follower) => Watched::Over(over),
    }
}

/// Its output and its shim, however long it takes until we have what that needs: a task that lives is not taken for dead because we
/// are out of file descriptors, or read too many others.
async fn reach(
    shared: &Arc<Shared>,
    id: &Arc<str>,
    attempt: u32,
    since: Since,
) -> Result<Box<Follower>, Watched> {
    let folder = shared.ledger.attempt(id, attempt);
    let mut is_told = false;
    if since == Since::Later && is_claimed(&folder) {
        // A supervisor before has found the same, and was cut off as well.
        if let Some(watched) = without_start(&folder).map_err(|error| damaged(&error))? {
            return Err(watched);
        }
    }
    loop {
        let error = match Attached::open(&folder).await {
            Ok(attached) => match Follower::new(shared, id, attempt, attached, since) {
                Ok(follower) => return Ok(Box::new(follower)),
                Err(WriterError::Closed) => return Err(Watched::Closing),
                Err(error) => io::Error::other(error),
            },
            Err(error) => error,
        };
        match error.kind() {
            io::ErrorKind::NotFound => match without_output(&folder) {
                Ok(Some(watched)) => return Err(watched),
                // Its shim has just come.
                Ok(None) => continue,
                Err(error) => return Err(damaged(&error)),
            },
            io::ErrorKind::InvalidData => return Err(damaged(&error)),
            _ if !is_told => {
                is_told = true;
                tracing::error!(task = %id, %error, "a task cannot be reached, and is tried again");
            }
            _ => {}
        }
        time::sleep(REACH_AGAIN).await;
    }
}

fn damaged(error: &io::Error) -> Watched {
    Watched::Over(lost(format!("what is in its folder cannot be read: {error}")))
}

/// There is no output: its command could not be started, or its start was not begun, and now never will be.
fn without_output(folder: &Path) -> io::Result<Option<Watched>> {
    if let Some(exit) = Exit::read(&folder.join(EXIT))? {
        return Ok(Some(Watched::Over(over(End::Exit(exit)))));
    }
    without_start(folder)
}

fn without_start(folder: &Path) -> io::Result<Option<Watched>> {
    let is_ours = claim(folder, "whoever was to start it was gone before it began")?;
    Ok(is_ours.then_some(Watched::NeverBegun))
}

async fn follow(mut follower: Box<Follower>) -> Over {
    let end = match follower.watch().await {
        Ok(end) => end,
        Err(error) => {
            tracing::error!(task = %follower.id, %error, "a task cannot be watched any more");
            follower.writer = None;
            return lost(format!("it cannot be watched any more: {error}"));
        }
    };
    follower.all_recorded().await;
    follower.leave_index();
    over(end)
}

pub(super) fn lost(why: String) -> Over {
    Over {
        how: Some(How::NotStarted { why }),
        outcome: Outcome::BackendFailed,
    }
}

fn over(end: End) -> Over {
    match end {
        End::Lost => Over {
            how: None,
            outcome: Outcome::BackendFailed,
        },
        End::Exit(Exit { how, .. }) => {
            let outcome = match how {
                How::Killed { .. } => Outcome::Stopped,
                _ => Outcome::Done,
            };
            Over {
                how: Some(how),
                outcome,
            }
        }
    }
}

/// A piece of output that the multiplexer has not taken whole.
struct Piece {
    stream: Stream,
    time: i64,
    bytes: Vec<u8>,
    taken: usize,
}

/// When so many bytes of both streams are recorded, the output file is taken up to a byte.
struct Mark {
    streams: [u64; 2],
    position: u64,
}

/// Since when it is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Since {
    Start,
    /// An earlier supervisor has begun with it.
    Later,
}

/// Whether its end was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kill {
    Unwanted,
    /// The shim has no room for the request: it is said again soon.
    Unsaid,
    Said,
}

struct Follower {
    shared: Arc<Shared>,
    id: Arc<str>,
    attached: Attached,
    /// `None` when it has said everything.
    writer: Option<Writer>,
    piece: Option<Piece>,
    /// Bytes of both streams, those that were recorded before included.
    streams: [u64; 2],
    /// What of them was recorded before, and is read once more only to get past it.
    skip: [u64; 2],
    marks: VecDeque<Mark>,
    progress: Arc<Progress>,
    /// Those who wait for an answer of the shim's, in the order of their requests.
    asked: VecDeque<Waiter>,
    input: VecDeque<(Put, Waiter)>,
    input_bytes: usize,
    kill: Kill,
    counter: Counter,
    index: Arc<Index>,
    /// It may be started again: its lines are counted for those that come behind.
    may_be_followed: bool,
    attempt: u32,
    /// `None`: no rule is for it, and it is no agent.
    driven: Option<Box<Driven>>,
}

/// When something is to be said again, if it is.
async fn again(is_wanted: bool) {
    match is_wanted {
        // Apart: nearly no task ever waits for it.
        true => Box::pin(time::sleep(AGAIN)).await,
        false => std::future::pending().await,
    }
}

/// What happens next; while there is a piece that nobody takes, only answers.
async fn hear(attached: &mut Attached, has_piece: bool) -> io::Result<Event> {
    if !has_piece {
        return attached.next().await;
    }
    match attached.reply().await? {
        Some(reply) => Ok(Event::Reply(reply)),
        // It has ended, which is told when all that it said is.
        None => std::future::pending().await,
    }
}

impl Follower {
    fn new(
        shared: &Arc<Shared>,
        id: &Arc<str>,
        attempt: u32,
        attached: Attached,
        since: Since,
    ) -> Result<Follower, WriterError> {
        let mut table = shared.table();
        // It is forgotten only when it has ended.
        let entry = table.tasks.get_mut(id).ok_or(WriterError::Closed)?;
        let progress = Arc::clone(&entry.progress);
        let stored = progress.begin_attempt(attempt);
        let writer = shared.hub.writer(id, stored.lines)?;
        let driven = Driven::new(shared, entry, since);
        entry.said.get_or_insert_default();
        progress.read_bytes.store(0, Relaxed);
        let index = Arc::<Index>::default();
        progress.set_index(Some(Arc::clone(&index)));
        Ok(Follower {
            shared: Arc::clone(shared),
            id: Arc::clone(id),
            attached,
            writer: Some(writer),
            piece: None,
            streams: [0; 2],
            skip: [stored.stdout, stored.stderr],
            marks: VecDeque::new(),
            progress,
            asked: VecDeque::new(),
            input: VecDeque::new(),
            input_bytes: 0,
            kill: Kill::Unwanted,
            counter: Counter::new(shared.options.mux.line_bytes_max),
            index,
            may_be_followed: entry.order.restart.when != When::Never,
            attempt,
            driven,
        })
    }

    /// Until the task has ended and all that it said is with the multiplexer.
    async fn watch(&mut self) -> io::Result<End> {
        // It may have been wanted before anybody could be told.
        self.kill_if_wanted();
        self.begin();
        loop {
            self.give();
            let has_piece = self.piece.is_some();
            let wants_again = self.kill == Kill::Unsaid;
            let writer = self.writer.as_mut().expect("it is there until the end");
            tokio::select! {
                // cancel-safe: nothing is taken.
                () = writer.ready(), if has_piece => {}
                // cancel-safe: what was not returned comes with the next call.
                event = hear(&mut self.attached, has_piece) => {
                    if let Some(end) = self.heard(event?) {
                        return Ok(end);
                    }
                }
                // cancel-safe: a permit that was given stays.
                () = self.progress.news.notified() => self.look(),
                // cancel-safe: a timer.
                () = again(wants_again) => self.kill_if_wanted(),
                // cancel-safe: a timer, or a look whose outcome stays.
                woken = driven::wake(&mut self.driven) => self.driven_woken(woken),
            }
        }
    }

    /// Something was said to it or recorded of it, or its end is wanted.
    fn look(&mut self) {
        self.kill_if_wanted();
        self.take();
        while let Some(said) = self.next_said() {
            self.say(said);
        }
    }

    fn next_said(&self) -> Option<Said> {
        let mut table = self.shared.table();
        table.tasks.get_mut(&self.id)?.said.as_mut()?.pop_front()
    }

    /// Gives the multiplexer what it takes.
    fn give(&mut self) {
        let (Some(piece), Some(writer)) = (&mut self.piece, &mut self.writer) else {
            return;
        };
        while let Some(rest) = piece.bytes.get(piece.taken..).filter(|rest| !rest.is_empty()) {
            match writer.write(piece.stream, piece.time, rest) {
                0 => return,
                taken => piece.taken += taken,
            }
        }
        self.piece = None;
        self.marks.push_back(Mark {
            streams: self.streams,
            position: self.attached.position(),
        });
        self.take();
    }

    fn heard(&mut self, event: Event) -> Option<End> {
        match event {
            Event::Output {
                time, source, bytes, ..
            } => self.output(time, source, bytes),
            Event::Reply(reply) => self.answered(reply),
            Event::Room => self.put(),
            Event::Damaged { at, why } => {
                self.shared.notes.damaged(&self.id, at, why);
                tracing::error!(task = %self.id, at, why, "some of a task's output was lost on the disk");
            }
            Event::Ended(end) => {
                self.drive(|drive, now| drive.ended(now));
                return Some(end);
            }
        }
        None
    }

    fn output(&mut self, time: i64, source: Source, mut bytes: Vec<u8>) {
        self.progress.read_bytes.fetch_add(bytes.len() as u64, Relaxed);
        let (nth, stream) = match source {
            Source::Stdout | Source::Terminal => (0, Stream::Stdout),
            Source::Stderr => (1, Stream::Stderr),
        };
        let next = (self.attached.position(), self.attached.seq());
        self.counter.frame(stream, (time, &bytes), next, &self.index);
        let [streams, skip] = [&mut self.streams[nth], &mut self.skip[nth]];
        *streams += bytes.len() as u64;
        let known = usize::try_from(*skip).unwrap_or(usize::MAX).min(bytes.len());
        *skip -= known as u64;
        bytes.drain(..known);
        self.drive(|drive, now| drive.output(now, source, &bytes));
        self.piece = Some(Piece {
            stream,
            time,
            bytes,
            taken: 0,
        });
    }

    /// Tells the shim what it need not keep for us, so that the task may write more.
    fn take(&mut self) {
        let Stored { stdout, stderr, .. } = self.progress.stored();
        let mut taken = None;
        while let Some(mark) = self.marks.front()
            && mark.streams[0] <= stdout
            && mark.streams[1] <= stderr
        {
            taken = Some(mark.position);
            self.marks.pop_front();
        }
        if let Some(position) = taken {
            self.ask(Request::Taken(position), Waiter::Nobody).ok();
        }
    }

    fn say(&mut self, said: Said) {
        let Said { what, answer } = said;
        let bytes = what.bytes();
        if bytes > 0 && self.input_bytes + bytes > INPUT_BYTES_MAX {
            let waiting = self.input_bytes;
            let why = format!(
                "it has not read {waiting} B of what it was sent before, and this has {bytes} B more"
            );
            answer.send(Err(why)).ok();
            return;
        }
        let request = match what {
            Steer::Input(bytes) => {
                if let Some(driven) = &mut self.driven {
                    driven.drive.typed(&String::from_utf8_lossy(&bytes));
                }
                return self.put_in(bytes, Waiter::Person(answer));
            }
            Steer::Say(_) | Steer::Redirect(_) | Steer::Answer(_) | Steer::Interrupt => {
                return self.converse(what, answer);
            }
            Steer::EndInput => {
                // Behind what waits for room.
                self.input.push_back((Put::End, Waiter::Person(answer)));
                return self.put();
            }
            Steer::Signal(signal) => Request::Signal(signal),
            Steer::Resize(size) => Request::Resize(size),
            Steer::Freeze => Request::Freeze,
            Steer::Thaw => Request::Thaw,
        };
        let stands = |is_frozen, answer| Waiter::Stands {
            is_frozen,
            answer: Some(answer),
        };
        let waiter = match request {
            Request::Freeze => stands(true, answer),
            Request::Thaw => stands(false, answer),
            _ => Waiter::Person(answer),
        };
        if let Err(waiter) = self.ask(request, waiter) {
            waiter.told(Err(BUSY.to_owned()));
        }
    }

    /// Asks something of the shim; whoever waits is given back if that is not possible now.
    fn ask(&mut self, request: Request, waiter: Waiter) -> Result<(), Waiter> {
        match self.attached.ask(request) {
            Ok(()) => {
                self.asked.push_back(waiter);
                Ok(())
            }
            Err(_) => Err(waiter),
        }
    }

    fn answered(&mut self, reply: Reply) {
        let outcome = match reply {
            Reply::Done | Reply::Status(_) => Ok(()),
            Reply::Refused { why } => Err(why),
            // News, which `Attached` keeps to itself.
            Reply::Grown(_) | Reply::Read(_) | Reply::Ended(_) => return,
        };
        match self.asked.pop_front() {
            Some(Waiter::Given) => self.shared.given(&self.id),
            Some(waiter) => {
                if let (Waiter::Stands { is_frozen, .. }, Ok(())) = (&waiter, &outcome) {
                    self.set_frozen(*is_frozen);
                }
                waiter.told(outcome);
            }
            None => {}
        }
    }

    /// What was ordered together with it is the first that it reads.
    fn put_first(&mut self) {
        let input = match self.shared.ledger.input(&self.id) {
            Ok(Some(input)) => input,
            Ok(None) => return,
            Err(error) => {
                tracing::error!(task = %self.id, %error, "a task does not get its first input");
                return;
            }
        };
        if let Some(driven) = &mut self.driven {
            driven.drive.typed(&String::from_utf8_lossy(&input.bytes));
        }
        let first = Request::FirstInput {
            bytes: input.bytes.len() as u64,
            ends: input.ends,
        };
        // Nothing was asked of it before, so there is room.
        self.ask(first, Waiter::Nobody).ok();
        self.put_in(input.bytes, Waiter::Given);
    }

    /// In pieces for which there will be room.
    fn put_in(&mut self, bytes: Vec<u8>, waiter: Waiter) {
        self.input_bytes += bytes.len();
        let mut pieces: Vec<&[u8]> = bytes.chunks(wire::INPUT_BYTES_MAX).collect();
        let last = pieces.pop().unwrap_or_default();
        for piece in pieces {
            self.input.push_back((Put::Bytes(piece.to_vec()), Waiter::Nobody));
        }
        self.input.push_back((Put::Bytes(last.to_vec()), waiter));
        self.put();
    }

    /// Puts in what there is room for.
    fn put(&mut self) {
        while let Some((put, _)) = self.input.front() {
            if let Put::Bytes(bytes) = put
                && !bytes.is_empty()
                && !self.attached.put(bytes)
            {
                return;
            }
            let Some((put, waiter)) = self.input.pop_front() else {
                return;
            };
            match (put, waiter) {
                (Put::End, waiter) => {
                    if let Err(waiter) = self.ask(Request::EndInput, waiter) {
                        waiter.told(Err(BUSY.to_owned()));
                    }
                }
                (Put::Bytes(bytes), waiter) => {
                    self.input_bytes -= bytes.len();
                    match waiter {
                        // It is with the shim when that has answered what was asked behind it.
                        Waiter::Given => drop(self.ask(Request::Status, Waiter::Given)),
                        waiter => waiter.told(Ok(())),
                    }
                }
            }
        }
    }

    fn kill_if_wanted(&mut self) {
        if self.kill == Kill::Said {
            return;
        }
        let wanted = self
            .shared
            .table()
            .tasks
            .get(&self.id)
            .and_then(|entry| entry.killed.clone());
        if let Some(why) = wanted {
            self.kill = match self.ask(Request::Kill { why }, Waiter::Nobody) {
                Ok(()) => Kill::Said,
                Err(_) => Kill::Unsaid,
            };
        }
    }

    /// For those who ask later what it said.
    fn leave_index(&mut self) {
        self.counter.finish(&self.index);
        let folder = self.shared.ledger.attempt(&self.id, self.attempt);
        if let Err(error) = self.index.write(&folder, self.may_be_followed) {
            tracing::warn!(task = %self.id, %error, "where a task's lines are cannot be noted: to show some of them all will be read");
        }
        self.progress.set_index(None);
    }

    /// It has said everything: waits until all of that is recorded.
    async fn all_recorded(&mut self) {
        // Its last lines may have no end.
        self.writer = None;
        let [out, err] = self.streams;
        loop {
            let Stored { stdout, stderr, .. } = self.progress.stored();
            if stdout >= out && stderr >= err {
                return;
            }
            self.progress.news.notified().await;
        }
    }
}

/// The supervisor is going: what the task has said of a line is left to the next one.
impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.leave();
        }
        // Nobody hears any more what is said to it: those who wait for an answer are told.
        if let Some(entry) = self.shared.table().tasks.get_mut(&self.id) {
            entry.said = None;
        }
    }
}
