//! What outlives the supervisor, beside the tasks' own folders: a page for each task with its order, and how much of its
//! output is recorded.
//!
//! ```text
//! DIR/                       the folder of tasks
//!   .ledger/lock             locked by the supervisor there is
//!   .ledger/ID.json          the page: written before the task is taken, and again when it has ended for good
//!   .ledger/ID.at            how much is recorded, how much was handed to the event log last, and which end was told: see `At`
//!   .ledger/ID.input         what it is given to read first, until it has it
//!   ID, ID-2, ID-3, ...      the folder of each attempt, with its specification, output and end
//! ```
//!
//! A page is replaced whole, by a rename. `ID.at` is overwritten in place, in one write of one size. Nothing is synced: a process
//! that is killed loses nothing of it, and a machine that loses power loses its tasks anyway.

use std::fs::TryLockError;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, FileExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axiom_sandbox::spec::check_id;
use serde::{Deserialize, Serialize};

use super::OpenError;
use super::view::Ending;
use crate::order::{Input, Order};

const FOLDER: &str = ".ledger";

/// The ledger of one folder of tasks. As long as it is there, nobody else gets it.
#[derive(Debug)]
pub(super) struct Ledger {
    tasks: PathBuf,
    folder: PathBuf,
    _lock: fs_err::File,
}

/// Pages with the ids of their tasks.
pub(super) type Pages = Vec<(Arc<str>, LedgerPage)>;

/// A task, as it is written down.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct LedgerPage {
    pub(super) created: i64,
    #[serde(with = "in_arc")]
    pub(super) order: Arc<Order>,
    /// Starts that were not the first, nanoseconds since 1970: those within the policy's window.
    #[serde(default)]
    pub(super) restarts: Vec<i64>,
    /// The attempt that is over and has been counted: after it the task rests, or has ended.
    #[serde(default)]
    pub(super) over: u32,
    /// Somebody wants its end, and it had not ended when the supervisor was closed.
    #[serde(default)]
    pub(super) killed: Option<String>,
    /// For good, with all output recorded.
    #[serde(default)]
    pub(super) ending: Option<Ending>,
    /// That was, or is to be, told in the event log.
    #[serde(default)]
    pub(super) is_told: bool,
}

/// An order that is shared, written as one that is not.
mod in_arc {
    use std::sync::Arc;

    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::order::Order;

    pub(super) fn serialize<S: Serializer>(order: &Arc<Order>, to: S) -> Result<S::Ok, S::Error> {
        order.as_ref().serialize(to)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<Order>, D::Error> {
        Order::deserialize(from).map(Arc::new)
    }
}

/// How much of a task's output is recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Stored {
    pub(super) attempt: u32,
    /// Bytes of the attempt's two outputs.
    pub(super) stdout: u64,
    pub(super) stderr: u64,
    /// Lines of all attempts.
    pub(super) lines: u64,
}

/// Which of a task's ends is in the event log. They are told in their order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Told(u64);

impl Told {
    /// An attempt's, after which the task rests.
    pub(super) fn rests(attempt: u32) -> Told {
        Told(u64::from(attempt) * 2 + 1)
    }

    /// The task's own.
    pub(super) fn ended(attempt: u32) -> Told {
        Told(u64::from(attempt) * 2 + 2)
    }

    pub(super) fn is_end(self) -> bool {
        self.0 > 0 && self.0.is_multiple_of(2)
    }
}

/// What stands in `ID.at`, written before lines are handed to the event log and not again afterwards: whether they are there is asked
/// of the log itself, when a supervisor finds the task. So none is recorded twice, wherever the one before was killed, and it costs
/// one small write for each batch.
///
/// ```text
/// at := (number ' ')* number '\n'     ten decimal numbers, each 20 wide:
///       attempt stdout stderr lines    recorded: bytes of the attempt's outputs, lines of all attempts
///       attempt stdout stderr lines    with the lines that were handed over last
///       floor                          if the log has any output of the task at this offset or behind it, these are in it
///       told                           0 nothing; for attempt n: 2n+1 its end, before a rest, 2n+2 the task's end
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct At {
    pub(super) stored: Stored,
    pub(super) next: Stored,
    pub(super) floor: u64,
    pub(super) told: Told,
}

impl At {
    /// Nothing is under way.
    pub(super) fn settled(stored: Stored, told: Told) -> At {
        At {
            stored,
            next: stored,
            floor: 0,
            told,
        }
    }
}

/// The name of an attempt's folder, which is the id of its specification.
pub(super) fn attempt_name(id: &str, attempt: u32) -> String {
    match attempt {
        0 | 1 => id.to_owned(),
        _ => format!("{id}-{attempt}"),
    }
}

impl Ledger {
    /// Opens it, with all its pages in the order in which their tasks came. What is no page is told and left alone.
    pub(super) fn open(tasks: &Path) -> Result<(Ledger, Pages), OpenError> {
        let failed = |error| OpenError::Folder {
            dir: tasks.to_owned(),
            error,
        };
        let tasks_path = std::path::absolute(tasks).map_err(failed)?;
        let folder = tasks_path.join(FOLDER);
        let mut private = std::fs::DirBuilder::new();
        // Orders have environments in them, and those have secrets.
        private.recursive(true).mode(0o700);
        private.create(&folder).map_err(failed)?;
        let mut options = fs_err::OpenOptions::new();
        options.create(true).truncate(false).write(true);
        let lock = options.open(folder.join("lock")).map_err(failed)?;
        match lock.file().try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(OpenError::Taken {
                    dir: tasks.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let ledger = Ledger {
            tasks: tasks_path,
            folder,
            _lock: lock,
        };
        let pages = ledger.pages().map_err(failed)?;
        Ok((ledger, pages))
    }

    fn pages(&self) -> io::Result<Pages> {
        let mut pages = Vec::new();
        for entry in fs_err::read_dir(&self.folder)? {
            let path = entry?.path();
            let is_page = path.extension().is_some_and(|extension| extension == "json");
            let Some(id) = path
                .file_stem()
                .and_then(|stem| stem.to_str())
                .filter(|_| is_page)
            else {
                continue;
            };
            if check_id(id).is_err() {
                continue;
            }
            let page = fs_err::read(&path).and_then(|bytes| Ok(serde_json::from_slice(&bytes)?));
            match page {
                Ok(page) => pages.push((id.into(), page)),
                Err(error) => tracing::error!(
                    task = id,
                    %error,
                    "a task's order cannot be read: it is left as it is, and nobody supervises it"
                ),
            }
        }
        // In the order in which they came.
        pages.sort_by(|(one, a): &(Arc<str>, LedgerPage), (other, b)| {
            (a.created, one).cmp(&(b.created, other))
        });
        Ok(pages)
    }

    pub(super) fn write(&self, id: &str, page: &LedgerPage) -> io::Result<()> {
        let json = serde_json::to_vec(page).map_err(io::Error::other)?;
        let aside = self.folder.join(format!("{id}.new"));
        fs_err::write(&aside, json)?;
        fs_err::rename(aside, self.page(id))
    }

    /// Takes back an order that nobody has seen.
    pub(super) fn take_back(&self, id: &str) {
        self.drop_input(id);
        if let Err(error) = fs_err::remove_file(self.page(id)) {
            tracing::warn!(task = id, %error, "an order that was refused stays written down");
        }
    }

    pub(super) fn at(&self, id: &str) -> At {
        let text = fs_err::read_to_string(self.at_path(id)).unwrap_or_default();
        read_at(&text).unwrap_or_default()
    }

    /// Makes it if it is not there.
    pub(super) fn set_at(&self, id: &str, at: &At) -> io::Result<()> {
        self.write_at(id, at, true)
    }

    /// What is not there belongs to a task that was forgotten meanwhile, and stays away.
    pub(super) fn change_at(&self, id: &str, at: &At) -> io::Result<()> {
        gone(self.write_at(id, at, false))
    }

    fn write_at(&self, id: &str, at: &At, create: bool) -> io::Result<()> {
        let mut options = fs_err::OpenOptions::new();
        options.create(create).truncate(false).write(true);
        let file = options.open(self.at_path(id))?;
        file.file().write_all_at(at_text(at).as_bytes(), 0)
    }

    /// What a task is given to read first, until it has it: `+` if more may follow, `.` if not, and the bytes.
    pub(super) fn write_input(&self, id: &str, input: &Input) -> io::Result<()> {
        let mark = if input.ends { b'.' } else { b'+' };
        let mut bytes = Vec::with_capacity(1 + input.bytes.len());
        bytes.push(mark);
        bytes.extend_from_slice(&input.bytes);
        fs_err::write(self.input_path(id), bytes)
    }

    /// `None` if it has none, or has it already.
    pub(super) fn input(&self, id: &str) -> io::Result<Option<Input>> {
        let bytes = match fs_err::read(self.input_path(id)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(bytes.split_first().map(|(mark, bytes)| Input {
            bytes: bytes.to_vec(),
            ends: *mark == b'.',
        }))
    }

    pub(super) fn drop_input(&self, id: &str) {
        if let Err(error) = gone(fs_err::remove_file(self.input_path(id))) {
            tracing::warn!(task = %id, %error, "a task's input was given and stays on the disk");
        }
    }

    /// Removes everything there is of a task. The page goes last: until then it is all there for another try.
    pub(super) fn remove(&self, id: &str, attempts: u32) -> io::Result<()> {
        for attempt in 1..=attempts {
            gone(fs_err::remove_dir_all(self.attempt(id, attempt)))?;
        }
        gone(fs_err::remove_file(self.input_path(id)))?;
        gone(fs_err::remove_file(self.at_path(id)))?;
        gone(fs_err::remove_file(self.page(id)))
    }

    pub(super) fn tasks(&self) -> &Path {
        &self.tasks
    }

    /// The folder of an attempt.
    pub(super) fn attempt(&self, id: &str, attempt: u32) -> PathBuf {
        self.tasks.join(attempt_name(id, attempt))
    }

    /// The newest attempt of which there is a folder; 0 if there is none.
    pub(super) fn attempts(&self, id: &str) -> u32 {
        let mut attempt = 0;
        while self.attempt(id, attempt + 1).is_dir() {
            attempt += 1;
        }
        attempt
    }

    fn page(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.json"))
    }

    fn at_path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.at"))
    }

    fn input_path(&self, id: &str) -> PathBuf {
        self.folder.join(format!("{id}.input"))
    }
}

/// Removed, or not there: both are fine.
fn gone(removed: io::Result<()>) -> io::Result<()> {
    match removed {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Always of the same length, so that what is overwritten is overwritten whole.
fn at_text(at: &At) -> String {
    let stored = |stored: &Stored| {
        let Stored {
            attempt,
            stdout,
            stderr,
            lines,
        } = stored;
        format!("{attempt:>20} {stdout:>20} {stderr:>20} {lines:>20}")
    };
    let At {
        stored: now,
        next,
        floor,
        told: Told(told),
    } = at;
    format!("{} {} {floor:>20} {told:>20}\n", stored(now), stored(next))
}

fn read_at(text: &str) -> Option<At> {
    let mut numbers = text
        .strip_suffix('\n')?
        .split_ascii_whitespace()
        .map(str::parse::<u64>);
    let mut next = || numbers.next()?.ok();
    let mut stored = || {
        Some(Stored {
            attempt: u32::try_from(next()?).ok()?,
            stdout: next()?,
            stderr: next()?,
            lines: next()?,
        })
    };
    let (now, then) = (stored()?, stored()?);
    Some(At {
        stored: now,
        next: then,
        floor: next()?,
        told: Told(next()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_much_is_recorded_is_read_as_it_was_written() {
        let stored = Stored {
            attempt: 3,
            stdout: u64::MAX,
            stderr: 0,
            lines: 17,
        };
        let at = At {
            stored: Stored::default(),
            next: stored,
            floor: 12,
            told: Told::ended(2),
        };
        assert_eq!(read_at(&at_text(&at)), Some(at));
        assert_eq!(at_text(&at).len(), at_text(&At::default()).len());
        let whole = at_text(&at);
        let torn = whole.trim_end();
        for torn in ["", "1 2 3 4\n", torn, &whole.replace('3', "x")] {
            assert_eq!(read_at(torn), None, "{torn:?}");
        }
    }

    #[test]
    fn ends_are_told_in_their_order() {
        let order = [
            Told::default(),
            Told::ended(0),
            Told::rests(1),
            Told::ended(1),
            Told::rests(2),
        ];
        assert!(order.is_sorted());
        assert_eq!(order.map(Told::is_end), [false, true, false, true, false]);
    }

    #[test]
    fn there_is_one_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let tasks = dir.path().join("tasks");
        let first = Ledger::open(&tasks).unwrap();
        assert!(matches!(Ledger::open(&tasks), Err(OpenError::Taken { .. })));
        drop(first);
        let (ledger, pages) = Ledger::open(&tasks).unwrap();
        assert_eq!((pages.len(), ledger.attempts("a")), (0, 0));
    }

    #[test]
    fn attempts_have_folders_of_their_own() {
        assert_eq!(attempt_name("a", 1), "a");
        assert_eq!(attempt_name("a", 12), "a-12");
    }
}
