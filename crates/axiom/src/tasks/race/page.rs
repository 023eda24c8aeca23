//! What of a race outlives the gateway: a page for each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axiom_core::time::unix_nanos;
use axiom_runtime::order::{Order, Who};
use axiom_sandbox::handle::Spawner;
use axiom_sandbox::spec::Executor;
use serde::{Deserialize, Serialize};

use super::super::Desk;
use super::{Race, RaceResult};
use crate::race::git::{Repository, Worktree};
use crate::race::lane::{Step, Taken};
use crate::race::worktrees::Worktrees;

/// Below the folder of tasks: pages of races, and programs of ours while they run.
const PAGES: &str = ".races";
pub(super) const ASIDES: &str = ".asides";

/// The races there are.
#[derive(Debug)]
pub(in crate::tasks) struct Races {
    pub(super) dir: PathBuf,
    pub(super) spawner: Arc<Spawner>,
    pub(super) running: Mutex<BTreeMap<String, Arc<Race>>>,
}

/// All that outlives the gateway.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Page {
    pub(super) id: String,
    pub(super) created: i64,
    pub(super) who: Who,
    pub(super) count: u32,
    /// Of an attempt.
    pub(super) order: Order,
    pub(super) test: Option<String>,
    pub(super) judge: Option<String>,
    pub(super) applies: bool,
    pub(super) keeps: bool,
    pub(super) top: PathBuf,
    pub(super) prefix: PathBuf,
    pub(super) common: PathBuf,
    pub(super) start: String,
    pub(super) made: Vec<(u32, Worktree)>,
    pub(super) has_run: bool,
    pub(super) taken: BTreeMap<u32, Taken>,
    pub(super) tasks: BTreeMap<u32, String>,
    pub(super) stopped: Option<String>,
    pub(super) result: Option<RaceResult>,
}

impl Races {
    /// # Errors
    /// When the folders cannot be made.
    pub(in crate::tasks) fn open(dir: &Path, spawner: Spawner) -> std::io::Result<Races> {
        let dir = fs_err::canonicalize(dir)?;
        // What ran when the gateway was killed has ended or ends by itself; nobody listens.
        fs_err::remove_dir_all(dir.join(ASIDES)).ok();
        fs_err::create_dir_all(dir.join(ASIDES))?;
        fs_err::create_dir_all(dir.join(PAGES))?;
        Ok(Races {
            dir,
            spawner: Arc::new(spawner),
            running: Mutex::default(),
        })
    }

    pub(super) fn running(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Race>>> {
        // No critical section leaves the map half-changed.
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn page_file(&self, id: &str) -> PathBuf {
        self.dir.join(PAGES).join(format!("{id}.json"))
    }

    pub(super) fn folder(&self, id: &str) -> PathBuf {
        self.dir.join("races").join(id)
    }

    /// Replaced whole, by a rename. Nothing is synced: see the ledger of tasks.
    pub(super) fn write(&self, page: &Page) -> std::io::Result<()> {
        let file = self.page_file(&page.id);
        let new = file.with_extension("new");
        fs_err::write(&new, serde_json::to_vec(page)?)?;
        fs_err::rename(new, file)
    }

    pub(super) fn read(&self, id: &str) -> Option<Page> {
        let is_id = !id.is_empty() && id.chars().all(|digit| digit.is_ascii_hexdigit());
        let bytes = is_id.then(|| fs_err::read(self.page_file(id)).ok())??;
        serde_json::from_slice(&bytes)
            .inspect_err(|error| tracing::error!(race = id, %error, "the page of a race is damaged"))
            .ok()
    }

    pub(super) fn pages(&self) -> Vec<Page> {
        let entries = fs_err::read_dir(self.dir.join(PAGES))
            .into_iter()
            .flatten()
            .flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        names
            .filter_map(|name| self.read(name.strip_suffix(".json")?))
            .collect()
    }

    /// Pages of races that ended so long ago are of no use.
    pub(super) fn forget_old(&self, kept_for: Duration) {
        let kept_ns = i64::try_from(kept_for.as_nanos()).unwrap_or(i64::MAX);
        let since = unix_nanos().saturating_sub(kept_ns);
        for page in self.pages() {
            if page.result.is_some() && page.created < since {
                fs_err::remove_file(self.page_file(&page.id)).ok();
            }
        }
    }
}

impl Page {
    pub(super) fn worktrees(&self, desk: &Desk) -> Worktrees {
        Worktrees {
            repository: Repository {
                git: desk.git_for(self),
                top: self.top.clone(),
                prefix: self.prefix.clone(),
                common: self.common.clone(),
                start: self.start.clone(),
            },
            folder: desk.races.folder(&self.id),
            made: self.made.clone(),
            has_run: self.has_run,
        }
    }

    /// One of the tasks of an attempt.
    pub(super) fn order_of(&self, step: Step, number: u32, folder: PathBuf) -> Order {
        let mut order = self.order.clone();
        let spec = &mut order.spec;
        spec.folder = folder;
        spec.env
            .insert("AXIOM_RACE_NUMBER".to_owned(), number.to_string());
        if spec.executor != Executor::Process {
            // So that git works in there, and changes nothing.
            spec.grants.read.push(self.common.clone());
        }
        let (what, script) = match step {
            Step::Attempt => ("", None),
            Step::Test => (" test", Some(&self.test)),
            Step::Judge => (" judge", Some(&self.judge)),
        };
        if let Some(script) = script {
            let script = script.as_deref().unwrap_or("true");
            spec.argv = ["sh", "-c", script].map(str::to_owned).to_vec();
            spec.terminal = None;
            order.agent = None;
            order.prompt = String::new();
        }
        order.name = format!("race {}-{number}{what}", self.id);
        order.key = Some(format!("race/{}/{number}/{step:?}", self.id));
        order
    }
}
