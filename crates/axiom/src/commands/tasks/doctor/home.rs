//! What a newcomer meets before any task: the configuration, and the folder that tasks are kept in.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::config::load::{LoadError, Source, discover, load};

/// Less room than one task may leave unread, and it would wait for the disk.
const ROOM_BYTES_MIN: u64 = 64 << 20;
/// Files of one task, and some.
const ROOM_FILES_MIN: u64 = 100;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    Yes,
    No,
    /// Nothing is wrong, and nothing is there.
    None,
}

#[derive(Debug, Serialize)]
pub(super) struct Checked {
    pub(super) verdict: State,
    pub(super) reason: String,
    pub(super) how: String,
}

impl Checked {
    pub(super) fn is_good(&self) -> bool {
        self.verdict == State::Yes
    }

    fn yes(reason: String) -> Checked {
        Checked {
            verdict: State::Yes,
            reason,
            how: String::new(),
        }
    }

    fn no(reason: String, how: &str) -> Checked {
        Checked {
            verdict: State::No,
            reason,
            how: how.to_owned(),
        }
    }
}

pub(super) fn configuration(named: Option<&Path>) -> Checked {
    let Source::File(path) = discover(named) else {
        return Checked {
            verdict: State::None,
            reason: "there is none here; tasks need none, and `axiom up` serves its demo".to_owned(),
            how: "write axiom.toml, or take servers over: axiom import FILE --write".to_owned(),
        };
    };
    let file = path.display();
    match load(&path) {
        Ok(loaded) => {
            let servers = loaded.config.options.servers.len();
            let warnings = match loaded.warnings.len() {
                0 => String::new(),
                count => format!(", {count} warnings"),
            };
            Checked::yes(format!("{file} is fine: servers {servers}{warnings}"))
        }
        Err(LoadError::Invalid { problems, .. }) => {
            let first = problems.iter().find(|problem| problem.is_error());
            let first = first.map_or("it is not valid", |problem| &problem.message);
            Checked::no(format!("{file}: {first}"), "axiom config check tells all of it")
        }
        Err(error) => Checked::no(error.to_string(), "axiom config check tells all of it"),
    }
}

/// Writes a file there and removes it. A folder that is not there yet is not made: it is enough that it could be.
pub(super) fn tasks_folder(tasks: &Path) -> Checked {
    let elsewhere = "have them elsewhere: --dir DIR, or set XDG_STATE_HOME";
    let place = standing(tasks);
    if let Err(error) = write_and_remove(&place) {
        return Checked::no(format!("nothing can be written there: {error}"), elsewhere);
    }
    let found = match place == tasks {
        true => format!("{} can be written", tasks.display()),
        false => format!("{} can be made", tasks.display()),
    };
    match rustix::fs::statvfs(&place) {
        Ok(disk) => {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            // Some file systems count no files.
            let has_files = disk.f_files == 0 || disk.f_favail >= ROOM_FILES_MIN;
            let room = format!("{} MiB free", free >> 20);
            match free >= ROOM_BYTES_MIN && has_files {
                true => Checked::yes(format!("{found}, {room}")),
                false if has_files => Checked::no(format!("{found}, but has only {room}"), elsewhere),
                false => {
                    let reason = format!("{found}, but its disk takes only {} more files", disk.f_favail);
                    Checked::no(reason, elsewhere)
                }
            }
        }
        Err(error) => Checked::no(
            format!("{found}, but how much room it has is unknown: {error}"),
            elsewhere,
        ),
    }
}

/// The folder, or the one above it that is there.
pub(super) fn standing(tasks: &Path) -> PathBuf {
    let tasks = std::path::absolute(tasks).unwrap_or_else(|_| tasks.to_owned());
    let there = tasks.ancestors().find(|folder| folder.exists());
    there.unwrap_or(Path::new("/")).to_owned()
}

fn write_and_remove(folder: &Path) -> std::io::Result<()> {
    let file = folder.join(format!(".axiom-doctor-{}", std::process::id()));
    let written = fs_err::OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(&file)
        .and_then(|mut file| std::io::Write::write_all(&mut file, b"x"));
    match written {
        // What is not ours stays.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(error),
        Err(error) => {
            fs_err::remove_file(&file).ok();
            Err(error)
        }
        Ok(()) => fs_err::remove_file(&file),
    }
}
