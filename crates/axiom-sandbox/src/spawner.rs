//! Where tasks' shims come from: a small process with one thread, which forks when it is told to.
//!
//! The gateway itself is never forked: it has many threads, and much memory to copy the tables of. Shims do not depend on the
//! spawner: it ends when whoever started it is gone, and they go on.
//!
//! It is told the folder of a task, as a line; the new shim answers with a line of JSON, as soon as the task's command runs
//! or cannot be run. It may have shims in store whose sandbox stands already: see [`serve_with`].

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use axiom_core::time;
use rustix::process::Signal;
use serde::{Deserialize, Serialize};

use crate::exit::{Exit, How};
use crate::output::Writer;
use crate::raw::{self, Disposition, Forked};
use crate::shim::{self, EXIT, OUTPUT, SOCKET, SPEC};
use crate::spec::{Executor, Spec};

use slots::Slots;
use walls::Ground;

mod slot;
mod slots;
pub(crate) mod start;
pub(crate) mod walls;

/// What a shim answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    pub folder: PathBuf,
    pub outcome: Result<Running, NotStarted>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    pub shim: i32,
    pub command: i32,
}

/// Why a task's command does not run. Nothing of it does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{why}")]
pub struct NotStarted {
    pub why: String,
    pub hint: Option<String>,
}

impl NotStarted {
    pub(crate) fn new(why: impl Into<String>) -> NotStarted {
        NotStarted {
            why: why.into(),
            hint: None,
        }
    }

    pub(crate) fn hint(self, hint: &str) -> NotStarted {
        NotStarted {
            hint: Some(hint.to_owned()),
            ..self
        }
    }
}

/// Forks a shim for each task that it is told, until nobody is there to tell it. A shim's process ends in here, or it returns as well
/// if something failed: whatever it returns, the process should end.
///
/// # Errors
/// When this process has more than one thread, or the system has no room for another process.
pub fn serve(teller: UnixStream) -> io::Result<()> {
    serve_with(teller, 0)
}

/// As [`serve`], with so many sandboxes at most that stand before they are wanted. A task in a sandbox takes one if it wants the same
/// walls: the same folder and grants, and limits of the same kinds. They are made like those of the last tasks, of which two were
/// alike, when nobody waits; for want of one a task gets walls of its own, as always. They end with this process, and ten minutes after nobody
/// wanted their like. Only root has them.
///
/// # Errors
/// As [`serve`].
pub fn serve_with(teller: UnixStream, slots_max: usize) -> io::Result<()> {
    // Nobody waits for shims: they leave nothing behind.
    raw::dispose(&[Signal::CHILD], Disposition::Ignore);
    // Looked at once: each task would have to look for itself.
    let ground = Ground::find();
    let mut slots = Slots::new(slots_max);
    let mut lines = BufReader::new(teller);
    loop {
        if lines.buffer().is_empty()
            && let Some(errand) = slots.tend(lines.get_ref(), &ground)?
        {
            // The others' ends of the lines to them are the spawner's alone, whose end they see so.
            drop(slots);
            return slot::run(errand, lines.into_inner(), &ground);
        }
        let mut line = Vec::new();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let folder = line.strip_suffix(b"\n").unwrap_or(&line);
        let folder = Path::new(std::ffi::OsStr::from_bytes(folder));
        let spec = read(folder);
        if let Ok(spec) = &spec
            && spec.executor == Executor::Sandbox
        {
            ground.lay_out();
            if slots.give(spec, folder, &ground) {
                continue;
            }
        }
        match raw::fork() {
            Ok(Forked::Parent(_)) => {}
            Ok(Forked::Child) => {
                drop(slots);
                stand()?;
                return live(folder, spec, lines.into_inner(), &ground);
            }
            Err(error) => {
                let why = format!("the system starts no more processes: {error}");
                let outcome = Err(NotStarted::new(why));
                answer(lines.get_ref(), folder, outcome)?;
            }
        }
    }
}

fn answer(mut teller: &UnixStream, folder: &Path, outcome: Result<Running, NotStarted>) -> io::Result<()> {
    let answer = Answer {
        folder: folder.to_owned(),
        outcome,
    };
    let mut line = serde_json::to_vec(&answer).map_err(io::Error::other)?;
    line.push(b'\n');
    // In one piece: other shims write here too.
    teller.write_all(&line)
}

/// What a fork of ours does before it is a shim.
fn stand() -> io::Result<()> {
    raw::dispose(&[Signal::CHILD], Disposition::Default);
    raw::dispose(&raw::IGNORED, Disposition::Ignore);
    rustix::process::setsid()?;
    // Whoever reads what our starter says waits for its end, not for the task's.
    let nothing = fs_err::OpenOptions::new().write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdout(&nothing)?;
    rustix::stdio::dup2_stderr(&nothing)?;
    rustix::process::set_child_subreaper(rustix::process::Pid::from_raw(1))?;
    Ok(())
}

/// The life of a shim.
fn live(
    folder: &Path,
    spec: Result<Spec, NotStarted>,
    teller: UnixStream,
    ground: &Ground,
) -> io::Result<()> {
    match spec.and_then(|spec| begin(folder, spec, ground)) {
        Ok((spec, file, listener, started)) => {
            let running = Running {
                shim: rustix::process::getpid().as_raw_pid(),
                command: started.held.pid().as_raw_pid(),
            };
            // If nobody is there any more, they find it by its folder.
            answer(&teller, folder, Ok(running)).ok();
            drop(teller);
            shim::run(folder, spec, file, listener, started)?;
            // What a program does at its end the spawner does at its own.
            raw::exit(0)
        }
        Err(not_started) => {
            ground.give_up();
            let now = time::unix_nanos();
            let exit = Exit {
                how: How::NotStarted {
                    why: not_started.to_string(),
                },
                started: now,
                ended: now,
                output_bytes: 0,
                output_frames: 0,
            };
            let written = exit.write(&folder.join(EXIT));
            answer(&teller, folder, Err(not_started)).ok();
            written
        }
    }
}

/// What a task is to be. Read by the spawner, which makes ready what the task will stand on.
fn read(folder: &Path) -> Result<Spec, NotStarted> {
    let json = fs_err::read(folder.join(SPEC)).map_err(|error| in_folder(SPEC, &error))?;
    let spec: Spec = serde_json::from_slice(&json).map_err(|error| in_folder(SPEC, &error))?;
    spec.check().map_err(|bad| NotStarted {
        why: bad.to_string(),
        hint: bad.hint,
    })?;
    Ok(spec)
}

fn in_folder(name: &str, error: &dyn std::fmt::Display) -> NotStarted {
    NotStarted::new(format!("the task's folder has no {name}: {error}"))
}

fn begin(
    folder: &Path,
    spec: Spec,
    ground: &Ground,
) -> Result<(Spec, Writer, UnixListener, shim::Started), NotStarted> {
    // By its short name: the path of a socket has 107 bytes at most.
    std::env::set_current_dir(folder).map_err(|error| in_folder(".", &error))?;
    // Before the output, so that a folder with an output, no end and nobody who listens is one whose shim is gone. And whoever makes
    // the output owns the folder: see `handle::claim`.
    let listener = UnixListener::bind(SOCKET).map_err(|error| in_folder(SOCKET, &error))?;
    let file = Writer::create(&folder.join(OUTPUT)).map_err(|error| in_folder(OUTPUT, &error))?;
    let started = start::start(&spec, ground)?;
    Ok((spec, file, listener, started))
}
