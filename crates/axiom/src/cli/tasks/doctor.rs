//! `axiom doctor`.

use clap::Args;

use super::TasksFolder;

pub(super) const DOCTOR_HELP: &str = "Exit code 0 if the executor that `axiom run` uses by default works and the tasks' folder can be written, else 1.

What can be tried is tried: tasks are started in each executor, control groups and namespaces are made, programs are asked for their \
    version. All of it is undone. `unproven` means that nothing speaks against it, but that it was not done.";

#[derive(Debug, Args)]
pub struct Doctor {
    #[command(flatten)]
    pub folder: TasksFolder,

    #[command(flatten)]
    pub file: crate::cli::ConfigFile,

    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
