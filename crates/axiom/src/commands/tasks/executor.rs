//! What runs the tasks of an `axiom run`, and what they share for as long as it lives.

use std::collections::BTreeMap;
use std::path::Path;

use axiom_sandbox::handle::Spawner;
use axiom_sandbox::pool::{PoolError, ZygoteOptions, Zygotes};
use axiom_sandbox::spec::{Executor, Oci, Zygote};

use crate::cli::{ExecutorName, Run};
use crate::outcome::{Exit, Failed};

/// Gives each task its executor.
#[derive(Debug)]
pub(super) enum Executors {
    /// The same for all.
    Same(Executor),
    Zygotes(Box<Zygotes>),
}

impl Executors {
    /// Nothing is started.
    ///
    /// # Errors
    /// When something is said that this executor has no use for.
    pub(super) fn new(run: &Run, tasks: &Path, env: BTreeMap<String, String>) -> Result<Executors, Failed> {
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
        Ok(match run.executor {
            ExecutorName::Process => Executors::Same(Executor::Process),
            ExecutorName::Sandbox => Executors::Same(Executor::Sandbox),
            ExecutorName::Oci => Executors::Same(Executor::Oci(Oci {
                runtime: run.runtime.clone().unwrap_or_else(|| "runc".to_owned()),
                arguments: run.runtime_arg.clone(),
                root: run.root.as_ref().map(fs_err::canonicalize).transpose()?,
            })),
            ExecutorName::Zygote => {
                let interpreter = run.command.first().cloned().unwrap_or_default();
                let mut options = ZygoteOptions::new(interpreter, env);
                options.modules.clone_from(&run.preload);
                Executors::Zygotes(Box::new(Zygotes::new(tasks, options)))
            }
        })
    }

    /// One like those that tasks will have, to check what they are to be.
    pub(super) fn like(&self) -> Executor {
        match self {
            Executors::Same(executor) => executor.clone(),
            Executors::Zygotes(_) => Executor::Zygote(Zygote { socket: "/".into() }),
        }
    }

    /// The one of the next task.
    ///
    /// # Errors
    /// When what tasks share cannot be started.
    pub(super) async fn next(&self, spawner: &Spawner) -> Result<Executor, Failed> {
        match self {
            Executors::Same(executor) => Ok(executor.clone()),
            Executors::Zygotes(zygotes) => zygotes.place(spawner).await.map_err(|error| failed(&error)),
        }
    }

    /// All tasks have ended. What is not told of it ends by itself when it has been idle for a while.
    pub(super) async fn end(&self) {
        if let Executors::Zygotes(zygotes) = self {
            zygotes.end().await;
        }
    }
}

fn failed(error: &PoolError) -> Failed {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let failed = Failed::new(Exit::Failure, format!("{error}{}", cause.unwrap_or_default()));
    match error.hint() {
        Some(hint) => failed.hint(hint),
        None => failed,
    }
}
