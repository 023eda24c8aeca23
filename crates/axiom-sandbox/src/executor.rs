//! What runs a task's command, and what of a task it can keep: one file for each, the same steps for all.
//!
//! [`Executor::prepare`] does what needs neither the command nor its pipes, and says no where there is no way. [`Slot::start`] runs
//! the command with the pipes that it is given. What the shim then holds is a [`Held`]: it waits for one descriptor and asks for the
//! end, and kills, signals or freezes without knowing what is behind it. All else (output, input, time, clients) is the shim's,
//! and the same for every task.
//!
//! To add one: a variant of [`spec::Executor`], a file here, a line in [`of`] and one in [`keeps`].

use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::process::{Pid, Signal};

use crate::exit::How;
use crate::spawner::NotStarted;
use crate::spawner::walls::Ground;
use crate::spec::{self, Spec};

pub(crate) mod disk;
pub(crate) mod oci;
pub(crate) mod process;
pub(crate) mod sandbox;
pub(crate) mod tree;
pub(crate) mod worker;
pub(crate) mod zygote;

/// Runs commands of one kind.
pub(crate) trait Executor: std::fmt::Debug {
    /// Finds out whether it can be, and makes ready what there is to make ready. Nothing of the command runs.
    fn prepare<'a>(&self, spec: &'a Spec, ground: &'a Ground) -> Result<Box<dyn Slot + 'a>, NotStarted>;
}

/// Where a command can be started, once.
pub(crate) trait Slot {
    /// Runs the command with this as its stdin, stdout and stderr. When this returns, it runs or nothing of it does.
    fn start(self: Box<Self>, stdio: [OwnedFd; 3]) -> Result<Box<dyn Held>, NotStarted>;
}

/// A command that runs, with all that it starts.
pub(crate) trait Held: std::fmt::Debug + Send {
    /// The command's process, as everybody sees it.
    fn pid(&self) -> Pid;

    /// Readable as soon as [`Held::ended`] may have something to say.
    fn ending(&self) -> BorrowedFd<'_>;

    /// How the command has ended, if it has. Said once.
    fn ended(&mut self, spec: &Spec) -> std::io::Result<Option<How>>;

    /// Ends the command and everything that it has started. Its end is still to be asked for.
    fn kill(&mut self);

    fn signal(&self, signal: Signal) -> Result<(), String>;

    fn freeze(&mut self, freeze: bool) -> Result<(), String>;

    /// The command has ended: what it has left behind ends too, and nothing of ours stays. `is_well` if it ended by itself, with 0.
    fn clear(&mut self, is_well: bool);
}

/// The one that a task wants.
pub(crate) fn of(executor: &spec::Executor) -> Box<dyn Executor + '_> {
    match executor {
        spec::Executor::Process => Box::new(process::Process),
        spec::Executor::Sandbox => Box::new(sandbox::Sandbox),
        spec::Executor::Zygote(pool) => Box::new(zygote::Zygote { pool }),
        spec::Executor::Worker(settings) => Box::new(worker::Worker { settings }),
        spec::Executor::Oci(settings) => Box::new(oci::Oci { settings }),
    }
}

/// What an executor keeps of what a task may ask for, beside what the shim keeps for every task: `wall`, `output_bytes`, `unattended`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Keeps {
    /// Of the limits, by their names.
    pub limits: &'static [&'static str],
    /// It shuts something, so that something can be granted.
    pub walls: bool,
    pub terminal: bool,
    /// Why it keeps no more, as the rest of a sentence that begins with its name.
    pub because: &'static str,
}

/// The table: who keeps what. What is not in it is refused.
pub(crate) fn keeps(executor: &spec::Executor) -> Keeps {
    match executor {
        spec::Executor::Process => Keeps {
            limits: &[],
            walls: false,
            terminal: true,
            because: "which has no way to hold all processes of a task together",
        },
        spec::Executor::Sandbox => Keeps {
            limits: &[
                "memory_bytes",
                "cpu_millis",
                "pids",
                "disk_bytes",
                "disk_io_bytes_s",
                "open_files",
            ],
            walls: true,
            terminal: true,
            because: "",
        },
        spec::Executor::Zygote(_) => Keeps {
            limits: &[],
            walls: false,
            terminal: true,
            because: "whose jobs have whatever limits their zygote has, all together",
        },
        spec::Executor::Worker(_) => Keeps {
            limits: &[],
            walls: false,
            terminal: false,
            because: "whose requests have whatever limits their worker has, all together",
        },
        spec::Executor::Oci(oci) if oci.has_groups() => Keeps {
            limits: &["memory_bytes", "cpu_millis", "pids", "disk_bytes", "open_files"],
            walls: true,
            terminal: true,
            because: "which does not know which disks a task uses",
        },
        spec::Executor::Oci(_) => Keeps {
            limits: &["disk_bytes", "open_files"],
            walls: true,
            terminal: true,
            because: "whose runtime is told to leave control groups alone",
        },
    }
}
