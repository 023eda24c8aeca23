//! The tasks of a gateway: the desk where orders come in and answers go out, for the MCP server `tasks` and for the admin
//! interface alike.

mod changes;
mod order;
mod progress;
mod race;
mod rules;

mod lines;
mod refusal;
mod shown;
mod wait;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axiom_core::channel::watch;
use axiom_core::{Draining, spawn, time};
use axiom_events::Log;
use axiom_runtime::order::Who;
use axiom_runtime::supervisor::{OpenError, Options, Phase, Recording, Steer, SteerError, Supervisor, View};
use axiom_sandbox::handle::{Attached, Event, Spawner, SpawnerOptions, StartError};
use axiom_sandbox::machine::Size;
use axiom_sandbox::spec::{Executor, Grants, Spec};

use crate::builtin::arguments::Arguments;
use crate::config::{Agent, Config};
use crate::outcome::{Exit, Failed};
use rules::Rules;

pub(crate) use changes::Changes;
pub(crate) use lines::{
    COUNT as LINES, COUNT_MAX as LINES_MAX, Look, WAIT_MAX as LOOK_MAX, stream, stream_name,
};
pub(crate) use order::ARGUMENTS as ORDER_ARGUMENTS;
pub(crate) use order::{COUNT_MAX as ORDER_COUNT_MAX, seconds};
pub(crate) use progress::Progress;
pub(crate) use race::{
    ARGUMENTS as RACE_ARGUMENTS, COUNT as RACE_COUNT, COUNT_MAX as RACE_COUNT_MAX, Found as FoundRace, Race,
    RaceResult,
};
pub(crate) use refusal::{Kind, Refusal};
pub(crate) use shown::{Node, brief, names, status, tree_text};
pub(crate) use wait::{Mode, WAIT_MAX};

/// How long the start of a sandbox may take that is only to show that it can be.
const TRIAL_TIME: Duration = Duration::from_secs(10);
/// Bytes of one input.
const TEXT_BYTES_MAX: usize = 1 << 20;
/// What a task without a limit of its own counts as.
const TASK_MEMORY_BYTES: u64 = 64 << 20;

/// The one desk of a gateway.
#[derive(Debug)]
pub struct Desk {
    pub(crate) supervisor: Supervisor,
    rules: Rules,
    /// Coding agents, by their names.
    agents: BTreeMap<String, Agent>,
    spawner: SpawnerOptions,
    races: race::Races,
    /// True when the gateway ends. Not the drain itself, which would wait for the desk.
    closing: watch::Receiver<bool>,
}

/// Opens the desk, if the configuration wants one: with the tasks that are there. Blocks on the disk.
///
/// # Errors
/// Another gateway has these tasks, or a folder cannot be used.
pub fn open(config: &Config, log: Option<&Log>, mut draining: Draining) -> Result<Option<Arc<Desk>>, Failed> {
    let Some(tasks) = &config.tasks else {
        return Ok(None);
    };
    let spawner = SpawnerOptions {
        program: std::env::current_exe()?,
        arguments: vec!["task-spawner".to_owned(), format!("--warm={}", tasks.warm)],
    };
    let rules = Rules::new(tasks, &config.options)?;
    let mut options = options(config, log, spawner.clone());
    options.pools = rules.pools()?;
    // Private, with what is in it: tasks' environments are.
    let supervisor = Supervisor::start(options).map_err(|error| open_failed(&error))?;
    let races = race::Races::open(&tasks.dir, Spawner::new(spawner.clone()))?;
    let (close, closing) = watch::channel(false);
    drop(spawn("watch for the end of the desk", async move {
        draining.asked().await;
        close.send_replace(true);
    }));
    let desk = Arc::new(Desk {
        supervisor,
        rules,
        agents: config.agents.profiles.clone(),
        spawner,
        races,
        closing,
    });
    desk.resume_races();
    Ok(Some(desk))
}

fn options(config: &Config, log: Option<&Log>, spawner: SpawnerOptions) -> Options {
    let Some(tasks) = &config.tasks else {
        unreachable!("asked before")
    };
    let events = config.options.events.as_ref();
    let mut options = Options::new(tasks.dir.clone(), spawner);
    let machine_bytes = Size::of_this_process().memory_bytes / 5 * 4;
    let budget = &mut options.schedule.budget;
    budget.tasks = tasks.running_max;
    budget.memory_bytes = match (tasks.memory_bytes, machine_bytes) {
        (Some(bytes), _) => bytes,
        (None, 0) => budget.memory_bytes,
        (None, bytes) => bytes,
    };
    options.schedule.queue.tasks_max = tasks.queued_max;
    // Everybody is one tenant for now: what all may have, it may have.
    for share in [&mut options.schedule.group, &mut options.schedule.tenant] {
        share.running_max = tasks.running_max;
        share.queued_max = tasks.queued_max;
        share.queued_bytes_max = options.schedule.queue.bytes_max;
    }
    options.task_memory_bytes = TASK_MEMORY_BYTES.min(options.schedule.budget.memory_bytes);
    options.rules = config.agents.rules.clone();
    let profiles = config.agents.profiles.iter();
    options.agents = profiles
        .map(|(name, agent)| (name.clone(), Arc::clone(&agent.profile)))
        .collect();
    options.kept_for = tasks.keep;
    options.kept_tasks = tasks.keep_tasks;
    options.recording = log.zip(events).map(|(log, events)| Recording {
        log: log.clone(),
        sample: events.sample.clone(),
        lines: tasks.records_lines,
    });
    options
}

fn open_failed(error: &OpenError) -> Failed {
    let cause = std::error::Error::source(error).map(|cause| format!(": {cause}"));
    let message = format!("cannot run tasks: {error}{}", cause.unwrap_or_default());
    match error {
        OpenError::Taken { .. } => {
            Failed::new(Exit::Unavailable, message).hint("stop it, or name another folder as `tasks.dir`")
        }
        OpenError::Folder { .. } => Failed::new(Exit::Failure, message)
            .hint("see whether the folder of `tasks.dir` can be written, or name another one"),
        OpenError::Options(_) => Failed::new(Exit::Failure, message),
    }
}

impl Desk {
    /// Starts a sandbox or a container and ends it, where tasks are to have one. Says why it cannot be, if it cannot.
    pub async fn trial(&self) -> Option<String> {
        let executor = self.rules.executor();
        if executor == Executor::Process {
            return None;
        }
        let folder = self.rules.workplace().with_file_name(".trial");
        let told = time::timeout(TRIAL_TIME, self.try_out(&folder, executor)).await;
        if let Err(error) = fs_err::remove_dir_all(&folder) {
            tracing::debug!(%error, "what a trial left stays");
        }
        match told {
            Ok(told) => told.err(),
            Err(_) => Some(format!("its start took longer than {} s", TRIAL_TIME.as_secs())),
        }
    }

    async fn try_out(&self, folder: &std::path::Path, executor: Executor) -> Result<(), String> {
        let spec = Spec {
            id: "trial".to_owned(),
            argv: vec!["true".to_owned()],
            env: self.rules.env(&executor),
            folder: self.rules.workplace().to_owned(),
            terminal: None,
            limits: self.rules.usual_limits(),
            executor,
            grants: Grants::default(),
            spool_bytes: 1 << 16,
        };
        let started = Spawner::new(self.spawner.clone()).start(folder, &spec).await;
        match started {
            Err(StartError::NotStarted(not_started)) => {
                let hint = not_started.hint.as_ref().map(|hint| format!("; {hint}"));
                Err(format!("{not_started}{}", hint.unwrap_or_default()))
            }
            Err(error) => Err(error.to_string()),
            Ok(_) => {
                let mut attached = Attached::open(&folder.join("trial"))
                    .await
                    .map_err(|error| error.to_string())?;
                loop {
                    match attached.next().await {
                        Ok(Event::Ended(_)) => return Ok(()),
                        Ok(_) => {}
                        Err(error) => return Err(error.to_string()),
                    }
                }
            }
        }
    }

    /// Takes orders. All of them are checked before the first one is taken.
    pub(crate) fn spawn(
        self: &Arc<Self>,
        arguments: &Arguments<'_>,
        who: &str,
    ) -> Result<Vec<Arc<str>>, Refusal> {
        let mut taken = Vec::new();
        for order in order::read(arguments, self, who)? {
            match self.supervisor.submit(order) {
                Ok(id) => taken.push(id),
                Err(error) if taken.is_empty() => return Err(error.into()),
                Err(error) => {
                    let ids = taken.join(", ");
                    let refused = Refusal::from(error);
                    let message = format!(
                        "{} were taken ({ids}), the others not: {}",
                        taken.len(),
                        refused.message
                    );
                    return Err(Refusal { message, ..refused });
                }
            }
        }
        Ok(taken)
    }

    /// The task whose id begins like this.
    pub(crate) fn find(&self, beginning: &str) -> Result<Arc<str>, Refusal> {
        self.supervisor.find(beginning).map_err(|_| {
            let all = self.supervisor.list();
            let fitting = all
                .iter()
                .filter(|view| !beginning.is_empty() && view.id.starts_with(beginning));
            match fitting.count() {
                0 => Refusal::new(Kind::Unknown, format!("there is no task {beginning:?}"))
                    .hint("`list` shows the tasks there are"),
                count => Refusal::new(Kind::Unknown, format!("{count} tasks begin with {beginning:?}"))
                    .hint("give more of the id"),
            }
        })
    }

    pub(crate) fn view(&self, id: &str) -> Result<View, Refusal> {
        Ok(self.supervisor.view(id)?)
    }

    pub(crate) async fn steer(&self, id: &str, steer: Steer, by: &Who) -> Result<(), Refusal> {
        self.supervisor.steer(id, steer, by).await.map_err(|error| {
            let hint = match &error {
                SteerError::NotRunning {
                    phase: Phase::Ended, ..
                } => "`status` says how it ended",
                SteerError::NotRunning { .. } => "try again when `status` says that it runs",
                SteerError::Late { .. } => "it may still come to it; `interrupt` it if it should not",
                SteerError::Refused { .. } => "`status` says how it is",
                SteerError::Unknown(_) => "`list` shows the tasks there are",
            };
            Refusal::from(error).hint(hint)
        })
    }

    /// Gives a task something to read, as a line if wanted. Gives its bytes.
    pub(crate) async fn say(&self, id: &str, text: &str, is_line: bool, by: &Who) -> Result<usize, Refusal> {
        if text.len() > TEXT_BYTES_MAX {
            let message = format!(
                "the text has {} B; {TEXT_BYTES_MAX} are allowed at once",
                text.len()
            );
            return Err(Refusal::wrong(message).hint("give it in pieces, or through a file"));
        }
        let mut bytes = text.as_bytes().to_vec();
        if is_line {
            bytes.push(b'\n');
        }
        let count = bytes.len();
        let is_agent = self.view(id)?.order.agent.is_some();
        let steer = match is_line && is_agent {
            // Its profile says how something is typed.
            true => Steer::Say(text.to_owned()),
            false => Steer::Input(bytes),
        };
        self.steer(id, steer, by).await?;
        Ok(count)
    }

    /// Ends tasks with all that they wanted, and waits a little for their ends. Gives those that had not ended.
    pub(crate) async fn kill(&self, ids: &[Arc<str>], by: &Who) -> Result<Vec<Arc<str>>, Refusal> {
        let mut killed: Vec<Arc<str>> = Vec::new();
        for id in ids {
            for each in self.supervisor.kill(id, by)? {
                if !killed.contains(&each) {
                    killed.push(each);
                }
            }
        }
        self.ends(&killed, Mode::All, wait::KILL_TIME, None).await;
        Ok(killed)
    }

    /// How long what has ended is kept.
    pub(crate) fn kept_for(&self) -> Duration {
        self.rules.keep()
    }

    /// Whether the server `tasks` is wanted.
    pub(crate) fn has_server(&self) -> bool {
        self.rules.has_server()
    }

    /// Until the gateway ends: whoever waits here goes then.
    pub(crate) async fn closed(&self) {
        // Who could say so is gone: then it has ended.
        self.closing.clone().wait_for(|closing| *closing).await.ok();
    }

    /// Whether the gateway ends.
    pub(crate) fn is_closing(&self) -> bool {
        *self.closing.borrow()
    }

    pub(crate) fn is_shared(&self) -> bool {
        self.rules.is_shared()
    }

    /// Lets go of the tasks, which go on. Everything that was said is recorded by then.
    pub async fn close(&self) {
        self.supervisor.close().await;
    }
}
