//! The kernel's small files: read whole, written in one go.

use std::io::{self, Write as _};
use std::path::Path;

use super::GroupError;

/// Writes `text` to a file that is already there.
///
/// One write and no truncation: each write is a command to the kernel. It never makes a file, so a missing one is `NotFound`.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let mut file = fs_err::OpenOptions::new().write(true).open(path)?;
    file.write_all(text.as_bytes())
}

pub(super) fn read(path: &Path) -> Result<String, GroupError> {
    fs_err::read_to_string(path).map_err(|source| GroupError::Access {
        step: "read of a group",
        source,
    })
}

/// `None` where this kernel has no such file, or the group is gone.
pub(super) fn read_if_there(path: &Path) -> Result<Option<String>, GroupError> {
    match fs_err::read_to_string(path) {
        Ok(text) => Ok(Some(text)),
        Err(error) if is_gone(&error) => Ok(None),
        Err(source) => Err(GroupError::Access {
            step: "read of a group",
            source,
        }),
    }
}

/// Version 2 answers reads of a group that is being removed with `ENODEV`.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || errno(error) == Some(rustix::io::Errno::NODEV)
}

pub(super) fn is_busy(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::ResourceBusy || errno(error) == Some(rustix::io::Errno::BUSY)
}

/// The number behind an error, also below the path that fs-err put around it.
pub(super) fn errno(error: &io::Error) -> Option<rustix::io::Errno> {
    if let Some(errno) = rustix::io::Errno::from_io_error(error) {
        return Some(errno);
    }
    let wrapped = std::error::Error::source(error.get_ref()?)?;
    rustix::io::Errno::from_io_error(wrapped.downcast_ref::<io::Error>()?)
}

/// One number, or `None` for `max`.
pub(super) fn number(text: &str) -> Option<u64> {
    text.trim().parse().ok()
}

/// The number after `key` in a file of lines `key number`.
pub(super) fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (found, value) = line.split_once(' ')?;
        (found == key).then(|| number(value))?
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_field_is_found_among_others(before in "[a-z]{1,5} [0-9]{1,3}\n", value: u64, after in "\\PC*") {
            let text = format!("{before}oom_kill {value}\n{after}");
            prop_assert_eq!(field(&text, "oom_kill"), Some(value));
        }

        #[test]
        fn any_text_is_survived(text in "\\PC*") {
            prop_assert_eq!(field(&text, "no such key"), None);
            let _ = number(&text);
        }
    }
}
