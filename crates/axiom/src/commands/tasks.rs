//! Tasks from the command line: commands that run, are watched, and are ended.
//!
//! No gateway is needed. What there is of a task is in its folder, and its shim answers there.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use axiom_sandbox::exit::How;
use axiom_sandbox::handle::{End, found};

use crate::cli::{TasksCommand, TasksFolder};
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
        TasksCommand::TaskSpawner => unreachable!("it runs before there is a terminal"),
    };
    exit.map(ExitCode::from)
}

impl TasksFolder {
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
}

/// The ids of the tasks that begin like these, each once; all tasks if nothing is asked for.
fn named(tasks: &Path, beginnings: &[String]) -> Result<Vec<String>, Failed> {
    let mut all = found(tasks)?;
    all.sort();
    if beginnings.is_empty() {
        return Ok(all);
    }
    let mut ids: Vec<String> = Vec::new();
    for beginning in beginnings {
        let mut fitting = all.iter().filter(|id| id.starts_with(&**beginning));
        match (fitting.next(), fitting.next()) {
            (Some(id), None) => ids.push(id.clone()),
            (Some(_), Some(_)) if all.contains(beginning) => ids.push(beginning.clone()),
            (Some(id), Some(other)) => {
                let message =
                    format!("several tasks begin with {beginning:?}: {id}, {other} and perhaps more");
                return Err(Failed::new(Exit::Usage, message).hint("give more of the id"));
            }
            (None, _) => {
                let message = format!("there is no task {beginning:?} in {}", tasks.display());
                return Err(Failed::new(Exit::NotFound, message).hint("`axiom ps` shows the tasks there are"));
            }
        }
    }
    ids.sort();
    ids.dedup();
    Ok(ids)
}

/// An end, in a few words.
fn told(end: &End) -> String {
    let End::Exit(exit) = end else {
        return "lost: its shim was killed before it could say how it ended".to_owned();
    };
    match &exit.how {
        How::Code(code) => format!("exit {code}"),
        How::Signal(signal) => format!("ended by signal {signal}"),
        How::Limit { limit, value } => format!("killed: beyond its limit {limit} of {value}"),
        How::Killed { why } => format!("killed: {why}"),
        How::NotStarted { why } => format!("not started: {why}"),
        How::Broken { why } => format!("broken: {why}"),
    }
}
