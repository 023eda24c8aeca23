//! A Python that has started and imported, for jobs that are forks of it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::Mutex as Turn;

use crate::handle::Spawner;
use crate::limits::Limits;
use crate::spec::{Executor, Grants, Spec, Zygote};

use super::{Member, Place, PoolError, tidy};

/// What a zygote runs: see there.
const PROGRAM: &str = include_str!("../executor/zygote.py");
/// A zygote says little, and its jobs have outputs of their own.
const SPOOL_BYTES: u64 = 1 << 20;

/// What all jobs of a pool share.
#[derive(Debug, Clone)]
pub struct ZygoteOptions {
    /// Python 3.9 or newer; looked for in `PATH` of `env`.
    pub interpreter: String,
    /// Imported before the first job. What they set up, all jobs see: a seed, a cache, a connection. A module that starts threads
    /// is refused.
    pub modules: Vec<String>,
    /// The interpreter's environment, when it starts: `PYTHONPATH` counts here and not in a job.
    pub env: BTreeMap<String, String>,
    /// What the zygote is apart by, and with it all its jobs together: [`Executor::Process`] or [`Executor::Sandbox`].
    pub walls: Executor,
    /// What the walls open.
    pub grants: Grants,
    /// For the zygote and all its jobs together.
    pub limits: Limits,
    /// After so many jobs comes another zygote.
    pub jobs_max: u32,
    /// A zygote without jobs ends after this, whole seconds.
    pub idle: Duration,
}

/// One zygote at a time, and another when it has had its jobs or has died.
#[derive(Debug)]
pub struct Zygotes {
    options: ZygoteOptions,
    /// Where zygotes are kept.
    folder: PathBuf,
    current: Turn<Option<Current>>,
}

#[derive(Debug)]
struct Current {
    member: Member,
    socket: PathBuf,
    jobs_left: u32,
}

impl ZygoteOptions {
    /// With nothing but the interpreter.
    pub fn new(interpreter: impl Into<String>, env: BTreeMap<String, String>) -> ZygoteOptions {
        ZygoteOptions {
            interpreter: interpreter.into(),
            modules: Vec::new(),
            env,
            walls: Executor::Process,
            grants: Grants::default(),
            limits: Limits::default(),
            jobs_max: 1_000,
            idle: Duration::from_secs(60),
        }
    }
}

impl Zygotes {
    /// A pool in the folder `.pools` beside the tasks that use it. Nothing is started.
    pub fn new(tasks: &Path, options: ZygoteOptions) -> Zygotes {
        Zygotes {
            options,
            folder: tasks.join(".pools"),
            current: Turn::default(),
        }
    }

    /// The executor for one more job. The first call starts a zygote, and so does the one that finds it gone or used up.
    ///
    /// # Errors
    /// When no zygote can be had. The job is not started.
    ///
    /// # Cancel safety
    /// Dropped half-way, a zygote may have been started that ends when it was idle for long enough.
    pub async fn place(&self, spawner: &Spawner) -> Result<Executor, PoolError> {
        let mut current = self.current.lock().await;
        let is_there = match &*current {
            Some(there) => there.jobs_left > 0 && there.member.is_alive(),
            None => false,
        };
        if !is_there {
            // One that is used up ends by itself, when its last job has.
            *current = Some(self.start(spawner).await?);
        }
        let there = current.as_mut().expect("it was just started");
        there.jobs_left -= 1;
        Ok(Executor::Zygote(Zygote {
            socket: there.socket.clone(),
        }))
    }

    /// Ends the zygote, and with it the jobs that it has.
    pub async fn end(&self) {
        if let Some(current) = self.current.lock().await.take() {
            current.member.end("nobody needs it any more").await;
            // If there is no other.
            fs_err::remove_dir(&self.folder).ok();
        }
    }

    async fn start(&self, spawner: &Spawner) -> Result<Current, PoolError> {
        tidy(&self.folder).await.map_err(PoolError::Folder)?;
        let place = Place::make(&self.folder).map_err(PoolError::Folder)?;
        let socket = place.own.join("jobs");
        let options = &self.options;
        let mut argv: Vec<String> = [&options.interpreter, "-c", PROGRAM, "jobs"]
            .map(str::to_owned)
            .to_vec();
        argv.push(options.idle.as_secs().max(1).to_string());
        argv.push(options.jobs_max.max(1).to_string());
        argv.extend(options.modules.iter().cloned());
        let spec = Spec {
            id: place.id.clone(),
            argv,
            env: options.env.clone(),
            folder: place.own.clone(),
            terminal: None,
            limits: options.limits.clone(),
            executor: options.walls.clone(),
            grants: options.grants.clone(),
            spool_bytes: SPOOL_BYTES,
        };
        let what = format!("a zygote of {}", options.interpreter);
        let member = Member::start(spawner, place, &spec, &what).await?;
        let member = member.when_ready(&what).await?;
        Ok(Current {
            member,
            socket,
            jobs_left: options.jobs_max.max(1),
        })
    }
}
