//! MCP's stdio framing: one message per line. The reader cuts lines out of what it read without copying them; the
//! writer writes straight into the pipe, and only what does not fit is left to a task.

mod reader;
mod writer;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use crate::pipe::Closed;

pub(crate) use reader::LineReader;
pub(crate) use writer::LineWriter;

/// How long to wait for the cause (an exit status) after the stream itself has ended.
const CAUSE_WAIT: Duration = Duration::from_secs(1);

/// Says how the process at the other end ended, once it has.
pub(crate) trait Cause: fmt::Debug + Send + Sync {
    fn ended(&self) -> Pin<Box<dyn Future<Output = Closed> + Send>>;
}

/// Waits a moment for the real cause; `fallback` if there is none to be had.
async fn cause_or(cause: &dyn Cause, fallback: Closed) -> Closed {
    axiom_core::time::timeout(CAUSE_WAIT, cause.ended())
        .await
        .unwrap_or(fallback)
}

#[cfg(test)]
mod tests;
