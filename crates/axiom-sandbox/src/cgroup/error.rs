//! Why something about a group could not be done, and what to do about it.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::Controller;

#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    #[error(
        "`{name}` is no name for a group: 1 to 64 of a-z, A-Z, 0-9, - and _, the first a letter or a digit"
    )]
    BadName { name: String },

    #[error("no control groups can be made here: {reasons}")]
    NowhereToMake { reasons: String },

    /// A limit was asked for that this machine cannot keep.
    #[error("the limit `{limit}` cannot be enforced: {reason}")]
    CannotEnforce {
        limit: &'static str,
        /// What is missing, if it is a controller.
        controller: Option<Controller>,
        reason: String,
        hint: &'static str,
    },

    #[error("the limit `{limit}` is {value}, which no task can live with")]
    LimitOutOfRange { limit: &'static str, value: u64 },

    /// The kernel refused what we wrote.
    #[error("failed to set `{limit}` to `{text}`: {source}")]
    Refused {
        limit: &'static str,
        text: String,
        source: io::Error,
    },

    /// `source` names the file.
    #[error("failed to {step}: {source}")]
    Access { step: &'static str, source: io::Error },

    #[error("there is no sense in what {path} says: `{text}`")]
    Unreadable { path: PathBuf, text: String },

    #[error("there is already a group {path}")]
    Exists { path: PathBuf },

    #[error("there is no group `{name}`")]
    Gone { name: String },

    #[error("group {path} did not come to a stop within {waited:?}")]
    NotFrozen { path: PathBuf, waited: Duration },

    #[error("group {path} still has {processes} processes after {waited:?}")]
    StillAlive {
        path: PathBuf,
        processes: usize,
        waited: Duration,
    },

    #[error("group {path} could not be removed within {waited:?}: {source}")]
    StillBusy {
        path: PathBuf,
        waited: Duration,
        source: io::Error,
    },

    #[error("group {path} has more than {groups_max} groups below it")]
    TooManyGroups { path: PathBuf, groups_max: usize },
}

pub(super) const GET_CONTROLLER: &str = "start Axiom as root, or in a group that is delegated to it: \
    `systemd-run --user --scope -p Delegate=yes axiom ...`, or `Delegate=yes` in its unit; in a container, mount \
    /sys/fs/cgroup writable";

impl GroupError {
    /// What a person can do about it, for a line of its own.
    pub fn hint(&self) -> &'static str {
        match self {
            GroupError::BadName { .. } => "choose another name",
            GroupError::NowhereToMake { .. } => GET_CONTROLLER,
            GroupError::CannotEnforce { hint, .. } => hint,
            GroupError::LimitOutOfRange { .. } => "raise the limit, or leave it out for none",
            GroupError::Refused { source, .. } => refused_hint(source),
            GroupError::Access { .. } => {
                "look whether the group still exists and belongs to the user that Axiom runs as"
            }
            GroupError::Unreadable { .. } => {
                "report it with the kernel's version (`uname -r`): its format is new to us"
            }
            GroupError::Exists { .. } => {
                "take it over if it is of an earlier life of this task, or choose another name"
            }
            GroupError::Gone { .. } => "its task has ended and it was removed; there is nothing left to do",
            GroupError::NotFrozen { .. } => {
                "a process may hang in the kernel (state D in `ps`): try again, or kill the group"
            }
            GroupError::StillAlive { .. } => {
                "a process may hang in the kernel (state D in `ps`), often on a disk: try again later"
            }
            GroupError::StillBusy { .. } => "kill the group first; if it is empty, try again later",
            GroupError::TooManyGroups { .. } => {
                "a task filled its group with groups: kill it, then remove them from the deepest up"
            }
        }
    }
}

fn refused_hint(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::ResourceBusy => "the group uses more than that already: give it a higher limit",
        io::ErrorKind::InvalidInput => {
            "a group above it allows less than that: ask for less, or raise that one"
        }
        _ => GET_CONTROLLER,
    }
}
