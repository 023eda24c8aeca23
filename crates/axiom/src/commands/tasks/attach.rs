//! `axiom attach`: our terminal becomes the task's, for as long as its person wants.

use std::io::IsTerminal as _;
use std::path::Path;
use std::process::ExitCode;

use axiom_sandbox::handle::{Attached, End};
use axiom_sandbox::output::{Next, Reader, Source};
use axiom_sandbox::spec::{Size, Spec};

use crate::cli::{Attach, DetachKey};
use crate::outcome::{Exit, Failed};
use crate::signals::Signals;
use crate::terminal::Terminal;
use crate::terminal::modes::{Changed, Mode};

use super::print::Printer;
use super::{Found, named, told};

use session::{Gone, Session, Shows};

mod left;
pub(super) mod session;

/// Of its output, where the last screenful is looked for. A screen of colours is some ten kilobytes.
const TAIL_BYTES: u64 = 256 << 10;
/// The screen of a terminal that does not say how large it is.
const SIZE: Size = Size {
    columns: 80,
    rows: 24,
};

/// # Errors
/// When there is no such task, or it cannot be reached.
pub(super) async fn run(attach: &Attach, terminal: &Terminal) -> Result<ExitCode, Failed> {
    let places = attach.folder.paths(terminal)?;
    let [Found { id, folder }] = &named(&places, std::slice::from_ref(&attach.task))?[..] else {
        return Err(Failed::new(Exit::Usage, "one task is attached to"));
    };
    let spec: Spec = serde_json::from_slice(&fs_err::read(folder.join("spec.json"))?).map_err(|error| {
        Failed::new(
            Exit::Failure,
            format!("task {id} does not say what it is: {error}"),
        )
    })?;
    let mut reader = Reader::open_near_end(&folder.join("output"), TAIL_BYTES).map_err(|error| {
        Failed::from(error)
            .hint("a task that was never started has no output: `axiom ps` says what became of it")
    })?;
    let last = screenful(&mut reader, own_size().rows)?;
    let attached = Attached::open_from(folder, reader).await?;
    let mut signals = Signals::listen()?;
    let inside = Inside {
        id,
        has_terminal: spec.terminal.is_some(),
        key: attach.detach_key,
        is_read_only: attach.read_only,
    };
    let gone = inside.stay(attached, last, terminal, &mut signals).await?;
    Ok(inside.tell(gone, terminal))
}

/// Somebody at a task.
pub(super) struct Inside<'a> {
    pub(super) id: &'a str,
    pub(super) has_terminal: bool,
    pub(super) key: DetachKey,
    pub(super) is_read_only: bool,
}

impl Inside<'_> {
    /// Until the task has ended or its person goes. `last` is shown first.
    ///
    /// # Errors
    /// When what the task says cannot be read or shown.
    pub(super) async fn stay(
        &self,
        attached: Attached,
        last: Vec<(Source, Vec<u8>)>,
        terminal: &Terminal,
        signals: &mut Signals,
    ) -> Result<Gone, Failed> {
        let is_whole = self.has_terminal && std::io::stdout().is_terminal();
        if std::io::stdin().is_terminal() && attached.end().is_none() {
            let how = match (self.is_read_only, self.key) {
                (true, _) => "ctrl-c leaves it alone".to_owned(),
                (false, DetachKey(None)) => "no key leaves it; end this program to do so".to_owned(),
                (false, key) => format!("{key} leaves it alone"),
            };
            terminal.say(format_args!("[{}] attached; {how}", self.id));
        }
        let mode = match (self.has_terminal, is_whole) {
            (true, true) => Mode::Raw,
            (true, false) => Mode::Keys,
            (false, _) => Mode::Lines { end: self.key.0 },
        };
        let shows = match is_whole {
            true => Shows::whole(),
            false => Shows::Lines(Printer::new(terminal, &[self.id.to_owned()])),
        };
        // It is put back before anything is said about the task's end.
        let _changed = Changed::to(mode)?;
        let session = Session {
            inside: self,
            attached,
            shows,
            terminal,
            signals,
        };
        session.run(last).await
    }

    pub(super) fn tell(&self, gone: Gone, terminal: &Terminal) -> ExitCode {
        let id = self.id;
        match gone {
            Gone::Ended(end) => {
                terminal.say(format_args!("[{id}] {}", told(&end)));
                match end {
                    End::Exit(exit) => ExitCode::from(exit.how.code()),
                    End::Lost => Exit::Failure.into(),
                }
            }
            Gone::Detached => {
                terminal.say(format_args!("[{id}] goes on; to be back: axiom attach {id}"));
                Exit::Ok.into()
            }
            Gone::Stopped => {
                terminal.say(format_args!("[{id}] goes on; this program was told to end"));
                Exit::Interrupted.into()
            }
        }
    }
}

/// That of our own terminal.
pub(super) fn own_size() -> Size {
    match rustix::termios::tcgetwinsize(rustix::stdio::stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => Size {
            columns: size.ws_col,
            rows: size.ws_row,
        },
        _ => SIZE,
    }
}

/// The last lines that a reader still gives, as many as a screen has.
fn screenful(reader: &mut Reader, rows: u16) -> Result<Vec<(Source, Vec<u8>)>, Failed> {
    let mut pieces = Vec::new();
    while let Next::Frame(frame) = reader.next(false)? {
        pieces.push((frame.source, frame.bytes.to_vec()));
    }
    Ok(last_lines(pieces, usize::from(rows)))
}

/// What comes behind the line break that has `lines` - 1 others behind it.
pub(super) fn last_lines(pieces: Vec<(Source, Vec<u8>)>, lines: usize) -> Vec<(Source, Vec<u8>)> {
    let mut left = lines.max(1);
    let mut last = Vec::new();
    for (source, mut bytes) in pieces.into_iter().rev() {
        let breaks = bytes.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
        let mut breaks = breaks.map(|(at, _)| at);
        match breaks.nth(left - 1) {
            Some(at) => {
                last.push((source, bytes.split_off(at + 1)));
                break;
            }
            None => {
                left -= bytes.iter().filter(|byte| **byte == b'\n').count();
                last.push((source, bytes));
            }
        }
    }
    last.reverse();
    last
}

/// The task's output from its beginning, for one that was only just started.
pub(super) async fn from_its_start(folder: &Path) -> Result<Attached, Failed> {
    Ok(Attached::open(folder).await?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screenful_is_the_last_lines() {
        let check = |pieces: &[&str], lines: usize, expected: &str| {
            let pieces = pieces
                .iter()
                .map(|text| (Source::Stdout, text.as_bytes().to_vec()));
            let last = last_lines(pieces.collect(), lines);
            let text: Vec<u8> = last.into_iter().flat_map(|(_, bytes)| bytes).collect();
            assert_eq!(String::from_utf8(text).unwrap(), expected);
        };
        check(&[], 3, "");
        check(&["a\nb\nc\n"], 3, "b\nc\n");
        check(&["a\nb\nc\n", "$ "], 3, "b\nc\n$ ");
        check(&["a\n", "b\n", "c\n"], 3, "b\nc\n");
        check(&["a\nb", "\nc\n"], 2, "c\n");
        check(&["one line only"], 1, "one line only");
        check(&["a\n\n\n"], 3, "\n\n");
        check(&["a\nb\n"], 9, "a\nb\n");
    }
}
