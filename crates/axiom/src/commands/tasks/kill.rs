//! `axiom kill`: ends tasks, or sends them a signal.

use std::time::Duration;

use axiom_core::time;
use axiom_sandbox::handle::Attached;
use axiom_sandbox::wire::{Reply, Request};

use crate::cli::Kill;
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

use super::{Found, named, told};

/// How long a task may take to be gone. Its shim gives its processes five seconds.
const END_TIME: Duration = Duration::from_secs(10);

/// # Errors
/// When there is no such task, or it could not be ended.
pub(super) async fn run(kill: &Kill, terminal: &Terminal) -> Result<Exit, Failed> {
    let places = kill.folder.paths(terminal)?;
    let mut exit = Exit::Ok;
    for Found { id, folder } in named(&places, &kill.tasks)? {
        let mut attached = match Attached::open(&folder).await {
            Ok(attached) => attached,
            // One that cannot be reached does not keep the others alive.
            Err(error) => {
                terminal.say(format_args!("[{id}] cannot be reached: {error}"));
                exit = Exit::Failure;
                continue;
            }
        };
        if let Some(end) = attached.end() {
            terminal.say(format_args!("[{id}] had ended: {}", told(end)));
            continue;
        }
        let request = match kill.signal {
            Some(number) => Request::Signal(number),
            None => Request::Kill {
                why: kill.why.clone(),
            },
        };
        attached.ask(request).ok();
        let done = time::timeout(END_TIME, async {
            let reply = attached.reply().await?;
            if kill.signal.is_none() {
                while attached.reply().await?.is_some() {}
            }
            std::io::Result::Ok(reply)
        });
        match done.await {
            Ok(Ok(Some(Reply::Refused { why }))) => {
                terminal.say(format_args!("[{id}] {why}"));
                exit = Exit::Failure;
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                terminal.say(format_args!("[{id}] {error}"));
                exit = Exit::Failure;
            }
            Err(_) => {
                terminal.say(format_args!("[{id}] is not gone after {END_TIME:?}"));
                exit = Exit::Unavailable;
            }
        }
    }
    Ok(exit)
}
