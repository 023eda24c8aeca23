//! Whether limits of control groups can be had: by making a group with each, and removing it.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Ability, Finding};
use crate::cgroup::{Allowance, Controller, GroupError, Options, Tree};
use crate::limits::Limits;

/// Whether a task can have these limits here: a group is made with them, and removed.
///
/// # Errors
/// Why not.
pub fn keeps(limits: &Limits, folder: &Path) -> Result<(), String> {
    let number = PROBES.fetch_add(1, Ordering::Relaxed);
    let options = Options {
        name: format!("probe-{}-{number}", std::process::id()),
        parent: None,
    };
    let tree = Tree::find(&options).map_err(|error| error.to_string())?;
    let allowance = Allowance {
        limits: limits.clone(),
        folder: Some(folder.to_owned()),
        ..Allowance::default()
    };
    let kept = tree.make("probe", &allowance).and_then(|group| group.remove());
    if let Err(error) = tree.remove() {
        tracing::warn!(%error, "the place for trying groups was left behind");
    }
    kept.map_err(|error| error.to_string())
}

/// What was found about each controller that is an ability.
pub(super) struct Groups {
    found: Vec<(Controller, Finding)>,
}

/// So that two at once do not meet.
static PROBES: AtomicU32 = AtomicU32::new(0);

pub(super) fn probe(folder: &Path) -> Groups {
    let number = PROBES.fetch_add(1, Ordering::Relaxed);
    let options = Options {
        name: format!("probe-{}-{number}", std::process::id()),
        parent: None,
    };
    let tree = Tree::find(&options);
    let probe = |ability: Ability| {
        let controller = ability.controller()?;
        let finding = match &tree {
            Ok(tree) => try_limit(tree, controller, folder).into(),
            Err(error) => Finding::no(error.to_string()),
        };
        Some((controller, finding))
    };
    let found = Ability::ALL.into_iter().filter_map(probe).collect();
    if let Ok(tree) = tree
        && let Err(error) = tree.remove()
    {
        tracing::warn!(%error, "the place for trying groups was left behind");
    }
    Groups { found }
}

impl Groups {
    pub(super) fn of(&self, ability: Ability) -> Finding {
        let found = self
            .found
            .iter()
            .find(|(controller, _)| Some(*controller) == ability.controller());
        found.map_or_else(
            || Finding::unproven("nothing tries it"),
            |(_, finding)| finding.clone(),
        )
    }
}

fn try_limit(tree: &Tree, controller: Controller, folder: &Path) -> Result<String, String> {
    let Some(version) = tree.version_of(controller) else {
        return Err(tree.missing(controller).unwrap_or("it is not there").to_owned());
    };
    make_and_remove(tree, controller, folder).map_err(|error| error.to_string())?;
    Ok(format!("done with version {}", version.number()))
}

fn make_and_remove(tree: &Tree, controller: Controller, folder: &Path) -> Result<(), GroupError> {
    let allowance = Allowance {
        limits: limit_of(controller),
        folder: Some(folder.to_owned()),
        ..Allowance::default()
    };
    let group = tree.make("probe", &allowance)?;
    let tried = match controller {
        Controller::Freezer => group.freeze().and_then(|()| group.thaw()),
        _ => Ok(()),
    };
    group.remove()?;
    tried
}

/// Any that the kernel takes.
fn limit_of(controller: Controller) -> Limits {
    let mut limits = Limits::default();
    match controller {
        Controller::Memory => limits.memory_bytes = Some(16 << 20),
        Controller::Cpu => limits.cpu_millis = Some(100),
        Controller::Pids => limits.pids = Some(10),
        Controller::Io => limits.disk_io_bytes_s = Some(1 << 20),
        Controller::CpuTime | Controller::Freezer => {}
    }
    limits
}
