//! Watches one attempt: its output goes to the multiplexer as fast as that takes it, what is said to it goes in, and when it is
//! over and all of it is recorded, that is its end.

pub(super) mod driven;

use std::collections::VecDeque;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axiom_core::channel::{self, Receiver, watch};
use axiom_core::time;
use axiom_sandbox::exit::{Exit, How};
use axiom_sandbox::handle::{Attached, End, Event};
use axiom_sandbox::output::Source;
use axiom_sandbox::wire::{Reply, Request};
use tokio::sync::{Notify, oneshot};

use super::Shared;
use super::attempt::Over;
use super::ledger::Stored;
use super::steer::{Said, Steer};
use crate::mux::{Stream, Writer};
use crate::schedule::Outcome;
use driven::Driven;

/// Who waits for what becomes of something that was said to a task.
type Answer = oneshot::Sender<Result<(), String>>;

/// What is said to a task and waits for it to listen.
const SAID_MAX: usize = 64;
/// Input that waits for a task to read what it has.
const INPUT_BYTES_MAX: usize = 1 << 20;
/// The end of its output file, where a task ended without any.
const EXIT: &str = "exit.json";
/// Before a request is said again that a task had no room for.
const AGAIN: Duration = Duration::from_millis(50);

/// Watches it to its end. `None` if the supervisor is closed before.
pub(super) async fn run(shared: &Arc<Shared>, id: &Arc<str>, attempt: u32, since: Since) -> Option<Over> {
    let folder = shared.ledger.attempt(id, attempt);
    let attached = match Attached::open(&folder).await {
        Ok(attached) => attached,
        Err(error) => return Some(without_output(&folder, &error)),
    };
    let mut closing = shared.closing.subscribe();
    tokio::select! {
        // The supervisor was closed: what is not recorded is read again by the next. Not cancel-safe otherwise.
        _ = closing.wait_for(|is_closing| *is_closing) => None,
        over = follow(shared, id, attempt, attached, since) => Some(over),
    }
}

async fn follow(shared: &Arc<Shared>, id: &Arc<str>, attempt: u32, attached: Attached, since: Since) -> Over {
    let Some(mut follower) = Follower::new(shared, id, attempt, attached, since) else {
        return lost("somebody else watches it".to_owned());
    };
    let end = match follower.watch().await {
        Ok(end) => end,
        Err(error) => {
            tracing::error!(task = %id, %error, "a task cannot be watched any more");
            follower.writer = None;
            return lost(format!("it cannot be watched any more: {error}"));
        }
    };
    follower.all_recorded().await;
    over(end)
}

/// There is no output: its command was never started, or its folder is damaged.
fn without_output(folder: &Path, error: &io::Error) -> Over {
    match Exit::read(&folder.join(EXIT)) {
        Ok(Some(exit)) => over(End::Exit(exit)),
        _ => lost(format!("what is in its folder cannot be read: {error}")),
    }
}

fn lost(why: String) -> Over {
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
    stored: watch::Receiver<Stored>,
    said: Receiver<Said>,
    /// Those who wait for an answer of the shim's, in the order of their requests.
    asked: VecDeque<Option<Answer>>,
    input: VecDeque<(Vec<u8>, Option<Answer>)>,
    input_bytes: usize,
    woken: Arc<Notify>,
    kill: Kill,
    read_bytes: Arc<std::sync::atomic::AtomicU64>,
    /// `None`: no rule is for it, and it is no agent.
    driven: Option<Box<Driven>>,
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
    ) -> Option<Follower> {
        let (said_tx, said) = channel::bounded(SAID_MAX);
        let mut table = shared.table();
        let entry = table.tasks.get_mut(id)?;
        let stored = entry.begin_attempt(attempt);
        let writer = shared.hub.writer(id, stored.lines);
        let writer = writer
            .inspect_err(|error| tracing::error!(task = %id, %error, "a task is not read"))
            .ok()?;
        let driven = Driven::new(shared, entry, since);
        entry.steering = Some(said_tx);
        entry.read_bytes.store(0, Relaxed);
        Some(Follower {
            shared: Arc::clone(shared),
            id: Arc::clone(id),
            attached,
            writer: Some(writer),
            piece: None,
            streams: [0; 2],
            skip: [stored.stdout, stored.stderr],
            marks: VecDeque::new(),
            stored: entry.stored.subscribe(),
            said,
            asked: VecDeque::new(),
            input: VecDeque::new(),
            input_bytes: 0,
            woken: Arc::clone(&entry.woken),
            kill: Kill::Unwanted,
            read_bytes: Arc::clone(&entry.read_bytes),
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
                // cancel-safe: what was not received stays in the channel.
                Some(said) = self.said.recv() => self.say(said),
                // cancel-safe: a change that was not seen is seen by the next call.
                Ok(()) = self.stored.changed() => self.take(),
                // cancel-safe: a permit that was given stays.
                () = self.woken.notified() => self.kill_if_wanted(),
                // cancel-safe: a timer.
                () = time::sleep(AGAIN), if wants_again => self.kill_if_wanted(),
                // cancel-safe: a timer, or a look whose outcome stays.
                woken = driven::wake(&mut self.driven) => self.driven_woken(woken),
            }
        }
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
        self.read_bytes.fetch_add(bytes.len() as u64, Relaxed);
        let (nth, stream) = match source {
            Source::Stdout | Source::Terminal => (0, Stream::Stdout),
            Source::Stderr => (1, Stream::Stderr),
        };
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
        let Stored { stdout, stderr, .. } = *self.stored.borrow_and_update();
        let mut taken = None;
        while let Some(mark) = self.marks.front()
            && mark.streams[0] <= stdout
            && mark.streams[1] <= stderr
        {
            taken = Some(mark.position);
            self.marks.pop_front();
        }
        if let Some(position) = taken {
            self.ask(Request::Taken(position), None).ok();
        }
    }

    fn say(&mut self, said: Said) {
        let Said { what, answer } = said;
        let request = match what {
            Steer::Input(bytes) if self.input_bytes + bytes.len() > INPUT_BYTES_MAX => {
                let waiting = self.input_bytes;
                answer
                    .send(Err(format!(
                        "it has not read {waiting} B of what it was sent before"
                    )))
                    .ok();
                return;
            }
            Steer::Input(bytes) => {
                if let Some(driven) = &mut self.driven {
                    driven.drive.typed(&String::from_utf8_lossy(&bytes));
                }
                return self.put_in(bytes, Some(answer));
            }
            Steer::Say(_) | Steer::Redirect(_) | Steer::Answer(_) | Steer::Interrupt => {
                return self.converse(what, answer);
            }
            Steer::EndInput => Request::EndInput,
            Steer::Signal(signal) => Request::Signal(signal),
            Steer::Resize(size) => Request::Resize(size),
            Steer::Freeze => Request::Freeze,
            Steer::Thaw => Request::Thaw,
        };
        let frozen = match request {
            Request::Freeze => Some(true),
            Request::Thaw => Some(false),
            _ => None,
        };
        match (self.ask(request, Some(answer)), frozen) {
            (Ok(()), Some(is_frozen)) => self.set_frozen(is_frozen),
            (Err(Some(answer)), _) => {
                let why = "it has not answered what was asked of it before".to_owned();
                answer.send(Err(why)).ok();
            }
            _ => {}
        }
    }

    /// Asks something of the shim; whoever waits is given back if that is not possible now.
    fn ask(&mut self, request: Request, answer: Option<Answer>) -> Result<(), Option<Answer>> {
        match self.attached.ask(request) {
            Ok(()) => {
                self.asked.push_back(answer);
                Ok(())
            }
            Err(_) => Err(answer),
        }
    }

    fn answered(&mut self, reply: Reply) {
        let outcome = match reply {
            Reply::Done | Reply::Status(_) => Ok(()),
            Reply::Refused { why } => Err(why),
            // News, which `Attached` keeps to itself.
            Reply::Grown(_) | Reply::Read(_) | Reply::Ended(_) => return,
        };
        if let Some(Some(answer)) = self.asked.pop_front() {
            // Whoever asked may have given up.
            answer.send(outcome).ok();
        }
    }

    fn put_in(&mut self, bytes: Vec<u8>, answer: Option<Answer>) {
        self.input_bytes += bytes.len();
        self.input.push_back((bytes, answer));
        self.put();
    }

    /// Puts in what there is room for.
    fn put(&mut self) {
        while let Some((bytes, _)) = self.input.front() {
            if !self.attached.put(bytes) {
                return;
            }
            if let Some((bytes, answer)) = self.input.pop_front() {
                self.input_bytes -= bytes.len();
                if let Some(answer) = answer {
                    // Whoever sent it may have given up.
                    answer.send(Ok(())).ok();
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
            self.kill = match self.ask(Request::Kill { why }, None) {
                Ok(()) => Kill::Said,
                Err(_) => Kill::Unsaid,
            };
        }
    }

    /// It has said everything: waits until all of that is recorded.
    async fn all_recorded(&mut self) {
        // Its last lines may have no end.
        self.writer = None;
        let [out, err] = self.streams;
        let is_all = |stored: &Stored| stored.stdout >= out && stored.stderr >= err;
        // The sender is in the table as long as the task is.
        self.stored.wait_for(is_all).await.ok();
    }
}

/// The supervisor is going: what the task has said of a line is left to the next one.
impl Drop for Follower {
    fn drop(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.leave();
        }
    }
}
