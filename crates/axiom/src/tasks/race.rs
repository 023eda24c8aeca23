//! Races of a gateway: `axiom race` for clients. Attempts, tests and judges are tasks like any other, in lists, limited and recorded.
//!
//! A race is written down (`page`), and goes on after the gateway has ended and is there again: its tasks went on meanwhile, and each is
//! known by its key (`course`). A client of a gateway may have written the repository itself; so the folders that git names are checked as
//! those of a task are, and git runs as a task does.

mod course;
mod page;
mod told;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axiom_core::channel::watch;
use axiom_core::spawn;
use axiom_core::time::unix_nanos;
use axiom_sandbox::spec::{Executor, Grants};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;

use super::Desk;
use super::order::order;
use super::refusal::{Kind, Refusal};
use crate::builtin::arguments::Arguments;
use crate::race::apart::Apart;
use crate::race::git::{ELSEWHERE, Git, Repository};
use crate::race::lane::Step;
use crate::race::{missing, new_id};
use page::{ASIDES, Page};

pub(super) use page::Races;

/// What an attempt takes is what `spawn` takes, but for what a race says itself.
pub(crate) const ARGUMENTS: &[&str] = &[
    "command",
    "shell",
    "agent",
    "prompt",
    "folder",
    "env",
    "executor",
    "limits",
    "network",
    "read",
    "write",
    "terminal",
    "class",
    "count",
    "test",
    "judge",
    "apply",
    "keep",
    "from_head",
    "race",
    "wait_s",
    "why",
];
/// Attempts of one race at most, and without a word.
pub(crate) const COUNT_MAX: usize = 100;
pub(crate) const COUNT: usize = 3;
/// Races at once. Each has worktrees of a whole repository.
const RUNNING_MAX: usize = 64;

/// One that is under way.
#[derive(Debug)]
pub(crate) struct Race {
    pub(crate) id: String,
    stage: watch::Sender<Stage>,
    /// Why it is to end, once it is.
    stop: watch::Sender<Option<String>>,
    page: Mutex<Page>,
}

/// How far it is.
#[derive(Debug, Clone, Default)]
pub(crate) struct Stage {
    pub(crate) ended: usize,
    pub(crate) total: usize,
    /// What was told last.
    pub(crate) said: String,
    pub(crate) result: Option<Arc<RaceResult>>,
}

/// What it came to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct RaceResult {
    pub(crate) structured: Json,
    pub(crate) text: String,
    pub(crate) is_stopped: bool,
    /// It failed as a race; that nobody wins is no failure.
    pub(crate) is_error: bool,
    /// When, in nanoseconds since 1970.
    pub(crate) ended: i64,
}

/// A race as it is looked up: under way, or over.
pub(crate) enum Found {
    Running(Arc<Race>),
    Over(RaceResult),
}

impl Desk {
    /// Goes on with the races that an earlier gateway had begun.
    pub(super) fn resume_races(self: &Arc<Desk>) {
        self.races.forget_old(self.rules.keep());
        for page in self.races.pages() {
            if page.result.is_none() {
                self.drive(page);
            }
        }
    }

    /// The race of this id.
    ///
    /// # Errors
    /// When there is none, or none any more.
    pub(crate) fn race(&self, id: &str) -> Result<Found, Refusal> {
        let unknown = || {
            Refusal::new(Kind::Unknown, format!("there is no race {id:?}"))
                .hint("a race is kept as long as tasks are; its tasks are named after it in `list`")
        };
        if let Some(race) = self.races.running().get(id) {
            return Ok(Found::Running(Arc::clone(race)));
        }
        let page = self.races.read(id).ok_or_else(unknown)?;
        page.result.map(Found::Over).ok_or_else(unknown)
    }

    /// Begins a race. All that can be checked is checked by then, and it is written down.
    ///
    /// # Errors
    /// Names the argument.
    ///
    /// # Cancel safety
    /// Dropped, nothing was begun.
    pub(crate) async fn begin_race(
        self: &Arc<Desk>,
        arguments: &Arguments<'_>,
        who: &str,
    ) -> Result<Arc<Race>, Refusal> {
        if self.races.running().len() >= RUNNING_MAX {
            let message = format!("{RUNNING_MAX} races are under way already");
            return Err(Refusal::new(Kind::Full, message).hint("try again when one of them has ended"));
        }
        if arguments.get("folder").is_none() {
            return Err(
                Refusal::wrong("`folder` is missing").hint("name a git repository, or a folder in one")
            );
        }
        let count = arguments.count("count", COUNT, COUNT_MAX)?;
        let mut order = order(arguments, self, who)?;
        if !matches!(order.spec.executor, Executor::Process | Executor::Sandbox) {
            let message = format!(
                "`executor` is `{}`, and an attempt is a `process` or in a `sandbox`",
                order.spec.executor.name()
            );
            return Err(Refusal::wrong(message).hint("others have no git, or no command of their own"));
        }
        ELSEWHERE
            .iter()
            .for_each(|name| drop(order.spec.env.remove(*name)));
        let script =
            |name: &str| match arguments.text(name)? {
                Some(script) if script.trim().is_empty() => Err(Refusal::wrong(format!("`{name}` is empty"))
                    .hint("give a line for `sh -c`, or leave it out")),
                script => Ok(script.map(str::to_owned)),
            };
        let (test, judge) = (script("test")?, script("judge")?);
        let (applies, keeps) = (arguments.flag("apply", false)?, arguments.flag("keep", false)?);
        let from_head = arguments.flag("from_head", false)?;
        let (top, common) = self.repository_of(&order.spec.folder)?;
        let prefix = order.spec.folder.strip_prefix(&top).unwrap_or(Path::new(""));
        let page = Page {
            id: new_id().chars().take(8).collect(),
            created: unix_nanos(),
            who: order.by.clone(),
            count: u32::try_from(count).unwrap_or(u32::MAX),
            test,
            judge,
            applies,
            keeps,
            prefix: prefix.to_owned(),
            top,
            common,
            start: String::new(),
            made: Vec::new(),
            has_run: false,
            taken: BTreeMap::new(),
            tasks: BTreeMap::new(),
            stopped: None,
            result: None,
            order,
        };
        for step in [Step::Attempt, Step::Test, Step::Judge] {
            page.order_of(step, 1, page.top.clone()).check()?;
        }
        let folder = self.races.folder(&page.id);
        let broken =
            |error: std::io::Error| Refusal::new(Kind::Broken, format!("a race cannot be begun: {error}"));
        fs_err::create_dir_all(&folder).map_err(broken)?;
        let mut made = Made {
            folder,
            is_wanted: false,
        };
        let page = self.check_repository(page, from_head).await?;
        self.races.write(&page).map_err(broken)?;
        made.is_wanted = true;
        Ok(self.drive(page))
    }

    /// The top folder of the repository that has this folder, and what its worktrees share: both are for tasks.
    fn repository_of(&self, folder: &Path) -> Result<(PathBuf, PathBuf), Refusal> {
        // Git runs behind walls unless nothing here does.
        let executor = self.rules.executor();
        let place = |path: &Path| {
            let text = path
                .to_str()
                .ok_or_else(|| Refusal::wrong(format!("`folder`: the path {} is no text", path.display())))?;
            self.rules.place("folder", text, &executor)
        };
        let has_git = |folder: &&Path| fs_err::symlink_metadata(folder.join(".git")).is_ok();
        let top = folder.ancestors().find(has_git).ok_or_else(|| {
            Refusal::wrong(format!("`folder`: {} is in no git repository", folder.display()))
                .hint("name one; `git init` makes one of a folder")
        })?;
        let top = place(top)?;
        let entry = top.join(".git");
        if entry.is_dir() {
            return Ok((top.clone(), place(&entry)?));
        }
        let said = fs_err::read_to_string(&entry).unwrap_or_default();
        let git_dir = said.strip_prefix("gitdir:").map(|path| top.join(path.trim()));
        let git_dir = git_dir.ok_or_else(|| {
            Refusal::wrong(format!("`folder`: {} is no working tree of git", top.display()))
        })?;
        let git_dir = place(&git_dir)?;
        let common = fs_err::read_to_string(git_dir.join("commondir"));
        let common = common.map_or_else(|_| git_dir.clone(), |path| git_dir.join(path.trim()));
        Ok((top, place(&common)?))
    }

    async fn check_repository(&self, mut page: Page, from_head: bool) -> Result<Page, Refusal> {
        let git = self.git_for(&page);
        let repository =
            Repository::at(git, page.top.clone(), page.prefix.clone(), page.common.clone()).await?;
        let start = &repository.start;
        if start.len() < 40 || !start.chars().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(Refusal::wrong(format!(
                "`folder`: git names no commit but {start:?}"
            )));
        }
        page.start.clone_from(start);
        let uncommitted = repository.uncommitted().await?;
        if page.applies && uncommitted.changed > 0 {
            let message = format!(
                "`apply` needs a clean working tree, and {} changes are not committed",
                uncommitted.changed
            );
            return Err(Refusal::wrong(message).hint("commit or stash them first, or leave `apply` out"));
        }
        match missing(uncommitted).filter(|_| !from_head) {
            None => Ok(page),
            Some(message) => Err(Refusal::wrong(format!("`folder`: {message}"))
                .hint("commit or stash them, or say `from_head`: they stay where they are")),
        }
    }

    fn git_for(&self, page: &Page) -> Git {
        let is_open =
            self.rules.executor() == Executor::Process && page.order.spec.executor == Executor::Process;
        let executor = if is_open {
            Executor::Process
        } else {
            Executor::Sandbox
        };
        let mut grants = Grants::default();
        if executor != Executor::Process {
            grants.write.push(self.races.folder(&page.id));
            if !page.common.starts_with(&page.top) {
                grants.write.push(page.common.clone());
            }
        }
        let mut env = self.rules.env(&executor);
        ELSEWHERE.iter().for_each(|name| drop(env.remove(*name)));
        Git::Apart(Arc::new(Apart {
            spawner: Arc::clone(&self.races.spawner),
            tasks: self.races.dir.join(ASIDES),
            folder: page.top.clone(),
            env,
            executor,
            limits: self.rules.usual_limits(),
            grants,
        }))
    }

    /// Sets a race going, or going on.
    fn drive(self: &Arc<Desk>, page: Page) -> Arc<Race> {
        let stage = Stage {
            total: page.count as usize,
            ..Stage::default()
        };
        let race = Arc::new(Race {
            id: page.id.clone(),
            stage: watch::channel(stage).0,
            stop: watch::channel(page.stopped.clone()).0,
            page: Mutex::new(page),
        });
        self.races.running().insert(race.id.clone(), Arc::clone(&race));
        let (desk, begun) = (Arc::clone(self), Arc::clone(&race));
        drop(spawn("race", async move {
            let result = tokio::select! {
                biased;
                // What runs goes on, and the next gateway goes on with the race.
                () = desk.closed() => return,
                result = begun.run(&desk) => result,
            };
            begun.note(&desk, |page| page.result = Some(result.clone()));
            begun
                .stage
                .send_modify(|stage| stage.result = Some(Arc::new(result)));
            desk.races.running().remove(&begun.id);
            desk.races.forget_old(desk.rules.keep());
        }));
        race
    }
}

/// The folder of a race that may not begin.
struct Made {
    folder: PathBuf,
    is_wanted: bool,
}

impl Drop for Made {
    fn drop(&mut self) {
        if !self.is_wanted {
            fs_err::remove_dir(&self.folder).ok();
            // Only if nothing else is in it.
            self.folder
                .parent()
                .and_then(|races| fs_err::remove_dir(races).ok());
        }
    }
}

impl Stage {
    /// In a few words.
    pub(crate) fn words(&self) -> String {
        let ended = format!("{} of {} ended", self.ended, self.total);
        match self.said.is_empty() {
            true => ended,
            false => format!("{ended}; {}", self.said),
        }
    }
}

impl Race {
    /// Ends it: its attempts are killed, and all that it made is removed.
    pub(crate) fn stop(&self, desk: &Desk, why: &str) {
        self.note(desk, |page| page.stopped = Some(why.to_owned()));
        self.stop.send_replace(Some(why.to_owned()));
    }

    /// How far it is, and what comes next.
    pub(crate) fn stages(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }

    /// Waits until it is known what it came to.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn over(&self) {
        // The sender is self's.
        self.stages().wait_for(|stage| stage.result.is_some()).await.ok();
    }

    /// Whether it is being ended.
    pub(crate) fn is_stopping(&self) -> bool {
        self.stop.borrow().is_some()
    }

    fn page(&self) -> MutexGuard<'_, Page> {
        // No critical section leaves the page half-changed.
        self.page.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes what is written down.
    fn note(&self, desk: &Desk, change: impl FnOnce(&mut Page)) {
        let mut page = self.page();
        change(&mut page);
        if let Err(error) = desk.races.write(&page) {
            tracing::error!(race = self.id, %error, "a race cannot be written down: it would not outlive this gateway");
        }
    }
}
