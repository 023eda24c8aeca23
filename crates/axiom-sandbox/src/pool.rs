//! What tasks share: processes that have started already, so that a task need not wait for their start.
//!
//! A pool is held by whoever supervises, for as long as that is. What it holds are tasks themselves, in a folder of their own: each has a
//! shim, its output says why it failed, and all that it has started ends with it. A pool that is gone leaves nothing behind for long:
//! its processes end when nobody has needed them for a while.

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axiom_core::time;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use crate::handle::{Attached, End, Event, Spawner, StartError};
use crate::output::Source;
use crate::spec::Spec;
use crate::wire::Request;

pub use workers::{Lease, WorkerOptions, Workers};
pub use zygotes::{ZygoteOptions, Zygotes};

mod workers;
mod zygotes;

/// How long a process of a pool may take until it takes work. Some modules of Python need seconds.
const READY_TIME: Duration = Duration::from_secs(60);
/// A shim answers within a millisecond. One that does not is as good as none.
const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long one that is told to end may take; its shim goes on to end it.
const END_TIME: Duration = Duration::from_secs(10);
/// Of what one says before it is ready, so much is kept for the reader of an error.
const WORDS_BYTES_MAX: usize = 2_000;
/// What is left of one is kept for so long, for whoever still wants to know how it ended.
const LEFT_NANOS: i64 = 60_000_000_000;

/// Why a pool has nothing to give.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error("{what} cannot be started")]
    Start {
        what: String,
        #[source]
        error: StartError,
    },
    #[error("{what} ended before it took any work: {why}")]
    Ended { what: String, why: String },
    #[error("{what} takes no work within {READY_TIME:?}")]
    Slow { what: String },
    #[error("the folder of a pool cannot be used")]
    Folder(#[source] io::Error),
}

impl PoolError {
    pub fn hint(&self) -> Option<&str> {
        match self {
            PoolError::Start { error, .. } => error.hint(),
            PoolError::Ended { .. } => Some("does it run by hand, with the same environment?"),
            PoolError::Slow { .. } => None,
            PoolError::Folder(_) => Some("is there room on the disk, and may we write there?"),
        }
    }
}

/// Where a process of a pool is: `ID/ID` is its folder as a task, and `ID/own` is what it may write into.
#[derive(Debug)]
struct Place {
    id: String,
    folder: PathBuf,
    own: PathBuf,
}

/// A process that a pool holds.
#[derive(Debug)]
struct Member {
    place: Place,
    /// Of its process; `None` if that had ended before anybody could look.
    pidfd: Option<OwnedFd>,
}

impl Place {
    /// Nobody else may look into it: whoever reaches what it holds runs what they like, as us.
    fn make(pool: &Path) -> io::Result<Place> {
        use std::os::unix::fs::DirBuilderExt as _;
        let chance = RandomState::new().hash_one(time::unix_nanos());
        let id = format!("{:012x}", chance >> 16);
        let folder = std::path::absolute(pool.join(&id))?;
        fs_err::create_dir_all(pool)?;
        std::fs::DirBuilder::new().mode(0o700).create(&folder)?;
        let own = fs_err::canonicalize(&folder)?.join("own");
        fs_err::create_dir(&own)?;
        Ok(Place { id, folder, own })
    }

    fn task(&self) -> PathBuf {
        self.folder.join(&self.id)
    }
}

impl Member {
    /// Starts it. When this returns, its command runs.
    async fn start(spawner: &Spawner, place: Place, spec: &Spec, what: &str) -> Result<Member, PoolError> {
        let running = match spawner.start(&place.folder, spec).await {
            Ok(running) => running,
            Err(error) => {
                // Nothing of it runs, unless nobody knows.
                if !matches!(error, StartError::Unheard { .. }) {
                    fs_err::remove_dir_all(&place.folder).ok();
                }
                let what = what.to_owned();
                return Err(PoolError::Start { what, error });
            }
        };
        let pid = Pid::from_raw(running.command);
        let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        Ok(Member { place, pidfd })
    }

    /// Waits until it says `ready` on a line of its own; else it is ended.
    async fn when_ready(self, what: &str) -> Result<Member, PoolError> {
        let ready = time::timeout(READY_TIME, self.ready()).await;
        let why = match ready {
            Ok(Ok(None)) => return Ok(self),
            Ok(Ok(Some(why))) => PoolError::Ended {
                what: what.to_owned(),
                why,
            },
            Ok(Err(error)) => PoolError::Folder(error),
            Err(_) => PoolError::Slow {
                what: what.to_owned(),
            },
        };
        self.end("it was not ready").await;
        Err(why)
    }

    /// What it has said, if it ends soon.
    async fn last_words(&self) -> String {
        match time::timeout(ANSWER_TIME, self.ready()).await {
            Ok(Ok(Some(words))) => words,
            _ => "it does not answer".to_owned(),
        }
    }

    /// Waits for the word; gives what it said instead if it ends.
    async fn ready(&self) -> io::Result<Option<String>> {
        let mut attached = Attached::open(&self.place.task()).await?;
        let (mut stdout, mut words) = (Vec::new(), Vec::new());
        loop {
            match attached.next().await? {
                Event::Output { source, bytes, .. } => {
                    words.extend_from_slice(&bytes);
                    let surplus = words.len().saturating_sub(WORDS_BYTES_MAX);
                    words.drain(..surplus);
                    if source == Source::Stdout {
                        stdout.extend_from_slice(&bytes);
                        if stdout.split(|byte| *byte == b'\n').any(|line| line == b"ready") {
                            return Ok(None);
                        }
                        let surplus = stdout.len().saturating_sub(WORDS_BYTES_MAX);
                        stdout.drain(..surplus);
                    }
                }
                Event::Ended(end) => {
                    let words = String::from_utf8_lossy(&words);
                    return Ok(Some(match (end, words.trim()) {
                        (End::Exit(exit), "") => format!("{:?}", exit.how),
                        (_, words) => words.to_owned(),
                    }));
                }
                _ => {}
            }
        }
    }

    /// Whether it is there still. Its process is asked, not its shim: that learns of the end a moment later.
    fn is_alive(&self) -> bool {
        let Some(pidfd) = &self.pidfd else {
            return false;
        };
        let mut ended = [PollFd::new(pidfd, PollFlags::IN)];
        matches!(poll(&mut ended, Some(&Timespec::default())), Ok(0))
    }

    /// Attaches to it, so that it is not idle; `None` if it has ended or is about to.
    async fn attend(&self) -> Option<Attached> {
        let answered = time::timeout(ANSWER_TIME, async {
            let mut attached = Attached::open(&self.place.task()).await.ok()?;
            attached.ask(Request::Status).ok()?;
            attached.reply().await.ok()??;
            Some(attached)
        });
        answered.await.ok().flatten()
    }

    /// Ends it with all that it has started, and removes its folder.
    async fn end(self, why: &str) {
        let ended = time::timeout(END_TIME, async {
            let mut attached = Attached::open(&self.place.task()).await?;
            attached.ask(Request::Kill { why: why.to_owned() }).ok();
            while !matches!(attached.next().await?, Event::Ended(_)) {}
            io::Result::Ok(())
        });
        match ended.await {
            Ok(Ok(())) => drop(fs_err::remove_dir_all(&self.place.folder)),
            // Whoever opens the pool next finds it.
            Ok(Err(error)) => tracing::warn!(%error, "a process of a pool was not seen to its end"),
            Err(_) => tracing::warn!(id = self.place.id, "a process of a pool does not end"),
        }
    }
}

/// Removes what is left of those that ended a while ago, whose pool did not see it.
async fn tidy(pool: &Path) -> io::Result<()> {
    let entries = match fs_err::read_dir(pool) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let task = entry.path().join(entry.file_name());
        if is_long_over(&task).await {
            // Another pool may be just as tidy.
            fs_err::remove_dir_all(entry.path()).ok();
        }
    }
    Ok(())
}

/// Also true if its shim was killed, and it with it.
async fn is_long_over(task: &Path) -> bool {
    match Attached::open(task).await {
        Ok(attached) => match attached.end() {
            Some(End::Exit(exit)) => time::unix_nanos() - exit.ended > LEFT_NANOS,
            Some(End::Lost) => true,
            None => false,
        },
        // It is being made.
        Err(_) => false,
    }
}
