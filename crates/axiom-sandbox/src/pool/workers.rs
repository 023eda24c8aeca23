//! Processes that answer requests, each one at a time: node, a solver, anything that speaks a JSON object a line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::executor::worker::BUSY;
use crate::handle::{Attached, Spawner};
use crate::limits::Limits;
use crate::spec::{Executor, Grants, Protocol, Spec, Worker};

use super::{Member, Place, PoolError, tidy};

/// What a worker may put out that nobody has taken: an answer is taken as it comes.
const SPOOL_BYTES: u64 = 64 << 20;

/// What all workers of a pool are.
#[derive(Debug, Clone)]
pub struct WorkerOptions {
    /// Its command: `["node", "worker.js"]`, `["z3", "-in"]`.
    pub argv: Vec<String>,
    pub env: BTreeMap<String, String>,
    /// Where it runs, absolute; a folder of its own without one.
    pub folder: Option<PathBuf>,
    pub protocol: Protocol,
    /// What each is apart by: [`Executor::Process`] or [`Executor::Sandbox`].
    pub walls: Executor,
    pub grants: Grants,
    /// Of each, for all its requests together.
    pub limits: Limits,
    /// Workers at once. Who wants another one waits.
    pub workers_max: usize,
    /// After so many requests comes another worker.
    pub requests_max: u32,
    /// A worker that nobody needs ends after this.
    pub idle: Duration,
}

/// Workers that wait for requests, and those that have one.
#[derive(Debug)]
pub struct Workers {
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
}

#[derive(Debug)]
struct Shared {
    options: WorkerOptions,
    /// Where workers are kept.
    folder: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<Ready>,
    /// Those that get no more requests, and are ended when somebody has the time.
    over: Vec<Ready>,
}

#[derive(Debug)]
struct Ready {
    member: Member,
    requests_left: u32,
}

/// A worker that is somebody's: for one task, and until that has ended. Dropping it gives the worker back.
#[derive(Debug)]
pub struct Lease {
    ready: Option<Ready>,
    /// As long as we are attached to it, it is not idle.
    _attached: Attached,
    shared: Arc<Shared>,
    protocol: Protocol,
    _place: OwnedSemaphorePermit,
}

impl WorkerOptions {
    pub fn new(argv: Vec<String>, env: BTreeMap<String, String>, protocol: Protocol) -> WorkerOptions {
        WorkerOptions {
            argv,
            env,
            folder: None,
            protocol,
            walls: Executor::Process,
            grants: Grants::default(),
            limits: Limits::default(),
            workers_max: 4,
            requests_max: 1_000,
            idle: Duration::from_secs(60),
        }
    }

    fn what(&self) -> String {
        format!("a worker of {}", self.argv.first().map_or("", String::as_str))
    }
}

impl Workers {
    /// A pool in the folder `.pools` beside the tasks that use it. Nothing is started.
    pub fn new(tasks: &Path, options: WorkerOptions) -> Workers {
        let places = Arc::new(Semaphore::new(options.workers_max.max(1)));
        let shared = Shared {
            options,
            folder: tasks.join(".pools"),
            state: Mutex::default(),
        };
        Workers {
            shared: Arc::new(shared),
            places,
        }
    }

    /// A worker for one request. Waits while all have one; starts another if there are fewer than there may be.
    ///
    /// # Errors
    /// When no worker can be had.
    ///
    /// # Cancel safety
    /// Dropped half-way, a worker may have been started that ends when it was idle for long enough.
    pub async fn lease(&self, spawner: &Spawner) -> Result<Lease, PoolError> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        let place = place.expect("nobody closes it");
        let (ready, attached) = loop {
            let (ready, over) = self.shared.state().take();
            for gone in over {
                gone.member.end("it has had its requests, or ended").await;
            }
            let (ready, is_new) = match ready {
                Some(ready) => (ready, false),
                None => (self.shared.start(spawner).await?, true),
            };
            match ready.member.attend().await {
                Some(attached) => break (ready, attached),
                None if is_new => {
                    let what = self.shared.options.what();
                    let why = ready.member.last_words().await;
                    ready.member.end("it does not answer").await;
                    return Err(PoolError::Ended { what, why });
                }
                // It was idle for too long just now.
                None => ready.member.end("it does not answer").await,
            }
        };
        Ok(Lease {
            ready: Some(ready),
            _attached: attached,
            shared: Arc::clone(&self.shared),
            protocol: self.shared.options.protocol,
            _place: place,
        })
    }

    /// Ends all workers that have no request. Those that have one are ended when they have been idle for long enough.
    pub async fn end(&self) {
        let gone = {
            let mut state = self.shared.state();
            let mut gone = std::mem::take(&mut state.idle);
            gone.append(&mut state.over);
            gone
        };
        for ready in gone {
            ready.member.end("nobody needs it any more").await;
        }
        // If there is no other.
        fs_err::remove_dir(&self.shared.folder).ok();
    }
}

impl Lease {
    /// For the task that has this worker.
    pub fn executor(&self) -> Executor {
        let ready = self.ready.as_ref().expect("it is given back only when it goes");
        Executor::Worker(Worker {
            folder: ready.member.place.task(),
            protocol: self.protocol,
        })
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(mut ready) = self.ready.take() {
            ready.requests_left = ready.requests_left.saturating_sub(1);
            let mut state = self.shared.state();
            match ready.is_fit() {
                true => state.idle.push(ready),
                false => state.over.push(ready),
            }
        }
    }
}

impl Ready {
    /// It takes another request: the one before has been answered.
    fn is_fit(&self) -> bool {
        let is_busy = self.member.place.task().join(BUSY).exists();
        self.requests_left > 0 && !is_busy && self.member.is_alive()
    }
}

impl State {
    /// The one that was used last, which the machine has still in mind; and all that are over.
    fn take(&mut self) -> (Option<Ready>, Vec<Ready>) {
        let mut found = None;
        while let Some(ready) = self.idle.pop() {
            if ready.is_fit() {
                found = Some(ready);
                break;
            }
            self.over.push(ready);
        }
        (found, std::mem::take(&mut self.over))
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn start(&self, spawner: &Spawner) -> Result<Ready, PoolError> {
        tidy(&self.folder).await.map_err(PoolError::Folder)?;
        let place = Place::make(&self.folder).map_err(PoolError::Folder)?;
        let options = &self.options;
        let spec = Spec {
            id: place.id.clone(),
            argv: options.argv.clone(),
            env: options.env.clone(),
            folder: options.folder.clone().unwrap_or_else(|| place.own.clone()),
            terminal: None,
            limits: Limits {
                unattended: Some(options.idle),
                ..options.limits.clone()
            },
            executor: options.walls.clone(),
            grants: options.grants.clone(),
            spool_bytes: SPOOL_BYTES,
        };
        let member = Member::start(spawner, place, &spec, &options.what()).await?;
        Ok(Ready {
            member,
            requests_left: options.requests_max.max(1),
        })
    }
}
