//! The backends: for each what runs there, its breaker, and how many may be starting at once.

use std::sync::Arc;
use std::time::Duration;

use super::breaker::{Breaker, BreakerOptions, BreakerState, Dice, Era};
use super::starts::{StartLimits, Starts};
use super::{BadOptions, Retry, Why};

/// An executor: something that starts tasks, and can be slow or broken apart from the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackendOptions {
    pub name: Arc<str>,
    /// Tasks that have a place there at once.
    pub running_max: usize,
    pub starts: StartLimits,
    pub breaker: BreakerOptions,
}

impl BackendOptions {
    pub fn new(name: &str) -> BackendOptions {
        BackendOptions {
            name: name.into(),
            running_max: 1000,
            starts: StartLimits::default(),
            breaker: BreakerOptions::default(),
        }
    }
}

/// There are about ten executors. Each choice looks at all of them, so there must not be many.
pub const BACKENDS_MAX: usize = 16;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BackendId(usize);

#[derive(Debug)]
pub(super) struct Backends {
    list: Vec<Backend>,
    dice: Dice,
}

#[derive(Debug)]
pub(super) struct Backend {
    pub(super) name: Arc<str>,
    pub(super) running_max: usize,
    /// Those that are starting, and those that run.
    pub(super) running: usize,
    pub(super) starting: usize,
    pub(super) starts: Starts,
    pub(super) breaker: Breaker,
}

impl Backends {
    pub(super) fn new(options: Vec<BackendOptions>, seed: u64) -> Result<Backends, BadOptions> {
        if options.len() > BACKENDS_MAX {
            return Err(BadOptions::TooManyBackends {
                backends: options.len(),
                backends_max: BACKENDS_MAX,
            });
        }
        let mut list: Vec<Backend> = Vec::new();
        for options in options {
            if list.iter().any(|other| other.name == options.name) {
                return Err(BadOptions::BackendTwice { name: options.name });
            }
            list.push(Backend {
                name: options.name,
                running_max: options.running_max,
                running: 0,
                starting: 0,
                starts: Starts::new(options.starts),
                breaker: Breaker::new(options.breaker),
            });
        }
        let dice = Dice::new(seed);
        Ok(Backends { list, dice })
    }

    pub(super) fn by_name(&self, name: &str) -> Option<BackendId> {
        let at = self.list.iter().position(|backend| *backend.name == *name);
        at.map(BackendId)
    }

    pub(super) fn get(&self, id: BackendId) -> &Backend {
        &self.list[id.0]
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Backend> {
        self.list.iter()
    }

    pub(super) fn advance(&mut self, now: Duration) {
        for backend in &mut self.list {
            backend.breaker.advance(now);
        }
    }

    /// Those that may be given one more task.
    pub(super) fn with_a_place(&self) -> impl Iterator<Item = BackendId> {
        let all = self.list.iter().enumerate();
        all.filter(|(_, backend)| backend.has_place())
            .map(|(at, _)| BackendId(at))
    }

    /// Those whose breakers are open, and until when.
    pub(super) fn open(&self) -> impl Iterator<Item = (BackendId, Duration)> {
        let all = self.list.iter().enumerate();
        all.filter_map(|(at, backend)| match backend.breaker.state() {
            BreakerState::Open { until } => Some((BackendId(at), until)),
            BreakerState::Closed | BreakerState::HalfOpen { .. } => None,
        })
    }

    /// What to tell a task that does not want to wait for a backend whose breaker is open.
    pub(super) fn broken(&self, id: BackendId, now: Duration) -> Option<Why> {
        let backend = self.get(id);
        match backend.breaker.state() {
            BreakerState::Open { until } => Some(Why::BackendBroken {
                backend: Arc::clone(&backend.name),
                retry: Retry::After(until.saturating_sub(now)),
            }),
            BreakerState::Closed | BreakerState::HalfOpen { .. } => None,
        }
    }

    /// A task has a place there, and begins to start.
    pub(super) fn placed(&mut self, id: BackendId) -> Era {
        let backend = &mut self.list[id.0];
        backend.running += 1;
        backend.starting += 1;
        backend.starts.placed(backend.starting);
        backend.breaker.placed()
    }

    /// A task is there that began to run before this scheduler did.
    pub(super) fn adopted(&mut self, id: BackendId) -> Era {
        let backend = &mut self.list[id.0];
        backend.running += 1;
        // It is none of the tasks on trial, if there are any.
        let era = backend.breaker.placed();
        backend.breaker.no_verdict(era);
        era
    }

    /// It runs.
    pub(super) fn started(
        &mut self,
        id: BackendId,
        now: Duration,
        era: Era,
        began: Duration,
        took: Duration,
    ) {
        let backend = &mut self.list[id.0];
        backend.starting -= 1;
        backend.starts.succeeded(now, began, took);
        backend.breaker.succeeded(era);
    }

    /// It gave up its place before anybody said that it runs. `good` is true if it did all the same, `None` if nobody knows.
    pub(super) fn ended_before_start(
        &mut self,
        id: BackendId,
        now: Duration,
        era: Era,
        began: Duration,
        good: Option<bool>,
    ) {
        let backend = &mut self.list[id.0];
        backend.running -= 1;
        backend.starting -= 1;
        match good {
            Some(true) => backend.breaker.succeeded(era),
            Some(false) => {
                backend.starts.failed(now, began);
                backend.breaker.failed(now, era, &mut self.dice);
            }
            None => backend.breaker.no_verdict(era),
        }
    }

    /// It ran, and gave up its place.
    pub(super) fn ended(&mut self, id: BackendId, now: Duration, era: Era, lost: bool) {
        let backend = &mut self.list[id.0];
        backend.running -= 1;
        if lost {
            backend.breaker.failed(now, era, &mut self.dice);
        }
    }
}

impl Backend {
    fn has_place(&self) -> bool {
        let may_start = usize::try_from(self.starts.limit()).is_ok_and(|limit| self.starting < limit);
        may_start && self.running < self.running_max && self.breaker.lets()
    }
}
