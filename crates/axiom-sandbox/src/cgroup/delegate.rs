//! Having version 2 share its controllers out to our groups.
//!
//! A group other than the root of all may have processes or share controllers out, not both. So a process that is alone in its
//! group moves into one below it; where others are in the group, they are not ours to move.

use std::io;
use std::path::{Path, PathBuf};

use super::tree::make_folder;
use super::{Controller, file};

/// Where a process goes that leaves its group. One for all, so that none is left for each life; no name of ours has a dot.
const SELF: &str = "axiom.self";

/// Makes version 2 share a controller out: from the parent to our place, and from there to the groups in it.
pub(super) fn share_out(parent: &Path, folder: &Path, controller: Controller) -> Result<(), String> {
    let named = controller.name_v2();
    let has = |folder: &Path, file: &str| {
        let text = fs_err::read_to_string(folder.join(file)).unwrap_or_default();
        text.split_whitespace().any(|word| word == named)
    };
    if !has(parent, "cgroup.controllers") {
        return Err(format!(
            "the group {} was not given the controller `{named}`",
            parent.display()
        ));
    }
    // `cpu` and `pids` would be taken from a group with processes, and turn it into one of threads, with nothing below it
    // that can be used: so it is emptied first, or left as it is.
    if !has(parent, "cgroup.subtree_control") && !is_root(parent) {
        leave(parent)?;
    }
    for group in [parent, folder] {
        if !has(group, "cgroup.subtree_control") {
            file::write(&group.join("cgroup.subtree_control"), &format!("+{named}"))
                .map_err(|error| format!("the controller `{named}` may not be shared out: {error}"))?;
        }
    }
    Ok(())
}

/// Only the root of the whole tree shares out what it uses itself. It is the one group without a type.
fn is_root(group: &Path) -> bool {
    !group.join("cgroup.type").exists()
}

/// Empties a group of this process, so that it can share out controllers. Others are never moved: they are not ours.
fn leave(group: &Path) -> Result<(), String> {
    let failed = |error: io::Error| format!("this process could not leave its group: {error}");
    let inside = fs_err::read_to_string(group.join("cgroup.procs")).map_err(failed)?;
    let ours = std::process::id().to_string();
    let others = inside.lines().filter(|pid| *pid != ours).count();
    if others > 0 {
        return Err(format!(
            "version 2 shares nothing out of a group with processes, and {} has {others} that are not ours",
            group.display()
        ));
    }
    if inside.is_empty() {
        return Ok(());
    }
    let own = group.join(SELF);
    make_folder(&own).map_err(failed)?;
    file::write(&own.join("cgroup.procs"), &ours).map_err(failed)
}

/// Whoever has moved itself for [`super::Tree::find`] finds the same place again.
pub(super) fn before_own_move(own: &Path) -> PathBuf {
    match own.parent() {
        Some(parent) if own.ends_with(SELF) => parent.to_owned(),
        _ => own.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Folders of files stand for the kernel: what is written where is what this test is about.
    #[test]
    fn version_2_shares_out_level_by_level() {
        let root = tempfile::tempdir().unwrap();
        let ours = root.path().join("axiom-x");
        fs_err::create_dir(&ours).unwrap();
        for (folder, file, text) in [
            (root.path(), "cgroup.controllers", "cpu memory"),
            (root.path(), "cgroup.subtree_control", "cpu"),
            (&ours, "cgroup.subtree_control", ""),
        ] {
            fs_err::write(folder.join(file), text).unwrap();
        }
        share_out(root.path(), &ours, Controller::Cpu).unwrap();
        let read = |file: &str| fs_err::read_to_string(root.path().join(file)).unwrap();
        assert_eq!(read("cgroup.subtree_control"), "cpu");
        assert_eq!(read("axiom-x/cgroup.subtree_control"), "+cpu");
        let reason = share_out(root.path(), &ours, Controller::Io).unwrap_err();
        assert!(reason.ends_with("was not given the controller `io`"), "{reason}");
    }
}
