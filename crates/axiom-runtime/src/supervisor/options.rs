//! What can be chosen about a supervisor.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axiom_events::Log;
use axiom_events::sample::Policy;
use axiom_sandbox::handle::SpawnerOptions;
use axiom_sandbox::spec::Executor;

use super::pools::PoolOptions;
use crate::agent::Profile;
use crate::rules::Rules;
use crate::{mux, schedule};

/// See each of them.
#[derive(Debug)]
pub struct Options {
    /// Where tasks are kept: one folder for each start of each task, and the orders.
    pub dir: PathBuf,
    pub spawner: SpawnerOptions,
    /// Its backends are filled in: one for each executor, and one for each pool.
    pub schedule: schedule::Options,
    /// Of the budget of memory, what a task without a limit of its own counts as.
    pub task_memory_bytes: u64,
    pub mux: mux::Options,
    /// `None`: nothing is recorded.
    pub recording: Option<Recording>,
    /// What is done about tasks without a person.
    pub rules: Rules,
    /// Profiles of coding agents, by their names.
    pub agents: BTreeMap<String, Arc<Profile>>,
    /// What tasks may share, by names that no executor has.
    pub pools: BTreeMap<String, PoolOptions>,
    /// Tasks that have ended are forgotten when they ended so long ago, or when there are more of them, the oldest first.
    pub kept_for: Duration,
    pub kept_tasks: usize,
}

/// Where what happens to tasks is recorded.
#[derive(Debug, Clone)]
pub struct Recording {
    pub log: Log,
    /// What of many lines that are alike is kept.
    pub sample: Policy,
    /// Whether lines are recorded, too, or only what happens to tasks.
    pub lines: bool,
}

impl Options {
    pub fn new(dir: PathBuf, spawner: SpawnerOptions) -> Options {
        Options {
            dir,
            spawner,
            schedule: schedule::Options::default(),
            task_memory_bytes: 64 << 20,
            mux: mux::Options::default(),
            recording: None,
            rules: Rules::default(),
            agents: BTreeMap::new(),
            pools: BTreeMap::new(),
            kept_for: Duration::from_secs(7 * 24 * 3600),
            kept_tasks: 10_000,
        }
    }

    pub(super) fn scheduler(&self) -> schedule::Options {
        let executors = Executor::NAMES.map(|name| (name, self.schedule.budget.tasks));
        let pools = self
            .pools
            .iter()
            .map(|(name, pool)| (name.as_str(), pool.running_max()));
        let backend = |(name, running_max)| schedule::BackendOptions {
            running_max,
            ..schedule::BackendOptions::new(name)
        };
        schedule::Options {
            backends: executors.into_iter().chain(pools).map(backend).collect(),
            ..self.schedule.clone()
        }
    }
}
