//! Notices that files changed. The folder is watched, not the file: editors replace files instead of writing them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use axiom_core::channel::{Receiver, bounded};
use axiom_core::time::{Instant, now, sleep_until};
use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};

/// Watches until it is dropped.
#[derive(Debug)]
pub struct Watch {
    changes: Receiver<()>,
    /// When the first and the last note of a change came that is not over yet.
    noted: Option<(Instant, Instant)>,
    // Its thread ends with it.
    _watcher: RecommendedWatcher,
}

/// An editor saves in several steps; this is how long they may be apart to count as one change.
const QUIET: Duration = Duration::from_millis(200);
/// Something that writes all the time must not put off a reload for ever.
const QUIET_MAX: Duration = Duration::from_secs(2);

impl Watch {
    /// Starts watching these files. Also where a link points to, as far as it leads now.
    ///
    /// # Errors
    /// The system has no watches left, or no such mechanism.
    pub fn start(paths: &[PathBuf]) -> Result<Self, notify::Error> {
        // One waiting note is enough: whoever takes it reads the whole file.
        let (tx, changes) = bounded(1);
        let files: Vec<PathBuf> = paths.iter().flat_map(|path| with_target(path)).collect();
        let names: Vec<PathBuf> = files
            .iter()
            .filter_map(|file| file.file_name().map(PathBuf::from))
            .collect();
        let mut watcher = notify::recommended_watcher(move |event: Result<notify::Event, notify::Error>| {
            let told = match event {
                Ok(event) => !matches!(event.kind, EventKind::Access(_)) && concerns(&event, &names),
                // Events were lost: one of them may have been ours.
                Err(_) => true,
            };
            if told {
                // Full means that a note is waiting already.
                let _noted = tx.try_send(()).is_ok();
            }
        })?;
        let mut folders: Vec<&Path> = files.iter().filter_map(|file| file.parent()).collect();
        folders.sort_unstable();
        folders.dedup();
        for folder in folders {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        Ok(Watch {
            changes,
            noted: None,
            _watcher: watcher,
        })
    }

    /// Waits until the file has changed and has been quiet since.
    ///
    /// # Cancel safety
    /// Safe: a change that is not over yet stays noted for the next call.
    pub async fn changed(&mut self) {
        loop {
            let Some((first, last)) = self.noted else {
                if self.changes.recv().await.is_none() {
                    // The watcher is gone and nothing can be noticed any more.
                    std::future::pending::<()>().await;
                }
                self.noted = Some((now(), now()));
                continue;
            };
            let over = (last + QUIET).min(first + QUIET_MAX);
            tokio::select! {
                // cancel-safe: Receiver::recv keeps the note.
                Some(()) = self.changes.recv() => self.noted = Some((first, now())),
                // cancel-safe: a timer.
                () = sleep_until(over) => {
                    self.noted = None;
                    return;
                }
            }
        }
    }
}

fn with_target(path: &Path) -> impl Iterator<Item = PathBuf> {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
    let target = fs_err::canonicalize(&absolute)
        .ok()
        .filter(|target| *target != absolute);
    std::iter::once(absolute).chain(target)
}

/// [`Watch::changed`] of a watch that could perhaps not be started; then never.
///
/// # Cancel safety
/// As [`Watch::changed`].
pub async fn changed(watch: &mut Option<Watch>) {
    match watch {
        Some(watch) => watch.changed().await,
        None => std::future::pending().await,
    }
}

/// Whether an event is about one of our names. Mounted configuration is switched by a link called `..data`.
fn concerns(event: &notify::Event, names: &[PathBuf]) -> bool {
    event.need_rescan()
        || event.paths.iter().any(|path| {
            let Some(name) = path.file_name() else { return true };
            name == "..data" || names.iter().any(|ours| ours.as_os_str() == name)
        })
}
