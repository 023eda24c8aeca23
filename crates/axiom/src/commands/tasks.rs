//! Tasks from the command line: commands that run, are watched, and are ended.
//!
//! No gateway is needed. What there is of a task is in its folder, and its shim answers there.

use std::path::PathBuf;
use std::process::ExitCode;

use axiom_sandbox::exit::How;
use axiom_sandbox::handle::{End, found};

use crate::cli::{TasksCommand, TasksFolder};
use crate::config::load::{self, Source, discover};
use crate::import::preview::visible;
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

mod agent;
mod attach;
mod doctor;
mod executor;
mod input;
mod kill;
mod logs;
mod print;
mod ps;
mod race;
mod rm;
mod run;
pub mod spawner;
mod top;

/// # Errors
/// As each of them.
pub async fn run(command: TasksCommand, terminal: Terminal) -> Result<ExitCode, Failed> {
    let exit = match command {
        TasksCommand::Run(run) => return run::run(&run, &terminal).await,
        TasksCommand::Attach(attach) => return attach::run(&attach, &terminal).await,
        TasksCommand::Race(race) => race::run(&race, &terminal).await,
        TasksCommand::Top(top) => top::run(&top, &terminal).await,
        TasksCommand::Ps(ps) => ps::run(&ps, &terminal).await,
        TasksCommand::Logs(logs) => logs::run(&logs, &terminal).await,
        TasksCommand::Kill(kill) => kill::run(&kill, &terminal).await,
        TasksCommand::Rm(rm) => rm::run(&rm, &terminal).await,
        TasksCommand::Doctor(doctor) => doctor::run(&doctor, &terminal).await,
        TasksCommand::TaskSpawner { .. } => unreachable!("it runs before there is a terminal"),
    };
    exit.map(ExitCode::from)
}

impl TasksFolder {
    /// Where `axiom run` keeps its tasks.
    fn path(&self) -> Result<PathBuf, Failed> {
        if let Some(dir) = &self.dir {
            return Ok(dir.clone());
        }
        let set = |name: &str| {
            std::env::var_os(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let state = set("XDG_STATE_HOME").or_else(|| Some(set("HOME")?.join(".local/state")));
        let state = state.ok_or_else(|| {
            Failed::new(
                Exit::Usage,
                "nobody says where tasks are kept: neither XDG_STATE_HOME nor HOME is set",
            )
            .hint("say it with --dir")
        })?;
        Ok(state.join("axiom/tasks"))
    }

    /// Where tasks are looked for: in the folder that was named; else in that of `axiom run` and in that of the configuration
    /// here, if it has one.
    fn paths(&self, terminal: &Terminal) -> Result<Vec<PathBuf>, Failed> {
        if let Some(dir) = &self.dir {
            return Ok(vec![dir.clone()]);
        }
        match (self.path(), of_configuration(terminal)) {
            (Ok(own), configured) => Ok(std::iter::once(own).chain(configured).collect()),
            (Err(_), Some(configured)) => Ok(vec![configured]),
            (Err(nowhere), None) => Err(nowhere),
        }
    }
}

/// The folder of the tasks of the gateway whose configuration is found here.
fn of_configuration(terminal: &Terminal) -> Option<PathBuf> {
    let source = discover(None);
    if source == Source::Demo {
        return None;
    }
    match load::load(source.rereadable()?) {
        Ok(loaded) => loaded.config.tasks.map(|tasks| tasks.dir),
        Err(error) => {
            let mark = terminal.yellow("warning:");
            terminal.say(format_args!("{mark} {error}; its tasks are not looked at"));
            None
        }
    }
}

/// A task, where it is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Found {
    id: String,
    folder: PathBuf,
}

/// The tasks whose ids begin like these, each once; all tasks if nothing is asked for.
fn named(places: &[PathBuf], beginnings: &[String]) -> Result<Vec<Found>, Failed> {
    let mut all = Vec::new();
    for place in places {
        all.extend(found(place)?.into_iter().map(|id| Found {
            folder: place.join(&id),
            id,
        }));
    }
    all.sort();
    if beginnings.is_empty() {
        return Ok(all);
    }
    let mut tasks: Vec<Found> = Vec::new();
    for beginning in beginnings {
        let mut fitting = all.iter().filter(|task| task.id.starts_with(&**beginning));
        match (fitting.next(), fitting.next()) {
            (Some(task), None) => tasks.push(task.clone()),
            // The first in their order is the shortest, which may be what was meant.
            (Some(task), Some(_)) if task.id == *beginning => tasks.push(task.clone()),
            (Some(task), Some(other)) => {
                let message = format!(
                    "several tasks begin with {beginning:?}: {}, {} and perhaps more",
                    task.id, other.id
                );
                return Err(Failed::new(Exit::Usage, message).hint("give more of the id"));
            }
            (None, _) => {
                let message = format!("there is no task {beginning:?} in {}", listed(places));
                return Err(Failed::new(Exit::NotFound, message).hint("`axiom ps` shows the tasks there are"));
            }
        }
    }
    tasks.sort();
    tasks.dedup();
    Ok(tasks)
}

/// Folders, for people.
fn listed(places: &[PathBuf]) -> String {
    let names: Vec<String> = places.iter().map(|place| place.display().to_string()).collect();
    names.join(" or ")
}

/// An end, in a few words. Those of others, as of a client that has killed it and says why, cannot steer a terminal.
fn told(end: &End) -> String {
    let End::Exit(exit) = end else {
        return "lost: its shim was killed before it could say how it ended".to_owned();
    };
    let words = match &exit.how {
        How::Code(code) => format!("exit {code}"),
        How::Signal(signal) => format!("ended by signal {signal}"),
        How::Limit { limit, value } => format!("killed: beyond its limit {limit} of {value}"),
        How::Killed { why } => format!("killed: {why}"),
        How::NotStarted { why } => format!("not started: {why}"),
        How::Broken { why } => format!("broken: {why}"),
    };
    visible(&words)
}
