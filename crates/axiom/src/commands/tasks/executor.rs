//! What runs the tasks of an `axiom run`, and what they share for as long as it lives.

use std::collections::BTreeMap;
use std::path::Path;

use axiom_runtime::supervisor::PoolOptions;
use axiom_sandbox::handle::Spawner;
use axiom_sandbox::pool::{Lease, PoolError, Workers, ZygoteOptions, Zygotes};
use axiom_sandbox::spec::{Executor, Oci, Zygote};

use crate::cli::{ExecutorName, Run};
use crate::compose::given;
use crate::config::pools::RUNTIME;
use crate::config::{Pool, PoolKind, did_you_mean};
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

/// Gives each task its executor.
#[derive(Debug)]
pub(super) enum Executors {
    /// The same for all.
    Same(Executor),
    Zygotes(Box<Zygotes>),
    Workers {
        workers: Workers,
        /// What a task has before it has a worker.
        like: Executor,
    },
}

/// The executor of one task.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) executor: Executor,
    /// A worker that it alone has, until it has ended.
    pub(super) lease: Option<Lease>,
}

impl Executors {
    /// Nothing is started.
    ///
    /// # Errors
    /// When something is said that this executor has no use for, or the configuration has no such pool.
    pub(super) fn new(
        run: &Run,
        tasks: &Path,
        env: BTreeMap<String, String>,
        terminal: &Terminal,
    ) -> Result<Executors, Failed> {
        let is_oci = run.executor == ExecutorName::Oci;
        let useless = [
            (
                "--preload",
                !run.preload.is_empty() && run.executor != ExecutorName::Zygote,
                "zygote",
            ),
            ("--runtime", run.runtime.is_some() && !is_oci, "oci"),
            ("--runtime-arg", !run.runtime_arg.is_empty() && !is_oci, "oci"),
            ("--root", run.root.is_some() && !is_oci, "oci"),
        ];
        if let Some((option, _, executor)) = useless.into_iter().find(|(_, is_said, _)| *is_said) {
            let message = format!("{option} is for the executor `{executor}`");
            return Err(Failed::new(Exit::Usage, message).hint("say it with --executor, or leave it out"));
        }
        Ok(match &run.executor {
            ExecutorName::Process => Executors::Same(Executor::Process),
            ExecutorName::Sandbox => Executors::Same(Executor::Sandbox),
            ExecutorName::Oci => Executors::Same(Executor::Oci(Oci {
                runtime: run.runtime.clone().unwrap_or_else(|| RUNTIME.to_owned()),
                arguments: run.runtime_arg.clone(),
                root: run.root.as_ref().map(fs_err::canonicalize).transpose()?,
            })),
            ExecutorName::Zygote => {
                let interpreter = run.command.first().cloned().unwrap_or_default();
                let mut options = ZygoteOptions::new(interpreter, env);
                options.modules.clone_from(&run.preload);
                Executors::Zygotes(Box::new(Zygotes::new(tasks, options)))
            }
            ExecutorName::Pool(name) => {
                let config = given(&run.file, terminal)?.config;
                let pools = config.tasks.map(|tasks| tasks.pools).unwrap_or_default();
                let pool = pools.get(name).ok_or_else(|| no_pool(name, &pools))?;
                let program = run.command.first().map_or("", String::as_str);
                if pool.kind == PoolKind::Python && !pool.is_interpreter(program) {
                    let message = format!("the pool {name:?} runs Python, and {program:?} is none");
                    return Err(Failed::new(Exit::Usage, message)
                        .hint("give the interpreter and what it runs, like: -- python3 job.py"));
                }
                // Its tasks work where we are.
                let here = fs_err::canonicalize(std::env::current_dir()?)?;
                let options = pool.at_its_places()?.options(env, std::slice::from_ref(&here));
                let like = options.executor();
                match options {
                    PoolOptions::Zygotes { options, .. } => {
                        Executors::Zygotes(Box::new(Zygotes::new(tasks, options)))
                    }
                    PoolOptions::Workers(options) => Executors::Workers {
                        workers: Workers::new(tasks, options),
                        like,
                    },
                }
            }
        })
    }

    /// One like those that tasks will have, to check what they are to be.
    pub(super) fn like(&self) -> Executor {
        match self {
            Executors::Same(executor) => executor.clone(),
            Executors::Zygotes(_) => Executor::Zygote(Zygote { socket: "/".into() }),
            Executors::Workers { like, .. } => like.clone(),
        }
    }

    /// The one of the next task. Waits while all workers have one.
    ///
    /// # Errors
    /// When what tasks share cannot be started.
    pub(super) async fn next(&self, spawner: &Spawner) -> Result<Place, Failed> {
        let alone = |executor| Place {
            executor,
            lease: None,
        };
        match self {
            Executors::Same(executor) => Ok(alone(executor.clone())),
            Executors::Zygotes(zygotes) => zygotes.place(spawner).await.map(alone),
            Executors::Workers { workers, .. } => workers.lease(spawner).await.map(|lease| Place {
                executor: lease.executor(),
                lease: Some(lease),
            }),
        }
        .map_err(|error| failed(&error))
    }

    /// All tasks have ended. What is not told of it ends by itself when it has been idle for a while.
    pub(super) async fn end(&self) {
        match self {
            Executors::Same(_) => {}
            Executors::Zygotes(zygotes) => zygotes.end().await,
            Executors::Workers { workers, .. } => workers.end().await,
        }
    }
}

fn no_pool(name: &str, pools: &BTreeMap<String, Pool>) -> Failed {
    let known = ["process", "sandbox", "zygote", "oci"].into_iter();
    let known: Vec<&str> = known.chain(pools.keys().map(String::as_str)).collect();
    let hint = did_you_mean(name, &known).unwrap_or_else(|| match pools.is_empty() {
        true => format!("the configuration has no pools; add a section [tasks.pools.{name}] with a kind"),
        false => format!("there are {}", known.join(", ")),
    });
    Failed::new(Exit::Usage, format!("there is no executor and no pool {name:?}")).hint(hint)
}

fn failed(error: &PoolError) -> Failed {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let failed = Failed::new(Exit::Failure, format!("{error}{}", cause.unwrap_or_default()));
    match error.hint() {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}
