//! When a file of a task's folder was last changed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axiom_core::channel::oneshot;
use axiom_core::{spawn, time};

/// More files and folders are not looked at; what is not looked at counts as just changed.
const ENTRIES_MAX: usize = 100_000;

/// Looks, on a thread of its own, how long ago a file below this folder was changed; but for what is below `except`, where we
/// write ourselves what tasks say.
pub fn look(folder: PathBuf, except: PathBuf) -> oneshot::Receiver<Option<Duration>> {
    let (tx, rx) = oneshot::channel();
    // Nobody waits for the thread, and nobody may wait for what it says.
    drop(spawn::blocking(move || {
        tx.send(age_of_newest(&folder, &except)).ok()
    }));
    rx
}

/// How long ago the newest file or folder below this one was changed. Links are not followed. Nothing if that is not known:
/// there are too many, or none of them can be read.
fn age_of_newest(folder: &Path, except: &Path) -> Option<Duration> {
    let mut newest: Option<Duration> = None;
    let mut left = ENTRIES_MAX;
    let mut waiting = vec![folder.to_owned()];
    while let Some(path) = waiting.pop() {
        // What is gone by now, or cannot be read, was not changed by the task just now.
        let Ok(entries) = fs_err::read_dir(&path) else {
            continue;
        };
        for entry in entries.flatten() {
            left = left.checked_sub(1)?;
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if entry.path() == except {
                continue;
            }
            if metadata.is_dir() {
                waiting.push(entry.path());
            }
            let changed = metadata.modified().ok();
            let since_1970 = changed.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
            newest = newest.max(since_1970);
        }
    }
    let now = Duration::from_nanos(u64::try_from(time::unix_nanos()).unwrap_or_default());
    newest.map(|newest| now.saturating_sub(newest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_file_counts_but_for_ours() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(age_of_newest(folder.path(), Path::new("")), None);
        let ours = folder.path().join("ours");
        fs_err::create_dir(&ours).unwrap();
        fs_err::write(ours.join("output"), "x").unwrap();
        assert_eq!(age_of_newest(folder.path(), &ours), None);
        fs_err::create_dir(folder.path().join("src")).unwrap();
        let file = fs_err::File::create(folder.path().join("src/main.rs")).unwrap();
        let age = |path: &Path| age_of_newest(path, &ours).unwrap();
        assert!(age(folder.path()) < Duration::from_secs(60));
        let then = std::time::UNIX_EPOCH + Duration::from_nanos(u64::try_from(time::unix_nanos()).unwrap())
            - Duration::from_secs(3600);
        file.set_modified(then).unwrap();
        assert!(age(&folder.path().join("src")) >= Duration::from_secs(3600));
    }
}
