//! Starts a task's command in a sandbox.

use std::ffi::CString;
use std::os::fd::OwnedFd;
use std::path::Path;

use crate::cgroup::{Allowance, Class, Group, Options, Tree};
use crate::confine::{
    self, ConfineError, ExecFault, Identity, Mount, Network as Reach, Plan, RootView, System,
    landlock_version,
};
use crate::executor::disk::{self, Room};
use crate::machine::Ability;
use crate::spec::{Access, Network, Spec};

use super::NotStarted;

/// What every task in a sandbox stands on, or why there is none.
#[derive(Debug)]
pub(crate) struct Ground {
    system: Result<System, String>,
}

impl Ground {
    pub(crate) fn find() -> Ground {
        Ground {
            system: System::standard().map_err(|error| error.to_string()),
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
}

pub(crate) fn start(
    spec: &Spec,
    ground: &Ground,
    stdio: [OwnedFd; 3],
) -> Result<(confine::Child, Option<Group>), NotStarted> {
    let mut plan = plan(spec, ground, stdio)?;
    let group = group(spec)?;
    if let Some(group) = &group {
        plan.cgroup = group
            .entrance()
            .map_err(|error| NotStarted::new(error.to_string()))?;
    }
    match confine::spawn(&plan) {
        Ok(child) => Ok((child, group)),
        Err(error) => {
            if let Some(group) = group {
                // It is empty; should it stay, it costs nothing and is found by its name.
                group.remove().ok();
            }
            Err(not_started(spec, &error))
        }
    }
}

fn plan(spec: &Spec, ground: &Ground, stdio: [OwnedFd; 3]) -> Result<Plan, NotStarted> {
    let system = ground.system.clone().map_err(|why| NotStarted {
        why: format!("there is no sandbox on this machine: {why}"),
        hint: Some("the executor `process` needs none".to_owned()),
    })?;
    disk::check(spec)?;
    let mut root = RootView::new(system);
    let room = Room::of(spec);
    (root.tmp_bytes, root.shm_bytes) = (room.tmp_bytes, room.shm_bytes);
    let own = std::slice::from_ref(&spec.folder);
    let mount = |path: &Path, writable| Mount {
        source: path.to_owned(),
        target: path.to_owned(),
        writable,
    };
    root.mounts
        .extend(spec.grants.read.iter().map(|path| mount(path, false)));
    root.mounts
        .extend(spec.grants.write.iter().map(|path| mount(path, true)));
    let may_write = spec.grants.folder == Access::Write;
    root.mounts.extend(own.iter().map(|path| mount(path, may_write)));
    let landlock = landlock_version().is_some().then(|| root.landlock());
    let text = |text: String| CString::new(text).map_err(|_| NotStarted::new("a text has a NUL in it"));
    let argv = spec.argv.iter().cloned().map(text).collect::<Result<_, _>>()?;
    let mut plan = Plan::new(argv, stdio, root);
    let environment = spec
        .env
        .iter()
        .map(|(name, value)| text(format!("{name}={value}")));
    plan.environment = environment.collect::<Result<_, _>>()?;
    plan.working_folder.clone_from(&spec.folder);
    plan.terminal = spec.terminal.is_some();
    plan.rlimits.open_files = spec.limits.open_files.map(u64::from);
    plan.network = match spec.grants.network {
        Network::None => Reach::None,
        Network::Loopback => Reach::Loopback,
        Network::Host => Reach::Host,
    };
    plan.identity = identity();
    plan.landlock = landlock;
    plan.ends_with_parent = true;
    Ok(plan)
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
fn group(spec: &Spec) -> Result<Option<Group>, NotStarted> {
    let limits = &spec.limits;
    let wants_one = limits.memory_bytes.is_some()
        || limits.cpu_millis.is_some()
        || limits.pids.is_some()
        || limits.disk_io_bytes_s.is_some();
    if !wants_one {
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
    let allowance = Allowance {
        limits: limits.clone(),
        class: Class::Normal,
        folder: Some(spec.folder.clone()),
    };
    let group = tree.make(&spec.id, &allowance);
    group
        .map(Some)
        .map_err(|error| refused(&error, Some(error.hint())))
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
        }
    }
}
