//! A process like any other. It has no walls, and no limits but those that the shim keeps for every task.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::process::{Command, Stdio};

use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, waitid};

use crate::exit::How;
use crate::raw::{self, Standing};
use crate::spawner::NotStarted;
use crate::spawner::start::not_started;
use crate::spawner::walls::Ground;
use crate::spec::Spec;

use super::{Executor, Held, Slot, tree};

#[derive(Debug)]
pub(crate) struct Process;

struct Place<'a> {
    spec: &'a Spec,
}

/// A child of ours. All that it starts is found below us.
#[derive(Debug)]
pub(crate) struct Child {
    pid: Pid,
    pidfd: OwnedFd,
}

impl Executor for Process {
    fn prepare<'a>(&self, spec: &'a Spec, _: &'a Ground) -> Result<Box<dyn Slot + 'a>, NotStarted> {
        Ok(Box::new(Place { spec }))
    }
}

impl Slot for Place<'_> {
    fn start(self: Box<Self>, stdio: [OwnedFd; 3]) -> Result<Box<dyn Held>, NotStarted> {
        let [program, arguments @ ..] = &self.spec.argv[..] else {
            return Err(NotStarted::new("argv names no program"));
        };
        let mut command = Command::new(program);
        command
            .args(arguments)
            .env_clear()
            .envs(&self.spec.env)
            .current_dir(&self.spec.folder);
        let has_terminal = self.spec.terminal.is_some();
        Ok(Box::new(
            Child::start(command, has_terminal, stdio).map_err(|error| not_started(program, &error))?,
        ))
    }
}

impl Child {
    /// It ends when we do.
    pub(super) fn start(
        mut command: Command,
        has_terminal: bool,
        stdio: [OwnedFd; 3],
    ) -> std::io::Result<Child> {
        raw::stand(&mut command, Standing { has_terminal });
        let [stdin, stdout, stderr] = stdio;
        let child = command.stdin(stdin).stdout(stdout).stderr(stderr).spawn();
        // The command keeps its ends as long as it lives; ours have to go, or the output never ends.
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let pid = Pid::from_child(&child?);
        Ok(Child {
            pid,
            pidfd: pidfd_open(pid, PidfdFlags::empty())?,
        })
    }
}

impl Held for Child {
    fn pid(&self) -> Pid {
        self.pid
    }

    fn ending(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn ended(&mut self, _: &Spec) -> std::io::Result<Option<How>> {
        reaped(self.pid)
    }

    fn kill(&mut self) {
        rustix::process::kill_process(self.pid, Signal::KILL).ok();
        tree::kill(Some(self.pid));
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        rustix::process::kill_process_group(self.pid, signal)
            .map_err(|error| format!("its processes take no signal: {error}"))
    }

    /// Each process is stopped, which they can see.
    fn freeze(&mut self, freeze: bool) -> Result<(), String> {
        tree::signal(if freeze { Signal::STOP } else { Signal::CONT });
        Ok(())
    }

    fn clear(&mut self, _: bool) {
        tree::kill(None);
    }
}

/// How a child of ours has ended, if it has.
pub(super) fn reaped(pid: Pid) -> std::io::Result<Option<How>> {
    let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
    Ok(waitid(WaitId::Pid(pid), options)?.map(|status| How::of(&status)))
}
