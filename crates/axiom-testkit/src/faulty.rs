//! Servers that misbehave in one chosen way and are correct otherwise: what they do, and how over stdio.

use std::{
    io::{self, BufRead, Write},
    time::Duration,
};

use crate::{
    echo::{Echo, Eras, error},
    wire::Message,
};

/// The one thing a faulty server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Fault {
    /// Ends (stdio) or closes the connection (HTTP) when a tool is called, without an answer.
    DiesMidCall,
    /// Takes calls and never answers them.
    NeverAnswers,
    /// Prints lines that are no JSON around each answer (stdio), or answers calls with no JSON (HTTP).
    Garbage,
    /// Answers calls with one message of `huge_bytes`.
    HugeLine,
    /// Answers calls under an id that nobody used.
    WrongId,
    /// Claims the revision 2099-01-01, which does not exist.
    LiesAboutRevision,
    /// Does nothing at all for `delay` after its start.
    SlowStart,
    /// Ends when it is asked `server/discover`, as old Python servers do.
    DiesWhenProbed,
    /// Writes 1 MiB to stderr before each answer.
    FloodsStderr,
}

/// How a faulty server behaves.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    pub fault: Fault,
    pub delay: Duration,
    pub huge_bytes: usize,
}

impl Options {
    pub fn new(fault: Fault) -> Self {
        Options {
            fault,
            delay: Duration::from_secs(5),
            huge_bytes: 80 * 1024 * 1024,
        }
    }
}

/// What to do with one received message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Act {
    Answer(Vec<u8>),
    /// Bytes that are not an MCP message.
    Garbage,
    Nothing,
    Die,
}

/// A faulty server without a transport. It is a legacy server without sessions.
#[derive(Debug)]
pub(crate) struct Faulty {
    pub(crate) options: Options,
    echo: Echo,
}

pub(crate) const GARBAGE: &[u8] = b"Server is running on stdio {\"jsonrpc\":\"2.0\",\"id\":\xff\xfe";

impl Faulty {
    pub(crate) fn new(options: Options) -> Self {
        Faulty {
            options,
            echo: Echo::new(Eras::Legacy, 2),
        }
    }

    pub(crate) fn act(&self, message: &Message<'_>) -> Act {
        let called = message.method == b"tools/call";
        let probed = message.method == b"server/discover";
        match (self.options.fault, message.id) {
            (_, None) => Act::Nothing,
            (Fault::DiesMidCall, _) if called => Act::Die,
            (Fault::NeverAnswers, _) if called => Act::Nothing,
            (Fault::Garbage, _) if called => Act::Garbage,
            (Fault::DiesWhenProbed, _) if probed => Act::Die,
            (Fault::WrongId, Some(_)) if called => self.correct(&Message {
                id: Some(b"\"nobody\""),
                ..*message
            }),
            (Fault::HugeLine, Some(id)) if called => Act::Answer(huge(id, self.options.huge_bytes)),
            (Fault::LiesAboutRevision, Some(id)) if probed || message.method == b"initialize" => {
                Act::Answer(lie(id))
            }
            _ => self.correct(message),
        }
    }

    fn correct(&self, message: &Message<'_>) -> Act {
        self.echo
            .answer(message)
            .map_or(Act::Nothing, |answer| Act::Answer(answer.into_bytes()))
    }
}

fn huge(id: &[u8], bytes: usize) -> Vec<u8> {
    let head: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":";
    [
        head,
        id,
        b",\"result\":{\"content\":[{\"type\":\"text\",\"text\":\"",
        &vec![b'x'; bytes],
        b"\"}]}}",
    ]
    .concat()
}

fn lie(id: &[u8]) -> Vec<u8> {
    let head: &[u8] = b"{\"jsonrpc\":\"2.0\",\"id\":";
    let result: &[u8] =
        b",\"result\":{\"protocolVersion\":\"2099-01-01\",\"supportedVersions\":[\"2099-01-01\"],\
        \"capabilities\":{\"tools\":{}},\"serverInfo\":{\"name\":\"axiom-faulty\",\"version\":\"1.0.0\"}}}";
    [head, id, result].concat()
}

/// Serves over stdio until the input ends or the fault ends it. Returns the exit status.
///
/// # Errors
/// Reading or writing failed; the peer is gone.
pub fn serve_stdio(options: Options, input: impl io::Read, mut output: impl Write) -> io::Result<u8> {
    let faulty = Faulty::new(options);
    if options.fault == Fault::SlowStart {
        std::thread::sleep(options.delay);
    }
    for line in io::BufReader::new(input).split(b'\n') {
        let line = line?;
        let act = match Message::read(&line) {
            Some(message) => faulty.act(&message),
            None => Act::Answer(error(None, -32700, "parse error").into_bytes()),
        };
        match act {
            Act::Die => return Ok(DIED),
            Act::Nothing => {}
            Act::Garbage => write_lines(&mut output, &[GARBAGE])?,
            Act::Answer(answer) => {
                if options.fault == Fault::FloodsStderr {
                    io::stderr().write_all(&vec![b'!'; 1024 * 1024])?;
                }
                let around = options.fault == Fault::Garbage;
                let lines = [GARBAGE, answer.as_slice(), GARBAGE];
                write_lines(&mut output, if around { &lines } else { &lines[1..2] })?;
            }
        }
    }
    Ok(0)
}

/// The exit status of a server that dies of its fault.
const DIED: u8 = 3;

fn write_lines(output: &mut impl Write, lines: &[&[u8]]) -> io::Result<()> {
    for line in lines {
        output.write_all(line)?;
        output.write_all(b"\n")?;
    }
    output.flush()
}

#[cfg(test)]
#[path = "faulty/tests.rs"]
mod tests;
