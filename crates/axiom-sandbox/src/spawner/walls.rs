//! Starts a task's command in a sandbox: behind walls that are put up for it, or behind such that stand already.

use std::cell::RefCell;
use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use crate::cgroup::{Allowance, Class, Group, Options, Tree};
use crate::confine::{
    self, Command, ConfineError, ExecFault, Identity, Mount, Network as Reach, Plan, RootView, Slot, Step,
    System, landlock_version,
};
use crate::executor::disk::{self, Room};
use crate::limits::Limits;
use crate::machine::Ability;
use crate::spec::{Access, Executor, Grants, Network, Spec};

use super::NotStarted;

/// What every task in a sandbox stands on, or why there is none.
#[derive(Debug)]
pub(crate) struct Ground {
    system: Result<System, String>,
    /// For the next task of this process.
    standing: RefCell<Option<Standing>>,
}

/// The walls that a task wants. Two tasks with the same may stand behind the same ones, one alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    folder: PathBuf,
    grants: Grants,
    open_files: Option<u32>,
    disk_bytes: Option<u64>,
    /// Memory, CPU, processes and disk: which have a limit. What it is can be changed until the task runs.
    limited: [bool; 4],
}

/// Walls that stand, with a process behind them that waits for its command.
#[derive(Debug)]
pub(super) struct Standing {
    slot: Slot,
    shape: Shape,
    group: Option<Group>,
    /// What the group was made with.
    limits: Limits,
}

impl Shape {
    /// `None` if a task wants no walls of ours.
    pub(crate) fn of(spec: &Spec) -> Option<Shape> {
        (spec.executor == Executor::Sandbox).then(|| Shape {
            folder: spec.folder.clone(),
            grants: spec.grants.clone(),
            open_files: spec.limits.open_files,
            disk_bytes: spec.limits.disk_bytes,
            limited: limited(&spec.limits),
        })
    }
}

fn limited(limits: &Limits) -> [bool; 4] {
    [
        limits.memory_bytes.is_some(),
        limits.cpu_millis.is_some(),
        limits.pids.is_some(),
        limits.disk_io_bytes_s.is_some(),
    ]
}

impl Ground {
    pub(crate) fn find() -> Ground {
        Ground {
            system: System::standard().map_err(|error| error.to_string()),
            standing: RefCell::default(),
        }
    }

    /// Makes ready what tasks in sandboxes have in common, so that each copies it. To be called in the spawner, before the fork:
    /// what a shim makes ready is lost with it.
    pub(crate) fn lay_out(&self) {
        if let Ok(system) = &self.system
            && rustix::process::geteuid().is_root()
        {
            // Without it each task makes all of its root, and says what is wrong if that cannot be done either.
            system.lay_out().ok();
        }
    }

    /// Which one was laid out last: walls that were put up on another one may show what is no more.
    pub(super) fn edition(&self) -> Option<u64> {
        self.system.as_ref().ok()?.edition()
    }

    /// The next task of this process is put behind these walls, if they still are what it wants.
    pub(super) fn keep(&self, standing: Standing) {
        self.standing.replace(Some(standing));
    }

    /// There is no task for them.
    pub(super) fn give_up(&self) {
        if let Some(standing) = self.standing.take() {
            standing.end();
        }
    }
}

pub(crate) fn start(
    spec: &Spec,
    ground: &Ground,
    stdio: [OwnedFd; 3],
) -> Result<(confine::Child, Option<Group>), NotStarted> {
    let command = command(spec, stdio)?;
    if let Some(standing) = ground.standing.take()
        && let Some(started) = standing.start(spec, &command)?
    {
        return Ok(started);
    }
    let Some(shape) = Shape::of(spec) else {
        return Err(NotStarted::new("it wants no sandbox"));
    };
    let (plan, group) = walls(&spec.id, &shape, &spec.limits, ground)?;
    match confine::spawn(&plan, &command) {
        Ok(child) => Ok((child, group)),
        Err(error) => {
            remove(group);
            Err(not_started(spec, &error))
        }
    }
}

/// Puts up the walls of a shape, for a task that is not known yet. `name` is that of its group.
pub(super) fn park(
    name: &str,
    shape: &Shape,
    limits: &Limits,
    ground: &Ground,
) -> Result<Standing, NotStarted> {
    let (plan, group) = walls(name, shape, limits, ground)?;
    match confine::park(&plan) {
        Ok(slot) => Ok(Standing {
            slot,
            shape: shape.clone(),
            group,
            limits: limits.clone(),
        }),
        Err(error) => {
            remove(group);
            Err(NotStarted::new(error.to_string()))
        }
    }
}

impl Standing {
    /// `None` if these walls are no longer what they were: then nothing of the task has run, and nothing of them is left.
    fn start(
        self,
        spec: &Spec,
        command: &Command,
    ) -> Result<Option<(confine::Child, Option<Group>)>, NotStarted> {
        let is_of_shape = Shape::of(spec).is_some_and(|shape| shape == self.shape);
        if !is_of_shape || !self.slot.is_current() || !self.is_limited_as(spec) {
            self.end();
            return Ok(None);
        }
        match self.slot.start(command) {
            Ok(child) => Ok(Some((child, self.group))),
            Err(error) => {
                remove(self.group);
                match error.step {
                    Step::HandOver => Ok(None),
                    _ => Err(not_started(spec, &error)),
                }
            }
        }
    }

    /// It is, or is from now on.
    fn is_limited_as(&self, spec: &Spec) -> bool {
        let limit = |group: &Group| group.limit(&allowance(&spec.limits, &spec.folder)).is_ok();
        spec.limits == self.limits || self.group.as_ref().is_none_or(limit)
    }

    pub(super) fn end(self) {
        self.slot.end();
        remove(self.group);
    }
}

/// Nothing of the task has run in it. Should it stay, it costs nothing and is found by its name.
fn remove(group: Option<Group>) {
    if let Some(group) = group {
        group.remove().ok();
    }
}

fn walls(
    name: &str,
    shape: &Shape,
    limits: &Limits,
    ground: &Ground,
) -> Result<(Plan, Option<Group>), NotStarted> {
    let mut plan = plan(shape, ground)?;
    let group = group(name, shape, limits)?;
    if let Some(group) = &group {
        plan.cgroup = group
            .entrance()
            .map_err(|error| NotStarted::new(error.to_string()))?;
    }
    Ok((plan, group))
}

fn plan(shape: &Shape, ground: &Ground) -> Result<Plan, NotStarted> {
    let system = ground.system.clone().map_err(|why| NotStarted {
        why: format!("there is no sandbox on this machine: {why}"),
        hint: Some("the executor `process` needs none".to_owned()),
    })?;
    disk::check(&shape.folder, &shape.grants, shape.disk_bytes)?;
    let mut root = RootView::new(system);
    let room = Room::of(shape.disk_bytes);
    (root.tmp_bytes, root.shm_bytes) = (room.tmp_bytes, room.shm_bytes);
    let own = std::slice::from_ref(&shape.folder);
    let mount = |path: &Path, writable| Mount {
        source: path.to_owned(),
        target: path.to_owned(),
        writable,
    };
    root.mounts
        .extend(shape.grants.read.iter().map(|path| mount(path, false)));
    root.mounts
        .extend(shape.grants.write.iter().map(|path| mount(path, true)));
    let may_write = shape.grants.folder == Access::Write;
    root.mounts.extend(own.iter().map(|path| mount(path, may_write)));
    let landlock = landlock_version().is_some().then(|| root.landlock());
    let mut plan = Plan::new(root);
    plan.rlimits.open_files = shape.open_files.map(u64::from);
    plan.network = match shape.grants.network {
        Network::None => Reach::None,
        Network::Loopback => Reach::Loopback,
        Network::Host => Reach::Host,
    };
    plan.identity = identity();
    plan.landlock = landlock;
    plan.ends_with_parent = true;
    Ok(plan)
}

fn command(spec: &Spec, stdio: [OwnedFd; 3]) -> Result<Command, NotStarted> {
    let text = |text: String| CString::new(text).map_err(|_| NotStarted::new("a text has a NUL in it"));
    let argv = spec.argv.iter().cloned().map(text).collect::<Result<_, _>>()?;
    let mut command = Command::new(argv, stdio);
    let environment = spec
        .env
        .iter()
        .map(|(name, value)| text(format!("{name}={value}")));
    command.environment = environment.collect::<Result<_, _>>()?;
    command.working_folder.clone_from(&spec.folder);
    command.terminal = spec.terminal.is_some();
    Ok(command)
}

/// Root stays the user that it is, without any of its powers: what lies in the task's folder is its own. Who is not root needs a
/// namespace of users to be allowed any of this.
fn identity() -> Identity {
    let (uid, gid) = (rustix::process::getuid(), rustix::process::getgid());
    if uid.is_root() {
        return Identity::Inherited;
    }
    Identity::Mapped {
        inside_uid: uid.as_raw(),
        inside_gid: gid.as_raw(),
        outside_uid: uid.as_raw(),
        outside_gid: gid.as_raw(),
    }
}

/// A group, if there are limits that one keeps.
fn group(name: &str, shape: &Shape, limits: &Limits) -> Result<Option<Group>, NotStarted> {
    if shape.limited == [false; 4] {
        return Ok(None);
    }
    let refused = |why: &dyn std::fmt::Display, hint: Option<&str>| NotStarted {
        why: format!("its limits cannot be kept: {why}"),
        hint: hint.map(str::to_owned),
    };
    // Made only now: a machine on which nobody asks for limits gets no folders of ours.
    let tree = Tree::find(&Options {
        name: "tasks".to_owned(),
        parent: None,
    });
    let tree = tree.map_err(|error| refused(&error, Some(error.hint())))?;
    let group = tree.make(name, &allowance(limits, &shape.folder));
    group
        .map(Some)
        .map_err(|error| refused(&error, Some(error.hint())))
}

fn allowance(limits: &Limits, folder: &Path) -> Allowance {
    Allowance {
        limits: limits.clone(),
        class: Class::Normal,
        folder: Some(folder.to_owned()),
    }
}

fn not_started(spec: &Spec, error: &ConfineError) -> NotStarted {
    let program = spec.argv.first().map_or("", String::as_str);
    let hint = match error.exec_fault() {
        Some(ExecFault::NoSuchProgram) => {
            let elsewhere = "a sandbox has the machine's programs and the task's folder; what lies elsewhere has to be granted";
            let how = Ability::how_to_get(program).map(|how| format!("{how}; "));
            return NotStarted::new(format!(
                "{program} cannot be started: {}",
                std::io::Error::from_raw_os_error(error.errno)
            ))
            .hint(&format!("{}{elsewhere}", how.unwrap_or_default()));
        }
        Some(ExecFault::NotExecutable) => "is it a program that may be executed?",
        Some(ExecFault::BadInterpreter) => "what its first line names is not in the sandbox",
        _ => error.hint.unwrap_or_default(),
    };
    NotStarted {
        why: match error.exec_fault() {
            Some(_) => format!(
                "{program} cannot be started: {}",
                std::io::Error::from_raw_os_error(error.errno)
            ),
            None => ConfineError {
                hint: None,
                ..error.clone()
            }
            .to_string(),
        },
        hint: (!hint.is_empty()).then(|| hint.to_owned()),
    }
}

#[cfg(test)]
impl Ground {
    /// Nothing at all: for tasks that need none.
    pub(crate) fn none() -> Ground {
        Ground {
            system: Err("a test".to_owned()),
            standing: RefCell::default(),
        }
    }
}
