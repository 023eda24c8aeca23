//! What can be chosen about a scheduler, but for what is chosen next to the code that obeys it.

use std::num::NonZeroU32;
use std::time::Duration;

use super::{BackendOptions, GateOptions, LargeTasks, Patience, PerClass};

/// The defaults suit one machine of a few cores and some tens of gigabytes.
#[derive(Debug, Clone)]
pub struct Options {
    pub budget: Budget,
    pub queue: QueueLimits,
    /// What a group may have of which nothing else is said.
    pub group: Share,
    /// What a tenant may have, within its group, of which nothing else is said.
    pub tenant: Share,
    /// Tenants without a task whose debt is remembered (see `fair`). At the limit the one that left first is forgotten, which
    /// gives it one task's worth of service at most.
    pub idle_tenants_max: usize,
    pub patience: PerClass<Patience>,
    pub gate: GateOptions,
    pub large: LargeTasks,
    pub backends: Vec<BackendOptions>,
    /// Of the random numbers that spread the breakers' pauses.
    pub seed: u64,
    /// The first fencing number. After a restart it lies above all those that were given before.
    pub first_attempt: u64,
}

impl Default for Options {
    fn default() -> Options {
        let patience = |passes, secs| Patience {
            passes,
            age: Duration::from_secs(secs),
        };
        Options {
            budget: Budget {
                memory_bytes: 8 << 30,
                tasks: 1000,
            },
            queue: QueueLimits {
                tasks_max: 100_000,
                bytes_max: 256 << 20,
            },
            group: Share::default(),
            tenant: Share::default(),
            idle_tenants_max: 4096,
            // If all wait at once, the lower three have 1/8 + 1/16 + 1/32 of the places.
            patience: PerClass {
                critical: patience(3, 0),
                high: patience(7, 1),
                normal: patience(15, 5),
                low: patience(31, 30),
            },
            gate: GateOptions::default(),
            large: LargeTasks::default(),
            backends: Vec::new(),
            seed: 0,
            first_attempt: 1,
        }
    }
}

/// What all running tasks may have together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    pub memory_bytes: u64,
    pub tasks: usize,
}

/// What may wait, of everybody together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueLimits {
    pub tasks_max: usize,
    pub bytes_max: u64,
}

/// What one group or tenant may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// Against its siblings: of two that both wait, the one with twice the weight gets twice the service.
    pub weight: NonZeroU32,
    /// Tasks that run at once, of all classes. At the limit its other tasks wait.
    pub running_max: usize,
    /// Tasks that wait. At the limit new ones are refused.
    pub queued_max: usize,
    pub queued_bytes_max: u64,
}

impl Default for Share {
    fn default() -> Share {
        Share {
            weight: NonZeroU32::MIN,
            running_max: 256,
            queued_max: 10_000,
            queued_bytes_max: 64 << 20,
        }
    }
}
