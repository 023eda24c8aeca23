use crate::cli::Stdio;
use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

pub async fn run(_args: &Stdio, _terminal: &Terminal) -> Result<Exit, Failed> {
    Err(Failed::new(Exit::Failure, "not yet"))
}
