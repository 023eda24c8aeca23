//! `axiom top`.

use clap::Args;

use super::TasksFolder;

pub(super) const TOP_HELP: &str = "Keys: arrows choose a task, Enter shows its last lines live, k kills it after a question, f freezes it or lets it go on, / filters, \
    s sorts by the next column (i t n a c m p l b by one of them, the same again turns it round), r turns round, q quits.

CPU and memory are those of all processes of a task; memory that several share counts for each of them. Lines per second are an \
    estimate, and only known of tasks that were on the screen.";

#[derive(Debug, Args)]
pub struct Top {
    /// Print one table and end; needs no terminal
    #[arg(long)]
    pub once: bool,

    #[command(flatten)]
    pub folder: TasksFolder,
}
