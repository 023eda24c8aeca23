//! Tasks, as their supervisor has them: started, found again after its own end, watched, steered.
//!
//! A supervisor may die at any time. What it must not lose is in the tasks' folders: it makes a folder before it starts a
//! task, and whatever it finds there when it starts again is a task that runs, one that has ended, or one whose shim was killed.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axiom_core::{spawn, time};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex as Turn, oneshot};

use crate::exit::{Exit, How};
use crate::output::Writer;
use crate::shim::{EXIT, OUTPUT, SPEC};
use crate::spawner::{Answer, NotStarted, Running};
use crate::spec::{BadSpec, Spec};

pub use attached::{Attached, End, Event};

mod attached;

/// The output of a task that was claimed before it was started, by another name.
const CLAIM: &str = "claimed";
/// How long a task may take to start. The command of a healthy machine runs within some milliseconds.
const START_TIME: Duration = Duration::from_secs(30);

/// How the spawner's program is run: it must call [`serve`](crate::spawner::serve) with its standard input, before it has
/// a second thread.
#[derive(Debug, Clone)]
pub struct SpawnerOptions {
    pub program: PathBuf,
    pub arguments: Vec<String>,
}

/// Starts tasks. The spawner's process is started with the first of them, and again if it was killed.
#[derive(Debug)]
pub struct Spawner {
    options: SpawnerOptions,
    line: Turn<Option<Line>>,
    waiting: Arc<Waiting>,
}

/// To a spawner that runs.
#[derive(Debug)]
struct Line {
    out: OwnedWriteHalf,
    /// Which spawner it is: the answers of the one before do not count.
    life: u64,
}

/// Those who wait for a task's start, by its folder.
#[derive(Debug, Default)]
struct Waiting {
    starts: Mutex<Starts>,
}

#[derive(Debug, Default)]
struct Starts {
    life: u64,
    by_folder: HashMap<PathBuf, oneshot::Sender<Result<Running, NotStarted>>>,
}

/// Why there is no task.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Spec(#[from] BadSpec),
    #[error("the folder of task {id} cannot be made")]
    Folder {
        id: String,
        #[source]
        error: io::Error,
    },
    #[error("the process that starts tasks ({program}) cannot be reached")]
    Spawner {
        program: String,
        #[source]
        error: io::Error,
    },
    #[error(transparent)]
    NotStarted(#[from] NotStarted),
    /// It may run or not: its folder must stay, for whoever looks.
    #[error("nobody knows whether task {id} was started: {why}")]
    Unheard { id: String, why: String },
}

impl StartError {
    pub fn hint(&self) -> Option<&str> {
        match self {
            StartError::Spec(bad) => bad.hint.as_deref(),
            StartError::NotStarted(not_started) => not_started.hint.as_deref(),
            StartError::Folder { .. } => Some("is there room on the disk, and may we write there?"),
            StartError::Spawner { .. } => None,
            StartError::Unheard { .. } => Some("look whether it is there, and end it if nobody wants it"),
        }
    }
}

impl Spawner {
    pub fn new(options: SpawnerOptions) -> Spawner {
        Spawner {
            options,
            line: Turn::default(),
            waiting: Arc::default(),
        }
    }

    /// Makes the task's folder below `tasks` and starts its command. When it returns, the command runs or nothing of it does, but for
    /// [`StartError::Unheard`].
    ///
    /// # Errors
    /// When there is such a task already, or the command cannot be started. What stays in the folder says the same.
    ///
    /// # Cancel safety
    /// Dropped half-way, the task may have been started: whoever looks through the folders finds it.
    pub async fn start(&self, tasks: &Path, spec: &Spec) -> Result<Running, StartError> {
        spec.check()?;
        let folder = make_folder(tasks, spec).map_err(|error| StartError::Folder {
            id: spec.id.clone(),
            error,
        })?;
        let started = self.tell(&folder).await.map_err(|error| StartError::Spawner {
            program: self.options.program.display().to_string(),
            error,
        })?;
        let unheard = |why: String| StartError::Unheard {
            id: spec.id.clone(),
            why,
        };
        match time::timeout(START_TIME, started).await {
            Ok(Ok(outcome)) => Ok(outcome?),
            Ok(Err(_)) => Err(unheard("the process that starts tasks has ended".to_owned())),
            Err(_) => {
                self.waiting.starts().by_folder.remove(&folder);
                Err(unheard(format!("nothing was heard of it within {START_TIME:?}")))
            }
        }
    }

    /// Tells the spawner the folder of a task; a spawner that is no longer there is started again, once.
    async fn tell(&self, folder: &Path) -> io::Result<oneshot::Receiver<Result<Running, NotStarted>>> {
        use std::os::unix::ffi::OsStrExt as _;
        let mut text = folder.as_os_str().as_bytes().to_vec();
        if text.contains(&b'\n') {
            return Err(io::Error::other(
                "a folder of tasks may not have a line break in its name",
            ));
        }
        text.push(b'\n');
        let mut line = self.line.lock().await;
        let mut is_fresh = false;
        loop {
            if line.is_none() {
                *line = Some(self.open()?);
                is_fresh = true;
            }
            let open = line.as_mut().expect("it was just opened");
            let started = self.waiting.wait(folder, open.life);
            match (started, open.out.write_all(&text).await) {
                (Some(started), Ok(())) => return Ok(started),
                (_, Err(error)) if is_fresh => {
                    self.waiting.starts().by_folder.remove(folder);
                    *line = None;
                    return Err(error);
                }
                // It had ended: half a line to it is nothing.
                _ => *line = None,
            }
        }
    }

    /// Starts a spawner.
    fn open(&self) -> io::Result<Line> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let (answers, out) = UnixStream::from_std(ours)?.into_split();
        let mut child = tokio::process::Command::new(&self.options.program)
            .args(&self.options.arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .spawn()?;
        let life = self.waiting.begin();
        let waiting = Arc::clone(&self.waiting);
        spawn("task spawner", async move {
            waiting.hear(answers, life).await;
            waiting.end(life);
            // Its end of the line is closed, so it ends; it is not left as a zombie.
            child.wait().await.ok();
        });
        Ok(Line { out, life })
    }
}

impl Waiting {
    fn starts(&self) -> MutexGuard<'_, Starts> {
        self.starts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(&self) -> u64 {
        let mut starts = self.starts();
        starts.life += 1;
        starts.life
    }

    /// `None` if that spawner has ended.
    fn wait(&self, folder: &Path, life: u64) -> Option<oneshot::Receiver<Result<Running, NotStarted>>> {
        let mut starts = self.starts();
        if starts.life != life {
            return None;
        }
        let (tx, rx) = oneshot::channel();
        starts.by_folder.insert(folder.to_owned(), tx);
        Some(rx)
    }

    async fn hear(&self, answers: OwnedReadHalf, life: u64) {
        let mut lines = BufReader::new(answers).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let Ok(answer) = serde_json::from_str::<Answer>(&line) else {
                tracing::error!(life, "the process that starts tasks says what nobody understands");
                return;
            };
            let started = self.starts().by_folder.remove(&answer.folder);
            if let Some(started) = started {
                // Whoever waited may have given up.
                started.send(answer.outcome).ok();
            }
        }
    }

    /// That spawner answers no more: whoever waits for it waits in vain.
    fn end(&self, life: u64) {
        let mut starts = self.starts();
        if starts.life == life {
            starts.life += 1;
            starts.by_folder.clear();
        }
    }
}

fn make_folder(tasks: &Path, spec: &Spec) -> io::Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt as _;
    let folder = std::path::absolute(tasks.join(&spec.id))?;
    fs_err::create_dir_all(tasks)?;
    // Others may not look at what a task says, nor steer it.
    std::fs::DirBuilder::new()
        .mode(0o700)
        .create(&folder)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", folder.display())))?;
    let json = serde_json::to_vec_pretty(spec).map_err(io::Error::other)?;
    fs_err::write(folder.join(SPEC), json)?;
    Ok(folder)
}

/// Makes sure that a task whose folder is there and whose start nobody saw is never started, if it was not yet: whoever told the
/// spawner of it may have died before, and the spawner may come to it later. True if nothing of it ever ran or will, which its
/// [`Exit`] says from then on, and this function whenever it is asked again; false if its shim was faster.
///
/// # Errors
/// When the folder takes no files.
pub fn claim(folder: &Path, why: &str) -> io::Result<bool> {
    let (output, ours) = (folder.join(OUTPUT), folder.join(CLAIM));
    // Made apart, so that it is ours from the moment when it is there. A shim that finds an output starts nothing.
    if !ours.exists() {
        drop(Writer::create(&ours)?);
    }
    if let Err(error) = fs_err::hard_link(&ours, &output) {
        if error.kind() != io::ErrorKind::AlreadyExists {
            return Err(error);
        }
        let is_ours = fs_err::metadata(&ours)?.ino() == fs_err::metadata(&output)?.ino();
        if !is_ours {
            fs_err::remove_file(&ours)?;
            return Ok(false);
        }
    }
    let now = time::unix_nanos();
    let exit = Exit {
        how: How::NotStarted { why: why.to_owned() },
        started: now,
        ended: now,
        output_bytes: 0,
        output_frames: 0,
    };
    exit.write(&folder.join(EXIT))?;
    Ok(true)
}

/// Whether somebody has [claimed](claim) this folder, or begun to.
pub fn is_claimed(folder: &Path) -> bool {
    folder.join(CLAIM).exists()
}

/// The ids of all tasks whose folders are there, in no order.
///
/// # Errors
/// When the folder is there and cannot be read.
pub fn found(tasks: &Path) -> io::Result<Vec<String>> {
    let entries = match fs_err::read_dir(tasks) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut ids = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().into_string().unwrap_or_default();
        if crate::spec::check_id(&name).is_ok() && entry.path().join(SPEC).is_file() {
            ids.push(name);
        }
    }
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::{Executor, Grants};

    /// Whatever starts tasks ends before it has said anything: the folder of the task stays, since nobody knows.
    #[tokio::test]
    async fn a_start_that_nobody_hears_of_is_told_and_keeps_its_folder() {
        let tasks = tempfile::tempdir().unwrap();
        let spawner = Spawner::new(SpawnerOptions {
            program: "true".into(),
            arguments: Vec::new(),
        });
        let spec = Spec {
            id: "a1".to_owned(),
            argv: vec!["true".to_owned()],
            env: Default::default(),
            folder: "/".into(),
            terminal: None,
            limits: Default::default(),
            executor: Executor::Process,
            grants: Grants::default(),
            spool_bytes: 1,
        };
        let error = spawner.start(tasks.path(), &spec).await.unwrap_err();
        // It depends on whether it had ended before it was told.
        let is_told = matches!(error, StartError::Unheard { .. } | StartError::Spawner { .. });
        assert!(is_told, "{error:?}");
        assert_eq!(found(tasks.path()).unwrap(), ["a1"]);
        let again = spawner.start(tasks.path(), &spec).await.unwrap_err();
        assert!(matches!(again, StartError::Folder { .. }), "{again:?}");
        // Whoever looks after it makes sure that it never will be.
        let folder = tasks.path().join("a1");
        let not_begun = Attached::open(&folder).await.unwrap_err();
        assert_eq!(not_begun.kind(), io::ErrorKind::NotFound);
        assert!(claim(&folder, "a test").unwrap());
        assert!(is_claimed(&folder) && claim(&folder, "a test").unwrap());
        let attached = Attached::open(&folder).await.unwrap();
        assert!(matches!(
            attached.end(),
            Some(End::Exit(Exit {
                how: How::NotStarted { .. },
                ..
            }))
        ));
    }
}
