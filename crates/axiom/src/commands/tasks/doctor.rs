//! `axiom doctor`: what this machine can do for tasks, found out by doing it.

use std::time::Duration;

use axiom_core::spawn;
use axiom_sandbox::confine::landlock_version;
use axiom_sandbox::machine::{self, Ability, Finding, Report};
use axiom_sandbox::spec::Executor;
use serde::Serialize;

use crate::cli::Doctor;
use crate::outcome::{Exit, Failed};
use crate::signals::Signals;
use crate::terminal::Terminal;

use executors::Tried;
use home::Checked;
use pools::TriedPool;

mod executors;
mod home;
mod pools;
mod show;

/// What `axiom run` uses if nobody says anything else.
const DEFAULT_EXECUTOR: Executor = Executor::Process;
/// Every probe has a limit of its own; all of them together take half a minute at most, where every program hangs.
const EXAMINE_TIME: Duration = Duration::from_secs(60);

/// All that was found.
#[derive(Debug, Serialize)]
struct Diagnosis {
    default_executor: &'static str,
    /// The default executor ran a task, and the tasks' folder can be written.
    works: bool,
    executors: Vec<Tried>,
    /// Those of the configuration here.
    pools: Vec<TriedPool>,
    configuration: Checked,
    tasks_folder: Checked,
    #[serde(flatten)]
    machine: Report,
}

/// # Errors
/// When nothing can be tried at all, or the report cannot be printed.
pub(super) async fn run(doctor: &Doctor, terminal: &Terminal) -> Result<Exit, Failed> {
    // From here on an interruption does not end us in the middle of something that has to be undone.
    let mut signals = Signals::listen()?;
    let diagnosis = diagnose(doctor);
    tokio::pin!(diagnosis);
    let mut is_interrupted = false;
    let diagnosis = loop {
        tokio::select! {
            // cancel-safe: it is pinned outside and goes on with the next turn.
            diagnosis = &mut diagnosis => break diagnosis?,
            // cancel-safe: a signal that came is kept.
            () = signals.interrupted() => {
                is_interrupted = true;
                terminal.say("interrupted: what was begun is undone first");
            }
        }
    };
    if is_interrupted {
        return Ok(Exit::Interrupted);
    }
    match doctor.json {
        true => terminal.data(serde_json::to_string_pretty(&diagnosis).map_err(std::io::Error::other)?)?,
        false => terminal.data(show::text(&diagnosis).trim_end())?,
    }
    Ok(match diagnosis.works {
        true => Exit::Ok,
        false => Exit::Failure,
    })
}

async fn diagnose(doctor: &Doctor) -> Result<Diagnosis, Failed> {
    let tasks = doctor.folder.path()?;
    let configuration = home::configuration(doctor.file.config.as_deref());
    let tasks_folder = home::tasks_folder(&tasks);
    let place = home::standing(&tasks);
    let examine = spawn::blocking(move || {
        machine::examine(&machine::Options {
            folder: place,
            own_probe: Some(&own_probe),
        })
    });
    let machine = axiom_core::time::timeout(EXAMINE_TIME, examine.join()).await;
    let mut machine = machine.ok().flatten().ok_or_else(|| {
        Failed::new(
            Exit::Unavailable,
            "this machine does not answer what is asked of it",
        )
    })?;
    let configured = pools::configured(doctor.file.config.as_deref());
    let (executors, pools) = executors::try_all(&machine, configured).await?;
    if executors.iter().any(|tried| tried.is_filtered) {
        let found = Finding::yes("a task ran behind a filter of system calls");
        machine.learn(Ability::Seccomp, found);
    }
    let works = tasks_folder.is_good()
        && executors
            .iter()
            .any(|tried| tried.name == DEFAULT_EXECUTOR.name() && tried.works);
    Ok(Diagnosis {
        default_executor: DEFAULT_EXECUTOR.name(),
        works,
        executors,
        pools,
        configuration,
        tasks_folder,
        machine,
    })
}

/// The kernel is asked for its version of Landlock. Whether a filter of system calls holds, a task in a sandbox tells.
fn own_probe(ability: Ability) -> Option<Finding> {
    match (ability, landlock_version()) {
        (Ability::Landlock, Some(version)) => Some(Finding::yes(format!(
            "the kernel answers with version {version} of its interface"
        ))),
        (Ability::Landlock, None) => Some(Finding::no("the kernel has none, or it is not switched on")),
        _ => None,
    }
}
