//! `axiom rm`: forgets tasks that have ended, and what they said.

use axiom_sandbox::handle::Attached;

use crate::cli::Rm;
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

use super::named;

/// # Errors
/// When there is no such task, one that was named still runs, or a folder cannot be removed.
pub(super) async fn run(rm: &Rm, terminal: &Terminal) -> Result<Exit, Failed> {
    let tasks = rm.folder.path()?;
    let mut gone = 0;
    for id in named(&tasks, &rm.tasks)? {
        let folder = tasks.join(&id);
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
