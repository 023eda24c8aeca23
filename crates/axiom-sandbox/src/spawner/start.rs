//! Starts a task's command.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt as _;

use rustix::pipe::{PipeFlags, pipe_with};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::executor::{self, Held};
use crate::machine::Ability;
use crate::output::Source;
use crate::shim::Started;
use crate::spec::{Size, Spec};

use super::NotStarted;
use super::walls::Ground;

pub(crate) fn start(spec: &Spec, ground: &Ground) -> Result<Started, NotStarted> {
    let folder = spec.folder.display();
    match fs_err::metadata(&spec.folder) {
        Ok(metadata) if metadata.is_dir() => {}
        Ok(_) => return Err(NotStarted::new(format!("folder {folder} is none"))),
        Err(error) => return Err(NotStarted::new(format!("there is no folder to run in: {error}"))),
    }
    let slot = executor::of(&spec.executor);
    let slot = slot.prepare(spec, ground)?;
    let ends = Ends::open(spec.terminal).map_err(|error| no_ends(&error))?;
    let held = slot.start(ends.theirs)?;
    Ok(ends.ours.started(held))
}

fn no_ends(error: &io::Error) -> NotStarted {
    NotStarted::new(format!("the system has no pipes or no terminal for it: {error}"))
}

pub(crate) fn not_started(program: &str, error: &io::Error) -> NotStarted {
    let hint = match (error.kind(), Ability::how_to_get(program)) {
        (io::ErrorKind::NotFound, Some(how)) => {
            format!("{how}; its folder has to be in PATH of the task's own env")
        }
        (io::ErrorKind::NotFound, None) => {
            "is it installed, and is its folder in PATH of the task's own env?".to_owned()
        }
        (io::ErrorKind::PermissionDenied, _) => "is it a program that may be executed?".to_owned(),
        _ => String::new(),
    };
    NotStarted {
        why: format!("{program} cannot be started: {error}"),
        hint: (!hint.is_empty()).then_some(hint),
    }
}

/// Both ends of what a command reads and writes.
struct Ends {
    /// stdin, stdout and stderr.
    theirs: [OwnedFd; 3],
    ours: Ours,
}

struct Ours {
    input: OwnedFd,
    outputs: Vec<(Source, OwnedFd)>,
    terminal: Option<OwnedFd>,
}

impl Ends {
    fn open(terminal: Option<Size>) -> io::Result<Ends> {
        match terminal {
            None => Ends::pipes(),
            Some(size) => Ends::terminal(size),
        }
    }

    fn pipes() -> io::Result<Ends> {
        let (stdin, input) = pipe_with(PipeFlags::CLOEXEC)?;
        let (out, stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (err, stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        Ok(Ends {
            theirs: [stdin, stdout, stderr],
            ours: Ours {
                input,
                outputs: vec![(Source::Stdout, out), (Source::Stderr, err)],
                terminal: None,
            },
        })
    }

    fn terminal(size: Size) -> io::Result<Ends> {
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let master = openpt(flags)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        let name = ptsname(&master, Vec::new())?;
        // Not the shim's own, but the command's.
        let slave = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NOCTTY)
            .open(name.to_str().map_err(io::Error::other)?)?;
        let window = Winsize {
            ws_row: size.rows,
            ws_col: size.columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&master, window)?;
        Ok(Ends {
            theirs: [slave.try_clone()?.into(), slave.try_clone()?.into(), slave.into()],
            ours: Ours {
                input: master.try_clone()?,
                outputs: vec![(Source::Terminal, master.try_clone()?)],
                terminal: Some(master),
            },
        })
    }
}

impl Ours {
    fn started(self, held: Box<dyn Held>) -> Started {
        Started {
            input: Some(self.input),
            outputs: self.outputs,
            terminal: self.terminal,
            held,
        }
    }
}
