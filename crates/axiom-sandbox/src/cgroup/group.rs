//! One group: made with its limits or not at all, filled, and removed.

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use super::error::GET_CONTROLLER;
use super::setting::{self, Need, Setting};
use super::tree::Place;
use super::{Class, Controller, GroupError, Tree, Version, file, folders, name};
use crate::confine::Cgroup as Entrance;
use crate::limits::Limits;

/// What a group is made for.
#[derive(Debug, Clone, Default)]
pub struct Allowance {
    /// Those of a control group: memory, CPU, pids and disk throughput. The others have other keepers.
    pub limits: Limits,
    pub class: Class,
    /// On the disk whose throughput is limited. Needed only for that limit.
    pub folder: Option<PathBuf>,
}

/// The control group of one task. Dropping it leaves the group as it is: a task outlives its supervisor.
#[derive(Debug, Clone)]
pub struct Group {
    name: String,
    tree: Tree,
    places: Vec<Place>,
}

/// A container that runs containers needs some dozens.
const GROUPS_BELOW_MAX: &str = "1000";

impl Group {
    /// Makes a group with all its limits. If one cannot be set, there is an error and no group.
    pub fn make(tree: &Tree, name: &str, allowance: &Allowance) -> Result<Group, GroupError> {
        let group = Group::at(tree, name)?;
        let settings = group.settings(allowance)?;
        for (made, place) in group.places.iter().enumerate() {
            if let Err(source) = fs_err::create_dir(&place.folder) {
                group.undo(made);
                return Err(match source.kind() {
                    io::ErrorKind::AlreadyExists => GroupError::Exists {
                        path: place.folder.clone(),
                    },
                    _ => GroupError::Access {
                        step: "make a group",
                        source,
                    },
                });
            }
        }
        match group.set(&settings).and_then(|()| group.bound_groups_below()) {
            Ok(()) => Ok(group),
            Err(error) => {
                group.undo(group.places.len());
                Err(error)
            }
        }
    }

    pub(super) fn open(tree: &Tree, name: &str) -> Result<Group, GroupError> {
        let group = Group::at(tree, name)?;
        // One that was left half-made still has to be found, to be removed.
        match group.places.iter().any(|place| place.folder.exists()) {
            true => Ok(group),
            false => Err(GroupError::Gone {
                name: name.to_owned(),
            }),
        }
    }

    fn at(tree: &Tree, name: &str) -> Result<Group, GroupError> {
        let folder = name::folder(name)?;
        let place_in = |place: &Place| Place {
            folder: place.folder.join(&folder),
            ..place.clone()
        };
        let places = tree.places().iter().map(place_in).collect();
        Ok(Group {
            name: name.to_owned(),
            tree: tree.clone(),
            places,
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets limits on a group that exists: for one that was made ahead of its task. A limit that is `None` stays what it was.
    ///
    /// # Errors
    /// The limits that come before the failed one are set then; the caller lets no task in.
    pub fn limit(&self, allowance: &Allowance) -> Result<(), GroupError> {
        self.set(&self.settings(allowance)?)
    }

    /// Changes who goes first. False where this machine cannot weigh.
    pub fn weigh(&self, class: Class) -> Result<bool, GroupError> {
        let Some(place) = self.place(Controller::Cpu) else {
            return Ok(false);
        };
        self.set(&[setting::weight(place.version, class)])?;
        Ok(true)
    }

    /// Moves a process in, with all its threads; its children will be born inside.
    ///
    /// On version 1 each tree is a move of its own, and the first after a quiet time takes about 12 ms: do it before the exec.
    ///
    /// # Errors
    /// The process may be in some trees and not in others then: it must not run, and [`Group::kill_all`] reaches it.
    pub fn add(&self, process: Pid) -> Result<(), GroupError> {
        let pid = process.as_raw_nonzero().to_string();
        for place in &self.places {
            file::write(&place.folder.join("cgroup.procs"), &pid).map_err(|source| GroupError::Access {
                step: "move a process into a group",
                source,
            })?;
        }
        Ok(())
    }

    /// The group's folder of version 2, for a `clone3` that starts a process inside. `None` without version 2.
    ///
    /// Where [`Group::is_in_v1`] says so, the process has to be added all the same.
    pub fn folder_v2(&self) -> Result<Option<OwnedFd>, GroupError> {
        let Some(place) = self.places.iter().find(|place| place.version == Version::V2) else {
            return Ok(None);
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        match rustix::fs::open(&place.folder, flags, Mode::empty()) {
            Ok(folder) => Ok(Some(folder)),
            Err(errno) => {
                let text = format!("{}: {errno}", place.folder.display());
                let source = io::Error::new(io::Error::from(errno).kind(), text);
                Err(GroupError::Access {
                    step: "open a group",
                    source,
                })
            }
        }
    }

    /// How a process that is confined is born inside, in all trees.
    pub fn entrance(&self) -> Result<Entrance, GroupError> {
        if !self.is_in_v1()
            && let Some(folder) = self.folder_v2()?
        {
            return Ok(Entrance::V2(folder));
        }
        let doors = self.places.iter().map(|place| {
            let path = place.folder.join("cgroup.procs");
            let file = fs_err::OpenOptions::new().write(true).open(path);
            file.map(|file| OwnedFd::from(file.into_file()))
        });
        let doors = doors.collect::<io::Result<Vec<_>>>();
        doors.map(Entrance::V1).map_err(|source| GroupError::Access {
            step: "open a group",
            source,
        })
    }

    /// True if some of its controllers are of version 1.
    pub fn is_in_v1(&self) -> bool {
        self.places.iter().any(|place| place.version == Version::V1)
    }

    /// All that live inside, in groups below it too, in any of the trees. What has ended and was not waited for is not among them.
    pub fn processes(&self) -> Result<HashSet<Pid>, GroupError> {
        let mut processes = HashSet::new();
        for place in &self.places {
            for group in folders::with_those_below(&place.folder)? {
                let text = listed(&group)?;
                // A process of a namespace that we do not see is shown as 0.
                let pids = text.lines().filter_map(|line| Pid::from_raw(line.parse().ok()?));
                processes.extend(pids);
            }
        }
        Ok(processes)
    }

    pub fn is_empty(&self) -> Result<bool, GroupError> {
        Ok(self.processes()?.is_empty())
    }

    /// Removes the group and those below it. It must be empty, and what was removed already is no error.
    pub fn remove(&self) -> Result<(), GroupError> {
        for place in &self.places {
            folders::remove(&place.folder)?;
        }
        Ok(())
    }

    pub(super) fn place(&self, controller: Controller) -> Option<&Place> {
        self.places
            .iter()
            .find(|place| place.controllers.contains(&controller))
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.places
    }

    /// One of the group's files, where its controller is to be had.
    pub(super) fn file(&self, controller: Controller, file_name: &str) -> Option<PathBuf> {
        Some(self.place(controller)?.folder.join(file_name))
    }

    fn settings(&self, allowance: &Allowance) -> Result<Vec<Setting>, GroupError> {
        setting::of(allowance, &|controller| match self.place(controller) {
            Some(place) => Ok(place.version),
            None => Err(self
                .tree
                .missing(controller)
                .unwrap_or("it is not to be had here")
                .to_owned()),
        })
    }

    fn set(&self, settings: &[Setting]) -> Result<(), GroupError> {
        for setting in settings {
            let path = self.file(setting.controller, setting.file);
            let path = path.expect("settings are made for controllers that are there");
            match file::write(&path, &setting.text) {
                Ok(()) => {}
                Err(error) if setting.need == Need::May && is_not_offered(&error) => {}
                Err(source) => return Err(refused(setting, source)),
            }
        }
        Ok(())
    }

    /// A task that may make groups in its own makes few, so that looking through them stays cheap. Version 1 has no such bound.
    fn bound_groups_below(&self) -> Result<(), GroupError> {
        for place in self.places.iter().filter(|place| place.version == Version::V2) {
            match file::write(&place.folder.join("cgroup.max.descendants"), GROUPS_BELOW_MAX) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(source) => {
                    return Err(GroupError::Access {
                        step: "bound the groups of a group",
                        source,
                    });
                }
            }
        }
        Ok(())
    }

    /// Takes back a group that is not to be. The error that led here is the one to tell.
    fn undo(&self, made: usize) {
        for place in self.places.iter().take(made) {
            if let Err(error) = folders::remove(&place.folder) {
                tracing::warn!(group = %self.name, %error, "a group without use was left behind");
            }
        }
    }
}

/// A group of threads refuses to list its processes: they are listed by the group above, which it belongs to.
fn listed(group: &Path) -> Result<String, GroupError> {
    match file::read_if_there(&group.join("cgroup.procs")) {
        Err(GroupError::Access { source, .. }) if source.kind() == io::ErrorKind::Unsupported => {
            Ok(String::new())
        }
        text => Ok(text?.unwrap_or_default()),
    }
}

/// Kernels that do not count swap either lack its files or refuse every write to them.
fn is_not_offered(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::Unsupported)
}

fn refused(setting: &Setting, source: io::Error) -> GroupError {
    let limit = setting.limit;
    match source.kind() {
        // The controller is there, yet this part of it was not built in, as `cpu.max` without CONFIG_CFS_BANDWIDTH.
        io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied => GroupError::CannotEnforce {
            limit,
            controller: Some(setting.controller),
            reason: source.to_string(),
            hint: GET_CONTROLLER,
        },
        _ => GroupError::Refused {
            limit,
            text: setting.text.clone(),
            source,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cgroup::Options;

    /// Needs a machine that lets us make groups; says so where it does not.
    #[test]
    fn groups_below_a_group_go_with_it() {
        let options = Options {
            name: format!("below-{}", std::process::id()),
            parent: None,
        };
        let tree = match Tree::find(&options) {
            Ok(tree) => tree,
            Err(error) => return eprintln!("skipped: {error}"),
        };
        let group = tree.make("a", &Allowance::default()).unwrap();
        for place in group.places() {
            fs_err::create_dir_all(place.folder.join("b/c")).unwrap();
        }
        assert!(group.is_empty().unwrap());
        let busy = tree.clone().remove().unwrap_err();
        assert!(matches!(busy, GroupError::StillBusy { .. }), "{busy}");
        group.remove().unwrap();
        assert!(group.places().iter().all(|place| !place.folder.exists()));
        group.remove().unwrap();
        tree.remove().unwrap();
    }
}
