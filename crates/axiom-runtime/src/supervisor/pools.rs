//! What tasks share: pools of processes that have started already. A pool starts one when a task of it has its turn and none is
//! there; one that nobody needs ends by itself.
//!
//! Each pool is a backend of the scheduler with as many places as it has, so a task that waits for one waits in the queue, by its
//! class and its owner, and holds up nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::sync::Arc;

use axiom_sandbox::handle::Spawner;
use axiom_sandbox::pool::{Lease, PoolError, WorkerOptions, Workers, ZygoteOptions, Zygotes};
use axiom_sandbox::spec::{Executor, Worker, Zygote};

use super::Options;
use super::table::Table;
use super::view::Phase;
use crate::order::Order;

/// What a pool is to be.
#[derive(Debug, Clone)]
pub enum PoolOptions {
    /// A Python that forks itself for each task.
    Zygotes {
        options: ZygoteOptions,
        /// Tasks at once.
        running_max: usize,
    },
    /// Processes that answer requests, one at a time each.
    Workers(WorkerOptions),
}

#[derive(Debug)]
pub(super) struct Pools {
    all: BTreeMap<String, Pool>,
}

#[derive(Debug)]
enum Pool {
    Zygotes(Box<Zygotes>),
    Workers {
        workers: Workers,
        memory_bytes: Option<u64>,
    },
}

/// A place in a pool, until the task has ended.
#[derive(Debug)]
pub(super) struct Seat {
    pub(super) executor: Executor,
    _lease: Option<Lease>,
}

impl PoolOptions {
    /// What a task of it has as its executor before it has its place. It says what such a task can be.
    pub fn executor(&self) -> Executor {
        match self {
            PoolOptions::Zygotes { .. } => Executor::Zygote(Zygote { socket: "/".into() }),
            PoolOptions::Workers(options) => Executor::Worker(Worker {
                folder: "/".into(),
                protocol: options.protocol,
            }),
        }
    }

    /// Tasks that have a place in it at once.
    pub(super) fn running_max(&self) -> usize {
        match self {
            PoolOptions::Zygotes { running_max, .. } => *running_max,
            PoolOptions::Workers(options) => options.workers_max,
        }
        .max(1)
    }
}

impl Pools {
    /// Nothing is started.
    pub(super) fn new(options: &Options) -> Pools {
        let pool = |pool: &PoolOptions| match pool.clone() {
            PoolOptions::Zygotes { options: zygotes, .. } => {
                Pool::Zygotes(Box::new(Zygotes::new(&options.dir, zygotes)))
            }
            PoolOptions::Workers(workers) => Pool::Workers {
                memory_bytes: workers.limits.memory_bytes,
                workers: Workers::new(&options.dir, workers),
            },
        };
        let all = options.pools.iter();
        Pools {
            all: all.map(|(name, options)| (name.clone(), pool(options))).collect(),
        }
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.all.contains_key(name)
    }

    /// Where the scheduler places it. A pool that a configuration has no longer has no backend either; then it is that of its executor,
    /// so that a task of it that still runs is watched to its end.
    pub(super) fn backend(&self, order: &Order) -> Arc<str> {
        match &order.pool {
            Some(pool) if self.has(pool) => pool.as_str().into(),
            _ => order.spec.executor.name().into(),
        }
    }

    /// What a task of its kind may take of the memory, where its own limits say nothing: what its worker may.
    pub(super) fn memory_bytes(&self, order: &Order) -> Option<u64> {
        match self.all.get(order.pool.as_ref()?)? {
            Pool::Zygotes(_) => None,
            Pool::Workers { memory_bytes, .. } => *memory_bytes,
        }
    }

    /// A place for a task, if it is one of a pool.
    ///
    /// # Errors
    /// Why there is none, and what to do.
    ///
    /// # Cancel safety
    /// Dropped half-way, something may have been started that ends when it was idle for long enough.
    pub(super) async fn seat(&self, order: &Order, spawner: &Spawner) -> Result<Option<Seat>, String> {
        let Some(name) = &order.pool else {
            return Ok(None);
        };
        let Some(pool) = self.all.get(name) else {
            return Err(format!(
                "there is no pool {name:?} any more; add it to the configuration again"
            ));
        };
        let seat = match pool {
            Pool::Zygotes(zygotes) => zygotes.place(spawner).await.map(|executor| Seat {
                executor,
                _lease: None,
            }),
            Pool::Workers { workers, .. } => workers.lease(spawner).await.map(|lease| Seat {
                executor: lease.executor(),
                _lease: Some(lease),
            }),
        };
        seat.map(Some).map_err(|error| told(name, &error))
    }

    /// Ends what pools hold and no task needs. Tasks of a zygote are its children: one that has some is left to them, and ends after them.
    pub(super) async fn end(&self, busy: &BTreeSet<String>) {
        for (name, pool) in &self.all {
            match pool {
                Pool::Zygotes(zygotes) if !busy.contains(name) => zygotes.end().await,
                Pool::Zygotes(_) => {}
                Pool::Workers { workers, .. } => workers.end().await,
            }
        }
    }
}

/// The pools of which tasks run, or are being started.
pub(super) fn busy(table: &Table) -> BTreeSet<String> {
    let running = table
        .tasks
        .values()
        .filter(|entry| matches!(entry.phase, Phase::Starting | Phase::Running));
    running.filter_map(|entry| entry.order.pool.clone()).collect()
}

fn told(pool: &str, error: &PoolError) -> String {
    let cause = error.source().map(|cause| format!(": {cause}"));
    let hint = error.hint().map(|hint| format!("; {hint}"));
    format!(
        "the pool {pool:?} has no place for it: {error}{}{}",
        cause.unwrap_or_default(),
        hint.unwrap_or_default()
    )
}
