//! `[tasks.oci]` and `[tasks.pools]`.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::agents::NetworkName;
use super::{TaskLimits, Time};

/// What runs containers. With this section tasks may ask for the executor `oci`. Needs root.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Oci {
    /// The program: `runc`, `crun`, `runsc`, or another with the same command line.
    #[schemars(extend("default" = "runc"))]
    pub runtime: Option<String>,
    /// What comes before its `run`, such as `--ignore-cgroups`.
    pub arguments: Option<Vec<String>>,
    /// A folder that is the root of each container, read-only; relative to where this file stands. By default the machine's programs.
    pub root: Option<String>,
}

/// Processes that have started already, for tasks that ask for this pool's name as their executor. They start when the first task
/// comes, and end when none has come for a while, or with the gateway.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Pool {
    /// What it holds.
    pub kind: Kind,
    /// What is started. By default `["python3"]`, and `["z3", "-in"]` for `smt`. Of Python the interpreter alone, 3.9 or newer.
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// Modules that Python imports before its first task.
    pub preload: Option<Vec<String>>,
    /// Tasks that it has at once. Others wait. So many workers there are at most.
    #[schemars(range(min = 1, max = 1000), extend("default" = 4))]
    pub size: Option<u32>,
    /// Tasks of one process. Then another takes its place.
    #[schemars(range(min = 1, max = 1_000_000), extend("default" = 1000))]
    pub reuse: Option<u32>,
    /// How long a process that no task needs is kept.
    #[schemars(extend("default" = "60s"))]
    pub idle: Option<Time>,
    /// Variables of its processes, besides those of every task.
    pub env: Option<BTreeMap<String, String>>,
    /// Where workers run; relative to where this file stands. By default in a folder of their own.
    pub folder: Option<String>,
    /// What each of its processes is apart by, with all of its tasks: these are not apart from each other. By default the executor of
    /// tasks, and a sandbox where that is `oci`.
    pub executor: Option<Walls>,
    /// Limits of each of its processes, for all of its tasks together.
    pub limits: Option<TaskLimits>,
    /// Whom its processes reach in their sandbox.
    pub network: Option<NetworkName>,
    /// Files and folders that they may read in their sandbox; relative to where this file stands.
    pub read: Option<Vec<String>>,
    /// Those that they may change as well. Tasks of Python may change the folder that tasks share without it.
    pub write: Option<Vec<String>>,
}

/// What a pool holds.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Kind {
    /// A Python that forks itself for each task.
    Python,
    /// Programs that answer a line of JSON with a line of JSON.
    Lines,
    /// Solvers that read SMT-LIB, as `z3 -in` does. Each request begins anew.
    Smt,
}

/// What a process is apart by.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase")]
pub enum Walls {
    /// Namespaces, a root of its own, Landlock and a filter of system calls.
    Sandbox,
    /// Nothing.
    Process,
}
