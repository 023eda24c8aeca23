//! Groups as folders: found with those below them, and removed with them.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{GroupError, file};
use crate::wait;

/// A task that fills its group with groups is stopped here, not followed.
const GROUPS_MAX: usize = 4_096;

/// The kernel takes a moment to forget a process that has ended; two seconds cover a busy machine.
const REMOVE_LIMIT: Duration = Duration::from_secs(2);

/// The folders in a folder. None if it is gone.
pub(super) fn within(folder: &Path) -> Result<Vec<PathBuf>, GroupError> {
    let failed = |source| GroupError::Access {
        step: "list groups",
        source,
    };
    let entries = match fs_err::read_dir(folder) {
        Err(error) if file::is_gone(&error) => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = match entry {
            Err(error) if file::is_gone(&error) => continue,
            entry => entry.map_err(failed)?,
        };
        // The kernel says it in the listing, so this never follows a link.
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// A folder and those below it, each before what is in it.
pub(super) fn with_those_below(folder: &Path) -> Result<Vec<PathBuf>, GroupError> {
    with_up_to(GROUPS_MAX, folder)
}

fn with_up_to(groups_max: usize, folder: &Path) -> Result<Vec<PathBuf>, GroupError> {
    let mut found = vec![folder.to_owned()];
    let mut at = 0;
    while let Some(group) = found.get(at) {
        let below = within(group)?;
        found.extend(below);
        at += 1;
        if found.len() > groups_max {
            return Err(GroupError::TooManyGroups {
                path: folder.to_owned(),
                groups_max,
            });
        }
    }
    Ok(found)
}

/// Removes a folder and those below it, and tries again for a while as long as the kernel says that it is busy.
pub(super) fn remove(folder: &Path) -> Result<(), GroupError> {
    retried(folder, || {
        for group in with_those_below(folder)?.iter().rev() {
            if let Some(busy) = remove_once(group)? {
                return Ok(Some(busy));
            }
        }
        Ok(None)
    })
}

/// As [`remove`], of a folder that has none below it.
pub(super) fn remove_alone(folder: &Path) -> Result<(), GroupError> {
    retried(folder, || remove_once(folder))
}

fn retried(
    folder: &Path,
    mut attempt: impl FnMut() -> Result<Option<io::Error>, GroupError>,
) -> Result<(), GroupError> {
    let mut busy = None;
    wait::until(REMOVE_LIMIT, || {
        busy = attempt()?;
        Ok(busy.is_none())
    })?;
    match busy {
        None => Ok(()),
        Some(source) => Err(GroupError::StillBusy {
            path: folder.to_owned(),
            waited: REMOVE_LIMIT,
            source,
        }),
    }
}

/// What was busy, if anything.
fn remove_once(folder: &Path) -> Result<Option<io::Error>, GroupError> {
    match fs_err::remove_dir(folder) {
        Ok(()) => Ok(None),
        Err(error) if file::is_gone(&error) => Ok(None),
        Err(error) if file::is_busy(&error) => Ok(Some(error)),
        Err(source) => Err(GroupError::Access {
            step: "remove a group",
            source,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fills_itself_with_groups_is_not_followed() {
        let root = tempfile::tempdir().unwrap();
        for number in 0..3 {
            fs_err::create_dir(root.path().join(number.to_string())).unwrap();
        }
        assert_eq!(with_up_to(4, root.path()).unwrap().len(), 4);
        let error = with_up_to(3, root.path()).unwrap_err();
        assert!(matches!(error, GroupError::TooManyGroups { .. }), "{error}");
    }
}
