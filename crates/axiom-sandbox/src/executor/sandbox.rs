//! A command behind walls. They are put up in [`walls`](crate::spawner::walls); here is what is held of it.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};

use rustix::process::{Pid, Signal};

use crate::cgroup::{EndedBy, Group};
use crate::confine;
use crate::exit::How;
use crate::spawner::NotStarted;
use crate::spawner::walls::{self, Ground};
use crate::spec::Spec;

use super::disk::Tmp;
use super::process::reaped;
use super::{Executor, Held, Slot, tree};

#[derive(Debug)]
pub(crate) struct Sandbox;

struct Place<'a> {
    spec: &'a Spec,
    ground: &'a Ground,
}

/// A namespace whose first process ends all others, and a group if they have limits.
#[derive(Debug)]
struct Apart {
    pid: Pid,
    pidfd: OwnedFd,
    group: Option<Group>,
    /// If there is a limit to what it holds.
    tmp: Option<Tmp>,
    /// Namespaces of a task that was killed. As long as somebody has them, the kernel does not take them apart, which takes it
    /// longer than the end of all processes.
    ruins: Vec<OwnedFd>,
}

impl Executor for Sandbox {
    fn prepare<'a>(&self, spec: &'a Spec, ground: &'a Ground) -> Result<Box<dyn Slot + 'a>, NotStarted> {
        Ok(Box::new(Place { spec, ground }))
    }
}

impl Slot for Place<'_> {
    fn start(self: Box<Self>, stdio: [OwnedFd; 3]) -> Result<Box<dyn Held>, NotStarted> {
        let (confine::Child { pid, pidfd }, group) = walls::start(self.spec, self.ground, stdio)?;
        let tmp = Tmp::of(self.spec, pid);
        Ok(Box::new(Apart {
            pid,
            pidfd,
            group,
            tmp,
            ruins: Vec::new(),
        }))
    }
}

impl Held for Apart {
    fn pid(&self) -> Pid {
        self.pid
    }

    fn ending(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }

    fn ended(&mut self, spec: &Spec) -> std::io::Result<Option<How>> {
        let Some(how) = reaped(self.pid)? else {
            return Ok(None);
        };
        let limit = self.group.as_ref().map(Group::ended_by);
        Ok(Some(match limit {
            Some(Ok(Some(EndedBy::MemoryLimit))) => How::Limit {
                limit: "memory_bytes".to_owned(),
                value: format!("{} B", spec.limits.memory_bytes.unwrap_or_default()),
            },
            // What it made of that it says itself.
            _ => match &self.tmp {
                Some(tmp) => tmp.explain(how, spec),
                None => how,
            },
        }))
    }

    fn kill(&mut self) {
        self.ruins = confine::namespaces_of(&self.pidfd);
        // It takes the others along.
        rustix::process::kill_process(self.pid, Signal::KILL).ok();
        if let Some(group) = &self.group {
            // What is frozen would not hear of it.
            group.kill_all().ok();
        }
    }

    fn signal(&self, signal: Signal) -> Result<(), String> {
        // It is passed on.
        rustix::process::kill_process(self.pid, signal)
            .map_err(|error| format!("its processes take no signal: {error}"))
    }

    fn freeze(&mut self, freeze: bool) -> Result<(), String> {
        let Some(group) = &self.group else {
            // Each process is stopped, which they can see.
            tree::signal(if freeze { Signal::STOP } else { Signal::CONT });
            return Ok(());
        };
        let done = if freeze { group.freeze() } else { group.thaw() };
        done.map_err(|error| error.to_string())
    }

    fn clear(&mut self, _: bool) {
        if let Some(group) = &self.group {
            group.kill_all().ok();
            group.remove().ok();
        }
    }
}
