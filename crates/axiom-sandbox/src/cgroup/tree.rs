//! Where we make groups: found once, with what cannot be had and why.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::layout::Home;
use super::{Allowance, Controller, Group, GroupError, Layout, Version, delegate, file, folders, name};

#[derive(Debug, Clone)]
pub struct Options {
    /// Ours, apart from other gateways' of this machine: the groups are below `axiom-<name>`.
    pub name: String,
    /// The group to be in, as `/proc/self/cgroup` writes it, such as `/axiom.slice`. It must exist. By default our own.
    pub parent: Option<PathBuf>,
}

/// The place for our groups. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Tree {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    places: Vec<Place>,
    missing: BTreeMap<Controller, String>,
}

/// A folder in one of the kernel's trees, and what it can do for us.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) version: Version,
    pub(super) controllers: Vec<Controller>,
    pub(super) folder: PathBuf,
}

impl Tree {
    /// Finds and makes the place.
    ///
    /// Version 2 lets no group have both processes and controllers for groups below it. If this process is alone in its group,
    /// it moves itself into a group `axiom.self` beside ours; if others are in there, those controllers are missing. A unit of
    /// systemd says `Delegate=yes` and `DelegateSubgroup=axiom.self`: then it starts there, and a new life of this process finds
    /// the groups of the last one.
    ///
    /// # Errors
    /// If no group can be made at all. What is missing only in part is known to [`Tree::missing`].
    pub fn find(options: &Options) -> Result<Tree, GroupError> {
        Tree::find_in(Layout::of_this_process()?, options)
    }

    /// As [`Tree::find`], where the mounts are known.
    pub fn find_in(mut layout: Layout, options: &Options) -> Result<Tree, GroupError> {
        name::check(&options.name)?;
        if layout.homes.is_empty() {
            let reasons = "no tree of groups is mounted where this process can see its own group".to_owned();
            return Err(GroupError::NowhereToMake { reasons });
        }
        // Version 2 first: what it does itself needs no tree of version 1.
        layout.homes.sort_by_key(|home| home.version == Version::V1);
        let in_v1: Vec<Controller> = layout
            .homes
            .iter()
            .flat_map(|home| home.controllers.clone())
            .collect();
        let mut found = Shared {
            places: Vec::new(),
            missing: BTreeMap::new(),
        };
        for home in &layout.homes {
            let parent = parent_in(home, options.parent.as_deref())?;
            match home.version {
                Version::V2 => found.add_v2(&parent, &options.name, &in_v1),
                Version::V1 => found.add_v1(home, &parent, &options.name),
            }
        }
        found.name_the_missing();
        if found.places.is_empty() {
            let reasons = found.reasons();
            return Err(GroupError::NowhereToMake { reasons });
        }
        Ok(Tree {
            shared: Arc::new(found),
        })
    }

    /// Makes a group. See [`Group::make`].
    pub fn make(&self, name: &str, allowance: &Allowance) -> Result<Group, GroupError> {
        Group::make(self, name, allowance)
    }

    /// A group that exists, say from an earlier life of this process.
    pub fn open(&self, name: &str) -> Result<Group, GroupError> {
        Group::open(self, name)
    }

    /// The groups that exist, in the order of their names.
    pub fn list(&self) -> Result<Vec<String>, GroupError> {
        let mut names = BTreeSet::new();
        for place in &self.shared.places {
            for folder in folders::within(&place.folder)? {
                let folder = folder.file_name().and_then(|folder| folder.to_str());
                names.extend(folder.and_then(name::of_folder).map(str::to_owned));
            }
        }
        Ok(names.into_iter().collect())
    }

    /// Which version a controller is had from.
    pub fn version_of(&self, controller: Controller) -> Option<Version> {
        self.places()
            .iter()
            .find(|place| place.controllers.contains(&controller))
            .map(|place| place.version)
    }

    /// Why a controller is not to be had here. `None` if it is.
    pub fn missing(&self, controller: Controller) -> Option<&str> {
        self.shared.missing.get(&controller).map(String::as_str)
    }

    /// Removes the place itself.
    ///
    /// # Errors
    /// [`GroupError::StillBusy`] if there is still a group in it, empty or not: those are removed by name.
    pub fn remove(self) -> Result<(), GroupError> {
        for place in &self.shared.places {
            folders::remove_alone(&place.folder)?;
        }
        Ok(())
    }

    pub(super) fn places(&self) -> &[Place] {
        &self.shared.places
    }
}

impl Shared {
    fn add_v1(&mut self, home: &Home, parent: &Path, name: &str) {
        let is_new = |controller: &&Controller| {
            !self
                .places
                .iter()
                .any(|place| place.controllers.contains(controller))
        };
        let controllers: Vec<Controller> = home.controllers.iter().filter(is_new).copied().collect();
        let folder = parent.join(format!("axiom-{name}"));
        if controllers.is_empty() {
            return;
        }
        let made = make_folder(&folder).and_then(|()| match controllers.contains(&Controller::Memory) {
            true => count_groups_below(&folder),
            false => Ok(()),
        });
        match made {
            Ok(()) => self.places.push(Place {
                version: Version::V1,
                controllers,
                folder,
            }),
            Err(error) => self.miss(
                &controllers,
                &format!("its tree of version 1 is not ours to use: {error}"),
            ),
        }
    }

    fn add_v2(&mut self, parent: &Path, name: &str, in_v1: &[Controller]) {
        let folder = parent.join(format!("axiom-{name}"));
        let wanted: Vec<Controller> = Controller::DELEGATED
            .into_iter()
            .filter(|controller| !in_v1.contains(controller))
            .collect();
        if let Err(error) = make_folder(&folder) {
            self.miss(
                &wanted,
                &format!("the tree of version 2 is not ours to use: {error}"),
            );
            return;
        }
        let mut controllers = Vec::new();
        for controller in wanted {
            match delegate::share_out(parent, &folder, controller) {
                Ok(()) => controllers.push(controller),
                Err(reason) => self.miss(&[controller], &reason),
            }
        }
        // Both are there without a controller, in kernels since 5.2.
        if folder.join("cgroup.freeze").exists() {
            controllers.push(Controller::Freezer);
        }
        if !in_v1.contains(&Controller::CpuTime) {
            controllers.push(Controller::CpuTime);
        }
        self.places.push(Place {
            version: Version::V2,
            controllers,
            folder,
        });
    }

    fn miss(&mut self, controllers: &[Controller], reason: &str) {
        for controller in controllers {
            self.missing.insert(*controller, reason.to_owned());
        }
    }

    /// One of them at length; the others are seldom other reasons.
    fn reasons(&self) -> String {
        let mut reasons: BTreeSet<&str> = self.missing.values().map(String::as_str).collect();
        let first = reasons.pop_first().unwrap_or_default();
        match reasons.len() {
            0 => first.to_owned(),
            more => format!("{first}; and {more} more"),
        }
    }

    fn name_the_missing(&mut self) {
        for controller in Controller::ALL {
            if self
                .places
                .iter()
                .any(|place| place.controllers.contains(&controller))
            {
                self.missing.remove(&controller);
            } else {
                self.missing.entry(controller).or_insert_with(|| {
                    let name = controller.name_v1();
                    format!("no tree with the controller `{name}` is mounted where this process can see its own group")
                });
            }
        }
    }
}

/// The group that ours will be in.
fn parent_in(home: &Home, parent: Option<&Path>) -> Result<PathBuf, GroupError> {
    match parent {
        None => Ok(delegate::before_own_move(&home.own)),
        Some(group) => {
            let mut parts = group.components().filter(|part| *part != Component::RootDir);
            let plain = parts.clone().all(|part| matches!(part, Component::Normal(_)));
            if !plain {
                return Err(GroupError::BadName {
                    name: group.display().to_string(),
                });
            }
            Ok(parts
                .try_fold(home.mount.clone(), |at, part| Some(at.join(part)))
                .unwrap_or_default())
        }
    }
}

pub(super) fn make_folder(folder: &Path) -> io::Result<()> {
    match fs_err::create_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

/// Before kernel 5.11, version 1 counts the memory of a group without the groups below it unless it is told so.
fn count_groups_below(folder: &Path) -> io::Result<()> {
    let file = folder.join("memory.use_hierarchy");
    match fs_err::read_to_string(&file) {
        Ok(text) if text.trim() == "0" => file::write(&file, "1"),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_below_the_mount() {
        let home = Home {
            version: Version::V2,
            controllers: Vec::new(),
            mount: "/cg".into(),
            own: "/cg/a/axiom.self".into(),
        };
        assert_eq!(parent_in(&home, None).unwrap(), Path::new("/cg/a"));
        assert_eq!(
            parent_in(&home, Some(Path::new("/b/c"))).unwrap(),
            Path::new("/cg/b/c")
        );
        parent_in(&home, Some(Path::new("/../c"))).unwrap_err();
    }
}
