//! The log: to stderr, filtered by `--log` or `AXIOM_LOG`.

use tracing_subscriber::EnvFilter;

use crate::outcome::{Exit, Failed};
use crate::terminal::Terminal;

/// Starts logging for the life of the process. `usual` holds when neither the option nor the environment says anything.
///
/// # Errors
/// A filter that cannot be understood.
pub fn start(option: Option<&str>, usual: &str, terminal: Terminal) -> Result<(), Failed> {
    let from_environment = std::env::var("AXIOM_LOG").ok();
    let wanted = option.or(from_environment.as_deref()).unwrap_or(usual);
    let filter = EnvFilter::try_new(wanted).map_err(|error| {
        Failed::new(
            Exit::Usage,
            format!("the log filter {wanted:?} is not valid: {error}"),
        )
        .hint("write a level (error, warn, info, debug, trace) or target=level, separated by commas")
    })?;
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(terminal.colour())
        .with_target(false);
    // Only a second start could fail, and there is none.
    subscriber
        .try_init()
        .map_err(|error| Failed::new(Exit::Failure, error.to_string()))
}
