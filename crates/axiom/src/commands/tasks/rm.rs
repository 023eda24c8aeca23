//! `axiom rm`: forgets tasks that have ended, and what they said.

use std::path::Path;

use axiom_sandbox::handle::Attached;

use crate::cli::Rm;
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

use super::{Found, named};

/// # Errors
/// When there is no such task, one that was named still runs, or a folder cannot be removed.
pub(super) async fn run(rm: &Rm, terminal: &Terminal) -> Result<Exit, Failed> {
    let places = rm.folder.paths(terminal)?;
    let mut gone = 0;
    for Found { id, folder } in named(&places, &rm.tasks)? {
        if is_of_a_gateway(&folder) {
            if rm.tasks.is_empty() {
                continue;
            }
            let message = format!("task {id} is a gateway's, which has it in its books");
            return Err(Failed::new(Exit::Failure, message)
                .hint("it forgets it after `tasks.keep`, or at once when asked: DELETE /api/v1/tasks/ID"));
        }
        let runs = match Attached::open(&folder).await {
            Ok(attached) => attached.end().is_none(),
            // It was never started.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
            Err(error) => return Err(error.into()),
        };
        if !runs {
            fs_err::remove_dir_all(&folder)?;
            gone += 1;
        } else if !rm.tasks.is_empty() {
            let message = format!("task {id} still runs");
            return Err(Failed::new(Exit::Failure, message).hint(format!("end it first: axiom kill {id}")));
        }
    }
    terminal.say(format_args!("{gone} tasks forgotten"));
    Ok(Exit::Ok)
}

/// Such a task would be started again, or be lost, if its folder went without its gateway's knowledge.
fn is_of_a_gateway(folder: &Path) -> bool {
    folder
        .parent()
        .is_some_and(|tasks| tasks.join(".ledger").is_dir())
}
