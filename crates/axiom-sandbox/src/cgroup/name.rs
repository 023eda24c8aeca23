//! Names of groups, and the folders that they become.

use super::GroupError;

/// What our folders are called, so that no name of a task is ever that of a file of the kernel's (`tasks`).
const PREFIX: &str = "task-";

/// A folder's name may have 255 bytes; no id of ours is near that.
const NAME_LEN_MAX: usize = 64;

/// The folder of a group. Nothing that is accepted leads out of the parent, or to a file that the kernel makes.
pub(super) fn folder(name: &str) -> Result<String, GroupError> {
    check(name)?;
    Ok(format!("{PREFIX}{name}"))
}

/// The group that such a folder is of.
pub(super) fn of_folder(folder: &str) -> Option<&str> {
    folder.strip_prefix(PREFIX).filter(|name| check(name).is_ok())
}

pub(super) fn check(name: &str) -> Result<(), GroupError> {
    let starts_well = name.starts_with(|first: char| first.is_ascii_alphanumeric());
    let all_known = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_');
    if starts_well && all_known && name.len() <= NAME_LEN_MAX {
        return Ok(());
    }
    Err(GroupError::BadName {
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use std::path::{Component, Path};

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn path_tricks_are_no_names() {
        for bad in [
            "",
            ".",
            "..",
            "a/b",
            "../a",
            "a.b",
            "a\0",
            "-a",
            "_a",
            "ä",
            &"a".repeat(65),
        ] {
            assert!(folder(bad).is_err(), "{bad:?} was taken");
        }
        assert_eq!(folder("0193-a_B").unwrap(), "task-0193-a_B");
    }

    proptest! {
        #[test]
        fn what_is_taken_is_one_plain_folder_and_comes_back(name in "[./a-zA-Z0-9_ -]{0,70}") {
            if let Ok(folder) = folder(&name) {
                let parts: Vec<_> = Path::new(&folder).components().collect();
                prop_assert_eq!(parts, [Component::Normal(folder.as_ref())]);
                prop_assert_eq!(of_folder(&folder), Some(name.as_str()));
            }
        }
    }
}
