//! The supervisor: takes orders, starts tasks when it is their turn, watches and steers them, and tells what became of them.
//!
//! ```text
//!  submit ─▶ ledger ─▶ places ─▶ attempt ─▶ follow ─▶ mux ─▶ record ─▶ the event store
//!  (order)   (a file)  (whose    (a start)  (output,  (lines,          (and then the task may go on writing)
//!                       turn)               steering)  readers)
//! ```
//!
//! It may die at any time. Tasks go on without it, each with its shim, and the next supervisor of the same folder finds them:
//! what waited waits again, what runs is watched again from the first line that was not recorded, and what has ended is told
//! once. Two supervisors of one folder cannot be: the second one is refused.
//!
//! A task's state, as others see it:
//!
//! ```text
//!  queued ─▶ starting ─▶ running ─▶ ended
//!    │          ▲           │         ▲
//!    │          └─ resting ◀┘         │      resting: it ended and will be started again
//!    └────────────────────────────────┘      dropped or killed before its start
//! ```

mod adopt;
mod attempt;
mod follow;
mod ledger;
mod options;
mod pages;
mod places;
mod pools;
mod record;
mod steer;
mod table;
mod view;

#[cfg(test)]
mod tests;

use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axiom_core::channel::watch;
use axiom_core::{Task, spawn, time};
use axiom_sandbox::handle::Spawner;
use axiom_sandbox::spec::BadSpec;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::mux::{Hub, LiveReader, Subscription, TooManyReaders};
use crate::order::{Order, Who};
use crate::schedule::{BadOptions, Scheduler, Snapshot, Why};

pub use options::{Options, Recording};
pub use pages::{From, Page, PageError, PageLine};
pub use pools::PoolOptions;
pub use steer::{Steer, SteerError};
pub use view::{AgentView, Ending, Phase, View};

use ledger::Ledger;
use pools::Pools;
use record::Notes;
use table::{Entry, Progress, Table};

/// Supervises the tasks of one folder. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Supervisor {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    options: Options,
    origin: Instant,
    spawner: Spawner,
    ledger: Ledger,
    pools: Pools,
    hub: Hub,
    notes: Notes,
    table: Mutex<Table>,
    /// Something may be placed, or dropped.
    look: Notify,
    closing: watch::Sender<bool>,
    work: Mutex<Work>,
}

/// What runs until the supervisor is closed, which waits for it.
#[derive(Debug, Default)]
struct Work {
    tasks: Vec<Task>,
    /// With so many of them those that have ended are swept out. Twice as many as were left the last time: so each costs the same,
    /// however many there are.
    sweep_at: usize,
}

/// Why there is no supervisor.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the folder of tasks {} cannot be used", dir.display())]
    Folder {
        dir: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("another gateway supervises the tasks in {}", dir.display())]
    Taken { dir: PathBuf },
    #[error(transparent)]
    Options(#[from] BadOptions),
}

/// Why an order was not taken. Nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum SubmitError {
    #[error(transparent)]
    Spec(#[from] BadSpec),
    #[error("there is no agent {agent:?} in the configuration")]
    NoAgent { agent: String },
    #[error("there is no pool {pool:?} in the configuration")]
    NoPool { pool: String },
    #[error("there is no task {parent} that could be its parent")]
    NoParent { parent: String },
    #[error("its parent {parent} is being ended")]
    ParentEnds { parent: String },
    #[error("not taken: {0}")]
    Refused(Why),
    #[error("the order cannot be written down, so it would be lost if this process ended")]
    Ledger(#[source] io::Error),
    #[error("no more tasks are taken: the supervisor is being stopped")]
    Closed,
}

/// There is no task of this id, or none any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no task {0:?}")]
pub struct Unknown(pub String);

/// Why a task cannot be forgotten.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    #[error(transparent)]
    Unknown(#[from] Unknown),
    #[error("task {0} has not ended")]
    Alive(Arc<str>),
    #[error("what task {id} left cannot be removed")]
    Disk {
        id: Arc<str>,
        #[source]
        error: io::Error,
    },
}

impl Supervisor {
    /// Takes the folder, finds what is left there of the supervisor before, and goes on with it. Blocks on the disk.
    ///
    /// # Errors
    /// See [`OpenError`]. A task that cannot be read is told in the log and left as it is: it is no error.
    pub fn start(options: Options) -> Result<Supervisor, OpenError> {
        let (ledger, pages) = Ledger::open(&options.dir)?;
        let scheduler = Scheduler::new(options.scheduler())?;
        let hub = Hub::new(options.mux.clone());
        let shared = Arc::new(Shared {
            origin: time::now(),
            spawner: Spawner::new(options.spawner.clone()),
            ledger,
            pools: Pools::new(&options),
            hub,
            notes: Notes::default(),
            table: Mutex::new(Table::new(scheduler)),
            look: Notify::new(),
            closing: watch::channel(false).0,
            work: Mutex::default(),
            options,
        });
        let durable = shared
            .hub
            .durable()
            .expect("the hub is new, and nobody else has it");
        shared.also("record tasks", record::run(Arc::clone(&shared), durable));
        adopt::all(&shared, pages);
        shared.also("place tasks", places::run(Arc::clone(&shared)));
        Ok(Supervisor { shared })
    }

    /// Takes an order, and gives the id of its task. It is written down by then: from here on it is not lost, whatever becomes of
    /// this process. With a key that its owner has used before, the task is the one from then.
    ///
    /// # Errors
    /// See [`SubmitError`].
    pub fn submit(&self, order: Order) -> Result<Arc<str>, SubmitError> {
        places::submit(&self.shared, order)
    }

    /// How a task is.
    pub fn view(&self, id: &str) -> Result<View, Unknown> {
        let table = self.shared.table();
        table.entry(id).map(|entry| View::of(entry, &table))
    }

    /// The one task whose id begins like this.
    ///
    /// # Errors
    /// When there is none, or several.
    pub fn find(&self, beginning: &str) -> Result<Arc<str>, Unknown> {
        let table = self.shared.table();
        if let Some((id, _)) = table.tasks.get_key_value(beginning) {
            return Ok(Arc::clone(id));
        }
        let mut fitting = table.beginning(beginning);
        match (fitting.next(), fitting.next()) {
            (Some(id), None) if !beginning.is_empty() => Ok(Arc::clone(id)),
            _ => Err(Unknown(beginning.to_owned())),
        }
    }

    /// All tasks, in the order in which they came.
    pub fn list(&self) -> Vec<View> {
        let table = self.shared.table();
        let mut entries: Vec<&Entry> = table.tasks.values().collect();
        entries.sort_by_key(|entry| (entry.created, entry.number));
        entries.into_iter().map(|entry| View::of(entry, &table)).collect()
    }

    /// Says something to a task that runs, or does something with it. It is recorded, with who and why.
    ///
    /// # Errors
    /// See [`SteerError`].
    ///
    /// # Cancel safety
    /// Dropped while it waits, it may have been done or not.
    pub async fn steer(&self, id: &str, steer: Steer, by: &Who) -> Result<(), SteerError> {
        steer::steer(&self.shared, id, steer, by).await
    }

    /// Ends a task and all that it wanted, whether they wait or run. They are told at once and end a moment later: see
    /// [`Supervisor::wait`]. Gives the ids of those that had not ended, the task's own last.
    ///
    /// # Errors
    /// When there is no such task.
    pub fn kill(&self, id: &str, by: &Who) -> Result<Vec<Arc<str>>, Unknown> {
        steer::kill(&self.shared, id, by)
    }

    /// Waits until a task has ended for good.
    ///
    /// # Errors
    /// When there is no such task, or it is forgotten meanwhile.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn wait(&self, id: &str) -> Result<Ending, Unknown> {
        let unknown = || Unknown(id.to_owned());
        let mut ended = {
            let mut table = self.shared.table();
            let entry = table.tasks.get_mut(id).ok_or_else(unknown)?;
            if let Some(ending) = entry.ending() {
                return Ok(ending.clone());
            }
            entry.watch_end()
        };
        let ending = ended.wait_for(Option::is_some).await.map_err(|_| unknown())?;
        ending.clone().ok_or_else(unknown)
    }

    /// Lines that a task has said, from its first on if wanted. Reads the disk.
    ///
    /// # Errors
    /// When there is no such task, or its output cannot be read.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn output(&self, id: &str, from: From, lines_max: usize) -> Result<Page, PageError> {
        pages::read(&self.shared, id, from, lines_max).await
    }

    /// Looks on: what tasks say from now on, or from their last lines.
    ///
    /// # Errors
    /// When too many look on already.
    pub fn subscribe(&self, subscription: Subscription) -> Result<LiveReader, TooManyReaders> {
        self.shared.hub.subscribe(subscription)
    }

    /// What stands in front of a task's line for a reader: see [`Hub::write_prefix`].
    pub fn write_prefix(&self, id: &str, is_coloured: bool, out: &mut String) {
        self.shared.hub.write_prefix(id, is_coloured, out);
    }

    /// Who waits for what, and what is in use.
    pub fn snapshot(&self) -> Snapshot {
        const TENANTS_MAX: usize = 100;
        self.shared.table().scheduler.snapshot(TENANTS_MAX)
    }

    /// Forgets a task that has ended, and removes what it left.
    ///
    /// # Errors
    /// See [`RemoveError`].
    pub fn remove(&self, id: &str) -> Result<(), RemoveError> {
        self.shared.remove(id)
    }

    /// Starts nothing more, records what was said, and lets go. Tasks that run go on: the next supervisor finds them. What pools hold and
    /// none of them needs ends.
    ///
    /// # Cancel safety
    /// Dropped, it goes on without anybody waiting for it.
    pub async fn close(&self) {
        self.shared.closing.send_replace(true);
        self.shared.hub.close();
        loop {
            let work = std::mem::take(&mut *lock(&self.shared.work));
            if work.tasks.is_empty() {
                break;
            }
            for task in work.tasks {
                // A panic was reported. It may have begun others.
                task.join().await;
            }
        }
        self.shared.keep_kills();
        let busy = pools::busy(&self.shared.table());
        self.shared.pools.end(&busy).await;
    }
}

impl Shared {
    pub(crate) fn table(&self) -> MutexGuard<'_, Table> {
        lock(&self.table)
    }

    /// Since this supervisor's start: the scheduler's time.
    fn now(&self) -> Duration {
        self.origin.elapsed()
    }

    fn progress(&self, id: &str) -> Option<Arc<Progress>> {
        self.table()
            .tasks
            .get(id)
            .map(|entry| Arc::clone(&entry.progress))
    }

    /// Whether it is to end, or is gone.
    fn is_killed(&self, id: &str) -> bool {
        let table = self.table();
        table.tasks.get(id).is_none_or(|entry| entry.killed.is_some())
    }

    fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    /// Runs until the supervisor is closed, which waits for it.
    fn also(&self, name: &'static str, work: impl Future<Output = ()> + Send + 'static) {
        const SWEEP_MIN: usize = 64;
        let task = spawn(name, work);
        let mut work = lock(&self.work);
        work.tasks.push(task);
        if work.tasks.len() > work.sweep_at {
            work.tasks.retain(|task| !task.is_finished());
            work.sweep_at = (2 * work.tasks.len()).max(SWEEP_MIN);
        }
    }

    /// Of those whose end is wanted some may not have heard of it: the next supervisor tells them.
    fn keep_kills(&self) {
        let pages: Vec<_> = {
            let table = self.table();
            let is_kept = |entry: &&Entry| entry.killed.is_some() && entry.ending().is_none();
            let kept = table.tasks.values().filter(is_kept);
            kept.map(|entry| (Arc::clone(&entry.id), entry.page(None, false)))
                .collect()
        };
        for (id, page) in pages {
            self.write_page(&id, &page);
        }
    }

    fn remove(&self, id: &str) -> Result<(), RemoveError> {
        let (id, attempts) = {
            let table = self.table();
            let entry = table.entry(id)?;
            if entry.ending().is_none() {
                return Err(RemoveError::Alive(Arc::clone(&entry.id)));
            }
            (Arc::clone(&entry.id), entry.attempt)
        };
        let failed = |error| RemoveError::Disk {
            id: Arc::clone(&id),
            error,
        };
        self.ledger.remove(&id, attempts).map_err(failed)?;
        self.table().forget(&id);
        Ok(())
    }
}

/// Twelve digits, chosen by chance: the first eight tell tasks apart.
fn new_id() -> Arc<str> {
    let chance = RandomState::new().hash_one(time::unix_nanos());
    format!("{:012x}", chance >> 16).into()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every critical section leaves the state whole, so a poisoned lock is still good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
