//! `axiom ps`: the tasks there are, and how each of them is.

use std::path::Path;
use std::time::Duration;

use axiom_core::time;
use axiom_sandbox::exit::Exit as TaskExit;
use axiom_sandbox::handle::{Attached, End};
use axiom_sandbox::spec::Spec;
use axiom_sandbox::wire::{Reply, Request, Status};
use serde::Serialize;

use crate::cli::Ps;
use crate::outcome::{Exit, Failed};
use crate::table::Table;
use crate::terminal::Terminal;

use super::{Found, listed, named, told};

/// How long a shim may take to answer.
const ANSWER_TIME: Duration = Duration::from_secs(2);
/// Characters of a command that are shown.
const COMMAND_CHARS: usize = 60;

#[derive(Debug, Serialize)]
struct Row {
    id: String,
    state: String,
    /// Nanoseconds since 1970; `None` if it was never started.
    started: Option<i64>,
    output_bytes: u64,
    command: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit: Option<TaskExit>,
}

/// # Errors
/// When the folder of tasks cannot be read.
pub(super) async fn run(ps: &Ps, terminal: &Terminal) -> Result<Exit, Failed> {
    let places = ps.folder.paths(terminal)?;
    let mut rows = Vec::new();
    for Found { id, folder } in named(&places, &[])? {
        rows.push(look(&folder, id).await);
    }
    rows.sort_by_key(|row| row.started);
    if ps.json {
        terminal.data(serde_json::to_string_pretty(&rows).map_err(std::io::Error::other)?)?;
        return Ok(Exit::Ok);
    }
    if rows.is_empty() {
        terminal.say(format_args!("there are no tasks in {}", listed(&places)));
        return Ok(Exit::Ok);
    }
    let mut table = Table::new(["TASK", "STATE", "AGE", "OUTPUT", "COMMAND"]);
    for row in &rows {
        let command: String = row.command.join(" ").chars().take(COMMAND_CHARS).collect();
        table.row([
            row.id.clone(),
            row.state.clone(),
            row.started.map(age).unwrap_or_default(),
            format!("{} B", row.output_bytes),
            command.escape_debug().to_string(),
        ]);
    }
    terminal.data(table)?;
    Ok(Exit::Ok)
}

/// How one task is. One that cannot be looked at is shown as well.
async fn look(folder: &Path, id: String) -> Row {
    let spec = fs_err::read(folder.join("spec.json")).ok();
    let spec = spec.and_then(|json| serde_json::from_slice::<Spec>(&json).ok());
    let mut row = Row {
        id,
        state: String::new(),
        started: None,
        output_bytes: 0,
        command: spec.map(|spec| spec.argv).unwrap_or_default(),
        status: None,
        exit: None,
    };
    match time::timeout(ANSWER_TIME, ask(folder)).await {
        Ok(Ok(Answer::Runs(status))) => {
            row.state = state(&status).to_owned();
            row.started = Some(status.started);
            row.output_bytes = status.output_bytes;
            row.status = Some(status);
        }
        Ok(Ok(Answer::Ended(end))) => {
            row.state = told(&end);
            if let End::Exit(exit) = end {
                row.started = Some(exit.started);
                row.output_bytes = exit.output_bytes;
                row.exit = Some(exit);
            }
        }
        Ok(Err(error)) => row.state = format!("unknown: {error}"),
        Err(_) => row.state = format!("unknown: it does not answer within {ANSWER_TIME:?}"),
    }
    row
}

enum Answer {
    Runs(Status),
    Ended(End),
}

async fn ask(folder: &Path) -> std::io::Result<Answer> {
    if let Some(exit) = TaskExit::read(&folder.join("exit.json"))? {
        return Ok(Answer::Ended(End::Exit(exit)));
    }
    let mut attached = Attached::open(folder).await?;
    attached.ask(Request::Status).ok();
    Ok(match attached.reply().await? {
        Some(Reply::Status(status)) => Answer::Runs(status),
        Some(other) => return Err(std::io::Error::other(format!("it answers {other:?}"))),
        None => Answer::Ended(attached.end().cloned().unwrap_or(End::Lost)),
    })
}

pub(super) fn state(status: &Status) -> &'static str {
    match status {
        Status {
            disk_error: Some(_), ..
        } => "waits: the disk takes no output",
        Status { is_frozen: true, .. } => "frozen",
        Status { is_held: true, .. } => "waits: nobody takes its output",
        _ => "runs",
    }
}

fn age(started: i64) -> String {
    let nanos = time::unix_nanos().saturating_sub(started);
    let seconds = nanos / 1_000_000_000;
    match seconds {
        ..100 => format!("{seconds} s"),
        100..6000 => format!("{} min", seconds / 60),
        6000..172_800 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}
