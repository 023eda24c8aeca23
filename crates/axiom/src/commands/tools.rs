use crate::cli::Tools;
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

pub async fn run(_args: &Tools, _terminal: &Terminal) -> Result<Exit, Failed> {
    Err(Failed::new(Exit::Failure, "not yet"))
}
