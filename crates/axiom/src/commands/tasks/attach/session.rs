//! What happens while somebody is attached to a task.

use std::io::IsTerminal as _;

use axiom_core::channel::Receiver;
use axiom_sandbox::handle::{Attached, End, Event};
use axiom_sandbox::output::Source;
use axiom_sandbox::spec::Size;
use axiom_sandbox::wire::Request;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::outcome::Failed;
use crate::signals::{Caught, Signals};
use crate::terminal::Terminal;

use super::super::input::{next_input, read_input};
use super::super::print::Printer;
use super::left::Left;
use super::{Inside, own_size};

/// ctrl-C, where it comes as a key.
const END_OF_TEXT: u8 = 3;

/// How it came to an end.
#[derive(Debug)]
pub(in crate::commands::tasks) enum Gone {
    Ended(End),
    /// Its person left.
    Detached,
    /// We were told to end.
    Stopped,
}

/// What becomes of output.
pub(super) enum Shows {
    /// It goes to our terminal as it is.
    Whole(Left),
    /// As everywhere else.
    Lines(Printer),
}

impl Shows {
    pub(super) fn whole() -> Shows {
        Shows::Whole(Left::default())
    }
}

pub(super) struct Session<'a> {
    pub(super) inside: &'a Inside<'a>,
    pub(super) attached: Attached,
    pub(super) shows: Shows,
    pub(super) terminal: &'a Terminal,
    pub(super) signals: &'a mut Signals,
}

/// What our person wants.
enum Typed {
    Nothing,
    Leave,
}

impl Session<'_> {
    pub(super) async fn run(mut self, last: Vec<(Source, Vec<u8>)>) -> Result<Gone, Failed> {
        for (source, bytes) in last {
            self.show(source, &bytes)?;
        }
        let gone = self.stay().await;
        match &mut self.shows {
            Shows::Whole(left) => drop(self.terminal.lines(left.undo().as_bytes())),
            Shows::Lines(printer) => printer.finish(self.inside.id)?,
        }
        gone
    }

    async fn stay(&mut self) -> Result<Gone, Failed> {
        let mut resized = signal(SignalKind::window_change())?;
        self.take_size();
        let mut input = Some(read_input());
        // What there was no room for.
        let mut kept: Option<Vec<u8>> = None;
        loop {
            let event = tokio::select! {
                // cancel-safe: what was not returned comes with the next call.
                event = self.attached.next() => event?,
                // cancel-safe: a signal that came is kept.
                caught = self.signals.caught() => match self.caught(caught) {
                    Some(gone) => return Ok(gone),
                    None => continue,
                },
                // cancel-safe: as the signals.
                () = changed(&mut resized) => {
                    self.resize(own_size());
                    continue;
                }
                // cancel-safe: what was not received stays in the channel.
                piece = next_input(&mut input), if kept.is_none() => {
                    match self.typed(piece, &mut input, &mut kept) {
                        Typed::Nothing => continue,
                        Typed::Leave => return Ok(Gone::Detached),
                    }
                }
            };
            match event {
                Event::Output { source, bytes, .. } => {
                    if !self.show(source, &bytes)? {
                        return Ok(Gone::Detached);
                    }
                    if !self.inside.is_read_only {
                        // A person has seen it: the task may go on.
                        self.attached.ask(Request::Taken(self.attached.position())).ok();
                    }
                }
                Event::Room => kept = kept.filter(|bytes| !self.attached.put(bytes)),
                Event::Reply(_) => {}
                Event::Damaged { at, why } => self.say(&format!(
                    "some of what it said was lost on the disk, at byte {at}: {why}"
                )),
                Event::Ended(end) => return Ok(Gone::Ended(end)),
            }
        }
    }

    /// False if nobody reads us any more.
    fn show(&mut self, source: Source, bytes: &[u8]) -> Result<bool, Failed> {
        match &mut self.shows {
            Shows::Whole(left) => {
                left.feed(bytes);
                Ok(self.terminal.lines(bytes)?)
            }
            Shows::Lines(printer) => {
                printer.put(self.inside.id, source, bytes)?;
                Ok(!printer.is_unread())
            }
        }
    }

    fn say(&self, text: &str) {
        // Where nothing makes a new line of a line break, we do.
        let end = match self.shows {
            Shows::Whole(_) => "\r",
            Shows::Lines(_) => "",
        };
        self.terminal
            .say(format_args!("[{}] {text}{end}", self.inside.id));
    }

    fn caught(&mut self, caught: Caught) -> Option<Gone> {
        let is_typed = matches!(self.shows, Shows::Lines(_)) && !self.inside.has_terminal;
        match caught {
            Caught::Interrupt if self.inside.is_read_only => Some(Gone::Detached),
            Caught::Interrupt if is_typed => {
                self.attached.ask(Request::Signal(2)).ok();
                None
            }
            Caught::Interrupt | Caught::Terminate | Caught::Hangup => Some(Gone::Stopped),
        }
    }

    fn typed(
        &mut self,
        piece: Option<Vec<u8>>,
        input: &mut Option<Receiver<Vec<u8>>>,
        kept: &mut Option<Vec<u8>>,
    ) -> Typed {
        let Some(mut bytes) = piece else {
            *input = None;
            if !self.inside.is_read_only {
                self.attached.ask(Request::EndInput).ok();
            }
            return Typed::Nothing;
        };
        // What comes out of a pipe is no key.
        let is_typed = std::io::stdin().is_terminal();
        let leaves = |byte: &u8| {
            Some(*byte) == self.inside.key.0 || (self.inside.is_read_only && *byte == END_OF_TEXT)
        };
        let at = bytes.iter().position(leaves).filter(|_| is_typed);
        if let Some(at) = at {
            bytes.truncate(at);
        }
        if !self.inside.is_read_only && !bytes.is_empty() {
            *kept = (!self.attached.put(&bytes)).then_some(bytes);
        }
        match at {
            Some(_) => Typed::Leave,
            None => Typed::Nothing,
        }
    }

    /// The task's terminal gets the size of ours. One that has it already gets another one first: a program in full screen
    /// draws itself when the size changes, and that is how it comes onto our screen.
    fn take_size(&mut self) {
        let size = own_size();
        let other = Size {
            rows: if size.rows > 1 { size.rows - 1 } else { 2 },
            ..size
        };
        self.resize(other);
        self.resize(size);
    }

    fn resize(&mut self, size: Size) {
        if matches!(self.shows, Shows::Whole(_)) && !self.inside.is_read_only {
            self.attached.ask(Request::Resize(size)).ok();
        }
    }
}

async fn changed(resized: &mut Signal) {
    if resized.recv().await.is_none() {
        std::future::pending().await
    }
}
